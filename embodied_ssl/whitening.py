"""Features along the directions in which they vary most, each made to vary alike: PCA-whitening.

k-means looks at distances, and without this the few strongest directions of a network's features would decide all of them.
For maps of a dense protocol, which keep all their channels, see `embodied_ssl.evaluation.dense.whitening`. Legend: N rows, D
numbers each, d of their principal directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embodied_ssl.errors import UserError

STRETCH = 2**16  # rows at a time
FLOOR = 1e-10  # of the largest variance: what varies less is rounding, and becomes 0 rather than noise of variance 1


def pca_whitening(features: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """The change of coordinates ``(features - mean) @ matrix`` after which the covariance is the identity.

    Args:
        features: float [N, D] on any device; sums are float64.
        components: d, the strongest directions that are kept.

    Returns:
        The mean [D] and the matrix [D, d], in the features' dtype. As scikit-learn's PCA(whiten=True), but for signs; variances
        are over N - 1. A direction in which nothing varies stays 0.

    Raises:
        UserError: d is not at least 1 and at most D and N - 1.
    """
    count, width = features.shape
    if not 1 <= components <= min(width, count - 1):
        raise UserError(
            f"{components} principal components of {count} pictures with {width} features each: give at least 1, at most "
            f"{max(1, min(width, count - 1))} (the features' width, and under the number of pictures)"
        )
    mean = torch.stack([part.double().sum(0) for part in features.split(STRETCH)]).sum(0) / count
    products = features.new_zeros(width, width, dtype=torch.float64)
    for part in features.split(STRETCH):
        centred = part.double() - mean
        products += centred.T @ centred
    variances, directions = torch.linalg.eigh(products / (count - 1))
    variances, directions = variances.flip(0)[:components], directions.flip(1)[:, :components]
    varies = variances > FLOOR * variances[0].clamp_min(torch.finfo(torch.float64).tiny)
    scale = torch.where(varies, variances.clamp_min(torch.finfo(torch.float64).tiny).rsqrt(), 0.0)
    return mean.to(features.dtype), (directions * scale).to(features.dtype)
