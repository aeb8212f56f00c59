"""Which network, by name: what a run's config and an exported backbone's card say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from embodied_ssl.backbones.backbone import Backbone
from embodied_ssl.backbones.nin import nin
from embodied_ssl.backbones.small_nets import alexnet, conv4, convnet_quick, exemplar_cnn
from embodied_ssl.backbones.timm_nets import of_timm, vit_small
from embodied_ssl.backbones.torchvision_nets import densenet121, googlenet, of_torchvision, resnet, vgg16
from embodied_ssl.backbones.wanted import Wanted
from embodied_ssl.errors import UserError, suggest


@dataclass(frozen=True)
class BackboneConfig(Wanted):
    """Which network, and how to make it; its fields are those of `Wanted`."""

    def build(self) -> Backbone:
        """A freshly initialised backbone; draws from torch's global generator.

        Raises:
            UserError: no such backbone.
        """
        if self.name.startswith("timm:"):
            return of_timm(self)
        if self.name.startswith("torchvision:"):
            return of_torchvision(self)
        if self.name not in _BUILDERS:
            raise UserError(f"no backbone '{self.name}'{suggest(self.name, names())}")
        return _BUILDERS[self.name](self)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def untrained(config: BackboneConfig, seed: int) -> Backbone:
    """A network as it is before any training; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build()


def names() -> list[str]:
    """The built-in backbones."""
    return sorted(_BUILDERS)


def described() -> dict[str, str]:
    """The built-in backbones by name, each with a line on what it is and how small pictures may be."""
    return {name: ABOUT[name] for name in names()}


_BUILDERS: dict[str, Callable[[Wanted], Backbone]] = {
    "resnet18": resnet,
    "resnet34": resnet,
    "resnet50": resnet,
    "vgg16": vgg16,
    "googlenet": googlenet,
    "densenet121": densenet121,
    "vit_small": vit_small,
    "alexnet": alexnet,
    "nin": nin,
    "nin3": nin,
    "nin5": nin,
    "convnet_quick": convnet_quick,
    "exemplar_cnn": exemplar_cnn,
    "conv4": conv4,
}

ABOUT = {
    "resnet18": "torchvision's; --set backbone.stem=small for 32-pixel pictures",
    "resnet34": "torchvision's; as resnet18",
    "resnet50": "torchvision's; as resnet18",
    "vgg16": "torchvision's vgg16_bn up to its last convolution; pictures of at least 16 pixels",
    "googlenet": "torchvision's, with BatchNorm; pictures of at least 15 pixels",
    "densenet121": "torchvision's; pictures of at least 29 pixels",
    "vit_small": "ViT-S/16, timm's, any size of at least 16 pixels (extra: timm)",
    "alexnet": "five convolutions, with BatchNorm",
    "nin": "RotNet's network in network: four blocks",
    "nin3": "the same with three blocks",
    "nin5": "the same with five blocks",
    "convnet_quick": "three convolutions, for 32-pixel pictures",
    "exemplar_cnn": "Exemplar-CNN's three convolutions, for 32-pixel patches",
    "conv4": "four small convolutions: for tests and first tries",
}
