"""Linear probe: multinomial logistic regression on frozen features, with everything chosen on the train part alone.

The penalty's inverse C is chosen by cross-validation over a grid that is widened until the choice lies inside it: a grid that
ends too early understates some models more than others (a random stem by ten points on 15-Scene) and so fakes a gain.
Features are standardised with the statistics of whatever was trained on: each fold's own part, never the part it is tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.solvers.logistic import Fits, Part
from embodied_ssl.evaluation.statistics import mean_per_class, per_class_replicates, percentiles, wilson

Matrix = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
BOUNDS = (1e-7, 1e5)
FOLDS = 5


@dataclass(frozen=True)
class Choice:
    """A value of C and how it came about.

    Attributes:
        C: inverse strength of the penalty, as scikit-learn counts it.
        accuracy: cross-validated, on the train part.
        tried: C -> accuracy for all that were tried.
        at_bound: the best C lies at the end of the widest grid; a still wider one might do better.
    """

    C: float
    accuracy: float
    tried: dict[float, float]
    at_bound: bool


def choose(accuracy: Callable[[float], float], grid: Sequence[float] = GRID, bounds: tuple[float, float] = BOUNDS) -> Choice:
    """The C of highest accuracy, widening the grid by decades until the best is inside it or a bound is reached.

    Among equals the smallest C inside the grid is taken (the strongest penalty); an end only if nothing inside is as good.
    """
    tried = {C: accuracy(C) for C in sorted(grid)}
    while True:
        ends = (min(tried), max(tried))
        top = max(tried.values())
        inside = [C for C, value in tried.items() if value == top and C not in ends]
        if inside:
            return Choice(min(inside), top, dict(sorted(tried.items())), False)
        best = min(C for C, value in tried.items() if value == top)
        further = best * 10 if best == ends[1] else best / 10
        further = float(f"{further:.6g}")  # 1e-05, not 1.0000000000000001e-05
        if not bounds[0] * 0.999 <= further <= bounds[1] * 1.001:
            return Choice(best, top, dict(sorted(tried.items())), True)
        tried[further] = accuracy(further)


def make_folds(labels: Labels, recordings: Sequence[str], most: int = FOLDS) -> tuple[Folds, str]:
    """Stratified folds that divide no recording where recordings repeat; and what they are made of.

    Raises:
        UserError: a class has one picture only, so no fold could both train and test on it.
    """
    counts = np.bincount(labels)
    rarest = int(counts[counts > 0].min())
    if rarest < 2:
        raise UserError(
            f"class number {int(np.flatnonzero(counts == rarest)[0])} has {rarest} training picture; "
            "choosing the penalty needs at least 2 of each class: add pictures, or use the knn protocol"
        )
    rows = np.zeros(len(labels))
    groups = np.unique(np.asarray(recordings), return_inverse=True)[1]
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if len(np.unique(groups)) < len(labels) and fewest >= 2:
        splitter = StratifiedGroupKFold(min(most, fewest), shuffle=True, random_state=0)
        return list(splitter.split(rows, labels, groups)), "recordings"
    return list(StratifiedKFold(min(most, rarest), shuffle=True, random_state=0).split(rows, labels)), "pictures"


def folded(features: Matrix, labels: Labels, folds: Folds) -> tuple[list[Part], list[Labels]]:
    """A training part for each fold, and the labels that it should predict."""
    parts = [Part(features[train], labels[train], features[test]) for train, test in folds]
    return parts, [labels[test] for _, test in folds]


def choose_penalty(
    parts: Sequence[Part], truths: Sequence[Labels], tolerance: float, device: str, grid: Sequence[float] = GRID
) -> Choice:
    """The C whose fits get most of all held-out items right, over all parts together."""
    fits = Fits(parts, tolerance, device)
    total = sum(len(truth) for truth in truths)

    def accuracies(strengths: Sequence[float]) -> list[float]:
        hits = [(predicted == truth).sum(1) for predicted, truth in zip(fits.predict(strengths), truths, strict=True)]
        return [float(count) / total for count in np.sum(hits, axis=0)]

    known = dict(zip(grid, accuracies(grid), strict=True))  # solved together; the few beyond, one by one
    return choose(lambda C: known[C] if C in known else accuracies([C])[0], grid)


@dataclass(frozen=True)
class Linear(OnFeatures):
    """The linear protocol.

    Args:
        tolerance: where fits stop, as `Fits` takes it. One for the search and the last fit: a looser search stops early, which
            hides that a large C overfits (1e-3 chose C = 100 for a random stem and lost a point).
        strengths: the C tried first; the grid widens from there.
    """

    name: ClassVar[str] = "linear"
    needs: ClassVar[str] = "label"
    tolerance: float = 1e-4
    strengths: tuple[float, ...] = GRID

    def choice(self, train: FeatureTable, layer: str) -> Choice:
        """The C for one layer, by cross-validation on the train part; remembered."""
        key = (self, layer)
        if key not in train.found:
            folds, _ = make_folds(train.labels, train.recordings)
            parts, truths = folded(train.features[layer], train.labels, folds)
            train.found[key] = choose_penalty(parts, truths, self.tolerance, train.device, self.strengths)
        choice: Choice = train.found[key]
        return choice

    def best_layer(self, train: FeatureTable) -> str:
        """The layer of highest cross-validated accuracy on the train part; the shallowest among equals."""
        return max(train.layers, key=lambda layer: self.choice(train, layer).accuracy)

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's cross-validated accuracy, then the best and the last layer on the test part."""
        folds, unit = make_folds(train.labels, train.recordings)
        shared = {"folds": len(folds), "folds_of": unit, "standardised": True}
        scores = []
        for layer in train.layers:
            choice = self.choice(train, layer)
            settings = {"choice": "every", **shared, "tried": {f"{C:g}": value for C, value in choice.tried.items()}}
            scores.append(
                Score(
                    train.model,
                    "run",
                    "",
                    self.name,
                    layer,
                    "cv_accuracy",
                    choice.accuracy,
                    n=len(train.labels),
                    settings={**settings, "C": choice.C, "C_at_bound": choice.at_bound},
                )
            )
        for how, layer in (("best", self.best_layer(train)), ("last", train.last)):
            choice = self.choice(train, layer)
            hits = self._hits(train, test, layer, choice.C)
            settings = {"choice": how, **shared, "C": choice.C, "C_at_bound": choice.at_bound}
            scores += accuracy_scores(self.name, train.model, layer, hits, test.labels, settings)
        return scores

    def _hits(self, train: FeatureTable, test: FeatureTable, layer: str, C: float) -> NDArray[np.bool_]:
        part = Part(train.features[layer], train.labels, test.features[layer])
        predicted = Fits([part], self.tolerance, train.device).predict([C])[0][0]
        hits: NDArray[np.bool_] = predicted == test.labels
        return hits


