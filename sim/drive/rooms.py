"""Furnished rooms of six kinds, told apart by which pieces stand together, not by any one colour or piece.

A room is a list of coloured parts. All kinds draw walls, floors, woods and fabrics from the same colours, and share tables,
chairs, cupboards, lamps, plants, rugs and pictures; lengths are metres, z is up, the floor is z = 0.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.world import Floats, Light, Shape, Vector, World, quaternion

KINDS = ("bathroom", "bedroom", "dining_room", "kitchen", "living_room", "office")
HEIGHT = 2.5
BODY = 0.35  # the camera keeps this far from everything that stands


@dataclass(frozen=True)
class Part:
    """One coloured primitive: its centre and its turn about the vertical."""

    shape: Shape
    centre: Vector
    colour: Vector
    yaw: float = 0.0


@dataclass(frozen=True)
class Piece:
    """One piece of furniture: parts in its own frame (x along the wall, y from the wall into the room) and its footprint."""

    parts: list[Part]
    width: float
    depth: float
    on_floor: bool = True


@dataclass(frozen=True)
class Palette:
    """A room's colours."""

    wall: Vector
    floor: Vector
    wood: Vector
    fabric: Vector
    accent: Vector
    pale: Vector
    dark: Vector


@dataclass
class Room:
    """A furnished room, its middle at x = y = 0.

    Attributes:
        kind: one of ``KINDS``.
        width: extent in x.
        depth: extent in y.
        parts: everything that can be seen.
        taken: footprints on the floor as x, y of the middle, half extents before turning, yaw.
        sure: how many of these, the first, are pieces that make the kind.
        light: its lamp.
    """

    kind: str
    width: float
    depth: float
    parts: list[Part] = field(default_factory=list)
    taken: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    sure: int = 0
    light: Light = field(default_factory=Light)

    def free(self, points: Floats, margin: float = BODY) -> np.ndarray:
        """Whether each point [n, 2] is inside and at least ``margin`` from walls and furniture: bool [n]."""
        ok = (np.abs(points[:, 0]) < self.width / 2 - margin) & (np.abs(points[:, 1]) < self.depth / 2 - margin)
        for x, y, half_x, half_y, yaw in self.taken:
            dx, dy = points[:, 0] - x, points[:, 1] - y
            along, across = math.cos(yaw) * dx + math.sin(yaw) * dy, -math.sin(yaw) * dx + math.cos(yaw) * dy
            ok &= (np.abs(along) > half_x + margin) | (np.abs(across) > half_y + margin)
        return ok

    def build(self, world: World) -> None:
        """Clear the world and put the room there, to be seen only."""
        world.clear()
        for part in self.parts:
            world.add(part.shape, part.centre, quaternion(part.yaw), part.colour, solid=False)


def _box(x: float, y: float, z: float, at: tuple[float, float, float], paint: Vector) -> Part:
    return Part(Shape("box", (x, y, z)), at, paint)


def _rod(across: float, z: float, at: tuple[float, float, float], paint: Vector) -> Part:
    return Part(Shape("cylinder", (across, across, z)), at, paint)


def _ball(across: float, at: tuple[float, float, float], paint: Vector) -> Part:
    return Part(Shape("sphere", (across, across, across)), at, paint)


def _shade(paint: Vector, factor: float) -> Vector:
    r, g, b = (min(1.0, max(0.0, factor * v)) for v in paint)
    return r, g, b


def _legs(w: float, d: float, z: float, paint: Vector, thick: float = 0.05) -> list[Part]:
    spots = [(sx * (w / 2 - thick), d / 2 + sy * (d / 2 - thick)) for sx in (-1, 1) for sy in (-1, 1)]
    return [_box(thick, thick, z, (x, y, z / 2), paint) for x, y in spots]


Make = Callable[[np.random.Generator, Palette], Piece]


