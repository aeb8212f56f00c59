"""Make a set of videos ready for training in one pass that may be killed and run again: indexes, and frames kept small.

`plan_for` looks at headers and says what it will take; `prepare` does it and reports what could not be read. Several
processes may prepare one set at once: each video is done by one of them, and the files are the same however many there were.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from embodied_ssl.claims import remove_unclaimed
from embodied_ssl.datasets.io import array_cache, frame_cache
from embodied_ssl.datasets.io.flow import MotionKind, check_kind
from embodied_ssl.datasets.io.frame_cache import Form, Kept
from embodied_ssl.datasets.io.frame_numbers import check_side, fitted
from embodied_ssl.datasets.io.prepare_video import Outcome, is_there, prepare_video, size_there
from embodied_ssl.datasets.io.video_header import header_of
from embodied_ssl.datasets.source import folders
from embodied_ssl.datasets.video_spec import VideoSpec
from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.piecework import finished
from embodied_ssl.progress import Progress

Cache = Literal["none", "auto", "rgb", "jpeg"]

HEADERS = 1000  # that are read for an estimate; of more files, as many evenly spread ones
JPEG_BYTES = 0.45  # per pixel at quality 90, on real films about 0.3 to 0.5
OF_FREE = 0.9  # of the free disk, the most to be filled
SECONDS_A_FRAME, SECONDS_A_PIXEL = 0.6e-3, 2.5e-9  # of decoding H.264 on one core, roughly
WAIT = 0.5  # seconds between looks at videos that another process holds
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Order:
    """What to make.

    Attributes:
        cache: ``rgb`` or ``jpeg`` frames (see `Kept`), ``auto`` for rgb where it fits and else jpeg, ``none`` for indexes only.
        short_side: pixels of the frames' shorter side.
        fps: frames a second to keep; 0 for all there are.
        motion: how it is measured, as a run's ``data.motion``; flow takes a second pass.
        budget: bytes that ``auto`` may take.
        workers: processes; they change nothing but the time; below 0 for one a core.
    """

    cache: Cache = "auto"
    short_side: int = 128
    fps: float = 0.0
    budget: int = 20 * 10**9
    workers: int = -1
    motion: MotionKind = "difference"

    def __post_init__(self) -> None:
        if self.cache not in get_args(Cache):
            raise UserError(f"--cache {self.cache} is not accepted{suggest(self.cache, get_args(Cache))}")
        check_side(self.short_side)
        check_kind(self.motion)
        if not 0 <= self.fps < 1000:
            raise UserError(f"--fps is {self.fps:g}; give frames a second, or 0 for all there are")


@dataclass(frozen=True)
class Plan:
    """What preparing a set will take, by the headers of its files.

    Attributes:
        videos: the files, each once.
        sizes: bytes of each.
        hours: of film.
        bytes_as: what the frames would take in each form.
        there: how many have frames in the form chosen on the disk already, or an index where no frames are to be kept.
        free: bytes free on the disk of the cache.
        seconds: that the others will take, roughly, with all workers.
        kept: how frames will be kept; None for not at all.
        workers: processes.
        motion: how it is measured.
    """

    videos: list[str]
    sizes: list[int]
    hours: float
    bytes_as: dict[Form, int]
    there: int
    free: int
    seconds: float
    kept: Kept | None
    workers: int
    motion: MotionKind

    def lines(self) -> list[str]:
        """For people."""
        film = f"{self.hours:.1f} hours" if self.hours >= 1 else f"{self.hours * 60:.1f} minutes"
        said = [f"{len(self.videos)} video files, {film} of film, {shown_bytes(sum(self.sizes))}"]
        rgb, jpeg = (shown_bytes(self.bytes_as[form]) for form in get_args(Form))
        if self.kept is None:
            said.append("no frames will be kept")
        else:
            rate = f"{self.kept.fps:g} frames a second" if self.kept.fps else "every frame"
            free = f"{shown_bytes(self.free)} are free in {frame_cache.folder()}"
            said.append(f"{rate} at {self.kept.short_side} pixels: about {rgb} as rgb, {jpeg} as jpeg; {free}")
        what = f"index them and keep frames as {self.kept.form}" if self.kept else "index them"
        there = f"; {self.there} are there and will be checked" if self.there else ""
        long = f"; {_shown_seconds(self.seconds)} or so" if self.there < len(self.videos) else ""
        return [*said, f"will {what} with {self.workers} workers{there}{long}"]


@dataclass(frozen=True)
class Report:
    """What `prepare` has done.

    Attributes:
        outcomes: of every video file, in order.
        kept: how frames were kept.
        seconds: that it took.
    """

    outcomes: list[Outcome]
    kept: Kept | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Facts for people and programs; what was left out comes last."""
        made = [one for one in self.outcomes if one.state == "made"]
        film = sum(one.seconds for one in made)
        return {
            "videos": len(self.outcomes),
            "made": len(made),
            "ready_before": sum(one.state == "sound" for one in self.outcomes),
            "frames_as": self.kept.form if self.kept else "none",
            "bytes": sum(one.bytes for one in self.outcomes),
            "seconds": round(self.seconds, 2),
            "times_real_time": round(film / self.seconds, 1) if made and self.seconds else 0.0,
            "left_out": [{"name": one.video, "reason": one.reason} for one in self.outcomes if one.state == "bad"],
        }

    def how_to_use(self) -> str:
        """What a run must be told to profit from it."""
        if self.kept is None:
            return "runs on these videos begin at once now; frames are decoded when they are wanted"
        rate = f" and data.fps={self.kept.fps:g}" if self.kept.fps else ""
        which = f"runs with data.short_side={self.kept.short_side}{rate}"
        if self.kept.form == "rgb":
            return f"{which} read these frames by themselves: they are the bytes that decoding gives"
        return f"{which} read these frames with --set data.feed=cache; JPEG alters pixels, so they must be asked for"


