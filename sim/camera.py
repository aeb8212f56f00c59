"""What a picture is taken with, and what it is: camera, light, view.

Lengths are metres, angles radians unless named otherwise; z is up and the table is the plane z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w
Floats = NDArray[np.float64]
Point = Sequence[float] | Floats  # three numbers
NOTHING = -1  # in a view's ids: neither thing nor robot, so table, floor, walls or the void


@dataclass(frozen=True)
class Light:
    """One lamp, far away, and light from everywhere.

    Args:
        direction: towards the lamp; of any length.
        colour: of both, as factors of red, green, blue.
        ambient: share of a colour that is seen in the lamp's shadow.
        diffuse: share added where the lamp's light falls straight on a surface.
        specular: strength of the highlight.
        shadow: whether things cast shadows.
    """

    direction: Vector = (0.3, 0.2, 1.0)
    colour: Vector = (1.0, 1.0, 1.0)
    ambient: float = 0.6
    diffuse: float = 0.5
    specular: float = 0.05
    shadow: bool = True


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; row 0, column 0 is the centre of the top left pixel.

    Args:
        position: of its centre, in the world.
        target: the point it looks at.
        up: a direction that points upwards in the picture.
        height: pixels.
        width: pixels.
        fov: vertical field of view, in degrees.
        near: distance of the near plane.
        far: distance of the far plane.
    """

    position: Vector
    target: Vector
    up: Vector
    height: int = 128
    width: int = 128
    fov: float = 30.0
    near: float = 0.1
    far: float = 2.0

    @cached_property
    def matrix(self) -> Floats:
        """K [3, 3]: pixel (column, row, 1) ~ K (x right, y down, z forward); the axis meets the picture's very middle."""
        focal = self.height / 2 / math.tan(math.radians(self.fov) / 2)
        return _fixed(np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]]))

    @cached_property
    def pose(self) -> Floats:
        """Camera to world [4, 4]; the camera's axes are x right, y down, z forward."""
        x, y, z = (float(value) for value in self.position)
        forward = _unit(self.target[0] - x, self.target[1] - y, self.target[2] - z)
        right = _unit(*_cross(forward, self.up))
        down = _cross(forward, right)
        return np.array([*zip(right, down, forward, (x, y, z), strict=True), (0.0, 0.0, 0.0, 1.0)])

    def project(self, points: Floats) -> Floats:
        """World points [n, 3] to (row, column, depth) [n, 3]; depth is along the camera's axis."""
        pose = self.pose
        local = (np.asarray(points, np.float64) - pose[:3, 3]) @ pose[:3, :3]
        pixels = local @ self.matrix.T
        return np.stack([pixels[:, 1] / pixels[:, 2], pixels[:, 0] / pixels[:, 2], pixels[:, 2]], axis=1)

    def ray(self, row: float, column: float) -> Floats:
        """The world direction [3] through a pixel, scaled so that its depth along the camera's axis is 1."""
        (focal, _, across), (_, _, down), _ = self.matrix.tolist()
        direction: Floats = self.pose[:3, :3] @ np.array([(column - across) / focal, (row - down) / focal, 1.0])
        return direction

    def at_depth(self, row: float, column: float, depth: float) -> Floats:
        """The world point [3] seen in a pixel at this depth."""
        return np.asarray(self.position) + depth * self.ray(row, column)

    def at_height(self, row: float, column: float, height: float) -> Floats:
        """The world point [3] seen in a pixel on the horizontal plane z = ``height``."""
        ray = self.ray(row, column)
        return self.at_depth(row, column, float((height - self.position[2]) / ray[2]))


def _unit(x: float, y: float, z: float) -> Vector:
    length = math.sqrt(x * x + y * y + z * z) or math.nan  # in no direction
    return x / length, y / length, z / length


def _cross(a: Vector, b: Vector) -> Vector:
    """Ten times faster than numpy's, and every picture needs two."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _fixed(array: Floats) -> Floats:
    """The same array, which nobody can change: a camera keeps it."""
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class View:
    """What a camera sees: colour uint8 [h, w, 3], depth in metres float32 [h, w], ids int32 [h, w].

    Depth is along the camera's axis; where nothing is, it is the camera's far plane and the id is `NOTHING`.
    """

    rgb: Pixels
    depth: NDArray[np.float32]
    ids: NDArray[np.int32]
