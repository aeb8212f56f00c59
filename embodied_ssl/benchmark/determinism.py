"""Whether the same data come out however they are made: in any order, by any number of processes, after any number of kills.

The first folder is made by one process in order; the content hash of every other way must be its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embodied_ssl.benchmark.tables import Cells
from embodied_ssl.keys import generator
from embodied_ssl.progress import Progress, Silent
from embodied_ssl.sim.collecting.accepted import Part
from embodied_ssl.sim.collecting.collect import collect, content_hash
from embodied_ssl.sim.collecting.content import content_hash_of
from embodied_ssl.sim.collecting.engines import Processes, Serial
from embodied_ssl.sim.interaction import interaction
from embodied_ssl.sim.rows import table_of
from embodied_ssl.sim.spec import Spec


@dataclass(frozen=True)
class Way:
    """One way of making the data: its name, and whether the data were the same."""

    name: str
    same: bool


def compare(folder: Path, spec: Spec, kills: int, progress: Progress) -> Iterator[Way]:
    """Make the same data set in many ways.

    Args:
        folder: absent or empty; every way gets a folder in it.
        spec: of the data set; a few dozen episodes in several shards are enough.
        kills: how often the last way is killed while it works.
        progress: is told of each way.
    """
    progress.update(0, 6, "one process, in order")
    began = time.monotonic()
    wanted = collect(folder / "one", spec, Serial()).sha256
    taken = time.monotonic() - began
    items = range(spec.episodes)
    first = content_hash_of(table_of([interaction(spec, index) for index in items]))
    yield Way("one process, in order", content_hash(folder / "one") == wanted)
    progress.update(1, 6, "two processes")
    yield Way("two processes", collect(folder / "two", spec, Processes(2, 120)).sha256 == wanted)
    progress.update(2, 6, "two parts in one folder")
    for number in (2, 1):
        parts = collect(folder / "parts", spec, Serial(), part=Part(number, 2))
    yield Way("two parts in one folder, the second first", parts.sha256 == wanted)
    progress.update(3, 6, "in reverse")
    backwards = [interaction(spec, index) for index in reversed(items)][::-1]
    yield Way("in reverse", content_hash_of(table_of(backwards)) == first)
    progress.update(4, 6, "each in a process of its own")
    few = items[:: max(1, len(items) // 8)]
    alone = [_alone(spec, index) for index in few]
    together = [content_hash_of(table_of([interaction(spec, index)])) for index in few]
    yield Way(f"{len(few)} of them, each in a process of its own", alone == together)
    progress.update(5, 6, f"killed {kills} times")
    yield Way(f"killed {kills} times and resumed", _killed(folder / "killed", spec, kills, taken) == wanted)
    progress.update(6, 6, "compared")


def _alone(spec: Spec, index: int) -> str:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_hash, (spec, index))


def _hash(spec: Spec, index: int) -> str:
    return content_hash_of(table_of([interaction(spec, index)]))


def _killed(folder: Path, spec: Spec, kills: int, whole: float) -> str:
    """Begin again and again, killed at random moments within the time that the whole takes; the hash in the end."""
    context = multiprocessing.get_context("spawn")
    rng = generator("kills", kills)
    for _ in range(kills):
        process = context.Process(target=_go_on, args=(folder, spec))
        process.start()
        process.join(float(rng.uniform(0.5, 1.5) * whole / max(kills, 1) + 1.0))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    return collect(folder, spec, Serial(), resume=folder.exists(), progress=Silent()).sha256


def _go_on(folder: Path, spec: Spec) -> None:
    collect(folder, spec, Serial(), resume=True)


def cells_of(rows: Sequence[Way]) -> list[Cells]:
    """Head and lines of the table."""
    return [["made", "same bytes"], *([row.name, "yes" if row.same else "NO"] for row in rows)]


def data_set(robot: str, renderer: str, episodes: int) -> Spec:
    """A small data set of all tasks, with everything that can differ differing."""
    spec = Spec(tasks=("grasp", "push", "poke", "observe"), episodes=episodes, per_shard=4, size=(64, 64), robot=robot)
    ranges = replace(spec.randomise, textures=0.5, shadows=0.5, noise=(0.0, 4.0), mass=(0.5, 2.0), distractors=(0, 2))
    return replace(spec, renderer=renderer, randomise=ranges)
