"""Videos kept as folders of picture files: every folder with pictures is one video, its files in the order of their numbers.

Number and place are two things: where picture 7 is absent, picture 8 keeps its time, and the gap is reported.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from embodied_ssl.datasets.io.frame_folder import TIMES, in_order, read_times, times_file
from embodied_ssl.datasets.io.labelled import some
from embodied_ssl.datasets.io.listing import files_below, prefixes, subfolders
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import SUFFIXES, encode
from embodied_ssl.datasets.listed import pictures_in
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

_FRAME = re.compile(r"(?:frame[-_]?\d+.*|\d{3,})")  # what players and cameras write: frame_000001, 0000000001


def gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """The stretches that rising numbers leave out, each as its first and last. They count on by their smallest step."""
    step = min((other - one for one, other in pairwise(numbers)), default=1)
    return [(one + step, other - step) for one, other in pairwise(numbers) if other > one + step]


def amiss(folder: Path, names: Sequence[str]) -> list[BadItem]:
    """What there is to say of a folder of frames that can be read: pictures that are no frames of it, numbers left out.

    Raises:
        BadItem: it cannot be read, since no picture has a number, or its list of times does not fit.
    """
    files, numbers = in_order(names)
    if not files:
        raise BadItem(str(folder), f"none of its {len(names)} pictures has a number in its name")
    if times := times_file(str(folder)):
        read_times(times, len(files))
    found = []
    if others := sorted(set(names) - set(files)):
        found.append(BadItem(str(folder), f"{len(others)} pictures are not named as its frames are: {some(others)}; left out"))
    if missing := gaps(numbers.tolist()):
        spans = [str(first) if first == last else f"{first} to {last}" for first, last in missing]
        dots = ", ..." if len(spans) > 3 else ""
        found.append(
            BadItem(str(folder), f"numbers are missing between its frames: {', '.join(spans[:3])}{dots}; the rest is read")
        )
    return found


@dataclass(frozen=True)
class FrameFolders(VideoSpec):
    """Folders of frames, searched through all sub-folders; further attributes as for every set of videos.

    Attributes:
        rate: pictures a second, by their numbers, for folders that hold no ``timestamps.txt`` or ``times.txt``.
        levels: folders that share the first so many of their names below the root are one recording (1 for
            ``EPISODE/CAMERA/*.jpg``); at 0 every folder is one of its own.
    """

    protocol: ClassVar[str] = "folders of frames: each folder with numbered pictures is a video, timestamps.txt in it if need be"

    rate: float = 30.0
    levels: int = 0

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise UserError(f"rate is {self.rate:g}; give the pictures a second at which they were taken, such as 30")
        if self.levels < 0:
            raise UserError(f"levels is {self.levels}; give 0 or the number of folder names that make a recording")
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            found, unread = files_below(root, SUFFIXES)
            bad += unread
            inside: dict[str, list[str]] = {}
            for file in found:
                place, _, name = file.rpartition("/")
                inside.setdefault(place, []).append(name)
            for place in sorted(inside):
                try:
                    bad += amiss(root / place, inside[place])
                except BadItem as item:
                    bad.append(item)
                    continue
                recording = "/".join(place.split("/")[: self.levels or None])
                clips.append(Clip(str(root / place), prefix + recording, rate=self.rate))
        if not clips:
            why = f" ({bad[0]})" if bad else ""
            raise UserError(f"no folder of frames in '{self.root}'{why}; accepted are folders of numbered pictures")
        return clips, bad

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Five videos of 12 frames: one counts from 0, the others from 1, and the last has times of its own."""
        for video in range(5):
            inside = folder / "park" / f"walk_{video}"
            inside.mkdir(parents=True)
            first = min(video, 1)
            for number in range(first, first + 12):
                (inside / f"frame_{number:06d}.jpg").write_bytes(encode(numbered(number, period=16 + 4 * video), ".jpg"))
        (inside / TIMES[0]).write_text("".join(f"{0.1 * number:.3f}\n" for number in range(12)))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the first folder with pictures holds frames: named as such and numbered with few gaps, or timed."""
        waiting, looked_at = [folder], 0
        while waiting and looked_at < 200:
            place = waiting.pop(0)
            looked_at += 1
            if names := pictures_in(place):
                return len(names) > 1 and _is_sequence(place, names)
            waiting += subfolders(place)
        return False


def _is_sequence(folder: Path, names: Sequence[str]) -> bool:
    """Pictures named as frames are, whose number goes on by one nearly always; or with a list of times beside them."""
    if times_file(str(folder)):
        return True
    files, numbers = in_order(names)
    named = len(files) == len(names) and all(_FRAME.fullmatch(os.path.splitext(name)[0]) for name in names)
    return named and bool(np.ptp(numbers) < 1.1 * len(numbers))
