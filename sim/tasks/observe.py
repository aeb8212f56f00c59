"""Observing: look at the same things from two places, without touching them.

Task: the picture before is taken by the scene's camera; the picture after by another one that has gone around the table.
Randomised: which thing is meant, how far the camera goes around (up to 60 degrees either way) and how far it comes down.
Success: the thing is seen in both pictures.

The action is the thing's row and column in the picture before, its row and column in the picture after, and the angle in radians
by which the camera has gone around: what an agent that only looks can learn about identity and viewpoint (the fourth task of
Pinto et al. 2016, arXiv:1604.01360). The pose of the second camera is in the row. There is no trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embodied_ssl.sim.camera import Camera
from embodied_ssl.sim.tasks.outcome import Outcome
from embodied_ssl.sim.tasks.stage import VISIBLE, Table

ACTION = ("row", "column", "row_after", "column_after", "around")
AROUND = math.radians(60)
LEAN = (math.radians(10), math.radians(50))  # from straight above


def choose(table: Table, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the place of a thing, the angle around and the angle from straight above."""
    places = table.visible()
    place = places[int(rng.integers(len(places)))]
    return float(place), float(rng.uniform(-AROUND, AROUND)), float(rng.uniform(*LEAN))


def second_camera(camera: Camera, around: float, lean: float) -> Camera:
    """A camera as far from what it looks at, turned ``around`` the vertical and leaning by ``lean`` from straight above."""
    distance = float(np.linalg.norm(np.subtract(camera.position, camera.target)))
    up = np.array(camera.up)
    back = -up[:2] / np.linalg.norm(up[:2])  # the lower edge of the picture is where the camera leans towards
    turn = np.array([[math.cos(around), -math.sin(around)], [math.sin(around), math.cos(around)]])
    away = turn @ back
    x, y, z = camera.target
    place = (
        float(x + distance * math.sin(lean) * away[0]),
        float(y + distance * math.sin(lean) * away[1]),
        float(z + distance * math.cos(lean)),
    )
    return replace(camera, position=place, up=(float(-away[0]), float(-away[1]), 0.0))


def attempt(table: Table, action: Sequence[float]) -> Outcome:
    """Look again from elsewhere."""
    place, around, lean = int(action[0]), action[1], action[2]
    camera = second_camera(table.camera, around, lean)
    centre = table.before[place][None, :3]
    (row, column, _), (row_after, column_after, _) = table.camera.project(centre)[0], camera.project(centre)[0]
    seen = [float((view.ids == place).mean()) > VISIBLE for view in (table.view, table.look(camera))]
    action = (float(row), float(column), float(row_after), float(column_after), around)
    return Outcome(place, action, all(seen), second=camera)
