"""LeRobot data sets: a robot's cameras, with its actions and states joined to the frames by their times.

Version 2 keeps one video and one file of rows an episode, version 3 many episodes one after another in each file. A sample is
one camera's view of one episode; the cameras of an episode are one recording. Rows are read when a sample is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.robot_rows import COLUMNS, Rows
from embodied_ssl.datasets.listed import missing
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

ACCEPTED = "a LeRobot data set of version 2.0, 2.1 or 3.0 (meta/info.json, data/, videos/)"
TINY_CAMERAS = ("observation.images.left", "observation.images.right")
TINY_TASKS = ("fold the cloth", "lift the cup")


@dataclass(frozen=True)
class Info:
    """What ``meta/info.json`` says.

    Attributes:
        version: 2 or 3.
        fps: frames and rows a second.
        data_path, video_path: where an episode's rows and videos are, with places for its numbers.
        cameras: the features that are videos, sorted.
        columns: which of `COLUMNS` there are.
        chunk: episodes in a folder, for version 2.
    """

    version: int
    fps: float
    data_path: str
    video_path: str
    cameras: tuple[str, ...]
    columns: tuple[str, ...]
    chunk: int


class Episode(NamedTuple):
    """One episode: its number, how many frames it has, what it is about, and all else that ``meta/`` says of it."""

    number: int
    length: int
    tasks: tuple[str, ...]
    places: Mapping[str, Any]


def read_info(root: Path) -> Info:
    """What kind of data set stands in a folder.

    Raises:
        UserError: ``meta/info.json`` is missing or broken, of another version, or names no videos.
    """
    path = root / "meta" / "info.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        version = str(given["codebase_version"]).removeprefix("v")
        if version not in ("2.0", "2.1", "3.0"):
            raise UserError(f"'{root}' is of version {version}; accepted is {ACCEPTED}: convert it with LeRobot's scripts")
        features = given["features"]
        info = Info(
            version=int(version[0]),
            fps=float(given["fps"]),
            data_path=str(given["data_path"]),
            video_path=str(given["video_path"] or ""),
            cameras=tuple(sorted(name for name, feature in features.items() if feature["dtype"] == "video")),
            columns=tuple(field for field, column in COLUMNS.items() if column in features),
            chunk=int(given.get("chunks_size") or 1000),
        )
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; accepted is {ACCEPTED}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' cannot be read ({error!r}); accepted is {ACCEPTED}: copy it again") from None
    if not info.cameras or not info.fps > 0:
        raise UserError(f"'{path}' names no videos or no fps; accepted is {ACCEPTED} with its cameras as videos, not as pictures")
    return info


def read_episodes(root: Path, version: int) -> list[Episode]:
    """All episodes that ``meta/`` lists, by number.

    Raises:
        UserError: the list is missing or broken.
    """
    path = root / "meta" / ("episodes.jsonl" if version == 2 else "episodes")
    try:
        if version == 2:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            rows = list(chain.from_iterable(_episode_rows(file) for file in sorted(path.glob("chunk-*/file-*.parquet"))))
        found = [Episode(int(row["episode_index"]), int(row["length"]), tuple(row["tasks"]), row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"'{path}' cannot be read ({error!r}); it should list every episode: copy it again") from None
    if not found:
        raise UserError(f"'{path}' lists no episodes; copy it again")
    return sorted(found, key=lambda episode: episode.number)


def _episode_rows(path: Path) -> list[dict[str, Any]]:
    """Version 3 says much of each episode, statistics above all; they are left unread."""
    names = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = pq.read_table(path, columns=names, use_threads=False).to_pylist()
    return rows


def read_tasks(root: Path, version: int) -> dict[str, int]:
    """The number of each task by its words; empty where the list is missing or broken: it is for evaluation only."""
    try:
        if version == 2:
            lines = (root / "meta" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
            return {row["task"]: int(row["task_index"]) for row in map(json.loads, filter(str.strip, lines))}
        table = pq.read_table(root / "meta" / "tasks.parquet", use_threads=False)
        words = next(name for name in table.column_names if name != "task_index")  # it was the index, whose name varies
        return dict(zip(table[words].to_pylist(), table["task_index"].to_pylist(), strict=True))
    except (OSError, ValueError, KeyError, TypeError, StopIteration, pa.ArrowException):
        return {}


class Place(NamedTuple):
    """Where one camera's view of an episode is: two files below the data set's folder, and when in the video it begins."""

    video: str
    rows: str
    start: float


def place_of(root: Path, info: Info, episode: Episode, camera: str) -> Place:
    """Where one camera's view of an episode is.

    Raises:
        UserError: ``meta/`` does not say.
    """
    said = episode.places
    try:
        if info.version == 2:
            chunk = episode.number // info.chunk
            numbers = {"episode_chunk": chunk, "chunk_index": chunk, "episode_index": episode.number}
            return Place(info.video_path.format(video_key=camera, **numbers), info.data_path.format(**numbers), 0.0)
        rows, video = (
            {name: int(said[f"{part}/{name}"]) for name in ("chunk_index", "file_index")} for part in ("data", f"videos/{camera}")
        )
        start = float(said[f"videos/{camera}/from_timestamp"])
        return Place(info.video_path.format(video_key=camera, **video), info.data_path.format(**rows), start)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(
            f"'{root}/meta' does not say where camera {camera} of episode {episode.number} is ({error!r}); accepted is {ACCEPTED}"
        ) from None


@dataclass(frozen=True)
class LeRobot(VideoSpec):
    """LeRobot data sets; further attributes as for every set of videos.

    Attributes:
        camera: only this camera: ``observation.images.left``, or ``left`` for short; all of them where empty.
        join: rows belong to frames by ``timestamp``, each to the one nearest in time and less than half a frame away; or, for
            videos whose own times are made up, by ``frame_index``.
    """

    protocol: ClassVar[str] = "LeRobot v2.1 and v3.0: meta/info.json, data/, videos/; action and state beside every frame"

    camera: str = ""
    join: Literal["timestamp", "frame_index"] = "timestamp"

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        if self.join not in ("timestamp", "frame_index"):
            raise UserError(f"join is '{self.join}'; accepted are timestamp and frame_index")
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            found, absent = self._clips_of(root, prefix)
            clips += found
            bad += absent
        if not clips:
            raise UserError(f"none of the {len(bad)} videos that '{self.root}' lists is there; the first lacks '{bad[0].name}'")
        return clips, bad

    def _clips_of(self, root: Path, prefix: str) -> tuple[list[Clip], list[BadItem]]:
        info = read_info(root)
        cameras = self._cameras(root, info)
        episodes = read_episodes(root, info.version)
        tasks = read_tasks(root, info.version)
        labelled = all(len(episode.tasks) == 1 and episode.tasks[0] in tasks for episode in episodes)
        places = [(episode, place_of(root, info, episode, camera)) for episode in episodes for camera in cameras]
        absent = set(missing(root, {file: None for _, place in places for file in (place.video, place.rows)}))
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for episode, place in places:
            gone = [file for file in (place.video, place.rows) if file in absent]
            if gone:
                bad.append(BadItem(str(root / gone[0]), "listed in meta/, but not there"))
                continue
            # Half a frame early, so that rounding moves none across; by length, since writers differ on what to_timestamp is.
            span = (place.start - 0.5 / info.fps, place.start + (episode.length - 0.5) / info.fps)
            mine = episode.number if info.version == 3 else None
            rows = Rows(str(root / place.rows), mine, place.start, info.fps, self.join, frozenset(info.columns))
            clips.append(
                Clip(
                    str(root / place.video),
                    f"{prefix}episode_{episode.number:06d}",
                    span if info.version == 3 else None,
                    {"label": tasks[episode.tasks[0]]} if labelled else {},
                    beside=rows if info.columns else None,
                )
            )
        return clips, bad

    def _cameras(self, root: Path, info: Info) -> tuple[str, ...]:
        chosen = tuple(name for name in info.cameras if self.camera in ("", name, name.rpartition(".")[2]))
        if not chosen:
            raise UserError(f"there is no camera '{self.camera}' in '{root}'; accepted are {', '.join(info.cameras)}")
        return chosen

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Version 2.1: four episodes of 10 to 13 frames from two cameras, 10 a second; episode e, frame f shows 100 e + f."""
        (folder / "meta").mkdir(parents=True)
        _write_info(folder, "v2.1", "episode_{episode_index:06d}", "{episode_chunk:03d}", "chunk-{0}/{{video_key}}")
        lines = []
        for episode in range(4):
            length = 10 + episode
            for camera in TINY_CAMERAS:
                inside = folder / "videos" / "chunk-000" / camera
                inside.mkdir(parents=True, exist_ok=True)
                write_video(inside / f"episode_{episode:06d}.mp4", _tiny_frames(episode, length), rate=10)
            _write_rows(folder / "data" / "chunk-000" / f"episode_{episode:06d}.parquet", {episode: length})
            lines.append(json.dumps({"episode_index": episode, "tasks": [TINY_TASKS[episode % 2]], "length": length}))
        (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        tasks = [json.dumps({"task_index": number, "task": task}) for number, task in enumerate(TINY_TASKS)]
        (folder / "meta" / "tasks.jsonl").write_text("\n".join(tasks) + "\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def tiny_v3(cls, folder: Path) -> Self:
        """Version 3.0 of the same: all rows in one file, episodes 0 to 1 and 2 to 3 each in one video a camera."""
        (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        _write_info(folder, "v3.0", "file-{file_index:03d}", "{chunk_index:03d}", "{{video_key}}/chunk-{0}")
        lengths = {episode: 10 + episode for episode in range(4)}
        _write_rows(folder / "data" / "chunk-000" / "file-000.parquet", lengths)
        rows: list[dict[str, Any]] = []
        for file, inside in enumerate(([0, 1], [2, 3])):
            start = 0
            for episode in inside:
                stop = start + lengths[episode]
                row = {"episode_index": episode, "tasks": [TINY_TASKS[episode % 2]], "length": lengths[episode]}
                row |= {"data/chunk_index": 0, "data/file_index": 0, "stats/action/mean": [0.0]}
                for camera in TINY_CAMERAS:
                    row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": file}
                    row |= {f"videos/{camera}/from_timestamp": start / 10, f"videos/{camera}/to_timestamp": stop / 10}
                rows.append(row)
                start = stop
            for camera in TINY_CAMERAS:
                path = folder / "videos" / camera / "chunk-000" / f"file-{file:03d}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, chain.from_iterable(_tiny_frames(e, lengths[e]) for e in inside), rate=10)
        pq.write_table(pa.Table.from_pylist(rows), folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
        tasks = {"task_index": range(len(TINY_TASKS)), "__index_level_0__": TINY_TASKS}
        pq.write_table(pa.table(tasks), folder / "meta" / "tasks.parquet")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / "meta" / "info.json").is_file()


def _tiny_frames(episode: int, length: int) -> list[Pixels]:
    return [numbered(100 * episode + frame, period=16 + 4 * episode) for frame in range(length)]


def _write_info(folder: Path, version: str, file: str, chunk: str, video: str) -> None:
    features = {"action": {"dtype": "float32", "shape": [3]}, "observation.state": {"dtype": "float32", "shape": [2]}}
    features |= {camera: {"dtype": "video", "shape": [48, 64, 3]} for camera in TINY_CAMERAS}
    info = {"codebase_version": version, "fps": 10, "total_episodes": 4, "chunks_size": 1000, "features": features}
    info |= {"data_path": f"data/chunk-{chunk}/{file}.parquet", "video_path": f"videos/{video.format(chunk)}/{file}.mp4"}
    (folder / "meta" / "info.json").write_text(json.dumps(info, indent=4))


def _write_rows(path: Path, lengths: Mapping[int, int]) -> None:
    """The rows of episodes: the action is (the number shown, episode, frame), the state (frame, -frame)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    both = [(episode, frame) for episode, length in lengths.items() for frame in range(length)]
    columns = {
        "action": pa.array([[100 * e + f, e, f] for e, f in both], pa.list_(pa.float32(), 3)),
        "observation.state": pa.array([[f, -f] for _, f in both], pa.list_(pa.float32(), 2)),
        "timestamp": pa.array([f / 10 for _, f in both], pa.float32()),
        "frame_index": [f for _, f in both],
        "episode_index": [e for e, _ in both],
        "task_index": [e % 2 for e, _ in both],
    }
    pq.write_table(pa.table(columns), path)
