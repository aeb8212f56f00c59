"""Faster R-CNN around one of our backbones, from torchvision's parts: over a feature pyramid, or in the C4 form of MoCo's tables.

*Pyramid* (Lin et al. 2017): maps of several strides are mixed top-down, one anchor size a level, a two-layer head on 7 x 7 cells.
*C4* (Ren et al. 2015 on ResNets): all stages but the last run on the picture; the last stage is the head, run on 14 x 14 cells
cut from the stride-16 map, so that every stage is judged. Legend: B pictures, H W pixels, C classes without background.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, roi_align
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import initLevelMapper

from embodied_ssl.backbones import Backbone
from embodied_ssl.errors import UserError

RATIOS = (0.5, 1.0, 2.0)  # height over width of anchors
FINEST = 4  # the smallest stride worth a pyramid level: below it, maps are as large as the picture and see nothing


class Level(NamedTuple):
    """One stage's map."""

    stage: str
    channels: int
    stride: int


@dataclass(frozen=True)
class DetectorConfig(ABC):
    """What both forms share; the rest (overlaps of 0.7 / 0.3 and 0.5, 256 anchors, a quarter positive) is Faster R-CNN's own.

    Args:
        extra_norm: BatchNorm after the C4 head's last stage, or after every new convolution of the pyramid, as in MoCo.
        ranked: proposals kept by score before non-maximum suppression, in training and in testing (a level).
        kept: proposals kept after it, in training and in testing.
        sampled: of them, how many a picture train the head.
        least_score: detections below it are dropped.
        suppress: of two detections of a class that overlap more, the surer is kept.
        most: detections kept of a picture.
    """

    extra_norm: bool = False
    ranked: tuple[int, int] = (2000, 1000)
    kept: tuple[int, int] = (2000, 1000)
    sampled: int = 512
    least_score: float = 0.05
    suppress: float = 0.5
    most: int = 100

    @abstractmethod
    def build(self, backbone: Backbone, classes: int) -> Any:
        """A torchvision ``GeneralizedRCNN`` that holds this very backbone; new layers draw from torch's global generator.

        It takes pictures that are already resized and normalised, float [channels, H, W] each. Labels are 1..C.

        Raises:
            UserError: the backbone cannot take this form.
        """

    def _proposals(self, channels: int, sizes: Sequence[Sequence[float]]) -> Any:
        anchors = AnchorGenerator(tuple(tuple(level) for level in sizes), (RATIOS,) * len(sizes))
        head = RPNHead(channels, anchors.num_anchors_per_location()[0])
        ranked, kept = ({"training": both[0], "testing": both[1]} for both in (self.ranked, self.kept))
        return RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, ranked, kept, 0.7)

    def _heads(self, pool: nn.Module, head: nn.Module, width: int, classes: int) -> Any:
        predictor = FastRCNNPredictor(width, classes + 1)  # and the background
        nn.init.normal_(predictor.cls_score.weight, std=0.01)  # as in Fast R-CNN: torch's own start is noisy for wide maps
        nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
        for layer in (predictor.cls_score, predictor.bbox_pred):
            nn.init.zeros_(layer.bias)
        limits = (self.least_score, self.suppress, self.most)
        return RoIHeads(pool, head, predictor, 0.5, 0.5, self.sampled, 0.25, None, *limits)


@dataclass(frozen=True)
class Pyramid(DetectorConfig):
    """Over the deepest map of each stride from 4 on, and one level coarser; works for every backbone with maps.

    Args:
        width: channels of the pyramid.
        head_width: of the two fully connected layers.
    """

    width: int = 256
    head_width: int = 1024

    def build(self, backbone: Backbone, classes: int) -> Any:
        levels = pyramid_levels(backbone)
        body = _PyramidBody(backbone, levels, self.width, nn.BatchNorm2d if self.extra_norm else None)
        strides = [level.stride for level in levels]
        # 32 at stride 4 and 512 at stride 64, as published; one size a level, the level above included.
        proposals = self._proposals(self.width, [(8.0 * stride,) for stride in (*strides, 2 * strides[-1])])
        pool = MultiScaleRoIAlign([level.stage for level in levels], output_size=7, sampling_ratio=2)
        # Said rather than left to be guessed from the first batch's sizes, which padding makes inexact.
        pool.scales = [1 / stride for stride in strides]
        pool.map_levels = initLevelMapper(int(math.log2(strides[0])), int(math.log2(strides[-1])))
        heads = self._heads(pool, TwoMLPHead(self.width * 49, self.head_width), self.head_width, classes)
        return GeneralizedRCNN(body, proposals, heads, _AsGiven(strides[-1]))


