"""An open video as a run of sound frames: those a player would show, less what damage has made untrustworthy.

Both the index and the reader see a file through `Sweep`, so a frame that was counted can also be found again.
FFmpeg conceals lost data without a word, so after a packet that fails nothing is believed until the next keyframe.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Container, Iterator
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
        if os.path.isdir(name):
            raise BadItem(name, "is a folder, not a video")
        if os.path.getsize(name) == 0:
            raise BadItem(name, "empty file")
        # The whole path: FFmpeg would take what stands before a colon for a protocol.
        container = av.open(os.path.abspath(name), metadata_errors="replace")
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


class Packets:
    """The packets of an open container one after another. The one read last may be put back, to begin the next sweep."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._source = container.demux(stream)
        self._back: Packet[Any] | None = None

    def __iter__(self) -> Iterator[Packet[Any]]:
        packet, self._back = self._back, None
        return self._source if packet is None else itertools.chain([packet], self._source)

    def put_back(self, packet: Packet[Any] | None) -> None:
        """Have this one come next; None for whatever the container gives next, after it has been moved."""
        self._back = packet


class Sweep:
    """Decodes forward from where the container stands: skips to a keyframe, then yields every sound frame in display order.

    Attributes:
        start: time of the keyframe decoding began at; earlier frames may lack what they refer to and are not yielded.
        keyframes: times of the keyframes yielded: by the container's word and by the decoder's.
        errors: packets that were corrupt or failed, and frames that the decoder says it patched.
        open_gop: whether a frame is shown before the keyframe it is stored behind, so that seeking there misses it.
        unplaced: frames left out because they bear no time, or one not after the frame before.
        needless: says of a time whether the frame shown then may be left out; to be set on sound H.264 only, where a frame
            says itself whether others refer to it: such a frame is not even decoded, and all others come out the same.
        enough: is asked about every packet, by its time, whether the sweep may end before it. It then ends as at the end of
            the file: the decoder gives what it still holds without being fed what it would otherwise wait for.
        ended_early: whether it did so; the packet is put back, and the decoder must be flushed before it is used again.

    Args:
        container, stream: what to decode; to be moved only by this sweep while it runs.
        by_order: for files that keep no usable times (H.264 in AVI): frames are numbered 0, 1, 2, ... as they come, which
            has a meaning only from the beginning of the file.
        keyframes: times of the keyframes that may be believed, where they are known; a scratched table of contents
            may call others so.
        packets: of this container, from where it stands, if someone keeps them from sweep to sweep.
        begin: skip to the first keyframe that is not before this time.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        by_order: bool = False,
        keyframes: Container[int] | None = None,
        packets: Packets | None = None,
        begin: int | None = None,
    ) -> None:
        self.start: int | None = None
        self.keyframes: list[int] = []
        self.errors = 0
        self.open_gop = False
        self.unplaced = 0
        self.needless: Callable[[int], bool] | None = None
        self.enough: Callable[[int], bool] | None = None
        self.ended_early = False
        self._skipping = False
        self._decoder = stream.codec_context
        self._decoder.skip_frame = "DEFAULT"  # a sweep before this one may have ended while passing frames over
        self._counts_lengths = counts_lengths(self._decoder.extradata)
        self._by_order = by_order
        self._container = container
        self._source = Packets(container, stream) if packets is None else packets
        self._begin = begin
        self._believed = keyframes
        self._last_key: int | None = None  # as the container says
        self._sound: set[int] = set()  # times of packets decoded with all they refer to, whose frames are still to come
        self._trusted_from: int | None = None  # the keyframe that ended the last damage; None while damaged

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        count, last = 0, None
        for packet, put in self._packets():
            for frame in self._decode(packet, put):
                time = stamp(frame)
                if not self._is_sound(frame, time):
                    continue
                if self._by_order:
                    yield count, frame
                    count += 1
                elif time is None or (last is not None and time <= last):
                    self.unplaced += 1
                else:
                    last = time
                    if frame.key_frame:
                        self.keyframes.append(time)
                    yield time, frame

    def _is_sound(self, frame: VideoFrame, time: int | None) -> bool:
        """Whether a frame can be shown; one that was patched ends the trust in those that refer to it."""
        if frame.is_corrupt:
            self.errors += 1
            self._trusted_from = None
            self._sound.clear()
        if self._by_order or time is None:
            return self._trusted_from is not None
        known = time in self._sound
        self._sound.discard(time)
        return known

    def _packets(self) -> Iterator[tuple[Packet[Any], int | None]]:
        """Packets and their times from the first keyframe on, then the empty one that flushes the decoder."""
        try:
            for packet in self._source:
                time = stamp(packet)
                if self.start is None:
                    if not self._is_key(packet, time) or (self._begin is not None and time is not None and time < self._begin):
                        continue
                    self.start = time
                if self.enough is not None and time is not None and self.enough(time):
                    self._source.put_back(packet)
                    self.ended_early = True
                    yield Packet(0), None
                    return
                yield packet, time
        except (av.error.FFmpegError, IndexError) as error:  # IndexError: PyAV, when a damaged file drops its streams
            if isinstance(error, OSError):  # the disk or network failed, which says nothing about the file
                raise BadItem(self._container.name, f"cannot be read ({error.strerror})") from None
            self.errors += 1  # the container breaks off here; what is still in the decoder is good
            yield Packet(0), None

    def _is_key(self, packet: Packet[Any], time: int | None) -> bool:
        return packet.is_keyframe and time is not None and (self._believed is None or time in self._believed)

    def _decode(self, packet: Packet[Any], time: int | None) -> list[VideoFrame]:
        """The frames that come out when this packet goes in, with the book kept on which are sound."""
        flushing = packet.size == 0
        try:
            if packet.is_corrupt:
                raise av.error.InvalidDataError(0, "corrupt packet")
            needless = time is not None and self.needless is not None and self.needless(time)
            if needless and self._counts_lengths and is_referred_to_by_none(packet):
                return []
            if needless != self._skipping:
                self._decoder.skip_frame = "NONREF" if needless else "DEFAULT"
                self._skipping = needless
            frames: list[Any] = self._decoder.decode(None if flushing else packet)
        except av.error.FFmpegError:
            if not flushing:
                self.errors += 1
                self._trusted_from = None
            return []
        if time is not None and not flushing:
            self._note(packet, time, needless)
        return frames

    def _note(self, packet: Packet[Any], time: int, needless: bool) -> None:
        """Keep the book: a packet that decoded is sound if nothing was lost since the last keyframe, and it was not left out."""
        if self._is_key(packet, time):
            self._last_key = time
            if self._trusted_from is None:
                self._trusted_from = time
        elif self._last_key is not None and time < self._last_key and not packet.is_discard:
            self.open_gop = True
        if self._trusted_from is not None and time >= self._trusted_from and not needless:
            self._sound.add(time)


def counts_lengths(extradata: bytes | None) -> bool:
    """Whether H.264 packets say how long their parts are, in four bytes each, as in MP4 and Matroska."""
    return extradata is not None and len(extradata) > 4 and extradata[0] == 1 and extradata[4] & 3 == 3


def is_referred_to_by_none(packet: Packet[Any]) -> bool:
    """Whether such a packet is one slice that no frame refers to: the decoder, told to leave it out, would do just nothing."""
    data = memoryview(packet)
    return len(data) > 4 and data[4] == 1 and int.from_bytes(data[:4], "big") + 4 == len(data)
