"""A folder of labelled pictures, one sub-folder a class, split so that no recording is on both sides.

Two layouts: ``train/CLASS/*.jpg`` with ``test/CLASS/*.jpg`` (or ``val/``), whose split is taken as it is; or a bare folder
of ``CLASS/`` folders, of which a fixed share of every class's recordings becomes the test part. Labels are for evaluation only.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets.io.pictures import SUFFIXES, encode, picture_files
from embodied_ssl.datasets.target import Division, LabelledPictures, Target, TargetSpec
from embodied_ssl.errors import UserError
from embodied_ssl.keys import digest, generator

TEST_SHARE = 0.3  # of the recordings of each class, in a bare folder
_NUMBER = re.compile(r"[ _.\-]+(?:frame|view|f|v)?\d+$", re.IGNORECASE)  # "_3", "-frame0012": the view or frame in a recording


class Item(NamedTuple):
    """One labelled file."""

    path: Path
    label: int
    recording: str


@dataclass(frozen=True)
class ClassFolder(TargetSpec):
    """Pictures sorted into one folder a class.

    Args:
        root: the folder with ``train/`` and ``test/`` (or ``val/``), or with the class folders themselves.
        train, test: what the two parts are called.
    """

    protocol: ClassVar[str] = "train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg; labels for evaluation only"
    root: str
    train: str = "train"
    test: str = "test"

    def target(self) -> Target:
        """Both parts, with the test pictures whose bytes are also in the train part counted (and left in).

        Raises:
            UserError: no such folder, no pictures, fewer than two classes, or a class missing from a part.
        """
        train, test, classes, how = self._parts()
        duplicates = count_duplicates((item.path for item in train), (item.path for item in test))
        note = (
            how if not duplicates else f"{how}; {duplicates} test pictures are byte-identical to train pictures and were left in"
        )
        items = train + test
        name = self.folder.resolve().name
        source = LabelledPictures(
            f"{name} ({len(items)} pictures, {len(classes)} classes, {how})",
            [item.path for item in items],
            [item.recording for item in items],
            labels=[item.label for item in items],
        )
        rows = np.arange(len(items), dtype=np.intp)
        return Target(name, source, (Division(rows[: len(train)], rows[len(train) :]),), classes, note, duplicates)

    def _parts(self) -> tuple[list[Item], list[Item], tuple[str, ...], str]:
        root = self.folder
        if not _has_classes(root / self.train):
            return _split_bare(root)
        found = [name for name in (self.test, "val") if _has_classes(root / name)]
        if not found:
            raise UserError(
                f"'{root}' has {self.train}/ but no {self.test}/ or val/ with class folders; add one, or give "
                f"'{root / self.train}' itself to have a part of its recordings set aside"
            )
        train, test = _files_by_class(root / self.train), _files_by_class(root / found[0])
        classes = _check_classes(train, root / self.train)
        for here, there, missing_from in ((train, test, found[0]), (test, train, self.train)):
            missing = sorted(set(here) - set(there))
            if missing:
                raise UserError(
                    f"{len(missing)} of {len(here)} classes have no pictures in '{root / missing_from}': {_some(missing)}; "
                    "every class needs pictures in both parts: add them or remove the class"
                )
        how = f"split as given in {self.train}/ and {found[0]}/"
        return _items(train, classes), _items(test, classes), classes, how

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes of plain colours with some noise: 6 train and 3 test pictures each, 40 x 32 pixels."""
        for label, name in enumerate(("blue", "green", "red")):
            for part, count in (("train", 6), ("test", 3)):
                (folder / part / name).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    pixels = generator("tiny class folder", part, name, number).integers(0, 120, (32, 40, 3))
                    pixels[..., 2 - label] += 100
                    (folder / part / name / f"{name}{number:02d}.png").write_bytes(encode(pixels.astype(np.uint8)))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """``train/`` with ``test/`` or ``val/`` of class folders, or nothing but two or more folders that hold pictures."""
        if _has_classes(folder / "train"):
            return _has_classes(folder / "test") or _has_classes(folder / "val")
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return len(inside) >= 2 and not _holds_pictures(folder) and all(_holds_pictures(path) for path in inside)


