"""EPIC-KITCHENS-100: unscripted cooking, as whole videos for learning from or as annotated actions for evaluation.

Videos are read as files, or as the published frames: one tar of numbered pictures for each video, read in place, or unpacked.
Those frames were resampled to exactly 60 a second (50 for the videos of the extension, ``PXX_1YY``), while the videos run at
59.94 and some at other, varying rates. So actions are found by their times in a video and by their numbers in frames: using
the numbers in a video would be a second off after a quarter of an hour. Damen et al., IJCV 2022.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

from embodied_ssl.datasets.io.listing import prefixes, subfolders
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.io.tables import read_table
from embodied_ssl.datasets.io.tar_frames import is_cut_short
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

PERSON = re.compile(r"P\d\d")
VIDEO = re.compile(r"(?P<person>P\d\d)_(?P<number>\d\d|1\d\d)")
OLD_RATE, NEW_RATE = 60.0, 50.0  # frames a second of the published pictures
TABLES = {"train": "EPIC_100_train.csv", "validation": "EPIC_100_validation.csv"}
COLUMNS = (
    *("narration_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame", "stop_frame"),
    *("verb_class", "noun_class"),
)
_WORDS = {"auto": "videos/*.MP4 or rgb_frames", "videos": "videos/*.MP4", "frames": "rgb_frames"}
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Film(NamedTuple):
    """One video as it stands on disk; ``rate`` is 0 for a video file, else how many pictures a second there are."""

    path: str
    rate: float


def rate_of(video: str) -> float:
    """Frames a second of a video's published pictures, from its name."""
    return NEW_RATE if len(video.rpartition("_")[2]) == 3 else OLD_RATE


def seconds_of(timestamp: str) -> float:
    """``00:01:02.50`` in seconds.

    Raises:
        ValueError: it is of another form.
    """
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def films_of(person: Path, form: str) -> tuple[dict[str, Film], list[BadItem]]:
    """One participant's videos by their ids, and files of other names.

    A video that is there both as a file and as pictures is read as a file, unless ``form`` is ``frames``; pictures that are
    there both as a tar and unpacked are read from the tar, since one cannot tell whether all were unpacked.
    """
    found: dict[str, Film] = {}
    bad: list[BadItem] = []
    if form != "videos":
        places = _inside(person / "rgb_frames")
        tars = [place for place in places if place.suffix.lower() == ".tar"]
        for place in [*(place for place in places if place.is_dir()), *tars]:
            _add(found, bad, place, place.name if place.is_dir() else place.stem, pictures=True)
        bad += [BadItem(str(place), "is compressed; unpack it") for place in places if place.name.lower().endswith(PACKED)]
        bad += [BadItem(str(tar), "is cut short: only its whole frames are used") for tar in tars if is_cut_short(str(tar))]
    if form != "frames":
        for place in _inside(person / "videos"):
            if place.suffix.lower() == ".mp4":
                _add(found, bad, place, place.stem, pictures=False)
    if not found:
        bad.append(BadItem(str(person), f"does not hold {_WORDS[form]}"))
    return found, bad


