"""What the environments share: a scene is shown, something is done to it, and what came of it is rewarded.

Episodes have one step by default (a contextual bandit): act once, see what happened, done. With ``steps=n`` one acts n times on
the same scene; what was moved stays where it came to rest, and the episode is truncated after the last step.

``reset(seed=s)`` shows the first scene of seed s, further resets the ones after it, ``reset(options={"index": k})`` scene k. The
scene, its pictures and what every action does to it depend on specification, seed, index and actions alone, to the bit, whatever
was done before. Scene k of a seed is that of item k in a data set collected with the same specification and seed. Without a
seed, the first reset takes that of ``spec``, or draws one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim.camera import Camera, Floats, View
from embodied_ssl.sim.collecting.accepted import check_spec
from embodied_ssl.sim.interaction import facts, player, set_table
from embodied_ssl.sim.objects.thing import Rest
from embodied_ssl.sim.robots.hand import ROBOT, Unreachable
from embodied_ssl.sim.spec import Spec
from embodied_ssl.sim.tasks.outcome import Outcome
from embodied_ssl.sim.tasks.scene import Place, Scene
from embodied_ssl.sim.tasks.stage import Stage, Table, photograph

Observation = dict[str, NDArray[Any]]
Action = NDArray[np.float32]
FRAMES = 30  # a second, of films
_FAR = Camera((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1, 1).far
_OWN = ("tasks", "episodes", "per_shard")  # fields of a specification that say nothing about an environment


class Touching(gymnasium.Env[Observation, Action], ABC):
    """One task in one simulated world of its own.

    The observation has ``rgb`` uint8 [h, w, 3], ``depth`` float32 [h, w] in metres and, if asked for, ``ids`` int32 [h, w] (the
    place of each pixel's thing, -1 for none), and what the task adds. Actions are float32 in -1..1; what is outside is brought
    to the nearest limit. Rows and columns run from the middle of the first pixel (-1) to that of the last (1). ``info`` has every
    scalar of a data set's row (mass, friction, stiffness, ... of the thing that was acted on), ``force`` and ``travel`` float32
    [64] of the hand, and ``reached``: whether the robot could do it at all. If not, nothing happens, the reward is 0 and
    ``reason`` says why.

    Args:
        render_mode: None, "rgb_array" (the scene as it stands) or "rgb_array_list" (a film of what was done since the last call).
        spec: solver, robot, renderer, pool, randomisation, size of pictures; by default a ``Spec()``.
        steps: actions in an episode.
        ids: whether ``ids`` are observed too; they tell things apart, so a policy that uses them sees more than a camera.
        changes: fields of the specification to replace, such as ``robot="panda"``.

    Raises:
        UserError: a field that there is not, or a value that is not accepted.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "rgb_array_list"], "render_fps": FRAMES}  # noqa: RUF012
    task: ClassVar[str]

    def __init__(
        self, render_mode: str | None = None, *, spec: Spec | None = None, steps: int = 1, ids: bool = False, **changes: Any
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise UserError(f"there is no render mode '{render_mode}'{suggest(render_mode, self.metadata['render_modes'])}")
        if not isinstance(steps, int) or steps < 1:
            raise UserError(f"an episode has at least 1 step, not {steps!r}")
        self.render_mode = render_mode
        self.steps = steps
        self.ids = ids
        self.sim = _changed(spec or Spec(), changes, self.task)
        if render_mode == "rgb_array_list":
            self.sim = replace(self.sim, outputs=replace(self.sim.outputs, video=FRAMES))
        self._first = self.sim.seed if spec is not None or "seed" in changes else None
        self._seed: int | None = None
        self._index = -1
        self._step = -1  # none is going on
        self._stage: Stage | None = None
        self._frames: list[Pixels] = []
        self.observation_space: Any = spaces.Dict({**self._seen_space(), **self.more_space()})
        self.action_space: Any = spaces.Box(-1.0, 1.0, (self.numbers,), np.float32)

    # What a task says.

    numbers: ClassVar[int]  # of an action

    @abstractmethod
    def decode(self, action: Floats) -> tuple[float, ...]:
        """An action in -1..1 as the task's own numbers."""

    def more_space(self) -> dict[str, spaces.Space[Any]]:
        """What the task adds to the observation."""
        return {}

    def more(self) -> Observation:
        """What the task adds to the observation now."""
        return {}

    def begin(self) -> None:
        """A new scene has been set."""

    @abstractmethod
    def reward(self, outcome: Outcome) -> tuple[float, bool, dict[str, Any]]:
        """The reward of what was just done, whether the task is solved for good, and what more there is to tell."""

    # What Gymnasium asks for.

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Show a scene; ``options={"index": k}`` for scene k of the seed."""
        super().reset(seed=seed)
        index = _index(options)
        if seed is not None:
            self._seed, self._index = seed, -1
        elif self._seed is None:
            self._seed = self._first if self._first is not None else int(self.np_random.integers(2**31))
        self._index = self._index + 1 if index is None else index
        if self._stage is None:
            self._stage = Stage(self.sim)
        self._stage.spec = replace(self.sim, seed=self._seed)
        self.table = set_table(self._stage, self.task, self._index)
        self._step = 0
        self.begin()
        self._show(self.table.view, "before")
        self._frames = [self._picture.copy()]
        return self._observe(), {"index": self._index, "seed": self._seed, "things": len(self.table.scene.things)}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do something to the scene."""
        if self._stage is None or self._step < 0:
            raise gymnasium.error.ResetNeeded("the episode is over, or has not begun; call reset()")
        chosen = self.decode(self._checked(action))
        info: dict[str, Any] = {"index": self._index, "seed": self._seed, "reached": True, "reason": ""}
        reward, solved, view = 0.0, False, None
        try:
            outcome: Outcome = player(self.task, self.sim).attempt(self.table, chosen)
        except Unreachable as error:
            info |= {"reached": False, "reason": str(error), "success": False}
        else:
            if self.task != "push":  # a push has come to rest already
                self.table.rest()
            reward, solved, more = self.reward(outcome)
            info |= {**_told(facts(self.task, self.table, outcome)), "task": self.task, **more}
            self._film(outcome)
            view = self.table.look()
        self._step += 1
        ended = self._step >= self.steps
        if not (ended or solved):  # also frees what the action had fixed
            self.table = set_table(self._stage, self.task, self._index, as_it_stands(self.table))
            view = self.table.view
        self._show(view or self.table.look(), "after", *([self._step] if self._step > 1 else []))
        self._frames.append(self._picture.copy())
        terminated = solved or (ended and self.steps == 1)
        if ended or solved:
            self._step = -1
        return self._observe(), reward, terminated, ended and not terminated, info

    def render(self) -> Any:
        """The scene as it stands uint8 [h, w, 3], or the frames since the last call."""
        if self.render_mode == "rgb_array":
            return self._picture.copy()
        if self.render_mode == "rgb_array_list":
            frames, self._frames = self._frames, []
            return frames
        raise UserError("this environment was made without a render mode; make it with render_mode='rgb_array'")

    def close(self) -> None:
        """Give the world back; a later reset would make a new one."""
        if self._stage is not None:
            self._stage.close()
        self._stage, self._step = None, -1

    # The rest.

    def pixel(self, row: float, column: float) -> tuple[float, float]:
        """A row and a column in -1..1 as pixels."""
        height, width = self.sim.size
        return (row + 1) / 2 * (height - 1), (column + 1) / 2 * (width - 1)

    def place(self, row: float, column: float) -> tuple[float, float]:
        """The inverse of `pixel`."""
        height, width = self.sim.size
        return 2 * row / (height - 1) - 1, 2 * column / (width - 1) - 1

    def _checked(self, action: Action) -> Floats:
        given = np.asarray(action, np.float64)
        if given.shape != (self.numbers,) or not np.isfinite(given).all():
            raise UserError(f"an action of {self.task} is {self.numbers} finite numbers in -1..1, not {action!r}")
        return np.clip(given, -1, 1)

    def _seen_space(self) -> dict[str, spaces.Space[Any]]:
        size = self.sim.size
        seen: dict[str, spaces.Space[Any]] = {
            "rgb": spaces.Box(0, 255, (*size, 3), np.uint8),
            "depth": spaces.Box(0.0, _FAR, size, np.float32),
        }
        return {**seen, "ids": spaces.Box(ROBOT, 127, size, np.int32)} if self.ids else seen

    def _show(self, view: View, *when: str | int) -> None:
        """Take a view as what is seen from now on, with the noise that a data set's picture would have."""
        self._view = view
        self._picture = photograph(view, self.table.scene.noise, self._seed or 0, "noise", *when, self._index)

    def _observe(self) -> Observation:
        view = self._view
        seen: Observation = {"rgb": self._picture.copy(), "depth": view.depth.copy()}
        return {**seen, **({"ids": view.ids.copy()} if self.ids else {}), **self.more()}

    def _film(self, outcome: Outcome) -> None:
        noise, seed = self.table.scene.noise, self._seed or 0
        self._frames += [photograph(view, noise, seed, "film", k, self._index) for k, view in enumerate(outcome.felt.film)]


def as_it_stands(table: Table) -> Scene:
    """A table's scene with its things where they are now."""
    places = [
        Place(float(x), float(y), 0.0, Rest((float(qx), float(qy), float(qz), float(qw)), float(z), 1.0))
        for x, y, z, qx, qy, qz, qw in table.states()
    ]
    return replace(table.scene, places=places)


def _changed(spec: Spec, changes: Mapping[str, Any], task: str) -> Spec:
    names = [field.name for field in dataclasses.fields(Spec) if field.name not in _OWN]
    for name in changes:
        if name not in names:
            raise UserError(
                f"an environment has no setting '{name}'{suggest(name, [*names, 'spec', 'steps', 'ids', 'render_mode'])}"
            )
    changed = replace(spec, **changes, tasks=(task,))
    check_spec(changed)
    return changed


def _index(options: Mapping[str, Any] | None) -> int | None:
    for name in options or {}:
        if name != "index":
            raise UserError(f"reset has no option '{name}'; the only one is index")
    index = (options or {}).get("index")
    if index is not None and (not isinstance(index, int | np.integer) or index < 0):
        raise UserError(f"index is {index!r}; give a whole number from 0 on")
    return None if index is None else int(index)


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is scalar of a row, and the traces."""
    scalars = {name: value for name, value in row.items() if isinstance(value, bool | int | float | str)}
    return {**scalars, **{name: np.array(row[name], np.float32) for name in ("force", "travel")}}
