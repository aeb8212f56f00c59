"""Shards of interactions made up on the spot: every kind of column that the simulator writes, and pictures that show numbers.

Row i shows number 100 i before and 100 i + 50 after; frame k of its film shows 100 i + k. What is acted on is thing i // 2.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.keys import generator
from embodied_ssl.sim.collecting.store import Manifest
from embodied_ssl.sim.rows import depth_png, things_png
from embodied_ssl.sim.schema import TASKS

F4, F8 = pa.float32(), pa.float64()
LENGTHS = {"grasp": 4, "push": 5, "poke": 4, "observe": 5}
SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), metadata={"what": "which item of the seed"}),
        ("task", pa.int8()),
        ("success", pa.bool_()),
        *((task, pa.list_(F4, LENGTHS[task])) for task in TASKS),
        ("force", pa.list_(F4, 64)),
        ("travel", pa.list_(F4, 64)),
        pa.field("raw_force", pa.list_(F4), metadata={"what": "N, in every step of 1/240 s"}),
        ("contacts", pa.list_(F4)),
        ("acted", pa.string()),
        ("acted_place", pa.int8()),
        ("size", pa.list_(F8, 3)),
        ("mass", F8),
        ("things", pa.list_(pa.string())),
        ("textures", pa.list_(pa.int32())),
        ("states_before", pa.list_(F8)),
        ("states_after", pa.list_(F8)),
        ("tool_before", pa.list_(F8, 3)),
        ("tool_after", pa.list_(F8, 3)),
        ("light_shadow", pa.bool_()),
        ("camera_matrix", pa.list_(F8, 9)),
        ("camera_pose", pa.list_(F8, 16)),
        ("before", pa.binary()),
        ("after", pa.binary()),
        ("depth_before", pa.binary()),
        ("depth_after", pa.binary()),
        ("things_before", pa.binary()),
        ("things_after", pa.binary()),
        ("film", pa.binary()),
        ("wrist_before", pa.binary()),
        ("wrist_after", pa.binary()),
        ("tactile_first", pa.binary()),
    ]
)


def film_of(number: int, length: int, size: tuple[int, int], folder: Path, rate: int = 10) -> bytes:
    """An mp4 whose frame k shows ``number`` + k."""
    path = folder / "film.mp4"
    write_video(path, [numbered(number + k, size) for k in range(length)], codec="libx264", rate=rate, options={"crf": "12"})
    data = path.read_bytes()
    path.unlink()
    return data


def row(index: int, size: tuple[int, int] = (48, 64), tasks: tuple[str, ...] = TASKS) -> dict[str, Any]:
    """A row without a film."""
    rng = generator("made up interaction", index)
    task = tasks[index % len(tasks)]
    count = int(rng.integers(2, 5))
    place = int(rng.integers(count))
    things = [f"thing-{index // 2}" if k == place else f"other-{k}" for k in range(count)]

    def numbers(*shape: int) -> list[float]:
        return rng.normal(size=shape).ravel().tolist()

    found: dict[str, Any] = {name: [0.0] * LENGTHS[name] for name in TASKS}
    found |= {task: numbers(LENGTHS[task]), "index": index, "task": TASKS.index(task), "success": bool(rng.integers(2))}
    found |= {"force": numbers(64), "travel": numbers(64), "raw_force": numbers(int(rng.integers(1, 90))), "contacts": []}
    found |= {"acted": things[place], "acted_place": place, "size": numbers(3), "mass": float(rng.uniform()), "things": things}
    found |= {"textures": [-1] * count, "states_before": numbers(count, 7), "states_after": numbers(count, 7)}
    found |= {"tool_before": numbers(3), "tool_after": numbers(3), "light_shadow": True}
    found |= {"camera_matrix": numbers(9), "camera_pose": numbers(16)}
    for number, when in ((100 * index, "before"), (100 * index + 50, "after")):
        depth, ids = rng.uniform(0.2, 5.0, size).astype(np.float32), rng.integers(-1, count, size).astype(np.int32)
        found |= {when: encode(numbered(number, size)), f"depth_{when}": depth_png(depth), f"things_{when}": things_png(ids)}
        found[f"wrist_{when}"] = encode(numbered(number + 7, size))
    touch = None if task == "push" else depth_png(np.full(size, 0.01 * (index + 1), np.float32))
    return found | {"film": None, "tactile_first": touch}


def write(folder: Path, rows: list[dict[str, Any]], per_shard: int = 5, episodes: int = 0, schema: pa.Schema = SCHEMA) -> Path:
    """Write rows as shards with their manifest, as ``simulate`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "interactions", "episodes": episodes or len(rows), "per_shard": per_shard, "tasks": list(TASKS)}
    manifest = Manifest(folder, spec)
    for number in range(-(-len(rows) // per_shard)):
        buffer = io.BytesIO()
        part = rows[number * per_shard : (number + 1) * per_shard]
        pq.write_table(pa.Table.from_pylist(part, schema=schema), buffer, row_group_size=4, compression="none")
        name = f"shard-{number:05d}.parquet"
        (folder / name).write_bytes(buffer.getvalue())
        manifest.pieces[name] = {"rows": len(part), "file_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(), "sha256": name}
    manifest.save()
    return folder


def make(
    folder: Path, count: int = 12, films: bool = False, size: tuple[int, int] = (48, 64), **settings: Any
) -> list[dict[str, Any]]:
    """Make up a folder of interactions; with ``films`` all but every third row have one, of different lengths.

    Returns:
        The rows as they were written, numbers rounded as their columns have them.
    """
    rows = [row(index, size) for index in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for index, one in enumerate(rows):
        if films and index % 3 != 2:
            one["film"] = film_of(100 * index, 3 + index % 4, size, folder)
    write(folder, rows, **settings)
    return pa.Table.from_pylist(rows, schema=SCHEMA).to_pylist()
