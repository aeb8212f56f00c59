"""LeRobot data sets as motion: between two frames of an episode, how a robot's motors moved, or what they were told.

What a camera on an arm sees move is the arm's doing, so the motors say of a pair of frames what poses say of a car's. The
motion is the difference of chosen columns of the state, or of actions that are places to go to; or the sum over time of
actions that are speeds. Rows belong to frames as in `lerobot`, and no pair leaves its episode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.drives import none_left
from embodied_ssl.datasets.io.frame_numbers import check_side
from embodied_ssl.datasets.io.listing import prefixes
from embodied_ssl.datasets.io.robot_rows import COLUMNS, Rows
from embodied_ssl.datasets.io.selected import Selected
from embodied_ssl.datasets.lerobot import LeRobot, read_episodes, read_info
from embodied_ssl.datasets.motion import Axis, named
from embodied_ssl.datasets.source import Box, DataSpec, Pixels, Sample, Source, Split, folders, in_split
from embodied_ssl.datasets.video_spec import Clip, Look
from embodied_ssl.errors import BadItem, UserError

Signal = Literal["state", "action", "summed_action"]
UNITS = {"state": "change of state", "action": "change of action", "summed_action": "action times seconds"}


def field_of(signal: Signal) -> str:
    """The field of rows that a signal is made of."""
    return "state" if signal == "state" else "action"


def column_names(root: Path, field: str) -> tuple[str, ...]:
    """What a field's columns are called in ``meta/info.json``; numbered where that does not name every column once.

    Raises:
        UserError: the data set has no such field.
    """
    features = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))["features"]
    column = COLUMNS[field]
    try:
        count = int(np.prod(features[column]["shape"]))
        given = _flat(features[column].get("names"))
    except (KeyError, TypeError, ValueError, AttributeError):
        has = [signal for signal in get_args(Signal) if COLUMNS[field_of(signal)] in features]
        raise UserError(
            f"'{root}' has no column {column} of a known shape; choose another signal with --set data.signal=... "
            f"({', '.join(has) or 'it has neither action nor state'})"
        ) from None
    return given if len(given) == len(set(given)) == count else tuple(f"{field}_{number}" for number in range(count))


def _flat(names: object) -> tuple[str, ...]:
    """Names as LeRobot's versions write them: a list, a list in a list, or a list below a heading."""
    if isinstance(names, str):
        return (names,)
    inside = list(names.values()) if isinstance(names, Mapping) else names
    if not isinstance(inside, list):
        return ()
    return tuple(name for part in inside for name in _flat(part))


@dataclass(frozen=True)
class Episode:
    """One camera's view of one episode.

    Attributes:
        clip: where it is.
        rows: what was recorded beside it.
        length: its frames, as ``meta/`` has it.
    """

    clip: Clip
    rows: Rows
    length: int


class RowFrames:
    """An episode's frames, one for each row and at its time, as in `embodied_ssl.datasets.source.Frames`.

    Rows are read at once; the video only when something of it is asked for, and whether each row has a frame is seen then.

    Args:
        episode: which.
        look: how frames are given.

    Raises:
        BadItem: the rows cannot be read, are not as many as they should be, or their times do not rise.
    """

    def __init__(self, episode: Episode, look: Look) -> None:
        self.episode = episode
        self.look = look
        self.columns = episode.rows.read()
        count = len(next(iter(self.columns.values())))
        if count != episode.length:
            raise BadItem(episode.rows.name, f"{count} rows where meta/ says {episode.length}")
        by = "timestamp" if episode.rows.join == "timestamp" else "frame_index"
        clock = self.columns.get("timestamp", self.columns.get("frame_index", np.zeros(count)) / episode.rows.fps)
        self.order = np.argsort(self.columns.get(by, clock), kind="stable")
        self._seconds = np.asarray(clock[self.order] - clock[self.order[0]], np.float64)
        if np.any(np.diff(self._seconds) <= 0):
            row = int(np.argmax(np.diff(self._seconds) <= 0))
            raise BadItem(episode.rows.name, f"times do not rise from frame {row} to the next")

    def values(self, field: str) -> NDArray[np.float64]:
        """What was recorded at each frame, float64 [n, numbers a row]."""
        return self.columns[field][self.order].astype(np.float64)

    @cached_property
    def shown(self) -> Selected:
        """The frames of the video.

        Raises:
            BadItem: the video cannot be read, or a row has no frame of its own.
        """
        whole = self.look.frames(replace(self.episode.clip, span=None))
        numbers = self.episode.rows.frames_of(self.columns, whole.seconds - whole.seconds[0])[self.order]
        if np.any(np.diff(numbers) < 1):
            raise BadItem(self.episode.rows.name, "its rows are in another order than their frames")
        return Selected(whole, numbers)

    @property
    def name(self) -> str:
        return self.episode.clip.path

    def __len__(self) -> int:
        return self.episode.length

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self._seconds

    @property
    def motion(self) -> NDArray[np.float32]:
        return self.shown.motion

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.shown.shots

    @property
    def content(self) -> Box:
        return self.shown.content

    def take(self, indices: Sequence[int]) -> Pixels:
        return self.shown.take(indices)