def _inside(folder: Path) -> list[Path]:
    """What is right inside a folder, sorted; hidden things left out, nothing where there is no folder."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _add(found: dict[str, Film], bad: list[BadItem], place: Path, video: str, pictures: bool) -> None:
    """Enter a video under its id, or say that it has none."""
    if VIDEO.fullmatch(video):
        found[video] = Film(str(place), rate_of(video) if pictures else 0.0)
    else:
        bad.append(BadItem(str(place), "is not named as a video of the set is: P01_01, P01_101"))


def action(row: dict[str, str], film: Film, recording: str) -> Clip:
    """The sample of one annotated action.

    Raises:
        ValueError: a time or a class is not a number, or it ends before it begins.
    """
    span = (seconds_of(row["start_timestamp"]), seconds_of(row["stop_timestamp"]))
    if film.rate:  # pictures count from 1, and the last one named belongs to the action
        span = ((max(1, int(row["start_frame"])) - 1) / film.rate, int(row["stop_frame"]) / film.rate)
    if not span[0] < span[1]:
        raise ValueError(f"it ends at {span[1]:g} s and begins at {span[0]:g} s")
    verb, noun = int(row["verb_class"]), int(row["noun_class"])
    return Clip(film.path, recording, span, {"label": verb, "verb": verb, "noun": noun}, film.rate)


@dataclass(frozen=True)
class EpicKitchens(VideoSpec):
    """EPIC-KITCHENS-100; attributes as for every set of videos, and these.

    A recording is a participant: all their videos show one kitchen, so a split that divided them would be told the kitchen.

    Attributes:
        form: read ``videos`` or ``frames``; ``auto`` takes the video file where there is one, else its frames.
        actions: False for one sample a video; True for one sample an annotated action, with the classes ``verb`` (0..96; as
            ``label`` too) and ``noun`` (0..299), for evaluation only.
        part: actions of which published part; the two share kitchens.
    """

    protocol: ClassVar[str] = "EPIC-KITCHENS-100: P01/videos/P01_101.MP4 or P01/rgb_frames/P01_101.tar, EPIC_100_train.csv"

    form: Literal["auto", "videos", "frames"] = "auto"
    actions: bool = False
    part: Literal["all", "train", "validation"] = "all"

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        for name, given, accepted in (
            ("form", self.form, ("auto", "videos", "frames")),
            ("part", self.part, ("all", *TABLES)),
        ):
            if given not in accepted:
                raise UserError(f"{name} is '{given}'; accepted are {', '.join(accepted)}")
        clips: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            films: dict[str, Film] = {}
            for person in person_folders(root):
                found, unusable = films_of(person, self.form)
                films |= found
                bad += unusable
            if not films:
                raise UserError(f"no participant's folder in '{root}' holds {_WORDS[self.form]}; accepted is {self.protocol}")
            if self.actions:
                made, unusable = self._actions(root, films, prefix)
                bad += unusable
            else:
                made = [Clip(film.path, prefix + _person(video), rate=film.rate) for video, film in sorted(films.items())]
            clips += made
        return clips, bad

    def _actions(self, root: Path, films: dict[str, Film], prefix: str) -> tuple[list[Clip], list[BadItem]]:
        """The annotated actions of the videos that are there, in the order of video and time."""
        parts = list(TABLES) if self.part == "all" else [self.part]
        tables = {part: _table(root, TABLES[part]) for part in parts}
        clips: dict[tuple[str, float, str], Clip] = {}
        bad: list[BadItem] = []
        absent: dict[str, int] = {}
        for table in tables.values():
            for row in read_table(table, COLUMNS):
                video = row["video_id"]
                if video not in films:
                    absent[video] = absent.get(video, 0) + 1
                    continue
                try:
                    clip = action(row, films[video], prefix + _person(video))
                except ValueError as error:
                    bad.append(BadItem(f"{table}: {row['narration_id']}", f"not an action ({error})"))
                    continue
                clips[video, clip.span[0] if clip.span else 0.0, row["narration_id"]] = clip
        if not clips:
            named = " and ".join(table.name for table in tables.values())
            raise UserError(f"'{root}' has none of the videos whose actions {named} lists; add some")
        bad += [BadItem(video, f"{count} actions are annotated, but it is not there") for video, count in sorted(absent.items())]
        return [clips[key] for key in sorted(clips)], bad

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Five participants: an old and a new video of one, a tar of frames, an unpacked one, and an action of each."""
        rows = ["narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"]
        rows[0] += "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
        for number, video in enumerate(("P01_01", "P01_101", "P02_01", "P03_102", "P04_02", "P05_103")):
            pictures = [numbered(frame + 1, period=24 + 8 * number) for frame in range(40)]
            _write(folder / _person(video), video, pictures, form="video" if number < 3 else "folder" if number == 4 else "tar")
            first, last = int(0.1 * rate_of(video)), int(0.5 * rate_of(video))
            times = f"00:00:00.200,00:00:00.10,00:00:00.50,{first},{last}"
            rows.append(f"{video}_0,{_person(video)},{video},{times},open door,open,3,door,8,\"['door']\",[8]")
        (folder / TABLES["train"]).write_text("\n".join(rows[:5]) + "\n")
        (folder / TABLES["validation"]).write_text("\n".join([rows[0], *rows[5:]]) + "\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any((place / part).is_dir() for place in person_folders(folder)[:3] for part in ("videos", "rgb_frames"))


def person_folders(root: Path) -> list[Path]:
    """The participants' folders: in the root, or in ``EPIC-KITCHENS`` inside it; or the root itself, if it is one."""
    if PERSON.fullmatch(root.name):
        return [root]
    inside = root / "EPIC-KITCHENS"
    return [place for place in subfolders(inside if inside.is_dir() else root) if PERSON.fullmatch(place.name)]


def _person(video: str) -> str:
    return video.partition("_")[0]


def _table(root: Path, name: str) -> Path:
    """Where a table of annotations is: in the root, its parent, or the folder of the published annotations in either."""
    for place in (root, root / "EPIC-KITCHENS", root.absolute().parent):
        for inside in (place, place / "annotations", place / "epic-kitchens-100-annotations"):
            if (inside / name).is_file():
                return inside / name
    raise UserError(f"'{root}' has no {name}; copy the published annotations there, or leave data.actions=false")


def _write(person: Path, video: str, pictures: list[Pixels], form: str) -> None:
    """Write a video as a file, a folder of pictures or a tar of them."""
    if form == "video":
        (person / "videos").mkdir(parents=True, exist_ok=True)
        write_video(person / "videos" / f"{video}.MP4", pictures, rate=int(rate_of(video)), options={"g": "12"})
        return
    place = person / "rgb_frames"
    place.mkdir(parents=True, exist_ok=True)
    encoded = {f"frame_{number:010d}.jpg": encode(picture, ".jpg") for number, picture in enumerate(pictures, 1)}
    if form == "folder":
        (place / video).mkdir()
        for name, data in encoded.items():
            (place / video / name).write_bytes(data)
        return
    with tarfile.open(place / f"{video}.tar", "w") as tar:
        for name, data in encoded.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
