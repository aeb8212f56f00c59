"""One linear SVM a class from a few positives: the low-shot VOC07 protocol of Goyal et al. 2019.

Of each class k pictures that show it and (K - 1) k that do not are drawn, five times; SVMs as in `svm`, one C for all classes and
samples of a k. The authors take the C that is best on the test part. Ours is chosen on folds inside the samples; k = 1 cannot be
divided and takes the next k's. Tags of -1 are never drawn. Legend: N pictures, K classes, n pictures of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.average_precision import average_precision
from embodied_ssl.evaluation.features import FeatureTable, Pooling
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.svm import (
    FOLDS,
    Rows,
    Tags,
    Values,
    VocSvm,
    best,
    folds_of,
    judge,
    judgeable,
    problems,
    unit,
)
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.solvers.hinge import HingePart, decision_values, row_space
from embodied_ssl.keys import generator

SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
AT_ONCE = 1 << 24  # feature values, in principal coordinates, of the samples that are fitted together


class Sample(NamedTuple):
    """Some rows of the train part for one class."""

    label: int
    rows: Rows


def draw(tags: Tags, label: int, k: int, number: int) -> Sample:
    """``k`` rows of tag 1 and (K - 1) k of tag 0 of tags [N, K], or all there are; larger draws contain smaller ones."""
    rows = []
    for tag, count in ((1, k), (0, (tags.shape[1] - 1) * k)):
        members = np.flatnonzero(tags[:, label] == tag)
        order = generator("low-shot-svm", number, label, tag).permutation(len(members))
        rows.append(members[order[:count]])
    return Sample(label, np.sort(np.concatenate(rows)))


@dataclass(frozen=True)
class LowShotSvm(OnFeatures):
    """The low-shot SVM protocol.

    Args:
        svm: chooses the best layer (on the whole train part), and has the C to choose from.
        shots: pictures that show a class; a class with fewer is left out of that k, and a k that no class has altogether.
        samples: repeats.
    """

    name: ClassVar[str] = "low-shot-svm"
    needs: ClassVar[str] = "tags"
    metric: ClassVar[str] = "mAP"
    cost: ClassVar[float] = 150.0
    pooling: ClassVar[Pooling] = "grid"
    svm: VocSvm = field(default_factory=VocSvm)
    shots: tuple[int, ...] = SHOTS
    samples: int = 5

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.shots or min(self.shots) < 1:
            raise UserError(f"{self.name} was given shots {self.shots} and {self.samples} samples; all need to be at least 1")

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Mean average precision on the test part for each k, of the best and the last layer.

        Raises:
            UserError: no class can be both trained and judged, or none has as many pictures as the smallest k.
        """
        assert train.tags is not None
        assert test.tags is not None
        judged, left_out = judgeable(train.tags, train.recordings, test.tags)
        having = {k: [c for c in judged if (train.tags[:, c] == 1).sum() >= k] for k in sorted(set(self.shots))}
        having = {k: classes for k, classes in having.items() if classes}
        if not having:
            raise UserError(f"no class has {min(self.shots)} train pictures that show it; give fewer shots than {self.shots}")
        scores = []
        done: dict[str, dict[int, tuple[float, Values]]] = {}
        about: dict[str, Any] = {"model": train.model, "role": "run", "dataset": "", "protocol": self.name, "metric": self.metric}
        for how, layer in (("best", self.svm.best_layer(train)), ("last", train.last)):
            if layer not in done:
                features, others = row_space(unit(train.features[layer]), unit(test.features[layer]))
                chosen = self.choices(train, features, having)
                done[layer] = {k: (chosen[k], self._scores(train, features, others, having[k], k, chosen[k])) for k in having}
            for k, classes in having.items():
                C, found = done[layer][k]
                few = {str(c): f"fewer than {k} train pictures show it" for c in judged if c not in classes}
                settings = {"choice": how, "C": C, "samples": self.samples, "classes": len(classes), "kind": "area"}
                settings |= {"classes_left_out": {**left_out, **few}, "shots_left_out": sorted(set(self.shots) - set(having))}
                scores.append(judge(found, test.tags, classes, settings, layer=layer, shots=k, **about))
        return scores

    def choices(self, train: FeatureTable, features: Values, having: Mapping[int, Sequence[int]]) -> dict[int, float]:
        """C for each k of ``having`` (which names its classes), on features [N, r]; k = 1 takes the next k's, or 2's."""
        found = {k: self._choose(train, features, classes, k) for k, classes in having.items() if k >= 2}
        if 1 in having:
            found[1] = found[min(found)] if found else self._choose(train, features, having[1], 2)
        return found

    def _choose(self, train: FeatureTable, features: Values, classes: Sequence[int], k: int) -> float:
        assert train.tags is not None
        strengths = self.svm.strengths
        parts, answers = [], []
        for sample in self._samples(train.tags, classes, k, min(self.samples, max(2, 32 // k))):  # large ones vary little
            own, tags = features[sample.rows], train.tags[sample.rows]
            folds = folds_of(tags[:, sample.label], [train.recordings[row] for row in sample.rows], min(FOLDS, k))
            if folds:
                parts.append(problems(own, tags, [(sample.label, inner, C) for inner, _ in folds for C in strengths], own))
                answers.append((tags[:, sample.label], folds))
        if not parts:
            raise UserError(f"no sample of {k} positives can be divided without dividing a recording; give more shots")
        each = []
        for found, (truth, folds) in zip(_solved(parts, train.device), answers, strict=True):
            scores = iter(found.T)
            each += [[average_precision(next(scores)[held], truth[held]) for _ in strengths] for _, held in folds]
        return best(strengths, np.mean(each, axis=0)).C

    def _scores(self, train: FeatureTable, features: Values, others: Values, classes: Sequence[int], k: int, C: float) -> Values:
        """Of every sample, class and test picture: [R, K', n]."""
        assert train.tags is not None
        parts = []
        for label, rows in self._samples(train.tags, classes, k, self.samples):
            parts.append(problems(features[rows], train.tags[rows], [(label, np.arange(len(rows)), C)], others))
        return np.stack([found[:, 0] for found in _solved(parts, train.device)]).reshape(self.samples, len(classes), -1)

    def _samples(self, tags: Tags, classes: Sequence[int], k: int, count: int) -> list[Sample]:
        """All classes of the first sample, then of the second, ..."""
        return [draw(tags, label, k, number) for number in range(count) for label in classes]


def _solved(parts: Sequence[HingePart], device: str) -> Iterator[Values]:
    """The decision values of each part; as many are fitted together as memory allows."""
    longest = max(len(part.features) for part in parts)
    for some in batches(len(parts), max(1, AT_ONCE // longest**2)):
        yield from decision_values(parts[some], device=device)
