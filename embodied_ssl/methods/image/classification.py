"""Classification: say which class a labelled picture is of. This uses labels: it is supervised.

It is here to be one task of several: the softmax term of L = L_softmax + lambda L_E (Jayaraman and Grauman 2015,
arXiv:1505.02206), in which few labelled pictures and many unlabelled pairs train one network; alone it is their ``clsnet``.
What was learned so must not stand in a table as self-supervised. Held-out figures are of the data's test part and choose nothing.

Pictures without a label (-1, see `embodied_ssl.datasets.partly_labelled`) count nothing here; inside
`embodied_ssl.methods.consistent` their answers are to agree, and the two together are UDA (Xie et al. 2020, arXiv:1904.12848).
Its annealing of the labelled signal is here too: few labels are soon learned by heart, so those that are answered with more
probability than a rising threshold are left out of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Asks, Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.losses import mean_where
from embodied_ssl.views.crops import check_crop, random_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import network_input, unnormalise

Annealing = Literal["none", "linear", "exp", "log"]
KINDS = ("none", "linear", "exp", "log")


def signal_threshold(progress: float, classes: int, annealing: Annealing) -> float:
    """The probability from which on a labelled picture is left out: from 1 / classes at progress 0 to 1 at progress 1.

    Xie et al. 2020, section 3 (training signal annealing); half-way and of 10 classes: 0.55 linear, 0.174 exp, 0.926 log. ``exp``
    lets labels in late (few of them, soon learned by heart), ``log`` early.
    """
    if annealing == "none":
        return 1.0
    share = {
        "linear": progress,
        "exp": math.exp(5 * (progress - 1)),
        "log": 1 - math.exp(-5 * progress),
    }[annealing]
    return share * (1 - 1 / classes) + 1 / classes


@dataclass(frozen=True)
class ClassificationConfig:
    """The classes and the crops.

    Args:
        size: side of the crop in pixels.
        classes: of the data; more than there are does no harm.
        area: least and greatest share of the picture that a crop covers.
        annealing: how the threshold rises above which labelled pictures are left out; see `signal_threshold`.
    """

    size: int = 96
    classes: int = 15
    area: tuple[float, float] = (0.3, 1.0)
    annealing: Annealing = "none"

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.classes < 2:
            raise UserError(f"classes is {self.classes}; give at least 2")
        if self.annealing not in KINDS:
            raise UserError(f"there is no annealing '{self.annealing}'{suggest(self.annealing, KINDS)}")

    def build(self, backbone: Backbone) -> Classification:
        return Classification(backbone.width, self.classes, LabelledCrop(self.size, self.area, backbone.channels), self.annealing)


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
        labels = ("?" if label < 0 else str(label) for label in batch["label"].tolist())
        return [(f"labels: {', '.join(labels)}", unnormalise(batch["picture"]))]


class Classification(Method):
    """Cross-entropy over classes, of the pictures that have a label; log of their number when the network does not know."""

    needs = frozenset({"picture", "label"})
    asks = Asks(channels=(1, 3))
    gives_logits = True

    def __init__(self, width: int, classes: int, view: LabelledCrop, annealing: Annealing = "none") -> None:
        super().__init__()
        self.view = view
        self.classes = classes
        self.annealing = annealing
        self.head = nn.Linear(width, classes)
        if annealing != "none":
            self.register_buffer("threshold", torch.tensor(signal_threshold(0, classes, annealing)))

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """See that every label has an answer.

        Raises:
            UserError: there are more classes than configured.
        """
        most = max(int(source[row]["label"]) for row in range(len(source)))
        if most >= self.classes:
            raise UserError(f"{source.name} has {most + 1} classes, not {self.classes}; set --set method.classes={most + 1}")

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"logits": self.head(backbone(batch["picture"]).vector), "label": batch["label"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits, label = embeddings["logits"].float(), embeddings["label"]
        guess, told = logits.argmax(1), label >= 0
        each = F.cross_entropy(logits, label.clamp_min(0), reduction="none")
        metrics = {"accuracy": mean_where((guess == label).float(), told).detach()}
        counts = told
        if self.annealing != "none" and self.training:
            counts = told & ((-each).exp() <= self.get_buffer("threshold"))
            metrics["left_out"] = mean_where(1 - counts.float(), told).detach()
        return Step(mean_where(each, counts), metrics, answers={"label": label, "guess": guess})

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        if self.annealing != "none":
            self.get_buffer("threshold").fill_(signal_threshold(progress, self.classes, self.annealing))

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Recall averaged over the classes met; chance is one over their number."""
        label, guess = answers["label"].long(), answers["guess"].long()
        met = label.unique()
        recall = torch.stack([(guess[label == one] == one).float().mean() for one in met]).mean()
        return {"balanced_accuracy": float(recall), "chance_balanced_accuracy": 1 / len(met)}

    def figure(self, batch: Batch, step: Step) -> list[Panel]:
        """The pictures that have a label, with the class answered."""
        label, guess = step.answers["label"], step.answers["guess"]
        told = label >= 0
        if not told.any():
            return []
        of, answered = (", ".join(map(str, one[told].tolist())) for one in (label, guess))
        return [(f"classes {of}; answered {answered}", framed(unnormalise(batch["picture"][told]), (guess == label)[told]))]
