"""Collect interactions into a folder of shards: item i of a seed is always the same, whoever makes it, in whatever order.

`interaction` is a pure function of (specification, index). `collect` runs it over ranges, one shard at a time, and may be killed
and resumed at will. The layout is ``OUT/manifest.json`` and ``OUT/shard-00000.parquet``, ...; see `sim.schema` for
columns.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied_ssl.errors import UserError
from embodied_ssl.piecework import LeftOut, Watch
from embodied_ssl.progress import Progress, Silent
from embodied_ssl.sim.client import load_pybullet
from embodied_ssl.sim.collecting.accepted import Part, check_spec
from embodied_ssl.sim.collecting.content import content_hash_of
from embodied_ssl.sim.collecting.engines import Engine, Serial
from embodied_ssl.sim.collecting.identity import identity, unusable
from embodied_ssl.sim.collecting.shards import Failed, Made, Maker, ShardWork, count_of, range_of, trouble
from embodied_ssl.sim.collecting.store import Manifest, filling, hash_of
from embodied_ssl.sim.interaction import interaction
from embodied_ssl.sim.rows import Row, read_shard, shard_name
from embodied_ssl.sim.spec import Spec

HERE, ALL, SILENT = Serial(), Part(), Silent()
FAILURES = 10  # shards that cannot be made, after which the trouble is not with the shards


@dataclass(frozen=True)
class Summary:
    """What `collect` leaves behind.

    Attributes:
        out: the folder.
        total: items in it.
        made: items that this call made; the others were there.
        sha256: hash over the content, equal for equal data sets; "" while shards are missing.
        success: for each task, the share that succeeded.
        missing: shards that are not there, because others make them or because they were left out.
        left_out: name and reason of what could not be used or made: the user's own things, single interactions, whole shards.
    """

    out: Path
    total: int
    made: int
    sha256: str
    success: dict[str, float] = field(default_factory=dict)
    missing: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)


def rows(spec: Spec, indices: Iterable[int], make: Maker = interaction) -> Iterator[Row]:
    """Make interactions in this process, in memory: what `collect` writes, without a folder."""
    check_spec(spec)
    for index in indices:
        yield make(spec, index)


def collect(
    out: Path,
    spec: Spec,
    engine: Engine = HERE,
    resume: bool = False,
    part: Part = ALL,
    progress: Progress = SILENT,
    make: Maker = interaction,
) -> Summary:
    """Simulate interactions into a folder.

    Args:
        out: a folder that is absent or empty, or with ``resume`` one that an earlier call has begun.
        spec: decides everything.
        engine: who does the work; changes nothing but the time taken.
        resume: keep the sound shards that are there and make the others.
        part: make only these shards; any number of processes may make parts in one folder at the same time, whoever comes first.
        progress: told how far it is.
        make: makes one interaction; must be importable by name.

    Returns:
        What is there now. Shards that could not be made are named in it; they are tried again with ``resume``.

    Raises:
        UserError: the request or the folder is refused, or writing fails; finished shards stay.
        KeyboardInterrupt: passed on, after the workers have stopped; finished shards stay.
    """
    check_spec(spec)
    load_pybullet()
    numbers = part.shards(count_of(spec))
    names = [shard_name(number) for number in numbers]
    with filling(out, identity(spec), resume or part.of > 1, None if part.of == 1 else names) as manifest:
        filled = _Filling(manifest, spec, progress)
        filled.check(numbers)
        failed = filled.fill(engine, make)
        manifest.take_in_others(names)
        return _summary(manifest, spec, filled.made, failed)


def _summary(manifest: Manifest, spec: Spec, made: int, failed: list[dict[str, str]]) -> Summary:
    """What is there in the end; the manifest is finished if that is everything."""
    missing = count_of(spec) - len(manifest.pieces)
    if not missing:
        manifest.finish()
    bad = [{"name": item.name, "reason": item.reason} for item in unusable(spec.pool)]
    bad += [item for _, facts in sorted(manifest.pieces.items()) for item in facts.get("left_out", [])]
    total = sum(facts["rows"] for facts in manifest.pieces.values())
    return Summary(manifest.folder, total, made, manifest.sha256, success(manifest.pieces), missing, [*bad, *failed])


def success(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """For each task the share that succeeded, by the facts of shards."""
    tried: dict[str, int] = {}
    succeeded: dict[str, int] = {}
    for facts in pieces.values():
        for task, (count, good) in facts.get("success", {}).items():
            tried[task] = tried.get(task, 0) + count
            succeeded[task] = succeeded.get(task, 0) + good
    return {task: succeeded[task] / tried[task] for task in sorted(tried)}


class _Filling:
    """Makes what is missing and tells how it goes."""

    def __init__(self, manifest: Manifest, spec: Spec, progress: Progress) -> None:
        self.manifest = manifest
        self.spec = spec
        self.progress = progress
        self.made = 0
        self._began = time.monotonic()
        self._steps = self._kept = self._whole = self._total = 0  # interactions: begun now, found, in whole shards, in all
        self._left: list[int] = []
        self._rates = ""

    def check(self, numbers: range) -> None:
        """Look which of these shards are there and sound; the others will be made."""
        self._total = sum(len(range_of(self.spec, number)) for number in numbers)
        for number in numbers:
            name = shard_name(number)
            found = trouble(self.manifest.folder, name, self.manifest.pieces.get(name))
            if found:
                self.manifest.drop(name)
                self._left.append(number)
                if found == "altered":
                    self.progress.say(f"{name} is altered and will be made again")
            else:
                self._kept += len(range_of(self.spec, number))
        self._whole = self._kept
        self._count_success()

    def fill(self, engine: Engine, make: Maker) -> list[dict[str, str]]:
        """Make what is missing; returns what could not be made."""
        folder, there, spec_hash = self.manifest.folder, self.manifest.spec, hash_of(self.manifest.spec)
        near = engine.sees_folder
        work = ShardWork(self.spec, make, spec_hash, folder if near else None, "" if near else there["drawn_by"])
        watch = Watch(self._step, self.progress.say, self._name)
        failed: list[dict[str, str]] = []
        try:
            for result in engine.run(work, self._left, watch):
                if isinstance(result, Made):
                    if result.data:
                        result.write(folder, spec_hash)
                    self._count(result)
                else:
                    failed.append(_as_json(result))
                    self.progress.say(f"{result.name} is left out: {result.reason}")
                    if len(failed) >= FAILURES:
                        raise UserError(f"{FAILURES} shards failed, the last {result.name}: {result.reason}; all others are kept")
        except LeftOut as lost:
            failed += [{"name": name, "reason": reason} for name, reason in lost.pieces]
        return failed

    def _count(self, shard: Made) -> None:
        self.manifest.pieces[shard.name] = shard.facts
        self.made += shard.facts["rows"]
        self._whole += shard.facts["stop"] - shard.facts["start"]
        self._count_success()

    def _step(self, count: int) -> None:
        self._steps += count
        self._show()

    def _name(self, number: int) -> str:
        items = range_of(self.spec, number)
        return f"{shard_name(number)} (interactions {items.start} to {items.stop - 1})"

    def _count_success(self) -> None:
        self._rates = ", ".join(f"{task} {share:.0%}" for task, share in success(self.manifest.pieces).items())
        self._show()

    def _show(self) -> None:
        """Interactions a second, and how many succeed."""
        seconds = time.monotonic() - self._began
        rate = f"{self._steps / seconds:.1f}/s " if self._steps and seconds > 0 else ""
        begun = self._kept + self._steps  # the last few are still in hand until their shards are there
        done = self._total if self._whole >= self._total else min(begun, self._total - 1)
        self.progress.update(done, self._total, f"{rate}{self._rates}".strip())


def _as_json(failed: Failed) -> dict[str, str]:
    return {"name": failed.name, "reason": failed.reason, "trace": failed.trace}


def content_hash(out: Path) -> str:
    """Hash all rows of a folder anew, in order; equal for equal data sets, however they were made.

    Raises:
        UserError: it is not a folder of simulated interactions.
    """
    manifest = Manifest.load(out)
    for name in manifest.pieces:
        manifest.pieces[name] = {"sha256": content_hash_of(read_shard(out / name))}
    return manifest.content_hash()
