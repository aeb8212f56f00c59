"""Where interactions happen: one world, one robot and one renderer a process, and the table that is set for each scene."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator
from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Camera, Floats, View
from embodied_ssl.sim.elastic import SoftWorld
from embodied_ssl.sim.render.choose import open_renderer
from embodied_ssl.sim.render.renderer import Drawn, Renderer
from embodied_ssl.sim.render.textures import from_bank
from embodied_ssl.sim.robots.hand import Hand, Robot
from embodied_ssl.sim.robots.robot import robot
from embodied_ssl.sim.solver import Solver, solver
from embodied_ssl.sim.spec import Spec
from embodied_ssl.sim.tasks.scene import Scene, draw_scene, footprint
from embodied_ssl.sim.world import TABLE, Surface, World, matrix

RENEWED = 2000  # scenes after which the world is emptied: PyBullet keeps 4 kB of each
_STILL = 1e-6  # metres, and parts of quaternions
_HERE = np.eye(4)
VISIBLE = 0.0005  # share of the picture that a thing must fill to be acted on


@dataclass(eq=False)
class Table:
    """A scene that has been set; the picture before is taken when it is made.

    Attributes:
        stage: where it stands.
        scene: what was drawn.
        bodies: the body of each thing.
        before: the states of things before anything was touched [n, 7].
        view: what the camera saw then.
    """

    stage: Stage
    scene: Scene
    bodies: list[int]
    before: Floats = field(init=False)
    view: View = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.states()
        self.view = self.look()

    @property
    def world(self) -> World:
        return self.stage.world

    @property
    def robot(self) -> Robot:
        return self.stage.robot

    @property
    def camera(self) -> Camera:
        return self.scene.camera

    def states(self) -> Floats:
        """Position and orientation of every thing now [n, 7]."""
        return self.world.poses(self.bodies)

    def rest(self) -> None:
        """Let everything come to rest after an action."""
        self.world.step(self.world.solver.rest)

    def visible(self) -> list[int]:
        """The places of things that may be acted on and are well seen; all that may be acted on, if none is."""
        mine, ids = range(len(self.bodies) - self.scene.distractors), self.view.ids
        return [place for place in mine if np.count_nonzero(ids == place) > VISIBLE * ids.size] or list(mine)

    def nearest(self, point: Floats) -> int:
        """The place of the thing whose centre is nearest to a point, seen from above."""
        return int(np.argmin(np.linalg.norm(self.states()[:, :2] - point[:2], axis=1)))

    def point_at(self, row: float, column: float) -> Floats:
        """The world point [3] that the camera saw in a pixel before anything was touched."""
        return self.camera.at_depth(row, column, float(self.view.depth[self._pixel(row, column)]))

    def _pixel(self, row: float, column: float) -> tuple[int, int]:
        """The pixel of the picture that is nearest to a point of its plane."""
        height, width = self.view.ids.shape
        return min(max(round(row), 0), height - 1), min(max(round(column), 0), width - 1)

    def nearest_pixel(self, place: int, row: float, column: float) -> tuple[float, float]:
        """The pixel that shows a thing nearest to another pixel; that one itself, within the picture, if none does."""
        ids, (here, there) = self.view.ids, self._pixel(row, column)
        if ids[here, there] == place:
            return float(here), float(there)
        rows, columns = np.nonzero(ids == place)
        if not len(rows):
            height, width = ids.shape
            return min(max(row, 0.0), height - 1.0), min(max(column, 0.0), width - 1.0)
        best = int(np.argmin((rows - row) ** 2 + (columns - column) ** 2))
        return float(rows[best]), float(columns[best])

    def freeze(self, start: Floats, end: Floats, reach: float) -> None:
        """Fix things which an action between two points, and what it moves, cannot reach; nothing if the solver does not."""
        if not self.world.solver.freeze:
            return
        (from_x, from_y), (way_x, way_y) = start[:2].tolist(), (end - start)[:2].tolist()
        length = max(way_x * way_x + way_y * way_y, 1e-12)  # squared
        for place, (x, y) in enumerate(self.states()[:, :2].tolist()):
            along = min(max(((x - from_x) * way_x + (y - from_y) * way_y) / length, 0.0), 1.0)
            if math.hypot(x - from_x - along * way_x, y - from_y - along * way_y) > reach + self._radii[place]:
                self.world.hold(self.bodies[place])

    def radius(self, place: int) -> float:
        """Of a circle around a thing's centre that it fits in, as it was set and as seen from above."""
        return self._radii[place]

    @cached_property
    def _radii(self) -> list[float]:
        return [footprint(thing, place.rest) for thing, place in zip(self.scene.things, self.scene.places, strict=True)]

    def top_of(self, place: int) -> float:
        """The height of a thing's highest point before anything was touched."""
        pose = self.before[place]
        return float(pose[2] + (self.scene.things[place].form.mesh.points @ matrix(pose)[2, :3]).max())

    def near(self, point: Floats, reach: float) -> list[int]:
        """The places of things that came within ``reach`` of a point before anything was touched, as seen from above."""
        away = np.linalg.norm(self.before[:, :2] - point[:2], axis=1)
        return [place for place, distance in enumerate(away.tolist()) if distance < reach + self.radius(place)]

    def top(self, point: Floats, reach: float) -> float:
        """The height of the highest thing that is near a point; 0 for none."""
        return max((self.top_of(place) for place in self.near(point, reach)), default=0.0)

    def clear(self, point: Floats, reach: float) -> bool:
        """Whether no thing stands within ``reach`` of a point as seen from above; things count as the circles they fit in."""
        return not self.near(point, reach)

    def drawn(self, hand: Hand | None = None) -> list[Drawn]:
        """Everything that is to be seen now; a thing's id is its place. The robot only if its hand is given."""
        scene = self.scene
        table = Drawn(
            solids.plane((TABLE, TABLE)), _HERE, scene.table_colour, texture=from_bank(scene.table_texture), shadow=False
        )
        things = [
            Drawn(thing.form.mesh, matrix(pose), thing.colour, place, from_bank(texture), size=0.05)
            for place, (thing, pose, texture) in enumerate(zip(scene.things, self.states(), scene.textures, strict=True))
        ]
        return [table, *things, *(hand.drawn() if hand is not None else [])]

    def look_again(self, second: Camera | None = None) -> View:
        """The picture after. Where nothing has moved by a thousandth of a millimetre, it is the picture before."""
        if second is None and np.abs(self.states() - self.before).max() < _STILL:
            return self.view
        return self.look(second)

    def look(self, camera: Camera | None = None, hand: Hand | None = None) -> View:
        """Take a picture now, with the scene's camera or another; without the noise of a camera."""
        return self.stage.renderer.look(self.drawn(hand), camera or self.camera, self.scene.light)


