"""One video made ready: its index, and its frames kept small, from a single decoding.

May be killed at any moment and called by many processes at once: what it writes appears whole or not at all, and the
process that holds a video's claim is the only one at work on it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from embodied_ssl.claims import claimed
from embodied_ssl.datasets.io import frame_cache
from embodied_ssl.datasets.io.flow import MotionKind
from embodied_ssl.datasets.io.frame_cache import Kept, Stored, Untrusted, Writer
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.pyav_reader import upright
from embodied_ssl.datasets.io.selected import at_rate
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.io.video_index import VideoIndex, fingerprint, index_anew, remembered, upright_size
from embodied_ssl.datasets.io.video_stream import stamp
from embodied_ssl.errors import BadItem
from embodied_ssl.keys import digest
from embodied_ssl.piecework import check_stop


@dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
        video: its path.
        state: ``made`` now; ``sound`` as an earlier call left it; ``bad``; or ``busy``: another process is at it.
        reason: why it is bad.
        seconds: how long the film is.
        bytes: size of its kept frames.
    """

    video: str
    state: Literal["made", "sound", "bad", "busy"]
    reason: str = ""
    seconds: float = 0.0
    bytes: int = 0


def prepare_video(video: str, kept: Kept | None, motion: MotionKind = "difference") -> Outcome:
    """Index a video, find its motion, and keep its frames where ``kept`` says how; what is there and sound is left.

    Raises:
        OSError: the cache folder cannot be written, or its disk is full; nothing half-made is left.
    """
    with claimed(frame_cache.folder() / f"{digest(os.path.abspath(video)):032x}") as file:
        if file is None:
            return Outcome(video, "busy")
        try:
            index = remembered(video)
            if index is not None and (kept is None or _is_sound(video, kept, index)):
                _find_motion(video, motion)
                return _outcome("sound", video, kept, index)
            if kept is None:
                index = index_anew(video, lambda number, frame: check_stop())
            else:
                writer = Writer(file, kept.form)
                index = _record(video, kept, writer)
                writer.finish(index.fingerprint, kept)
                os.replace(file.name, frame_cache.entry_path(video, kept))
        except BadItem as item:
            if kept is not None:
                frame_cache.entry_path(video, kept).unlink(missing_ok=True)  # of what the file was before
            return Outcome(video, "bad", item.reason)
        if remembered(video) is None:  # the index fails without a word, since training can do without the cache
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _find_motion(video, motion)
        return _outcome("made", video, kept, index)


def _find_motion(video: str, motion: MotionKind) -> None:
    """Optical flow, where that is wanted, takes a pass of its own and is kept beside the index."""
    _ = VideoFrames(video, motion=motion).motion


def _outcome(state: Literal["made", "sound"], video: str, kept: Kept | None, index: VideoIndex) -> Outcome:
    size = frame_cache.entry_path(video, kept).stat().st_size if kept else 0
    return Outcome(video, state, "", float(index.seconds[-1] - index.seconds[0]), size)


def _chosen(index: VideoIndex, fps: float) -> list[int]:
    return at_rate(index.seconds, fps).tolist() if fps else list(range(len(index)))


def _is_sound(video: str, kept: Kept, index: VideoIndex) -> bool:
    """Whether the frames are there, as many as there should be, and every one of them as it was written."""
    try:
        found = Stored(frame_cache.entry_path(video, kept), fingerprint(video), kept)
        return len(found) == len(_chosen(index, kept.fps)) and not found.damage()
    except (OSError, Untrusted):
        return False


def _record(video: str, kept: Kept, writer: Writer) -> VideoIndex:
    recorder = _Recorder(kept, writer)
    index = index_anew(video, recorder)
    chosen = _chosen(index, kept.fps)
    if recorder.taken != chosen:  # its frames bear no times that could be gone by on the way
        index = index_anew(video, _Recorder(kept, writer, chosen))
    return index


class _Recorder:
    """Writes the wanted ones among the frames it is shown: those of ``chosen``, or else the first in every tick of 1 / fps."""

    def __init__(self, kept: Kept, writer: Writer, chosen: Sequence[int] | None = None) -> None:
        self.kept = kept
        self.writer = writer
        self.chosen = None if chosen is None else frozenset(chosen)
        self.resize = VideoReformatter()

    def __call__(self, number: int, frame: VideoFrame) -> None:
        check_stop()
        if number == 0:
            self.writer.begin_anew()
            self.taken: list[int] = []
            self.rotation, size = upright_size(frame)
            self.size = fitted(size, self.kept.short_side)
            self.first, self.tick = _seconds(frame), -1
        if self._wants(number, frame):
            self.taken.append(number)
            self.writer.add(upright(frame, self.rotation, self.size, self.resize))

    def _wants(self, number: int, frame: VideoFrame) -> bool:
        if self.chosen is not None:
            return number in self.chosen
        if not self.kept.fps:
            return True
        before, self.tick = self.tick, int(np.floor((_seconds(frame) - self.first) * self.kept.fps + 0.05))  # as `at_rate`
        return self.tick > before


def _seconds(frame: VideoFrame) -> float:
    return float(stamp(frame) or 0) * float(frame.time_base or 0)


def is_there(video: str, kept: Kept | None) -> bool:
    """Whether its index and what is to be kept of it lie in the cache, sound or not: a quick look for estimates."""
    try:
        return remembered(video) is not None and (kept is None or frame_cache.entry_path(video, kept).exists())
    except BadItem:
        return True


def size_there(videos: Sequence[str], kept: Kept) -> int:
    """Bytes that the kept frames of these videos take already."""
    paths = (frame_cache.entry_path(video, kept) for video in videos)
    return sum(path.stat().st_size for path in paths if path.exists())
