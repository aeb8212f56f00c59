"""Frames by number, exactly: what comes back bears the time that was asked for and looks as it did, or nothing comes back.

A container's seek may land anywhere, so a reader checks every frame against the index and backs off to earlier
keyframes until it meets the one wanted; a neighbour is never returned in its place. Readers belong to one process
(an open decoder does not survive a fork), are few, and are never pickled.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.io import pictures
from embodied_ssl.datasets.io.frame_numbers import check_side, checked, fitted
from embodied_ssl.datasets.io.video_index import VideoIndex, grey, index_of, sketch_of
from embodied_ssl.datasets.io.video_stream import Sweep, open_video
from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem, UserError, suggest

OPEN_READERS = 32  # about 3 MB each
LIKENESS = 3  # grey levels by which an 8x8 sketch may differ: processors round differently, and the cache may be shared
SEEK_COST = 6  # frames' worth of decoding that a seek costs, roughly


class Backend(Protocol):
    """A way to decode. It gives upright frames at the index's size fitted to ``short_side``, or raises `BadItem`."""

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        """The frames ``wanted`` (rising, no two alike), in that order."""


class Reader:
    """One open file: goes forward where that is cheaper, else seeks, and knows a wanted frame by its time."""

    def __init__(self, path: str, index: VideoIndex) -> None:
        self.path = path
        self.index = index
        self.keyframes = frozenset(index.keyframes.tolist())
        self.resize = VideoReformatter()
        self.shrink = VideoReformatter()
        self._open()

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self._run(None)

    def _run(self, time: int | None) -> None:
        """Begin a new run of frames at the keyframe at or before a time; at the beginning for None."""
        if time is not None:
            self.container.seek(time, stream=self.stream, backward=True)
        # From the beginning, see the file as the index did; elsewhere begin only at keyframes that proved to be such.
        self.sweep = Sweep(self.container, self.stream, self.index.by_order, None if time is None else self.keyframes)
        self.frames = iter(self.sweep)
        self.last: int | None = None

    def _is_like(self, frame: VideoFrame, number: int) -> bool:
        """Whether a frame looks as when it was indexed: after damage, some containers count time otherwise once they seek."""
        sketch = sketch_of(grey(frame, self.shrink)).astype(np.int16)
        return int(np.abs(sketch - self.index.sketch[number]).max()) <= LIKENESS

    def close(self) -> None:
        self.container.close()

    def frame(self, number: int) -> VideoFrame:
        """The frame of this number.

        Raises:
            BadItem: it was there when the file was indexed and cannot be found now.
        """
        wanted = int(self.index.pts[number])
        before = int(np.searchsorted(self.index.keyframes, wanted, side="right"))  # keyframes not after it
        if self._on_the_way(number, before) and (frame := self._forward(number)) is not None:
            return frame
        step = 1
        while before - step >= 0:
            with contextlib.suppress(av.error.FFmpegError):  # a container that cannot seek there may seek elsewhere
                self._run(int(self.index.keyframes[before - step]))
                if (frame := self._forward(number)) is not None:
                    return frame
            step *= 2
        self.close()
        self._open()
        if (frame := self._forward(number)) is not None:
            return frame
        raise BadItem(self.path, f"frame {number} cannot be found again at {self.index.seconds[number]:.3f} s")

    def _on_the_way(self, number: int, before: int) -> bool:
        """Whether decoding on is cheaper than seeking to the nearest keyframe."""
        if self.last is None or self.last >= self.index.pts[number]:
            return False
        nearest = self.index.keyframes[before - 1] if before else self.index.pts[0]
        here, there = np.searchsorted(self.index.pts, [self.last, nearest])
        return bool(number - here <= number - there + SEEK_COST)

    def _forward(self, number: int) -> VideoFrame | None:
        """Decode on to a frame's time; None when the run begins after it, passes it by, or shows something else there."""
        wanted = self.index.pts[number]
        for time, frame in self.frames:
            self.last = time
            if time >= wanted:
                return frame if time == wanted and self._is_like(frame, number) else None
        self.last = None  # the end: this run gives no more
        return None


class PyAVBackend(threading.local):
    """The decoder of record. Keeps readers open, per process, per thread and per state of the file."""

    def __init__(self) -> None:
        self.readers: OrderedDict[tuple[str, int, int], Reader] = OrderedDict()
        self.process = os.getpid()
        self.inherited: list[Any] = []

    def reader(self, path: str, index: VideoIndex) -> Reader:
        """An open reader of this file; the one used longest ago is closed when there are too many."""
        if self.process != os.getpid():
            # After a fork: the parent's file offsets are shared with ours, so its readers are neither used nor closed.
            self.inherited.append(self.readers)
            self.readers, self.process = OrderedDict(), os.getpid()
        found = self.readers.pop(index.fingerprint, None) or Reader(path, index)
        self.readers[index.fingerprint] = found
        while len(self.readers) > OPEN_READERS:
            self.readers.popitem(last=False)[1].close()
        return found

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        reader = self.reader(path, index)
        size = fitted(index.size, short_side)
        try:
            for number in wanted:
                yield _pixels(reader.frame(number), index, size, reader.resize)
        except Exception:
            self.readers.pop(index.fingerprint, None)  # its state is unknown now
            reader.close()
            raise


