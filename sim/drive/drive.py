"""One drive, and the stills of one room or town: pure functions of a specification and a number.

Task: move through a room without touching anything, or through a street in the right lane, taking pictures at a fixed rate.
Randomised: the place (kind, size, furniture or houses, cars and trees, colours, textures), its light, the camera's height and
field of view, the start, the way and its speed. Every drive goes straight, left and right.
Success: always; a path that finds no way is slowed down until it fits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator
from embodied_ssl.piecework import check_stop
from embodied_ssl.sim.camera import Camera, Floats, Light, View
from embodied_ssl.sim.drive.kinds import ANYWHERE, KINDS
from embodied_ssl.sim.drive.rooms import Room, furnish
from embodied_ssl.sim.drive.spec import DriveSpec, Look
from embodied_ssl.sim.drive.town.route import draw_route
from embodied_ssl.sim.drive.town.town import Town, build_town
from embodied_ssl.sim.drive.track import Track, draw_walk
from embodied_ssl.sim.render.renderer import Drawn, Renderer

STREET = "street"
FAR = {"room": 15.0, STREET: 500.0}  # metres
NEAR = {"room": 0.05, STREET: 0.4}
NOTHING_BEYOND = 250.0  # metres: farther away is the sky
_COMMON = {make.__name__ for make in ANYWHERE}
_TELLING = 0.5  # share of stills that must look at a piece which is not found in all kinds alike


class Place(Protocol):
    """A room or a town: what a camera in it may see."""

    def seen(self, camera: Camera, light: Light, steady: bool = False) -> list[Drawn]:
        """What is to be drawn; ``steady``: the same things whatever the camera sees."""
        ...


@dataclass(frozen=True)
class Mood:
    """What was drawn of a place's look."""

    textured: bool
    light: Light
    noise: float

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"textured": self.textured, "light": asdict(self.light), "noise": self.noise}


@dataclass(frozen=True)
class Driven:
    """One drive.

    Attributes:
        place: "street", or the kind of room.
        number: of the camera, which drives of such places take in turn.
        matrix: its K [3, 3].
        track: where it was.
        frames: uint8 [n, h, w, 3].
        views: with depth and ids besides colour, if these were asked for; else none.
        facts: every draw, for the manifest.
    """

    place: str
    number: int
    matrix: Floats
    track: Track
    frames: Pixels
    views: list[View]
    facts: dict[str, Any]


def kinds_of(spec: DriveSpec) -> tuple[str, ...]:
    """The kinds of rooms that are taken in turn."""
    return spec.indoors.kinds or tuple(KINDS)


def place_of(spec: DriveSpec, index: int) -> tuple[str, int]:
    """Where a drive goes, "street" or a kind of room, and its number among those in streets or in rooms."""
    if spec.places == STREET or (spec.places == "both" and index % 2):
        return STREET, index if spec.places == STREET else index // 2
    number = index if spec.places == "rooms" else index // 2
    kinds = kinds_of(spec)
    return kinds[number % len(kinds)], number


def fov_of(spec: DriveSpec, place: str, camera: int) -> float:
    """A camera's vertical field of view, degrees."""
    street = place == STREET
    limits = spec.outdoors.fov if street else spec.indoors.fov
    return float(generator(spec.seed, "camera", STREET if street else "room", camera).uniform(*limits))


def draw_mood(look: Look, rng: np.random.Generator) -> Mood:
    """Draw light, noise, and whether surfaces bear textures."""
    textured, shadows = (
        bool(draw < share) for draw, share in zip(rng.uniform(size=2), (look.textures, look.shadows), strict=True)
    )
    around, tilt = rng.uniform(0, 2 * math.pi), rng.uniform(*look.tilt)
    warmth = float(rng.uniform(*look.warmth))
    light = Light(
        direction=(float(tilt * math.cos(around)), float(tilt * math.sin(around)), 1.0),
        colour=(1 + warmth, 1.0, 1 - warmth),
        ambient=float(rng.uniform(*look.ambient)),
        diffuse=float(rng.uniform(*look.diffuse)),
        specular=0.0,
        shadow=shadows,
    )
    return Mood(textured, light, float(rng.uniform(*look.noise)))


def make_room(spec: DriveSpec, kind: str, mood: Mood, rng: np.random.Generator) -> Room:
    """Draw a room in its mood."""
    return furnish(kind, rng, spec.indoors.custom, mood.textured)


def make_town(mood: Mood, rng: np.random.Generator) -> Town:
    """Draw a town in its mood."""
    return build_town(rng, mood.textured)


