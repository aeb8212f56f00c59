"""The feeds that are compared: what people use today, and every way of this toolkit's to get the same samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.benchmark import jobs
from embodied_ssl.benchmark.jobs import SHORT_SIDE, Job
from embodied_ssl.benchmark.naive import Read, naive_decord, naive_torchcodec, tuned_decord, tuned_torchcodec
from embodied_ssl.datasets.io import frame_cache
from embodied_ssl.datasets.io.frame_cache import CachedFrames, Form, Kept
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.prepare_video import prepare_video
from embodied_ssl.datasets.io.pyav_reader import PyAVBackend
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.io.video_index import index_of
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError, suggest

Kind = Literal["triplets", "clips"]


@dataclass(frozen=True)
class Feed:
    """One way of feeding samples.

    Attributes:
        name: as chosen on the command line.
        title: as shown in the table.
        open: opens a video and returns what reads it; see `embodied_ssl.benchmark.naive`.
        draw: the job of a turn and position in a video of so many frames.
        kind: what its samples are; ratios are taken among one kind.
        one_by_one: decodes for each sample on its own; such feeds do exactly the same jobs in a round.
        needs: the package it cannot do without.
        build: what must be made of a video once before samples can be fed; returns its bytes. None for nothing.
    """

    name: str
    title: str
    open: Callable[[str], Read]
    draw: Callable[[int, int, int], Job] = jobs.triplets
    kind: Kind = "triplets"
    one_by_one: bool = True
    needs: str = "av"
    build: Callable[[str], int] | None = None


def exact(path: str) -> Read:
    """Frames by number from a reader that stays open."""
    frames = VideoFrames(path, SHORT_SIDE)
    return lambda numbers: frames.take(numbers.tolist())


def exact_opened_anew(path: str) -> Read:
    """The same with the file opened for every sample, as it is when there are many more videos than open readers."""
    index = index_of(path)
    size = fitted(index.size, SHORT_SIDE)

    def read(numbers: NDArray[np.int64]) -> Pixels:
        frames = np.empty((len(numbers), *size, 3), np.uint8)
        for row, pixels in zip(frames, PyAVBackend().decode(path, index, numbers.tolist(), SHORT_SIDE), strict=True):
            row[:] = pixels
        return frames

    return read


def cached(path: str, form: Form) -> Read:
    """Frames that were decoded once and kept."""
    frames = CachedFrames(path, Kept(SHORT_SIDE, 0.0, form), partial(VideoFrames, path, SHORT_SIDE))
    return lambda numbers: frames.take(numbers.tolist())


def build_cache(path: str, form: Form) -> int:
    """Keep all frames of a video as a user's `embodied-ssl prepare` does, anew whatever is there; bytes it takes."""
    kept = Kept(SHORT_SIDE, 0.0, form)
    entry = frame_cache.entry_path(path, kept)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.unlink(missing_ok=True)
    return prepare_video(path, kept).bytes


def cache(form: Form, title: str) -> Feed:
    """Frames kept small on disk, every one of the video."""
    build = partial(build_cache, form=form)
    return Feed(f"cache-{form}", title, partial(cached, form=form), one_by_one=False, build=build)


def window(together: int) -> Feed:
    """A window of 200 frames is visited once for several triplets."""
    draw = partial(jobs.triplets, together=together)
    return Feed(f"window-{together}", f"window, {together} triplets each", exact, draw, one_by_one=False)


FEEDS = (
    Feed("naive-decord", "naive decord", naive_decord, needs="decord"),
    Feed("naive-torchcodec", "naive torchcodec", naive_torchcodec, needs="torchcodec"),
    Feed("tuned-decord", "tuned decord, kept open", tuned_decord, needs="decord"),
    Feed("tuned-torchcodec", "tuned torchcodec, approximate", tuned_torchcodec, needs="torchcodec"),
    Feed("exact-anew", "exact random, opened anew", exact_opened_anew),
    Feed("exact", "exact random, kept open", exact),
    window(4),
    window(16),
    window(64),
    cache("jpeg", "frame cache, JPEG"),
    cache("rgb", "frame cache, RGB"),
    Feed("clip-naive-decord", "naive decord", naive_decord, jobs.clip, "clips", needs="decord"),
    Feed("clip-naive-torchcodec", "naive torchcodec", naive_torchcodec, jobs.clip, "clips", needs="torchcodec"),
    Feed("clip-anew", "exact clip, opened anew", exact_opened_anew, jobs.clip, "clips"),
    Feed("clip-exact", "exact clip, kept open", exact, jobs.clip, "clips"),
)
BASELINES: dict[Kind, tuple[str, str]] = {
    "triplets": ("naive-decord", "naive-torchcodec"),
    "clips": ("clip-naive-decord", "clip-naive-torchcodec"),
}


def chosen(names: list[str]) -> list[Feed]:
    """The feeds of these names in the table's order, all for none, with the two that each kind is compared to.

    Raises:
        UserError: a name is no feed's.
    """
    known = {feed.name: feed for feed in FEEDS}
    for name in names:
        if name not in known:
            raise UserError(f"there is no feed '{name}'{suggest(name, known)}")
    wanted = {*names, *(base for name in names for base in BASELINES[known[name].kind])}
    return [feed for feed in FEEDS if feed.name in wanted or not names]
