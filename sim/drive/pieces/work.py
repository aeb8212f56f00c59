"""Pieces for working, learning, selling and training."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, Part, ball, box, rod
from embodied_ssl.sim.drive.pieces.piece import Piece, legs, row_of, seat
from embodied_ssl.sim.drive.scheme import BLACK, GLASS, METAL, WHITE, Scheme


def office_desk(rng: np.random.Generator, s: Scheme) -> Piece:
    """A table with a screen and a keyboard, and a chair on one foot before it."""
    w, d, z = rng.uniform(1.2, 1.7), rng.uniform(0.65, 0.8), 0.74
    parts = [box(w, d, 0.04, (0, d / 2, z), s.wood), *legs(w, d, z, s.dark)]
    for x in (-0.32, 0.32) if rng.uniform() < 0.4 else (0.0,):
        parts += [box(0.56, 0.04, 0.36, (x, 0.2, z + 0.3), BLACK), box(0.08, 0.08, 0.15, (x, 0.2, z + 0.08), s.dark)]
        parts.append(box(0.52, 0.02, 0.32, (x, 0.22, z + 0.3), Finish((0.35, 0.5, 0.7)).shade(rng.uniform(0.5, 1.3))))
    parts += [box(0.42, 0.15, 0.03, (0, 0.5, z + 0.035), s.dark), box(0.35, 0.5, 0.55, (w / 2 - 0.2, d / 2, 0.3), s.wood)]
    parts += [part.moved(0, d + 0.5, math.pi) for part in _office_chair(s)]
    if rng.uniform() < 0.5:
        parts.append(box(0.22, 0.3, 0.06, (-w / 2 + 0.2, 0.4, z + 0.05), WHITE))
    return Piece(parts, w, d + 0.52)


def _office_chair(s: Scheme) -> list[Part]:
    y = 0.26
    return [
        box(0.44, 0.05, 0.05, (0, y, 0.06), s.dark),
        box(0.05, 0.44, 0.05, (0, y, 0.06), s.dark),
        rod(0.06, 0.4, (0, y, 0.25), s.dark),
        box(0.46, 0.44, 0.08, (0, y, 0.48), s.fabric),
        box(0.44, 0.06, 0.5, (0, 0.05, 0.82), s.fabric),
    ]


def school_desk(rng: np.random.Generator, s: Scheme) -> Piece:
    """A desk for two with two chairs behind it; pupils look towards its back, where the board is."""
    w, d, z = 1.2, 0.5, 0.7
    parts = [box(w, d, 0.04, (0, d / 2, z), s.wood.shade(1.1)), *legs(w, d, z, METAL, 0.04)]
    for x in (-0.3, 0.3):
        parts += [part.moved(x, d + 0.42, math.pi) for part in seat(rng, s)]
        if rng.uniform() < 0.5:
            parts.append(box(0.21, 0.28, 0.03, (x, 0.25, z + 0.035), (s.accent, WHITE, s.fabric)[int(rng.integers(3))]))
    return Piece(parts, w, d + 0.44)


def lectern(rng: np.random.Generator, s: Scheme) -> Piece:
    """A large closed desk, with a globe, books or nothing on it; its front is y = 0."""
    w, d, z = rng.uniform(1.3, 1.6), 0.65, 0.75
    parts = [
        box(w, d, 0.05, (0, d / 2, z), s.wood),
        box(w - 0.1, 0.03, z - 0.1, (0, d - 0.06, z / 2), s.wood.shade(0.85)),
        *(box(0.04, d - 0.1, z, (x, d / 2, z / 2), s.wood.shade(0.85)) for x in (-w / 2 + 0.06, w / 2 - 0.06)),
    ]
    if rng.uniform() < 0.5:
        parts += [rod(0.16, 0.03, (0.4, 0.3, z + 0.04), s.dark), ball(0.26, (0.4, 0.3, z + 0.18), Finish((0.25, 0.5, 0.8)))]
    parts += row_of(rng, -0.5, 0.1, 0.3, z + 0.025, 0.25, (0.03, 0.08), 0.2, 0.3)
    return Piece(parts, w, d)


def book_stack(rng: np.random.Generator, s: Scheme) -> Piece:
    """A free-standing shelf that bears books on both sides."""
    w, d, z, boards = rng.uniform(1.6, 2.2), 0.56, rng.uniform(1.5, 1.9), 4
    parts = [box(0.05, d, z, (x, d / 2, z / 2), s.wood) for x in (-w / 2 + 0.025, w / 2 - 0.025)]
    parts.append(box(w - 0.04, 0.04, z - 0.04, (0, d / 2, z / 2), s.wood.shade(0.7)))
    for k in range(boards):
        low = k * z / boards
        parts.append(box(w - 0.06, d - 0.02, 0.03, (0, d / 2, low + 0.06), s.wood))
        for y in (0.13, d - 0.13):
            parts += row_of(rng, -w / 2 + 0.06, w / 2 - 0.04, y, low + 0.08, z / boards - 0.06, (0.04, 0.13), 0.2, 0.1)
    parts.append(box(w + 0.02, d, 0.04, (0, d / 2, z + 0.02), s.wood))
    return Piece(parts, w + 0.02, d)


def gondola(rng: np.random.Generator, s: Scheme) -> Piece:
    """A shop's low free-standing shelf with the same goods in rows on both sides."""
    w, d, boards = rng.uniform(1.5, 2.1), 0.7, 3
    z = rng.uniform(1.1, 1.4)
    parts = [box(w, 0.04, z, (0, d / 2, z / 2), s.pale), box(w, d, 0.12, (0, d / 2, 0.06), s.dark)]
    for k in range(boards):
        low = 0.12 + k * (z - 0.1) / boards
        parts.append(box(w, d, 0.03, (0, d / 2, low + 0.015), s.pale))
        for y in (0.17, d - 0.17):
            parts += goods(rng, w - 0.06, y, low + 0.03, (z - 0.1) / boards - 0.06)
    return Piece(parts, w, d)


