"""Triangles as a file gives them, and the `Mesh` that is seen: smooth where they bend gently, sharp at edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.objects.hulls import enclosed, gaps

_CREASE = math.cos(math.radians(35.0))  # faces that meet at a sharper angle make an edge
_GAPS = 0.02  # share of edges; more, and a surface is open
_FAR = 1e6  # metres
_FAN = 64  # triangles around one corner, beyond which it is left flat: pairs of them grow with the square


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles in parts.

    Attributes:
        points: corners, float64 [n, 3].
        faces: indices of corners, int64 [m, 3], counter-clockwise from outside.
        part: of the file that each triangle belongs to, int64 [m].
        texture_at: places in the picture, float64 [k, 2], right and down from its top left, 1 being its size; None for none.
        texture_faces: the place of each corner of each triangle, int64 [m, 3]; None for none.
        picture: its texture uint8 [h, w, 3]; None for none.
        material: of the file that each triangle is of, int64 [m]; None for one.
    """

    points: Floats
    faces: NDArray[np.int64]
    part: NDArray[np.int64]
    texture_at: Floats | None = None
    texture_faces: NDArray[np.int64] | None = None
    picture: Pixels | None = None
    material: NDArray[np.int64] | None = None

    def parts(self) -> list[Floats]:
        """The corners of each part, in the order of the file."""
        order = np.argsort(self.part, kind="stable")
        cuts = np.flatnonzero(np.diff(self.part[order])) + 1
        return [self.points[np.unique(faces)] for faces in np.split(self.faces[order], cuts)]

    def moved(self, matrix: Floats, shift: Floats) -> Surface:
        """Every point p as ``matrix @ p + shift``; a matrix that mirrors turns the triangles around."""
        faces, texture_faces = self.faces, self.texture_faces
        if np.linalg.det(matrix) < 0:
            faces = faces[:, ::-1]
            texture_faces = None if texture_faces is None else texture_faces[:, ::-1]
        return replace(self, points=self.points @ matrix.T + shift, faces=faces, texture_faces=texture_faces)

    def volume(self) -> float | None:
        """What it encloses, parts that overlap counted twice; None if it is open. A few gaps change little, and are let pass."""
        if gaps(_by_place(self.points, self.faces)) > _GAPS:
            return None
        return abs(enclosed(self.points, self.faces)[0])


