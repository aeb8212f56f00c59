"""The feed: from (step, micro-batch, rank) to a batch, the same for any number of workers and after any restart.

Nothing here has a changing state. Which samples a step reads follows from the step's number alone: every epoch has its
own keyed order, and a step takes the next stretch of it. The feed of a multi-task run has one *stream* a task, and all
streams share the workers.

A video is dear to decode, so a view may draw K examples from one window of it. To keep them apart, `View.spread` hands out
one at a time: a window drawn at step s gives its k-th example to step s + k * LANES, and a batch of B examples comes from
B windows. A worker keeps what it has drawn and not yet given; that saves time and decides nothing, since any worker can
draw the window again from its key.
"""

from __future__ import annotations

import signal
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

LANES = 2  # steps between a window's examples: as many (or half as many) workers meet their own windows again
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

    @property
    def spread(self) -> bool:
        return self.view.spread and self.view.copies > 1


@dataclass(frozen=True)
class Draw:
    """One place in one epoch of one stream, and the samples that may fill it: the first that can be read.

    Attributes:
        copy: which one of the sample's examples is wanted; None for all of them.
    """

    stream: str
    epoch: int
    position: int
    candidates: tuple[int, ...]
    copy: int | None = None


@dataclass(frozen=True)
class Fed:
    """A batch as it leaves the workers, and the items that could not be read."""

    batch: Batch
    bad: tuple[tuple[str, str], ...]  # (name, reason)


Orders = Callable[[str, int], NDArray[np.int64]]  # from a stream's name and an epoch to its order
Drawn = tuple[Draw, Example | None, list[BadItem]]


class _Examples(Dataset[Drawn]):
    """Turns a `Draw` into an example, replacing unreadable samples by the next of the same epoch's order.

    Of a spread sample the examples whose turn is yet to come are kept, those of the ``room`` samples drawn last.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int, room: int) -> None:
        self.streams = streams
        self.seed = seed
        self.room = room
        self.kept: OrderedDict[tuple[str, int, int], dict[int, Example]] = OrderedDict()

    def __getitem__(self, draw: Draw) -> Drawn:
        if draw.copy is None:
            return self._draw(draw)
        place = (draw.stream, draw.epoch, draw.position)
        waiting = self.kept.get(place, {})
        if draw.copy in waiting:
            example = waiting.pop(draw.copy)
            if not waiting:
                del self.kept[place]
            return draw, example, []
        _, whole, bad = self._draw(draw)
        if whole is None:
            return draw, None, bad
        count = self.streams[draw.stream].view.copies
        apart = {copy: {name: np.array(value[copy]) for name, value in whole.items()} for copy in range(draw.copy, count)}
        example = apart.pop(draw.copy)
        if apart:
            self.kept[place] = apart
        while len(self.kept) > self.room:
            self.kept.popitem(last=False)
        return draw, example, bad

    def _draw(self, draw: Draw) -> Drawn:
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

    def __call__(self, drawn: Sequence[Drawn]) -> Fed:
        bad = tuple((error.name, error.reason) for _, _, errors in drawn for error in errors)
        if any(example is None for _, example, _ in drawn):
            return Fed({}, bad)
        batch: dict[str, Tensor] = {}
        for stream, copies in self.copies.items():
            examples = [example for draw, example, _ in drawn if draw.stream == stream and example is not None]
            whole = any(draw.copy is None for draw, _, _ in drawn if draw.stream == stream)
            join = np.concatenate if copies > 1 and whole else np.stack
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

    def draws(self, step: int, micro: int, order: Orders, together: Sequence[str] = ()) -> list[Draw]:
        """What this rank reads in a micro-batch of a step; ranks and micro-batches take neighbouring stretches of the order.

        Args:
            step, micro: which.
            order: gives a stream's order of an epoch.
            together: streams whose samples are not spread now.
        """
        found: list[Draw] = []
        for name, stream in self.streams.items():
            spread = stream.spread and name not in together
            for copy in range(stream.view.copies) if spread else (None,):
                found += self._stretch(name, step - LANES * (copy or 0), micro, order, copy)
        return found

    def _stretch(self, name: str, step: int, micro: int, order: Orders, copy: int | None) -> Iterator[Draw]:
        """The samples that a stream draws at a step. Steps before the first have windows too: they fill the run's beginning."""
        stream, epoch = self.streams[name], self.epoch_of(name, step)
        indices = order(name, epoch)
        share = stream.samples // (self.accumulate * self.world)
        first = (step % stream.steps_per_epoch) * stream.samples + (micro * self.world + self.rank) * share
        for position in range(first, first + share):
            candidates = np.take(indices, range(position, position + min(SPARES, len(indices))), mode="wrap")
            yield Draw(name, epoch, position, tuple(int(i) for i in candidates), copy)

    def batches(self, start: int, stop: int, plans: Mapping[str, Plan | None] | None = None) -> Iterator[Fed]:
        """The micro-batches of steps ``start`` to ``stop``, in order. ``plans`` hold for the epochs that these steps lie in.

        Raises:
            UserError: too many samples in a row could not be read.
        """
        for fed in self._loader(_Lazily(lambda: self._plan_draws(start, stop, plans or {})), self.streams, self.seed):
            yield _readable(fed)

    def in_order(
        self, stream: str, indices: Iterable[int], key: str, skip_unreadable: bool = False, view: View | None = None
    ) -> Iterator[Fed]:
        """Given samples once each, in the given order, with draws keyed by ``key`` and the sample: for evaluation, clustering.

        The draws do not depend on the run's seed, so runs of different seeds are judged on the same questions.

        Args:
            stream: by name.
            indices: of samples.
            key: a word that keys the draws.
            skip_unreadable: give an empty batch where too much cannot be read, instead of refusing.
            view: in place of the stream's own.
        """
        one = self.streams[stream]
        share = max(1, one.samples // (self.accumulate * self.world))
        one = one if view is None else replace(one, view=view, batch_size=one.samples * view.copies)
        draws = [Draw(stream, 0, int(i), (int(i), *_others(int(i), len(one.source)))) for i in indices]
        chunks = [draws[i : i + share] for i in range(0, len(draws), share)]
        for fed in self._loader(chunks, {stream: one}, torch_seed("in order", key)):
            yield fed if skip_unreadable else _readable(fed)

    def _plan_draws(self, start: int, stop: int, plans: Mapping[str, Plan | None]) -> Iterator[list[Draw]]:
        planned = [name for name, plan in plans.items() if plan is not None]  # holds for one epoch: no window outlives it
        orders: dict[tuple[str, int], NDArray[np.int64]] = {}

        def order(name: str, epoch: int) -> NDArray[np.int64]:
            if (name, epoch) not in orders:
                orders[name, epoch] = self.streams[name].order(epoch, self.seed, plans.get(name))
            return orders[name, epoch]

        for step in range(start, stop):
            for micro in range(self.accumulate):
                yield self.draws(step, micro, order, planned)
            for name, epoch in list(orders):
                reach = LANES * self.streams[name].view.copies
                if epoch < self.epoch_of(name, step - reach):
                    del orders[name, epoch]

    def _room(self) -> int:
        """How many spread samples have examples to come, at any time."""
        live = [one.samples * LANES * one.view.copies for one in self.streams.values() if one.spread]
        return sum(live) // self.world

    def _loader(self, draws: Iterable[list[Draw]], streams: Mapping[str, Stream], seed: int) -> DataLoader[Fed]:
        return DataLoader(
            _Examples(streams, seed, self._room()),  # type: ignore[arg-type]
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
