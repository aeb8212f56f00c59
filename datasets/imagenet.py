"""ImageNet: training and validation pictures by WordNet class, with the published 1 % and 10 % of the training pictures.

Russakovsky et al. 2015. Labels of the test pictures were never published: validation is the test part here. The partial lists
are those of Chen et al. 2020 (SimCLR, ``imagenet_subsets/``), balanced over classes. Copies of fewer classes are read likewise.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from embodied_ssl.datasets.io.listing import subfolders
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.listed import Listed, divided, pictures_in, read_lines
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError

CLASSES = 1000
TRAIN, VAL = 1_281_167, 50_000  # published pictures
SUBSETS = {"1 %": "1percent.txt", "10 %": "10percent.txt"}
SOLUTION = "LOC_val_solution.csv"
KAGGLE = "ILSVRC/Data/CLS-LOC"  # where the Kaggle archive has the pictures
_SYNSET = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ImageNetFolder(TargetSpec):
    """ImageNet, or some of its classes, in folders named by WordNet number.

    Args:
        root: the folder with ``train/`` and ``val/``, or the unpacked Kaggle archive. Validation pictures are in class folders
            too, or flat with ``LOC_val_solution.csv`` beside them or in the root. ``1percent.txt`` and ``10percent.txt`` are
            looked for in the root and in ``imagenet_subsets/``.
    """

    protocol: ClassVar[str] = "ImageNet: train/n01440764/*.JPEG, val/n01440764/*.JPEG (or flat with LOC_val_solution.csv)"

    def target(self) -> Target:
        """Training and validation pictures; ``subsets`` hold the partial lists that are there, and are empty without any.

        Raises:
            UserError: a class is missing from a part, a picture that a list names is missing, or all 1,000 classes are there
                but not all pictures.
        """
        root = self.folder
        base = _base(root)
        classes = [path.name for path in subfolders(base / "train") if _SYNSET.fullmatch(path.name)]
        if not classes:
            raise UserError(f"'{root}' has no class folders train/n00000000 with .JPEG pictures; accepted is {self.protocol}")
        train = _in_class_folders(base, "train", classes)
        nested = any(_SYNSET.fullmatch(path.name) for path in subfolders(base / "val"))
        test = _in_class_folders(base, "val", classes) if nested else _flat(root, base, classes)
        if len(classes) == CLASSES:
            _check_whole(root, train, test, classes)
        subsets = {name: _subset(path, train) for name, path in _subset_lists(root).items()}
        note = "the validation pictures are the test part, as test labels were never published"
        name = "ImageNet" if len(classes) == CLASSES else f"ImageNet-{len(classes)}"
        return divided(name, base, train, test, classes, note, subsets=subsets)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes of 10 training and 2 validation pictures, and the list of one training picture each as 10 %."""
        for label, synset in enumerate(("n01440764", "n02119789", "n15075141")):
            for part, count in (("train", 10), ("val", 2)):
                (folder / part / synset).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    name = f"{synset}_{number}.JPEG" if part == "train" else f"ILSVRC2012_val_{10 * label + number:08d}.JPEG"
                    data = encode(numbered(100 * label + (50 if part == "val" else 0) + number), ".jpg")
                    (folder / part / synset / name).write_bytes(data)
        (folder / "imagenet_subsets").mkdir(exist_ok=True)
        (folder / "imagenet_subsets" / "10percent.txt").write_text("n02119789_3.JPEG\nn01440764_7.JPEG\nn15075141_0.JPEG\n")
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        base = _base(folder)
        found = [path for path in subfolders(base / "train") if _SYNSET.fullmatch(path.name)]
        return bool(found) and (base / "val").is_dir() and bool(pictures_in(found[0]))


def _base(root: Path) -> Path:
    return root / KAGGLE if (root / KAGGLE).is_dir() else root


