"""One physics world: a table, and things that come and go; all that happens depends on what was put there, bit for bit.

The table and the robot are built once. For each scene the saved state is restored, things are made from the shapes that the world
keeps, and taken away again, last first, so that nothing of one scene reaches the next. A parked pool would cost each step more
than making the few things anew (60 us for 200 parked ones; 0.4 ms a scene). Things are rigid bodies in maximal coordinates, which
cost a fifth of multi-bodies. Lengths are metres, masses kilograms, forces newtons; the table's top is the plane z = 0.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats, Point, Quaternion, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.objects.thing import Form, Primitive
from embodied_ssl.sim.solver import RATE, SOLVERS, Solver

GRAVITY = 9.81
TABLE = 4.0  # metres across
_TOGETHER = 1_000_000  # contacts
_SKIN = 1e-4  # metres by which a hull is touched outside of what is seen; PyBullet's own 1 mm would let things hover
_BESIDE, _AWAY = (0.45 * TABLE, 0.45 * TABLE, 0.01), (0.0, 0.0, 2 * TABLE)  # on the table's corner; nowhere near
_STILL, _ALL = 2, 0xFFFF  # Bullet's group of what never moves, to which the table belongs, and all groups
UPRIGHT: Quaternion = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Surface:
    """How a body touches others.

    Args:
        friction: lateral; two bodies in touch slide with the product of theirs.
        spinning: friction against turning on the spot, metres.
        rolling: friction against rolling, metres.
        restitution: share of speed kept in a bounce, multiplied with that of the other.
    """

    friction: float = 0.5
    spinning: float = 0.001
    rolling: float = 0.0
    restitution: float = 0.0


@dataclass(frozen=True)
class Contact:
    """One point where two bodies pressed on each other in the last step: place, and the force on the first body, in newtons."""

    place: Floats
    force: Floats


class World:
    """One PyBullet client without a window. Bodies are whole numbers, valid until they are taken away.

    Args:
        solver: how exactly steps are solved.
    """

    def __init__(self, solver: Solver = SOLVERS["default"]) -> None:
        self.solver = solver
        self.client = Client()
        self.clear()

    def close(self) -> None:
        """Give the client back; the world is of no use afterwards."""
        self.client.close()

    def clear(self) -> None:
        """Remove everything, give its memory back (taking bodies away does not), and put an empty table there."""
        p = self.client
        p.empty()
        p.setPhysicsEngineParameter(
            fixedTimeStep=1 / RATE,
            numSolverIterations=self.solver.iterations,
            solverResidualThreshold=self.solver.residual,
            deterministicOverlappingPairs=1,  # without it the order of contacts follows memory addresses
            # All that moves is solved together: what would be solved apart depends on which pairs were once near, for a time that
            # earlier scenes settle too, and each part would stop iterating by itself.
            minimumSolverIslandSize=_TOGETHER,
        )
        self._shapes: dict[Form, int] = {}
        self._bodies: list[int] = []
        self._saved = -1
        top = p.createCollisionShape(p.GEOM_BOX, halfExtents=(TABLE / 2, TABLE / 2, 0.1))  # a plane lets things drift sideways
        self.table: int = p.createMultiBody(0, top, -1, (0, 0, -0.1), useMaximalCoordinates=1)
        self.set_surface(self.table, Surface())
        self.set_gravity()
        ball = p.createCollisionShape(p.GEOM_SPHERE, radius=0.02)
        self._probe: int = p.createMultiBody(0, ball, -1, _AWAY, useMaximalCoordinates=1)
        p.setCollisionFilterGroupMask(self._probe, -1, 1, _ALL)  # pairs with the table, though neither moves

    def save(self) -> None:
        """Remember the state to which `restore` goes back: the table and a robot, no things."""
        if self._saved >= 0:
            self.client.removeState(self._saved)
        self._saved = self.client.saveState()

    def restore(self) -> None:
        """Take all things away, last first, and go back to the saved state."""
        while self._bodies:
            self.client.removeBody(self._bodies.pop())
        self._forget_pairs()
        self.client.restoreState(self._saved)
        self.solve_finely(False)
        self.set_gravity()
        self.set_surface(self.table, Surface())  # no part of a saved state

    def _forget_pairs(self) -> None:
        """Bring Bullet's search for pairs that have come apart back to its beginning, by a pair that comes and goes.

        It looks at a tenth of all pairs in a step, goes on in the next scene where it was in the last, and begins anew only when
        the last pair has gone. A pair that is kept longer begins its next touch from what it knew: one push in a thousand ended
        some 20 um elsewhere, depending on what the process had done before.
        """
        for place in (_BESIDE, _AWAY):
            self.client.resetBasePositionAndOrientation(self._probe, place, UPRIGHT)
            self.client.stepSimulation()

    def set_gravity(self, tilt: Sequence[float] = (0.0, 0.0)) -> None:
        """Let things fall, with gravity leaning by two small angles towards x and y, as on a table that is not level."""
        x, y = (math.sin(angle) for angle in tilt)
        down = math.sqrt(1 - x * x - y * y)
        self.client.setGravity(GRAVITY * x, GRAVITY * y, -GRAVITY * down)

    def solve_finely(self, finely: bool = True) -> None:
        """Spend all iterations of the reference on every step, or not: against what is held, the solver believes too soon."""
        reference = SOLVERS["reference"]
        self.client.setPhysicsEngineParameter(
            numSolverIterations=reference.iterations if finely else self.solver.iterations,
            solverResidualThreshold=0.0 if finely else self.solver.residual,
        )

    def shape(self, form: Form) -> int:
        """What is touched of a form, in PyBullet's keeping; made once."""
        if form not in self._shapes:
            made = self._shapes[form] = self._make(form.touched)
            # The skin belongs to the shape, and the inertia of a body to the skin that it is made with: so before any is made.
            body = self.client.createMultiBody(1.0, made, -1, useMaximalCoordinates=1)
            self.client.changeDynamics(body, -1, collisionMargin=_SKIN)
            self.client.removeBody(body)
        return self._shapes[form]

    def _make(self, touched: Primitive | tuple[Floats, ...]) -> int:
        p = self.client
        if isinstance(touched, Primitive):
            made: int = p.createCollisionShape(**primitive(p, touched))
            return made
        hulls = [fewer(corners, self.solver.corners).tolist() for corners in touched]
        if len(hulls) == 1:
            made = p.createCollisionShape(p.GEOM_MESH, vertices=hulls[0])
            return made
        with tempfile.TemporaryDirectory() as folder:  # several hulls are taken from a file only
            path = Path(folder) / "parts.obj"
            path.write_text(as_obj(hulls))
            made = p.createCollisionShape(p.GEOM_MESH, fileName=str(path))
        return made

    def add(
        self,
        form: Form,
        mass: float,
        position: Point,
        orientation: Sequence[float] | Floats = UPRIGHT,
        surface: Surface = Surface(),
    ) -> int:
        """Put a body there, at rest. Its frame's origin is its centre of mass; mass 0 never moves."""
        body: int = self.client.createMultiBody(
            mass, self.shape(form), self.client.unseen, position, orientation, useMaximalCoordinates=1
        )
        self._bodies.append(body)
        self.set_surface(body, surface)
        return body

    def set_surface(self, body: int, surface: Surface) -> None:
        """Change how a body touches others."""
        self.client.changeDynamics(
            body,
            -1,
            lateralFriction=surface.friction,
            spinningFriction=surface.spinning,
            rollingFriction=surface.rolling,
            restitution=surface.restitution,
        )

    def set_damping(self, body: int, linear: float, angular: float) -> None:
        """Drag of the medium; PyBullet's default of 0.04 shortens every slide a little."""
        self.client.changeDynamics(body, -1, linearDamping=linear, angularDamping=angular)

    def set_stiffness(self, body: int, stiffness: float, damping: float) -> None:
        """Make a body's surface a spring (N/m) and damper (N s/m). There is no way back but taking it away."""
        self.client.changeDynamics(body, -1, contactStiffness=stiffness, contactDamping=damping)

    def hold(self, body: int) -> None:
        """Make a body immovable until it is taken away; what does not move costs nothing more, as it need not meet the table."""
        self.client.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0))
        self.client.changeDynamics(body, -1, mass=0)
        self.client.setCollisionFilterGroupMask(body, -1, _STILL, _ALL ^ _STILL)

    def step(self, count: int = 1) -> None:
        """Let time pass."""
        step = self.client.stepSimulation
        for _ in range(count):
            step()

    def pose(self, body: int) -> Floats:
        """Position and orientation x, y, z, qx, qy, qz, qw [7]."""
        position, orientation = self.client.getBasePositionAndOrientation(body)
        return np.array(position + orientation)

    def poses(self, bodies: Sequence[int]) -> Floats:
        """Position and orientation of several [n, 7]."""
        look = self.client.getBasePositionAndOrientation
        return np.array([position + orientation for position, orientation in map(look, bodies)])

    def set_pose(self, body: int, position: Point, orientation: Sequence[float] | Floats = UPRIGHT) -> None:
        """Put a body somewhere else, at rest."""
        self.client.resetBasePositionAndOrientation(body, position, orientation)
        self.set_velocity(body, (0.0, 0.0, 0.0))

    def set_velocity(self, body: int, linear: Vector, angular: Vector = (0.0, 0.0, 0.0)) -> None:
        """Give a body a speed (m/s) and a spin (rad/s)."""
        self.client.resetBaseVelocity(body, linear, angular)

    def velocity(self, body: int) -> Floats:
        """Speed and spin [6]."""
        linear, angular = self.client.getBaseVelocity(body)
        return np.array(linear + angular)

    def contacts(self, body: int, other: int | None = None) -> list[Contact]:
        """Where a body pressed on another, or on any, in the last step."""
        found = (
            self.client.getContactPoints(bodyA=body) if other is None else self.client.getContactPoints(bodyA=body, bodyB=other)
        )
        # 5: place on A; 7: normal on B, towards A; 9: normal force; 10 to 13: friction forces and their directions
        return [
            Contact(
                np.array(each[5]),
                each[9] * np.array(each[7]) + each[10] * np.array(each[11]) + each[12] * np.array(each[13]),
            )
            for each in found
            if each[9] > 0
        ]


