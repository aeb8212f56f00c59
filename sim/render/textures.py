"""A bank of textures for domain randomisation: drawn once from fixed keys, so that number k looks the same in every data set.

All of them repeat without a seam, and are pale: what they are laid on multiplies them by its own colour.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Floats

BANK = 64  # textures in it
SIZE = 64  # pixels of a side
PALE, DARK = 255.0, 90.0  # grey levels between which they lie


def from_bank(number: int) -> Pixels | None:
    """Texture ``number`` uint8 [64, 64, 3], the same array whenever it is asked for; None for -1.

    Raises:
        ValueError: the bank has no such number.
    """
    if number == -1:
        return None
    if not 0 <= number < BANK:
        raise ValueError(f"texture {number} is not in the bank; give 0 to {BANK - 1}, or -1 for none")
    return _kept(number)


@cache
def _kept(number: int) -> Pixels:
    made = texture(generator("texture", number))
    made.setflags(write=False)
    return made


def texture(rng: np.random.Generator, size: int = SIZE) -> Pixels:
    """Draw a texture uint8 [size, size, 3] that repeats in both directions."""
    kind = (_noise, _stripes, _checks, _rings, _speckles)[int(rng.integers(5))]
    pattern = kind(rng, size)
    tint = rng.uniform(0.75, 1.0, 3)
    grey = DARK + (PALE - DARK) * np.clip(pattern, 0, 1)
    other = DARK + (PALE - DARK) * (1 - 0.5 * np.clip(pattern, 0, 1))
    mixed = np.where(rng.uniform() < 0.5, 1.0, tint) * grey[..., None] * 0.8 + 0.2 * other[..., None] * tint
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _axes(size: int) -> tuple[Floats, Floats]:
    """Row and column of each pixel as an angle that goes round once from side to side."""
    at = 2 * math.pi * np.arange(size) / size
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return rows, columns


def _noise(rng: np.random.Generator, size: int) -> Floats:
    """Clouds: waves of random directions and phases, weaker the finer they are."""
    rows, columns = _axes(size)
    total = np.zeros((size, size))
    for _ in range(24):
        up, right = rng.integers(-8, 9, 2)
        weight = 1 / (1 + math.hypot(up, right))
        total += weight * np.cos(up * rows + right * columns + rng.uniform(0, 2 * math.pi))
    spread: Floats = (total - total.min()) / np.ptp(total)
    return spread


def _stripes(rng: np.random.Generator, size: int) -> Floats:
    """Stripes in a direction in which they meet themselves at the edges; hard or soft."""
    rows, columns = _axes(size)
    up, right = rng.integers(-4, 5, 2)
    wave = np.cos((up or 1) * rows + right * columns + rng.uniform(0, 2 * math.pi))
    return _edged(rng, wave)


def _checks(rng: np.random.Generator, size: int) -> Floats:
    """Checks, as many across as down or not."""
    rows, columns = _axes(size)
    down, across = rng.integers(1, 6, 2)
    return _edged(rng, np.sin(down * rows) * np.sin(across * columns))


def _rings(rng: np.random.Generator, size: int) -> Floats:
    """Grain of wood: stripes that clouds have bent."""
    rows, _ = _axes(size)
    grain: Floats = 0.5 + 0.5 * np.sin(int(rng.integers(2, 7)) * rows + 5 * math.pi * _noise(rng, size))
    return grain


def _speckles(rng: np.random.Generator, size: int) -> Floats:
    """Dots of one size, scattered."""
    rows, columns = _axes(size)
    field = np.ones((size, size))
    width = rng.uniform(0.1, 0.35)
    for row, column in rng.uniform(0, 2 * math.pi, (int(rng.integers(8, 40)), 2)):
        away = np.hypot(2 * np.sin((rows - row) / 2), 2 * np.sin((columns - column) / 2))
        field = np.minimum(field, away > width)
    return field


def _edged(rng: np.random.Generator, wave: Floats) -> Floats:
    """A wave in -1..1 as a pattern in 0..1 whose edges are somewhere between soft and hard."""
    sharpness = math.exp(rng.uniform(0, 3))
    pattern: Floats = 0.5 + 0.5 * np.tanh(sharpness * wave) / math.tanh(sharpness)
    return pattern
