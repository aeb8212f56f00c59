"""Grasping as an environment: close a jaw at a point of the picture, at an angle; rewarded when the thing comes up.

Action: row, column, angle; the angle runs from 0 (-1) to half a turn (1), after which a jaw is the same. Bin b of a data set is
``2 * b / 18 - 1``. Reward: 1 for a thing that was lifted by both fingers, else 0. In longer episodes it is put back each time.
A random policy lifts something in one of ten tries or so; closing on the middle of what stands out in depth, across its narrow
side, lifts nearly every primitive (a test holds that there is a wide gap).
"""

from __future__ import annotations

from typing import Any, ClassVar

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.gym.touching import Touching
from embodied_ssl.sim.tasks.grasp import BINS
from embodied_ssl.sim.tasks.outcome import Outcome


class Grasp(Touching):
    """``embodied_ssl/Grasp-v0``."""

    task: ClassVar[str] = "grasp"
    numbers: ClassVar[int] = 3

    def decode(self, action: Floats) -> tuple[float, ...]:
        row, column = self.pixel(action[0], action[1])
        return row, column, float((action[2] + 1) / 2 * BINS) % BINS

    def reward(self, outcome: Outcome) -> tuple[float, bool, dict[str, Any]]:
        return float(outcome.success), False, {}
