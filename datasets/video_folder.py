"""Any folder of videos: each file is a sample; files that show the same event belong to one recording.

Two cameras of one robot episode, or the clips that UCF101 cut from one video, must not be divided between training and
held-out data, so such files share a recording. Nothing is decoded on opening.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

from embodied_ssl.datasets.io.listing import files_below, has_file, prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts"})

LEROBOT = re.compile(r"(?P<before>.*/)videos/chunk-\d+/[^/]+/(?P<episode>episode_\d+)\.[^./]+")
UCF101 = re.compile(r"(?P<group>v_.+_g\d+)_c\d+")


def recording_of(root: Path, file: str, prefix: str = "") -> str:
    """The recording that a file below a root is from: its own, or one shared with what was filmed at the same time.

    Args:
        root: the folder given.
        file: path below it.
        prefix: what tells several roots apart.
    """
    whole = (root.resolve() / file).as_posix()
    robot = LEROBOT.fullmatch(whole)
    if robot:
        # The data set's folder may be the root, below it, or above it (when one camera's folder was given).
        place, top = PurePosixPath(robot["before"]), PurePosixPath(root.resolve().as_posix())
        if place == top:
            return f"{prefix}{robot['episode']}"
        inside = place.is_relative_to(top)
        return f"{prefix}{place.relative_to(top)}/{robot['episode']}" if inside else f"{place.name}/{robot['episode']}"
    clip = UCF101.fullmatch(PurePosixPath(file).stem)
    return prefix + (clip["group"] if clip else file)


@dataclass(frozen=True)
class VideoFolder(VideoSpec):
    """Any folder of videos, searched through all its sub-folders; attributes as for every set of videos."""

    protocol: ClassVar[str] = "any folder of videos, sub-folders included; robot episodes and UCF101 groups kept together"

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            found, unread = files_below(root, SUFFIXES)
            clips += [Clip(f"{root}/{file}", recording_of(root, file, prefix)) for file in found]
            bad += unread
        if not clips:
            raise UserError(f"no videos below '{self.root}'; accepted are files ending in {', '.join(sorted(SUFFIXES))}")
        return clips, bad

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        for video in range(6):
            frames = [numbered(number, period=40 + 8 * video) for number in range(72)]
            write_video(folder / f"walk_{video}.mp4", frames, options={"g": "12"})
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return has_file(folder, SUFFIXES)
