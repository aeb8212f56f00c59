"""MIT Indoor-67: 67 kinds of room, with the authors' lists of about 80 training and 20 test pictures of each.

Quattoni and Torralba 2009. Pictures that no list names are left out. Some files are not what their suffix says (GIF, PNG, grey):
they are read by their content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.listed import Listed, divided, read_lines, require
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError

LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}


@dataclass(frozen=True)
class Indoor67(TargetSpec):
    """MIT Indoor-67 as its authors divided it."""

    protocol: ClassVar[str] = "MIT Indoor-67: Images/CLASS/*.jpg with TrainImages.txt and TestImages.txt"

    def target(self) -> Target:
        """The pictures that the two lists name.

        Raises:
            UserError: a list or a picture is missing, or a class is missing from a list.
        """
        root = self.folder
        lists = {part: read_lines(root / name) for part, name in LISTS.items()}
        loose = [file for files in lists.values() for file in files if file.count("/") != 1]
        if loose:
            raise UserError(f"the lists in '{root}' name '{loose[0]}'; accepted are lines such as kitchen/int474.jpg")
        for part, files in lists.items():
            require(root / "Images", files, f"'{root / LISTS[part]}'")
        classes = sorted({file.partition("/")[0] for files in lists.values() for file in files})
        label = {name: number for number, name in enumerate(classes)}
        train, test = (Listed(files, [label[file.partition("/")[0]] for file in files]) for files in lists.values())
        note = "split as listed in TrainImages.txt and TestImages.txt"
        return divided("Indoor-67", root / "Images", train, test, classes, note, count_bytes=True)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes of 4 training, 2 test and 1 unlisted picture."""
        listed: dict[str, list[str]] = {"train": [], "test": [], "unlisted": []}
        for label, name in enumerate(("airport_inside", "bakery", "winecellar")):
            (folder / "Images" / name).mkdir(parents=True, exist_ok=True)
            for number, part in enumerate(("train",) * 4 + ("test",) * 2 + ("unlisted",)):
                file = f"{name}/int{number}.jpg"
                (folder / "Images" / file).write_bytes(encode(numbered(10 * label + number), ".jpg"))
                listed[part].append(file)
        for part, path in LISTS.items():
            (folder / path).write_text("\n".join(listed[part]))
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / "Images").is_dir() and all((folder / name).is_file() for name in LISTS.values())
