"""Places: millions of photographs sorted by the kind of place they show, 205 kinds (2014) or 365 (2017), by official lists.

Zhou et al. 2014 and 2018. The labels of the official test pictures were never published, so the validation list is the test part
here, as in nearly all that is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.listed import Listed, divided, numbered_lines, require
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError

NOTE = "official training list; the official validation list is the test part, as test labels were never published"
LISTS = "trainvalsplit_places205"
PICTURES = ("data/vision/torralba/deeplearning/images256", "images256")  # as its archive unpacks, or moved up
SIZES = ("256", "large")


@dataclass(frozen=True)
class Places205(TargetSpec):
    """Places205: the archive of 256-pixel pictures and the archive of lists, unpacked side by side."""

    protocol: ClassVar[str] = "Places205: trainvalsplit_places205/train_places205.csv, val_places205.csv; images256/a/abbey/*.jpg"

    def target(self) -> Target:
        """Training list and validation list; a class is called by the folder of its training pictures.

        Raises:
            UserError: a list, the pictures' folder or a picture is missing; a folder has two labels or a label two folders.
        """
        root = self.folder
        lists = [root / LISTS / f"{part}_places205.csv" for part in ("train", "val")]
        train, test = (_split(numbered_lines(path)) for path in lists)
        classes = _folder_classes(train, lists[0])
        place = next((name for name in PICTURES if (root / name).is_dir()), None)
        if place is None:
            raise UserError(f"'{root}' has no folder {PICTURES[0]} or {PICTURES[1]}; unpack the archive of pictures there")
        for part, path in ((train, lists[0]), (test, lists[1])):
            require(root / place, part.files, f"'{path}'")
        return divided("Places205", root / place, train, test, classes, NOTE)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes, one of them nested, of 4 training and 2 validation pictures."""
        classes = ("a/abbey", "a/apartment_building/outdoor", "y/yard")
        for part, count, shift in (("train", 4, 0), ("val", 2, 100)):
            lines = []
            for label, name in enumerate(classes):
                for number in range(count):
                    file = f"{name}/gsun_{part}{number}.jpg"
                    _write(folder / PICTURES[0] / file, shift + 10 * label + number)
                    lines.append(f"{file} {label}\n")
            _write_list(folder / LISTS / f"{part}_places205.csv", lines)
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / LISTS / "train_places205.csv").is_file()


@dataclass(frozen=True)
class Places365(TargetSpec):
    """Places365-Standard: the lists, and the archives of pictures in the folders that torchvision gives them.

    Args:
        root: the folder with ``categories_places365.txt``.
        size: ``256`` (resized), ``large``, or ``any``: the former where both are there.
    """

    protocol: ClassVar[str] = (
        "Places365: places365_train_standard.txt, places365_val.txt, categories_places365.txt; data_256_standard/ and val_256/, "
        "or data_large_standard/ and val_large/"
    )
    size: str = "any"

    def target(self) -> Target:
        """Training list and validation list.

        Raises:
            UserError: a list, a folder or a picture is missing, or a label names no category.
        """
        root = self.folder
        classes = _categories(root / "categories_places365.txt")
        lists = {"train": root / "places365_train_standard.txt", "val": root / "places365_val.txt"}
        folders = self._folders(root)
        parts = {}
        for part, path in lists.items():
            listed = _split(numbered_lines(path))
            require(root / folders[part], listed.files, f"'{path}'")
            parts[part] = Listed([f"{folders[part]}/{file}" for file in listed.files], listed.labels)
        note = f"{NOTE}; pictures of {folders['train']}/ and {folders['val']}/"
        return divided("Places365", root, parts["train"], parts["val"], classes, note)

    def _folders(self, root: Path) -> dict[str, str]:
        if self.size not in ("any", *SIZES):
            raise UserError(f"Places365 of size '{self.size}'; there is 256, large, and any (whichever is there)")
        for size in SIZES if self.size == "any" else (self.size,):
            names = [name for name in (f"data_{size}_standard", f"data_{size}") if (root / name).is_dir()]
            if names and (root / f"val_{size}").is_dir():
                return {"train": names[0], "val": f"val_{size}"}
        wanted = " or ".join(f"data_{size}_standard/ and val_{size}/" for size in SIZES if self.size in ("any", size))
        raise UserError(f"'{root}' lacks the folders {wanted}; unpack both archives of pictures there")

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three categories, one of them nested, of 4 training and 2 validation pictures, resized."""
        classes = ("/a/airfield", "/a/apartment_building/outdoor", "/z/zen_garden")
        train, val = [], []
        for label, name in enumerate(classes):
            for number in range(4):
                file = f"{name}/{number + 1:08d}.jpg"
                _write(folder / "data_256_standard" / file[1:], 10 * label + number)
                train.append(f"{file} {label}\n")
        for number in range(6):
            file = f"Places365_val_{number + 1:08d}.jpg"
            _write(folder / "val_256" / file, 100 + number)
            val.append(f"{file} {number % 3}\n")
        _write_list(folder / "places365_train_standard.txt", train)
        _write_list(folder / "places365_val.txt", val)
        _write_list(folder / "categories_places365.txt", [f"{name} {label}\n" for label, name in enumerate(classes)])
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / "categories_places365.txt").is_file() and (folder / "places365_train_standard.txt").is_file()


def _split(lines: list[tuple[str, int]]) -> Listed:
    return Listed([name.removeprefix("/") for name, _ in lines], [label for _, label in lines])


def _folder_classes(train: Listed, path: Path) -> tuple[str, ...]:
    """The name of every label, from the one folder that its training pictures are in: ``a/abbey/x.jpg`` is an ``abbey``."""
    pairs = sorted({(label, file.rpartition("/")[0]) for file, label in zip(train.files, train.labels, strict=True)})
    if [label for label, _ in pairs] != list(range(len(pairs))) or len({folder for _, folder in pairs}) < len(pairs):
        raise UserError(
            f"'{path}' has {len({label for label, _ in pairs})} labels for {len({folder for _, folder in pairs})} folders; "
            "every folder must have one label, numbered from 0: copy the list again"
        )
    return tuple(folder.partition("/")[2] for _, folder in pairs)


def _categories(path: Path) -> tuple[str, ...]:
    """Names in the order of their numbers, without the letter: ``/a/airfield 0`` is ``airfield``."""
    lines = sorted((number, name) for name, number in numbered_lines(path))
    if [number for number, _ in lines] != list(range(len(lines))):
        raise UserError(f"'{path}' does not number its {len(lines)} categories 0 to {len(lines) - 1}; copy it again")
    return tuple(name.removeprefix("/").partition("/")[2] for _, name in lines)


def _write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(numbered(number), ".jpg"))


def _write_list(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
