"""What is drawn for one interaction before anything happens: things, places, camera, light, and all that is randomised.

A scene depends on the specification and the index alone. Nothing in it depends on how physics is solved or pictures are made, so
the same scene can be played by several solvers, robots and renderers and the outcomes compared.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Camera, Light, Quaternion, Vector
from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.objects.pool import thing
from embodied_ssl.sim.objects.thing import Form, Rest, Thing
from embodied_ssl.sim.render.textures import BANK
from embodied_ssl.sim.spec import Pool, Randomise, Range, Spec
from embodied_ssl.sim.world import matrix, turned

SPREAD = 0.12  # things stand within this of the table's middle, in x and y
GAP = 0.015  # between any two things: a finger's width
_TRIES = 40


@dataclass(frozen=True, eq=False)
class Place:
    """Where a thing is put, and how.

    Attributes:
        x, y: metres from the table's middle.
        yaw: turn about the vertical, after the rest's own orientation.
        rest: the way in which it stands.
    """

    x: float
    y: float
    yaw: float
    rest: Rest

    @property
    def position(self) -> Vector:
        return (self.x, self.y, self.rest.height)

    @property
    def orientation(self) -> Quaternion:
        return turned(self.rest.orientation, self.yaw)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that was drawn.

    Attributes:
        things: on the table; the last ``distractors`` of them are never acted on.
        places: of each thing.
        masses, stiffnesses: of each thing in this scene.
        textures: of each thing, its number in the bank, or -1 for none.
        distractors: how many.
        camera: that takes the pictures.
        light: for every picture.
        table_colour: of the table.
        table_texture: number in the bank, or -1 for none.
        table_friction: lateral.
        gravity_tilt: radians towards x and y.
        noise: standard deviation of the camera's noise, grey levels.
    """

    things: list[Thing]
    places: list[Place]
    masses: list[float]
    stiffnesses: list[float]
    textures: list[int]
    distractors: int
    camera: Camera
    light: Light
    table_colour: Vector
    table_texture: int
    table_friction: float
    gravity_tilt: tuple[float, float]
    noise: float


def evenly(rng: np.random.Generator, limits: Range) -> float:
    """A number between the limits; always one draw, so that a range of no width changes nothing else."""
    low, high = limits
    return low + (high - low) * rng.random()


def whole_number(rng: np.random.Generator, limits: tuple[float, float]) -> int:
    """A whole number between the limits, both of them possible."""
    return int(rng.integers(int(limits[0]), int(limits[1]) + 1))


def draw_camera(rng: np.random.Generator, ranges: Randomise, size: tuple[int, int]) -> Camera:
    """A camera nearly straight above the table, jittered in place, aim, roll and width of view."""
    x, y, height = evenly(rng, ranges.shift), evenly(rng, ranges.shift), evenly(rng, ranges.height)
    target = (evenly(rng, ranges.aim), evenly(rng, ranges.aim), 0.0)
    roll = evenly(rng, ranges.roll)
    fov = evenly(rng, ranges.fov)
    return Camera((x, y, height), target, (math.sin(roll), math.cos(roll), 0.0), size[0], size[1], fov)


def draw_light(rng: np.random.Generator, ranges: Randomise) -> Light:
    """A lamp somewhere above, and how warm it is."""
    around, out = 2 * math.pi * rng.random(), evenly(rng, ranges.tilt)
    warmth = evenly(rng, ranges.warmth)
    return Light(
        direction=(out * math.cos(around), out * math.sin(around), 1.0),
        colour=(1 + warmth, 1.0, 1 - warmth),
        ambient=evenly(rng, ranges.ambient),
        diffuse=evenly(rng, ranges.diffuse),
        shadow=rng.random() < ranges.shadows,
    )


def draw_rest(rng: np.random.Generator, each: Thing) -> Rest:
    """One of a thing's stable poses, as likely as it would fall so."""
    shares = _shares(each.form)
    chosen = bisect(shares, rng.random() * shares[-1])
    return each.form.rests[min(chosen, len(shares) - 1)]


@lru_cache(maxsize=4096)
def _shares(form: Form) -> list[float]:
    """Of a form's rests, added up."""
    return list(accumulate(rest.share for rest in form.rests))


def footprint(each: Thing, rest: Rest) -> float:
    """Radius, seen from above, of a circle around its centre of mass that a thing in this pose fits in."""
    return _footprint(each.form, rest)


@lru_cache(maxsize=4096)
def _footprint(form: Form, rest: Rest) -> float:
    turn = matrix(np.array([0.0, 0.0, 0.0, *rest.orientation]))[:3, :3]
    x, y, _ = (form.mesh.points @ turn.T).T
    return math.sqrt((x * x + y * y).max())


def draw_places(rng: np.random.Generator, things: Sequence[Thing]) -> list[Place]:
    """A place for each thing, apart from each other; from the first on that finds no room in 40 draws, things are left out."""
    places: list[Place] = []
    taken: list[tuple[float, float, float]] = []
    for each in things:
        rest = draw_rest(rng, each)
        reach = footprint(each, rest)
        spots = rng.uniform(-SPREAD, SPREAD, (_TRIES, 2)).tolist()
        yaw = 2 * math.pi * rng.random()
        spot = _free(spots, reach, taken)
        if spot is None:
            break
        x, y = spot
        places.append(Place(x, y, yaw, rest))
        taken.append((x, y, reach))
    return places


def _free(spots: Sequence[Sequence[float]], reach: float, taken: Sequence[tuple[float, float, float]]) -> Sequence[float] | None:
    """The first of some spots where a circle of this radius keeps clear of those that are taken."""
    for x, y in spots:
        for other_x, other_y, other in taken:
            if math.hypot(x - other_x, y - other_y) <= reach + other + GAP:
                break
        else:
            return x, y
    return None


def draw_scene(spec: Spec, index: int, make: Callable[[Pool, int, int], Thing] = thing) -> Scene:
    """The scene of item ``index``, with thing k of the pool made by ``make(pool, seed, k)``."""
    ranges = spec.randomise
    rng = generator(spec.seed, "scene", index)
    wanted, distractors = whole_number(rng, spec.things), whole_number(rng, ranges.distractors)
    numbers = rng.permutation(spec.pool.objects)[: wanted + distractors]
    things = [make(spec.pool, spec.seed, int(number)) for number in numbers]
    places = draw_places(rng, things)
    things = things[: len(places)]
    look = generator(spec.seed, "look", index)
    textured = bool(look.uniform() < ranges.textures)
    bank = [int(number) if textured else -1 for number in look.integers(BANK, size=len(things) + 1)]
    touch = generator(spec.seed, "touch", index)
    return Scene(
        things=things,
        places=places,
        masses=[each.mass * evenly(touch, ranges.mass) for each in things],
        stiffnesses=[each.stiffness * evenly(touch, ranges.stiffness) for each in things],
        textures=bank[1:],
        distractors=max(0, min(distractors, len(things) - wanted)),
        camera=draw_camera(look, ranges, spec.size),
        light=draw_light(look, ranges),
        table_colour=colour(look, saturation=ranges.saturation),
        table_texture=bank[0],
        table_friction=evenly(touch, ranges.table_friction),
        gravity_tilt=(evenly(touch, ranges.gravity_tilt), evenly(touch, ranges.gravity_tilt)),
        noise=evenly(look, ranges.noise),
    )
