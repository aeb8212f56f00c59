"""What each column of a shard is, told by its Arrow type and, of bytes, by what they begin with; and what follows for exports.

Pictures before and after go by name: ``before`` and ``after`` are the camera called top, ``wrist_before`` and ``wrist_after`` the
camera called wrist; a film in ``film`` belongs to top, in ``wrist_film`` to wrist. Pictures that are not colour (depth, places of
things, touch) are no camera.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import av
import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embodied_ssl.datasets.io.pictures import decode, encode
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim.export.native import Native, NativeRow
from embodied_ssl.sim.schema import TASKS

Kind = Literal["number", "vector", "list", "text", "texts", "colour", "grey", "film", "bytes", "nothing", "other"]
Floats = NDArray[np.float32]
FEW = 16  # so many numbers are an attribute of something; more are an array

# Components of the tasks' columns; of a task not named here they are numbered.
COMPONENTS = {
    "grasp": ("row", "column", "angle_bin", "success"),
    "push": ("row", "column", "end_row", "end_column", "height"),
    "poke": ("row", "column", "slope", "intercept"),
    "observe": ("row", "column", "row_after", "column_after", "around"),
}
OUTCOMES = frozenset({"success", "slope", "intercept", "row_after", "column_after"})  # found out, not commanded
POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its name.
        kind: number (also a truth value), vector (numbers, always as many), list (numbers, of any length), text, texts, colour
            or grey (an encoded picture), film (mp4), bytes, nothing (empty in every row) or other.
        dtype: of numbers and of grey levels.
        length: of a vector.
        size: height and width of pictures and films.
        rate: frames a second of a film.
        what: what the file says of it.
    """

    name: str
    kind: Kind
    dtype: np.dtype[Any] = np.dtype(np.uint8)  # noqa: RUF009
    length: int = 0
    size: tuple[int, int] = (0, 0)
    rate: int = 0
    what: str = ""

    def array(self, value: Any) -> NDArray[Any]:
        """A value of numbers as the column has them: [] for a number, [n] otherwise; an absent list is empty."""
        return np.asarray([] if value is None else value, self.dtype)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(field: pa.Field, firsts: Mapping[str, bytes]) -> Column:
    kind = field.type
    what = (field.metadata or {}).get(b"what", b"").decode()
    if _is_number(kind):
        return Column(field.name, "number", np.dtype(kind.to_pandas_dtype()), what=what)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column(field.name, "text", what=what)
    if pa.types.is_fixed_size_list(kind) and _is_number(kind.value_type):
        return Column(field.name, "vector", np.dtype(kind.value_type.to_pandas_dtype()), kind.list_size, what=what)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if _is_number(kind.value_type):
            return Column(field.name, "list", np.dtype(kind.value_type.to_pandas_dtype()), what=what)
        if pa.types.is_string(kind.value_type):
            return Column(field.name, "texts", what=what)
    if _is_bytes(kind):
        return _of_bytes(field.name, firsts.get(field.name), what)
    return Column(field.name, "other", what=what)


def _of_bytes(name: str, data: bytes | None, what: str) -> Column:
    if data is None:
        return Column(name, "nothing", what=what)
    if data[4:8] == b"ftyp":
        try:
            with av.open(io.BytesIO(data)) as container:
                stream = container.streams.video[0]
                rate = stream.average_rate
                if rate is None or rate.denominator != 1:
                    raise UserError(f"the film in column {name} has {rate} frames a second; only whole numbers can be exported")
                return Column(name, "film", size=(stream.height, stream.width), rate=int(rate), what=what)
        except (av.FFmpegError, IndexError):
            return Column(name, "bytes", what=what)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return Column(name, "bytes", what=what)
    height, width = pixels.shape[:2]
    return Column(name, "colour" if pixels.ndim == 3 else "grey", pixels.dtype, size=(height, width), what=what)


