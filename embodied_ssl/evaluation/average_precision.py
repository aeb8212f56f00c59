"""Average precision: how well a ranking puts what is right before what is wrong, in the forms that published figures use.

They differ by points on the same scores (1 0 1 1 0 0 1, best first: 0.7679 by area, 0.7695 by 11 points, 0.7470 by steps), so
a figure means something only with its kind. Equal scores are one place in the ranking: the curve has one point for each distinct
score, and the order in which items were given never matters. Legend: n items, M pictures, B resamples.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["area", "11-point", "101-point", "steps"]
Values = NDArray[np.float64]
AT_ONCE = 1 << 22  # resampled items held in memory together


class Curve(NamedTuple):
    """Precision against recall when all items down to a score are accepted; one point a distinct score, highest first.

    Attributes:
        recall: share of the positives that are accepted [k], rising.
        precision: share of the accepted that are positive [k].
        scores: the lowest score accepted [k], falling.
    """

    recall: Values
    precision: Values
    scores: Values


def precision_recall(scores: ArrayLike, positives: ArrayLike, total: int | None = None) -> Curve:
    """The curve behind `average_precision`, with the same arguments; recall is NaN where there is no positive."""
    ranked, right, _ = _rank(scores, positives)
    ends = _ends(ranked)
    weights = np.ones((1, len(right)))
    accepted, found = _accepted(right, weights, ends)
    count = np.asarray([right.sum() if total is None else total], np.float64)
    return Curve(_ratio(found, count[:, None], np.nan)[0], _ratio(found, accepted, 0.0)[0], ranked[ends])


def average_precision(scores: ArrayLike, positives: ArrayLike, kind: Kind = "area", total: int | None = None) -> float:
    """One figure for a ranking: 1 when every positive comes first; NaN when there is no positive.

    - ``area``: under the curve made non-increasing by its maximum to the right (PASCAL VOC from 2010, VISSL's VOC07 SVM).
    - ``11-point``: that maximum at recall 0, 0.1, ..., 1, averaged (PASCAL VOC 2007; detectron2 on VOC07, so MoCo's tables).
    - ``101-point``: the same at 0, 0.01, ..., 1 (COCO).
    - ``steps``: precision itself summed over the steps of recall, no maximum (scikit-learn, and equal to it bit for bit).

    Args:
        scores: of each item [n]; higher is surer.
        positives: [n]: 1 or True for right, 0 or False for wrong; items of -1 are dropped as if never given.
        kind: the form.
        total: how many positives there are, where some were never scored (objects not detected); those given, otherwise.

    Raises:
        ValueError: scores are NaN, lengths differ, ``positives`` holds other values, or ``total`` is less than the positives.
    """
    found = int((np.asarray(positives) == 1).sum())
    if total is not None and total < found:
        raise ValueError(f"{found} positives but a total of {total}; the total counts these and those never scored")
    once = np.ones((1, np.size(np.asarray(scores))), np.int64)
    return float(resampled_average_precision(scores, positives, once, kind, totals=None if total is None else [total])[0])


def resampled_average_precision(
    scores: ArrayLike,
    positives: ArrayLike,
    draws: NDArray[np.int64],
    kind: Kind = "area",
    items: NDArray[np.intp] | None = None,
    totals: ArrayLike | None = None,
) -> Values:
    """`average_precision` on each of B resamples of the pictures: the same as repeating every item as often as it is drawn.

    Args:
        scores, positives: as there [n].
        draws: how often each picture is drawn [B, M], as from `embodied_ssl.evaluation.statistics.resamples`.
        kind: as there.
        items: which picture each score is of [n]; its own one (M = n) when not given.
        totals: how many positives each resample has [B]; those drawn when not given.

    Returns:
        [B]; NaN for a resample without a positive.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"no average precision '{kind}'; choose from {', '.join(get_args(Kind))}")
    ranked, right, order = _rank(scores, positives)
    columns = order if items is None else np.asarray(items)[order]
    ends = _ends(ranked)
    values = np.empty(len(draws))
    step = max(1, AT_ONCE // max(1, len(ranked)))
    for start in range(0, len(draws), step):
        part = slice(start, start + step)
        weights = draws[part][:, columns].astype(np.float64)
        accepted, found = _accepted(right, weights, ends)
        count = weights @ right if totals is None else np.asarray(totals, np.float64)[part]
        recall = _ratio(found, count[:, None], np.nan)
        values[part] = np.where(count > 0, _figure(recall, _ratio(found, accepted, 0.0), kind), np.nan)
    return values


def _rank(scores: ArrayLike, positives: ArrayLike) -> tuple[Values, Values, NDArray[np.intp]]:
    """Scores that count, highest first, whether each is right (1.0 or 0.0), and where it was."""
    given, answers = np.asarray(scores, np.float64), np.asarray(positives)
    if given.ndim != 1 or given.shape != answers.shape:
        raise ValueError(f"scores of shape {given.shape} for answers of shape {answers.shape}; both are [n]")
    if np.isnan(given).any():
        raise ValueError(f"{int(np.isnan(given).sum())} of {len(given)} scores are NaN and have no rank")
    answers = answers.astype(np.int64) if answers.dtype == np.bool_ else answers
    if not np.isin(answers, (-1, 0, 1)).all():
        raise ValueError("answers are 1 (right), 0 (wrong) or -1 (dropped)")
    order = np.argsort(-given, kind="stable")
    order = order[answers[order] != -1]
    return given[order], answers[order].astype(np.float64), order


def _ends(ranked: Values) -> NDArray[np.intp]:
    """The last place of each run of equal scores."""
    return np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])


def _accepted(right: Values, weights: Values, ends: NDArray[np.intp]) -> tuple[Values, Values]:
    """How many items are accepted down to each distinct score, and how many of them are right: [B, k] both."""
    return weights.cumsum(1)[:, ends], (weights * right).cumsum(1)[:, ends]


def _ratio(part: Values, whole: Values, otherwise: float) -> Values:
    """``part / whole``, and ``otherwise`` where the whole is nothing."""
    ratio: Values = np.full(np.broadcast_shapes(part.shape, whole.shape), otherwise)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _figure(recall: Values, precision: Values, kind: Kind) -> Values:
    """The figure of each of B curves [B, k]."""
    if kind in ("11-point", "101-point"):
        return _at_points(recall, np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1], 10 if kind == "11-point" else 100)
    if kind == "area":
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    # Summed from the lowest score upwards, as scikit-learn does: floating-point sums depend on their order.
    falling = np.concatenate([recall[:, ::-1], np.zeros((len(recall), 1))], 1)
    return np.asarray(-np.sum(np.diff(falling, axis=1) * precision[:, ::-1], 1))


def _at_points(recall: Values, envelope: Values, last: int) -> Values:
    """The envelope where recall first reaches 0, 1/last, ..., 1 (0 where it never does), averaged."""
    values = np.zeros((len(recall), last + 1))
    for row, (reached, height) in enumerate(zip(recall, envelope, strict=True)):
        # k / last, not multiples of a rounded step: 3 / 10 found is recall 0.3 exactly.
        first = np.searchsorted(reached, np.arange(last + 1) / last, side="left")
        values[row, first < len(height)] = height[first[first < len(height)]]
    return np.asarray(values.mean(1))
