"""The chain of an arm as its URDF file tells it: joints, limits, masses, and the files of what is seen.

Only what an arm of revolute joints needs: links without joints of their own are counted to the link that they are fixed to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from embodied_ssl.sim.camera import Floats, Vector


@dataclass(frozen=True, eq=False)
class Skin:
    """What is seen of a link: a file of triangles, where it lies in the link's frame [4, 4], and metres of its unit."""

    file: Path
    at: Floats
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Bone:
    """A link and the joint that it hangs on.

    Args:
        name: of the link.
        parent: of the link that it hangs on; "" for the base.
        joint: "revolute" or "prismatic"; "" for the base.
        at: its frame in its parent's at joint position 0 [4, 4].
        axis: of the joint, in its own frame.
        lower: least position of the joint.
        upper: greatest.
        effort: newton metres or newtons that its motor can give.
        mass: kilograms, with what is fixed to it.
        centre: of that mass, in its frame [3].
        inertia: about its own centre, without what is fixed to it, kg m^2 along x, y, z.
        skins: of it and of what is fixed to it.
    """

    name: str
    parent: str
    joint: str
    at: Floats
    axis: Vector
    lower: float
    upper: float
    effort: float
    mass: float
    centre: Floats
    inertia: Vector
    skins: tuple[Skin, ...]


def turn(roll: float, pitch: float, yaw: float) -> Floats:
    """The pose [4, 4] that turns by ``roll`` about x, then ``pitch`` about y, then ``yaw`` about z."""
    pose = np.eye(4)
    for axis, angle in enumerate((roll, pitch, yaw)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(4)
        about[one, one] = about[other, other] = math.cos(angle)
        about[other, one], about[one, other] = math.sin(angle), -math.sin(angle)
        pose = about @ pose
    return pose


def read(path: Path, seen: str) -> list[Bone]:
    """Read an arm, parents before children.

    Args:
        path: of the URDF file.
        seen: which of its meshes are seen, "visual" or "collision"; the latter are coarser in some files.
    """
    tree = ElementTree.parse(path).getroot()
    links = {link.attrib["name"]: link for link in tree.iter("link")}
    joints = {_named(joint, "child"): joint for joint in tree.iter("joint")}
    (base,) = set(links) - set(joints)
    found: dict[str, Bone] = {base: _bone(base, "", "", np.eye(4), None, _content(links[base], path, seen))}
    holders = {base: (base, np.eye(4))}  # what a link is counted to, and where it lies in that
    waiting = list(joints)
    while waiting:
        name = next(name for name in waiting if _named(joints[name], "parent") in holders)
        waiting.remove(name)
        joint = joints[name]
        holder, where = holders[_named(joint, "parent")]
        where = where @ _origin(joint)
        content = _content(links[name], path, seen)
        if joint.attrib["type"] == "fixed":
            found[holder] = fixed(found[holder], where, content)
            holders[name] = (holder, where)
        else:
            found[name] = _bone(name, holder, joint.attrib["type"], where, joint, content)
            holders[name] = (name, np.eye(4))
    return list(found.values())


Content = tuple[float, Floats, Vector, tuple[Skin, ...]]  # mass, its centre [3], inertia, skins


def _named(joint: ElementTree.Element, role: str) -> str:
    element = joint.find(role)
    return "" if element is None else element.attrib["link"]


def _numbers(element: ElementTree.Element | None, name: str, otherwise: str = "0 0 0") -> list[float]:
    return [float(word) for word in (otherwise if element is None else element.attrib.get(name, otherwise)).split()]


def _origin(element: ElementTree.Element) -> Floats:
    origin = element.find("origin")
    roll, pitch, yaw = _numbers(origin, "rpy")
    pose = turn(roll, pitch, yaw)
    pose[:3, 3] = _numbers(origin, "xyz")
    return pose


def _content(link: ElementTree.Element, path: Path, seen: str) -> Content:
    inertial = link.find("inertial")
    mass = 0.0 if inertial is None else _numbers(inertial.find("mass"), "value", "0")[0]
    centre = np.zeros(3) if inertial is None else _origin(inertial)[:3, 3]
    moments = None if inertial is None else inertial.find("inertia")
    xx, yy, zz = (_numbers(moments, word, "0")[0] for word in ("ixx", "iyy", "izz"))
    skins = []
    for element in link.findall(seen):
        mesh = element.find("geometry/mesh")
        if mesh is not None:
            skins.append(Skin(path.parent / mesh.attrib["filename"].removeprefix("package://"), _origin(element)))
    return mass, centre, (xx, yy, zz), tuple(skins)


def _bone(name: str, parent: str, kind: str, at: Floats, joint: ElementTree.Element | None, content: Content) -> Bone:
    x, y, z = (0.0, 0.0, 1.0) if joint is None else _numbers(joint.find("axis"), "xyz", "1 0 0")
    limit = None if joint is None else joint.find("limit")
    lower, upper, effort = (_numbers(limit, word, "0")[0] for word in ("lower", "upper", "effort"))
    return Bone(name, parent, kind, at, (x, y, z), lower, upper, effort, *content)


def fixed(holder: Bone, where: Floats, content: Content) -> Bone:
    """A bone with something fixed to it at a pose."""
    mass, centre, _, skins = content
    total = holder.mass + mass
    theirs = where[:3, :3] @ centre + where[:3, 3]
    middle = holder.centre if total == 0 else (holder.mass * holder.centre + mass * theirs) / total
    more = tuple(replace(skin, at=where @ skin.at) for skin in skins)
    return replace(holder, mass=total, centre=middle, skins=holder.skins + more)
