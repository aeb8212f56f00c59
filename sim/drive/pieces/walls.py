"""What hangs on walls or is let into them."""

from __future__ import annotations

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, ball, box, rod
from embodied_ssl.sim.drive.pieces.piece import Piece
from embodied_ssl.sim.drive.scheme import BLACK, METAL, MIRROR, WHITE, Scheme

_DAYLIGHT = Finish((0.8, 0.92, 1.0))


def picture(rng: np.random.Generator, s: Scheme) -> Piece:
    """A framed picture of bands of colour."""
    w, z = rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.6)
    parts = [box(w, 0.02, z, (0, 0.01, 1.6), s.wood), box(w - 0.08, 0.02, z - 0.08, (0, 0.02, 1.6), Finish(colour(rng)))]
    band = (z - 0.1) * rng.uniform(0.3, 0.6)
    parts.append(box(w - 0.1, 0.01, band, (0, 0.028, 1.6 - (z - 0.1 - band) / 2), Finish(colour(rng))))
    return Piece(parts, w, 0.04, hung=True, low=1.3)


def window(rng: np.random.Generator, s: Scheme) -> Piece:
    """A bright pane in a frame, with curtains now and then."""
    w, z = rng.uniform(0.8, 1.4), rng.uniform(0.9, 1.2)
    parts = [
        box(w, 0.03, z, (0, 0.015, 1.55), WHITE),
        box(w - 0.1, 0.03, z - 0.1, (0, 0.02, 1.55), _DAYLIGHT),
        box(0.05, 0.03, z, (0, 0.03, 1.55), WHITE),
        box(w + 0.1, 0.12, 0.03, (0, 0.06, 1.55 - z / 2), WHITE),
    ]
    wide, low = w + 0.1, 1.5 - z / 2
    if rng.uniform() < 0.5:
        parts += [box(0.25, 0.06, z + 0.3, (x, 0.07, 1.5), s.fabric) for x in (-w / 2, w / 2)]
        wide, low = w + 0.25, 1.35 - z / 2
    return Piece(parts, wide, 0.12, hung=True, low=low)


def door(rng: np.random.Generator, s: Scheme) -> Piece:
    """A door in its frame."""
    parts = [box(0.95, 0.04, 2.05, (0, 0.02, 1.02), s.wood.shade(0.8)), box(0.85, 0.05, 2.0, (0, 0.03, 1.0), s.wood)]
    parts += [box(0.6, 0.01, 0.7, (0, 0.057, z), s.wood.shade(1.12)) for z in (0.55, 1.45)]
    return Piece([*parts, ball(0.07, (0.35, 0.08, 1.0), METAL)], 0.95, 0.12, hung=True)


def mirror(rng: np.random.Generator, s: Scheme) -> Piece:
    """A tall mirror."""
    w = rng.uniform(0.7, 2.0)
    return Piece(
        [box(w, 0.02, 1.6, (0, 0.01, 1.2), s.dark), box(w - 0.06, 0.02, 1.54, (0, 0.015, 1.2), MIRROR)], w, 0.03, True, 0.4
    )


def clock(rng: np.random.Generator, s: Scheme) -> Piece:
    """A round clock."""
    hands = [box(0.02, 0.02, 0.12, (0, 0.05, 2.06), BLACK), box(0.09, 0.02, 0.02, (0.04, 0.05, 2.0), BLACK)]
    return Piece(
        [rod(0.34, 0.03, (0, 0.02, 2.0), s.dark, axis=1), rod(0.3, 0.03, (0, 0.03, 2.0), WHITE, axis=1), *hands],
        0.36,
        0.06,
        True,
        1.8,
    )


def radiator(rng: np.random.Generator, s: Scheme) -> Piece:
    """A ribbed radiator."""
    n = int(rng.integers(8, 16))
    parts = [box(0.06, 0.08, 0.55, (0.075 * (k - (n - 1) / 2), 0.07, 0.4), WHITE) for k in range(n)]
    return Piece(parts, 0.075 * n, 0.12, hung=True, low=0.1)


def poster(rng: np.random.Generator, s: Scheme) -> Piece:
    """A large sheet, without a frame."""
    w, z = rng.uniform(0.6, 1.0), rng.uniform(0.8, 1.2)
    parts = [box(w, 0.01, z, (0, 0.006, 1.5), Finish(colour(rng, (0.1, 0.6))))]
    for k in range(3):
        block = (rng.uniform(0.3, 0.8) * w, rng.uniform(0.1, 0.25) * z)
        parts.append(box(block[0], 0.01, block[1], (0, 0.012, 1.5 + (k - 1) * z * 0.3), Finish(colour(rng))))
    return Piece(parts, w, 0.03, hung=True, low=1.5 - z / 2)


def board(rng: np.random.Generator, s: Scheme) -> Piece:
    """A blackboard or a whiteboard with writing on it."""
    w = rng.uniform(1.8, 2.6)
    dark = rng.uniform() < 0.5
    ground = Finish((0.1, 0.25, 0.18)) if dark else WHITE
    parts = [
        box(w, 0.03, 1.1, (0, 0.015, 1.45), s.wood if dark else METAL),
        box(w - 0.1, 0.02, 1.0, (0, 0.03, 1.45), ground),
        box(w * 0.6, 0.08, 0.03, (0, 0.05, 0.89), METAL),
    ]
    for k in range(int(rng.integers(2, 6))):
        long, x = rng.uniform(0.3, w * 0.35), rng.uniform(-0.25, 0.25) * w
        ink = WHITE if dark else Finish((0.15, 0.2, 0.6))
        parts.append(box(long, 0.01, 0.03, (x, 0.042, 1.8 - 0.14 * k), ink))
    return Piece(parts, w, 0.1, hung=True, low=0.85)
