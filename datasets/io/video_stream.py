"""An open video as a run of sound frames: those a player would show, less what damage has made untrustworthy.

Both the index and the reader see a file through `Sweep`, so a frame that was counted can also be found again.
FFmpeg conceals lost data without a word, so after a packet that fails nothing is believed until the next keyframe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from embodied_ssl.errors import BadItem

# FFmpeg prints a line for every scratch it conceals, thousands for one bad file; what matters becomes a `BadItem`'s reason.
av.logging.set_level(av.logging.FATAL)

# Formats under which FFmpeg opens a still picture or a text as if it were a video.
NOT_VIDEO = ("image2", "tty", "webp")


def open_video(path: Path | str) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its first true video stream (cover art is none); it decodes on one thread.

    Raises:
        BadItem: the file is missing, empty, cut off before its table of contents, or holds no video.
    """
    name = str(path)
    try:
        if os.path.getsize(name) == 0:
            raise BadItem(name, "empty file")
        container = av.open(name, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise BadItem(name, _why_not(name, error)) from None
    except OSError as error:
        raise BadItem(name, f"cannot be read ({error.strerror})") from None
    except ValueError:  # PyAV cannot name what is in the file
        raise BadItem(name, "not a video") from None
    if container.format.name in NOT_VIDEO or container.format.name.endswith("_pipe"):
        container.close()
        raise BadItem(name, f"not a video but a still picture or text ({container.format.name})")
    attached = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & attached]
    if not streams:
        container.close()
        raise BadItem(name, "no video stream")
    stream = streams[0]
    if not stream.codec_context:  # PyAV gives None for a codec it does not know
        container.close()
        raise BadItem(name, "no decoder for its video codec")
    stream.codec_context.thread_count = 1  # more threads cost 10-60 % more CPU for the same frame; workers scale better
    stream.codec_context.thread_type = "NONE"
    return container, stream


def _why_not(name: str, error: av.error.FFmpegError) -> str:
    """A failed opening in plain words."""
    if not isinstance(error, av.error.InvalidDataError):
        return f"cannot be opened ({error.strerror})"
    with open(name, "rb") as file:
        start = file.read(12)
    if start[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return "moov atom missing or broken: the recording was cut off before it was finished"
    return "not a video"


def stamp(item: Packet[Any] | VideoFrame) -> int | None:
    """When a packet or frame is shown, in units of the time base; AVI gives decoding times only, which serve as well."""
    return item.dts if item.pts is None else item.pts


class Sweep:
    """Decodes forward from where the container stands: skips to a keyframe, then yields every sound frame in display order.

    Attributes:
        start: time of the keyframe decoding began at; earlier frames may lack what they refer to and are not yielded.
        keyframes: times of the keyframes passed whose packets decoded.
        errors: packets that were corrupt or failed.
        open_gop: whether a frame is shown before the keyframe it is stored behind, so that seeking there misses it.
        unplaced: frames left out because they bear no time, or one not after the frame before.

    Args:
        container, stream: what to decode; to be moved only by this sweep while it runs.
        by_order: for files that keep no usable times (H.264 in AVI): frames are numbered 0, 1, 2, ... as they come, which
            has a meaning only from the beginning of the file.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, by_order: bool = False) -> None:
        self.start: int | None = None
        self.keyframes: list[int] = []
        self.errors = 0
        self.open_gop = False
        self.unplaced = 0
        self._by_order = by_order
        self._container = container
        self._stream = stream
        self._sound: set[int] = set()  # times of packets decoded with all they refer to, whose frames are still to come
        self._trusted_from: int | None = None  # the keyframe that ended the last damage; None while damaged

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        return self._in_order() if self._by_order else self._timed()

    def _in_order(self) -> Iterator[tuple[int, VideoFrame]]:
        count = 0
        sound = True
        for packet in self._packets():
            frames = self._decode(packet)
            sound = sound and self._trusted_from is not None
            for frame in frames:
                sound = sound or (frame.key_frame and self._trusted_from is not None)
                if sound and not frame.is_corrupt:
                    yield count, frame
                    count += 1

    def _timed(self) -> Iterator[tuple[int, VideoFrame]]:
        last: int | None = None
        for packet in self._packets():
            for frame in self._decode(packet):
                time = stamp(frame)
                if time is None or (last is not None and time <= last):
                    self.unplaced += 1
                elif not frame.is_corrupt and time in self._sound:
                    last = time
                    self._sound.discard(time)
                    yield time, frame

    def _packets(self) -> Iterator[Packet[Any]]:
        """Packets from the first keyframe on, then the empty one that flushes the decoder."""
        try:
            for packet in self._container.demux(self._stream):
                if self.start is None:
                    if not packet.is_keyframe or stamp(packet) is None:
                        continue
                    self.start = stamp(packet)
                yield packet
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):  # the disk or network failed, which says nothing about the file
                raise BadItem(self._container.name, f"cannot be read ({error.strerror})") from None
            self.errors += 1  # the container breaks off here; what is still in the decoder is good
            yield Packet(0)

    def _decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        """The frames that come out when this packet goes in, with the book kept on which are sound."""
        flushing = packet.size == 0
        try:
            if packet.is_corrupt:
                raise av.error.InvalidDataError(0, "corrupt packet")
            frames: list[Any] = self._stream.codec_context.decode(None if flushing else packet)
        except av.error.FFmpegError:
            if not flushing:
                self.errors += 1
                self._trusted_from = None
            return []
        time = stamp(packet)
        if time is not None and not flushing:
            self._note(packet, time)
        return frames

    def _note(self, packet: Packet[Any], time: int) -> None:
        if packet.is_keyframe:
            self.keyframes.append(time)
            if self._trusted_from is None:
                self._trusted_from = time
        elif self.keyframes and time < self.keyframes[-1] and not packet.is_discard:
            self.open_gop = True
        if self._trusted_from is not None and time >= self._trusted_from:
            self._sound.add(time)
