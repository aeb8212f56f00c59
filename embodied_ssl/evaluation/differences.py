"""Models against each other: rows of one protocol paired picture by picture, resample by resample, or division by division.

What pairs depends on the figure. Shares of right answers pair by picture; figures that are no mean over pictures (mean AP,
mean IoU) by the same resamples; figures over several divisions by division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embodied_ssl.evaluation.divisions import SIZES, VALUES, corrected_t
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import Estimate, paired_difference, percentiles, seed_reach, t_interval

Slot = tuple[str, str, int | None, str]


def difference(first: Score, others: Sequence[Score]) -> tuple[Estimate, str] | None:
    """A figure less the mean of others of its slot, with a paired interval, and what the interval is over.

    None where nothing pairs: the rows were read from a file, or the figure has neither hits nor resamples.
    """
    value = first.value - float(np.mean([other.value for other in others]))
    if VALUES in first.settings and all(VALUES in other.settings for other in others):
        series = np.asarray(first.settings[VALUES]) - np.mean([other.settings[VALUES] for other in others], axis=0)
        return corrected_t(series, *first.settings[SIZES]), "corrected resampled t over divisions, paired"
    hits = [other.hits for other in others if other.hits is not None]
    if first.hits is not None and len(hits) == len(others):
        estimate = paired_difference(first.hits, np.mean(hits, axis=0))
        return estimate, "paired bootstrap over test pictures" + (" and draws" if len(first.hits) > 1 else "")
    resampled = [other.replicates for other in others if other.replicates is not None]
    if first.replicates is not None and len(resampled) == len(others):
        low, high = percentiles(first.replicates - np.mean(resampled, axis=0))
        return Estimate(value, low, high), "paired bootstrap over test pictures"
    return None


def minus_random(scores: Sequence[Score], baselines: Mapping[str, str]) -> list[Score]:
    """For each main figure of a model, the same less the mean of its untrained networks, paired.

    The interval is over test pictures (draws, divisions); it does not contain what another pretraining seed would change. How
    far one more untrained seed may fall from the mean is beside it, in ``settings["seed_reach"]``.

    Args:
        scores: rows of one call.
        baselines: model -> the name of its untrained networks.
    """
    rows = []
    for score in scores:
        if score.model not in baselines or not score.main:
            continue
        others = [
            other
            for other in scores
            if other.model == baselines[score.model] and other.pretrain_seed is not None and slot(other) == slot(score)
        ]
        found = difference(score, others) if others else None
        if found:
            estimate, covers = found
            settings = {**score.settings, "against": baselines[score.model], "seeds": len(others), "interval": covers}
            settings["seed_reach"] = seed_reach([other.value for other in others])
            rows.append(difference_row(score, "minus_random", estimate, settings))
    return rows


def difference_row(score: Score, metric: str, estimate: Estimate, settings: dict[str, Any]) -> Score:
    """A row for a difference, in the place of the figure it is a difference of."""
    settings = {**settings, "of": settings.get("of", score.metric)}
    return replace(
        score,
        metric=metric,
        value=estimate.value,
        std=None,
        interval=(estimate.low, estimate.high),
        settings=settings,
        hits=None,
        replicates=None,
        main=False,
    )


def with_random_means(scores: list[Score]) -> list[Score]:
    """After the rows of the single seeds, their mean and spread; for one seed, that row again."""
    groups: dict[tuple[Any, ...], list[Score]] = {}
    for score in scores:
        if score.role == "random":
            key = (score.model, *slot(score), score.layer if score.choice == "every" else "")
            groups.setdefault(key, []).append(score)
    return scores + [_mean_of(rows) for rows in groups.values()]


def _mean_of(rows: Sequence[Score]) -> Score:
    mean, std, estimate = t_interval([row.value for row in rows])
    layers = ", ".join(dict.fromkeys(layer for row in rows for layer in row.layer.split(", ")))
    interval: tuple[float, float] | None = (estimate.low, estimate.high)
    covers = "Student's t over initialisations"
    if len(rows) < 2:
        interval, covers = rows[0].interval, str(rows[0].settings.get("interval", ""))
    settings = {**rows[0].settings, "seeds": len(rows), "interval": covers}
    for own in ("C", "C_at_bound", "tried", VALUES):
        settings.pop(own, None)  # each seed has its own, in its own row
    return replace(
        rows[0],
        layer=layers,
        value=mean,
        std=std if len(rows) > 1 else rows[0].std,
        interval=interval,
        pretrain_seed=None,
        settings=settings,
        hits=None,
        replicates=None,
    )


def slot(score: Score) -> Slot:
    """What two rows must share to be compared."""
    return score.protocol, score.choice, score.shots, score.metric
