"""How a camera moved between two moments, from poses: always ``inv(T_i) @ T_j``, in the first moment's own frame, in float64.

Differences of world coordinates would give the same drive another label for every heading, differences of yaw angles break
where they wrap around, and float32 holds a Mercator northing only to a quarter of a metre.

Frames: the IMU's is x forward, y left, z up; a camera's is x right, y down, z forward. Poses are T_world<-body, [..., 4, 4].
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

EARTH_RADIUS = 6378137.0  # metres; KITTI's
OXTS_VALUES = 30
# Columns of an oxts row.
LATITUDE, LONGITUDE, ALTITUDE, ROLL, PITCH, YAW = range(6)
SPEED_FORWARD, SPEED_LEFT = 8, 9
YAW_RATE = 22
ROUNDING = 0.01  # what entries of R^T R may be off: published poses are rounded to as little as 3 digits
IMU_FROM_CAMERA = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)


def rotation(roll: ArrayLike, pitch: ArrayLike, yaw: ArrayLike) -> Array:
    """Rz(yaw) Ry(pitch) Rx(roll) for angles in radians [...]: rotations [..., 3, 3]."""
    roll, pitch, yaw = (np.asarray(angle, np.float64) for angle in (roll, pitch, yaw))
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(angle), np.sin(angle)) for angle in (roll, pitch, yaw))
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def oxts_poses(rows: ArrayLike) -> Array:
    """Poses of the IMU [n, 4, 4] from oxts rows [n, 30] of one drive, in metres east, north and up.

    The Mercator scale is fixed by the first row, as in KITTI's own development kit; positions are counted from it.
    """
    rows = np.asarray(rows, np.float64)
    scale = np.cos(np.radians(rows[0, LATITUDE]))
    east = scale * EARTH_RADIUS * np.radians(rows[:, LONGITUDE])
    north = scale * EARTH_RADIUS * np.log(np.tan(np.radians(90 + rows[:, LATITUDE]) / 2))
    position = np.stack([east, north, rows[:, ALTITUDE]], -1)
    return rigid(rotation(rows[:, ROLL], rows[:, PITCH], rows[:, YAW]), position - position[0])


def rigid(turn: ArrayLike, shift: ArrayLike) -> Array:
    """4x4 matrices from rotations [..., 3, 3] and translations [..., 3]."""
    turn, shift = np.asarray(turn, np.float64), np.asarray(shift, np.float64)
    whole = np.zeros((*turn.shape[:-2], 4, 4))
    whole[..., :3, :3], whole[..., :3, 3], whole[..., 3, 3] = turn, shift, 1
    return whole


def fault(pose: Array) -> str:
    """Why a matrix [4, 4] is no pose, in a few words; "" for one that is, but for rounding (`ROUNDING`)."""
    if not np.isfinite(pose).all():
        return "not a pose: a number is not finite"
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        return "not a pose: the last row is not 0 0 0 1"
    turn = pose[:3, :3]
    off = float(np.abs(turn.T @ turn - np.eye(3)).max())
    if off > ROUNDING:
        return f"not a rigid motion: R^T R is off the identity by {off:.2g}"
    return "not a rigid motion: it mirrors (det R = -1)" if np.linalg.det(turn) < 0 else ""


def unrounded(pose: Array) -> Array:
    """Poses [..., 4, 4] with the rotations nearest to what is there, which was rounded when it was written."""
    left, _, right = np.linalg.svd(pose[..., :3, :3])
    return rigid(left @ right, pose[..., :3, 3])


def inverse(pose: Array) -> Array:
    """The inverse of rigid motions [..., 4, 4]."""
    turn = np.swapaxes(pose[..., :3, :3], -1, -2)
    return rigid(turn, -(turn @ pose[..., :3, 3:])[..., 0])


def relative(first: Array, later: Array) -> Array:
    """The motion from poses ``first`` to poses ``later``, seen from the first: inv(first) @ later, [..., 4, 4]."""
    moved: Array = inverse(first) @ later
    return moved


def conjugate(motion: Array, calibration: Array) -> Array:
    """The same motions as another sensor fixed to the body makes them: C M inv(C), with C = T_sensor<-body [4, 4]."""
    moved: Array = calibration @ motion @ inverse(calibration)
    return moved


def six(motion: Array, body: Literal["camera", "imu"]) -> Array:
    """Motions [..., 4, 4] of a body as numbers [..., 6]: forward, left, up in metres; left yaw, up pitch, right roll in radians.

    Angles are those of Rz(yaw) Ry(-pitch) Rx(roll) with x forward, y left, z up, whichever axes the body has.
    """
    if body == "camera":
        motion = conjugate(motion, IMU_FROM_CAMERA)
    turn = motion[..., :3, :3]
    yaw = np.arctan2(turn[..., 1, 0], turn[..., 0, 0])
    pitch = np.arcsin(np.clip(turn[..., 2, 0], -1, 1))
    roll = np.arctan2(turn[..., 2, 1], turn[..., 2, 2])
    return np.concatenate([motion[..., :3, 3], np.stack([yaw, pitch, roll], -1)], -1)


def pose_rows(rows: ArrayLike) -> Array:
    """Poses [n, 4, 4] from rows of 12 numbers, each a 3x4 matrix row by row, as KITTI odometry writes them."""
    rows = np.asarray(rows, np.float64).reshape(-1, 3, 4)
    return rigid(rows[..., :3], rows[..., 3])


def baseline(projection: Array) -> Array:
    """T_camera<-camera0 [4, 4] of a rectified camera, from its projection matrix [3, 4]: a shift sideways, NaN if it is none.

    A projection matrix also holds millimetres up and ahead, which KITTI's own development kit leaves out, and so does this.
    """
    shift = projection[0, 3] / projection[0, 0] if projection[0, 0] else np.nan
    return rigid(np.eye(3), [shift, 0.0, 0.0])


def read_calibration(path: Path) -> dict[str, Array]:
    """The numeric lines ``name: numbers`` of a KITTI calibration file; other lines are passed over.

    Raises:
        OSError: the file cannot be read.
    """
    found: dict[str, Array] = {}
    for line in path.read_text(errors="replace").splitlines():
        name, colon, numbers = line.partition(":")
        try:
            values = np.array([float(number) for number in numbers.split()], np.float64)
        except ValueError:
            continue
        if colon and len(values):
            found[name.strip()] = values
    return found


def oxts_rows(
    east: ArrayLike,
    north: ArrayLike,
    yaw: ArrayLike,
    speed: ArrayLike,
    yaw_rate: ArrayLike,
    up: ArrayLike = 0.0,
    pitch: ArrayLike = 0.0,
    roll: ArrayLike = 0.0,
) -> Array:
    """Oxts rows [n, 30] of a drive: `oxts_poses` of them gives back the positions, counted from the first.

    Args:
        east: position in metres [n].
        north: position in metres [n].
        yaw: heading in radians, counter-clockwise from east [n].
        speed: forward, in metres per second [n].
        yaw_rate: left turn in radians per second [n].
        up: altitude in metres [n].
        pitch: in radians, positive with the front down [n].
        roll: in radians, positive with the left side up [n].
    """
    latitude, longitude = 49.011, 8.43  # Karlsruhe
    scale = np.cos(np.radians(latitude)) * EARTH_RADIUS
    start = np.log(np.tan(np.radians(90 + latitude) / 2))
    place = np.stack([np.asarray(east, np.float64), np.asarray(north, np.float64)], -1)
    place = place - place[0]
    rows = np.zeros((len(place), OXTS_VALUES))
    rows[:, LATITUDE] = np.degrees(2 * np.arctan(np.exp(start + place[:, 1] / scale))) - 90
    rows[:, LONGITUDE] = longitude + np.degrees(place[:, 0] / scale)
    rows[:, ALTITUDE], rows[:, PITCH], rows[:, ROLL] = up, pitch, roll
    rows[:, YAW] = np.arctan2(np.sin(yaw), np.cos(yaw))
    rows[:, SPEED_FORWARD], rows[:, YAW_RATE] = speed, yaw_rate
    rows[:, 25:] = [4, 10, 4, 4, 0]
    return rows


def walk(steps: ArrayLike) -> Array:
    """Positions and headings (east, north, yaw) [n + 1, 3] of steps (forward, left yaw) [n, 2] on level ground."""
    steps = np.asarray(steps, np.float64)
    yaw = np.concatenate([[0.0], np.cumsum(steps[:, 1])])
    middle = (yaw[1:] + yaw[:-1]) / 2
    moved = np.stack([steps[:, 0] * np.cos(middle), steps[:, 0] * np.sin(middle)], -1)
    return np.column_stack([np.vstack([[0.0, 0.0], np.cumsum(moved, 0)]), yaw])


def camera_walk(steps: ArrayLike, pitch: ArrayLike = 0.0) -> Array:
    """Poses [n + 1, 4, 4] of a camera (x right, y down, z forward) on such a `walk`, looking up by ``pitch`` [n + 1] radians."""
    east, north, yaw = walk(steps).T
    turn = rotation(0.0, -np.broadcast_to(np.asarray(pitch, np.float64), yaw.shape), yaw)
    moved: Array = rigid(turn, np.stack([east, north, np.zeros_like(east)], -1))
    return conjugate(moved, inverse(IMU_FROM_CAMERA))
