"""What maps are worth on pairs of drives that they were not fitted on, each figure built so that a trap of another shows.

| figure | features that move by a map | independent before and after | slow: z(gx) = z(x) + noise |
|---|---|---|---|
| ``rho``: ||M z - z'|| / ||z - z'||, mean over pairs | 0 | 0.707, without any equivariance | 1 |
| ``view_r2``: of z' against its mean | 1 | 0 | near 1, for the wrong reason |
| ``displacement_r2``: of z' - z against its mean | 1 | 0.5: predicting the mean halves it | 0 |
| ``beyond_one_map``: the same, less what one map for all patterns reaches | (1 - 1/G) / 2 for shifts | 0 | 0 |
| ``beyond_shifts``: less what that map with a constant added for each pattern reaches | the same | 0 | 0 |
| ``wrong_ratio``: distance to the right map's prediction over that to the others' | 0 | 1 | 1 |
| ``nearest_map``: how often the right map is the nearest, mean over patterns | 1 | 1/G | 1/G |
| ``nearest_blind``: the same of predictions that never saw z: the mean view after each pattern | 1/G | 1/G | 1/G |
| ``beyond_blind``: the former less the latter | 1 - 1/G | 0 | 0 |

The place can give the motion away: in a left bend one turns left, and the view after it shows a bend. Then the right map's
prediction is nearest without any equivariance, but so is the right mean view, and nothing is left beyond it.
Every pattern counts alike. Intervals resample recordings, or stretches of them where there are few (`units_of`).
Legend: n pairs, G patterns, U units, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.evaluation.motion.maps import Array, Maps, Whole
from embodied_ssl.evaluation.statistics import resamples

BLOCK_SECONDS = 10.0  # ten times as far as pairs reach
ENOUGH = 10  # recordings of about equal length, to resample whole ones


class Figure(NamedTuple):
    """A figure's name, what it is called in tables, its best value, and what it says."""

    name: str
    heading: str
    best: float
    meaning: str


FIGURES = (
    Figure("rho", "rho", 0, "what the right map leaves of the distance moved, mean ratio (Jayaraman and Grauman); 1: nothing"),
    Figure("view_r2", "view R2", 1, "of the view z(gx) against its mean; near 1 for slow features, for the wrong reason"),
    Figure("displacement_r2", "moved R2", 1, "of the displacement z(gx) - z(x) against its mean; 0.5 for unrelated views"),
    Figure("beyond_one_map", "over one map", 1, "the same, less that of one map for all motions: what knowing the motion adds"),
    Figure("beyond_shifts", "over shifts", 1, "the same, less that of one map with a constant for each motion"),
    Figure("wrong_ratio", "right/wrong", 0, "distance to what the right map says over the distance to what the wrong ones say"),
    Figure("nearest_map", "nearest", 1, "how often the right map's prediction is the nearest, mean over motions"),
    Figure("nearest_blind", "blind", 0, "the same without looking at z(x): the nearest mean view; what the place gives away"),
    Figure("beyond_blind", "beyond blind", 1, "the former less the latter: what only the map of z(x) can know"),
)
NAMES = tuple(figure.name for figure in FIGURES)


class Measured(NamedTuple):
    """What is added up over pairs, each [n]; ``moves`` is 0 for the few whose two frames have the very same features."""

    pairs: Array
    moves: Array
    ratio: Array
    right: Array
    wrong: Array
    still: Array
    right_square: Array
    one_map_square: Array
    shifts_square: Array
    moved_square: Array
    view_square: Array
    nearest: Array
    nearest_blind: Array


def measured(maps: Maps, before: Array, after: Array, pattern: Whole) -> Measured:
    """Hold maps against pairs that they were not fitted on.

    Args:
        maps: fitted elsewhere.
        before, after: z(x) and z(gx) [n, D].
        pattern: of each pair [n].
    """
    rows = np.arange(len(before))
    moved = after - before
    distance = np.linalg.norm(maps.move(before) - after[:, None], axis=2)  # [n, G]
    blind = np.linalg.norm(maps.views - after[:, None], axis=2)
    right, still = distance[rows, pattern], np.linalg.norm(moved, axis=1)
    wrong = (distance.sum(1) - right) / max(1, distance.shape[1] - 1)
    one_map = moved - maps.shared(before)
    moves = still > 0
    ratio = np.divide(right, still, out=np.zeros_like(right), where=moves)
    one_map_square, shifts_square, moved_square, view_square = (
        (one**2).sum(1) for one in (one_map, one_map - maps.shifts[pattern], moved - maps.typical, after - maps.view)
    )
    return Measured(
        np.ones(len(before)),
        moves.astype(np.float64),
        ratio,
        right,
        wrong,
        still,
        right**2,
        one_map_square,
        shifts_square,
        moved_square,
        view_square,
        (distance.argmin(1) == pattern).astype(np.float64),
        (blind.argmin(1) == pattern).astype(np.float64),
    )