def accuracy_scores(
    protocol: str, model: str, layer: str, hits: NDArray[np.bool_], labels: Labels, settings: dict[str, Any]
) -> list[Score]:
    """Accuracy with Wilson's interval, and mean per-class accuracy, of one fit: hits [n]."""
    share = wilson(int(hits.sum()), len(hits))
    rows = np.asarray(hits, np.float32)[None]
    about: dict[str, Any] = {"model": model, "role": "run", "dataset": "", "protocol": protocol, "layer": layer, "n": len(hits)}
    covers = {**settings, "interval": "Wilson, over test pictures"}
    return [
        Score(metric="accuracy", value=share.value, interval=(share.low, share.high), settings=covers, hits=rows, **about),
        per_class_score(rows, labels, settings, **about),
    ]


def per_class_score(hits: NDArray[np.float32], labels: Labels, settings: dict[str, Any], **about: Any) -> Score:
    """Mean per-class accuracy of hits [R, n], with an interval over test pictures; ``about`` is the rest of the row."""
    replicates = per_class_replicates(hits, labels)
    covers = {**settings, "interval": "bootstrap, over test pictures"}
    value = mean_per_class(hits, labels)
    return Score(
        metric="mean_per_class_accuracy",
        value=value,
        interval=percentiles(replicates),
        settings=covers,
        replicates=replicates,
        **about,
    )
