"""An arm put together for what it is to do: with fingers that slide, or that hold a rod to sweep or a probe to press with.

The three differ in links, not in state: what does not move has no joint, and costs no step. A rod reaches so far below the hand
that the hand passes over what is pushed, which a closed finger of five centimetres does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.jointed import BASE, Link, place
from embodied_ssl.sim.robots.hand import OPENING
from embodied_ssl.sim.robots.skins import seen, triangles
from embodied_ssl.sim.robots.sticks import METAL, Stick
from embodied_ssl.sim.robots.tool import AHEAD, BESIDE, FRICTION, Pad, Part, Shape, facing
from embodied_ssl.sim.robots.urdf import Bone, Skin

_SHOWS = {"finger": 0.07, "back": 0.07, "tip": 0.02}  # metres of what is held below the fingertips
_QUARTER = math.pi / 2
_SKIN = 0.001  # metres that the engine adds around a hull


@dataclass(frozen=True, eq=False)
class Model:
    """What one arm is made of.

    Args:
        name: what a specification calls it.
        bones: the base, the arm, and two fingers on the arm's last bone, parents before children.
        base: where it stands [4, 4].
        home: angles of the arm's joints in the middle of its work, hand down.
        hand: the hand's frame in the last bone of the arm [4, 4]: its origin is the fingertips' point, z points into the hand, x
            along the way of the first finger.
        touching: what of the last bone touches things; a finger touches with its first skin.
        pad: middle of the pads above the fingertips, metres.
        colours: of bones by name; "" for all others.
    """

    name: str
    bones: tuple[Bone, ...]
    base: Floats
    home: tuple[float, ...]
    hand: Floats
    touching: tuple[Skin, ...]
    pad: float
    colours: Mapping[str, Vector]

    @property
    def arm(self) -> list[Bone]:
        """The bones that turn."""
        return [bone for bone in self.bones if bone.joint == "revolute"]


@dataclass(frozen=True, eq=False)
class Hull:
    """What a bone touches with.

    Attributes:
        shape: number of a collision shape.
        at: its frame in the bone's [4, 4]: a shift to where its mass is taken to be.
        corners: in the bone's frame [n, 3].
    """

    shape: int
    at: Floats
    corners: Floats


def hulls(client: Client, model: Model) -> dict[str, Hull]:
    """The hulls of an arm's last bone and of its fingers, by the bones' names."""
    last = model.arm[-1]
    # A turning link's frame can be shifted along its axis only, a sliding one's anywhere.
    found = {last.name: _hull(client, model.touching, np.array([0.0, 0.0, 1.0]))}
    for bone in model.bones[-2:]:
        found[bone.name] = _hull(client, bone.skins[:1], np.ones(3))
    return found


def _hull(client: Client, skins: Sequence[Skin], free: Floats) -> Hull:
    corners = np.unique(np.concatenate([triangles(skin).reshape(-1, 3) for skin in skins]).round(6), axis=0)
    middle, half = (corners.max(axis=0) + corners.min(axis=0)) / 2, np.ptp(corners, axis=0) / 2
    origin = middle * free
    inner = (corners - middle) * (half - _SKIN) / half + middle - origin
    shape = client.createCollisionShape(client.GEOM_MESH, vertices=inner.tolist())
    return Hull(shape, place(origin), corners)


@dataclass(frozen=True, eq=False)
class Assembly:
    """An arm for one purpose.

    Attributes:
        links: of the body; the arm's joints come first.
        shape: of the hand.
        shows: metres of what it holds below the fingertips.
    """

    links: tuple[Link, ...]
    shape: Shape
    shows: float


def assemble(model: Model, touched: Mapping[str, Hull], kind: str, held: Stick | None = None) -> Assembly:
    """Put an arm together.

    Args:
        model: which arm.
        touched: its `hulls`.
        kind: "jaw", "tip", or "finger" for one that sweeps a quarter turn to the right of the hand's x, "back" to the left.
        held: what the fingers hold; None for a jaw.
    """
    apart = 0.0 if held is None else held.thick / 2
    links: list[Link] = []
    parts: list[Part] = []
    frames: dict[str, tuple[int, Floats]] = {}  # of each bone: its link, and the bone's frame in that
    for bone in model.bones:
        number, at, shift = BASE, np.eye(4), np.eye(4)
        if bone.joint:
            holder, where = frames[bone.parent]
            hull = touched.get(bone.name)
            shift = np.eye(4) if hull is None else hull.at
            at = where @ bone.at @ shift
            slides = bone.joint == "prismatic"
            if slides:
                at = at @ place([apart * part for part in bone.axis])
            number = len(links)
            links.append(_link(bone, holder, "fixed" if slides and held else bone.joint, at, hull))
        back: Floats = np.asarray(np.linalg.inv(shift), np.float64)
        frames[bone.name] = (number, back)
        colour = model.colours.get(bone.name, model.colours[""])
        parts += [Part(number, seen(skin), back @ skin.at, colour) for skin in bone.skins]
    wrist, where = frames[model.arm[-1].name]
    if held is None:
        fingers = (frames[model.bones[-2].name][0], frames[model.bones[-1].name][0])
        return _jaw(links, parts, wrist, where @ model.hand, fingers, model.pad)
    return _holding(links, parts, wrist, where @ model.hand, held, kind)


def _link(bone: Bone, holder: int, joint: str, at: Floats, hull: Hull | None) -> Link:
    if hull is None:
        x, y, z = (float(part) for part in bone.centre)
        return Link(bone.name, holder, joint, bone.axis, at, bone.mass, (x, y, z), bone.inertia)
    return Link(bone.name, holder, joint, bone.axis, at, bone.mass, shape=hull.shape, friction=FRICTION)


def _jaw(
    links: Sequence[Link], parts: Sequence[Part], wrist: int, hand: Floats, fingers: tuple[int, int], high: float
) -> Assembly:
    """Fingers that close, with pads so high above their ends."""
    pads = tuple(
        Pad(link, np.linalg.inv(links[link].at) @ hand @ facing((-sign, 0, 0), (0, 0, high)))
        for link, sign in zip(fingers, (1, -1), strict=True)
    )
    groups = tuple((link,) for link in fingers)
    return Assembly(tuple(links), Shape(wrist, hand, groups, fingers, OPENING / 2, tuple(parts), pads, BESIDE), 0.0)


def _holding(links: Sequence[Link], parts: Sequence[Part], wrist: int, hand: Floats, held: Stick, kind: str) -> Assembly:
    """Fingers that hold a stick, broadside to the way that it sweeps, so that the hand reaches little ahead."""
    turned = {"finger": -_QUARTER, "back": _QUARTER, "tip": 0.0}[kind]
    low = hand @ place((0, 0, -_SHOWS[kind]), turned)
    middle, number = low @ place((0, 0, held.length / 2)), len(links)
    link = Link("held", wrist, "fixed", (0, 0, 1), middle, 0.05, shape=held.shape, friction=held.friction)
    part = Part(number, held.mesh, np.eye(4), METAL)
    eye = BESIDE if kind == "tip" else AHEAD
    shape = Shape(wrist, low, ((number,),), (), 0.0, (*parts, part), (Pad(number, held.pad),), eye)
    return Assembly((*links, link), shape, _SHOWS[kind])