def bed(rng: np.random.Generator, p: Palette) -> Piece:
    """Mattress, blanket, pillows and a headboard at the wall."""
    w, d, z = rng.uniform(1.0, 1.8), rng.uniform(1.95, 2.15), rng.uniform(0.4, 0.55)
    parts = [
        _box(w, d, z * 0.6, (0, d / 2, z * 0.3), p.wood),
        _box(w * 0.96, d * 0.96, z * 0.4, (0, d / 2, z * 0.8), p.pale),
        _box(w, d * 0.65, z * 0.45, (0, d * 0.66, z * 0.82), p.fabric),
        _box(w, 0.06, rng.uniform(0.8, 1.2), (0, 0.03, 0.5), p.wood),
    ]
    for x in (-w / 4, w / 4) if w > 1.3 else (0.0,):
        parts.append(_box(0.5, 0.35, 0.14, (x, 0.3, z + 0.07), p.accent))
    return Piece(parts, w, d)


def sofa(rng: np.random.Generator, p: Palette) -> Piece:
    """Seat, back, arms and cushions."""
    w, d = rng.uniform(1.5, 2.4), rng.uniform(0.8, 0.95)
    parts = [
        _box(w, d, 0.42, (0, d / 2, 0.21), p.fabric),
        _box(w, 0.22, 0.85, (0, 0.11, 0.425), _shade(p.fabric, 0.85)),
        _box(0.18, d, 0.6, (-w / 2 + 0.09, d / 2, 0.3), _shade(p.fabric, 0.9)),
        _box(0.18, d, 0.6, (w / 2 - 0.09, d / 2, 0.3), _shade(p.fabric, 0.9)),
    ]
    parts += [_box(0.4, 0.15, 0.36, (x, 0.32, 0.6), p.accent) for x in (-w / 4, w / 4)]
    return Piece(parts, w, d)


def table(rng: np.random.Generator, p: Palette) -> Piece:
    """A top on four legs."""
    w, d, z = rng.uniform(0.9, 1.4), rng.uniform(0.7, 0.9), rng.uniform(0.7, 0.78)
    return Piece([_box(w, d, 0.05, (0, d / 2, z), p.wood), *_legs(w, d, z, _shade(p.wood, 0.8))], w, d)


def low_table(rng: np.random.Generator, p: Palette) -> Piece:
    """The same, knee-high."""
    w, d, z = rng.uniform(0.7, 1.1), rng.uniform(0.5, 0.7), rng.uniform(0.35, 0.45)
    return Piece([_box(w, d, 0.05, (0, d / 2, z), p.wood), *_legs(w, d, z, p.dark)], w, d)


def chair(rng: np.random.Generator, p: Palette) -> Piece:
    """Four legs, a seat and a back."""
    w = rng.uniform(0.42, 0.5)
    parts = [
        _box(w, w, 0.05, (0, w / 2, 0.45), p.accent),
        _box(w, 0.05, 0.5, (0, 0.025, 0.7), p.wood),
        *_legs(w, w, 0.45, p.wood, 0.04),
    ]
    return Piece(parts, w, w)


def dining_set(rng: np.random.Generator, p: Palette) -> Piece:
    """A large table with chairs on both sides."""
    seats = int(rng.integers(2, 4))
    w, d, z = 0.65 * seats, rng.uniform(0.8, 1.0), 0.75
    parts = [_shift(part, 0.0, 0.4) for part in [_box(w, d, 0.05, (0, d / 2, z), p.wood), *_legs(w, d, z, p.wood, 0.07)]]
    for k in range(seats):
        x = (k + 0.5) * w / seats - w / 2
        parts += [_shift(part, x, 0.05) for part in chair(rng, p).parts]
        parts += [_turn(part, x, d + 0.75) for part in chair(rng, p).parts]
    if rng.uniform() < 0.5:
        parts.append(_ball(0.25, (0, 0.4 + d / 2, z + 0.12), p.accent))
    return Piece(parts, w, d + 0.8)