def primitive(p: Client, shape: Primitive) -> dict[str, object]:
    """A primitive in PyBullet's words for what is touched."""
    x, y, z = shape.size
    if shape.kind == "box":
        return {"shapeType": p.GEOM_BOX, "halfExtents": (x / 2, y / 2, z / 2)}
    if shape.kind == "sphere":
        return {"shapeType": p.GEOM_SPHERE, "radius": x / 2}
    if shape.kind == "cylinder":
        return {"shapeType": p.GEOM_CYLINDER, "radius": x / 2, "height": z}
    if shape.kind == "capsule":
        return {"shapeType": p.GEOM_CAPSULE, "radius": x / 2, "height": z - x}
    raise ValueError(f"no primitive is called {shape.kind}")


def fewer(corners: Floats, most: int) -> Floats:
    """At most so many corners of a hull (0 for all): those farthest apart, the extreme ones along the axes first."""
    if not most or len(corners) <= most:
        return corners
    kept = sorted({*corners.argmin(axis=0).tolist(), *corners.argmax(axis=0).tolist()})
    away: NDArray[np.float64] = np.min([np.linalg.norm(corners - corners[k], axis=1) for k in kept], axis=0)
    while len(kept) < most:
        kept.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(corners - corners[kept[-1]], axis=1))
    return corners[kept]


