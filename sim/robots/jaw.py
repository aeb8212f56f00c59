"""A robot without an arm: a jaw, a finger or a tip that floats along straight lines.

This is the default: what a hand does to things does not depend on the arm behind it, and each step costs a third. A hand has one
joint that it slides along (the fewer joints, the cheaper a step); to go another way it is put together anew where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Floats, Point, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.jointed import BASE, Jointed, Link, place
from embodied_ssl.sim.robots.hand import OPENING, Hand
from embodied_ssl.sim.robots.sticks import METAL, Stick, probe, rod
from embodied_ssl.sim.robots.tool import AHEAD, BESIDE, FRICTION, Pad, Part, Shape, Tool, facing
from embodied_ssl.sim.solver import RATE

GRAVITY = 9.81
_FINGER = (0.01, 0.02, 0.06)  # metres
_PALM = (0.1, 0.03, 0.02)
_UP = 0.07  # the palm's middle above the fingertips
_DARK = (0.22, 0.22, 0.24)
_SIDEWAYS = 1e-6  # metres; a motion that leaves its line by less has not changed direction


class Floating(Tool):
    """A hand whose first link slides along a line through the point where it came in.

    Args:
        client: whose world it is put in.
        links: the first one bears the hand, and slides along its axis at first.
        shape: of the hand.
        point: where its fingertips' point comes in.
        yaw: of its x axis.
    """

    def __init__(self, client: Client, links: Sequence[Link], shape: Shape, point: Point, yaw: float) -> None:
        self._client, self._links, self._yaw = client, tuple(links), yaw
        self._mass = sum(link.mass for link in links)
        self._grip = (shape.wide, 25.0, 0.5)  # position, force and speed of the fingers' motors
        super().__init__(self._made(shape, point, links[0].axis, [shape.wide] * len(shape.jaws)), shape)

    def _made(self, shape: Shape, point: Point, axis: Vector, fingers: Sequence[float]) -> Jointed:
        self._axis = axis
        first, *others = self._links
        links = (first if first.axis == axis else replace(first, axis=axis), *others)
        made = Jointed(self._client, links, place([float(part) for part in point], self._yaw), [0.0, *fingers])
        made.keep(0, 0.0, force=60.0, speed=0.5, gain=1.0)
        for joint in shape.jaws:
            made.keep(joint, *self._grip)
        if shape.jaws:
            made.gear(*shape.jaws)
        return made

    def close(self, force: float, speed: float) -> None:
        self._grip = (0.0, force, speed)
        super().close(force, speed)

    def open(self, speed: float) -> None:
        self._grip = (self.shape.wide, 25.0, speed)
        super().open(speed)

    def go(self, target: Point, speed: float, force: float = 60.0) -> int:
        frame = self.frame()
        way = frame[:3, :3].T @ (np.asarray(target, np.float64) - frame[:3, 3])
        along = float(way @ self._axis)
        length = float(np.linalg.norm(way))
        if length < _SIDEWAYS:
            return 0
        if np.linalg.norm(way - along * np.asarray(self._axis)) > _SIDEWAYS:
            self._turn(frame[:3, 3], way / length)
            along = length
        now = self.jointed.positions()[0]
        steps = max(1, round(length / speed * RATE))
        self.jointed.keep(0, now + along, force, length / steps * RATE, gain=1.0)
        # What cannot reach its speed in one step arrives later: half the time that it takes to.
        late = self._mass * speed / max(force - self._mass * GRAVITY, 1.0) * RATE
        return steps + (math.ceil(late / 2) if late > 1 else 0)

    def _turn(self, point: Floats, way: Floats) -> None:
        """Slide along another line from now on."""
        positions = self.jointed.positions()
        self.jointed.remove()
        x, y, z = (float(part) for part in way)
        self.jointed = self._made(self.shape, point.tolist(), (x, y, z), [positions[joint] for joint in self.shape.jaws])
        self.body = self.jointed.body


@dataclass(frozen=True, eq=False)
class Kind:
    """One of the three hands, as it is made again and again.

    Attributes:
        links: the first one bears the hand, and slides along the axis that it is to act along.
        shape: of the hand.
    """

    links: tuple[Link, ...]
    shape: Shape


class Jaw:
    """Hands that float, made from collision shapes that are made once.

    Args:
        client: whose world they act in; when it is emptied, make a new robot.
    """

    name = "jaw"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jaw = _jaw(client)
        self._finger, self._tip = _stick(rod(client), (1, 0, 0), AHEAD), _stick(probe(client), (0, 0, 1), BESIDE)

    def jaw(self, point: Point, yaw: float) -> Hand:
        return self._hand(self._jaw, point, yaw)

    def finger(self, point: Point, yaw: float) -> Hand:
        return self._hand(self._finger, point, yaw)

    def tip(self, point: Point) -> Hand:
        return self._hand(self._tip, point, 0.0)

    def _hand(self, kind: Kind, point: Point, yaw: float) -> Hand:
        return Floating(self._client, kind.links, kind.shape, point, yaw)


def _jaw(client: Client) -> Kind:
    """A palm and two fingers that slide in it."""
    box = client.GEOM_BOX
    flat, long = (client.createCollisionShape(box, halfExtents=[side / 2 for side in sides]) for sides in (_PALM, _FINGER))
    palm = Link("palm", BASE, "prismatic", (0, 0, 1), place((0, 0, _UP)), 0.1, shape=flat, friction=FRICTION)
    middle = _FINGER[0] / 2, _FINGER[2] / 2 - _UP
    first, second = (
        Link(name, 0, "prismatic", (sign, 0, 0), place((sign * middle[0], 0, middle[1])), 0.2, shape=long, friction=FRICTION)
        for name, sign in (("first", 1.0), ("second", -1.0))
    )
    finger = solids.box(_FINGER)
    parts = (
        Part(0, solids.box(_PALM), np.eye(4), _DARK),
        Part(1, finger, np.eye(4), METAL),
        Part(2, finger, np.eye(4), METAL),
    )
    low = 0.01 - _FINGER[2] / 2
    pads = tuple(Pad(k, facing((-sign, 0, 0), (-sign * middle[0], 0, low))) for k, sign in ((1, 1), (2, -1)))
    shape = Shape(0, place((0, 0, -_UP)), ((1,), (2,)), (1, 2), OPENING / 2, parts, pads, BESIDE)
    return Kind((palm, first, second), shape)


def _stick(stick: Stick, axis: Vector, eye: Vector) -> Kind:
    """Something upright that slides along an axis."""
    half = stick.length / 2
    link = Link("stick", BASE, "prismatic", axis, place((0, 0, half)), 0.5, shape=stick.shape, friction=stick.friction)
    part = Part(0, stick.mesh, np.eye(4), METAL)
    return Kind((link,), Shape(0, place((0, 0, -half)), ((0,),), (), 0.0, (part,), (Pad(0, stick.pad),), eye))
