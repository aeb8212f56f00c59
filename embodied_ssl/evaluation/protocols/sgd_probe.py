"""The linear probe trained by SGD, at several rates at once: comparable with the tables of papers, whose probes are trained so.

The right rate differs by thousands between methods (30 for MoCo, 0.3 for SwAV), and a wrong one costs points; so every rate of a
sweep trains its own layer, all of them on the same batches, and a fold of the train part says which is best. The layer is then
trained anew with that rate on the whole train part.

A normalisation stands before it (Goyal et al. 2019; ours, as theirs, without scale and shift) or nothing does (He et al. 2020).
Where we differ from both: features are those of the centre crop, computed once, so pictures are not augmented; and the rate
is theirs times B / 256 for batches of B pictures. Legend: N pictures, D features, K classes, R rates, B pictures in a batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.linear import accuracy_scores, make_folds
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.keys import Word, generator
from embodied_ssl.optim import Schedule

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SPREAD = 0.01  # deviation of the first weights


class Swept(NamedTuple):
    """What a sweep found on the held-out fold: the rate, its accuracy, and the accuracy of every rate."""

    rate: float
    accuracy: float
    tried: dict[float, float]


class Layers(NamedTuple):
    """R linear layers on features normalised with the statistics of their train part."""

    weights: Tensor  # [R, D, K]
    biases: Tensor  # [R, 1, K]
    mean: Tensor  # [D]
    scale: Tensor  # [D]

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Labels by each layer [R, N]; -1 from a layer that diverged."""
        answers = []
        for some in batches(len(features), 4096):
            x = (torch.from_numpy(features[some]).to(self.mean) - self.mean) * self.scale
            answers.append((x @ self.weights + self.biases).argmax(2))
        sane = self.weights.isfinite().all(2).all(1) & self.biases.isfinite().all(2).all(1)
        return torch.where(sane[:, None], torch.cat(answers, 1), -1).cpu().numpy()


def check_training(name: str, rates: Sequence[float], epochs: int, batch_size: int) -> None:
    """Refuse what a probe cannot be trained with.

    Raises:
        UserError: says what was given and what is accepted.
    """
    if not rates or min(rates) <= 0 or epochs < 1 or batch_size < 2:
        raise UserError(
            f"{name} was given rates {rates}, {epochs} epochs and batches of {batch_size}; "
            "rates are above 0, epochs at least 1, batches of at least 2"
        )


