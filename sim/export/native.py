"""Simulated interactions as an exporter meets them: sound shards only, one row after another, never all of them in memory.

What a shard holds is read from its own schema; nothing here knows more columns than ``task`` and ``acted``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embodied_ssl.datasets.source import held_out
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim.collecting.store import MANIFEST, Manifest, hash_of
from embodied_ssl.sim.schema import TASKS

KIND = "interactions"
BATCH = 16  # rows in memory at once


@dataclass(frozen=True)
class NativeRow:
    """One interaction.

    Attributes:
        name: shard and row, for messages.
        values: every column's value, as Python has it.
        valid: whether the thing acted on is one of those held out.
    """

    name: str
    values: Mapping[str, Any]
    valid: bool

    @property
    def task(self) -> str:
        """What was done."""
        return TASKS[self.values["task"]]


@dataclass(frozen=True)
class Native:
    """A folder of interactions that can be exported.

    Attributes:
        folder: where it lies.
        spec: what decided its content, as its manifest says.
        schema: of every shard.
        shards: the sound ones, in order.
        total: rows in them.
        tasks: names of the tasks that occur, in the order of their numbers.
        held: names of things that are held out: the same that `embodied_ssl.datasets.interactions` holds out.
        bad: what is left out; exporters add rows that they cannot read.
    """

    folder: Path
    spec: Mapping[str, Any]
    schema: pa.Schema
    shards: tuple[Path, ...]
    total: int
    tasks: tuple[str, ...]
    held: frozenset[str]
    bad: list[BadItem] = field(default_factory=list)

    def rows(self) -> Iterator[NativeRow]:
        """Every row, in order; a shard that has gone or changed meanwhile ends early and is named in ``bad``."""
        for path in self.shards:
            number = 0
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
                        for values in batch.to_pylist():
                            yield NativeRow(f"{path} row {number}", values, values.get("acted") in self.held)
                            number += 1
            except (OSError, ValueError) as error:  # of reading: what its receiver raises does not come here
                self.bad.append(BadItem(str(path), f"cannot be read from row {number} on ({str(error).splitlines()[0]})"))

    def tables(self, names: list[str]) -> Iterator[pa.Table]:
        """Some columns of every shard, a shard at a time."""
        for path in self.shards:
            yield read_columns(path, names)

    def firsts(self, names: Iterable[str]) -> dict[str, Any]:
        """Of each column the first value that is not empty; those that are empty throughout are absent."""
        found: dict[str, Any] = {}
        sought = list(names)
        for path in self.shards:
            sought = [name for name in sought if name not in found]
            if not sought:
                break
            table = read_columns(path, sought)
            for name in sought:
                values = table[name].drop_null().to_pylist() if table[name].null_count < len(table) else []
                full = [value for value in values if len(value)]
                if full:
                    found[name] = full[0]
        return found

    def origin(self) -> dict[str, Any]:
        """What an export says of where it comes from; the same for equal data, wherever they lie."""
        return {"spec": dict(self.spec), "spec_hash": hash_of(dict(self.spec)), "interactions": self.total}


def read_columns(path: Path, names: list[str]) -> pa.Table:
    """Some columns of a shard."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=names, use_threads=False)


def _refuse_others(folder: Path) -> Manifest:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"'{folder}' {what}; give a folder that simulate has written")
    if not (folder / MANIFEST).exists():
        raise UserError(f"'{folder}' holds no simulated interactions (no {MANIFEST}); make some with embodied-ssl simulate")
    manifest = Manifest.load(folder)
    kind = manifest.spec.get("kind")
    if kind == "drives":
        raise UserError(f"'{folder}' holds drives, which are in KITTI's raw layout already: there is nothing to export")
    if kind != KIND:
        raise UserError(f"'{folder}' holds simulated {kind}; only {KIND} can be exported")
    return manifest


def _refuse_unfinished(manifest: Manifest) -> None:
    wanted = int(manifest.spec.get("episodes", 0))
    there = sum(int(facts["rows"]) + len(facts.get("left_out", [])) for facts in manifest.pieces.values())
    if there < wanted:
        raise UserError(
            f"'{manifest.folder}' is unfinished: {there} of {wanted} interactions are there; "
            "run simulate with --resume for the rest, or pass --unfinished to export what is there"
        )


def _check_shard(path: Path, facts: Mapping[str, Any]) -> pa.Schema:
    """The schema of a shard that holds what was written.

    Raises:
        BadItem: it is absent, altered or broken.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != facts.get("file_sha256", found):
            raise BadItem(str(path), "differs from what was written; run simulate with --resume to make it again")
        return pq.read_schema(path)
    except (OSError, ValueError) as error:  # Arrow's errors are both
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise BadItem(str(path), f"cannot be read ({reason}); run simulate with --resume to make it again") from None


def open_native(folder: Path, unfinished: bool = False) -> Native:
    """See what a folder holds: every shard is hashed, only names of things and tasks are read.

    Args:
        folder: written by ``embodied-ssl simulate``.
        unfinished: accept a folder that still lacks some of its shards.

    Raises:
        UserError: it holds no interactions, is unfinished, or has no sound shard.
    """
    manifest = _refuse_others(folder)
    if not unfinished:
        _refuse_unfinished(manifest)
    bad: list[BadItem] = []
    shards: list[Path] = []
    schema: pa.Schema | None = None
    sizes: Counter[str] = Counter()
    tasks: set[int] = set()
    for name, facts in sorted(manifest.pieces.items()):
        path = folder / name
        try:
            there = _check_shard(path, facts)
            if schema is not None and not there.equals(schema):
                raise BadItem(str(path), f"has other columns than {shards[0].name}")
            tasks |= _count(path, there, sizes)
        except BadItem as item:
            bad.append(item)
            continue
        schema = there
        shards.append(path)
    if schema is None:
        reason = f"; the first trouble is {bad[0]}" if bad else ""
        raise UserError(f"'{folder}' holds no readable shard{reason}")
    held = held_out(sizes) if "acted" in schema.names else frozenset()
    names = tuple(TASKS[number] for number in sorted(tasks))
    return Native(folder, manifest.spec, schema, tuple(shards), sizes.total(), names, held, bad)


def _count(path: Path, schema: pa.Schema, sizes: Counter[str]) -> set[int]:
    """Count what was acted on; returns the numbers of tasks that occur.

    Raises:
        BadItem: there are tasks of which nothing is known.
    """
    names = [name for name in ("task", "acted") if name in schema.names]
    if "task" not in names:
        raise BadItem(str(path), "has no column task")
    table = read_columns(path, names)
    tasks = set(table["task"].to_pylist())
    if not tasks <= set(range(len(TASKS))):
        raise BadItem(str(path), f"has a task other than {', '.join(TASKS)}; it was written by a newer version")
    sizes.update(table["acted"].to_pylist() if "acted" in names else [""] * len(table))
    return tasks
