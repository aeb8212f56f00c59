"""Small networks of plain convolutions: AlexNet with BatchNorm, cuda-convnet's for CIFAR-10, Exemplar-CNN's, one for tests."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones.backbone import Backbone, Features
from embodied_ssl.backbones.wanted import Wanted


def alexnet(config: Wanted) -> Backbone:
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


def convnet_quick(config: Wanted) -> Backbone:
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


class _Exemplar(Backbone):
    """The vector is the greatest of each quarter of the last map, as the paper pools its features."""

    def forward(self, pictures: Tensor) -> Features:
        maps = super().forward(pictures).maps
        return Features(maps, F.adaptive_max_pool2d(maps["conv3"], 2).flatten(1))


def exemplar_cnn(config: Wanted) -> Backbone:
    """The convolutions of Exemplar-CNN for 32-pixel patches: 64, 128 and 256 filters of 5 x 5, pooled after two, no BatchNorm.

    Dosovitskiy et al. 2014's 64c5-128c5-256c5-512f. Its fully connected 512 are the method's (``hidden=512``); here they see the
    vector, in the paper every place of the map.
    """
    net = nn.Sequential()
    for number, (i, o) in enumerate(itertools.pairwise((config.channels, 64, 128, 256)), start=1):
        layers: list[nn.Module] = [nn.Conv2d(i, o, 5, padding=2), nn.ReLU(inplace=True)]
        net.add_module(f"conv{number}", nn.Sequential(*layers, *([nn.MaxPool2d(2)] if number < 3 else [])))
    return _Exemplar(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)


def conv4(config: Wanted) -> Backbone:
    """Four strided 3x3 convolutions with BatchNorm, 16 to 64 channels: for tests and first tries, not for results."""
    net = nn.Sequential()
    widths = (config.channels, 16, 32, 48, 64)
    for number, (i, o) in enumerate(itertools.pairwise(widths), start=1):
        convolution = nn.Conv2d(i, o, 3, 2, 1, bias=False)
        net.add_module(f"conv{number}", nn.Sequential(convolution, nn.BatchNorm2d(o), nn.ReLU(inplace=True)))
    return Backbone(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)
