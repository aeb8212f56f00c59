"""Backbones: pictures in, one map per stage and one vector out.

The networks are torchvision's (or timm's), with their own parameter names, so that an exported file loads into the plain
network with nothing of ours installed. Legend: B examples, C channels, H W pixels, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.errors import UserError, suggest


class Features(NamedTuple):
    """What a backbone gives.

    Attributes:
        maps: stage name -> [B, D_s, H_s, W_s] (token backbones: the tokens on their grid), in order of depth.
        vector: [B, D], the last map averaged over space unless the backbone's own paper pools otherwise.
    """

    maps: dict[str, Tensor]
    vector: Tensor


class Backbone(nn.Module):
    """A network cut into named stages.

    Attributes:
        name: as the user wrote it.
        channels: input channels.
        width: D of the vector.
        stages: names of the maps, shallow to deep.
        net: the plain network, whose ``state_dict`` is what is exported.

    ``parts`` names, for each stage, the children of ``net`` that it runs in turn: names rather than the modules
    themselves, so that a deep copy (a momentum encoder) runs its own children.
    """

    has_maps = True

    def __init__(self, name: str, net: nn.Module, parts: dict[str, tuple[str, ...]], channels: int, probe_size: int = 64) -> None:
        super().__init__()
        self.name = name
        self.net = net
        self.channels = channels
        self.parts = parts
        self.stages = tuple(parts)
        with torch.no_grad():
            training = net.training
            net.eval()
            self.width = int(self(torch.zeros(1, channels, probe_size, probe_size)).vector.shape[1])
            net.train(training)

    def grid_stage(self, size: int, cells: int) -> tuple[str, int]:
        """The deepest stage whose map of a ``size``-pixel picture still has ``cells`` x ``cells`` places, and its channels.

        For questions of where, which the vector has averaged away. The last stage when none is so fine.
        """
        training = self.training
        self.eval()
        with torch.no_grad():
            maps = self(torch.zeros(1, self.channels, size, size, device=next(self.parameters()).device)).maps
        self.train(training)
        fine = [name for name, found in maps.items() if min(found.shape[2:]) >= cells]
        chosen = fine[-1] if fine else self.stages[-1]
        return chosen, int(maps[chosen].shape[1])

    def forward(self, pictures: Tensor) -> Features:
        """Float [B, C, H, W], normalised, to `Features`."""
        maps: dict[str, Tensor] = {}
        x = pictures
        for stage, parts in self.parts.items():
            for part in parts:
                x = self.net.get_submodule(part)(x)
            maps[stage] = x
        return Features(maps, x.mean(dim=(2, 3)))


@dataclass(frozen=True)
class BackboneConfig:
    """Which network, by name.

    Args:
        name: one of `names()`, ``torchvision:NAME``, or ``timm:NAME`` with the timm extra installed.
        channels: input channels.
        stem: of a ResNet: ``large`` (7x7 stride 2 and max-pool: ImageNet) or ``small`` (3x3, no pool: 32-pixel pictures).
    """

    name: str = "resnet18"
    channels: int = 3
    stem: Literal["large", "small"] = "large"

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise UserError(f"backbone.channels is {self.channels}; give at least 1")

    def build(self) -> Backbone:
        """A freshly initialised backbone; draws from torch's global generator.

        Raises:
            UserError: no such backbone.
        """
        if self.name.startswith("timm:"):
            return _timm(self)
        if self.name.startswith("torchvision:"):
            return _torchvision(self)
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


def _resnet(config: BackboneConfig) -> Backbone:
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


def _alexnet(config: BackboneConfig) -> Backbone:
    """The convolutions of AlexNet with BatchNorm, as pretext papers since 2016 train it; five stages, pooled after 1, 2 and 5."""

    def block(i: int, o: int, kernel: int, stride: int, pool: bool) -> nn.Sequential:
        layers: list[nn.Module] = [
            nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
        ]
        return nn.Sequential(*layers, *([nn.MaxPool2d(3, 2, 1)] if pool else []))

    net = nn.Sequential()
    shapes = [(config.channels, 96, 11, 4, True), (96, 256, 5, 1, True), (256, 384, 3, 1, False), (384, 384, 3, 1, False)]
    for number, shape in enumerate([*shapes, (384, 256, 3, 1, True)], start=1):
        net.add_module(f"conv{number}", block(*shape))
    return Backbone(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)


CELLS = 4  # side of the quick net's last map of a 32-pixel picture


class _Quick(Backbone):
    """The vector keeps the places: the last map's 4 x 4 cells (averaged from more if the picture is larger), in a row."""

    def forward(self, pictures: Tensor) -> Features:
        maps = super().forward(pictures).maps
        return Features(maps, F.adaptive_avg_pool2d(maps["conv3"], CELLS).flatten(1))


