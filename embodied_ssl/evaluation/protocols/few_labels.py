"""Few labels: the early stages stay as pretraining left them, and what follows is learned from K labelled pictures a class.

This is RotNet's experiment on CIFAR-10 (Gidaris et al. 2018): features of the second of four blocks are fixed, in eval mode,
and a *new* block (a 3 x 3 and two 1 x 1 convolutions of 192 channels) with a linear layer learns on them, from K = 20 to 5,000
pictures a class. It shows how many labels good early features save. ``rest`` may keep the network's own later stages instead.

Where we differ: K pictures are drawn several times (theirs are the first in the file); crops are random resized ones (theirs
are shifted by up to 4 pixels); the last step is judged (their program keeps the epoch that is best on the test part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.datasets.few_shots import draw_rows
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.features import frozen
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.low_shot import draw_scores
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.classifier import (
    Classifier,
    Group,
    groups_of,
    keyed_torch,
    linear_classifier,
    parts_of_stage,
)
from embodied_ssl.evaluation.training.loop import Labelled, Phase, Showing, parts_of, predict, refuse_divergence, stated, train
from embodied_ssl.keys import Word
from embodied_ssl.optim import SGD, OptimizerConfig, Schedule

SHOTS = (20, 100, 400, 1000, 5000)
WIDTH = 192  # channels of the new block
MIDDLE = "middle"

Rest = Literal["new", "weights", "scratch"]


class NewBlock(nn.Module):
    """What is learned on a stage's map [B, D, H, W]: 3 x 3, 1 x 1, 1 x 1 convolutions with BatchNorm, mean, linear layer."""

    def __init__(self, stage: str, width: int, classes: int) -> None:
        super().__init__()
        self.stage = stage
        layers: list[nn.Module] = []
        for i, kernel in ((width, 3), (WIDTH, 1), (WIDTH, 1)):
            layers += [nn.Conv2d(i, WIDTH, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        self.block = nn.Sequential(*layers)
        self.linear = nn.Linear(WIDTH, classes)
        restart(self)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.linear(self.block(features.maps[self.stage]).mean(dim=(2, 3)))
        return logits


def restart(module: nn.Module) -> None:
    """Forget all weights, below a module too: convolutions drawn as He et al. 2015 do, everything else as torch does.

    Raises:
        UserError: a part holds weights and does not say how to draw them anew.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif callable(reset := getattr(part, "reset_parameters", None)):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise UserError(f"{type(part).__name__} cannot be drawn anew; use rest='new' or rest='weights'")


@dataclass(frozen=True)
class FewLabels(OnNetworks):
    """The few-labels protocol.

    Cost: for every K and draw, ``examples`` pictures forward through the frozen stages, and forward and back through the rest.

    Args:
        shots: K; those above the rarest class are left out.
        stage: the last frozen stage; ``middle`` is the second of four, the third of five.
        rest: what learns: a ``new`` block, as in the paper; the network's own later stages from their ``weights``; or
            those from ``scratch``.
        examples: pictures shown in one training, whatever K is (the paper: 100 times 50,000).
        draws: repeats, each with other pictures (if the class has more), other new weights and another order.
        optimizer: its rate is that of all that learns.
        schedule: times 0.2 at 35, 70 and 85 %.
        showing: batches, crops, and what BatchNorm does in what learns.
    """

    name: ClassVar[str] = "few-labels"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 60.0
    shots: tuple[int, ...] = SHOTS
    stage: str = MIDDLE
    rest: Rest = "new"
    examples: int = 6000
    draws: int = 3
    optimizer: OptimizerConfig = field(default_factory=lambda: SGD(rate=0.1, nesterov=True))
    schedule: Schedule = field(default_factory=lambda: Schedule("step", warmup=0.0, drops=(0.35, 0.7, 0.85), gamma=0.2))
    showing: Showing = field(default_factory=lambda: Showing(area=(0.5, 1.0)))

    @classmethod
    def tiny(cls) -> Self:
        return cls(shots=(2, 4), examples=48, draws=2)

    def __post_init__(self) -> None:
        if self.draws < 1 or self.examples < 1:
            raise UserError(f"few-labels was given {self.draws} draws of {self.examples} examples; give at least 1 of each")
        if self.rest not in ("new", "weights", "scratch"):
            raise UserError(f"few-labels has no rest '{self.rest}'{suggest(self.rest, ('new', 'weights', 'scratch'))}")

    def run(self, job: Job) -> list[Score]:
        """Accuracy on the test part for each K.

        Raises:
            UserError: every K is above the rarest class, or there is no such stage.
        """
        data, test = parts_of(job)
        rarest = int(np.bincount(data.labels)[np.unique(data.labels)].min())
        shots = sorted(n for n in self.shots if 1 <= n <= rarest)
        if not shots:
            raise UserError(f"few-labels with {self.shots} pictures a class needs more than the {rarest} there are; give fewer")
        scores: list[Score] = []
        for n in shots:
            hits, losses = [], []
            for number in range(self.draws):
                rows = draw_rows(data.labels, data.recordings, n, number)
                right, loss, stage = self._hits(job, data.part(rows), test, n, number)
                hits.append(right)
                losses.append(loss)
            settings = {**stated(self, self.showing, job), "frozen_to": stage, "pictures": len(rows)}
            settings["final_loss"] = float(np.mean(losses))
            scores += draw_scores(self.name, job.model, stage, n, np.asarray(hits, np.float32), test.labels, settings)
        return scores

    def model(self, backbone: Backbone, size: int, classes: int, *key: Word) -> tuple[Classifier, list[Group], str]:
        """The classifier on a copy of the network, its groups, of which the first is to be frozen, and the last frozen stage.

        Raises:
            UserError: no such stage, or none of the network's own would be left to learn.
        """
        stages = backbone.stages
        stage = stages[(len(stages) - 1) // 2] if self.stage == MIDDLE else self.stage
        if stage not in stages:
            raise UserError(f"{backbone.name} has no stage '{stage}'{suggest(stage, stages)}")
        early, late = stages[: stages.index(stage) + 1], stages[stages.index(stage) + 1 :]
        if self.rest == "new":
            model = _with_new_block(backbone, early, size, classes, *key)
            return model, groups_of(model, [early]), stage
        parts = [part for name in late for part in parts_of_stage(backbone, name)]
        if not parts:
            raise UserError(
                f"{backbone.name} has no stages of its own to train after '{stage}'; use rest='new' or an earlier stage"
            )
        model = linear_classifier(backbone, classes, *key)
        if self.rest == "scratch":
            with keyed_torch(*key, "scratch"):
                for part in parts:
                    restart(backbone.net.get_submodule(part))
        return model, groups_of(model, [early, late]), stage

    def _hits(self, job: Job, data: Labelled, test: Labelled, n: int, number: int) -> tuple[NDArray[np.bool_], float, str]:
        key: tuple[Word, ...] = (self.name, job.seed, n, number)
        model, groups, stage = self.model(job.build(), job.preprocessing.size, data.classes, *key)
        what = f"{n} a class on {stage} of {job.model}, draw {number + 1} of {self.draws}"
        losses = train(
            model,
            groups,
            [self.phase(len(groups), len(data))],
            data,
            self.showing,
            self.optimizer,
            job.device,
            *key,
            on_step=partial(job.on_progress, what),
        )
        refuse_divergence(losses, what)
        hits = predict(model, test, job.device, self.showing.precision) == test.labels
        return hits, float(losses[-10:].mean()), stage

    def phase(self, groups: int, pictures: int) -> Phase:
        """All but the first group, at one rate."""
        steps = self.showing.steps(self.examples, pictures)
        return Phase(steps, lambda progress: [self.optimizer.rate * self.schedule.factor(progress)] * groups, first=1)


def _with_new_block(backbone: Backbone, early: Sequence[str], size: int, classes: int, *key: Word) -> Classifier:
    """The early stages with a new block on the last of them; later stages are not run, where the network can do without."""
    if all(backbone.parts.values()):
        backbone.parts = {name: backbone.parts[name] for name in early}
    with frozen(backbone):
        seen = torch.zeros(1, backbone.channels, size, size, device=next(backbone.parameters()).device)
        width = backbone(seen).maps[early[-1]].shape[1]
    with keyed_torch(*key, "head"):
        return Classifier(backbone, NewBlock(early[-1], width, classes))
