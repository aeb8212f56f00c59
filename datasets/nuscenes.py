"""nuScenes: twenty-second scenes of city driving, whose pictures, poses and calibrations are rows of json tables.

A camera's frames are its key frames (``samples/``, two a second) with the pictures between them (``sweeps/``), in the order of
their times within a scene. The motion is the camera's own: the car's pose at the moment of the picture, then the camera's place
on the car. The car's pose is flat: its z is always 0. Caesar et al., CVPR 2020.

The official division is by scene, but scenes are cut from drives, often one right after another in one street; so the drive
(the log) is the recording here, and no part shares one with another.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets import poses, quaternions
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, PoseTrack, metric_axes, none_left
from embodied_ssl.datasets.io.listing import prefixes, subfolders
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.motion import ON_THE_ROAD
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem, UserError

TABLES = ("sensor", "calibrated_sensor", "scene", "sample", "sample_data", "ego_pose")
ACCEPTED = f"v1.0-*/{{{', '.join(TABLES)}}}.json beside samples/ and sweeps/"
CHUNK = 1 << 20  # characters read at a time; a row has a few hundred
SWEEP = 100_000  # microseconds from frame to frame of made-up scenes
SWEEPS_A_KEY = 5

Array = NDArray[np.float64]
Row = Mapping[str, Any]


def read_rows(path: Path, bad: list[BadItem]) -> Iterator[Row]:
    """The rows of a json table, one at a time: the tables of the whole set are a gigabyte each.

    Where the table breaks off, or is no table, what came before counts and the rest is named in ``bad``.
    """
    decoder, count = json.JSONDecoder(), 0
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(CHUNK).lstrip()
            if not text.startswith("["):
                bad.append(BadItem(str(path), "not a json list of rows"))
                return
            place, more = 1, True
            while True:
                while place < len(text) and text[place] in " \t\r\n,":
                    place += 1
                if text[place : place + 1] == "]":
                    return
                try:
                    row, place = decoder.raw_decode(text, place)
                except json.JSONDecodeError:
                    if not more or len(text) - place > 4 * CHUNK:
                        bad.append(BadItem(str(path), f"broken or cut off after {count} rows; copy it again"))
                        return
                    added = file.read(CHUNK)
                    text, place, more = text[place:] + added, 0, bool(added)
                    continue
                count += 1
                if isinstance(row, dict):
                    yield row
    except FileNotFoundError:
        bad.append(BadItem(str(path), "missing"))
    except (OSError, UnicodeDecodeError) as error:
        bad.append(BadItem(str(path), f"cannot be read ({error})"))


class Taken(NamedTuple):
    """One picture: when, in microseconds since 1970; its file below the root; tokens of the car's pose and of the camera's."""

    time: int
    file: str
    ego: str
    calibration: str


@dataclass
class Scene:
    """One scene: its name, its drive, and one camera's pictures in no order."""

    name: str
    log: str
    taken: list[Taken] = field(default_factory=list)


class Tables(NamedTuple):
    """What is needed of a version's tables: scenes, poses (x, y, z, qw, qx, qy, qz) by token, and what was wrong."""

    scenes: list[Scene]
    ego: dict[str, tuple[float, ...]]
    mounted: dict[str, tuple[float, ...]]
    bad: list[BadItem]


