"""The forms that come with PyBullet: a thousand random ones, and household things at their real size.

A random form is some convex pieces stuck together, as seen. "parts" touches piece by piece, as PyBullet does when it loads the
file; "hull" wraps them in one hull, which is faster and lets jaws close on visible air: how much of it is matter is recorded.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from embodied_ssl.errors import BadItem
from embodied_ssl.sim.camera import Vector
from embodied_ssl.sim.client import data_folder
from embodied_ssl.sim.objects import forms, obj, rests, surface
from embodied_ssl.sim.objects.forms import Body
from embodied_ssl.sim.objects.surface import Surface
from embodied_ssl.sim.objects.thing import Form, Primitive, Rest

# The corners of file 168 are not numbers; the others' pieces are plates of a shell that is hollow within, cracks and all.
# fmt: off
_BROKEN = frozenset((
    168,
    37, 72, 86, 109, 110, 123, 127, 134, 167, 178, 230, 232, 267, 278, 284, 292, 302, 304, 315, 316, 321, 338, 350, 355,
    357, 360, 362, 378, 384, 395, 429, 433, 439, 444, 454, 479, 503, 505, 507, 524, 546, 552, 570, 578, 580, 602, 703, 706,
    741, 748, 777, 782, 784, 795, 806, 815, 817, 853, 858, 859, 882, 895, 897, 922, 933, 990,
))
# fmt: on
RANDOM = tuple(number for number in range(1000) if number not in _BROKEN)
_UNIT = 0.015  # metres, of the random forms' files
_FORMS = 1024  # that a process keeps of either sort; one takes some tens of kilobytes


@dataclass(frozen=True)
class Household:
    """A household thing of pybullet_data.

    Args:
        name: of the form, after "pybullet/".
        file: what is seen.
        length: its longest extent in metres: the real thing's, or a toy's where that would not fit a table.
        touched: "hull", or the kind of the primitive that it is.
        stretch: factors on the file's x, y and z.
        parts: a file of its convex parts in the same frame; "" where there is none, "same" where it consists of them.
        picture: its texture, where the file names none.
    """

    name: str
    file: str
    length: float
    touched: str = "hull"
    parts: str = ""
    picture: str = ""
    stretch: Vector = (1.0, 1.0, 1.0)


HOUSEHOLD = (
    Household("ball", "textured_sphere_smooth.obj", 0.05, "sphere", picture="checker_blue.png"),
    Household("block", "cube.obj", 0.045, "box", picture="cube.png"),
    Household("bunny", "bunny.obj", 0.09),
    Household("cone", "racecar/meshes/cone.obj", 0.085, parts="same"),
    Household("domino", "domino/domino.obj", 0.0508, "box"),
    Household("duck", "duck.obj", 0.08, parts="duck_vhacd.obj"),
    Household("football", "soccerball.obj", 0.055, "sphere"),
    Household("jenga", "jenga/jenga.obj", 0.075, "box", stretch=(5.0, 1.667, 1.0)),
    Household("lego", "lego/lego.obj", 0.064),
    Household("mug", "objects/mug.obj", 0.122, parts="objects/mug_col.obj"),
    Household("peg-box", "toys/cube.obj", 0.055, "box"),
    Household("peg-cylinder", "toys/cylinder.obj", 0.06),
    Household("peg-prism", "toys/prism.obj", 0.06),
    Household("ring", "torus/torus_textured.obj", 0.08),
    Household("stone", "stone.obj", 0.06),
    Household("teddy", "teddy2_VHACD_CHs.obj", 0.12, parts="same"),
    Household("wheel", "racecar/meshes/left_front_wheel.obj", 0.065),
)
_WHITE = (1.0, 1.0, 1.0)  # the colour of what has a picture of its own


@lru_cache(_FORMS)
def random_form(number: int, side: float, touched: str) -> Form:
    """Form ``number`` of random_urdfs, scaled down where its narrow side is wider than ``side``.

    Raises:
        UserError: PyBullet is absent.
        BadItem: its file cannot be read.
    """
    path = data_folder() / "random_urdfs" / f"{number:03d}" / f"{number:03d}.obj"

    def make() -> Body:
        seen, _ = obj.read(path, looks=False)
        return forms.body(seen, seen.parts() if touched == "parts" else [seen.points], seen.volume())

    made = forms.kept(make, "random", touched, content(path))
    return forms.form(f"random/{number:03d}", made, min(_UNIT, side / made.narrow))


@lru_cache(_FORMS)
def household_form(thing: Household, side: float, touched: str) -> Form:
    """A household thing at its real size, or smaller where its narrow side is wider than ``side``.

    Raises:
        UserError: PyBullet is absent.
        BadItem: its file cannot be read.
    """
    folder, name = data_folder(), f"pybullet/{thing.name}"
    if thing.touched != "hull":
        return _as_primitive(name, thing, folder, side)
    whole, pieces = folder / thing.file, folder / (thing.parts if thing.parts not in ("", "same") else thing.file)

    def make() -> Body:
        seen, colour = _read(thing, folder)
        apart = touched == "parts" and thing.parts != ""
        corners = obj.read(pieces, looks=False)[0].parts() if apart else [seen.points]
        return forms.body(seen, corners, seen.volume(), colour)

    made = forms.kept(make, name, touched, content(whole), content(pieces))
    length = float(np.ptp(made.mesh.points, axis=0).max())
    return forms.form(name, made, min(thing.length / length, side / made.narrow))


def _read(thing: Household, folder: Path) -> tuple[Surface, Vector | None]:
    """What is seen of it, and its colour: white under a picture, else to be drawn."""
    seen, _ = obj.read(folder / thing.file)
    if thing.picture:
        seen = replace(seen, picture=obj.picture(folder / thing.picture))
    return seen.moved(np.diag(thing.stretch), np.zeros(3)), None if seen.picture is None else _WHITE


def _as_primitive(name: str, thing: Household, folder: Path, side: float) -> Form:
    """In the middle of its bounds, with axes as in its file."""
    seen, colour = _read(thing, folder)
    low, high = seen.points.min(axis=0), seen.points.max(axis=0)
    x, y, z = (float(value) for value in (high - low) * (thing.length / (high - low).max()))
    shape = Primitive(thing.touched, (x, x, x) if thing.touched == "sphere" else (x, y, z))
    wide = forms.narrow(shape)
    factor = min(1.0, side / wide)
    shape = Primitive(shape.kind, (shape.size[0] * factor, shape.size[1] * factor, shape.size[2] * factor))
    scale = shape.size[0] / (high - low)[0]
    mesh = surface.mesh(seen.moved(np.eye(3) * scale, -(low + high) / 2 * scale))
    made = forms.primitive(name, shape, mesh, colour)
    return replace(made, rests=_all_around(x / 2)) if shape.kind == "sphere" and colour else made


def _all_around(radius: float) -> tuple[Rest, ...]:
    """Rests of a ball whose sides look different: the directions to a cube's faces and corners are turned down."""
    ways = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if abs(x) + abs(y) + abs(z) in (1, 3)]
    turns = [rests.downwards(np.array(way) / math.hypot(*way)) for way in ways]
    return tuple(Rest(turn, radius, 1 / len(turns)) for turn in turns)


def content(path: Path) -> str:
    """What a file holds, in 32 letters.

    Raises:
        BadItem: it cannot be read.
    """
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise BadItem(path.name, f"cannot be read ({error.strerror})") from None
