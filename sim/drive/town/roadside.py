"""What stands on pavements and in gardens: trees, hedges, lamp posts, lights, signs, shelters, bins, benches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, Part, ball, box, fine, pane, rod
from embodied_ssl.sim.drive.scheme import BLACK, GLASS, METAL, WHITE, about

Make = Callable[[np.random.Generator], list[Part]]
_POST = Finish((0.3, 0.33, 0.33))


def _leaf(rng: np.random.Generator) -> Finish:
    return about(rng, (float(rng.choice([0.26, 0.3, 0.33, 0.2])), 0.6, 0.5))


def tree(rng: np.random.Generator) -> list[Part]:
    """A trunk under a crown of several balls."""
    z, leaf = rng.uniform(2.2, 3.2), _leaf(rng)
    parts = [box(0.28, 0.28, z + 0.6, (0, 0, z / 2 + 0.3), about(rng, (0.07, 0.4, 0.35)))]
    for k in range(int(rng.integers(2, 5))):
        across = rng.uniform(1.8, 2.7)
        x, y = rng.uniform(-0.7, 0.7, 2)
        size = (across, across, across * rng.uniform(0.8, 1.1))
        parts.append(Part("ball", size, (x, y, z + 0.5 + 0.55 * k), leaf.shade(rng.uniform(0.8, 1.2)), fine=k % 2 == 1))
    return parts


def far_tree(rng: np.random.Generator) -> list[Part]:
    """A trunk and one ball: there are many in the fields, and they are seen from afar."""
    z, across = rng.uniform(1.5, 2.5), rng.uniform(3.0, 4.5)
    trunk = box(0.3, 0.3, z + 1, (0, 0, z / 2 + 0.5), about(rng, (0.07, 0.4, 0.35)))
    return [trunk, Part("ball", (across, across, across * rng.uniform(0.8, 1.4)), (0, 0, z + across * 0.45), _leaf(rng))]


def conifer(rng: np.random.Generator) -> list[Part]:
    """Cones on one another."""
    z, leaf = rng.uniform(4.0, 7.0), about(rng, (0.36, 0.5, 0.35))
    parts = [box(0.25, 0.25, 1.2, (0, 0, 0.6), about(rng, (0.07, 0.4, 0.3)))]
    for k in range(3):
        across, tall = 2.4 - 0.6 * k, z / 2.2
        parts.append(
            Part("rod", (across, across, tall), (0, 0, 0.7 + tall / 2 + k * z * 0.25), leaf.shade(0.9 + 0.1 * k), taper=(0, 0))
        )
    return parts


def poplar(rng: np.random.Generator) -> list[Part]:
    """A tall narrow crown."""
    z, leaf = rng.uniform(5.0, 8.0), _leaf(rng)
    return [
        box(0.25, 0.25, 1.4, (0, 0, 0.7), about(rng, (0.07, 0.4, 0.35))),
        Part("ball", (1.5, 1.5, z), (0, 0, z / 2 + 0.9), leaf),
    ]


def bush(rng: np.random.Generator) -> list[Part]:
    """Three low balls."""
    leaf, spots = _leaf(rng), [(0.5 * k - 0.5, rng.uniform(-0.1, 0.1), 0.4) for k in range(3)]
    balls = [ball(rng.uniform(0.7, 1.0), at, leaf.shade(0.85 + 0.15 * k)) for k, at in enumerate(spots)]
    return [balls[0], *fine(*balls[1:])]


def hedge(rng: np.random.Generator) -> list[Part]:
    """Two and a half metres of a clipped hedge, a fence or a low wall along x."""
    kind, z = rng.uniform(), rng.uniform(0.7, 1.2)
    if kind < 0.5:
        return [box(2.5, 0.5, z, (0, 0, z / 2), _leaf(rng))]
    if kind < 0.75:
        return [box(2.5, 0.22, 0.7, (0, 0, 0.35), about(rng, (0.05, 0.3, 0.65)))]
    paint = WHITE if rng.uniform() < 0.5 else about(rng, (0.07, 0.5, 0.5))
    posts = [pane(0.12, 0.95, (0.25 * k - 1.12, 0, 0.48), paint) for k in range(10)]
    return [*fine(*posts), *(pane(2.5, 0.08, (0, 0.02, z), paint.shade(0.9)) for z in (0.3, 0.75))]


def lamp_post(rng: np.random.Generator) -> list[Part]:
    """A post with an arm over the road, which is towards -y."""
    z = 6.0
    return [
        Part("box", (0.16, 0.16, z), (0, 0, z / 2), _POST, taper=(0.6, 0.6)),
        box(0.08, 1.6, 0.08, (0, -0.75, z), _POST),
        box(0.22, 0.6, 0.12, (0, -1.5, z - 0.02), Finish((0.9, 0.9, 0.8))),
    ]


def traffic_light(rng: np.random.Generator) -> list[Part]:
    """A post with three lights that look towards -y."""
    parts = [box(0.12, 0.12, 3.2, (0, 0, 1.6), _POST), box(0.34, 0.24, 0.95, (0, -0.05, 2.9), BLACK)]
    lit = int(rng.integers(3))
    for k, tone in enumerate(((0.85, 0.1, 0.08), (0.9, 0.65, 0.1), (0.1, 0.75, 0.3))):
        parts.append(pane(0.22, 0.22, (0, -0.19, 3.2 - 0.3 * k), Finish(tone).shade(1.0 if k == lit else 0.25)))
    return parts


def sign(rng: np.random.Generator) -> list[Part]:
    """A traffic sign, round or square, that looks towards -y."""
    paint = (Finish((0.8, 0.1, 0.1)), Finish((0.15, 0.3, 0.7)), Finish((0.95, 0.75, 0.1)))[int(rng.integers(3))]
    parts = [box(0.07, 0.07, 2.5, (0, 0, 1.25), METAL)]
    if rng.uniform() < 0.5:
        return [*parts, rod(0.65, 0.04, (0, -0.06, 2.4), paint, axis=1), rod(0.45, 0.05, (0, -0.065, 2.4), WHITE, axis=1)]
    return [*parts, box(0.6, 0.04, 0.6, (0, -0.06, 2.4), paint), pane(0.4, 0.25, (0, -0.085, 2.4), WHITE)]


def shelter(rng: np.random.Generator) -> list[Part]:
    """A bus stop's shelter, open towards -y."""
    glass = GLASS.shade(0.8)
    return [
        box(3.0, 1.3, 0.1, (0, 0.3, 2.4), _POST),
        box(3.0, 0.06, 1.9, (0, 0.9, 1.3), glass),
        *(box(0.06, 0.9, 1.9, (x, 0.45, 1.3), glass) for x in (-1.45, 1.45)),
        box(2.2, 0.35, 0.06, (0, 0.65, 0.5), about(rng, (0.08, 0.5, 0.5))),
        box(0.9, 0.1, 1.6, (-1.3, -0.1, 1.2), Finish(colour(rng))),
    ]


def litter_bin(rng: np.random.Generator) -> list[Part]:
    """A bin on the pavement."""
    return [Part("rod", (0.45, 0.45, 0.95), (0, 0, 0.48), Finish(colour(rng)).shade(0.7), taper=(1.15, 1.15))]


def letter_box(rng: np.random.Generator) -> list[Part]:
    """A post box."""
    paint = (Finish((0.8, 0.1, 0.1)), Finish((0.95, 0.75, 0.1)))[int(rng.integers(2))]
    return [box(0.12, 0.12, 0.8, (0, 0, 0.4), _POST), box(0.5, 0.4, 0.7, (0, 0, 1.15), paint)]


TREES: tuple[Make, ...] = (tree, tree, tree, poplar, conifer)
SMALL: tuple[Make, ...] = (litter_bin, letter_box, sign, bush)
