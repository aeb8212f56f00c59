"""Furnish a room: the pieces of its kind, some that stand anywhere, and what hangs on walls; the floor is z = 0.

Lengths are metres; the room's middle is x = y = 0, and its front wall (of classrooms, with the board) is that of lowest y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Camera, Floats, Light
from embodied_ssl.sim.drive.kinds import ANYWHERE, KINDS, ON_WALLS, STRAY, Need
from embodied_ssl.sim.drive.modelling import Finish, Palette, Part, box, drawn, pane, tile, turned
from embodied_ssl.sim.drive.pieces.piece import Make, Piece
from embodied_ssl.sim.drive.pieces.walls import door
from embodied_ssl.sim.drive.scheme import Scheme, draw_scheme
from embodied_ssl.sim.render.renderer import Drawn

HEIGHT = 2.5
BODY = 0.35  # the camera keeps this far from walls and from everything that stands
_ALONGSIDE = 0.05  # pieces keep this far from one another
_BEFORE_DOORS = 0.6  # kept free
_AISLE, _FRONT = 0.85, 1.7  # between rows, and before the first
_TRIES, _LAYOUTS = 30, 30


@dataclass(frozen=True)
class Placed:
    """A piece in its room, and the box that it takes.

    Attributes:
        name: what it is.
        piece: in its own frame.
        x: where its origin stands.
        y: likewise.
        yaw: how it is turned, a multiple of a quarter.
        low: lowest x, y, z of the box [3].
        high: highest x, y, z.
    """

    name: str
    piece: Piece
    x: float
    y: float
    yaw: float
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @property
    def parts(self) -> list[Part]:
        """In the room's frame."""
        return [part.moved(self.x, self.y, self.yaw) for part in self.piece.parts]

    @property
    def middle(self) -> Floats:
        """Of the box, x and y [2]."""
        return np.asarray((np.array(self.low[:2]) + self.high[:2]) / 2)

    def meets(self, other: Placed) -> bool:
        """Whether the two come nearer than is customary."""
        near = (_ALONGSIDE, _ALONGSIDE, 0.0)
        return all(
            a < d + gap and c < b + gap for a, b, c, d, gap in zip(self.low, self.high, other.low, other.high, near, strict=True)
        )


@dataclass
class Room:
    """A furnished room.

    Attributes:
        kind: a key of `KINDS`.
        width: extent in x.
        depth: extent in y.
        scheme: its finishes.
        shell: floor, walls and ceiling.
        pieces: what stands and hangs in it, first those that make the kind.
        sure: how many make the kind.
    """

    kind: str
    width: float
    depth: float
    scheme: Scheme
    shell: list[Part] = field(default_factory=list)
    pieces: list[Placed] = field(default_factory=list)
    sure: int = 0
    _drawn: list[Drawn] = field(default_factory=list, repr=False)
    _boxes: Floats = field(default_factory=lambda: np.zeros((0, 4)), repr=False)

    def free(self, points: Floats, margin: float = BODY) -> NDArray[np.bool_]:
        """Whether each point [n, 2] is inside and at least ``margin`` from walls and furniture: bool [n]."""
        if len(self._boxes) != len(self.pieces):
            self._boxes = np.array([[*piece.low[:2], *piece.high[:2]] for piece in self.pieces])
        far = (points[:, None] < self._boxes[:, :2] - margin) | (points[:, None] > self._boxes[:, 2:] + margin)
        inside = np.all(np.abs(points) < np.array([self.width, self.depth]) / 2 - margin, axis=1)
        return np.asarray(inside & np.all(np.any(far, axis=2), axis=1))

    def seen(self, camera: Camera, light: Light, steady: bool = False) -> list[Drawn]:
        """What a renderer is given, all of it whatever the camera sees: piece k with id k + 1, the shell without one."""
        self._drawn = self._drawn or self._draw()
        return self._drawn

    def _draw(self) -> list[Drawn]:
        palette = Palette(part.finish for parts in (self.shell, *(each.piece.parts for each in self.pieces)) for part in parts)
        scene = drawn(self.shell, palette, shadow=False)
        for k, piece in enumerate(self.pieces):
            scene += drawn(piece.parts, palette, k + 1)
        return scene