def office_desk(rng: np.random.Generator, p: Palette) -> Piece:
    """A table with a screen and a keyboard, and a chair on one foot before it."""
    w, d, z = rng.uniform(1.2, 1.7), rng.uniform(0.65, 0.8), 0.74
    parts = [_box(w, d, 0.04, (0, d / 2, z), p.wood), *_legs(w, d, z, p.dark)]
    for x in (-0.32, 0.32) if rng.uniform() < 0.4 else (0.0,):
        parts += [_box(0.56, 0.04, 0.36, (x, 0.2, z + 0.3), p.dark), _box(0.08, 0.08, 0.15, (x, 0.2, z + 0.08), p.dark)]
    parts += [_box(0.42, 0.15, 0.03, (0, 0.5, z + 0.035), p.dark), _box(0.35, 0.5, 0.55, (w / 2 - 0.2, d / 2, 0.3), p.wood)]
    y = d + 0.25
    parts += [
        _rod(0.5, 0.05, (0, y, 0.05), p.dark),
        _rod(0.06, 0.4, (0, y, 0.25), p.dark),
        _box(0.46, 0.46, 0.08, (0, y, 0.48), p.fabric),
        _box(0.44, 0.06, 0.5, (0, y + 0.22, 0.8), p.fabric),
    ]
    return Piece(parts, w, d + 0.5)


def cupboard(rng: np.random.Generator, p: Palette) -> Piece:
    """A tall box with two doors."""
    w, d, z = rng.uniform(0.8, 1.5), rng.uniform(0.4, 0.6), rng.uniform(1.6, 2.1)
    parts = [_box(w, d, z, (0, d / 2, z / 2), p.wood)]
    parts += [_box(w / 2 - 0.04, 0.03, z - 0.12, (x, d, z / 2), _shade(p.wood, 1.15)) for x in (-w / 4, w / 4)]
    return Piece(parts, w, d)


def drawers(rng: np.random.Generator, p: Palette) -> Piece:
    """A low chest of drawers."""
    w, d, z = rng.uniform(0.45, 1.1), rng.uniform(0.35, 0.5), rng.uniform(0.5, 0.9)
    parts = [_box(w, d, z, (0, d / 2, z / 2), p.wood)]
    parts += [_box(w - 0.08, 0.03, z / 3 - 0.05, (0, d, z * (k + 0.5) / 3), _shade(p.wood, 1.2)) for k in range(3)]
    return Piece(parts, w, d)


def shelf(rng: np.random.Generator, p: Palette) -> Piece:
    """Boards with rows of books."""
    w, d, z, boards = rng.uniform(0.8, 1.3), 0.32, rng.uniform(1.5, 2.1), 4
    parts = [_box(0.04, d, z, (x, d / 2, z / 2), p.wood) for x in (-w / 2, w / 2)]
    parts += [_box(w, 0.02, z, (0, 0.01, z / 2), _shade(p.wood, 0.6))]
    for k in range(boards):
        low = k * z / boards
        parts.append(_box(w, d, 0.04, (0, d / 2, low + 0.05), p.wood))
        at = -w / 2 + 0.05
        while at < w / 2 - 0.25:
            thick = rng.uniform(0.08, 0.22)
            tall = z / boards * rng.uniform(0.5, 0.8)
            if rng.uniform() < 0.8:
                parts.append(_box(thick, 0.2, tall, (at + thick / 2, 0.15, low + 0.07 + tall / 2), colour(rng)))
            at += thick + 0.01
    return Piece(parts, w, d)


def screen(rng: np.random.Generator, p: Palette) -> Piece:
    """A television on a low board."""
    w, tv = rng.uniform(1.2, 1.8), rng.uniform(0.9, 1.3)
    parts = [
        _box(w, 0.4, 0.45, (0, 0.2, 0.225), p.wood),
        _box(tv, 0.05, tv * 0.56, (0, 0.2, 0.55 + tv * 0.28), p.dark),
        _box(0.3, 0.2, 0.08, (0, 0.2, 0.48), p.dark),
    ]
    return Piece(parts, w, 0.4)


def lamp(rng: np.random.Generator, p: Palette) -> Piece:
    """A floor lamp."""
    z = rng.uniform(1.3, 1.7)
    parts = [_rod(0.3, 0.04, (0, 0.2, 0.02), p.dark), _rod(0.04, z, (0, 0.2, z / 2), p.dark)]
    return Piece([*parts, _rod(0.38, 0.3, (0, 0.2, z), p.pale)], 0.4, 0.4)


