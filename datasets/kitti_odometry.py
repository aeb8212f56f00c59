"""KITTI odometry: a car's camera with ground-truth poses, joined by frame number.

Two layouts are read: the official ``sequences/NN/image_C`` with ``poses/NN.txt`` and ``times.txt``, and a flat one of
folders that each hold ``image_l`` and ``poses.txt``; the flat one keeps no times, so 10 frames a second are assumed.
"""

from __future__ import annotations

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
from embodied_ssl.datasets.kitti_raw import numbered_files
from embodied_ssl.datasets.motion import ON_THE_ROAD
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem

ACCEPTED = "sequences/NN/image_C/*.png with poses/NN.txt, or folders holding image_l/*.png and poses.txt"
RATE = 10.0  # frames a second


@dataclass(frozen=True)
class Sequence:
    """Where one sequence's files are."""

    name: str
    pictures: Path
    poses: Path
    times: Path | None
    calibration: Path
    camera: int


def sequences(root: Path, camera: int) -> Iterator[Sequence]:
    """The sequences of a root in either layout, sorted."""
    for top in (root, root / "dataset"):
        if (top / "sequences").is_dir():
            for place in subfolders(top / "sequences"):
                files = place / f"image_{camera}", top / "poses" / f"{place.name}.txt", place / "times.txt", place / "calib.txt"
                yield Sequence(place.name, *files, camera)
            return
    for place in [root, *subfolders(root)]:
        if (place / "image_l").is_dir():
            yield Sequence(place.name, place / "image_l", place / "poses.txt", None, place / "calib.txt", 0)


def read_numbers(path: Path, columns: int) -> NDArray[np.float64]:
    """Rows of so many numbers, [n, columns].

    Raises:
        BadItem: missing, or a line is not such a row (joining by row number allows no gaps).
    """
    try:
        lines = path.read_text().split("\n")
    except OSError as error:
        raise BadItem(str(path), f"cannot be read ({error.strerror})") from None
    while lines and not lines[-1].strip():
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = [float(value) for value in line.split()]
        except ValueError:
            row = []
        if len(row) != columns or not np.isfinite(row).all():
            raise BadItem(f"{path}:{number}", f"not a row of {columns} numbers")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, columns)


def read_sequence(sequence: Sequence, short_side: int, axes: tuple[str, ...], bad: list[BadItem]) -> Drive:
    """One sequence as a drive; pictures without a pose are put on the list of bad ones.

    Raises:
        BadItem: it has no pictures, no poses, or they are garbled.
    """
    files = numbered_files(sequence.pictures, SUFFIXES)
    if not files:
        raise BadItem(str(sequence.pictures), "no pictures")
    if not sequence.poses.exists():
        raise BadItem(str(sequence.pictures.parent), f"no ground-truth poses ({sequence.poses} is missing)")
    track = poses.pose_rows(read_numbers(sequence.poses, 12))
    times = np.arange(max(max(files) + 1, len(track))) / RATE
    if sequence.times is not None and sequence.times.exists():
        times = read_numbers(sequence.times, 1)[:, 0]
    numbers: list[int] = []
    for number, name in files.items():
        if number >= len(track) or number >= len(times):
            bad.append(BadItem(str(sequence.pictures / name), "has no pose or no time"))
        elif numbers and times[number] <= times[numbers[-1]]:
            bad.append(BadItem(str(sequence.pictures / name), "is not later than the picture before"))
        else:
            numbers.append(number)
    if len(numbers) < 2:
        raise BadItem(str(sequence.pictures), "fewer than two pictures have a pose")
    frames = PictureSequence(sequence.pictures, [files[number] for number in numbers], times[numbers], short_side)
    return Drive(sequence.name, frames, PoseTrack(track[numbers], "camera", _sideways(sequence), axes))


def _sideways(sequence: Sequence) -> NDArray[np.float64] | None:
    """T_camera<-camera0: poses are the left grey camera's, the other three are mounted beside it."""
    if sequence.camera == 0:
        return None
    try:
        return poses.baseline(poses.read_calibration(sequence.calibration)[f"P{sequence.camera}"].reshape(3, 4))
    except (OSError, KeyError, ValueError):
        return None


@dataclass(frozen=True)
class KittiOdometry(DataSpec):
    """KITTI odometry sequences that have poses.

    Attributes:
        root: the folder that holds ``sequences`` and ``poses``, or sequences in the flat layout, or one such.
        camera: 0 and 1 are grey, 2 and 3 colour; the flat layout has the left grey one only.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
    """

    protocol: ClassVar[str] = "KITTI odometry sequences: a camera's pictures with ground-truth poses"

    root: str = ""
    camera: int = 2
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD

    def open(self, split: Split = "all") -> Source:
        drives: list[Drive] = []
        bad: list[BadItem] = []
        assumed = False
        for root in (folder.absolute() for folder in folders(self.root)):
            for sequence in sequences(root, self.camera):
                try:
                    drives.append(read_sequence(sequence, self.short_side, self.axes, bad))
                except BadItem as error:
                    bad.append(error)
                else:
                    assumed = assumed or sequence.times is None or not sequence.times.exists()
        if not drives:
            raise none_left(f"KITTI odometry sequences with image_{self.camera} in '{self.root}'", bad, ACCEPTED)
        name = "KITTI odometry" + (", 10 frames a second assumed" if assumed else "")
        return Drives(name, drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes))

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            steps = tour(30, first=number % 3)
            place = folder / "sequences" / f"{number:02d}"
            (place / "image_2").mkdir(parents=True)
            (folder / "poses").mkdir(exist_ok=True)
            path = poses.walk(steps)
            metres = np.concatenate([[0.0], np.cumsum(steps[:, 0])])
            rows = []
            for frame, (ahead, left, yaw) in enumerate(path):
                (place / "image_2" / f"{frame:06d}.png").write_bytes(encode(driven(metres[frame], yaw)))
                # Camera axes: x right, y down, z forward; a left turn is a negative one about y.
                turn = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
                rows.append(np.column_stack([turn, [-left, 0, ahead]]).ravel())
            np.savetxt(folder / "poses" / f"{number:02d}.txt", rows, fmt="%.9e")
            np.savetxt(place / "times.txt", np.arange(len(path)) / RATE, fmt="%.6e")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any(sequence.poses.exists() for sequence in sequences(folder, 2))
