"""Cutting a whole batch of stored squares at once, on the device they are on.

Legend: B pictures, R side of the stored square, S side of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.datasets.source import Box


def crop_batch(squares: Tensor, boxes: Sequence[Box], mirrored: Sequence[bool], size: int) -> Tensor:
    """A part of each square, resized by linear interpolation and perhaps mirrored.

    Pixels are cells: a box of S x S pixels comes out as it is, and other boxes as `torch.nn.functional.interpolate` (bilinear,
    corners not aligned) would resize them, but that the pixels around a box are seen at its rim. Nothing is averaged when a
    box is shrunk, so stored squares should be little larger than crops.

    Args:
        squares: uint8 [B, R, R, 3].
        boxes: top, left, height, width of each part, in pixels.
        mirrored: whether left and right are exchanged.
        size: S.

    Returns:
        Float32 [B, S, S, 3], in 0..255.
    """
    side = squares.shape[1]
    top, left, height, width = torch.tensor(boxes, dtype=torch.float32, device=squares.device).unbind(1)
    across = torch.where(torch.tensor(mirrored, device=squares.device), -1.0, 1.0)
    zero = torch.zeros_like(top)
    # In a grid the square reaches from -1 to 1: half extent, and middle, of the box along each axis.
    rows = [
        torch.stack([across * width / side, zero, (2 * left + width) / side - 1], dim=1),
        torch.stack([zero, height / side, (2 * top + height) / side - 1], dim=1),
    ]
    where = F.affine_grid(torch.stack(rows, dim=1), [len(squares), 3, size, size], align_corners=False)
    cut = F.grid_sample(squares.permute(0, 3, 1, 2).float(), where, padding_mode="border", align_corners=False)
    return cut.permute(0, 2, 3, 1)