def as_obj(parts: Sequence[Sequence[Sequence[float]]]) -> str:
    """Convex parts, each as corners, in the form of an OBJ file with one object a part; its triangles only name the corners."""
    lines, before = [], 0
    for number, corners in enumerate(parts):
        lines.append(f"o part_{number}")
        lines += [f"v {x!r} {y!r} {z!r}" for x, y, z in corners]
        lines += [f"f {before + 1} {before + k + 1} {before + k + 2}" for k in range(1, len(corners) - 1)]
        before += len(corners)
    return "\n".join([*lines, ""])


def matrix(pose: Floats) -> Floats:
    """Position and quaternion [7] as a matrix [4, 4]."""
    x, y, z, qx, qy, qz, qw = pose.tolist()
    return np.array(
        [
            [1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qz * qw), 2 * (qx * qz + qy * qw), x],
            [2 * (qx * qy + qz * qw), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qx * qw), y],
            [2 * (qx * qz - qy * qw), 2 * (qy * qz + qx * qw), 1 - 2 * (qx * qx + qy * qy), z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def turned(orientation: Sequence[float] | Floats, yaw: float) -> Quaternion:
    """An orientation turned about the vertical."""
    x, y, z, w = orientation
    a, b = math.cos(yaw / 2), math.sin(yaw / 2)
    return (a * x - b * y, a * y + b * x, a * z + b * w, a * w - b * z)