def goods(rng: np.random.Generator, w: float, y: float, z: float, tall: float) -> list[Part]:
    """A shelf's width of groups of the same goods: boxes, tins or bottles."""
    parts, at = [], -w / 2
    while at < w / 2 - 0.2:
        many, finish, kind = int(rng.integers(2, 5)), Finish(colour(rng)), rng.uniform()
        across, high = rng.uniform(0.09, 0.16), tall * rng.uniform(0.55, 0.95)
        for _ in range(many):
            if at + across > w / 2:
                break
            middle = (at + across / 2, y, z + high / 2)
            if kind < 0.6:
                parts.append(box(across * 0.92, 0.24, high, middle, finish))
            else:
                parts.append(rod(across * 0.92, high, middle, finish))
            at += across
        at += rng.uniform(0.0, 0.08)
    return parts


def till(rng: np.random.Generator, s: Scheme) -> Piece:
    """A sales counter with a cash register."""
    w, d, z = rng.uniform(1.2, 1.7), 0.6, rng.uniform(0.9, 1.0)
    parts = [
        box(w, d - 0.05, z - 0.05, (0, d / 2 - 0.02, z / 2), s.accent),
        box(w, d, 0.05, (0, d / 2, z), s.wood),
        Part("box", (0.36, 0.36, 0.18), (w / 4, 0.3, z + 0.11), s.dark, taper=(0.9, 0.6)),
        box(0.24, 0.03, 0.16, (w / 4, 0.2, z + 0.28), BLACK),
        box(0.2, 0.02, 0.12, (w / 4, 0.22, z + 0.28), Finish((0.4, 0.75, 0.5))),
    ]
    parts += goods(rng, 0.5, 0.4, z + 0.03, 0.22)
    return Piece([part if part.centre[2] < z + 0.01 or part.centre[0] > 0 else part.moved(-w / 5, 0) for part in parts], w, d)


