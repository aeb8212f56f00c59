"""Held-out pretext evaluation: is the question answered on recordings never trained on?

Fixed keys, eval mode, no gradients; weights, BatchNorm and generators are as before. Every rank asks the same questions:
that is as quick as one rank alone, and none waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from embodied_ssl.core import Batch, Learner, Method, Step
from embodied_ssl.distributed import gathered
from embodied_ssl.loader import Feed


def ask(
    learner: Learner,
    feed: Feed,
    examples: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    on_bad: Callable[[Iterable[tuple[str, str]]], None] = lambda items: None,
) -> dict[str, float]:
    """Put held-out questions to every task whose feed has a stream here.

    Args:
        learner: left in the mode it was in.
        feed: over held-out sources; tasks without any held-out recording are left out of it.
        examples: at most this many for each task, evenly spread over the source.
        device: where the learner is.
        autocast: context for forward passes.
        on_bad: told of items that could not be read, as (name, reason); a task of which nothing can be read has no figures.

    Returns:
        ``loss``, the method's metrics and its `Method.score`, by name; a task's figures start with ``task/``.
    """
    was_training = learner.training
    learner.eval()
    figures: dict[str, float] = {}
    try:
        with gathered(learner):
            for name in feed.streams:
                figures |= _ask_one(learner, feed, name, examples, device, autocast, on_bad)
    finally:
        learner.train(was_training)
    return figures


def _ask_one(
    learner: Learner,
    feed: Feed,
    name: str,
    examples: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    on_bad: Callable[[Iterable[tuple[str, str]]], None],
) -> dict[str, float]:
    stream = feed.streams[name]
    method = learner.method.children_by_name.get(name, learner.method)
    count = min(len(stream.source), max(1, examples // stream.view.copies))
    indices = [int(i) for i in np.linspace(0, len(stream.source) - 1, count).round()]
    steps: list[tuple[int, Step]] = []
    for fed in feed.in_order(name, indices, key="held out", skip_unreadable=True):
        on_bad(fed.bad)
        if not fed.batch:
            continue
        with torch.no_grad(), autocast():
            batch = render(method, without_prefix(fed.batch, name), device)
            backbone = learner.method.seen_by(name, learner.backbone)
            steps.append((len(next(iter(batch.values()))), method(backbone, batch, method.phases[-1])))
    if not steps:
        return {}
    figures = _averages(steps) | method.score(_answers([step for _, step in steps]))
    return {f"{name}/{key}" if name else key: value for key, value in figures.items()}


def render(method: Method, batch: Batch, device: torch.device) -> Batch:
    """Move a batch to the device and make it ready for the network."""
    with torch.no_grad():
        return method.view.render({key: value.to(device, non_blocking=True) for key, value in batch.items()})


def without_prefix(batch: Batch, name: str) -> Batch:
    """The fields of one task, by their own names."""
    return {key.removeprefix(f"{name}/"): value for key, value in batch.items() if not name or key.startswith(f"{name}/")}


def embed_all(learner: Learner, feed: Feed, name: str, device: torch.device) -> Tensor:
    """The backbone's vectors float32 [N, D] of every sample of a stream, in order, in eval mode."""
    was_training = learner.training
    learner.eval()
    method = learner.method.children_by_name.get(name, learner.method)
    backbone = learner.method.seen_by(name, learner.backbone)
    vectors = []
    try:
        for fed in feed.in_order(name, range(len(feed.streams[name].source)), key="embed"):
            batch = render(method, without_prefix(fed.batch, name), device)
            with torch.no_grad(), gathered(learner):
                vectors.append(backbone(batch["picture"]).vector.float())
    finally:
        learner.train(was_training)
    return torch.cat(vectors)


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
