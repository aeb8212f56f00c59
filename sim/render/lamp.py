"""Where a lamp's shadow map lies: a box in the lamp's own frame, tight around what casts shadows into the picture."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.camera import Camera, Floats

_REACH = 3  # texels that softening looks beyond the border
_STEPS = 4  # the box's sides grow in quarters of an octave, so that shadows do not crawl when things move a little
_THICK = 1e-3  # metres: what casts a shadow may be flat


def shadow_map(lamp: Floats, centres: Floats, halves: Floats, casts: list[bool], camera: Camera, texels: int) -> Floats | None:
    """The affine map [4, 4] from the camera's frame to the shadow map, 0..1 in x, y and depth; None where no shadow can be seen.

    Args:
        lamp: unit vector towards the lamp, in the camera's frame [3].
        centres: of all boxes around what is drawn, in the camera's frame [n, 3].
        halves: half their edges as vectors in the camera's frame [n, 3, 3], an edge a column.
        casts: which of them cast a shadow [n].
        camera: what the picture is taken with.
        texels: side of the map.
    """
    frame = _frame(*lamp.tolist())
    middle, half = centres[casts] @ frame.T, np.abs(frame @ halves[casts]).sum(axis=2)
    low, high = (middle - half).min(axis=0).tolist(), (middle + half).max(axis=0).tolist()
    deepest = float((centres[:, 2] + np.abs(halves[:, 2]).sum(axis=1)).max())
    corners = _seen(camera, min(max(deepest, camera.near), camera.far)) @ frame[:2].T
    seen_low, seen_high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    turned = np.eye(4)
    for axis in range(2):
        start, end = max(low[axis], seen_low[axis]), min(high[axis], seen_high[axis])
        if start >= end:
            return None
        side = 2.0 ** (math.ceil(math.log2(end - start) * _STEPS) / _STEPS) * texels / (texels - 2 * _REACH - 2)
        texel = side / texels
        turned[axis, :3] = frame[axis] / side
        turned[axis, 3] = -math.floor((start + end - side) / 2 / texel) * texel / side
    span = high[2] - low[2] + _THICK
    turned[2, :3], turned[2, 3] = frame[2] / -span, high[2] / span  # the lamp's frame looks towards it, depth away from it
    return turned


def _frame(x: float, y: float, z: float) -> Floats:
    """Two unit vectors across the lamp's light and the one towards it, as rows."""
    across = (0.0, -z, y) if abs(x) < 0.7 else (z, 0.0, -x)  # lamp x (1, 0, 0) or (0, 1, 0), turned about
    length = math.sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2)
    a, b, c = (value / length for value in across)
    return np.array([(a, b, c), (y * c - z * b, z * a - x * c, x * b - y * a), (x, y, z)])


def _seen(camera: Camera, depth: float) -> Floats:
    """The corners [5, 3] of the pyramid that the camera sees down to a depth, in its frame."""
    tall = math.tan(math.radians(camera.fov) / 2) * depth
    wide = tall * camera.width / camera.height
    return np.array([(0, 0, 0), (-wide, -tall, depth), (wide, -tall, depth), (-wide, tall, depth), (wide, tall, depth)])
