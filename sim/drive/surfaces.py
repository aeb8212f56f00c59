"""Textures of floors, walls, furniture and streets: pale patterns without seams, which the colour of a finish tints.

All are made, not taken from pictures; variant k of a kind is always the same, and a process keeps what it has made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Floats

SIDE = 128  # pixels of a texture
VARIANTS = 6  # of each kind


def smooth(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Smooth noise in 0..1 that repeats in both directions: [rows, columns] with so many bumps along each."""
    grid = rng.uniform(size=cells)
    at = [np.arange(n) * c / n for n, c in zip(shape, cells, strict=True)]
    low = [a.astype(int) for a in at]
    share = [a - b for a, b in zip(at, low, strict=True)]
    r, c = (s * s * (3 - 2 * s) for s in share)
    after = [(b + 1) % n for b, n in zip(low, cells, strict=True)]
    upper = grid[low[0]][:, low[1]] * (1 - c) + grid[low[0]][:, after[1]] * c
    lower = grid[after[0]][:, low[1]] * (1 - c) + grid[after[0]][:, after[1]] * c
    return np.asarray(upper * (1 - r[:, None]) + lower * r[:, None])


def _square(rng: np.random.Generator, cells: int) -> Floats:
    return smooth(rng, (SIDE, SIDE), (cells, cells))


def _grain(rng: np.random.Generator) -> Floats:
    """Wood with its grain along the columns."""
    fine = smooth(rng, (SIDE, SIDE), (SIDE // 2, 4))
    rings = np.sin(2 * np.pi * (6 * np.arange(SIDE)[:, None] / SIDE + 1.5 * smooth(rng, (SIDE, SIDE), (3, 2))))
    return np.asarray(0.86 + 0.12 * fine + 0.035 * rings)


def _planks(rng: np.random.Generator) -> Floats:
    boards = int(rng.choice([4, 6, 8]))
    tall = SIDE // boards
    picture = _grain(rng)
    for k in range(boards):
        rows = slice(k * tall, (k + 1) * tall if k < boards - 1 else SIDE)
        picture[rows] = np.roll(picture[rows], int(rng.integers(SIDE)), axis=1) * rng.uniform(0.82, 1.05)
        picture[rows.start] *= 0.6
        picture[rows, int(rng.integers(SIDE))] *= 0.65
    return picture


def _tiles(rng: np.random.Generator) -> Floats:
    count, contrast = int(rng.choice([2, 4])), float(rng.choice([0.0, 0.0, 0.25]))
    side = SIDE // count
    picture = 0.94 + 0.05 * _square(rng, 24)
    for i in range(count):
        for j in range(count):
            part = picture[i * side : (i + 1) * side, j * side : (j + 1) * side]
            part *= rng.uniform(0.92, 1.0) * (1 - contrast * ((i + j) % 2))
    joint = np.arange(SIDE) % side < 3
    picture[joint] = picture[:, joint] = rng.uniform(0.6, 0.8)
    return picture


def _carpet(rng: np.random.Generator) -> Floats:
    return 0.72 + 0.4 * rng.uniform(size=(SIDE, SIDE)) * (0.7 + 0.3 * _square(rng, 8))


def _stone(rng: np.random.Generator) -> Floats:
    speckle = rng.uniform(size=(SIDE, SIDE)) > 0.85
    return 0.85 + 0.12 * _square(rng, 10) - 0.2 * speckle * _square(rng, 40)


def _plaster(rng: np.random.Generator) -> Floats:
    return 0.92 + 0.06 * _square(rng, 12) + 0.04 * _square(rng, 48)


def _stripes(rng: np.random.Generator) -> Floats:
    count = int(rng.choice([2, 4, 8]))
    wave = np.sin(2 * np.pi * count * (np.arange(SIDE) + 0.5) / SIDE)
    line = 0.92 + 0.08 * np.sign(wave) if rng.uniform() < 0.6 else 0.94 + 0.06 * wave
    return np.tile(line, (SIDE, 1)) + 0.02 * _square(rng, 32)


def _dots(rng: np.random.Generator) -> Floats:
    count, size = int(rng.choice([2, 3, 4])), rng.uniform(0.15, 0.3)
    y, x = np.indices((SIDE, SIDE)) * count / SIDE
    y = y + 0.5 * (x.astype(int) % 2) if count % 2 == 0 else y
    return np.asarray(0.97 - 0.2 * (np.hypot(x % 1 - 0.5, y % 1 - 0.5) < size) + 0.02 * _square(rng, 32))


def _brick(rng: np.random.Generator) -> Floats:
    rows, columns = 8, 4
    tall, wide = SIDE // rows, SIDE // columns
    picture = 0.9 + 0.1 * _square(rng, 40)
    for i in range(rows):
        strip = picture[i * tall : (i + 1) * tall]
        for j in range(columns):
            strip[:, j * wide : (j + 1) * wide] *= rng.uniform(0.72, 1.05)
            strip[:, j * wide : j * wide + 2] = 1.05
        strip[:2] = 1.05
        strip[:] = np.roll(strip, wide // 2 * (i % 2), axis=1)
    return picture


def _weave(rng: np.random.Generator) -> Floats:
    fine = int(rng.choice([16, 32]))
    y, x = np.indices((SIDE, SIDE)) * fine // SIDE
    return 0.86 + 0.1 * ((x + y) % 2) + 0.06 * rng.uniform(size=(SIDE, SIDE))


def _asphalt(rng: np.random.Generator) -> Floats:
    patches = 0.12 * (_square(rng, 3) - 0.5) + 0.1 * (_square(rng, 12) - 0.5)
    return 0.86 + patches + 0.22 * (rng.uniform(size=(SIDE, SIDE)) - 0.5)


def _grass(rng: np.random.Generator) -> Floats:
    return 0.65 + 0.25 * _square(rng, 6) + 0.35 * (smooth(rng, (SIDE, SIDE), (64, 64)) - 0.3)


def _roof(rng: np.random.Generator) -> Floats:
    rows = 8
    tall = SIDE // rows
    shade = np.tile(np.linspace(1.0, 0.72, tall), rows)[:, None] * np.ones((1, SIDE))
    joint = (np.arange(SIDE) % (SIDE // 8)) < 2
    shade[:, joint] *= 0.85
    return np.asarray(shade * (0.9 + 0.15 * _square(rng, 16)))


_MAKE: dict[str, Callable[[np.random.Generator], Floats]] = {
    "grain": _grain,
    "planks": _planks,
    "tiles": _tiles,
    "carpet": _carpet,
    "stone": _stone,
    "plaster": _plaster,
    "stripes": _stripes,
    "dots": _dots,
    "brick": _brick,
    "weave": _weave,
    "asphalt": _asphalt,
    "grass": _grass,
    "roof": _roof,
}
KINDS = tuple(_MAKE)


@lru_cache(None)
def surface(kind: str, variant: int) -> Pixels:
    """A texture uint8 [SIDE, SIDE, 3], the same array whenever it is asked for.

    Args:
        kind: one of `KINDS`.
        variant: below `VARIANTS`.
    """
    picture = np.clip(_MAKE[kind](generator("surface", kind, variant)), 0, 1)
    pixels = np.repeat((255 * picture).round().astype(np.uint8)[..., None], 3, axis=2)
    pixels.flags.writeable = False  # so that renderers need not look whether it has changed
    return pixels


def draw_surface(rng: np.random.Generator, *kinds: str) -> Pixels:
    """Any variant of one of these kinds."""
    return surface(kinds[int(rng.integers(len(kinds)))], int(rng.integers(VARIANTS)))