class MotorMotions(Source):
    """Frames of episodes that have others within the horizon after them; rows and videos are read with the sample."""

    provides = frozenset({"frames", "frame", "later", "motions", "seconds", "index"})

    def __init__(
        self,
        name: str,
        episodes: Sequence[Episode],
        look: Look,
        horizon_seconds: float,
        signal: Signal,
        columns: Sequence[int],
        axes: Sequence[Axis],
        bad: list[BadItem],
        split: Split,
    ) -> None:
        recordings = [episode.clip.recording for episode in episodes for _ in range(episode.length - 1)]
        ends = np.cumsum([episode.length - 1 for episode in episodes])
        places = np.arange(len(recordings), dtype=np.int64)
        numbers = np.searchsorted(ends, places, side="right")
        chosen = in_split(recordings, split)
        self._places = np.stack([numbers, places - np.concatenate([[0], ends])[numbers]], 1)[chosen]
        self.recordings = [recordings[place] for place in chosen]
        self.episodes = list(episodes)
        self.look = look
        self.horizon_seconds = horizon_seconds
        self.signal = signal
        self.columns = list(columns)
        self.motion_unit = UNITS[signal]
        self.motion_axes = tuple(axes)
        self.bad = bad
        self.name = f"{name}: {len(chosen)} frames of {len(set(self.recordings))} recordings"

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        number, frame = (int(value) for value in self._places[index])
        frames = RowFrames(self.episodes[number], self.look)
        seconds = frames.seconds
        slack = float(np.median(np.diff(seconds))) / 4  # clocks jitter, see `drives.Drive.reach`
        last = int(np.searchsorted(seconds, seconds[frame] + self.horizon_seconds + slack, side="right"))
        if last <= frame + 1:
            raise BadItem(f"{frames.name} frame {frame}", f"no later frame within {self.horizon_seconds:g} s")
        later = np.arange(frame + 1, last, dtype=np.int64)
        return {
            "frames": frames,
            "frame": frame,
            "later": later,
            "motions": self._motions(frames, frame, later),
            "seconds": seconds[later] - seconds[frame],
            "index": index,
        }

    def _motions(self, frames: RowFrames, frame: int, later: NDArray[np.int64]) -> NDArray[np.float64]:
        values = frames.values(field_of(self.signal))[:, self.columns]
        if self.signal == "summed_action":  # a command acts until the next one
            steps = values[:-1] * np.diff(frames.seconds)[:, None]
            values = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(steps, 0)])
        moved: NDArray[np.float64] = values[later] - values[frame]
        return moved


