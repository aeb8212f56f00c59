"""Robots with an arm: the hand stands where inverse kinematics brings it, and moves along lines by following joint angles.

An arm is put straight into the pose in which it acts, in free space, and is taken away when it has acted: it is in no picture
before or after, costs no step meanwhile, and leaves no state behind. Its joints turn as motors make them, with no more torque
than the file says they have; hand and fingers touch things, and the rest is a chain of masses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.jointed import Jointed
from embodied_ssl.sim.robots.assembly import Assembly, Model, assemble, hulls, probe
from embodied_ssl.sim.robots.chain import Chain
from embodied_ssl.sim.robots.hand import RATE, Hand, Unreachable
from embodied_ssl.sim.robots.tool import Tool

NEAR = 1e-3  # metres, and radians, that a hand may be away from where it should stand
_APART = 0.01  # metres between the poses of a path for which angles are found
_SPURT = 10.0  # metres a second squared, at the ends of a path
_GRIP = 25.0  # newtons that hold the fingers open


class Arm:
    """A robot with an arm, whose hulls are made once.

    Args:
        client: whose world it acts in; when that is emptied, make a new robot.
        model: which arm.
    """

    def __init__(self, client: Client, model: Model) -> None:
        self.name = model.name
        self.client, self.model = client, model
        self.efforts = [bone.effort for bone in model.arm]
        self.chain = Chain(
            np.stack([model.base @ model.arm[0].at, *(bone.at for bone in model.arm[1:])]),
            model.hand,
            np.array([bone.lower for bone in model.arm]),
            np.array([bone.upper for bone in model.arm]),
            np.array(model.home),
        )
        touched, rod = hulls(client, model), probe(client)
        self._jaw, self._finger, self._back, self._tip = (
            assemble(model, touched, kind, rod) for kind in ("jaw", "finger", "back", "tip")
        )

    def jaw(self, point: Sequence[float], yaw: float) -> Hand:
        return self._stand(self._jaw, point, yaw)

    def finger(self, point: Sequence[float], yaw: float) -> Hand:
        across = yaw + math.pi / 2
        swapped = math.cos(self.chain.nearest(np.asarray(point), across) - across) < 0
        return self._stand(self._back if swapped else self._finger, point, across)

    def tip(self, point: Sequence[float]) -> Hand:
        return self._stand(self._tip, point, 0.0)

    def _stand(self, assembly: Assembly, point: Sequence[float], yaw: float) -> Hand:
        """A hand in a place, its two fingers exchanged if that is nearer to home."""
        at = np.add(point, (0.0, 0.0, assembly.shows))
        yaw = self.chain.nearest(at, yaw)
        angles = self._reach(at[None], yaw)
        return ArmHand(self, assembly, angles[0], at, yaw)

    def path(self, start: Floats, end: Floats, yaw: float, speed: float) -> Floats:
        """Angles after every step of a straight motion of the hand [steps, 7].

        Raises:
            Unreachable: the line leaves what the arm can reach.
        """
        length = float(np.linalg.norm(end - start))
        shares = np.linspace(0, 1, max(1, math.ceil(length / _APART)) + 1)
        knots = self._reach(start + shares[:, None] * (end - start), yaw)
        passed = progress(length, speed)
        path: Floats = np.column_stack([np.interp(passed, shares, knot) for knot in knots.T])
        return path

    def _reach(self, points: Floats, yaw: float) -> Floats:
        angles, missing = self.chain.solve(points, yaw)
        worst = int(np.argmax(missing))
        if missing[worst] > NEAR:
            x, y, z = (round(float(part), 3) for part in points[worst])
            raise Unreachable(
                f"{self.name} cannot hold its hand upright at x {x}, y {y}, z {z} m: it comes no nearer than "
                f"{1000 * missing[worst]:.0f} mm; choose a point nearer to the middle of the table",
                float(missing[worst]),
            )
        return angles


def progress(length: float, speed: float) -> Floats:
    """The share of a way that is behind after each step, gathering speed and losing it over a few steps at either end."""
    ramp = max(1, math.ceil(speed / _SPURT * RATE))
    steps = max(1, round(length / speed * RATE) + ramp - 1)
    k = np.arange(steps)
    passed: Floats = np.cumsum(np.minimum(1, np.minimum(k + 1, steps - k) / ramp), dtype=np.float64)
    passed /= passed[-1]
    return passed


class ArmHand(Tool):
    """The hand of an arm.

    Args:
        arm: whose it is.
        assembly: the arm as it is needed.
        angles: of its joints.
        at: where they bring its fingers' ends [3].
        yaw: of its x axis.
    """

    def __init__(self, arm: Arm, assembly: Assembly, angles: Floats, at: Floats, yaw: float) -> None:
        shape = assembly.shape
        fixed = len(assembly.links) - len(angles) - len(shape.jaws)
        positions = [*angles.tolist(), *[shape.wide] * len(shape.jaws), *[0.0] * fixed]
        super().__init__(Jointed(arm.client, assembly.links, arm.model.base, positions), shape)
        self._arm, self._at, self._yaw = arm, at, yaw
        self._shows = np.array([0.0, 0.0, assembly.shows])
        self._joints = list(range(len(angles)))
        self._path: list[list[float]] = []
        self._done = 0
        self.residual = float(np.linalg.norm(self.where() + self._shows - at))
        self.jointed.follow(self._joints, angles.tolist(), arm.efforts)
        for joint in shape.jaws:
            self.jointed.keep(joint, shape.wide, _GRIP, 0.5)
        if shape.jaws:
            self.jointed.gear(*shape.jaws)

    def go(self, target: Sequence[float], speed: float, force: float = 60.0) -> int:
        end = np.asarray(target, np.float64) + self._shows
        self._path, self._done = self._arm.path(self._at, end, self._yaw, speed).tolist(), 0
        self._at = end
        return len(self._path)

    def advance(self) -> None:
        if self._done < len(self._path):
            self.jointed.follow(self._joints, self._path[self._done], self._arm.efforts)
            self._done += 1
