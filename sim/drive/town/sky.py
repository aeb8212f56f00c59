"""The sky: a dome around the camera with a gradient, clouds and far hills."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.camera import Light, Vector
from embodied_ssl.sim.drive.surfaces import smooth
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import Drawn

RADIUS = 300.0
_AROUND, _RINGS = 24, 7
_LOW, _HIGH = -0.15, 1.3  # elevations of its rim and top, radians


@dataclass(frozen=True)
class Weather:
    """What the sky looks like.

    Args:
        zenith: colour above.
        horizon: colour at the horizon.
        clouds: share of the sky that they cover.
        hills: colour of the hills on the horizon.
    """

    zenith: Vector
    horizon: Vector
    clouds: float
    hills: Vector


_KINDS = (
    Weather((0.25, 0.5, 0.88), (0.72, 0.85, 0.96), 0.25, (0.42, 0.55, 0.5)),
    Weather((0.42, 0.6, 0.85), (0.82, 0.88, 0.93), 0.5, (0.5, 0.58, 0.58)),
    Weather((0.6, 0.64, 0.7), (0.8, 0.82, 0.84), 0.8, (0.55, 0.6, 0.6)),
    Weather((0.35, 0.45, 0.75), (0.98, 0.82, 0.62), 0.35, (0.5, 0.45, 0.5)),
)


def draw_weather(rng: np.random.Generator) -> Weather:
    """One of some kinds of weather."""
    return _KINDS[int(rng.integers(len(_KINDS)))]


@cache
def _dome() -> Mesh:
    """A dome whose normals all point up, so that lamps light it evenly; its texture runs round it and up."""
    turn, rise = np.linspace(0, 2 * np.pi, _AROUND + 1), np.linspace(_LOW, _HIGH, _RINGS)
    points = np.array([[np.cos(t) * np.cos(r), np.sin(t) * np.cos(r), np.sin(r)] for r in rise for t in turn]) * RADIUS
    texture_at = np.array([[k / _AROUND, 0.995 - 0.99 * r / (_RINGS - 1)] for r in range(_RINGS) for k in range(_AROUND + 1)])
    wide, faces = _AROUND + 1, []
    for r in range(_RINGS - 1):
        for k in range(_AROUND):
            a, b, c, d = r * wide + k, r * wide + k + 1, (r + 1) * wide + k + 1, (r + 1) * wide + k
            faces += [(a, c, b), (a, d, c)]  # seen from inside
    top = RADIUS * np.array([[np.cos(t) * np.cos(_HIGH), np.sin(t) * np.cos(_HIGH), np.sin(_HIGH)] for t in turn[:-1]])
    lid = [(len(points), len(points) + k + 1, len(points) + k) for k in range(1, _AROUND - 1)]
    points = np.concatenate([points, top])
    texture_at = np.concatenate([texture_at, np.tile([0.5, 0.005], (_AROUND, 1))])
    return Mesh(
        points.astype(np.float32),
        np.array(faces + lid, np.int32),
        np.tile(np.array([0, 0, 1], np.float32), (len(points), 1)),
        texture_at.astype(np.float32),
    )


def paint(weather: Weather, rng: np.random.Generator) -> Pixels:
    """The dome's texture, its top row the zenith: uint8 [128, 512, 3]."""
    height, width = 128, 512
    rise = np.linspace(_HIGH, _LOW, height)[:, None]
    share = np.clip(rise / 0.9, 0, 1)[..., None] ** 0.6
    sky = np.array(weather.horizon) * (1 - share) + np.array(weather.zenith) * share
    layers = ((3, 6, 0.5), (7, 14, 0.3), (20, 40, 0.2))
    noise = sum(smooth(rng, (height, width), (rows, columns)) * weight for rows, columns, weight in layers)
    cover = np.clip((noise - (0.75 - 0.5 * weather.clouds)) * 5, 0, 1) * np.clip(rise * 4, 0, 1)
    white = 0.95 - 0.25 * np.clip(noise - 0.5, 0, 1)
    picture = sky * (1 - 0.85 * cover[..., None]) + (white * 0.85 * cover)[..., None]
    ridge = 0.02 + 0.07 * smooth(rng, (1, width), (1, 24))[0] + 0.02 * smooth(rng, (1, width), (1, 90))[0]
    picture = np.where((rise < ridge[None])[..., None], np.array(weather.hills), picture)
    found = (255 * np.clip(picture, 0, 1)).round().astype(np.uint8)
    found.flags.writeable = False  # so that renderers need not look whether it has changed
    return found


def dome(texture: Pixels, light: Light, position: Vector) -> Drawn:
    """The dome around a camera, as bright as painted where the light allows."""
    lift = light.direction[2] / float(np.linalg.norm(light.direction))
    shade = light.ambient + light.diffuse * max(0.0, lift)
    tone = min(1.0, 1 / shade)
    pose = np.eye(4)
    pose[:2, 3] = position[:2]
    return Drawn(_dome(), pose, (tone, tone, tone), texture=texture, shadow=False)
