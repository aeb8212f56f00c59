"""Two toys that keep parts of the vocabulary honest until real methods need them: phases, and looking before each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Epoch, Example, Method, Plan, Step, View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.views.crops import random_crop
from embodied_ssl.views.pixels import network_input


@dataclass(frozen=True)
class Crop(View):
    size: int = 32

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        return {"picture": random_crop(sample["picture"], self.size, rng, (0.5, 1.0))}

    def render(self, batch: Batch) -> Batch:
        return {**batch, "picture": network_input(batch["picture"])}


@dataclass(frozen=True)
class CriticToyConfig:
    def build(self, backbone: Backbone) -> CriticToy:
        return CriticToy(backbone.width)


class CriticToy(Method):
    """A generator makes vectors look like the backbone's; a critic tells them apart. The critic moves first."""

    needs = frozenset({"picture"})
    phases = ("critic", "main")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.view = Crop()
        self.generator = nn.Linear(4, width)
        self.critic = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("noise", torch.linspace(-1, 1, 64 * 4).view(64, 4))

    def trains(self, phase: str, parameter: str) -> bool:
        return parameter.startswith("method.critic") == (phase == "critic")

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        real = backbone(batch["picture"]).vector
        false = self.generator(self.get_buffer("noise")[: len(real)])
        if phase == "critic":
            real, false = real.detach(), false.detach()
            return Step(F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(false)).mean())
        return Step(F.softplus(-self.critic(false)).mean() + F.softplus(self.critic(real)).mean())


@dataclass(frozen=True)
class ClusterToyConfig:
    clusters: int = 3

    def build(self, backbone: Backbone) -> ClusterToy:
        return ClusterToy(backbone.width, self.clusters)


class ClusterToy(Method):
    """Pseudo-labels by the sign pattern of two directions, found anew before each epoch; every cluster drawn equally often."""

    needs = frozenset({"picture"})
    labels: Tensor
    seen: Tensor

    def __init__(self, width: int, clusters: int) -> None:
        super().__init__()
        self.view = Crop()
        self.clusters = clusters
        self.head = nn.Linear(width, clusters)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.int64))

    def fit(self, source, rng) -> None:  # type: ignore[no-untyped-def]
        self.labels = torch.zeros(len(source), dtype=torch.int64)
        self.seen = torch.zeros(len(source), dtype=torch.int64)

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan:
        vectors = epoch.embed()
        ranks = vectors[:, 0].argsort().argsort()
        self.labels.copy_(ranks * self.clusters // len(ranks))
        order = np.argsort(self.labels.numpy() + np.linspace(0, 0.5, len(ranks)), kind="stable").astype(np.int64)
        nn.init.zeros_(self.head.bias)
        return Plan(order, restart=("head.weight", "head.bias"))

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        logits = self.head(backbone(batch["picture"]).vector).float()
        return Step(F.cross_entropy(logits, self.labels[batch["index"]]), carry={"index": batch["index"]})

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        self.seen.index_add_(0, carry["index"], torch.ones_like(carry["index"]))
