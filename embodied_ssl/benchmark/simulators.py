"""The ways of making interactions that are compared: the naive script, and the simulator with each solver, renderer and robot."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embodied_ssl.benchmark.naive_interactions import SIZE, TASKS, Naive
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim.spec import Outputs, Pool, Randomise, Spec

if TYPE_CHECKING:
    from embodied_ssl.sim.tasks.stage import Stage

Make = Callable[[int], Any]  # interaction so and so


@dataclass(frozen=True)
class Way:
    """One way of making interactions.

    Attributes:
        name: as chosen on the command line.
        title: as shown in the table.
        open: makes ready, once a process.
        target: how many times less processor time than the naive script it must take; None for no promise.
        processes: how many make them at the same time.
        turn: interactions in a turn; a multiple of three, so that tasks are mixed evenly.
    """

    name: str
    title: str
    open: Callable[[], Make]
    target: float | None = None
    processes: int = 1
    turn: int = 90


BASE = Spec(tasks=TASKS, size=(SIZE, SIZE), things=(5, 5), pool=Pool(kinds=("random",)))
FULL = Randomise(textures=1.0, shadows=1.0)


def naive() -> Make:
    """The script that people write."""
    return Naive().interaction


def played(spec: Spec) -> Make:
    """Arrays in memory: colour, depth and ids before and after, and everything felt."""
    from embodied_ssl.sim.interaction import play
    from embodied_ssl.sim.tasks.stage import Stage

    return partial(play, warm(Stage(spec)))


def warm(stage: Stage) -> Stage:
    """Let a stage meet every form of the pool: a second or two once a process, which is no part of an interaction."""
    from embodied_ssl.sim.objects.pool import thing
    from embodied_ssl.sim.render.renderer import Drawn

    table = stage.set_table(0)
    for number in range(stage.spec.pool.objects):
        form = thing(stage.spec.pool, stage.spec.seed, number).form
        stage.world.shape(form)
        stage.renderer.look([Drawn(form.mesh, np.eye(4))], table.camera, table.scene.light)
    return stage


def written(spec: Spec) -> Make:
    """Rows with encoded pictures, in shards on disk."""
    from embodied_ssl.sim.interaction import interaction
    from embodied_ssl.sim.rows import write_shard
    from embodied_ssl.sim.tasks.stage import shared_stage

    warm(shared_stage(spec))
    folder = tempfile.TemporaryDirectory(prefix="embodied-ssl-bench-")
    rows: list[dict[str, Any]] = []

    def make(index: int) -> None:
        rows.append(interaction(spec, index))
        if len(rows) == 30:
            write_shard(Path(folder.name) / "shard.parquet", rows)
            rows.clear()

    return make


def _ours(name: str, title: str, target: float | None = None, **changes: Any) -> Way:
    return Way(name, title, partial(played, replace(BASE, **changes)), target)


WAYS = (
    Way("naive", "naive script", naive, turn=6),
    _ours("default", "jaw, default, GL", 37),
    _ours("fast", "jaw, fast, GL", 48, solver="fast"),
    _ours("reference", "jaw, reference, GL", solver="reference"),
    _ours("full-look", "jaw, default, GL, shadows and textures", 28, randomise=FULL),
    Way("written", "jaw, default, GL, shards on disk", partial(written, replace(BASE, outputs=Outputs(quality=95))), 20),
    Way("written-png", "jaw, default, GL, shards on disk, PNG", partial(written, BASE)),
    _ours("panda", "Panda, default, GL", 25, robot="panda"),
    _ours("kuka", "KUKA, default, GL", robot="kuka"),
    _ours("tiny-fast", "jaw, fast, TinyRenderer", 14, solver="fast", renderer="tiny"),
    _ours("tiny", "jaw, default, TinyRenderer", renderer="tiny"),
    replace(_ours("two", "jaw, default, GL, two processes"), processes=2),
)


def chosen(names: list[str]) -> list[Way]:
    """The ways of these names in the table's order, all for none; the naive script always comes along.

    Raises:
        UserError: a name is no way's.
    """
    known = {way.name: way for way in WAYS}
    for name in names:
        if name not in known:
            raise UserError(f"there is no way '{name}'{suggest(name, known)}; choose among {', '.join(known)}")
    return [way for way in WAYS if not names or way.name in ("naive", *names)]
