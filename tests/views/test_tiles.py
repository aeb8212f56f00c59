"""Tiles: inside their cells, everywhere in them, and in reading order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied_ssl.keys import generator
from embodied_ssl.views.tiles import cut_tiles, laid_out, random_square, shift_channels, tile_corners

GRID, CELL, TILE = 3, 75, 64  # the jigsaw paper's


def places(count: int) -> np.ndarray:
    """Corners of many puzzles [count, 3, 3, 2]."""
    rng = generator(0, "tiles")
    return np.stack([tile_corners(GRID, CELL, TILE, rng) for _ in range(count)]).reshape(count, GRID, GRID, 2)


def test_every_tile_lies_inside_its_cell() -> None:
    corners = places(200)
    cells = np.stack(np.mgrid[:GRID, :GRID], axis=-1) * CELL
    assert (corners >= cells).all()
    assert (corners + TILE <= cells + CELL).all()


def test_jitter_histogram_is_flat_over_all_places_in_the_cell() -> None:
    jitter = (places(1500) % CELL).reshape(-1)
    counts = np.bincount(jitter, minlength=CELL - TILE + 1)
    assert len(counts) == 12, "0 to 11 pixels"
    expected = len(jitter) / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3, "chi-squared with 11 degrees of freedom, p = 0.001"


def test_gap_histogram_is_a_triangle_around_11() -> None:
    """The gap is 11 - a + b for two independent jitters: 0 to 22 pixels, (12 - |gap - 11|) / 144 of them each."""
    corners = places(1500)
    gaps = np.concatenate(
        [
            (corners[:, :, 1:, 1] - corners[:, :, :-1, 1] - TILE).ravel(),  # between columns
            (corners[:, 1:, :, 0] - corners[:, :-1, :, 0] - TILE).ravel(),  # between rows
        ]
    )
    counts = np.bincount(gaps, minlength=23)
    assert len(counts) == 23
    assert counts.min() > 0
    assert gaps.mean() == pytest.approx(11, abs=0.15)
    expected = (12 - np.abs(np.arange(23) - 11)) / 144
    assert counts / len(gaps) == pytest.approx(expected, abs=0.01)


def test_without_room_there_is_neither_jitter_nor_gap() -> None:
    """The negative example: a tile as large as its cell, as some libraries cut it; lines then run on from tile to tile."""
    corners = tile_corners(3, 21, 21, generator(1)).reshape(3, 3, 2)
    assert np.array_equal(corners, np.stack(np.mgrid[:3, :3], axis=-1) * 21)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_channels_are_shifted_within_bounds_and_within_the_cell(shift: int) -> None:
    rng = generator(2, "shift")
    seen = set()
    for _ in range(100):
        corners = tile_corners(GRID, CELL, TILE, rng)
        moved = shift_channels(corners, shift, CELL, TILE, rng)
        assert moved.shape == (9, 3, 2)
        apart = moved - corners[:, None]
        seen |= set(np.unique(apart).tolist())
        cells = (corners // CELL * CELL)[:, None]
        assert (moved >= cells).all()
        assert (moved + TILE <= cells + CELL).all()
    assert seen == set(range(-shift, shift + 1))


def test_pixels_are_those_at_the_corners() -> None:
    rng = generator(3, "cut")
    pixels = rng.integers(0, 256, (48, 48, 3), np.uint8)
    corners = shift_channels(tile_corners(3, 16, 11, rng), 2, 16, 11, rng)
    cut = cut_tiles(pixels, corners, 11)
    for tile in range(9):
        for channel in range(3):
            row, column = corners[tile, channel]
            assert np.array_equal(cut[tile, :, :, channel], pixels[row : row + 11, column : column + 11, channel])


def test_tiles_without_room_lie_down_as_the_picture_they_were() -> None:
    pixels = generator(4).integers(0, 256, (48, 48, 3), np.uint8)
    corners = np.repeat(tile_corners(3, 16, 16, generator(0))[:, None], 3, axis=1)
    tiles = torch.from_numpy(cut_tiles(pixels, corners, 16)).movedim(-1, -3)[None].float() / 255
    assert torch.equal(laid_out(tiles, 3, 0)[0], torch.from_numpy(pixels).movedim(-1, 0).float() / 255)
    apart = laid_out(tiles, 3, 4)
    assert apart.shape == (1, 3, 56, 56)
    assert (apart[..., 16:20] == 1).all()
    assert torch.equal(apart[0, :, 20:36, 40:56], tiles[0, 5])


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60), (50, 50)])
def test_squares_are_of_the_share_wanted_and_inside(height: int, width: int) -> None:
    rng = generator(5, "square")
    short = min(height, width)
    boxes = np.array([random_square(height, width, rng, (0.6, 0.9)) for _ in range(300)])
    assert (boxes[:, 2] == boxes[:, 3]).all()
    assert boxes[:, 2].min() == round(0.6 * short)
    assert boxes[:, 2].max() == round(0.9 * short)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()
