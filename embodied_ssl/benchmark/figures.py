"""From what was timed to what is said: medians over rounds, ratios within a round, targets met or missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from embodied_ssl.benchmark.feeds import BASELINES, Feed
from embodied_ssl.benchmark.made_videos import MadeVideo
from embodied_ssl.benchmark.timing import Built, Checked, Measure


@dataclass(frozen=True)
class Spread:
    """A figure over rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Target:
    """How many times less processor time than the naive loops a feed is to take.

    Attributes:
        feed: its name.
        decord, torchcodec: the least ratio to each.
        height, gop: holds for such videos only; 0 for all. The first of `TARGETS` that fits counts.
    """

    feed: str
    decord: float
    torchcodec: float
    height: int = 0
    gop: int = 0


TARGETS = (
    Target("exact", 2, 1.1, height=360),
    Target("window-16", 15, 10, gop=250),
    Target("window-16", 8, 4),
    Target("window-64", 25, 12),
    Target("cache-jpeg", 100, 50),
    Target("cache-rgb", 500, 250),
    Target("clip-exact", 2, 1.5),
)
BUILD_TARGET, BUILD_HEIGHT = 25.0, 360  # seconds of 360p video that a second of one core turns into a cache, at least


@dataclass(frozen=True)
class Timed:
    """What came back about one feed and one video.

    Attributes:
        absent: why it was not timed, or "".
        built: what making its cache took, if it has one.
        checked: what a look at its frames found.
        alone: a measure a round with one process.
        together: for each round, the measures of processes working at the same time.
    """

    feed: Feed
    absent: str = ""
    built: Built | None = None
    checked: Checked | None = None
    alone: Sequence[Measure] = ()
    together: Sequence[Sequence[Measure]] = ()

    def cpu_ms(self) -> list[float]:
        """Processor milliseconds a sample, for each round."""
        return [1000 * one.cpu / one.samples for one in self.alone]


@dataclass(frozen=True)
class Cost:
    """What a cache costs.

    Attributes:
        cpu: processor seconds of making it.
        real_time: seconds of video made ready in one of them.
        bytes: its size.
        gb_per_hour: of video.
        paid_decord, paid_torchcodec: samples a minute of video after which making it has paid, beside the naive loops.
        target: the ``real_time`` to be reached; 0 for none.
        met: whether it was.
    """

    cpu: float
    real_time: float
    bytes: int
    gb_per_hour: float
    paid_decord: float | None
    paid_torchcodec: float | None
    target: float
    met: bool | None


@dataclass(frozen=True)
class Figures:
    """One row of the table; ratios are None where a baseline is missing, and all figures where the feed is.

    Attributes:
        name, title, kind: see `Feed`.
        note: why there are no figures, or what is wrong with them; "" when all is well.
        cpu_ms: processor time of all threads a sample, one process.
        rate, rate_together: samples a second on the clock, one process and several.
        over_decord, over_torchcodec: how many times less processor time than the naive loops, within a round.
        resident_mb: memory held by the process at the end, the most of all rounds.
        frames, wrong: frames compared with what was drawn, and those that were others.
        target: the ratios to be reached, where there are any.
        met: whether they were; None where that cannot be said.
        cost: of the cache it reads, where it reads one.
    """

    name: str
    title: str
    kind: str
    note: str = ""
    cpu_ms: Spread | None = None
    rate: Spread | None = None
    rate_together: Spread | None = None
    over_decord: Spread | None = None
    over_torchcodec: Spread | None = None
    resident_mb: float | None = None
    frames: int = 0
    wrong: int = 0
    target: Target | None = None
    met: bool | None = None
    cost: Cost | None = None


def spread(values: Sequence[float]) -> Spread | None:
    """Median, least and most; None of nothing."""
    return Spread(median(values), min(values), max(values)) if values else None


def figures_of(timed: Mapping[str, Timed], video: MadeVideo) -> list[Figures]:
    """The table's rows, in the order given; keys are the feeds' names."""
    return [_row(one, timed, video) for one in timed.values()]


def _row(one: Timed, timed: Mapping[str, Timed], video: MadeVideo) -> Figures:
    feed, looked = one.feed, one.checked or Checked(0, 0, 0.0)
    if one.absent:
        return Figures(feed.name, feed.title, feed.kind, one.absent, frames=looked.frames, wrong=looked.wrong)
    decord, torchcodec = (_ratio(timed.get(base), one) for base in BASELINES[feed.kind])
    target = target_for(feed.name, video)
    return Figures(
        name=feed.name,
        title=feed.title,
        kind=feed.kind,
        note=f"wrong frames: {looked.wrong} of {looked.frames}" if looked.wrong else "",
        cpu_ms=spread(one.cpu_ms()),
        rate=spread([measure.samples / measure.wall for measure in one.alone]),
        rate_together=spread([_rate(round_) for round_ in one.together]),
        over_decord=decord,
        over_torchcodec=torchcodec,
        resident_mb=max(measure.resident for measure in one.alone) / 1e6,
        frames=looked.frames,
        wrong=looked.wrong,
        target=target,
        met=_met(target, decord, torchcodec, looked.wrong),
        cost=_cost(one, one.built, timed, video) if one.built else None,
    )


def _cost(one: Timed, built: Built, timed: Mapping[str, Timed], video: MadeVideo) -> Cost:
    decord, torchcodec = (_paid(built, timed.get(base), one, video) for base in BASELINES[one.feed.kind])
    speed = video.seconds / built.cpu
    target = BUILD_TARGET if video.height == BUILD_HEIGHT else 0.0
    hourly = built.bytes / video.seconds * 3600 / 1e9
    return Cost(built.cpu, speed, built.bytes, hourly, decord, torchcodec, target, speed >= target if target else None)


def _paid(built: Built, base: Timed | None, one: Timed, video: MadeVideo) -> float | None:
    """After how many samples a minute of video the making is paid for by what each saves; None when none is saved."""
    if base is None or base.absent:
        return None
    saved = (median(base.cpu_ms()) - median(one.cpu_ms())) / 1000
    return built.cpu / saved / (video.seconds / 60) if saved > 0 else None


def _ratio(base: Timed | None, one: Timed) -> Spread | None:
    """The base's processor time over this one's, round by round; a base that returns wrong frames is none."""
    if base is None or base.absent or (base.checked and base.checked.wrong):
        return None
    return spread([theirs / ours for theirs, ours in zip(base.cpu_ms(), one.cpu_ms(), strict=True)])


def _rate(measures: Sequence[Measure]) -> float:
    return sum(measure.samples for measure in measures) / max(measure.wall for measure in measures)


def target_for(name: str, video: MadeVideo) -> Target | None:
    """What a feed is to reach on a video, if anything."""
    fitting = (one for one in TARGETS if one.feed == name and one.height in (0, video.height) and one.gop in (0, video.gop))
    return next(fitting, None)


def _met(target: Target | None, decord: Spread | None, torchcodec: Spread | None, wrong: int) -> bool | None:
    if target is None or decord is None or torchcodec is None:
        return None
    return not wrong and decord.median >= target.decord and torchcodec.median >= target.torchcodec
