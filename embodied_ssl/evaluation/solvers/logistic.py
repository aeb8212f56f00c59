"""Logistic regression, many problems at once: multinomial, L2-penalised, in plain torch on any device with float64.

A problem is one training part with one C. Its weights w and intercepts b minimise

    C * (sum of cross-entropies) + |w|^2 / 2

on features standardised with that part's own mean and deviation; the intercept is not penalised. That is scikit-learn's
`LogisticRegression(C)` after a `StandardScaler`, and the optimum is the same to any precision.

Why it is quick: features are turned into their principal coordinates, which leaves the penalty as it is and shortens N < D to N.
There the curvature is nearly diagonal and known, and L-BFGS that starts from this diagonal needs a third to an eighth of the
steps. All strengths and parts share the matrix products of a step. No start depends on another fit.
Legend: B parts, n pictures of a part, m pictures to predict, r coordinates, S strengths, K classes; padded rows have weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.solvers.lbfgs import minimise

Matrix = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]

GAP = 1e-3  # relative
AT_ONCE = 1 << 25  # scores (pictures x strengths x classes) in memory together


class Part(NamedTuple):
    """A training part and the pictures whose labels shall be predicted.

    Attributes:
        features: [n, D].
        labels: [n].
        others: [m, D].
    """

    features: Matrix
    labels: Labels
    others: Matrix


class Coordinates(NamedTuple):
    """Features in the principal coordinates of the training part.

    Attributes:
        features: [n, r]; columns are orthogonal.
        energy: the sum of squares of each column [r].
        others: [m, r].
    """

    features: Tensor
    energy: Tensor
    others: Tensor


def standardise(features: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Both less the mean, divided by the deviation, of the first [n, D] and [m, D]; constant columns become 0."""
    mean, std = features.mean(0), features.std(0, correction=0)
    scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), 1 / std, 0)
    return (features - mean) * scale, (others - mean) * scale


def principal(features: Tensor, others: Tensor) -> Coordinates:
    """Turned [n, D] and [m, D]: a linear fit that pays for |w|^2 is the same in these r = min(n, D) coordinates.

    Directions outside the space that the n rows span would only cost.
    """
    if features.shape[0] >= features.shape[1]:
        energy, basis = torch.linalg.eigh(features.T @ features)
        return Coordinates(features @ basis, energy.clamp_min(0), others @ basis)
    energy, side = torch.linalg.eigh(features @ features.T)
    held = energy > 1e-12 * energy[-1]  # what is below is rounding, and would be divided by
    energy, side = energy[held], side[:, held]
    return Coordinates(side * energy.sqrt(), energy, others @ features.T @ (side / energy.sqrt()))