def furnish(kind: str, rng: np.random.Generator, custom: float = 0.15, textured: bool = False) -> Room:
    """Draw a room of a kind with all the pieces that make it.

    Args:
        kind: a key of `KINDS`.
        rng: where from.
        custom: share of walls, and of floors, near their kind's customary colour.
        textured: whether surfaces bear textures.
    """
    facts = KINDS[kind]
    sides = rng.uniform(*facts.sides, 2)
    scheme = draw_scheme(rng, facts.wall, facts.floor, custom, textured)
    for attempt in range(_LAYOUTS):
        width, depth = (float(side) for side in sides * (1 + 0.03 * attempt))
        room = Room(kind, width, depth, scheme)
        if _place_sure(room, rng):
            break
    else:
        raise RuntimeError(f"no {kind} was found that all its pieces fit in")
    room.sure = len(room.pieces)
    if rng.uniform() < STRAY:
        _try_at_wall(room, facts.strays[int(rng.integers(len(facts.strays)))], rng)
    for k in rng.permutation(len(ANYWHERE))[: int(rng.integers(2, 5))]:
        _try_at_wall(room, ANYWHERE[k], rng)
    _try_at_wall(room, door, rng)
    for k in rng.permutation(len(ON_WALLS))[: int(rng.integers(4, 8))]:
        _try_at_wall(room, ON_WALLS[k], rng)
    _build_shell(room, rng)
    return room


def _place_sure(room: Room, rng: np.random.Generator) -> bool:
    """Place what makes the kind, what needs most order first; whether all of it found a place."""
    order = ("front", "rows", "middle", "wall")
    for need in sorted(KINDS[room.kind].sure, key=lambda need: order.index(need.where)):
        if need.where == "rows":
            if _place_rows(room, need, rng) < need.fewest:
                return False
            continue
        for k in range(int(rng.integers(need.fewest, need.most + 1))):
            if not _try_at_wall(room, need.make, rng, need.where) and k < need.fewest:
                return False
    return True


def _place_rows(room: Room, need: Need, rng: np.random.Generator) -> int:
    """Place pieces in rows and columns with aisles between and around; returns how many."""
    pieces = [need.make(rng, room.scheme) for _ in range(need.most)]
    w, d = max(piece.width for piece in pieces), max(piece.depth for piece in pieces)
    front = _FRONT if any(other.where == "front" for other in KINDS[room.kind].sure) else 1.2
    columns = max(1, int((room.width - _AISLE - 0.3) / (w + _AISLE)))
    rows = max(1, int((room.depth - front - 0.3) / (d + _AISLE)))
    columns = min(columns, need.most)
    rows = min(rows, need.most // columns)
    count = 0
    for row in range(rows):
        for column in range(columns):
            if rows * columns > need.fewest + 1 and rng.uniform() < 0.08:
                continue
            x = (column - (columns - 1) / 2) * (w + _AISLE)
            y = -room.depth / 2 + front + row * (d + _AISLE)
            placed = _placed(need.make, pieces[count], x, y, 0.0)
            if placed.high[1] < room.depth / 2 - 0.3 and _fits(room, placed):
                room.pieces.append(placed)
                count += 1
    return count


def _placed(make: Make, piece: Piece, x: float, y: float, yaw: float) -> Placed:
    """A piece whose own origin is at x, y, turned by a multiple of a quarter."""
    depth = piece.depth if not (piece.hung and piece.low == 0) else _BEFORE_DOORS
    corners = np.array([turned(px, py, yaw) for px in (-piece.width / 2, piece.width / 2) for py in (0.0, depth)])
    corners += (x, y)
    top = HEIGHT if piece.hung else piece.tall
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    name = make.__name__.rstrip("_")
    return Placed(name, piece, x, y, yaw, (float(x0), float(y0), piece.low), (float(x1), float(y1), top))


def _fits(room: Room, placed: Placed) -> bool:
    inside = max(-placed.low[0], placed.high[0]) <= room.width / 2 and max(-placed.low[1], placed.high[1]) <= room.depth / 2
    return inside and not any(placed.meets(other) for other in room.pieces)


def _try_at_wall(room: Room, make: Make, rng: np.random.Generator, where: str = "wall") -> bool:
    """Try places for a piece, new measures every few; whether one was found."""
    for attempt in range(_TRIES):
        if attempt % 10 == 0:
            piece = make(rng, room.scheme)
        wall = 0 if where == "front" else int(rng.integers(4))
        length, off = ((room.width, room.depth), (room.depth, room.width))[wall % 2]
        along = rng.uniform(-1, 1) * max(0.0, length / 2 - piece.width / 2 - 0.1)
        x, y = turned(along, -off / 2 + 0.02, wall * math.pi / 2)
        if where == "front" and not piece.hung:
            y += 0.75  # room for whoever stands there
        if where == "middle":
            x, y = turned(float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.4, 0.4)), wall * math.pi / 2)
            dx, dy = turned(0.0, -piece.depth / 2, wall * math.pi / 2)
            x, y = x + dx, y + dy
        placed = _placed(make, piece, x, y, wall * math.pi / 2)
        if _fits(room, placed):
            room.pieces.append(placed)
            return True
    return False


