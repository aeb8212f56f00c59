"""Interactions as one HDF5 file laid out as robomimic's, so that its ``SequenceDataset`` takes it as it is.

``data.hdf5`` holds a group ``data/demo_i`` for each interaction, of T steps: one where there are pictures before and after, a
film's frames less one where there is a film.

- ``obs/KEY`` and ``next_obs/KEY``: what was seen before and after each step: ``top_image`` (uint8 RGB [T, h, w, 3]),
  ``top_depth`` (float32 metres [T, h, w, 1]), ``top_things`` (uint8 [T, h, w, 1]: place in things, 255 for none), ``state``
  (float32 [T, k]; the attribute ``state_names`` of ``data`` names its components). In films depth, things and states are known
  at the ends only: the pictures stand under ``interaction``, and the state stays as it was before until the last frame.
- ``actions`` [T, k] in -1..1, as robomimic demands; ``action_names``, ``action_low`` and ``action_high`` of ``data`` bring back
  what was commanded: low + (a + 1) / 2 * (high - low). Components of other tasks are zero before scaling.
- ``rewards`` and ``dones`` [T]: success, and 1, of the last step; ``states`` [T, 7 n]: poses of all things before it.
- Everything else of the native row: numbers, texts and up to 16 numbers in a row as attributes of the demo, more of them and
  pictures as arrays in its group ``interaction``. ``task_name`` and ``part`` are attributes, too.

``mask/train`` and ``mask/valid`` share no thing that was acted on. The file needs HDF5 1.10; nothing in it says when it was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.errors import UserError
from embodied_ssl.sim.export.columns import FEW, Column, Floats, Frame, Layout, grey, pairs, whose
from embodied_ssl.sim.export.native import Native, NativeRow
from embodied_ssl.sim.rows import DEPTH_UNIT
from embodied_ssl.sim.schema import TASKS

Compression = Literal["gzip", "lzf", "none"]
NAME = "data.hdf5"
GYM = 2  # robomimic's number for environments of Gymnasium
LEVEL = 4  # of gzip


def _load_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UserError("HDF5 needs the package h5py; install it with: pip install 'embodied-ssl[hdf5]'") from None
    return h5py


@cache
def _h5_type(dtype: np.dtype[Any]) -> Any:
    from h5py import h5t

    return h5t.py_create(dtype, logical=True)


@cache
def _h5_space(shape: tuple[int, ...]) -> Any:
    from h5py import h5s

    return h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)


@cache
def _timeless(what: str) -> Any:
    """How a dataset, a group or a file is made so that it does not say when."""
    from h5py import h5p

    made = h5p.create(getattr(h5p, f"{what}_CREATE"))
    made.set_obj_track_times(False)
    return made


class Disk:
    """A file for HDF5 to write to that notes what goes wrong: HDF5 itself, when the disk is full, can neither go on nor close.

    Args:
        path: of the file, which must not be there.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self.error: OSError | None = None
        self.seek, self.tell, self.readinto = self._file.seek, self._file.tell, self._file.readinto

    def write(self, data: Any) -> int:
        """Write, unless that went wrong before."""
        rest = memoryview(data).cast("B")
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        """Cut off, or lengthen."""
        try:
            self._file.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def check(self) -> None:
        """Raise what went wrong."""
        if self.error is not None:
            raise self.error


def _new_file(disk: Disk) -> Any:
    """An HDF5 file that older programs can read, if not the oldest: the layout of 1.10, half as large for many small arrays."""
    h5py = _load_h5py()
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, disk)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_meta_block_size(1 << 18)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return h5py.File(h5py.h5f.create(repr(disk).encode(), h5py.h5f.ACC_TRUNC, _timeless("FILE"), access))


def _new_group(parent: Any, name: str) -> Any:
    from h5py import Group, h5g

    return Group(h5g.create(parent.id, name.encode(), gcpl=_timeless("GROUP")))


def _put_attribute(group: Any, name: str, value: NDArray[Any]) -> None:
    """As ``group.attrs[name] = value`` for numbers, at a third of the time."""
    from h5py import h5a

    h5a.create(group.id, name.encode(), _h5_type(value.dtype), _h5_space(value.shape)).write(np.asarray(value, order="C"))


