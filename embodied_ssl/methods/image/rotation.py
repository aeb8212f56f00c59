"""Rotation: say by which quarter turn a picture was rotated.

Upright must be recognised before it can be told, so the answer depends on what is in the picture. All four copies of a
picture are in the batch. Crop and mirror come *before* the turn: a mirror after it would make 90 and 270 degrees the same
question (then no network can exceed 75 %).

Gidaris, Singh and Komodakis 2018, arXiv:1803.07728. Turns are exact flips and transposes, without interpolation; label k
is numpy's ``rot90(k)``, counter-clockwise. Pictures without an up (seen from above, round) teach nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.views.crops import check_crop, random_crop
from embodied_ssl.views.pixels import network_input, unnormalise


@dataclass(frozen=True)
class RotationConfig:
    """Args: size: side of the crop in pixels. area: least and greatest share of the picture that a crop covers."""

    size: int = 96
    area: tuple[float, float] = (0.3, 1.0)

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)

    def build(self, backbone: Backbone) -> Rotation:
        return Rotation(backbone.width, TurnView(self.size, self.area))


@dataclass(frozen=True)
class TurnView(View):
    """One crop uint8 [S, S, 3], rendered to its four turns [B, 4, 3, S, S]."""

    size: int
    area: tuple[float, float]

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        return {"picture": random_crop(sample["picture"], self.size, rng, self.area)}

    def render(self, batch: Batch) -> Batch:
        picture = network_input(batch["picture"])
        return {**batch, "picture": picture, "turned": four_turns(picture)}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [(f"turned by {90 * k} degrees", unnormalise(batch["turned"][:, k])) for k in range(4)]


def four_turns(pictures: Tensor) -> Tensor:
    """[B, C, S, S] to [B, 4, C, S, S]: entry k is turned counter-clockwise by k quarter turns."""
    return torch.stack([torch.rot90(pictures, k, (-2, -1)) for k in range(4)], dim=1)


class Rotation(Method):
    """Cross-entropy over four turns; log 4 when the network does not know."""

    needs = frozenset({"picture"})
    gives_logits = True

    def __init__(self, width: int, view: TurnView) -> None:
        super().__init__()
        self.view = view
        self.head = nn.Linear(width, 4)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        turned = batch["turned"]
        logits: Tensor = self.head(backbone(turned.flatten(0, 1)).vector)
        return {"logits": logits.view(-1, 4, 4)}  # [B, turns, answers]

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits = embeddings["logits"].flatten(0, 1)
        turn = torch.arange(4, device=logits.device).repeat(len(logits) // 4)
        right = (logits.argmax(1) == turn).float().view(-1, 4).detach()
        return Step(F.cross_entropy(logits.float(), turn), {"accuracy": right.mean()}, answers={"right": right})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Accuracy over all turns of all pictures; chance is 0.25."""
        return {"accuracy": float(answers["right"].mean()), "chance_accuracy": 0.25}