def goods_shelf(rng: np.random.Generator, s: Scheme) -> Piece:
    """A tall shelf of goods at the wall."""
    w, d, z, boards = rng.uniform(1.2, 1.8), 0.42, rng.uniform(1.7, 2.1), 5
    parts = [box(w, 0.03, z, (0, 0.015, z / 2), s.pale), box(w, d, 0.1, (0, d / 2, 0.05), s.dark)]
    for k in range(boards):
        low = 0.1 + k * (z - 0.1) / boards
        parts.append(box(w, d, 0.03, (0, d / 2, low + 0.015), s.pale))
        parts += goods(rng, w - 0.06, 0.24, low + 0.03, (z - 0.1) / boards - 0.05)
    return Piece(parts, w, d)


def chiller(rng: np.random.Generator, s: Scheme) -> Piece:
    """A refrigerated cabinet with glass doors and bottles."""
    w, z = rng.uniform(0.9, 1.4), rng.uniform(1.8, 2.0)
    parts = [
        box(w, 0.08, z, (0, 0.04, z / 2), WHITE),
        box(w, 0.6, 0.2, (0, 0.3, 0.1), s.dark),
        box(w, 0.62, 0.22, (0, 0.31, z), s.accent),
        *(box(0.05, 0.6, z, (x, 0.3, z / 2), WHITE) for x in (-w / 2 + 0.025, 0, w / 2 - 0.025)),
    ]
    for k in range(4):
        low = 0.22 + k * (z - 0.35) / 4
        parts += [box(w, 0.45, 0.02, (0, 0.3, low), METAL), *goods(rng, w - 0.12, 0.42, low + 0.01, 0.3)]
    parts += [box(0.03, 0.03, 0.5, (x, 0.615, 1.0), METAL) for x in (-0.06, 0.06)]
    return Piece(parts, w, 0.64)


def clothes_rail(rng: np.random.Generator, s: Scheme) -> Piece:
    """A rail with clothes on hangers."""
    w, z = rng.uniform(1.1, 1.5), rng.uniform(1.4, 1.6)
    parts = [rod(0.03, w, (0, 0.28, z), METAL, axis=0)]
    for x in (-w / 2 + 0.03, w / 2 - 0.03):
        parts += [rod(0.03, z, (x, 0.28, z / 2), METAL), box(0.04, 0.5, 0.04, (x, 0.28, 0.03), METAL)]
    at = -w / 2 + 0.12
    while at < w / 2 - 0.12:
        drop = rng.uniform(0.6, 1.0)
        shape = ((0.06, 0.42, drop), (at, 0.28, z - drop / 2 - 0.04))
        parts.append(Part("box", *shape, Finish(colour(rng)), taper=(1.0, 0.6)))
        at += rng.uniform(0.08, 0.13)
    return Piece(parts, w, 0.56)


def workbench(rng: np.random.Generator, s: Scheme) -> Piece:
    """A heavy bench with a vice, tools on it, and a wall of tools above."""
    w, d, z = rng.uniform(1.5, 2.1), 0.65, 0.88
    parts = [box(w, d, 0.09, (0, d / 2, z), s.wood), *legs(w, d, z, s.wood.shade(0.7), 0.1)]
    parts.append(box(w - 0.1, d - 0.1, 0.04, (0, d / 2, 0.25), s.wood.shade(0.8)))
    vice = Finish((0.2, 0.35, 0.55))
    parts += [box(0.14, 0.22, 0.16, (w / 3, d - 0.14, z + 0.12), vice), rod(0.03, 0.2, (w / 3, d - 0.03, z + 0.1), METAL, axis=0)]
    parts += [box(w, 0.02, 0.8, (0, 0.01, 1.55), s.wood.shade(1.3))]
    for k in range(round(w / 0.17)):
        x = -w / 2 + 0.1 + 0.17 * k
        long, top = rng.uniform(0.2, 0.45), 1.88
        kind = rng.uniform()
        parts.append(box(0.035, 0.03, long, (x, 0.035, top - long / 2), s.wood.shade(0.7) if kind < 0.5 else s.accent))
        if kind < 0.7:
            parts.append(box(0.13, 0.03, 0.06, (x, 0.04, top - long), METAL.shade(0.8)))
        if rng.uniform() < 0.5:
            parts.append(rod(rng.uniform(0.08, 0.14), 0.03, (x, 0.035, 1.28), METAL.shade(rng.uniform(0.5, 1.0)), axis=1))
    for _ in range(3):
        size = rng.uniform(0.1, 0.3, 3)
        at = (rng.uniform(-0.4, 0.2) * w, rng.uniform(0.2, 0.4), z + 0.045 + size[2] / 2)
        parts.append(box(float(size[0]), float(size[1]), float(size[2]), at, (s.accent, s.fabric, METAL)[int(rng.integers(3))]))
    return Piece(parts, w, d)


