"""Semi-supervised: the whole network is fine-tuned on 1 % and 10 % of the train part's labels, and judged on the test part.

The default is SwAV's schedule (Caron et al. 2020): 20 epochs, trunk at 0.01, new head at 0.2, both times 0.2 after 12 and 16, no
decay. A published subset is used where the target has one; else pictures are drawn, equally many of each class and at least
one, the same ones as in low-shot draws of that size, so that fine-tuned and frozen networks are judged on the same labels.

Where we differ: the rates are taken to be for 256 pictures a step and scaled to what a step has (at 32, as they are, they
diverged on 15-Scene); 1 % of a small data set is a handful of pictures and 20 epochs of it a handful of steps, so there is a
least number of steps; and training is repeated over draws, because one draw of so few pictures says little.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.few_shots import draw_rows
from embodied_ssl.datasets.target import Rows
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.linear import Labels
from embodied_ssl.evaluation.protocols.low_shot import draw_scores
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.classifier import depth_groups, linear_classifier
from embodied_ssl.evaluation.training.loop import Labelled, Phase, Showing, parts_of, predict, refuse_divergence, stated, train
from embodied_ssl.optim import LARS, SGD, OptimizerConfig, Schedule

Hits = NDArray[np.bool_]
AREA = (0.08, 1.0)  # of the pictures' random crops, as for ImageNet


@dataclass(frozen=True)
class SemiSupervised(OnNetworks):
    """The semi-supervised protocol.

    Cost: for every share and draw, the larger of its epochs over so many pictures and ``least_steps`` batches, forward and back.

    Args:
        shares: of the train part's pictures.
        epochs: passes over them, for each share.
        least_steps: and at least so many steps.
        draws: repeats, each with other pictures (but for a published subset), another head and another order.
        optimizer: its rate is the trunk's, for ``rates_for`` pictures a step.
        head_rate: of the new linear layer, likewise.
        rates_for: pictures a step that the rates are meant for; steps of B have rate * (B / rates_for) ** ``scaling``.
        scaling: 1 is the usual linear scaling, 0 none.
        schedule: of both rates.
        showing: batches, crops, and what BatchNorm does.
    """

    name: ClassVar[str] = "semi-supervised"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 60.0
    shares: tuple[float, ...] = (0.01, 0.1)
    epochs: tuple[int, ...] = (20, 20)
    least_steps: int = 100
    draws: int = 3
    optimizer: OptimizerConfig = field(default_factory=lambda: SGD(rate=0.01, weight_decay=0.0))
    head_rate: float = 0.2
    rates_for: int = 256
    scaling: float = 1.0
    schedule: Schedule = field(default_factory=lambda: Schedule("step", warmup=0.0, drops=(0.6, 0.8), gamma=0.2))
    showing: Showing = field(default_factory=lambda: Showing(area=AREA))

    @classmethod
    def tiny(cls) -> Self:
        return cls(shares=(0.5,), epochs=(1,), least_steps=2, draws=2)

    def __post_init__(self) -> None:
        if len(self.epochs) != len(self.shares) or self.draws < 1 or not all(0 < share <= 1 for share in self.shares):
            raise UserError(
                f"semi-supervised was given shares {self.shares}, epochs {self.epochs} and {self.draws} draws; "
                "give shares within 0..1, as many epochs as shares, and at least 1 draw"
            )

    def run(self, job: Job) -> list[Score]:
        """Accuracy on the test part for each share; of shares that come to the same number a class, the first alone."""
        data, test = parts_of(job)
        scores: list[Score] = []
        for share, epochs in zip(self.shares, self.epochs, strict=True):
            published = self._published(job, data, share)
            shots = per_class(data.labels, share) if published is None else round(len(published) / data.classes)
            if shots in {score.shots for score in scores}:
                continue
            hits, losses = [], []
            for number in range(self.draws):
                rows = draw_rows(data.labels, data.recordings, shots, number) if published is None else published
                right, loss = self._hits(job, data.part(rows), test, share, epochs, number)
                hits.append(right)
                losses.append(loss)
            settings = {
                **stated(self, self.showing, job),
                "share": share,
                "epochs": epochs,
                "pictures": len(rows),
                "final_loss": float(np.mean(losses)),
                "subset": "drawn, equally many of each class" if published is None else "published",
            }
            repeats = "draws" if published is None else "trainings"
            rows_of = np.asarray(hits, np.float32)
            scores += draw_scores(self.name, job.model, "all", shots, rows_of, test.labels, settings, repeats)
        return scores

    def _published(self, job: Job, data: Labelled, share: float) -> Rows | None:
        """The target's own subset of this share, as places in ``data``; subsets belong to the first division."""
        subset = job.target.subsets.get(f"{100 * share:g} %")
        if subset is None or job.division is not job.target.divisions[0]:
            return None
        return np.flatnonzero(np.isin(data.pictures.rows[data.rows], subset))

    def _hits(self, job: Job, data: Labelled, test: Labelled, share: float, epochs: int, number: int) -> tuple[Hits, float]:
        key = (self.name, job.seed, f"{share:g}", number)
        model = linear_classifier(job.build(), data.classes, *key)
        what = f"{100 * share:g} % of the labels for {job.model}, draw {number + 1} of {self.draws}"
        losses = train(
            model,
            depth_groups(model, 2),
            [self.phase(epochs, len(data))],
            data,
            self.showing,
            self.optimizer,
            job.device,
            *key,
            on_step=partial(job.on_progress, what),
        )
        refuse_divergence(losses, what)
        return predict(model, test, job.device, self.showing.precision) == test.labels, float(losses[-10:].mean())

    def phase(self, epochs: int, pictures: int) -> Phase:
        """Trunk and head at their own rates, on one schedule."""
        steps = max(self.least_steps, self.showing.steps(epochs * pictures, pictures))
        scale = (min(self.showing.batch_size, pictures) / self.rates_for) ** self.scaling
        peaks = (self.optimizer.rate * scale, self.head_rate * scale)
        return Phase(steps, lambda progress: [peak * self.schedule.factor(progress) for peak in peaks])


def per_class(labels: Labels, share: float) -> int:
    """Pictures of each class in a share of them all: 1 of 15 classes for 1 % of 1,500; never less than 1.

    A class that has fewer gives all it has.
    """
    return max(1, round(share * len(labels) / len(np.unique(labels))))


# As SimCLR (Chen et al. 2020) is usually quoted, not checked against their program: 0.05 * B / 256, Nesterov's momentum, 60
# epochs of 1 % and 30 of 10 %. That the rate falls along a cosine is our choice.
SIMCLR_V1 = SemiSupervised(
    epochs=(60, 30),
    optimizer=SGD(rate=0.05, nesterov=True, weight_decay=0.0),
    head_rate=0.05,
    schedule=Schedule("cosine", warmup=0.0),
)
# SimCLR v2 (Chen et al. 2020b): LARS at 0.005 * sqrt(B), no decay, no warm-up, 60 epochs of 1 %; those of 10 % and the cosine
# are ours. Theirs keeps the first layer of the projection head, which a backbone no longer has.
SIMCLR_V2 = SemiSupervised(
    epochs=(60, 30),
    optimizer=LARS(rate=0.16, weight_decay=0.0),
    head_rate=0.16,
    rates_for=1024,
    scaling=0.5,
    schedule=Schedule("cosine", warmup=0.0),
)
