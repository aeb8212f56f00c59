"""What can be asked of the simulator: refuses in one line what cannot, before anything is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim import proposals
from embodied_ssl.sim.objects import pool
from embodied_ssl.sim.schema import TASKS
from embodied_ssl.sim.spec import Spec

CHOICES = {
    "robot": ("jaw", "panda", "kuka"),
    "solver": ("reference", "default", "fast"),
    "renderer": ("gl", "tiny"),
    "sampler": ("mixed", "random", "centred"),
}


def check_request(tasks: Sequence[str], episodes: int, size: tuple[int, int], accepted: Sequence[str] = TASKS) -> None:
    """Refuse what cannot be simulated.

    Raises:
        UserError: no or unknown tasks, fewer than one episode, or pictures too small to see things in.
    """
    if not tasks:
        raise UserError(f"no task was given; there is {', '.join(accepted)}")
    for task in tasks:
        if task not in accepted:
            raise UserError(f"there is no task '{task}'{suggest(task, accepted)}")
    if len(set(tasks)) != len(tasks):
        raise UserError(f"a task is named twice in {','.join(tasks)}; name each once")
    if episodes < 1:
        raise UserError(f"--episodes is {episodes}; give 1 or more")
    if min(size) < 16 or max(size) > 2048:
        raise UserError(f"--size is {size[0]} x {size[1]}; give 16 to 2048 pixels")


def check_spec(spec: Spec) -> None:
    """Refuse a specification of interactions that nothing can be made of.

    Raises:
        UserError: says which setting, what it is, and what is accepted.
    """
    check_request(spec.tasks, spec.episodes, spec.size)
    for name, accepted in CHOICES.items():
        given = getattr(spec, name)
        if name == "sampler" and proposals.is_file(given):
            proposals.opened(given)
        elif given not in accepted:
            raise UserError(f"{name}={given} is not accepted{suggest(given, accepted)}")
    if spec.seed < 0:
        raise UserError(f"--seed is {spec.seed}; give a whole number of at least 0")
    if spec.per_shard < 1:
        raise UserError(f"per_shard={spec.per_shard} is not accepted; give 1 or more")
    fewest, most = spec.things
    if not 1 <= fewest <= most <= spec.pool.objects:
        raise UserError(f"{fewest} to {most} things from a pool of {spec.pool.objects}; give 1 <= fewest <= most <= pool.objects")
    outputs = spec.outputs
    if not 0 <= outputs.quality <= 100:
        raise UserError(f"outputs.quality={outputs.quality} is not accepted; give 1 to 100 for JPEG, 0 for PNG")
    if outputs.video < 0 or (outputs.video and 240 % outputs.video):
        raise UserError(f"outputs.video={outputs.video} is not accepted; give 0, or frames a second that divide 240, such as 30")
    if outputs.video and (spec.size[0] % 2 or spec.size[1] % 2):
        raise UserError(f"a film of {spec.size[0]} x {spec.size[1]} pixels cannot be made; give even numbers as --size")
    for key, value in vars(spec.randomise).items():
        if isinstance(value, tuple) and value[0] > value[1]:
            raise UserError(f"randomise.{key}={value[0]:g},{value[1]:g} runs backwards; give the smaller number first")
    pool.check(spec.pool)


@dataclass(frozen=True)
class Part:
    """One of the parts into which the shards of a data set are dealt, so that several machines can make it at the same time.

    Args:
        number: which, counted from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """``2/4`` is the second of four.

        Raises:
            UserError: it is no such thing.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {text} is not accepted; give i/N with 1 <= i <= N, such as 1/4 for the first of four")
        return cls(int(found[1]), int(found[2]))

    def shards(self, count: int) -> range:
        """The numbers of its shards among ``count``: dealt one by one, so that all parts have about as much to do."""
        return range(self.number - 1, count, self.of)
