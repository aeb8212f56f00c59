"""Reading one rigid thing out of a URDF file: its shapes, with links joined firmly made one, and what it says of its physics."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from embodied_ssl.errors import BadItem
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.objects.thing import Given, Primitive


@dataclass(frozen=True, eq=False)
class Shape:
    """Something that is seen or touched.

    Attributes:
        pose: its frame in the thing's, float64 [4, 4]: a turn and a shift.
        primitive: its measures, or None for a mesh.
        mesh: the mesh's file as written, "" for a primitive.
        scale: factors on the mesh's x, y and z.
        colour: red, green, blue in 0..1, or None.
    """

    pose: Floats
    primitive: Primitive | None
    mesh: str = ""
    scale: Vector = (1.0, 1.0, 1.0)
    colour: Vector | None = None


@dataclass(frozen=True, eq=False)
class Described:
    """What a URDF file says: what is seen, what is touched (never both empty), and physics."""

    seen: tuple[Shape, ...]
    touched: tuple[Shape, ...]
    given: Given


def read(path: Path) -> Described:
    """Read a URDF file of one rigid thing.

    Raises:
        BadItem: it is no URDF, is not rigid, has no shape, or a number that is none.
    """
    name = path.name
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        # Some files, PyBullet's own among them, state a version of XML that never was.
        robot = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, count=1))
    except OSError as error:
        raise BadItem(name, f"cannot be read ({error.strerror})") from None
    except ElementTree.ParseError as error:
        raise BadItem(name, f"is not XML: {error}") from None
    if robot.tag != "robot":
        raise BadItem(name, f"is no URDF: it begins with <{robot.tag}>, not <robot>")
    try:
        return _rigid(robot, name)
    except (ValueError, OverflowError) as error:
        raise BadItem(name, str(error)) from None


def _rigid(robot: Element, name: str) -> Described:
    links = {link.get("name", ""): link for link in robot.findall("link")}
    if not links:
        raise BadItem(name, "has no links")
    if len(links) < len(robot.findall("link")):
        raise BadItem(name, "has two links of the same name")
    poses = _poses(robot, links, name)
    paints = {paint.get("name", ""): paint for paint in robot.iter("material") if paint.find("color") is not None}
    seen = tuple(_shape(each, poses[link], paints) for link, at in links.items() for each in at.findall("visual"))
    touched = tuple(_shape(each, poses[link], paints) for link, at in links.items() for each in at.findall("collision"))
    if not seen and not touched:
        raise BadItem(name, "has neither a visual nor a collision shape")
    return Described(seen or touched, touched or seen, _given(list(links.values())))


def _poses(robot: Element, links: dict[str, Element], name: str) -> dict[str, Floats]:
    """Each link's frame in that of the first, along joints that are all fixed."""
    joined: dict[str, tuple[str, Floats]] = {}
    for joint in robot.findall("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        ends = ["" if end is None else end.get("link", "") for end in (parent, child)]
        if not set(ends) <= links.keys() or ends[1] in joined:
            raise BadItem(name, f"joint '{joint.get('name', '')}' does not join two of its links")
        if joint.get("type") != "fixed":
            raise BadItem(name, f"joint '{joint.get('name', '')}' is {joint.get('type')}; only rigid things can be used")
        joined[ends[1]] = (ends[0], _origin(joint))
    roots = [link for link in links if link not in joined]
    if len(roots) != 1:
        raise BadItem(name, f"has {len(roots)} links that hang on no other; a rigid thing has one")
    poses: dict[str, Floats] = {roots[0]: np.eye(4)}
    while len(poses) < len(links):
        found = {child: poses[parent] @ at for child, (parent, at) in joined.items() if parent in poses and child not in poses}
        if not found:
            raise BadItem(name, "its joints run in a circle")
        poses |= found
    return poses


def _shape(element: Element, link: Floats, paints: dict[str, Element]) -> Shape:
    geometry = element.find("geometry")
    inner = None if geometry is None else next(iter(geometry), None)
    if inner is None:
        raise ValueError(f"a <{element.tag}> has no geometry")
    pose = link @ _origin(element)
    colour = _colour(element, paints)
    if inner.tag == "mesh":
        scale = _numbers(inner, "scale", "1 1 1")
        if not all(scale):
            raise ValueError("a mesh has scale 0")
        return Shape(pose, None, inner.get("filename", ""), _three(scale * 3 if len(scale) == 1 else scale), colour)
    if inner.tag == "box":
        size = _three(_numbers(inner, "size"))
    elif inner.tag == "sphere":
        size = _three(_numbers(inner, "radius") * 3, 2.0)
    elif inner.tag in ("cylinder", "capsule"):
        (radius,), (length,) = _numbers(inner, "radius"), _numbers(inner, "length")
        size = (2 * radius, 2 * radius, length + (2 * radius if inner.tag == "capsule" else 0.0))
    else:
        raise ValueError(f"its shape <{inner.tag}> is not known; there is box, cylinder, sphere, capsule, mesh")
    if min(size) <= 0:
        raise ValueError(f"a {inner.tag} has a measure of 0 or less")
    return Shape(pose, Primitive(inner.tag, size), colour=colour)


def _colour(element: Element, paints: dict[str, Element]) -> Vector | None:
    material = element.find("material")
    if material is None:
        return None
    paint = material if material.find("color") is not None else paints.get(material.get("name", ""))
    found = None if paint is None else paint.find("color")
    if found is None:
        return None
    red, green, blue, *_ = (min(max(value, 0.0), 1.0) for value in (*_numbers(found, "rgba"), 0.0, 0.0, 0.0))
    return red, green, blue


def _origin(element: Element) -> Floats:
    """A turn and a shift [4, 4], as URDF writes them: roll, pitch, yaw about fixed axes."""
    pose = np.eye(4)
    origin = element.find("origin")
    if origin is None:
        return pose
    roll, pitch, yaw = _three(_numbers(origin, "rpy", "0 0 0"))
    turn = np.eye(3)
    for angle, one, other in ((roll, 1, 2), (pitch, 2, 0), (yaw, 0, 1)):
        step = np.eye(3)
        step[one, one] = step[other, other] = math.cos(angle)
        step[one, other], step[other, one] = -math.sin(angle), math.sin(angle)
        turn = step @ turn
    pose[:3, :3] = turn
    pose[:3, 3] = _three(_numbers(origin, "xyz", "0 0 0"))
    return pose


def _given(links: Sequence[Element]) -> Given:
    """Mass of all links together; surfaces as the first link that says so."""
    masses = [_numbers(mass, "value")[0] for link in links for mass in link.findall("inertial/mass")]
    surface: dict[str, float] = {}
    fields = {"lateral_friction": "friction", "spinning_friction": "spinning", "rolling_friction": "rolling"}
    for link in links:
        for contact in link.findall("contact"):
            for element in contact:
                field = fields.get(element.tag, element.tag)
                if field in ("friction", "spinning", "rolling", "restitution", "stiffness", "damping") and field not in surface:
                    surface[field] = _numbers(element, "value")[0]
    return Given(mass=math.fsum(masses) if masses else None, **surface)


def _numbers(element: Element, attribute: str, otherwise: str | None = None) -> list[float]:
    text = element.get(attribute, otherwise)
    try:
        values = [float(word) for word in (text or "").split()]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"<{element.tag}> has no number as its {attribute}" + (f": '{text}'" if text else ""))
    return values


def _three(values: Sequence[float], factor: float = 1.0) -> Vector:
    if len(values) != 3:
        raise ValueError(f"{len(values)} numbers stand where three belong: {' '.join(f'{value:g}' for value in values)}")
    return values[0] * factor, values[1] * factor, values[2] * factor
