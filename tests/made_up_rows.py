"""Makers of rows that need no simulator, some of which go wrong; in a module of their own so that workers can import them.

What goes wrong is asked for by files in the folder ``spec.pool.folder``: ``kill-17`` kills the worker at interaction 17, once;
``kill-17-always`` does so every time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa

from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.sim.rows import Row
from embodied_ssl.sim.schema import SCHEMA
from embodied_ssl.sim.spec import Pool, Spec


def spec_for(folder: Path, episodes: int = 24, per_shard: int = 4, **changes: object) -> Spec:
    """A small specification whose troubles lie in a folder."""
    folder.mkdir(exist_ok=True)
    pool = Pool(folder=str(folder))
    return Spec(episodes=episodes, per_shard=per_shard, renderer="tiny", pool=pool, **changes)  # type: ignore[arg-type]


def ask_for(folder: Path, *troubles: str) -> None:
    """See above."""
    for trouble in troubles:
        (folder / trouble).touch()


def made_up(spec: Spec, index: int) -> Row:
    """A row of noise that fits the schema, and trouble where it was asked for."""
    _trouble(Path(spec.pool.folder), index)
    rng = generator(spec.seed, "made up", index)
    row: Row = {}
    for field in SCHEMA:
        row[field.name] = _value(field.type, rng)
    return {**row, "index": index, "task": index % len(spec.tasks), "success": bool(rng.integers(2))}


def slowly(spec: Spec, index: int) -> Row:
    """`made_up` after 20 ms."""
    time.sleep(0.02)
    return made_up(spec, index)


def telling_modules(spec: Spec, index: int) -> Row:
    """`made_up`, with the names of all modules of this process for a shape."""
    return {**made_up(spec, index), "shape": " ".join(sorted(sys.modules))}


def _value(kind: pa.DataType, rng) -> object:  # type: ignore[no-untyped-def]
    if pa.types.is_fixed_size_list(kind):
        return [_value(kind.value_type, rng) for _ in range(kind.list_size)]
    if pa.types.is_list(kind):
        return [_value(kind.value_type, rng) for _ in range(int(rng.integers(4)))]
    if pa.types.is_boolean(kind):
        return bool(rng.integers(2))
    if pa.types.is_integer(kind):
        return int(rng.integers(100))
    if pa.types.is_floating(kind):
        return float(rng.normal())
    return f"text {rng.integers(100)}" if pa.types.is_string(kind) else rng.bytes(int(rng.integers(2000)))


def _trouble(folder: Path, index: int) -> None:
    for path in sorted(folder.glob(f"*-{index}")) + sorted(folder.glob(f"*-{index}-always")):
        if not path.name.endswith("always"):
            path.unlink()
        kind = path.name.split("-")[0]
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(1000)
        if kind == "bad":
            raise BadItem(f"interaction {index}", "nothing can be reached")
        if kind == "fail":
            raise ZeroDivisionError("no ground")
        if kind == "refuse":
            raise UserError("this robot has no hand")
        if kind == "interrupt":
            raise KeyboardInterrupt