def plant(rng: np.random.Generator, p: Palette) -> Piece:
    """A pot with leaves."""
    z = rng.uniform(0.5, 1.1)
    green = (rng.uniform(0.1, 0.3), rng.uniform(0.4, 0.65), rng.uniform(0.1, 0.3))
    parts = [_rod(0.32, 0.32, (0, 0.2, 0.16), p.accent), _rod(0.05, z, (0, 0.2, z / 2), p.wood)]
    for k in range(3):
        x, y = rng.uniform(-0.1, 0.1, 2)
        parts.append(_ball(rng.uniform(0.25, 0.4), (x, y + 0.2, z + 0.15 * k), green))
    return Piece(parts, 0.45, 0.45)


def bin_(rng: np.random.Generator, p: Palette) -> Piece:
    """A waste bin."""
    return Piece([_rod(0.3, 0.45, (0, 0.17, 0.225), p.accent)], 0.34, 0.34)


def counter(rng: np.random.Generator, p: Palette) -> Piece:
    """Kitchen units with a sink and tap, and cupboards above."""
    w = rng.uniform(1.4, 2.2)
    parts = [
        _box(w, 0.58, 0.86, (0, 0.3, 0.43), p.wood),
        _box(w + 0.02, 0.62, 0.05, (0, 0.31, 0.89), _shade(p.dark, 1.5)),
        _box(0.5, 0.36, 0.03, (-w / 4, 0.32, 0.91), (0.75, 0.77, 0.8)),
        _rod(0.04, 0.3, (-w / 4, 0.1, 1.05), (0.75, 0.77, 0.8)),
        _box(w, 0.34, 0.6, (0, 0.17, 1.75), p.wood),
    ]
    n = max(2, round(w / 0.5))
    for k in range(n):
        x = (k + 0.5) * w / n - w / 2
        parts.append(_box(w / n - 0.06, 0.02, 0.66, (x, 0.6, 0.45), _shade(p.wood, 1.2)))
        parts.append(_box(w / n - 0.06, 0.02, 0.52, (x, 0.35, 1.75), _shade(p.wood, 1.2)))
    return Piece(parts, w, 0.62)


def stove(rng: np.random.Generator, p: Palette) -> Piece:
    """A box with an oven window, four plates and a hood."""
    parts = [
        _box(0.6, 0.6, 0.88, (0, 0.3, 0.44), p.pale),
        _box(0.44, 0.02, 0.35, (0, 0.61, 0.42), p.dark),
        _box(0.6, 0.4, 0.25, (0, 0.2, 1.75), _shade(p.pale, 0.8)),
    ]
    parts += [_rod(0.2, 0.03, (sx * 0.15, 0.3 + sy * 0.15, 0.9), p.dark) for sx in (-1, 1) for sy in (-1, 1)]
    if rng.uniform() < 0.5:
        parts.append(_rod(0.24, 0.2, (0.15, 0.45, 1.0), p.accent))
    return Piece(parts, 0.62, 0.62)


def fridge(rng: np.random.Generator, p: Palette) -> Piece:
    """A tall box with two doors and handles."""
    z = rng.uniform(1.5, 1.9)
    parts = [_box(0.65, 0.65, z, (0, 0.33, z / 2), p.pale), _box(0.63, 0.02, 0.03, (0, 0.66, z * 0.65), p.dark)]
    parts += [_box(0.04, 0.04, 0.3, (-0.25, 0.68, z * share), p.dark) for share in (0.5, 0.8)]
    return Piece(parts, 0.68, 0.68)


def bathtub(rng: np.random.Generator, p: Palette) -> Piece:
    """A long tub with water, and a tap."""
    w, d, z = rng.uniform(1.5, 1.8), rng.uniform(0.7, 0.85), rng.uniform(0.5, 0.62)
    parts = [
        _box(w, d, z, (0, d / 2, z / 2), p.pale),
        _box(w - 0.2, d - 0.2, 0.02, (0, d / 2, z + 0.005), (0.55, 0.7, 0.78)),
        _rod(0.05, 0.3, (w / 2 - 0.15, 0.1, z + 0.15), (0.7, 0.72, 0.75)),
    ]
    return Piece(parts, w, d)


