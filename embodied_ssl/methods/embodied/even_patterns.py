"""Meeting every motion pattern equally often, although most frames of a drive look straight ahead or stand still.

A frame offers the patterns of the motions that follow it. Frames are drawn with weights under which every pattern is met
as often as every other, and frames that offer none as often as is allowed them; unevenly drawn, a map of the rare turns
would hardly be trained, and standing at a light would fill the batches with pairs of no pattern.

Legend: N samples, G patterns.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns, Motions, mirror_signs

Chances = NDArray[np.float64]
ROUNDS = 100


def chances_offered(patterns: NDArray[np.int64], count: int, other_share: float) -> Chances:
    """How one sample's pair is drawn: the chance [G + 1] of no pattern, then of each.

    No pattern has ``other_share`` where something else is on offer; those on offer share the rest alike.

    Args:
        patterns: of the sample's motions, -1 for none; not empty.
        count: G.
        other_share: see above.
    """
    offered = np.bincount(patterns + 1, minlength=count + 1) > 0
    chances = np.zeros(count + 1)
    some = offered[1:].sum()
    chances[0] = offered[0] * (other_share if some else 1.0)
    chances[1:][offered[1:]] = (1 - chances[0]) / max(1, some)
    return chances


def all_chances(source: Source, found: MotionPatterns, other_share: float, mirrored: bool) -> Chances:
    """`chances_offered` of every sample [N, G + 1], from metadata alone; with ``mirrored`` half of them are mirrored.

    Samples that offer no motion or cannot be opened have zeros.
    """
    motions, owner = _all_motions(source, len(found.axes))
    total = np.zeros((len(source), len(found.kept) + 1))
    images = [motions, motions * mirror_signs(found.axes)] if mirrored else [motions]
    for image in images:
        patterns = found.of(image)
        for index, start, stop in _runs(owner):
            total[index] += chances_offered(patterns[start:stop], len(found.kept), other_share) / len(images)
    return total


def even_weights(chances: Chances, other_share: float) -> NDArray[np.float64]:
    """Weights [N], summing to 1, under which samples meet all patterns alike, and none with ``other_share``.

    Found by the rounds of a mixture model, which begin at equal weights and stay near them: a sample is drawn more often as far
    as it offers what is met too seldom. Patterns that nothing offers are left out; where nothing at all is offered, zeros.
    """
    wanted = np.array([other_share, *[1.0] * (chances.shape[1] - 1)]) * (chances.sum(axis=0) > 0)
    wanted[1:] *= (1 - wanted[0]) / max(1.0, wanted[1:].sum())
    weights = (chances.sum(axis=1) > 0) / max(1, int((chances.sum(axis=1) > 0).sum()))
    for _ in range(ROUNDS):
        met = weights @ chances
        factor = np.divide(wanted, met, out=np.zeros_like(met), where=met > 0)
        weights = weights * (chances @ factor)
        weights = weights / max(weights.sum(), np.finfo(float).tiny)
    even: NDArray[np.float64] = weights
    return even


def weighted_order(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many positions as there are weights, each as often as its weight says to within one, shuffled."""
    count = len(weights)
    edges = np.cumsum(weights) / weights.sum()
    places = np.searchsorted(edges, (np.arange(count) + rng.random()) / count, side="right").clip(0, count - 1)
    return rng.permutation(places).astype(np.int64)


def _all_motions(source: Source, axes: int) -> tuple[Motions, NDArray[np.int64]]:
    """The motions [n, m] of all samples, one after another, and the sample of each [n]."""
    found, owner = [np.zeros((0, axes))], [np.zeros(0, np.int64)]
    for index in range(len(source)):
        try:
            motions = np.asarray(source[index]["motions"], np.float64).reshape(-1, axes)
        except BadItem:
            continue
        motions = motions[np.isfinite(motions).all(axis=1)]
        found.append(motions)
        owner.append(np.full(len(motions), index))
    return np.concatenate(found), np.concatenate(owner)


def _runs(owner: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Stretches of one owner: (owner, start, stop)."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1)).tolist()
    return [(int(owner[a]), a, b) for a, b in pairwise([*starts, len(owner)])]
