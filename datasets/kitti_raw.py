"""KITTI raw: a car's camera with its motion from GPS and inertial measurements, joined by frame number.

Joining by position in a list would shift every motion after the first missing file. Unsynchronised ("extract") drives
number the two sensors apart, so there they are joined by time. Geiger et al., IJRR 2013.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, LineUp, PoseTrack, line_up, metric_axes, none_left
from embodied_ssl.datasets.io.listing import subfolders
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES, encode
from embodied_ssl.datasets.kitti_overlap import sequence_of
from embodied_ssl.datasets.motion import ON_THE_ROAD
from embodied_ssl.datasets.oxts import Row, between, excess, jumps, read_oxts
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem

DATE = re.compile(r"\d{4}_\d\d_\d\d")
DRIVE = re.compile(r"(?P<date>\d{4}_\d\d_\d\d)_drive_(?P<number>\w+)_(?P<kind>sync|extract)")
MOMENT = re.compile(r"\d{4}-[01]\d-[0-3]\d [0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,9})?")
ACCEPTED = "DATE/DATE_drive_NNNN_sync/{image_0C/data/*.png, oxts/data/*.txt}"
SYNC_STEP = 100_000_000  # nanoseconds from frame to frame, where timestamps are missing
CALIBRATION = ("calib_cam_to_cam.txt", "calib_imu_to_velo.txt", "calib_velo_to_cam.txt")


def numbered_files(folder: Path, suffixes: frozenset[str]) -> dict[int, str]:
    """Files of a folder by the number that is their name, rising; others are passed over; none where there is no folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        if stem.isdecimal() and suffix.lower() in suffixes:
            found[int(stem)] = name
    return dict(sorted(found.items()))


def read_times(path: Path) -> dict[int, int]:
    """Nanoseconds since 1970 by frame number: line k of a timestamps file is frame k, an empty line a missing frame.

    Whole numbers, since a float64 holds such a time only to a quarter of a microsecond.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    times: dict[int, int] = {}
    for number, line in enumerate(lines):
        if MOMENT.fullmatch(line.strip()):
            with contextlib.suppress(ValueError):  # a month 13, say: no time either
                times[number] = int(np.datetime64(line.strip(), "ns").astype(np.int64))
    return times


def read_camera_from_imu(date: Path, camera: int) -> NDArray[np.float64] | None:
    """T_camera<-imu [4, 4] of a day's rectified camera, from its calibration files; None where it has none.

    Raises:
        BadItem: some of them are there, but not what it takes.
    """
    missing = [name for name in CALIBRATION if not (date / name).exists()]
    if len(missing) == len(CALIBRATION):
        return None
    try:
        if missing:
            raise KeyError(f"{missing[0]} is missing")
        cameras, velo_from_imu, cam_from_velo = (poses.read_calibration(date / name) for name in CALIBRATION)
        upright = poses.rigid(_entry(cameras, "R_rect_00", (3, 3)), np.zeros(3))
        chain = [poses.rigid(_entry(part, "R", (3, 3)), _entry(part, "T", (3,))) for part in (cam_from_velo, velo_from_imu)]
        sideways = poses.baseline(_entry(cameras, f"P_rect_{camera:02d}", (3, 4)))
    except (OSError, KeyError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error.args[0])
        raise BadItem(str(date), f"calibration: {reason}; motion is the IMU's") from None
    names = ("R_rect_00", "R of velo_to_cam", "R of imu_to_velo", f"P_rect_{camera:02d}")
    for part, name in zip((upright, *chain, sideways), names, strict=True):
        if reason := poses.fault(part):
            raise BadItem(str(date), f"calibration: {name} is {reason}; motion is the IMU's")
    whole: NDArray[np.float64] = sideways @ upright @ chain[0] @ chain[1]
    return whole


def _entry(found: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One entry of a calibration file.

    Raises:
        KeyError: it is not there, or not of this shape; says so.
    """
    if name not in found or found[name].size != np.prod(shape):
        raise KeyError(f"no {name} of {np.prod(shape)} numbers")
    return found[name].reshape(shape)


@dataclass(frozen=True)
class _Joined:
    """Pictures in the order of their numbers, with their times and rows of oxts (NaN where those are garbled)."""

    files: list[str]
    times: list[int]
    rows: list[Row]