def store_rack(rng: np.random.Generator, s: Scheme) -> Piece:
    """A metal rack with cartons, crates and cans."""
    w, d, z = rng.uniform(1.2, 1.7), 0.5, rng.uniform(1.7, 2.1)
    parts = [box(0.05, 0.05, z, (x, y, z / 2), METAL.shade(0.7)) for x in (-w / 2 + 0.03, w / 2 - 0.03) for y in (0.03, d - 0.03)]
    carton = Finish((0.72, 0.55, 0.36))
    for k in range(3):
        low = 0.12 + k * z / 3
        parts.append(box(w, d, 0.04, (0, d / 2, low), METAL.shade(0.8)))
        at = -w / 2 + 0.08
        while at < w / 2 - 0.35:
            across, high = rng.uniform(0.2, 0.4), (z / 3 - 0.1) * rng.uniform(0.4, 0.9)
            middle = (at + across / 2, d / 2, low + 0.02 + high / 2)
            if rng.uniform() < 0.25:
                parts.append(rod(min(across, high), high, middle, s.accent))
            else:
                finish = (
                    carton.shade(rng.uniform(0.8, 1.15)) if rng.uniform() < 0.6 else (s.accent, s.fabric)[int(rng.integers(2))]
                )
                parts.append(box(across, d * 0.8, high, middle, finish))
            at += across + rng.uniform(0.02, 0.15)
    return Piece(parts, w, d)


def tyres(rng: np.random.Generator, s: Scheme) -> Piece:
    """A stack of tyres."""
    parts = []
    for k in range(int(rng.integers(2, 5))):
        parts += [rod(0.6, 0.17, (0, 0.33, 0.1 + 0.2 * k), BLACK), rod(0.34, 0.18, (0, 0.33, 0.1 + 0.2 * k), METAL.shade(0.7))]
    return Piece(parts, 0.64, 0.66)


def ladder(rng: np.random.Generator, s: Scheme) -> Piece:
    """A ladder that leans on the wall."""
    long, lean = rng.uniform(1.7, 2.1), 0.2
    parts, finish = [], (METAL, s.wood)[int(rng.integers(2))]
    middle = (0.03 + long / 2 * math.sin(lean), long / 2 * math.cos(lean))
    for x in (-0.2, 0.2):
        parts.append(Part("box", (0.05, 0.03, long), (x, *middle), finish, tip=lean))
    for k in range(6):
        share = (k + 0.7) / 6 - 0.5
        y, z = middle[0] - share * long * math.sin(lean), middle[1] + share * long * math.cos(lean)
        parts.append(rod(0.04, 0.4, (0, y, z), finish, axis=0))
    return Piece(parts, 0.46, 0.5)


def drill_press(rng: np.random.Generator, s: Scheme) -> Piece:
    """A drill on a column."""
    body = (s.accent, Finish((0.2, 0.45, 0.35)))[int(rng.integers(2))]
    parts = [
        box(0.42, 0.45, 0.08, (0, 0.25, 0.04), s.dark),
        rod(0.12, 1.6, (0, 0.14, 0.8), METAL),
        box(0.34, 0.34, 0.05, (0, 0.32, 0.9), METAL.shade(0.7)),
        box(0.28, 0.44, 0.3, (0, 0.27, 1.55), body),
        rod(0.07, 0.3, (0, 0.38, 1.28), METAL),
        rod(0.03, 0.36, (0.16, 0.38, 1.45), METAL, axis=0),
    ]
    return Piece(parts, 0.7, 0.5)