def toilet(rng: np.random.Generator, p: Palette) -> Piece:
    """Cistern, bowl and lid."""
    parts = [
        _box(0.4, 0.2, 0.4, (0, 0.1, 0.65), p.pale),
        _rod(0.38, 0.42, (0, 0.42, 0.21), p.pale),
        _rod(0.42, 0.05, (0, 0.42, 0.44), p.accent if rng.uniform() < 0.5 else _shade(p.pale, 0.9)),
    ]
    return Piece(parts, 0.45, 0.65)


def washbasin(rng: np.random.Generator, p: Palette) -> Piece:
    """A basin on a foot with a tap, and a mirror above."""
    w = rng.uniform(0.5, 0.8)
    parts = [
        _rod(0.18, 0.8, (0, 0.25, 0.4), p.pale),
        _box(w, 0.45, 0.16, (0, 0.23, 0.82), p.pale),
        _rod(0.32, 0.02, (0, 0.25, 0.905), (0.55, 0.6, 0.65)),
        _rod(0.03, 0.2, (0, 0.06, 1.0), (0.7, 0.72, 0.75)),
        _box(w, 0.03, 0.7, (0, 0.015, 1.5), (0.78, 0.85, 0.88)),
    ]
    return Piece(parts, w, 0.48)


def picture(rng: np.random.Generator, p: Palette) -> Piece:
    """A framed picture on the wall."""
    w, z = rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.6)
    parts = [_box(w, 0.02, z, (0, 0.01, 1.6), p.wood), _box(w - 0.1, 0.02, z - 0.1, (0, 0.02, 1.6), colour(rng))]
    return Piece(parts, w, 0.03, on_floor=False)


def window(rng: np.random.Generator, p: Palette) -> Piece:
    """A bright pane in a frame, with curtains now and then."""
    w, z = rng.uniform(0.8, 1.4), rng.uniform(0.9, 1.2)
    parts = [
        _box(w, 0.03, z, (0, 0.015, 1.55), (0.92, 0.92, 0.9)),
        _box(w - 0.1, 0.03, z - 0.1, (0, 0.02, 1.55), (0.65, 0.82, 0.95)),
        _box(0.05, 0.03, z, (0, 0.03, 1.55), (0.92, 0.92, 0.9)),
    ]
    if rng.uniform() < 0.5:
        parts += [_box(0.25, 0.06, z + 0.3, (x, 0.05, 1.5), p.fabric) for x in (-w / 2, w / 2)]
    return Piece(parts, w, 0.06, on_floor=False)


def door(rng: np.random.Generator, p: Palette) -> Piece:
    """A door in its frame."""
    parts = [_box(0.95, 0.04, 2.05, (0, 0.02, 1.02), _shade(p.wood, 0.8)), _box(0.85, 0.05, 2.0, (0, 0.03, 1.0), p.wood)]
    return Piece([*parts, _ball(0.07, (0.35, 0.08, 1.0), p.dark)], 0.95, 0.1, on_floor=False)


# What each kind has for certain, and what it may have besides; the second list is much the same everywhere.
_SURE: dict[str, tuple[Make, ...]] = {
    "bathroom": (bathtub, toilet, washbasin),
    "bedroom": (bed, drawers, cupboard),
    "dining_room": (dining_set, drawers, cupboard),
    "kitchen": (counter, stove, fridge, table),
    "living_room": (sofa, screen, low_table, lamp),
    "office": (office_desk, shelf, cupboard),
}
# Extent of a room's sides, and the customary hue, saturation and value of walls and floor: a tendency, no more.
_EXTENT = {
    "bathroom": (3.0, 3.9),
    "bedroom": (3.6, 4.6),
    "dining_room": (3.8, 4.8),
    "kitchen": (3.3, 4.4),
    "living_room": (4.0, 5.2),
    "office": (3.4, 4.6),
}
_CUSTOMARY: dict[str, tuple[Vector, Vector]] = {
    "bathroom": ((0.52, 0.15, 0.9), (0.55, 0.1, 0.75)),
    "bedroom": ((0.85, 0.12, 0.85), (0.09, 0.35, 0.7)),
    "dining_room": ((0.3, 0.2, 0.75), (0.06, 0.45, 0.5)),
    "kitchen": ((0.14, 0.3, 0.95), (0.04, 0.4, 0.65)),
    "living_room": ((0.09, 0.2, 0.85), (0.08, 0.4, 0.55)),
    "office": ((0.6, 0.05, 0.85), (0.62, 0.25, 0.5)),
}
CUSTOM = 0.6  # share of walls, and of floors, in their kind's customary colour
_ANYWHERE: tuple[Make, ...] = (chair, plant, lamp, drawers, shelf, cupboard, bin_, table, low_table)
_ON_WALLS: tuple[Make, ...] = (picture, picture, window, window, door)
_IN_THE_MIDDLE = (dining_set, low_table)


