"""EGTEA Gaze+: first-person clips of actions in one kitchen, each cut from a session, with the published divisions.

Li, Liu and Rehg, ECCV 2018. Gaze is not read: its clock differs from the video's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from embodied_ssl.datasets.io.listing import few_absent, files_below, prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.listed import read_lines
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

CLIPS, LISTS = "cropped_clips", "action_annotation"
# OP01-R01-PastaSalad-1002316-1004005-F024051-F024101: session, first and last millisecond, first and last frame
NAME = re.compile(r"(?P<session>[A-Z]+\d+-R\d+-\w+)-\d+-\d+-F\d+-F\d+")


def read_list(path: Path) -> dict[str, tuple[int, int, int]]:
    """Action, verb and first noun of each clip that a list names, by the clip's name; all count from 0.

    Raises:
        UserError: the list is missing, or has a line of another form.
    """
    found = {}
    for line in read_lines(path):
        name, *numbers = line.split()
        if not NAME.fullmatch(name) or len(numbers) < 3 or not all(number.isdigit() and number != "0" for number in numbers):
            raise UserError(
                f"'{path}' has the line '{line}'; accepted are a clip's name, then the numbers of its action, verb and nouns, "
                "from 1: copy the list again"
            )
        found[name] = (int(numbers[0]) - 1, int(numbers[1]) - 1, int(numbers[2]) - 1)
    return found


def session_of(clip: str) -> str:
    """The session that a clip was cut from: ``OP01-R01-PastaSalad``."""
    named = NAME.fullmatch(clip)
    return named["session"] if named else clip


@dataclass(frozen=True)
class Egtea(VideoSpec):
    """EGTEA Gaze+; attributes as for every set of videos, and these.

    Samples have ``label``, the action (0..105, one less than in the published lists), ``verb`` and ``noun``, for evaluation
    only. A recording is a session: one person cooking one meal.

    Attributes:
        fold: which of the three published divisions.
        part: which part of it; ``all`` is both, and the same for every fold.
    """

    protocol: ClassVar[str] = "EGTEA Gaze+: cropped_clips/SESSION/CLIP.mp4 and action_annotation/train_split1.txt"

    fold: Literal[1, 2, 3] = 1
    part: Literal["all", "train", "test"] = "all"

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        if self.fold not in (1, 2, 3) or self.part not in ("all", "train", "test"):
            raise UserError(f"fold is {self.fold} and part '{self.part}'; accepted are folds 1, 2, 3 and parts all, train, test")
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            if not (root / CLIPS).is_dir():
                raise UserError(f"'{root}' has no {CLIPS}/; accepted is {self.protocol}")
            lists = {part: read_list(root / LISTS / f"{part}_split{self.fold}.txt") for part in ("train", "test")}
            shared = sorted(lists["train"].keys() & lists["test"].keys())
            if shared:
                raise UserError(
                    f"{len(shared)} clips are in both parts of fold {self.fold} of '{root}', the first '{shared[0]}'; "
                    "copy the lists again"
                )
            listed = lists["train"] | lists["test"] if self.part == "all" else lists[self.part]
            found, unread = files_below(root / CLIPS, {".mp4"})
            files = {Path(file).stem: file for file in found}
            absent = [f"{session_of(name)}/{name}.mp4" for name in listed if name not in files]
            bad += unread + few_absent(absent, len(listed), root / CLIPS, f"fold {self.fold}")
            for name in sorted(listed.keys() & files.keys()):
                answers = dict(zip(("label", "verb", "noun"), listed[name], strict=True))
                clips.append(Clip(f"{root / CLIPS}/{files[name]}", prefix + session_of(name), answers=answers))
        return clips, bad

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Four sessions of three clips of two thirds of a second; one clip of each is in the test part of each fold."""
        (folder / LISTS).mkdir(parents=True)
        lines = []
        for number in range(12):
            session = f"OP0{number // 3 + 1}-R01-{('PastaSalad', 'Pizza')[number // 3 % 2]}"
            first = 24 + 48 * (number % 3)
            name = f"{session}-{first * 1000 // 24}-{(first + 16) * 1000 // 24}-F{first:06d}-F{first + 16:06d}"
            (folder / CLIPS / session).mkdir(parents=True, exist_ok=True)
            frames = [numbered(frame, period=10 + 2 * number) for frame in range(16)]
            write_video(folder / CLIPS / session / f"{name}.mp4", frames, rate=24)
            lines.append(f"{name} {number % 5 + 1} {number % 2 + 1} {number % 3 + 1} 7")
        for fold in (1, 2, 3):
            test = [line for number, line in enumerate(lines) if number % 3 == fold - 1]
            (folder / LISTS / f"test_split{fold}.txt").write_text("\n".join(test) + "\n")
            train = [line for line in lines if line not in test]
            (folder / LISTS / f"train_split{fold}.txt").write_text("\n".join(train) + "\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / CLIPS).is_dir() and (folder / LISTS).is_dir()
