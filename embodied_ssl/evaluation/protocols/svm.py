"""One linear SVM a class on pictures that show several: the VOC07 classification protocol of Goyal et al. 2019.

Each layer's map, pooled to about 9,000 values with places kept, is divided by its length (plus 1e-5). A class has an SVM with
squared hinge whose positives cost twice; its C is the best of 18 by average precision over three folds of the train part. The
figure is the mean over classes of the average precision on the test part: the area under the non-increasing precision curve.

Tags of -1 (difficult: neither there nor not) never judge. The authors' program trains with them as negatives; ours drops them
unless told otherwise. Folds, too, are judged by the area (theirs by scikit-learn's step sum).
Legend: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.average_precision import average_precision, resampled_average_precision
from embodied_ssl.evaluation.features import FeatureTable, Pooling
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.linear import make_folds
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.solvers.hinge import HingePart, decision_values
from embodied_ssl.evaluation.solvers.logistic import Matrix
from embodied_ssl.evaluation.statistics import centred, percentiles, resamples

STRENGTHS = tuple(sorted([0.01, 0.1, *(0.5**n for n in range(4, 20))]))
POSITIVE_COST = 2.0
FOLDS = 3

Features = NDArray[np.float32]
Values = NDArray[np.float64]
Tags = NDArray[np.int8]
Rows = NDArray[np.intp]


class Chosen(NamedTuple):
    """What cross-validation on the train part found for a class: C and its mean average precision over folds."""

    C: float
    precision: float


@dataclass(frozen=True)
class VocSvm(OnFeatures):
    """The SVM protocol.

    Args:
        strengths: the C to choose from.
        ignored: what tags of -1 are in training: ``dropped``, or ``negative`` as in the authors' program.
    """

    name: ClassVar[str] = "voc-svm"
    needs: ClassVar[str] = "tags"
    metric: ClassVar[str] = "mAP"
    cost: ClassVar[float] = 20.0
    pooling: ClassVar[Pooling] = "grid"
    strengths: tuple[float, ...] = STRENGTHS
    ignored: Literal["dropped", "negative"] = "dropped"

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise UserError(f"{self.name} was given C of {self.strengths}; give at least one, above 0")
        if self.ignored not in ("dropped", "negative"):
            raise UserError(f"{self.name} knows no way '{self.ignored}' with ignored tags; there is dropped, negative")

    def train_tags(self, train: FeatureTable) -> Tags:
        """The tags that training goes by [N, K]."""
        assert train.tags is not None
        return train.tags if self.ignored == "dropped" else np.where(train.tags == 1, 1, 0).astype(np.int8)

    def choices(self, train: FeatureTable, layer: str) -> dict[int, Chosen]:
        """The C of every class that can be trained; remembered."""
        key = (self, layer)
        if key not in train.found:
            tags, features = self.train_tags(train), unit(train.features[layer])
            folds = {c: folds_of(tags[:, c], train.recordings) for c in trainable(tags, train.recordings)}
            columns = [(c, fold[0], C) for c in folds for fold in folds[c] for C in self.strengths]
            scores = iter(decision_values([problems(features, tags, columns, features)], device=train.device)[0].T)
            found = {}
            for c, parts in folds.items():
                each = [[average_precision(next(scores)[held], tags[held, c]) for _ in self.strengths] for _, held in parts]
                found[c] = best(self.strengths, np.mean(each, axis=0))
            train.found[key] = found
        choices: dict[int, Chosen] = train.found[key]
        return choices

    def best_layer(self, train: FeatureTable) -> str:
        """The layer of highest mean average precision over the folds of the train part; the shallowest among equals."""
        return max(train.layers, key=lambda layer: mean_precision(self.choices(train, layer)))

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's cross-validated figure, then mean average precision of the best and the last layer on the test part.

        Raises:
            UserError: no class can be both trained and judged.
        """
        assert test.tags is not None
        tags = self.train_tags(train)
        judged, left_out = judgeable(tags, train.recordings, test.tags)
        shared = {"classes": len(judged), "classes_left_out": left_out, "ignored_in_training": self.ignored, "kind": "area"}
        about: dict[str, Any] = {"model": train.model, "role": "run", "dataset": "", "protocol": self.name}
        scores = []
        for layer in train.layers:
            value, settings = mean_precision(self.choices(train, layer)), {"choice": "every", **shared, "folds": FOLDS}
            scores.append(Score(layer=layer, metric=f"cv_{self.metric}", value=value, n=len(tags), settings=settings, **about))
        everything = np.arange(len(tags))
        for how, layer in (("best", self.best_layer(train)), ("last", train.last)):
            choices = self.choices(train, layer)
            columns = [(c, everything, choices[c].C) for c in judged]
            part = problems(unit(train.features[layer]), tags, columns, unit(test.features[layer]))
            found = decision_values([part], device=train.device)[0]
            settings = {"choice": how, **shared, "C": {str(c): choices[c].C for c in judged}}
            scores.append(judge(found.T[None], test.tags, judged, settings, layer=layer, metric=self.metric, **about))
        return scores


