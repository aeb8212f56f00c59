"""donkeycar tubs: a small car's camera with the steering and throttle it was given.

The motion from one frame to another is the commands given in between, summed over time: throttle times seconds forward,
steering times seconds to the left. It says which way and how much, not how many metres, so it has a unit of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets.drives import CommandTrack, Drive, Drives, none_left
from embodied_ssl.datasets.io.listing import prefixes, subfolders
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem

CATALOG = re.compile(r"catalog_(\d+)\.catalog")
ACCEPTED = "folders holding catalog_N.catalog and images/"
GAP_SECONDS = 0.5  # a longer pause between two frames starts another recording
COMMANDS = "throttle seconds, steering seconds"
DEVIATIONS = "throttle and steering in deviations of the tub, times seconds"
STUCK = 3  # as many pictures in a row with the same bytes come from a camera that is stuck: no two that were taken are the same


class Record(NamedTuple):
    """One line of a catalog: its number, time, picture file, steering (positive is right in most tubs) and throttle."""

    number: int
    seconds: float
    picture: str
    angle: float
    throttle: float


def tub_folders(root: Path, depth: int = 3) -> Iterator[Path]:
    """The tubs at or below a root, sorted."""
    if any(root.glob("catalog_*.catalog")):
        yield root
    elif depth > 0:
        for child in subfolders(root):
            yield from tub_folders(child, depth - 1)


def read_records(tub: Path) -> tuple[list[Record], list[BadItem]]:
    """A tub's records in order of their numbers, less those its manifest marks deleted, and the lines that are none."""
    records: dict[int, Record] = {}
    bad: list[BadItem] = []
    deleted = _deleted(tub)
    for catalog in sorted(child for child in tub.iterdir() if CATALOG.fullmatch(child.name)):
        try:
            lines = catalog.read_text(errors="replace").splitlines()
        except OSError as error:
            bad.append(BadItem(str(catalog), f"cannot be read ({error.strerror})"))
            continue
        for place, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = _record(json.loads(line))
            except (ValueError, KeyError, TypeError):
                bad.append(BadItem(f"{catalog}:{place}", "not a record with a picture, a time, steering and throttle"))
                continue
            if record.number not in deleted:
                records[record.number] = record
    return [records[number] for number in sorted(records)], bad


def _record(line: dict[str, object]) -> Record:
    numbers = [float(str(line[key])) for key in ("_timestamp_ms", "user/angle", "user/throttle")]
    if not np.isfinite(numbers).all():
        raise ValueError("not finite")
    return Record(int(str(line["_index"])), numbers[0] / 1000, str(line["cam/image_array"]), numbers[1], numbers[2])


