"""The decoder of record: goes to a keyframe, decodes on, and knows the wanted frame by its time and its look.

A container's seek may land anywhere, so every frame is checked against the index, and the reader backs off to earlier
keyframes until it meets the one wanted; a neighbour is never returned in its place.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.greys import grey, sketch_of
from embodied_ssl.datasets.io.open_readers import OpenReaders
from embodied_ssl.datasets.io.video_index import VideoIndex
from embodied_ssl.datasets.io.video_stream import Packets, Sweep, open_video
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem

LIKENESS = 3  # grey levels by which an 8x8 sketch may differ: processors round differently, and the cache may be shared
SEEK_COST = 6  # frames' worth of decoding that a seek costs, roughly
WAIT_COST = 2  # frames' worth that a decoder is given, roughly, before it lets go of the last one wanted


class Wanted:
    """The frames that one call asks for, and what need not be decoded for their sake.

    Knows nothing of the reader that knows it: a circle would keep the memory of closed readers until Python looks for
    circles, hundreds of megabytes later.

    Args:
        index: of the file.
        numbers: of the frames, rising.
        reading_on: whether the next call is likely to go on from where this one ends, as this one went on from the last.
        keyframe: the last that the decoder was given, if it goes on from there.
    """

    def __init__(
        self, index: VideoIndex, numbers: Sequence[int] = (), reading_on: bool = False, keyframe: int | None = None
    ) -> None:
        self.known = index.pts
        self.keyframes = index.keyframes
        self.begins = index.begins
        self.order: list[int] = index.pts[list(numbers)].tolist()
        self.times = frozenset(self.order)
        self.until = max(self.order, default=0)
        self.reading_on = reading_on
        self.begin(0, keyframe)

    def begin(self, rank: int, keyframe: int | None = None) -> None:
        """Decoding begins anew, or goes on, for the sake of the wanted frame of this rank and those after it."""
        self.rank = rank
        self.missing = set(self.order[rank:])  # what the decoder was not given yet
        self.keyframe = keyframe  # the last that it was given
        self.full = False  # whether it was given all that is wanted before the next keyframe

    def leave_out(self, time: int) -> bool:
        """Whether the frame of this time is one we know of and only pass by; those after the last may be wanted next."""
        return time < self.until and time not in self.times and self._is_known(time)

    def enough(self, time: int) -> bool:
        """Whether decoding may end before the packet of this time; if not, takes note that the decoder is given it.

        It ends where nothing more is wanted before the next keyframe, and begins anew there as if sought. A packet whose
        time is no frame's may hold the other half of the frame before it, so it does not end there.
        """
        if self.full and self._is_known(time):
            return True
        if time in self.begins:
            self.keyframe = time
        if time in self.missing:
            self.missing.remove(time)
            self.full = self._is_full()
        return False

    def _is_full(self) -> bool:
        while self.rank < len(self.order) and self.order[self.rank] not in self.missing:
            self.rank += 1
        if self.rank == len(self.order):
            return not self.reading_on and self._is_unlikely_to_go_on()
        begin = self.keyframe_of(self.order[self.rank])
        return begin is not None and (self.keyframe is None or begin > self.keyframe)

    def _is_unlikely_to_go_on(self) -> bool:
        """Whether to empty the decoder at the end, though the next call cannot go on from here then.

        Weighs what that spares against what is decoded twice if calls are for frames anywhere in the file: they then go on
        here as often as the file's frames lie between here and the next keyframe.
        """
        after = int(self.keyframes.searchsorted(self.until, side="right"))
        begin, here = self.known.searchsorted([self.keyframes[after - 1] if after else self.known[0], self.until])
        end = self.known.searchsorted(self.keyframes[after]) if after < len(self.keyframes) else len(self.known)
        return bool((end - here) * (here - begin + SEEK_COST) <= WAIT_COST * len(self.known))

    def keyframe_of(self, time: int) -> int | None:
        """The last keyframe not after a time."""
        after = self.keyframes.searchsorted(time, side="right")
        return int(self.keyframes[after - 1]) if after else None

    def _is_known(self, time: int) -> bool:
        place = self.known.searchsorted(time)
        return bool(place < len(self.known) and self.known[place] == time)


class Reader:
    """One open file: goes forward where that is cheaper, else seeks, and knows a wanted frame by its time and look."""

    def __init__(self, path: str, index: VideoIndex, shrink: VideoReformatter) -> None:
        self.path = path
        self.index = index
        self.shrink = shrink
        self.wanted = Wanted(index)
        self.sparing = not index.errors and not index.by_order
        self._open()

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self.tells_needless = self.stream.codec_context.name == "h264"
        self.packets = Packets(self.container, self.stream)  # one for all runs: PyAV loses some memory with each
        self._run(None)

    def _run(self, time: int | None) -> None:
        """Begin a new run of frames at the keyframe at or before a time; at the beginning for None."""
        if time is not None:
            self.container.seek(time, stream=self.stream, backward=True)
            self.packets.put_back(None)
        # From the beginning, see the file as the index did; elsewhere begin only at keyframes that proved to be such.
        believed = None if time is None else self.index.begins
        self.sweep = Sweep(self.container, self.stream, self.index.by_order, believed, self.packets)
        self.frames = iter(self.sweep)
        self.last: int | None = None

    def _run_on(self, number: int) -> None:
        """Begin a new run at the keyframe of a frame soon to come; what lies between is not decoded."""
        self.wanted.full = False
        self.stream.codec_context.flush_buffers()
        begin = self.wanted.keyframe_of(int(self.index.pts[number]))
        self.sweep = Sweep(self.container, self.stream, False, self.index.begins, self.packets, begin)
        self.frames = iter(self.sweep)

    def close(self) -> None:
        self.container.close()

    def take(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames of these numbers (rising).

        Raises:
            BadItem: one was there when the file was indexed and cannot be found now.
        """
        reading_on = len(numbers) > 0 and self._on_the_way(numbers[0])
        if self.sweep.ended_early:
            self.last = None
        self.wanted = Wanted(self.index, numbers, reading_on, self.wanted.keyframe)
        return map(self._frame, numbers, range(len(numbers)))

    def _frame(self, number: int, rank: int) -> VideoFrame:
        if self._on_the_way(number) and (frame := self._forward(number)) is not None:
            return frame
        step, before = 1, self._keyframes_before(number)
        while before - step >= 0:
            self.wanted.begin(rank)
            with contextlib.suppress(av.error.FFmpegError):  # a container that cannot seek there may seek elsewhere
                self._run(int(self.index.keyframes[before - step]))
                if (frame := self._forward(number)) is not None:
                    return frame
            self.sparing = False  # whatever went wrong, this file is not one to take short cuts with
            step *= 2
        self.close()
        self.wanted.begin(rank)
        self._open()
        if (frame := self._forward(number)) is not None:
            return frame
        raise BadItem(self.path, f"frame {number} cannot be found again at {self.index.seconds[number]:.3f} s")

    def _keyframes_before(self, number: int) -> int:
        """How many keyframes are not after a frame."""
        return int(self.index.keyframes.searchsorted(self.index.pts[number], side="right"))

    def _on_the_way(self, number: int) -> bool:
        """Whether decoding on is cheaper than seeking to the nearest keyframe."""
        time = int(self.index.pts[number])
        if self.last is None or self.last >= time:
            return False
        begin = self.wanted.keyframe_of(time)
        if begin is None or begin <= self.last:
            return True
        here, there = self.index.pts.searchsorted([self.last, begin])
        return bool(number - here <= number - there + SEEK_COST)

    def _forward(self, number: int) -> VideoFrame | None:
        """Decode on to a frame's time; None when the run begins after it, passes it by, or shows something else there."""
        wanted = int(self.index.pts[number])
        while True:
            self.sweep.needless = self.wanted.leave_out if self.sparing and self.tells_needless else None
            self.sweep.enough = self.wanted.enough if self.sparing else None
            for time, frame in self.frames:
                self.last = time
                if time >= wanted:
                    return frame if time == wanted and self._is_like(frame, number) else None
            if not self.sweep.ended_early:
                break
            self._run_on(number)
        self.last = None  # the end: this run gives no more, and its packets are used up
        self.packets = Packets(self.container, self.stream)
        return None

    def _is_like(self, frame: VideoFrame, number: int) -> bool:
        """Whether a frame looks as when it was indexed: after damage, some containers count time otherwise once they seek."""
        sketch = sketch_of(grey(frame, self.shrink))
        return bool(cv2.norm(sketch, self.index.sketch[number], cv2.NORM_INF) <= LIKENESS)


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
    # Scaling into planes, swscale is cheaper by a third and five times nearer to the true colours than into packed pixels.
    kind = "rgb24" if (height, width) == (frame.height, frame.width) else "gbrp"
    # threads=1: else swscale keeps a pool of threads alive per frame, and a fork hangs on them.
    scaled = resize.reformat(frame, width=width, height=height, format=kind, interpolation=how, threads=1)
    pixels = np.asarray(scaled.to_ndarray(), np.uint8) if kind == "rgb24" else _packed(scaled)
    return np.rot90(pixels, rotation) if rotation else pixels


def _packed(frame: VideoFrame) -> Pixels:
    """A frame in planes of green, blue and red as uint8 RGB [height, width, 3]."""
    planes: list[Any] = list(frame.planes)
    green, blue, red = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in planes)
    return np.asarray(cv2.merge((red, green, blue)), np.uint8)[:, : frame.width]  # whole lines: OpenCV is slow at parts of them
