"""One network measured: maps and probe fitted on training drives fold by fold, and what they leave on the others added up.

Only sums are kept, for every unit that intervals resample, so that every figure can be had on any resample of the drives, for
several seeds together, and as a difference of two networks on the same drives. Legend: n pairs, F features, G patterns,
U units, m axes, N frames, Q queries, k neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.motion.figures import Measured, Units, measured, totals
from embodied_ssl.evaluation.motion.maps import Array, Maps, Space, Whole, find_space, fit_maps, fold_of
from embodied_ssl.evaluation.motion.pairs import LEAST, Drawing, Fold, Pairs, Question
from embodied_ssl.evaluation.motion.probe import fit_probe, r2
from embodied_ssl.keys import generator

QUERIES, NEIGHBOURS = 6, 3  # shown in the report
APART = 1.0  # seconds around the query in which no neighbour is looked for

Features = NDArray[np.float32]  # of every frame of the question [N, F]; NaN where it could not be read


class Motions(NamedTuple):
    """What is added up of the probe's errors: the pairs [U], squared errors [U, m] of each regression, and two absolute ones."""

    pairs: Array
    pair: Array
    first: Array
    typical: Array
    shuffled: Array
    pair_absolute: Array
    first_absolute: Array


@dataclass(frozen=True)
class Looks:
    """What a network takes for the view after a motion, as rows of the question's frames.

    Attributes:
        query, later: frames from which the camera moved as the pattern ``lead`` says, and those it came to [Q].
        nearest: to z(x) as it is, then to M_g z(x) for each pattern [Q, 1 + G, k]; no map of a pattern gives -1.
        lead: the pattern.
    """

    query: Whole
    later: Whole
    nearest: Whole
    lead: int


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Attributes:
        sums: of `figures.measured` [U, G, quantities].
        motions: of the probe.
        about: dimensions, explained variance, strengths and training pairs, fold by fold.
        looks: what it takes for moved views; None where no pair can be a query.
    """

    sums: Array
    motions: Motions
    about: Mapping[str, Any]
    looks: Looks | None


class _Fitted(NamedTuple):
    """Of one fold: space and maps of the patterns ``there``."""

    space: Space
    maps: Maps
    there: Whole


def readable(question: Question, read: NDArray[np.bool_]) -> list[Fold]:
    """The folds without pairs of frames that could not be read [N]."""
    return [Fold(*(pairs.part(read[pairs.first] & read[pairs.second]) for pairs in fold)) for fold in question.folds]


def measure_network(question: Question, units: Units, features: Features, drawing: Drawing) -> Measurement:
    """Fit on each fold's training pairs, judge on its others.

    Args:
        question: what all networks are asked.
        units: of the judged pairs of all folds, one fold after another.
        features: of every frame.
        drawing: dimensions and seed.

    Raises:
        UserError: constant features, or fewer than two patterns with training pairs.
    """
    patterns, axes, count = len(question.names), len(question.axes), len(units.names)
    sums = np.zeros((count, patterns, len(Measured._fields)))
    motions = Motions(np.zeros(count), *(np.zeros((count, axes)) for _ in Motions._fields[1:]))
    about: list[dict[str, Any]] = []
    looks: Looks | None = None
    start = 0
    for fold in readable(question, ~np.isnan(features[:, 0])):
        of = units.of[start : start + len(fold.test)]
        start += len(fold.test)
        fitted = _fit(fold.train, features, drawing, question)
        known = np.isin(fold.test.pattern, fitted.there)
        before, after = (fitted.space.of(features[rows[known]]) for rows in (fold.test.first, fold.test.second))
        pattern = np.searchsorted(fitted.there, fold.test.pattern[known])
        found = measured(fitted.maps, before, after, pattern)
        sums += totals(found, of[known], fitted.there[pattern], (count, patterns))
        _probe(fold, features, drawing, of, motions)
        about.append(_about(fitted, question))
        shown = _looks(fold.test, features, fitted, question, drawing)
        looks = shown if looks is None or (shown and len(shown.query) > len(looks.query)) else looks
    return Measurement(sums, motions, {"folds": about}, looks)


def _fit(train: Pairs, features: Features, drawing: Drawing, question: Question) -> _Fitted:
    counts = np.bincount(train.pattern[train.pattern >= 0], minlength=len(question.names))
    there = np.flatnonzero(counts >= LEAST)
    if len(there) < 2:
        seen = ", ".join(f"{name} {count}" for name, count in zip(question.names, counts, strict=True))
        raise UserError(f"at least two patterns need {LEAST} training pairs each, but there are: {seen}; give more drives")
    space = find_space(features[np.unique([train.first, train.second])], drawing.dimensions)
    chosen = train.part(np.isin(train.pattern, there))
    before, after = (space.of(features[rows]) for rows in (chosen.first, chosen.second))
    pattern = np.searchsorted(there, chosen.pattern)
    maps = fit_maps(before, after, pattern, fold_of(chosen.recording, chosen.blocks), len(there))
    return _Fitted(space, maps, there)


def _about(fitted: _Fitted, question: Question) -> dict[str, Any]:
    shared, own = fitted.maps.strengths
    return {
        "dimensions": fitted.space.axes.shape[1],
        "explained": fitted.space.explained,
        "strength_shared": shared,
        "strength_own": own,
        "training_pairs": {question.names[g]: n for g, n in zip(fitted.there.tolist(), fitted.maps.pairs, strict=True)},
    }


def _probe(fold: Fold, features: Features, drawing: Drawing, of: Whole, into: Motions) -> None:
    """Add this fold's errors, those of a probe of shuffled motions among them, which can know nothing."""
    train, test = fold.train, fold.test
    space = find_space(features[np.unique([train.first, train.second])], drawing.probe_dimensions)
    before, after = (space.of(features[rows]) for rows in (train.first, train.second))
    folds = fold_of(train.recording, train.blocks)
    probe = fit_probe(before, after, train.motion, folds)
    shuffled = generator("shuffled motions", drawing.seed).permutation(len(train))
    blind = fit_probe(before, after, train.motion[shuffled], folds)
    before, after = (space.of(features[rows]) for rows in (test.first, test.second))
    errors = probe.errors(before, after, test.motion)
    wrong = blind.errors(before, after, test.motion)["pair"]
    squares = (errors["pair"], errors["first"], errors["typical"], wrong)
    np.add.at(into.pairs, of, 1)
    for total, values in zip(into[1:5], squares, strict=True):
        np.add.at(total, of, values**2)
    for total, values in zip(into[5:], squares, strict=False):
        np.add.at(total, of, np.abs(values))


