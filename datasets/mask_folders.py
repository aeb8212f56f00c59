"""Pictures beside masks: ``train/`` with ``trainannot/`` and so on, as SegNet's CamVid; or ``images/`` with ``masks/``.

A mask is a single-channel picture of class numbers under the picture's name. CamVid (Brostow et al. 2009) is known by its drives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.class_folder import TEST_SHARE, recordings_of
from embodied_ssl.datasets.io.labelled import check_complete, one_after_the_other, set_aside, some, target_of_files
from embodied_ssl.datasets.io.pictures import encode, picture_files
from embodied_ssl.datasets.target import IGNORED, Division, FilePlane, LabelledPictures, Target, TargetSpec
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator

CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
CAMVID_DRIVES = frozenset({"0001TP", "0006R0", "0016E5", "Seq05VD"})
CAMVID_UNLABELLED = 11


class Pair(NamedTuple):
    """A picture and its mask."""

    picture: Path
    mask: Path


@dataclass(frozen=True)
class MaskFolders(TargetSpec):
    """Pictures with one class a pixel.

    Args:
        root: the folder with ``train/`` and ``trainannot/``, or with ``images/`` and ``masks/``.
        classes: names in the order of the numbers; CamVid's own for CamVid, else ``class 0`` to the highest number found.
        ignored: the number of pixels that count for nothing; CamVid's is 11 (unlabelled).
    """

    protocol: ClassVar[str] = "train/*.png with trainannot/*.png, test/ or val/ likewise (CamVid); images/ with masks/; masks"
    root: str
    classes: tuple[str, ...] = ()
    ignored: int = IGNORED

    def target(self) -> Target:
        """Train and test part as given; without ``test/``, ``val/`` serves; ``images/`` alone is split by recording.

        Recordings are told by file name: ``0001TP_006690`` is of ``0001TP``.

        Raises:
            UserError: no such layout, a mask or a picture without its partner, or no mask can be read.
        """
        root = self.folder
        parts, how = _parts(root)
        pairs = [pair for part in parts for pair in part]
        cut, _ = recordings_of({"": [pair.picture.stem for pair in pairs]})
        recordings = cut[""]
        camvid = set(recordings) <= CAMVID_DRIVES and not self.classes
        classes, meaning = self._meaning(pairs, camvid)
        division, how = _divide(root, parts, recordings, how)
        name = root.resolve().name
        source = LabelledPictures(
            f"{name} ({len(pairs)} pictures, {len(classes)} classes, {how})",
            [pair.picture for pair in pairs],
            recordings,
            masks=[FilePlane(pair.mask, meaning) for pair in pairs],
        )
        return target_of_files(name, source, division, classes, how)

    def _meaning(self, pairs: Sequence[Pair], camvid: bool) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
        """Class names, and what each stored number stands for."""
        classes, ignored = self.classes, self.ignored
        if camvid:
            classes, ignored = CAMVID, CAMVID_UNLABELLED
        elif not classes:
            classes = tuple(f"class {number}" for number in range(_highest(pairs, ignored) + 1))
        meaning = np.arange(256, dtype=np.uint8)
        meaning[ignored] = IGNORED
        return classes, meaning

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """CamVid with 8 train, 4 val and 4 test frames of 40 x 32 pixels: sky above road, a car, a strip unlabelled."""
        drives = {"train": ("0001TP", "0006R0"), "val": ("0016E5",), "test": ("Seq05VD",)}
        for part, names in drives.items():
            for drive in names:
                for number in range(4):
                    picture, mask = _tiny_frame(drive, number)
                    for place, pixels in ((folder / part, picture), (folder / f"{part}annot", mask)):
                        place.mkdir(parents=True, exist_ok=True)
                        (place / f"{drive}_{number:06d}.png").write_bytes(pixels)
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """``train/`` beside ``trainannot/``, or ``images/`` beside ``masks/``."""
        return any((folder / first).is_dir() and (folder / second).is_dir() for first, second in _FOLDERS)


_FOLDERS = (("train", "trainannot"), ("images", "masks"))


def _parts(root: Path) -> tuple[list[list[Pair]], str]:
    """Train and test part, or one part that is yet to be divided."""
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        found = [part for part in ("test", "val") if (root / part).is_dir()]
        if not found:
            raise UserError(f"'{root}' has train/ but no test/ or val/; add one with its annotations (testannot/ or valannot/)")
        how = f"split as given in train/ and {found[0]}/" + ("" if found[0] == "test" else ", there being no test/")
        return [_pairs(root / part, root / f"{part}annot") for part in ("train", found[0])], how
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return [_pairs(root / "images", root / "masks")], f"no test part: {TEST_SHARE:.0%} set aside"
    raise UserError(
        f"'{root}' has no pictures beside masks; accepted: train/ with trainannot/ and test/ with testannot/ (or val/), or "
        "images/ with masks/"
    )


def _pairs(pictures: Path, masks: Path) -> list[Pair]:
    """Each picture with the mask of its name.

    Raises:
        UserError: none, or one without the other.
    """
    found = [
        {path.relative_to(place).with_suffix("").as_posix(): path for path in picture_files(place)} if place.is_dir() else {}
        for place in (pictures, masks)
    ]
    for here, there, place in ((found[0], found[1], masks), (found[1], found[0], pictures)):
        check_complete(sorted(set(here) - set(there)), len(here), "files", place)
    if not found[0]:
        raise UserError(f"'{pictures}' holds no pictures; complete the copy")
    return [Pair(path, found[1][name]) for name, path in found[0].items()]


def _highest(pairs: Sequence[Pair], ignored: int) -> int:
    """The highest class number in any mask that can be read; the others are named when it is their turn."""
    highest = -1
    for pair in pairs:
        with suppress(BadItem):
            values = FilePlane(pair.mask).values
            highest = max(highest, *np.unique(values[values != ignored]).tolist())
    if highest < 1:
        raise UserError(f"the masks for '{pairs[0].picture.parent}' show fewer than two classes; give masks of class numbers")
    return highest


def _divide(root: Path, parts: Sequence[Sequence[Pair]], recordings: Sequence[str], how: str) -> tuple[Division, str]:
    if len(parts) == 2:
        division = one_after_the_other(len(parts[0]), len(parts[1]))
        both = {recordings[row] for row in division.train} & {recordings[row] for row in division.test}
        return division, how + (f"; both parts have frames of {some([*both])}" if both else "")
    unit = "recordings, told by file name" if len(set(recordings)) < len(recordings) else "pictures, each its own recording"
    return set_aside(recordings, root), f"{how}, of {unit}"


def _tiny_frame(drive: str, number: int) -> tuple[bytes, bytes]:
    rng = generator("tiny camvid", drive, number)
    horizon, left = 12 + number, int(rng.integers(2, 24))
    mask = np.full((32, 40), CAMVID.index("road"), np.uint8)
    mask[:horizon] = CAMVID.index("sky")
    mask[horizon + 4 : horizon + 12, left : left + 10] = CAMVID.index("car")
    mask[:, :2] = CAMVID_UNLABELLED
    colours = np.zeros((256, 3), np.uint8)
    colours[[CAMVID.index(name) for name in ("sky", "road", "car")]] = [(90, 140, 200), (90, 90, 90), (180, 30, 30)]
    pixels = colours[mask] + rng.integers(0, 40, (32, 40, 3)).astype(np.uint8)
    return encode(pixels), cv2.imencode(".png", mask)[1].tobytes()
