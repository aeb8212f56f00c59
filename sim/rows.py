"""One interaction as one row, and 64 rows as one Parquet file (a shard).

The hash of a shard is over the values of its rows (see `collecting.content`), not over the file, whose bytes depend on the
version of the Parquet writer.
Pictures are stored as they are in PNG, in groups of few rows, so that one row can be read without its neighbours.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embodied_ssl.files import whole
from embodied_ssl.sim.collecting.arrays import array_of
from embodied_ssl.sim.collecting.content import content_hash_of
from embodied_ssl.sim.schema import SCHEMA

Row = dict[str, Any]
DEPTH_UNIT = 1e-4  # metres a grey level of the 16-bit depth pictures
NOTHING = 255  # in the pictures of things: neither thing
GROUP = 4  # rows read together


_NAMES = set(SCHEMA.names)


def grey_png(pixels: NDArray[Any]) -> bytes:
    """One channel, 8 or 16 bits, as PNG."""
    ok, data = cv2.imencode(".png", pixels)
    if not ok:
        raise ValueError(f"cannot encode {pixels.shape} {pixels.dtype} as PNG")
    return bytes(data)


def grey_pixels(data: bytes) -> NDArray[Any]:
    """The inverse of `grey_png`."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("not a picture")
    return pixels


def depth_png(depth: NDArray[np.float32]) -> bytes:
    """Metres as 16-bit PNG in steps of 0.1 mm."""
    return grey_png(np.clip(np.round(depth / DEPTH_UNIT), 0, 65535).astype(np.uint16))


def things_png(places: NDArray[np.int32]) -> bytes:
    """The place of each pixel's thing as 8-bit PNG."""
    return grey_png(np.where(places < 0, NOTHING, places).astype(np.uint8))


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.parquet"


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of `SCHEMA`.

    Raises:
        ValueError: a row lacks a column, has one that the schema does not know, or a list of another length.
        TypeError: a value is of another kind.
    """
    for row in rows:
        if row.keys() != _NAMES:
            odd = ", ".join(sorted(row.keys() ^ _NAMES))
            raise ValueError(f"rows and SCHEMA disagree on {odd}")
    return pa.table([array_of([row[field.name] for row in rows], field.type) for field in SCHEMA], schema=SCHEMA)


def parquet_of(table: pa.Table) -> bytes:
    """A shard's file. Pictures are compressed as they are, so the file is not."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=GROUP, compression="none", use_dictionary=False, write_statistics=False)
    return buffer.getvalue()


def facts_of(table: pa.Table, data: bytes) -> dict[str, Any]:
    """Facts of a shard for the manifest: rows, sha256 of the content, and sha256 of this very file."""
    return {"rows": len(table), "sha256": content_hash_of(table), "file_sha256": hashlib.sha256(data).hexdigest()}


def write_shard(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write rows as one shard, atomically; returns `facts_of` it."""
    table = table_of(rows)
    data = parquet_of(table)
    with whole(path) as file:
        file.write(data)
    return facts_of(table, data)


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a shard, or some columns of it."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=None if columns is None else list(columns))
