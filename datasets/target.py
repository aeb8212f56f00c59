"""What transfer is judged on: labelled pictures, divided into train and test in one stated way, or in several.

A reader of a published data set fills columns (files, labels, boxes, ...) of `LabelledPictures` and says how they are divided.
Legend: N pictures, C classes, n things in one picture, H W pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from embodied_ssl.datasets.io.pictures import ArrayPicture, FilePicture
from embodied_ssl.datasets.source import Box, DataSpec, Pixels, Sample, Source, Split, folders
from embodied_ssl.errors import BadItem, UserError

ANSWERS = ("label", "tags", "boxes", "mask", "depth")
IGNORED = 255  # in a mask: a pixel that counts for nothing
Rows = NDArray[np.intp]


class Division(NamedTuple):
    """One way of dividing a source: row numbers that share no picture."""

    train: Rows
    test: Rows


class Boxes(NamedTuple):
    """The things in one picture.

    Attributes:
        corners: float32 [n, 4]: left, top, right, bottom in pixels, from 0 at the picture's corner.
        labels: int64 [n].
        difficult: bool [n]; neither right nor wrong when judged.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]


class Plane(Protocol):
    """One value for every pixel, read when asked for. Reading raises `BadItem` when it cannot."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def take(self, box: Box, size: tuple[int, int]) -> NDArray[Any]:
        """The part inside ``box``, resized to ``size`` (height, width) without mixing values: [h, w]."""


class ArrayPlane:
    """Values in memory [H, W]: uint8 classes (`IGNORED` for none), or float32 metres (0 for unknown)."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def take(self, box: Box, size: tuple[int, int]) -> NDArray[Any]:
        top, left, height, width = box
        part = self.values[top : top + height, left : left + width]
        return np.ascontiguousarray(cv2.resize(part, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def stored_values(path: Path) -> NDArray[Any]:
    """A picture file's pixel values as they are stored: palette numbers and 16 bits are kept.

    Raises:
        BadItem: it cannot be read.
    """
    try:
        with Image.open(path) as stored:
            return np.asarray(stored)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise BadItem(str(path), f"cannot be read ({error})") from None


class FilePlane(ArrayPlane):
    """A picture file whose pixel values are the classes, palette or single channel; read when first asked for.

    Args:
        path: the file.
        meaning: 256 numbers: what each stored value stands for; as stored when not given.
    """

    def __init__(self, path: Path | str, meaning: NDArray[np.uint8] | None = None) -> None:
        self.path = Path(path)
        self.meaning = meaning

    @property
    def values(self) -> NDArray[Any]:  # type: ignore[override]
        values = stored_values(self.path)
        if values.ndim != 2:
            raise BadItem(str(self.path), f"holds {values.ndim}-dimensional values; a mask has one class number a pixel")
        return self.meaning[values] if self.meaning is not None else values


class LabelledPictures(Source):
    """Pictures and their answers, column by column; a column that is not given is not provided.

    Args:
        name: one line for people.
        pictures: files, or uint8 RGB [N, H, W, 3].
        recordings: the recording of each picture; each its own when not given.
        labels: the one class of each picture [N], of a scene data set.
        tags: int8 [N, C]: 1 where the class is in the picture, 0 where not, -1 where it shall count for nothing.
        boxes: things with corners, of each picture.
        masks: class of every pixel, of each picture.
        depths: metres at every pixel, of each picture.
        bad: what was left out when opening.
    """

    def __init__(
        self,
        name: str,
        pictures: Sequence[Path | str] | Pixels,
        recordings: Sequence[str] | None = None,
        *,
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        tags: NDArray[np.int8] | None = None,
        boxes: Sequence[Boxes] | None = None,
        masks: Sequence[Plane] | None = None,
        depths: Sequence[Plane] | None = None,
        bad: Sequence[BadItem] = (),
    ) -> None:
        self.name = name
        self.pictures = pictures
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        self.tags = tags
        self._answers: dict[str, Any] = {
            "label": None if self.labels is None else self.labels.tolist(),
            "tags": tags,
            "boxes": boxes,
            "mask": masks,
            "depth": depths,
        }
        self._answers = {key: column for key, column in self._answers.items() if column is not None}
        for key, column in self._answers.items():
            if len(column) != len(pictures):
                raise ValueError(f"{len(pictures)} pictures but {len(column)} of '{key}'")
        self.provides = frozenset({"picture", "index", *self._answers})
        self.recordings = tuple(recordings) if recordings is not None else tuple(self.file_name(i) for i in range(len(pictures)))
        self.bad = list(bad)

    def file_name(self, index: int) -> str:
        """What to call a picture: its path, or its number."""
        return f"{index}" if isinstance(self.pictures, np.ndarray) else str(self.pictures[index])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        stored = self.pictures[index]
        picture = ArrayPicture(stored) if isinstance(stored, np.ndarray) else FilePicture(stored)
        return {"picture": picture, "index": index, **{key: column[index] for key, column in self._answers.items()}}


class Part(Source):
    """Some rows of a source, in the order given."""

    def __init__(self, source: Source, rows: Rows, name: str = "") -> None:
        self.source = source
        self.rows = rows
        self.name = name or source.name
        self.provides = source.provides
        self.recordings = tuple(source.recordings[row] for row in rows)
        self.bad = source.bad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        return self.source[int(self.rows[index])]


@dataclass(frozen=True)
class Target:
    """A labelled data set ready for transfer.

    Attributes:
        name: the data set, as shown in tables.
        source: the pictures of all divisions, each once.
        divisions: ways to divide it into train and test. Several (repeated splits) overlap: they are not independent.
        classes: names in the order of the labels; none for depth.
        note: how it was divided, and what a reader of the figures should know.
        duplicates: test pictures (of the first division) whose bytes are also in the train part.
        subsets: published partial train sets by name (``1 %``), as rows of the first division's train part.
    """

    name: str
    source: LabelledPictures
    divisions: tuple[Division, ...]
    classes: tuple[str, ...]
    note: str
    duplicates: int = 0
    subsets: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def answers(self) -> tuple[str, ...]:
        """What is known of every picture: of label, tags, boxes, mask, depth."""
        return tuple(name for name in ANSWERS if name in self.source.provides)

    @property
    def train(self) -> Part:
        """The train part of the first division."""
        return Part(self.source, self.divisions[0].train, f"{self.name} train")

    @property
    def test(self) -> Part:
        """The test part of the first division."""
        return Part(self.source, self.divisions[0].test, f"{self.name} test")


@dataclass(frozen=True)
class TargetSpec(DataSpec):
    """A frozen description of a labelled data set in its published layout; its first field is ``root``, one folder."""

    root: str = ""

    @abstractmethod
    def target(self) -> Target:
        """Open it.

        Raises:
            UserError: the copy is incomplete or in another layout: says what is missing and what is accepted.
        """

    def open(self, split: Split = "all") -> Source:
        """As a source of pictures: ``train`` and ``held_out`` are the first division's train and test part."""
        target = self.target()
        return {"all": target.source, "train": target.train, "held_out": target.test}[split]

    @property
    def folder(self) -> Path:
        """The one folder that ``root`` names."""
        roots = folders(self.root)
        if len(roots) > 1:
            raise UserError(
                f"'{self.root}' names {len(roots)} folders; {type(self).__name__} is one folder: give one, or join them"
            )
        return roots[0]
