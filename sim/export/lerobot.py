"""Interactions as a LeRobotDataset of version 3.0, written by hand, for the ``lerobot`` package and all that reads its sets.

An interaction is an episode. Where rows have a film, its frames are the episode's; else it has two frames, before and after,
which are said to be one second apart. What a frame has:

- ``observation.images.CAMERA``: H.264 in mp4, many episodes a file; or, with ``pictures="image"``, the very bytes of the native
  rows (PNG), exact and quicker to make, but larger and not read by everything (our own reader wants videos). H.264 keeps colour
  at half the resolution, so edges of strong colours are off by more than the mean of one or two grey levels says.
- ``observation.state``: float32, the pose of the thing acted on (x, y, z in metres, qx, qy, qz, qw). Rows know it before and
  after only, so in a film it stays as it was before until the last frame.
- ``action``: float32, one vector for all tasks; ``names`` says which component is whose, those of other tasks are zero, and what
  only comes out (success, slope) is no part of it. It is the same in every frame of the episode.
- ``next.success`` and ``next.done``: bool, of the last two frames, that is from the step on which leads to the last picture.
- ``interaction.COLUMN``: every number and every vector of the native row (mass, friction, force and travel as 64 numbers, ...),
  the same in every frame. They hold what came of the action, so they are no observations, and policies do not get them.

Strings, lists of any length, and pictures that are not colour (16-bit depth, places of things) have no place in the format.
They stand, with all other columns but the pictures shown, in ``interactions/chunk-000/file-000.parquet``: a row an episode,
joined by ``episode_index``; ``part`` says which of train and valid it belongs to (by the thing acted on, as when pretraining on
native data).

LeRobot compares times as float32 and demands 0.1 ms, so no video is longer than 1000 s; every second frame and every episode's
first is a keyframe, as in its own videos, so that any frame is found quickly. ``meta/stats.json`` has figures of every feature;
the list of episodes has each one's own of what policies are given, so that LeRobot's tools can split, merge and delete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.frame import PictureType

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError
from embodied_ssl.sim.export.columns import Frame, Layout
from embodied_ssl.sim.export.native import Native, NativeRow
from embodied_ssl.sim.export.statistics import FIGURES, Colours, Numbers

Pictures = Literal["video", "image"]
CHUNK = 1000  # files a folder
DATA_BYTES, VIDEO_BYTES = 100 << 20, 200 << 20  # a file; LeRobot's own limits
VIDEO_SECONDS = 1000  # a file; see above
GROUP_FRAMES, GROUP_BYTES = 1024, 16 << 20  # a row group: what is in memory
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODE_BYTES = 2000  # what the list of episodes says of one, about
CLOCKS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}

# Without its assembly x264 gives the same bytes always. Every second frame is a keyframe.
_X264 = {"crf": "18", "preset": "veryfast", "forced-idr": "1"}
_X264["x264-params"] = "threads=1:asm=0:keyint=2:min-keyint=1:scenecut=0:bframes=0"


def place(number: int) -> dict[str, int]:
    """Chunk and file of the n-th file."""
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


class Rolling:
    """Parquet files one after another, each begun when the one before is large enough.

    Args:
        folder: where chunks are made.
        schema: of every file.
        dictionary: whether values that repeat are written once.
        limit: bytes of a file.
    """

    def __init__(self, folder: Path, schema: pa.Schema, dictionary: bool, limit: float) -> None:
        self.folder, self.schema, self.dictionary, self.limit = folder, schema, dictionary, limit
        self.number = 0
        self._writer: pq.ParquetWriter | None = None
        self._sink: Any = None
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def place_for(self, size: int) -> dict[str, int]:
        """The place of the file that the next rows go to, if they are about so large."""
        if self._sink is not None and self._sink.tell() + self._bytes > self.limit:
            self.close()
            self.number += 1
        return place(self.number)

    def add(self, rows: Sequence[dict[str, Any]], size: int) -> dict[str, int]:
        """Take rows that belong together; returns the place of their file. ``size`` is about how large they are."""
        there = self.place_for(size)
        if self._writer is None:
            path = self.folder / (PLACE.format(**place(self.number)) + ".parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = path.open("wb")
            self._writer = pq.ParquetWriter(self._sink, self.schema, compression="snappy", use_dictionary=self.dictionary)
        self._rows += rows
        self._bytes += size
        if len(self._rows) >= GROUP_FRAMES or self._bytes >= GROUP_BYTES:
            self._flush()
        return there

    def _flush(self) -> None:
        if self._rows and self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """Finish the file at hand."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
        self._writer = self._sink = None


