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
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, PoseTrack, line_up, metric_axes, none_left
from embodied_ssl.datasets.io.listing import subfolders
from embodied_ssl.datasets.io.number_rows import faulty_lines, read_rows
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES, encode
from embodied_ssl.datasets.kitti_raw import numbered_files
from embodied_ssl.datasets.motion import ON_THE_ROAD
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem, UserError, suggest

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


def read_sequence(sequence: Sequence, short_side: int, axes: tuple[str, ...], bad: list[BadItem]) -> Drive:
    """One sequence as a drive; what cannot be used of it is put on the list of bad items.

    Row k of the poses and of the times is frame k. A row that is garbled or no rigid motion costs its frame.

    Raises:
        BadItem: it has no pictures, no poses, or fewer than two that belong together.
    """
    files = numbered_files(sequence.pictures, SUFFIXES)
    if not files:
        raise BadItem(str(sequence.pictures), "no pictures")
    if not sequence.poses.exists():
        raise BadItem(str(sequence.pictures.parent), f"no ground-truth poses ({sequence.poses} is missing)")
    track = read_track(sequence.poses, bad)
    times = np.arange(max(max(files) + 1, len(track))) / RATE
    if sequence.times is not None and sequence.times.exists():
        listed = read_rows(sequence.times, 1, counted=True)
        bad += listed.bad
        times = listed.values[:, 0]
    numbers = [number for number in files if number < min(len(track), len(times)) and not np.isnan(times[number])]
    for number in sorted(set(files) - set(numbers)):
        bad.append(BadItem(str(sequence.pictures / files[number]), "has no pose or no time"))
    usable = line_up(times[numbers].tolist(), [not np.isnan(track[number, 0, 0]) for number in numbers])
    for place in usable.late:
        bad.append(BadItem(str(sequence.pictures / files[numbers[place]]), "its time is out of order"))
    kept = [numbers[place] for place in usable.kept]
    if len(kept) < 2:
        raise BadItem(str(sequence.pictures), f"{len(kept)} of its {len(files)} pictures can be used, and motion needs two")
    frames = PictureSequence(sequence.pictures, [files[number] for number in kept], times[kept] - times[kept[0]], short_side)
    return Drive(sequence.name, frames, PoseTrack(track[kept], "camera", _sideways(sequence), axes), usable.breaks)


def read_track(path: Path, bad: list[BadItem]) -> NDArray[np.float64]:
    """Poses [n, 4, 4] of a file with 12 numbers a line, NaN where a line is empty, garbled or no rigid motion.

    Raises:
        BadItem: it cannot be read or holds no pose at all.
    """
    rows = read_rows(path, 12, counted=True)
    track = poses.pose_rows(rows.values)
    sound = np.asarray(np.isfinite(track).all(axis=(1, 2)))
    faults = {int(place) + 1: reason for place in np.flatnonzero(sound) if (reason := poses.fault(track[place]))}
    sound[[line - 1 for line in faults]] = False
    found = [*rows.bad, *faulty_lines(path, faults)]
    if not sound.any():
        raise found[0]
    bad += found
    track[sound] = poses.unrounded(track[sound])
    track[~sound] = np.nan
    return track


def _notes(sequence: Sequence) -> set[str]:
    """What had to be assumed of a sequence, in words."""
    notes = set()
    if sequence.times is None or not sequence.times.exists():
        notes.add("10 frames a second assumed")
    if sequence.camera and _sideways(sequence) is None:
        notes.add("motion of camera 0 (no calibration)")
    return notes


def _sideways(sequence: Sequence) -> NDArray[np.float64] | None:
    """T_camera<-camera0: poses are the left grey camera's, the other three are mounted beside it."""
    if sequence.camera == 0:
        return None
    try:
        aside = poses.baseline(poses.read_calibration(sequence.calibration)[f"P{sequence.camera}"].reshape(3, 4))
    except (OSError, KeyError, ValueError):
        return None
    return aside if np.isfinite(aside).all() else None


@dataclass(frozen=True)
class KittiOdometry(DataSpec):
    """KITTI odometry sequences that have poses.

    Attributes:
        root: the folder that holds ``sequences`` and ``poses``, or sequences in the flat layout, or one such.
        camera: 0 and 1 are grey, 2 and 3 colour; the flat layout has the left grey one only.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
        held_out_sequences: the sequences to hold out, by name; empty for a choice by hash, as everywhere. "06,09" is the split of
            Agrawal, Carreira and Malik (2015), which trains on 00 to 05, 07, 08 and 10 (`kitti_overlap.LSM_TEST`).
    """

    protocol: ClassVar[str] = "KITTI odometry sequences: a camera's pictures with ground-truth poses"

    root: str = ""
    camera: int = 2
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD
    held_out_sequences: tuple[str, ...] = ()

    def open(self, split: Split = "all") -> Source:
        found = [sequence for root in folders(self.root) for sequence in sequences(root.absolute(), self.camera)]
        names = {sequence.name for sequence in found}
        for name in self.held_out_sequences:
            if found and name not in names:
                raise UserError(f"held_out_sequences names '{name}', which is not there{suggest(name, names)}")
        drives: list[Drive] = []
        bad: list[BadItem] = []
        notes: set[str] = set()
        for sequence in found:
            try:
                drives.append(read_sequence(sequence, self.short_side, self.axes, bad))
            except BadItem as error:
                bad.append(error)
            else:
                notes |= _notes(sequence)
        if not drives:
            raise none_left(f"KITTI odometry sequences with image_{self.camera} in '{self.root}'", bad, ACCEPTED)
        name = ", ".join(["KITTI odometry", *sorted(notes)])
        held_out = frozenset(self.held_out_sequences) or None
        return Drives(name, drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes), held_out)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            steps = tour(30, first=number % 3)
            place = folder / "sequences" / f"{number:02d}"
            (place / "image_2").mkdir(parents=True)
            (folder / "poses").mkdir(exist_ok=True)
            metres = np.concatenate([[0.0], np.cumsum(steps[:, 0])])
            track = poses.camera_walk(steps)
            for frame, heading in enumerate(poses.walk(steps)[:, 2]):
                (place / "image_2" / f"{frame:06d}.png").write_bytes(encode(driven(metres[frame], heading)))
            (place / "calib.txt").write_text("".join(f"P{camera}: 32 0 31.5 0 0 32 23.5 0 0 0 1 0\n" for camera in range(4)))
            np.savetxt(folder / "poses" / f"{number:02d}.txt", track[:, :3].reshape(-1, 12), fmt="%.9e")
            np.savetxt(place / "times.txt", np.arange(len(track)) / RATE, fmt="%.6e")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any(sequence.poses.exists() for sequence in sequences(folder, 2))
