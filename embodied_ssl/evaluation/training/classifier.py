"""A classifier on a backbone, and its parts in order of depth: which of them train, and which stay to the last bit.

Legend: B pictures, S side that the network sees, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.errors import UserError
from embodied_ssl.keys import Word, torch_seed

BatchNorms = Literal["train", "frozen"]


class Classifier(nn.Module):
    """A backbone and what is learned on top of it: pictures [B, 3, S, S] to logits [B, C]."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(pictures))
        return logits


class LinearHead(nn.Module):
    """A linear layer on the backbone's vector, at first nearly 0: the first loss is log C."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.linear(features.vector)
        return logits


def linear_classifier(backbone: Backbone, classes: int, *key: Word) -> Classifier:
    """A new linear head on a backbone, drawn by key."""
    with keyed_torch(*key, "head"):
        return Classifier(backbone, LinearHead(backbone.width, classes))


@dataclass(frozen=True)
class Group:
    """Parts of a classifier that train at one rate, or not at all.

    Attributes:
        name: for people.
        modules: each counts without its children.
    """

    name: str
    modules: tuple[nn.Module, ...]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for module in self.modules for parameter in module.parameters(recurse=False)]

    def set(self, trained: bool, batch_norm: BatchNorms) -> None:
        """Frozen: no gradients and eval mode, so that BatchNorm's statistics stay, bit for bit, and dropout is off."""
        for module in self.modules:
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            module.training = trained and not (norm and batch_norm == "frozen")
        for parameter in self.parameters:
            parameter.requires_grad_(trained)


def parts_of_stage(backbone: Backbone, stage: str) -> tuple[str, ...]:
    """The children of the plain network that make a stage; where that is not said (timm), the one called like it, if any."""
    modules = dict(backbone.net.named_modules())
    return backbone.parts[stage] or ((stage,) if stage in modules else ())


def groups_of(model: Classifier, runs: Sequence[Sequence[str]]) -> list[Group]:
    """One group a run of stages, shallow to deep, and one for the head; groups without parameters are left out.

    What lies in no stage belongs to the first group.
    """
    backbone = model.backbone
    owner = {f"net.{part}": i for i, run in enumerate(runs) for stage in run for part in parts_of_stage(backbone, stage)}
    modules: list[list[nn.Module]] = [[] for _ in runs]
    for name, module in backbone.named_modules():
        owners = [i for part, i in owner.items() if f"{name}.".startswith(f"{part}.")]
        modules[owners[0] if owners else 0].append(module)
    trunk = [Group(run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}", tuple(m)) for run, m in zip(runs, modules, strict=True)]
    return [group for group in (*trunk, Group("head", tuple(model.head.modules()))) if group.parameters]


def depth_groups(model: Classifier, count: int) -> list[Group]:
    """The stages in ``count - 1`` runs of about equal number, and the head: for 3, a ResNet's are stem..layer2, layer3..layer4.

    Raises:
        UserError: more groups than stages and head, or fewer than 2.
    """
    stages = model.backbone.stages
    if not 2 <= count <= len(stages) + 1:
        raise UserError(f"{count} groups were asked of {len(stages)} stages and a head; give 2 to {len(stages) + 1}")
    return groups_of(model, [part.tolist() for part in np.array_split(np.asarray(stages), count - 1)])


@contextmanager
def keyed_torch(*key: Word, device: str | torch.device = "cpu") -> Iterator[None]:
    """Torch's global generators seeded by a key, and as they were before afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(torch_seed(*key))
        yield
