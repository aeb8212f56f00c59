"""What all driving data have in common: a camera's pictures in time, and the motion from each to those soon after.

A sample is one frame with everything that follows within the horizon; a drive is a recording, and splits keep it whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW, ON_THE_ROAD, SIX, Axis, named
from embodied_ssl.datasets.source import Frames, Sample, Source, Split, in_split
from embodied_ssl.errors import BadItem, UserError

METRIC = "metres, radians"
REASONS = 3  # how many are named where nothing can be used


def metric_axes(names: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of poses by name.

    Raises:
        UserError: see `motion.named`.
    """
    return tuple(SIX[place] for place in named(names))


class Track(Protocol):
    """What is known of a drive's motion."""

    def motions(self, frame: int, later: NDArray[np.int64]) -> NDArray[np.float64]:
        """The motion [h, m] from a frame to each of those later, along the axes of its source."""


@dataclass(frozen=True)
class PoseTrack:
    """Motion from poses.

    Attributes:
        poses: T_world<-body [n, 4, 4].
        body: whose axes they have.
        calibration: T_camera<-imu [4, 4], with which poses of the IMU give the motion of the camera.
        axes: which of `motion.SIX`.
    """

    poses: NDArray[np.float64]
    body: Literal["camera", "imu"]
    calibration: NDArray[np.float64] | None = None
    axes: tuple[str, ...] = ON_THE_ROAD

    def motions(self, frame: int, later: NDArray[np.int64]) -> NDArray[np.float64]:
        moved = poses.relative(self.poses[frame], self.poses[later])
        if self.calibration is not None:
            moved = poses.conjugate(moved, self.calibration)
        wanted: NDArray[np.float64] = poses.six(moved, self.body)[:, named(self.axes)]
        return wanted


@dataclass(frozen=True)
class CommandTrack:
    """Motion from commands: what was given between two frames, summed; ``total`` [n, m] is the sum up to each frame."""

    total: NDArray[np.float64]

    def motions(self, frame: int, later: NDArray[np.int64]) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = self.total[later] - self.total[frame]
        return moved


@dataclass(frozen=True)
class Drive:
    """One recording.

    Attributes:
        name: the recording.
        frames: its pictures; times must rise.
        track: its motion, with the same numbering as ``frames``.
        breaks: frames k between which and k + 1 the motion is not to be believed, so that no pair reaches across.
    """

    name: str
    frames: Frames
    track: Track
    breaks: tuple[int, ...] = ()

    def reach(self, horizon_seconds: float) -> NDArray[np.int64]:
        """The last frame within the horizon of each and not across a break [n]; a frame alone reaches itself."""
        seconds = self.frames.seconds
        count = len(seconds)
        # Clocks jitter: with 10 frames a second, the tenth frame after is meant to be within one second.
        slack = float(np.median(np.diff(seconds))) / 4 if count > 1 else 0.0
        last = np.searchsorted(seconds, seconds + horizon_seconds + slack, side="right") - 1
        stops = np.array([*sorted(self.breaks), count - 1], np.int64)
        return np.minimum(last, stops[np.searchsorted(stops, np.arange(count))]).astype(np.int64)


@dataclass(frozen=True)
class LineUp:
    """Which of a drive's pictures can be used.

    Attributes:
        kept: those that can, as positions in what was given.
        breaks: what `Drive.breaks` shall be: places where pictures were left out between two that are kept.
        late: those that stand in the wrong place in time, as positions.
    """

    kept: list[int]
    breaks: tuple[int, ...]
    late: list[int]


def line_up(times: Sequence[float], sound: Sequence[bool]) -> LineUp:
    """Pictures whose motion is sound and whose times rise; of times out of order, as few as possible are left out.

    No pair reaches across a picture that is left out: where a sensor writes nonsense, its neighbours are in doubt.

    Args:
        times: of all pictures, in the order of their numbers, in any unit.
        sound: whether the motion at each is known.
    """
    candidates = [place for place, good in enumerate(sound) if good]
    kept = [candidates[i] for i in rising([times[place] for place in candidates])]
    breaks = tuple(step for step, (one, other) in enumerate(pairwise(kept)) if other > one + 1)
    return LineUp(kept, breaks, sorted(set(candidates) - set(kept)))


