"""Grasping: close a parallel jaw at a pixel, at one of 18 angles, and see whether the thing comes up.

Task: a floating jaw that opens 8 cm comes down on a point seen in the picture, closes with 25 N and lifts 12 cm.
Randomised: which thing, the point (near its middle, or anywhere around it) and the angle (across its narrow side, or any).
Success: at the top of the lift the thing has risen by 3 cm or more and *both* fingers press on it.

Angle bin b means that the fingers close along the direction 10 b degrees, counter-clockwise from the picture's columns axis
(rightwards). A jaw is the same after half a turn, so 18 bins are all there are. What was lifted is put back before the second
picture is taken, by a jaw that has left.
"""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.first_objects import Thing
from embodied_ssl.sim.table import Outcome, Table, resample
from embodied_ssl.sim.world import Floats, Link, Shape, World

BINS = 18
OPENING = 0.08
SQUEEZE = 25.0  # N a finger; more drives the fingers into the thing
LIFT = 0.12
RISEN = 0.03
CENTRED = 0.5  # share of tries near the middle; the rest teach what fails
ALIGNED = 0.4  # share of those that close across the narrow side
PALM, FIRST, SECOND = 0, 1, 2
_FINGER = Shape("box", (0.01, 0.02, 0.06))


def jaw(world: World, x: float, y: float, yaw: float) -> int:
    """Add an open jaw at the top of its travel, closing along ``yaw``; the palm's joint is the height of the fingertips."""
    palm = Link(Shape("box", (0.1, 0.03, 0.02)), 0, (0, 0, 0), (0, 0, 1), centre=(0, 0, 0.07), mass=0.4)
    first = Link(_FINGER, 1, (0.005, 0, 0), (1, 0, 0), centre=(0, 0, 0.03))
    second = Link(_FINGER, 1, (-0.005, 0, 0), (-1, 0, 0), centre=(0, 0, 0.03))
    tool = world.add_tool([palm, first, second], (x, y, 0.0), yaw, friction=1.2)
    world.gear(tool, FIRST, SECOND, force=200.0)
    world.set_joint(tool, PALM, LIFT)
    for finger in (FIRST, SECOND):
        world.set_joint(tool, finger, OPENING / 2)
    return tool


def narrow(thing: Thing, pose: Floats) -> float:
    """The world direction across a thing's narrow side, as seen from above; round things have any."""
    x, y, z, w = pose[3:]
    along_x = math.atan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z))
    if thing.shape.kind == "capsule":  # its axis, local z, lies on the table
        return math.atan2(2 * (y * z - x * w), 2 * (x * z + y * w)) + math.pi / 2
    return along_x


def in_picture(table: Table, point: Floats, yaw: float) -> float:
    """A horizontal world direction at a point, as an angle counter-clockwise from the columns axis of the picture."""
    ahead = point + 0.01 * np.array([math.cos(yaw), math.sin(yaw), 0.0])
    (row, column, _), (row2, column2, _) = table.camera.project(np.stack([point, ahead]))
    return math.atan2(row - row2, column2 - column)


def in_world(table: Table, row: float, column: float, height: float, angle: float) -> float:
    """The inverse of `in_picture`: the world direction of an angle in the picture."""
    here = table.camera.at_height(row, column, height)
    there = table.camera.at_height(row - math.sin(angle), column + math.cos(angle), height)
    return math.atan2(there[1] - here[1], there[0] - here[0])


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float, int]:
    """Draw a row, a column and an angle bin."""
    places = table.visible() or list(range(len(table.things)))
    place = places[int(rng.integers(len(places)))]
    thing, pose = table.things[place], table.states()[place]
    centred, aligned = rng.uniform() < CENTRED, rng.uniform() < ALIGNED
    top = pose[:3] + np.array([0, 0, thing.rise])
    off = rng.normal(0, 0.004, 2) if centred else rng.uniform(-0.06, 0.06, 2)
    angle = rng.uniform(0, math.pi)
    if centred and aligned:
        angle = in_picture(table, top, narrow(thing, pose))
    row, column, _ = table.camera.project((top + np.array([*off, 0.0]))[None])[0]
    height, width = table.view.depth.shape
    return float(np.clip(row, 0, height - 1)), float(np.clip(column, 0, width - 1)), round(angle / math.pi * BINS) % BINS


def attempt(table: Table, row: float, column: float, angle_bin: int) -> Outcome:
    """Grasp at a pixel of the picture before, closing along an angle bin."""
    world = table.world
    seen = table.camera.at_depth(row, column, float(table.view.depth[round(row), round(column)]))
    yaw = in_world(table, row, column, float(seen[2]), angle_bin * math.pi / BINS)
    place = table.nearest(seen)
    body, before = table.bodies[place], table.states()[place]
    tool = jaw(world, float(seen[0]), float(seen[1]), yaw)
    low = max(0.004, float(seen[2]) - 0.03)
    world.keep(tool, PALM, low, force=60.0, speed=0.5)
    for finger in (FIRST, SECOND):
        world.keep(tool, finger, OPENING / 2, force=SQUEEZE)
    world.step(70)
    force, travel = [], []

    def record(steps: int) -> None:
        for _ in range(steps):
            world.step()
            pressed = [float(np.linalg.norm(world.force_on(tool, finger, body))) for finger in (FIRST, SECOND)]
            force.append(sum(pressed) / 2)
            travel.append(OPENING - world.joint(tool, FIRST)[0] - world.joint(tool, SECOND)[0])

    for finger in (FIRST, SECOND):
        world.keep(tool, finger, 0.0, force=SQUEEZE, speed=0.15)
    record(75)
    world.keep(tool, PALM, LIFT, force=60.0, speed=0.4)
    record(90)
    risen = table.states()[place][2] - before[2]
    success = bool(risen >= RISEN and all(world.touches(tool, finger, body) for finger in (FIRST, SECOND)))
    if risen >= RISEN:
        _put_back(world, tool, low)
    world.remove(tool)
    action = (row, column, float(angle_bin), float(success))
    return Outcome(place, action, success, resample(force), resample(travel))


def _put_back(world: World, tool: int, low: float) -> None:
    world.keep(tool, PALM, low + 0.002, force=60.0, speed=0.5)
    world.step(70)
    for finger in (FIRST, SECOND):
        world.drive(tool, finger, speed=0.2, force=SQUEEZE)
    world.step(20)


def act(table: Table, rng: np.random.Generator) -> Outcome:
    """Draw a grasp and try it."""
    return attempt(table, *choose(table, rng))
