"""Pascal VOC: photographs with boxes, the classes that follow from them, and masks of a part (Everingham et al. 2010).

``JPEGImages/``, ``Annotations/*.xml``, ``ImageSets/{Main,Segmentation}/{train,val,trainval,test}.txt`` and
``SegmentationClass/*.png``, in the folder itself or below ``VOCdevkit/VOC2007/``. Folders of one's own with pictures and such xml
files but no lists are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from embodied_ssl.datasets.class_folder import TEST_SHARE
from embodied_ssl.datasets.io.labelled import check_complete, one_after_the_other, set_aside, some, tags_of, target_of_files
from embodied_ssl.datasets.io.pictures import encode, picture_files
from embodied_ssl.datasets.target import Boxes, Division, FilePlane, LabelledPictures, Target, TargetSpec
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator

# fmt: off
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
Things = tuple[list[str], Boxes]  # class names, and boxes whose labels are yet to be numbered


@dataclass(frozen=True)
class Voc(TargetSpec):
    """Pascal VOC, or a folder in its layout.

    Train and test are ``trainval`` and ``test`` (VOC2007); without a test list ``train`` and ``val``; without lists a fixed share
    of the pictures is set aside. The note says which.

    Args:
        root: the folder with ``Annotations/``, or the one around it (``VOCdevkit/`` with one year).
        segmentation: the pictures of the segmentation lists with their masks, instead of all with tags and boxes.
        pictures, annotations: what the two folders are called.
    """

    protocol: ClassVar[str] = "Pascal VOC: JPEGImages/, Annotations/*.xml, ImageSets/; boxes, classes of a picture, masks"
    root: str
    segmentation: bool = False
    pictures: str = "JPEGImages"
    annotations: str = "Annotations"

    def target(self) -> Target:
        """Tags and boxes, or masks, of the listed pictures.

        A class's tag is 1 where it has a box, -1 where all its boxes are difficult, else 0: what VOC's ``CLASS_trainval.txt``
        say as 1, 0, -1. Corners are counted from 0 at the picture's edge: VOC's 1-based inclusive (48, 240, 195, 371) becomes
        (47, 239, 195, 371).

        Raises:
            UserError: no such layout, or a listed picture, annotation or mask is missing.
        """
        root = self._year()
        names, division, how = self._lists(root)
        return self._masks(root, names, division, how) if self.segmentation else self._boxes(root, names, division, how)

    def _year(self) -> Path:
        """The folder that holds the annotations: the root itself, or one year below it."""
        root = self.folder
        places = [place for place in (root, *_years(root)) if (place / self.annotations).is_dir()]
        if not places:
            raise UserError(
                f"'{root}' has no {self.annotations}/ folder; accepted: {self.pictures}/ with {self.annotations}/*.xml (and "
                "ImageSets/), also below VOCdevkit/VOC2007/"
            )
        if root not in places and len(places) > 1:
            raise UserError(f"'{root}' holds {', '.join(place.name for place in places)}; give the folder of one year")
        if not (places[0] / self.pictures).is_dir():
            raise UserError(f"'{places[0]}' has {self.annotations}/ but no {self.pictures}/; unpack the pictures too")
        return places[0]

    def _lists(self, root: Path) -> tuple[list[str], Division, str]:
        """The names of all pictures in use, how they divide, and the note that says so."""
        kind = "Segmentation" if self.segmentation else "Main"
        folder = root / "ImageSets" / kind
        listed = {part: _read_list(folder / f"{part}.txt") for part in ("train", "val", "trainval", "test")}
        for train, test in (("trainval", "test"), ("train", "val")):
            if listed[train] and listed[test]:
                both = set(listed[train]) & set(listed[test])
                if both:
                    raise UserError(
                        f"{len(both)} pictures are on both lists {train} and {test} in '{folder}': {some([*both])}; mend"
                    )
                names = [*listed[train], *listed[test]]
                return names, one_after_the_other(len(listed[train]), len(listed[test])), f"{kind} lists {train} and {test}"
        if self.segmentation:
            raise UserError(f"'{folder}' lacks trainval.txt with test.txt, or train.txt with val.txt: what segmentation needs")
        names = listed["trainval"] or listed["train"] or sorted(path.stem for path in (root / self.annotations).glob("*.xml"))
        return names, set_aside(names, root / self.annotations), f"no test list: {TEST_SHARE:.0%} of the pictures, set aside"

    def _files(self, root: Path, names: Sequence[str]) -> list[Path]:
        found = {path.stem: path for path in picture_files(root / self.pictures)}
        check_complete([name for name in names if name not in found], len(names), "pictures", root / self.pictures)
        return [found[name] for name in names]

    def _boxes(self, root: Path, names: Sequence[str], division: Division, how: str) -> Target:
        files = self._files(root, names)
        annotations = [root / self.annotations / f"{name}.xml" for name in names]
        absent = [path.stem for path in annotations if not path.exists()]
        check_complete(absent, len(names), "annotations", root / self.annotations)
        read: dict[int, Things] = {}
        bad = []
        for row, path in enumerate(annotations):
            try:
                read[row] = read_xml(path)
            except BadItem as error:
                bad.append(error)
        if not read:
            raise UserError(f"no annotation in '{root / self.annotations}' can be read (the first: {bad[0]}); accepted: VOC xml")
        classes = _classes({name for things, _ in read.values() for name in things}, (root / "ImageSets" / "Main").is_dir())
        numbered = [_number(things, classes) for things in read.values()]
        kept = np.asarray(list(read), np.intp)
        division = Division(*(np.flatnonzero(np.isin(kept, rows)).astype(np.intp) for rows in division))
        source = LabelledPictures(
            f"{root.name} ({len(kept)} pictures, {len(classes)} classes, {how})",
            [files[row] for row in kept],
            [names[row] for row in kept],
            tags=tags_of(numbered, len(classes)),
            boxes=numbered,
            bad=bad,
        )
        return target_of_files(root.resolve().name, source, division, classes, how)

    def _masks(self, root: Path, names: Sequence[str], division: Division, how: str) -> Target:
        files = self._files(root, names)
        masks = [root / "SegmentationClass" / f"{name}.png" for name in names]
        check_complete([path.stem for path in masks if not path.exists()], len(names), "masks", masks[0].parent)
        classes = ("background", *CLASSES)
        title = f"{root.name} segmentation ({len(names)} pictures, {len(classes)} classes, {how})"
        source = LabelledPictures(title, files, names, masks=[FilePlane(path) for path in masks])
        return target_of_files(f"{root.resolve().name} segmentation", source, division, classes, how)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """VOC2007 with 8 pictures of 48 x 32 pixels: a dog or a cat, in two a difficult one; 4 have masks. Lists as VOC's."""
        root = folder / "VOCdevkit" / "VOC2007"
        for name in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation", "SegmentationClass"):
            (root / name).mkdir(parents=True, exist_ok=True)
        names = [f"{number:06d}" for number in range(1, 9)]
        for number, name in enumerate(names):
            _write_tiny(root, name, number)
        parts = {"train": names[:2], "val": names[2:4], "trainval": names[:4], "test": names[4:]}
        for part, listed in parts.items():
            (root / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in listed))
            masked = [name for name in listed if int(name) in (1, 4, 5, 8)]
            (root / "ImageSets/Segmentation" / f"{part}.txt").write_text("".join(f"{name}\n" for name in masked))
            for label, kind in enumerate(("cat", "dog")):
                lines = [f"{name} {_tiny_tag(int(name) - 1, label):2d}\n" for name in listed]
                (root / "ImageSets/Main" / f"{kind}_{part}.txt").write_text("".join(lines))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """``JPEGImages/`` beside ``Annotations/``, here or in a year's folder."""
        places = (folder, *_years(folder))
        return any((place / "JPEGImages").is_dir() and (place / "Annotations").is_dir() for place in places)


