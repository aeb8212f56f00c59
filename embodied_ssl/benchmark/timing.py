"""Times one feed in processes of its own, so that no feed inherits another's threads, memory or warmth.

A turn opens the video, does one job to warm up, then the jobs that are timed: processor time of the whole process (all
threads, user and system) and time on the clock. What was opened is dropped before anyone else's turn.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from embodied_ssl.benchmark.feeds import Feed
from embodied_ssl.benchmark.made_videos import MadeVideo, drawn, number_in
from embodied_ssl.datasets.io.pictures import crop_and_resize

BUILDS = 3  # times a cache is made, the first of which finds nothing warm
LOOKS_LIKE = 10.0  # mean grey levels that a frame may differ from what was drawn: coding and other resizing make 1 to 4


@dataclass(frozen=True)
class Turn:
    """So many jobs for one process; ``number`` decides which."""

    number: int
    jobs: int


@dataclass(frozen=True)
class Check:
    """Jobs whose frames are to be looked at instead of timed."""

    jobs: int


@dataclass(frozen=True)
class Build:
    """What a feed needs once a video is to be made."""


@dataclass(frozen=True)
class Measure:
    """What a turn took.

    Attributes:
        samples: how many came back.
        cpu: processor seconds of all threads.
        wall: seconds on the clock.
        resident: bytes of memory the process holds at the end.
    """

    samples: int
    cpu: float
    wall: float
    resident: int


@dataclass(frozen=True)
class Checked:
    """How many frames were looked at and how many were not the ones asked for; seconds that one job took."""

    frames: int
    wrong: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """What making a feed's cache took, in processor seconds (the median of several times), and its size in bytes."""

    cpu: float
    bytes: int


@dataclass(frozen=True)
class Absent:
    """The feed cannot run here, and why."""

    why: str


def serve(pipe: Connection, feed: Feed, video: MadeVideo) -> None:
    """A worker's life: says whether the feed can run, then answers `Build`, `Check` and `Turn` until it is sent None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    cv2.setNumThreads(0)  # as our loader's workers and torch's do
    try:
        if feed.needs != "av":
            import torch

            torch.set_num_threads(1)
        feed.open(str(video.path))
        pipe.send(None)
    except Exception as error:  # a package that lacks its own libraries can raise anything
        pipe.send(Absent(_why(error)))
        return
    with suppress(EOFError, BrokenPipeError):  # should the main process be gone
        while (asked := pipe.recv()) is not None:
            pipe.send(_answer(feed, video, asked))


def _answer(feed: Feed, video: MadeVideo, asked: Turn | Check | Build) -> Measure | Checked | Built | None:
    if isinstance(asked, Build):
        return _built(feed, video)
    return _timed(feed, video, asked) if isinstance(asked, Turn) else _checked(feed, video, asked)


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "not installed"
    return f"cannot be used: {(str(error).strip().splitlines() or [type(error).__name__])[0][:80]}"


def _built(feed: Feed, video: MadeVideo) -> Built | None:
    if feed.build is None:
        return None
    taken: list[float] = []
    for _ in range(BUILDS):
        cpu = _cpu()
        size = feed.build(str(video.path))
        taken.append(_cpu() - cpu)
    return Built(statistics.median(taken), size)


def _timed(feed: Feed, video: MadeVideo, turn: Turn) -> Measure:
    read = feed.open(str(video.path))
    jobs = [feed.draw(len(video), turn.number, position) for position in range(turn.jobs + 1)]
    wanted = [np.unique(job.groups) for job in jobs]

    def do(position: int) -> int:
        return len(jobs[position].cut(wanted[position], read(wanted[position])))

    do(0)  # the warm-up
    cpu, wall = _cpu(), time.perf_counter()
    samples = sum(do(position) for position in range(1, turn.jobs + 1))
    return Measure(samples, _cpu() - cpu, time.perf_counter() - wall, resident())


def _checked(feed: Feed, video: MadeVideo, asked: Check) -> Checked:
    """Compare what a feed returns with what was drawn: the number, and the picture as a whole."""
    read = feed.open(str(video.path))
    wrong, total, began, seconds = 0, 0, 0.0, 0.0
    for position in range(asked.jobs):
        numbers = np.unique(feed.draw(len(video), -1, position).groups)
        began = time.perf_counter()
        frames = read(numbers)
        seconds = time.perf_counter() - began
        for number, frame in zip(numbers.tolist(), frames, strict=True):
            total += 1
            small = crop_and_resize(drawn(number, video.size), (0, 0, *video.size), frame.shape[:2])
            apart = np.abs(frame.astype(np.int16) - small).mean()
            wrong += int(number_in(frame) != number or bool(apart > LOOKS_LIKE))
    return Checked(total, wrong, seconds)


def _cpu() -> float:
    """Processor seconds of this process and those it started, to a microsecond (`os.times` counts in hundredths)."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def resident() -> int:
    """Bytes of memory this process holds; where the system does not say, the most it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


class Lost(Exception):
    """A feed's process ended in the middle of its work; what it died of is on standard error."""


class Crew:
    """The processes of one feed and one video; to be used in a ``with`` block. All methods raise `Lost` when one ends."""

    def __init__(self, feed: Feed, video: MadeVideo, workers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        for _ in range(workers):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(theirs, feed, video), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in self.pipes:
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self.processes:
            process.join(5)
            process.terminate()

    def ready(self) -> str | None:
        """Wait until all have opened the video; why the feed cannot run here, or None when it can."""
        answers = [self._answer(pipe) for pipe in self.pipes]
        return next((answer.why for answer in answers if isinstance(answer, Absent)), None)

    def build(self) -> Built | None:
        """Have one process make what the feed needs once; None when it needs nothing."""
        self.pipes[0].send(Build())
        built: Built | None = self._answer(self.pipes[0])
        return built

    def check(self, jobs: int) -> Checked:
        """Have one process look at what the feed returns."""
        self.pipes[0].send(Check(jobs))
        checked: Checked = self._answer(self.pipes[0])
        return checked

    def turn(self, number: int, jobs: int, workers: int) -> list[Measure]:
        """So many processes do so many jobs each, at the same time."""
        for place, pipe in enumerate(self.pipes[:workers]):
            pipe.send(Turn(number * len(self.pipes) + place, jobs))
        return [self._answer(pipe) for pipe in self.pipes[:workers]]

    def _answer(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except EOFError:
            raise Lost from None
