"""From stored pixels to what a network sees, and back for people to look at.

Legend: B examples, n pictures of one example, H W pixels. Every backbone here is fed RGB in 0..1, normalised by the
ImageNet mean and standard deviation; an exported backbone's card says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to float32 [..., 3, H, W] in 0..1."""
    return pixels.movedim(-1, -3).float().div(255)


def normalise(pictures: Tensor) -> Tensor:
    """Float [..., 3, H, W] in 0..1 to zero mean and unit variance per ImageNet channel."""
    mean, std = _statistics(pictures)
    return (pictures - mean) / std


def unnormalise(pictures: Tensor) -> Tensor:
    """The inverse of `normalise`, clamped to 0..1."""
    mean, std = _statistics(pictures)
    return (pictures.float() * std + mean).clamp(0, 1)


def network_input(pixels: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] straight to normalised float32 [..., 3, H, W]."""
    return normalise(to_float(pixels))


def fold(pictures: Tensor) -> Tensor:
    """[B, n, 3, H, W] to [B * n, 3, H, W]: example by example."""
    return pictures.flatten(0, 1)


def unfold(vectors: Tensor, n: int) -> Tensor:
    """[B * n, D] back to [B, n, D]."""
    return vectors.view(-1, n, *vectors.shape[1:])


def _statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(MEAN, device=like.device, dtype=like.dtype).view(3, 1, 1)
    std = torch.tensor(STD, device=like.device, dtype=like.dtype).view(3, 1, 1)
    return mean, std