def totals(found: Measured, units: Whole, patterns: Whole, shape: tuple[int, int]) -> Array:
    """Sums over the pairs of each unit and pattern: [U, G, quantities], for units [n], patterns [n] and ``shape`` (U, G)."""
    summed = np.zeros((*shape, len(Measured._fields)))
    np.add.at(summed, (units, patterns), np.stack(found, 1))
    return summed


def figures(summed: Array) -> dict[str, Array]:
    """Figures from sums [..., G, quantities]: [..., 1 + G], over patterns first, then of each; NaN where there is no pair."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = Measured(*np.moveaxis(summed / summed[..., :1], -1, 0))
        everything = Measured(*(_with_mean(one) for one in means))
        left = everything.right_square / everything.moved_square
        return {
            "rho": _with_mean(means.ratio / means.moves),
            "view_r2": 1 - everything.right_square / everything.view_square,
            "displacement_r2": 1 - left,
            "beyond_one_map": everything.one_map_square / everything.moved_square - left,
            "beyond_shifts": everything.shifts_square / everything.moved_square - left,
            "wrong_ratio": everything.right / everything.wrong,
            "nearest_map": everything.nearest,
            "nearest_blind": everything.nearest_blind,
            "beyond_blind": everything.nearest - everything.nearest_blind,
        }


def _with_mean(each: Array) -> Array:
    """[..., G] to [..., 1 + G]: the mean over the patterns that have pairs in front."""
    there = ~np.isnan(each)
    mean = np.where(there, each, 0).sum(-1, keepdims=True) / there.sum(-1, keepdims=True)
    return np.concatenate([mean, each], -1)


def replicates(summed: Array) -> dict[str, Array]:
    """The figures on each of `statistics.resamples` of the units: [B, 1 + G] from sums [U, G, quantities]."""
    times = resamples(len(summed)).astype(np.float64)
    return figures(np.einsum("bu,ugq->bgq", times, summed))


@dataclass(frozen=True)
class Units:
    """What intervals resample.

    Attributes:
        names: [U].
        of: the unit of each pair [n].
        kind: in words.
    """

    names: tuple[str, ...]
    of: Whole
    kind: str


def units_of(recordings: Sequence[str], seconds: NDArray[np.float64]) -> Units:
    """Recordings, where there are enough; otherwise stretches of ten seconds of them, which know less of other roads.

    Enough: as many as ten of equal length would weigh, (sum n)^2 / sum n^2, so that fifty of which two are long are two.

    Args:
        recordings: of each pair [n].
        seconds: into the recording, when each pair begins [n].
    """
    sizes = np.unique(np.asarray(recordings), return_counts=True)[1].astype(np.float64)
    if sizes.sum() ** 2 / (sizes**2).sum() >= ENOUGH:
        names, of = np.unique(np.asarray(recordings), return_inverse=True)
        return Units(tuple(names.tolist()), of, f"{len(names)} recordings")
    names, of = np.unique(np.asarray(blocks_of(recordings, seconds)), return_inverse=True)
    stretches = f"{len(names)} stretches of {BLOCK_SECONDS:.0f} s of " if len(names) > len(sizes) else ""
    return Units(tuple(names.tolist()), of, f"{stretches}{len(sizes)} recordings")


def blocks_of(recordings: Sequence[str], seconds: NDArray[np.float64]) -> list[str]:
    """The name of the stretch that each pair begins in [n]."""
    return [f"{name} {int(second // BLOCK_SECONDS)}" for name, second in zip(recordings, seconds, strict=True)]


def mean_figures(several: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The mean over seeds, figure by figure."""
    return {name: np.mean([one[name] for one in several], axis=0) for name in several[0]}
