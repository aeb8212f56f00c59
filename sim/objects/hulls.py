"""Convex hulls, and the volume and the centre of mass of what triangles enclose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Hull:
    """A convex body.

    Attributes:
        corners: float64 [n, 3], without any that lie inside or on a facet's face.
        triangles: of its surface, indices of corners [m, 3], counter-clockwise from outside.
        planes: (outward normal, offset) of each triangle [m, 4], zero on it; the same row for all triangles of one flat facet.
        beside: the triangle across the edge that lies opposite to each corner of each triangle [m, 3].
        volume: in cubic units of the corners.
        centre: of mass, float64 [3].
    """

    corners: Floats
    triangles: Whole
    planes: Floats
    beside: Whole
    volume: float
    centre: Floats


def hull(points: Floats) -> Hull:
    """The convex hull of points [n, 3].

    Raises:
        ValueError: they lie in a plane or are too few, so that they enclose nothing.
    """
    from scipy.spatial import ConvexHull, QhullError  # here: half a second and 40 MB that not everybody needs

    points = np.asarray(points, np.float64)
    size = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    try:
        # In units of its own size, so that the tolerances inside do not depend on the user's units.
        found = ConvexHull((points - points.mean(axis=0)) / (size or 1.0))
    except (QhullError, ValueError):
        raise ValueError("its points enclose no volume") from None
    if found.volume < 1e-9:
        raise ValueError("its points enclose no volume")
    triangles = found.simplices.astype(np.int64)
    scaled = found.points
    normal = _crosses(scaled, triangles)
    inward = (normal * found.equations[:, :3]).sum(axis=1) < 0
    triangles[inward] = triangles[inward][:, [0, 2, 1]]
    beside = found.neighbors.astype(np.int64)
    beside[inward] = beside[inward][:, [0, 2, 1]]
    kept = np.sort(found.vertices)
    place = np.full(len(points), -1, np.int64)
    place[kept] = np.arange(len(kept))
    volume, centre = enclosed(scaled, triangles)
    middle = points.mean(axis=0)
    planes = found.equations.copy()
    planes[:, 3] = planes[:, 3] * size - planes[:, :3] @ middle
    return Hull(points[kept], place[triangles], planes, beside, volume * size**3, centre * size + middle)


def _crosses(points: Floats, triangles: NDArray[np.integer]) -> Floats:
    """Outward normals of triangles, as long as twice their area."""
    first, second, third = (points[triangles[:, k]] for k in range(3))
    return np.cross(second - first, third - first)


def enclosed(points: Floats, triangles: NDArray[np.integer]) -> tuple[float, Floats]:
    """Volume, and centre of mass [3], of what triangles enclose: positive when they are counter-clockwise from outside.

    Overlapping bodies count as often as they overlap. Of an open surface the figures mean nothing; see `gaps`.
    """
    start = points[triangles[0, 0]] if len(triangles) else np.zeros(3)
    first, second, third = (points[triangles[:, k]] - start for k in range(3))
    volumes = (first * np.cross(second, third)).sum(axis=1) / 6
    volume = float(volumes.sum())
    if volume == 0:
        return 0.0, start
    return volume, start + (volumes[:, None] * (first + second + third)).sum(axis=0) / 4 / volume


def gaps(triangles: NDArray[np.integer]) -> float:
    """Share of edges that are not run along equally often in either direction: 0 when triangles bound bodies everywhere."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    if not len(edges):
        return 1.0
    low, high = edges.min(axis=1), edges.max(axis=1)
    _, edge = np.unique(low * (int(edges.max()) + 1) + high, return_inverse=True)
    return float(np.abs(np.bincount(edge.reshape(-1), np.sign(edges[:, 1] - edges[:, 0]))).sum() / len(edges))


def thinned(points: Floats, most: int) -> Floats:
    """At most so many of a body's corners [n, 3], spread evenly over its directions: those that stick out furthest.

    All of them if there are no more. Else a ball loses one part in ``most`` of its radius between them, twice that at worst.
    """
    if len(points) <= most:
        return points
    turn = np.pi * (3 - math.sqrt(5)) * np.arange(most)  # a spiral around the sphere, equal areas between its points
    up = 1 - (2 * np.arange(most) + 1) / most
    flat = np.sqrt(1 - up**2)
    directions = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), up])
    return np.asarray(points[np.unique((points @ directions.T).argmax(axis=0))])
