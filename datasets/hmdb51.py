"""HMDB51: 6,766 clips of 51 actions, most of them cut from films; the clips of a film are one recording, whatever they show.

Kuehne, Jhuang, Garrote, Poggio and Serre 2011. A file's name says the film, the action, what of the body is seen (f full, u
upper, l lower, h head), whether the camera moves (cm, nm), how many people act (np1), the side (fr, ba, le, ri) and the quality.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from embodied_ssl.datasets.io.labelled import some
from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.listed import numbered_lines
from embodied_ssl.datasets.listed_videos import check_choice, check_folders, present
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

LISTS = "testTrainMulti_7030_splits"
PARTS = {"": (0, 1, 2), "train": (1,), "test": (2,)}  # what the lists mark a clip with: 0 is in neither part
CLASSES = (
    *("brush_hair", "cartwheel", "catch", "chew", "clap", "climb", "climb_stairs", "dive", "draw_sword", "dribble", "drink"),
    *("eat", "fall_floor", "fencing", "flic_flac", "golf", "handstand", "hit", "hug", "jump", "kick", "kick_ball", "kiss"),
    *("laugh", "pick", "pour", "pullup", "punch", "push", "pushup", "ride_bike", "ride_horse", "run", "shake_hands"),
    *("shoot_ball", "shoot_bow", "shoot_gun", "sit", "situp", "smile", "smoke", "somersault", "stand", "swing_baseball"),
    *("sword", "sword_exercise", "talk", "throw", "turn", "walk", "wave"),
)
_TAIL = re.compile(r"_[fulh]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+$")
_PART = re.compile(r"_\d+$")


def film_of(name: str, action: str) -> str:
    """The film that a clip was cut from, by the clip's name; the parts of a film (``Two_Towers_1``, ``_2``) are one.

    A name of another form is taken for a film of its own.
    """
    stem = name.removesuffix(".avi")
    film, tail = _TAIL.subn("", stem)
    return _PART.sub("", film.removesuffix(f"_{action}")) if tail else stem


@dataclass(frozen=True)
class Hmdb51(VideoSpec):
    """HMDB51; further attributes as for every set of videos.

    Attributes:
        official: only the ``train`` (70 clips a class) or the ``test`` part (30) of an official split; all clips where empty.
        fold: which of the three official splits.
    """

    protocol: ClassVar[str] = "HMDB51: CLASS/*.avi with testTrainMulti_7030_splits/; labels for evaluation only"

    official: Literal["", "train", "test"] = ""
    fold: Literal[1, 2, 3] = 1

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        check_choice("official", self.official, tuple(PARTS))
        check_choice("fold", self.fold, (1, 2, 3))
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            videos = root / "hmdb51_org" if (root / "hmdb51_org").is_dir() else root  # what the archive unpacks to
            found, absent = present(videos, self._files(root), f"{LISTS} (split {self.fold})")
            bad += absent
            for file in found:
                action, _, name = file.partition("/")
                answers = {"label": CLASSES.index(action)}
                clips.append(Clip(str(videos / file), prefix + film_of(name, action), answers=answers))
        return clips, bad

    def _files(self, root: Path) -> list[str]:
        """What the lists name, by class and then by name."""
        check_folders(root, (LISTS,), f"the folder that holds 51 folders of *.avi and {LISTS}/")
        lists = {action: root / LISTS / f"{action}_test_split{self.fold}.txt" for action in CLASSES}
        absent = [path.name for path in lists.values() if not path.is_file()]
        if absent:
            raise UserError(f"'{root / LISTS}' lacks {len(absent)} of 51 lists: {some(absent)}; unpack it again")
        return [
            f"{action}/{name}"
            for action, path in lists.items()
            for name, part in sorted(numbered_lines(path))
            if part in PARTS[self.official]
        ]

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Three clips a class of four films: by turns train, test and neither; clips of a film look alike in all classes."""
        films = ("Crash", "Two_Towers_1", "Two_Towers_2", "#20_Rhythm", "April_09")
        (folder / LISTS).mkdir(parents=True)
        looks = []
        for film in range(len(films)):
            write_video(folder / "film.avi", [numbered(20 * film + n, period=12 + film) for n in range(10)])
            looks.append((folder / "film.avi").read_bytes())
        (folder / "film.avi").unlink()
        for label, action in enumerate(CLASSES):
            (folder / action).mkdir()
            names = []
            for clip in range(3):
                film = (label + clip) % len(films)
                names.append(f"{films[film]}_{action}_f_cm_np1_fr_med_{clip}.avi")
                (folder / action / names[-1]).write_bytes(looks[film])
            for fold in (1, 2, 3):
                lines = [f"{name} {(clip + fold) % 3} \n" for clip, name in enumerate(names)]
                (folder / LISTS / f"{action}_test_split{fold}.txt").write_text("".join(lines))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return (folder / LISTS).is_dir()
