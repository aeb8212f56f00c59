"""UCF101: 13,320 clips of 101 actions in 25 groups a class; the clips of a group were cut from one video.

Soomro, Zamir and Shah 2012. The three official splits divide by group, and so do ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, Self

from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.listed import read_lines
from embodied_ssl.datasets.listed_videos import check_choice, check_folders, present
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

VIDEOS, LISTS = "UCF-101", "ucfTrainTestlist"
_CLIP = re.compile(r"(?P<group>v_.+_g\d+)_c\d+\.avi")


def read_classes(path: Path) -> dict[str, int]:
    """The label of each class, counted from 0; the file counts from 1.

    Raises:
        UserError: a line that is no number and name, or a number twice.
    """
    pairs = [line.split() for line in read_lines(path)]
    labels = {pair[-1]: int(pair[0]) - 1 for pair in pairs if len(pair) == 2 and pair[0].isdecimal()}
    if sorted(labels.values()) != list(range(len(pairs))):
        raise UserError(
            f"'{path}' does not number its {len(pairs)} classes from 1; accepted are lines such as '1 ApplyEyeMakeup'"
        )
    return labels


@dataclass(frozen=True)
class Ucf101(VideoSpec):
    """UCF101; further attributes as for every set of videos.

    Attributes:
        official: only the ``train`` or the ``test`` part of an official split; both where empty.
        fold: which of the three official splits.
    """

    protocol: ClassVar[str] = "UCF101: UCF-101/CLASS/v_CLASS_g01_c01.avi with ucfTrainTestlist/; labels for evaluation only"

    official: Literal["", "train", "test"] = ""
    fold: Literal[1, 2, 3] = 1

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        check_choice("official", self.official, ("", "train", "test"))
        check_choice("fold", self.fold, (1, 2, 3))
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            check_folders(root, (VIDEOS, LISTS), f"the folder that holds {VIDEOS}/ and {LISTS}/")
            labels = read_classes(root / LISTS / "classInd.txt")
            parts = [f"{part}list{self.fold:02d}.txt" for part in ("train", "test") if self.official in ("", part)]
            # A train list has the class number after the file, a test list has not.
            files = sorted({line.split()[0] for part in parts for line in read_lines(root / LISTS / part)})
            for file in files:
                if not _CLIP.fullmatch(PurePosixPath(file).name) or file.partition("/")[0] not in labels:
                    raise UserError(
                        f"'{root / LISTS}' lists '{file}', which is no CLASS/v_CLASS_g01_c01.avi of a class in classInd.txt"
                    )
            found, absent = present(root / VIDEOS, files, " and ".join(parts))
            bad += absent
            clips += [_clip(root, prefix, file, labels) for file in found]
        return clips, bad

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three classes of three groups of two clips; group 1 is the test part of split 1, group 2 of split 2, and so on."""
        (folder / LISTS).mkdir(parents=True)
        classes = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
        (folder / LISTS / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(classes, 1)))
        groups: dict[int, list[tuple[str, int]]] = {1: [], 2: [], 3: []}
        for number, name in enumerate(classes, 1):
            (folder / VIDEOS / name).mkdir(parents=True)
            for clip in range(6):
                group = clip // 2 + 1
                file = f"{name}/v_{name.replace('stand', 'Stand')}_g{group:02d}_c{clip % 2 + 1:02d}.avi"  # as it is spelt
                frames = [numbered(20 * clip + frame, period=16 + number) for frame in range(10)]
                write_video(folder / VIDEOS / file, frames, rate=25)
                groups[group].append((file, number))
        for fold in groups:
            train = [f"{file} {number}\n" for group in groups if group != fold for file, number in groups[group]]
            (folder / LISTS / f"trainlist{fold:02d}.txt").write_text("".join(train))
            (folder / LISTS / f"testlist{fold:02d}.txt").write_text("".join(f"{file}\n" for file, _ in groups[fold]))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / VIDEOS).is_dir() and (folder / LISTS).is_dir()


def _clip(root: Path, prefix: str, file: str, labels: dict[str, int]) -> Clip:
    group = _CLIP.fullmatch(PurePosixPath(file).name)
    assert group is not None
    return Clip(str(root / VIDEOS / file), prefix + group["group"], answers={"label": labels[file.partition("/")[0]]})
