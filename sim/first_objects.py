"""The pool of things to touch: thing k of a seed is always the same thing, so that splits can be made by thing.

Its shape, size, weight, friction and stiffness are drawn by key; its colour from another key, so that colour tells nothing
about weight or stiffness. Form does: a large thing tends to be heavy, and a broad flat one stiffer than a tall narrow one of the
same stuff (Hooke: area over height), so that looking helps, and only touching settles it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from embodied_ssl.keys import generator
from embodied_ssl.sim.draws import colour, log_uniform
from embodied_ssl.sim.world import SHAPES, Quaternion, Shape, Vector, quaternion

STIFFNESS = (100.0, 3000.0)  # N/m; 10,000 would need more force than the poker has
SEEN = 0.8
_BROAD = (-3.1, 0.48)  # mean and spread of log(area over height in metres) in the pool
DENSITY = (150.0, 1500.0)  # kg/m^3, from balsa to brick
FRICTION = (0.4, 1.0)  # times the table's 0.3 .. 0.8, or the jaw's 1


@dataclass(frozen=True)
class Thing:
    """One object of the pool.

    Args:
        number: place in the pool.
        name: unique among all seeds: "thing-SEED-NUMBER".
        shape: primitive and outer measures in metres; its narrow side fits the jaw.
        mass: kilograms.
        friction: lateral, to be multiplied with that of what it touches.
        stiffness: of its surface when poked, N/m.
        damping: of its surface when poked, N s/m.
        colour: red, green, blue in 0..1.
    """

    number: int
    name: str
    shape: Shape
    mass: float
    friction: float
    stiffness: float
    damping: float
    colour: Vector

    def resting(self, yaw: float) -> Quaternion:
        """The orientation in which it stands stably: capsules lie on their side, all else stands."""
        return quaternion(yaw, math.pi / 2 if self.shape.kind == "capsule" else 0.0)

    @property
    def rise(self) -> float:
        """Height of its centre above the table when it rests."""
        return (self.shape.size[0] if self.shape.kind == "capsule" else self.shape.size[2]) / 2

    @property
    def reach(self) -> float:
        """Radius, seen from above, of the circle that it fits in."""
        x, y, z = self.shape.size
        if self.shape.kind == "box":
            return math.hypot(x, y) / 2
        return (z if self.shape.kind == "capsule" else x) / 2


def _size(kind: str, rng: np.random.Generator) -> Vector:
    """Outer measures whose narrow side (at most 5.5 cm) fits a jaw that opens 8 cm."""
    if kind == "box":
        return float(rng.uniform(0.025, 0.055)), float(rng.uniform(0.03, 0.085)), float(rng.uniform(0.03, 0.06))
    if kind == "capsule":
        across = float(rng.uniform(0.028, 0.045))
        return across, across, across + float(rng.uniform(0.025, 0.06))
    across = float(rng.uniform(0.03, 0.055))
    return across, across, across if kind == "sphere" else float(rng.uniform(0.03, 0.06))


def _stiffness(shape: Shape, rng: np.random.Generator) -> float:
    """Log-uniform in ``STIFFNESS`` over the pool, and correlated by ``SEEN`` with the logarithm of area over height."""
    x, y, z = shape.size
    broad = {"box": x * y / z, "capsule": z}.get(shape.kind, math.pi / 4 * x * x / z)
    normal = SEEN * (math.log(broad) - _BROAD[0]) / _BROAD[1] + math.sqrt(1 - SEEN**2) * rng.normal()
    low, high = (math.log(limit) for limit in STIFFNESS)
    return math.exp(low + (high - low) * 0.5 * (1 + math.erf(normal / math.sqrt(2))))


def thing(seed: int, number: int) -> Thing:
    """Thing ``number`` of the pool that belongs to a seed."""
    rng = generator(seed, "object", number)
    kind = SHAPES[int(rng.integers(len(SHAPES)))]
    shape = Shape(kind, _size(kind, rng))
    return Thing(
        number=number,
        name=f"thing-{seed}-{number:03d}",
        shape=shape,
        mass=shape.volume * log_uniform(rng, *DENSITY),
        friction=float(rng.uniform(*FRICTION)),
        stiffness=_stiffness(shape, rng),
        damping=float(rng.uniform(5.0, 20.0)),
        colour=colour(generator(seed, "colour", number)),
    )
