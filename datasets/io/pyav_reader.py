"""The decoder of record: goes to a keyframe, decodes on, and knows the wanted frame by its time and its look.

A container's seek may land anywhere, so every frame is checked against the index, and the reader backs off to earlier
keyframes until it meets the one wanted; a neighbour is never returned in its place.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.greys import grey, sketch_of
from embodied_ssl.datasets.io.open_readers import OpenReaders
from embodied_ssl.datasets.io.video_index import VideoIndex
from embodied_ssl.datasets.io.video_stream import Sweep, open_video
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem

LIKENESS = 3  # grey levels by which an 8x8 sketch may differ: processors round differently, and the cache may be shared
SEEK_COST = 6  # frames' worth of decoding that a seek costs, roughly


class Wanted:
    """The frames that one call asks for.

    Knows nothing of the reader that knows it: a circle would keep the memory of closed readers until Python looks for
    circles, hundreds of megabytes later.
    """

    def __init__(self, known: NDArray[np.int64], times: frozenset[int]) -> None:
        self.known = known
        self.times = times
        self.until = max(times, default=0)

    def leave_out(self, time: int) -> bool:
        """Whether the frame of this time is one we know of and only pass by; those after the last may be wanted next."""
        if time >= self.until or time in self.times:
            return False
        return bool(self.known[self.known.searchsorted(time)] == time)


class Reader:
    """One open file: goes forward where that is cheaper, else seeks, and knows a wanted frame by its time and look."""

    def __init__(self, path: str, index: VideoIndex, shrink: VideoReformatter) -> None:
        self.path = path
        self.index = index
        self.shrink = shrink
        self.keyframes = frozenset(index.keyframes.tolist())
        self.wanted = Wanted(index.pts, frozenset())
        self._open()
        self.sparing = self.stream.codec_context.name == "h264" and not index.errors and not index.by_order

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self.packets = self.container.demux(self.stream)  # one for all runs: PyAV loses some memory with each
        self._run(None)

    def _run(self, time: int | None) -> None:
        """Begin a new run of frames at the keyframe at or before a time; at the beginning for None."""
        if time is not None:
            self.container.seek(time, stream=self.stream, backward=True)
        # From the beginning, see the file as the index did; elsewhere begin only at keyframes that proved to be such.
        believed = None if time is None else self.keyframes
        self.sweep = Sweep(self.container, self.stream, self.index.by_order, believed, self.packets)
        self.frames = iter(self.sweep)
        self.last: int | None = None

    def close(self) -> None:
        self.container.close()

    def take(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames of these numbers (rising).

        Raises:
            BadItem: one was there when the file was indexed and cannot be found now.
        """
        self.wanted = Wanted(self.index.pts, frozenset(self.index.pts[list(numbers)].tolist()))
        return map(self._frame, numbers)

    def _frame(self, number: int) -> VideoFrame:
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
            self.sparing = False  # whatever went wrong, this file is not one to take short cuts with
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
        self.sweep.needless = self.wanted.leave_out if self.sparing else None
        for time, frame in self.frames:
            self.last = time
            if time >= wanted:
                return frame if time == wanted and self._is_like(frame, number) else None
        self.last = None  # the end: this run gives no more, and its packets are used up
        self.packets = self.container.demux(self.stream)
        return None

    def _is_like(self, frame: VideoFrame, number: int) -> bool:
        """Whether a frame looks as when it was indexed: after damage, some containers count time otherwise once they seek."""
        sketch = sketch_of(grey(frame, self.shrink)).astype(np.int16)
        return int(np.abs(sketch - self.index.sketch[number]).max()) <= LIKENESS


class PyAVBackend(threading.local):
    """Reads everything the index lists. Threads share nothing."""

    def __init__(self) -> None:
        self.resize = VideoReformatter()
        self.shrink = VideoReformatter()
        self.open = OpenReaders(lambda path, index: Reader(path, index, self.shrink))

    def check(self) -> None:
        """Nothing to look for: it is always installed."""

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        reader = self.open.of(path, index)
        size = fitted(index.size, short_side)
        try:
            for frame in reader.take(wanted):
                yield upright(frame, index.rotation, size, self.resize)
        except Exception:
            self.open.drop(index)
            raise


def upright(frame: VideoFrame, rotation: int, size: tuple[int, int], resize: VideoReformatter) -> Pixels:
    """A decoded frame as uint8 RGB [*size, 3].

    Args:
        frame: as decoded.
        rotation: quarter turns counter-clockwise that it needs.
        size: height and width after them.
        resize: one for many frames of a size, since setting it up costs as much as using it.
    """
    height, width = size if rotation % 2 == 0 else (size[1], size[0])
    how = "AREA" if height <= frame.height else "BICUBIC"
    # threads=1: else swscale keeps a pool of threads alive per frame, and a fork hangs on them.
    scaled = resize.reformat(frame, width=width, height=height, format="rgb24", interpolation=how, threads=1)
    return np.rot90(scaled.to_ndarray(), rotation)
