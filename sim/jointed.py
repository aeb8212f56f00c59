"""Bodies with joints: the one place where motors, gears and links are spoken to, for floating tools and arms alike.

A body is made when it is needed and removed when it has acted. From collision shapes that are kept, an arm of nine joints costs
0.3 ms that way, less than ten steps in which it would have stood aside; and no state of one interaction can reach the next,
because none is left. Links have no limits: who moves a body knows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embodied_ssl.sim.camera import Floats, Quaternion, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.senses import Senses

BASE = -1  # as a parent, or as a link


def place(position: Sequence[float] = (0.0, 0.0, 0.0), yaw: float = 0.0) -> Floats:
    """A pose [4, 4] at a position, turned by ``yaw`` about z."""
    (x, y, z), cosine, sine = position, math.cos(yaw), math.sin(yaw)
    return np.array([[cosine, -sine, 0.0, x], [sine, cosine, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]])


def matrix(position: Sequence[float], orientation: Sequence[float]) -> Floats:
    """A pose [4, 4] from a position and a quaternion (x, y, z, w) of unit length."""
    x, y, z, w = orientation
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), position[0]],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), position[1]],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), position[2]],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def quaternion(pose: Floats) -> Quaternion:
    """The turn of a pose [4, 4] as x, y, z, w, found from its largest part, so that none is divided by nearly nothing."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = pose[:3, :3].tolist()
    squares = (1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz)
    products = (
        (squares[0], xy + yx, zx + xz, zy - yz),
        (xy + yx, squares[1], yz + zy, xz - zx),
        (zx + xz, yz + zy, squares[2], yx - xy),
        (zy - yz, xz - zx, yx - xy, squares[3]),
    )
    found = np.array(products[squares.index(max(squares))])
    x, y, z, w = (found / np.linalg.norm(found)).tolist()
    return (x, y, z, w)


@dataclass(frozen=True, eq=False)
class Link:
    """A part of a body, and the joint that it hangs on.

    Args:
        name: of the link.
        parent: number of the link that it hangs on, or `BASE`.
        joint: "revolute", "prismatic" or "fixed".
        axis: that the joint turns about or slides along, in the link's own frame.
        at: the link's frame in its parent's at joint position 0 [4, 4].
        mass: kilograms.
        centre: of mass, in the link's frame. A link that touches has it at the origin, or its shape becomes a compound one, which
            is slower and, after a state is restored, not exact.
        inertia: about that centre, kg m^2 along x, y, z; of no account for a link that touches, whose shape decides.
        shape: number of a collision shape, -1 for none.
        friction: lateral; two bodies in touch slide with the product of theirs.
        spinning: friction against turning on the spot, metres.
    """

    name: str
    parent: int
    joint: str
    axis: Vector
    at: Floats
    mass: float
    centre: Vector = (0.0, 0.0, 0.0)
    inertia: Vector = (0.0, 0.0, 0.0)
    shape: int = -1
    friction: float = 1.0
    spinning: float = 0.01

    @cached_property
    def stand(self) -> tuple[list[float], Quaternion]:
        """Position and orientation of its frame in its parent's."""
        return self.at[:3, 3].tolist(), quaternion(self.at)


