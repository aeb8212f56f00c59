"""Is the space of features healthy? Measures that need no labels: collapse, rank, alignment, uniformity, likeness of two spaces.

All take features [N, D] as float arrays and compute in float64. Legend: N examples, D features, A pictures with V views each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]


class Spread(NamedTuple):
    """How unit vectors fill their dimensions.

    Attributes:
        std: mean over dimensions of the deviation of the normalised features.
        healthy: what directions spread evenly would give, 1 / sqrt(D).
        smallest: the least deviation of any dimension; 0 is a dead one.
    """

    std: float
    healthy: float
    smallest: float


def spread(features: ArrayLike) -> Spread:
    """Per-dimension deviation of the unit features; ``std`` is about ``healthy``, or 0 when everything collapsed to a point."""
    z = _unit(features)
    stds = z.std(0)
    return Spread(float(stds.mean()), 1 / float(np.sqrt(z.shape[1])), float(stds.min()))


def rank_me(features: ArrayLike, centre: bool = True) -> float:
    """Effective rank: exp of the entropy of the singular values' shares (RankMe, Garrido et al. 2023).

    D for orthonormal columns, 1 for one direction. ``centre`` subtracts the mean first, unlike the paper: a common offset is one
    large singular value and would hide all others (iid features with mean 50: 3.9 of 128). Needs N well above D.
    """
    z = _rows(features)
    return _entropy_rank(np.linalg.svd(z - z.mean(0) if centre else z, compute_uv=False))


def _entropy_rank(values: NDArray[Any]) -> float:
    """How many values share the sum, by the exp of their shares' entropy; 1e-7 is added to each as in the paper."""
    if not values.any():
        return 1.0  # a single point: no directions at all, counted as one
    shares = values / values.sum() + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def lidar(views: ArrayLike, delta: float = 1e-4) -> float:
    """Effective rank of what tells pictures apart in units of what views change (LiDAR, Thilak et al. 2023).

    Pictures are the classes of a linear discriminant and their views the members; the shares of the eigenvalues of
    Sw^-1/2 Sb Sw^-1/2 have an entropy, whose exp this is. k when pictures differ alike in k directions and views leave those
    alone. The mean of V views keeps 1 / V of what views change: the share of a direction with variance b between pictures and
    w within is as b / w + 1 / V, so that features of noise alone give D, and V should not be small. It is at most A - 1.

    Args:
        views: features [A, V, D] of V augmented views of each of A pictures.
        delta: added to the diagonal of Sw, as a share of its mean. The paper adds 1e-4 itself, which makes the figure depend on
            the scale of the features.

    Raises:
        ValueError: not [A, V, D] with at least 2 pictures of at least 2 views.
    """
    z = np.asarray(views, np.float64)
    if z.ndim != 3 or z.shape[0] < 2 or z.shape[1] < 2 or z.shape[2] < 1:
        raise ValueError(f"views are [A, V, D] with A and V at least 2, not {list(z.shape)}")
    pictures, count, width = z.shape
    means = z.mean(1)
    between = means - means.mean(0)
    within = (z - means[:, None]).reshape(-1, width)
    sw = within.T @ within / (pictures * count)
    sw[np.diag_indices(width)] += delta * (np.trace(sw) / width or 1.0)  # views that change nothing: plain effective rank
    scale, axes = np.linalg.eigh(sw)
    whitened = between @ axes / np.sqrt(scale)
    return _entropy_rank(np.linalg.svd(whitened, compute_uv=False) ** 2)


def alignment(first: ArrayLike, second: ArrayLike) -> float:
    """Mean squared distance of the unit features of two views (Wang and Isola 2020): 0 if identical, about 2 if unrelated."""
    return float(((_unit(first) - _unit(second)) ** 2).sum(1).mean())


def uniformity(features: ArrayLike, sharpness: float = 2.0) -> float:
    """Log of the mean over pairs of exp(-``sharpness`` * squared distance) of unit features (Wang and Isola 2020).

    0 when all collapsed to a point; on a uniform sphere -1.575 for D = 2, -3.875 for 64, towards -4.
    """
    z = _unit(features)
    n = len(z)
    if n < 2:
        raise ValueError(f"uniformity is over pairs; {n} example has none")
    total = 0.0
    norms = (z * z).sum(1)  # 1, but 0 for features that are all 0, which have no direction and are one point
    for start in range(0, n, 1024):
        some = slice(start, start + 1024)
        squared = np.maximum(norms[some, None] + norms - 2 * z[some] @ z.T, 0)
        total += float(np.exp(-sharpness * squared).sum())
    return float(np.log((total - n) / (n * (n - 1))))  # every example is at distance 0 from itself


def cka(first: ArrayLike, second: ArrayLike, unbiased: bool = True) -> float:
    """Linear centred kernel alignment: 1 when one space is the other turned and scaled, about 0 for unrelated spaces.

    The biased form (Kornblith et al. 2019) reads D / (N + D) for unrelated features; the unbiased one (HSIC_1, Song et al. 2012)
    about 0, and may be slightly negative. Memory grows with N squared.
    """
    return float(cka_matrix([first], [second], unbiased)[0, 0])


def cka_matrix(first: Sequence[ArrayLike], second: Sequence[ArrayLike], unbiased: bool = True) -> Rows:
    """`cka` of every space of one network (rows) with every space of another (columns), for the same examples: float64 [m, n]."""
    grams = [[_gram(_rows(part), unbiased) for part in parts] for parts in (first, second)]
    sizes = sorted({len(gram) for side in grams for gram in side})
    if len(sizes) > 1:
        raise ValueError(f"cka compares the same examples in two spaces; got {' and '.join(map(str, sizes))} examples")
    norms = [[_hsic(gram, gram, unbiased) for gram in side] for side in grams]
    scales = np.sqrt(np.outer(np.maximum(norms[0], 0), np.maximum(norms[1], 0)))  # 0 for a collapsed space
    products = np.array([[_hsic(k, m, unbiased) for m in grams[1]] for k in grams[0]])
    matrix: Rows = np.divide(products, scales, out=np.zeros_like(products), where=scales > 0)
    return matrix


def _gram(rows: Rows, unbiased: bool) -> Rows:
    # Centring changes no estimator, but keeps a large common offset from eating the digits.
    rows = rows - rows.mean(0)
    gram = rows @ rows.T
    if unbiased:
        if len(gram) < 4:
            raise ValueError(f"unbiased cka needs at least 4 examples, not {len(gram)}")
        np.fill_diagonal(gram, 0)
    return gram


def _hsic(k: Rows, m: Rows, unbiased: bool) -> float:
    if not unbiased:
        return float((k * m).sum())
    n = len(k)
    sums = k.sum(0) @ m.sum(0)
    return float(((k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * sums / (n - 2)) / (n * (n - 3)))


def _rows(features: ArrayLike) -> Rows:
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"features are [N, D] with N and D at least 1, not {list(rows.shape)}")
    return rows


def _unit(features: ArrayLike) -> Rows:
    rows = _rows(features)
    unit: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