class Fits:
    """Fits of several training parts, solved together for any strengths.

    Args:
        parts: what to train on and what to predict.
        tolerance: a fit ends when no entry of the gradient of its objective, divided by C n, is larger, and the objective is
            at most `GAP` above its optimum. scikit-learn's ``tol`` bounds the same gradient, which has an entry a feature; ours
            has one a principal coordinate. But where C is large and classes are separated, gradients are small far from the
            optimum (on 9,216 features of scenes, 8 points of accuracy from it): hence the second condition.
        device: where to compute; the CPU in place of a device without float64.
    """

    def __init__(self, parts: Sequence[Part], tolerance: float = 1e-4, device: str | torch.device = "cpu") -> None:
        self.tolerance = tolerance
        self.device = with_float64(device)
        self.classes = 1 + max(int(part.labels.max()) for part in parts)
        self.coordinates = [principal(*standardise(self._move(part.features), self._move(part.others))) for part in parts]
        self.labels = [torch.from_numpy(part.labels).to(self.device) for part in parts]

    def _move(self, values: Matrix) -> Tensor:
        return torch.from_numpy(values).to(self.device, torch.float64)

    def predict(self, strengths: Sequence[float]) -> list[Labels]:
        """For each part the labels predicted with each C: [S, m]. A label that a part does not train on is never predicted."""
        longest = max(len(labels) for labels in self.labels)
        together = max(1, AT_ONCE // (longest * self.classes))  # problems
        found = []
        for some in batches(len(self.labels), max(1, together // len(strengths))):
            columns = [self._predict(some, strengths[s]) for s in batches(len(strengths), together)]
            found += [np.concatenate(rows) for rows in zip(*columns, strict=True)]
        return found

    def _predict(self, some: slice, strengths: Sequence[float]) -> list[Labels]:
        parts = self.coordinates[some]
        weights = solve(parts, self.labels[some], strengths, self.classes, self.tolerance)
        answers = []
        for part, labels, own in zip(parts, self.labels[some], weights, strict=True):
            scores = torch.einsum("mr,rsk->smk", part.others, own[1 : 1 + part.others.shape[1]]) + own[0][:, None]
            scores[..., torch.bincount(labels, minlength=self.classes) == 0] = -torch.inf
            answers.append(scores.argmax(2).cpu().numpy())
        return answers


def with_float64(device: str | torch.device) -> torch.device:
    """The device, or the CPU in place of one that has no float64."""
    return torch.device("cpu" if torch.device(device).type == "mps" else device)


def solve(
    parts: Sequence[Coordinates], labels: Sequence[Tensor], strengths: Sequence[float], classes: int, tolerance: float
) -> Tensor:
    """The optima of all parts and strengths: [B, 1 + r, S, K], intercepts first, zeros where a part has fewer coordinates.

    A class that a part has no picture of keeps weights 0: it stands outside the sum over classes.
    """
    return minimise(_Objective(parts, labels, strengths, classes, tolerance))


class _Objective:
    """The mean cross-entropy of each part, with |w|^2 / (2 C n) for each strength C.

    It is linear in the scores of the true classes, so labels come in once, as `true` = inputs^T one-hot / n.
    """

    def __init__(
        self, parts: Sequence[Coordinates], labels: Sequence[Tensor], strengths: Sequence[float], classes: int, tolerance: float
    ) -> None:
        self.tolerance = tolerance
        counts = torch.tensor([len(own) for own in labels]).to(parts[0].features)
        self.inputs = padded([F.pad(part.features, (1, 0), value=1.0) for part in parts])
        self.share = padded([part.features.new_ones(len(own), 1) for part, own in zip(parts, labels, strict=True)])
        self.share = (self.share / counts[:, None, None])[..., None]
        one_hot = padded([F.one_hot(own, classes).to(self.inputs) for own in labels])
        self.true = (self.inputs.mT @ one_hot / counts[:, None, None])[:, :, None]
        self.absent = (one_hot.sum(1) == 0)[:, None, None]
        # Two classes have one difference of weights w: scikit-learn counts |w|^2 / 2, and the halves +w/2, -w/2 only half of it.
        twice = 2 if classes == 2 else 1
        self.penalty = twice / (torch.tensor(strengths).to(counts) * counts[:, None])[:, None, :, None]
        self.penalty = self.penalty * (torch.arange(self.inputs.shape[2]).to(counts) > 0)[:, None, None]
        energy = padded([F.pad(part.energy, (1, 0), value=len(own))[:, None] for part, own in zip(parts, labels, strict=True)])
        # The softmax curves by p (1 - p): as at the start, where all classes are as likely.
        self.curvature = (energy / counts[:, None, None] * (classes - 1) / classes**2)[..., None]

    def start(self) -> Tensor:
        return self.true.new_zeros(*self.penalty.shape[:3], self.true.shape[3])

    def value(self, at: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        scores = (self.inputs @ at.flatten(2)).unflatten(2, at.shape[2:])
        if self.absent.any():
            scores = scores.masked_fill(self.absent, -torch.inf)
        top = scores.amax(3, keepdim=True)
        likely = scores.sub_(top).exp_()
        total = likely.sum(3, keepdim=True)
        pull = self.penalty[:, :, columns] * at
        linear = (at * (pull / 2 - self.true)).sum((1, 3))
        value = ((total.log() + top) * self.share).sum((1, 3)) + linear
        likely.mul_(self.share / total)
        gradient = (self.inputs.mT @ likely.flatten(2)).unflatten(2, at.shape[2:]) + pull - self.true
        return value, gradient

    def inverse_curvature(self, columns: Tensor) -> Tensor:
        return 1 / (self.curvature + self.penalty[:, :, columns]).clamp_min(1e-12)

    def ended(self, value: Tensor, gradient: Tensor, columns: Tensor) -> Tensor:
        # A function that curves by at least c everywhere is at most |gradient|^2 / 2c above its minimum; here c is the penalty.
        gap = gradient.square().sum((1, 3)) / (2 * self.penalty[:, 1, columns, 0])
        return (gradient.abs().amax((1, 3)) <= self.tolerance) & (gap <= GAP * value)


def padded(parts: Sequence[Tensor]) -> Tensor:
    """Stacked, filled with zeros to the largest."""
    rows, width = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
    return torch.stack([F.pad(part, (0, width - part.shape[1], 0, rows - part.shape[0])) for part in parts])
