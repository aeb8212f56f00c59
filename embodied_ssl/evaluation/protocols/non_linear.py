"""RotNet's non-linear probe: a small network with two hidden layers on frozen features, trained by SGD.

What a linear probe cannot read may still be there, only bent. How far this probe is ahead of the linear one says how much.

Gidaris, Singh and Komodakis 2018, arXiv:1803.07728, section 4.1 and their program: two hidden layers of min(20 K, 2048) units for
K classes (200 for CIFAR-10), bias-free and each with BatchNorm and ReLU, then a linear layer; batches of 128, Nesterov momentum,
decay of everything, the rate a fifth after 20, 40 and 45 of 100 passes. Where we differ: features are pooled over space (theirs
are all 12,288 values of a map), those of the centre crop, and computed once, so pictures are not augmented; the rate is chosen
on a fold of the train part (theirs is 0.1). What is reported is the network after the last pass: their program keeps the pass
that is best on the *test* part. Legend: N pictures, D features, K classes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.linear import accuracy_scores, make_folds
from embodied_ssl.evaluation.protocols.sgd_probe import Swept, check_training
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.classifier import keyed_torch
from embodied_ssl.evaluation.training.loop import shuffled
from embodied_ssl.heads import mlp
from embodied_ssl.keys import Word
from embodied_ssl.optim import Schedule

RATES = (0.01, 0.03, 0.1, 0.3)
PER_CLASS, MOST = 20, 2048


def hidden_units(classes: int) -> int:
    """The width of both hidden layers: 20 units a class, 2,048 at most."""
    return min(PER_CLASS * classes, MOST)


@dataclass(frozen=True)
class NonLinear(OnFeatures):
    """The non-linear protocol, with the authors' schedule for CIFAR-10.

    Args:
        rates: peak rates for batches of 128, of which the best is taken; scaled by the batch's size where there are fewer.
        epochs: passes over the train part.
        batch_size: pictures in a step (all, where there are fewer).
        momentum, nesterov, weight_decay: of SGD; norms and biases decay too.
        schedule: of the rate over the whole training.
        seed: of first weights and of the order of pictures.
    """

    name: ClassVar[str] = "non-linear"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 60.0
    rates: tuple[float, ...] = RATES
    epochs: int = 100
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Schedule = field(default_factory=lambda: Schedule("step", warmup=0.0, drops=(0.2, 0.4, 0.45), gamma=0.2))
    seed: int = 0

    @classmethod
    def tiny(cls) -> Self:
        return cls(rates=(0.03, 0.1), epochs=10)

    def __post_init__(self) -> None:
        check_training(self.name, self.rates, self.epochs, self.batch_size)

    def sweep(self, train: FeatureTable, layer: str) -> Swept:
        """Every rate on four fifths of the train part, judged on the rest; the smallest among equals. Remembered."""
        key = (self, layer)
        if key not in train.found:
            inner, held_out = make_folds(train.labels, train.recordings)[0][0]
            features, labels = train.features[layer], train.labels
            tried = {}
            for rate in self.rates:
                net = self.train(features[inner], labels[inner], rate, train.device, layer, "sweep")
                tried[rate] = float((predict(net, features[held_out], train.device) == labels[held_out]).mean())
            best = max(sorted(tried), key=tried.__getitem__)
            train.found[key] = Swept(best, tried[best], tried)
        swept: Swept = train.found[key]
        return swept

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's held-out accuracy on the train part, then the best and the last layer on the test part."""
        swept = {layer: self.sweep(train, layer) for layer in train.layers}
        judged_on = len(make_folds(train.labels, train.recordings)[0][0][1])
        scores = []
        for layer, found in swept.items():
            settings = {**self._stated("every", found), "tried": {f"{rate:g}": value for rate, value in found.tried.items()}}
            about: dict[str, Any] = {"n": judged_on, "settings": settings}
            scores.append(Score(train.model, "run", "", self.name, layer, "cv_accuracy", found.accuracy, **about))
        best = max(swept, key=lambda layer: swept[layer].accuracy)
        for how, layer in (("best", best), ("last", train.last)):
            net = self.train(train.features[layer], train.labels, swept[layer].rate, train.device, layer, "final")
            hits = predict(net, test.features[layer], train.device) == test.labels
            settings = {**self._stated(how, swept[layer]), "hidden": hidden_units(int(train.labels.max()) + 1)}
            scores += accuracy_scores(self.name, train.model, layer, hits, test.labels, settings)
        return scores

    def _stated(self, choice: str, swept: Swept) -> dict[str, Any]:
        at_end = swept.rate in (min(self.rates), max(self.rates))
        about = {"choice": choice, "rate": swept.rate, "rate_at_end_of_sweep": at_end, "chosen_on": "one fold of five"}
        return {**about, **json.loads(json.dumps(asdict(self))), "augmentation": "none", "reported": "last epoch"}

    def train(self, features: NDArray[np.float32], labels: NDArray[np.int64], rate: float, device: str, *key: Word) -> nn.Module:
        """The network for one rate, after the last pass: features [N, D], labels [N]. The same first weights for every rate."""
        x, y = torch.from_numpy(features).to(device), torch.from_numpy(labels).to(device)
        size, classes = min(self.batch_size, len(x)), int(labels.max()) + 1
        steps = max(1, len(x) // size) * self.epochs
        with keyed_torch(self.name, self.seed, *key, "weights"):
            net = mlp(x.shape[1], hidden_units(classes), hidden_units(classes), classes)
        net.to(device).train()
        engine = torch.optim.SGD(
            net.parameters(), lr=rate, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )
        for step, rows in enumerate(islice(shuffled(len(x), size, self.name, self.seed, *key), steps)):
            engine.param_groups[0]["lr"] = rate * size / 128 * self.schedule.factor(step / steps)
            chosen = torch.from_numpy(rows).to(device)
            loss = F.cross_entropy(net(x[chosen]), y[chosen])
            engine.zero_grad(set_to_none=True)
            loss.backward()
            engine.step()
        return net.eval()


@torch.no_grad()
def predict(net: nn.Module, features: NDArray[np.float32], device: str) -> NDArray[np.int64]:
    """Labels [N] by the highest logit; -1 where it is no number, from a network that diverged."""
    answers = []
    for some in batches(len(features), 4096):
        logits = net(torch.from_numpy(features[some]).to(device))
        answers.append(torch.where(logits.isfinite().all(1), logits.argmax(1), -1))
    return torch.cat(answers).cpu().numpy()
