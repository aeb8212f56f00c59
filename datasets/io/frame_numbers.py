"""What every handle on frames is asked: which frames, and how large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError


def fitted(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width scaled so that the shorter one is ``short_side``; unchanged for None."""
    if short_side is None:
        return size
    height, width = size
    scale = short_side / min(size)
    return (short_side, max(1, round(width * scale))) if height <= width else (max(1, round(height * scale)), short_side)


def check_side(short_side: int | None) -> None:
    """Refuse a size that no frame can have.

    Raises:
        UserError: it is not above 0.
    """
    if short_side is not None and short_side < 1:
        raise UserError(f"short_side must be a number of pixels above 0, not {short_side}; set it with --set data.short_side=128")


def checked(indices: Sequence[int], length: int, name: str) -> NDArray[np.int64]:
    """Indices as an array; counting from the end is refused since a frame number that went negative is a mistake."""
    numbers = np.asarray(indices, dtype=np.int64).reshape(-1)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= length):
        raise IndexError(f"{name} has frames 0..{length - 1}, not {numbers.min()}..{numbers.max()}")
    return numbers
