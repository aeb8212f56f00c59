"""Folders in which every picture has a file with the camera's pose: 7-Scenes, ScanNet, and whatever is kept like them.

Poses are camera-to-world, x right, y down, z forward, in metres, four rows of four numbers (or three rows). Shotton et al. 2013
(7-Scenes), Dai et al. 2017 (ScanNet). Numbers in the names are the clock.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, PoseTrack, line_up, metric_axes, none_left
from embodied_ssl.datasets.io.listing import files_below, prefixes, subfolders
from embodied_ssl.datasets.io.number_rows import read_lines, row_of
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import SUFFIXES, encode
from embodied_ssl.datasets.motion import IN_THE_HAND
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders, held_out
from embodied_ssl.errors import BadItem, UserError

ACCEPTED = "folders holding NAME.color.png (or .jpg, or NAME.png) with NAME.pose.txt, or color/N.jpg with pose/N.txt"
KINDS = (".color", ".rgb")  # what may stand between a picture's name and its ending; the pose's name goes without
POSE_FOLDERS = ("pose", "poses")  # beside a folder of pictures, as in ScanNet
PICTURE_FOLDERS = ("color", "rgb", "images")
_NUMBER = re.compile(r"(\d+)\D*$")


class Framed(NamedTuple):
    """A picture with the file of its pose: names relative to the root."""

    number: int
    picture: str
    pose: str


def read_pose(path: Path) -> poses.Array:
    """One pose [4, 4].

    Raises:
        BadItem: unreadable, not 16 or 12 numbers, or no rigid motion.
    """
    text = " ".join(read_lines(path))
    count = 12 if len(text.split()) == 12 else 16
    try:
        values = row_of(text, count)
    except ValueError as error:
        raise BadItem(str(path), str(error)) from None
    pose = values.reshape(4, 4) if count == 16 else poses.pose_rows(values)[0]
    if reason := poses.fault(pose):
        raise BadItem(str(path), reason)
    return poses.unrounded(pose)


def paired(place: str, pictures: Sequence[str], texts: set[str]) -> tuple[list[Framed], list[str]]:
    """The pictures of one folder that have poses, by their numbers, and those that have none or no number.

    Args:
        place: the folder, relative to the root.
        pictures: names of the pictures in it; depth maps are passed over.
        texts: paths of all text files, relative to the root.
    """
    above, _, last = place.rpartition("/")
    beside = [f"{above}/{name}".lstrip("/") for name in POSE_FOLDERS] if last in PICTURE_FOLDERS else []
    found: list[Framed] = []
    without: list[str] = []
    for picture in pictures:
        stem = os.path.splitext(picture)[0]
        if stem.endswith((".depth", ".depth.proj")):
            continue
        base = next((stem.removesuffix(kind) for kind in KINDS if stem.endswith(kind)), stem)
        wanted = [f"{where}/{base}{ending}".lstrip("/") for where in (place, *beside) for ending in (".pose.txt", ".txt")]
        pose = next((path for path in wanted if path in texts), None)
        number = _NUMBER.search(base)
        if pose is None or number is None:
            without.append(picture)
        else:
            found.append(Framed(int(number[1]), f"{place}/{picture}".lstrip("/"), pose))
    return sorted(found), without


def read_folder(root: Path, name: str, framed: Sequence[Framed], spec: PoseFolders, bad: list[BadItem]) -> Drive:
    """One folder as a drive; what cannot be used of it is put on the list of bad items.

    Raises:
        BadItem: fewer than two pictures can be used.
    """
    track = np.full((len(framed), 4, 4), np.nan)
    for place, frame in enumerate(framed):
        try:
            track[place] = read_pose(root / frame.pose)
        except BadItem as item:
            bad.append(item)
    usable = line_up([frame.number for frame in framed], np.isfinite(track).all(axis=(1, 2)).tolist())
    bad += [BadItem(str(root / framed[place].picture), "another picture has the same number") for place in usable.late]
    if len(usable.kept) < 2:
        where = (root / framed[0].picture).parent
        raise BadItem(str(where), f"{len(usable.kept)} of its {len(framed)} pictures can be used, and motion needs two")
    kept = [framed[place] for place in usable.kept]
    seconds = np.array([frame.number - kept[0].number for frame in kept], np.float64) / spec.rate
    frames = PictureSequence(root, [frame.picture for frame in kept], seconds, spec.short_side)
    return Drive(name, frames, PoseTrack(track[usable.kept], "camera", None, spec.axes), usable.breaks)


def official_lists(scene: Path, bad: list[BadItem]) -> dict[str, frozenset[int]]:
    """Numbers of the sequences that a 7-Scenes scene's own ``TrainSplit.txt`` and ``TestSplit.txt`` name, of those there are."""
    found = {}
    for name in ("TrainSplit.txt", "TestSplit.txt"):
        if (scene / name).exists():
            try:
                named = [_NUMBER.search(line) for line in read_lines(scene / name)]
                found[name] = frozenset(int(number[1]) for number in named if number)
            except BadItem as item:
                bad.append(item)
    return found