@dataclass(frozen=True)
class Camera:
    """A camera of which an export makes frames.

    Attributes:
        name: top, wrist, ...
        before, after: columns of its pictures; empty where there are none.
        film: column of its film; empty where there is none.
        size: height and width.
    """

    name: str
    before: str
    after: str
    film: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """One picture of one camera.

    Attributes:
        pixels: uint8 RGB [h, w, 3].
        data: the same encoded, where the row has it so; else empty.
    """

    pixels: Pixels
    data: bytes = b""

    def png(self) -> bytes:
        """It as the row has it, or as PNG."""
        return self.data or encode(self.pixels)


def whose(name: str, word: str) -> str:
    """Of ``wrist_before`` and ``before`` it is ``wrist``; the camera's name where nothing else is said is top."""
    return "_".join(part for part in name.split("_") if part != word) or "top"


def pairs(columns: Mapping[str, Column], kind: Kind) -> dict[str, str]:
    """Columns of a kind that say how something was before, each with its equal that says how it was after."""
    found = {}
    for name, column in columns.items():
        parts = name.split("_")
        after = columns.get("_".join("after" if part == "before" else part for part in parts))
        if column.kind != kind or parts.count("before") != 1 or after is None:
            continue
        if (after.kind, after.length, after.size) == (column.kind, column.length, column.size):
            found[name] = after.name
    return found


def cameras_of(columns: Mapping[str, Column]) -> tuple[Camera, ...]:
    """The cameras: those with films if there are films, else those with pictures before and after."""
    stills = {
        whose(name, "before"): Camera(whose(name, "before"), name, after, "", columns[name].size)
        for name, after in pairs(columns, "colour").items()
    }
    films = [column for column in columns.values() if column.kind == "film"]
    if not films:
        return tuple(stills.values())
    found = []
    for column in films:
        name = whose(whose(column.name, "film"), "video")
        both = stills.get(name, Camera(name, "", "", "", column.size))
        fits = both.size == column.size
        found.append(Camera(name, both.before if fits else "", both.after if fits else "", column.name, column.size))
    return tuple(found)


@dataclass(frozen=True)
class Layout:
    """What the columns of a folder are, and what exporters make of them.

    Attributes:
        columns: by name, in the order of the file.
        cameras: of which frames are made.
        rate: frames a second of films; 0 where there are none.
        actions: names of the components of an action, as ``push.end_row``: those that are commanded, of all tasks.
        states: names of the components of a state: the pose of the thing acted on, then every other vector that the file has
            before and after.
        vectors: columns of those vectors, before and after.
    """

    columns: Mapping[str, Column]
    cameras: tuple[Camera, ...]
    rate: int
    actions: tuple[str, ...]
    states: tuple[str, ...]
    vectors: tuple[tuple[str, str], ...]

    @property
    def shown(self) -> frozenset[str]:
        """Columns whose pictures are shown as frames of cameras."""
        if self.rate:
            return frozenset(camera.film for camera in self.cameras)
        return frozenset(name for camera in self.cameras for name in (camera.before, camera.after))

    def action(self, row: NativeRow) -> Floats:
        """What was commanded; zero for the components of other tasks."""
        parts = []
        for column in _task_columns(self.columns):
            parts += [v for v, n in zip(row.values[column.name], _components(column), strict=True) if n not in OUTCOMES]
        return np.array(parts, np.float32)

    def state(self, row: NativeRow, when: Literal["before", "after"]) -> Floats:
        """What was so before, or after."""
        values = []
        if _has_poses(self.columns):
            poses = self.columns["states_before"].array(row.values[f"states_{when}"]).reshape(-1, len(POSE))
            place = row.values["acted_place"]
            if not 0 <= place < len(poses):
                raise BadItem(row.name, f"acted_place is {place}, but states_{when} has {len(poses)} poses")
            values.append(poses[place])
        for before, after in self.vectors:
            values.append(self.columns[before].array(row.values[before if when == "before" else after]))
        return np.concatenate([np.zeros(0), *values]).astype(np.float32)

    def frames(self, row: NativeRow) -> list[dict[str, Frame]]:
        """What the cameras saw, by their names: a film's frames, or the pictures before and after.

        Raises:
            BadItem: a picture or film is absent, broken, or of another size or length than others.
        """
        seen = {camera.name: _frames(row, camera) for camera in self.cameras}
        lengths = {len(frames) for frames in seen.values()}
        if len(lengths) > 1:
            raise BadItem(row.name, f"its cameras have {' and '.join(map(str, sorted(lengths)))} frames")
        for camera in self.cameras:
            for frame in seen[camera.name]:
                if frame.pixels.shape[:2] != camera.size:
                    raise BadItem(row.name, f"a picture of camera {camera.name} is {frame.pixels.shape[:2]}, not {camera.size}")
        return [dict(zip(seen, frames, strict=True)) for frames in zip(*seen.values(), strict=True)]

    def check(self, row: NativeRow) -> None:
        """See that every number is there.

        Raises:
            BadItem: one is not.
        """
        for column in self.columns.values():
            if column.kind in ("number", "vector") and row.values[column.name] is None:
                raise BadItem(row.name, f"has no {column.name}")


