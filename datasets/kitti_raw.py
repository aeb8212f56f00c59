"""KITTI raw: a car's camera with its motion from GPS and inertial measurements, joined by frame number.

Joining by position in a list would shift every motion after the first missing file. Unsynchronised ("extract") drives
number the two sensors apart, so there they are joined by time. Geiger et al., IJRR 2013.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, PoseTrack, metric_axes, none_left
from embodied_ssl.datasets.io.listing import subfolders
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES, encode
from embodied_ssl.datasets.motion import LEFT_YAW, ON_THE_ROAD, SIX
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem

DATE = re.compile(r"\d{4}_\d\d_\d\d")
DRIVE = re.compile(r"(?P<date>\d{4}_\d\d_\d\d)_drive_(?P<number>\w+)_(?P<kind>sync|extract)")
MOMENT = re.compile(r"\d{4}-[01]\d-[0-3]\d [0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,9})?")
ACCEPTED = "DATE/DATE_drive_NNNN_sync/{image_0C/data/*.png, oxts/data/*.txt}"
SYNC_STEP = 100_000_000  # nanoseconds from frame to frame, where timestamps are missing
JUMP_METRES = 0.5  # a step that differs by more from what the measured speed gives is a GPS jump
JUMP_RADIANS = np.radians(1.0)
JOIN_WITHIN = 20_000_000  # nanoseconds; unsynchronised inertial rows come every 10 ms

Times = NDArray[np.float64]


def numbered_files(folder: Path, suffixes: frozenset[str]) -> dict[int, str]:
    """Files of a folder by the number that is their name, rising; others are passed over; none where there is no folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        if stem.isdigit() and suffix.lower() in suffixes:
            found[int(stem)] = name
    return dict(sorted(found.items()))


def read_times(path: Path) -> dict[int, int]:
    """Nanoseconds since 1970 by frame number: line k of a timestamps file is frame k, an empty line a missing frame.

    Whole numbers, since a float64 holds such a time only to a quarter of a microsecond.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    times: dict[int, int] = {}
    for number, line in enumerate(lines):
        if MOMENT.fullmatch(line.strip()):
            times[number] = int(np.datetime64(line.strip(), "ns").astype(np.int64))
    return times


def read_oxts(folder: Path, files: dict[int, str]) -> tuple[dict[int, NDArray[np.float64]], list[BadItem]]:
    """Rows of 30 values by frame number, and the files that are not such rows."""
    rows: dict[int, NDArray[np.float64]] = {}
    bad: list[BadItem] = []
    for number, name in files.items():
        path = folder / name
        try:
            row = np.array([float(value) for value in path.read_text().split()], np.float64)
        except (OSError, ValueError):
            row = np.empty(0)
        if len(row) == poses.OXTS_VALUES and np.isfinite(row).all():
            rows[number] = row
        else:
            bad.append(BadItem(str(path), f"not a row of {poses.OXTS_VALUES} numbers"))
    return rows, bad


def read_camera_from_imu(date: Path, camera: int) -> NDArray[np.float64] | None:
    """T_camera<-imu [4, 4] of a day's calibration files; None where they are missing or incomplete."""
    try:
        cameras = poses.read_calibration(date / "calib_cam_to_cam.txt")
        velo_from_imu = poses.read_calibration(date / "calib_imu_to_velo.txt")
        cam_from_velo = poses.read_calibration(date / "calib_velo_to_cam.txt")
        upright = poses.rigid(cameras["R_rect_00"].reshape(3, 3), np.zeros(3))
        chain = [poses.rigid(part["R"].reshape(3, 3), part["T"]) for part in (cam_from_velo, velo_from_imu)]
        sideways = poses.baseline(cameras[f"P_rect_{camera:02d}"].reshape(3, 4))
    except (OSError, KeyError, ValueError):
        return None
    whole: NDArray[np.float64] = sideways @ upright @ chain[0] @ chain[1]
    return whole


def jumps(rows: NDArray[np.float64], track: NDArray[np.float64], seconds: Times) -> NDArray[np.float64]:
    """By how much each step disagrees with the measured speed and turn rate, [n - 1]; above 1 it is a jump.

    Args:
        rows: oxts [n, 30].
        track: poses made from them [n, 4, 4].
        seconds: their times [n].
    """
    steps = poses.relative(track[:-1], track[1:])
    lasted = np.diff(seconds)
    speed = np.hypot(rows[:, poses.SPEED_FORWARD], rows[:, poses.SPEED_LEFT])
    distance = np.hypot(steps[:, 0, 3], steps[:, 1, 3]) - (speed[1:] + speed[:-1]) / 2 * lasted
    rate = rows[:, poses.YAW_RATE]
    yaw = poses.six(steps, "imu")[:, SIX.index(LEFT_YAW)] - (rate[1:] + rate[:-1]) / 2 * lasted
    yaw = np.arctan2(np.sin(yaw), np.cos(yaw))
    worst: NDArray[np.float64] = np.maximum(np.abs(distance) / JUMP_METRES, np.abs(yaw) / JUMP_RADIANS)
    return worst


