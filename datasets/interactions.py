"""Grasps, pushes and pokes from shards that ``embodied-ssl simulate`` has written.

Opening reads the small columns only; pictures are read row by row when their pixels are asked for. A sample's recording is the
thing that was acted on, so the parts of a split share no acted thing (though others may stand beside it).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embodied_ssl.datasets.io.pictures import crop_and_resize, decode, encode
from embodied_ssl.datasets.source import Box, DataSpec, Pixels, Sample, Source, Split, folders, in_split
from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.keys import generator
from embodied_ssl.sim.collecting.store import MANIFEST, Manifest
from embodied_ssl.sim.rows import GROUP, depth_png, read_shard, shard_name, things_png, write_shard
from embodied_ssl.sim.schema import SCHEMA, TASKS

_SMALL = ("index", "task", "acted", *TASKS)
_TOUCHING = ("grasp", "push", "poke")
_KIND = "interactions"


class Shards:
    """Open Parquet files, one set for each process, so that copies in workers never share a file position.

    Args:
        paths: of the shards.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: dict[int, pq.ParquetFile] = {}
        self._last: tuple[tuple[int, int], dict[str, list[bytes]]] | None = None

    def __getstate__(self) -> list[Path]:
        return self.paths

    def __setstate__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._forget()

    def read(self, shard: int, row: int, column: str) -> bytes:
        """One encoded picture of one row.

        Raises:
            BadItem: the file is gone or broken.
        """
        if self._process != os.getpid():
            self._forget()
        group, place = divmod(row, GROUP)
        try:
            if shard not in self._files:
                self._files[shard] = pq.ParquetFile(self.paths[shard], memory_map=True)
            if self._last is None or self._last[0] != (shard, group):
                table = self._files[shard].read_row_group(group, columns=["before", "after"], use_threads=False)
                self._last = (shard, group), table.to_pydict()
            return self._last[1][column][place]
        except (OSError, ValueError, IndexError) as error:  # Arrow's errors are the first two
            raise BadItem(f"{self.paths[shard]} row {row}", f"cannot be read ({str(error).splitlines()[0]})") from None


class RowPicture:
    """A picture in a shard; read and decoded once, when first asked for."""

    def __init__(self, shards: Shards, shard: int, row: int, column: str) -> None:
        self.shards, self.shard, self.row, self.column = shards, shard, row, column

    @property
    def name(self) -> str:
        """As the user knows it."""
        return f"{self.shards.paths[self.shard]} row {self.row} {self.column}"

    @cached_property
    def pixels(self) -> Pixels:
        return decode(self.shards.read(self.shard, self.row, self.column), self.name)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


class InteractionSource(Source):
    """Interactions behind an index. See `Source` for the attributes and `embodied_ssl.datasets.source` for the fields.

    Args:
        name: one line for people.
        shards: where the pictures are.
        small: the small columns, by name, each [n, ...].
        places: shard and row of each sample [n, 2].
        bad: what was left out.
    """

    provides = frozenset({"before", "after", "task", *TASKS, "index"})

    def __init__(self, name: str, shards: Shards, small: dict[str, Any], places: NDArray[np.int64], bad: list[BadItem]) -> None:
        self.name = name
        self.shards = shards
        self.recordings: list[str] = small["acted"]
        self.task: NDArray[np.int8] = small["task"]
        self.actions: dict[str, NDArray[np.float32]] = {task: small[task] for task in TASKS}
        self.places = places
        self.bad = bad

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        shard, row = (int(number) for number in self.places[index])
        return {
            "index": index,
            "before": RowPicture(self.shards, shard, row, "before"),
            "after": RowPicture(self.shards, shard, row, "after"),
            "task": int(self.task[index]),
            **{task: self.actions[task][index].copy() for task in TASKS},
        }


_sound: dict[tuple[str, int, int], str] = {}  # path, size, time of change -> sha256, so that a second split hashes nothing anew


