"""Multi-task: several methods on one backbone, each with its own data, in every step.

Which supervision a feature owes what to can only be asked when they share a network and a budget. Doersch and Zisserman
2017, arXiv:1708.07860. Losses are added with fixed weights; their per-task optimiser states and lasso mixture of layers
are not here. With ``batch_norm="per_task"`` every task keeps running statistics of its own (weights are shared), and the
backbone that is exported carries their mean. ``grey`` shows every task grey pictures, so that tasks cannot be told apart
by colour statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.config import MethodConfig
from embodied_ssl.core import Batch, Example, Method, Step, ViewAround
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import UserError
from embodied_ssl.views.colour import LUMA


@dataclass(frozen=True)
class Task:
    """One of the methods, with its weight in the loss and its examples a step."""

    method: MethodConfig
    weight: float = 1.0
    batch_size: int = 32


@dataclass(frozen=True)
class MultiTaskConfig:
    """Args: tasks: by name; ``run.data`` gives each name its source. For the others see the module."""

    tasks: Mapping[str, Task]
    batch_norm: Literal["shared", "per_task"] = "shared"
    grey: bool = False

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UserError("a multi-task method needs at least one task")

    def build(self, backbone: Backbone) -> MultiTask:
        methods = {name: task.method.build(backbone) for name, task in self.tasks.items()}
        if self.grey:
            for method in methods.values():
                method.see_through(GreyView)
        weights = {name: task.weight for name, task in self.tasks.items()}
        sizes = {name: task.batch_size for name, task in self.tasks.items()}
        return MultiTask(methods, weights, sizes, backbone if self.batch_norm == "per_task" else None)


class GreyView(ViewAround):
    """Another view whose pixels are made grey as they are drawn."""

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        drawn = self.view.draw(sample, rng)
        return {name: _grey(value) if value.dtype == np.uint8 else value for name, value in drawn.items()}


def _grey(pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    luma = (pixels.astype(np.float32) @ np.array(LUMA, np.float32)).round().astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


class MultiTask(Method):
    """The weighted sum of the tasks' losses. Coupled when any task is: everything then travels as rows to be joined."""

    needs = frozenset()

    def __init__(
        self,
        methods: Mapping[str, Method],
        weights: Mapping[str, float],
        batch_sizes: Mapping[str, int],
        own_norms_of: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.tasks = nn.ModuleDict(methods)
        self.weights = dict(weights)
        self.batch_sizes = dict(batch_sizes)
        self.coupled = any(method.coupled for method in methods.values())
        self.norms = nn.ModuleDict({name: Norms(own_norms_of) for name in methods}) if own_norms_of is not None else None
        adversarial = [name for name, method in methods.items() if method.phases != ("main",)]
        if adversarial:
            raise UserError(
                f"task {adversarial[0]} trains in several phases, which a multi-task run cannot interleave; train it alone"
            )

    @property
    def children_by_name(self) -> Mapping[str, Method]:
        return {name: method for name, method in self.tasks.items() if isinstance(method, Method)}

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        """Every task in turn, then the sum; the examples of task t are the fields ``t/...``."""
        steps = {n: method(self.seen_by(n, backbone), _own(batch, n)) for n, method in self.children_by_name.items()}
        return self._sum(steps)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Embeddings of coupled tasks, and for the others their finished loss, metrics and carry, as rows."""
        rows: dict[str, Tensor] = {}
        for name, method in self.children_by_name.items():
            seen, own = self.seen_by(name, backbone), _own(batch, name)
            if method.coupled:
                rows |= {f"{name}/embedding/{key}": value for key, value in method.embed(seen, own).items()}
            else:
                step = method(seen, own)
                rows[f"{name}/loss"] = step.loss.reshape(1)
                rows |= {f"{name}/metric/{key}": value.detach().reshape(1) for key, value in step.metrics.items()}
                rows |= {f"{name}/carry/{key}": value for key, value in step.carry.items()}
        return rows

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        steps: dict[str, Step] = {}
        for name, method in self.children_by_name.items():
            if method.coupled:
                steps[name] = method.objective(_own(embeddings, f"{name}/embedding"))
            else:
                metrics = {key: value.detach().mean() for key, value in _own(embeddings, f"{name}/metric").items()}
                carry = {key: value.detach() for key, value in _own(embeddings, f"{name}/carry").items()}
                steps[name] = Step(embeddings[f"{name}/loss"].mean(), metrics, carry)
        return self._sum(steps)

    def _sum(self, steps: Mapping[str, Step]) -> Step:
        total = torch.stack([self.weights[name] * step.loss for name, step in steps.items()]).sum()
        whole = Step(total)
        for name, step in steps.items():
            whole.metrics |= {f"{name}/loss": step.loss.detach()} | {f"{name}/{k}": v for k, v in step.metrics.items()}
            whole.carry |= {f"{name}/{key}": value for key, value in step.carry.items()}
        return whole

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        for name, method in self.children_by_name.items():
            method.after_step(backbone, _own(dict(carry), name), progress)
        if self.norms is not None:
            _average_into(backbone, [norms for norms in self.norms.values() if isinstance(norms, Norms)])

    def trains(self, phase: str, parameter: str) -> bool:
        """What a task keeps still of the backbone stays still for all; of its own parts, each task decides."""
        for name, method in self.children_by_name.items():
            own = parameter.replace(f"method.tasks.{name}.", "method.", 1)
            if (own != parameter or parameter.startswith("backbone.")) and not method.trains(phase, own):
                return False
        return True

    def rate(self, group: str, progress: float) -> float:
        name, _, part = group.partition(".")
        method = self.children_by_name.get(name)
        return method.rate(part, progress) if method is not None else 1.0

    def after_load(self) -> None:
        for method in self.children_by_name.values():
            method.after_load()

    def describe(self) -> dict[str, object]:
        return {name: found for name, method in self.children_by_name.items() if (found := method.describe())}

    def start(self, backbone: nn.Module) -> None:
        for method in self.children_by_name.values():
            method.start(backbone)
        for norms in self.norms.values() if self.norms is not None else ():
            assert isinstance(norms, Norms)
            norms.take(backbone)

    def seen_by(self, task: str, backbone: nn.Module) -> nn.Module:
        """The backbone as a task sees it: with its own running statistics, if it has any."""
        if self.norms is None:
            return backbone
        norms = self.norms[task]
        assert isinstance(norms, Norms)
        return _Borrowed(backbone, norms.by_name)


class Norms(nn.Module):
    """One task's copy of a backbone's BatchNorm statistics."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.names = [name for name, _ in backbone.named_buffers()]
        for name, buffer in backbone.named_buffers():
            self.register_buffer(self._own_name(name), buffer.clone())

    def take(self, backbone: nn.Module) -> None:
        """Start from the backbone's statistics as they are now."""
        for name, buffer in backbone.named_buffers():
            self.get_buffer(self._own_name(name)).copy_(buffer)

    def by_name(self) -> dict[str, Tensor]:
        """The statistics by the backbone's own buffer names."""
        return {name: self.get_buffer(self._own_name(name)) for name in self.names}

    @staticmethod
    def _own_name(name: str) -> str:
        return name.replace(".", "__")  # still ends in running_mean: averaged over ranks like the backbone's own


class _Borrowed(nn.Module):
    """A backbone called with other buffers in place of its own."""

    def __init__(self, backbone: nn.Module, buffers: Callable[[], dict[str, Tensor]]) -> None:
        super().__init__()
        self._backbone = [backbone]  # in a list, so that it is not registered
        self._statistics = buffers

    def forward(self, pictures: Tensor) -> Features:
        features: Features = functional_call(self._backbone[0], self._statistics(), (pictures,))
        return features


def _average_into(backbone: nn.Module, norms: Sequence[Norms]) -> None:
    all_of_them = [one.by_name() for one in norms]
    for name, buffer in backbone.named_buffers():
        values = torch.stack([buffers[name].double() for buffers in all_of_them])
        buffer.copy_(values.mean(0).to(buffer.dtype))


def _own(batch: Batch, name: str) -> Batch:
    return {key.removeprefix(f"{name}/"): value for key, value in batch.items() if key.startswith(f"{name}/")}
