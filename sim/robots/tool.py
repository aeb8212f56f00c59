"""What all hands have in common: fingers that feel, pads that look, parts that are seen; only how they move differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim.camera import Camera, Floats, Point, Vector
from embodied_ssl.sim.jointed import Jointed
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import Drawn
from embodied_ssl.sim.robots.hand import ROBOT
from embodied_ssl.sim.senses import Senses

FRICTION = 1.2  # of rubber pads
_BACK = 0.02  # metres from a pad to the camera that looks out through it
_PAD = 0.02  # metres of the pad that it sees
_GIVES = 0.01  # metres; what has sunk in so far is still seen
BESIDE: Vector = (0.0, 0.09, 0.12)  # a camera in the hand of a jaw or a tip, in the hand's frame
AHEAD: Vector = (0.1, 0.0, 0.14)  # of a finger: it looks back, over what is pushed


@dataclass(frozen=True, eq=False)
class Part:
    """Something seen: a mesh on a link.

    Args:
        link: its number.
        mesh: the same object from hand to hand.
        at: mesh to link [4, 4].
        colour: red, green, blue in 0..1.
    """

    link: int
    mesh: Mesh
    at: Floats
    colour: Vector


@dataclass(frozen=True, eq=False)
class Pad:
    """Where a finger feels.

    Args:
        link: its number.
        at: middle of the pad in the link's frame [4, 4]; z points out of the finger, y up in the pictures taken through it.
    """

    link: int
    at: Floats


@dataclass(frozen=True, eq=False)
class Shape:
    """How a hand is put together.

    Args:
        link: that bears the hand.
        frame: of the hand in that link [4, 4]: its origin is the fingertips' point, z points from there into the hand, x along
            the way that a jaw closes or a finger sweeps.
        fingers: the links of each finger.
        jaws: the joints that close, one a finger; none for a finger and a tip.
        wide: position of those joints when open; 0 is closed.
        parts: what is seen.
        pads: one a finger.
        eye: of the camera in the hand, in the hand's frame.
    """

    link: int
    frame: Floats
    fingers: tuple[tuple[int, ...], ...]
    jaws: tuple[int, ...]
    wide: float
    parts: tuple[Part, ...]
    pads: tuple[Pad, ...]
    eye: Vector


def facing(out: Sequence[float], point: Point, up: Sequence[float] = (0.0, 0.0, 1.0)) -> Floats:
    """A pose [4, 4] at a point whose z axis points ``out`` and whose y axis points ``up``; two unit vectors at right angles."""
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = np.cross(up, out), up, out, point
    return pose


class Tool:
    """A hand without a way to move."""

    def __init__(self, jointed: Jointed, shape: Shape) -> None:
        self.jointed, self.shape = jointed, shape
        self.body = jointed.body
        self.residual = 0.0

    def advance(self) -> None:
        """Nothing to do before a step, unless a hand says otherwise."""

    def close(self, force: float, speed: float) -> None:
        for joint in self.shape.jaws:
            self.jointed.keep(joint, 0.0, force, speed)

    def open(self, speed: float) -> None:
        for joint in self.shape.jaws:
            self.jointed.keep(joint, self.shape.wide, 25.0, speed)

    def senses(self, body: int | None = None) -> Senses:
        shape = self.shape
        return self.jointed.senses(shape.fingers, shape.jaws, shape.link, shape.frame[:3, 3], body)

    def forces(self, body: int | None = None) -> Floats:
        return np.array([self.jointed.force(links, body) for links in self.shape.fingers])

    def touching(self, body: int) -> tuple[bool, ...]:
        return tuple(self.jointed.presses(links, body) for links in self.shape.fingers)

    def opening(self) -> float:
        positions = self.jointed.positions()
        return sum(positions[joint] for joint in self.shape.jaws)

    def frame(self) -> Floats:
        """The hand's frame in the world [4, 4]."""
        return self.jointed.pose(self.shape.link) @ self.shape.frame

    def where(self) -> Floats:
        return self.frame()[:3, 3]

    def overlaps(self, bodies: Sequence[int]) -> bool:
        return any(self.gap(body) <= 0 for body in bodies)

    def gap(self, body: int, most: float = 0.1) -> float:
        return self.jointed.gap(body, most)

    def drawn(self) -> list[Drawn]:
        poses = {link: self.jointed.pose(link) for link in {part.link for part in self.shape.parts}}
        return [Drawn(part.mesh, poses[part.link] @ part.at, part.colour, ROBOT) for part in self.shape.parts]

    def camera(self, size: tuple[int, int]) -> Camera:
        frame = self.frame()
        eye, up = frame @ [*self.shape.eye, 1.0], frame[:3, 2]
        return Camera(_vector(eye[:3]), _vector(frame[:3, 3]), _vector(up), *size, fov=50.0, near=0.01, far=1.0)

    def fingertip_cameras(self, size: tuple[int, int]) -> list[Camera]:
        fov = math.degrees(2 * math.atan(_PAD / 2 / _BACK))
        cameras = []
        for pad in self.shape.pads:
            at = self.jointed.pose(pad.link) @ pad.at
            eye = at[:3, 3] - _BACK * at[:3, 2]
            near, far = _BACK - _GIVES, 2 * _BACK
            cameras.append(Camera(_vector(eye), _vector(at[:3, 3]), _vector(at[:3, 1]), *size, fov=fov, near=near, far=far))
        return cameras

    def leave(self) -> None:
        self.jointed.remove()


def _vector(values: Floats) -> Vector:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