def recordings_of(stems: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], bool]:
    """Which recording each picture is from, by its file name; and whether names say anything about recordings.

    A trailing view or frame number is removed (``room_012_3`` is of ``room_012``) when, in some class, several such
    prefixes occur and one of them repeats. Plain numbering (``image_0001``, ``image_0002``: one prefix for a whole class,
    in every class) says nothing: each picture is then its own recording.

    Args:
        stems: class name -> file names without suffix.
    """
    cut = {name: [_NUMBER.sub("", stem) for stem in given] for name, given in stems.items()}
    named = any(1 < len(set(prefixes)) < len(prefixes) for prefixes in cut.values())
    return (cut if named else {name: list(given) for name, given in stems.items()}), named


def count_duplicates(train: Iterable[Path], test: Iterable[Path]) -> int:
    """How many test files have the very bytes of a train file; only files of equal size are read."""
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in train:
        sizes[path.stat().st_size].append(path)
    known: dict[int, set[bytes]] = {}
    count = 0
    for path in test:
        size = path.stat().st_size
        if size in sizes:
            if size not in known:
                known[size] = {_hash(other) for other in sizes[size]}
            count += _hash(path) in known[size]
    return count


def _hash(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return str(path).encode()  # unreadable: equal to itself only; reading its pixels will report it


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its picture files; a class folder without pictures counts as missing."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {path.name: list(picture_files(path)) for path in classes}
    return {name: files for name, files in found.items() if files}


def _check_classes(files: Mapping[str, Sequence[Path]], folder: Path) -> tuple[str, ...]:
    if len(files) < 2:
        what = f"pictures of one class only ({next(iter(files))})" if files else "no class folders with pictures"
        raise UserError(
            f"'{folder}' has {what}; give a folder with train/CLASS/ and test/CLASS/, or with two or more CLASS/ folders, "
            f"of {', '.join(sorted(SUFFIXES))} files"
        )
    return tuple(files)


def _items(files: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> list[Item]:
    recordings, _ = recordings_of({name: [path.stem for path in files[name]] for name in classes})
    return [
        Item(path, label, f"{name}/{recording}")
        for label, name in enumerate(classes)
        for path, recording in zip(files[name], recordings[name], strict=True)
    ]


def _split_bare(root: Path) -> tuple[list[Item], list[Item], tuple[str, ...], str]:
    files = _files_by_class(root)
    classes = _check_classes(files, root)
    _, named = recordings_of({name: [path.stem for path in files[name]] for name in classes})
    items = _items(files, classes)
    test = _test_recordings(items, classes, root)
    unit = "recordings, told by file name" if named else "pictures, each its own recording"
    how = f"no test folder: {TEST_SHARE:.0%} of every class's {unit}, set aside"
    return [i for i in items if i.recording not in test], [i for i in items if i.recording in test], classes, how


def _test_recordings(items: Sequence[Item], classes: Sequence[str], root: Path) -> set[str]:
    """A fixed share of each class's recordings, the same ones on every machine and for every seed."""
    chosen: set[str] = set()
    for label, name in enumerate(classes):
        sizes = Counter(item.recording for item in items if item.label == label)
        if len(sizes) < 2:
            raise UserError(
                f"class '{name}' in '{root}' has one recording only ('{next(iter(sizes))}', {sizes.total()} pictures), "
                "which cannot be split; add another, remove the class, or make train/ and test/ folders"
            )
        ranked = sorted(sizes, key=lambda recording: (digest("class folder test", recording), recording))
        chosen.update(ranked[: max(1, round(TEST_SHARE * len(ranked)))])
    return chosen


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
