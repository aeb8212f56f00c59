"""From stored pixels to what a network sees, and back for people to look at.

Legend: B examples, n pictures of one example, C channels, H W pixels. Every backbone here is fed RGB in 0..1, normalised by
the ImageNet mean and standard deviation, or with one channel its luminance, or with two the slopes of that luminance
(`embodied_ssl.views.sobel`); an exported backbone's card says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embodied_ssl.views.colour import LUMA
from embodied_ssl.views.sobel import sobel, strength

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY_MEAN = (0.459,)  # the luminance of MEAN
GREY_STD = (0.226,)  # the mean of STD


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to float32 [..., 3, H, W] in 0..1."""
    return pixels.movedim(-1, -3).float().div(255)


def to_grey(pictures: Tensor) -> Tensor:
    """Float [..., 3, H, W] to its luminance [..., 1, H, W]."""
    weights = torch.tensor(LUMA, device=pictures.device, dtype=pictures.dtype).view(3, 1, 1)
    return (pictures * weights).sum(-3, keepdim=True)


def normalise(pictures: Tensor) -> Tensor:
    """Float [..., C, H, W] in 0..1 to zero mean and unit variance per ImageNet channel; C is 3, or 1 for luminance."""
    mean, std = _statistics(pictures)
    return (pictures - mean) / std


def unnormalise(pictures: Tensor) -> Tensor:
    """The inverse of `normalise`, clamped to 0..1: always [..., 3, H, W], grey in all three where there was one channel.

    Of two channels, slopes, their strength.
    """
    if pictures.shape[-3] == 2:
        shown = strength(pictures)
    else:
        mean, std = _statistics(pictures)
        shown = (pictures.float() * std + mean).clamp(0, 1)
    return shown.expand(*shown.shape[:-3], 3, *shown.shape[-2:])


def network_input(pixels: Tensor, channels: int = 3) -> Tensor:
    """uint8 [..., H, W, 3] straight to what a network of so many channels is fed, see `fed`."""
    return fed(to_float(pixels), channels)


def fed(pictures: Tensor, channels: int = 3) -> Tensor:
    """Float [..., 3, H, W] in 0..1 to normalised [..., C, H, W]: in colour, in luminance for one channel, its slopes for two."""
    seen = normalise(pictures if channels == 3 else to_grey(pictures))
    return sobel(seen) if channels == 2 else seen


def fold(pictures: Tensor) -> Tensor:
    """[B, n, C, H, W] to [B * n, C, H, W]: example by example."""
    return pictures.flatten(0, 1)


def unfold(vectors: Tensor, n: int) -> Tensor:
    """[B * n, D] back to [B, n, D]."""
    return vectors.view(-1, n, *vectors.shape[1:])


def _statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    grey = like.shape[-3] == 1
    mean = torch.tensor(GREY_MEAN if grey else MEAN, device=like.device, dtype=like.dtype).view(-1, 1, 1)
    std = torch.tensor(GREY_STD if grey else STD, device=like.device, dtype=like.dtype).view(-1, 1, 1)
    return mean, std
