"""COCO-style boxes: ``annotations/instances_*.json`` beside the pictures (Lin et al. 2014, arXiv:1405.0312).

Pictures lie in ``train2017/`` and ``val2017/``, in ``images/train2017/``, or in ``images/``. Crowds become difficult boxes, which
are neither right nor wrong when judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from embodied_ssl.datasets.class_folder import TEST_SHARE
from embodied_ssl.datasets.io.labelled import check_complete, one_after_the_other, set_aside, tags_of, target_of_files
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.target import Boxes, LabelledPictures, Target, TargetSpec
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.files import write_json
from embodied_ssl.keys import generator

Id = int | str  # as the file has them: some tools write strings


class Listing(NamedTuple):
    """One annotation file: its picture files in sorted order, their boxes, and the classes by id."""

    files: list[Path]
    boxes: list[Boxes]
    classes: dict[Id, str]
    bad: list[BadItem]


@dataclass(frozen=True)
class Coco(TargetSpec):
    """Boxes and classes of each picture in COCO's layout.

    Train and test are ``instances_train*.json`` and ``instances_val*.json``; with one file a fixed share of its pictures is set
    aside.

    Args:
        root: the folder with ``annotations/``.
    """

    protocol: ClassVar[str] = (
        "COCO: annotations/instances_*.json and train2017/, val2017/ or images/; boxes, classes of a picture"
    )
    root: str

    def target(self) -> Target:
        """Boxes as corners and the tags that follow: 1 where a class has a box, -1 where only a crowd, else 0.

        Category ids become 0..C-1 in their own order. Pictures without a box stay, with tags all 0.

        Raises:
            UserError: no such layout, several files for one part, files that do not fit together, or pictures are missing.
        """
        root = self.folder
        found = _annotation_files(root)
        listings = [_read(root, path) for path in found]
        classes = listings[0].classes
        if any(listing.classes != classes for listing in listings):
            raise UserError(f"{found[0].name} and {found[1].name} in '{root}' have different categories; give files that agree")
        files = [path for listing in listings for path in listing.files]
        boxes = [one for listing in listings for one in listing.boxes]
        if len(listings) == 2:
            division = one_after_the_other(*(len(listing.files) for listing in listings))
            how = f"split as given in {found[0].name} and {found[1].name}"
        else:
            division = set_aside([path.name for path in files], root)
            how = f"one annotation file: {TEST_SHARE:.0%} of its pictures, set aside"
        name = root.resolve().name
        source = LabelledPictures(
            f"{name} ({len(files)} pictures, {len(classes)} classes, {how})",
            files,
            [str(path.relative_to(root)) for path in files],
            tags=tags_of(boxes, len(classes)),
            boxes=boxes,
            bad=[item for listing in listings for item in listing.bad],
        )
        return target_of_files(name, source, division, tuple(classes.values()), how)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Six train and four val pictures of 48 x 32 pixels; two categories with ids 18 and 3, a crowd, an empty picture."""
        categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
        for part, count in (("train2017", 6), ("val2017", 4)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            images: list[dict[str, Id | int]] = []
            annotations: list[dict[str, Any]] = []
            for number in range(count):
                name = f"{number:012d}.jpg"
                pixels = generator("tiny coco", part, number).integers(0, 255, (32, 48, 3)).astype(np.uint8)
                (folder / part / name).write_bytes(encode(pixels, ".jpg"))
                images.append({"id": 100 + number, "file_name": name, "width": 48, "height": 32})
                for place in range(number % 3):  # the first picture has none
                    box = [2.5 + 3 * place, 1.0 + number, 20.0, 12.5]
                    crowd = int(number == 2 and place == 1)
                    kind = categories[(number + place) % 2]["id"]
                    entry = {"id": len(annotations), "image_id": 100 + number, "category_id": kind, "bbox": box, "iscrowd": crowd}
                    annotations.append(entry)
            listing = {"images": images[::-1], "annotations": annotations, "categories": categories}
            write_json(folder / "annotations" / f"instances_{part}.json", listing)
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """``annotations/instances_*.json``."""
        return any((folder / "annotations").glob("instances_*.json"))


def _annotation_files(root: Path) -> list[Path]:
    """Of train and of val, or the only one there is."""
    found = sorted((root / "annotations").glob("instances_*.json"))
    if not found:
        raise UserError(
            f"'{root}' has no annotations/instances_*.json; accepted: annotations/ with instances_train2017.json (and "
            "instances_val2017.json) beside train2017/, val2017/ or images/"
        )
    parts = {word: [path for path in found if path.stem.startswith(f"instances_{word}")] for word in ("train", "val")}
    if all(len(paths) == 1 for paths in parts.values()):
        return [parts["train"][0], parts["val"][0]]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"'{root / 'annotations'}' has {names}; keep one for train and one for val, or a single one")
    return found


def _read(root: Path, path: Path) -> Listing:
    try:
        content = json.loads(path.read_text())
        images, annotations = content["images"], content["annotations"]
        categories: dict[Id, str] = {entry["id"]: entry["name"] for entry in content["categories"]}
        of_picture: dict[Id, list[Any]] = {entry["id"]: [] for entry in images}
        for entry in annotations:
            of_picture[entry["image_id"]].append(entry)
        images = sorted(images, key=lambda entry: str(entry["file_name"]))
        classes = {key: categories[key] for key in sorted(categories, key=_id_order)}
        bad: list[BadItem] = []
        boxes = [_boxes(of_picture[entry["id"]], list(classes), path, bad) for entry in images]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UserError(f"'{path}' is not a COCO annotation file ({what}); accepted: images, annotations, categories") from None
    return Listing(_find(root, path, [str(entry["file_name"]) for entry in images]), boxes, classes, bad)


def _id_order(key: Id) -> tuple[bool, int, str]:
    """Whole numbers by value, also when written as strings; other strings after them."""
    number = str(key).isdigit()
    return not number, int(key) if number else 0, str(key)


def _boxes(entries: Sequence[Mapping[str, Any]], ids: Sequence[Id], path: Path, bad: list[BadItem]) -> Boxes:
    """The boxes of one picture: x, y, width, height to corners. One without area is left out and named."""
    kept = []
    for entry in entries:
        if entry["bbox"][2] > 0 and entry["bbox"][3] > 0:
            kept.append(entry)
        else:
            bad.append(BadItem(f"{path}, annotation {entry.get('id', '?')}", "has a box without area"))
    corners = np.asarray([entry["bbox"] for entry in kept], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    labels = np.asarray([ids.index(entry["category_id"]) for entry in kept], np.int64)
    return Boxes(corners.astype(np.float32), labels, np.asarray([bool(entry.get("iscrowd", 0)) for entry in kept], bool))


def _find(root: Path, path: Path, names: Sequence[str]) -> list[Path]:
    """Where the pictures of an annotation file are: all of them in one folder.

    Raises:
        UserError: some are missing.
    """
    part = path.stem.removeprefix("instances_")
    if not names:
        raise UserError(f"'{path}' lists no pictures; give a complete file")
    places = [place for place in (root / part, root / "images" / part, root / "images") if place.is_dir()]
    if not places:
        raise UserError(f"'{root}' has no {part}/, images/{part}/ or images/ with the pictures of {path.name}; unpack them there")
    missing = {place: [name for name in names if not (place / name).is_file()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    check_complete(missing[best], len(names), f"pictures of {path.name}", best)
    return [best / name for name in names]