def _turned(x: float, y: float, yaw: float) -> tuple[float, float]:
    return math.cos(yaw) * x - math.sin(yaw) * y, math.sin(yaw) * x + math.cos(yaw) * y


def _shift(part: Part, x: float, y: float) -> Part:
    cx, cy, cz = part.centre
    return Part(part.shape, (cx + x, cy + y, cz), part.colour, part.yaw)


def _turn(part: Part, x: float, y: float) -> Part:
    """Turn a part round by half a turn about the origin, then shift it."""
    cx, cy, cz = part.centre
    return Part(part.shape, (x - cx, y - cy, cz), part.colour, part.yaw + math.pi)


def _about(rng: np.random.Generator, hsv: Vector) -> Vector:
    """A colour near a given hue, saturation and value."""
    hue, saturation, value = (float(v) for v in rng.normal(hsv, (0.04, 0.06, 0.07)))
    return colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0.0), 0.7), min(max(value, 0.3), 1.0))


def _palette(kind: str, rng: np.random.Generator) -> Palette:
    hue = rng.uniform(0.85, 1.15, 3)
    wood = _shade((0.62 * hue[0], 0.45 * hue[1], 0.3 * hue[2]), rng.uniform(0.55, 1.4))
    pale = float(rng.uniform(0.8, 0.97))
    dark = float(rng.uniform(0.08, 0.3))
    custom = rng.uniform(size=2) < CUSTOM
    wall, floor = _CUSTOMARY[kind]
    return Palette(
        wall=_about(rng, wall) if custom[0] else _shade(colour(rng, (0.02, 0.3)), 1.25),
        floor=_about(rng, floor) if custom[1] else colour(rng, (0.05, 0.4)),
        wood=wood if rng.uniform() < 0.7 else colour(rng, (0.0, 0.4)),
        fabric=colour(rng),
        accent=colour(rng),
        pale=(pale, pale, pale * float(rng.uniform(0.9, 1.0))),
        dark=(dark, dark, dark),
    )


def _shell(room: Room, rng: np.random.Generator, p: Palette) -> None:
    """Floor of planks or tiles in two shades, ceiling, and four walls with a skirting board."""
    w, d, thick = room.width, room.depth, 0.1
    n, contrast = int(rng.integers(5, 13)), rng.uniform(0.75, 0.95)
    tiles = rng.uniform() < 0.4
    for k in range(n):
        x, paint = (k + 0.5) * w / n - w / 2, _shade(p.floor, contrast if k % 2 else 1.0)
        room.parts.append(_box(w / n, d, thick, (x, 0, -thick / 2), paint))
        if tiles:
            for j in range(k % 2, n, 2):
                y = (j + 0.5) * d / n - d / 2
                other = _shade(p.floor, 1.0 if k % 2 else contrast)
                room.parts.append(_box(w / n, d / n, 0.004, (x, y, 0.001), other))
    room.parts.append(_box(w, d, thick, (0, 0, HEIGHT + thick / 2), (0.95, 0.95, 0.93)))
    band = rng.uniform() < 0.4
    for k, (length, off) in enumerate(((w, d), (d, w), (w, d), (d, w))):
        yaw, paint = k * math.pi / 2, _shade(p.wall, 1 - 0.06 * k)
        rows = [(0.12, 0.0, 0.1, p.wood), (thick, -0.05, HEIGHT, paint)]
        if band:
            rows.append((0.104, -0.05, 1.0, p.accent if rng.uniform() < 0.3 else _shade(paint, 0.85)))
        for deep, back, tall, tone in rows:
            x, y = _turned(0.0, off / 2 - (0.0 if back == 0 else back), yaw)
            room.parts.append(Part(Shape("box", (length, deep if back else 0.03, tall)), (x, y, tall / 2), tone, yaw))


