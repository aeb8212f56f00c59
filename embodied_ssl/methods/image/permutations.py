"""Sets of permutations that are far from each other: the answers of a puzzle must not resemble each other.

The Hamming distance of two permutations is the number of places in which they differ. Two greedy ways to make it great, from a
random permutation on: `spread_out` adds the one whose mean distance to those chosen is greatest, `kept_apart` the one whose least
distance is. Noroozi and Favaro 2016, arXiv:1603.09246, add by the mean; by the least, no two answers are nearly the same.

The sum of distances to N permutations is N T minus the sum of n[i, p(i)], where n[i, c] says how many of them have c in place i.
So the next permutation of `spread_out` is a cheapest assignment in a table of T x T counts, and none of the T! need be looked at.

Legend: N permutations, T places (and as many values, counted from 0).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from embodied_ssl.errors import UserError

Permutations = NDArray[np.int64]  # [N, T]

ALL_UP_TO = 9  # places: 9! = 362,880 permutations can be looked at one by one, 16! cannot
DRAWN = 300_000  # candidates of `kept_apart` where there are too many to look at all
FORBIDDEN = 1e9  # the cost of what must not be assigned; counts stay far below


def check_count(count: int, tiles: int) -> None:
    """Refuse sets that there cannot be.

    Raises:
        UserError: fewer than two permutations, or more than there are.
    """
    if not 2 <= count <= math.factorial(tiles):
        raise UserError(f"permutations is {count}; of {tiles} tiles give 2 to {math.factorial(tiles)}")


def spread_out(count: int, tiles: int, rng: np.random.Generator) -> Permutations:
    """Different permutations [N, T] of the greatest mean distance, chosen greedily; equals are decided by lot.

    `best_mean_distance` is reached, up to the few in the 1,000,000th part that keeping all different may cost.
    """
    check_count(count, tiles)
    counts = np.zeros((tiles, tiles))
    rows, chosen = np.arange(tiles), []
    seen: set[bytes] = set()
    for _ in range(count):
        lot = rng.random((tiles, tiles)) / (tiles + 1)  # decides between equals: all T of them together stay below 1
        found = next(one for one in _cheapest_first(counts + lot) if one.tobytes() not in seen)
        counts[rows, found] += 1
        seen.add(found.tobytes())
        chosen.append(found)
    return np.stack(chosen)


def _cheapest_first(cost: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """All assignments of values to places, from the cheapest on (Murty 1968): each one found parts the rest in T sets to search.

    The k-th set agrees with it in the first k places and differs in the next; the cheapest of each is one assignment more.
    """
    waiting: list[tuple[float, int, NDArray[np.int64], NDArray[np.float64]]] = []
    order = itertools.count()  # of equal cost, the one found first

    def search(cost: NDArray[np.float64]) -> None:
        rows, values = linear_sum_assignment(cost)
        total = float(cost[rows, values].sum())
        if total < FORBIDDEN:
            heapq.heappush(waiting, (total, next(order), values.astype(np.int64), cost))

    search(cost)
    while waiting:
        _, _, values, cost = heapq.heappop(waiting)
        yield values
        agreed = cost.copy()
        for place, value in enumerate(values):
            differing = agreed.copy()
            differing[place, value] = FORBIDDEN
            search(differing)
            agreed[place, np.arange(len(values)) != value] = FORBIDDEN


def kept_apart(count: int, tiles: int, rng: np.random.Generator) -> Permutations:
    """Permutations [N, T] of the greatest least distance, chosen greedily; of equals one of the greatest mean, then by lot.

    All T! are candidates up to 9 tiles, beyond that 300,000 drawn at random. For 9 tiles the least distance is 7, 6 and 5 at 64,
    100 and 1000 permutations.
    """
    check_count(count, tiles)
    candidates = _candidates(count, tiles, rng)  # [T, many]: one place after another
    least = np.full(candidates.shape[1], tiles, np.int8)
    total = np.zeros(candidates.shape[1], np.int32)
    chosen = []
    for _ in range(count):
        best = np.flatnonzero(least == least.max())
        best = best[total[best] == total[best].max()]
        pick = rng.choice(best)
        chosen.append(candidates[:, pick])
        distance = np.zeros(candidates.shape[1], np.int8)
        for values in candidates:
            distance += values != values[pick]
        np.minimum(least, distance, out=least)  # 0 for those chosen, which are thus never chosen again
        total += distance
    return np.stack(chosen).astype(np.int64)


def _candidates(count: int, tiles: int, rng: np.random.Generator) -> NDArray[np.int8]:
    if tiles <= ALL_UP_TO:
        flat = itertools.chain.from_iterable(itertools.permutations(range(tiles)))
        rows = np.fromiter(flat, np.int8, math.factorial(tiles) * tiles).reshape(-1, tiles)
    else:
        straight = np.tile(np.arange(tiles, dtype=np.int8), (max(DRAWN, 2 * count), 1))
        rows = np.unique(rng.permuted(straight, axis=1), axis=0)
    return np.ascontiguousarray(rows.T)


def mean_distance(permutations: Permutations) -> float:
    """The mean Hamming distance of two different rows [N, T], from how often each value is in each place."""
    count, tiles = permutations.shape
    often = np.stack([(permutations == value).sum(axis=0) for value in range(tiles)])
    return float(tiles - (often * (often - 1)).sum() / (count * (count - 1)))


def best_mean_distance(count: int, tiles: int) -> float:
    """What no set exceeds: T (1 - sum_c n_c (n_c - 1) / (N (N - 1))) with counts n_c as equal as can be."""
    often = np.full(tiles, count // tiles)
    often[: count % tiles] += 1
    return float(tiles * (1 - (often * (often - 1)).sum() / (count * (count - 1))))


def least_distance(permutations: Permutations) -> int:
    """The least Hamming distance of two different rows [N, T]; T where there is one row only."""
    least: int = permutations.shape[1]
    for row in range(1, len(permutations)):
        least = min(least, int((permutations[:row] != permutations[row]).sum(axis=1).min()))
    return least


def read_permutations(path: Path, count: int, tiles: int) -> Permutations:
    """A user's own set: ``.npy``, or text with one permutation a line, numbers apart by blanks or commas.

    Returns:
        int64 [count, tiles], values from 0.

    Raises:
        UserError: no such file or none that can be read, another shape than [count, tiles], a row that is no permutation (tiles
            counted from 1 among them), or one that is there twice; rows are named, the first is row 1.
    """
    rows = _read_numbers(path)
    if rows.ndim != 2 or rows.shape[1] != tiles:
        shape = " x ".join(map(str, rows.shape)) or "a single number"
        raise UserError(f"'{path}' is {shape}; expected is {count} x {tiles}: one permutation a row, one number a tile")
    _check_rows(path, rows, tiles)
    if len(rows) != count:
        raise UserError(
            f"'{path}' is {len(rows)} x {tiles}; expected is {count} x {tiles}: "
            f"set --set method.permutations={len(rows)}, or give another file"
        )
    return rows.astype(np.int64)


def _read_numbers(path: Path) -> NDArray[np.float64]:
    """The numbers in a file, as they are."""
    if not path.is_file():
        raise UserError(f"there is no permutation file '{path}'; give a .npy or text file, or leave method.file empty")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64)
        lines = [line.partition("#")[0].replace(",", " ").split() for line in path.read_text().splitlines()]
        lines = [words for words in lines if words]
        uneven = [number for number, words in enumerate(lines, start=1) if len(words) != len(lines[0])]
        if uneven:
            found = f"{len(lines[uneven[0] - 1])} numbers, the first {len(lines[0])}"
            raise UserError(f"'{path}': row {uneven[0]} has {found}; give as many in each row")
        return np.array(lines, np.float64)
    except (OSError, ValueError, EOFError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"'{path}' cannot be read as permutations ({why}); accepted are .npy and text of whole numbers") from None


def _check_rows(path: Path, rows: NDArray[np.float64], tiles: int) -> None:
    straight = np.arange(tiles)
    ordered = np.sort(rows, axis=1)
    wrong = np.flatnonzero((ordered != straight).any(axis=1))
    if len(wrong):
        given = " ".join(f"{value:g}" for value in rows[wrong[0]])
        from_one = (ordered[wrong[0]] == straight + 1).all()
        mend = "tiles are numbered from 0: subtract 1 everywhere" if from_one else f"give each of 0 to {tiles - 1} once"
        raise UserError(f"'{path}': row {wrong[0] + 1} ({given}) is no permutation of 0 to {tiles - 1}; {mend}")
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows.astype(np.int64), start=1):
        if row.tobytes() in first:
            raise UserError(f"'{path}': row {number} is the same as row {first[row.tobytes()]}; give each permutation once")
        first[row.tobytes()] = number
