"""Frames of a video file by number, exactly: what comes back bears the time that was asked for, or nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import flow
from embodied_ssl.datasets.io.borders import in_pixels
from embodied_ssl.datasets.io.decord_reader import DecordBackend
from embodied_ssl.datasets.io.flow import MotionKind
from embodied_ssl.datasets.io.frame_numbers import check_side, checked, fitted
from embodied_ssl.datasets.io.pyav_reader import PyAVBackend
from embodied_ssl.datasets.io.torchcodec_reader import TorchcodecBackend
from embodied_ssl.datasets.io.video_index import VideoIndex, fingerprint, greys, index_of
from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem, UserError, suggest


class Backend(Protocol):
    """A way to decode. It gives upright frames at the index's size fitted to ``short_side``, or raises `BadItem`."""

    def check(self) -> None:
        """Raise a `UserError` when it is not installed."""

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        """The frames ``wanted`` (rising, no two alike), in that order."""


_backends: dict[str, Backend] = {"pyav": PyAVBackend(), "decord": DecordBackend(), "torchcodec": TorchcodecBackend()}


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UserError: there is none, or it is not installed.
    """
    if name not in _backends:
        raise UserError(f"there is no decoder '{name}'{suggest(name, _backends)}")
    _backends[name].check()
    return _backends[name]


class VideoFrames:
    """The frames of a video file, as in `embodied_ssl.datasets.source.Frames`. Nothing is opened until it is asked for.

    Args:
        path: the file.
        short_side: scale frames so that the shorter side has so many pixels; None leaves them as they are.
        decoder: ``"pyav"``, ``"decord"`` or ``"torchcodec"``.
        motion: what ``motion`` gives, see `embodied_ssl.datasets.io.flow`.
    """

    def __init__(
        self,
        path: Path | str,
        short_side: int | None = None,
        decoder: str = "pyav",
        motion: MotionKind = "difference",
    ) -> None:
        backend(decoder)
        check_side(short_side)
        flow.check_kind(motion)
        self.path = str(path)
        self.short_side = short_side
        self.decoder = decoder
        self.motion_kind = motion

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("index", "flow")}

    @cached_property
    def index(self) -> VideoIndex:
        """What can be shown of the file; found by one pass over it, then remembered."""
        return index_of(self.path)

    @property
    def name(self) -> str:
        return self.path

    def __len__(self) -> int:
        return len(self.index)

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.index.seconds

    @property
    def motion(self) -> NDArray[np.float32]:
        return self.index.motion if self.motion_kind == "difference" else self.flow

    @cached_property
    def flow(self) -> NDArray[np.float32]:
        """Mean optical flow of every frame [n]; found by another pass over the file, then remembered."""
        return flow.kept_flow(self.motion_kind, lambda: greys(self.path, self.index), self.shots, *self.index.fingerprint)

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.index.shots

    @property
    def content(self) -> Box:
        return in_pixels(self.index.content, fitted(self.index.size, self.short_side))

    def take(self, indices: Sequence[int]) -> Pixels:
        numbers = checked(indices, len(self), self.name)
        wanted, places = np.unique(numbers, return_inverse=True)
        frames = np.empty((len(wanted), *fitted(self.index.size, self.short_side), 3), np.uint8)
        if not len(wanted):
            return frames
        if fingerprint(self.path)[1:] != self.index.fingerprint[1:]:
            raise BadItem(self.path, "has changed since it was indexed; start again to read it as it is now")
        decoded = backend(self.decoder).decode(self.path, self.index, wanted.tolist(), self.short_side)
        for row, pixels in zip(frames, decoded, strict=True):
            row[:] = pixels
        return frames if np.array_equal(wanted, numbers) else frames[places]
