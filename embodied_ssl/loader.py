"""The feed: from (step, micro-batch, rank) to a batch, the same for any number of workers and after any restart.

Nothing here has a changing state. Which samples a step reads follows from the step's number alone: every epoch has its
own keyed order, and a step takes the next stretch of it. The feed of a multi-task run has one *stream* a task, and all
streams share the workers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from embodied_ssl.core import Batch, Example, Plan, View
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator, torch_seed

SPARES = 16  # how many further samples of the epoch's order may stand in for an unreadable one


@dataclass(frozen=True)
class Stream:
    """What one task reads: a source through a view, ``batch_size`` examples a step over all ranks and micro-batches.

    Raises:
        UserError: the batch is not a whole number of samples.
    """

    name: str
    source: Source
    view: View
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.view.copies < 1 or self.batch_size % self.view.copies:
            raise UserError(
                f"batch size {self.batch_size} must be a positive multiple of {self.view.copies}, the examples one sample gives"
            )

    @property
    def samples(self) -> int:
        """Samples a step reads."""
        return self.batch_size // self.view.copies

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in one pass; the tail of the (each time different) order is left out. At least 1."""
        return max(1, len(self.source) // self.samples)

    def order(self, epoch: int, seed: int, plan: Plan | None = None) -> NDArray[np.int64]:
        """Sample indices of an epoch, [steps_per_epoch * samples]: a keyed shuffle or the plan's order, repeated as needed."""
        length = self.steps_per_epoch * self.samples
        if plan is not None and plan.indices is not None:
            if len(plan.indices) == 0 or plan.indices.min() < 0 or plan.indices.max() >= len(self.source):
                raise ValueError(f"a plan's indices must be of the {len(self.source)} samples, and at least one")
            return np.resize(plan.indices, length)
        rounds = -(-length // len(self.source))
        shuffles = [generator(seed, "order", self.name, epoch, i).permutation(len(self.source)) for i in range(rounds)]
        return np.concatenate(shuffles)[:length]


@dataclass(frozen=True)
class Draw:
    """One place in one epoch of one stream, and the samples that may fill it: the first that can be read."""

    stream: str
    epoch: int
    position: int
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Fed:
    """A batch as it leaves the workers, and the items that could not be read."""

    batch: Batch
    bad: tuple[tuple[str, str], ...]  # (name, reason)


class _Examples(Dataset[tuple[Draw, Example | None, list[BadItem]]]):
    """Turns a `Draw` into an example, replacing unreadable samples by the next of the same epoch's order."""

    def __init__(self, streams: Mapping[str, Stream], seed: int) -> None:
        self.streams = streams
        self.seed = seed

    def __getitem__(self, draw: Draw) -> tuple[Draw, Example | None, list[BadItem]]:
        stream = self.streams[draw.stream]
        bad: list[BadItem] = []
        for index in draw.candidates:
            rng = generator(self.seed, "draw", draw.stream, draw.epoch, draw.position)
            try:
                example = stream.view.draw(stream.source[index], rng)
            except BadItem as error:
                bad.append(error)
                continue
            copies = stream.view.copies
            example.setdefault("index", np.full(copies, index) if copies > 1 else np.asarray(index))
            return draw, example, bad
        return draw, None, bad


class _Collate:
    """Stacks examples by stream; fields of a named stream are called ``stream/field``."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self.copies = {name: stream.view.copies for name, stream in streams.items()}

    def __call__(self, drawn: Sequence[tuple[Draw, Example | None, list[BadItem]]]) -> Fed:
        bad = tuple((error.name, error.reason) for _, _, errors in drawn for error in errors)
        if any(example is None for _, example, _ in drawn):
            return Fed({}, bad)
        batch: dict[str, Tensor] = {}
        for stream, copies in self.copies.items():
            examples = [example for draw, example, _ in drawn if draw.stream == stream and example is not None]
            join = np.concatenate if copies > 1 else np.stack
            for name in examples[0]:
                joined: Any = join([example[name] for example in examples])
                batch[f"{stream}/{name}" if stream else name] = torch.from_numpy(joined)
        return Fed(batch, bad)


def _start_worker(worker: int) -> None:
    """One thread a worker, and Ctrl-C is the main process's to handle."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Feed:
    """All streams of a run, seen by one rank.

    Args:
        streams: the tasks' streams by name; a single task's name is "".
        seed: the run's seed.
        workers: processes; 0 reads in this one.
        accumulate: micro-batches a step.
        rank, world: this rank and how many there are.

    Raises:
        UserError: a batch does not divide into micro-batches and ranks.
    """

    def __init__(
        self, streams: Mapping[str, Stream], seed: int, workers: int = 0, accumulate: int = 1, rank: int = 0, world: int = 1
    ) -> None:
        self.streams = streams
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self.rank = rank
        self.world = world
        for stream in streams.values():
            if len(stream.source) == 0:
                raise UserError(f"{stream.source.name} holds no samples to train on")
            if stream.samples % (accumulate * world):
                raise UserError(
                    f"a batch of {stream.batch_size} examples ({stream.samples} samples) does not divide into "
                    f"{accumulate} micro-batches on {world} ranks; choose a multiple of {accumulate * world * stream.view.copies}"
                )

    def epoch_of(self, stream: str, step: int) -> int:
        return step // self.streams[stream].steps_per_epoch

    def draws(self, step: int, micro: int, orders: Mapping[str, NDArray[np.int64]]) -> list[Draw]:
        """What this rank reads in a micro-batch of a step; ranks and micro-batches take neighbouring stretches of the order."""
        found: list[Draw] = []
        for name, stream in self.streams.items():
            order = orders[name]
            share = stream.samples // (self.accumulate * self.world)
            first = (step % stream.steps_per_epoch) * stream.samples + (micro * self.world + self.rank) * share
            for position in range(first, first + share):
                candidates = np.take(order, range(position, position + min(SPARES, len(order))), mode="wrap")
                found.append(Draw(name, self.epoch_of(name, step), position, tuple(int(i) for i in candidates)))
        return found

    def batches(self, start: int, stop: int, plans: Mapping[str, Plan | None] | None = None) -> Iterator[Fed]:
        """The micro-batches of steps ``start`` to ``stop``, in order. ``plans`` hold for the epochs that these steps lie in.

        Raises:
            UserError: too many samples in a row could not be read.
        """
        for fed in self._loader(_Lazily(lambda: self._plan_draws(start, stop, plans or {})), self.streams, self.seed):
            yield _readable(fed)

    def in_order(self, stream: str, indices: Sequence[int], key: str, skip_unreadable: bool = False) -> Iterator[Fed]:
        """Given samples once each, in the given order, with draws keyed by ``key`` and the sample: for evaluation, clustering.

        The draws do not depend on the run's seed, so runs of different seeds are judged on the same questions.

        Args:
            stream: by name.
            indices: of samples.
            key: a word that keys the draws.
            skip_unreadable: give an empty batch where too much cannot be read, instead of refusing.
        """
        one = self.streams[stream]
        share = max(1, one.samples // (self.accumulate * self.world))
        draws = [Draw(stream, 0, i, (i, *_others(i, len(one.source)))) for i in indices]
        chunks = [draws[i : i + share] for i in range(0, len(draws), share)]
        for fed in self._loader(chunks, {stream: one}, torch_seed("in order", key)):
            yield fed if skip_unreadable else _readable(fed)

    def _plan_draws(self, start: int, stop: int, plans: Mapping[str, Plan | None]) -> Iterator[list[Draw]]:
        orders: dict[str, NDArray[np.int64]] = {}
        epochs: dict[str, int] = {}
        for step in range(start, stop):
            for name, stream in self.streams.items():
                epoch = self.epoch_of(name, step)
                if epochs.get(name) != epoch:
                    epochs[name], orders[name] = epoch, stream.order(epoch, self.seed, plans.get(name))
            for micro in range(self.accumulate):
                yield self.draws(step, micro, orders)

    def _loader(self, draws: Iterable[list[Draw]], streams: Mapping[str, Stream], seed: int) -> DataLoader[Fed]:
        return DataLoader(
            _Examples(streams, seed),  # type: ignore[arg-type]
            batch_sampler=draws,
            num_workers=self.workers,
            collate_fn=_Collate(streams),
            worker_init_fn=_start_worker,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else every pass would draw a number from torch's global one
        )


class _Lazily:
    """Draws made as the loader asks for them: those of a long run would not fit in memory."""

    def __init__(self, make: Callable[[], Iterator[list[Draw]]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.make()


def _readable(fed: Fed) -> Fed:
    if not fed.batch:
        name, reason = fed.bad[0]
        count = f"{len(fed.bad)} items of one batch could not be read"
        raise UserError(f"{count}, the first: {name}: {reason}; check the data folder")
    return fed


def _others(index: int, length: int) -> tuple[int, ...]:
    return tuple((index + i) % length for i in range(1, min(SPARES, length)))