def _task_columns(columns: Mapping[str, Column]) -> list[Column]:
    return [columns[task] for task in TASKS if task in columns and columns[task].kind == "vector"]


def _has_poses(columns: Mapping[str, Column]) -> bool:
    return {"states_before", "states_after", "acted_place"} <= columns.keys()


def _components(column: Column) -> tuple[str, ...]:
    names = COMPONENTS.get(column.name, ())
    return names if len(names) == column.length else tuple(map(str, range(column.length)))


def _frames(row: NativeRow, camera: Camera) -> list[Frame]:
    film = row.values[camera.film] if camera.film else None
    if film:
        return film_frames(film, f"{row.name} {camera.film}")
    pictures = [(name, row.values[name]) for name in (camera.before, camera.after) if name]
    if not pictures:
        raise BadItem(row.name, f"has no film of camera {camera.name}")
    for name, data in pictures:
        if not data:
            raise BadItem(row.name, f"has no picture {name}")
    return [Frame(decode(data, f"{row.name} {name}"), data) for name, data in pictures]


def film_frames(data: bytes, name: str) -> list[Frame]:
    """All frames of an mp4.

    Raises:
        BadItem: it cannot be decoded, or has fewer than two.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            frames = [Frame(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise BadItem(name, f"cannot be decoded ({error})") from None
    if len(frames) < 2:
        raise BadItem(name, f"has {len(frames)} frames; two or more are needed")
    return frames


def grey(column: Column, data: bytes, name: str) -> NDArray[Any]:
    """A picture of one channel: uint8 or uint16 [h, w].

    Raises:
        BadItem: it cannot be decoded, or is unlike the others of its column.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        raise BadItem(f"{name} {column.name}", "not a picture that can be decoded")
    if pixels.shape != column.size or pixels.dtype != column.dtype:
        raise BadItem(f"{name} {column.name}", f"is {pixels.shape} {pixels.dtype}, not {column.size} {column.dtype}")
    return np.asarray(pixels)


def layout_of(native: Native) -> Layout:
    """Look at the schema, and at the first bytes of every column that has bytes.

    Raises:
        UserError: films differ in their frames a second, or are not of a whole number of them.
    """
    firsts = native.firsts(field.name for field in native.schema if _is_bytes(field.type))
    columns = {field.name: _column(field, firsts) for field in native.schema}
    cameras = cameras_of(columns)
    rates = {columns[camera.film].rate for camera in cameras if camera.film}
    if len(rates) > 1:
        raise UserError(
            f"films of '{native.folder}' have {' and '.join(map(str, sorted(rates)))} frames a second; they must agree"
        )
    actions = tuple(f"{one.name}.{part}" for one in _task_columns(columns) for part in _components(one) if part not in OUTCOMES)
    states = tuple(f"acted.{part}" for part in POSE) if _has_poses(columns) else ()
    vectors = tuple(pairs(columns, "vector").items())
    for name, _ in vectors:
        states += tuple(f"{whose(name, 'before')}.{place}" for place in range(columns[name].length))
    return Layout(columns, cameras, max(rates, default=0), actions, states, vectors)