class Films:
    """One camera's videos, one after another.

    Args:
        folder: where chunks are made.
        size: height and width, both even.
        rate: frames a second.
    """

    def __init__(self, folder: Path, size: tuple[int, int], rate: int) -> None:
        self.folder, self.size, self.rate = folder, size, rate
        self.number = 0
        self._container: Any = None
        self._frames = self._bytes = 0

    def add(self, frames: Sequence[Pixels]) -> dict[str, Any]:
        """Append an episode; returns the place of its file, and when in it the episode begins and ends, in seconds."""
        full = self._bytes > VIDEO_BYTES or self._frames + len(frames) > VIDEO_SECONDS * self.rate
        if self._container is not None and full:
            self.close()
            self.number += 1
        if self._container is None:
            self._open()
        start = self._frames
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self.rate)
            frame.pict_type = PictureType.I if self._frames == start else PictureType.NONE
            self._mux(self._stream.encode(frame))
            self._frames += 1
        return place(self.number) | {"from_timestamp": start / self.rate, "to_timestamp": self._frames / self.rate}

    def _open(self) -> None:
        path = self.folder / (PLACE.format(**place(self.number)) + ".mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=self.rate, options=_X264)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, self.rate)
        self._frames = self._bytes = 0

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._bytes += packet.size
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file at hand."""
        if self._container is not None:
            self._mux(self._stream.encode())
            self._container.close()
        self._container = None


def _value_type(dtype: np.dtype[Any], length: int) -> pa.DataType:
    return pa.from_numpy_dtype(dtype) if length == 1 else pa.list_(pa.from_numpy_dtype(dtype), length)


def _figure_type(figure: str, of_pictures: bool) -> pa.DataType:
    """Of a figure in the list of episodes: pictures have theirs as [3, 1, 1]."""
    value = pa.list_(pa.int64() if figure == "count" else pa.float64())
    return pa.list_(pa.list_(value)) if of_pictures and figure != "count" else value


@dataclass
class Feature:
    """What ``meta/info.json`` says of a feature, and its statistics.

    Attributes:
        dtype: numpy's name, or video or image.
        shape: of one frame's value.
        names: of its components.
        seen: statistics.
    """

    dtype: str
    shape: tuple[int, ...]
    names: Sequence[str] | None
    seen: Numbers | Colours
    info: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As LeRobot writes it."""
        found = {"dtype": self.dtype, "shape": list(self.shape), "names": self.names if self.names is None else list(self.names)}
        return found | ({"info": self.info} if self.info else {})

    def to_arrow(self) -> pa.DataType:
        """Of its column."""
        if self.dtype == "image":
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return _value_type(np.dtype(self.dtype), self.shape[0])

    def to_hugging_face(self) -> dict[str, Any]:
        """As the ``datasets`` library describes it in a file's metadata."""
        if self.dtype == "image":
            return {"_type": "Image"}
        value = {"dtype": self.dtype, "_type": "Value"}
        return value if self.shape == (1,) else {"feature": value, "length": self.shape[0], "_type": "Sequence"}


def _vector(dtype: str, names: Sequence[str] | None, length: int) -> Feature:
    return Feature(dtype, (length,), names, Numbers(length))


def features_of(layout: Layout, pictures: Pictures, rate: int) -> dict[str, Feature]:
    """All features of an export, by name."""
    found: dict[str, Feature] = {}
    for camera in layout.cameras:
        height, width = camera.size
        about = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": rate,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ("height", "width", "channels")
        info = about if pictures == "video" else {}
        found[f"observation.images.{camera.name}"] = Feature(pictures, (height, width, 3), names, Colours(), info)
    if layout.states:
        found["observation.state"] = _vector("float32", layout.states, len(layout.states))
    if layout.actions:
        found["action"] = _vector("float32", layout.actions, len(layout.actions))
    found |= {name: _vector("bool", None, 1) for name in ("next.success", "next.done")}
    for column in layout.columns.values():
        if column.kind in ("number", "vector") and column.name != "task":
            length = column.length or 1
            found[f"interaction.{column.name}"] = _vector(column.dtype.name, None, length)
    return found | {name: _vector(dtype, None, 1) for name, dtype in CLOCKS.items()}


def _metadata(features: Mapping[str, Feature]) -> dict[bytes, bytes]:
    about = {"info": {"features": {name: feature.to_hugging_face() for name, feature in features.items()}}}
    return {b"huggingface": json.dumps(about).encode()}


class Writer:
    """A LeRobot data set being written.

    Args:
        native: what is exported.
        layout: of its columns.
        out: an empty folder.
        pictures: how cameras are kept.

    Raises:
        UserError: there are no cameras, or their pictures do not fit the video format.
    """

    def __init__(self, native: Native, layout: Layout, out: Path, pictures: Pictures) -> None:
        if not layout.cameras:
            raise UserError(f"'{native.folder}' has no pictures before and after, and no films: LeRobot needs a camera")
        for camera in layout.cameras:
            if pictures == "video" and (camera.size[0] % 2 or camera.size[1] % 2):
                size = f"{camera.size[0]} x {camera.size[1]}"
                raise UserError(f"pictures of {size} do not fit H.264, which needs even numbers; pass --pictures image")
        self.native, self.layout, self.out, self.pictures = native, layout, out, pictures
        self.rate = layout.rate or 1
        self.features = features_of(layout, pictures, self.rate)
        columns = {name: feature for name, feature in self.features.items() if feature.dtype != "video"}
        schema = pa.schema([(name, one.to_arrow()) for name, one in columns.items()], metadata=_metadata(columns))
        self._data = Rolling(out / "data", schema, dictionary=pictures == "video", limit=DATA_BYTES)
        beside = [column for column in native.schema if column.name not in layout.shown]
        clocks = [("episode_index", pa.int64()), ("part", pa.string())]
        self._beside = Rolling(out / "interactions", pa.schema([*clocks, *beside]), dictionary=False, limit=DATA_BYTES)
        self._films = {
            camera.name: Films(out / "videos" / f"observation.images.{camera.name}", camera.size, self.rate)
            for camera in layout.cameras
            if pictures == "video"
        }
        self._given = tuple(name for name in self.features if name.startswith(("observation.", "action")))  # to policies
        self._list = Rolling(out / "meta" / "episodes", self._about_episodes(), dictionary=True, limit=DATA_BYTES)
        self.episodes = 0
        self._waiting: dict[str, list[Any]] = {name: [] for name, one in self.features.items() if isinstance(one.seen, Numbers)}
        self.frames = 0

    def _about_episodes(self) -> pa.Schema:
        """What is said of each episode."""
        names = ["dataset_from_index", "dataset_to_index"]
        names += [f"{part}/{name}" for part in ("meta/episodes", "data") for name in place(0)]
        fields = [("episode_index", pa.int64()), ("tasks", pa.list_(pa.string())), ("length", pa.int64())]
        fields += [(name, pa.int64()) for name in names]
        for camera in self._films:
            key = f"videos/observation.images.{camera}"
            fields += [(f"{key}/{name}", pa.int64()) for name in place(0)]
            fields += [(f"{key}/{end}_timestamp", pa.float64()) for end in ("from", "to")]
        for name in self._given:
            for figure in FIGURES:
                fields.append((f"stats/{name}/{figure}", _figure_type(figure, isinstance(self.features[name].seen, Colours))))
        return pa.schema(fields)

    def add(self, row: NativeRow) -> None:
        """Append an interaction.

        Raises:
            BadItem: it cannot be read; nothing of it is written.
        """
        self.layout.check(row)
        frames = self.layout.frames(row)
        rows = self._rows_of(row, frames)
        figures = self._count(frames, rows)
        size = sum(len(one["bytes"]) for each in rows for one in each.values() if isinstance(one, dict)) + 1000 * len(rows)
        episode = {
            "episode_index": self.episodes,
            "tasks": [row.task],
            "length": len(rows),
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + len(rows),
            **{f"meta/episodes/{name}": value for name, value in self._list.place_for(EPISODE_BYTES).items()},
            **figures,
            **{f"data/{name}": value for name, value in self._data.add(rows, size).items()},
        }
        for camera, film in self._films.items():
            there = film.add([frame[camera].pixels for frame in frames])
            episode |= {f"videos/observation.images.{camera}/{name}": value for name, value in there.items()}
        beside = {name: row.values[name] for name in self.native.schema.names if name not in self.layout.shown}
        beside |= {"episode_index": self.episodes, "part": "valid" if row.valid else "train"}
        self._beside.add([beside], sum(len(value) for value in beside.values() if isinstance(value, bytes)) + 2000)
        self._list.add([episode], EPISODE_BYTES)
        self.episodes += 1
        self.frames += len(rows)

    def _rows_of(self, row: NativeRow, frames: Sequence[Mapping[str, Frame]]) -> list[dict[str, Any]]:
        number, last = self.episodes, len(frames) - 1
        same: dict[str, Any] = {
            f"interaction.{column.name}": row.values[column.name]
            for column in self.layout.columns.values()
            if column.kind in ("number", "vector") and column.name != "task"
        }
        if self.layout.actions:
            same["action"] = self.layout.action(row)
        states = (self.layout.state(row, "before"), self.layout.state(row, "after")) if self.layout.states else ()
        success = bool(row.values.get("success"))
        rows = []
        for k, seen in enumerate(frames):
            one = {**same, "next.success": success and k >= last - 1, "next.done": k >= last - 1}
            if states:
                one["observation.state"] = states[k == last]
            if self.pictures == "image":
                for camera, frame in seen.items():
                    one[f"observation.images.{camera}"] = {"bytes": frame.png(), "path": None}
            one |= {"timestamp": k / self.rate, "frame_index": k, "episode_index": number, "index": self.frames + k}
            one["task_index"] = self.native.tasks.index(row.task)
            rows.append({name: _one(value) for name, value in one.items()})
        return rows

    def _count(self, frames: Sequence[Mapping[str, Frame]], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Count an episode in the statistics of all; returns its own, of what policies are given."""
        own: dict[str, Numbers | Colours] = {}
        for camera in self.layout.cameras:
            name = f"observation.images.{camera.name}"
            own[name] = colours = Colours()
            for frame in frames:
                colours.add(frame[camera.name].pixels)
            whole = self.features[name].seen
            assert isinstance(whole, Colours)
            whole.join(colours)
        for name in self._given:
            if name not in own:
                own[name] = numbers = Numbers(*self.features[name].shape)
                numbers.add(np.array([row[name] for row in rows]).reshape(len(rows), -1))
        for name, waiting in self._waiting.items():
            waiting += [row[name] for row in rows]
        if len(self._waiting["index"]) >= GROUP_FRAMES:
            self._count_waiting()
        return {f"stats/{name}/{figure}": value for name, seen in own.items() for figure, value in seen.figures().items()}

    def _count_waiting(self) -> None:
        for name, waiting in self._waiting.items():
            if waiting:
                self.features[name].seen.add(np.asarray(waiting).reshape(len(waiting), -1))
            waiting.clear()

    def close(self) -> None:
        """Finish the files at hand."""
        for part in (self._data, self._beside, self._list):
            part.close()
        for film in self._films.values():
            film.close()

    def finish(self) -> None:
        """Finish all files, and write what describes them."""
        self.close()
        self._count_waiting()
        meta = self.out / "meta"
        write_tasks(meta / "tasks.parquet", self.native.tasks)
        stats = {name: feature.seen.figures() for name, feature in self.features.items()}
        (meta / "stats.json").write_text(json.dumps(stats, indent=4))
        (meta / "info.json").write_text(json.dumps(self.info(), indent=4))

    def info(self) -> dict[str, Any]:
        """What ``meta/info.json`` says."""
        return {
            "codebase_version": "v3.0",
            "robot_type": self.native.spec.get("robot", "simulated"),
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.native.tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_BYTES >> 20,
            "video_files_size_in_mb": VIDEO_BYTES >> 20,
            "fps": self.rate,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": f"data/{PLACE}.parquet",
            "video_path": f"videos/{{video_key}}/{PLACE}.mp4" if self.pictures == "video" else None,
            "features": {name: feature.to_json() for name, feature in self.features.items()},
        }


def _one(value: Any) -> Any:
    """A list of one number is a number in the format."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the table of tasks as pandas would: the words are its index."""
    index, number = "__index_level_0__", "task_index"

    def described(name: str | None, kind: str, numpy: str, column: str) -> dict[str, Any]:
        return {"name": name, "field_name": column, "pandas_type": kind, "numpy_type": numpy, "metadata": None}

    about = {
        "index_columns": [index],
        "column_indexes": [described(None, "unicode", "object", "None") | {"metadata": {"encoding": "UTF-8"}}],
        "columns": [described(number, "int64", "int64", number), described(None, "unicode", "object", index)],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    fields = [(number, pa.int64()), (index, pa.string())]
    schema = pa.schema(fields, metadata={b"pandas": json.dumps(about).encode()})
    pq.write_table(pa.table({number: list(range(len(tasks))), index: list(tasks)}, schema=schema), path)
