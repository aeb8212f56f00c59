"""Where a lamp's shadow map lies: a box in the lamp's own frame, tight around what casts shadows into the picture."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.camera import Camera, Floats

_REACH = 3  # texels that softening looks beyond the border
_STEPS = 4  # the box's sides grow in quarters of an octave, so that shadows do not crawl when things move a little
_THICK = 1e-3  # metres: what casts a shadow may be flat


def shadow_map(lamp: Floats, centres: Floats, halves: Floats, casts: Floats, camera: Camera, texels: int) -> Floats | None:
    """The affine map [4, 4] from the camera's frame to the shadow map, 0..1 in x, y and depth; None where no shadow can be seen.

    Args:
        lamp: unit vector towards the lamp, in the camera's frame [3].
        centres: of all boxes around what is drawn, in the camera's frame [n, 3].
        halves: half their edges as vectors in the camera's frame [n, 3, 3], an edge a column.
        casts: which of them cast a shadow, bool [n].
        camera: what the picture is taken with.
        texels: side of the map.
    """
    frame = _frame(lamp)
    middle, half = centres @ frame.T, np.abs(frame @ halves).sum(axis=2)
    low, high = (middle - half)[casts].min(axis=0), (middle + half)[casts].max(axis=0)
    depth = min(float((centres[:, 2] + np.abs(halves[:, 2]).sum(axis=1)).max()), camera.far)
    corners = _seen(camera, max(depth, camera.near)) @ frame.T
    low[:2], high[:2] = np.maximum(low[:2], corners[:, :2].min(axis=0)), np.minimum(high[:2], corners[:, :2].max(axis=0))
    if (low[:2] >= high[:2]).any():
        return None
    low[2] -= _THICK
    side = 2.0 ** (np.ceil(np.log2(high[:2] - low[:2]) * _STEPS) / _STEPS) * texels / (texels - 2 * _REACH - 2)
    texel = side / texels
    start = np.floor((low[:2] + high[:2] - side) / 2 / texel) * texel
    turned = np.eye(4)
    scale = np.array([1 / side[0], 1 / side[1], -1 / (high[2] - low[2])])  # the lamp's frame looks towards it, depth away from it
    turned[:3, :3] = frame * scale[:, None]
    turned[:3, 3] = -np.array([start[0], start[1], high[2]]) * scale
    return turned


def _frame(lamp: Floats) -> Floats:
    """Two unit vectors across the lamp's light and the one towards it, as rows."""
    x, y, z = lamp
    side = (1.0, 0.0, 0.0) if abs(x) < 0.7 else (0.0, 1.0, 0.0)
    across = np.array([side[1] * z - side[2] * y, side[2] * x - side[0] * z, side[0] * y - side[1] * x])
    across /= math.sqrt(across @ across)
    up = np.array([y * across[2] - z * across[1], z * across[0] - x * across[2], x * across[1] - y * across[0]])
    return np.stack([across, up, lamp])


def _seen(camera: Camera, depth: float) -> Floats:
    """The corners [5, 3] of the pyramid that the camera sees down to a depth, in its frame."""
    tall = math.tan(math.radians(camera.fov) / 2) * depth
    wide = tall * camera.width / camera.height
    return np.array([[0, 0, 0], [-wide, -tall, depth], [wide, -tall, depth], [-wide, tall, depth], [wide, tall, depth]])
