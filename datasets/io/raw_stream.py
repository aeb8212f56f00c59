"""A video that is nothing but coded pictures, one after another (.hevc, .h264): no times, no index, frames known by number.

One pass over the file notes where each picture's bytes are and decodes them all; after that a frame is decoded from the
keyframe before it, not from the beginning. Times come from elsewhere, and only as many as there are frames are believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, survey
from embodied_ssl.datasets.io.borders import in_pixels
from embodied_ssl.datasets.io.frame_numbers import check_side, checked, fitted
from embodied_ssl.datasets.io.greys import grey, sketch_of
from embodied_ssl.datasets.io.pyav_reader import LIKENESS, upright
from embodied_ssl.datasets.io.survey import Findings, Survey
from embodied_ssl.datasets.io.video_index import fingerprint
from embodied_ssl.datasets.io.video_stream import open_video
from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem

VERSION = 1  # of what is kept of a file
IN_MEMORY = 256  # indexes, of a tenth of a megabyte for a minute of film


@dataclass(frozen=True)
class RawIndex:
    """What a pass over a file of n pictures found. A *place* counts pictures as stored, a *number* as shown.

    Attributes:
        codec: FFmpeg's name of it.
        header: what a decoder must be told before the first picture.
        starts, lengths: bytes of the picture at each place, int64 [n].
        keyframes: places from which decoding can begin, rising, int64 [k].
        shown: the place of each frame; rising where no picture is shown before one that is stored earlier, int64 [n].
        size: height and width.
        sketch: each frame as 8x8 grey cells, uint8 [n, 8, 8]: what it must look like when decoded again.
        found: motion, shots and borders.
    """

    codec: str
    header: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    keyframes: NDArray[np.int64]
    shown: NDArray[np.int64]
    size: tuple[int, int]
    sketch: NDArray[np.uint8]
    found: Findings

    @cached_property
    def number_at(self) -> NDArray[np.int64]:
        """The frame at each place [n]."""
        numbers: NDArray[np.int64] = np.argsort(self.shown)
        return numbers

    def begins(self, number: int) -> NDArray[np.int64]:
        """The keyframes that are neither stored nor shown after a frame, rising."""
        early = self.keyframes[self.keyframes <= self.shown[number]]
        begins: NDArray[np.int64] = early[self.number_at[early] <= number]
        return begins


def scan(path: Path | str) -> RawIndex:
    """Decode a whole file and note where everything is.

    Raises:
        BadItem: it is no such file, or a picture in it cannot be decoded, so that those after it cannot be numbered.
    """
    container, stream = open_video(path)
    with container:
        packets = [packet for packet in container.demux(stream) if packet.size]
        codec, header = stream.codec_context.name, bytes(stream.codec_context.extradata or b"")
    if any(packet.pos is None or packet.pts is not None for packet in packets) or not packets:
        raise BadItem(str(path), "not a file of coded pictures alone (.hevc, .h264)")
    starts, lengths = np.array([[packet.pos, packet.size] for packet in packets], np.int64).T
    keyframes = np.flatnonzero([packet.is_keyframe for packet in packets]).astype(np.int64)
    del packets
    seen, shrink, size = Survey(), VideoReformatter(), (0, 0)
    sketches: list[NDArray[np.uint8]] = []
    shown: list[int] = []
    with open(path, "rb") as file:
        for place, frame in _decoded(file, codec, header, starts, lengths, 0):
            small = grey(frame, shrink)
            seen.add(small)
            sketches.append(sketch_of(small))
            size = size if shown else (frame.height, frame.width)
            shown.append(place if not frame.is_corrupt and (frame.height, frame.width) == size else -1)
    whole = len(set(shown) - {-1})
    if whole < len(starts):
        raise BadItem(str(path), f"{len(starts) - whole} of its {len(starts)} pictures cannot be decoded; copy it again")
    order = np.array(shown, np.int64)
    return RawIndex(codec, header, starts, lengths, keyframes, order, size, np.array(sketches), seen.findings())


def _decoded(
    file: IO[bytes], codec: str, header: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64], begin: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their places, in the order in which they are shown, decoded from the picture at ``begin`` on."""
    decoder: Any = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata, decoder.thread_count, decoder.thread_type = header or None, 1, "NONE"
    for place in range(begin, len(starts)):
        file.seek(int(starts[place]))
        packet = Packet(file.read(int(lengths[place])))
        packet.pts = packet.dts = place  # comes out with the frame, whenever that is shown
        try:
            frames = decoder.decode(packet)
        except av.error.FFmpegError:
            frames = []
        yield from ((-1 if frame.pts is None else frame.pts, frame) for frame in frames)
    yield from ((-1 if frame.pts is None else frame.pts, frame) for frame in decoder.decode(None))


def index_of(path: Path | str) -> RawIndex:
    """The index of a file: from the cache of earlier runs, or from a scan; anew when the file has changed.

    Raises:
        BadItem: see `scan`; that verdict is remembered too.
    """
    return _index_of(*fingerprint(path))


