"""Two runs against each other: the same protocols on the same pictures, paired as finely as the figures allow.

With one run a side, the interval is over test pictures: it says which of these two networks is better here, not which method
is. With several runs a side (other pretraining seeds), the interval is Welch's over seeds, and says something about the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.differences import difference, difference_row, slot
from embodied_ssl.evaluation.models import open_model
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.evaluation.run import Request, prepare
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import Estimate
from embodied_ssl.evaluation.transfer import evaluate

METRIC = "minus_other"


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        scores: every row of both sides and of their baselines.
        differences: first less second, one row a main figure.
        caution: what the intervals do not cover.
    """

    scores: list[Score]
    differences: list[Score]
    caution: str


def compare(first: Sequence[str], second: Sequence[str], request: Request, on_progress: Progress = silent) -> Comparison:
    """Judge both sides and subtract.

    Args:
        first, second: run folders or other models; several are runs of one method with other seeds.
        request: data, protocols and settings.
        on_progress: told how far it is.

    Raises:
        UserError: a model on both sides, or what `embodied_ssl.evaluation.transfer.evaluate` refuses.
    """
    shared = sorted(set(first) & set(second))
    if shared or not first or not second:
        raise UserError(f"'{shared[0]}' is on both sides; compare two different runs" if shared else "give a run on both sides")
    target, protocols, settings = prepare(request)
    names = _names([*first, *second])
    models = [replace(open_model(given), name=name) for given, name in zip([*first, *second], names, strict=True)]
    scores = evaluate(models, target, protocols, settings, on_progress)
    sides = names[: len(first)], names[len(first) :]
    caution = (
        "one run a side: intervals are over test pictures; another pretraining seed may change the figures by more than they say"
        if len(first) < 2 or len(second) < 2
        else f"{len(first)} and {len(second)} runs: intervals are over runs (Welch's t)"
    )
    return Comparison(scores, subtract(scores, *sides), caution)


def subtract(scores: Sequence[Score], first: Sequence[str], second: Sequence[str]) -> list[Score]:
    """For each main figure, the mean of the first models less the mean of the second, in the place of the first's row."""
    rows = []
    for score in (s for s in scores if s.model == first[0] and s.main):
        own, others = ([s for s in scores if s.model in side and s.main and slot(s) == slot(score)] for side in (first, second))
        if not others:
            continue
        if len(own) > 1 and len(others) > 1:
            found: tuple[Estimate, str] | None = (
                welch([s.value for s in own], [s.value for s in others]),
                "Welch's t over runs",
            )
        else:
            found = difference(score, others) if len(own) == 1 else _turned(difference(others[0], own))
        if found:
            settings = {**score.settings, "against": ", ".join(second), "runs": [len(own), len(others)], "interval": found[1]}
            row = difference_row(score, METRIC, found[0], settings)
            rows.append(replace(row, model=f"{_joint(first)} - {_joint(second)}"))
    return rows


def welch(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Difference of two means with Welch's interval; both sides need two values or more."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    value, error = float(a.mean() - b.mean()), math.sqrt(sum(parts))
    if error == 0:
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return Estimate(value, value - half, value + half)


def _turned(found: tuple[Estimate, str] | None) -> tuple[Estimate, str] | None:
    if found is None:
        return None
    estimate, covers = found
    return Estimate(-estimate.value, -estimate.high, -estimate.low), covers


def _joint(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _names(given: Sequence[str]) -> list[str]:
    """The last part of each path; as much of it as keeps them apart."""
    for depth in range(1, 10):
        short = ["/".join(path.rstrip("/").split("/")[-depth:]) for path in given]
        if len(set(short)) == len(short):
            return short
    return list(given)
