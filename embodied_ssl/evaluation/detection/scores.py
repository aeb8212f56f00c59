"""How right detections are: which of them find an object, and their mean average precision, on the test part and on resamples.

The rule is PASCAL VOC's: in order of score, a detection answers for the object of its class that it overlaps most. Right when
the overlap reaches the threshold and nobody surer found that object; neither right nor wrong when the object is difficult; else
wrong. COCO's rule differs in crowds only: there a detection whose object is taken may turn to its next best.
Legend: n detections, m objects, M pictures, T thresholds, B resamples.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.target import Boxes
from embodied_ssl.evaluation.average_precision import Kind, Values, resampled_average_precision

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))  # 0.5, 0.55, ..., 0.95


class Detections(NamedTuple):
    """What was found in one picture.

    Attributes:
        corners: float32 [n, 4], as in `embodied_ssl.datasets.target.Boxes`.
        labels: int64 [n].
        scores: float32 [n]; higher is surer.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> Values:
    """Shared area over joint area of corners [n, 4] and [m, 4]: [n, m]; 1 for equal boxes, 0 for boxes that only touch.

    Corners are places, not pixel numbers: a box from 0 to 10 is 10 wide (VOC's own program says 11).
    """
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    joint = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    share: Values = np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)
    return share


def match(found: Detections, truth: Boxes, threshold: float) -> NDArray[np.int8]:
    """Of each detection in one picture [n]: 1 right, 0 wrong, -1 neither (its object is difficult)."""
    verdicts = np.zeros(len(found.scores), np.int8)
    shares = np.where(found.labels[:, None] == truth.labels[None], overlap(found.corners, truth.corners), -1.0)
    if not shares.shape[1]:
        return verdicts
    taken: set[int] = set()
    for row in np.argsort(-found.scores, kind="stable"):
        object_ = int(shares[row].argmax())
        if shares[row, object_] < threshold:
            continue
        if truth.difficult[object_]:
            verdicts[row] = -1
        elif object_ not in taken:
            verdicts[row] = 1
            taken.add(object_)
    return verdicts


@dataclass(frozen=True)
class Judged:
    """All detections of a test part, judged at each threshold.

    Attributes:
        labels, scores, pictures: of each detection [n]; ``pictures`` counts from 0.
        verdicts: int8 [T, n], as of `match`.
        objects: how many objects that are not difficult each picture has of each class [M, C].
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    pictures: NDArray[np.intp]
    verdicts: NDArray[np.int8]
    objects: NDArray[np.int64]

    def mean_average_precision(self, draws: NDArray[np.int64] | None = None, kind: Kind = "area") -> Values:
        """For each threshold and resample, the average precision averaged over classes with an object in it: [T, B].

        Args:
            draws: how often each picture is drawn [B, M]; each once when not given.
            kind: of average precision.
        """
        times = np.ones((1, len(self.objects)), np.int64) if draws is None else draws
        totals = times @ self.objects
        values = np.empty((self.objects.shape[1], len(self.verdicts), len(times)))
        for label in range(self.objects.shape[1]):
            rows = np.flatnonzero(self.labels == label)
            for place, verdicts in enumerate(self.verdicts):
                values[label, place] = resampled_average_precision(
                    self.scores[rows], verdicts[rows], times, kind, self.pictures[rows], totals[:, label]
                )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")  # a resample of pictures without any object: NaN
            return np.asarray(np.nanmean(values, axis=0))


def judge(found: Sequence[Detections], truths: Sequence[Boxes], classes: int, thresholds: Sequence[float] = THRESHOLDS) -> Judged:
    """Compare what was found in each picture with what is there."""
    verdicts = [np.stack([match(f, t, threshold) for threshold in thresholds]) for f, t in zip(found, truths, strict=True)]
    return Judged(
        np.concatenate([f.labels for f in found]),
        np.concatenate([f.scores for f in found]),
        np.repeat(np.arange(len(found)), [len(f.scores) for f in found]),
        np.concatenate(verdicts, axis=1),
        np.stack([np.bincount(t.labels[~t.difficult], minlength=classes) for t in truths]),
    )
