"""Channels of maps made alike in size and independent, so that gradient descent can use all of them.

A linear head can express neither more nor less after it. On raw channels the rate decides how much of a map is ever used, and
for the first stages of an untrained ResNet no rate was high enough.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.evaluation.pictures import batches

WHITEN_FLOOR = 1e-3


class Whiten(nn.Module):
    """An affine change of channels after which all are of mean 0 and deviation 1, and none says what another says.

    Directions that vary by less than `WHITEN_FLOOR` of the mean direction are not blown up.

    Args:
        mean: [C], subtracted.
        matrix: [C, C], multiplied.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    @classmethod
    def fit(cls, maps: Tensor, rows: NDArray[np.intp]) -> Whiten:
        """From all cells of the maps of some pictures, half or float [N, C, h, w]."""
        channels, count = maps.shape[1], 0
        total, product = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, channels, dtype=torch.float64)
        for some in batches(len(rows), 32):
            values = maps[torch.from_numpy(rows[some])].float().transpose(0, 1).flatten(1)
            total += values.double().sum(1)
            product += (values @ values.T).double()
            count += values.shape[1]
        mean = total / count
        variances, directions = torch.linalg.eigh(product / count - torch.outer(mean, mean))
        variances = variances.clamp(min=0)
        # All channels constant: anything finite will do, as nothing but 0 is multiplied by it.
        scale = (variances + WHITEN_FLOOR * variances.mean().clamp(min=1e-12)).rsqrt()
        return cls(mean.float(), ((directions * scale) @ directions.T).float())

    def forward(self, maps: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same."""
        centred = maps - self.mean[:, None, None]
        return F.conv2d(centred, self.matrix[:, :, None, None])


def whitened(whiten: Whiten, maps: Tensor) -> Tensor:
    """Half [N, C, h, w] to the same, whitened once instead of at every step."""
    with torch.no_grad():
        return torch.cat([whiten(maps[some].float()).half() for some in batches(len(maps), 32)])
