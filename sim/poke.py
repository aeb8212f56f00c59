"""Poking: press a fingertip onto a thing and feel how the force grows with depth.

Task: a round tip comes straight down on a pixel and presses 8 mm deep at a constant speed.
Randomised: which thing, and the point on its top.
Success: the tip pressed on a thing and a line fits force against depth.

The label is that line: slope in N/mm, which the thing's own stiffness sets, and intercept in N, which its damping sets. The
peak force is no label: it changes with the size of a time step. The thing is held while it is pressed, so that the table does
not yield as well; it springs back, and the two pictures differ by noise only.
"""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.sim.table import Outcome, Table, resample
from embodied_ssl.sim.world import RATE, Link, Shape, World

DIAMETER = 0.012
SPEED = 0.04
DEPTH = 0.008
IMPACT = 1.0  # mm; the blow of the first touch is no part of the line
ABOVE = 0.003  # the tip starts this far above what it sees


def poker(world: World, x: float, y: float, height: float) -> int:
    """Add a round tip at a height; its one joint slides downwards."""
    rod = Shape("capsule", (DIAMETER, DIAMETER, 0.06))
    tip = Link(rod, 0, (0, 0, 0), (0, 0, -1), centre=(0, 0, 0.03), mass=0.5)
    return world.add_tool([tip], (x, y, height), friction=0.5)


def fit(force: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """Least squares of force [n] in N against depth [n] in mm: slope in N/mm and intercept in N; zeros below 5 samples."""
    if len(force) < 5 or np.ptp(depth) < 1e-3:
        return 0.0, 0.0
    slope, intercept = np.polyfit(depth, force, 1)
    return float(slope), float(intercept)


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a pixel near the middle of a thing's top."""
    places = table.visible() or list(range(len(table.things)))
    place = places[int(rng.integers(len(places)))]
    thing = table.things[place]
    out, around = 0.3 * min(thing.shape.size) / 2 * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
    point = table.states()[place][:3] + np.array([out * math.cos(around), out * math.sin(around), thing.rise])
    row, column, _ = table.camera.project(point[None])[0]
    height, width = table.view.depth.shape
    return float(np.clip(row, 0, height - 1)), float(np.clip(column, 0, width - 1))


def attempt(table: Table, row: float, column: float) -> Outcome:
    """Press on a pixel of the picture before."""
    world = table.world
    seen = table.camera.at_depth(row, column, float(table.view.depth[round(row), round(column)]))
    place = table.nearest(seen)
    thing, body = table.things[place], table.bodies[place]
    world.solve_finely()
    world.hold(body)
    world.set_stiffness(body, thing.stiffness, thing.damping)
    tool = poker(world, float(seen[0]), float(seen[1]), float(seen[2]) + ABOVE)
    world.drive(tool, 0, speed=SPEED, force=200.0)
    gap = world.gap(tool, body)
    force, travel = [], []
    for _ in range(round((gap + DEPTH) / SPEED * RATE)):
        world.step()
        force.append(float(world.force_on(tool, 0, body)[2]))
        travel.append(world.joint(tool, 0)[0])
    world.remove(tool)
    depth = (np.asarray(travel) - gap) * 1000
    past = (depth > IMPACT) & (np.asarray(force) > 0)
    slope, intercept = fit(np.asarray(force)[past], depth[past])
    return Outcome(place, (row, column, slope, intercept), slope > 0, resample(force), resample(travel))


def act(table: Table, rng: np.random.Generator) -> Outcome:
    """Draw a poke and do it."""
    return attempt(table, *choose(table, rng))
