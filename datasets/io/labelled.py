"""What readers of published, labelled pictures share: complete copies only, a stated division, twins counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.class_folder import TEST_SHARE, count_duplicates
from embodied_ssl.datasets.source import in_split
from embodied_ssl.datasets.target import Boxes, Division, LabelledPictures, Target
from embodied_ssl.errors import UserError


def check_complete(missing: Sequence[str], total: int, what: str, folder: Path) -> None:
    """Refuse a copy that lacks files.

    Args:
        missing: their names.
        total: how many there should be.
        what: what they are: ``pictures``, ``masks``.
        folder: where they should be.

    Raises:
        UserError: any is missing; names the first three.
    """
    if missing:
        raise UserError(f"{len(missing)} of {total} {what} are missing from '{folder}': {some(missing)}; complete the copy")


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, in order, and dots for the rest."""
    return ", ".join(sorted(names)[:most]) + (", ..." if len(names) > most else "")


def one_after_the_other(train: int, test: int) -> Division:
    """The first ``train`` rows and the ``test`` rows after them."""
    rows = np.arange(train + test, dtype=np.intp)
    return Division(rows[:train], rows[train:])


def set_aside(recordings: Sequence[str], folder: Path) -> Division:
    """A division for data that has none: a fixed share of the recordings becomes the test part, the same ones everywhere.

    Raises:
        UserError: one recording only, which cannot be divided.
    """
    train, test = (np.asarray(in_split(recordings, split, TEST_SHARE), np.intp) for split in ("train", "held_out"))
    if not len(train) or not len(test):
        raise UserError(
            f"'{folder}' holds {len(recordings)} pictures of {len(set(recordings))} recording, which cannot be divided; add "
            "another, or lay it out in a train and a test part"
        )
    return Division(train, test)


def target_of_files(name: str, source: LabelledPictures, division: Division, classes: tuple[str, ...], how: str) -> Target:
    """A target of picture files, with the test pictures whose very bytes are also in the train part counted and noted."""
    train, test = ([Path(str(source.pictures[row])) for row in rows] for rows in division)
    duplicates = count_duplicates(train, test)
    note = f"{how}; {duplicates} test pictures are byte-identical to train pictures and were left in" if duplicates else how
    return Target(name, source, (division,), classes, note, duplicates)


def tags_of(boxes: Sequence[Boxes], classes: int) -> NDArray[np.int8]:
    """Which classes each picture shows [N, C]: 1 there, -1 there but only as difficult, 0 not there."""
    tags = np.zeros((len(boxes), classes), np.int8)
    for row, found in enumerate(boxes):
        tags[row, found.labels[found.difficult]] = -1
        tags[row, found.labels[~found.difficult]] = 1
    return tags
