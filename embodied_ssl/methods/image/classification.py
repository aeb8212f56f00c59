"""Classification: say which class a labelled picture is of. This uses labels: it is supervised.

It is here to be one task of several: the softmax term of L = L_softmax + lambda L_E (Jayaraman and Grauman 2015,
arXiv:1505.02206), in which few labelled pictures and many unlabelled pairs train one network; alone it is their ``clsnet``.
What was learned so must not stand in a table as self-supervised. Held-out figures are of the data's test part and choose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Asks, Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.views.crops import check_crop, random_crop
from embodied_ssl.views.pixels import network_input, unnormalise


@dataclass(frozen=True)
class ClassificationConfig:
    """The classes and the crops.

    Args:
        size: side of the crop in pixels.
        classes: of the data; more than there are does no harm.
        area: least and greatest share of the picture that a crop covers.
    """

    size: int = 96
    classes: int = 15
    area: tuple[float, float] = (0.3, 1.0)

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.classes < 2:
            raise UserError(f"classes is {self.classes}; give at least 2")

    def build(self, backbone: Backbone) -> Classification:
        return Classification(backbone.width, self.classes, LabelledCrop(self.size, self.area, backbone.channels))


@dataclass(frozen=True)
class LabelledCrop(View):
    """One crop, uint8 [S, S, 3], mirrored half of the time, with the picture's label."""

    size: int
    area: tuple[float, float]
    channels: int = 3

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        cut = random_crop(sample["picture"], self.size, rng, self.area)
        return {"picture": cut, "label": np.asarray(sample["label"], np.int64)}

    def render(self, batch: Batch) -> Batch:
        return {**batch, "picture": network_input(batch["picture"], self.channels)}

    def panels(self, batch: Batch) -> list[Panel]:
        return [(f"labels: {', '.join(map(str, batch['label'].tolist()))}", unnormalise(batch["picture"]))]


class Classification(Method):
    """Cross-entropy over classes; log of their number when the network does not know."""

    needs = frozenset({"picture", "label"})
    asks = Asks(channels=(1, 3))

    def __init__(self, width: int, classes: int, view: LabelledCrop) -> None:
        super().__init__()
        self.view = view
        self.classes = classes
        self.head = nn.Linear(width, classes)

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """See that every label has an answer.

        Raises:
            UserError: there are more classes than configured.
        """
        most = max(int(source[row]["label"]) for row in range(len(source)))
        if most >= self.classes:
            raise UserError(f"{source.name} has {most + 1} classes, not {self.classes}; set --set method.classes={most + 1}")

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        logits = self.head(backbone(batch["picture"]).vector).float()
        label = batch["label"]
        guess = logits.argmax(1)
        accuracy = (guess == label).float().mean().detach()
        return Step(F.cross_entropy(logits, label), {"accuracy": accuracy}, answers={"label": label, "guess": guess})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Recall averaged over the classes met; chance is one over their number."""
        label, guess = answers["label"].long(), answers["guess"].long()
        met = label.unique()
        recall = torch.stack([(guess[label == one] == one).float().mean() for one in met]).mean()
        return {"balanced_accuracy": float(recall), "chance_balanced_accuracy": 1 / len(met)}