def _deleted(tub: Path) -> frozenset[int]:
    """Numbers that the manifest's last line marks deleted; none where there is no manifest."""
    try:
        last = json.loads((tub / "manifest.json").read_text().strip().splitlines()[-1])
        return frozenset(int(number) for number in last["deleted_indexes"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return frozenset()


def runs(records: list[Record]) -> Iterator[list[Record]]:
    """Records cut where a number is missing, time stands still or goes back, or a pause is long."""
    run: list[Record] = []
    for record in records:
        if run:
            paused = record.seconds - run[-1].seconds
            if record.number != run[-1].number + 1 or not 0 < paused <= GAP_SECONDS:
                yield run
                run = []
        run.append(record)
    if run:
        yield run


def read_tub(tub: Path, name: str, signs: tuple[int, int], short_side: int) -> tuple[list[Drive], list[BadItem]]:
    """A tub's recordings, and its lines and pictures that cannot be used.

    Args:
        tub: its folder.
        name: how its recordings are called.
        signs: what throttle and steering are multiplied by, so that forward and left are positive.
        short_side: of the frames, in pixels.
    """
    records, bad = read_records(tub)
    try:
        present = set(os.listdir(tub / "images"))
    except OSError:
        return [], [*bad, BadItem(str(tub), "no images folder")]
    if not records and not bad:
        return [], [BadItem(str(tub), "its catalogs hold no records")]
    drives = []
    for run in runs(records):
        seen, unusable = _seen(tub / "images", run, present)
        bad += unusable
        if len(seen) < 2:
            bad.append(BadItem(f"{tub}, record {run[0].number}", "stands alone, and motion needs two pictures"))
            continue
        seconds = np.array([record.seconds for record in run])
        commands = np.array([[record.throttle, record.angle] for record in run]) * signs
        # A command acts until the next one.
        total = np.vstack([np.zeros((1, 2)), np.cumsum(commands[:-1] * np.diff(seconds)[:, None], 0)])
        frames = PictureSequence(tub / "images", [run[place].picture for place in seen], seconds[seen] - seconds[0], short_side)
        drives.append(Drive(f"{name}/{run[0].number}", frames, CommandTrack(total[seen])))
    return drives, bad


def _seen(images: Path, run: Sequence[Record], present: Collection[str]) -> tuple[list[int], list[BadItem]]:
    """Which records of a run have a picture of their own, and what is wrong with the other pictures."""
    there = [place for place, record in enumerate(run) if record.picture in present]
    bad = [BadItem(str(images / record.picture), "missing") for record in run if record.picture not in present]
    again = repeats([images / run[place].picture for place in there])
    stuck = "shows the picture before again, while commands went on"
    bad += [BadItem(str(images / run[place].picture), stuck) for k, place in enumerate(there) if k in again]
    return [place for k, place in enumerate(there) if k not in again], bad


def repeats(pictures: Sequence[Path]) -> frozenset[int]:
    """Which pictures of a row [n] are byte for byte the one before, in stretches of `STUCK` and more.

    Only those of one size are read.
    """
    sizes = [_size(path) for path in pictures]
    found: set[int] = set()
    stretch: list[int] = []
    for k in range(1, len(pictures) + 1):
        if k < len(pictures) and sizes[k] == sizes[k - 1] >= 0 and _same(pictures[k], pictures[k - 1]):
            stretch.append(k)
        else:
            found |= set(stretch) if len(stretch) + 1 >= STUCK else set()
            stretch = []
    return frozenset(found)


def _size(picture: Path) -> int:
    try:
        return picture.stat().st_size
    except OSError:
        return -1


def _same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def in_deviations(drives: Sequence[Drive], tubs: Sequence[str], train: Collection[str]) -> list[Drive]:
    """Drives whose commands are divided by their deviation over the training recordings of their own tub.

    What a throttle of 0.3 does differs from car to car. A tub that is held out whole is divided by its own.

    Args:
        drives: with a `CommandTrack`.
        tubs: of each drive.
        train: names of the training recordings.
    """
    rates = [np.diff(drive.track.total, axis=0) / np.diff(drive.frames.seconds)[:, None] for drive in drives]  # type: ignore[attr-defined]
    scaled = []
    for drive, tub in zip(drives, tubs, strict=True):
        own = [k for k, name in enumerate(tubs) if name == tub]
        taught = [k for k in own if drives[k].name in train] or own
        scale = np.sqrt((np.concatenate([rates[k] for k in taught]) ** 2).mean(0))
        track = CommandTrack(drive.track.total / np.where(scale > 0, scale, 1))  # type: ignore[attr-defined]
        scaled.append(replace(drive, track=track))
    return scaled


@dataclass(frozen=True)
class Donkeycar(DataSpec):
    """donkeycar tubs (version 2 catalogs).

    Attributes:
        root: a tub, or a folder that holds tubs.
        flip_steering: names of tubs' folders in which positive steering is to the left; in all others it is to the right.
        flip_throttle: names of tubs' folders in which negative throttle drives forward; in all others positive does.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
        in_deviations: divide a tub's throttle and steering by their root mean square over its training recordings, so that
            tubs of different cars can share motion patterns.
    """

    protocol: ClassVar[str] = "donkeycar tubs: a small car's pictures with the steering and throttle given in between"

    root: str = ""
    flip_steering: tuple[str, ...] = ("outdoor_sigsfig",)
    flip_throttle: tuple[str, ...] = ("parquet_mycar4",)  # its picture grows while throttle is negative: measured
    horizon_seconds: float = 1.0
    short_side: int = 96
    in_deviations: bool = False

    def open(self, split: Split = "all") -> Source:
        drives: list[Drive] = []
        tubs: list[str] = []
        bad: list[BadItem] = []
        roots = folders(self.root)
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            for tub in tub_folders(root.absolute()):
                inside = tub.relative_to(root.absolute()).as_posix()
                name = prefix + (tub.name if inside == "." else inside)
                signs = (-1 if tub.name in self.flip_throttle else 1, 1 if tub.name in self.flip_steering else -1)
                found, unusable = read_tub(tub, name, signs, self.short_side)
                drives += found
                tubs += [name] * len(found)
                bad += unusable
        if not drives:
            raise none_left(f"donkeycar tubs in '{self.root}'", bad, ACCEPTED)
        if self.in_deviations:
            train = frozenset(Drives("donkeycar", drives, self.horizon_seconds, COMMANDS, [], "train").recordings)
            drives = in_deviations(drives, tubs, train)
        unit = DEVIATIONS if self.in_deviations else COMMANDS
        return Drives("donkeycar", drives, self.horizon_seconds, unit, bad, split)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            tub = folder / f"tub_{number}"
            (tub / "images").mkdir(parents=True)
            steps = tour(40, first=number % 3)
            lines = []
            for frame, (forward, turn) in enumerate(steps):
                metres, heading = steps[:frame].sum(0)
                picture = f"{frame}_cam_image_array_.jpg"
                (tub / "images" / picture).write_bytes(encode(driven(metres, heading), ".jpg"))
                record = {"_index": frame, "_timestamp_ms": 1_600_000_000_000 + 50 * frame, "cam/image_array": picture}
                lines.append(json.dumps(record | {"user/angle": -turn * 10, "user/throttle": forward, "user/mode": "user"}))
            (tub / "catalog_0.catalog").write_text("\n".join(lines) + "\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any((place / "catalog_0.catalog").exists() for place in [folder, *subfolders(folder)[:20]])
