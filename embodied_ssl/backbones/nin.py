"""The network in network with which RotNet was shown on CIFAR-10: blocks of one wide convolution and two of 1 x 1.

| block | convolutions, each with BatchNorm and ReLU | pool | of 32 pixels |
|---|---|---|---|
| 1 | 5 x 5 to 192, 1 x 1 to 160, 1 x 1 to 96 | 3 x 3 of stride 2, the greatest | 96 x 16 x 16 |
| 2 | 5 x 5, 1 x 1, 1 x 1, all of 192 | 3 x 3 of stride 2, the mean | 192 x 8 x 8 |
| 3, 4, ... | 3 x 3, 1 x 1, 1 x 1, all of 192 | none | 192 x 8 x 8 |

The blocks are those of Lin, Chen and Yan 2014 (arXiv:1312.4400), with BatchNorm in place of dropout. Convolutions have no bias
and start as He et al. 2015 draw them, by what leaves them (``fan_out``). RotNet (Gidaris et al. 2018, arXiv:1803.07728) has three
to five blocks, then the mean over space and a linear layer, which is the method's. Block 2 of four transfers best there.
"""

from __future__ import annotations

from torch import nn

from embodied_ssl.backbones.backbone import Backbone
from embodied_ssl.backbones.wanted import Wanted


def nin(config: Wanted) -> Backbone:
    """As many blocks as the name says, ``nin3`` or ``nin5``; ``nin`` has four. Each is a stage."""
    blocks = int(config.name.removeprefix("nin") or 4)
    net = nn.Sequential()
    net.add_module("block1", _block(config.channels, (192, 160, 96), 5, nn.MaxPool2d(3, 2, 1)))
    net.add_module("block2", _block(96, (192, 192, 192), 5, nn.AvgPool2d(3, 2, 1)))
    for number in range(3, blocks + 1):
        net.add_module(f"block{number}", _block(192, (192, 192, 192), 3, None))
    return Backbone(config.name, net, {part: (part,) for part, _ in net.named_children()}, config.channels)


def _block(given: int, widths: tuple[int, int, int], kernel: int, pool: nn.Module | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, side in zip(widths, (kernel, 1, 1), strict=True):
        convolution = nn.Conv2d(given, width, side, padding=side // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        given = width
    return nn.Sequential(*layers, *([pool] if pool else []))
