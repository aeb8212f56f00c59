"""What an arm's motors must give to bear it and to move it, and how much more lets its hand press with a given force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.robots.chain import Chain, cross

GRAVITY = 9.81
_ASIDE = 0.3  # share of the force with which the hand holds out against what pushes it from the side

_HAND = 0.05  # metres; so far from the fingertips' point may be what the hand presses on

_BEFORE = np.triu(np.ones((7, 7)))[..., None]


@dataclass(frozen=True, eq=False)
class Burden:
    """The masses on a chain.

    Args:
        chain: the joints.
        masses: of the links, what the last one carries included [7].
        centres: of those masses in the joints' frames [7, 3].
        inertias: about those centres, the same about every axis [7].
    """

    chain: Chain
    masses: Floats
    centres: Floats
    inertias: Floats

    def torques(self, angles: Floats, accelerations: Floats) -> Floats:
        """What the joints must give [m, 7] at angles [m, 7], from rest, for angular accelerations [m, 7]."""
        frames = self.chain.frames(angles)[:, :7]
        axes, joints = frames[..., :3, 2], frames[..., :3, 3]
        centres = np.einsum("mjxy,jy->mjx", frames[..., :3, :3], self.centres) + joints
        # How the centre of mass of link j moves with joint i, which must come before it.
        moves = cross(axes[:, :, None], centres[:, None] - joints[:, :, None]) * _BEFORE
        pulled = np.einsum("mijx,mi->mjx", moves, accelerations) + np.array([0, 0, GRAVITY])
        spun = np.cumsum(axes * accelerations[..., None], axis=1) * self.inertias[:, None]
        borne = np.cumsum(spun[:, ::-1], axis=1)[:, ::-1]
        needed: Floats = np.einsum("mijx,mjx,j->mi", moves, pulled, self.masses) + (axes * borne).sum(axis=2)
        return needed

    def press(self, angles: Floats, way: Floats, force: float) -> Floats:
        """What more the joints must give [7], at angles [7], for the hand to press with a force.

        Args:
            angles: of the joints.
            way: the direction it presses in, of unit length [3]; across it the hand holds out with less.
            force: newtons.
        """
        frames = self.chain.frames(angles[None])[0]
        levers = cross(frames[:7, :3, 2], frames[7, :3, 3] - frames[:7, :3, 3])
        more: Floats = force * (np.abs(levers @ way) + _ASIDE * np.linalg.norm(levers, axis=1) + _HAND)
        return more
