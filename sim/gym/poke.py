"""Poking as an environment: find the softest thing on the table by pressing on it.

Action: row, column. Reward: 1 if the thing that was pressed is the softest on the table (distractors apart), else 0. Looks tell
a little (broad, flat things tend to be stiff); feeling tells the rest. So one step asks what can be seen, and an episode of
several steps how to find out: press around, and stay with the softest.
Observation: besides the pictures ``felt`` float32 [4]: row and column of the last poke as in actions, and the slope (N/mm) and
intercept (N) that were felt; zeros before the first, and where nothing was felt. With ``soft=True`` things are blocks of rubber,
and what counts is the stiffness of the whole block.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.gym.touching import Observation, Touching
from embodied_ssl.sim.tasks.outcome import Outcome

LIMIT = 1000.0  # N/mm, and N; nothing here comes near


class Poke(Touching):
    """``embodied_ssl/Poke-v0``."""

    task: ClassVar[str] = "poke"
    numbers: ClassVar[int] = 2

    def more_space(self) -> dict[str, spaces.Space[Any]]:
        return {"felt": spaces.Box(-LIMIT, LIMIT, (4,), np.float32)}

    def decode(self, action: Floats) -> tuple[float, ...]:
        self._last = action
        return self.pixel(action[0], action[1])

    def begin(self) -> None:
        self._felt = np.zeros(4, np.float32)

    def more(self) -> Observation:
        return {"felt": self._felt.copy()}

    def reward(self, outcome: Outcome) -> tuple[float, bool, dict[str, Any]]:
        scene = self.table.scene
        slope, intercept = outcome.action[2:]
        softest = int(np.argmin(scene.stiffnesses[: len(scene.things) - scene.distractors]))
        right = outcome.success and outcome.acted == softest
        felt = [*self._last, slope, intercept] if outcome.success else [0.0] * 4
        self._felt = np.clip(np.array(felt, np.float32), -LIMIT, LIMIT)
        return float(right), False, {"slope": slope, "intercept": intercept, "softest": softest}
