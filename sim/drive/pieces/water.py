"""Pieces of kitchens, bathrooms and laundries."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.drive.modelling import Finish, Part, ball, box, rod
from embodied_ssl.sim.drive.pieces.piece import Piece
from embodied_ssl.sim.drive.scheme import BLACK, METAL, MIRROR, WHITE, Scheme

_WATER = Finish((0.55, 0.7, 0.78))


def counter(rng: np.random.Generator, s: Scheme) -> Piece:
    """Kitchen units with a sink and tap, and cupboards above."""
    w = rng.uniform(1.4, 2.2)
    front = s.wood.shade(1.2)
    parts = [
        box(w, 0.58, 0.86, (0, 0.3, 0.43), s.wood),
        box(w, 0.62, 0.05, (0, 0.31, 0.89), s.dark.shade(1.5)),
        box(0.5, 0.36, 0.03, (-w / 4, 0.32, 0.91), METAL),
        rod(0.04, 0.3, (-w / 4, 0.1, 1.05), METAL),
        rod(0.03, 0.18, (-w / 4, 0.19, 1.19), METAL, axis=1),
        box(w, 0.34, 0.6, (0, 0.17, 1.75), s.wood),
        box(w, 0.02, 0.5, (0, 0.01, 1.18), s.pale),
    ]
    n = max(2, round(w / 0.5))
    for k in range(n):
        x = (k + 0.5) * w / n - w / 2
        parts += [box(w / n - 0.05, 0.02, 0.68, (x, 0.6, 0.44), front), box(w / n - 0.05, 0.02, 0.54, (x, 0.35, 1.75), front)]
        parts.append(box(0.14, 0.02, 0.025, (x, 0.615, 0.72), METAL))
    if rng.uniform() < 0.7:
        parts.append(rod(0.16, 0.22, (w / 4, 0.25, 1.03), s.accent))
    return Piece(parts, w, 0.64)


def stove(rng: np.random.Generator, s: Scheme) -> Piece:
    """A box with an oven window, four plates, knobs and a hood."""
    parts = [
        box(0.6, 0.6, 0.88, (0, 0.3, 0.44), s.pale),
        box(0.44, 0.02, 0.35, (0, 0.61, 0.42), BLACK),
        box(0.5, 0.03, 0.03, (0, 0.62, 0.66), METAL),
        Part("box", (0.6, 0.5, 0.3), (0, 0.25, 1.75), METAL, taper=(0.5, 0.6)),
        box(0.28, 0.28, 0.6, (0, 0.15, 2.15), METAL),
    ]
    parts += [rod(0.04, 0.03, (0.11 * k - 0.22, 0.61, 0.77), BLACK, axis=1) for k in range(5)]
    parts += [rod(0.2, 0.03, (sx * 0.15, 0.3 + sy * 0.15, 0.9), BLACK) for sx in (-1, 1) for sy in (-1, 1)]
    if rng.uniform() < 0.6:
        parts += [rod(0.24, 0.18, (0.15, 0.45, 1.0), s.accent), rod(0.03, 0.2, (0.15, 0.55, 1.05), BLACK, axis=1)]
    return Piece(parts, 0.62, 0.66)


def fridge(rng: np.random.Generator, s: Scheme) -> Piece:
    """A tall box with two doors and handles."""
    z = rng.uniform(1.5, 1.9)
    body = s.pale if rng.uniform() < 0.6 else METAL
    parts = [box(0.65, 0.63, z, (0, 0.32, z / 2), body), box(0.64, 0.02, 0.03, (0, 0.64, z * 0.65), s.dark)]
    parts += [box(0.04, 0.04, 0.3, (-0.25, 0.66, z * share), s.dark) for share in (0.5, 0.8)]
    return Piece(parts, 0.68, 0.68)


def bathtub(rng: np.random.Generator, s: Scheme) -> Piece:
    """A long tub with water, and a tap."""
    w, d, z = rng.uniform(1.5, 1.8), rng.uniform(0.7, 0.85), rng.uniform(0.5, 0.62)
    rim = s.pale.shade(1.04)
    parts = [
        box(w, d, z - 0.1, (0, d / 2, (z - 0.1) / 2), s.pale),
        box(w - 0.16, d - 0.16, 0.02, (0, d / 2, z - 0.1), _WATER),
        *(box(w, 0.09, 0.12, (0, y, z - 0.05), rim) for y in (0.045, d - 0.045)),
        *(box(0.09, d, 0.12, (x, d / 2, z - 0.05), rim) for x in (-w / 2 + 0.045, w / 2 - 0.045)),
        rod(0.05, 0.25, (w / 2 - 0.25, 0.06, z + 0.12), METAL),
        rod(0.04, 0.2, (w / 2 - 0.25, 0.14, z + 0.2), METAL, axis=1),
    ]
    if rng.uniform() < 0.5:
        parts += [rod(0.03, 1.3, (w / 2 - 0.1, 0.05, z + 0.65), METAL), rod(0.2, 0.03, (w / 2 - 0.15, 0.18, 1.95), METAL)]
    return Piece(parts, w, d)


def toilet(rng: np.random.Generator, s: Scheme) -> Piece:
    """Cistern, bowl and lid."""
    lid = s.accent if rng.uniform() < 0.3 else s.pale.shade(0.92)
    parts = [
        box(0.4, 0.2, 0.4, (0, 0.1, 0.65), s.pale),
        rod(0.05, 0.03, (0, 0.1, 0.86), METAL),
        Part("rod", (0.26, 0.4, 0.4), (0, 0.4, 0.2), s.pale, taper=(1.4, 1.1)),
        Part("rod", (0.38, 0.46, 0.05), (0, 0.42, 0.42), lid),
    ]
    return Piece(parts, 0.45, 0.66)


def washbasin(rng: np.random.Generator, s: Scheme) -> Piece:
    """A basin on a foot with a tap, and a mirror above."""
    w = rng.uniform(0.5, 0.75)
    parts = [
        rod(0.18, 0.8, (0, 0.25, 0.4), s.pale),
        Part("box", (w * 0.7, 0.34, 0.18), (0, 0.23, 0.82), s.pale, taper=(1 / 0.7, 0.44 / 0.34)),
        rod(0.32, 0.02, (0, 0.25, 0.905), _WATER.shade(0.85)),
        rod(0.03, 0.16, (0, 0.06, 0.98), METAL),
        rod(0.03, 0.12, (0, 0.11, 1.05), METAL, axis=1),
        box(w, 0.02, 0.75, (0, 0.015, 1.55), s.dark),
        box(w - 0.06, 0.02, 0.69, (0, 0.02, 1.55), MIRROR),
    ]
    return Piece(parts, w, 0.48)


def washer(rng: np.random.Generator, s: Scheme) -> Piece:
    """A washing machine: a white box with a round door."""
    return Piece([part.moved(0, 0) for part in _washer(rng)], 0.62, 0.66)


def washers(rng: np.random.Generator, s: Scheme) -> Piece:
    """A row of washing machines, dryers on top of them now and then."""
    n = int(rng.integers(2, 4))
    parts = []
    stacked = rng.uniform() < 0.4
    for k in range(n):
        x = 0.63 * (k - (n - 1) / 2)
        parts += [part.moved(x, 0) for part in _washer(rng)]
        if stacked:
            parts += [part.moved(x, 0, z=0.87) for part in _washer(rng)]
    if not stacked:
        parts.append(box(0.2, 0.14, 0.26, (rng.uniform(-0.4, 0.4), 0.3, 0.99), s.accent))
    return Piece(parts, 0.63 * n, 0.66)


def _washer(rng: np.random.Generator) -> list[Part]:
    return [
        box(0.6, 0.6, 0.86, (0, 0.3, 0.43), WHITE),
        rod(0.38, 0.03, (0, 0.61, 0.42), METAL, axis=1),
        rod(0.29, 0.03, (0, 0.625, 0.42), Finish((0.2, 0.25, 0.33)), axis=1),
        box(0.56, 0.02, 0.1, (0, 0.605, 0.79), WHITE.shade(0.85)),
        rod(0.06, 0.04, (0.15, 0.615, 0.79), METAL, axis=1),
        box(0.14, 0.02, 0.05, (-0.17, 0.61, 0.79), BLACK if rng.uniform() < 0.5 else METAL),
    ]


def sink_unit(rng: np.random.Generator, s: Scheme) -> Piece:
    """A deep sink of metal on a cupboard."""
    w = rng.uniform(0.8, 1.2)
    parts = [
        box(w, 0.55, 0.82, (0, 0.28, 0.41), s.wood),
        box(w, 0.58, 0.1, (0, 0.29, 0.87), METAL),
        box(w * 0.6, 0.4, 0.02, (0, 0.3, 0.925), METAL.shade(0.55)),
        rod(0.04, 0.35, (0, 0.06, 1.09), METAL),
        rod(0.03, 0.2, (0, 0.16, 1.25), METAL, axis=1),
    ]
    return Piece(parts, w, 0.6)


def drying_rack(rng: np.random.Generator, s: Scheme) -> Piece:
    """A frame with washing hung over its bars."""
    w, d, z = rng.uniform(1.1, 1.5), 0.6, rng.uniform(0.9, 1.1)
    parts = [rod(0.025, w, (0, 0.06 + k * (d - 0.12) / 5, z), METAL, axis=0) for k in range(6)]
    for x in (-w / 2 + 0.03, w / 2 - 0.03):
        for tip in (0.45, -0.45):
            parts.append(Part("rod", (0.03, 0.03, z * 0.98), (x, d / 2, z / 2), METAL, tip=tip * 0.5 / z))
    for k in range(5):
        if rng.uniform() < 0.8:
            width, drop = rng.uniform(0.25, 0.5), rng.uniform(0.3, 0.6)
            x = rng.uniform(-1, 1) * (w - width - 0.1) / 2
            finish = (s.pale, s.accent, s.fabric, s.fabric.shade(1.3), s.pale)[int(rng.integers(5))]
            parts.append(box(width, 0.035, drop, (x, 0.06 + k * (d - 0.12) / 5, z - drop / 2 + 0.02), finish))
    return Piece(parts, w, d)


def ironing_board(rng: np.random.Generator, s: Scheme) -> Piece:
    """A board on crossed legs with an iron."""
    w, z = rng.uniform(1.2, 1.4), rng.uniform(0.82, 0.92)
    parts = [box(w, 0.36, 0.05, (0, 0.2, z), s.fabric)]
    for lean in (0.45, -0.45):
        parts.append(Part("box", (0.04, 0.04, z * 1.05), (0, 0.2, z / 2), METAL, yaw=math.pi / 2, tip=lean))
    parts.append(Part("box", (0.24, 0.12, 0.1), (w / 4, 0.2, z + 0.08), s.accent, taper=(0.6, 0.4)))
    return Piece(parts, w, 0.4)


def basket(rng: np.random.Generator, s: Scheme) -> Piece:
    """A basket full of washing."""
    parts = [Part("box", (0.42, 0.32, 0.4), (0, 0.22, 0.2), s.wood.shade(1.2), taper=(1.15, 1.15))]
    for _ in range(4):
        x, y = rng.uniform(-0.1, 0.1, 2)
        parts.append(ball(rng.uniform(0.14, 0.22), (x, 0.22 + y, 0.4), (s.pale, s.accent, s.fabric)[int(rng.integers(3))]))
    return Piece(parts, 0.5, 0.44)
