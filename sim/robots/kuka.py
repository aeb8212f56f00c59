"""KUKA's LBR iiwa with Schunk's WSG 50, a parallel jaw, from the files that come with PyBullet.

PyBullet's own arms with a gripper (``kuka_with_gripper.sdf``) have fingers that swing on hinges: they do not stay parallel, and
do not open 8 cm. The arm and the gripper are therefore taken from their own files and put together here.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from embodied_ssl.sim.client import Client, data_folder
from embodied_ssl.sim.jointed import place
from embodied_ssl.sim.robots import urdf
from embodied_ssl.sim.robots.arm import Arm
from embodied_ssl.sim.robots.assembly import Model
from embodied_ssl.sim.robots.tool import facing
from embodied_ssl.sim.robots.urdf import Bone, Skin

BASE = (-0.59, 0.0, 0.0)  # metres from the table's middle
HOME = (0.0, 0.55, 0.0, -1.55, 0.0, 1.04, 0.0)
_FLANGE = 0.045  # metres from the last joint's frame to the face that the gripper is screwed to
_TIPS = 0.1535  # from there to the fingertips
_REACHES = 0.003  # by which a finger's pad stands out towards the other
_GREY, _ORANGE, _DARK = (0.6, 0.62, 0.65), (0.95, 0.45, 0.1), (0.25, 0.26, 0.28)


@lru_cache(1)
def model() -> Model:
    """Arm and gripper as their files tell them."""
    folder = data_folder()
    bones = urdf.read(folder / "kuka_iiwa" / "model.urdf", "visual")
    meshes = folder / "gripper" / "meshes"
    screwed = place((0, 0, _FLANGE))
    body = Skin(meshes / "WSG50_110.stl", np.eye(4))
    weight = (1.2, np.array([0.0, 0.0, 0.036]), (0.0, 0.0, 0.0), (body,))
    bones[-1] = wrist = urdf.fixed(bones[-1], screwed, weight)
    guide = Skin(meshes / "GUIDE_WSG50_110.stl", place((-_REACHES, 0, 0)), 0.001)
    finger = Skin(meshes / "WSG-FMF.stl", place((-_REACHES, 0, 0.023)), 0.001)  # its pads point along x
    one, other = (
        Bone(
            name,
            wrist.name,
            "prismatic",
            screwed @ place(yaw=yaw),
            axis=(-1.0, 0.0, 0.0),
            lower=0.0,
            upper=0.055,
            effort=20.0,
            mass=0.2,
            centre=np.zeros(3),
            inertia=(0.0, 0.0, 0.0),
            skins=(finger, guide),
        )
        for name, yaw in (("first_finger", math.pi), ("second_finger", 0.0))
    )
    colours = {"": _ORANGE, wrist.name: _DARK, bones[0].name: _GREY, "first_finger": _GREY, "second_finger": _GREY}
    hand = screwed @ facing((0, 0, -1), (0, 0, _TIPS), up=(0, -1, 0))
    touching = (replace(body, at=screwed),)
    return Model("kuka", (*bones, one, other), place(BASE), HOME, hand, touching, 0.01, colours)


class Kuka(Arm):
    """The iiwa beside the table.

    Args:
        client: whose world it acts in; when that is emptied, make a new robot.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client, model())
