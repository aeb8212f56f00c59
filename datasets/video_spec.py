"""What all sets of videos share: how frames are to be given, and the split by recording.

A reader of a layout says which clips there are (`VideoSpec.clips`); everything about frames happens here.
"""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import frame_cache
from embodied_ssl.datasets.io.flow import MotionKind, check_kind
from embodied_ssl.datasets.io.frame_cache import CachedFrames, Form, Kept
from embodied_ssl.datasets.io.frame_folder import folder_frames
from embodied_ssl.datasets.io.frame_numbers import check_side
from embodied_ssl.datasets.io.selected import Selected, at_rate, within
from embodied_ssl.datasets.io.tar_frames import TarFrames
from embodied_ssl.datasets.io.video import VideoFrames, backend
from embodied_ssl.datasets.io.video_index import remembered
from embodied_ssl.datasets.source import DataSpec, Frames, Sample, Source, Split, folders, in_split
from embodied_ssl.errors import BadItem, UserError


class Beside(Protocol):
    """What was recorded beside a clip's frames, such as a robot's motors. It is read when the clip's sample is opened."""

    @property
    def fields(self) -> frozenset[str]:
        """The fields that `at` gives."""

    def at(self, shown: NDArray[np.float64], there: NDArray[np.float64]) -> Mapping[str, Any]:
        """The fields for the frames shown. Raises `BadItem` when frames and records do not belong together.

        Args:
            shown: times of the sample's frames, in seconds since the first of the file, float64 [n].
            there: times of all frames of the file, those that ``fps`` and the span pass over included.
        """


@dataclass(frozen=True, slots=True)  # slots: there may be 100,000, and workers are sent all of them
class Clip:
    """One sample of a set of videos, before anything is opened.

    Attributes:
        path: the video file; or a folder or an uncompressed tar of numbered pictures.
        recording: what it was filmed in; splits never divide one.
        span: start and end in seconds since the first frame, where the sample is a part of the file.
        answers: further fields of the sample: ``label``, for evaluation only, and the like.
        rate: how many pictures there are a second, where it is pictures; 0 where it is a video file.
        beside: what else was recorded, frame by frame.
    """

    path: str
    recording: str
    span: tuple[float, float] | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 0.0
    beside: Beside | None = None

    @property
    def fields(self) -> frozenset[str]:
        """The fields of its sample."""
        return frozenset({"frames", "index"}).union(self.answers, self.beside.fields if self.beside else ())


@dataclass(frozen=True)
class Look:
    """How frames are given, whatever set they are from.

    Attributes:
        short_side: frames are scaled so that their shorter side has so many pixels.
        decoder: see `embodied_ssl.datasets.io.video.backend`.
        fps: frames a second to look at; 0 for all there are.
        feed: ``exact`` decodes; ``auto`` reads kept rgb frames where there are any, which are the same bytes; ``rgb`` and
            ``jpeg`` read frames kept so, and nothing else.
        motion: how a frame's motion is measured.
    """

    short_side: int
    decoder: str
    fps: float
    feed: Literal["auto", "exact", "rgb", "jpeg"] = "auto"
    motion: MotionKind = "difference"

    def frames(self, clip: Clip) -> Frames:
        """The lazy handle on a clip's frames; nothing is decoded yet."""
        frames = self._kept(clip)
        if frames is None:
            frames = self._decoded(clip)
        if clip.span is not None:
            chosen = within(frames.seconds, *clip.span)
            if not len(chosen):
                raise BadItem(clip.path, f"no frame is shown between {clip.span[0]:g} and {clip.span[1]:g} s")
            frames = Selected(frames, chosen)
        return frames

    def beside(self, clip: Clip, frames: Frames) -> Mapping[str, Any]:
        """What was recorded beside these frames of a clip; nothing where nothing was."""
        if clip.beside is None:
            return {}
        there = self._whole(clip).seconds
        return clip.beside.at(frames.seconds - there[0], there - there[0])

    def _kept(self, clip: Clip) -> Frames | None:
        """The frames that `embodied_ssl.prepare` kept, where these are to be read."""
        if clip.rate or self.feed == "exact" or (self.feed == "auto" and self.decoder != "pyav"):
            return None  # other decoders round otherwise
        kept = Kept(self.short_side, self.fps, "jpeg" if self.feed == "jpeg" else "rgb")
        frames = CachedFrames(clip.path, kept, partial(self._decoded, clip))
        if frames.stored is not None:
            return frames
        if self.feed != "auto":
            remembered(clip.path)  # says what is wrong with a broken file
            raise BadItem(clip.path, "its frames are not kept, or no longer those of the file; run embodied-ssl prepare")
        return None

    def _decoded(self, clip: Clip) -> Frames:
        """The frames at the rate wanted, by decoding."""
        frames = self._whole(clip)
        return Selected(frames, at_rate(frames.seconds, self.fps)) if self.fps else frames

    def _whole(self, clip: Clip) -> Frames:
        """All frames of the file, folder or tar that a clip is from."""
        if not clip.rate:
            return VideoFrames(clip.path, self.short_side, self.decoder, self.motion)
        if clip.path.lower().endswith(".tar"):
            return TarFrames(clip.path, clip.rate, self.short_side, self.motion)
        return folder_frames(clip.path, clip.rate, self.short_side, self.motion)


