"""One shard: a run of interactions in one file. It is made the same by whoever makes it.

An interaction that cannot be made says so by `BadItem`: its row is left out, and the facts of the shard name it. Any other
failure costs the shard.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from embodied_ssl import __version__
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.files import whole
from embodied_ssl.piecework import Stopped, check_stop
from embodied_ssl.sim.collecting.content import content_hash_of
from embodied_ssl.sim.collecting.identity import drawn_by
from embodied_ssl.sim.collecting.store import write_facts
from embodied_ssl.sim.rows import Row, facts_of, parquet_of, read_shard, shard_name, table_of
from embodied_ssl.sim.schema import TASKS
from embodied_ssl.sim.spec import Spec

Maker = Callable[[Spec, int], Row]


@dataclass(frozen=True)
class Made:
    """A finished shard.

    Attributes:
        name: of its file.
        facts: for the manifest.
        data: the file, if it has not been written yet.
    """

    name: str
    facts: dict[str, Any]
    data: bytes = b""

    def write(self, out: Path, spec_hash: str) -> None:
        """Put the file into the folder, and then its facts, without which it does not count."""
        with whole(out / self.name) as file:
            file.write(self.data)
        write_facts(out, spec_hash, self.name, self.facts)


@dataclass(frozen=True)
class Failed:
    """A shard that could not be made.

    Attributes:
        name: of its file.
        reason: which interaction failed, and of what.
        trace: where, for whoever mends it.
    """

    name: str
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class ShardWork:
    """Makes shards by their number.

    Args:
        spec: of the data set.
        make: makes one interaction.
        spec_hash: of the manifest's specification, which goes into facts.
        out: the folder to write to; None to hand the file over instead, where the folder may be out of reach.
        drawn_by: what must draw here too, where workers may be on other machines; "" for whatever does.
    """

    spec: Spec
    make: Maker
    spec_hash: str = ""
    out: Path | None = None
    drawn_by: str = ""

    def __call__(self, number: int) -> Made | Failed:
        """Make one.

        Raises:
            UserError: nothing can be made of this specification.
            OSError: it cannot be written.
            Stopped: the parent has been interrupted; nothing is left behind.
        """
        if self.drawn_by and drawn_by(self.spec.renderer) != self.drawn_by:
            raise UserError(
                f"a worker draws with {drawn_by(self.spec.renderer)}, others with {self.drawn_by}; give --renderer tiny"
            )
        name, items = shard_name(number), range_of(self.spec, number)
        wall, cpu = time.monotonic(), time.process_time()
        made = self._rows(name, items)
        if isinstance(made, Failed):
            return made
        found, bad = made
        table = table_of(found)
        data = parquet_of(table)
        facts = {"start": items.start, "stop": items.stop, **facts_of(table, data), "success": successes(found)}
        facts["left_out"] = [{"name": item.name, "reason": item.reason} for item in bad]
        facts |= {
            "wall_s": round(time.monotonic() - wall, 3),
            "cpu_s": round(time.process_time() - cpu, 3),
            "versions": versions(),
        }
        shard = Made(name, facts, data)
        if self.out is None:
            return shard
        shard.write(self.out, self.spec_hash)
        return replace(shard, data=b"")

    def _rows(self, name: str, items: range) -> tuple[list[Row], list[BadItem]] | Failed:
        """The rows of a shard, and what was left out."""
        found: list[Row] = []
        bad: list[BadItem] = []
        for index in items:
            check_stop(f"interaction {index}")
            try:
                found.append(self.make(self.spec, index))
            except BadItem as item:
                bad.append(item)
            except (UserError, Stopped):
                raise
            except Exception as error:
                return Failed(name, f"interaction {index} failed ({type(error).__name__}: {error})", traceback.format_exc())
        return found, bad


def count_of(spec: Spec) -> int:
    """How many shards a data set has."""
    return -(-spec.episodes // spec.per_shard)


def range_of(spec: Spec, number: int) -> range:
    """The interactions of a shard."""
    start = number * spec.per_shard
    return range(start, min(start + spec.per_shard, spec.episodes))


def successes(rows: list[Row]) -> dict[str, list[int]]:
    """For each task how many were tried, and how many succeeded."""
    found: dict[str, list[int]] = {}
    for row in rows:
        counts = found.setdefault(TASKS[row["task"]], [0, 0])
        counts[0] += 1
        counts[1] += bool(row["success"])
    return dict(sorted(found.items()))


def versions() -> dict[str, str]:
    """What the bytes of a shard may depend on besides its specification: who encodes and writes."""
    return {"embodied-ssl": __version__, "numpy": np.__version__, "opencv": cv2.__version__, "pyarrow": pa.__version__}


def trouble(out: Path, name: str, facts: Mapping[str, Any] | None) -> str:
    """What is wrong with a shard as it lies there; "" when it is sound."""
    path = out / name
    if facts is None:
        return "half-written" if path.exists() else "missing"
    try:
        table = read_shard(path)
        if content_hash_of(table) == facts["sha256"]:
            return ""
        return "altered"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, KeyError, TypeError):  # Arrow's errors are the first two
        return "altered"
