"""Rows of KITTI's GPS and inertial unit: read, found for any moment, and held against the speed that was measured with them.

Where the GPS position jumps or drifts, the picture does not: such pairs would be labelled with a motion that never was. What the
unit says of its own accuracy is not asked: through a tunnel it is poor and the motion over a second still good.
"""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.io.number_rows import row_of
from embodied_ssl.datasets.motion import LEFT_YAW, SIX
from embodied_ssl.errors import BadItem

JUMP_METRES = 0.5  # a pair that differs by more from what the measured speed gives is not believed
JUMP_RADIANS = np.radians(1.0)
JOIN_WITHIN = 50_000_000  # nanoseconds between two rows that a picture may fall between; unsynchronised ones come every 10 ms

Times = NDArray[np.float64]
Row = NDArray[np.float64]  # [30]


def read_oxts(folder: Path, files: dict[int, str]) -> tuple[dict[int, Row], list[BadItem]]:
    """Rows of 30 values by frame number, all NaN where a file is garbled, and what is wrong with those."""
    rows: dict[int, Row] = {}
    bad: list[BadItem] = []
    for number, name in files.items():
        path = folder / name
        try:
            row = row_of(path.read_text(errors="replace"), poses.OXTS_VALUES)
            if abs(row[poses.LATITUDE]) >= 90:
                raise ValueError(f"its latitude is {row[poses.LATITUDE]:g} degrees")
            rows[number] = row
        except (OSError, ValueError) as error:
            rows[number] = np.full(poses.OXTS_VALUES, np.nan)
            bad.append(BadItem(str(path), f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)))
    return rows, bad


def between(by_time: list[tuple[int, int]], time: int, rows: dict[int, Row]) -> Row | None:
    """The row of oxts at a time, from those measured just before and after it; None where one of them is missing.

    At 100 rows a second the nearest one would be up to 5 ms off: 8 cm at 60 km/h, a twentieth of the way to the next picture.

    Args:
        by_time: times in nanoseconds, rising, and numbers of the rows.
        time: in nanoseconds.
        rows: by number.
    """
    place = bisect_left(by_time, (time, -1))
    if place < len(by_time) and by_time[place][0] == time:
        return rows[by_time[place][1]]
    if not 0 < place < len(by_time):
        return None
    (earlier, one), (later, other) = by_time[place - 1 : place + 1]
    if later - earlier > JOIN_WITHIN:
        return None
    first, last = rows[one], rows[other].copy()
    for angle in (poses.ROLL, poses.YAW):
        last[angle] = first[angle] + (last[angle] - first[angle] + np.pi) % (2 * np.pi) - np.pi
    row: Row = first + (last - first) * ((time - earlier) / (later - earlier))
    return row


def excess(rows: NDArray[np.float64], track: NDArray[np.float64], seconds: Times) -> NDArray[np.float64]:
    """By how much each step goes beyond what was measured: metres over `JUMP_METRES` and radians over `JUMP_RADIANS`, [n - 1, 2].

    A step may be as long as any speed between those measured at its ends makes it; positive is longer, or further left.

    Args:
        rows: oxts [n, 30].
        track: poses made from them [n, 4, 4].
        seconds: their times [n].
    """
    steps = poses.relative(track[:-1], track[1:])
    lasted = np.diff(seconds)[:, None]
    speed = np.hypot(rows[:, poses.SPEED_FORWARD], rows[:, poses.SPEED_LEFT])
    measured = np.stack([speed, rows[:, poses.YAW_RATE]], -1)
    ends = measured[:-1] * lasted, measured[1:] * lasted
    least, most = np.minimum(*ends), np.maximum(*ends)
    yaw = poses.six(steps, "imu")[:, SIX.index(LEFT_YAW)]
    # A turn within one step that is more than half around is not told from its opposite.
    yaw = yaw + 2 * np.pi * np.round(((least + most)[:, 1] / 2 - yaw) / (2 * np.pi))
    moved = np.stack([np.hypot(steps[:, 0, 3], steps[:, 1, 3]), yaw], -1)
    beyond: NDArray[np.float64] = (moved - np.clip(moved, least, most)) / [JUMP_METRES, JUMP_RADIANS]
    return beyond


def jumps(beyond: NDArray[np.float64], seconds: Times, horizon_seconds: float) -> list[int]:
    """Steps to cut so that no pair within the horizon disagrees by more than a whole jump, [n - 1, 2] as `excess` gives it.

    Between the frames of such a pair it is the worst step that is cut.
    """
    total = np.vstack([np.zeros((1, beyond.shape[1])), np.cumsum(beyond, 0)])
    worst = np.abs(beyond).max(1)
    cuts: list[int] = []
    for frame in range(1, len(total)):
        first = max(cuts[-1] + 1 if cuts else 0, int(np.searchsorted(seconds, seconds[frame] - horizon_seconds * 1.05)))
        while first < frame and np.abs(total[frame] - total[first:frame]).max() > 1:
            cuts.append(first + int(worst[first:frame].argmax()))
            first = cuts[-1] + 1
    return cuts
