"""What came of an interaction, and the recorder that keeps what the hand felt, step by step, while the world runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Camera, Floats, View
from embodied_ssl.sim.elastic import Elastic
from embodied_ssl.sim.robots.hand import Hand, Unreachable
from embodied_ssl.sim.senses import Senses
from embodied_ssl.sim.solver import RATE
from embodied_ssl.sim.tasks.stage import Table
from embodied_ssl.sim.world import Contact

TRACE = 64  # samples of a resampled trace
Feel = Callable[[Senses], tuple[Floats, Floats]]


def resample(values: Sequence[float] | Floats) -> NDArray[np.float32]:
    """A trace of any length as ``TRACE`` evenly spaced samples, linearly interpolated; zeros for none."""
    if not len(values):
        return np.zeros(TRACE, np.float32)
    at = np.linspace(0, len(values) - 1, TRACE)
    return np.interp(at, np.arange(len(values)), values).astype(np.float32)


@dataclass
class Felt:
    """What a hand felt and saw during an action.

    Attributes:
        force: newtons, how hard it pressed in each step (240 a second) [n]; as the task says.
        travel: metres, how far it had moved or opened [n]; as the task says.
        pushed: newtons, the force of things on the hand in each step [n, 3].
        contacts: where it touched things, by the things' places, at the moment that the task says.
        film: pictures of the action, hand included.
        wrist: pictures from the hand at the beginning and at the end.
        tactile: pictures from the fingertips at the moment of touch.
    """

    force: Floats = field(default_factory=lambda: np.zeros(0))
    travel: Floats = field(default_factory=lambda: np.zeros(0))
    pushed: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    contacts: list[tuple[int, Contact]] = field(default_factory=list)
    film: list[View] = field(default_factory=list)
    wrist: list[View] = field(default_factory=list)
    tactile: list[View] = field(default_factory=list)


@dataclass
class Outcome:
    """What was done, and what came of it.

    Attributes:
        acted: the place of the thing that was acted on.
        action: as the task says; rows and columns are pixels of the picture before.
        success: as the task says.
        felt: by the hand.
        residual: metres between where the hand should have stood and where it stood.
        second: another camera for the picture after; None for the same one.
        deepest: a soft thing and the hand, as it was pressed most; None for rigid ones.
        elastic: what a soft thing is made of; None for rigid ones.
    """

    acted: int
    action: tuple[float, ...]
    success: bool
    felt: Felt = field(default_factory=Felt)
    residual: float = 0.0
    second: Camera | None = None
    deepest: View | None = None
    elastic: Elastic | None = None


def keep_clear(table: Table, hand: Hand) -> None:
    """See that a hand has not come in inside a thing: it would be thrown out of it by forces that no robot has.

    Raises:
        Unreachable: it has.
    """
    if hand.overlaps(table.bodies):
        raise Unreachable("a thing is where the hand would come in; choose a point that is free", 0.0)


class Recorder:
    """Lets time pass while a hand acts.

    Args:
        table: what it acts on.
        hand: what acts.
        feel: from what was sensed in all steps, how hard the hand pressed [n] and how far it had come [n].
        body: the thing whose touch counts; None for any.
    """

    def __init__(self, table: Table, hand: Hand, feel: Feel, body: int | None = None) -> None:
        self.table, self.hand, self.feel = table, hand, feel
        self.senses = hand.senses(body)
        self.kept = Felt()
        outputs = table.stage.spec.outputs
        self._every = RATE // outputs.video if outputs.video else 0
        self._pass = table.world.step
        self.see_from_wrist()

    def run(self, steps: int) -> None:
        """Let so many steps pass."""
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """Let one step pass."""
        if self._every and len(self.senses) % self._every == 0:
            self.kept.film.append(self.table.look(hand=self.hand))
        self.hand.advance()
        self._pass()
        self.senses.take()

    def felt(self) -> Felt:
        """All of it, made sense of."""
        force, travel = self.feel(self.senses)
        return replace(self.kept, force=force, travel=travel, pushed=self.senses.forces().sum(axis=1))

    def see_from_wrist(self) -> None:
        """Take a picture from the hand, if such pictures are kept."""
        spec = self.table.stage.spec
        if spec.outputs.wrist:
            self.kept.wrist.append(self.table.look(self.hand.camera(spec.size), self.hand))

    def note_touch(self) -> None:
        """Keep where the hand touches things now, and what its fingertips see if such pictures are kept."""
        table, spec = self.table, self.table.stage.spec
        self.kept.contacts = [
            (place, contact) for place, body in enumerate(table.bodies) for contact in table.world.contacts(self.hand.body, body)
        ]
        if spec.outputs.tactile:
            self.kept.tactile = [table.look(camera) for camera in self.hand.fingertip_cameras(spec.size)]