def treadmill(rng: np.random.Generator, s: Scheme) -> Piece:
    """A belt with a console on two posts; one stands on it looking at the wall."""
    parts = [
        box(0.75, 1.6, 0.16, (0, 0.85, 0.08), s.dark),
        box(0.5, 1.45, 0.02, (0, 0.85, 0.17), BLACK),
        Part("box", (0.6, 0.1, 0.34), (0, 0.22, 1.28), s.dark, tip=-0.5),
        Part("box", (0.4, 0.03, 0.2), (0, 0.275, 1.32), Finish((0.3, 0.6, 0.75)), tip=-0.5),
    ]
    for x in (-0.34, 0.34):
        parts += [Part("box", (0.07, 0.09, 1.2), (x, 0.22, 0.65), METAL), box(0.05, 0.6, 0.05, (x, 0.5, 1.02), s.dark)]
    parts += [box(0.05, 1.3, 0.03, (x, 0.9, 0.18), s.accent) for x in (-0.3, 0.3)]
    return Piece(parts, 0.8, 1.7)


def exercise_bike(rng: np.random.Generator, s: Scheme) -> Piece:
    """A bicycle that goes nowhere."""
    parts = [
        rod(0.55, 0.08, (0, 0.42, 0.35), BLACK, axis=0),
        rod(0.3, 0.1, (0, 0.42, 0.35), s.accent, axis=0),
        Part("box", (0.06, 0.75, 0.08), (0, 0.65, 0.42), s.accent, tip=-0.15),
        rod(0.05, 0.85, (0, 0.92, 0.5), METAL),
        Part("box", (0.22, 0.3, 0.08), (0, 0.92, 0.95), BLACK, taper=(0.7, 0.9)),
        Part("rod", (0.05, 0.05, 0.9), (0, 0.35, 0.75), METAL, tip=0.12),
        box(0.48, 0.05, 0.05, (0, 0.3, 1.18), BLACK),
        box(0.22, 0.04, 0.14, (0, 0.22, 1.26), s.dark),
        *(box(0.5, 0.08, 0.06, (0, y, 0.04), s.dark) for y in (0.15, 1.05)),
    ]
    return Piece(parts, 0.55, 1.15)


def weight_bench(rng: np.random.Generator, s: Scheme) -> Piece:
    """A padded bench under a barbell."""
    z, discs = 0.95, float(rng.uniform(0.34, 0.45))
    parts = [
        box(0.3, 1.1, 0.09, (0, 0.75, 0.44), s.fabric if rng.uniform() < 0.5 else BLACK),
        *(box(0.4, 0.06, 0.4, (0, y, 0.2), s.dark) for y in (0.35, 1.15)),
        *(box(0.06, 0.06, z, (x, 0.28, z / 2), s.dark) for x in (-0.42, 0.42)),
        rod(0.03, 1.7, (0, 0.28, z + 0.04), METAL, axis=0),
    ]
    for x in (-0.72, -0.65, 0.65, 0.72):
        parts.append(rod(discs, 0.05, (x, 0.28, z + 0.04), BLACK if abs(x) > 0.7 else s.accent, axis=0))
    return Piece(parts, 1.72, 1.3)


