"""Ego4D: thousands of hours of first-person video, each cut into stretches that show no de-identified scene.

Faces and screens were blurred or whole scenes blanked where people had not agreed to be seen; ``ego4d.json`` lists those spans,
and nothing of them is ever sampled. Videos last up to hours, so each is cut into stretches of minutes, which are samples of
one recording; drawing from one decodes a few frames of it. The first use of a video indexes the whole file, though, at about
the speed of decoding it once: let ``embodied-ssl prepare`` do that before training. Grauman et al., CVPR 2022.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.tables import read_table
from embodied_ssl.datasets.together import together
from embodied_ssl.datasets.video_spec import Clip, VideoSpec
from embodied_ssl.errors import BadItem, UserError

VERSIONS = ("v2", "v1")  # the later one first
FORMS = ("video_540ss", "full_scale", "clips")  # the smallest files of whole videos first
MANIFEST = "manifest.csv"
META = "ego4d.json"
MARGIN = 0.1  # seconds kept clear on both sides of a de-identified span: its ends are rounded to frames
LEAST = 1.0  # a shorter stretch, in seconds, is not worth a sample

Span = tuple[float, float]  # start and end in seconds


class Video(NamedTuple):
    """What ``ego4d.json`` says of one video.

    Attributes:
        seconds: how long it is.
        hidden: the de-identified spans; None where it has some but their places are unknown.
        stereo: whether two views stand side by side in each frame.
        group: of videos that show one person or one event.
    """

    seconds: float
    hidden: tuple[Span, ...] | None
    stereo: bool
    group: str


class Entry(NamedTuple):
    """One row of a manifest: a file, and the span of the video that it shows (its end is None for the whole video)."""

    uid: str
    parent: str
    start: float
    end: float | None


def shown(seconds: float, hidden: Iterable[Span], segment: float) -> list[Span]:
    """Stretches of a video outside its hidden spans, each cut into equal parts no longer than ``segment``.

    Args:
        seconds: how long the video is.
        hidden: spans that must not be seen; they may overlap, in any order.
        segment: the longest part, in seconds; 0 for no limit.
    """
    free: list[Span] = []
    begin = 0.0
    for start, end in sorted(hidden):
        free.append((begin, start - MARGIN))
        begin = max(begin, end + MARGIN)
    free.append((begin, seconds))
    cut: list[Span] = []
    for start, end in free:
        if end - start < LEAST:
            continue
        parts = math.ceil((end - start) / segment - 1e-9) if segment else 1
        edges = [start + (end - start) * part / parts for part in range(parts)] + [end]
        cut += pairwise(edges)
    return cut


def read_meta(path: Path) -> dict[str, Video]:
    """Every video that ``ego4d.json`` describes, by its uid.

    Raises:
        UserError: the file is not what it should be.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(row["video_uid"]): row for row in stored["videos"]}
        events = [[str(video["video_uid"]) for video in event["videos"]] for event in stored.get("concurrent_video_sets") or ()]
        # Videos of one person show one home, often one kitchen.
        known = {uid: row["fb_participant_id"] for uid, row in rows.items() if row.get("fb_participant_id") is not None}
        wearers = [[uid, f"person {person}"] for uid, person in known.items()]
        groups = together(rows, [*events, *wearers])
        return {uid: _video(row, groups[uid]) for uid, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"'{path}' is not the metadata of Ego4D ({type(error).__name__}: {error}); download it again (ego4d --metadata)"
        ) from None


def _video(row: dict[str, Any], group: str) -> Video:
    hidden = tuple((float(span["start_sec"]), float(span["end_sec"])) for span in row.get("redacted_intervals") or ())
    unplaced = bool(row.get("has_redacted_regions")) and not hidden
    return Video(float(row["duration_sec"]), None if unplaced else hidden, bool(row.get("is_stereo")), group)


def read_manifest(path: Path) -> list[Entry]:
    """The files that a manifest lists, sorted by uid.

    Raises:
        UserError: it is not there, or not a manifest of Ego4D.
    """
    if path.parent.name != "clips":
        uids = {row["video_uid"] for row in read_table(path, ["video_uid"])}
        return [Entry(uid, uid, 0.0, None) for uid in sorted(uids)]
    rows = read_table(path, ["exported_clip_uid", "parent_video_uid", "parent_start_sec", "parent_end_sec"])
    try:
        entries = {
            Entry(row["exported_clip_uid"], row["parent_video_uid"], float(row["parent_start_sec"]), float(row["parent_end_sec"]))
            for row in rows
        }
    except ValueError as error:
        raise UserError(f"'{path}' has a clip without its times ({error}); download it again (ego4d --datasets clips)") from None
    return sorted(entries)


