"""Houses of several kinds: their front is y = 0 and looks towards -y, where the street is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, Part, box, fine, pane
from embodied_ssl.sim.drive.scheme import WHITE

Make = Callable[[np.random.Generator, Finish, Finish], list[Part]]  # from where, walls, roof
_GLASS = Finish((0.35, 0.45, 0.55))
_OUT = 0.012  # panes lie this far before what they are let into


def _window(x: float, z: float, w: float, tall: float, frame: Finish, yaw: float = 0.0, out: float = 0.0) -> list[Part]:
    """Frame, glass and sill on the front; ``yaw`` and ``out`` put it on another side."""
    parts = [
        pane(w, tall, (x, -2 * _OUT, z), _GLASS),
        *fine(
            pane(w + 0.16, tall + 0.16, (x, -_OUT, z), frame),
            pane(0.06, tall, (x, -3 * _OUT, z), frame),
            pane(w + 0.3, 0.1, (x, -3 * _OUT, z - tall / 2 - 0.08), frame.shade(0.8)),
        ),
    ]
    return [part.moved(0, -out).moved(0, 0, yaw) for part in parts]


def _door(x: float, finish: Finish, frame: Finish) -> list[Part]:
    return [
        pane(0.95, 2.1, (x, -2 * _OUT, 1.05), finish),
        *fine(
            pane(1.2, 2.25, (x, -_OUT, 1.12), frame),
            pane(0.4, 0.5, (x, -3 * _OUT, 1.6), _GLASS),
            box(1.5, 0.7, 0.15, (x, -0.3, 0.07), Finish((0.6, 0.6, 0.58))),
            box(1.5, 0.6, 0.1, (x, -0.3, 2.4), frame),
        ),
    ]


def _storeys(rng: np.random.Generator, w: float, count: int, first: int, frame: Finish, tall: float = 1.35) -> list[Part]:
    """Windows in a grid over the front, from storey ``first``."""
    columns = max(2, round(w / rng.uniform(2.2, 3.0)))
    wide = float(rng.uniform(0.9, min(1.6, w / columns - 0.7)))
    parts = []
    for storey in range(first, count):
        for k in range(columns):
            parts += _window((k + 0.5) * w / columns - w / 2, 2.8 * storey + 1.5, wide, tall, frame)
    return parts


def _sides(w: float, d: float, count: int, frame: Finish) -> list[Part]:
    """A window on either side of each storey."""
    parts = []
    for yaw in (math.pi / 2, -math.pi / 2):
        for storey in range(count):
            row = _window(0.0, 2.8 * storey + 1.5, 1.0, 1.2, frame, yaw, w / 2)
            parts += [part.moved(0, d / 2) for part in row]
    return parts


def _frame(rng: np.random.Generator) -> Finish:
    return WHITE if rng.uniform() < 0.7 else Finish(colour(rng, (0.2, 0.6))).shade(0.7)


def gabled(rng: np.random.Generator, wall: Finish, roof: Finish) -> list[Part]:
    """A family's house of one to three storeys under a gable or hip roof, with a chimney."""
    w, d, count = rng.uniform(6.5, 9.0), rng.uniform(7.0, 8.0), int(rng.integers(1, 4))
    h, rise, frame = 2.8 * count + 0.2, rng.uniform(2.0, 3.2), _frame(rng)
    side = int(rng.choice([-1, 1]))
    hip = rng.uniform() < 0.3
    parts = [
        box(w, d, h, (0, d / 2, h / 2), wall),
        *fine(box(w + 0.02, d + 0.02, 0.5, (0, d / 2, 0.25), wall.plain.shade(0.7))),
    ]
    if rng.uniform() < 0.35:  # the gable looks to the street
        parts.append(Part("box", (w + 0.7, d + 0.7, rise), (0, d / 2, h + rise / 2), roof, taper=(0.0, 1.0)))
        parts.append(Part("box", (w, d, rise * 0.9), (0, d / 2 - 0.36, h + rise * 0.45), wall, taper=(0.0, 1.0)))
        parts += _window(0.0, h + 0.75, 0.8, 0.8, frame, out=0.36)
    else:
        parts.append(Part("box", (w + 0.6, d + 0.8, rise), (0, d / 2, h + rise / 2), roof, taper=(0.5 if hip else 1.0, 0.0)))
    parts.append(box(0.6, 0.6, rise + 0.9, (side * w * 0.2, d * 0.65, h + (rise + 0.9) / 2), wall.plain.shade(0.75)))
    parts += _door(side * w * 0.3, Finish(colour(rng)).shade(0.8), frame)
    parts += _window(-side * w * 0.18, 1.5, min(2.2, w * 0.3), 1.4, frame)
    return [*parts, *_storeys(rng, w, count, 1, frame), *_sides(w, d, count, frame)]


