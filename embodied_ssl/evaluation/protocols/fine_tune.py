"""Fine-tuning: the whole network goes on learning from labels, at rates that fall with depth, after its new head has caught up.

The recipe is fastai's (Howard's ``fine_tune``): train the head alone on the frozen trunk by one cycle at ``rate``; then unfreeze
and train all by one cycle at half of it, spread geometrically over groups of stages, so that early stages, which fit any
picture, move least. ULMFiT (Howard & Ruder 2018) unfreezes group by group from the last one instead: `ULMFIT`.

Where we differ: in fastai, BatchNorm of frozen groups trains on; here a frozen group is frozen to the last bit. The rate is
either stated or chosen on a fold of the train part, never found by looking at a curve. ULMFiT's slanted triangles are
one-cycles here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.linear import accuracy_scores, choose, make_folds
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.classifier import Classifier, Group, depth_groups, linear_classifier
from embodied_ssl.evaluation.training.loop import Labelled, Phase, Showing, parts_of, predict, refuse_divergence, stated, train
from embodied_ssl.keys import Word
from embodied_ssl.optim import AdamW, OptimizerConfig

RATES = (1e-4, 1e-3, 1e-2, 1e-1)  # to choose among, when one is to be chosen
RATE_BOUNDS = (1e-6, 10.0)  # how far that grid may widen
MOMENTUM = (0.95, 0.85)  # at the ends of a cycle, and at its peak


def glide(start: float, end: float, share: float) -> float:
    """From ``start`` to ``end`` along half a cosine; their mean at a share of one half."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(progress: float, peak: float, rise: float = 0.25, divide: float = 25.0, divide_last: float = 1e5) -> float:
    """The rate of a one-cycle schedule: peak / divide at 0, the peak at ``rise``, peak / divide_last at 1.

    `torch.optim.lr_scheduler.OneCycleLR` counts its last division from the first rate: there, 1e5 is 25 times 4000.
    """
    if progress < rise:
        return glide(peak / divide, peak, progress / rise)
    return glide(peak, peak / divide_last, (progress - rise) / (1 - rise))


def one_cycle_momentum(progress: float, rise: float = 0.25) -> float:
    """Momentum moves against the rate: 0.95 at the ends, 0.85 where the rate is at its peak."""
    if progress < rise:
        return glide(*MOMENTUM, progress / rise)
    return glide(*MOMENTUM[::-1], (progress - rise) / (1 - rise))


def spread(rate: float, ratio: float, count: int) -> tuple[float, ...]:
    """Rates of ``count`` groups, from rate / ratio for the first to ``rate`` for the last, in equal proportions."""
    return tuple(np.geomspace(rate / ratio, rate, count).tolist()) if count > 1 else (rate,)


def cycle(steps: int, peaks: Sequence[float], rise: float, divide: float, first: int = 0) -> Phase:
    """A phase in which every group goes through one cycle to its own peak."""
    return Phase(
        steps,
        lambda progress: [one_cycle(progress, peak, rise, divide) for peak in peaks],
        first,
        lambda progress: one_cycle_momentum(progress, rise),
    )


