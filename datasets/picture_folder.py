"""Any folder of pictures: each is a sample of its own, in an order that does not depend on the file system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from embodied_ssl.datasets.io.listing import files_below, has_file, prefixes
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import SUFFIXES, FilePicture, encode
from embodied_ssl.datasets.source import DataSpec, Sample, Source, Split, folders, in_split
from embodied_ssl.errors import BadItem, UserError


class Pictures(Source):
    """Picture files, as (folder, path below it), each its own recording."""

    provides = frozenset({"picture", "index"})

    def __init__(self, name: str, files: Sequence[tuple[str, str]], recordings: Sequence[str], bad: list[BadItem]) -> None:
        self.name = name
        self.files = files
        self.recordings = recordings
        self.bad = bad

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        folder, file = self.files[index]
        return {"picture": FilePicture(f"{folder}/{file}"), "index": index}


@dataclass(frozen=True)
class PictureFolder(DataSpec):
    """Any folder of pictures, searched through all its sub-folders."""

    protocol: ClassVar[str] = "any folder of pictures, sub-folders included; one sample a file"

    root: str = ""

    def open(self, split: Split = "all") -> Source:
        roots = folders(self.root)
        files: list[tuple[str, str]] = []
        names: list[str] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            found, unread = files_below(root, SUFFIXES)
            files += [(str(root), file) for file in found]
            names += [prefix + file for file in found]
            bad += unread
        if not files:
            raise UserError(f"no pictures below '{self.root}'; accepted are files ending in {', '.join(sorted(SUFFIXES))}")
        chosen = in_split(names, split)
        return Pictures(f"{len(chosen)} pictures of {self.root}", [files[i] for i in chosen], [names[i] for i in chosen], bad)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(24):
            path = folder / f"part_{number % 3}" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(numbered(number, period=24)))
        return cls(root=str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return has_file(folder, SUFFIXES)