def drive(spec: DriveSpec, index: int, renderer: Renderer, truth: bool = False) -> Driven:
    """Make a drive; depends on the specification, the number and the renderer alone.

    Args:
        spec: what is asked for.
        index: which drive.
        renderer: takes the pictures.
        truth: whether depth and ids are kept; depth is in any case if the specification asks for it.
    """
    name, number = place_of(spec, index)
    rng = generator(spec.seed, "drive", index)
    mood = draw_mood(spec.look, rng)
    facts: dict[str, Any] = {"place": name, "camera": number % spec.cameras, **mood.facts()}
    place: Place
    if name == STREET:
        place = town = make_town(mood, rng)
        track, moves = draw_route(town, rng, spec.outdoors, spec.rate)
        facts |= {"moves": moves, "across": town.across.tolist(), "along": town.along.tolist()}
    else:
        place = room = make_room(spec, name, mood, rng)
        track = draw_walk(room, rng, spec.indoors, spec.rate)
        facts |= {"sides": [room.width, room.depth], "pieces": [piece.name for piece in room.pieces]}
    where = STREET if name == STREET else "room"
    fov = fov_of(spec, name, number % spec.cameras)
    views: list[View] = []
    frames = []
    for frame in range(len(track)):
        check_stop()
        camera = track.camera(frame, spec.size, fov, NEAR[where], FAR[where])
        view = _take(place, camera, mood, renderer, rng)
        frames.append(view.rgb)
        views += [view] if truth or spec.depth else []
    facts |= {"frames": len(track), "fov": fov, "height": float(track.position[0, 2])}
    facts |= {
        "start": [*track.position[0, :2].tolist(), float(track.yaw[0])],
        "speed": [float(track.speed.min()), float(track.speed.max())],
    }
    return Driven(name, number % spec.cameras, camera.matrix, track, np.stack(frames), views, facts)


def _take(place: Place, camera: Camera, mood: Mood, renderer: Renderer, rng: np.random.Generator) -> View:
    """Take a picture, with the camera's noise."""
    view = renderer.look(place.seen(camera, mood.light, renderer.name == "tiny"), camera, mood.light)
    if not mood.noise:
        return view
    rough = view.rgb + rng.normal(0, mood.noise, view.rgb.shape)
    return replace(view, rgb=np.clip(rough.round(), 0, 255).astype(np.uint8))


def still_views(spec: DriveSpec, place: str, number: int, renderer: Renderer) -> tuple[list[View], dict[str, Any]]:
    """Views of a room or town that no drive goes through, and every draw of it.

    In rooms each is from a free spot towards a piece that makes the kind, somewhat off it; in streets from the lane, or from the
    pavement beside it, along the street or somewhat off.

    Args:
        spec: what is asked for.
        place: "street", or a kind of room.
        number: which of them.
        renderer: takes the pictures.
    """
    rng = generator(spec.seed, "still", place, number)
    mood = draw_mood(spec.look, rng)
    facts: dict[str, Any] = mood.facts()
    where: Place
    if place == STREET:
        where = town = make_town(mood, rng)
        track, _ = draw_route(town, rng, spec.outdoors, spec.rate)
        aim = partial(_aim_in_street, track, spec, rng)
    else:
        where = room = make_room(spec, place, mood, rng)
        aim = partial(_aim_in_room, room, spec, rng)
        facts |= {"sides": [room.width, room.depth], "pieces": [piece.name for piece in room.pieces]}
    views = []
    for _ in range(spec.stills.views):
        check_stop()
        camera = aim()
        views.append(_take(where, camera, mood, renderer, rng))
    return views, facts


def _looking(spec: DriveSpec, spot: Floats, yaw: float, pitch: float, place: str, fov: float) -> Camera:
    """A camera at a spot [3] that looks along yaw and pitch (positive is upwards)."""
    x, y, z = (float(value) for value in spot)
    ahead = (math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch))
    target = (x + ahead[0], y + ahead[1], z + ahead[2])
    return Camera((x, y, z), target, (0.0, 0.0, 1.0), *spec.stills.size, fov, NEAR[place], FAR[place])


def _aim_in_room(room: Room, spec: DriveSpec, rng: np.random.Generator) -> Camera:
    half = np.array([room.width, room.depth]) / 2
    spots = rng.uniform(-half, half, (200, 2))
    spots = spots[room.free(spots, 0.25)]
    spots = spots if len(spots) else np.zeros((1, 2))
    sure = room.pieces[: room.sure]
    telling = [each for each in sure if each.name not in _COMMON] or sure
    chosen = telling if rng.uniform() < _TELLING else sure
    piece = chosen[int(rng.integers(len(chosen)))].middle
    spot = spots[int(np.argmax(np.hypot(*(spots[:6] - piece).T)))]
    aim = piece + rng.normal(0, 0.4, 2) - spot
    fov = float(rng.uniform(*spec.indoors.fov))
    at = np.array([*spot, rng.uniform(1.3, 1.7)])
    return _looking(spec, at, math.atan2(aim[1], aim[0]), float(rng.uniform(-0.3, -0.1)), "room", fov)


def _aim_in_street(track: Track, spec: DriveSpec, rng: np.random.Generator) -> Camera:
    frame = int(rng.integers(len(track)))
    yaw = float(track.yaw[frame] + rng.normal(0, 0.35))
    fov = float(rng.uniform(*spec.outdoors.fov))
    return _looking(spec, track.position[frame], yaw, float(rng.normal(0.03, 0.04)), STREET, fov)
