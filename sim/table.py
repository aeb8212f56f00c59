"""A table with a few things on it and a camera above: the scene that every interaction starts from.

Everything about it is drawn by the generator that it is given, and kept in the `Table`, so that a row can say what was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.first_objects import Thing
from embodied_ssl.sim.world import Camera, Floats, Light, Shape, Vector, View, World

SPREAD = 0.12  # things stand within this of the table's middle, in x and y
GAP = 0.015  # between any two things: a finger's width
TRACE = 64  # samples of a force trace
SETTLE = 48  # steps (0.2 s) for things to come to rest


@dataclass(frozen=True)
class Outcome:
    """What was done, and what came of it.

    Attributes:
        acted: the place of the thing that was acted on, in the table's ``things``.
        action: as the task says; rows and columns are pixels of the picture before.
        success: as the task says.
        force: newtons that the tool felt, over the action, resampled to ``TRACE`` samples.
        travel: metres that the tool had moved, at the same times.
    """

    acted: int
    action: tuple[float, ...]
    success: bool
    force: NDArray[np.float32]
    travel: NDArray[np.float32]


def resample(values: Sequence[float]) -> NDArray[np.float32]:
    """A trace of any length as ``TRACE`` evenly spaced samples, linearly interpolated."""
    at = np.linspace(0, len(values) - 1, TRACE)
    return np.interp(at, np.arange(len(values)), values).astype(np.float32)


@dataclass
class Table:
    """A scene that has been set.

    Attributes:
        world: where it stands.
        things: what lies on it.
        bodies: the body of each thing.
        camera: the only one.
        light: for every picture of this scene.
        friction: of the table.
        table_colour: of the table.
        view: what the camera saw before anything was touched.
    """

    world: World
    things: list[Thing]
    bodies: list[int]
    camera: Camera
    light: Light
    friction: float
    table_colour: Vector
    view: View

    def states(self) -> Floats:
        """Position and orientation of every thing [n, 7]."""
        return np.stack([self.world.pose(body) for body in self.bodies])

    def look(self) -> View:
        """Take a picture now; each thing is marked by its place in ``things``, the table and the void by -1."""
        return see(self.world, self.bodies, self.camera, self.light)

    def settle(self, steps: int = SETTLE) -> None:
        """Let everything come to rest."""
        self.world.step(steps)

    def visible(self) -> list[int]:
        """The places of things of which the camera sees a good part."""
        seen = np.bincount(self.view.bodies[self.view.bodies >= 0], minlength=len(self.things))
        least = 0.0005 * self.view.bodies.size
        return [place for place in range(len(self.things)) if seen[place] > least]

    def nearest(self, point: Floats) -> int:
        """The place of the thing whose centre is nearest to a point, seen from above."""
        return int(np.argmin(np.linalg.norm(self.states()[:, :2] - point[:2], axis=1)))


def draw_camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    """A camera nearly straight above the table, jittered in place, aim and roll."""
    x, y = rng.uniform(-0.08, 0.08, 2)
    target = rng.uniform(-0.01, 0.01, 2)
    roll = rng.uniform(-0.15, 0.15)
    return Camera(
        position=(float(x), float(y), float(rng.uniform(0.68, 0.78))),
        target=(float(target[0]), float(target[1]), 0.0),
        up=(math.sin(roll), math.cos(roll), 0.0),
        height=size[0],
        width=size[1],
    )


def draw_light(rng: np.random.Generator) -> Light:
    """A lamp somewhere above, warm light and cold alike left to the colours."""
    around, out = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.9)
    direction = (float(out * math.cos(around)), float(out * math.sin(around)), 1.0)
    return Light(direction, ambient=float(rng.uniform(0.5, 0.7)), diffuse=float(rng.uniform(0.3, 0.6)))


def draw_places(rng: np.random.Generator, things: Sequence[Thing]) -> list[tuple[float, float, float]]:
    """For each thing x, y and yaw, apart from each other; a thing that finds no room in 40 draws is left out (none)."""
    places: list[tuple[float, float, float]] = []
    for k, thing in enumerate(things):
        for _ in range(40):
            x, y = (float(v) for v in rng.uniform(-SPREAD, SPREAD, 2))
            clear = all(
                math.hypot(x - other[0], y - other[1]) > thing.reach + things[j].reach + GAP for j, other in enumerate(places)
            )
            if clear:
                places.append((x, y, float(rng.uniform(0, 2 * math.pi))))
                break
        if len(places) <= k:
            break
    return places


def see(world: World, bodies: Sequence[int], camera: Camera, light: Light) -> View:
    """Take a picture in which bodies are marked by their place in ``bodies``, all else by -1."""
    view = world.look(camera, light)
    places = np.full(view.bodies.shape, -1, np.int32)
    for place, body in enumerate(bodies):
        places[view.bodies == body] = place
    return View(view.rgb, view.depth, places)


def set_table(world: World, things: Sequence[Thing], rng: np.random.Generator, size: tuple[int, int]) -> Table:
    """Empty the world, put these things on a table, let them settle and take the picture before.

    Args:
        world: will be cleared.
        things: what to put there; those that find no room are left out, the first always finds some.
        rng: draws places, camera, light, and the table's colour and friction.
        size: height and width of pictures.
    """
    world.clear()
    camera, light = draw_camera(rng, size), draw_light(rng)
    table_colour, friction = colour(rng, saturation=(0.05, 0.45)), float(rng.uniform(0.3, 0.8))
    top = world.add(Shape("box", (4.0, 4.0, 0.2)), (0.0, 0.0, -0.1), colour=table_colour)
    world.set_friction(top, friction, rolling=0.01, spinning=0.01)
    bodies = []
    for thing, (x, y, yaw) in zip(things, draw_places(rng, things), strict=False):
        body = world.add(thing.shape, (x, y, thing.rise), thing.resting(yaw), thing.colour, thing.mass)
        world.set_friction(body, thing.friction, rolling=0.01, spinning=0.01)
        bodies.append(body)
    world.step(SETTLE)
    placed = list(things[: len(bodies)])
    return Table(world, placed, bodies, camera, light, friction, table_colour, see(world, bodies, camera, light))
