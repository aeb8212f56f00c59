"""One object of the pool: its form, which is seen and touched, and its physics, which only touching settles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from embodied_ssl.sim.camera import Floats, Quaternion, Vector
from embodied_ssl.sim.mesh import Mesh

OPENING = 0.08  # metres between the open jaws


@dataclass(frozen=True)
class Primitive:
    """A shape that the engine knows by its measures.

    Args:
        kind: "box", "cylinder", "sphere" or "capsule".
        size: extent along its own x, y, z in metres; a cylinder's and a capsule's axis is z.
    """

    kind: str
    size: Vector


@dataclass(frozen=True)
class Rest:
    """A way in which a form stays where it is put.

    Attributes:
        orientation: of the form's frame, before any turn about the vertical.
        height: of the frame's origin above the table, metres.
        share: how often it comes to rest so when it falls in a random orientation; of all rests they add up to 1.
    """

    orientation: Quaternion
    height: float
    share: float


@dataclass(frozen=True)
class Given:
    """Physics that a form brings along, as a user's URDF may; None for what is drawn. Units as in `Thing`."""

    mass: float | None = None
    friction: float | None = None
    spinning: float | None = None
    rolling: float | None = None
    restitution: float | None = None
    stiffness: float | None = None
    damping: float | None = None


@dataclass(frozen=True, eq=False)
class Form:
    """A shape in a frame whose origin is its centre of mass; the same object whenever the same form is asked for.

    Attributes:
        name: unique in every pool, such as "box", "random/123", "pybullet/duck", "own/mug"; primitives share their kind's.
        mesh: what is seen.
        touched: what is touched: a primitive, or convex parts as corners float64 [n, 3] (one part is the rule).
        size: extent along its own x, y, z.
        volume: of what is touched, cubic metres.
        filled: volume of what is seen over volume of what is touched; 1 when they are the same.
        rests: stable poses, the likeliest first.
        colour: its own, or None to draw one.
        given: its own physics.
    """

    name: str
    mesh: Mesh
    touched: Primitive | tuple[Floats, ...]
    size: Vector
    volume: float
    filled: float
    rests: tuple[Rest, ...]
    colour: Vector | None = None
    given: Given = Given()


@dataclass(frozen=True, eq=False)
class Thing:
    """A form with physics and colour.

    Attributes:
        number: place in the pool.
        name: unique among all seeds and pools: "thing-SEED-NUMBER".
        form: its shape.
        mass: kilograms.
        friction: lateral, to be multiplied with that of what it touches.
        spinning: friction against turning on the spot, metres.
        rolling: friction against rolling, metres.
        restitution: share of speed kept in a bounce, to be multiplied with that of what it hits.
        stiffness: of its surface when poked, N/m.
        damping: of its surface when poked, N s/m.
        colour: red, green, blue in 0..1.
    """

    number: int
    name: str
    form: Form
    mass: float
    friction: float
    spinning: float
    rolling: float
    restitution: float
    stiffness: float
    damping: float
    colour: Vector

    @cached_property
    def reach(self) -> float:
        """Radius of a ball around its centre of mass that it fits in."""
        return float((self.form.mesh.points.astype("float64") ** 2).sum(axis=1).max() ** 0.5)