@dataclass(frozen=True)
class FineTune(OnNetworks):
    """The fine-tuning protocol.

    Cost: head_epochs passes forward and epochs passes forward and back, over the train part; for each rate that is tried, 0.8 of
    that again.

    Args:
        epochs: passes over the train part with everything trained.
        head_epochs: passes before that with the head alone; and, when ``gradual``, for each group that is unfrozen after it.
        rate: peak rate of the head alone; with everything trained, half of it.
        tried: rates to choose among on a fold of the train part (`RATES`, say; widened until the choice lies inside);
            empty for ``rate`` as it is.
        groups: parts with rates of their own: runs of stages, and the head.
        ratio: the head's rate over that of the first group.
        gradual: unfreeze one group at a time, from the last.
        optimizer: its rate is not used; its momentum follows the cycle.
        showing: batches, crops, and what BatchNorm does in trained groups.
    """

    name: ClassVar[str] = "fine-tune"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 50.0
    epochs: int = 4
    head_epochs: int = 1
    rate: float = 2e-3
    tried: tuple[float, ...] = ()
    groups: int = 3
    ratio: float = 100.0
    gradual: bool = False
    optimizer: OptimizerConfig = field(default_factory=lambda: AdamW(betas=(0.95, 0.99)))
    showing: Showing = field(default_factory=Showing)

    @classmethod
    def tiny(cls) -> Self:
        return cls(epochs=1, showing=Showing(batch_size=12))

    def __post_init__(self) -> None:
        if min(self.epochs, self.head_epochs) < 1 or min(self.rate, self.ratio, *self.tried) <= 0:
            raise UserError("fine-tune needs epochs and head_epochs of at least 1, and rates and a ratio above 0")

    def run(self, job: Job) -> list[Score]:
        """Accuracy on the test part after one training on the whole train part."""
        data, test = parts_of(job)
        rate, chosen = self._rate(job, data)
        model, groups, final_loss = self._fit(job, data, rate, "all")
        hits = predict(model, test, job.device, self.showing.precision) == test.labels
        peaks = spread(rate / 2, self.ratio, len(groups))
        settings = {
            **stated(self, self.showing, job),
            **chosen,
            "rate": rate,
            "rates": {group.name: peak for group, peak in zip(groups, peaks, strict=True)},
            "final_loss": final_loss,
        }
        return accuracy_scores(self.name, job.model, "all", hits, test.labels, settings)

    def phases(self, rate: float, count: int, pictures: int) -> list[Phase]:
        """Head alone, perhaps group after group from the last, then all.

        Args:
            rate: peak rate of the head alone.
            count: number of groups.
            pictures: in one epoch.
        """
        peaks = spread(rate / 2, self.ratio, count)
        short = self.showing.steps(self.head_epochs * pictures, pictures)
        phases = [cycle(short, [rate] * count, rise=0.99, divide=25.0, first=count - 1)]
        if self.gradual:
            phases += [cycle(short, peaks, rise=0.3, divide=5.0, first=first) for first in range(count - 2, 0, -1)]
        return [*phases, cycle(self.showing.steps(self.epochs * pictures, pictures), peaks, rise=0.3, divide=5.0)]

    def _rate(self, job: Job, data: Labelled) -> tuple[float, dict[str, Any]]:
        """The rate, and how it was chosen: by accuracy on one fold of the train part; the lowest among equals."""
        if not self.tried:
            return self.rate, {}
        folds, unit = make_folds(data.labels, data.recordings)
        inner, outer = (data.part(rows) for rows in folds[0])

        def accuracy(rate: float) -> float:
            model, _, _ = self._fit(job, inner, rate, "fold", must_converge=False)
            return float((predict(model, outer, job.device, self.showing.precision) == outer.labels).mean())

        found = choose(accuracy, self.tried, RATE_BOUNDS)
        accuracies = {f"{rate:g}": value for rate, value in found.tried.items()}
        return found.C, {"fold_accuracy": accuracies, "folds_of": unit, "rate_at_bound": found.at_bound}

    def _fit(
        self, job: Job, data: Labelled, rate: float, part: str, must_converge: bool = True
    ) -> tuple[Classifier, list[Group], float]:
        key: tuple[Word, ...] = (self.name, job.seed, part)
        model = linear_classifier(job.build(), data.classes, *key)
        groups = depth_groups(model, self.groups)
        what = f"fine-tuning {job.model} at {rate:g}"
        phases = self.phases(rate, len(groups), len(data))
        losses = train(
            model,
            groups,
            phases,
            data,
            self.showing,
            self.optimizer,
            job.device,
            *key,
            on_step=partial(job.on_progress, what),
        )
        if must_converge:
            refuse_divergence(losses, what)
        return model, groups, float(losses[-10:].mean())


ULMFIT = FineTune(rate=2e-2, groups=4, ratio=2.6**3, gradual=True)  # each group 1 / 2.6 of the next, unfrozen from the last