def _file_hash(path: Path) -> str:
    facts = path.stat()
    key = (str(path.resolve()), facts.st_size, facts.st_mtime_ns)
    if key not in _sound:
        with open(path, "rb") as file:
            _sound[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _sound[key]


def _read_small(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The small columns of one shard.

    Raises:
        BadItem: it is absent, or not what was written.
    """
    try:
        if _file_hash(path) != facts["file_sha256"]:
            raise BadItem(str(path), "differs from what was written; delete it and run simulate with --resume")
        table = read_shard(path, _SMALL)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise BadItem(str(path), f"cannot be read ({reason})") from None
    return {
        "task": table["task"].to_numpy(),
        "acted": table["acted"].to_pylist(),
        **{task: np.array(table[task].to_pylist(), np.float32) for task in TASKS},
    }


def _missing(manifest: Manifest) -> list[BadItem]:
    """Say what an unfinished data set lacks."""
    expected = -(-int(manifest.spec["episodes"]) // int(manifest.spec["per_shard"]))
    absent = expected - len(manifest.pieces)
    if absent <= 0:
        return []
    words = f"unfinished: {len(manifest.pieces)} of {expected} shards are there; run simulate with --resume for the rest"
    return [BadItem(str(manifest.folder), words)]


def _manifest(folder: Path) -> Manifest:
    if not (folder / MANIFEST).exists():
        raise UserError(f"'{folder}' holds no simulated interactions (no {MANIFEST}); make some with embodied-ssl simulate")
    manifest = Manifest.load(folder)
    if manifest.spec.get("kind") != _KIND:
        raise UserError(f"'{folder}' holds simulated {manifest.spec.get('kind')}, not {_KIND}; choose another --set data.root=")
    return manifest


@dataclass(frozen=True)
class Interactions(DataSpec):
    """Simulated interactions.

    Args:
        root: a folder written by ``embodied-ssl simulate``, or several joined by commas.
        tasks: which of grasp, push, poke and observe to take.
    """

    protocol: ClassVar[str] = "grasps, pushes and pokes in shards of rows; split by the thing acted on"

    root: str = ""
    tasks: tuple[str, ...] = _TOUCHING

    def open(self, split: Split = "all") -> InteractionSource:
        for task in self.tasks:
            if task not in TASKS:
                raise UserError(f"there is no task '{task}'{suggest(task, TASKS)}")
        manifests = [_manifest(folder) for folder in folders(self.root)]
        paths: list[Path] = []
        bad: list[BadItem] = []
        parts: list[dict[str, Any]] = []
        places: list[NDArray[np.int64]] = []
        for manifest in manifests:
            bad += _missing(manifest)
            for name, facts in sorted(manifest.pieces.items()):
                try:
                    part = _read_small(manifest.folder / name, facts)
                except BadItem as item:
                    bad.append(item)
                    continue
                places.append(np.stack([np.full(len(part["task"]), len(paths)), np.arange(len(part["task"]))], axis=1))
                paths.append(manifest.folder / name)
                parts.append(part)
        if not parts:
            reason = f"; the first trouble is {bad[0]}" if bad else ""
            raise UserError(f"'{self.root}' holds no readable shard{reason}")
        small = {key: np.concatenate([part[key] for part in parts]) for key in ("task", *TASKS)}
        acted = [name for part in parts for name in part["acted"]]
        return self._select(split, Shards(paths), {**small, "acted": acted}, np.concatenate(places), bad)

    def _select(
        self, split: Split, shards: Shards, small: dict[str, Any], places: NDArray[np.int64], bad: list[BadItem]
    ) -> InteractionSource:
        """Keep one part of the split and the wanted tasks. The split is made first, so that it is the same for all tasks."""
        wanted = {TASKS.index(task) for task in self.tasks}
        chosen = [i for i in in_split(small["acted"], split) if int(small["task"][i]) in wanted]
        if not chosen:
            raise UserError(f"'{self.root}' holds no {' or '.join(self.tasks)} in its part '{split}'; simulate more episodes")
        kept = {key: [values[i] for i in chosen] if key == "acted" else values[chosen] for key, values in small.items()}
        name = f"{len(chosen)} interactions ({', '.join(self.tasks)}) from {self.root}"
        return InteractionSource(name, shards, kept, places[chosen], bad)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [_tiny_row(index) for index in range(24)]
        manifest = Manifest(folder, {"kind": _KIND, "episodes": 24, "per_shard": 12, "tasks": list(_TOUCHING)})
        for number in (0, 1):
            manifest.pieces[shard_name(number)] = write_shard(folder / shard_name(number), rows[12 * number : 12 * number + 12])
        manifest.save()
        return cls(root=str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        try:
            return Manifest.load(folder).spec.get("kind") == _KIND
        except UserError:
            return False


def _tiny_row(index: int) -> dict[str, Any]:
    """A row of the right form, with coloured noise for a scene."""
    rng = generator("tiny interactions", index)
    task = index % len(_TOUCHING)
    row: dict[str, Any] = {field.name: _nothing(field.type) for field in SCHEMA}
    actions = {
        "grasp": [*rng.uniform(8, 40, 2), float(rng.integers(18)), float(rng.integers(2))],
        "push": [*rng.uniform(8, 40, 4), 0.01],
        "poke": [*rng.uniform(8, 40, 2), float(rng.uniform(0.1, 3)), 0.5],
    }
    pictures = {name: encode(rng.integers(0, 256, (48, 48, 3), np.uint8)) for name in ("before", "after")}
    depth, places = depth_png(np.full((48, 48), 0.7, np.float32)), things_png(np.full((48, 48), -1, np.int32))
    things = [f"thing-{index // 3}"]
    lists = {"things": things, "states_before": [0.0] * 7, "states_after": [0.0] * 7}
    grounds = {"shape": "box", "success": True, "acted": things[0], "index": index, "task": task}
    seen = {"depth_before": depth, "depth_after": depth, "things_before": places, "things_after": places}
    return {**row, TASKS[task]: actions[TASKS[task]], **pictures, **lists, **grounds, **seen}


def _nothing(kind: Any) -> Any:
    """Zero, or as many zeros as a column has, or nothing at all."""
    if pa.types.is_fixed_size_list(kind):
        return [0.0] * kind.list_size
    if pa.types.is_list(kind):
        return []
    return None if pa.types.is_binary(kind) else "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0