def _quick(config: BackboneConfig) -> Backbone:
    """The small network of cuda-convnet's CIFAR-10 example, for 32-pixel pictures: 3 convolutions, no BatchNorm.

    5 x 5 filters, 32, 32 and 64 of them, each under a 3 x 3 pool of stride 2: the greatest, then twice the mean (as in Caffe's
    ``cifar10_quick``, which is made after it). Its first fully connected layer, of 64, is the method's projection.
    """

    def block(i: int, o: int, first: bool) -> nn.Sequential:
        convolution, relu = nn.Conv2d(i, o, 5, padding=2), nn.ReLU(inplace=True)
        if first:
            return nn.Sequential(convolution, nn.MaxPool2d(3, 2, ceil_mode=True), relu)
        return nn.Sequential(convolution, relu, nn.AvgPool2d(3, 2, ceil_mode=True))

    net = nn.Sequential()
    for number, (i, o) in enumerate(itertools.pairwise((config.channels, 32, 32, 64)), start=1):
        net.add_module(f"conv{number}", block(i, o, first=number == 1))
    return _Quick(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)


def _conv4(config: BackboneConfig) -> Backbone:
    """Four strided 3x3 convolutions with BatchNorm, 16 to 64 channels: for tests and first tries, not for results."""
    net = nn.Sequential()
    widths = (config.channels, 16, 32, 48, 64)
    for number, (i, o) in enumerate(itertools.pairwise(widths), start=1):
        convolution = nn.Conv2d(i, o, 3, 2, 1, bias=False)
        net.add_module(f"conv{number}", nn.Sequential(convolution, nn.BatchNorm2d(o), nn.ReLU(inplace=True)))
    return Backbone(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)


def _torchvision(config: BackboneConfig) -> Backbone:
    """A classification network of torchvision: a ResNet's four layers, or ``features`` cut where the map shrinks."""
    import torchvision

    name = config.name.removeprefix("torchvision:")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(f"torchvision has no network '{name}'{suggest(name, known)}")
    if name.startswith(("resnet", "resnext", "wide_resnet")):
        return _resnet(replace(config, name=name))
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


class _TimmBackbone(Backbone):
    """Any timm network that gives its intermediate maps: tokens come on their grid, and the vector is pooled as timm does."""

    def __init__(self, name: str, net: nn.Module, taken: dict[str, int], channels: int, probe_size: int) -> None:
        self.taken = list(taken.values())
        super().__init__(name, net, dict.fromkeys(taken, ()), channels, probe_size)

    def forward(self, pictures: Tensor) -> Features:
        net: Any = self.net
        last, maps = net.forward_intermediates(pictures, indices=self.taken)
        return Features(dict(zip(self.stages, maps, strict=True)), net.forward_head(last, pre_logits=True))


TRANSFORMER_STAGES = 4  # of blocks that all have one resolution, those at each quarter of the depth are shown


def _timm(config: BackboneConfig) -> Backbone:
    try:
        import timm
    except ImportError:
        raise UserError(f"backbone '{config.name}' needs timm; pip install 'embodied-ssl[timm]'") from None
    name = config.name.removeprefix("timm:")
    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{suggest(name, timm.list_models())}")
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": config.channels}
    net: Any
    try:
        net = timm.create_model(name, dynamic_img_size=True, **options)  # transformers that can take other sizes
    except TypeError:
        net = timm.create_model(name, **options)
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"timm's '{name}' does not give its intermediate maps; choose another network")
    info = net.feature_info
    one_resolution = len({stage["reduction"] for stage in info}) == 1 and len(info) > TRANSFORMER_STAGES
    quarters = [(i + 1) * len(info) // TRANSFORMER_STAGES - 1 for i in range(TRANSFORMER_STAGES)]
    taken = quarters if one_resolution else range(len(info))
    size = net.default_cfg.get("input_size", (3, 64, 64))[1]
    return _TimmBackbone(config.name, net, {info[i]["module"]: i for i in taken}, config.channels, probe_size=size)


_BUILDERS: dict[str, Callable[[BackboneConfig], Backbone]] = {
    "resnet18": _resnet,
    "resnet34": _resnet,
    "resnet50": _resnet,
    "alexnet": _alexnet,
    "convnet_quick": _quick,
    "conv4": _conv4,
}
