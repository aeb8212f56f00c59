"""Collect interactions into shards: item i of a seed is always the same, whoever makes it, in whatever order.

`interaction` is a pure function of (seed, index, tasks, settings). `collect` runs it over ranges, one shard at a time, and may
be killed and resumed at will. The layout is ``OUT/manifest.json`` and ``OUT/shard-00000.parquet``, ...; see `rows` for columns.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.keys import generator
from embodied_ssl.piecework import check_stop, finished
from embodied_ssl.sim import grasp, poke, push
from embodied_ssl.sim.first_objects import Thing, thing
from embodied_ssl.sim.rows import TASKS, Row, content_hash_of, depth_png, read_shard, shard_name, things_png, write_shard
from embodied_ssl.sim.store import Manifest, filling
from embodied_ssl.sim.table import Outcome, Table, set_table
from embodied_ssl.sim.world import RATE, View, load_pybullet, shared_world

FORMAT = 1  # to be raised when the same seed no longer gives the same rows
Progress = Callable[[int, int], None]
_ACTS: dict[str, ModuleType] = {"grasp": grasp, "push": push, "poke": poke}


@dataclass(frozen=True)
class Settings:
    """What an interaction depends on besides its seed and index.

    Args:
        size: height and width of pictures.
        objects: how many things the pool has.
        fewest: things on a table, at least.
        most: things on a table, at most.
    """

    size: tuple[int, int] = (128, 128)
    objects: int = 200
    fewest: int = 3
    most: int = 5


@dataclass(frozen=True)
class Summary:
    """What `collect` leaves behind.

    Attributes:
        out: the folder.
        total: items in it.
        made: items that this call made; the others were there.
        sha256: hash over the content, equal for equal data sets.
        success: for each task, the share that succeeded.
    """

    out: Path
    total: int
    made: int
    sha256: str
    success: dict[str, float] = field(default_factory=dict)


@cache
def _thing(seed: int, number: int) -> Thing:
    return thing(seed, number)


def _row(index: int, task: str, table: Table, outcome: Outcome, before: Sequence[float], after: View) -> Row:
    acted, camera, view = table.things[outcome.acted], table.camera, table.view
    empty = {"grasp": [0.0] * 4, "push": [0.0] * 5, "poke": [0.0] * 4}
    return {
        "index": index,
        "task": TASKS.index(task),
        "acted": acted.name,
        "success": outcome.success,
        **empty,
        task: list(outcome.action),
        "force": outcome.force.tolist(),
        "travel": outcome.travel.tolist(),
        "mass": acted.mass,
        "friction": acted.friction,
        "stiffness": acted.stiffness,
        "damping": acted.damping,
        "shape": acted.shape.kind,
        "size": list(acted.shape.size),
        "colour": list(acted.colour),
        "acted_place": outcome.acted,
        "things": [each.name for each in table.things],
        "states_before": list(before),
        "states_after": table.states().ravel().tolist(),
        "table_friction": table.friction,
        "table_colour": list(table.table_colour),
        "light_direction": list(table.light.direction),
        "light_ambient": table.light.ambient,
        "light_diffuse": table.light.diffuse,
        "camera_matrix": camera.matrix.ravel().tolist(),
        "camera_pose": camera.pose.ravel().tolist(),
        "before": encode(view.rgb),
        "after": encode(after.rgb),
        "depth_before": depth_png(view.depth),
        "depth_after": depth_png(after.depth),
        "things_before": things_png(view.bodies),
        "things_after": things_png(after.bodies),
    }


def interaction(seed: int, index: int, tasks: Sequence[str], settings: Settings = Settings()) -> Row:
    """Set a table, do one thing to it, and tell all about it; depends on nothing but its arguments.

    Args:
        seed: of the data set; also chooses the pool of things.
        index: which item; its task is ``tasks[index % len(tasks)]``.
        tasks: names from ``TASKS``.
        settings: the rest.
    """
    task = tasks[index % len(tasks)]
    rng = generator(seed, "interaction", index)
    count = int(rng.integers(settings.fewest, settings.most + 1))
    numbers = rng.permutation(settings.objects)[:count]
    table = set_table(shared_world(), [_thing(seed, int(number)) for number in numbers], rng, settings.size)
    before = table.states().ravel().tolist()
    outcome: Outcome = _ACTS[task].act(table, rng)
    table.settle()
    return _row(index, task, table, outcome, before, table.look())


def _shard(number: int, out: Path, spec: dict[str, Any], tick: Callable[[], None] | None = None) -> tuple[str, dict[str, Any]]:
    """Make one shard; returns its name and facts for the manifest. `Stopped` leaves nothing behind."""
    settings = Settings(tuple(spec["size"]), spec["objects"], spec["fewest"], spec["most"])
    start = number * spec["per_shard"]
    stop = min(start + spec["per_shard"], spec["episodes"])
    rows = []
    for index in range(start, stop):
        check_stop()
        try:
            rows.append(interaction(spec["seed"], index, spec["tasks"], settings))
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(f"interaction {index} of seed {spec['seed']} failed: {error}") from error
        if tick is not None:
            tick()
    facts = write_shard(out / shard_name(number), rows)
    return shard_name(number), {"start": start, "stop": stop, **facts}


def _sound(out: Path, name: str, facts: dict[str, Any]) -> bool:
    """Whether a listed shard still holds what it held."""
    try:
        return content_hash_of(read_shard(out / name)) == str(facts["sha256"])
    except (OSError, ValueError):  # Arrow's errors are both
        return False


def check_request(tasks: Sequence[str], episodes: int, size: tuple[int, int], accepted: Sequence[str] = TASKS) -> None:
    """Refuse what cannot be simulated.

    Raises:
        UserError: no or unknown tasks, fewer than one episode, or pictures too small to see things in.
    """
    if not tasks:
        raise UserError(f"no task was given; there is {', '.join(accepted)}")
    for task in tasks:
        if task not in accepted:
            raise UserError(f"there is no task '{task}'{suggest(task, accepted)}")
    if len(set(tasks)) != len(tasks):
        raise UserError(f"a task is named twice in {','.join(tasks)}; name each once")
    if episodes < 1:
        raise UserError(f"--episodes is {episodes}; give 1 or more")
    if min(size) < 16 or max(size) > 2048:
        raise UserError(f"--size is {size[0]} x {size[1]}; give 16 to 2048 pixels")


def _check_pool(settings: Settings) -> None:
    if not 1 <= settings.fewest <= settings.most <= settings.objects:
        raise UserError(
            f"{settings.fewest} to {settings.most} things from a pool of {settings.objects}; give 1 <= fewest <= most <= objects"
        )


def _success(out: Path, manifest: Manifest) -> dict[str, float]:
    counts: dict[str, list[bool]] = {}
    for name in sorted(manifest.pieces):
        table = read_shard(out / name, ["task", "success"]).to_pydict()
        for task, success in zip(table["task"], table["success"], strict=True):
            counts.setdefault(TASKS[task], []).append(success)
    return {task: sum(values) / len(values) for task, values in sorted(counts.items())}


def collect(
    out: Path,
    tasks: Sequence[str] = TASKS,
    episodes: int = 300,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
    size: tuple[int, int] = (128, 128),
    objects: int = 200,
    per_shard: int = 64,
    on_progress: Progress | None = None,
) -> Summary:
    """Simulate interactions into a folder.

    Args:
        out: a folder that is absent or empty, or with ``resume`` one that an earlier call has begun.
        tasks: taken in turn.
        episodes: how many interactions.
        seed: decides everything.
        workers: processes; they change nothing but the time taken.
        resume: keep the sound shards that are there and make the others.
        size: height and width of pictures.
        objects: how many things the pool has.
        per_shard: interactions in one file; a kill costs at most this many a worker.
        on_progress: called with (done, total) now and then.

    Raises:
        UserError: the request or the folder is refused, or writing fails; finished shards stay.
        KeyboardInterrupt: passed on, after the workers have stopped; finished shards stay.
    """
    check_request(tasks, episodes, size)
    settings = Settings(size=size, objects=objects)
    _check_pool(settings)
    load_pybullet()
    spec: dict[str, Any] = {
        "kind": "interactions",
        "format": FORMAT,
        "seed": seed,
        "tasks": list(tasks),
        "episodes": episodes,
        **asdict(settings),
        "per_shard": per_shard,
        "engine": f"pybullet {importlib.metadata.version('pybullet')}",
        "renderer": "TinyRenderer",
        "rate": RATE,
    }
    with filling(out, spec, resume) as manifest:
        made = _fill(manifest, workers, on_progress or (lambda done, total: None))
        return Summary(out, episodes, made, manifest.content_hash(), _success(out, manifest))


def _fill(manifest: Manifest, workers: int, on_progress: Progress) -> int:
    """Make the shards that are missing; returns how many interactions were made."""
    out, spec = manifest.folder, manifest.spec
    manifest.pieces = {name: facts for name, facts in manifest.pieces.items() if _sound(out, name, facts)}
    numbers = [n for n in range(-(-spec["episodes"] // spec["per_shard"])) if shard_name(n) not in manifest.pieces]
    kept = done = sum(facts["rows"] for facts in manifest.pieces.values())
    on_progress(done, spec["episodes"])

    def tick() -> None:
        nonlocal done
        done += 1
        on_progress(done, spec["episodes"])

    alone = workers <= 1 or len(numbers) <= 1
    work = partial(_shard, out=out, spec=spec, tick=tick if alone else None)
    for name, facts in finished(work, numbers, workers):
        manifest.add(name, facts)
        if not alone:
            done += facts["rows"]
            on_progress(done, spec["episodes"])
    return spec["episodes"] - kept  # type: ignore[no-any-return]


def content_hash(out: Path) -> str:
    """Hash all rows of a folder anew, in order; equal for equal data sets, however they were made.

    Raises:
        UserError: it is not a folder of simulated interactions.
    """
    manifest = Manifest.load(out)
    for name in manifest.pieces:
        manifest.pieces[name] = {"sha256": content_hash_of(read_shard(out / name))}
    return manifest.content_hash()
