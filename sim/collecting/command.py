"""What the command line asks for, as a specification and an engine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.settings import override, parse
from embodied_ssl.sim.collecting.engines import RECYCLE, Engine, Processes, Serial
from embodied_ssl.sim.collecting.on_ray import OnRay, load_ray
from embodied_ssl.sim.render.choose import process_renderer
from embodied_ssl.sim.spec import Spec

ENGINES = ("processes", "serial", "ray")


@dataclass(frozen=True)
class Asked:
    """The options of ``simulate`` that decide the content."""

    tasks: tuple[str, ...]
    episodes: int
    seed: int
    size: str
    robot: str
    solver: str
    renderer: str
    changes: tuple[str, ...] = ()


def spec_of(asked: Asked) -> Spec:
    """The specification; ``changes`` come last and may set anything.

    Raises:
        UserError: a change names no setting, or a value is of another type.
    """
    size = asked.size if "," in asked.size else f"{asked.size},{asked.size}"
    spec = Spec(
        tasks=asked.tasks,
        episodes=asked.episodes,
        seed=asked.seed,
        size=parse(size, tuple[int, int], "--size"),
        robot=asked.robot,
        solver=asked.solver,
        renderer=asked.renderer,
    )
    for change in asked.changes:
        spec = override(spec, change)
    return dataclasses.replace(spec, renderer=resolved(spec.renderer))


def resolved(renderer: str) -> str:
    """The renderer that "auto" stands for on this machine; others are themselves."""
    return process_renderer("auto").name if renderer == "auto" else renderer


def engine_of(name: str, workers: int, patience: float) -> Engine:
    """The engine of this name.

    Raises:
        UserError: there is none, it is not installed, or it has no workers.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more processes")
    if name == "processes":
        return Processes(workers, patience)
    if name == "serial":
        if workers > 1:
            raise UserError(f"--engine serial is one process, but --workers is {workers}; leave one of them out")
        return Serial()
    if name == "ray":
        load_ray()
        return OnRay(workers, patience, RECYCLE // Spec().per_shard)
    raise UserError(f"there is no engine '{name}'{suggest(name, ENGINES)}")