def block_of_flats(rng: np.random.Generator, wall: Finish, roof: Finish) -> list[Part]:
    """Three to five storeys under a flat roof, balconies now and then."""
    w, d, count = rng.uniform(9.0, 11.5), rng.uniform(7.5, 8.0), int(rng.integers(3, 6))
    h, frame = 2.8 * count + 0.4, _frame(rng)
    parts = [
        box(w, d, h, (0, d / 2, h / 2), wall),
        box(w + 0.3, d + 0.3, 0.3, (0, d / 2, h), wall.plain.shade(0.8)),
        *_door(0.0, Finish(colour(rng)).shade(0.7), frame),
        *_storeys(rng, w, count, 1, frame),
        *_sides(w, d, count, frame),
    ]
    parts += [part for x in (-w * 0.32, w * 0.32) for part in _window(x, 1.5, 1.4, 1.3, frame)]
    if rng.uniform() < 0.5:
        paint = Finish(colour(rng, (0.1, 0.5)))
        for storey in range(1, count):
            for x in (-w * 0.3, w * 0.3):
                parts.append(box(2.4, 1.0, 0.12, (x, -0.5, 2.8 * storey + 0.3), wall.plain.shade(0.85)))
                parts.append(box(2.4, 0.06, 0.85, (x, -0.97, 2.8 * storey + 0.75), paint))
    return parts


def shop_house(rng: np.random.Generator, wall: Finish, roof: Finish) -> list[Part]:
    """A shop with a wide window, an awning and a sign, and flats above."""
    w, d, count = rng.uniform(7.0, 9.5), rng.uniform(7.0, 8.0), int(rng.integers(2, 4))
    h, frame, sign = 2.8 * count + 0.4, _frame(rng), Finish(colour(rng))
    awning = Finish(colour(rng))
    parts = [
        box(w, d, h, (0, d / 2, h / 2), wall),
        Part("box", (w + 0.5, d + 0.6, 1.6), (0, d / 2, h + 0.8), roof, taper=(0.8, 0.3)),
        pane(w - 0.8, 2.2, (0, -_OUT, 1.3), frame),
        *(pane(w / 3 - 0.5, 1.9, (x, -2 * _OUT, 1.35), _GLASS.shade(1.2)) for x in (-w / 3 + 0.2, w / 3 - 0.2)),
        pane(1.1, 2.2, (0, -2 * _OUT, 1.2), sign.shade(0.7)),
        box(w - 0.4, 0.12, 0.6, (0, -0.06, 2.85), sign),
        *fine(*(pane(0.3, 0.3, (0.45 * k - 1.0, -0.14, 2.85), WHITE) for k in range(5))),
        Part("box", (w - 0.8, 1.1, 0.08), (0, -0.5, 2.45), awning, tip=0.35),
    ]
    return [*parts, *_storeys(rng, w, count, 1, frame), *_sides(w, d, count, frame)]


def modern(rng: np.random.Generator, wall: Finish, roof: Finish) -> list[Part]:
    """Two boxes on one another with wide panes and a garage door."""
    w, d, frame = rng.uniform(8.0, 9.5), rng.uniform(7.0, 8.0), Finish((0.25, 0.26, 0.28))
    shift = rng.uniform(-0.8, 0.8)
    other = Finish(colour(rng, (0.05, 0.35)))
    parts = [
        box(w, d, 3.0, (0, d / 2, 1.5), wall),
        box(w * 0.8, d * 0.9, 2.8, (shift, d / 2, 4.4), other),
        box(w * 0.8 + 0.4, d * 0.9 + 0.5, 0.2, (shift, d / 2, 5.9), frame),
        box(w + 0.2, d + 0.2, 0.15, (0, d / 2, 3.05), frame),
        pane(2.6, 2.2, (-w / 2 + 1.7, -_OUT, 1.1), WHITE.shade(0.9)),
        *fine(*(pane(2.5, 0.04, (-w / 2 + 1.7, -2 * _OUT, 0.35 + 0.45 * k), frame) for k in range(4))),
        *_door(0.6, Finish(colour(rng)).shade(0.8), frame),
        *_window(w / 2 - 1.6, 1.6, 2.0, 1.7, frame),
    ]
    front = d * 0.05  # of the upper box
    parts += [part.moved(shift, front) for x in (-w * 0.2, w * 0.2) for part in _window(x, 4.4, 2.2, 1.6, frame)]
    return [*parts, *_sides(w, d, 1, frame)]


def church(rng: np.random.Generator, wall: Finish, roof: Finish) -> list[Part]:
    """A nave with tall windows behind a tower with a pointed roof."""
    w, d, glass = 7.0, 8.0, Finish((0.3, 0.35, 0.55))
    parts = [
        box(w, d, 6.0, (0, d / 2, 3.0), wall),
        Part("box", (w + 0.5, d + 0.4, 3.5), (0, d / 2, 7.75), roof, taper=(0.0, 1.0)),
        box(3.2, 3.2, 11.0, (0, 1.6, 5.5), wall),
        Part("box", (3.6, 3.6, 5.0), (0, 1.6, 13.5), roof, taper=(0.0, 0.0)),
        pane(1.6, 2.6, (0, -_OUT, 1.3), Finish((0.35, 0.2, 0.12))),
        pane(0.9, 1.6, (0, -_OUT, 9.0), glass),
        pane(1.5, 1.5, (0, -_OUT, 6.2), WHITE),
        *(pane(0.9, 2.6, (x, -_OUT, 3.2), glass) for x in (-2.5, 2.5)),
    ]
    for yaw in (math.pi / 2, -math.pi / 2):
        parts += [pane(0.8, 3.0, (x, -w / 2 - _OUT, 3.4), glass).moved(0, d / 2, yaw) for x in (-1.5, 1.0)]
    return parts


HOUSES: tuple[Make, ...] = (gabled, gabled, gabled, block_of_flats, shop_house, modern)