def _in_class_folders(base: Path, part: str, classes: list[str]) -> Listed:
    """``part/CLASS/*.JPEG``; the classes of both parts must be the same."""
    others = sorted({path.name for path in subfolders(base / part) if _SYNSET.fullmatch(path.name)} - set(classes))
    if others:
        raise UserError(
            f"'{base}' has {len(others)} classes in {part}/ that train/ lacks, the first '{others[0]}'; the copy is incomplete"
        )
    pairs = [(f"{part}/{name}/{file}", label) for label, name in enumerate(classes) for file in pictures_in(base / part / name)]
    return Listed([file for file, _ in pairs], [label for _, label in pairs])


def _flat(root: Path, base: Path, classes: list[str]) -> Listed:
    """Validation pictures in one folder, with the class of each in Kaggle's table."""
    tables = [place / SOLUTION for place in (root, base, base / "val") if (place / SOLUTION).is_file()]
    if not tables:
        raise UserError(
            f"'{base / 'val'}' has no class folders, and there is no {SOLUTION} in '{root}' to say the class of each picture; "
            "sort the pictures into folders named n00000000, or add the table"
        )
    label = {name: number for number, name in enumerate(classes)}
    answers = dict(_answer(line, tables[0]) for line in read_lines(tables[0])[1:])
    present = {name.rpartition(".")[0]: name for name in pictures_in(base / "val")}
    wanted = [picture for picture, synset in answers.items() if synset in label]
    absent = [picture for picture in wanted if picture not in present]
    if absent:
        raise UserError(
            f"'{base / 'val'}' lacks {len(absent)} of the {len(wanted)} pictures that {SOLUTION} names, the first '{absent[0]}'; "
            "the copy is incomplete: unpack it again"
        )
    return Listed([f"val/{present[picture]}" for picture in wanted], [label[answers[picture]] for picture in wanted])


def _answer(line: str, path: Path) -> tuple[str, str]:
    """``ILSVRC2012_val_00048981,n03995372 85 1 499 272`` is that picture's name and class; boxes are passed over."""
    picture, _, boxes = line.partition(",")
    if not _SYNSET.match(boxes):
        raise UserError(f"'{path}' has the line '{line}'; accepted are a picture's name, a comma and its class: copy it again")
    return picture, boxes[:9]


def _check_whole(root: Path, train: Listed, test: Listed, classes: list[str]) -> None:
    """All classes are there, so that the figure will be called ImageNet's: all pictures must be there too."""
    for part, listed, published in (("train", train, TRAIN), ("val", test, VAL)):
        if len(listed.files) < published:
            counts = Counter(listed.labels)
            rarest = min(range(len(classes)), key=lambda label: counts[label])
            raise UserError(
                f"'{root}' lacks {published - len(listed.files)} of the {published} pictures of {part}/; the class with fewest "
                f"is '{classes[rarest]}' ({counts[rarest]}): the copy is incomplete, unpack it again"
            )


def _subset_lists(root: Path) -> dict[str, Path]:
    found = {}
    for name, file in SUBSETS.items():
        places = [place / file for place in (root, root / "imagenet_subsets") if (place / file).is_file()]
        if places:
            found[name] = places[0]
    return found


def _subset(path: Path, train: Listed) -> list[str]:
    """The training pictures that a list names; those of classes that this copy does not hold are passed over."""
    by_name = {file.rpartition("/")[2]: file for file in train.files}
    present = {file.split("/")[1] for file in train.files}
    wanted = [name for name in dict.fromkeys(read_lines(path)) if name.partition("_")[0] in present]
    if not wanted:
        raise UserError(f"'{path}' names no picture of the classes in train/; accepted are lines such as n01440764_10026.JPEG")
    absent = [name for name in wanted if name not in by_name]
    if absent:
        raise UserError(
            f"train/ lacks {len(absent)} of the {len(wanted)} pictures that '{path}' names, the first '{absent[0]}'; the copy is "
            "incomplete: unpack it again"
        )
    return [by_name[name] for name in wanted]