@cache
def _packed(compression: Compression, chunk: tuple[int, ...]) -> Any:
    """How a dataset of pictures is made, each packed on its own."""
    from h5py import h5z

    made = _timeless("DATASET").copy()
    if compression != "none":
        made.set_chunk(chunk)
        made.set_shuffle()
    if compression == "gzip":
        made.set_deflate(LEVEL)
    if compression == "lzf":
        made.set_filter(h5z.FILTER_LZF, h5z.FLAG_OPTIONAL)
    return made


def _put_array(group: Any, name: str, value: NDArray[Any], how: Any = None) -> None:
    """As ``group.create_dataset(name, data=value)`` for numbers, at a third of the time."""
    from h5py import h5d

    made = how or _timeless("DATASET")
    array = h5d.create(group.id, name.encode(), _h5_type(value.dtype), _h5_space(value.shape), made)
    if value.size:
        array.write(_h5_space(value.shape), _h5_space(value.shape), np.asarray(value, order="C"))


class Writer:
    """An HDF5 file being written.

    Args:
        native: what is exported.
        layout: of its columns.
        out: an empty folder.
        compression: of pictures; ``gzip`` is read everywhere, ``lzf`` is faster and h5py's own.

    Raises:
        UserError: there is no h5py.
    """

    def __init__(self, native: Native, layout: Layout, out: Path, compression: Compression) -> None:
        self.native, self.layout, self.compression = native, layout, compression
        self._low, self._high = _range(native, layout)
        _load_h5py()
        self._disk = Disk(out / NAME)
        self._file = _new_file(self._disk)
        self._data = _new_group(self._file, "data")
        self._parts: dict[str, list[str]] = {"train": [], "valid": []}
        self._total = 0
        self._greys = {} if layout.rate else _grey_pairs(layout)
        seen = layout.shown | {name for both in self._greys.values() for name in both}
        self._rest = [column for column in layout.columns.values() if column.name not in seen and column.kind != "nothing"]

    def add(self, row: NativeRow) -> None:
        """Append an interaction.

        Raises:
            BadItem: it cannot be read; nothing of it is written.
        """
        self.layout.check(row)
        seen = self._seen(row)
        rest = {column.name: self._value(column, row) for column in self._rest if row.values[column.name] is not None}
        scaled = self._scaled(self.layout.action(row))
        steps = len(next(iter(seen.values()))) - 1 if seen else 1
        name = f"demo_{sum(map(len, self._parts.values()))}"
        demo = _new_group(self._data, name)
        part = "valid" if row.valid else "train"
        demo.attrs["task_name"], demo.attrs["part"] = row.task, part
        _put_attribute(demo, "num_samples", np.asarray(steps, np.int64))
        self._put_steps(demo, row, steps, scaled)
        for part_of, span in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
            group = _new_group(demo, part_of)
            for key, values in seen.items():
                self._put(group, key, values[span])
        self._put_rest(demo, rest)
        self._parts[part].append(name)
        self._total += steps
        self._disk.check()

    def _seen(self, row: NativeRow) -> dict[str, NDArray[Any]]:
        """What there is to see, each [T + 1, ...]."""
        found: dict[str, NDArray[Any]] = {}
        frames = self.layout.frames(row) if self.layout.cameras else []
        for camera in self.layout.cameras:
            found[f"{camera.name}_image"] = np.stack([_frame(frame, camera.name).pixels for frame in frames])
        for key, both in self._greys.items():
            pixels = np.stack([grey(self.layout.columns[name], row.values[name], row.name) for name in both])[..., None]
            is_depth = key.split("_")[-1] == "depth" and pixels.dtype == np.uint16
            found[key] = pixels * np.float32(DEPTH_UNIT) if is_depth else pixels
        if self.layout.states:
            before, after = self.layout.state(row, "before"), self.layout.state(row, "after")
            found["state"] = np.stack([*[before] * (max(len(frames), 2) - 1), after])
        return found

    def _value(self, column: Column, row: NativeRow) -> Any:
        """A value of the row that is no frame: an array, a text, or texts."""
        value = row.values[column.name]
        if column.kind in ("number", "vector", "list"):
            return column.array(value)
        if column.kind == "colour":
            return decode(value, f"{row.name} {column.name}")
        if column.kind == "grey":
            return grey(column, value, row.name)
        if column.kind in ("bytes", "film"):
            return np.frombuffer(value, np.uint8)
        return value if column.kind in ("text", "texts") else json.dumps(value)

    def _put_rest(self, demo: Any, rest: Mapping[str, Any]) -> None:
        group = _new_group(demo, "interaction")
        for name, value in rest.items():
            column = self.layout.columns[name]
            if not isinstance(value, np.ndarray):
                demo.attrs[name] = value
            elif column.kind == "number" or (column.kind == "vector" and column.length <= FEW):
                _put_attribute(demo, name, value)
            elif column.kind in ("colour", "grey"):
                self._put(group, name, value[None], whole=True)
            else:
                _put_array(group, name, value)

    def _put_steps(self, demo: Any, row: NativeRow, steps: int, scaled: NDArray[np.float64]) -> None:
        last = np.arange(steps) == steps - 1
        _put_array(demo, "actions", np.tile(scaled, (steps, 1)))
        _put_array(demo, "rewards", last * float(bool(row.values.get("success"))))
        _put_array(demo, "dones", last.astype(np.int64))
        if "states_before" in self.layout.columns:
            poses = self.layout.columns["states_before"].array(row.values["states_before"])
            _put_array(demo, "states", np.tile(poses, (steps, 1)))

    def _put(self, group: Any, key: str, values: NDArray[Any], whole: bool = False) -> None:
        """Small arrays as they are, pictures [n, h, w, ...] compressed, each on its own; or the only one as [h, w, ...]."""
        if values.ndim < 3:
            _put_array(group, key, values)
            return
        data = values[0] if whole else values
        _put_array(group, key, data, _packed(self.compression, data.shape if whole else (1, *values.shape[1:])))

    def _scaled(self, action: Floats) -> NDArray[np.float64]:
        span = np.where(self._high > self._low, self._high - self._low, 1.0)
        scaled: NDArray[np.float64] = np.clip(2 * (action - self._low) / span - 1, -1, 1)
        return scaled

    def finish(self) -> None:
        """Say what the file is, and close it."""
        own = self.native.tasks if len(self.native.tasks) == 1 else ()
        about = {
            "env_name": f"embodied_ssl/{own[0].capitalize()}-v0" if own else "embodied_ssl",
            "type": GYM,
            "env_kwargs": {},
            "env_version": str(self.native.spec.get("engine", "")),
            "interactions": self.native.origin(),
        }
        attributes = self._data.attrs
        attributes["total"], attributes["env_args"] = self._total, json.dumps(about, indent=4)
        attributes["action_names"], attributes["state_names"] = list(self.layout.actions), list(self.layout.states)
        attributes["action_low"], attributes["action_high"] = self._low, self._high
        attributes["columns"] = json.dumps({column.name: column.what for column in self.layout.columns.values() if column.what})
        masks = _new_group(self._file, "mask")
        for part, names in self._parts.items():
            masks[part] = np.array(names, dtype="S" if names else "S1")
        self.close()
        self._disk.check()

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()
        self._disk.close()


def _frame(frames: Mapping[str, Frame], camera: str) -> Frame:
    return frames[camera]


def _range(native: Native, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest of every component of an action."""
    low, high = np.full(len(layout.actions), np.inf), np.full(len(layout.actions), -np.inf)
    for table in native.tables([task for task in TASKS if task in layout.columns]):
        actions = _actions(layout, table.to_pylist())
        low, high = np.minimum(low, actions.min(axis=0)), np.maximum(high, actions.max(axis=0))
    return low, high


def _actions(layout: Layout, rows: Iterable[Mapping[str, Any]]) -> NDArray[np.float32]:
    return np.stack([layout.action(NativeRow("", values, False)) for values in rows])


def _grey_pairs(layout: Layout) -> dict[str, Sequence[str]]:
    """Pictures of one channel before and after, by the key that they get."""
    cameras = {camera.name for camera in layout.cameras}
    found: dict[str, Sequence[str]] = {}
    for before, after in pairs(layout.columns, "grey").items():
        name = whose(before, "before")
        found[name if name.split("_")[0] in cameras else f"top_{name}"] = (before, after)
    return found
