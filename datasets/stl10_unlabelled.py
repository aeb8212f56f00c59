"""STL-10's 100,000 pictures without labels, 96 x 96 in colour: plain bytes in one file, read a picture at a time.

Coates et al. 2011. They are from ImageNet, of more kinds than the ten classes of `embodied_ssl.datasets.stl10`, and in the
order of the file; none is known to belong with another, so each is a recording of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.source import Box, DataSpec, Pixels, Sample, Source, Split, folders, in_split
from embodied_ssl.datasets.stl10 import SIDE, VALUES
from embodied_ssl.errors import BadItem, UserError

FILE = "unlabeled_X.bin"


class StoredPicture:
    """One picture in the file, read when first asked for."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number

    @property
    def size(self) -> tuple[int, int]:
        return SIDE, SIDE

    @cached_property
    def pixels(self) -> Pixels:
        try:
            values = np.fromfile(self.path, np.uint8, VALUES, offset=self.number * VALUES)
        except OSError as error:
            raise BadItem(f"{self.path} picture {self.number}", f"cannot be read ({error.strerror})") from None
        if len(values) < VALUES:
            raise BadItem(f"{self.path} picture {self.number}", "the file has become shorter")
        return np.ascontiguousarray(values.reshape(3, SIDE, SIDE).transpose(2, 1, 0))  # stored column by column

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


class StoredPictures(Source):
    """Pictures of one file, by their numbers in it."""

    provides = frozenset({"picture", "index"})

    def __init__(self, path: Path, numbers: list[int]) -> None:
        self.name = f"{len(numbers)} pictures of {path}"
        self.path = path
        self.numbers = numbers
        self.recordings = [f"picture {number}" for number in numbers]
        self.bad = []

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        return {"picture": StoredPicture(self.path, self.numbers[index]), "index": index}


@dataclass(frozen=True)
class STL10Unlabelled(DataSpec):
    """STL-10's pictures without labels, in its binary version.

    Args:
        root: the folder ``stl10_binary``, or the one that holds it.
    """

    protocol: ClassVar[str] = "STL-10's pictures without labels, binary version: stl10_binary/unlabeled_X.bin"

    root: str = ""

    def open(self, split: Split = "all") -> Source:
        found = folders(self.root)
        if len(found) > 1:
            raise UserError(f"'{self.root}' names {len(found)} folders; STL10Unlabelled is one folder: give one")
        path = _file(found[0])
        if not path.is_file():
            raise UserError(f"'{found[0]}' lacks {FILE}; accepted is the unpacked stl10_binary")
        size = path.stat().st_size
        if size == 0 or size % VALUES:
            raise UserError(
                f"'{path}' has {size} bytes, which is no whole number of pictures of {VALUES}: it is cut short, unpack again"
            )
        return StoredPictures(path, in_split([f"picture {number}" for number in range(size // VALUES)], split))

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """24 numbered pictures."""
        path = folder / "stl10_binary" / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures = np.stack([numbered(i, (SIDE, SIDE), period=24) for i in range(24)])
        path.write_bytes(pictures.transpose(0, 3, 2, 1).tobytes())
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return _file(folder).is_file()


def _file(folder: Path) -> Path:
    return folder / "stl10_binary" / FILE if (folder / "stl10_binary").is_dir() else folder / FILE
