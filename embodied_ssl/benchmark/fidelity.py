"""What the solver's shortcuts change: the same scenes and actions played by each, beside the reference.

Grasps are compared by their label, pushes by where the thing ends up, pokes by the fitted slope. The scenes and the actions are
the reference's own, so that what differs is physics alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embodied_ssl.benchmark.tables import MET, Cells, rounded
from embodied_ssl.progress import Progress
from embodied_ssl.sim.interaction import ACTS, choose, task_of
from embodied_ssl.sim.robots.hand import Unreachable
from embodied_ssl.sim.solver import SOLVERS, Solver
from embodied_ssl.sim.spec import Pool, Spec
from embodied_ssl.sim.tasks.stage import Stage

REFERENCE = SOLVERS["reference"]
SHORTCUTS: Mapping[str, Solver] = {
    "reference": REFERENCE,
    "far things frozen": replace(REFERENCE, freeze=True),
    "residual 1e-3": replace(REFERENCE, residual=1e-3),
    "20 iterations": replace(REFERENCE, iterations=20),
    "hulls of 32 corners": replace(REFERENCE, corners=32),
    "settling 6 and 16 steps": replace(REFERENCE, settle=6, rest=16),
    "default": SOLVERS["default"],
    "fast": SOLVERS["fast"],
}
LEAST_AGREEMENT = 0.95  # of grasp labels, default against reference
MOST_APART = 34.0  # mm, median of where pushes end: what the reference itself changes between 240 and 480 steps a second


@dataclass(frozen=True)
class Played:
    """One action's outcome: task, success, where its thing ended [3] in metres, and a poke's slope in N/mm."""

    task: str
    success: bool
    end: tuple[float, float, float]
    slope: float


@dataclass(frozen=True)
class Fidelity:
    """One row: share of grasp labels that agree, mm by which pushes end apart (median, 90 %), share by which slopes differ."""

    name: str
    cpu_ms: float
    grasps: int
    success: float
    agreement: float
    push_median: float
    push_most: float
    slope: float


def _action(stage: Stage, index: int) -> tuple[float, ...]:
    return choose(task_of(stage.spec, index), stage.set_table(index), stage.spec, index)


def _play(stage: Stage, index: int, action: Sequence[float], acted: int | None) -> tuple[Played, int]:
    table = stage.set_table(index)
    task = task_of(stage.spec, index)
    try:
        outcome = ACTS[task].attempt(table, action)
    except Unreachable:
        return Played(task, False, (0.0, 0.0, 0.0), 0.0), 0
    if task != "push":
        table.rest()
    place = outcome.acted if acted is None else acted  # the thing that the reference moved
    x, y, z = table.states()[place][:3]
    return Played(task, outcome.success, (x, y, z), outcome.action[2] if task == "poke" else 0.0), place


def compare(count: int, spec: Spec, progress: Progress) -> Iterator[Fidelity]:
    """Play ``count`` interactions by every solver.

    Args:
        count: a multiple of the number of tasks makes them even.
        spec: of the scenes; its solver does not matter.
        progress: is told of each solver.
    """
    stage = Stage(spec, REFERENCE)
    actions = [_action(stage, index) for index in range(count)]
    reference: list[tuple[Played, int]] = []
    stage.close()
    for number, (name, solver) in enumerate(SHORTCUTS.items()):
        progress.update(number, len(SHORTCUTS), name)
        stage = Stage(spec, solver)
        _play(stage, 0, actions[0], None)  # forms are read when first needed
        began = time.process_time()
        played = [_play(stage, k, action, reference[k][1] if reference else None) for k, action in enumerate(actions)]
        taken = time.process_time() - began
        stage.close()
        reference = reference or played
        yield _judge(name, 1000 * taken / count, [one for one, _ in played], [one for one, _ in reference])
    progress.update(len(SHORTCUTS), len(SHORTCUTS), "played")


def _judge(name: str, cpu_ms: float, played: Sequence[Played], reference: Sequence[Played]) -> Fidelity:
    pairs = list(zip(played, reference, strict=True))
    grasps = [(one.success, other.success) for one, other in pairs if one.task == "grasp"]
    apart = [1000 * np.linalg.norm(np.subtract(one.end, other.end)) for one, other in pairs if one.task == "push"]
    slopes = [abs(one.slope - other.slope) / other.slope for one, other in pairs if one.task == "poke" and other.slope > 0]
    return Fidelity(
        name,
        cpu_ms,
        len(grasps),
        float(np.mean([one for one, _ in grasps])),
        float(np.mean([one == other for one, other in grasps])),
        float(np.median(apart)),
        float(np.quantile(apart, 0.9)),
        float(np.median(slopes)),
    )


def scenes(size: int, robot: str, renderer: str) -> Spec:
    """The scenes that fidelity is measured on: five random things."""
    return Spec(size=(size, size), things=(5, 5), robot=robot, renderer=renderer, pool=Pool(kinds=("random",)))


def cells_of(rows: Sequence[Fidelity]) -> list[Cells]:
    """Head and lines of the table."""
    head = ["solver", "CPU ms", "grasps held", "labels agree", "pushes end apart, mm: median", "90 %", "slopes differ", ""]
    return [head, *(_cells(row) for row in rows)]


def _cells(row: Fidelity) -> Cells:
    met = row.agreement >= LEAST_AGREEMENT and row.push_median <= MOST_APART if row.name == "default" else None
    return [
        row.name,
        rounded(row.cpu_ms),
        f"{row.success:.3f}",
        f"{row.agreement:.3f} of {row.grasps}",
        f"{row.push_median:.1f}",
        f"{row.push_most:.1f}",
        f"{100 * row.slope:.2g} %",
        MET[met],
    ]


def as_json(rows: Sequence[Fidelity]) -> dict[str, Any]:
    """Everything, JSON-ready."""
    return {"rows": [vars(row) for row in rows]}