def _by_place(points: Floats, faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Faces whose corners have one index for one place, as files need not have."""
    _, place = np.unique(points, axis=0, return_inverse=True)
    return np.asarray(place.reshape(-1)[faces])


def check_numbers(points: Floats, name: str) -> None:
    """See that corners read from a file lie somewhere.

    Raises:
        BadItem: one is nan or inf, or so far away that areas and volumes cannot be told.
    """
    if not np.isfinite(points).all():
        raise BadItem(name, "has corners that are not numbers (nan or inf)")
    if np.abs(points).max(initial=0.0) > _FAR:
        raise BadItem(name, f"has corners {np.abs(points).max():.1g} m away")


def clean(surface: Surface) -> Surface:
    """Without triangles that have no area."""
    first, second, third = (surface.points[surface.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    kept = area > 1e-10 * area.max(initial=0.0)
    if kept.all():
        return surface
    textured = None if surface.texture_faces is None else surface.texture_faces[kept]
    material = None if surface.material is None else surface.material[kept]
    return replace(surface, faces=surface.faces[kept], part=surface.part[kept], texture_faces=textured, material=material)


def mesh(surface: Surface) -> Mesh:
    """What is seen of a surface: corners are shared where normals and places in the texture agree."""
    normals = _corner_normals(surface.points, surface.faces)
    corner = surface.faces.reshape(-1)
    # One whole number for each kind of corner: place, direction to a thousandth, place in the texture.
    key = (normals * 511).round().astype(np.int64) + 512
    packed = ((corner * 1024 + key[:, 0]) * 1024 + key[:, 1]) * 1024 + key[:, 2]
    if surface.picture is not None and surface.texture_faces is not None:
        packed = np.unique(packed, return_inverse=True)[1].reshape(-1) * (1 << 31) + surface.texture_faces.reshape(-1)
    _, first, faces = np.unique(packed, return_index=True, return_inverse=True)
    texture_at = None
    if surface.picture is not None and surface.texture_faces is not None and surface.texture_at is not None:
        texture_at = surface.texture_at[surface.texture_faces.reshape(-1)[first]].astype(np.float32)
    found = Mesh(
        points=surface.points[corner[first]].astype(np.float32),
        faces=faces.reshape(-1, 3).astype(np.int32),
        normals=normals[first].astype(np.float32),
        texture_at=texture_at,
        picture=None if texture_at is None else surface.picture,
    )
    for array in (found.points, found.faces, found.normals, found.texture_at):
        if array is not None:
            array.flags.writeable = False  # a mesh is shared by all things of its form
    return found


def _corner_normals(points: Floats, faces: NDArray[np.int64]) -> Floats:
    """The normal at each corner of each triangle [3 m, 3]: the mean over triangles that meet there without a crease."""
    first, second, third = (points[faces[:, k]] for k in range(3))
    across = np.cross(second - first, third - first)  # as long as twice the area: large triangles count more
    flat = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    place = _by_place(points, faces).reshape(-1)
    order = np.argsort(place, kind="stable")
    count = np.bincount(place)
    begin = np.concatenate([[0], np.cumsum(count)[:-1]])[place[order]]
    fan = np.where(count[place[order]] <= _FAN, count[place[order]], 0)
    # All pairs of corners at one place: ``one`` and ``other`` are positions in ``order``.
    one = np.repeat(np.arange(len(order)), fan)
    other = np.arange(len(one)) - np.repeat(np.cumsum(fan) - fan, fan) + np.repeat(begin, fan)
    face_one, face_other = order[one] // 3, order[other] // 3
    smooth = (flat[face_one] * flat[face_other]).sum(axis=1) > _CREASE
    total = np.zeros((len(order), 3))
    for axis in range(3):
        total[order, axis] = np.bincount(one[smooth], across[face_other[smooth], axis], minlength=len(order))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-300), np.repeat(flat, 3, axis=0))


def painted(surface: Surface, colours: Sequence[Vector]) -> Surface:
    """Each of its materials in a colour of its own: the colours stand side by side in one picture."""
    assert surface.material is not None
    # Four equal pixels a colour, so that no neighbour runs in.
    strip = np.repeat((np.array(colours) * 255).round().astype(np.uint8), 4, axis=0)[None].repeat(4, axis=0)
    at = np.column_stack([(np.arange(len(colours)) + 0.5) / len(colours), np.full(len(colours), 0.5)])
    return replace(surface, texture_at=at, texture_faces=np.repeat(surface.material[:, None], 3, axis=1), picture=strip)


def joined(found: Sequence[tuple[Surface, Vector | None]]) -> tuple[Surface, Vector | None]:
    """Several surfaces with their colours as one: of one colour if they agree, else each in its own, or its picture's mean."""
    corners = np.cumsum([0, *(len(each.points) for each, _ in found)])
    parts = np.cumsum([0, *(int(each.part.max()) + 1 for each, _ in found)])
    whole = Surface(
        points=np.concatenate([each.points for each, _ in found]),
        faces=np.concatenate([each.faces + first for (each, _), first in zip(found, corners, strict=False)]),
        part=np.concatenate([each.part + first for (each, _), first in zip(found, parts, strict=False)]),
        material=np.repeat(np.arange(len(found)), [len(each.faces) for each, _ in found]),
    )
    colours = [mean(each.picture) if each.picture is not None else colour for each, colour in found]
    if len(set(colours)) == 1:
        return whole, colours[0]
    return painted(whole, [colour or (0.8, 0.8, 0.8) for colour in colours]), (1.0, 1.0, 1.0)


def mean(picture: Pixels) -> Vector:
    """The mean colour of a picture, in 0..1."""
    red, green, blue = (float(value) for value in picture.reshape(-1, 3).mean(axis=0) / 255)
    return red, green, blue