def probe_figures(summed: Motions) -> dict[str, Array]:
    """Of sums [..., m] (the count [...]): R^2 of both frames, of the first, what the second adds, a control, mean errors."""
    pair, first = r2(summed.pair, summed.typical), r2(summed.first, summed.typical)
    with np.errstate(invalid="ignore", divide="ignore"):
        pair_error, first_error = (errors / summed.pairs[..., None] for errors in (summed.pair_absolute, summed.first_absolute))
    return {
        "r2": pair,
        "r2_one_frame": first,
        "r2_beyond_one_frame": pair - first,
        "r2_shuffled": r2(summed.shuffled, summed.typical),
        "mae": pair_error,
        "mae_one_frame": first_error,
    }


def _looks(test: Pairs, features: Features, fitted: _Fitted, question: Question, drawing: Drawing) -> Looks | None:
    """The nearest judged frames, not within a second of the query, to where each map puts it."""
    lead = lead_of(question.names, np.unique(test.pattern[test.pattern >= 0]))
    if lead is None:
        return None
    gallery = np.unique([test.first, test.second])
    order = generator("shown queries", drawing.seed).permutation(np.flatnonzero(test.pattern == lead))
    turn = Counter[str]()
    turns = [turn.update([name]) or turn[name] for name in (test.blocks[row] for row in order)]  # one of every stretch first
    chosen = np.sort(order[np.argsort(turns, kind="stable")][:QUERIES])
    query, later = test.first[chosen], test.second[chosen]
    points, starts = fitted.space.of(features[gallery]), fitted.space.of(features[query])
    nearest = np.full((len(query), 1 + len(question.names), NEIGHBOURS), -1)
    moved = fitted.maps.move(starts)
    near = _near(question, query, gallery)
    for column, at in [(0, starts), *((1 + int(g), moved[:, place]) for place, g in enumerate(fitted.there))]:
        distance = np.linalg.norm(points[None] - at[:, None], axis=2)
        distance[near] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
        allowed = np.isfinite(np.take_along_axis(distance, order, 1))
        nearest[:, column, : order.shape[1]] = np.where(allowed, gallery[order], -1)
    return Looks(query, later, nearest, lead)


def _near(question: Question, query: Whole, gallery: Whole) -> NDArray[np.bool_]:
    """Which frames of the gallery are of the query's recording and within a second of it [Q, gallery]."""
    frames = question.frames
    names = {name: number for number, name in enumerate(dict.fromkeys(frame.recording for frame in frames))}
    recording, second = (
        np.array([names[frames[row].recording] for row in gallery]),
        np.array([frames[row].second for row in gallery]),
    )
    return np.stack(
        [(recording == names[frames[row].recording]) & (np.abs(second - frames[row].second) <= APART) for row in query.tolist()]
    )


def lead_of(names: tuple[str, ...], there: Whole) -> int | None:
    """The pattern that pictures show, of those that are there: turning left, else right, else the first; None of none."""
    ordered = sorted(there.tolist(), key=lambda g: (not names[g].startswith("left"), not names[g].startswith("right"), g))
    return ordered[0] if ordered else None
