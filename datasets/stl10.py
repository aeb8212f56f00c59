"""STL-10: 10 classes of 96 x 96 colour pictures from ImageNet, 500 a class to train and 800 to test, as plain bytes.

Coates et al. 2011. The published protocol trains ten times on 1,000 listed pictures and reports the mean; all 5,000 at once is as
usual today. The 100,000 pictures without labels are for pretraining: see `embodied_ssl.datasets.stl10_unlabelled`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.listed import array_target, read_lines
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.datasets.target import Division, Target, TargetSpec
from embodied_ssl.errors import UserError

SIDE = 96
VALUES = 3 * SIDE * SIDE  # of one picture: all red, then all green, then all blue, column by column
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")
FOLDS = 10


@dataclass(frozen=True)
class STL10(TargetSpec):
    """STL-10 in its binary version.

    Args:
        root: the folder ``stl10_binary``, or the one that holds it.
        folds: how many of the ten published training folds, from the first, each a division; 0 for all training pictures at once.
    """

    protocol: ClassVar[str] = "STL-10, binary version: stl10_binary/{train,test}_{X,y}.bin, class_names.txt, fold_indices.txt"
    folds: int = 0

    def target(self) -> Target:
        """Training pictures, then test pictures, in the files' order.

        Raises:
            UserError: a file is missing or cut short, a label is not 1 to 10, or a fold names a picture that is not there.
        """
        if not 0 <= self.folds <= FOLDS:
            raise UserError(f"STL-10 with folds={self.folds}; accepted are 1 to {FOLDS}, or 0 for all training pictures at once")
        place = _place(self.folder)
        absent = [name for name in FILES if not (place / name).is_file()]
        if absent:
            raise UserError(
                f"'{place}' lacks {len(absent)} of the {len(FILES)} files of STL-10's binary version: {', '.join(absent)}; "
                "accepted is the unpacked stl10_binary"
            )
        classes = read_lines(place / "class_names.txt")
        train, test = (_pictures(place / f"{part}_X.bin") for part in ("train", "test"))
        labels = [_labels(place / "train_y.bin", len(train), classes), _labels(place / "test_y.bin", len(test), classes)]
        note = f"training folds 1 to {self.folds} of the published {FOLDS}" if self.folds else "all training pictures"
        pictures, answers = np.concatenate([train, test]), np.concatenate(labels)
        whole = array_target("STL-10", place, pictures, answers, len(train), classes, f"{note}; the whole test part")
        if not self.folds:
            return whole
        rows = whole.divisions[0].test
        return replace(whole, divisions=tuple(Division(fold, rows) for fold in self._folds(place, len(train))))

    def _folds(self, place: Path, count: int) -> list[NDArray[np.intp]]:
        """The rows of each fold, sorted."""
        path = place / "fold_indices.txt"
        lines = read_lines(path)
        if len(lines) < self.folds:
            raise UserError(f"'{path}' has {len(lines)} of the {FOLDS} folds, but folds={self.folds}; copy it again")
        found = []
        for number, words in enumerate((line.split() for line in lines[: self.folds]), 1):
            if not all(word.isdecimal() and int(word) < count for word in words) or len(set(words)) < len(words):
                raise UserError(
                    f"fold {number} in '{path}' names a picture twice or one that is not among 0 to {count - 1}; copy it again"
                )
            found.append(np.sort(np.asarray(words, np.intp)))
        return found

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes: 12 training pictures in ten folds of 6, and 6 test pictures."""
        place = folder / "stl10_binary"
        place.mkdir(parents=True, exist_ok=True)
        for part, count, shift in (("train", 12, 0), ("test", 6, 100)):
            pictures = np.stack([numbered(shift + i, (SIDE, SIDE)) for i in range(count)])
            (place / f"{part}_X.bin").write_bytes(pictures.transpose(0, 3, 2, 1).tobytes())
            (place / f"{part}_y.bin").write_bytes(bytes(i % 3 + 1 for i in range(count)))
        (place / "class_names.txt").write_text("airplane\nbird\ncar\n")
        folds = [" ".join(str((fold + i) % 12) for i in range(6)) for fold in range(FOLDS)]
        (place / "fold_indices.txt").write_text("".join(f"{line} \n" for line in folds))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (_place(folder) / "train_X.bin").is_file() and (_place(folder) / "test_X.bin").is_file()


def _place(folder: Path) -> Path:
    return folder / "stl10_binary" if (folder / "stl10_binary").is_dir() else folder


def _pictures(path: Path) -> Pixels:
    """Uint8 RGB [n, 96, 96, 3]."""
    values = np.fromfile(path, np.uint8)
    if len(values) == 0 or len(values) % VALUES:
        raise UserError(
            f"'{path}' has {len(values)} bytes, which is no whole number of pictures of {VALUES}: it is cut short, unpack again"
        )
    return values.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)


def _labels(path: Path, count: int, classes: list[str]) -> NDArray[np.int64]:
    """Labels from 0; the file counts from 1, where 0 would be a picture without a label."""
    values = np.fromfile(path, np.uint8)
    if len(values) != count:
        raise UserError(f"'{path}' has {len(values)} labels for {count} pictures; the copy is incomplete: unpack it again")
    if not 1 <= values.min() <= values.max() <= len(classes):
        raise UserError(f"'{path}' has labels from {values.min()} to {values.max()}; accepted are 1 to {len(classes)}")
    return values.astype(np.int64) - 1
