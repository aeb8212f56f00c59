"""Coloured primitives are merged into few meshes, so that a room of hundreds of parts is drawn by a handful of calls.

All parts without a texture share one mesh: the colour of each is a block of texels in a small picture, its palette.
Lengths are metres and z is up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.camera import NOTHING, Floats, Vector
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import Drawn

AROUND = 10  # sides of a rod: few, for a street has thousands
_BLOCK, _COLUMNS = 4, 16  # texels of one colour, colours in a row of the palette


@dataclass(frozen=True, eq=False)
class Finish:
    """What a surface looks like.

    Args:
        colour: red, green, blue in 0..1; multiplies the texture.
        texture: uint8 [h, w, 3], laid on by metres; None for plain colour.
        size: metres that one repeat of the texture covers.
    """

    colour: Vector
    texture: Pixels | None = None
    size: float = 1.0

    def shade(self, factor: float) -> Finish:
        """The same, darker or brighter."""
        r, g, b = (min(1.0, max(0.0, factor * value)) for value in self.colour)
        return replace(self, colour=(r, g, b))

    @property
    def plain(self) -> Finish:
        """The same colour without a texture."""
        return Finish(self.colour)


@dataclass(frozen=True, eq=False)
class Part:
    """One primitive.

    Args:
        kind: "box", "rod" (a cylinder), "ball" (an ellipsoid) or "tile" (a rectangle that faces up; its height is nothing).
        size: extent along its own x, y, z.
        centre: where its middle is.
        finish: what it looks like.
        yaw: turn about z, after ``tip``.
        tip: turn about x.
        axis: along which a rod lies, before any turn: 0, 1 or 2.
        taper: extent of the top of a box or rod as a share of its bottom's, in x and y; (1, 0) is a gable roof.
        fine: too small to be seen from far away, where it is left out.
    """

    kind: str
    size: Vector
    centre: Vector
    finish: Finish
    yaw: float = 0.0
    tip: float = 0.0
    axis: int = 2
    taper: tuple[float, float] = (1.0, 1.0)
    fine: bool = False

    def moved(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Part:
        """Turned about the origin by ``yaw``, then shifted."""
        cx, cy = turned(self.centre[0], self.centre[1], yaw)
        return replace(self, centre=(x + cx, y + cy, z + self.centre[2]), yaw=self.yaw + yaw)


def fine(*parts: Part) -> list[Part]:
    """The same parts, to be left out where they are far away."""
    return [replace(part, fine=True) for part in parts]


def turned(x: float, y: float, yaw: float) -> tuple[float, float]:
    """A point turned about the origin."""
    return math.cos(yaw) * x - math.sin(yaw) * y, math.sin(yaw) * x + math.cos(yaw) * y


def box(x: float, y: float, z: float, at: tuple[float, float, float], finish: Finish) -> Part:
    """A box by its extents and its middle."""
    return Part("box", (x, y, z), at, finish)


def rod(across: float, z: float, at: tuple[float, float, float], finish: Finish, axis: int = 2) -> Part:
    """A cylinder by its diameter and its length."""
    return Part("rod", (across, across, z), at, finish, axis=axis)


def ball(across: float, at: tuple[float, float, float], finish: Finish) -> Part:
    """A sphere by its diameter."""
    return Part("ball", (across, across, across), at, finish)


def tile(x: float, y: float, at: tuple[float, float, float], finish: Finish, yaw: float = 0.0) -> Part:
    """A rectangle that lies on something and faces up."""
    return Part("tile", (x, y, 1.0), at, finish, yaw)


def pane(x: float, z: float, at: tuple[float, float, float], finish: Finish, yaw: float = 0.0) -> Part:
    """A rectangle that stands and faces towards -y, before it is turned."""
    return Part("tile", (x, z, 1.0), at, finish, yaw, tip=math.pi / 2)


@dataclass(frozen=True)
class _Unit:
    """A primitive of extent 1 around the origin: corners [n, 3], normals [n, 3], faces [m, 3]."""

    points: Floats
    normals: Floats
    faces: NDArray[np.int32]


@cache
def _unit(kind: str) -> _Unit:
    return {"box": _unit_box, "rod": _unit_rod, "ball": _unit_ball, "tile": _unit_tile}[kind]()


def _unit_tile() -> _Unit:
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) / 2
    return _Unit(square, np.tile([0.0, 0.0, 1.0], (4, 1)), np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def _unit_box() -> _Unit:
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    points, normals = [], []
    for axis in range(3):
        for sign in (1.0, -1.0):
            face = np.zeros((4, 3))
            face[:, (axis + 1) % 3], face[:, (axis + 2) % 3] = square[:, 0] * sign, square[:, 1]
            face[:, axis] = sign / 2
            points.append(face)
            normals.append(np.tile(sign * np.eye(3)[axis], (4, 1)))
    quads = 4 * np.arange(6)[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])
    return _Unit(np.concatenate(points), np.concatenate(normals), quads.reshape(-1, 3).astype(np.int32))


def _unit_rod() -> _Unit:
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(AROUND)])
    low, high = ring / 2 - [0, 0, 0.5], ring / 2 + [0, 0, 0.5]
    at = np.arange(AROUND)
    after = (at + 1) % AROUND
    up = np.tile([0.0, 0.0, 1.0], (AROUND, 1))
    fan = np.column_stack([np.zeros(AROUND - 2, np.int64), at[1:-1], at[2:]])
    faces = [np.column_stack([at, after, after + AROUND]), np.column_stack([at, after + AROUND, at + AROUND])]
    faces += [fan[:, ::-1] + 2 * AROUND, fan + 3 * AROUND]
    return _Unit(
        np.concatenate([low, high, low, high]),
        np.concatenate([ring, ring, -up, up]),
        np.concatenate(faces).astype(np.int32),
    )


def _unit_ball() -> _Unit:
    around, rings = 8, 5  # of latitude, poles included
    latitude = np.pi * (np.arange(rings) / (rings - 1) - 0.5)
    angle = 2 * np.pi * np.arange(around) / around
    points = np.array([[np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)] for b in latitude for a in angle])
    at = np.arange(around)
    after = (at + 1) % around
    faces = []
    for k in range(rings - 1):
        low, high = k * around, (k + 1) * around
        if k > 0:
            faces.append(np.column_stack([low + at, low + after, high + after]))
        if k < rings - 2:
            faces.append(np.column_stack([low + at, high + after, high + at]))
    return _Unit(points / 2, points, np.concatenate(faces).astype(np.int32))


# Where a rod's own x, y and z go when it is laid along x, along y, or stands.
_LAID = np.array([[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])


def _frames(parts: Sequence[Part]) -> Floats:
    """Turn of every part [n, 3, 3]: a rod laid along its axis, then ``tip``, then ``yaw``."""
    yaw, tip = np.array([part.yaw for part in parts]), np.array([part.tip for part in parts])
    c, s, a, b = np.cos(yaw), np.sin(yaw), np.cos(tip), np.sin(tip)
    nil = np.zeros_like(c)
    turn = np.stack([np.stack([c, -s * a, s * b], 1), np.stack([s, c * a, -c * b], 1), np.stack([nil, b, a], 1)], 1)
    laid: Floats = turn @ _LAID[[part.axis for part in parts]].transpose(0, 2, 1)
    return laid


def _surface(kind: str, parts: Sequence[Part]) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Points [n, k, 3], normals [n, k, 3] and faces [n, m, 3] of parts of one kind."""
    unit = _unit(kind)
    sizes, taper = np.array([part.size for part in parts]), np.array([part.taper for part in parts])
    points = np.repeat(unit.points[None], len(parts), axis=0)
    normals = np.repeat(unit.normals[None], len(parts), axis=0)
    if kind != "ball":
        top = unit.points[:, 2] > 0
        points[:, top, :2] *= taper[:, None]
        # A side that leans inwards by d over the height h faces up by d / h.
        lean = (1 - taper) / 2 * sizes[:, :2] / sizes[:, 2:]
        normals[..., 2] += (unit.normals[None, :, :2] ** 2 * lean[:, None]).sum(axis=2)
    else:
        normals = normals / sizes[:, None]
    points = points * sizes[:, None]
    normals = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    frames, centres = _frames(parts), np.array([part.centre for part in parts])
    points = points @ frames.transpose(0, 2, 1) + centres[:, None]
    faces = unit.faces[None] + len(unit.points) * np.arange(len(parts), dtype=np.int32)[:, None, None]
    return points, normals @ frames.transpose(0, 2, 1), faces


