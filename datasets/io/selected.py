"""Some frames of a video, as a video of its own: a stretch of it, or every so many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Box, Frames, Pixels


class Selected:
    """Chosen frames of another handle, as in `embodied_ssl.datasets.source.Frames`.

    Args:
        frames: the whole.
        numbers: which of its frames, rising, int64 [n]; at least one.
    """

    def __init__(self, frames: Frames, numbers: NDArray[np.int64]) -> None:
        if not len(numbers) or numbers[0] < 0 or numbers[-1] >= len(frames) or np.any(np.diff(numbers) < 1):
            raise ValueError(f"frames must be chosen rising from the {len(frames)} there are")
        self.frames = frames
        self.numbers = numbers

    @property
    def name(self) -> str:
        return self.frames.name

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.frames.seconds[self.numbers]

    @property
    def motion(self) -> NDArray[np.float32]:
        """The mean motion since the frame chosen before: what lies between moves too."""
        so_far = np.concatenate([[0.0], np.cumsum(self.frames.motion, dtype=np.float64)])[self.numbers + 1]
        return np.concatenate([[0.0], np.diff(so_far) / np.diff(self.numbers)]).astype(np.float32)

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.frames.shots[self.numbers]

    @property
    def content(self) -> Box:
        return self.frames.content

    def take(self, indices: Sequence[int]) -> Pixels:
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"{self.name} has frames 0..{len(self) - 1} here, not {wanted.min()}..{wanted.max()}")
        return self.frames.take(self.numbers[wanted].tolist())


def at_rate(seconds: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """The frames to keep for ``fps`` a second: the first at or after each tick of 1 / fps, int64 [m].

    A video that has no more than so many keeps all. Ticks count from the first frame, so what is kept does not depend on
    how the file is cut up or read. A small part of a tick is forgiven, since times are rounded.
    """
    ticks = np.floor((seconds - seconds[0]) * fps + 0.05).astype(np.int64)
    return np.flatnonzero(np.diff(ticks, prepend=-1) > 0)


def within(seconds: NDArray[np.float64], start: float, stop: float) -> NDArray[np.int64]:
    """The frames shown from ``start`` up to but not including ``stop``, in seconds since the first frame: int64 [m]."""
    since = seconds - seconds[0]
    return np.arange(*np.searchsorted(since, [start - 1e-6, stop - 1e-6]), dtype=np.int64)