def read_xml(path: Path) -> Things:
    """The class names and boxes of one picture, difficult ones marked; labels are all 0 as yet.

    Raises:
        BadItem: not VOC's xml, or a box without area.
    """
    try:
        things = ElementTree.parse(path).getroot().findall("object")
        names = [_text(thing, "name") for thing in things]
        corners = [[float(_text(thing, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")] for thing in things]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise BadItem(str(path), f"not a VOC annotation ({error})") from None
    found = np.asarray(corners, np.float32).reshape(-1, 4) - np.asarray([1, 1, 0, 0], np.float32)
    if (found[:, 2:] <= found[:, :2]).any():
        raise BadItem(str(path), "has a box without area")
    difficult = np.asarray([thing.findtext("difficult", "0").strip() == "1" for thing in things], bool)
    return names, Boxes(found, np.zeros(len(names), np.int64), difficult)


def _text(thing: ElementTree.Element, name: str) -> str:
    text = thing.findtext(name)
    if text is None:
        raise ValueError(f"an object has no {name}")
    return text.strip()


def _years(folder: Path) -> list[Path]:
    """Folders named like VOC2007, here or below VOCdevkit/."""
    return sorted(path for place in (folder, folder / "VOCdevkit") for path in place.glob("VOC[12]*") if path.is_dir())


def _read_list(path: Path) -> list[str]:
    return sorted({line.split()[0] for line in path.read_text().splitlines() if line.strip()}) if path.exists() else []


def _classes(found: set[str], listed: bool) -> tuple[str, ...]:
    return CLASSES if listed and found <= set(CLASSES) else tuple(sorted(found))


def _number(things: Things, classes: Sequence[str]) -> Boxes:
    names, boxes = things
    return boxes._replace(labels=np.asarray([classes.index(name) for name in names], np.int64))


def _tiny_tag(number: int, label: int) -> int:
    """1, 0 (difficult) or -1, as in VOC's lists: picture ``number`` shows class ``number % 2``; 2 and 5 difficult ones only."""
    return -1 if number % 2 != label else 0 if number in (2, 5) else 1


def _write_tiny(root: Path, name: str, number: int) -> None:
    label = number % 2
    left, top = 1 + 2 * number, 1 + number
    pixels = generator("tiny voc", number).integers(0, 120, (32, 48, 3)).astype(np.uint8)
    pixels[top - 1 : top + 15, left - 1 : left + 19, 2 * label] += 120
    (root / "JPEGImages" / f"{name}.jpg").write_bytes(encode(pixels, ".jpg"))
    box: Mapping[str, int] = {"xmin": left, "ymin": top, "xmax": left + 19, "ymax": top + 15}
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in box.items())
    hard = int(_tiny_tag(number, label) == 0)
    (root / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><filename>{name}.jpg</filename><size><width>48</width><height>32</height><depth>3</depth></size>"
        f"<object><name>{('cat', 'dog')[label]}</name><difficult>{hard}</difficult><bndbox>{sides}</bndbox></object></annotation>"
    )
    mask = np.zeros((32, 48), np.uint8)
    mask[top - 1 : top + 15, left - 1 : left + 19] = 255  # the border that VOC leaves undecided
    mask[top : top + 14, left : left + 18] = 1 + CLASSES.index(("cat", "dog")[label])
    picture = Image.fromarray(mask)
    picture.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    picture.save(root / "SegmentationClass" / f"{name}.png")