class Stage:
    """The machine that plays interactions of one specification.

    Args:
        spec: of the data set.
        solved: how exactly steps are solved, instead of what ``spec`` says; for comparisons.

    Raises:
        UserError: the simulator, the renderer, the robot or the pool is not to be had.
    """

    def __init__(self, spec: Spec, solved: Solver | None = None) -> None:
        self.spec = spec
        self.renderer: Renderer = open_renderer(spec.renderer)
        self.world = World(solved or solver(spec.solver))
        self._build()

    @cached_property
    def soft(self) -> SoftWorld:
        """The other world, of things that bend, made when it is first needed."""
        return SoftWorld()

    def _build(self) -> None:
        self.world.clear()
        self.robot = robot(self.spec.robot, self.world.client)
        self.world.save()
        self._played = 0

    def close(self) -> None:
        """Give world and renderer back."""
        self.world.close()
        if "soft" in self.__dict__:
            self.soft.close()
        self.renderer.close()

    def set_table(self, index: int, scene: Scene | None = None) -> Table:
        """Put the things of item ``index`` on the table, let them rest and take the picture before."""
        if self._played >= RENEWED:
            self._build()
        self._played += 1
        scene = scene or draw_scene(self.spec, index)
        world = self.world
        world.restore()
        world.set_gravity(scene.gravity_tilt)
        world.set_surface(world.table, Surface(scene.table_friction, rolling=0.01, spinning=0.01))
        bodies = [
            world.add(
                thing.form,
                mass,
                place.position,
                place.orientation,
                Surface(thing.friction, thing.spinning, thing.rolling, thing.restitution),
            )
            for thing, mass, place in zip(scene.things, scene.masses, scene.places, strict=True)
        ]
        world.step(world.solver.settle)
        for body in bodies:  # what is left of their motion is below what a camera sees
            world.set_velocity(body, (0.0, 0.0, 0.0))
        return Table(self, scene, bodies)


def photograph(view: View, noise: float, *key: int | str) -> Pixels:
    """The colours of a view as a camera with noise gives them; the noise depends on the key alone."""
    if noise <= 0:
        return view.rgb
    grain: NDArray[np.float32] = generator(*key).standard_normal(view.rgb.shape, np.float32)
    return np.clip(np.rint(view.rgb + noise * grain), 0, 255).astype(np.uint8)


_stages: dict[int, Stage] = {}


def shared_stage(spec: Spec) -> Stage:
    """This process's stage for a specification, made when first asked for; never one inherited from a parent process."""
    here = _stages.get(os.getpid())
    if here is None or here.spec != spec:
        if here is not None:
            here.close()
        _stages.clear()
        here = _stages[os.getpid()] = Stage(spec)
    return here
