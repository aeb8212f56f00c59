"""Can the motion be read off two frames' features by a line, and how much of it off the first frame alone?

Ridge regression from [z(x), z(x'), z(x') - z(x)] to each axis of the motion between x and x'. Where the road bends, the first
frame alone gives the turn away; what only the pair can know is the difference. Strengths are chosen axis by axis on parts of
the training drives. Legend: n pairs, D dimensions, m axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied_ssl.evaluation.motion.maps import STRENGTHS, Affine, Array, Whole, ridge_path


@dataclass(frozen=True)
class Probe:
    """What was fitted on training pairs: one regression of pairs, one of first frames, and the mean motion [m]."""

    pair: Affine
    first: Affine
    typical: Array

    def errors(self, before: Array, after: Array, motion: Array) -> dict[str, Array]:
        """Errors [n, m] on other pairs: of both frames, of the first alone, and of the mean motion."""
        return {
            "pair": motion - self.pair(both(before, after)),
            "first": motion - self.first(before),
            "typical": motion - self.typical,
        }


def both(before: Array, after: Array) -> Array:
    """What is regressed on: [n, 3 D]. The third part is the difference of the others, which spares it the penalty on two."""
    return np.concatenate([before, after, after - before], 1)


def fit_probe(before: Array, after: Array, motion: Array, folds: Whole) -> Probe:
    """Fit on training pairs.

    Args:
        before, after: z(x) and z(x') [n, D].
        motion: between them [n, m].
        folds: the part of the training drives each pair is from [n].
    """
    return Probe(chosen_ridge(both(before, after), motion, folds), chosen_ridge(before, motion, folds), motion.mean(0))


def chosen_ridge(given: Array, wanted: Array, folds: Whole) -> Affine:
    """Ridge regression [p] to [m], with the strength of each axis that errs least on parts left out in turn."""
    even = np.ones(len(given))
    errors = np.zeros((len(STRENGTHS), wanted.shape[1]))
    for fold in np.unique(folds):
        rest, part = folds != fold, folds == fold
        if rest.any():
            path = ridge_path(given[rest], wanted[rest], even[rest])
            errors += [((wanted[part] - one(given[part])) ** 2).sum(0) for one in path]
    best = errors.argmin(0) if errors.any() else np.full(wanted.shape[1], len(STRENGTHS) // 2)
    path = ridge_path(given, wanted, even)
    axes = range(wanted.shape[1])
    weights = np.stack([path[best[axis]].weights[:, axis] for axis in axes], 1)
    return Affine(weights, np.array([path[best[axis]].offset[axis] for axis in axes]))


def r2(squared: Array, against: Array) -> Array:
    """One minus the share of squared errors left; NaN where there was nothing to explain."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = 1 - squared / np.where(against > 0, against, np.nan)
    return found