class Jointed:
    """A body of links on a base that never moves; every joint starts at rest with its motor off.

    Args:
        client: whose world it is put in.
        links: parents before children; a link's place here is its number, and its joint's.
        at: pose of the base.
        positions: of the joints; 0 for fixed ones.
    """

    def __init__(self, client: Client, links: Sequence[Link], at: Floats, positions: Sequence[float]) -> None:
        self._client = client
        self.links = tuple(links)
        self.body = self._make(at)
        self._gears: list[int] = []
        self.moving = tuple(k for k, link in enumerate(links) if link.joint != "fixed")
        for k in self.moving:
            client.setJointMotorControl2(self.body, k, client.VELOCITY_CONTROL, force=0)
        for k, link in enumerate(links):
            if link.shape >= 0:
                client.changeDynamics(self.body, k, lateralFriction=link.friction, spinningFriction=link.spinning)
            elif any(link.inertia):
                client.changeDynamics(self.body, k, localInertiaDiagonal=link.inertia)
        self.put(positions)

    def _make(self, at: Floats) -> int:
        client, links = self._client, self.links
        n = len(links)
        kinds = {"revolute": client.JOINT_REVOLUTE, "prismatic": client.JOINT_PRISMATIC, "fixed": client.JOINT_FIXED}
        made: int = client.createMultiBody(
            0,
            -1,
            -1,
            at[:3, 3].tolist(),
            quaternion(at),
            linkMasses=[link.mass for link in links],
            linkCollisionShapeIndices=[link.shape for link in links],
            linkVisualShapeIndices=[client.unseen] * n,
            linkPositions=[link.stand[0] for link in links],
            linkOrientations=[link.stand[1] for link in links],
            linkInertialFramePositions=[link.centre for link in links],
            linkInertialFrameOrientations=[(0, 0, 0, 1)] * n,
            linkParentIndices=[link.parent + 1 for link in links],
            linkJointTypes=[kinds[link.joint] for link in links],
            linkJointAxis=[link.axis for link in links],
        )
        return made

    def number(self, name: str) -> int:
        """The link of this name."""
        return [link.name for link in self.links].index(name)

    def gear(self, first: int, second: int) -> None:
        """Make two joints keep the same position, as one motor would."""
        client = self._client
        gear = client.createConstraint(self.body, first, self.body, second, client.JOINT_GEAR, (1, 0, 0), (0, 0, 0), (0, 0, 0))
        client.changeConstraint(gear, gearRatio=-1, erp=0.9, maxForce=200)
        self._gears.append(gear)

    def put(self, positions: Sequence[float]) -> None:
        """Put every joint somewhere, at rest; nothing in between is touched."""
        for k in self.moving:
            self._client.resetJointState(self.body, k, positions[k], 0.0)

    def keep(self, joint: int, position: float, force: float, speed: float, gain: float = 0.1) -> None:
        """Set a motor to go to a position and stay there, with at most this force and speed.

        Args:
            joint: its number.
            position: metres or radians.
            force: newtons or newton metres.
            speed: metres or radians a second.
            gain: share of what is missing that the next step should make up; with 1 it arrives without slowing down.
        """
        client = self._client
        client.setJointMotorControl2(
            self.body,
            joint,
            client.POSITION_CONTROL,
            targetPosition=position,
            force=force,
            maxVelocity=speed,
            positionGain=gain,
        )

    def follow(self, joints: Sequence[int], positions: Sequence[float], forces: Sequence[float]) -> None:
        """Set motors to be somewhere after the next step, with at most these forces."""
        client = self._client
        ones = [1.0] * len(joints)
        client.setJointMotorControlArray(
            self.body, joints, client.POSITION_CONTROL, targetPositions=positions, forces=forces, positionGains=ones
        )

    def push(self, joints: Sequence[int], forces: Sequence[float]) -> None:
        """Push joints in the next step, besides what their motors do."""
        client = self._client
        client.setJointMotorControlArray(self.body, joints, client.TORQUE_CONTROL, forces=forces)

    def positions(self) -> list[float]:
        """Of all joints, in metres or radians; 0 for fixed ones."""
        return [state[0] for state in self._client.getJointStates(self.body, range(len(self.links)))]

    def effort(self, joint: int) -> float:
        """What a motor gave in the last step, in newtons or newton metres."""
        return float(self._client.getJointState(self.body, joint)[3])

    def pose(self, link: int) -> Floats:
        """A link's frame in the world, or the base's [4, 4]."""
        if link == BASE:
            return matrix(*self._client.getBasePositionAndOrientation(self.body))
        state = self._client.getLinkState(self.body, link, computeForwardKinematics=1)
        return matrix(state[4], state[5])

    def force(self, links: Sequence[int], body: int | None = None) -> Floats:
        """The contact force on these links together in the last step [3], normal and friction, from one body or from all."""
        total = np.zeros(3)
        for contact in self._contacts(links, body):
            # 7: normal on the other body, towards this one; 9: its force. 10 and 12: friction along 11 and 13, on the other body.
            normal, first, second = np.array(contact[7]), np.array(contact[11]), np.array(contact[13])
            total += contact[9] * normal - contact[10] * first - contact[12] * second
        return total

    def senses(self, fingers: Sequence[Sequence[int]], jaws: Sequence[int], link: int, point: Floats, body: int | None) -> Senses:
        """To note what fingers feel, and where a point of a link is, in many steps; see `Senses`."""
        return Senses(self._client, self.body, fingers, jaws, link, point, body)

    def presses(self, links: Sequence[int], body: int) -> bool:
        """Whether any of these links pressed on a body in the last step."""
        return any(contact[9] > 0 for contact in self._contacts(links, body))

    def _contacts(self, links: Sequence[int], body: int | None) -> list[tuple]:  # type: ignore[type-arg]  # as PyBullet gives them
        other = {} if body is None else {"bodyB": body}
        return [contact for link in links for contact in self._client.getContactPoints(bodyA=self.body, linkIndexA=link, **other)]

    def gap(self, body: int, most: float) -> float:
        """The distance to a body now, negative where they overlap; ``most`` when it is more."""
        near = self._client.getClosestPoints(self.body, body, most)
        return min([most, *(float(point[8]) for point in near)])

    def remove(self) -> None:
        """Take it out of the world, and its gears before it."""
        for gear in self._gears:
            self._client.removeConstraint(gear)
        self._client.removeBody(self.body)
