"""A folder of numbered pictures as a video: the numbers in the names are its clock."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES
from embodied_ssl.errors import BadItem

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def in_order(names: Iterable[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of pictures in the order of the last number in each, and those numbers int64 [n]; all others left out.

    ``frame_9.jpg`` comes before ``frame_10.jpg``. Of two names with one number the later in the alphabet counts.
    """
    found: dict[int, str] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        number = _LAST_NUMBER.search(stem)
        if number and suffix.lower() in SUFFIXES and not name.startswith("."):
            found[int(number[1])] = name
    numbers = sorted(found)
    return [found[number] for number in numbers], np.array(numbers, np.int64)


def seconds_of(numbers: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
    """When numbered pictures were taken, ``rate`` of them a second, since the first: a number that is missing leaves a gap."""
    return np.asarray((numbers - numbers[0]) / rate, np.float64)


def folder_frames(folder: str, rate: float, short_side: int | None) -> PictureSequence:
    """The pictures right inside a folder, in the order of their numbers.

    Args:
        folder: its path.
        rate: pictures a second.
        short_side: frames are scaled so that their shorter side has so many pixels; None leaves them as they are.

    Raises:
        BadItem: it cannot be read, or has no numbered pictures.
    """
    try:
        changed = os.stat(folder).st_mtime_ns
        files, numbers = _listed(folder, changed)
    except OSError as error:
        raise BadItem(folder, f"cannot be read ({error.strerror})") from None
    if not files:
        raise BadItem(folder, "has no pictures with numbers in their names")
    return PictureSequence(folder, files, seconds_of(numbers, rate), short_side)


@lru_cache(maxsize=64)
def _listed(folder: str, changed: int) -> tuple[list[str], NDArray[np.int64]]:
    """Listing a hundred thousand names takes a moment, and every draw from the folder needs them."""
    return in_order(os.listdir(folder))
