"""Robots with an arm: the hand stands where inverse kinematics brings it, and moves along lines by following joint angles.

An arm is put straight into the pose in which it acts, in free space, and is taken away when it has acted: it is in no picture
before or after, costs no step meanwhile, and leaves no state behind. Its joints turn as motors make them, with no more torque
than the file says they have; hand and fingers touch things, and the rest is a chain of masses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from embodied_ssl.sim.camera import Floats, Point
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.jointed import Jointed, place
from embodied_ssl.sim.robots.assembly import Assembly, Hull, Model, assemble, hulls
from embodied_ssl.sim.robots.burden import Burden
from embodied_ssl.sim.robots.chain import Chain
from embodied_ssl.sim.robots.hand import Hand, Unreachable
from embodied_ssl.sim.robots.sticks import probe, rod
from embodied_ssl.sim.robots.tool import Tool
from embodied_ssl.sim.solver import RATE

NEAR = 1e-3  # metres, and radians, that a hand may be away from where it should stand
_APART = 0.01  # metres between the poses of a path for which angles are found
_SPURT = 10.0  # metres a second squared, at the ends of a path
_STANDS = 60.0  # newtons that a hand bears before it has been told to go anywhere
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
        self.efforts = np.array([bone.effort for bone in model.arm])
        self.chain = Chain(
            np.stack([model.base @ model.arm[0].at, *(bone.at for bone in model.arm[1:])]),
            model.hand,
            np.array([bone.lower for bone in model.arm]),
            np.array([bone.upper for bone in model.arm]),
            np.array(model.home),
        )
        touched = hulls(client, model)
        self.burden = _burden(self.chain, model, touched)
        self._jaw = assemble(model, touched, "jaw")
        sweeps, presses = rod(client), probe(client)
        self._finger, self._back = (assemble(model, touched, kind, sweeps) for kind in ("finger", "back"))
        self._tip = assemble(model, touched, "tip", presses)

    def jaw(self, point: Point, yaw: float) -> Hand:
        return self._stand(self._jaw, point, yaw)

    def finger(self, point: Point, yaw: float) -> Hand:
        across = yaw + math.pi / 2
        swapped = math.cos(self.chain.nearest(np.asarray(point), across) - across) < 0
        return self._stand(self._back if swapped else self._finger, point, across)

    def tip(self, point: Point) -> Hand:
        return self._stand(self._tip, point, 0.0)

    def _stand(self, assembly: Assembly, point: Point, yaw: float) -> Hand:
        """A hand in a place, its two fingers exchanged if that is nearer to home."""
        at = self.known(np.add(point, (0.0, 0.0, assembly.shows)))
        yaw = self.chain.nearest(at, yaw)
        angles = self._reach(at[None], yaw)
        return ArmHand(self, assembly, angles[0], at, yaw)

    def known(self, point: Floats) -> Floats:
        """A point [3], if it is one.

        Raises:
            Unreachable: it is infinite, or no number.
        """
        if not np.isfinite(point).all():
            raise Unreachable(f"{self.name} cannot go to {point.tolist()}, which is no place; give three numbers", math.inf)
        return point

    def path(self, start: Floats, end: Floats, yaw: float, speed: float, angles: Floats | None = None) -> Floats:
        """Angles after every step of a straight motion of the hand [steps, 7].

        Args:
            start: of the fingers' ends [3].
            end: of the fingers' ends [3].
            yaw: of the hand.
            speed: metres a second.
            angles: at the start, if something has pushed the arm aside; what they are off is made good little by little.

        Raises:
            Unreachable: the line leaves what the arm can reach.
        """
        length = float(np.linalg.norm(end - start))
        shares = np.linspace(0, 1, max(1, math.ceil(length / _APART)) + 1)
        knots = self._reach(start + shares[:, None] * (end - start), yaw)
        passed = progress(length, speed)
        path: Floats = np.column_stack([np.interp(passed, shares, knot) for knot in knots.T])
        return path if angles is None else path + (1 - passed[:, None]) * (angles - knots[0])

    def plan(self, angles: Floats, path: Floats, way: Floats, force: float) -> tuple[Floats, Floats]:
        """What the joints give in every step of a path, to bear and to move the arm; and the most that motors may add to it.

        Args:
            angles: before the first step, at rest [7].
            path: angles after every step [steps, 7].
            way: the direction of the motion, of unit length [3].
            force: newtons that the hand may press with.

        Returns:
            Torques [steps, 7], and limits of the motors [steps, 7].
        """
        changes = np.diff(np.concatenate([[angles, angles], path]), 2, axis=0)
        given = np.clip(self.burden.torques(path, changes * RATE**2), -self.efforts, self.efforts)
        more = self.burden.press(path[0], way, force)
        return given, np.minimum(self.efforts, np.broadcast_to(more, path.shape))

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


def _burden(chain: Chain, model: Model, hand: Mapping[str, Hull]) -> Burden:
    """An arm's masses. Its last bone carries the fingers, and has its mass in the middle of its hull, as they have."""
    bones = [bone for bone in model.bones if bone.name in hand]
    weights = np.array([bone.mass for bone in bones])
    middles = np.array([(place() if bone.joint == "revolute" else bone.at) @ hand[bone.name].at for bone in bones])[:, :3, 3]
    masses = np.array([bone.mass for bone in model.arm])
    centres = np.array([bone.centre for bone in model.arm])
    masses[-1], centres[-1] = weights.sum(), weights @ middles / weights.sum()
    return Burden(chain, masses, centres, np.array([max(bone.inertia) for bone in model.arm]))


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
        self._arm, self._yaw = arm, yaw
        self._shows = np.array([0.0, 0.0, assembly.shows])
        self._joints = list(range(len(angles)))
        self.residual = float(np.linalg.norm(self.where() + self._shows - at))
        self._plan(angles, angles[None], np.array([0.0, 0.0, 1.0]), _STANDS)
        for joint in shape.jaws:
            self.jointed.keep(joint, shape.wide, _GRIP, 0.5)
        if shape.jaws:
            self.jointed.gear(*shape.jaws)

    def _plan(self, angles: Floats, path: Floats, way: Floats, force: float) -> None:
        """What is to be done from now on: to be at these angles, one after the other, and to stay at the last."""
        path = np.concatenate([path, path[-1:], path[-1:]])  # it stops, and stands
        given, limits = self._arm.plan(angles, path, way, force)
        self._path, self._given, self._limits = path.tolist(), given.tolist(), limits[0].tolist()
        self._done = 0

    def go(self, target: Point, speed: float, force: float = 60.0) -> int:
        start, end = self.where() + self._shows, self._arm.known(np.asarray(target, np.float64) + self._shows)
        length = float(np.linalg.norm(end - start))
        if length == 0:
            return 0
        angles = np.array(self.jointed.positions()[:7])
        path = self._arm.path(start, end, self._yaw, speed, angles)
        self._plan(angles, path, (end - start) / length, force)
        return len(path)

    def advance(self) -> None:
        last = len(self._path) - 1
        if self._done <= last:
            self.jointed.follow(self._joints, self._path[self._done], self._limits)
        self.jointed.push(self._joints, self._given[min(self._done, last)])
        self._done += 1