def _pixels(frame: VideoFrame, index: VideoIndex, size: tuple[int, int], resize: VideoReformatter) -> Pixels:
    """A decoded frame, upright, as uint8 RGB [*size, 3]."""
    height, width = size if index.rotation % 2 == 0 else (size[1], size[0])
    how = "AREA" if height <= frame.height else "BICUBIC"
    # threads=1: else swscale keeps a pool of threads alive per frame, and a fork hangs on them.
    scaled = resize.reformat(frame, width=width, height=height, format="rgb24", interpolation=how, threads=1)
    return np.rot90(scaled.to_ndarray(), index.rotation)


class DecordBackend:
    """decord, where it keeps the contract: constant checks refuse the files on which it is known to return neighbours.

    Each call opens and drops its reader: one kept open grows by hundreds of megabytes.
    """

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        decord = _import_decord()
        if index.open_gop or index.errors or index.by_order or "mpegts" in index.container:
            whys = {
                "open groups of pictures": index.open_gop,
                "damage": index.errors,
                "no times": index.by_order,
                "MPEG-TS": True,
            }
            why = next(name for name, holds in whys.items() if holds)
            raise BadItem(path, f"decord returns neighbouring frames on files with {why}; decode it with pyav")
        decord.logging.set_level(decord.logging.FATAL)
        try:
            reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
            times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
            self._check_times(path, index, times)
            frames = reader.get_batch(list(wanted)).asnumpy()
        except (RuntimeError, decord.DECORDError) as error:
            raise BadItem(path, f"decord cannot decode it ({str(error).splitlines()[0][-120:]})") from None
        if frames.shape[1:3] != index.size:
            raise BadItem(path, f"decord gives {frames.shape[1:3]} pixels where {index.size} were indexed; decode it with pyav")
        size = fitted(index.size, short_side)
        for frame in frames:
            yield pictures.crop_and_resize(frame, (0, 0, *index.size), size)

    @staticmethod
    def _check_times(path: str, index: VideoIndex, times: NDArray[np.float64]) -> None:
        """Refuse a file of which decord counts or times the frames otherwise than the index does."""
        if len(times) != len(index):
            raise BadItem(path, f"decord counts {len(times)} frames where {len(index)} can be shown; decode it with pyav")
        apart = np.abs((times - times[0]) - (index.seconds - index.seconds[0]))
        least = float(np.diff(index.seconds).min()) if len(index) > 1 else 1.0
        if apart.max() > least / 4:
            raise BadItem(path, "decord gives other times than the index; decode it with pyav")


def _import_decord() -> Any:
    try:
        import decord
    except ImportError:
        raise UserError("decoder 'decord' is not installed; pip install decord, or set --set data.decoder=pyav") from None
    return decord


_backends: dict[str, Backend] = {"pyav": PyAVBackend(), "decord": DecordBackend()}


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UserError: there is none, or it is not installed.
    """
    if name not in _backends:
        raise UserError(f"there is no decoder '{name}'{suggest(name, _backends)}")
    if name == "decord":
        _import_decord()
    return _backends[name]


class VideoFrames:
    """The frames of a video file, as in `embodied_ssl.datasets.source.Frames`. Nothing is opened until it is asked for.

    Args:
        path: the file.
        short_side: scale frames so that the shorter side has so many pixels; None leaves them as they are.
        decoder: ``"pyav"`` or ``"decord"``.
    """

    def __init__(self, path: Path | str, short_side: int | None = None, decoder: str = "pyav") -> None:
        backend(decoder)
        check_side(short_side)
        self.path = str(path)
        self.short_side = short_side
        self.decoder = decoder

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "index"}

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
        return self.index.motion

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.index.shots

    @property
    def content(self) -> Box:
        height, width = fitted(self.index.size, self.short_side)
        top, left, tall, wide = self.index.content
        return round(top * height), round(left * width), round(tall * height), round(wide * width)

    def take(self, indices: Sequence[int]) -> Pixels:
        numbers = checked(indices, len(self), self.name)
        wanted, places = np.unique(numbers, return_inverse=True)
        frames = np.empty((len(wanted), *fitted(self.index.size, self.short_side), 3), np.uint8)
        if not len(wanted):
            return frames
        decoded = backend(self.decoder).decode(self.path, self.index, wanted.tolist(), self.short_side)
        for row, pixels in zip(frames, decoded, strict=True):
            row[:] = pixels
        return frames if np.array_equal(wanted, numbers) else frames[places]