def parse_bytes(text: str) -> int:
    """``20GB``, ``500 MB`` or a plain number of bytes.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if not found:
        raise UserError(f"'{text}' is not an amount of disk; give one as 20GB or 500MB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def shown_bytes(count: float) -> str:
    """A number of bytes for people: two or three digits that count."""
    unit = next(unit for unit in ("T", "G", "M", "K", "") if count >= UNITS[unit] or not unit)
    return f"{count / UNITS[unit]:.3g} {unit}B"


def _shown_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def videos_of(spec: VideoSpec) -> tuple[list[str], list[BadItem]]:
    """The video files of a set, each once, in an order that never changes; and what its reader left out.

    Raises:
        UserError: the set is kept as pictures, or its folder is refused.
    """
    clips, bad = spec.clips(folders(spec.root))
    found = dict.fromkeys(os.path.abspath(clip.path) for clip in clips if not clip.rate)
    if not found:
        raise UserError(f"'{spec.root}' is kept as pictures, which are read as they are: there is nothing to prepare")
    return list(found), bad


def plan_for(videos: Sequence[str], order: Order) -> Plan:
    """Estimate from headers what it takes, and choose the form.

    Raises:
        UserError: it does not fit.
    """
    sizes = [_size_of(video) for video in videos]
    looked = np.unique(np.linspace(0, len(videos) - 1, min(len(videos), HEADERS)).round().astype(int)).tolist()
    film, work, pixels = np.sum([(0.0, 0.0, 0.0), *(_estimate(videos[i], order) for i in looked)], axis=0).tolist()
    scale = sum(sizes) / max(1, sum(sizes[i] for i in looked))
    bytes_as: dict[Form, int] = {"rgb": int(pixels * scale * 3), "jpeg": int(pixels * scale * JPEG_BYTES)}
    free = shutil.disk_usage(_existing(frame_cache.folder())).free
    kept = _choose(videos, order, bytes_as, free)
    absent = [size for video, size in zip(videos, sizes, strict=True) if not is_there(video, kept)]
    seconds = work * scale * sum(absent) / max(1, sum(sizes))
    workers = min(len(videos), (os.cpu_count() or 1) if order.workers < 0 else max(1, order.workers))
    there = len(videos) - len(absent)
    return Plan(list(videos), sizes, film * scale / 3600, bytes_as, there, free, seconds / workers, kept, workers, order.motion)


def _size_of(video: str) -> int:
    try:
        return os.path.getsize(video)
    except OSError:
        return 0


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def _estimate(video: str, order: Order) -> tuple[float, float, float]:
    """Seconds of film, seconds of work and pixels to keep; nothing for a file that is no video."""
    try:
        header = header_of(video)
    except BadItem:
        return 0.0, 0.0, 0.0
    height, width = fitted(header.size, order.short_side) if min(header.size) else (0, 0)
    frames = header.seconds * header.fps
    kept = header.seconds * min(header.fps, order.fps or header.fps)
    return header.seconds, frames * (SECONDS_A_FRAME + SECONDS_A_PIXEL * header.size[0] * header.size[1]), kept * height * width


def _choose(videos: Sequence[str], order: Order, bytes_as: dict[Form, int], free: int) -> Kept | None:
    """How to keep frames; those that are there already need no room."""
    if order.cache == "none":
        return None
    forms: tuple[Form, ...] = get_args(Form) if order.cache == "auto" else (order.cache,)
    for form in forms:
        kept = Kept(order.short_side, order.fps, form)
        fits = bytes_as[form] - size_there(videos, kept) <= OF_FREE * free
        if fits and (order.cache != "auto" or bytes_as[form] <= order.budget):
            return kept
    needed = " and ".join(f"{shown_bytes(bytes_as[form])} as {form}" for form in forms)
    limit, budget = (
        (f" and --budget is {shown_bytes(order.budget)}", "a larger --budget, ") if order.cache == "auto" else ("", "")
    )
    raise UserError(
        f"the frames need {needed}, but {shown_bytes(free)} are free in '{frame_cache.folder()}'{limit}; give a smaller --fps, "
        f"{budget}another disk (the environment's EMBODIED_SSL_CACHE), or --cache {'jpeg' if order.cache == 'rgb' else 'none'}"
    )


def prepare(plan: Plan, progress: Progress) -> Report:
    """Make what is planned; what is there already is checked to the last byte and left.

    Raises:
        UserError: the cache folder cannot be written, or its disk is full; finished videos stay.
        KeyboardInterrupt: passed on, after the workers have stopped; finished videos stay.
    """
    began = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    try:
        for place in (frame_cache.folder(), array_cache.cache_folder()):
            place.mkdir(parents=True, exist_ok=True)
            remove_unclaimed(place)
        _work(plan, progress, outcomes)
    except OSError as error:
        raise _refused(error, plan, outcomes) from error
    return Report([outcomes[video] for video in plan.videos], plan.kept, time.monotonic() - began)


def _work(plan: Plan, progress: Progress, outcomes: dict[str, Outcome]) -> None:
    """Prepare every video, coming back at the end to those that other processes held."""
    began, film = time.monotonic(), 0.0
    waiting, workers = plan.videos, plan.workers
    while waiting:
        busy = []
        for outcome in finished(partial(prepare_video, kept=plan.kept, motion=plan.motion), waiting, workers):
            if outcome.state == "busy":
                busy.append(outcome.video)
                continue
            outcomes[outcome.video] = outcome
            film += outcome.seconds if outcome.state == "made" else 0
            rate = f"{film / max(1e-3, time.monotonic() - began):.0f} x real time" if film else ""
            progress.update(len(outcomes), len(plan.videos), rate)
        if busy and len(busy) == len(waiting):
            time.sleep(WAIT)
        elif busy:
            progress.say(f"{len(busy)} videos are being prepared by another process; waiting for it")
        waiting, workers = busy, 1


def _refused(error: OSError, plan: Plan, outcomes: dict[str, Outcome]) -> UserError:
    """What to tell the user when the cache cannot be written."""
    kept = f"{len(outcomes)} of {len(plan.videos)} videos are finished and kept"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"cannot write to '{error.filename or frame_cache.folder()}' ({error.strerror}); {kept}; "
            "choose another folder with the environment's EMBODIED_SSL_CACHE"
        )
    left = sum(size for video, size in zip(plan.videos, plan.sizes, strict=True) if video not in outcomes)
    share = left / max(1, sum(plan.sizes))
    needed = f"; the rest needs about {shown_bytes(plan.bytes_as[plan.kept.form] * share)}" if plan.kept else ""
    return UserError(
        f"the disk is full in '{array_cache.cache_root()}'; {kept}{needed}; free some space, or choose another folder with the "
        "environment's EMBODIED_SSL_CACHE, then run the same command again"
    )


def spec_for(given: str, reader: str = "") -> VideoSpec:
    """The reader of a set of videos: the one named, or the first that recognises the folder.

    Raises:
        UserError: no such folder or reader, or it reads no videos.
    """
    from embodied_ssl import discover
    from embodied_ssl.inspection import spec_at

    if reader:
        known = {kind.__name__: kind for kind in discover.specs() if issubclass(kind, VideoSpec)}
        if reader not in known:
            raise UserError(f"no reader of videos is called '{reader}'{suggest(reader, known)}")
        return replace(known[reader](), root=given)
    spec = spec_at(given)
    if not isinstance(spec, VideoSpec):
        raise UserError(f"'{given}' is read as {type(spec).__name__}, which has no video files: there is nothing to prepare")
    return spec
