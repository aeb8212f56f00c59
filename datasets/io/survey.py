"""What one look at all frames of a video tells: how much each moves, where shots are cut, and what lies inside borders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.borders import Borders, Content
from embodied_ssl.datasets.io.cuts import Cuts

VERSION = 1  # of what a survey finds; raise it when the same video would be found otherwise


@dataclass(frozen=True)
class Findings:
    """What a survey found of n frames.

    Attributes:
        motion: mean absolute difference to the frame before, in grey levels, float32 [n]; the first of every shot is 0.
        shots: which uncut shot each frame is of, int64 [n]: 0, and one more after every cut.
        content: what lies inside black bars and burnt-in borders: top, left, height, width as shares of the frame.
    """

    motion: NDArray[np.float32]
    shots: NDArray[np.int64]
    content: Content


class Survey:
    """Is shown the frames of a video one after another, all as grey levels [h, w] of one small size."""

    def __init__(self) -> None:
        self._changes: list[float] = []
        self._before: NDArray[np.uint8] | None = None
        self._borders = Borders()
        self._cuts = Cuts(self._borders)

    def add(self, picture: NDArray[np.uint8]) -> None:
        """The next frame, uint8 [h, w]; it must not be changed afterwards."""
        change = 0.0 if self._before is None else float(cv2.mean(cv2.absdiff(picture, self._before))[0])
        self._before = picture
        self._changes.append(change)
        self._borders.add(picture)
        self._cuts.add(picture, change)

    def skip(self) -> None:
        """A frame that cannot be seen: it and the next have no motion, so that no sampler seeks them out."""
        self._before = None
        self._changes.append(0.0)
        self._cuts.add(None, 0.0)

    def findings(self) -> Findings:
        """What was found; no frames may be shown after this."""
        self._cuts.close()
        motion, shots = np.array(self._changes, np.float32), np.zeros(len(self._changes), np.int64)
        motion[self._cuts.first] = 0  # another scene is no motion
        shots[self._cuts.first] = 1
        return Findings(motion, np.cumsum(shots), self._borders.content())
