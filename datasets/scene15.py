"""15-Scene: 4,485 grey photographs of 15 kinds of place; 100 of each train, all others test, repeated over random splits.

Fei-Fei and Perona 2005, Lazebnik et al. 2006. There is no official split: the figure is the mean over ten random ones, which
overlap. The class folders stand bare, as published, or in ``train/`` and ``test/``, which are then thrown together and divided
anew; for the split as given there, `embodied_ssl.datasets.class_folder.ClassFolder` reads the same folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets.class_folder import count_duplicates
from embodied_ssl.datasets.io.listing import subfolders
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.listed import duplicate_note, pictures_in
from embodied_ssl.datasets.target import Division, LabelledPictures, Rows, Target, TargetSpec
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator

CLASSES = (
    *("bedroom", "coast", "forest", "highway", "industrial", "insidecity", "kitchen", "livingroom"),
    *("mountain", "office", "opencountry", "store", "street", "suburb", "tallbuilding"),
)
PUBLISHED = 4485  # pictures
_COLLECTION = re.compile(r"^(MIT|CAL|PAR)(?=[a-z])")  # "MITcoast": where a class was collected


class Photo(NamedTuple):
    """One picture: its class, its file's name, and its path below the root."""

    label: int
    name: str
    path: str


@dataclass(frozen=True)
class Scene15(TargetSpec):
    """15-Scene, divided at random again and again.

    Args:
        root: the folder with the 15 class folders, or with ``train/`` and ``test/`` that hold them.
        partitions: how many random splits, each keyed by its number: the same on every machine.
        per_class: pictures of each class for training; all others are for test.
    """

    protocol: ClassVar[str] = "15-Scene: CLASS/image_0001.jpg of 15 classes; 100 a class train, 10 random splits"
    partitions: int = 10
    per_class: int = 100

    def target(self) -> Target:
        """All pictures, sorted by class and name, with as many divisions as asked for.

        Raises:
            UserError: a class folder is missing, or a class has too few pictures to train on ``per_class`` and test on one.
        """
        if self.partitions < 1 or self.per_class < 1:
            raise UserError(
                f"15-Scene with partitions={self.partitions} and per_class={self.per_class}; both must be 1 or more "
                "(for the split as given in train/ and test/, read the folder as ClassFolder)"
            )
        root = self.folder
        photos = _photos(root)
        labels = np.asarray([photo.label for photo in photos])
        self._check_counts(labels)
        divisions = tuple(self._divide(labels, number) for number in range(1, self.partitions + 1))
        paths = [f"{root}/{photo.path}" for photo in photos]
        train, test = ([Path(paths[row]) for row in part] for part in divisions[0])
        duplicates = count_duplicates(train, test)
        note = f"{self.per_class} a class for training, the others for test, {self.partitions} random splits"
        if len(photos) != PUBLISHED:
            note += f"; {len(photos)} of the {PUBLISHED} published pictures"
        source = LabelledPictures(
            f"15-Scene ({len(photos)} pictures, {len(CLASSES)} classes)",
            paths,
            [f"{CLASSES[photo.label]}/{photo.name}" for photo in photos],
            labels=labels,
        )
        return Target("15-Scene", source, divisions, CLASSES, note + duplicate_note(duplicates), duplicates)

    def _check_counts(self, labels: Rows) -> None:
        counts = np.bincount(labels, minlength=len(CLASSES))
        rarest = int(counts.argmin())
        if counts[rarest] <= self.per_class:
            raise UserError(
                f"class '{CLASSES[rarest]}' in '{self.root}' has {counts[rarest]} pictures; per_class={self.per_class} needs one "
                f"more than that for test: accepted here is a per_class of 1 to {counts[rarest] - 1}, or add the missing pictures"
            )

    def _divide(self, labels: Rows, number: int) -> Division:
        """Split ``number``, which depends on that number and on how many pictures each class has."""
        chosen = []
        for label, name in enumerate(CLASSES):
            members = np.flatnonzero(labels == label)
            order = generator("15-Scene split", number, name).permutation(len(members))
            chosen.append(members[order[: self.per_class]])
        train = np.sort(np.concatenate(chosen))
        return Division(train, np.setdiff1d(np.arange(len(labels)), train))

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """The smallest that the settings accept: 101 grey pictures of 8 x 8 pixels a class, each class with its brightness."""
        for label, name in enumerate(CLASSES):
            (folder / name).mkdir(parents=True, exist_ok=True)
            noise = generator("tiny 15-Scene", name).integers(0, 30, (101, 8, 8, 1), dtype=np.uint8)
            for number, pixels in enumerate(np.repeat(noise + np.uint8(15 * label), 3, axis=3)):
                (folder / name / f"image_{number + 1:04d}.jpg").write_bytes(encode(pixels, ".jpg"))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """The 15 class folders themselves; ``train/`` and ``test/`` are a split given, which `ClassFolder` keeps."""
        return {_plain(path.name) for path in subfolders(folder)} >= set(CLASSES)


def _plain(name: str) -> str:
    """The class that a folder's name stands for: ``MITcoast``, ``Coast`` and ``coast`` are one."""
    return re.sub(r"[ _-]", "", _COLLECTION.sub("", name)).lower()


def _photos(root: Path) -> list[Photo]:
    """Every picture, by class and then by name, whatever folder it stands in."""
    parts = [part for part in ("train", "test") if (root / part).is_dir()]
    found = []
    for part in parts or [""]:
        for place in subfolders(root / part):
            if _plain(place.name) in CLASSES:
                label = CLASSES.index(_plain(place.name))
                before = f"{part}/{place.name}" if part else place.name
                found += [Photo(label, name, f"{before}/{name}") for name in pictures_in(place)]
    missing = [name for label, name in enumerate(CLASSES) if label not in {photo.label for photo in found}]
    if missing:
        raise UserError(
            f"'{root}' lacks {len(missing)} of the 15 classes of 15-Scene: {', '.join(missing)}; accepted are 15 folders of "
            "pictures named for them, bare or in train/ and test/: the copy is incomplete, or another data set"
        )
    return sorted(found)
