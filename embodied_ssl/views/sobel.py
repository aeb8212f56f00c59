"""Edges in place of colours: a picture's slopes across and down, by the two filters of Sobel.

Clusters of an untrained network are clusters of colour, and a network that is trained on them learns little else; edges leave it
shapes to look at. The filters are fixed, so what is trained is a network of two channels (``backbone.channels=2``).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ACROSS = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def sobel(grey: Tensor) -> Tensor:
    """Slopes of pictures of one channel: float [..., 1, H, W] to [..., 2, H, W], 8 times the slope in units a pixel, negated.

    Args:
        grey: luminance; the outermost pixels are repeated outwards, so the border is no edge.

    Returns:
        Across (positive where it darkens to the right), then down (positive where it darkens downwards).
    """
    across = torch.tensor(ACROSS, dtype=grey.dtype, device=grey.device)
    filters = torch.stack([across, across.T]).unsqueeze(1)
    flat = F.pad(grey.flatten(0, -4), (1, 1, 1, 1), mode="replicate")
    slopes: Tensor = F.conv2d(flat, filters).unflatten(0, grey.shape[:-3])
    return slopes


def strength(slopes: Tensor) -> Tensor:
    """How steep it is, for people to look at: [..., 2, H, W] to [..., 1, H, W] in 0..1, 1 at the steepest of each picture."""
    steep = slopes.float().square().sum(-3, keepdim=True).sqrt()
    shown: Tensor = steep / steep.amax((-1, -2), keepdim=True).clamp_min(1e-6)
    return shown
