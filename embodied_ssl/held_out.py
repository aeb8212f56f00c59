"""Held-out pretext evaluation: is the question answered on recordings never trained on?

Fixed keys, eval mode, no gradients; weights, BatchNorm and generators are as before. Every rank asks the same questions:
that is as quick as one rank alone, and none waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from embodied_ssl import collapse
from embodied_ssl.core import Batch, Learner, Method, Step, vector
from embodied_ssl.datasets.source import Source
from embodied_ssl.distributed import Ranks, gathered
from embodied_ssl.evaluation.statistics import percentiles, resamples
from embodied_ssl.loader import Feed

RESAMPLES = 200


@dataclass(frozen=True)
class Replies:
    """What a network answered to one task's held-out questions.

    Attributes:
        averages: the loss and the method's metrics.
        answers: as the method gave them, float32 [N, ...] each; N questions.
        recordings: what each question is about.
        vectors: what the backbone gave meanwhile, float32 [M, D], of as many pictures as were asked of it.
    """

    method: Method
    averages: Mapping[str, float]
    answers: Mapping[str, Tensor]
    recordings: Sequence[str]
    vectors: Tensor = field(default_factory=lambda: torch.empty(0, 1))

    @property
    def health(self) -> dict[str, float]:
        """How well the features fill their space: `embodied_ssl.collapse.figures`."""
        pair = self.method.pair
        return collapse.figures(self.vectors, (self.answers[pair[0]], self.answers[pair[1]]) if pair else None)

    @property
    def figures(self) -> dict[str, float]:
        """``loss``, the method's metrics and its `Method.score`."""
        return {**self.averages, **self.method.score(self.answers)}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals of the method's scores over draws of whole recordings.

        Questions about one recording are alike, so their number says little; how many recordings there are says more.
        None for a single recording, or for answers that are not one a question.
        """
        names, where = np.unique(self.recordings, return_inverse=True)
        if len(names) < 2 or any(len(values) != len(where) for values in self.answers.values()):
            return {}
        found: dict[str, list[float]] = {}
        for times in resamples(len(names), RESAMPLES):
            rows = torch.from_numpy(np.repeat(np.arange(len(where)), times[where]))
            for name, value in self.method.score({key: values[rows] for key, values in self.answers.items()}).items():
                found.setdefault(name, []).append(value)
        return {name: percentiles(values) for name, values in found.items()}


def replies(
    learner: Learner,
    feed: Feed,
    examples: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    on_bad: Callable[[Iterable[tuple[str, str]]], None] = lambda items: None,
) -> dict[str, Replies]:
    """Put held-out questions to every task whose feed has a stream here.

    Args:
        learner: left in the mode it was in.
        feed: over held-out sources; tasks without any held-out recording are left out of it.
        examples: at most this many for each task, evenly spread over the source.
        device: where the learner is.
        autocast: context for forward passes.
        on_bad: told of items that could not be read, as (name, reason); a task of which nothing can be read is left out.

    Returns:
        The replies, by the task's name.
    """
    was_training = learner.training
    learner.eval()
    try:
        with gathered(learner):
            found = {name: _ask_one(learner, feed, name, examples, device, autocast, on_bad) for name in feed.streams}
    finally:
        learner.train(was_training)
    return {name: one for name, one in found.items() if one is not None}


def figures_of(found: Mapping[str, Replies]) -> dict[str, float]:
    """Every task's figures by name; where there are several tasks, a task's start with ``task/``."""
    return {f"{name}/{key}" if name else key: value for name, one in found.items() for key, value in one.figures.items()}


def _ask_one(
    learner: Learner,
    feed: Feed,
    name: str,
    examples: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    on_bad: Callable[[Iterable[tuple[str, str]]], None],
) -> Replies | None:
    stream = feed.streams[name]
    method = learner.method.children_by_name.get(name, learner.method)
    count = min(len(stream.source), max(1, examples // stream.view.copies))
    steps: list[tuple[int, Step]] = []
    asked: list[int] = []
    with collapse.watched(learner.backbone) as vectors:
        for fed in feed.in_order(name, evenly_spread(stream.source, count), key="held out", skip_unreadable=True):
            on_bad(fed.bad)
            if not fed.batch:
                continue
            with autocast():
                batch, step = reply(learner, name, without_prefix(fed.batch, name), device)
            steps.append((len(next(iter(batch.values()))), step))
            asked += batch["index"].tolist()
    if not steps:
        return None
    answers = _answers([step for _, step in steps])
    recordings = [stream.source.recordings[i] for i in asked]
    return Replies(method, _averages(steps), answers, recordings, _join(vectors))


def evenly_spread(source: Source, count: int) -> list[int]:
    """``count`` samples of a source from its first to its last; all of them if there are no more."""
    return [int(i) for i in np.linspace(0, len(source) - 1, min(len(source), count)).round()]


def reply(learner: Learner, name: str, batch: Batch, device: torch.device) -> tuple[Batch, Step]:
    """One task's batch made ready, and what the learner as it stands, without gradients, makes of it."""
    method = learner.method.children_by_name.get(name, learner.method)
    with torch.no_grad():
        ready = render(method, batch, device)
        step: Step = method(learner.method.seen_by(name, learner.backbone), ready, method.phases[-1])
    return ready, step


def render(method: Method, batch: Batch, device: torch.device) -> Batch:
    """Move a batch to the device and make it ready for the network."""
    with torch.no_grad():
        return method.view.render(to_device(batch, device))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same fields, there."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def without_prefix(batch: Batch, name: str) -> Batch:
    """The fields of one task, by their own names."""
    return {key.removeprefix(f"{name}/"): value for key, value in batch.items() if not name or key.startswith(f"{name}/")}


def embed_all(
    learner: Learner, feed: Feed, name: str, here: Ranks, through: Callable[[nn.Module, Batch], Tensor] = vector
) -> Tensor:
    """What `Epoch.embed` gives: float32 [N, D] of every sample of a stream, in order, in eval mode.

    Every rank looks at its own stretch of the samples and gets the whole, so that all ranks go on from the same numbers.
    """
    method = learner.method.children_by_name.get(name, learner.method)
    backbone = learner.method.seen_by(name, learner.backbone)
    view, count = method.embed_view or method.view, len(feed.streams[name].source)
    each = -(-count // here.world)
    own = np.arange(here.rank * each, (here.rank + 1) * each) % count  # the last rank goes round: all have as many
    was_training = learner.training
    learner.eval()
    vectors = []
    try:
        for fed in feed.in_order(name, own, key="embed", view=view):
            batch = to_device(without_prefix(fed.batch, name), device=here.device)
            with torch.no_grad(), gathered(learner):
                vectors.append(through(backbone, view.render(batch)).float())
    finally:
        learner.train(was_training)
    return here.gather(torch.cat(vectors))[:count]


def _averages(steps: list[tuple[int, Step]]) -> dict[str, float]:
    """Loss and metrics over batches, each batch counting by its examples."""
    weights = torch.tensor([n for n, _ in steps], dtype=torch.float64)
    columns: Mapping[str, list[Tensor]] = {"loss": [step.loss for _, step in steps]} | {
        name: [step.metrics[name] for _, step in steps] for name in steps[0][1].metrics
    }
    return {
        name: float((torch.stack([v.detach().double().cpu() for v in values]) * weights).sum() / weights.sum())
        for name, values in columns.items()
    }


def _answers(steps: list[Step]) -> dict[str, Tensor]:
    return {name: torch.cat([step.answers[name] for step in steps]).float().cpu() for name in steps[0].answers}


def _join(vectors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(vectors)) if vectors else torch.empty(0, 1)
