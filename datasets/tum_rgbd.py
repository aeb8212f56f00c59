"""TUM RGB-D: a hand-held camera with its pose from motion capture, joined by time. Sturm et al., IROS 2012.

Pictures (30 a second) and poses (100 a second) have clocks of their own; each picture gets the pose in between the two
measured just before and after it. The benchmark's own script takes the nearest, up to 5 ms off: a sixth of the way to the next
picture.
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
from embodied_ssl.datasets.io.listing import prefixes, subfolders
from embodied_ssl.datasets.io.number_rows import faulty_lines, read_lines, read_rows
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.motion import IN_THE_HAND
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem, UserError

ACCEPTED = "folders holding rgb.txt, groundtruth.txt and the pictures that rgb.txt names"

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Poses:
    """What ``groundtruth.txt`` holds.

    Attributes:
        seconds: rising [n].
        place: of the camera in the world, metres [n, 3].
        turn: unit quaternions (x, y, z, w) [n, 4].
        garbled: times of the rows that hold no pose, as far as the rows around them tell [k].
    """

    seconds: Times
    place: NDArray[np.float64]
    turn: NDArray[np.float64]
    garbled: Times

    def at(self, seconds: Times, within: float) -> NDArray[np.float64]:
        """Poses T_world<-camera [m, 4, 4] at times [m]; NaN where a pose on either side is more than ``within`` s away."""
        from scipy.spatial.transform import Rotation, Slerp

        after = np.searchsorted(self.seconds, seconds)
        known = (after > 0) & (after < len(self.seconds))
        after = np.clip(after, 1, len(self.seconds) - 1)
        known |= seconds == self.seconds[0]
        known &= (seconds - self.seconds[after - 1] <= within) & (self.seconds[after] - seconds <= within)
        found = np.full((len(seconds), 4, 4), np.nan)
        if known.any():
            moments = seconds[known]
            place = np.stack([np.interp(moments, self.seconds, column) for column in self.place.T], -1)
            found[known] = poses.rigid(Slerp(self.seconds, Rotation.from_quat(self.turn))(moments).as_matrix(), place)
        return found


def read_poses(path: Path, bad: list[BadItem]) -> Poses:
    """Rows ``timestamp tx ty tz qx qy qz qw``; garbled ones are put on the list of bad items.

    Raises:
        BadItem: it cannot be read or has fewer than two poses.
    """
    rows = read_rows(path, 8)
    length = np.linalg.norm(rows.values[:, 4:], axis=1)
    sound = np.abs(length - 1) <= poses.ROUNDING  # not where it is NaN
    off = np.isfinite(length) & ~sound
    faults = {int(rows.lines[k]): f"not a rotation: its quaternion is {length[k]:.2g} long" for k in np.flatnonzero(off)}
    found = [*rows.bad, *faulty_lines(path, faults)]
    if sound.sum() < 2:
        raise found[0] if found else BadItem(str(path), "holds fewer than two poses")
    bad += found
    numbers = np.arange(len(sound))
    garbled = np.interp(numbers[~sound], numbers[sound], rows.values[sound, 0])
    _, order = np.unique(rows.values[sound, 0], return_index=True)  # in order of time, each once
    table = rows.values[sound][order]
    return Poses(table[:, 0], table[:, 1:4], table[:, 4:] / length[sound][order, None], garbled)


def read_pictures(folder: Path, bad: list[BadItem]) -> tuple[Times, list[str]]:
    """Times and names of the pictures in ``rgb.txt``, less those that are missing, which are put on the list of bad items.

    Raises:
        BadItem: the list cannot be read.
    """
    path = folder / "rgb.txt"
    seconds: list[float] = []
    names: list[str] = []
    faults: dict[int, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            time, name = float(words[0]), words[1]
            if not np.isfinite(time):
                raise ValueError
        except (ValueError, IndexError):
            faults[number] = "not a time and the name of a picture"
            continue
        if (folder / name).is_file():
            seconds.append(time)
            names.append(name)
        else:
            bad.append(BadItem(str(folder / name), "missing"))
    bad += faulty_lines(path, faults)
    return np.array(seconds, np.float64), names


def read_sequence(folder: Path, name: str, spec: TumRgbd, bad: list[BadItem]) -> Drive:
    """One sequence as a drive; what cannot be used of it is put on the list of bad items.

    Raises:
        BadItem: a list cannot be read, or fewer than two pictures have a pose.
    """
    if not (folder / "groundtruth.txt").exists():
        raise BadItem(str(folder), "no groundtruth.txt: the camera's motion is unknown")
    measured = read_poses(folder / "groundtruth.txt", bad)
    seconds, names = read_pictures(folder, bad)
    track = measured.at(seconds, spec.join_within_seconds)
    joined = np.isfinite(track).all(axis=(1, 2))
    bad += [
        BadItem(str(folder / names[place]), f"has no pose within {spec.join_within_seconds:g} s on either side")
        for place in np.flatnonzero(~joined)
    ]
    seconds, track, names = seconds[joined], track[joined], [names[place] for place in np.flatnonzero(joined)]
    usable = line_up(seconds.tolist(), [True] * len(seconds))
    bad += [BadItem(str(folder / names[place]), "its time is out of order") for place in usable.late]
    if len(usable.kept) < 2:
        raise BadItem(str(folder), f"{len(usable.kept)} of its pictures can be used, and motion needs two")
    seconds, names = seconds[usable.kept], [names[place] for place in usable.kept]
    across = np.searchsorted(seconds, measured.garbled) - 1  # no pair reaches over a garbled pose
    breaks = {*usable.breaks, *across[(across >= 0) & (across < len(seconds) - 1)].tolist()}
    frames = PictureSequence(folder, names, seconds - seconds[0], spec.short_side)
    return Drive(name, frames, PoseTrack(track[usable.kept], "camera", None, spec.axes), tuple(sorted(breaks)))


def sequence_folders(root: Path, depth: int = 3) -> Iterator[Path]:
    """The sequences at or below a root, sorted."""
    if (root / "rgb.txt").exists():
        yield root
    elif depth > 0:
        for child in subfolders(root):
            yield from sequence_folders(child, depth - 1)


@dataclass(frozen=True)
class TumRgbd(DataSpec):
    """TUM RGB-D sequences that have ground truth; depth is not read.

    Attributes:
        root: a sequence, or a folder that holds sequences.
        join_within_seconds: how far the poses on either side of a picture may be away in time.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
    """

    protocol: ClassVar[str] = "TUM RGB-D sequences: a hand-held camera's pictures with poses from motion capture, joined by time"

    root: str = ""
    join_within_seconds: float = 0.02
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = IN_THE_HAND

    def open(self, split: Split = "all") -> Source:
        if not self.join_within_seconds > 0:
            raise UserError(f"join_within_seconds is {self.join_within_seconds:g}; give a time above 0, such as 0.02")
        drives: list[Drive] = []
        bad: list[BadItem] = []
        roots = folders(self.root)
        for root, prefix in zip((root.absolute() for root in roots), prefixes(roots), strict=True):
            for folder in sequence_folders(root):
                inside = folder.relative_to(root).as_posix()
                try:
                    drives.append(read_sequence(folder, prefix + (folder.name if inside == "." else inside), self, bad))
                except BadItem as item:
                    bad.append(item)
        if not drives:
            raise none_left(f"TUM RGB-D sequences in '{self.root}'", bad, ACCEPTED)
        return Drives("TUM RGB-D", drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes))

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            steps = tour(30, first=number % 3, forward=0.01)
            pitch = 0.05 * np.sin(np.arange(31) / 4)
            write_sequence(folder / f"freiburg1_walk{number}", steps, pitch)
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        found = next(sequence_folders(folder, depth=2), None)
        return found is not None and (found / "groundtruth.txt").exists()


def write_sequence(folder: Path, steps: NDArray[np.float64], pitch: NDArray[np.float64], rate: float = 30.0) -> None:
    """Write a made-up sequence of (forward, left yaw) steps [n, 2] with the camera looking up by ``pitch`` [n + 1] radians.

    Three poses are measured from each picture to the next, the first of them with the picture.
    """
    from scipy.spatial.transform import Rotation

    (folder / "rgb").mkdir(parents=True)
    start = 1305031102.175304
    pictures = ["# color images", "# timestamp filename"]
    for frame in range(len(steps) + 1):
        seen = driven(float(steps[:frame, 0].sum()), float(steps[:frame, 1].sum()))
        seen = np.roll(seen, round(32 * pitch[frame]), axis=0)  # looking up moves the picture down
        time = f"{start + frame / rate:.6f}"
        (folder / "rgb" / f"{time}.png").write_bytes(encode(seen))
        pictures.append(f"{time} rgb/{time}.png")
    fine = np.interp(np.arange(3 * len(steps) + 1) / 3, np.arange(len(pitch)), pitch)
    track = poses.camera_walk(np.repeat(steps / 3, 3, axis=0), fine)
    turns = Rotation.from_matrix(track[:, :3, :3]).as_quat()
    rows = [
        f"{start + k / rate / 3:.6f} " + " ".join(f"{value:.6f}" for value in (*pose[:3, 3], *turns[k]))
        for k, pose in enumerate(track)
    ]
    (folder / "rgb.txt").write_text("\n".join(pictures) + "\n")
    (folder / "groundtruth.txt").write_text("\n".join(["# timestamp tx ty tz qx qy qz qw", *rows]) + "\n")
