"""STL-10's 100,000 pictures without labels, 96 x 96 in colour: plain bytes in one file, read a picture at a time.

Coates et al. 2011. They are from ImageNet, of more kinds than the ten classes of `embodied_ssl.datasets.stl10`, and in the
order of the file; none is known to belong with another, so each is a recording of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from embodied_ssl.datasets.io.listing import prefixes
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
    """Pictures by their file and their number in it, each its own recording."""

    provides = frozenset({"picture", "index"})

    def __init__(self, name: str, places: Sequence[tuple[Path, int]], recordings: Sequence[str]) -> None:
        self.name = name
        self.places = places
        self.recordings = recordings
        self.bad = []

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        return {"picture": StoredPicture(*self.places[index]), "index": index}


@dataclass(frozen=True)
class STL10Unlabelled(DataSpec):
    """STL-10's pictures without labels, in its binary version.

    Args:
        root: the folder ``stl10_binary``, or the one that holds it; several joined by commas.
    """

    protocol: ClassVar[str] = "STL-10's pictures without labels, binary version: stl10_binary/unlabeled_X.bin"

    root: str = ""

    def open(self, split: Split = "all") -> Source:
        roots = folders(self.root)
        places: list[tuple[Path, int]] = []
        names: list[str] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            path = _file(root)
            if not path.is_file():
                raise UserError(f"'{root}' lacks {FILE}; accepted is the unpacked stl10_binary")
            count, rest = divmod(path.stat().st_size, VALUES)
            if rest or not count:
                raise UserError(
                    f"'{path}' has {path.stat().st_size} bytes, which is no whole number of pictures of {VALUES}: it is cut "
                    "short, unpack again"
                )
            places += [(path, number) for number in range(count)]
            names += [f"{prefix}picture {number}" for number in range(count)]
        chosen = in_split(names, split)
        name = f"{len(chosen)} unlabelled pictures of {self.root}"
        return StoredPictures(name, [places[i] for i in chosen], [names[i] for i in chosen])

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