class Palette:
    """Colours as blocks of texels in one picture; the middle of a block has that colour however it is filtered."""

    def __init__(self, finishes: Iterable[Finish]) -> None:
        colours = [_texel(finish) for finish in finishes if finish.texture is None]
        self._place = {colour: k for k, colour in enumerate(dict.fromkeys(colours))}
        self._rows = -(-max(1, len(self._place)) // _COLUMNS)
        cells = np.zeros((self._rows * _COLUMNS, 3), np.uint8)
        if self._place:
            cells[: len(self._place)] = list(self._place)
        grid = cells.reshape(self._rows, _COLUMNS, 3)
        self.picture: Pixels = np.ascontiguousarray(grid.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1))
        self.picture.flags.writeable = False  # so that renderers need not look whether it has changed

    def at(self, finishes: Sequence[Finish]) -> Floats:
        """Where in the picture each finish's colour is [n, 2]."""
        cells = np.array([self._place[_texel(finish)] for finish in finishes])
        return np.column_stack([(cells % _COLUMNS + 0.5) / _COLUMNS, (cells // _COLUMNS + 0.5) / self._rows])


def _texel(finish: Finish) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in finish.colour)


def _by_kind(parts: Iterable[Part]) -> Iterator[tuple[str, list[Part]]]:
    kinds: dict[str, list[Part]] = {}
    for part in parts:
        kinds.setdefault(part.kind, []).append(part)
    yield from sorted(kinds.items())


def _merged(parts: Sequence[Part], palette: Palette | None) -> Mesh:
    """One mesh of parts; with a palette they are coloured from it."""
    points, normals, faces, texture_at, count = [], [], [], [], 0
    for kind, chosen in _by_kind(parts):
        corners, normal, triangles = _surface(kind, chosen)
        faces.append(triangles.reshape(-1, 3) + count)
        count += corners.shape[0] * corners.shape[1]
        points.append(corners.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
        if palette is not None:
            texture_at.append(palette.at([part.finish for part in chosen]).repeat(corners.shape[1], axis=0))
    return Mesh(
        np.concatenate(points).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(texture_at).astype(np.float32) if palette is not None else None,
        palette.picture if palette is not None else None,
    )


def drawn(
    parts: Sequence[Part], palette: Palette | None = None, number: int = NOTHING, pose: Floats | None = None, shadow: bool = True
) -> list[Drawn]:
    """Parts as few things to draw: one for all plain colours, and one for each texture.

    Args:
        parts: in the frame of ``pose``.
        palette: holds the colours of all of them; None to make one.
        number: what the view's ids say where they are seen.
        pose: their frame in the world; None for the world's own.
        shadow: whether they cast one.
    """
    pose = np.eye(4) if pose is None else pose
    groups: dict[tuple[int, float, Vector], list[Part]] = {}
    for part in parts:
        finish = part.finish
        key = (0, 0.0, (1.0, 1.0, 1.0)) if finish.texture is None else (id(finish.texture), finish.size, finish.colour)
        groups.setdefault(key, []).append(part)
    found = []
    for (textured, size, colour), members in groups.items():
        if textured:
            texture = members[0].finish.texture
            found.append(Drawn(_merged(members, None), pose, colour, number, texture, size, shadow))
        else:
            own = palette or Palette(part.finish for part in members)
            found.append(Drawn(_merged(members, own), pose, colour, number, shadow=shadow))
    return found


def bounds(parts: Iterable[Part]) -> tuple[Floats, Floats]:
    """The lowest and highest x, y, z that parts reach to [3], [3]."""
    every = np.concatenate([_surface(kind, chosen)[0].reshape(-1, 3) for kind, chosen in _by_kind(parts)])
    return every.min(axis=0), every.max(axis=0)
