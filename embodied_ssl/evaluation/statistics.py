"""How sure a figure is: intervals for one accuracy, for the difference of two models on the same items, and over seeds.

All intervals are 95 % unless said otherwise. Legend: R repeats (draws or seeds), n test items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from embodied_ssl.keys import generator

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a share: good for small n and near 0 and 1.

    10 of 20 gives [0.299, 0.701]; 0 of 10 gives [0, 0.278].
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} hits of {n}: need 0 <= hits <= n and n >= 1")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is exact, but rounding would leave 1e-17 on the wrong side.
    return Estimate(share, 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, Estimate]:
    """Mean, sample deviation and Student's interval over seeds: half-width 2.484 s for n = 3, 1.242 s for 5.

    A single value has no spread: deviation 0 and an interval that is the value.
    """
    given = np.asarray(values, np.float64)
    mean = float(given.mean())
    if len(given) < 2:
        return mean, 0.0, Estimate(mean, mean, mean)
    std = float(given.std(ddof=1))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(given) - 1)) * std / math.sqrt(len(given))
    return mean, std, Estimate(mean, mean - half, mean + half)


def seed_reach(values: Sequence[float], confidence: float = 0.95) -> float:
    """How far from the mean of these seeds one more seed may fall: Student's prediction half-width, 4.968 s for n = 3.

    0 for a single value, of which nothing is known.
    """
    _, std, _ = t_interval(values)
    n = len(values)
    return 0.0 if n < 2 else float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * std * math.sqrt(1 + 1 / n)


def bootstrap(values: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES) -> Estimate:
    """The mean of [n], or of [R, n], with its percentile interval; items are resampled, and repeats too where R > 1.

    For a paired difference of two models, give their hits subtracted item by item. The resamples are always the same.
    """
    given = np.atleast_2d(np.asarray(values, np.float64))
    repeats, n = given.shape
    rng = generator("bootstrap", repeats, n)
    means = np.empty(resamples)
    for start in range(0, resamples, 250):  # a few MB at a time
        count = min(250, resamples - start)
        items = rng.multinomial(n, np.full(n, 1 / n), size=count)
        rows = rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=count)
        means[start : start + count] = ((items @ given.T) * rows).sum(1) / (n * repeats)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(float(given.mean()), float(low), float(high))


def resamples(n: int, count: int = 500) -> NDArray[np.int64]:
    """How often each of n items is drawn in each bootstrap resample: int64 [count, n], rows sum to n; always the same."""
    return generator("resamples", n).multinomial(n, np.full(n, 1 / n), size=count)


def percentiles(replicates: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a figure's values on resamples [B]; NaN replicates (no positive drawn) are left out."""
    low, high = np.nanquantile(np.asarray(replicates, np.float64), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def centred(replicates: ArrayLike, value: float) -> NDArray[np.float64]:
    """Replicates [B] moved so that their mean is the figure itself, NaN left as it is.

    Mean AP and NMI are higher on resamples than on the items, because an item drawn twice agrees with itself.
    """
    given = np.asarray(replicates, np.float64)
    return np.asarray(given - np.nanmean(given) + value)


def paired_difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES) -> Estimate:
    """First less second, resampled together: hits [n] or [R, n] of two models on the same items (and the same draws).

    Raises:
        ValueError: the shapes differ, so the items cannot be the same.
    """
    a, b = np.atleast_2d(np.asarray(first, np.float64)), np.atleast_2d(np.asarray(second, np.float64))
    if a.shape != b.shape:
        raise ValueError(f"hits of shape {a.shape} and {b.shape} cannot be paired item by item")
    return bootstrap(a - b, confidence, resamples)


def mean_per_class(hits: ArrayLike, labels: NDArray[np.int64]) -> float:
    """The mean over classes of each class's accuracy; hits [n] or [R, n]."""
    shares = np.atleast_2d(np.asarray(hits, np.float64)).mean(0)
    return float(np.mean([shares[labels == label].mean() for label in np.unique(labels)]))


def per_class_replicates(hits: ArrayLike, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """`mean_per_class` on each of the `resamples` of the n items [B]; of a class that was not drawn, nothing is known.

    Where all hits are equal, every replicate is that value.
    """
    shares = np.atleast_2d(np.asarray(hits, np.float64)).mean(0)
    times = resamples(len(labels)).astype(np.float64)
    classes = np.eye(int(labels.max()) + 1)[labels][:, np.unique(labels)]
    drawn = times @ classes
    right = times @ (classes * shares[:, None])
    return np.asarray(np.nanmean(np.where(drawn > 0, right / np.maximum(drawn, 1), np.nan), axis=1), np.float64)