class _TableReader:
    """Goes through the tables of a version once each and keeps what one camera needs."""

    def __init__(self, place: Path, camera: str) -> None:
        self.place = place
        self.camera = camera
        self.bad: list[BadItem] = []

    def rows(self, table: str, *columns: str) -> Iterator[tuple[Any, ...]]:
        """These columns of a table; rows that lack one are counted and named."""
        lacking, first = 0, 0
        for number, row in enumerate(read_rows(self.place / f"{table}.json", self.bad)):
            try:
                yield tuple(row[column] for column in columns)
            except KeyError:
                lacking, first = lacking + 1, first if lacking else number
        if lacking:
            what = f"{lacking} rows lack one of {', '.join(columns)}, the first is row {first}"
            self.bad.append(BadItem(str(self.place / f"{table}.json"), what))

    def read(self) -> Tables:
        """All of it.

        Raises:
            UserError: there is no such camera; says which there are.
        """
        sensors = self.rows("sensor", "token", "channel", "modality")
        cameras = {token: channel for token, channel, kind in sensors if kind == "camera"}
        if cameras and self.camera not in cameras.values():
            there = ", ".join(sorted(set(cameras.values())))
            raise UserError(f"there is no camera '{self.camera}' in '{self.place}'; set data.camera to one of {there}")
        mounted = {
            token: _seven(place, turn)
            for token, sensor, place, turn in self.rows("calibrated_sensor", "token", "sensor_token", "translation", "rotation")
            if cameras.get(sensor) == self.camera
        }
        logs = dict(self.rows("log", "token", "logfile")) if (self.place / "log.json").exists() else {}
        rows = self.rows("scene", "token", "name", "log_token")
        scenes = {token: Scene(str(name), str(logs.get(log, log))) for token, name, log in rows}
        scene_of = dict(self.rows("sample", "token", "scene_token"))
        self._fill(scenes, scene_of, mounted)
        wanted = {taken.ego for scene in scenes.values() for taken in scene.taken}
        ego = {
            token: _seven(place, turn)
            for token, place, turn in self.rows("ego_pose", "token", "translation", "rotation")
            if token in wanted
        }
        return Tables(list(scenes.values()), ego, mounted, self.bad)

    def _fill(self, scenes: Mapping[str, Scene], scene_of: Mapping[str, str], mounted: Mapping[str, Any]) -> None:
        """Give the scenes their pictures."""
        lost = Counter[str]()
        columns = ("timestamp", "filename", "ego_pose_token", "calibrated_sensor_token", "sample_token")
        for time, file, ego, calibration, sample in self.rows("sample_data", *columns):
            if calibration not in mounted:
                continue
            scene = scenes.get(scene_of.get(sample, ""))
            if scene is None or not isinstance(time, int):
                lost[str(file)] += 1
            else:
                scene.taken.append(Taken(time, str(file), ego, calibration))
        if lost:
            what = f"{lost.total()} pictures have no scene or no time, the first is {next(iter(lost))}"
            self.bad.append(BadItem(str(self.place / "sample_data.json"), what))


def _seven(place: Sequence[float], turn: Sequence[float]) -> tuple[float, ...]:
    """x, y, z, qw, qx, qy, qz of a pose; empty where it is none."""
    try:
        values = np.array([*place, *turn], np.float64)
    except (TypeError, ValueError):
        return ()
    sound = values.shape == (7,) and np.isfinite(values).all() and quaternions.are_unit(values[3:])
    return tuple(values.tolist()) if sound else ()


@lru_cache(maxsize=4)  # a run opens a set twice, for each part of it, and reading the tables takes a minute
def _tables(place: Path, camera: str, changed: tuple[int, ...]) -> Tables:
    return _TableReader(place, camera).read()


def tables_of(place: Path, camera: str) -> Tables:
    """What is needed of a version's tables for a camera; read anew when one has changed."""
    changed = [place / f"{table}.json" for table in TABLES]
    return _tables(place, camera, tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in changed))


def rigid(rows: Sequence[tuple[float, ...]]) -> Array:
    """Poses [n, 4, 4] of rows x, y, z, qw, qx, qy, qz."""
    values = np.array(rows, np.float64)
    return poses.rigid(quaternions.matrices(values[:, 3:]), values[:, :3])


