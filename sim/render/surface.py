"""A mesh made ready for drawing: checked, laid out for textures, and known to be closed or open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.mesh import Mesh

_FLAT = np.array([[1, 2], [0, 2], [0, 1]])  # the two axes that a texture lies in, by the axis that a face looks along


@dataclass(frozen=True, eq=False)
class Surface:
    """What renderers keep of a mesh.

    Attributes:
        corners: position, normal and place in a texture, float32 [n, 8].
        faces: int32 [m, 3].
        low: least x, y, z of its corners [3].
        high: greatest x, y, z of its corners [3].
        closed: its back faces are never seen from outside.
    """

    corners: NDArray[np.float32]
    faces: NDArray[np.int32]
    low: Floats
    high: Floats
    closed: bool


def surface(mesh: Mesh, by_metres: bool) -> Surface:
    """Check and lay out a mesh.

    Args:
        mesh: what is to be drawn.
        by_metres: a texture is to be laid on though the mesh has no places for one: each face takes it along that axis of the
            mesh's frame which it looks along most, one metre to a repeat.

    Raises:
        UserError: indices beyond the corners, corners that are no numbers, or arrays that do not belong together.
    """
    points, faces = np.asarray(mesh.points, np.float32), np.asarray(mesh.faces, np.int32)
    normals = _numbers(mesh.normals)
    _check(points, faces, normals, mesh.texture_at)
    closed = is_closed(points, faces)
    if by_metres:
        faces, kept, places = _laid_on(points, faces)
        points, normals = points[kept], normals[kept]
    elif mesh.texture_at is None:
        places = np.zeros((len(points), 2), np.float32)
    else:
        places = _numbers(mesh.texture_at)
    corners = np.hstack([points, normals, places])
    columns = np.ascontiguousarray(points.T, np.float64) if len(points) else np.zeros((3, 1))
    return Surface(corners, faces, columns.min(axis=1), columns.max(axis=1), closed)


def _numbers(given: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same with zero for what is no number: the normal of a triangle without area, say."""
    found = np.asarray(given, np.float32)
    return found if np.isfinite(found.sum()) else np.nan_to_num(found, posinf=0, neginf=0)


def _check(
    points: NDArray[np.float32], faces: NDArray[np.int32], normals: NDArray[np.float32], places: NDArray[np.float32] | None
) -> None:
    if points.ndim != 2 or points.shape[1] != 3 or normals.shape != points.shape or faces.ndim != 2 or faces.shape[1] != 3:
        raise UserError(
            f"a mesh has points [n, 3], normals [n, 3] and faces [m, 3], not {points.shape}, {normals.shape} and {faces.shape}"
        )
    if places is not None and np.shape(places) != (len(points), 2):
        raise UserError(f"a mesh's places in a texture are [{len(points)}, 2], one for each corner, not {np.shape(places)}")
    if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
        raise UserError(f"a mesh of {len(points)} points has faces that name points {faces.min()} to {faces.max()}")
    if not np.isfinite(points).all():
        raise UserError("a mesh has points that are not numbers; repair or leave out the file it was read from")


def _laid_on(
    points: NDArray[np.float32], faces: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """Faces with corners of their own wherever neighbours take a texture along another axis, those corners, their places."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    axis = np.abs(np.cross(b - a, c - a)).argmax(axis=1)
    apart, at = np.unique((faces.astype(np.int64) * 3 + axis[:, None]).reshape(-1), return_inverse=True)
    kept = apart // 3
    places = np.take_along_axis(points[kept], _FLAT[apart % 3], axis=1)
    places[:, 1] *= -1  # a picture's rows run down
    return at.reshape(faces.shape).astype(np.int32), kept, places


def _welded(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distinct spots that points lie in, and which of them each one does (five times faster than `numpy.unique`)."""
    points = points + np.float32(0)  # minus zero is zero
    order = np.lexsort(points.T)
    ordered = points[order]
    first = np.ones(len(points), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    which = np.empty(len(points), np.int64)
    which[order] = np.cumsum(first) - 1
    return ordered[first], which


def is_closed(points: NDArray[np.float32], faces: NDArray[np.int32]) -> bool:
    """Whether a mesh encloses volume, faces outward and has no gap: every edge runs as often one way as the other.

    Corners count as one where they are in the same spot. Each connected part must enclose a volume of its own.
    """
    if not len(faces):
        return False
    spots, same = _welded(points)
    welded = same[faces]
    start, end = welded.reshape(-1), np.roll(welded, -1, axis=1).reshape(-1)
    count = len(spots)
    there, back = np.sort(start * count + end), np.sort(end * count + start)
    if not np.array_equal(there, back):
        return False
    part = np.arange(count)
    while True:  # the least number spreads along faces until every part has its own
        least = part[welded].min(axis=1)
        spread = part.copy()
        np.minimum.at(spread, welded.reshape(-1), np.repeat(least, 3))
        spread = spread[spread]
        if np.array_equal(spread, part):
            break
        part = spread
    corners = (spots - spots.mean(axis=0, dtype=np.float64))[welded]
    volumes = np.bincount(part[welded[:, 0]], np.linalg.det(corners), minlength=count)
    used = np.bincount(part[welded[:, 0]], minlength=count) > 0
    return bool((volumes[used] > 1e-9 * float(np.ptp(spots, axis=0).max()) ** 3).all())
