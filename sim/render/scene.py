"""Checks that every renderer makes of what it is given, and the camera's view of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError
from embodied_ssl.sim.camera import Camera, Floats, Light
from embodied_ssl.sim.render.renderer import Drawn

SMALLEST, LARGEST = 16, 2048  # pixels of a picture's side
_STRETCH = 1e-3  # of a pose's determinant


def poses_of(scene: Sequence[Drawn]) -> Floats:
    """All poses [n, 4, 4].

    Raises:
        UserError: one is not a finite [4, 4], or scales or mirrors (light and shadow would be wrong).
    """
    try:
        poses = np.array([drawn.pose for drawn in scene], np.float64).reshape(-1, 4, 4)
    except ValueError:
        poses = np.empty((0, 4, 4))
    if (
        len(poses) != len(scene)
        or not math.isfinite(poses.sum())
        or np.abs(np.linalg.det(poses[:, :3, :3]) - 1).max(initial=0) > _STRETCH
    ):
        _refuse_pose(scene)
    return poses


def _refuse_pose(scene: Sequence[Drawn]) -> None:
    for place, drawn in enumerate(scene):
        pose = np.asarray(drawn.pose)
        if pose.shape != (4, 4):
            raise UserError(
                f"entry {place} of the scene (id {drawn.id}) has a pose of shape {pose.shape}; give mesh to world [4, 4]"
            )
        if not np.isfinite(pose).all():
            raise UserError(f"entry {place} of the scene (id {drawn.id}) stands nowhere: its pose holds NaN or infinity")
        volume = float(np.linalg.det(pose[:3, :3]))
        if abs(volume - 1) > _STRETCH:
            raise UserError(
                f"entry {place} of the scene (id {drawn.id}) is scaled or mirrored by its pose, to {volume:.3g} of its volume; "
                "give a turn and a shift, and scale the mesh"
            )


def colours_of(scene: Sequence[Drawn]) -> Floats:
    """All colours [n, 3].

    Raises:
        UserError: one is not three numbers.
    """
    colours = np.array([drawn.colour for drawn in scene], np.float64).reshape(-1, 3)
    if len(colours) != len(scene) or not np.isfinite(colours.sum()):
        raise UserError("a colour is three numbers in 0..1: red, green, blue")
    return colours


def repeat_of(drawn: Drawn) -> float:
    """Repeats to a metre of a texture that is laid on.

    Raises:
        UserError: the size of one is no length.
    """
    if not 0 < drawn.size < math.inf:
        raise UserError(f"a texture whose repeats are {drawn.size} m wide (id {drawn.id}); give a positive length")
    return 1 / drawn.size


def check_picture(picture: Pixels) -> None:
    """Refuse what is no texture.

    Raises:
        UserError: it is not uint8 [h, w, 3].
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise UserError(f"a texture is a picture uint8 [h, w, 3], not {picture.dtype} {list(picture.shape)}")


def lamp_of(light: Light, to_eye: Floats) -> Floats:
    """The unit vector towards the lamp in the camera's frame [3].

    Raises:
        UserError: the lamp has no direction.
    """
    x, y, z = light.direction
    length = math.sqrt(x * x + y * y + z * z)
    if not 0 < length < math.inf:
        raise UserError(f"a lamp in direction {light.direction} has no direction; give three numbers that are not all zero")
    lamp: Floats = to_eye[:3, :3] @ np.array([x / length, y / length, z / length])
    return lamp


def to_camera(camera: Camera) -> Floats:
    """World to the camera's frame [4, 4], read-only.

    Raises:
        UserError: the camera makes no picture: its size, planes or field of view are absurd, or it has no direction.
    """
    try:
        return _to_camera(camera)
    except TypeError:  # a list among its fields has no hash
        return _to_camera.__wrapped__(camera)


@lru_cache(64)
def _to_camera(camera: Camera) -> Floats:
    if not (SMALLEST <= camera.height <= LARGEST and SMALLEST <= camera.width <= LARGEST):
        raise UserError(f"a picture of {camera.height} x {camera.width} pixels; sides are {SMALLEST} to {LARGEST}")
    if not (0 < camera.near < camera.far < math.inf and 0 < camera.fov < 180):
        raise UserError(
            f"a camera with near {camera.near}, far {camera.far} and fov {camera.fov}; "
            "give 0 < near < far in metres and 0 < fov < 180 in degrees"
        )
    pose = camera.pose
    if not math.isfinite(pose.sum()):
        raise UserError(
            f"a camera at {camera.position} that looks at {camera.target} with {camera.up} upwards has no direction; "
            "its target must lie elsewhere than itself, and not straight upwards"
        )
    turn = pose[:3, :3].T
    inverse = np.eye(4)
    inverse[:3, :3] = turn
    inverse[:3, 3] = -turn @ pose[:3, 3]
    inverse.flags.writeable = False
    return inverse