class _DriveReader:
    """Reads one drive's folder; what cannot be used is collected in ``bad``."""

    def __init__(self, place: Path, spec: KittiRaw) -> None:
        self.place = place
        self.spec = spec
        self.bad: list[BadItem] = []
        self.images = place / f"image_{spec.camera:02d}"
        self.assumed = False  # whether times had to be made up

    def read(self, calibration: NDArray[np.float64] | None) -> Drive | None:
        files = numbered_files(self.images / "data", SUFFIXES)
        oxts = numbered_files(self.place / "oxts" / "data", frozenset({".txt"}))
        if not files or not oxts:
            missing = f"no pictures in {self.images.name}/data" if not files else "no oxts/data: the car's motion is unknown"
            self.bad.append(BadItem(str(self.place), missing))
            return None
        rows, garbled = read_oxts(self.place / "oxts" / "data", oxts)
        self.bad += garbled
        joined = self._join(files, rows)
        usable = line_up(joined.times, [bool(np.isfinite(row).all()) for row in joined.rows])
        for place in usable.late:
            self._skip(joined.files[place], "its time is out of order")
        if len(usable.kept) < 2:
            found = f"{len(usable.kept)} of its {len(files)} pictures"
            self.bad.append(BadItem(str(self.place), f"{found} can be used, and motion needs two"))
            return None
        return self._drive(joined, usable, calibration)

    def _drive(self, joined: _Joined, usable: LineUp, calibration: NDArray[np.float64] | None) -> Drive:
        names = [joined.files[place] for place in usable.kept]
        start = joined.times[usable.kept[0]]
        seconds = np.array([joined.times[place] - start for place in usable.kept]) * 1e-9
        table = np.stack([joined.rows[place] for place in usable.kept])
        track = poses.oxts_poses(table)
        cuts = jumps(excess(table, track, seconds), seconds, self.spec.horizon_seconds)
        for step in sorted(set(cuts) - set(usable.breaks)):
            between = f"{names[step]} and {names[step + 1]}"
            self.bad.append(BadItem(str(self.place), f"GPS disagrees with the measured speed between {between}"))
        frames = PictureSequence(self.images / "data", names, seconds, self.spec.short_side)
        motion = PoseTrack(track, "imu" if calibration is None else "camera", calibration, self.spec.axes)
        return Drive(self.place.name, frames, motion, tuple(sorted({*usable.breaks, *cuts})))

    def _join(self, files: dict[int, str], rows: dict[int, Row]) -> _Joined:
        """Every picture that has a time and a row of oxts."""
        extract = self.place.name.endswith("_extract")
        oxts_times = read_times(self.place / "oxts" / "timestamps.txt")
        image_times = read_times(self.images / "timestamps.txt")
        if not image_times and not extract:
            image_times = oxts_times
        if not image_times and not extract:
            image_times, self.assumed = {number: number * SYNC_STEP for number in files}, True
        by_time = sorted((time, number) for number, time in oxts_times.items() if number in rows) if extract else []
        joined = _Joined([], [], [])
        for number, name in files.items():
            time = image_times.get(number)
            if time is None:
                self._skip(name, "has no time")
                continue
            row = between(by_time, time, rows) if extract else rows.get(number)
            if row is None:
                self._skip(name, "has no row of oxts")
                continue
            joined.files.append(name)
            joined.times.append(time)
            joined.rows.append(row)
        return joined

    def _skip(self, name: str, reason: str) -> None:
        self.bad.append(BadItem(str(self.images / "data" / name), reason))


def drive_folders(root: Path) -> Iterator[Path]:
    """The drives of a root, which is a drive's folder, a date's, or one that holds dates; sorted."""
    if DRIVE.fullmatch(root.name):
        yield root
        return
    dates = [root] if DATE.fullmatch(root.name) else [child for child in subfolders(root) if DATE.fullmatch(child.name)]
    for date in dates:
        yield from (place for place in subfolders(date) if DRIVE.fullmatch(place.name))