def _build_shell(room: Room, rng: np.random.Generator) -> None:
    """Floor, ceiling with lamps, rug now and then, and four walls with a skirting board; nothing of it has an outside."""
    s, w, d = room.scheme, room.width, room.depth
    room.shell += _floor(room, rng)
    room.shell.append(Part("tile", (w, d, 1.0), (0, 0, HEIGHT), Finish((0.95, 0.95, 0.93)), tip=math.pi))
    lamps, long = int(rng.integers(1, 4)), rng.uniform() < 0.5
    for k in range(lamps):
        x = (k - (lamps - 1) / 2) * w / lamps
        room.shell.append(box(0.2 if long else 0.45, 1.2 if long else 0.45, 0.05, (x, 0, HEIGHT - 0.025), Finish((1, 1, 0.97))))
    banded, accented = rng.uniform() < 0.4, rng.uniform() < 0.3
    for k, (length, off) in enumerate(((w, d), (d, w), (w, d), (d, w))):
        paint = s.wall.shade(1 - 0.06 * k)
        wall = [pane(length, HEIGHT, (0, -off / 2, HEIGHT / 2), paint, math.pi)]
        wall.append(box(length, 0.016, 0.1, (0, -off / 2 + 0.008, 0.05), s.wood))
        if banded:
            wall.append(pane(length, 1.0, (0, -off / 2 + 0.004, 0.5), s.accent if accented else paint.shade(0.85), math.pi))
        room.shell += [part.moved(0, 0, k * math.pi / 2) for part in wall]
    if rng.uniform() < 0.4:
        w, d = float(rng.uniform(1.2, 2.2)), float(rng.uniform(1.0, 1.8))
        x, y = (float(value) for value in rng.uniform(-0.5, 0.5, 2))
        rug, border = s.accent.shade(1.25), s.accent
        room.shell += [tile(w, d, (x, y, 0.008), border), tile(w - 0.2, d - 0.2, (x, y, 0.012), rug)]


def _floor(room: Room, rng: np.random.Generator) -> list[Part]:
    """One sheet with a texture, or planks or tiles in two shades of plain colour."""
    w, d, finish = room.width, room.depth, room.scheme.floor
    n, contrast, tiles = int(rng.integers(5, 13)), rng.uniform(0.75, 0.95), rng.uniform() < 0.4
    if finish.texture is not None:
        return [tile(w, d, (0, 0, 0), finish)]
    parts, other = [], finish.shade(contrast)
    for k in range(n):
        x, rows = (k + 0.5) * w / n - w / 2, n if tiles else 1
        for j in range(rows):
            parts.append(tile(w / n, d / rows, (x, (j + 0.5) * d / rows - d / 2, 0), other if (k + j) % 2 else finish))
    return parts
