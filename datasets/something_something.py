"""Something-Something v2: 220,847 clips of people doing 174 things with whatever is at hand.

Goyal et al. 2017. A label is a template ("Pushing [something] from left to right"), so a view that mirrors frames changes many
labels: left and right change places. Who filmed a clip was not published: every clip is a recording of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.listed import read_lines
from embodied_ssl.datasets.listed_videos import check_choice, check_folders, present
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

VIDEOS, LISTS = "20bn-something-something-v2", "labels"
PARTS = ("train", "validation", "test")


def read_json(path: Path, kind: type) -> Any:
    """A JSON file whose outermost value is of a kind.

    Raises:
        UserError: it is not there, broken, or holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; the original layout has it: add it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); copy it again") from None
    if not isinstance(found, kind):
        raise UserError(f"'{path}' holds a {type(found).__name__} where the original has a {kind.__name__}; copy it again")
    return found


def read_part(folder: Path, part: str) -> Iterator[tuple[str, str]]:
    """The id and template of each clip of a part; templates as in ``labels.json``, without their brackets."""
    path = folder / ("test-answers.csv" if part == "test" else f"{part}.json")
    if part == "test":
        for line in read_lines(path):
            number, _, template = line.partition(";")
            yield number.strip(), template.strip()
        return
    for row in read_json(path, list):
        try:
            yield str(row["id"]), str(row["template"]).replace("[", "").replace("]", "")
        except (TypeError, KeyError) as error:
            raise UserError(f"'{path}' has a row without id and template ({error!r}); copy it again") from None


@dataclass(frozen=True)
class SomethingSomething(VideoSpec):
    """Something-Something v2; further attributes as for every set of videos.

    Attributes:
        official: only the ``train``, ``validation`` or ``test`` part; all three where empty.
    """

    protocol: ClassVar[str] = "Something-Something v2: 20bn-something-something-v2/1.webm with labels/; for evaluation only"

    official: Literal["", "train", "validation", "test"] = ""

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        check_choice("official", self.official, ("", *PARTS))
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            check_folders(root, (VIDEOS, LISTS), f"the folder that holds {VIDEOS}/ and {LISTS}/")
            labels = self._labels(root / LISTS)
            listed = [f"{number}.webm" for number in sorted(labels, key=lambda number: (len(number), number))]
            found, absent = present(root / VIDEOS, listed, f"{LISTS}/ ({self.official or 'all parts'})")
            bad += absent
            for file in found:
                number = file.removesuffix(".webm")
                clips.append(Clip(f"{root / VIDEOS}/{file}", prefix + number, answers={"label": labels[number]}))
        return clips, bad

    def _labels(self, folder: Path) -> dict[str, int]:
        """The label of each clip of the parts asked for, by its id."""
        classes = read_json(folder / "labels.json", dict)
        if not all(str(label).isdecimal() for label in classes.values()):
            raise UserError(f"'{folder}/labels.json' has labels that are no whole numbers; copy it again")
        parts = [part for part in PARTS if self.official in ("", part)]
        templates = {number: template for part in parts for number, template in read_part(folder, part)}
        unknown = sorted(set(templates.values()) - set(classes))
        if unknown:
            raise UserError(
                f"'{folder}' has {len(unknown)} labels that labels.json lacks, the first '{unknown[0]}'; copy it again"
            )
        if not templates:
            raise UserError(f"'{folder}' lists no clips; copy it again")
        return {number: int(classes[template]) for number, template in templates.items()}

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Twelve clips, VP9 at 12 frames a second: 6 train, 3 validation, 3 test, of three classes by turns."""
        templates = ["Holding [something]", "Pushing [something] from left to right", "Putting [something] on a surface"]
        (folder / VIDEOS).mkdir(parents=True)
        (folder / LISTS).mkdir()
        rows = []
        for clip in range(12):
            number, template = str(5 + 3 * clip), templates[clip % 3]
            rows.append(
                {"id": number, "label": template.replace("[something]", "a cup"), "template": template, "placeholders": ["a cup"]}
            )
            options = {"deadline": "realtime", "cpu-used": "8", "crf": "40", "b": "0"}
            frames = [numbered(20 * clip + frame, period=12 + clip) for frame in range(8)]
            write_video(folder / VIDEOS / f"{number}.webm", frames, "libvpx-vp9", rate=12, options=options)
        plain = [template.replace("[", "").replace("]", "") for template in templates]
        (folder / LISTS / "labels.json").write_text(json.dumps({name: str(label) for label, name in enumerate(plain)}))
        (folder / LISTS / "train.json").write_text(json.dumps(rows[:6]))
        (folder / LISTS / "validation.json").write_text(json.dumps(rows[6:9]))
        (folder / LISTS / "test.json").write_text(json.dumps([{"id": row["id"]} for row in rows[9:]]))
        answers = [f"{row['id']};{plain[place % 3]}\n" for place, row in enumerate(rows[9:])]
        (folder / LISTS / "test-answers.csv").write_text("".join(answers))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / VIDEOS).is_dir() and (folder / LISTS).is_dir()
