"""CIFAR-10 and CIFAR-100: 60,000 colour pictures of 32 x 32 pixels, 50,000 of them for training, in the Python version's batches.

Krizhevsky 2009. The batches are pickles; they are read by `embodied_ssl.datasets.io.plain_pickle`, which runs nothing in them.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.plain_pickle import read_plain
from embodied_ssl.datasets.listed import array_target
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError

SIDE = 32
VALUES = 3 * SIDE * SIDE  # of one picture: all red, then all green, then all blue, row by row


class Layout(NamedTuple):
    """What the files and their fields are called."""

    folder: str
    train: tuple[str, ...]
    test: str
    labels: str
    meta: str
    classes: str


LAYOUT_10 = Layout(
    "cifar-10-batches-py", tuple(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "labels", "batches.meta", "label_names"
)
LAYOUT_100 = Layout("cifar-100-python", ("train",), "test", "fine_labels", "meta", "fine_label_names")


@dataclass(frozen=True)
class CIFAR10(TargetSpec):
    """CIFAR-10: the folder ``cifar-10-batches-py``, or the one that holds it."""

    protocol: ClassVar[str] = "CIFAR-10, Python version: cifar-10-batches-py/data_batch_1 to 5, test_batch, batches.meta"

    def target(self) -> Target:
        """Five training batches and the test batch, in that order.

        Raises:
            UserError: a file is missing or damaged, or a label names no class.
        """
        return _open("CIFAR-10", self.folder, LAYOUT_10)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes: five batches of 6 pictures, and 6 for test."""
        _write(folder / LAYOUT_10.folder, LAYOUT_10, ("airplane", "automobile", "bird"))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (_place(folder, LAYOUT_10) / LAYOUT_10.meta).is_file()


@dataclass(frozen=True)
class CIFAR100(TargetSpec):
    """CIFAR-100 by its 100 fine classes: the folder ``cifar-100-python``, or the one that holds it."""

    protocol: ClassVar[str] = "CIFAR-100, Python version: cifar-100-python/train, test, meta"

    def target(self) -> Target:
        """The training file and the test file, in that order.

        Raises:
            UserError: a file is missing or damaged, or a label names no class.
        """
        return _open("CIFAR-100", self.folder, LAYOUT_100)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes: 6 pictures for training, and 6 for test."""
        _write(folder / LAYOUT_100.folder, LAYOUT_100, ("apple", "aquarium_fish", "baby"))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        place = _place(folder, LAYOUT_100)
        return all((place / name).is_file() for name in (LAYOUT_100.meta, *LAYOUT_100.train, LAYOUT_100.test))


def _place(folder: Path, layout: Layout) -> Path:
    return folder / layout.folder if (folder / layout.folder).is_dir() else folder


def _open(name: str, folder: Path, layout: Layout) -> Target:
    place = _place(folder, layout)
    files = [place / file for file in (layout.meta, *layout.train, layout.test)]
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise UserError(
            f"'{place}' lacks {len(absent)} of the {len(files)} files of {name}'s Python version: {', '.join(absent)}; "
            f"accepted is the unpacked {layout.folder}"
        )
    names = read_plain(files[0]).get(layout.classes)
    if not isinstance(names, list) or len(names) < 2:
        raise UserError(f"'{files[0]}' has no list of names '{layout.classes}'; unpack the original again")
    batches = [_batch(path, layout.labels) for path in files[1:]]
    pictures, labels = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
    cut = len(labels) - len(batches[-1][1])
    return array_target(name, place, pictures, labels, cut, [str(word) for word in names], "split as given")


def _batch(path: Path, key: str) -> tuple[Pixels, Any]:
    """One file: uint8 RGB [n, 32, 32, 3] and labels [n]."""
    found = read_plain(path)
    data, labels = found.get("data"), found.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != VALUES:
        raise UserError(f"'{path}' has no 'data' of {VALUES} bytes a picture; unpack the original again")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise UserError(f"'{path}' has no whole number '{key}' for each of its {len(data)} pictures; unpack the original again")
    return data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.asarray(labels, np.int64)


def _write(place: Path, layout: Layout, classes: Sequence[str]) -> None:
    """A tiny data set; arrays are named as the numpy of 2009 wrote them, which later ones still read."""
    place.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, Any]] = {layout.meta: {layout.classes: list(classes)}}
    for number, file in enumerate((*layout.train, layout.test)):
        pictures = np.stack([numbered(10 * number + i, (SIDE, SIDE)) for i in range(6)])
        data = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).reshape(6, VALUES)
        files[file] = {"data": data, layout.labels: [i % len(classes) for i in range(6)]}
    for file, content in files.items():
        dumped = pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
        (place / file).write_bytes(dumped)
