"""An arm put together for what it is to do: with fingers that slide, fingers that stay closed, or a probe held between them.

The three differ in links, not in state: what does not move has no joint, and costs no step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.jointed import BASE, Link, place
from embodied_ssl.sim.robots.hand import OPENING, ROUND
from embodied_ssl.sim.robots.skins import seen, triangles
from embodied_ssl.sim.robots.tool import AHEAD, BESIDE, FRICTION, Pad, Part, Shape, facing
from embodied_ssl.sim.robots.urdf import Bone, Skin

SHOWS = 0.02  # metres of the probe below the fingertips
_PROBE = 0.06  # its length
_NEAR_TIPS = 0.02  # metres; how far up a closed finger is looked at to tell how thick it is
_QUARTER = math.pi / 2
_SKIN = 0.001  # metres that the engine adds around a hull
_METAL = (0.3, 0.3, 0.32)


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


def assemble(model: Model, touched: Mapping[str, Hull], kind: str, probe: int = -1) -> Assembly:
    """Put an arm together.

    Args:
        model: which arm.
        touched: its `hulls`.
        kind: "jaw", "tip", or "finger" for one that sweeps a quarter turn to the right of the hand's x, "back" to the left.
        probe: collision shape of a tip's probe.
    """
    apart = ROUND / 2 if kind == "tip" else 0.0
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
            links.append(_link(bone, holder, "fixed" if slides and kind != "jaw" else bone.joint, at, hull))
        back: Floats = np.asarray(np.linalg.inv(shift), np.float64)
        frames[bone.name] = (number, back)
        colour = model.colours.get(bone.name, model.colours[""])
        parts += [Part(number, seen(skin), back @ skin.at, colour) for skin in bone.skins]
    return _with_hand(model, touched, kind, probe, links, parts, frames)


def _link(bone: Bone, holder: int, joint: str, at: Floats, hull: Hull | None) -> Link:
    if hull is None:
        x, y, z = (float(part) for part in bone.centre)
        return Link(bone.name, holder, joint, bone.axis, at, bone.mass, (x, y, z), bone.inertia)
    return Link(bone.name, holder, joint, bone.axis, at, bone.mass, shape=hull.shape, friction=FRICTION)


def _with_hand(
    model: Model,
    touched: Mapping[str, Hull],
    kind: str,
    probe: int,
    links: list[Link],
    parts: list[Part],
    frames: Mapping[str, tuple[int, Floats]],
) -> Assembly:
    """What closes, feels and looks out, and the probe of a tip."""
    wrist, where = frames[model.arm[-1].name]
    hand = where @ model.hand
    first, second = (frames[bone.name][0] for bone in model.bones[-2:])
    if kind == "jaw":
        pads = tuple(
            Pad(link, np.linalg.inv(links[link].at) @ hand @ facing((-sign, 0, 0), (0, 0, model.pad)))
            for link, sign in ((first, 1), (second, -1))
        )
        shape = Shape(wrist, hand, ((first,), (second,)), (first, second), OPENING / 2, tuple(parts), pads, BESIDE)
        return Assembly(tuple(links), shape, 0.0)
    if kind != "tip":
        # It sweeps broadside on, so that the hand reaches little over what is pushed.
        across = hand @ place(yaw=_QUARTER if kind == "back" else -_QUARTER)
        front = Pad(wrist, across @ facing((1, 0, 0), (_thickness(model, touched), 0, model.pad)))
        shape = Shape(wrist, across, ((first, second, wrist),), (), 0.0, tuple(parts), (front,), AHEAD)
        return Assembly(tuple(links), shape, 0.0)
    low = hand @ place((0, 0, -SHOWS))
    middle = low @ place((0, 0, _PROBE / 2))
    links.append(Link("probe", wrist, "fixed", (0, 0, 1), middle, 0.05, shape=probe, friction=0.05))
    parts.append(Part(len(links) - 1, solids.capsule(ROUND / 2, _PROBE), np.eye(4), _METAL))
    pads = (Pad(wrist, low @ facing((0, 0, -1), (0, 0, 0), up=(1, 0, 0))),)
    return Assembly(tuple(links), Shape(wrist, low, ((len(links) - 1,),), (), 0.0, tuple(parts), pads, BESIDE), SHOWS)


def probe(client: Client) -> int:
    """The collision shape of the rod that the fingers hold when they press."""
    made: int = client.createCollisionShape(client.GEOM_CAPSULE, radius=ROUND / 2, height=_PROBE - ROUND)
    return made


def _thickness(model: Model, touched: Mapping[str, Hull]) -> float:
    """How far a closed finger reaches to the side, near its tip."""
    finger = model.bones[-2]
    to_hand = np.linalg.inv(model.hand) @ finger.at
    corners = touched[finger.name].corners @ to_hand[:3, :3].T + to_hand[:3, 3]
    return float(corners[corners[:, 2] < _NEAR_TIPS, 1].max())