@dataclass(frozen=True)
class PoseFolders(DataSpec):
    """Folders of pictures with a pose each, searched through all sub-folders; every folder is a recording.

    Where a scene has the lists of 7-Scenes, the sequences in ``TestSplit.txt`` are held out, or those that are not in
    ``TrainSplit.txt`` where there is only that; elsewhere the usual choice.

    Attributes:
        root: the folder that holds scenes, a scene, or one sequence.
        rate: pictures a second, by their numbers.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
    """

    protocol: ClassVar[str] = "7-Scenes, ScanNet: folders of pictures with a file of the camera's pose each"

    root: str = ""
    rate: float = 30.0
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = IN_THE_HAND

    def open(self, split: Split = "all") -> Source:
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise UserError(f"rate is {self.rate:g}; give the pictures a second at which they were taken, such as 30")
        drives: list[Drive] = []
        bad: list[BadItem] = []
        scenes: dict[str, Path] = {}  # where the lists of each recording's scene would be
        roots = folders(self.root)
        for root, prefix in zip((root.absolute() for root in roots), prefixes(roots), strict=True):
            for place, framed in _sequences(root, bad):
                name = prefix + (_recording(place) or root.name)
                scenes[name] = (root / (_recording(place) or ".")).parent
                try:
                    drives.append(read_folder(root, name, framed, self, bad))
                except BadItem as item:
                    bad.append(item)
        if not drives:
            raise none_left(f"pictures with poses in '{self.root}'", bad, ACCEPTED)
        chosen, official = _held_out(drives, scenes, bad)
        name = f"pictures with poses, {self.rate:g} a second assumed{', official test sequences held out' if official else ''}"
        return Drives(name, drives, self.horizon_seconds, METRIC, bad, split, metric_axes(self.axes), chosen)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Two scenes of three sequences, the first with official lists."""
        for number in range(6):
            place = folder / ("chess", "office")[number // 3] / f"seq-{number % 3 + 1:02d}"
            place.mkdir(parents=True)
            steps = tour(30, first=number % 3, forward=0.01)
            pitch = 0.05 * np.sin(np.arange(31) / 4)
            for frame, pose in enumerate(poses.camera_walk(steps, pitch)):
                seen = driven(float(steps[:frame, 0].sum()), float(steps[:frame, 1].sum()))
                seen = np.roll(seen, round(32 * pitch[frame]), axis=0)  # looking up moves the picture down
                (place / f"frame-{frame:06d}.color.png").write_bytes(encode(seen))
                np.savetxt(place / f"frame-{frame:06d}.pose.txt", pose, fmt="%.9e", delimiter="\t")
        (folder / "chess" / "TrainSplit.txt").write_text("sequence1\nsequence3\n")
        (folder / "chess" / "TestSplit.txt").write_text("sequence2\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether one of the first folders holds a pose file, or one called ``pose`` beside one of pictures."""
        waiting, looked_at = [folder], 0
        while waiting and looked_at < 50:
            place = waiting.pop(0)
            looked_at += 1
            inside = subfolders(place)
            names = {child.name for child in inside}
            if names & set(POSE_FOLDERS) and names & set(PICTURE_FOLDERS):
                return True
            if next(place.glob("*.pose.txt"), None) is not None:
                return True
            waiting += inside
        return False


def _sequences(root: Path, bad: list[BadItem]) -> Iterator[tuple[str, list[Framed]]]:
    """Folders that hold pictures with poses, and those; pictures without are put on the list of bad items."""
    files, unread = files_below(root, SUFFIXES | {".txt"})
    bad += unread
    texts = {file for file in files if file.endswith(".txt")}
    inside: dict[str, list[str]] = {}
    for file in files:
        if file not in texts:
            place, _, name = file.rpartition("/")
            inside.setdefault(place, []).append(name)
    for place in sorted(inside):
        framed, without = paired(place, inside[place], texts)
        if framed:
            bad += [BadItem(str(root / place / name), "has no file with its pose, or no number") for name in without]
            yield place, framed


def _recording(place: str) -> str:
    """The recording a folder of pictures is: itself, or the one that holds its pictures and poses apart."""
    above, _, last = place.rpartition("/")
    return above if last in PICTURE_FOLDERS else place


def _held_out(drives: Sequence[Drive], scenes: dict[str, Path], bad: list[BadItem]) -> tuple[frozenset[str], bool]:
    """Recordings to hold out, and whether any list says so."""
    lists = {scene: official_lists(scene, bad) for scene in sorted(set(scenes.values()))}
    chosen: set[str] = set()
    others: dict[str, int] = {}
    for drive in drives:
        listed = lists[scenes[drive.name]]
        match = _NUMBER.search(drive.name)
        number = int(match[1]) if match else -1
        if not listed:
            others[drive.name] = len(drive.frames)
        elif number in listed["TestSplit.txt"] if "TestSplit.txt" in listed else number not in listed["TrainSplit.txt"]:
            chosen.add(drive.name)
    return frozenset(chosen) | held_out(others), any(lists.values())