@dataclass(frozen=True)
class Ego4D(VideoSpec):
    """Ego4D as its download tool lays it out; attributes as for every set of videos, and these.

    Held-out data shares no camera wearer, and no event that several cameras filmed, with training data. Stereo videos, which
    show two views side by side, are left out.

    Attributes:
        videos: which files to read; ``auto`` takes the first that is there of ``video_540ss``, ``full_scale`` and ``clips``.
        segment: seconds of the longest stretch that is one sample; 0 keeps whole what is between two de-identified spans.
    """

    protocol: ClassVar[str] = "Ego4D: v1|v2/{video_540ss,full_scale,clips}/UID.mp4 with manifest.csv, and ego4d.json on top"

    videos: Literal["auto", "video_540ss", "full_scale", "clips"] = "auto"
    segment: float = 300.0

    def clips(self, roots: Sequence[Path]) -> tuple[list[Clip], list[BadItem]]:
        if self.segment < 0:
            raise UserError(f"segment is {self.segment:g}; give seconds, or 0 to leave stretches as long as they are")
        if self.videos not in ("auto", *FORMS):
            raise UserError(f"videos is '{self.videos}'; accepted are auto, {', '.join(FORMS)}")
        found: list[Clip] = []
        bad: list[BadItem] = []
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            folder = self._folder(root)
            entries = read_manifest(folder / MANIFEST)
            there = {path.name for path in folder.iterdir()}
            if not any(f"{entry.uid}.mp4" in there for entry in entries):
                raise UserError(f"'{folder}' holds none of the {len(entries)} videos that its {MANIFEST} lists; download some")
            videos = read_meta(_meta(folder))
            for entry in entries:
                reason = _unusable(entry, videos.get(entry.parent), there)
                if reason:
                    bad.append(BadItem(f"{folder}/{entry.uid}.mp4", reason))
                else:
                    found += self._stretches(folder, entry, videos[entry.parent], prefix)
        if not found:
            raise UserError(f"no video of '{self.root}' can be used, the first because: {bad[0].reason if bad else 'too short'}")
        return found, bad

    def _folder(self, root: Path) -> Path:
        """The folder of videos to read, in a download or in one version of it."""
        versions = [root / version for version in VERSIONS if (root / version).is_dir()] or [root]
        forms = FORMS if self.videos == "auto" else (self.videos,)
        for version in versions:
            for form in forms:
                if (version / form / MANIFEST).is_file():
                    return version / form
        wanted = "{" + ",".join(forms) + "}" if len(forms) > 1 else forms[0]
        raise UserError(f"'{root}' has no {wanted}/{MANIFEST}; accepted is {self.protocol}")

    def _stretches(self, folder: Path, entry: Entry, video: Video, prefix: str) -> list[Clip]:
        """The samples of one file."""
        seconds = (video.seconds if entry.end is None else entry.end) - entry.start
        hidden = [(start - entry.start, end - entry.start) for start, end in video.hidden or ()]
        spans = shown(seconds, [span for span in hidden if span[1] > -MARGIN and span[0] < seconds + MARGIN], self.segment)
        path, recording = f"{folder}/{entry.uid}.mp4", prefix + video.group
        if spans == [(0.0, seconds)]:
            return [Clip(path, recording)]
        return [Clip(path, recording, span) for span in spans]

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Six videos of three seconds: two of one event, one with a de-identified span in its middle."""
        (folder / "v2" / "video_540ss").mkdir(parents=True)
        rows = []
        for number in range(6):
            uid = f"{number:08x}-0000-4000-8000-000000000000"
            frames = [numbered(frame, period=40 + 8 * number) for frame in range(90)]
            write_video(folder / "v2" / "video_540ss" / f"{uid}.mp4", frames, options={"g": "12"})
            hidden = [{"start_sec": 1.2, "end_sec": 1.5, "start_frame": 36, "end_frame": 45}] if number == 2 else []
            row = {"video_uid": uid, "duration_sec": 3.0, "is_stereo": False, "fb_participant_id": None}
            rows.append({**row, "has_redacted_regions": bool(hidden), "redacted_intervals": hidden})
        event = {"concurrent_video_set_id": 1, "valid": True, "videos": [{"video_uid": rows[n]["video_uid"]} for n in (0, 1)]}
        (folder / "v2" / META).write_text(json.dumps({"version": "v2", "videos": rows, "concurrent_video_sets": [event]}))
        listed = "\n".join(f"{row['video_uid']},s3://ego4d/{row['video_uid']}" for row in rows)
        (folder / "v2" / "video_540ss" / MANIFEST).write_text(f"video_uid,canonical_s3_location\n{listed}\n")
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        places = [folder, *(folder / version for version in VERSIONS)]
        return any((place / form / MANIFEST).is_file() for place in places for form in FORMS)


def _meta(folder: Path) -> Path:
    """``ego4d.json`` of a folder of videos: beside it, or on top of the download.

    Raises:
        UserError: it is nowhere; without it the de-identified spans are unknown.
    """
    for place in (folder.parent, folder.parent.parent):
        if (place / META).is_file():
            return place / META
    raise UserError(
        f"'{folder.parent}' has no {META}, which says which spans of the videos are de-identified; download it (ego4d --metadata)"
    )


def _unusable(entry: Entry, video: Video | None, there: set[str]) -> str:
    """Why a file that the manifest lists is left out; nothing when it is not."""
    if f"{entry.uid}.mp4" not in there:
        return f"{MANIFEST} lists it, but it is not there"
    if video is None:
        return f"{META} does not describe it, so its de-identified spans are unknown"
    if video.hidden is None:
        return f"it has de-identified spans, but {META} does not say where"
    return "its frames show two views side by side (stereo)" if video.stereo else ""
