"""Franka Emika's Panda with its own hand, from the files that come with PyBullet.

The meshes of its collisions are what is seen, 3,472 triangles instead of 102,759: they differ by little more than a millimetre.
"""

from __future__ import annotations

import math
from functools import lru_cache

from embodied_ssl.sim.client import Client, data_folder
from embodied_ssl.sim.jointed import place
from embodied_ssl.sim.robots import urdf
from embodied_ssl.sim.robots.arm import Arm
from embodied_ssl.sim.robots.assembly import Model
from embodied_ssl.sim.robots.tool import facing

BASE = (-0.5, 0.0, 0.0)  # metres from the table's middle
HOME = (0.0, 0.05, 0.0, -2.3, 0.0, 2.35, math.pi / 4)
_TIPS = 0.1122  # metres from the hand's frame to the fingertips
_WHITE, _DARK = (0.88, 0.88, 0.87), (0.3, 0.31, 0.33)


@lru_cache(1)
def model() -> Model:
    """The arm as its files tell it."""
    bones = urdf.read(data_folder() / "franka_panda" / "panda.urdf", "collision")
    wrist = next(bone for bone in bones if bone.name == "panda_link7")
    hand = next(skin for skin in wrist.skins if skin.file.stem == "hand")
    down = facing((0, 0, -1), (0, 0, _TIPS), up=(1, 0, 0))  # the fingers slide along the hand's y
    colours = {"": _WHITE, "panda_leftfinger": _DARK, "panda_rightfinger": _DARK}
    return Model("panda", tuple(bones), place(BASE), HOME, hand.at @ down, (hand,), 0.01, colours)


class Panda(Arm):
    """The Panda beside the table.

    Args:
        client: whose world it acts in; when that is emptied, make a new robot.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client, model())