@dataclass(frozen=True)
class LeRobotMotion(DataSpec):
    """LeRobot data sets as pairs of frames with motion.

    Attributes:
        root: one folder, or several joined by commas.
        camera: whose pictures: ``observation.images.left``, or ``left`` for short. Empty where there is only one.
        signal: ``state`` and ``action`` for differences (actions that are places to go to), ``summed_action`` for the sum over
            time of actions that are speeds.
        axes: names of columns; all of them where empty.
        mirror: for each axis what a mirror image does to it: 1 nothing, -1 it turns round, 0 not known; all 0 where empty.
            Methods refuse to mirror pairs of which it is not known.
        join: how rows belong to frames, see `lerobot.LeRobot`.
        horizon_seconds: how far ahead ``later`` looks.
        short_side: frames are scaled so that their shorter side has so many pixels.
    """

    protocol: ClassVar[str] = "LeRobot v2.1 and v3.0 as motion: pairs of frames, and how state or action changed in between"

    root: str = ""
    camera: str = ""
    signal: Signal = "state"
    axes: tuple[str, ...] = ()
    mirror: tuple[int, ...] = ()
    join: Literal["timestamp", "frame_index"] = "timestamp"
    horizon_seconds: float = 1.0
    short_side: int = 96

    def open(self, split: Split = "all") -> Source:
        check_side(self.short_side)
        roots = folders(self.root)
        videos = LeRobot(root=self.root, short_side=self.short_side, camera=self.camera, join=self.join)
        clips, bad = videos.clips(roots)
        self._check(roots)
        columns, axes = self._axes(roots)
        lengths = self._lengths(roots)
        episodes = []
        for clip in clips:
            length = lengths[clip.recording]
            if length > 1 and isinstance(clip.beside, Rows):
                rows = replace(clip.beside, fields=frozenset({field_of(self.signal)}))
                episodes.append(Episode(replace(clip, beside=None, answers={}), rows, length))
            else:
                bad.append(BadItem(f"{clip.path}: {clip.recording}", f"{length} frames, where a pair needs two"))
        if not episodes:
            raise none_left(f"episodes in '{self.root}'", bad, "episodes of two or more frames with rows beside them")
        look = Look(self.short_side, "pyav", 0.0)
        name = f"LeRobot, {UNITS[self.signal]}"
        return MotorMotions(name, episodes, look, self.horizon_seconds, self.signal, columns, axes, bad, split)

    def _check(self, roots: Sequence[Path]) -> None:
        """Refuse settings that cannot be meant."""
        if self.signal not in get_args(Signal):
            raise UserError(f"signal is '{self.signal}'; accepted are {', '.join(get_args(Signal))}")
        for root in roots:
            info = read_info(root)
            if not self.camera and len(info.cameras) > 1:
                raise UserError(
                    f"'{root}' has the cameras {', '.join(info.cameras)}, in each of which the same motion looks different; "
                    "choose one with --set data.camera=..."
                )
            if not self.horizon_seconds * info.fps > 0.75:
                raise UserError(
                    f"no two frames of '{root}' are within {self.horizon_seconds:g} s; "
                    "raise it with --set data.horizon_seconds=1.0"
                )

    def _axes(self, roots: Sequence[Path]) -> tuple[tuple[int, ...], tuple[Axis, ...]]:
        """The columns to take, and what they are called."""
        names, *others = (column_names(root, field_of(self.signal)) for root in roots)
        if any(other != names for other in others):
            raise UserError(f"the data sets in '{self.root}' have other columns of {field_of(self.signal)}; give one at a time")
        offered = [Axis(name, f"more {name}", f"less {name}", 0) for name in names]
        columns = named(self.axes or names, offered)
        mirror = self.mirror or (0,) * len(columns)
        if len(mirror) != len(columns) or not set(mirror) <= {-1, 0, 1}:
            what = f"mirror is {', '.join(map(str, mirror))} for {len(columns)} axes"
            raise UserError(f"{what}; give 1 (the same), -1 (the opposite) or 0 (not known) for each, or none")
        return columns, tuple(offered[column]._replace(mirror=sign) for column, sign in zip(columns, mirror, strict=True))

    def _lengths(self, roots: Sequence[Path]) -> dict[str, int]:
        """Frames by recording."""
        found: dict[str, int] = {}
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            episodes = read_episodes(root, read_info(root).version)
            found |= {f"{prefix}episode_{episode.number:06d}": episode.length for episode in episodes}
        return found

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """The episodes of `lerobot.LeRobot.tiny`: at frame f the state is (f, -f), and the action's last number f."""
        return cls(root=LeRobot.tiny(folder).root, camera="left", short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return LeRobot.recognises(folder)
