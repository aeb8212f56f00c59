"""How fast interactions are made beside the naive script: rounds in which every way has a turn, ratios within a round.

What counts is processor time of the whole process, all threads, so that other work on the machine is felt little.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from embodied_ssl.benchmark.machine import Machine
from embodied_ssl.benchmark.simulators import Way
from embodied_ssl.benchmark.tables import MET, Cells, markdown_table, rounded, text_table
from embodied_ssl.progress import Progress

LEAST_RATE = 1.5  # interactions a second that the naive script must make here, for its ratios to mean what they say
EXPLAINED = [
    "CPU ms: processor time for one interaction (grasp, push, poke in turn; five things; colour, depth and ids of 224 pixels,",
    "before and after), median over rounds. x: how many times less than the naive script takes, within one round: median",
    "(least..most).",
]


@dataclass(frozen=True)
class Turn:
    """What a turn took: interactions, processor seconds, seconds on the clock, bytes of memory held at its end."""

    made: int
    cpu: float
    wall: float
    resident: int


@dataclass
class Timed:
    """One way's turns, and why it cannot run here, if so."""

    way: Way
    turns: list[list[Turn]] = field(default_factory=list)  # a round each: one turn a process
    absent: str = ""

    def cpu_ms(self, number: int) -> float:
        """Milliseconds of processor time for one interaction in a round."""
        turns = self.turns[number]
        return 1000 * sum(turn.cpu for turn in turns) / sum(turn.made for turn in turns)


@dataclass(frozen=True)
class Row:
    """One line of the table; figures are medians over rounds, ratios have their least and most."""

    name: str
    title: str
    cpu_ms: float | None
    per_second: float | None
    ratio: tuple[float, float, float] | None
    target: float | None
    resident_mb: float | None
    absent: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.target is None or self.ratio is None else self.ratio[0] >= self.target


def serve(pipe: Connection, way: Way) -> None:
    """A worker's life: makes ready, warms up, then answers turns until it is sent None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        make = way.open()
        for index in range(10_000, 10_000 + max(way.turn // 3, 3)):
            make(index)
        pipe.send("")
    except Exception as error:  # a machine without a renderer, a robot that does not load
        pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    while (first := pipe.recv()) is not None:
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        for index in range(first, first + way.turn):
            make(index)
        pipe.send(Turn(way.turn, time.process_time() - cpu, time.perf_counter() - wall, _resident()))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@contextmanager
def crew(way: Way) -> Iterator[list[Connection]]:
    """A way's processes, alive for the whole run."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(way.processes):
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, way), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            if process.is_alive():
                pipe.send(None)
            process.join(5)
            process.kill()


def run(ways: Sequence[Way], rounds: int, progress: Progress) -> list[Timed]:
    """Go round and round."""
    timed = [Timed(way) for way in ways]
    total = (rounds + 1) * len(ways)
    with ExitStack() as stack:
        crews = []
        for done, one in enumerate(timed):
            progress.update(done, total, f"making ready: {one.way.title}")
            pipes = stack.enter_context(crew(one.way))
            one.absent = next(filter(None, [pipe.recv() for pipe in pipes]), "")
            crews.append(pipes)
        for number in range(rounds):
            for place in range(len(ways)):
                turned = (place + 5 * number) % len(ways)  # nobody always follows the same one
                progress.update((number + 1) * len(ways) + place, total, f"round {number + 1}: {ways[turned].title}")
                if not timed[turned].absent:
                    timed[turned].turns.append(_turn(crews[turned], number * ways[turned].turn, ways[turned].turn))
    progress.update(total, total, "measured")
    return timed


def _turn(pipes: Sequence[Connection], first: int, turn: int) -> list[Turn]:
    for place, pipe in enumerate(pipes):
        pipe.send(first + 100_000 * place)
    return [pipe.recv() for pipe in pipes]


def rows_of(timed: Sequence[Timed]) -> list[Row]:
    """Medians over rounds, beside the naive script."""
    base = next(one for one in timed if one.way.name == "naive")
    return [_row(one, base) for one in timed]


def _row(one: Timed, base: Timed) -> Row:
    way = one.way
    if not one.turns:
        return Row(way.name, way.title, None, None, None, way.target, None, one.absent)
    rounds = range(len(one.turns))
    costs = [one.cpu_ms(number) for number in rounds]
    ratios = [base.cpu_ms(number) / costs[number] for number in rounds] if base.turns else []
    spread = (median(ratios), min(ratios), max(ratios)) if ratios else None
    held = max(turn.resident for turns in one.turns for turn in turns) / 1e6
    return Row(way.name, way.title, median(costs), 1000 / median(costs), spread, way.target, held)


def cells_of(rows: Sequence[Row]) -> list[Cells]:
    """Head and lines of the table."""
    head = ["interactions", "CPU ms", "/s a core", "x naive", "target", "", "MB held"]
    return [head, *(_cells(row) for row in rows)]


def _cells(row: Row) -> Cells:
    if row.cpu_ms is None or row.per_second is None or row.resident_mb is None:
        return [row.title, "", "", "", "", "", row.absent]
    ratio = "" if row.ratio is None else "{} ({}..{})".format(*(rounded(value) for value in row.ratio))
    target, met = (f">= {row.target:g}", MET[row.met]) if row.target else ("", "")
    if row.name == "naive":
        ratio, target, met = "", f">= {LEAST_RATE:g}/s", MET[row.per_second >= LEAST_RATE]
    return [row.title, rounded(row.cpu_ms), rounded(row.per_second), ratio, target, met, f"{row.resident_mb:.0f}"]


def as_text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    return "\n".join([*text_table(cells_of(rows)), ""])


def as_markdown(machine: Sequence[str], rows: Sequence[Row]) -> str:
    """The whole run as a Markdown file; ``machine`` are lines that describe it."""
    lines = ["# How fast interactions are made", "", *(f"{line}  " for line in machine), "", *EXPLAINED, ""]
    return "\n".join([*lines, *markdown_table(cells_of(rows)), ""])


def as_json(machine: Machine, rounds: int, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that was measured, JSON-ready."""
    return {"machine": asdict(machine), "rounds": rounds, "rows": [{**asdict(row), "met": row.met} for row in rows]}
