"""Boxes, cylinders, spheres, capsules and planes as triangles; the same measures give the same `Mesh`, so it is uploaded once.

Each is centred on its frame's origin; the axis of those that have one is z. Curved surfaces have smooth normals and corners that
lie on the true surface; edges are sharp. Arrays are read-only, because they are shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.mesh import Mesh

_KEPT = 4096  # measures a process keeps of each kind; a mesh is some tens of kilobytes
_AROUND = 32  # corners of a circle: it is 0.5 % of the radius narrower at the flats than at the corners


def box(size: Sequence[float], wrapped: bool = False) -> Mesh:
    """A box of 12 triangles.

    Args:
        size: extent along x, y and z, metres.
        wrapped: every face bears the whole of a texture; otherwise textures are laid on by metres.

    Raises:
        ValueError: an extent is not a positive number.
    """
    return _box(_measures("a box", size, 3), wrapped)


def plane(size: Sequence[float], wrapped: bool = False) -> Mesh:
    """A rectangle in z = 0 that faces up; its back is seen too, in the same light.

    Args:
        size: extent along x and y, metres.
        wrapped: it bears the whole of a texture, its top at +y and its left at -x; otherwise textures are laid on by metres.

    Raises:
        ValueError: an extent is not a positive number.
    """
    return _plane(_measures("a plane", size, 2), wrapped)


def cylinder(radius: float, height: float) -> Mesh:
    """An upright cylinder of 124 triangles with sharp rims.

    Args:
        radius: metres.
        height: extent along z, metres.

    Raises:
        ValueError: a measure is not a positive number.
    """
    return _cylinder(_measures("a cylinder", (radius, height), 2))


def sphere(radius: float) -> Mesh:
    """A sphere of 320 triangles of nearly equal size.

    Args:
        radius: metres.

    Raises:
        ValueError: it is not a positive number.
    """
    return _sphere(_measures("a sphere", (radius,), 1))


def capsule(radius: float, height: float) -> Mesh:
    """An upright cylinder with half a sphere at either end, of 320 triangles.

    Args:
        radius: metres.
        height: extent along z with both ends, metres; at least ``2 * radius``. (PyBullet counts the cylinder alone.)

    Raises:
        ValueError: a measure is not a positive number, or the ends do not fit.
    """
    if height < 2 * radius:
        raise ValueError(f"a capsule of radius {radius} is at least {2 * radius} high with both ends, not {height}")
    return _capsule(_measures("a capsule", (radius, height), 2))


def _measures(what: str, given: Sequence[float], count: int) -> tuple[float, ...]:
    measures = tuple(float(value) for value in given)
    if len(measures) != count or not all(0 < value < math.inf for value in measures):
        raise ValueError(f"{what} takes {count} positive lengths in metres, not {measures}")
    return measures


def _mesh(points: Floats, faces: NDArray[np.int32], normals: Floats, texture_at: Floats | None = None) -> Mesh:
    arrays = [points.astype(np.float32), faces.astype(np.int32), normals.astype(np.float32)]
    if texture_at is not None:
        arrays.append(texture_at.astype(np.float32))
    for array in arrays:
        array.flags.writeable = False
    return Mesh(*arrays)  # type: ignore[arg-type]  # three arrays or four, each of its type


_SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2  # counter-clockwise
_CORNER_AT = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])  # of the square's corners in a picture, whose rows run down
_TWO = np.array([[0, 1, 2], [0, 2, 3]])


@lru_cache(_KEPT)
def _box(size: tuple[float, ...], wrapped: bool) -> Mesh:
    points, normals = [], []
    for axis in range(3):
        for sign in (1, -1):
            across, along = ((axis + 1) % 3, (axis + 2) % 3) if axis != 1 else ((axis + 2) % 3, (axis + 1) % 3)
            face, normal = np.zeros((4, 3)), np.zeros(3)
            # From outside, ``along`` (z where there is one) points up and ``across`` to the right.
            flip = sign if axis != 1 else -sign
            face[:, across], face[:, along], face[:, axis] = _SQUARE[:, 0] * flip, _SQUARE[:, 1], sign / 2
            normal[axis] = sign
            points.append(face * size)
            normals.append(np.tile(normal, (4, 1)))
    faces = np.concatenate([_TWO + 4 * k for k in range(6)])
    return _mesh(np.concatenate(points), faces, np.concatenate(normals), np.tile(_CORNER_AT, (6, 1)) if wrapped else None)


@lru_cache(_KEPT)
def _plane(size: tuple[float, ...], wrapped: bool) -> Mesh:
    points = np.column_stack([_SQUARE * size, np.zeros(4)])
    return _mesh(points, _TWO, np.tile([0.0, 0.0, 1.0], (4, 1)), _CORNER_AT if wrapped else None)


@lru_cache(_KEPT)
def _cylinder(measures: tuple[float, ...]) -> Mesh:
    radius, height = measures
    angle = 2 * np.pi * np.arange(_AROUND) / _AROUND
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(_AROUND)])
    low, high = ring * radius - [0, 0, height / 2], ring * radius + [0, 0, height / 2]
    turn = np.arange(_AROUND)
    after = (turn + 1) % _AROUND
    side = np.concatenate(
        [np.column_stack([turn, after, after + _AROUND]), np.column_stack([turn, after + _AROUND, turn + _AROUND])]
    )
    fan = np.column_stack([np.zeros(_AROUND - 2, int), turn[1:-1], turn[2:]])
    faces = np.concatenate([side, fan[:, ::-1] + 2 * _AROUND, fan + 3 * _AROUND])
    down = np.tile([0.0, 0.0, -1.0], (_AROUND, 1))
    return _mesh(np.concatenate([low, high, low, high]), faces, np.concatenate([ring, ring, down, -down]))


@lru_cache(_KEPT)
def _sphere(measures: tuple[float, ...]) -> Mesh:
    points, faces = _icosahedron()
    for _ in range(2):
        points, faces = _quartered(points, faces)
    return _mesh(points * measures[0], faces, points)


@lru_cache(_KEPT)
def _capsule(measures: tuple[float, ...]) -> Mesh:
    radius, height = measures
    around, rings = 20, 4  # rings of corners on each end, the rim included
    angle = 2 * np.pi * np.arange(around) / around
    latitude = np.pi / 2 * np.arange(rings) / rings
    latitudes = np.concatenate([-latitude[::-1], latitude])
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    normals = np.concatenate([np.column_stack([circle * np.cos(at), np.full(around, np.sin(at))]) for at in latitudes])
    lift = np.repeat(np.where(np.arange(2 * rings) < rings, -1.0, 1.0), around) * (height / 2 - radius)
    normals = np.concatenate([normals, [[0, 0, -1], [0, 0, 1]]])
    points = normals * radius
    points[:-2, 2] += lift
    points[-2:, 2] = [-height / 2, height / 2]
    turn = np.arange(around)
    after = (turn + 1) % around
    faces = [np.column_stack([after, turn, np.full(around, len(points) - 2)])]
    for ring in range(2 * rings - 1):
        low, high = ring * around, (ring + 1) * around
        faces.append(np.column_stack([turn + low, after + low, after + high]))
        faces.append(np.column_stack([turn + low, after + high, turn + high]))
    last = (2 * rings - 1) * around
    faces.append(np.column_stack([turn + last, after + last, np.full(around, len(points) - 1)]))
    return _mesh(points, np.concatenate(faces), normals)


def _icosahedron() -> tuple[Floats, NDArray[np.int32]]:
    """Corners [12, 3] of unit length and faces [20, 3], counter-clockwise from outside."""
    high = math.atan(0.5)
    angle = 2 * np.pi * np.arange(5) / 5
    ring = []
    for shift, sign in ((0.0, 1.0), (np.pi / 5, -1.0)):
        flat = math.cos(high) * np.column_stack([np.cos(angle + shift), np.sin(angle + shift)])
        ring.append(np.column_stack([flat, np.full(5, sign * math.sin(high))]))
    points = np.concatenate([[[0, 0, 1]], *ring, [[0, 0, -1]]])
    faces = []
    for k in range(5):
        up, up_next, low, low_next = 1 + k, 1 + (k + 1) % 5, 6 + k, 6 + (k + 1) % 5
        faces += [(0, up, up_next), (up, low, up_next), (up_next, low, low_next), (11, low_next, low)]
    return points, np.array(faces, np.int32)


def _quartered(points: Floats, faces: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32]]:
    """Every triangle of a unit sphere cut into four, the new corners moved out onto the sphere."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, at = np.unique(edges, axis=0, return_inverse=True)
    middle = points[unique].sum(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    first, second, third = (at.reshape(3, -1) + len(points)).astype(np.int32)
    a, b, c = faces.T
    rows = [(a, first, third), (first, b, second), (third, second, c), (first, second, third)]
    return np.concatenate([points, middle]), np.concatenate([np.column_stack(row) for row in rows]).astype(np.int32)