@lru_cache(maxsize=IN_MEMORY)
def _index_of(path: str, size: int, changed: int) -> RawIndex:
    key: tuple[int | str, ...] = ("raw stream", VERSION, survey.VERSION, path, size, changed)
    kept = array_cache.recall(*key)
    if kept is not None and "reason" in kept:
        raise BadItem(path, str(kept["reason"]))
    if kept is not None and set(kept) == {"words", "header", "places", "keyframes", "size", "sketch", "motion", "content"}:
        return _from_arrays(kept)
    try:
        index = scan(path)
    except BadItem as item:
        if not item.reason.startswith("cannot be"):  # a disk or its rights may be mended without the file changing
            array_cache.keep({"reason": np.array(item.reason)}, *key)
        raise
    if fingerprint(path) == (path, size, changed):
        array_cache.keep(_to_arrays(index), *key)
    return index


def _to_arrays(index: RawIndex) -> array_cache.Arrays:
    return {
        "words": np.array(index.codec),
        "header": np.frombuffer(index.header, np.uint8),
        "places": np.stack([index.starts, index.lengths, index.shown, index.found.shots]),
        "keyframes": index.keyframes,
        "size": np.array(index.size),
        "sketch": index.sketch,
        "motion": index.found.motion,
        "content": np.array(index.found.content, np.float64),
    }


def _from_arrays(kept: array_cache.Arrays) -> RawIndex:
    starts, lengths, shown, shots = kept["places"]
    height, width = (int(side) for side in kept["size"])
    top, left, tall, wide = kept["content"].tolist()
    found = Findings(kept["motion"], shots, (top, left, tall, wide))
    header = kept["header"].tobytes()
    return RawIndex(str(kept["words"]), header, starts, lengths, kept["keyframes"], shown, (height, width), kept["sketch"], found)


class RawStream:
    """The frames of such a file, as in `embodied_ssl.datasets.source.Frames`; it is opened when pixels are asked for.

    Args:
        path: the file.
        seconds: when each of its frames was taken, rising, float64 [n]. A file of any other number of frames gives none:
            nobody could say which time belongs to which.
        short_side: scale frames so that the shorter side has so many pixels; None leaves them as they are.
    """

    def __init__(self, path: Path | str, seconds: NDArray[np.float64], short_side: int | None = None) -> None:
        check_side(short_side)
        self.path = str(path)
        self.short_side = short_side
        self._seconds = np.asarray(seconds, np.float64)

    @property
    def index(self) -> RawIndex:
        """Where its frames are.

        Raises:
            BadItem: it cannot be read, or does not have one frame for every time.
        """
        index = index_of(self.path)
        if len(index.shown) != len(self):
            raise BadItem(self.path, f"{len(index.shown)} frames, but {len(self)} times: which belong together is unknown")
        return index

    @property
    def name(self) -> str:
        return self.path

    def __len__(self) -> int:
        return len(self._seconds)

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self._seconds

    @property
    def motion(self) -> NDArray[np.float32]:
        return self.index.found.motion

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.index.found.shots

    @property
    def content(self) -> Box:
        return in_pixels(self.index.found.content, fitted(self.index.size, self.short_side))

    def take(self, indices: Sequence[int]) -> Pixels:
        numbers = checked(indices, len(self), self.name)
        wanted, places = np.unique(numbers, return_inverse=True)
        index = self.index
        size = fitted(index.size, self.short_side)
        frames = np.empty((len(wanted), *size, 3), np.uint8)
        resize, shrink = VideoReformatter(), VideoReformatter()
        try:
            with open(self.path, "rb") as file:
                for row, frame in zip(frames, self._frames(file, index, wanted.tolist(), shrink), strict=True):
                    row[:] = upright(frame, 0, size, resize)
        except OSError as error:
            raise BadItem(self.path, f"cannot be read ({error.strerror})") from None
        return frames[places]

    def _frames(self, file: IO[bytes], index: RawIndex, wanted: Sequence[int], shrink: VideoReformatter) -> Iterator[VideoFrame]:
        """The frames of these numbers (rising); decodes on from one to the next unless a keyframe lies between."""
        run: Iterator[tuple[int, VideoFrame]] = iter(())
        last = -1  # the number of the frame that came last
        for number in wanted:
            begins = index.begins(number)
            frame = None
            if last >= 0 and index.number_at[begins[-1]] <= last:
                last, frame = _on_to(number, run, index, shrink)
            for begin in begins[::-1]:  # a picture that calls itself a keyframe may lean on earlier ones all the same
                if frame is not None:
                    break
                run = _numbered(file, index, int(begin))
                last, frame = _on_to(number, run, index, shrink)
            if frame is None:
                raise BadItem(self.path, f"frame {number} is not as it was when the file was indexed")
            yield frame


def _numbered(file: IO[bytes], index: RawIndex, begin: int) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers, decoded from the picture at the place ``begin`` on."""
    for place, frame in _decoded(file, index.codec, index.header, index.starts, index.lengths, begin):
        if place >= 0:
            yield int(index.number_at[place]), frame


def _on_to(
    number: int, run: Iterator[tuple[int, VideoFrame]], index: RawIndex, shrink: VideoReformatter
) -> tuple[int, VideoFrame | None]:
    """Decode on to a frame: its number and itself, or where the run ended up instead and None."""
    for found, frame in run:
        if found >= number:
            like = cv2.norm(sketch_of(grey(frame, shrink)), index.sketch[number], cv2.NORM_INF) <= LIKENESS
            return found, frame if found == number and like and not frame.is_corrupt else None
    return -1, None
