"""The colours of a room: all kinds draw them alike, but for a tendency in walls and floors."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from embodied_ssl.sim.camera import Vector
from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish
from embodied_ssl.sim.drive.surfaces import draw_surface

METAL = Finish((0.72, 0.74, 0.77))
WHITE = Finish((0.94, 0.94, 0.92))
GLASS = Finish((0.65, 0.82, 0.95))
BLACK = Finish((0.1, 0.1, 0.11))
MIRROR = Finish((0.78, 0.86, 0.9))
_FLOORS = ("planks", "planks", "tiles", "tiles", "carpet", "stone")
_WALLS = ("plaster", "plaster", "stripes", "dots", "tiles", "brick")


@dataclass(frozen=True)
class Scheme:
    """What a room's surfaces look like; pieces share these, so that a room is of one taste."""

    wall: Finish
    floor: Finish
    wood: Finish
    fabric: Finish
    accent: Finish
    pale: Finish
    dark: Finish


def paint(rng: np.random.Generator, saturation: tuple[float, float] = (0.35, 0.9)) -> Finish:
    """A finish of any colour."""
    return Finish(colour(rng, saturation))


def about(rng: np.random.Generator, hsv: Vector) -> Finish:
    """A finish near a hue, saturation and value."""
    hue, saturation, value = (float(v) for v in rng.normal(hsv, (0.04, 0.06, 0.07)))
    return Finish(colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0.0), 0.7), min(max(value, 0.3), 1.0)))


def draw_scheme(rng: np.random.Generator, wall: Vector, floor: Vector, custom: float, textured: bool) -> Scheme:
    """Draw a room's finishes.

    Args:
        rng: where from.
        wall: customary hue, saturation and value of the walls.
        floor: the same of the floor.
        custom: share of walls, and of floors, that are near the customary colour; others have any.
        textured: whether surfaces bear textures.
    """
    hue = rng.uniform(0.85, 1.15, 3)
    wood = Finish((0.62 * hue[0], 0.45 * hue[1], 0.3 * hue[2])).shade(rng.uniform(0.55, 1.4))
    pale, dark = float(rng.uniform(0.8, 0.97)), float(rng.uniform(0.08, 0.3))
    customary = rng.uniform(size=2) < custom
    scheme = Scheme(
        wall=about(rng, wall) if customary[0] else paint(rng, (0.02, 0.3)).shade(1.25),
        floor=about(rng, floor) if customary[1] else paint(rng, (0.05, 0.4)),
        wood=wood if rng.uniform() < 0.7 else paint(rng, (0.0, 0.4)),
        fabric=paint(rng),
        accent=paint(rng),
        pale=Finish((pale, pale, pale * float(rng.uniform(0.9, 1.0)))),
        dark=Finish((dark, dark, dark)),
    )
    return _textured(scheme, rng) if textured else scheme


def _textured(scheme: Scheme, rng: np.random.Generator) -> Scheme:
    """The same colours on textures; which texture tells nothing about the kind of room."""
    floor = replace(scheme.floor, texture=draw_surface(rng, *_FLOORS), size=float(rng.uniform(0.7, 1.6)))
    wall, wood, fabric = scheme.wall, scheme.wood, scheme.fabric
    if rng.uniform() < 0.7:
        wall = replace(wall, texture=draw_surface(rng, *_WALLS), size=float(rng.uniform(0.6, 1.4)))
    if rng.uniform() < 0.7:
        wood = replace(wood, texture=draw_surface(rng, "grain"), size=float(rng.uniform(0.4, 0.8)))
    if rng.uniform() < 0.5:
        fabric = replace(fabric, texture=draw_surface(rng, "weave", "stripes", "dots"), size=float(rng.uniform(0.15, 0.4)))
    return replace(scheme, floor=floor, wall=wall, wood=wood, fabric=fabric)