def unit(features: Features) -> Features:
    """Rows divided by their length and 1e-5 more, as the authors do."""
    return np.asarray(features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-5), np.float32)


def trainable(tags: Tags, recordings: Sequence[str]) -> list[int]:
    """The classes with pictures that show them, and that do not, to train on and to hold out."""
    return [c for c in range(tags.shape[1]) if folds_of(tags[:, c], recordings)]


def judgeable(train: Tags, recordings: Sequence[str], test: Tags) -> tuple[list[int], dict[str, str]]:
    """The classes that can be trained and judged; and why the others cannot, by their number.

    Raises:
        UserError: there is none.
    """
    known = trainable(train, recordings)
    judged = [c for c in known if (test[:, c] == 1).any()]
    if not judged:
        raise UserError(
            f"none of {train.shape[1]} classes has 2 train pictures that show it, 2 that do not, and a test picture that shows "
            "it; an SVM a class needs all three: give more pictures, or data of several classes"
        )
    reasons = {True: "no test picture shows it", False: "fewer than 2 train pictures show it, or do not"}
    return judged, {str(c): reasons[c in known] for c in range(train.shape[1]) if c not in judged}


def folds_of(tags: NDArray[np.int8], recordings: Sequence[str], most: int = FOLDS) -> list[tuple[Rows, Rows]]:
    """Folds of the rows whose tag [N] is 0 or 1, as rows of the whole; those without both kinds on both sides are left out."""
    rows: Rows = np.flatnonzero(tags != -1)
    answers = tags[rows].astype(np.int64)
    if min((answers == 1).sum(), (answers == 0).sum()) < 2:
        return []
    folds, _ = make_folds(answers, [recordings[int(row)] for row in rows], most)
    return [(rows[a], rows[b]) for a, b in folds if all(len(np.unique(answers[side])) == 2 for side in (a, b))]


def problems(features: Matrix, tags: Tags, columns: Sequence[tuple[int, Rows, float]], others: Matrix) -> HingePart:
    """The SVMs of given classes, rows and C, where positives cost twice and -1 costs nothing."""
    classes = [c for c, _, _ in columns]
    targets = np.where(tags[:, classes] == 1, 1, -1).astype(np.int8)
    costs = np.zeros(targets.shape)
    for i, (c, rows, C) in enumerate(columns):
        own = tags[rows, c]
        costs[rows, i] = np.where(own == 1, POSITIVE_COST, 1.0) * (own != -1) * C
    return HingePart(features, targets, costs, others)


def best(strengths: Sequence[float], precisions: Values) -> Chosen:
    """The C of highest precision; the smallest among equals."""
    ranked = sorted(zip(strengths, precisions.tolist(), strict=True))
    return Chosen(*max(ranked, key=lambda pair: pair[1]))


def mean_precision(choices: Mapping[int, Chosen]) -> float:
    """The mean over classes."""
    return float(np.mean([chosen.precision for chosen in choices.values()]))


def judge(scores: Values, tags: Tags, classes: Sequence[int], settings: Mapping[str, Any], **about: Any) -> Score:
    """The row of mean average precision: scores [R, K', n] of R repeats for ``classes`` of tags [n, K]; ``about`` is the rest.

    Replicates are means over repeats and classes; a class of which a resample has no positive is left out of that one.
    """
    draws = resamples(len(tags))
    pairs = [[(own, tags[:, c]) for own, c in zip(repeat, classes, strict=True)] for repeat in scores]
    each = np.array([[average_precision(*pair) for pair in row] for row in pairs])
    drawn = np.nanmean([[resampled_average_precision(*pair, draws) for pair in row] for row in pairs], axis=(0, 1))
    replicates = centred(drawn, float(each.mean()))
    covers = {
        "average_precision": {str(c): float(value) for c, value in zip(classes, each.mean(0), strict=True)},
        "interval": "bootstrap, over test pictures" + (", of the mean over samples" if len(scores) > 1 else ""),
    }
    return Score(
        value=float(each.mean()),
        std=float(each.mean(1).std(ddof=1)) if len(scores) > 1 else None,
        interval=percentiles(replicates.clip(0, 1)),
        n=len(tags),
        settings={**settings, **covers},
        replicates=replicates,
        **about,
    )