class _SceneReader:
    """Makes drives of scenes; what cannot be used is counted and named in ``bad``, scene by scene."""

    def __init__(self, root: Path, prefix: str, tables: Tables, short_side: int, axes: tuple[str, ...]) -> None:
        self.root = root
        self.prefix = prefix
        self.tables = tables
        self.short_side = short_side
        self.axes = axes
        self.bad: list[BadItem] = []
        self._inside: dict[str, frozenset[str]] = {}

    def read(self, scene: Scene) -> Drive | None:
        kept: list[Taken] = []
        left: dict[str, list[str]] = {}
        for taken in sorted(scene.taken):
            why = self._fault(taken) or ("not later than the one before" if kept and taken.time <= kept[-1].time else "")
            if why:
                left.setdefault(why, []).append(taken.file)
            else:
                kept.append(taken)
        for why, files in left.items():
            what = f"{len(files)} of {len(scene.taken)} pictures left out: {why}, the first is {files[0]}"
            self.bad.append(BadItem(f"{self.root}: {scene.name}", what))
        if len(kept) < 2:
            self.bad.append(BadItem(f"{self.root}: {scene.name}", f"{len(kept)} pictures of this camera can be used"))
            return None
        car = rigid([self.tables.ego[taken.ego] for taken in kept])
        camera = rigid([self.tables.mounted[taken.calibration] for taken in kept])
        car[:, :3, 3] -= car[0, :3, 3].copy()
        seconds = np.array([taken.time - kept[0].time for taken in kept]) * 1e-6
        frames = PictureSequence(self.root, [taken.file for taken in kept], seconds, self.short_side)
        return Drive(self.prefix + scene.log, frames, PoseTrack(car @ camera, "camera", None, self.axes))

    def _fault(self, taken: Taken) -> str:
        """Why a picture cannot be used; "" when it can."""
        folder, _, name = taken.file.rpartition("/")
        if folder not in self._inside:
            try:
                self._inside[folder] = frozenset(os.listdir(self.root / folder))
            except OSError:
                self._inside[folder] = frozenset()
        if name not in self._inside[folder]:
            return f"not there in {folder}/" if self._inside[folder] else f"there is no {folder}/"
        if not self.tables.ego.get(taken.ego) or not self.tables.mounted[taken.calibration]:
            return "without a pose"
        return ""


def version_folders(root: Path) -> list[Path]:
    """The folders of tables of a root, which is one or holds some, complete or not; sorted."""
    return [place for place in [root, *subfolders(root)[:50]] if sum(_has(place, table) for table in TABLES) > len(TABLES) / 2]


def _has(place: Path, table: str) -> bool:
    return (place / f"{table}.json").exists()