class Videos(Source):
    """Clips behind lazy handles."""

    def __init__(self, name: str, clips: Sequence[Clip], bad: list[BadItem], look: Look, provides: frozenset[str]) -> None:
        self.name = name
        self.clips = clips
        self.recordings = [clip.recording for clip in clips]
        self.bad = bad
        self.look = look
        self.provides = provides

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        clip = self.clips[index]
        frames = self.look.frames(clip)
        return {"frames": frames, "index": index, **clip.answers, **self.look.beside(clip, frames)}


def _is_known_broken(video: str) -> bool:
    try:
        remembered(video)
    except BadItem:
        return True
    return False


@dataclass(frozen=True)
class VideoSpec(DataSpec):
    """A set of videos.

    Attributes:
        root: one folder, or several joined by commas.
        short_side: frames are scaled so that their shorter side has so many pixels.
        decoder: ``pyav`` reads everything; ``decord`` and ``torchcodec`` refuse files of which they would return other frames.
        fps: frames a second to look at, the same times for every way of reading; 0 for all there are.
        feed: ``exact`` decodes; ``cache`` reads the frames that ``embodied-ssl prepare`` kept, rgb or JPEG; ``auto`` reads
            rgb frames where they are kept, which are the same bytes, and decodes elsewhere.
        motion: how a frame's motion is measured, which samplers weigh frames by: ``difference`` to the frame before is found
            when a video is indexed and stands in for the optical flow that papers use; ``dis`` and ``farneback`` are flow, at
            the price of one more pass over each video.
    """

    root: str = ""
    short_side: int = 128
    decoder: Literal["pyav", "decord", "torchcodec"] = "pyav"
    fps: float = 0.0
    feed: Literal["auto", "exact", "cache"] = "auto"
    motion: MotionKind = "difference"

    @abstractmethod
    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        """Every clip of these folders in an order that never changes, and what was left out; opens no video.

        Raises:
            UserError: a folder is in another layout, or incomplete; says what is missing.
        """

    def open(self, split: Split = "all") -> Source:
        backend(self.decoder)
        check_side(self.short_side)
        check_kind(self.motion)
        if self.fps < 0:
            raise UserError(f"fps is {self.fps:g}; give frames a second, or 0 for all there are")
        found, bad = self.clips(folders(self.root))
        chosen = [found[i] for i in in_split([clip.recording for clip in found], split)]
        provides = frozenset.intersection(*{clip.fields for clip in found})
        look = Look(
            self.short_side, self.decoder, self.fps, self._form(found) if self.feed == "cache" else self.feed, self.motion
        )
        return Videos(f"{len(chosen)} videos of {self.root}", chosen, bad, look, provides)

    def _form(self, clips: Sequence[Clip]) -> Form:
        """How the frames of all clips are kept; one form for all, since the pixels of the two differ.

        Raises:
            UserError: those of a readable video are not kept in either.
        """
        videos = dict.fromkeys(clip.path for clip in clips if not clip.rate)
        absent = {form: self._absent(videos, form) for form in get_args(Form)}
        form: Form = min(absent, key=lambda form: len(absent[form]))
        if absent[form]:
            raise UserError(
                f"the frames of {len(absent[form])} of {len(videos)} videos are not kept at short_side {self.short_side} and fps "
                f"{self.fps:g}, as {absent[form][0]}; keep them with: embodied-ssl prepare {shlex.quote(self.root)} "
                f"--as {type(self).__name__} --short-side {self.short_side} --fps {self.fps:g}, or set data.feed=auto"
            )
        return form

    def _absent(self, videos: Iterable[str], form: Form) -> list[str]:
        """Readable videos of which no frames are kept in this form."""
        kept = Kept(self.short_side, self.fps, form)
        return [video for video in videos if not frame_cache.entry_path(video, kept).exists() and not _is_known_broken(video)]
