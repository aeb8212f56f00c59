"""Cutting a picture into tiles, one at a random place inside each cell of a grid, and laying tiles out for people to look at.

The room around a tile keeps lines and colours from running on from one tile into the next, and since its width varies, nothing
can be learnt from how far they would have to run. Legend: G cells a side, T = G * G tiles in reading order, S pixels a tile's
side, C channels, B pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.datasets.source import Box, Pixels

Corners = NDArray[np.int64]  # [..., 2]: row and column of the upper left pixel


def random_square(height: int, width: int, rng: np.random.Generator, share: tuple[float, float]) -> Box:
    """A square anywhere in a picture, its side a share of the picture's shorter side that is drawn evenly from ``share``."""
    side = max(1, round(min(height, width) * rng.uniform(*share)))
    return int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side, side


def tile_corners(grid: int, cell: int, tile: int, rng: np.random.Generator) -> Corners:
    """One tile in each cell, every place in it as likely: int64 [T, 2].

    Neighbours are 0 to 2 (cell - tile) pixels apart, cell - tile on average.
    """
    rows, columns = np.mgrid[:grid, :grid] * cell
    return np.stack([rows.ravel(), columns.ravel()], axis=1) + rng.integers(cell - tile + 1, size=(grid * grid, 2))


def shift_channels(corners: Corners, shift: int, cell: int, tile: int, rng: np.random.Generator) -> Corners:
    """Each channel of each tile moved by -shift..shift pixels down and right, and back into its cell where it would leave it.

    Args:
        corners: [T, 2], of `tile_corners`.
        shift: 0 leaves all channels together.

    Returns:
        int64 [T, 3, 2], one corner a channel.
    """
    least = (corners // cell * cell)[:, None]
    moved = corners[:, None] + rng.integers(-shift, shift + 1, size=(len(corners), 3, 2))
    return np.asarray(np.clip(moved, least, least + cell - tile), np.int64)


def cut_tiles(pixels: Pixels, corners: Corners, tile: int) -> Pixels:
    """The tiles of uint8 [H, W, 3] at corners [T, 3, 2], one a channel: uint8 [T, tile, tile, 3]."""
    along = np.arange(tile)
    rows = corners[..., 0, None, None] + along[:, None]  # [T, 3, tile, 1]
    columns = corners[..., 1, None, None] + along  # [T, 3, 1, tile]
    cut = pixels[rows, columns, np.arange(3)[:, None, None]]  # [T, 3, tile, tile]
    return np.ascontiguousarray(np.moveaxis(cut, 1, -1))


def laid_out(tiles: Tensor, grid: int, gap: int) -> Tensor:
    """Tiles [B, T, C, S, S] as one square picture each [B, C, G S + (G - 1) gap, ...], in reading order, white between them."""
    batch, _, channels, height, width = tiles.shape
    padded = F.pad(tiles, (0, gap, 0, gap), value=1.0).unflatten(1, (grid, grid))  # [B, G, G, C, h, w]
    whole: Tensor = padded.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, grid * (height + gap), grid * (width + gap))
    return whole[..., : whole.shape[-2] - gap, : whole.shape[-1] - gap]
