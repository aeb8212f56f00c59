"""comma2k19: hours of commuting behind a car's windscreen, with the pose of the camera on Earth at every frame.

A route is one drive, cut into segments of a minute; all of its segments are one recording. A segment's video is bare HEVC
without times, and frame k was taken at the k-th of ``frame_times``: where their numbers differ the segment is refused.
Schafer et al. 2018, arXiv:1812.05752.

Positions are metres from the centre of the Earth. ``frame_orientations`` are Hamilton quaternions (w, x, y, z) that turn
vectors of the camera, [forward, right, down], into those of the Earth: the set's README says the opposite, the authors' own
code does this, and a segment is refused whose camera does not stand upright or does not look where it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied_ssl.datasets import poses, quaternions
from embodied_ssl.datasets.drives import METRIC, Drive, Drives, LineUp, PoseTrack, line_up, metric_axes, none_left
from embodied_ssl.datasets.io.listing import prefixes, subfolders
from embodied_ssl.datasets.io.numbered import driven, tour, write_video
from embodied_ssl.datasets.io.raw_stream import RawStream
from embodied_ssl.datasets.io.selected import Selected
from embodied_ssl.datasets.motion import ON_THE_ROAD
from embodied_ssl.datasets.source import DataSpec, Source, Split, folders
from embodied_ssl.errors import BadItem

# The '|' is an underscore where the disk accepts none.
ROUTE = re.compile(r"[0-9a-f]{16}[|_]\d{4}-\d\d-\d\d--\d\d-\d\d-\d\d")
POSES = ("global_pose", "global_pos")  # as it is, and as the README has it
ACCEPTED = "CHUNK/DONGLE|TIME/SEGMENT/{video.hevc, global_pose/{frame_times, frame_positions, frame_orientations}}"
FROM_RIGHT_DOWN = np.diag([1.0, -1.0, -1.0])  # axes forward, right, down to forward, left, up, and back
JUMP_METRES = 0.5  # a step that differs by more from what the velocity gives is no driving
MOVING = 3.0  # metres a second from which on a car drives forwards
ALONG = 0.95  # cosine of the angle by which a windscreen's camera may be off
RATE = 20  # of made-up segments, frames a second

Array = NDArray[np.float64]


def earth_poses(positions: ArrayLike, orientations: ArrayLike) -> Array:
    """T_start<-camera [n, 4, 4] with axes forward, left, up, in metres from the first.

    Only the origin is moved: the axes of "start" remain the Earth's, which no relative motion depends on.

    Args:
        positions: from the centre of the Earth, in metres [n, 3].
        orientations: unit quaternions (w, x, y, z) from [forward, right, down] to the Earth [n, 4].
    """
    places = np.asarray(positions, np.float64)
    return poses.rigid(quaternions.matrices(orientations) @ FROM_RIGHT_DOWN, places - places[0])


def route_folders(root: Path, depth: int = 2) -> Iterator[Path]:
    """The routes of a root, which is a route's folder, a chunk's, or one that holds chunks; sorted."""
    if ROUTE.fullmatch(root.name):
        yield root
    elif depth > 0:
        for child in subfolders(root):
            yield from route_folders(child, depth - 1)


def read_array(path: Path, columns: int) -> Array:
    """An array of so many columns, float64 [n, columns], from a numpy file without an ending.

    Raises:
        BadItem: it is missing, cut off or of another shape.
    """
    try:
        with path.open("rb") as file:
            values = np.asarray(np.load(file, allow_pickle=False), np.float64)
    except FileNotFoundError:
        raise BadItem(str(path), "missing") from None
    except (OSError, ValueError, EOFError, TypeError, MemoryError) as error:
        raise BadItem(str(path), f"not a whole numpy array ({error})") from None
    if values.shape != (len(values) if values.ndim else 0, columns) and not (columns == 1 and values.ndim == 1):
        raise BadItem(str(path), f"its shape is {values.shape} where [n, {columns}] is expected")
    return values.reshape(-1, columns)


class _SegmentReader:
    """Reads one minute; what cannot be used is collected in ``bad``."""

    def __init__(self, place: Path, recording: str, short_side: int, axes: tuple[str, ...]) -> None:
        self.place = place
        self.recording = recording
        self.short_side = short_side
        self.axes = axes
        self.bad: list[BadItem] = []

    def read(self) -> Drive | None:
        try:
            return self._drive()
        except BadItem as item:
            self.bad.append(item)
            return None

    def _drive(self) -> Drive:
        video = self.place / "video.hevc"
        if not video.is_file():
            raise BadItem(str(video), "missing")
        about = next((self.place / name for name in POSES if (self.place / name).is_dir()), self.place / POSES[0])
        times = read_array(about / "frame_times", 1)
        positions, orientations = read_array(about / "frame_positions", 3), read_array(about / "frame_orientations", 4)
        if not len(times) == len(positions) == len(orientations):
            counts = f"{len(times)} times, {len(positions)} positions and {len(orientations)} orientations"
            raise BadItem(str(about), f"{counts}: which belong together is unknown")
        usable = self._usable(times[:, 0], positions, orientations)
        kept = np.array(usable.kept, np.int64)
        seconds = times[:, 0] - times[kept[0], 0]
        track = earth_poses(positions[kept], orientations[kept])
        self._check_looks(track, seconds[kept], positions[kept])
        frames = RawStream(video, seconds, self.short_side)
        chosen = frames if len(kept) == len(times) else Selected(frames, kept)
        breaks = {*usable.breaks, *self._jumps(about, track, kept, seconds)}
        return Drive(self.recording, chosen, PoseTrack(track, "imu", None, self.axes), tuple(sorted(breaks)))

    def _usable(self, times: Array, positions: Array, orientations: Array) -> LineUp:
        """The frames with a time and a pose that stand in order."""
        sound = np.isfinite(times) & np.isfinite(positions).all(1) & quaternions.are_unit(orientations)
        usable = line_up(times.tolist(), sound.tolist())
        if len(usable.kept) < 2:
            raise BadItem(str(self.place), f"{len(usable.kept)} of its {len(times)} frames can be used, and motion needs two")
        for out, why in ((np.flatnonzero(~sound), "have no time or no pose"), (usable.late, "stand out of order in time")):
            if len(out):
                self.bad.append(BadItem(str(self.place), f"{len(out)} of {len(times)} frames {why}, the first is {out[0]}"))
        return usable

    def _check_looks(self, track: Array, seconds: Array, positions: Array) -> None:
        """See that the camera stands upright and looks where it goes: quaternions of another convention make it look anywhere."""
        up = positions / np.linalg.norm(positions, axis=1, keepdims=True)
        moved = poses.relative(track[:-1], track[1:])[:, :3, 3]
        distance = np.linalg.norm(moved, axis=1)
        moving = distance > MOVING * np.diff(seconds)
        upright = np.median((track[:, :3, 2] * up).sum(1)) > ALONG
        ahead = not moving.any() or np.median(moved[moving, 0] / distance[moving]) > ALONG
        if not upright or not ahead:
            what = "does not look where it goes" if upright else "does not stand upright on the Earth"
            raise BadItem(str(self.place), f"its camera {what}; are positions ECEF and quaternions (w, x, y, z)?")

    def _jumps(self, about: Path, track: Array, kept: NDArray[np.int64], seconds: Array) -> Sequence[int]:
        """Steps that disagree with the measured velocity, where there is one."""
        if not (about / "frame_velocities").is_file():
            return ()
        try:
            velocity = read_array(about / "frame_velocities", 3)
        except BadItem as item:
            self.bad.append(item)
            return ()
        if len(velocity) != len(seconds):
            self.bad.append(BadItem(str(about / "frame_velocities"), f"{len(velocity)} rows for {len(seconds)} frames"))
            return ()
        step = (velocity[kept][1:] + velocity[kept][:-1]) / 2 * np.diff(seconds[kept])[:, None]
        apart = np.linalg.norm(np.diff(track[:, :3, 3], axis=0) - step, axis=1)
        found = np.flatnonzero(apart > JUMP_METRES)
        if len(found):
            what = f"{len(found)} steps disagree with the velocity, the first after frame {kept[found[0]]}"
            self.bad.append(BadItem(str(self.place), what))
        steps: list[int] = found.tolist()
        return steps


@dataclass(frozen=True)
class Comma2k19(DataSpec):
    """comma2k19 routes.

    Attributes:
        root: the folder that holds the chunks, a chunk's folder, or a route's.
        horizon_seconds: how far ahead ``later`` looks; never from one segment into the next.
        short_side: frames are scaled so that their shorter side has so many pixels.
        axes: what motions are made of: any of forward, left, up, left_yaw, up_pitch, right_roll.
    """

    protocol: ClassVar[str] = "comma2k19 routes: minutes of bare HEVC, with the camera's pose on Earth at every frame"

    root: str = ""
    horizon_seconds: float = 1.0
    short_side: int = 96
    axes: tuple[str, ...] = ON_THE_ROAD

    def open(self, split: Split = "all") -> Source:
        axes = metric_axes(self.axes)
        drives: list[Drive] = []
        bad: list[BadItem] = []
        roots = folders(self.root)
        for root, prefix in zip(roots, prefixes(roots), strict=True):
            for route in route_folders(root.absolute()):
                segments = [place for place in subfolders(route) if place.name.isdigit()]
                if not segments:
                    bad.append(BadItem(str(route), "has no segments"))
                for place in sorted(segments, key=lambda place: int(place.name)):
                    reader = _SegmentReader(place, prefix + route.name, self.short_side, self.axes)
                    drive = reader.read()
                    bad += reader.bad
                    drives += [drive] if drive else []
        if not drives:
            raise none_left(f"comma2k19 segments in '{self.root}'", bad, ACCEPTED)
        return Drives("comma2k19", drives, self.horizon_seconds, METRIC, bad, split, axes)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        for number in range(5):
            route = folder / f"Chunk_{1 + number % 2}" / f"99c94dc769b5d96e|2018-08-0{1 + number}--08-34-47"
            for minute in range(2 if number == 0 else 1):
                write_segment(route / str(3 + minute), tour(30, first=(number + minute) % 3))
        return cls(root=str(folder), short_side=48)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return next(route_folders(folder.absolute()), None) is not None


def earth_axes(latitude: float, longitude: float) -> Array:
    """East, north and up at a place given in degrees, as the columns of a rotation into the Earth's axes [3, 3]."""
    (sin, sin_lon), (cos, cos_lon) = (f(np.radians([latitude, longitude])) for f in (np.sin, np.cos))
    return np.array([[-sin_lon, -sin * cos_lon, cos * cos_lon], [cos_lon, -sin * sin_lon, cos * sin_lon], [0, cos, sin]])


