"""Every frame as a small grey picture, cheaply: what motion, cuts and borders are found in and frames are recognised by."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels

GREY_SIZE = (90, 160)  # height and width of the small picture, whatever the shape of the frame
SKETCH_SIZE = (8, 8)

# 8-bit formats whose first plane is the luma, where black is 16 and white 235 unless the frame says otherwise.
_LUMA_FIRST = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12"})
_WITH_BLACK_AT_0 = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)


def grey(frame: VideoFrame, shrink: VideoReformatter) -> NDArray[np.uint8]:
    """A decoded frame in grey levels [90, 160], from 0 for black to 255 for white whatever range the file uses."""
    kind = frame.format.name
    plane: Any = frame.planes[0]
    if kind not in _LUMA_FIRST or plane.line_size < frame.width:  # a negative one: stored from the bottom up
        height, width = GREY_SIZE
        scaled = shrink.reformat(frame, width=width, height=height, format="gray", interpolation="AREA", threads=1)
        return np.asarray(scaled.to_ndarray(), np.uint8)
    # Cheaper by half: what is asked for is there already, as the first plane, and OpenCV is quick at halving.
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    small = _halved(luma, GREY_SIZE)
    whole_range = "j" in kind or frame.color_range == ColorRange.JPEG
    return np.ascontiguousarray(small) if whole_range else np.asarray(cv2.LUT(small, _WITH_BLACK_AT_0), np.uint8)


def grey_of(pixels: Pixels) -> NDArray[np.uint8]:
    """A picture uint8 RGB [H, W, 3] in grey levels [90, 160]."""
    return _halved(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8), GREY_SIZE)


def sketch_of(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture reduced to 8x8 cells."""
    return _halved(small, SKETCH_SIZE)


def _halved(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey levels averaged down to ``size`` (height, width), by halves as far as that goes."""
    height, width = levels.shape
    while height >= 2 * size[0] and width >= 2 * size[1] and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
        levels = _averaged(levels, (height, width))
    return levels if levels.shape == size else _averaged(levels, size)


def _averaged(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(levels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
