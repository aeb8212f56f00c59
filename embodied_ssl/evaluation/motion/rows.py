"""Figures of networks as score rows: each network, each method over its seeds, and the differences between methods.

A difference is of means over seeds, resampled together on the same drives. It is called one only where its interval excludes 0
and seeds alone could not explain it. Legend: G patterns, U units, B resamples, m axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from embodied_ssl.evaluation.motion.figures import FIGURES, Units, figures
from embodied_ssl.evaluation.motion.maps import Array
from embodied_ssl.evaluation.motion.measurement import Measurement, Motions, probe_figures
from embodied_ssl.evaluation.motion.pairs import Question
from embodied_ssl.evaluation.scores import Role, Score, verdict
from embodied_ssl.evaluation.statistics import percentiles, resamples, seed_reach

PROTOCOL, PROBE = "equivariance", "ego-motion probe"
ALL = "all"  # the pattern of figures over all patterns
LOWER = frozenset({"rho", "wrong_ratio", "mae"})  # figures of which less is better
TOLD = ("rho", "displacement_r2", "beyond_one_map", "beyond_shifts", "wrong_ratio", "nearest_map", "beyond_blind")
TOLD_OF_PROBE = ("r2", "r2_beyond_one_frame")


@dataclass(frozen=True)
class Network:
    """Who was measured: its name, its method's, the layer, and what was found."""

    model: str
    method: str
    role: Role
    seed: int | None
    layer: str
    found: Measurement


@dataclass(frozen=True)
class Group:
    """One method, or one architecture untrained, at one layer.

    Attributes:
        name, role, layer: of all.
        seeds: its networks.
        baseline: the name of the same architecture untrained; "" for none.
    """

    name: str
    role: Role
    layer: str
    seeds: tuple[Network, ...]
    baseline: str

    @cached_property
    def each(self) -> dict[str, Array]:
        """Every figure of every seed: [seeds, 1 + G], over patterns first; the probe's [seeds, m]."""
        return _stacked([_figures(one.found.sums.sum(0), [part.sum(0) for part in one.found.motions]) for one in self.seeds])

    @cached_property
    def replicates(self) -> dict[str, Array]:
        """Every figure's mean over seeds on every resample of the units: [B, 1 + G] or [B, m]."""
        times = resamples(len(self.seeds[0].found.sums)).astype(np.float64)
        found = [
            _figures(np.einsum("bu,ugq->bgq", times, one.found.sums), [times @ part for part in one.found.motions])
            for one in self.seeds
        ]
        return {name: values.mean(0) for name, values in _stacked(found).items()}

    def mean(self, figure: str, place: int = 0) -> float:
        """Over seeds; ``place`` 0 is over patterns, or the first axis."""
        return float(self.each[figure][:, place].mean())

    def spread(self, figure: str, place: int = 0) -> float | None:
        """The sample deviation over seeds; None for one."""
        return float(self.each[figure][:, place].std(ddof=1)) if len(self.seeds) > 1 else None

    def interval(self, figure: str, place: int = 0) -> tuple[float, float] | None:
        """95 %, over drives; None where nothing could be resampled."""
        return _interval(self.replicates[figure][:, place])


def _figures(sums: Array, motions: Sequence[Array]) -> dict[str, Array]:
    return {**figures(sums), **probe_figures(Motions(*motions))}


def _stacked(several: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([one[name] for one in several]) for name in several[0]}


def _interval(values: Array) -> tuple[float, float] | None:
    return percentiles(values) if np.isfinite(values).any() and len(values) > 1 else None


def groups_of(networks: Sequence[Network], baselines: Mapping[str, str]) -> list[Group]:
    """Networks by method and layer, untrained ones last; ``baselines`` names the untrained ones beside each method."""
    found: dict[tuple[str, str], list[Network]] = {}
    for one in networks:
        found.setdefault((one.method, one.layer), []).append(one)
    made = [
        Group(method, seeds[0].role, layer, tuple(seeds), baselines.get(method, "")) for (method, layer), seeds in found.items()
    ]
    return sorted(made, key=lambda group: group.role == "random")


def rows_of(groups: Sequence[Group], question: Question, units: Units, settings: Mapping[str, Any]) -> list[Score]:
    """Every row: of networks, of methods, and of differences."""
    rows = [row for group in groups for row in _rows(group, question, units, settings)]
    return rows + [row for one, other in compared(groups) for row in differences(one, other, question, units, settings)]


