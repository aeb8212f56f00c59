"""What a hand feels over many steps: noted as PyBullet gives it, made sense of once at the end, so that a step stays cheap."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.client import Client

# Of a contact: the hand's link; normal towards the hand; metres apart, negative inside; newtons along the normal.
_ON_LINK, _NORMAL, _APART, _FORCE = 3, 7, 8, 9
_ALONG, _ACROSS = 11, 13  # two ways of friction on the other body, each after its newtons
_SHUT = 5e-4  # metres between fingers that have met


class Senses:
    """The touches, the place and the opening of one hand, step by step.

    Args:
        client: whose world it is in.
        body: of the hand.
        fingers: the links of each finger.
        jaws: the joints whose positions add up to the opening.
        link: that bears the fingertips' point.
        point: the fingertips' point in that link's frame [3].
        other: the only body whose touch counts; None for all.
    """

    def __init__(
        self,
        client: Client,
        body: int,
        fingers: Sequence[Sequence[int]],
        jaws: Sequence[int],
        link: int,
        point: Floats,
        other: int | None,
    ) -> None:
        self._jaws, self._point = list(jaws), point
        self._finger = {number: k for k, links in enumerate(fingers) for number in links}
        self._fingers = len(fingers)
        # Every step asks the same, so the questions are put together once; of a jaw it is the opening that matters.
        self._touching = partial(client.getContactPoints, body, -1 if other is None else other)
        self._standing = partial(client.getJointStates, body, self._jaws) if jaws else partial(client.getLinkState, body, link)
        self._touches: list[tuple[Any, ...]] = []
        self._states: list[tuple[Any, ...]] = []
        self._forces = np.zeros((0, self._fingers, 3))

    def __len__(self) -> int:
        return len(self._touches)

    def take(self) -> None:
        """Note what is felt after a step."""
        self._touches.append(self._touching())
        self._states.append(self._standing())

    def pressed(self) -> bool:
        """Whether every finger pressed on something in the last step."""
        pressing = {self._finger.get(touch[_ON_LINK]) for touch in self._touches[-1] if touch[_FORCE] > 0}
        return len(pressing - {None}) == self._fingers

    def shut(self) -> bool:
        """Whether the fingers have met, as nothing is between them."""
        return bool(self._jaws) and sum([state[0] for state in self._states[-1]]) < _SHUT

    def forces(self) -> Floats:
        """Contact force on each finger in each step, normal and friction, newtons [n, k, 3]."""
        if len(self._forces) != len(self):
            self._forces = self._summed()
        return self._forces

    def _summed(self) -> Floats:
        sums = [0.0] * (len(self) * self._fingers * 3)
        for step, touches in enumerate(self._touches):
            for touch in touches:
                finger = self._finger.get(touch[_ON_LINK])
                if finger is not None:
                    x, y, z = _force(touch)
                    at = (step * self._fingers + finger) * 3
                    sums[at] += x
                    sums[at + 1] += y
                    sums[at + 2] += z
        return np.array(sums).reshape(len(self), self._fingers, 3)

    def sunk(self) -> NDArray[np.float64]:
        """Metres that the hand had sunk into what it touches, at the deepest place, as each step began [n]; 0 for no touch."""
        deep = [[-touch[_APART] for touch in touches if touch[_FORCE] > 0] for touches in self._touches]
        return np.array([max(each) if each else 0.0 for each in deep])

    def where(self) -> Floats:
        """The point of a finger or tip in each step [n, 3]."""
        seven = np.array([state[4] + state[5] for state in self._states]).reshape(-1, 7)
        found: Floats = seven[:, :3] + _turned(seven[:, 3:6], seven[:, 6:], self._point)
        return found

    def opening(self) -> NDArray[np.float64]:
        """Metres between the fingers in each step [n]; 0 for a finger and a tip."""
        if not self._jaws:
            return np.zeros(len(self))
        apart: Floats = np.array([[state[0] for state in states] for states in self._states]).sum(axis=1)
        return apart


def _force(touch: tuple[Any, ...]) -> Vector:
    """On the hand in one contact, newtons; a few numbers at a time are added faster without numpy."""
    (x, y, z), (ax, ay, az), (bx, by, bz) = touch[_NORMAL], touch[_ALONG], touch[_ACROSS]
    normal, along, across = touch[_FORCE], touch[_ALONG - 1], touch[_ACROSS - 1]
    return (
        normal * x - (along * ax + across * bx),
        normal * y - (along * ay + across * by),
        normal * z - (along * az + across * bz),
    )


def _turned(axis: Floats, cosine: Floats, point: Floats) -> Floats:
    """A point turned by many quaternions (axis [n, 3] times the half angle's sine, its cosine [n, 1]): [n, 3]."""
    twice = 2 * _cross(axis, point)
    found: Floats = point + cosine * twice + _cross(axis, twice)
    return found


def _cross(one: Floats, other: Floats) -> Floats:
    """Of rows; a third of what numpy's takes."""
    x, y, z = one.T
    a, b, c = other.T
    return np.array([y * c - z * b, z * a - x * c, x * b - y * a]).T
