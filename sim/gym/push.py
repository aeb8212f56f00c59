"""Pushing as an environment: move one thing to a place with a finger; rewarded by the way it has come.

Observation: besides the pictures ``goal`` float32 [4]: row and column of the middle of the thing that is meant, and of where it
is to go, in the same units as actions; with ``picture_of_goal=True`` also ``goal_rgb`` uint8 [h, w, 3], the scene with that
thing there, turned as it was. Action: start row, start column, end row, end column of the sweep, and the height of the finger's
tip (from 5 to 30 mm). Reward: metres that the thing has come nearer to its place, negative when it has gone away. An episode is
solved, and terminates, when it is within 2 cm; ``info`` has the distance. A sweep that would begin inside a thing is not reached.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.gym.touching import Observation, Touching
from embodied_ssl.sim.tasks.outcome import Outcome
from embodied_ssl.sim.tasks.push import EDGE
from embodied_ssl.sim.tasks.stage import photograph

HEIGHT = (0.005, 0.03)  # metres
WAY = (0.05, 0.12)  # metres to the goal
NEAR = 0.02  # metres; nearer is there
_TRIES = 40


class Push(Touching):
    """``embodied_ssl/Push-v0``.

    Args:
        picture_of_goal: whether ``goal_rgb`` is observed.
        given: as for every environment.
    """

    task: ClassVar[str] = "push"
    numbers: ClassVar[int] = 5

    def __init__(self, render_mode: str | None = None, *, picture_of_goal: bool = False, **given: Any) -> None:
        self.picture_of_goal = picture_of_goal
        super().__init__(render_mode, **given)

    def more_space(self) -> dict[str, spaces.Space[Any]]:
        space: dict[str, spaces.Space[Any]] = {"goal": spaces.Box(-1.0, 1.0, (4,), np.float32)}
        return {**space, "goal_rgb": spaces.Box(0, 255, (*self.sim.size, 3), np.uint8)} if self.picture_of_goal else space

    def decode(self, action: Floats) -> tuple[float, ...]:
        height = HEIGHT[0] + (HEIGHT[1] - HEIGHT[0]) * (action[4] + 1) / 2
        return (*self.pixel(action[0], action[1]), *self.pixel(action[2], action[3]), float(height))

    def begin(self) -> None:
        """Choose a thing, and a place for it that is free and in the picture if one is found."""
        table = self.table
        rng = generator(self._seed or 0, "goal", self._index)
        places = table.visible()
        self.meant = places[int(rng.integers(len(places)))]
        here = table.before[self.meant, :3]
        others = [k for k in range(len(table.bodies)) if k != self.meant]
        reaches = np.array([thing.reach for thing in table.scene.things])
        shape = np.array(self.sim.size)
        for _ in range(_TRIES):
            yaw, way = rng.uniform(0, 2 * math.pi), rng.uniform(*WAY)
            self.target = here + way * np.array([math.cos(yaw), math.sin(yaw), 0.0])
            pixel = table.camera.project(self.target[None])[0, :2]
            away = np.linalg.norm(table.before[others, :2] - self.target[:2], axis=1)
            inside = (np.abs(pixel / shape - 0.5) <= 0.5 - EDGE).all()
            if inside and (away > reaches[others] + reaches[self.meant]).all():
                break
        self._goal_picture = self._imagine() if self.picture_of_goal else None

    def _imagine(self) -> Any:
        """The scene with the thing where it is to go."""
        table, stage = self.table, self.table.stage
        drawn = table.drawn()
        for k, each in enumerate(drawn):
            if each.id == self.meant:
                pose = each.pose.copy()
                pose[:2, 3] = self.target[:2]
                drawn[k] = replace(each, pose=pose)
        view = stage.renderer.look(drawn, table.camera, table.scene.light)
        return photograph(view, table.scene.noise, self._seed or 0, "noise", "goal", self._index)

    def more(self) -> Observation:
        middle = np.array([self.table.states()[self.meant, :3], self.target])
        pixels = self.table.camera.project(middle)[:, :2]
        goal = np.array([self.place(row, column) for row, column in pixels.tolist()], np.float32).ravel()
        seen: Observation = {"goal": np.clip(goal, -1, 1)}
        return {**seen, "goal_rgb": self._goal_picture.copy()} if self._goal_picture is not None else seen

    def reward(self, outcome: Outcome) -> tuple[float, bool, dict[str, Any]]:
        before, after = (
            float(np.linalg.norm(states[self.meant, :2] - self.target[:2])) for states in (self.table.before, self.table.states())
        )
        there = after < NEAR
        return before - after, there, {"distance": after, "meant": self.meant, "there": there}
