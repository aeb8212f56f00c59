"""Networks of torchvision, with their own parameter names: each cut into stages where its maps shrink.

| name | stages, and by how much each is smaller than the picture | smallest picture |
|---|---|---|
| ``resnet18``, ``34``, ``50`` | stem 4, layer1 4, layer2 8, layer3 16, layer4 32 | any |
| ``vgg16`` | block1 2, block2 4, block3 8, block4 16, block5 16 | 16 pixels |
| ``googlenet`` | conv1 4, conv3 4, inception3 8, inception4 16, inception5 32 | 15 pixels |
| ``densenet121`` | stem 4, block1 4, block2 8, block3 16, block4 32 | 29 pixels |

The last three have pools that do not reach over the border, so that of a smaller picture nothing would be left.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from embodied_ssl.backbones.backbone import Backbone
from embodied_ssl.backbones.wanted import Wanted
from embodied_ssl.errors import UserError, suggest


def resnet(config: Wanted) -> Backbone:
    """A ResNet of torchvision: its stem and four layers, for small pictures with a small stem (``stem="small"``)."""
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


def vgg16(config: Wanted) -> Backbone:
    """VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556) with BatchNorm, as pretext work uses it: torchvision's ``vgg16_bn``.

    Its last pool made maps of 7 x 7 for the fully connected layers. Here the vector is the mean of what comes before that pool,
    which leaves patches of 16 pixels their one place.
    """
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["D"], batch_norm=True)
    if config.channels != 3:
        layers[0] = _seeing(layers[0], config.channels)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # as torchvision starts it
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    pools = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    starts, ends = [0, *(pool + 1 for pool in pools[:-1])], [*(pool + 1 for pool in pools[:-1]), pools[-1]]
    net = nn.Sequential(OrderedDict(features=layers))
    parts = {
        f"block{number}": tuple(f"features.{layer}" for layer in range(start, end))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    }
    return Backbone(config.name, net, parts, config.channels, smallest=16)


def googlenet(config: Wanted) -> Backbone:
    """GoogLeNet (Szegedy et al. 2015, arXiv:1409.4842) as torchvision builds it: with BatchNorm, without its side classifiers."""
    import torchvision

    net = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=True)
    net.fc = nn.Identity()
    if config.channels != 3:
        net.conv1.conv = _seeing(net.conv1.conv, config.channels)
    parts = {
        "conv1": ("conv1", "maxpool1"),
        "conv3": ("conv2", "conv3"),
        "inception3": ("maxpool2", "inception3a", "inception3b"),
        "inception4": ("maxpool3", *(f"inception4{letter}" for letter in "abcde")),
        "inception5": ("maxpool4", "inception5a", "inception5b"),
    }
    return Backbone(config.name, net, parts, config.channels, smallest=15)


def densenet121(config: Wanted) -> Backbone:
    """DenseNet-121 (Huang et al. 2017, arXiv:1608.06993); stages end with a dense block, the last with BatchNorm and ReLU."""
    import torchvision

    net = torchvision.models.densenet121(weights=None)
    net.classifier = nn.Identity()
    if config.channels != 3:
        net.features.conv0 = _seeing(net.features.conv0, config.channels)
    net.features.add_module("relu5", nn.ReLU(inplace=True))  # which torchvision calls as a function
    stages = {
        "stem": ("conv0", "norm0", "relu0", "pool0"),
        "block1": ("denseblock1",),
        "block2": ("transition1", "denseblock2"),
        "block3": ("transition2", "denseblock3"),
        "block4": ("transition3", "denseblock4", "norm5", "relu5"),
    }
    parts = {stage: tuple(f"features.{layer}" for layer in layers) for stage, layers in stages.items()}
    return Backbone(config.name, net, parts, config.channels, smallest=29)


def _seeing(first: Any, channels: int) -> nn.Conv2d:
    """A first convolution of the same form for pictures of other channels, at torch's own random start."""
    geometry = (first.out_channels, first.kernel_size, first.stride, first.padding)
    return nn.Conv2d(channels, *geometry, bias=first.bias is not None)


def of_torchvision(config: Wanted) -> Backbone:
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