def dumbbells(rng: np.random.Generator, s: Scheme) -> Piece:
    """A rack of dumb-bells on two sloping boards."""
    w = rng.uniform(1.2, 1.8)
    parts = [box(0.06, 0.5, 0.85, (x, 0.27, 0.42), s.dark) for x in (-w / 2 + 0.03, w / 2 - 0.03)]
    for low, y in ((0.35, 0.36), (0.75, 0.2)):
        parts.append(Part("box", (w - 0.06, 0.3, 0.03), (0, y, low), s.dark, tip=-0.25))
        for k in range(int((w - 0.1) / 0.24)):
            x = -w / 2 + 0.17 + 0.24 * k
            big = 0.1 + 0.06 * k * 0.24 / w
            parts.append(rod(0.035, 0.22, (x, y, low + 0.08), METAL, axis=1))
            parts += [rod(big, 0.07, (x, y + dy, low + 0.09), BLACK, axis=1) for dy in (-0.09, 0.09)]
    return Piece(parts, w, 0.54)


def mats(rng: np.random.Generator, s: Scheme) -> Piece:
    """A stack of gymnastics mats, with a ball on it."""
    w, d = rng.uniform(1.4, 1.9), rng.uniform(0.9, 1.1)
    count = int(rng.integers(1, 5))
    parts = []
    for k in range(count):
        finish = (Finish((0.2, 0.35, 0.65)), s.accent)[k % 2]
        parts.append(box(w - 0.06 * (k % 2), d - 0.04, 0.08, (0.02 * (k % 2), d / 2, 0.045 + 0.09 * k), finish))
    across = rng.uniform(0.45, 0.65)
    parts.append(ball(across, (rng.uniform(-0.3, 0.3), d / 2, 0.09 * count + across / 2), s.fabric))
    return Piece(parts, w, d)


def wall_bars(rng: np.random.Generator, s: Scheme) -> Piece:
    """Wooden rungs up the wall."""
    w, z = rng.uniform(0.9, 1.8), 2.2
    parts = [box(0.05, 0.1, z, (x, 0.06, z / 2), s.wood) for x in np.linspace(-w / 2 + 0.03, w / 2 - 0.03, 1 + round(w / 0.8))]
    parts += [rod(0.04, w - 0.04, (0, 0.12, 0.25 + 0.17 * k), s.wood.shade(1.15), axis=0) for k in range(12)]
    return Piece(parts, w, 0.16)


def lockers(rng: np.random.Generator, s: Scheme) -> Piece:
    """A row of tall narrow metal doors."""
    n, z = int(rng.integers(3, 6)), 1.8
    w, finish = 0.32 * n, Finish(s.accent.colour) if rng.uniform() < 0.5 else METAL.shade(0.9)
    parts = [box(w, 0.45, z, (0, 0.23, z / 2), finish.shade(0.8))]
    for k in range(n):
        x = 0.32 * (k + 0.5) - w / 2
        parts.append(box(0.3, 0.02, z - 0.12, (x, 0.46, z / 2 + 0.02), finish))
        parts += [box(0.16, 0.01, 0.02, (x, 0.475, z - 0.2 - 0.05 * j), BLACK) for j in range(3)]
        parts.append(box(0.03, 0.02, 0.08, (x + 0.1, 0.475, 1.0), s.dark))
    return Piece(parts, w, 0.5)


def punch_bag(rng: np.random.Generator, s: Scheme) -> Piece:
    """A bag that hangs from the ceiling."""
    finish = s.accent if rng.uniform() < 0.5 else BLACK
    return Piece([rod(0.36, 1.1, (0, 0.25, 1.15), finish), rod(0.03, 0.8, (0, 0.25, 2.1), METAL)], 0.46, 0.5)


def copier(rng: np.random.Generator, s: Scheme) -> Piece:
    """A photocopier."""
    parts = [
        box(0.6, 0.6, 0.75, (0, 0.32, 0.4), s.pale),
        box(0.64, 0.62, 0.16, (0, 0.32, 0.88), s.pale.shade(0.85)),
        box(0.6, 0.5, 0.06, (0, 0.3, 1.0), s.dark),
        box(0.24, 0.04, 0.14, (0.18, 0.62, 0.98), GLASS.shade(0.5)),
        *(box(0.5, 0.02, 0.16, (0, 0.63, 0.2 + 0.2 * k), s.pale.shade(0.8)) for k in range(3)),
    ]
    return Piece(parts, 0.68, 0.66)