def rising(times: Sequence[float]) -> list[int]:
    """Positions of a longest part of a sequence that rises strictly; of equal times the first."""
    ends: list[float] = []  # the least time on which a rising part of each length ends, and where
    places: list[int] = []
    before: list[int] = []
    for place, time in enumerate(times):
        length = bisect_left(ends, time)
        before.append(places[length - 1] if length else -1)
        if ends[length : length + 1] != [time]:
            ends[length : length + 1] = [time]
            places[length : length + 1] = [place]
    found = []
    place = places[-1] if places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


class Drives(Source):
    """Frames of drives that have others within the horizon after them.

    Args:
        name: one line for people; how many frames there are is added.
        drives: the recordings.
        horizon_seconds: how far ahead ``later`` looks.
        motion_unit: of the motions.
        bad: what was left out; drives without two frames within the horizon are added.
        split: which part.
        axes: what the motions are made of.
        held_out: names of the recordings to hold out, where a data set says which; None for those that `held_out` chooses.

    Raises:
        UserError: no two frames within the horizon.
    """

    provides = frozenset({"frames", "frame", "later", "motions", "seconds", "index"})

    def __init__(
        self,
        name: str,
        drives: Sequence[Drive],
        horizon_seconds: float,
        motion_unit: str,
        bad: list[BadItem],
        split: Split,
        axes: Sequence[Axis] = (FORWARD, LEFT_YAW),
        held_out: Collection[str] | None = None,
    ) -> None:
        if horizon_seconds <= 0:
            raise UserError(f"horizon_seconds must be above 0, not {horizon_seconds}; set it with --set data.horizon_seconds=1.0")
        self.drives = list(drives)
        self.motion_unit = motion_unit
        self.motion_axes = tuple(axes)
        self._reach = [drive.reach(horizon_seconds) for drive in self.drives]
        places = [
            (number, int(frame))
            for number, reach in enumerate(self._reach)
            for frame in np.flatnonzero(reach > np.arange(len(reach)))
        ]
        with_pairs = {number for number, _ in places}
        short = [drive.name for number, drive in enumerate(self.drives) if number not in with_pairs]
        self.bad = [*bad, *(BadItem(drive, f"no two frames within {horizon_seconds:g} s") for drive in short)]
        if not places:
            raise UserError(
                f"no two frames of {name} are within {horizon_seconds} s; raise it with --set data.horizon_seconds=..."
            )
        recordings = [self.drives[number].name for number, _ in places]
        chosen = _chosen(recordings, split, held_out)
        self._places = np.array([places[i] for i in chosen], np.int32).reshape(-1, 2)
        self.recordings = [recordings[i] for i in chosen]
        self.name = f"{name}: {len(chosen)} frames of {len(set(self.recordings))} recordings"

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        number, frame = (int(value) for value in self._places[index])
        drive = self.drives[number]
        later = np.arange(frame + 1, self._reach[number][frame] + 1, dtype=np.int64)
        return {
            "frames": drive.frames,
            "frame": frame,
            "later": later,
            "motions": drive.track.motions(frame, later),
            "seconds": drive.frames.seconds[later] - drive.frames.seconds[frame],
            "index": index,
        }


def _chosen(recordings: Sequence[str], split: Split, held_out: Collection[str] | None) -> list[int]:
    if held_out is None or split == "all":
        return in_split(recordings, split)
    return [i for i, name in enumerate(recordings) if (name in held_out) == (split == "held_out")]


def none_left(what: str, bad: Sequence[BadItem], accepted: str) -> UserError:
    """The error for a root in which nothing could be used: what was found, the first reasons to refuse it, what is accepted."""
    why = "; ".join(str(item) for item in bad[:REASONS])
    more = f" (and {len(bad) - REASONS} more)" if len(bad) > REASONS else ""
    return UserError(f"no usable {what}{'; first: ' if bad else ''}{why}{more}; accepted is {accepted}")
