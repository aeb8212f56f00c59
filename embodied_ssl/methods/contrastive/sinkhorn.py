"""Sinkhorn codes: pictures given to prototypes so that every prototype gets as much as any other.

Without that condition the easiest answer would be one prototype for everything. The soft assignment that follows the scores best
and still shares the prototypes out evenly is the solution of an optimal transport problem, and rows and columns of a matrix
scaled in turn lead to it (Cuturi 2013, arXiv:1306.0895). Caron et al. 2020 (SwAV), arXiv:2006.09882, section 3.1, make codes so.

Scaled in logarithms: exp(1 / 0.05) is 4.9e8, beyond half precision, and a small ``epsilon`` would leave single precision too.
Legend: B pictures, K prototypes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embodied_ssl.losses import precise


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes of a batch: exp(scores / epsilon), its columns and then its rows made even, in turn.

    The columns' sums are B / K in the limit only. SwAV stops after 3 rounds, when they can still be far from it.

    Args:
        scores: [B, K], of one kind of picture; half precision is taken as float32.
        epsilon: above 0; the smaller, the harder the codes.
        iterations: at least 1.

    Returns:
        Float32 or float64 [B, K], without gradient. Every row sums to 1; everything is 1 / K when all look alike.
    """
    logs = precise(scores) / epsilon
    even = math.log(len(scores) / scores.shape[1])
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0, keepdim=True) + even
        logs = logs.log_softmax(1)
    return logs.exp()