@dataclass(frozen=True)
class SgdProbe(OnFeatures):
    """The SGD protocol. MoCo's schedule unless said otherwise; `GOYAL` is that of Goyal et al. 2019.

    Args:
        rates: peak rates for batches of 256; scaled by the batch's size.
        norm: ``batch`` normalises each feature over the batch, and over the train part when judged; ``none`` leaves it.
        epochs: passes over the train part.
        batch_size: pictures in a step (all, where there are fewer); those left over after the last full batch wait an epoch.
        momentum, nesterov, weight_decay: of SGD; the bias decays too.
        schedule: of the rate over the whole training.
        seed: of first weights and of the order of pictures.
    """

    name: ClassVar[str] = "sgd"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 15.0
    rates: tuple[float, ...] = RATES
    norm: Literal["batch", "none"] = "batch"
    epochs: int = 100
    batch_size: int = 256
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=lambda: Schedule("step", warmup=0.0, drops=(0.6, 0.8)))
    seed: int = 0

    @classmethod
    def tiny(cls) -> Self:
        return cls(epochs=3)

    def __post_init__(self) -> None:
        check_training(self.name, self.rates, self.epochs, self.batch_size)
        if self.norm not in ("batch", "none"):
            raise UserError(f"sgd has no norm '{self.norm}'; there is batch, none")

    def sweep(self, train: FeatureTable, layer: str) -> Swept:
        """Every rate on four fifths of the train part, judged on the rest; the smallest among equals. Remembered."""
        key = (self, layer)
        if key not in train.found:
            inner, held_out = make_folds(train.labels, train.recordings)[0][0]
            features = train.features[layer]
            layers = self.train(features[inner], train.labels[inner], self.rates, train.device, layer, "sweep")
            shares = (layers.predict(features[held_out]) == train.labels[held_out]).mean(1)
            tried = {rate: float(share) for rate, share in zip(self.rates, shares, strict=True)}
            best = max(sorted(tried), key=tried.__getitem__)
            train.found[key] = Swept(best, tried[best], tried)
        swept: Swept = train.found[key]
        return swept

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's held-out accuracy on the train part, then the best and the last layer on the test part."""
        swept = {layer: self.sweep(train, layer) for layer in train.layers}
        scores = [
            Score(
                train.model,
                "run",
                "",
                self.name,
                layer,
                "cv_accuracy",
                found.accuracy,
                n=len(make_folds(train.labels, train.recordings)[0][0][1]),
                settings={**self._stated("every", found), "tried": {f"{rate:g}": value for rate, value in found.tried.items()}},
            )
            for layer, found in swept.items()
        ]
        best = max(swept, key=lambda layer: swept[layer].accuracy)
        for how, layer in (("best", best), ("last", train.last)):
            rate = swept[layer].rate
            layers = self.train(train.features[layer], train.labels, [rate], train.device, layer, "final")
            hits = layers.predict(test.features[layer])[0] == test.labels
            scores += accuracy_scores(self.name, train.model, layer, hits, test.labels, self._stated(how, swept[layer]))
        return scores

    def _stated(self, choice: str, swept: Swept) -> dict[str, Any]:
        at_end = swept.rate in (min(self.rates), max(self.rates))
        about = {"choice": choice, "rate": swept.rate, "rate_at_end_of_sweep": at_end, "chosen_on": "one fold of five"}
        return {**about, **json.loads(json.dumps(asdict(self))), "augmentation": "none"}  # tuples as the lists they are in JSON

    def train(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], rates: Sequence[float], device: str, *key: Word
    ) -> Layers:
        """A layer for each rate, from the same first weights and on the same batches: features [N, D], labels [N]."""
        x, y = torch.from_numpy(features).to(device), torch.from_numpy(labels).to(device)
        answers = F.one_hot(y).to(x)
        size = min(self.batch_size, len(x))
        steps = len(x) // size * self.epochs
        first = generator(self.name, self.seed, *key, "weights").standard_normal((x.shape[1], answers.shape[1]))
        weights = torch.from_numpy(np.float32(SPREAD * first)).to(device).repeat(len(rates), 1, 1)
        parameters = [weights, weights.new_zeros(len(rates), 1, answers.shape[1])]
        moving = [torch.zeros_like(parameter) for parameter in parameters]
        peak = torch.tensor(rates).to(x)[:, None, None] * (size / 256)
        for step in range(steps):
            epoch, place = divmod(step, len(x) // size)
            if place == 0:
                order = torch.from_numpy(generator(self.name, self.seed, *key, epoch).permutation(len(x))).to(device)
            rows = order[place * size : (place + 1) * size]
            inputs = self._normalised(x[rows])
            # The softmax loss by hand: R layers have R gradients, which one sum of losses would give as well, but slower.
            wrong = ((inputs @ parameters[0] + parameters[1]).softmax(2) - answers[rows]) / size
            gradients = [inputs.mT @ wrong, wrong.sum(1, keepdim=True)]
            rate = peak * self.schedule.factor(step / steps)
            for parameter, speed, gradient in zip(parameters, moving, gradients, strict=True):
                gradient = gradient + self.weight_decay * parameter
                speed.mul_(self.momentum).add_(gradient)
                parameter -= rate * (gradient + self.momentum * speed if self.nesterov else speed)
        return Layers(parameters[0], parameters[1], *self._statistics(x))

    def _normalised(self, batch: Tensor) -> Tensor:
        return batch if self.norm == "none" else F.batch_norm(batch, None, None, training=True)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.norm == "none":
            return x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return x.mean(0), (x.var(0, correction=0) + 1e-5).rsqrt()


GOYAL = SgdProbe(
    epochs=28, nesterov=True, weight_decay=5e-4, schedule=Schedule("step", warmup=0.0, drops=(8 / 28, 16 / 28, 24 / 28))
)
