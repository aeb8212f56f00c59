"""Pushing: sweep a finger along a line in the picture and see where the thing goes.

Task: a thin upright finger enters the scene at a point of the table, its tip at some height, and moves along a straight line.
Randomised: which thing, from which side, how far off its middle, the length of the sweep and the height of the tip.
Success: the thing has moved by 1 cm or more.

The action is start row, start column, end row, end column (pixels of the picture before, of points at the tip's height) and
that height in metres.
"""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.table import Outcome, Table, resample
from embodied_ssl.sim.world import RATE, Link, Shape, World

DIAMETER = 0.012
SPEED = 0.2  # metres a second
FORCE = 60.0  # newtons: the most that the pusher's motor gives to keep its speed
EDGE = 0.12  # sweeps end at least this share of the picture inside it, so that few things leave it
MOVED = 0.01
_TRIES = 12


def finger(world: World, x: float, y: float, height: float, yaw: float) -> int:
    """Add an upright finger whose one joint slides along ``yaw``."""
    rod = Link(Shape("cylinder", (DIAMETER, DIAMETER, 0.1)), 0, (0, 0, 0), (1, 0, 0), centre=(0, 0, height + 0.05), mass=0.5)
    return world.add_tool([rod], (x, y, 0.0), yaw, friction=0.8)


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Draw a sweep across a thing, from a start that is free and in the picture where one is found."""
    places = table.visible() or list(range(len(table.things)))
    place = places[int(rng.integers(len(places)))]
    thing, centre = table.things[place], table.states()[place][:2]
    others = [body for k, body in enumerate(table.bodies) if k != place]
    height = float(rng.uniform(0.008, 0.02))
    shape = np.array(table.view.depth.shape)
    for _ in range(_TRIES):
        yaw = float(rng.uniform(0, 2 * math.pi))
        ahead, aside = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
        gap, length = thing.reach + DIAMETER + rng.uniform(0.002, 0.02), rng.uniform(0.04, 0.09)
        start = centre - gap * ahead + rng.uniform(-0.3, 0.3) * thing.reach * aside
        end = start + (gap + length) * ahead
        ends = np.array([[*start, height], [*end, height]])
        pixels = table.camera.project(ends)[:, :2]
        if np.any(pixels < 0) or np.any(pixels > shape - 1) or np.any(np.abs(pixels[1] / shape - 0.5) > 0.5 - EDGE):
            continue
        probe = finger(table.world, float(start[0]), float(start[1]), height, yaw)
        blocked = table.world.blocked(probe, others)
        table.world.remove(probe)
        if not blocked:
            break
    pixels = np.clip(pixels, 0, shape - 1)
    return float(pixels[0, 0]), float(pixels[0, 1]), float(pixels[1, 0]), float(pixels[1, 1]), height


def attempt(table: Table, row: float, column: float, end_row: float, end_column: float, height: float) -> Outcome:
    """Sweep from one pixel of the picture before to another; the thing acted on is the one that moved most."""
    world, before = table.world, table.states()
    start, end = table.camera.at_height(row, column, height), table.camera.at_height(end_row, end_column, height)
    way = end - start
    length = float(np.linalg.norm(way))
    tool = finger(world, float(start[0]), float(start[1]), height, math.atan2(way[1], way[0]))
    world.drive(tool, 0, speed=SPEED, force=FORCE)
    force, travel = [], []
    for _ in range(max(2, round(length / SPEED * RATE))):
        world.step()
        force.append(float(np.linalg.norm(world.force_on(tool, 0))))
        travel.append(world.joint(tool, 0)[0])
    world.remove(tool)
    table.settle()
    moved = np.linalg.norm(table.states()[:, :2] - before[:, :2], axis=1)
    place = int(np.argmax(moved)) if moved.max() > 1e-3 else table.nearest(end)
    action = (row, column, end_row, end_column, height)
    return Outcome(place, action, bool(moved[place] >= MOVED), resample(force), resample(travel))


def act(table: Table, rng: np.random.Generator) -> Outcome:
    """Draw a sweep and do it."""
    return attempt(table, *choose(table, rng))
