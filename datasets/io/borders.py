"""What lies inside black bars and burnt-in strips, the same box for every frame of a video.

A border is told from the scene by never changing: a bar stays black while the line beside it lights up, and a strip (a logo,
a caption, a clock whose digits run) stays as it is for the most part while everything else moves. Both end in a straight line.
In doubt the whole frame is kept: dark, static and short videos lose nothing, nor does a strip one can see through end up cut.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Content = tuple[float, float, float, float]  # top, left, height, width as shares of the frame
WHOLE: Content = (0.0, 0.0, 1.0, 1.0)

FEWEST = 10  # frames that must have been seen
FEWEST_FOR_STRIP = 60  # to believe a strip: in a shorter time much of a scene stays as it is
LARGEST = 0.25  # share of a side that a border may take at either end: half of each side is always kept
BLACK = 24  # a bar is never brighter
EVEN = 12  # nor do its grey levels differ by more, from place to place
LIT = 40  # what is beside it has been brighter than this ...
LIT_SHARE = 0.5  # ... for so much of its length
STILL = 24  # grey levels by which a still pixel may vary over the whole video: coding noise
STILL_SHARE = 0.7  # of a strip's length; a clock's digits take the rest
MOVING = 48  # grey levels that a pixel of the scene varies by
MOVING_SHARE = 0.6  # of all that is not border, and of the length along which a strip ends in something that moves
BLENDED = 2  # lines beside a border that coding and scaling blend with it


class Borders:
    """Is shown a video's frames one after another in grey levels [h, w], black being 0; then asked for the box."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, picture: Grey) -> None:
        if not self._count:
            self._brightest, self._darkest = picture.copy(), picture.copy()
        cv2.max(self._brightest, picture, self._brightest)
        cv2.min(self._darkest, picture, self._darkest)
        self._count += 1

    def content(self) -> Content:
        """The box inside the borders; the whole frame where none is sure."""
        if self._count < FEWEST:
            return WHOLE
        height, width = self._brightest.shape
        top, bottom, left, right = 0, height, 0, width
        for _ in range(2):  # bars above hide where a strip at the side ends, and the other way round
            top, bottom = self._ends(np.s_[:, left:right], upright=True)
            left, right = self._ends(np.s_[top:bottom, :], upright=False)
        return top / height, left / width, (bottom - top) / height, (right - left) / width

    def _ends(self, part: tuple[slice, slice], upright: bool) -> tuple[int, int]:
        """First line of the content and the one after its last, along one side of a part of the frame."""
        bright, dark = self._brightest[part], self._darkest[part]
        if not upright:
            bright, dark = bright.T, dark.T
        return self._border(bright, dark), len(bright) - self._border(bright[::-1], dark[::-1])

    def _border(self, brightest: Grey, darkest: Grey) -> int:
        """Lines to leave out at the beginning of [lines, length]: the border and those it blends with; 0 if there is none."""
        depth = _bar(brightest)
        if not depth and self._count >= FEWEST_FOR_STRIP:
            depth = _strip(brightest - darkest)
        return depth + BLENDED if depth else 0


def _bar(brightest: Grey) -> int:
    """Lines in a black bar at the beginning; 0 if there is none."""
    depth = _leading(np.quantile(brightest, 0.98, axis=1) <= BLACK)
    if not depth or np.ptp(np.quantile(brightest[:depth], [0.02, 0.98])) > EVEN:
        return 0
    return depth if np.mean(brightest[depth + BLENDED] > LIT) >= LIT_SHARE else 0


def _strip(spread: Grey) -> int:
    """Lines in a still strip at the beginning, given how much every pixel varies; 0 if there is none."""
    depth = _leading(np.mean(spread <= STILL, axis=1) >= STILL_SHARE)
    if not depth:
        return 0
    inside = spread[depth + BLENDED : len(spread) - int(LARGEST * len(spread))] >= MOVING
    ends = inside[0] & (spread[depth - 1] <= STILL)
    return depth if ends.mean() >= MOVING_SHARE and inside.mean() >= MOVING_SHARE else 0


def _leading(lines: NDArray[np.bool_]) -> int:
    """How many lines hold from the beginning on; 0 where they are more than a border may take."""
    depth = len(lines) if lines.all() else int(np.argmin(lines))
    return depth if depth + BLENDED <= LARGEST * len(lines) else 0


def upright(content: Content, turns: int) -> Content:
    """Where a box of shares lies after so many quarter turns counter-clockwise of the frame."""
    for _ in range(turns % 4):
        top, left, height, width = content
        content = (1 - left - width, top, width, height)
    return content


def in_pixels(content: Content, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box of shares in the pixels of a frame of this height and width; pixels partly outside are left out."""
    ends = [(start * side, (start + length) * side) for start, length, side in zip(content[:2], content[2:], size, strict=True)]
    (top, bottom), (left, right) = [(int(np.ceil(first - 1e-6)), int(np.floor(last + 1e-6))) for first, last in ends]
    return top, left, max(1, bottom - top), max(1, right - left)
