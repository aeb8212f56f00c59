"""Rotation: say by which quarter turn a picture was rotated.

Upright must be recognised before it can be told, so the answer depends on what is in the picture. All four copies of a
picture are in the batch. Crop and mirror come *before* the turn: a mirror after it would make 90 and 270 degrees the same
question (then no network can exceed 75 %, nor its loss fall below log(2) / 2).

Gidaris, Singh and Komodakis 2018, arXiv:1803.07728. Turns are exact flips and transposes, without interpolation; label k
is numpy's ``rot90(k)``, counter-clockwise. ``degrees`` asks for fewer turns, as their comparison of 2 and 4 does; their eight
need interpolation and are not here. Pictures without an up (seen from above, round) teach nothing.
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
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp, places
from embodied_ssl.views.crops import check_crop, check_picture, random_crop, shifted_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import network_input, unnormalise

DEGREES = (0, 90, 180, 270)


@dataclass(frozen=True)
class RotationConfig:
    """The crops and the turns.

    Args:
        size: side of the crop in pixels.
        area: least and greatest share of the picture that a crop covers; means nothing where there is ``padding``.
        padding: if above 0, a crop is the whole picture, shifted by up to so many pixels each way, with black where it ends.
        degrees: the turns to tell apart, of `DEGREES`.
        hidden: width of two hidden layers with BatchNorm in the head, AlexNet's are of 4,096; 0 for a linear head, as NIN's.
        cells: features are read from the backbone's last map, pooled to so many by so many places, each kept apart; 0 for its
            vector, which averages them.
    """

    size: int = 96
    area: tuple[float, float] = (0.3, 1.0)
    padding: int = 0
    degrees: tuple[int, ...] = DEGREES
    hidden: int = 0
    cells: int = 0

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if not 0 <= self.padding <= self.size // 2:
            raise UserError(f"padding is {self.padding}; give 0 to half the size, which is {self.size}")
        if len(self.degrees) < 2 or len(set(self.degrees)) < len(self.degrees) or not set(self.degrees) <= set(DEGREES):
            given = ",".join(map(str, self.degrees))
            raise UserError(f"degrees are {given or 'none'}; give at least two different ones of 0,90,180,270")
        if self.hidden < 0 or self.cells < 0:
            raise UserError(f"hidden is {self.hidden} and cells {self.cells}; give at least 0 each")

    def build(self, backbone: Backbone) -> Rotation:
        quarters = tuple(DEGREES.index(angle) for angle in self.degrees)
        view = TurnView(self.size, self.area, self.padding, quarters)
        if not self.cells:
            return Rotation(backbone.width, view, self.hidden)
        if not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no map to read cells from; set --set method.cells=0")
        last, width = backbone.grid_stage(self.size, 1)
        return Rotation(width * self.cells**2, view, self.hidden, last, self.cells)


@dataclass(frozen=True)
class TurnView(View):
    """One crop uint8 [S, S, 3], rendered to its K turns [B, K, 3, S, S]; ``quarters`` are the turns in quarters of a circle."""

    size: int
    area: tuple[float, float]
    padding: int = 0
    quarters: tuple[int, ...] = (0, 1, 2, 3)

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        check_picture(sample["picture"])
        if self.padding:
            return {"picture": shifted_crop(sample["picture"], self.size, rng, self.padding)}
        return {"picture": random_crop(sample["picture"], self.size, rng, self.area)}

    def render(self, batch: Batch) -> Batch:
        picture = network_input(batch["picture"])
        return {**batch, "picture": picture, "turned": four_turns(picture)[:, self.quarters]}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [(f"turned by {90 * k} degrees", unnormalise(batch["turned"][:, i])) for i, k in enumerate(self.quarters)]


def four_turns(pictures: Tensor) -> Tensor:
    """[B, C, S, S] to [B, 4, C, S, S]: entry k is turned counter-clockwise by k quarter turns."""
    return torch.stack([torch.rot90(pictures, k, (-2, -1)) for k in range(4)], dim=1)


class Rotation(Method):
    """Cross-entropy over K turns; log K when the network does not know: log 4 for all four."""

    needs = frozenset({"picture"})
    gives_logits = True

    def __init__(self, width: int, view: TurnView, hidden: int = 0, stage: str = "", cells: int = 0) -> None:
        super().__init__()
        self.view = view
        self.quarters = view.quarters
        self.stage = stage
        self.cells = cells
        answers = len(view.quarters)
        self.head = mlp(width, hidden, hidden, answers) if hidden else nn.Linear(width, answers)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        turned = batch["turned"]
        features = backbone(turned.flatten(0, 1))
        seen = places(features.maps[self.stage], self.cells) if self.cells else features.vector
        logits: Tensor = self.head(seen)
        return {"logits": logits.unflatten(0, turned.shape[:2])}  # [B, turns, answers]

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits = embeddings["logits"]
        turn = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
        guess = logits.argmax(2).detach()
        right = (guess == turn).float()
        loss = F.cross_entropy(logits.flatten(0, 1).float(), turn.flatten())
        return Step(loss, {"accuracy": right.mean()}, answers={"right": right, "guess": guess})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Accuracy over all turns of all pictures; chance is 1 / K, 0.25 for all four."""
        right = answers["right"]
        return {"accuracy": float(right.mean()), "chance_accuracy": 1 / right.shape[1]}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """One turn of each picture, and below it the same turned back by the answer: upright where that is right."""
        right, guess = step.answers["right"], step.answers["guess"]
        turn = torch.arange(len(right), device=right.device) % right.shape[1]
        each = torch.arange(len(right), device=right.device)
        turned = unnormalise(batch["turned"][each, turn])
        back = [-self.quarters[answer] for answer in guess[each, turn].tolist()]
        restored = torch.stack([torch.rot90(picture, k, (-2, -1)) for picture, k in zip(turned, back, strict=True)])
        degrees = ", ".join(str(90 * k) for k in self.quarters)
        return [
            (f"turned by {degrees} degrees, one picture after another", turned),
            (
                f"turned back by what the network answers (of all {right.numel()} turns of these pictures, "
                f"{int(right.sum())} are answered right)",
                framed(restored, right[each, turn] > 0),
            ),
        ]
