"""A video kept as a folder of picture files, behind the same handle as any other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, flow, pictures, survey
from embodied_ssl.datasets.io.borders import in_pixels
from embodied_ssl.datasets.io.flow import MotionKind
from embodied_ssl.datasets.io.frame_numbers import check_side, checked, fitted
from embodied_ssl.datasets.io.greys import grey_of
from embodied_ssl.datasets.io.survey import Findings, Survey
from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem


class PictureSequence:
    """Frames that are picture files, all of one size.

    Args:
        folder: where the files are.
        files: their names, in order.
        seconds: when each was taken, float64 [n].
        short_side: scale so that the shorter side has so many pixels; None leaves them as they are.
        motion: what ``motion`` gives, see `embodied_ssl.datasets.io.flow`.
    """

    def __init__(
        self,
        folder: Path | str,
        files: Sequence[str],
        seconds: NDArray[np.float64],
        short_side: int | None = None,
        motion: MotionKind = "difference",
    ) -> None:
        if len(files) != len(seconds):
            raise ValueError(f"{len(files)} files but {len(seconds)} times")
        check_side(short_side)
        flow.check_kind(motion)
        self.folder = str(folder)
        self.files = list(files)
        self._seconds = np.asarray(seconds, np.float64)
        self.short_side = short_side
        self.motion_kind = motion

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("size", "findings", "flow")}

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
        """Height and width that two of five pictures have, or the first that can be read: one odd picture spoils no other."""
        seen: list[tuple[int, int]] = []
        unread: list[BadItem] = []
        last = len(self) - 1
        for number in dict.fromkeys((0, last // 2, last, last // 4, last * 3 // 4)):
            try:
                height, width = self._read(number).shape[:2]
            except BadItem as item:
                unread.append(item)
                continue
            if (height, width) in seen:
                return height, width
            seen.append((height, width))
        if not seen:
            raise unread[0]
        return seen[0]

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
                raise BadItem(file, f"{pixels.shape[:2]} pixels where the others have {self.size}")
            row[:] = pictures.crop_and_resize(pixels, (0, 0, *self.size), size)
        return frames[places]

    @cached_property
    def findings(self) -> Findings:
        """Motion, shots and content, found by one pass over the pictures when first asked for, then remembered."""
        key: tuple[int | str, ...] = ("picture survey", survey.VERSION, *self._key())
        kept = array_cache.recall(*key)
        if kept is not None and {"motion", "shots", "content"} <= kept.keys() and len(kept["motion"]) == len(self):
            top, left, height, width = kept["content"].tolist()
            return Findings(kept["motion"], kept["shots"], (top, left, height, width))
        seen = Survey()
        for picture in self._greys():
            if picture is None:
                seen.skip()
            else:
                seen.add(picture)
        found = seen.findings()
        array_cache.keep({"motion": found.motion, "shots": found.shots, "content": np.array(found.content)}, *key)
        return found

    @cached_property
    def flow(self) -> NDArray[np.float32]:
        """Mean optical flow of every frame [n]; found by another such pass."""
        return flow.kept_flow(self.motion_kind, self._greys, self.shots, *self._key())

    @property
    def motion(self) -> NDArray[np.float32]:
        return self.findings.motion if self.motion_kind == "difference" else self.flow

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.findings.shots

    @property
    def content(self) -> Box:
        return in_pixels(self.findings.content, fitted(self.size, self.short_side))

    def _greys(self) -> Iterator[NDArray[np.uint8] | None]:
        """Every picture in grey levels, None for one that cannot be read."""
        for number in range(len(self)):
            try:
                picture = grey_of(self._read(number))
            except BadItem:
                yield None
            else:
                yield picture

    def _key(self) -> tuple[str, ...]:
        return (os.path.abspath(self.folder), *self._marks())

    def _marks(self) -> Iterator[str]:
        """Each file's name, size and time of change, so that what was found is found anew when one changes."""
        for file in self.files:
            try:
                found = os.stat(os.path.join(self.folder, file))
                yield f"{file} {found.st_size} {found.st_mtime_ns}"
            except OSError:
                yield f"{file} missing"
