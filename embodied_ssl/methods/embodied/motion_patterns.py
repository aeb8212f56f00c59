"""Motion patterns: the few ways in which the camera moves, found by k-means on training drives.

A motion is (forward, left yaw) between two frames at most a second apart. Motions are divided by their standard deviation
(unscaled, metres would drown radians), clustered, and the patterns of the largest motion are kept: turning left, turning
right, driving on (Jayaraman and Grauman 2015, section 4). With mirroring, every motion is clustered together with its
mirror image, and a turn is kept with its mirror or not at all: a mirrored left turn must be some right turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError

Motions = NDArray[np.float64]  # [n, 2]: forward, left yaw, in the source's motion unit
TURNS = 0.5  # a centre turns when its |yaw| is at least this share of its forward motion, both in scaled units
MIRROR = np.array([1.0, -1.0])  # what a mirror does to a motion


@dataclass(frozen=True)
class MotionPatterns:
    """Patterns found on training drives.

    Args:
        scale: standard deviation of each coordinate [2].
        centres: all clusters' centres [k, 2], in units of the scale, sorted by yaw.
        kept: which of them are patterns [G], in the same order.
        sizes: share of the motions in each cluster [k].
    """

    scale: Motions
    centres: Motions
    kept: NDArray[np.int64]
    sizes: NDArray[np.float64]

    def of(self, motions: Motions) -> NDArray[np.int64]:
        """The pattern of each motion [n], as a position in ``kept``; -1 for motions of no kept cluster."""
        distances = np.linalg.norm((motions / self.scale)[:, None] - self.centres, axis=2)
        position = np.full(len(self.centres), -1)
        position[self.kept] = np.arange(len(self.kept))
        found: NDArray[np.int64] = position[distances.argmin(1)]
        return found

    def names(self) -> list[str]:
        """``left``, ``right`` or ``forward`` (``back``) for each kept pattern, by its largest scaled coordinate."""
        found = []
        for forward, yaw in self.centres[self.kept]:
            if abs(yaw) >= TURNS * abs(forward):
                found.append("left" if yaw > 0 else "right")
            else:
                found.append("forward" if forward > 0 else "back")
        return found


def find_patterns(motions: Motions, clusters: int, keep: int, mirrored: bool, seed: int) -> MotionPatterns:
    """k-means on scaled motions; the ``keep`` clusters whose centres are farthest from no motion at all.

    With ``mirrored``, clusters are made on (forward, |yaw|) and then doubled into left and right, except those that are
    straight (`TURNS`); the ``clusters`` count is of the doubled ones, about.

    Raises:
        UserError: fewer different motions than clusters.
    """
    both = np.concatenate([motions, motions * MIRROR]) if mirrored else motions
    scale = both.std(axis=0)
    if len(np.unique(both, axis=0)) < clusters or (scale <= 0).any():
        raise UserError(
            f"{len(motions)} motions are too few or too alike for {clusters} patterns; the drives must turn and drive on"
        )
    return _mirrored(both / scale, scale, clusters, keep, seed) if mirrored else _plain(both / scale, scale, clusters, keep, seed)


def _plain(motions: Motions, scale: Motions, clusters: int, keep: int, seed: int) -> MotionPatterns:
    from sklearn.cluster import KMeans

    centres = KMeans(clusters, n_init=10, random_state=seed).fit(motions).cluster_centers_
    centres = centres[np.argsort(centres[:, 1], kind="stable")]
    largest = np.argsort(-np.linalg.norm(centres, axis=1), kind="stable")[:keep]
    return MotionPatterns(scale, centres, np.sort(largest), _shares(motions, centres))


def _mirrored(motions: Motions, scale: Motions, clusters: int, keep: int, seed: int) -> MotionPatterns:
    from sklearn.cluster import KMeans

    folded = np.abs(motions * [0, 1]) + motions * [1, 0]
    halves = KMeans(clusters // 2 + 1, n_init=10, random_state=seed).fit(folded).cluster_centers_
    straight = halves[:, 1] < TURNS * np.abs(halves[:, 0])
    halves[straight, 1] = 0
    kept: list[Motions] = []
    for half, alone in sorted(zip(halves, straight, strict=True), key=lambda pair: -float(np.linalg.norm(pair[0]))):
        own = [half] if alone else [half, half * MIRROR]
        if len(kept) + len(own) <= keep:
            kept += own
    centres = np.concatenate([halves, halves[~straight] * MIRROR])
    centres = centres[np.argsort(centres[:, 1], kind="stable")]
    wanted = [i for i, centre in enumerate(centres) if any(np.array_equal(centre, one) for one in kept)]
    return MotionPatterns(scale, centres, np.array(wanted), _shares(motions, centres))


def _shares(motions: Motions, centres: Motions) -> NDArray[np.float64]:
    nearest = np.linalg.norm(motions[:, None] - centres, axis=2).argmin(1)
    return np.bincount(nearest, minlength=len(centres)) / len(motions)


def gather_motions(source: Source, rng: np.random.Generator, samples: int = 5000) -> Motions:
    """One motion from each of many samples, its time difference drawn evenly; no pixel is read.

    Raises:
        UserError: the source has no motions.
    """
    chosen = rng.permutation(len(source))[:samples]
    found = []
    for index in chosen:
        try:
            motions = source[int(index)]["motions"]
        except BadItem:
            continue
        if len(motions):
            found.append(motions[int(rng.integers(len(motions)))])
    if not found:
        raise UserError(f"{source.name} holds no two frames within the horizon; see what was left out with embodied-ssl inspect")
    return np.array(found)
