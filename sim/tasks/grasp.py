"""Grasping: close a parallel jaw at a pixel, at one of 18 angles, and see whether the thing comes up.

Task: an open jaw (8 cm) comes down on a point seen in the picture, closes with 25 N a finger and lifts.
Randomised: which thing, the point (near its middle, or anywhere around it) and the angle (across its narrow side, or any).
Success: after the lift the thing has risen by 3 cm or more and *both* fingers press on it.

Angle bin b means that the fingers close along the direction 10 b degrees, counter-clockwise from the picture's columns axis
(rightwards). A jaw is the same after half a turn, so 18 bins are all there are (Pinto and Gupta 2016, arXiv:1509.06825). What was
lifted is put back where it was squeezed before the second picture is taken. The trace is the mean force of the two fingers and
the opening; contacts are those of the squeeze, before the lift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.robots.hand import Hand, acting
from embodied_ssl.sim.senses import Senses
from embodied_ssl.sim.tasks.outcome import Outcome, Recorder
from embodied_ssl.sim.tasks.stage import Table
from embodied_ssl.sim.world import matrix

BINS = 18
ACTION = ("row", "column", "angle_bin", "success")
SQUEEZE = 25.0  # N a finger; more drives the fingers into the thing
DEEP = 0.03  # the fingers' ends go so far below the point that was seen, if the table allows
LIFT = 0.05
DOWN, SPEED = 1.0, 0.5  # metres a second: down through the air, and up
RISEN = 0.03
CENTRED = 0.5  # share of tries near the middle; the rest teach what fails
ALIGNED = 0.4  # share of those that close across the narrow side
REACH = 0.08  # metres around the point that the jaw and what it moves may touch
_CLEAR = 0.004  # of the table
_CLOSE, _SQUEEZE, _HELD = 90, 12, 8  # steps: to close at most, to squeeze, to hang


def narrow(table: Table, place: int) -> float:
    """The world direction across a thing's narrow side as seen from above; for round things it does not matter."""
    turn = matrix(table.before[place])[:3, :3]
    flat = (table.scene.things[place].form.mesh.points @ turn.T)[:, :2]
    angles = np.arange(BINS) * math.pi / BINS
    across = flat @ np.stack([np.cos(angles), np.sin(angles)])
    return float(angles[int(np.ptp(across, axis=0).argmin())])


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


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a row, a column and an angle bin."""
    places = table.visible()
    place = places[int(rng.integers(len(places)))]
    sampler = table.stage.spec.sampler
    centred, aligned = rng.uniform() < CENTRED or sampler == "centred", rng.uniform() < ALIGNED
    near, far, angle = rng.normal(0, 0.004, 2), rng.uniform(-0.06, 0.06, 2), rng.uniform(0, math.pi)
    anywhere = rng.uniform(0.05, 0.95, 2)
    height, width = table.view.depth.shape
    if sampler == "random":
        return float(anywhere[0] * (height - 1)), float(anywhere[1] * (width - 1)), float(int(angle / math.pi * BINS) % BINS)
    point = table.before[place][:3]
    if centred and aligned:
        angle = in_picture(table, point, narrow(table, place))
    row, column, _ = table.camera.project((point + np.array([*(near if centred else far), 0.0]))[None])[0]
    row, column = min(max(float(row), 0.0), height - 1.0), min(max(float(column), 0.0), width - 1.0)
    return row, column, float(round(angle / math.pi * BINS) % BINS)


def attempt(table: Table, action: Sequence[float]) -> Outcome:
    """Grasp at a pixel of the picture before, closing along an angle bin."""
    row, column, angle_bin = action[:3]
    seen = table.point_at(row, column)
    yaw = in_world(table, row, column, float(seen[2]), angle_bin * math.pi / BINS)
    place = table.nearest(seen)
    body = table.bodies[place]
    table.freeze(seen, seen, REACH)
    low = np.array([seen[0], seen[1], max(_CLEAR, float(seen[2]) - DEEP)])
    above = (low[0], low[1], max(table.top(low, REACH), low[2]) + _CLEAR)
    with acting(table.robot.jaw(above, yaw)) as hand:
        come_down(table, hand, low)
        recorder = Recorder(table, hand, _feel, body)
        squeeze(recorder)
        recorder.note_touch()
        squeezed = table.world.pose(body)
        if not recorder.senses.shut():  # there is something to lift
            recorder.run(hand.go(low + np.array([0, 0, LIFT]), SPEED) + _HELD)
        risen = table.world.pose(body)[2] - table.before[place][2]
        success = bool(risen >= RISEN and all(hand.touching(body)))
        recorder.see_from_wrist()
    if risen >= RISEN:
        table.world.set_pose(body, squeezed[:3], squeezed[3:])
    return Outcome(place, (row, column, angle_bin, float(success)), success, recorder.felt(), hand.residual)


def come_down(table: Table, hand: Hand, low: Floats) -> None:
    """Come down from just above everything that might be met; what is in the way is pushed, or stops the hand."""
    for _ in range(hand.go(low, DOWN)):
        hand.advance()
        table.world.step()


def squeeze(recorder: Recorder) -> None:
    """Close until both fingers have pressed for a while, or are closed."""
    recorder.hand.close(SQUEEZE, speed=0.2)
    pressed = 0
    for _ in range(_CLOSE):
        recorder.step()
        pressed = pressed + 1 if recorder.senses.pressed() else 0
        if pressed >= _SQUEEZE or recorder.senses.shut():
            return


def _feel(senses: Senses) -> tuple[Floats, Floats]:
    """The mean force of the fingers, and the opening."""
    return np.linalg.norm(senses.forces(), axis=2).mean(axis=1), senses.opening()