@dataclass(frozen=True)
class NuScenes(DataSpec):
    """nuScenes.

    Attributes:
        root: the folder that holds ``v1.0-*``, ``samples`` and ``sweeps``; or, where it holds several versions, one of them.
        camera: CAM_FRONT, CAM_FRONT_LEFT, CAM_FRONT_RIGHT, CAM_BACK, CAM_BACK_LEFT or CAM_BACK_RIGHT. Motions are along the
            camera's own axes: driving on is backward to CAM_BACK.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
    """

    protocol: ClassVar[str] = "nuScenes: json tables by token, samples/ and sweeps/; a camera's pictures with its motion"

    root: str = ""
    camera: str = "CAM_FRONT"
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD

    def open(self, split: Split = "all") -> Source:
        axes = metric_axes(self.axes)
        drives: list[Drive] = []
        bad: list[BadItem] = []
        roots = folders(self.root)
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            place = self._version(root.absolute())
            if place is None:
                bad.append(BadItem(str(root), "has no folder of tables"))
                continue
            tables = tables_of(place, self.camera)
            reader = _SceneReader(place.parent, prefix, tables, self.short_side, self.axes)
            found = [reader.read(scene) for scene in tables.scenes]
            bad += [*tables.bad, *reader.bad]
            drives += [drive for drive in found if drive]
        if not drives:
            raise none_left(f"nuScenes scenes in '{self.root}'", bad, ACCEPTED)
        return Drives(f"nuScenes, motion of {self.camera}", drives, self.horizon_seconds, METRIC, bad, split, axes)

    def _version(self, root: Path) -> Path | None:
        """The tables to read.

        Raises:
            UserError: there are several versions, of which one may be a part of another.
        """
        found = version_folders(root)
        if len(found) > 1:
            names = ", ".join(place.name for place in found)
            raise UserError(f"'{root}' holds the versions {names}; give one of them as the folder, such as '{found[-1]}'")
        return found[0] if found else None

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Six scenes of five drives, three seconds each."""
        tables: dict[str, list[dict[str, object]]] = {table: [] for table in (*TABLES, "log")}
        for channel, kind in (("CAM_FRONT", "camera"), ("CAM_BACK", "camera"), ("LIDAR_TOP", "lidar")):
            tables["sensor"].append({"token": f"s-{channel}", "channel": channel, "modality": kind})
        for number in range(6):
            write_scene(folder, tables, number, tour(30, first=number % 3), log=f"n008-2018-08-0{1 + number % 5}")
        (folder / "v1.0-mini").mkdir(parents=True)
        for table, rows in tables.items():
            (folder / "v1.0-mini" / f"{table}.json").write_text(json.dumps(rows, indent=0))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any(_has(place, "scene") for place in version_folders(folder.absolute()))  # nuImages has all the others


def write_scene(folder: Path, tables: dict[str, list[dict[str, object]]], number: int, steps: Array, log: str) -> None:
    """Write a made-up scene of (forward, left yaw) steps [n, 2] of the car, and add its rows to the tables."""
    path = poses.walk(steps)
    mounts = {"CAM_FRONT": (1.7, 0.0, 1.5), "LIDAR_TOP": (0.9, 0.0, 1.8)}
    looks = quaternions.of_matrices(poses.IMU_FROM_CAMERA[:3, :3]).tolist()
    scene = f"scene-{number:04d}"
    if log not in [row["token"] for row in tables["log"]]:
        tables["log"].append({"token": log, "logfile": f"{log}-12-08-35-0400", "vehicle": "n008", "location": "made-up"})
    for channel, place in mounts.items():
        turn = looks if channel.startswith("CAM") else [1.0, 0.0, 0.0, 0.0]
        tables["calibrated_sensor"].append(
            {"token": f"{scene}-{channel}", "sensor_token": f"s-{channel}", "translation": place, "rotation": turn}
        )
    tables["scene"].append({"token": scene, "name": scene, "log_token": log})
    for frame, (east, north, yaw) in enumerate(path):
        time = 1_533_151_603_547_590 + 60_000_000 * number + frame * SWEEP
        sample = f"{scene}-{-(-frame // SWEEPS_A_KEY)}"  # a sweep belongs to the sample that comes after it
        kind = "sweeps" if frame % SWEEPS_A_KEY else "samples"
        if kind == "samples" or frame == len(path) - 1:
            tables["sample"].append({"token": sample, "scene_token": scene, "timestamp": time})
        for channel in mounts:
            token, file = f"{scene}-{channel}-{frame}", f"{kind}/{channel}/{log}__{channel}__{time}.jpg"
            row: dict[str, object] = {"token": token, "sample_token": sample, "ego_pose_token": token, "filename": file}
            row |= {"timestamp": time, "calibrated_sensor_token": f"{scene}-{channel}", "is_key_frame": kind == "samples"}
            tables["sample_data"].append(row)
            turn = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            tables["ego_pose"].append({"token": token, "translation": [400 + east, 1100 + north, 0.0], "rotation": turn})
            (folder / kind / channel).mkdir(parents=True, exist_ok=True)
            if channel == "CAM_FRONT":
                picture = driven(float(steps[:frame, 0].sum()), float(yaw))
                (folder / file).write_bytes(encode(picture, ".jpg"))
