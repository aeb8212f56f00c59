"""Where an arm's hand is for given joint angles, and which angles bring it to a point, pointing down.

Both arms have seven joints, of which the second, fourth and sixth turn about parallel axes. With the third and fifth at 0 the
arm lies in an upright plane through its base: the first joint turns the plane towards the point, the three in it are a triangle,
and the last one turns the hand about the vertical. So the inverse has a closed form: exact, the same whatever came before, and
smooth along lines, where an iterated one (such as the simulator's) depends on where it starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats

_NEXT, _LAST = [1, 2, 0], [2, 0, 1]
_PLANE = [1, 3, 5]  # the joints whose axes are at right angles to the plane


def cross(one: Floats, other: Floats) -> Floats:
    """The cross product along the last axis; numpy's own takes three times as long for few vectors."""
    return one[..., _NEXT] * other[..., _LAST] - one[..., _LAST] * other[..., _NEXT]


@dataclass(frozen=True, eq=False)
class Chain:
    """Seven revolute joints, one after the other, each about its own z axis; the first one's is the world's.

    Args:
        at: each joint's frame in the one before, the first in the world, at angle 0 [7, 4, 4].
        hand: of the hand in the last frame [4, 4]; its z axis is the last joint's, reversed.
        lower: least angles [7].
        upper: greatest angles [7].
        home: angles with the hand pointing down, the third and fifth 0 [7]; the elbow is always on the side where it is there.
    """

    at: Floats
    hand: Floats
    lower: Floats
    upper: Floats
    home: Floats

    def frames(self, angles: Floats) -> Floats:
        """The frame of every joint and of the hand in the world [m, 8, 4, 4] for angles [m, 7]."""
        turns = np.zeros((*angles.shape, 4, 4))
        turns[..., 0, 0] = turns[..., 1, 1] = np.cos(angles)
        turns[..., 1, 0] = np.sin(angles)
        turns[..., 0, 1] = -turns[..., 1, 0]
        turns[..., 2, 2] = turns[..., 3, 3] = 1
        local = self.at @ turns
        found = [local[:, 0]]
        for k in range(1, len(self.at)):
            found.append(found[-1] @ local[:, k])
        found.append(found[-1] @ self.hand)
        return np.stack(found, axis=1)

    @cached_property
    def _flat(self) -> tuple[Floats, NDArray[np.complex128]]:
        """Signs of the three axes [3], and the plane at angle 0: shoulder, bones and the hand's z axis as x + i z [5]."""
        frames = self.frames(np.zeros((1, 7)))[0]
        signs = np.sign(frames[_PLANE, 1, 2])
        x, z = (frames[:, row, 3] - frames[0, row, 3] * (row == 0) for row in (0, 2))
        shoulder, elbow, wrist, hand = (complex(x[k], z[k]) for k in (*_PLANE, 7))
        return signs, np.array([shoulder, elbow - shoulder, wrist - elbow, hand - wrist, complex(*frames[7, [0, 2], 2])])

    @cached_property
    def _facing(self) -> float:
        """The hand's yaw at home."""
        x, y = self.frames(self.home[None])[0, 7, :2, 0]
        return float(np.arctan2(y, x))

    def solve(self, points: Floats, yaw: float) -> tuple[Floats, Floats]:
        """Angles that bring the hand to points, pointing down.

        Args:
            points: in the world [m, 3].
            yaw: of the hand's x axis, radians about z.

        Returns:
            Angles within the limits [m, 7], and the metres that are missing [m], 0 where the hand gets there upright.
        """
        signs, (shoulder, upper, lower, hand, up) = self._flat
        x, y, z = (points - [*self.at[0, :2, 3], 0.0]).T
        bearing = np.arctan2(y, x)
        turned = 1j / up  # by all three joints together
        way = np.hypot(x, y) + 1j * z - shoulder - turned * hand
        cosine = (abs(way) ** 2 - abs(upper) ** 2 - abs(lower) ** 2) / (2 * abs(upper) * abs(lower))
        bend = self._side * np.arccos(np.clip(cosine, -1, 1))  # between the two bones
        elbow = np.exp(1j * bend) * abs(lower) / abs(upper) * upper
        angles = np.tile(self.home, (len(points), 1))
        angles[:, 0] = bearing
        first, second = np.angle(way / (upper + elbow)), bend - np.angle(lower / upper)
        angles[:, _PLANE] = -signs * np.stack([first, second, np.angle(turned) - first - second], axis=1)
        angles[:, 6] = self.home[6] - (yaw - self._facing - bearing)  # the last axis points down
        angles = self.home + np.remainder(angles - self.home + np.pi, 2 * np.pi) - np.pi
        kept = np.clip(angles, self.lower, self.upper)
        missing = np.zeros(len(points))
        astray = (np.abs(cosine) > 1) | (kept != angles).any(axis=1)
        if astray.any():
            missing[astray] = np.linalg.norm(self.frames(kept[astray])[:, 7, :3, 3] - points[astray], axis=1)
        return kept, missing

    def nearest(self, point: Floats, yaw: float) -> float:
        """``yaw``, or half a turn from it: that for which the last joint is nearer to where it is at home, at a point [3]."""
        bearing = math.atan2(point[1] - self.at[0, 1, 3], point[0] - self.at[0, 0, 3])
        straight = self._facing + bearing
        return straight + math.remainder(yaw - straight, math.pi)

    @cached_property
    def _side(self) -> float:
        """1 or -1: to which side the elbow bends at home."""
        signs, (_, upper, lower, _, _) = self._flat
        bend = np.angle(lower / upper * np.exp(-1j * signs[1] * self.home[3]))
        return float(np.sign(bend))