def _against_wall(room: Room, piece: Piece, wall: int, along: float) -> tuple[float, float, float]:
    """Where the piece's own origin goes, and its turn, to stand with its back to a wall."""
    length, off = ((room.width, room.depth), (room.depth, room.width))[wall % 2]
    room_left = max(0.0, length / 2 - piece.width / 2 - 0.1)
    x, y = _turned(along * room_left, -off / 2 + 0.02, wall * math.pi / 2)
    return x, y, wall * math.pi / 2


def _put(room: Room, piece: Piece, x: float, y: float, yaw: float, taken: list[tuple[float, float, float, float, float]]) -> None:
    for part in piece.parts:
        cx, cy = _turned(part.centre[0], part.centre[1], yaw)
        room.parts.append(Part(part.shape, (x + cx, y + cy, part.centre[2]), part.colour, part.yaw + yaw))
    cx, cy = _turned(0.0, piece.depth / 2, yaw)
    taken.append((x + cx, y + cy, piece.width / 2, piece.depth / 2, yaw))


def _overlaps(one: tuple[float, float, float, float, float], others: list[tuple[float, float, float, float, float]]) -> bool:
    """Whether two footprints, both at right angles to the walls, come nearer than 5 cm."""

    def extent(f: tuple[float, float, float, float, float]) -> tuple[float, float]:
        return (f[2], f[3]) if abs(math.sin(f[4])) < 0.5 else (f[3], f[2])

    ex, ey = extent(one)
    return any(abs(one[0] - o[0]) < ex + extent(o)[0] + 0.05 and abs(one[1] - o[1]) < ey + extent(o)[1] + 0.05 for o in others)


def _try_put(
    room: Room, piece: Piece, rng: np.random.Generator, taken: list[tuple[float, float, float, float, float]], middle: bool
) -> bool:
    for _ in range(30):
        wall, along = int(rng.integers(4)), rng.uniform(-1, 1)
        x, y, yaw = _against_wall(room, piece, wall, along)
        if middle:
            x, y = (float(v) for v in rng.uniform(-0.4, 0.4, 2))
        cx, cy = _turned(0.0, piece.depth / 2, yaw)
        if not _overlaps((x + cx, y + cy, piece.width / 2, piece.depth / 2, yaw), taken):
            _put(room, piece, x, y, yaw, taken)
            return True
    return False


def furnish(kind: str, rng: np.random.Generator) -> Room:
    """Draw a room of a kind."""
    width, depth = (float(side) for side in rng.uniform(*_EXTENT[kind], 2))
    room = Room(kind, width, depth)
    p = _palette(kind, rng)
    _shell(room, rng, p)
    for make in _SURE[kind]:
        _try_put(room, make(rng, p), rng, room.taken, make in _IN_THE_MIDDLE)
    room.sure = len(room.taken)
    for k in rng.permutation(len(_ANYWHERE))[: int(rng.integers(2, 5))]:
        _try_put(room, _ANYWHERE[k](rng, p), rng, room.taken, False)
    hung = [taken for taken in room.taken if max(taken[2], taken[3]) > 0.5]
    for make in _ON_WALLS:
        _try_put(room, make(rng, p), rng, hung, False)
    if rng.uniform() < 0.5:
        w, d = rng.uniform(1.2, 2.2), rng.uniform(1.0, 1.8)
        room.parts.append(_box(w, d, 0.02, (*rng.uniform(-0.5, 0.5, 2), 0.012), p.accent))
    around = rng.uniform(0, 2 * math.pi)
    direction = (float(0.6 * math.cos(around)), float(0.6 * math.sin(around)), 1.0)
    room.light = Light(direction, float(rng.uniform(0.5, 0.7)), float(rng.uniform(0.25, 0.45)), shadow=False)
    return room
