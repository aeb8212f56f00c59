"""Pushing: sweep a finger along a line in the picture and see where the thing goes.

Task: something thin and upright enters the scene at a point of the table, its tip at some height, and moves along a straight
line. Randomised: which thing, from which side, how far off its middle, the length of the sweep and the height of the tip.
Success: the thing has moved by 1 cm or more.

The action is start row, start column, end row, end column (pixels of the picture before, of points at the tip's height) and that
height in metres. The trace is the force on the finger along its way, and how far it has come; contacts are those of the first
touch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embodied_ssl.sim.robots.hand import acting
from embodied_ssl.sim.tasks.outcome import Outcome, Recorder, keep_clear
from embodied_ssl.sim.tasks.stage import Table

ACTION = ("row", "column", "end_row", "end_column", "height")
WIDTH = 0.014  # metres that the finger takes, about
SPEED = 0.25  # metres a second
FORCE = 60.0  # newtons: the most that the pusher's motor gives to keep its speed
EDGE = 0.12  # sweeps end at least this share of the picture inside it, so that few things leave it
MOVED = 0.01
REACH = 0.07  # metres beside the way that the finger and what it moves may touch
_TRIES = 12


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Draw a sweep across a thing, from a start that is free and in the picture where one is found."""
    places = table.visible()
    place = places[int(rng.integers(len(places)))]
    sampler = table.stage.spec.sampler
    reach, centre = table.radius(place), table.before[place][:2]
    height = float(rng.uniform(0.008, 0.02))
    shape = np.array(table.view.depth.shape)
    for _ in range(_TRIES):
        yaw = float(rng.uniform(0, 2 * math.pi))
        gap, length, off = reach + WIDTH + rng.uniform(0.002, 0.02), rng.uniform(0.04, 0.09), rng.uniform(-0.3, 0.3)
        anywhere = rng.uniform(-0.1, 0.1, 2)
        ahead, aside = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
        if sampler == "random":
            start = anywhere
        else:
            start = centre - gap * ahead + (0.0 if sampler == "centred" else off) * reach * aside
        ends = np.array([[*start, height], [*(start + (gap + length) * ahead), height]])
        pixels = table.camera.project(ends)[:, :2]
        inside = (pixels >= 0).all() and (pixels <= shape - 1).all() and (np.abs(pixels[1] / shape - 0.5) <= 0.5 - EDGE).all()
        if inside and table.clear(ends[0], WIDTH / 2):
            break
    pixels = np.clip(pixels, 0, shape - 1)
    return float(pixels[0, 0]), float(pixels[0, 1]), float(pixels[1, 0]), float(pixels[1, 1]), height


def attempt(table: Table, action: Sequence[float]) -> Outcome:
    """Sweep from one pixel of the picture before to another; the thing acted on is the one that moved most."""
    row, column, end_row, end_column, height = action
    start, end = table.camera.at_height(row, column, height), table.camera.at_height(end_row, end_column, height)
    way = end - start
    length = max(float(np.linalg.norm(way)), 1e-6)
    table.freeze(start, end, REACH)
    with acting(table.robot.finger(start, math.atan2(way[1], way[0]))) as hand:
        keep_clear(table, hand)
        recorder = Recorder(
            table,
            hand,
            lambda senses: (-(senses.forces().sum(axis=1) @ way) / length, (senses.where() - start) @ way / length),
        )
        touched = False
        for _ in range(hand.go(end, SPEED, FORCE)):
            recorder.step()
            if not touched and recorder.senses.pressed():
                recorder.note_touch()
                touched = True
        recorder.see_from_wrist()
    table.rest()
    moved = np.linalg.norm(table.states()[:, :2] - table.before[:, :2], axis=1)
    place = int(np.argmax(moved)) if moved.max() > 1e-3 else table.nearest(end)
    return Outcome(place, tuple(action), bool(moved[place] >= MOVED), recorder.felt(), hand.residual)
