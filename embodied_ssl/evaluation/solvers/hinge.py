"""Linear support vector machines, many at once: squared hinge and L2 penalty, in plain torch on any device with float64.

The objective is that of liblinear's primal problem (scikit-learn's `LinearSVC`), whose intercept is a weight like all others:

    (|w|^2 + b^2) / 2 + sum_i c_i max(0, 1 - t_i (w x_i + b))^2        t_i = +1 or -1, c_i >= 0

It is smooth, so that the optimum is found without liblinear's random order, and for all classes, folds and C together.
Legend: B parts, n pictures of a part, m pictures to be scored, D features, r coordinates, S problems of each part.
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
from embodied_ssl.evaluation.solvers.logistic import Matrix, padded, principal, with_float64

AT_ONCE = 1 << 24  # scores (pictures x problems) in memory together
Values = NDArray[np.float64]


class HingePart(NamedTuple):
    """The problems on one set of pictures.

    Attributes:
        features: [n, D].
        targets: +1 or -1 for each picture and problem [n, S].
        costs: what a picture's errors cost in each problem [n, S]; 0 leaves it out.
        others: [m, D], to be scored.
    """

    features: Matrix
    targets: NDArray[np.int8]
    costs: Values
    others: Matrix


def decision_values(parts: Sequence[HingePart], gap: float = 1e-10, device: str | torch.device = "cpu") -> list[Values]:
    """Scores of each part's others by each of its problems [m, S]; above 0 is a positive.

    Args:
        parts: solved together, so that all take the memory of the largest.
        gap: a fit ends when its objective is at most this share above its optimum; small, because it is the order of scores that
            counts, and with a small C they differ little.
        device: where to compute; the CPU in place of a device without float64.
    """
    device = with_float64(device)

    def move(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(device, torch.float64)

    moved = [_shortened(move(part.features), move(part.others)) for part in parts]
    inputs = padded([F.pad(own, (1, 0), value=1.0) for own, _ in moved])
    targets, costs = padded([move(part.targets) for part in parts]), padded([move(part.costs) for part in parts])
    together = batches(targets.shape[2], max(1, AT_ONCE // inputs[..., 0].numel()))
    weights = [minimise(_Objective(inputs, targets[:, :, some], costs[:, :, some], gap))[..., 0] for some in together]
    found = []
    for part, (_, others), own in zip(parts, moved, torch.cat(weights, 2), strict=True):
        own = own[: 1 + others.shape[1], : part.targets.shape[1]]
        found.append((others @ own[1:] + own[0]).cpu().numpy())
    return found


def row_space(features: Matrix, others: Matrix) -> tuple[Values, Values]:
    """[n, D] and [m, D] in the r = min(n, D) coordinates that matter to fits on any of the n rows: for many parts of one set."""
    found = principal(torch.from_numpy(features).double(), torch.from_numpy(others).double())
    return found.features.numpy(), found.others.numpy()


def _shortened(features: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """In the space of the rows, where that makes them much shorter."""
    if 2 * features.shape[0] >= features.shape[1]:
        return features, others
    found = principal(features, others)
    return found.features, found.others


class _Objective:
    """The objectives above for inputs [B, n, 1 + r] (ones first), targets and costs [B, n, S]; variables are [B, 1 + r, S, 1]."""

    def __init__(self, inputs: Tensor, targets: Tensor, costs: Tensor, gap: float) -> None:
        self.inputs, self.targets, self.costs, self.gap = inputs, targets, costs, gap
        # At the start all pictures are within the margin and curve.
        self.curvature = (1 + 2 * inputs.square().mT @ costs)[..., None]

    def start(self) -> Tensor:
        return torch.zeros_like(self.curvature)

    def value(self, at: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        targets, costs = self.targets[:, :, columns], self.costs[:, :, columns]
        short = (1 - targets * (self.inputs @ at[..., 0])).clamp_min(0)
        pull = costs * short
        value = (pull * short).sum(1) + at.square().sum((1, 3)) / 2
        return value, at - 2 * (self.inputs.mT @ (pull * targets))[..., None]

    def inverse_curvature(self, columns: Tensor) -> Tensor:
        return 1 / self.curvature[:, :, columns]

    def ended(self, value: Tensor, gradient: Tensor, columns: Tensor) -> Tensor:
        # The penalty alone curves by 1 in every direction, so the minimum is at most |gradient|^2 / 2 below.
        return gradient.square().sum((1, 3)) / 2 <= self.gap * value