def write_segment(place: Path, steps: Array, size: tuple[int, int] = (48, 64)) -> Path:
    """Write a made-up minute of (forward, left yaw) steps [n, 2], level and south of San Francisco; gives its folder."""
    (place / POSES[0]).mkdir(parents=True)
    path = poses.walk(steps)
    local = earth_axes(37.6, -122.4)
    metres = 6_370_000.0 * local[:, 2] + path[:, :2] @ local[:, :2].T
    level = np.zeros(len(path))
    # Forward is the yaw from east; right and down are what is left and up, turned round.
    turns = local @ poses.rotation(level, level, path[:, 2]) @ FROM_RIGHT_DOWN
    velocity = np.gradient(metres, axis=0) * RATE
    arrays = {
        "times": 500.0 + np.arange(len(path)) / RATE,
        "positions": metres,
        "orientations": quaternions.of_matrices(turns),
        "velocities": velocity,
    }
    for name, values in arrays.items():
        with (place / POSES[0] / f"frame_{name}").open("wb") as file:
            np.save(file, values)
    far = np.concatenate([[0.0], np.cumsum(steps[:, 0])])
    seen = (driven(metre, yaw, size) for metre, yaw in zip(far, path[:, 2], strict=True))
    options = {"x265-params": "keyint=10:bframes=0:crf=12:log-level=none:pools=1:frame-threads=1"}
    write_video(place / "video.hevc", seen, codec="libx265", rate=RATE, options=options)
    return place
