"""Rows that a robot recorded beside a video, each joined to its own frame by time, and read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.errors import BadItem

VERSION = 1  # of what is kept
COLUMNS = {"action": "action", "state": "observation.state"}  # a sample's field, and the column it is read from


@dataclass(frozen=True)
class Rows:
    """An episode's rows, as in `embodied_ssl.datasets.video_spec.Beside`.

    Attributes:
        path: the parquet file.
        episode: which episode's rows of it, by ``episode_index``; None where it holds no other.
        start: when the episode begins in its video, in seconds.
        fps: rows a second.
        join: ``timestamp``, each row to the frame nearest in time, or ``frame_index``, to the frame of its number.
        fields: which of `COLUMNS` to give: float32 [n, numbers a row].
    """

    path: str
    episode: int | None
    start: float
    fps: float
    join: str
    fields: frozenset[str]

    @property
    def name(self) -> str:
        return self.path if self.episode is None else f"{self.path} episode {self.episode}"

    def at(self, shown: NDArray[np.float64], there: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        """The rows of the frames shown, each field float32 [n, numbers a row]."""
        columns = self.read()
        frames = self.frames_of(columns, there)
        row_of = np.full(len(there), -1)
        row_of[frames] = np.arange(len(frames))
        rows = row_of[np.searchsorted(there, shown - 1e-6)]  # the same times, however they were kept
        if (rows < 0).any():
            raise BadItem(self.name, f"the frame at {shown[np.argmin(rows)]:.3f} s has no row")
        return {field: columns[field][rows].astype(np.float32) for field in self.fields}

    def read(self) -> array_cache.Arrays:
        """The episode's rows in the order of the file: each of ``fields`` float32 [m, numbers a row], and the clocks there are.

        Raises:
            BadItem: they cannot be read, or hold values that are no numbers.
        """
        try:
            return _read_rows(self.path, os.stat(self.path).st_mtime_ns, self.episode, self.fields)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise BadItem(self.name, str(error)) from None

    def frames_of(self, columns: Mapping[str, NDArray[Any]], there: NDArray[np.float64]) -> NDArray[np.int64]:
        """The frame of each row that `read` gave, int64 [m].

        Args:
            columns: the rows.
            there: times of all frames of the file, in seconds since the first, float64 [n].

        Raises:
            BadItem: rows and frames do not belong together.
        """
        try:
            return self._frames_of(columns, there)
        except ValueError as error:
            raise BadItem(self.name, str(error)) from None

    def _frames_of(self, columns: Mapping[str, NDArray[Any]], there: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.join not in columns:
            raise ValueError(f"it has no column {self.join}")
        if self.join == "timestamp":
            return own_frames(columns["timestamp"] + self.start, there, 0.5 / self.fps)
        numbers = np.searchsorted(there, self.start - 0.5 / self.fps) + columns["frame_index"].astype(np.int64)
        if len(np.unique(numbers)) < len(numbers) or numbers.max() >= len(there):
            raise ValueError(f"its {len(numbers)} rows do not each have a frame of the {len(there)} there are")
        return numbers


def own_frames(rows: NDArray[np.float64], frames: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """The frame nearest in time to each row, int64 [rows].

    Args:
        rows, frames: their times in seconds; those of frames rise.
        tolerance: how far from its frame a row may be.

    Raises:
        ValueError: a row has no frame of its own: none so near, or another row has it.
    """
    nearest = np.searchsorted((frames[1:] + frames[:-1]) / 2, rows)
    lone = np.abs(frames[nearest] - rows) > tolerance * 1.001  # times are rounded
    order = np.argsort(nearest, kind="stable")
    lone[order[1:]] |= np.diff(nearest[order]) == 0
    if lone.any():
        row = int(np.argmax(lone))
        raise ValueError(
            f"row {row} at {rows[row]:.3f} s has no frame of its own within {tolerance:.3f} s (the last is at {frames[-1]:.3f}); "
            "if row and frame go by number, set data.join=frame_index"
        )
    return nearest


@lru_cache(maxsize=32)
def _read_rows(path: str, changed: int, episode: int | None, fields: frozenset[str]) -> array_cache.Arrays:
    """The columns of an episode's rows: times float64 [m], numbers [m] and each field float32 [m, numbers a row].

    A file of many episodes can only be read by the hundred, so what is read of it is cut up and kept, episode by episode.
    """
    if episode is None:
        rows = _columns(path, None, fields)
    else:
        key: tuple[int | str, ...] = ("robot rows", VERSION, os.path.abspath(path), changed, *sorted(fields))
        kept = array_cache.recall(*key, episode)
        rows = kept if kept is not None and fields <= kept.keys() else _cut_up_and_keep(path, episode, fields, key)
    for name, column in rows.items():
        if not np.isfinite(column).all():
            raise ValueError(f"{COLUMNS.get(name, name)} has values that are no numbers")
    return rows


def _cut_up_and_keep(path: str, episode: int, fields: frozenset[str], key: tuple[int | str, ...]) -> array_cache.Arrays:
    """The rows of an episode; those of the episodes beside it that were read as a whole are kept for later."""
    about = pq.read_metadata(path)
    parts = _parts_with(about, episode)
    columns = _columns(path, parts, fields)
    numbers = columns.pop("episode_index")
    found = {int(number): {name: columns[name][numbers == number] for name in columns} for number in np.unique(numbers)}
    if episode not in found:
        raise ValueError("no rows of it are there")
    for number, rows in found.items():
        if set(_parts_with(about, number)) <= set(parts):
            array_cache.keep(rows, *key, number)
    return found[episode]


def _columns(path: str, parts: Sequence[int] | None, fields: frozenset[str]) -> array_cache.Arrays:
    """Columns of a file, or of some of its parts (row groups)."""
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        clocks = [name for name in ("timestamp", "frame_index", "episode_index") if name in names]
        lacks = sorted({COLUMNS[field] for field in fields} - set(names))
        if lacks:
            raise ValueError(f"it has no column {lacks[0]}")
        parts = range(file.num_row_groups) if parts is None else parts
        # Without threads: a forked worker would wait for them forever.
        table = file.read_row_groups(list(parts), [*clocks, *(COLUMNS[field] for field in fields)], use_threads=False)
    if not len(table):
        raise ValueError("no rows of it are there")
    columns = {name: _numbers(table[name]).astype(np.float64).reshape(-1) for name in clocks}
    return columns | {field: _numbers(table[COLUMNS[field]]).astype(np.float32).reshape(len(table), -1) for field in fields}


def _parts_with(about: pq.FileMetaData, episode: int) -> list[int]:
    """The row groups whose least and greatest ``episode_index`` have this one between them, or do not say."""
    places = [place for place in range(about.num_columns) if about.schema.column(place).path == "episode_index"]
    if not places:
        raise ValueError("it has no column episode_index")
    known = [about.row_group(part).column(places[0]).statistics for part in range(about.num_row_groups)]
    return [part for part, it in enumerate(known) if it is None or not it.has_min_max or it.min <= episode <= it.max]


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """The numbers of a column of numbers, or of lists of one length, one after another."""
    while pa.types.is_nested(column.type):
        if len(pc.unique(pc.list_value_length(column))) != 1:
            raise ValueError("its rows differ in length")
        column = pc.list_flatten(column)
    if column.null_count:
        raise ValueError("it has empty values")
    return np.asarray(column.to_numpy())
