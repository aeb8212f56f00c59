"""The gradient of one step: micro-batches in, gradients and a joined `Step` out.

A plain method's micro-batches are run one after another. A *coupled* method's loss needs all embeddings of the step at
once: they are made, joined over micro-batches and ranks, the loss is taken of the whole, and its gradient is carried back
through each micro-batch. With one micro-batch the graph is simply kept; with several, embeddings are made twice
(Gao et al. 2021, gradient caching) under the same random keys, and BatchNorm's statistics are updated once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from embodied_ssl.core import Batch, Learner, Step
from embodied_ssl.distributed import Ranks

COMMON = -1  # in place of a micro-batch: the loss of the whole, whose random numbers are the same on every rank
Forward = Callable[[int], AbstractContextManager[None]]  # micro-batch -> seeds and autocast for one forward pass


def backward(learner: Learner, batches: Sequence[Batch], phase: str, forward: Forward, here: Ranks) -> Step:
    """Add the step's gradients to the parameters; their mean over ranks is the gradient of the mean loss.

    Args:
        learner: in training mode.
        batches: rendered micro-batches.
        phase: of the method.
        forward: context for the forward pass of a micro-batch.
        here: this rank.

    Returns:
        The loss and metrics averaged over micro-batches (and, for a coupled loss, of the whole), and the gathered carry. A loss
        that is a mean over a *part* of the examples (those of one kind, say) is averaged over micro-batches all the same.
    """
    if learner.method.coupled and phase == learner.method.phases[-1]:
        return _coupled(learner, batches, forward, here)
    steps = []
    for micro, batch in enumerate(batches):
        with forward(micro):
            step = learner(batch, phase)
        (step.loss / len(batches)).backward()
        steps.append(step)
    loss = torch.stack([step.loss.detach() for step in steps]).mean()
    metrics = {name: torch.stack([step.metrics[name].detach() for step in steps]).mean() for name in steps[0].metrics}
    return Step(loss, metrics, {name: _join([step.carry[name] for step in steps], here) for name in steps[0].carry})


def _coupled(learner: Learner, batches: Sequence[Batch], forward: Forward, here: Ranks) -> Step:
    keep_graph = len(batches) == 1
    parts: list[dict[str, Tensor]] = []
    for micro, batch in enumerate(batches):
        with torch.set_grad_enabled(keep_graph), forward(micro):
            parts.append(learner(batch, only_embed=True))
    whole = {name: _join([part[name] for part in parts], here) for name in parts[0]}
    for tensor in whole.values():
        tensor.requires_grad_(tensor.is_floating_point())
    with forward(COMMON):
        step = learner.method.precise_objective(whole)
    step.loss.backward()
    for micro, batch in enumerate(batches):
        part = parts[micro]
        if not keep_graph:
            with frozen_statistics(learner), forward(micro):
                part = learner(batch, only_embed=True)
        _carry_back(part, whole, micro, here)
    return Step(step.loss.detach(), step.metrics, {name: t.detach() for name, t in step.carry.items()})


def _carry_back(part: Mapping[str, Tensor], whole: Mapping[str, Tensor], micro: int, here: Ranks) -> None:
    """Send the whole loss's gradient back through one micro-batch's own rows.

    Gradients are averaged over ranks afterwards, whereas these rows' shares of one common loss add up: hence times world.
    """
    roots, grads = [], []
    for name, tensor in part.items():
        gradient = whole[name].grad
        if gradient is not None and tensor.requires_grad:
            first = (micro * here.world + here.rank) * len(tensor)
            roots.append(tensor)
            grads.append(gradient[first : first + len(tensor)] * here.world)
    torch.autograd.backward(roots, grads)


def _join(parts: Sequence[Tensor], here: Ranks) -> Tensor:
    """Rows of all micro-batches and ranks in the order of the data: micro-batch by micro-batch, rank by rank within each."""
    return torch.cat([here.gather(part) for part in parts])


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by the batch as in training, without touching its running statistics."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def only(learner: Learner, phase: str) -> Iterator[None]:
    """Only the parameters that a phase trains ask for gradients; the others let gradients through but keep none."""
    still = [p for n, p in learner.named_parameters() if p.requires_grad and not learner.method.trains(phase, n)]
    for parameter in still:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in still:
            parameter.requires_grad_(True)
