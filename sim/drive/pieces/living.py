"""Pieces for sitting, sleeping, eating and keeping things: found in many rooms."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.drive.modelling import Finish, Part, ball, box, rod
from embodied_ssl.sim.drive.pieces.piece import Piece, legs, row_of, seat
from embodied_ssl.sim.drive.scheme import BLACK, METAL, Scheme


def bed(rng: np.random.Generator, s: Scheme) -> Piece:
    """Mattress, blanket, pillows and a headboard at the wall."""
    w, d, z, head = rng.uniform(1.0, 1.8), rng.uniform(1.95, 2.15), rng.uniform(0.4, 0.55), rng.uniform(0.8, 1.2)
    parts = [
        box(w, d, z * 0.6, (0, d / 2, z * 0.3), s.wood),
        box(w * 0.96, d * 0.96, z * 0.4, (0, d / 2, z * 0.8), s.pale),
        box(w, d * 0.65, z * 0.45, (0, d * 0.66, z * 0.82), s.fabric),
        box(w * 1.0, 0.25, z * 0.46, (0, d * 0.34, z * 0.83), s.fabric.shade(1.25)),
        box(w, 0.06, head, (0, 0.03, head / 2), s.wood),
    ]
    for x in (-w / 4, w / 4) if w > 1.3 else (0.0,):
        parts.append(box(0.5, 0.35, 0.14, (x, 0.3, z + 0.07), s.accent))
    return Piece(parts, w, d)


def sofa(rng: np.random.Generator, s: Scheme) -> Piece:
    """Seat, back, arms and cushions."""
    return _padded(rng, s, rng.uniform(1.5, 2.3))


def armchair(rng: np.random.Generator, s: Scheme) -> Piece:
    """A sofa for one."""
    return _padded(rng, s, rng.uniform(0.8, 0.95))


def _padded(rng: np.random.Generator, s: Scheme, w: float) -> Piece:
    d, places = rng.uniform(0.8, 0.92), max(1, round((w - 0.36) / 0.65))
    side = s.fabric.shade(0.88)
    parts = [
        box(w, d - 0.04, 0.28, (0, d / 2, 0.18), s.fabric.shade(0.8)),
        box(w, 0.22, 0.82, (0, 0.11, 0.44), s.fabric.shade(0.85)),
        box(0.18, d, 0.56, (-w / 2 + 0.09, d / 2, 0.32), side),
        box(0.18, d, 0.56, (w / 2 - 0.09, d / 2, 0.32), side),
    ]
    each = (w - 0.38) / places
    for k in range(places):
        x = (k + 0.5) * each - each * places / 2
        parts.append(box(each - 0.03, d - 0.26, 0.14, (x, 0.22 + (d - 0.26) / 2, 0.39), s.fabric))
        if rng.uniform() < 0.6:
            parts.append(box(min(0.4, each - 0.1), 0.13, 0.34, (x, 0.3, 0.62), s.accent))
    return Piece(parts, w, d)


def table(rng: np.random.Generator, s: Scheme) -> Piece:
    """A top on four legs."""
    w, d, z = rng.uniform(0.9, 1.4), rng.uniform(0.7, 0.9), rng.uniform(0.7, 0.78)
    parts = [box(w, d, 0.05, (0, d / 2, z), s.wood), *legs(w, d, z, s.wood.shade(0.8))]
    if rng.uniform() < 0.4:
        parts.append(rod(0.22, 0.1, (rng.uniform(-0.3, 0.3), d / 2, z + 0.075), s.accent))
    return Piece(parts, w, d)


def low_table(rng: np.random.Generator, s: Scheme) -> Piece:
    """The same, knee-high."""
    w, d, z = rng.uniform(0.7, 1.1), rng.uniform(0.5, 0.7), rng.uniform(0.35, 0.45)
    parts = [box(w, d, 0.05, (0, d / 2, z), s.wood), *legs(w, d, z, s.dark)]
    if rng.uniform() < 0.5:
        parts.append(box(0.3, 0.22, 0.04, (rng.uniform(-0.15, 0.15), d / 2, z + 0.045), s.accent))
    return Piece(parts, w, d)


def chair(rng: np.random.Generator, s: Scheme) -> Piece:
    """One chair."""
    return Piece(seat(rng, s), 0.5, 0.5)


def dining_set(rng: np.random.Generator, s: Scheme) -> Piece:
    """A large table with chairs on both sides."""
    seats, z = int(rng.integers(2, 4)), 0.75
    w, d = 0.65 * seats, rng.uniform(0.8, 1.0)
    parts = [part.moved(0, 0.4) for part in [box(w, d, 0.05, (0, d / 2, z), s.wood), *legs(w, d, z, s.wood, 0.07)]]
    for k in range(seats):
        x = (k + 0.5) * w / seats - w / 2
        parts += [part.moved(x, 0.05) for part in seat(rng, s)]
        parts += [part.moved(x, d + 0.75, math.pi) for part in seat(rng, s)]
        for y in (0.6, d + 0.2):
            parts.append(rod(0.24, 0.02, (x, y, z + 0.035), s.pale))
    if rng.uniform() < 0.5:
        parts.append(ball(0.25, (0, 0.4 + d / 2, z + 0.12), s.accent))
    return Piece(parts, w, d + 0.8)


def cupboard(rng: np.random.Generator, s: Scheme) -> Piece:
    """A tall box with two doors."""
    w, d, z = rng.uniform(0.8, 1.5), rng.uniform(0.4, 0.6), rng.uniform(1.6, 2.1)
    parts = [box(w, d, z, (0, d / 2, z / 2), s.wood)]
    for x in (-w / 4, w / 4):
        parts.append(box(w / 2 - 0.04, 0.03, z - 0.12, (x, d, z / 2), s.wood.shade(1.15)))
        parts.append(box(0.03, 0.03, 0.14, (math.copysign(0.06, x), d + 0.025, z * 0.52), s.dark))
    return Piece(parts, w, d + 0.04)


def drawers(rng: np.random.Generator, s: Scheme) -> Piece:
    """A low chest of drawers."""
    w, d, z = rng.uniform(0.45, 1.1), rng.uniform(0.35, 0.5), rng.uniform(0.5, 0.9)
    parts = [box(w, d, z, (0, d / 2, z / 2), s.wood)]
    for k in range(3):
        parts.append(box(w - 0.08, 0.03, z / 3 - 0.05, (0, d, z * (k + 0.5) / 3), s.wood.shade(1.2)))
        parts.append(box(0.12, 0.03, 0.03, (0, d + 0.02, z * (k + 0.5) / 3), s.dark))
    return Piece(parts, w, d + 0.04)


def shelf(rng: np.random.Generator, s: Scheme) -> Piece:
    """Boards with rows of books."""
    w, d, z, boards = rng.uniform(0.8, 1.3), 0.32, rng.uniform(1.5, 2.1), 4
    parts = [box(0.04, d, z, (x, d / 2, z / 2), s.wood) for x in (-w / 2 + 0.02, w / 2 - 0.02)]
    parts.append(box(w - 0.04, 0.02, z - 0.02, (0, 0.011, z / 2), s.wood.shade(0.6)))
    for k in range(boards):
        low = k * z / boards
        parts.append(box(w - 0.06, d - 0.02, 0.04, (0, d / 2, low + 0.05), s.wood))
        parts += row_of(rng, -w / 2 + 0.05, w / 2 - 0.05, 0.17, low + 0.07, z / boards - 0.06, (0.05, 0.16), 0.22, 0.15)
    return Piece(parts, w, d)


def screen(rng: np.random.Generator, s: Scheme) -> Piece:
    """A television on a low board."""
    w, tv = rng.uniform(1.2, 1.8), rng.uniform(0.9, 1.2)
    parts = [
        box(w, 0.4, 0.45, (0, 0.2, 0.225), s.wood),
        box(tv, 0.05, tv * 0.56, (0, 0.2, 0.55 + tv * 0.28), BLACK),
        box(tv - 0.06, 0.02, tv * 0.56 - 0.06, (0, 0.23, 0.55 + tv * 0.28), Finish((0.16, 0.2, 0.28))),
        box(0.3, 0.2, 0.08, (0, 0.2, 0.48), s.dark),
    ]
    return Piece(parts, w, 0.4)


def lamp(rng: np.random.Generator, s: Scheme) -> Piece:
    """A floor lamp."""
    z = rng.uniform(1.3, 1.7)
    shade = Part("rod", (0.38, 0.38, 0.3), (0, 0.2, z), s.pale, taper=(0.6, 0.6))
    return Piece([rod(0.3, 0.04, (0, 0.2, 0.02), s.dark), rod(0.04, z, (0, 0.2, z / 2), s.dark), shade], 0.4, 0.4)


def plant(rng: np.random.Generator, s: Scheme) -> Piece:
    """A pot with leaves."""
    z = rng.uniform(0.5, 1.1)
    green = Finish((rng.uniform(0.1, 0.3), rng.uniform(0.4, 0.65), rng.uniform(0.1, 0.3)))
    parts = [Part("rod", (0.26, 0.26, 0.32), (0, 0.23, 0.16), s.accent, taper=(1.3, 1.3))]
    parts.append(rod(0.05, z, (0, 0.23, z / 2), s.wood))
    for k in range(5):
        x, y = rng.uniform(-0.08, 0.08, 2)
        parts.append(ball(rng.uniform(0.16, 0.28), (x, y + 0.23, z + 0.09 * k - 0.1), green.shade(rng.uniform(0.7, 1.2))))
    return Piece(parts, 0.46, 0.46)


def bin_(rng: np.random.Generator, s: Scheme) -> Piece:
    """A waste bin."""
    return Piece([Part("rod", (0.26, 0.26, 0.45), (0, 0.17, 0.225), s.accent, taper=(1.2, 1.2))], 0.34, 0.34)


def bench(rng: np.random.Generator, s: Scheme) -> Piece:
    """A long plain bench."""
    w = rng.uniform(1.2, 1.8)
    parts = [box(w, 0.1, 0.04, (0, y, 0.44), s.wood) for y in (0.08, 0.2, 0.32)]
    parts += [box(0.05, 0.34, 0.42, (x, 0.2, 0.21), s.dark) for x in (-w / 2 + 0.15, w / 2 - 0.15)]
    return Piece(parts, w, 0.4)


def coat_stand(rng: np.random.Generator, s: Scheme) -> Piece:
    """A pole with coats."""
    z = rng.uniform(1.6, 1.8)
    parts = [rod(0.36, 0.04, (0, 0.22, 0.02), s.wood), rod(0.05, z, (0, 0.22, z / 2), s.wood)]
    for k in range(int(rng.integers(1, 4))):
        angle = 2.1 * k
        at = (0.1 * math.cos(angle), 0.22 + 0.1 * math.sin(angle), z - 0.5)
        parts.append(Part("box", (0.16, 0.1, 0.8), at, (s.fabric, s.accent, s.dark)[k], yaw=angle, taper=(0.6, 0.6)))
    return Piece(parts, 0.44, 0.44)


def trolley(rng: np.random.Generator, s: Scheme) -> Piece:
    """Two trays on wheels."""
    w = rng.uniform(0.5, 0.7)
    parts = [box(w, 0.4, 0.04, (0, 0.22, z), METAL) for z in (0.25, 0.75)]
    parts += [box(0.03, 0.03, 0.8, (x, y, 0.45), METAL) for x in (-w / 2 + 0.03, w / 2 - 0.03) for y in (0.05, 0.39)]
    parts += [rod(0.1, 0.03, (x, y, 0.05), BLACK, axis=0) for x in (-w / 2 + 0.05, w / 2 - 0.05) for y in (0.06, 0.38)]
    parts.append(box(0.25, 0.2, 0.2, (0, 0.22, 0.87), s.accent))
    return Piece(parts, w, 0.44)
