"""One linear map for each motion pattern, fitted anew to the features of any network: what becomes of z(x) when the camera moves.

Features are standardised and turned into their D leading principal components, so that networks of any width are compared in
spaces of one size. In such a space the map of pattern g is fitted in two steps, both least squares with a ridge penalty: one
affine map shared by all patterns, which may keep a view as it is and fade what is not kept, and then what pattern g adds to it.
Shrinking towards the shared map instead of towards nothing changes nothing where pairs are plenty (a strength of zero gives
each pattern's own least squares), and makes no difference up between patterns where they are few: as with a prior, a pattern
of a tenth of the pairs is shrunk ten times as much.

Jayaraman and Grauman 2015, arXiv:1505.02206, section 4, fit plain least squares without an offset. Legend: n pairs, D
dimensions, G patterns, K folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied_ssl.errors import UserError

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

STRENGTHS = tuple(10.0**power for power in range(-8, 5))  # in units of the mean variance of what is regressed on
FLAT = 1e-6  # a dimension that deviates by a smaller share of the greatest deviation is constant


@dataclass(frozen=True)
class Space:
    """Where maps act.

    Attributes:
        mean: of the features [F].
        axes: what centred features are multiplied by [F, D]: one over their deviations, then the principal directions.
        explained: the share of the standardised features' variance that the D dimensions hold.
    """

    mean: Array
    axes: Array
    explained: float

    def of(self, features: ArrayLike) -> Array:
        """Features [n, F] in this space: float64 [n, D]."""
        found: Array = (np.asarray(features, np.float64) - self.mean) @ self.axes
        return found


def find_space(features: ArrayLike, dimensions: int) -> Space:
    """Standardise and reduce to at most so many dimensions, by what these frames show.

    Args:
        features: of training frames [n, F].
        dimensions: D at most; fewer where the features have fewer, constant ones not counted.

    Raises:
        UserError: all features are constant: the network has collapsed.
    """
    given = np.asarray(features, np.float64)
    mean, deviation = given.mean(0), given.std(0)
    varies = deviation > FLAT * max(float(deviation.max()), float(np.abs(mean).max()))
    if not varies.any():
        raise UserError("the features are the same for every frame: the network has collapsed, and no map can be fitted")
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    standard = (given - mean) * scale
    values, vectors = np.linalg.eigh(standard.T @ standard / len(given))
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    kept = min(dimensions, int((values > 1e-10 * values[0]).sum()))
    return Space(mean, scale[:, None] * vectors[:, :kept], float(values[:kept].sum() / values.sum()))


@dataclass(frozen=True)
class Affine:
    """z -> z W + b, with W [p, q] and b [q]."""

    weights: Array
    offset: Array

    def __call__(self, given: Array) -> Array:
        moved: Array = given @ self.weights + self.offset
        return moved


def ridge_path(given: Array, wanted: Array, weights: Array, strengths: Sequence[float] = STRENGTHS) -> list[Affine]:
    """Least squares with a penalty on the slopes (not on the offset), for every strength; one decomposition serves all.

    Args:
        given: regressed on [n, p].
        wanted: regressed [n, q].
        weights: of the rows [n], of any sum above 0.
        strengths: in units of the mean variance of ``given``'s columns, so that neither scale nor n matters.
    """
    share = weights / weights.sum()
    x_mean, y_mean = share @ given, share @ wanted
    x, y = given - x_mean, wanted - y_mean
    values, vectors = np.linalg.eigh((x * share[:, None]).T @ x)
    values = values.clip(min=0)
    turned = vectors.T @ ((x * share[:, None]).T @ y)
    unit = float(values.mean()) or 1.0
    found = []
    for strength in strengths:
        slopes = vectors @ (turned / (values + strength * unit)[:, None])
        found.append(Affine(slopes, y_mean - x_mean @ slopes))
    return found


@dataclass(frozen=True)
class Maps:
    """What was fitted on training pairs.

    Attributes:
        shared: z(x) to the displacement z(gx) - z(x), for all patterns alike.
        own: what each pattern adds to that [G].
        shifts: what each adds where it may add a constant only [G, D].
        typical: the mean displacement [D].
        view: the mean view after moving [D].
        views: the mean view after moving as each pattern says [G, D].
        strengths: chosen for the shared map and for what the patterns add.
        pairs: each pattern was fitted on [G].
    """

    shared: Affine
    own: tuple[Affine, ...]
    shifts: Array
    typical: Array
    view: Array
    views: Array
    strengths: tuple[float, float]
    pairs: tuple[int, ...]

    def move(self, before: Array) -> Array:
        """M_g z(x) for every pattern: [n, D] to [n, G, D]."""
        common = before + self.shared(before)
        return np.stack([common + one(before) for one in self.own], 1)


def fit_maps(before: Array, after: Array, pattern: Whole, folds: Whole, patterns: int) -> Maps:
    """Fit on training pairs; every pattern counts as much as any other, however many pairs it has.

    Args:
        before, after: z(x) and z(gx) [n, D].
        pattern: of each pair, 0..G-1 [n].
        folds: 0..K-1, the part of the training drives each pair is from [n]; strengths are chosen on parts left out in turn.
        patterns: G; each needs at least one pair.
    """
    counts = np.bincount(pattern, minlength=patterns)
    usual = len(pattern) / patterns
    weights = (1 / counts.clip(min=1))[pattern]
    moved = after - before
    inside = [(folds != fold, folds == fold) for fold in np.unique(folds)]
    paths = [ridge_path(before[rest], moved[rest], weights[rest]) for rest, _ in inside if rest.any()]
    parts = [(rest, part) for rest, part in inside if rest.any()]
    first = _best(
        [
            [_error(moved[part] - one(before[part]), weights[part]) for one in path]
            for path, (_, part) in zip(paths, parts, strict=True)
        ]
    )
    errors = []
    for path, (rest, part) in zip(paths, parts, strict=True):
        left = moved - path[first](before)
        errors.append(_errors_of_own(before, left, pattern, weights, (rest, part), usual))
    second = _best(errors)
    shared = ridge_path(before, moved, weights, STRENGTHS[first : first + 1])[0]
    left = moved - shared(before)
    chosen = [pattern == g for g in range(patterns)]
    own = tuple(
        ridge_path(before[rows], left[rows], weights[rows], [STRENGTHS[second] * usual / rows.sum()])[0] for rows in chosen
    )
    return Maps(
        shared,
        own,
        np.stack([left[rows].mean(0) for rows in chosen]),
        np.average(moved, 0, weights),
        np.average(after, 0, weights),
        np.stack([after[rows].mean(0) for rows in chosen]),
        (STRENGTHS[first], STRENGTHS[second]),
        tuple(counts.tolist()),
    )


def _errors_of_own(
    before: Array, left: Array, pattern: Whole, weights: Array, rows: tuple[NDArray[np.bool_], NDArray[np.bool_]], usual: float
) -> list[float]:
    """What remains on the second rows, for every strength, after maps were fitted on the first to what the shared map leaves.

    Strengths are those of a pattern of the ``usual`` number of pairs.
    """
    rest, part = rows
    errors = np.zeros(len(STRENGTHS))
    for g in np.unique(pattern[part]):
        learn, test = rest & (pattern == g), part & (pattern == g)
        if not learn.any():
            errors += _error(left[test], weights[test])
            continue
        path = ridge_path(before[learn], left[learn], weights[learn], [one * usual / learn.sum() for one in STRENGTHS])
        errors += [_error(left[test] - one(before[test]), weights[test]) for one in path]
    return errors.tolist()


def _error(residual: Array, weights: Array) -> float:
    return float(weights @ (residual**2).sum(1))


def _best(errors: Sequence[Sequence[float]]) -> int:
    """The position of the strength of least error over all parts; a strength in the middle where there were no parts."""
    return int(np.sum(errors, axis=0).argmin()) if errors else len(STRENGTHS) // 2


def fold_of(recordings: Sequence[str], blocks: Sequence[str], most: int = 5) -> Whole:
    """Parts of about equal size to choose a strength on, 0..K-1 [n]: of whole recordings, or of blocks where there is but one."""
    units = recordings if len(set(recordings)) > 1 else blocks
    return dealt(units, most)


def dealt(units: Sequence[str], parts: int) -> Whole:
    """Deal units to at most so many parts, the largest first and each to the part that has least: part of every row [n]."""
    names, places, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    load = np.zeros(max(1, min(parts, len(names))))
    part = np.zeros(len(names), np.int64)
    for unit in np.argsort(-sizes, kind="stable"):
        part[unit] = load.argmin()
        load[part[unit]] += sizes[unit]
    found: Whole = part[places]
    return found
