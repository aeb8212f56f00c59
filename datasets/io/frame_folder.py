"""A folder of numbered pictures as a video: the numbers in the names are its clock, unless a list of times stands beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.flow import MotionKind
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES
from embodied_ssl.errors import BadItem

TIMES = ("timestamps.txt", "times.txt")
UNCOUNTABLE = 10**12  # a number from here on is a time or a name, since no film has so many frames
_DIGITS = re.compile(r"(\d+)")


def in_order(names: Iterable[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of pictures in the order of the number that counts them, and those numbers int64 [n]; all others left out.

    ``frame_9.jpg`` comes before ``frame_10.jpg``, and ``shot2_9_480p.jpg`` is picture 9: what counts is the one number that
    varies. Names of other words than most are left out, and of two names with one number all but the last in the alphabet.
    Where several numbers vary (a date and a time) they give the order only, and the pictures are counted 0, 1, 2, ...
    """
    shapes: dict[tuple[str, ...], list[tuple[tuple[int, ...], str]]] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        parts = _DIGITS.split(stem)
        if len(parts) > 1 and suffix.lower() in SUFFIXES and not name.startswith("."):
            shapes.setdefault(tuple(parts[::2]), []).append((tuple(map(int, parts[1::2])), name))
    commonest = max(shapes.values(), key=len) if shapes else []
    found = dict(commonest)
    keys = sorted(found)
    varying = [place for place, column in enumerate(zip(*keys, strict=True)) if len(set(column)) > 1]
    counted = [key[varying[0] if varying else -1] for key in keys]
    if len(varying) > 1 or max(counted, default=0) >= UNCOUNTABLE:
        counted = list(range(len(keys)))
    return [found[key] for key in keys], np.array(counted, np.int64)


def seconds_of(numbers: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
    """When numbered pictures were taken, ``rate`` of them a second, since the first: a number that is missing leaves a gap."""
    return np.asarray((numbers - numbers[0]) / rate, np.float64)


def times_file(folder: str) -> str | None:
    """The list of times in a folder; None where there is none."""
    return next((path for path in (os.path.join(folder, name) for name in TIMES) if os.path.isfile(path)), None)


def read_times(path: str, count: int) -> NDArray[np.float64]:
    """One time in seconds a line, float64 [count].

    Raises:
        BadItem: not so many lines, a line that is no number, or times that do not rise.
    """
    try:
        with open(path, encoding="utf-8") as file:
            times = np.array([float(line) for line in file if line.strip()], np.float64)
    except (OSError, ValueError) as error:
        raise BadItem(path, f"not a list of times in seconds, one a line ({error})") from None
    if len(times) != count:
        raise BadItem(path, f"{len(times)} times for {count} pictures")
    if not np.isfinite(times).all() or np.any(np.diff(times) <= 0):
        raise BadItem(path, "its times do not rise from line to line")
    return times


def folder_frames(folder: str, rate: float, short_side: int | None, motion: MotionKind = "difference") -> PictureSequence:
    """The pictures right inside a folder, in the order of their numbers.

    Args:
        folder: its path.
        rate: pictures a second, by their numbers; a ``timestamps.txt`` or ``times.txt`` in the folder goes before it.
        short_side: frames are scaled so that their shorter side has so many pixels; None leaves them as they are.
        motion: how a frame's motion is measured, see `embodied_ssl.datasets.io.flow`.

    Raises:
        BadItem: it cannot be read, has no numbered pictures, or its list of times does not fit.
    """
    try:
        times = times_file(folder)
        changed = os.stat(folder).st_mtime_ns, os.stat(times).st_mtime_ns if times else 0
        files, seconds = _listed(folder, rate, times, changed)
    except OSError as error:
        raise BadItem(folder, f"cannot be read ({error.strerror})") from None
    return PictureSequence(folder, files, seconds, short_side, motion)


@lru_cache(maxsize=64)
def _listed(folder: str, rate: float, times: str | None, changed: tuple[int, int]) -> tuple[list[str], NDArray[np.float64]]:
    """Listing a hundred thousand names takes a moment, and every draw from the folder needs them."""
    files, numbers = in_order(os.listdir(folder))
    if not files:
        raise BadItem(folder, "has no pictures with numbers in their names")
    return files, read_times(times, len(files)) if times else seconds_of(numbers, rate)
