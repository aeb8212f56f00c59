"""Networks of torchvision, with their own parameter names: each cut into stages where its maps shrink."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from embodied_ssl.backbones.backbone import Backbone
from embodied_ssl.errors import UserError, suggest

if TYPE_CHECKING:
    from embodied_ssl.backbones.config import BackboneConfig


def resnet(config: BackboneConfig) -> Backbone:
    import torchvision

    net = getattr(torchvision.models, config.name)(weights=None)
    net.fc = nn.Identity()
    if config.stem == "small":
        net.conv1 = nn.Conv2d(config.channels, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
    elif config.channels != 3:
        net.conv1 = nn.Conv2d(config.channels, 64, 7, 2, 3, bias=False)
    parts = {"stem": ("conv1", "bn1", "relu", "maxpool"), **{f"layer{i}": (f"layer{i}",) for i in range(1, 5)}}
    return Backbone(config.name, net, parts, config.channels)


def of_torchvision(config: BackboneConfig) -> Backbone:
    """A classification network of torchvision: a ResNet's four layers, or ``features`` cut where the map shrinks."""
    import torchvision

    name = config.name.removeprefix("torchvision:")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(f"torchvision has no network '{name}'{suggest(name, known)}")
    if name.startswith(("resnet", "resnext", "wide_resnet")):
        return resnet(replace(config, name=name))
    net = torchvision.models.get_model(name, weights=None)
    if config.channels != 3 or not isinstance(getattr(net, "features", None), nn.Sequential):
        raise UserError(f"torchvision's '{name}' cannot be cut into stages of {config.channels} channels; give timm:NAME instead")
    parts = _cut_where_maps_shrink(net.features)
    if not parts:
        raise UserError(f"torchvision's '{name}' keeps its channels last; give timm:NAME instead")
    net.classifier = nn.Identity()
    return Backbone(config.name, net, parts, config.channels, probe_size=224)


def _cut_where_maps_shrink(features: nn.Sequential) -> dict[str, tuple[str, ...]]:
    """Stages of a sequence of layers, each named after its last layer; none when what comes out are no maps [B, C, S, S]."""
    training = features.training
    features.eval()
    names, sides = [], []
    with torch.no_grad():
        x = torch.zeros(1, 3, 224, 224)
        for name, layer in features.named_children():
            x = layer(x)
            names.append(f"features.{name}")
            sides.append(x.shape[-1])
    features.train(training)
    if x.shape[-1] != x.shape[-2]:
        return {}
    ends = [i for i, side in enumerate(sides) if i + 1 == len(sides) or sides[i + 1] < side]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return {names[end]: tuple(names[start : end + 1]) for start, end in zip(starts, ends, strict=True)}