class _DriveReader:
    """Reads one drive's folder; what cannot be used is collected in ``bad``."""

    def __init__(self, place: Path, camera: int, short_side: int, axes: tuple[str, ...]) -> None:
        self.place = place
        self.axes = axes
        self.camera = camera
        self.short_side = short_side
        self.bad: list[BadItem] = []
        self.images = place / f"image_{camera:02d}"

    def read(self, calibration: NDArray[np.float64] | None) -> Drive | None:
        files = numbered_files(self.images / "data", SUFFIXES)
        oxts = numbered_files(self.place / "oxts" / "data", frozenset({".txt"}))
        if not files or not oxts:
            missing = f"no pictures in image_{self.camera:02d}/data" if not files else "no oxts/data: the car's motion is unknown"
            self.bad.append(BadItem(str(self.place), missing))
            return None
        rows, unread = read_oxts(self.place / "oxts" / "data", oxts)
        self.bad += unread
        joined = self._join(files, rows)
        if len(joined) < 2:
            self.bad.append(BadItem(str(self.place), "fewer than two pictures have a row of oxts"))
            return None
        numbers = [number for number, _, _ in joined]
        seconds = np.array([time - joined[0][1] for _, time, _ in joined]) * 1e-9
        table = np.stack([row for _, _, row in joined])
        track = poses.oxts_poses(table)
        breaks = np.flatnonzero(jumps(table, track, seconds) > 1)
        for step in breaks:
            between = f"{files[numbers[step]]} and {files[numbers[step + 1]]}"
            self.bad.append(BadItem(str(self.place), f"GPS disagrees with the measured speed between {between}"))
        frames = PictureSequence(self.images / "data", [files[number] for number in numbers], seconds, self.short_side)
        motion = PoseTrack(track, "imu" if calibration is None else "camera", calibration, self.axes)
        return Drive(self.place.name, frames, motion, tuple(int(step) for step in breaks))

    def _join(self, files: dict[int, str], rows: dict[int, NDArray[np.float64]]) -> list[tuple[int, int, NDArray[np.float64]]]:
        """(number, nanoseconds, oxts row) of every picture that has all three, in the order of time."""
        extract = self.place.name.endswith("_extract")
        oxts_times = read_times(self.place / "oxts" / "timestamps.txt")
        image_times = read_times(self.images / "timestamps.txt")
        if not image_times and not extract:
            image_times = oxts_times or {number: number * SYNC_STEP for number in files}
        by_time = sorted((time, number) for number, time in oxts_times.items() if number in rows) if extract else []
        joined: list[tuple[int, int, NDArray[np.float64]]] = []
        for number, name in files.items():
            time = image_times.get(number)
            if time is None:
                self._skip(name, "has no time")
            elif joined and time <= joined[-1][1]:
                self._skip(name, "is not later than the picture before")
            else:
                other = _nearest(by_time, time) if extract else number
                if other in rows:
                    joined.append((number, time, rows[other]))
                else:
                    self._skip(name, "has no row of oxts")
        return joined

    def _skip(self, name: str, reason: str) -> None:
        self.bad.append(BadItem(str(self.images / "data" / name), reason))


def _nearest(by_time: list[tuple[int, int]], time: int) -> int:
    """The number of the row nearest in time, or -1 when none is near enough."""
    place = bisect_left(by_time, (time, -1))
    near = by_time[max(0, place - 1) : place + 1]
    apart, number = min(((abs(moment - time), number) for moment, number in near), default=(JOIN_WITHIN + 1, -1))
    return number if apart <= JOIN_WITHIN else -1


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
    """

    protocol: ClassVar[str] = "KITTI raw drives: a camera's pictures with motion from oxts, joined by frame number"

    root: str = ""
    camera: int = 2
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD

    def open(self, split: Split = "all") -> Source:
        drives: list[Drive] = []
        bad: list[BadItem] = []
        calibrations: dict[Path, NDArray[np.float64] | None] = {}
        for root in folders(self.root):
            for place in drive_folders(root.absolute()):
                if place.parent not in calibrations:
                    calibrations[place.parent] = read_camera_from_imu(place.parent, self.camera)
                reader = _DriveReader(place, self.camera, self.short_side, self.axes)
                drive = reader.read(calibrations[place.parent])
                bad += reader.bad
                drives += [drive] if drive else []
        if not drives:
            raise none_left(f"KITTI raw drives in '{self.root}'", bad, ACCEPTED)
        name = f"KITTI raw, motion of {self._whose(drives)}"
        return Drives(name, drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes))

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
