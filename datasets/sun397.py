"""SUN397: 397 kinds of place, at least 100 photographs each; ten official partitions of 50 train and 50 test pictures a class.

Xiao et al. 2010. Few-shot forms take the first pictures of each class in the official training list (5, 6 and 20 have been
published) and test on the whole official test list. The ten partitions overlap: they are not independent repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from embodied_ssl.datasets.class_folder import count_duplicates
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.listed import Listed, by_label, duplicate_note, read_lines, require, rows_of
from embodied_ssl.datasets.target import Division, LabelledPictures, Target, TargetSpec
from embodied_ssl.errors import UserError

PARTITIONS = 10


class Partition(NamedTuple):
    """One official partition: paths such as ``a/abbey/sun_x.jpg`` with the place of their class in ClassName.txt."""

    train: Listed
    test: Listed


@dataclass(frozen=True)
class SUN397(TargetSpec):
    """SUN397 in its official partitions.

    Args:
        root: the folder with ``a/``, ``b/``, ... and ``Partitions/``, or the one with ``SUN397/`` in it.
        partitions: how many of the ten partitions, from the first.
        per_class: training pictures of each class, the first of the official list; 0 for all of it (50).
    """

    protocol: ClassVar[str] = "SUN397: a/abbey/sun_*.jpg with Partitions/Training_01.txt, Testing_01.txt, ClassName.txt"
    partitions: int = PARTITIONS
    per_class: int = 0

    def target(self) -> Target:
        """The pictures of the partitions asked for, each once and sorted by path.

        Raises:
            UserError: a list or a picture is missing, a list is cut short, or a class has fewer training pictures than asked.
        """
        if not 1 <= self.partitions <= PARTITIONS or self.per_class < 0:
            raise UserError(
                f"SUN397 with partitions={self.partitions} and per_class={self.per_class}; accepted are 1 to {PARTITIONS} "
                "partitions, and 0 (the official 50), 5, 6, 20 or another number a class that the lists hold"
            )
        root, lists = _pictures(self.folder), _lists(self.folder)
        classes = tuple(line.removeprefix("/") for line in read_lines(lists / "ClassName.txt"))
        found = [read_partition(lists, number, classes, self.per_class) for number in range(1, self.partitions + 1)]
        labels = {file: label for pair in found for part in pair for file, label in zip(*part, strict=True)}
        files = sorted(labels)
        require(root, files, f"'{lists}' (partitions 1 to {self.partitions})")
        row = {file: number for number, file in enumerate(files)}
        divisions = tuple(Division(rows_of(pair.train.files, row), rows_of(pair.test.files, row)) for pair in found)
        train, test = ([root / file for file in part.files] for part in found[0])
        duplicates = count_duplicates(train, test)
        note = (
            f"official partitions 1 to {self.partitions}, {len(train) // len(classes)} a class for training and "
            f"{len(test) // len(classes)} for test"
        )
        source = LabelledPictures(
            f"SUN397 ({len(files)} pictures, {len(classes)} classes)",
            [f"{root}/{file}" for file in files],
            files,
            labels=[labels[file] for file in files],
        )
        names = tuple(name.partition("/")[2] for name in classes)
        return Target("SUN397", source, divisions, names, note + duplicate_note(duplicates), duplicates)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes, one of them nested, of 6 pictures; ten partitions of 3 train and 2 test pictures a class."""
        classes = ("/a/abbey", "/b/bakery/shop", "/z/zoo")
        (folder / "Partitions").mkdir(parents=True, exist_ok=True)
        (folder / "Partitions" / "ClassName.txt").write_text("".join(f"{name}\n" for name in classes))
        (folder / "ClassName.txt").write_text("".join(f"{name}\n" for name in classes))
        files = {name: [f"{name}/sun_{letter}{label}xyz.jpg" for letter in "abcdef"] for label, name in enumerate(classes)}
        for number, file in enumerate(file for names in files.values() for file in names):
            path = folder / file.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(numbered(number), ".jpg"))
        for partition in range(PARTITIONS):
            turned = [names[partition % 6 :] + names[: partition % 6] for names in files.values()]
            for part, some in (("Training", slice(3)), ("Testing", slice(3, 5))):
                lines = "".join(f"{file}\n" for names in turned for file in names[some])
                (folder / "Partitions" / f"{part}_{partition + 1:02d}.txt").write_text(lines)
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (_pictures(folder) / "a").is_dir() and (_lists(folder) / "Training_01.txt").is_file()


def read_partition(lists: Path, number: int, classes: Sequence[str], per_class: int = 0) -> Partition:
    """One partition from its two lists; pictures are not looked for.

    Args:
        lists: the folder of ``Training_01.txt`` and so on.
        number: 1 to 10.
        classes: the lines of ClassName.txt without the first slash: ``b/bakery/shop``.
        per_class: the first so many of each class in the training list; 0 for all.

    Raises:
        UserError: a list is missing or cut short, names an unknown class, or holds fewer of a class than ``per_class``;
            or the two share a picture.
    """
    train, test = (_read(lists / f"{part}_{number:02d}.txt", classes) for part in ("Training", "Testing"))
    shared = sorted(set(train.files) & set(test.files))
    if shared:
        raise UserError(
            f"Training_{number:02d}.txt and Testing_{number:02d}.txt in '{lists}' share {len(shared)} pictures, the first "
            f"'{shared[0]}'; copy the official partitions again"
        )
    return Partition(_first(train, per_class, classes, lists / f"Training_{number:02d}.txt"), test)


def _read(path: Path, classes: Sequence[str]) -> Listed:
    """One list, which must hold equally many of every class: 50 where it is whole."""
    files = [line.removeprefix("/") for line in read_lines(path)]
    place = {name: label for label, name in enumerate(classes)}
    unknown = [file for file in files if file.rpartition("/")[0] not in place]
    if unknown:
        raise UserError(f"'{path}' names '{unknown[0]}', of no class in ClassName.txt; copy the official partitions again")
    labels = [place[file.rpartition("/")[0]] for file in files]
    if len(set(files)) < len(files):
        raise UserError(f"'{path}' names {len(files) - len(set(files))} pictures twice; copy the official partitions again")
    counts = Counter(labels)
    most = max(counts.values())
    short = [f"{counts[label]} of '{name}'" for label, name in enumerate(classes) if counts[label] < most]
    if short:
        raise UserError(
            f"'{path}' is cut short: it names {most} pictures of most classes but {short[0]} ({len(short)} classes lack some); "
            "copy the official partitions again"
        )
    return Listed(files, labels)


def _first(part: Listed, per_class: int, classes: Sequence[str], path: Path) -> Listed:
    if per_class == 0:
        return part
    kept = by_label(part)
    for label, files in kept.items():
        if len(files) < per_class:
            raise UserError(
                f"class '{classes[label]}' has {len(files)} pictures in '{path}', fewer than per_class={per_class}; "
                f"accepted are 1 to {len(files)}, or 0 for all"
            )
    chosen = [(file, label) for label, files in kept.items() for file in files[:per_class]]
    return Listed([file for file, _ in chosen], [label for _, label in chosen])


def _pictures(folder: Path) -> Path:
    """The folder with ``a/``, ``b/``, ...: the one given, or ``SUN397/`` in it."""
    return folder / "SUN397" if (folder / "SUN397").is_dir() else folder


def _lists(folder: Path) -> Path:
    """Where the lists are: in ``Partitions/``, in the folder given or among the pictures, or loose among the pictures."""
    places = (folder / "Partitions", _pictures(folder) / "Partitions")
    return next((place for place in places if place.is_dir()), _pictures(folder))
