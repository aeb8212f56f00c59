"""Windows: stretches of a video chosen by motion, from which several examples are drawn for the price of decoding one.

Random frames cost a decoder a whole group of pictures each; frames of one stretch share that price. At 16 tuples a window
the price of each falls about eightfold, at 64 about thirtyfold; a frame cache is dearer to make and cheaper still.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.selected import Selected
from embodied_ssl.datasets.source import Frames
from embodied_ssl.errors import BadItem

FLOOR = 1e-3  # grey levels of motion granted to every frame: a video in which nothing moves is drawn from evenly


def longest_shot(shots: NDArray[np.int64]) -> int:
    """Frames in the longest uncut run of shots [n]."""
    return int(np.bincount(shots - shots[0]).max())


def draw_window(frames: Frames, length: int, least: int, rng: np.random.Generator) -> Frames:
    """A stretch of a video, drawn by how much moves in it.

    Args:
        frames: the video.
        length: frames in the stretch; 0, or more than there are, gives the whole video.
        least: frames that an example needs without a cut; every stretch that can be drawn has as many.
        rng: keyed generator.

    Raises:
        BadItem: no shot is so long.
    """
    shots = frames.shots
    if longest_shot(shots) < least:
        cuts = int(shots[-1] - shots[0])
        between = f" between its {cuts} cuts" if cuts else ""
        raise BadItem(frames.name, f"{longest_shot(shots)} frames{between} are too few: {least} are needed without a cut")
    if not length or length >= len(frames):
        return frames
    weight = window_weights(frames.motion, shots, max(length, least), least)
    start = int(rng.choice(len(weight), p=weight / weight.sum()))
    return Selected(frames, np.arange(start, start + max(length, least)))


def draw_clip(frames: Frames, length: int, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The frames of a clip, int64 [length]: every ``stride``-th of an uncut stretch, drawn by how much moves in it.

    A video too short for the stride gives the widest stride that fits; one too short for that, nothing.

    Raises:
        BadItem: no shot has ``length`` frames.
    """
    fits = min(stride, max(1, (longest_shot(frames.shots) - 1) // max(1, length - 1)))
    reach = (length - 1) * fits + 1
    weight = window_weights(frames.motion, frames.shots, reach, reach) if reach <= len(frames) else np.zeros(1)
    if not weight.any():
        raise BadItem(frames.name, f"{longest_shot(frames.shots)} frames are too few: {length} are needed without a cut")
    start = int(rng.choice(len(weight), p=weight / weight.sum()))
    return start + fits * np.arange(length, dtype=np.int64)


def window_weights(motion: NDArray[np.float32], shots: NDArray[np.int64], length: int, least: int) -> NDArray[np.float64]:
    """How eagerly to draw the window that starts at each frame: its mean motion, or 0 where no shot gives ``least`` frames.

    Args:
        motion: of every frame, float32 [n].
        shots: of every frame, int64 [n]; some shot has ``least`` frames.
        length: of a window, from ``least`` to n.
        least: frames without a cut.

    Returns:
        Float64 [n - length + 1].
    """
    so_far = np.concatenate([[0.0], np.cumsum(motion, dtype=np.float64)])
    weight = (so_far[length:] - so_far[:-length]) / length + FLOOR
    begins = np.flatnonzero(np.diff(shots, prepend=shots[0] - 1))
    ends = np.append(begins[1:], len(shots))
    possible = np.zeros(len(weight), bool)
    for begin, end in zip(begins, ends, strict=True):
        if end - begin >= least:  # windows that hold the first or the last `least` frames of the shot, and all between
            possible[max(0, begin + least - length) : max(0, end - least + 1)] = True
    return np.where(possible, weight, 0.0)