@dataclass(frozen=True)
class KittiRaw(DataSpec):
    """KITTI raw drives with oxts.

    Attributes:
        root: the folder that holds the dates, a date's folder, or a drive's.
        camera: 0 and 1 are grey, 2 and 3 colour; 0 and 2 the left ones.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
        leave_out_odometry: do without the drives from which KITTI odometry was cut, so that features can be tested there.
    """

    protocol: ClassVar[str] = "KITTI raw drives: a camera's pictures with motion from oxts, joined by frame number"

    root: str = ""
    camera: int = 2
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD
    leave_out_odometry: bool = False

    def open(self, split: Split = "all") -> Source:
        drives: list[Drive] = []
        bad: list[BadItem] = []
        assumed = False
        calibrations: dict[Path, NDArray[np.float64] | None] = {}
        for place in [place for root in folders(self.root) for place in drive_folders(root.absolute())]:
            if self.leave_out_odometry and (sequence := sequence_of(place.name)):
                bad.append(BadItem(str(place), f"is sequence {sequence} of KITTI odometry, which leave_out_odometry leaves out"))
                continue
            if place.parent not in calibrations:
                calibrations[place.parent] = self._calibration(place.parent, bad)
            reader = _DriveReader(place, self)
            drive = reader.read(calibrations[place.parent])
            bad += reader.bad
            drives += [drive] if drive else []
            assumed = assumed or (drive is not None and reader.assumed)
        if not drives:
            raise none_left(f"KITTI raw drives in '{self.root}'", bad, ACCEPTED)
        name = f"KITTI raw{_overlap(drives)}, motion of {self._whose(drives)}{', 10 frames a second assumed' if assumed else ''}"
        return Drives(name, drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes))

    def _calibration(self, date: Path, bad: list[BadItem]) -> NDArray[np.float64] | None:
        try:
            return read_camera_from_imu(date, self.camera)
        except BadItem as item:
            bad.append(item)
            return None

    def _whose(self, drives: list[Drive]) -> str:
        """Whose motion it is, in words."""
        bare = sum(isinstance(drive.track, PoseTrack) and drive.track.calibration is None for drive in drives)
        if bare == 0:
            return f"camera {self.camera}"
        return "the IMU (no calibration files)" if bare == len(drives) else f"camera {self.camera}, the IMU in {bare} drives"

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            write_drive(folder, f"{number:04d}", tour(30, first=number % 3), size=(48, 64))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return next(drive_folders(folder.absolute()), None) is not None


def _overlap(drives: list[Drive]) -> str:
    """Which sequences of KITTI odometry are among the drives, in words."""
    found = sorted({sequence for drive in drives if (sequence := sequence_of(drive.name))})
    return f" (with odometry {', '.join(found)})" if found else ""


def write_drive(folder: Path, number: str, steps: NDArray[np.float64], size: tuple[int, int], date: str = "2011_09_26") -> Path:
    """Write a made-up synchronised drive of (forward, left yaw) steps [n, 2], a tenth of a second each; gives its folder."""
    place = folder / date / f"{date}_drive_{number}_sync"
    (place / "image_02" / "data").mkdir(parents=True)
    (place / "oxts" / "data").mkdir(parents=True)
    path = poses.walk(steps)
    rate = np.vstack([steps, steps[-1:]]) * 1e9 / SYNC_STEP
    # The rates at a frame are the mean of the steps around it.
    rate[1:-1] = (rate[1:-1] + rate[:-2]) / 2
    rows = poses.oxts_rows(path[:, 0], path[:, 1], path[:, 2], rate[:, 0], rate[:, 1])
    driven_metres = np.concatenate([[0.0], np.cumsum(steps[:, 0])])
    times = []
    for frame, row in enumerate(rows):
        picture = driven(driven_metres[frame], path[frame, 2], size)
        (place / "image_02" / "data" / f"{frame:010d}.png").write_bytes(encode(picture))
        (place / "oxts" / "data" / f"{frame:010d}.txt").write_text(" ".join(repr(float(value)) for value in row))
        moment = np.datetime64(f"{date.replace('_', '-')}T13:02:25", "ns") + frame * np.timedelta64(SYNC_STEP, "ns")
        times.append(str(moment).replace("T", " "))
    for sensor in ("image_02", "oxts"):
        (place / sensor / "timestamps.txt").write_text("\n".join(times) + "\n")
    return place
