"""Official lists of files: read, checked against what is there, and made into a data set whose order is that of the names.

A published split is a list of relative paths. What it names and the copy lacks is refused, with how many and which first.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.class_folder import count_duplicates
from embodied_ssl.datasets.io.pictures import SUFFIXES
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.datasets.target import Division, LabelledPictures, Rows, Target
from embodied_ssl.errors import UserError


class Listed(NamedTuple):
    """Files of one part with their labels.

    Attributes:
        files: paths below the data set's folder, with forward slashes.
        labels: the class number of each.
    """

    files: Sequence[str]
    labels: Sequence[int]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped; empty ones left out.

    Raises:
        UserError: it is not there, cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; the original layout has it: add it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); it should be a list with one entry a line") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise UserError(f"'{path}' is empty; it should be a list with one entry a line: copy it again")
    return found


def numbered_lines(path: Path) -> list[tuple[str, int]]:
    """Lines of a name and a whole number, in the file's order.

    Raises:
        UserError: as `read_lines`, or a line of another form.
    """
    found = []
    for line in read_lines(path):
        name, _, number = line.replace("\t", " ").rpartition(" ")
        if not name or not re.fullmatch(r"-?\d+", number):
            raise UserError(f"'{path}' has the line '{line}'; accepted are a name, a space and a number: copy the file again")
        found.append((name.strip(), int(number)))
    return found


def missing(root: Path, files: Iterable[str]) -> list[str]:
    """Which of these relative paths are not below ``root``, in the order given; every folder is listed once."""
    inside: dict[str, set[str]] = {}

    def there(file: str) -> bool:
        place, _, name = file.rpartition("/")
        if place not in inside:
            try:
                inside[place] = set(os.listdir(root / place))
            except OSError:
                inside[place] = set()
        return name in inside[place]

    return [file for file in files if not there(file)]


def require(root: Path, files: Sequence[str], named_by: str) -> None:
    """Refuse a copy that lacks files.

    Args:
        root: the folder of the files.
        files: relative paths.
        named_by: the list that names them, for the message.

    Raises:
        UserError: some are not there.
    """
    absent = missing(root, files)
    if absent:
        raise UserError(
            f"'{root}' lacks {len(absent)} of the {len(files)} pictures that {named_by} names, the first '{absent[0]}'; "
            "the copy is incomplete: unpack it again"
        )


def pictures_in(folder: Path) -> list[str]:
    """Names of the picture files right inside a folder, sorted; hidden ones left out. None where there is no such folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."))


def by_label(part: Listed) -> dict[int, list[str]]:
    """Label -> its files, in the order given."""
    found: dict[int, list[str]] = defaultdict(list)
    for file, label in zip(part.files, part.labels, strict=True):
        found[label].append(file)
    return dict(found)


def check_labels(labels: Iterable[int], classes: Sequence[str], where: str) -> None:
    """Refuse labels that name no class, and classes without a picture.

    Raises:
        UserError: says which label, or how many classes and the first of them.
    """
    present = set(labels)
    wrong = sorted(label for label in present if not 0 <= label < len(classes))
    if wrong:
        raise UserError(f"{where} has the label {wrong[0]}; accepted are 0 to {len(classes) - 1}: copy it again")
    absent = [name for label, name in enumerate(classes) if label not in present]
    if absent:
        raise UserError(
            f"{where} has no picture of {len(absent)} of the {len(classes)} classes, the first '{absent[0]}'; "
            "every class needs pictures in both parts: the copy is incomplete"
        )


def divided(
    name: str,
    root: Path,
    train: Listed,
    test: Listed,
    classes: Sequence[str],
    note: str,
    *,
    count_bytes: bool = False,
    subsets: Mapping[str, Sequence[str]] | None = None,
) -> Target:
    """A target of two listed parts: rows 0.. are the train files sorted by path, the test files sorted likewise follow.

    Args:
        name: the data set.
        root: the folder that the files are in; they must be there.
        train, test: the parts. A file listed twice with one label counts once.
        classes: names in the order of the labels.
        note: how it was divided.
        count_bytes: whether to count test files with the bytes of a train file (reads files of equal size; for small sets).
        subsets: partial train sets: name -> files of the train part.

    Raises:
        UserError: a label without a class, a class missing from a part, a file with two labels or in both parts.
    """
    labels = [_label_of(part, root) for part in (train, test)]
    for part, found in (("the train part", labels[0]), ("the test part", labels[1])):
        check_labels(found.values(), classes, f"{part} of '{root}'")
    shared = sorted(labels[0].keys() & labels[1].keys())
    if shared:
        raise UserError(
            f"{len(shared)} pictures of '{root}' are listed for both training and test, the first '{shared[0]}'; "
            "the lists are not of one split: copy them again"
        )
    files = [file for found in labels for file in sorted(found)]
    row = {file: number for number, file in enumerate(files)}
    paths = [f"{root}/{file}" for file in files]
    cut = len(labels[0])
    duplicates = count_duplicates(map(Path, paths[:cut]), map(Path, paths[cut:])) if count_bytes else 0
    source = LabelledPictures(
        f"{name} ({len(files)} pictures, {len(classes)} classes)",
        paths,
        files,
        labels=[found[file] for found in labels for file in sorted(found)],
    )
    rows = np.arange(len(files), dtype=np.intp)
    chosen = {key: rows_of(names, row) for key, names in (subsets or {}).items()}
    note = note + duplicate_note(duplicates) if count_bytes else f"{note}; byte-identical pictures were not looked for"
    return Target(name, source, (Division(rows[:cut], rows[cut:]),), tuple(classes), note, duplicates, chosen)


def array_target(
    name: str, root: Path, pictures: Pixels, labels: NDArray[np.int64], cut: int, classes: Sequence[str], note: str
) -> Target:
    """A target of pictures in memory, the first ``cut`` of them for training; pictures equal in every byte are counted.

    Args:
        name: the data set.
        root: where it was read, for messages.
        pictures: uint8 RGB [N, H, W, 3].
        labels: int64 [N].
        cut: how many are for training.
        classes: names in the order of the labels.
        note: how it was divided.

    Raises:
        UserError: a label without a class, or a class missing from a part.
    """
    check_labels(labels[:cut].tolist(), classes, f"the train part of '{root}'")
    check_labels(labels[cut:].tolist(), classes, f"the test part of '{root}'")
    known = {picture.tobytes() for picture in pictures[:cut]}
    duplicates = sum(picture.tobytes() in known for picture in pictures[cut:])
    source = LabelledPictures(f"{name} ({len(pictures)} pictures, {len(classes)} classes)", pictures, labels=labels)
    rows = np.arange(len(pictures), dtype=np.intp)
    division = Division(rows[:cut], rows[cut:])
    return Target(name, source, (division,), tuple(classes), note + duplicate_note(duplicates), duplicates)


def duplicate_note(count: int) -> str:
    """What a note says of test pictures that are also in the train part; nothing when there are none."""
    return f"; {count} test pictures are byte-identical to train pictures and were left in" if count else ""


def rows_of(files: Iterable[str], row: Mapping[str, int]) -> Rows:
    """Row numbers of files, sorted."""
    return np.sort(np.asarray([row[file] for file in files], np.intp))


def _label_of(part: Listed, root: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for file, label in zip(part.files, part.labels, strict=True):
        if found.setdefault(file, label) != label:
            raise UserError(
                f"'{file}' of '{root}' is listed with the labels {found[file]} and {label}; copy the official lists again"
            )
    return found
