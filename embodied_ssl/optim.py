"""Optimisers with named parameter groups, and schedules as functions of progress in 0..1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from embodied_ssl.errors import UserError

Groups = list[dict[str, Any]]  # torch's parameter groups, each with a "name"


class OptimizerConfig(Protocol):
    """What an optimiser's config offers: a peak ``rate``, whether norms and biases decay, and `build`."""

    @property
    def rate(self) -> float: ...

    @property
    def decay_norms(self) -> bool: ...

    def build(self, groups: Groups) -> torch.optim.Optimizer: ...


def _check(rate: float, weight_decay: float, *shares: float) -> None:
    if rate <= 0 or weight_decay < 0 or not all(0 <= share < 1 for share in shares):
        given = f"rate {rate}, weight_decay {weight_decay}, momentum or betas {', '.join(map(str, shares))}"
        raise UserError(f"optimizer has {given}; the rate must be above 0, the decay at least 0, momentum and betas in 0..1")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum; everything decays, as RotNet, MoCo and DeepCluster do.

    Args:
        rate: peak learning rate, as given (not scaled by the batch).
    """

    rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay_norms: bool = True

    def __post_init__(self) -> None:
        _check(self.rate, self.weight_decay, self.momentum)

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, which norms and biases are spared."""

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    decay_norms: bool = False

    def __post_init__(self) -> None:
        _check(self.rate, self.weight_decay, *self.betas)

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.rate, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class LARS:
    """Layer-wise rates for large batches (You et al. 2017); norms and biases are neither decayed nor adapted."""

    rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust: float = 0.001
    decay_norms: bool = False

    def __post_init__(self) -> None:
        _check(self.rate, self.weight_decay, self.momentum)
        if self.trust <= 0:
            raise UserError(f"optimizer.trust is {self.trust}; give a number above 0 (0.001 is usual)")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return LARSOptimizer(groups, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay, trust=self.trust)


class LARSOptimizer(torch.optim.Optimizer):
    """v = momentum * v + q * (g + decay * w), w -= rate * v, with q = trust * |w| / |g + decay * w|.

    q is 1 where either norm is 0 and in groups marked ``adapt=False`` (those without decay).
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float, trust: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad + group["weight_decay"] * weight
                if group["adapt"]:
                    update = update * self._trust_ratio(weight, update, group["trust"])
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(group["momentum"]).add_(update)
                weight.sub_(group["lr"] * velocity)

    @staticmethod
    def _trust_ratio(weight: Tensor, update: Tensor, trust: float) -> Tensor:
        norms = weight.norm(), update.norm()
        ratio = trust * norms[0] / norms[1]
        return torch.where((norms[0] > 0) & (norms[1] > 0), ratio, torch.ones_like(ratio))


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a factor on the peak.

    Args:
        shape: after warm-up, ``cosine`` to 0, ``step`` (times ``gamma`` at each of ``drops``) or ``constant``.
        warmup: share of the run in which the rate climbs linearly from 0.
        drops: progress at which a ``step`` schedule drops.
    """

    shape: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = 0.05
    drops: tuple[float, ...] = (0.6, 0.8)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise UserError(f"schedule.warmup is {self.warmup}; give a share of the run, 0 to 1")

    def factor(self, progress: float) -> float:
        """The factor at ``progress`` in 0..1: 0 at the start with warm-up, 1 at its end, 0 at the end of a cosine."""
        if progress < self.warmup:
            return progress / self.warmup
        if self.shape == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / max(1e-12, 1 - self.warmup)))
        if self.shape == "step":
            return self.gamma ** sum(progress >= drop for drop in self.drops)
        return 1.0


def group_of(parameter: str) -> str:
    """The group of a learner's parameter: ``backbone``, or the method's part it lies in.

    ``method.head.weight`` is of group ``head``; of several tasks, ``method.tasks.rotation.head.weight`` is of ``rotation.head``.
    A task inside another method's ``task`` (`embodied_ssl.methods.consistent`) has the groups that it would have alone.
    """
    root, part, *rest = (word for word in parameter.split(".") if word != "task")
    if root == "backbone":
        return "backbone"
    return ".".join(rest[:2]) if part == "tasks" else part


def parameter_groups(learner: nn.Module, config: OptimizerConfig) -> Groups:
    """Trainable parameters by group name, those of one dimension apart where the config spares them from decay."""
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = config.decay_norms or parameter.ndim > 1
        group = groups.setdefault((group_of(name), decays), {"name": group_of(name), "params": []})
        group["params"].append(parameter)
        if not decays:
            group["weight_decay"] = 0.0
            if isinstance(config, LARS):
                group["adapt"] = False
    return list(groups.values())