def compared(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Each method with its untrained twin, then the first method given with each other: layer by layer, or at their only ones."""

    def beside(name: str, group: Group) -> Iterator[Group]:
        own = [other for other in groups if other.name == name]
        single = len(own) == 1 and len([other for other in groups if other.name == group.name]) == 1
        yield from (other for other in own if single or other.layer == group.layer)

    trained = [group for group in groups if group.role != "random"]
    for group in trained:
        yield from ((group, other) for other in beside(group.baseline, group))
    for group in trained:
        if group.name != trained[0].name:
            yield from ((first, group) for first in beside(trained[0].name, group))


def _places(question: Question) -> list[tuple[str, str, int, str]]:
    """(protocol, figure, place, what the place is called) of every figure."""
    patterns = [ALL, *question.names]
    maps = [(PROTOCOL, one.name, place, name) for one in FIGURES for place, name in enumerate(patterns)]
    probe = ("r2", "r2_one_frame", "r2_beyond_one_frame", "r2_shuffled", "mae", "mae_one_frame")
    return maps + [(PROBE, name, place, axis.name) for name in probe for place, axis in enumerate(question.axes)]


def _about(protocol: str, what: str, question: Question, units: Units, settings: Mapping[str, Any]) -> dict[str, Any]:
    of = {"pattern": what} if protocol == PROTOCOL else {"axis": what, "unit": question.unit}
    return {**settings, **of, "split": question.note, "interval": f"bootstrap over {units.kind}"}


def _pairs(group: Group, protocol: str, place: int) -> int:
    """How many pairs a figure is of."""
    found = group.seeds[0].found
    if protocol == PROBE:
        return int(found.motions.pairs.sum())
    counts = found.sums[..., 0].sum(0)
    return int(counts.sum() if place == 0 else counts[place - 1])


def _rows(group: Group, question: Question, units: Units, settings: Mapping[str, Any]) -> Iterator[Score]:
    for protocol, figure, place, what in _places(question):
        about = _about(protocol, what, question, units, settings)
        common = (question.name, protocol, group.layer, figure)
        n = _pairs(group, protocol, place)
        for number, one in enumerate(group.seeds):
            value = float(group.each[figure][number, place])
            if math.isfinite(value):
                own = {**about, "fitted": one.found.about["folds"]} if place == 0 and figure in ("rho", "r2") else about
                yield Score(one.model, group.role, *common, value, n=n, pretrain_seed=one.seed, settings=own)
        value = group.mean(figure, place)
        if math.isfinite(value):
            spread, interval = group.spread(figure, place), group.interval(figure, place)
            whole = {**about, "seeds": len(group.seeds), "over": "seeds"}
            yield Score(group.name, group.role, *common, value, spread, interval, n, settings=whole, main=place == 0)


def differences(
    one: Group, other: Group, question: Question, units: Units, settings: Mapping[str, Any], places: bool = False
) -> Iterator[Score]:
    """One method less another, over all patterns and for every axis; ``seed_reach`` is what seeds alone may explain."""
    told = [(PROTOCOL, figure, 0, ALL) for figure in TOLD]
    told += [(PROBE, figure, place, axis.name) for figure in TOLD_OF_PROBE for place, axis in enumerate(question.axes)]
    for protocol, figure, place, what in told:
        value = one.mean(figure, place) - other.mean(figure, place)
        interval = _interval(one.replicates[figure][:, place] - other.replicates[figure][:, place])
        if not math.isfinite(value) or interval is None:
            continue
        reach = _reach(one.each[figure][:, place], other.each[figure][:, place])
        about = _about(protocol, what, question, units, settings) | {
            "of": figure,
            "against": other.name,
            "seeds": [len(one.seeds), len(other.seeds)],
            "seed_reach": reach,
        }
        metric = "minus_random" if other.role == "random" else "minus_other"
        n = _pairs(one, protocol, place)
        yield Score(one.name, one.role, question.name, protocol, one.layer, metric, value, None, interval, n, settings=about)


def _reach(one: Array, other: Array) -> float:
    """How far apart the means may be though seeds are all that differs: Student's half-width, with the fewer seeds' freedom.

    A single network beside several seeds is held against where one more of those may fall.
    """
    if min(len(one), len(other)) < 2:
        return seed_reach((one if len(one) > 1 else other).tolist())
    half = math.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
    return float(stats.t.ppf(0.975, min(len(one), len(other)) - 1)) * half


def said(score: Score) -> str:
    """What a difference says, whether more or less of the figure is better."""
    found = verdict(score)
    other = {"better": "worse", "worse": "better"}
    return other.get(found, found) if score.settings.get("of") in LOWER else found
