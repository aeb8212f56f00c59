"""Several divisions of one data set into train and test: their mean, and an interval that knows they overlap.

The ten splits of SUN397 or 15-Scene share most of their pictures, so that their spread understates how far another division
would fall. Nadeau and Bengio (2003) widen it: variance (1/J + n_test/n_train) s^2 for J divisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from embodied_ssl.datasets.target import Division
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import Estimate

VALUES = "by_division"  # settings: the figure of each division, in order
SIZES = "division_sizes"  # settings: pictures in train and in test


def corrected_t(values: ArrayLike, train: int, test: int, confidence: float = 0.95) -> Estimate:
    """Mean of [J] figures of overlapping divisions with the corrected resampled t interval.

    Half-width t(J-1) s sqrt(1/J + test/train): for J = 10 and as many test as train pictures 3.3 times that of independent
    draws. A single value is its own interval.
    """
    given = np.asarray(values, np.float64)
    mean, count = float(given.mean()), len(given)
    if count < 2:
        return Estimate(mean, mean, mean)
    quantile = float(stats.t.ppf(0.5 + confidence / 2, count - 1))
    half = quantile * float(given.std(ddof=1)) * math.sqrt(1 / count + test / train)
    return Estimate(mean, mean - half, mean + half)


def over_divisions(by_division: Sequence[Sequence[Score]], divisions: Sequence[Division]) -> list[Score]:
    """The rows of one protocol on every division, joined: mean, deviation over divisions, corrected interval.

    Args:
        by_division: for each division its rows, in the same order of figures.
        divisions: the same number of divisions; of one, the rows are returned as they are.
    """
    if len(divisions) == 1:
        return list(by_division[0])
    train, test = len(divisions[0].train), len(divisions[0].test)
    groups: dict[tuple[object, ...], list[Score]] = {}
    for rows in by_division:
        for row in rows:
            key = (row.protocol, row.choice, row.shots, row.metric, row.layer if row.choice == "every" else "")
            groups.setdefault(key, []).append(row)
    return [_join(rows, train, test) for rows in groups.values() if len(rows) == len(divisions)]


def _join(rows: Sequence[Score], train: int, test: int) -> Score:
    values = [row.value for row in rows]
    estimate = corrected_t(values, train, test)
    settings = {
        **rows[0].settings,
        VALUES: values,
        SIZES: [train, test],
        "divisions": len(rows),
        "interval": "corrected resampled t over divisions",
    }
    for own in ("C", "C_at_bound", "tried"):
        settings.pop(own, None)  # each division has its own
    return replace(
        rows[0],
        layer=", ".join(dict.fromkeys(row.layer for row in rows)),
        value=estimate.value,
        std=float(np.std(values, ddof=1)),
        interval=(estimate.low, estimate.high),
        settings=settings,
        hits=None,
        replicates=None,
    )
