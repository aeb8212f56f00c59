"""Charades-Ego: people act out scripts at home twice, filmed from their own eyes and by somebody else.

Both films of a script stay on one side of every split, and so does all that one person filmed. Sigurdsson et al., CVPR 2018.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.listing import few_absent, prefixes, subfolders
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.tables import read_table
from embodied_ssl.datasets.together import together
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

CLASSES = 157
RATE = 24.0  # of the published pictures, a second
TABLE = "CharadesEgo_v1_{part}.csv"
COLUMNS = ("id", "subject", "egocentric", "charades_video", "actions")
VIDEOS = ("CharadesEgo_v1_480", "CharadesEgo_v1")  # the smaller ones first
PICTURES = "CharadesEgo_v1_rgb"
ACTION = re.compile(r"c(?P<number>\d{3}) (?P<start>[\d.]+) (?P<end>[\d.]+)")

Row = Mapping[str, str]


def tags_of(actions: str) -> NDArray[np.int8]:
    """Which of the classes a film shows, int8 [157], from ``c092 11.90 21.20;c147 0.00 12.60``; nothing shows none.

    Raises:
        ValueError: it is of another form, or names a class that is not there.
    """
    tags = np.zeros(CLASSES, np.int8)
    for written in filter(None, actions.split(";")):
        found = ACTION.fullmatch(written.strip())
        if not found or int(found["number"]) >= CLASSES:
            raise ValueError(f"'{written}' is not an action such as 'c092 11.90 21.20'")
        tags[int(found["number"])] = 1
    return tags


def people(rows: Sequence[Row]) -> dict[str, str]:
    """The recording of each film by its id: a person, or several of whom one filmed what another acted."""
    by_id = {row["id"]: row for row in rows}
    # A film whose person is not known is a person of its own.
    whose = {name: row["subject"] or name for name, row in by_id.items()}
    pairs = [(whose[name], whose[row["charades_video"]]) for name, row in by_id.items() if row["charades_video"] in by_id]
    groups = together(whose.values(), pairs)
    return {name: groups[person] for name, person in whose.items()}


def read_rows(root: Path) -> dict[str, list[Row]]:
    """Every film of both parts, by the name of the part; looked for in the root and in ``CharadesEgo`` inside it.

    Raises:
        UserError: a table is missing, or not one of this set.
    """
    place = next((place for place in (root, root / "CharadesEgo") if (place / TABLE.format(part="train")).is_file()), root)
    return {part: list(read_table(place / TABLE.format(part=part), COLUMNS)) for part in ("train", "test")}


@dataclass(frozen=True)
class CharadesEgo(VideoSpec):
    """Charades-Ego; attributes as for every set of videos, and these.

    Samples have ``tags``, int8 [157], 1 for every class of action that the film shows, for evaluation only.

    Attributes:
        view: films of the ``first`` or the ``third`` person, or ``both``.
        part: of the published division; it divides by person.
        form: read ``videos``, or ``frames`` (published pictures, 24 a second); ``auto`` takes videos where they are.
    """

    protocol: ClassVar[str] = "Charades-Ego: CharadesEgo_v1_train.csv, CharadesEgo_v1_test.csv and CharadesEgo_v1_480/*.mp4"

    view: Literal["first", "third", "both"] = "first"
    part: Literal["all", "train", "test"] = "all"
    form: Literal["auto", "videos", "frames"] = "auto"

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        for name, given, accepted in (
            ("view", self.view, ("first", "third", "both")),
            ("part", self.part, ("all", "train", "test")),
            ("form", self.form, ("auto", "videos", "frames")),
        ):
            if given not in accepted:
                raise UserError(f"{name} is '{given}'; accepted are {', '.join(accepted)}")
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            parts = self._rows(root)
            films, rate = self._films(root)
            recordings = people([*parts["train"], *parts["test"]])
            rows = {row["id"]: row for part in parts if self.part in ("all", part) for row in parts[part] if self._wanted(row)}
            absent = [name if rate else f"{name}.mp4" for name in rows if name not in films]
            bad += few_absent(absent, len(rows), root, "the tables")
            for name in sorted(rows.keys() & films.keys()):
                try:
                    tags = tags_of(rows[name]["actions"])
                except ValueError as error:
                    bad.append(BadItem(films[name], f"its row cannot be read: {error}"))
                else:
                    clips.append(Clip(films[name], prefix + recordings[name], None, {"tags": tags}, rate))
        return clips, bad

    def _rows(self, root: Path) -> dict[str, list[Row]]:
        if not CharadesEgo.recognises(root):
            raise UserError(f"'{root}' has no {TABLE.format(part='train')}; accepted is {self.protocol}")
        return read_rows(root)

    def _wanted(self, row: Row) -> bool:
        return self.view == "both" or (row["egocentric"].strip().lower() == "yes") == (self.view == "first")

    def _films(self, root: Path) -> tuple[dict[str, str], float]:
        """Path of each film that is there, by its id, and the rate of its pictures (0 for video files)."""
        for folder in (root / name for name in VIDEOS if self.form != "frames"):
            if folder.is_dir():
                return {path.stem: str(path) for path in folder.iterdir() if path.suffix.lower() == ".mp4"}, 0.0
        if self.form != "videos" and (root / PICTURES).is_dir():
            return {path.name: str(path) for path in subfolders(root / PICTURES)}, RATE
        wanted = {"auto": (*VIDEOS, PICTURES), "videos": VIDEOS, "frames": (PICTURES,)}[self.form]
        raise UserError(f"'{root}' has no folder {' or '.join(wanted)}; add the films")

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Five people, each with a script filmed from both views."""
        (folder / VIDEOS[0]).mkdir(parents=True)
        heading = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length,"
        heading += "egocentric,charades_video"
        rows = []
        for person in range(5):
            for name, own in ((f"AAAA{person}", "No"), (f"AAAA{person}EGO", "Yes")):
                actions = f"c{10 * person:03d} 0.00 0.50;c156 0.20 0.70"
                described = '"Walk, then sit.",chair,They walk.'
                rows.append(f"{name},S{person},Kitchen,6,7,Yes,{described},{actions},0.83,{own},AAAA{person}")
                frames = [numbered(frame + 100 * (own == "Yes"), period=10 + 4 * person) for frame in range(20)]
                write_video(folder / VIDEOS[0] / f"{name}.mp4", frames, rate=24)
        (folder / TABLE.format(part="train")).write_text("\n".join([heading, *rows[:6]]) + "\n")
        (folder / TABLE.format(part="test")).write_text("\n".join([heading, *rows[6:]]) + "\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any((place / TABLE.format(part="train")).is_file() for place in (folder, folder / "CharadesEgo"))
