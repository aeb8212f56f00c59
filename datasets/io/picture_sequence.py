"""A video kept as a folder of picture files, behind the same handle as any other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, pictures
from embodied_ssl.datasets.io.frame_numbers import check_side, checked, fitted
from embodied_ssl.datasets.io.video_index import MOTION_SIZE, MotionMeter
from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem


class PictureSequence:
    """Frames that are picture files, all of one size.

    Args:
        folder: where the files are.
        files: their names, in order.
        seconds: when each was taken, float64 [n].
        short_side: scale so that the shorter side has so many pixels; None leaves them as they are.
    """

    def __init__(
        self, folder: Path | str, files: Sequence[str], seconds: NDArray[np.float64], short_side: int | None = None
    ) -> None:
        if len(files) != len(seconds):
            raise ValueError(f"{len(files)} files but {len(seconds)} times")
        check_side(short_side)
        self.folder = str(folder)
        self.files = list(files)
        self._seconds = np.asarray(seconds, np.float64)
        self.short_side = short_side

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("motion", "size")}

    @property
    def name(self) -> str:
        return self.folder

    def __len__(self) -> int:
        return len(self.files)

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self._seconds

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the first picture, which all others must share."""
        height, width = self._read(0).shape[:2]
        return height, width

    def _read(self, number: int) -> Pixels:
        return pictures.FilePicture(os.path.join(self.folder, self.files[number])).pixels

    def take(self, indices: Sequence[int]) -> Pixels:
        numbers = checked(indices, len(self), self.name)
        size = fitted(self.size, self.short_side)
        wanted, places = np.unique(numbers, return_inverse=True)
        frames = np.empty((len(wanted), *size, 3), np.uint8)
        for row, number in zip(frames, wanted.tolist(), strict=True):
            pixels = self._read(number)
            if pixels.shape[:2] != self.size:
                file = os.path.join(self.folder, self.files[number])
                raise BadItem(file, f"{pixels.shape[:2]} pixels where the first picture has {self.size}")
            row[:] = pictures.crop_and_resize(pixels, (0, 0, *self.size), size)
        return frames[places]

    @cached_property
    def motion(self) -> NDArray[np.float32]:
        """As for a video; found by one pass over the pictures when first asked for, then remembered."""
        key: tuple[int | str, ...] = ("picture motion", 1, os.path.abspath(self.folder), *self._marks())
        kept = array_cache.recall(*key)
        if kept is not None and len(kept.get("motion", ())) == len(self):
            return kept["motion"].astype(np.float32)
        meter = MotionMeter()
        for number in range(len(self)):
            try:
                levels = cv2.cvtColor(self._read(number), cv2.COLOR_RGB2GRAY)
                meter.add(np.asarray(cv2.resize(levels, MOTION_SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8))
            except BadItem:
                meter.skip()
        scores = np.array(meter.scores, np.float32)
        array_cache.keep({"motion": scores}, *key)
        return scores

    @property
    def shots(self) -> NDArray[np.int64]:
        return np.zeros(len(self), np.int64)

    @property
    def content(self) -> Box:
        return 0, 0, *fitted(self.size, self.short_side)

    def _marks(self) -> Iterator[str]:
        """Each file's name, size and time of change, so that the score is found anew when one changes."""
        for file in self.files:
            try:
                found = os.stat(os.path.join(self.folder, file))
                yield f"{file} {found.st_size} {found.st_mtime_ns}"
            except OSError:
                yield f"{file} missing"
