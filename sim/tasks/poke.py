"""Poking: press a fingertip onto a thing and feel how the force grows with depth.

Task: a round tip comes straight down on a pixel and presses 8 mm deep at a constant speed.
Randomised: which thing, and the point on its top.
Success: the tip pressed on a thing and a line fits force against depth.

The label is that line: slope in N/mm, which the thing's own stiffness sets, and intercept in N, which its damping sets (the
reading of the skin sensor in Pinto et al. 2016, arXiv:1604.01360). The peak force is no label: it changes with the size of a time
step. The thing is held while it is pressed, so that the table does not yield as well; it springs back, and the two pictures
differ by noise only. The trace is the upward force on the tip, and its way down; contacts are those at the deepest point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.robots.hand import Hand, acting
from embodied_ssl.sim.solver import RATE
from embodied_ssl.sim.tasks.outcome import Outcome, Recorder, keep_clear
from embodied_ssl.sim.tasks.stage import Table

ACTION = ("row", "column", "slope", "intercept")
SPEED = 0.04
FORCE = 200.0
DEPTH = 0.008
IMPACT = 1.0  # mm; the blow of the first touch is no part of the line
ABOVE = 0.003  # the tip starts this far above what it sees
REACH = 0.02
FLOOR = 0.001  # the tip stays above the table


def fit(force: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """Least squares of force [n] in N against depth [n] in mm: slope in N/mm and intercept in N; zeros below 5 samples."""
    if len(force) < 5 or np.ptp(depth) < 1e-3:
        return 0.0, 0.0
    slope, intercept = np.polyfit(depth, force, 1)
    return float(slope), float(intercept)


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a pixel near the middle of a thing's top."""
    places = table.visible()
    place = places[int(rng.integers(len(places)))]
    sampler = table.stage.spec.sampler
    share, around, anywhere = math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.95, 2)
    height, width = table.view.depth.shape
    if sampler == "random":
        return float(anywhere[0] * (height - 1)), float(anywhere[1] * (width - 1))
    out = (0.1 if sampler == "centred" else 0.3) * min(table.scene.things[place].form.size) / 2 * share
    centre = table.before[place][:3]
    point = np.array([centre[0] + out * math.cos(around), centre[1] + out * math.sin(around), table.top_of(place)])
    row, column, _ = table.camera.project(point[None])[0]
    return table.nearest_pixel(place, float(row), float(column))


def attempt(table: Table, action: Sequence[float]) -> Outcome:
    """Press on a pixel of the picture before."""
    row, column = action[:2]
    seen = table.point_at(row, column)
    place = table.nearest(seen)
    world, thing, body = table.world, table.scene.things[place], table.bodies[place]
    table.freeze(seen, seen, REACH)
    world.hold(body)
    world.set_stiffness(body, table.scene.stiffnesses[place], thing.damping)
    with acting(come_over(table, seen, place)) as hand:
        start = hand.where()
        keep_clear(table, hand)
        world.solve_finely()
        recorder = Recorder(
            table, hand, lambda senses: (senses.forces().sum(axis=1)[:, 2], start[2] - senses.where()[:, 2]), body
        )
        press(recorder, hand, start)
        recorder.note_touch()
        recorder.see_from_wrist()
    world.solve_finely(False)
    felt = recorder.felt()
    depth = 1000 * _depth(felt.travel, recorder.senses.sunk())
    past = (depth > IMPACT) & (felt.force > 0)
    slope, intercept = fit(felt.force[past], depth[past])
    return Outcome(place, (row, column, slope, intercept), slope > 0, felt, hand.residual)


def come_over(table: Table, seen: Floats, place: int) -> Hand:
    """A tip above the point that was seen; above the whole thing where that would be inside, as a hull spans hollows."""
    hand = table.robot.tip((seen[0], seen[1], seen[2] + ABOVE))
    if hand.gap(table.bodies[place]) > 0:
        return hand
    hand.leave()
    return table.robot.tip((seen[0], seen[1], table.top_of(place) + ABOVE))


def press(recorder: Recorder, hand: Hand, start: Floats) -> None:
    """Go down until the tip is 8 mm deep, or on the table."""
    steps = hand.go((start[0], start[1], FLOOR), SPEED, FORCE)
    left = steps
    while left > 0:
        recorder.step()
        left -= 1
        if recorder.senses.pressed():
            left = min(left, round(DEPTH / SPEED * RATE))
            break
    recorder.run(left)


def _depth(travel: Floats, sunk: Floats) -> Floats:
    """Metres below the first touch in each step [n]; zeros if there was none. What is sunk is measured as a step begins."""
    touched = np.flatnonzero(sunk > 0)
    if not len(touched) or touched[0] == 0:
        return np.zeros(len(travel))
    first = touched[0]
    below: Floats = travel - (travel[first - 1] - sunk[first])
    return below