@dataclass(frozen=True)
class C4(DetectorConfig):
    """On the map before the last stage of a ResNet, which is the head."""

    def build(self, backbone: Backbone, classes: int) -> Any:
        if "layer4" not in backbone.stages or not any(backbone.parts.values()):
            raise UserError(f"the C4 detector is made of a ResNet's stages; '{backbone.name}' is none: use the pyramid form")
        levels = scan(backbone)
        before, last = levels[-2], levels[-1]
        body = _Trunk([backbone.net.get_submodule(part) for stage in backbone.stages[:-1] for part in backbone.parts[stage]])
        body.out_channels = before.channels
        proposals = self._proposals(before.channels, [[before.stride * times for times in (2.0, 4.0, 8.0, 16.0, 32.0)]])
        head = nn.Sequential(*[backbone.net.get_submodule(part) for part in backbone.parts[last.stage]])
        if self.extra_norm:
            head.append(nn.BatchNorm2d(last.channels))
        head.append(nn.AdaptiveAvgPool2d(1))
        heads = self._heads(_Cut(14, 1 / before.stride), head, last.channels, classes)
        return GeneralizedRCNN(body, proposals, heads, _AsGiven(before.stride))


def scan(backbone: Backbone, size: int = 256) -> list[Level]:
    """Channels and stride of every stage, measured on an empty picture; the weights and statistics stay as they are."""
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, backbone.channels, size, size, device=next(backbone.parameters()).device)).maps
    backbone.train(training)
    return [Level(stage, int(found.shape[1]), max(1, round(size / found.shape[-1]))) for stage, found in maps.items()]


def pyramid_levels(backbone: Backbone) -> list[Level]:
    """The deepest stage of each stride from `FINEST` on, fine to coarse; the last stage alone when all are finer."""
    found = scan(backbone)
    return list({level.stride: level for level in found if level.stride >= FINEST}.values()) or [found[-1]]


class _PyramidBody(nn.Module):
    """Pictures [B, channels, H, W] to the pyramid's maps by stage name, all of one width, and ``pool`` above them."""

    def __init__(self, backbone: Backbone, levels: Sequence[Level], width: int, norm: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = [level.stage for level in levels]
        self.out_channels = width
        self.fpn = FeaturePyramidNetwork([level.channels for level in levels], width, LastLevelMaxPool(), norm)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(pictures).maps
        mixed: dict[str, Tensor] = self.fpn(OrderedDict((stage, maps[stage]) for stage in self.stages))
        return mixed


class _Trunk(nn.Sequential):
    """Stages in a row, as a detector's body."""

    out_channels: int

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__(*parts)


class _Cut(nn.Module):
    """Cells of the one map under each proposal, half a pixel corrected (``aligned``): [proposals, channels, cells, cells]."""

    def __init__(self, cells: int, scale: float) -> None:
        super().__init__()
        self.cells = cells
        self.scale = scale

    def forward(self, maps: dict[str, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        (found,) = maps.values()
        cut: Tensor = roi_align(found, proposals, self.cells, self.scale, sampling_ratio=0, aligned=True)
        return cut


class _AsGiven(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """Only pads pictures to one size, a multiple of the coarsest stride: resizing and colour are the caller's."""

    def __init__(self, stride: int) -> None:
        super().__init__(0, 0, [], [], size_divisible=stride)

    def normalize(self, image: Tensor) -> Tensor:
        return image

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target
