"""What every feed is asked for: the same frames and the same crops, drawn by key.

A job is one visit to one stretch of a video. Feeds that read one sample at a time are given one triplet or clip a job,
feeds that share their decoding K triplets out of one window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator

WINDOW = 200  # frames that the triplets of one job lie in
LEAST_SPAN = 60  # frames from the first of a triplet to its last, at least; at most the window
CLIP, STRIDE = 16, 4  # frames of a clip, and from one to the next
SHORT_SIDE = 128
CROP = 112
GOLDEN = (5**0.5 - 1) / 2  # steps of this share of a video cover it evenly, wherever one stops


@dataclass(frozen=True)
class Job:
    """Samples to cut from one stretch of a video.

    Attributes:
        groups: frame numbers, rising in each row, int64 [k, n].
        crops: where each sample is cut out, as shares of the room there is: down, right, float64 [k, 2].
    """

    groups: NDArray[np.int64]
    crops: NDArray[np.float64]

    def cut(self, numbers: NDArray[np.int64], frames: Pixels) -> list[Pixels]:
        """The samples, uint8 [n, 112, 112, 3] each, out of whole frames uint8 [m, h, w, 3] with these (rising) numbers."""
        room = np.array(frames.shape[1:3]) - CROP
        corners = np.round(self.crops * room).astype(int)
        places = np.searchsorted(numbers, self.groups)
        return [frames[:, top : top + CROP, left : left + CROP][rows] for rows, (top, left) in zip(places, corners, strict=True)]


def triplets(length: int, turn: int, position: int, together: int = 1) -> Job:
    """Triplets of rising frames, 60 to 200 frames from first to last, all in one window.

    Args:
        length: frames in the video; at least a window.
        turn, position: which job; jobs of one turn are spread evenly over the video, however many are done.
        together: how many triplets. The first is the same for every number of them.
    """
    draw = generator("benchmark triplets", turn, position)
    start = _spread(length - WINDOW + 1, turn, position)
    spans = draw.integers(LEAST_SPAN, WINDOW, together)  # the last frame is so many after the first
    first = start + np.floor(draw.random(together) * (WINDOW - spans)).astype(np.int64)
    middle = first + 1 + np.floor(draw.random(together) * (spans - 1)).astype(np.int64)
    return Job(np.stack([first, middle, first + spans], 1), draw.random((together, 2)))


def clip(length: int, turn: int, position: int) -> Job:
    """One clip of 16 frames, every fourth of the video; arguments as for `triplets`."""
    draw = generator("benchmark clips", turn, position)
    first = _spread(length - (CLIP - 1) * STRIDE, turn, position)
    return Job(first + STRIDE * np.arange(CLIP, dtype=np.int64)[None], draw.random((1, 2)))


def _spread(places: int, turn: int, position: int) -> int:
    """One of so many places: those of successive positions are far apart, those of another turn elsewhere."""
    begin = generator("benchmark turn", turn).random()
    return int((begin + position * GOLDEN) % 1 * places)
