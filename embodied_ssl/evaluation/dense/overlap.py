"""How well the classes said of pixels lie over the true ones: confusions, and the figures that follow from them.

All figures are taken from sums of confusions, so that those of single pictures can be resampled. Legend: K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied_ssl.datasets.target import IGNORED

Confusion = NDArray[np.int64]  # [..., K, K]: how many pixels of a class (row) were said to be of another (column)


def confusion(truth: NDArray[Any], said: NDArray[Any], classes: int) -> Confusion:
    """How many labelled pixels of each class (row) were said to be of each (column): [K, K]."""
    labelled = truth != IGNORED
    pairs = truth[labelled].astype(np.int64) * classes + said[labelled]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_iou(confusions: ArrayLike) -> NDArray[np.float64]:
    """Each class's right pixels, by those that are of the class or were said to be: [..., K, K] to [..., K].

    NaN for a class that is nowhere in the truth.
    """
    counts = np.asarray(confusions, np.float64)
    right, true, said = counts.diagonal(axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)
    return np.where(true > 0, right / np.maximum(true + said - right, 1), np.nan)


def mean_iou(confusions: ArrayLike) -> NDArray[np.float64]:
    """The mean of `class_iou` over the classes in the truth: [..., K, K] to [...]. 1 when all is right, 0 when nothing is.

    Classes that are nowhere in the truth count only as mistakes for others, so that the same classes are averaged over for
    every network (torchmetrics counts such a class as 0 for a network that names it once). NaN without a labelled pixel.
    """
    each = class_iou(confusions)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(each, -1) / np.isfinite(each).sum(-1))


def pixel_accuracy(confusions: ArrayLike) -> NDArray[np.float64]:
    """The share of labelled pixels that are right: [..., K, K] to [...]. NaN without a labelled pixel."""
    counts = np.asarray(confusions, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(counts.diagonal(axis1=-2, axis2=-1).sum(-1) / counts.sum((-2, -1)))
