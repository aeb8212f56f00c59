"""How fast each way of feeding frames is beside what people use today, on test videos it makes itself.

Every feed is first checked to return the frames it is asked for. Then rounds: in each, every feed has a turn with one
process and one with several, so that whatever else the machine does falls on all alike, and ratios are taken within a
round. Feeds that decode one sample at a time do the very same jobs; all do as many as fit a turn's time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from embodied_ssl.benchmark.feeds import Feed
from embodied_ssl.benchmark.figures import Figures, Timed, figures_of
from embodied_ssl.benchmark.jobs import SHORT_SIDE, WINDOW
from embodied_ssl.benchmark.machine import Machine
from embodied_ssl.benchmark.made_videos import RATE, MadeVideo
from embodied_ssl.benchmark.timing import Crew, Lost
from embodied_ssl.datasets.io.video_index import index_of, scan
from embodied_ssl.errors import UserError
from embodied_ssl.progress import Progress

TURN = 0.3  # seconds that a turn should take
FEWEST, MOST = 3, 2000  # jobs a turn
LEAST_SECONDS = -(-WINDOW // RATE)
MEANS = {"size": "frame heights", "gop": "frames from one keyframe to the next", "seconds": "lengths"}
LOOKED_AT = 2  # jobs of each feed whose frames are compared with what was drawn


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        videos: on which test videos.
        feeds: which feeds.
        rounds: how often.
        workers: processes in the turns with several.
    """

    videos: Sequence[MadeVideo]
    feeds: Sequence[Feed]
    rounds: int
    workers: int


@dataclass(frozen=True)
class Measured:
    """The rows of one test video.

    Attributes:
        video: which.
        megabits: a second of it.
        index_cpu: processor seconds of the pass that exact reading needs once a video; no row includes it.
    """

    video: MadeVideo
    megabits: float
    index_cpu: float
    rows: list[Figures]


def as_json(machine: Machine, plan: Plan, found: Sequence[Measured]) -> dict[str, Any]:
    """Everything that was measured, JSON-ready."""
    videos = [_video_as_json(one) for one in found]
    return {"machine": asdict(machine), "rounds": plan.rounds, "workers": plan.workers, "videos": videos}


def _video_as_json(one: Measured) -> dict[str, Any]:
    about = {**asdict(one.video), "megabits": one.megabits, "index_cpu": one.index_cpu}
    return {**about, "rows": [asdict(row) for row in one.rows]}


def videos_of(sizes: str, gops: str, seconds: int) -> list[MadeVideo]:
    """The test videos asked for: sizes as ``360p,720p``, groups of pictures as ``12,30,250``.

    Raises:
        UserError: a size or number is not accepted.
    """
    heights = [_number(size.removesuffix("p"), "size", SHORT_SIDE + 1, 2160) for size in _words(sizes)]
    every = [_number(gop, "gop", 1, 10_000) for gop in _words(gops)]
    if not heights or not every:
        raise UserError("--size and --gop name no video; give for example --size 360p --gop 30")
    _number(str(seconds), "seconds", LEAST_SECONDS, 2000)
    return [MadeVideo(height, gop, seconds) for height in heights for gop in every]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str, option: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise UserError(f"--{option} {text} is not accepted; give {MEANS[option]} from {least} to {most}")
    return int(text)


def run(plan: Plan, progress: Progress) -> Iterator[Measured]:
    """Measure one video after another."""
    total = len(plan.videos) * (plan.rounds + 2)  # a round each, and two steps to make ready
    for number, video in enumerate(plan.videos):
        done = number * (plan.rounds + 2)
        progress.update(done, total, f"{video.title}: making the video")
        video.make()
        index_cpu = _index(video)
        progress.update(done + 1, total, f"{video.title}: checking frames")
        timed = _measure(plan, video, progress, done + 2, total)
        yield Measured(video, video.megabits(), index_cpu, figures_of(timed, video))


def _index(video: MadeVideo) -> float:
    """See to it that the index is kept, and say how many processor seconds it takes to make."""
    began = time.process_time()
    scan(video.path)
    taken = time.process_time() - began
    index_of(video.path)
    return taken


def _measure(plan: Plan, video: MadeVideo, progress: Progress, done: int, total: int) -> dict[str, Timed]:
    """Check every feed, then go round and round."""
    timed = {feed.name: Timed(feed) for feed in plan.feeds}
    with ExitStack() as stack:
        crews = {feed.name: stack.enter_context(Crew(feed, video, plan.workers)) for feed in plan.feeds}
        for name, crew in crews.items():
            timed[name] = _look(timed[name], crew)
        jobs = _jobs(timed)
        for number in range(plan.rounds):
            progress.update(done + number, total, f"{video.title}: round {number + 1} of {plan.rounds}")
            for name in _turned(list(crews), number):
                if not timed[name].absent:
                    timed[name] = _time(timed[name], crews[name], number, jobs[name], plan.workers)
    progress.update(done + plan.rounds, total, video.title)
    return timed


def _turned(names: list[str], by: int) -> list[str]:
    """The names beginning elsewhere in each round, so that nobody always follows the same one."""
    start = by * 5 % len(names)
    return names[start:] + names[:start]


def _look(one: Timed, crew: Crew) -> Timed:
    """Whether a feed can run, what making its cache takes, and whether it returns the frames it is asked for."""
    try:
        why = crew.ready()
        return replace(one, absent=why) if why else replace(one, built=crew.build(), checked=crew.check(LOOKED_AT))
    except Lost:
        return replace(one, absent="failed; see standard error")


def _jobs(timed: Mapping[str, Timed]) -> dict[str, int]:
    """How many jobs a turn of each feed takes, from how long its last checked one took.

    Those that decode one sample at a time all do as many as the slowest of their kind has time for, since only the same jobs
    compare exactly: how far a frame lies from its keyframe is chance.
    """
    seconds = {name: one.checked.seconds for name, one in timed.items() if one.checked}
    for name in seconds:
        feed = timed[name].feed
        if feed.one_by_one:
            alike = [other for other in seconds if timed[other].feed.one_by_one and timed[other].feed.kind == feed.kind]
            seconds[name] = max(seconds[other] for other in alike)
    return {name: min(max(round(TURN / max(one, 1e-6)), FEWEST), MOST) for name, one in seconds.items()}


def _time(one: Timed, crew: Crew, number: int, jobs: int, workers: int) -> Timed:
    """A feed's turns of one round added to what is known of it."""
    try:
        alone = crew.turn(number, jobs, 1)
        together = crew.turn(number, jobs, workers)
    except Lost:
        return replace(one, absent="failed; see standard error")
    return replace(one, alone=[*one.alone, *alone], together=[*one.together, together])
