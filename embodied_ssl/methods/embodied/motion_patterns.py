"""Motion patterns: the few ways in which the camera moves, found by k-means on training drives.

A motion is (forward, left yaw) between two frames at most a second apart. Motions are divided by their standard deviation
(unscaled, metres would drown radians), clustered, and the patterns of the largest motion are kept: turning left, turning
right, driving on (Jayaraman and Grauman 2015, section 4). With mirroring, every motion is clustered together with its
mirror image, so that left and right are found alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError

Motions = NDArray[np.float64]  # [n, 2]: forward, left yaw, in the source's motion unit
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
            if abs(yaw) >= 0.5 * abs(forward):
                found.append("left" if yaw > 0 else "right")
            else:
                found.append("forward" if forward > 0 else "back")
        return found


def find_patterns(motions: Motions, clusters: int, keep: int, mirrored: bool, seed: int) -> MotionPatterns:
    """k-means on scaled motions; the ``keep`` clusters whose centres are farthest from no motion at all.

    Raises:
        UserError: fewer different motions than clusters.
    """
    from sklearn.cluster import KMeans

    both = np.concatenate([motions, motions * MIRROR]) if mirrored else motions
    scale = both.std(axis=0)
    if len(np.unique(both, axis=0)) < clusters or (scale <= 0).any():
        raise UserError(
            f"{len(motions)} motions are too few or too alike for {clusters} patterns; the drives must turn and drive on"
        )
    fitted = KMeans(clusters, n_init=10, random_state=seed).fit(both / scale)
    order = np.argsort(fitted.cluster_centers_[:, 1], kind="stable")
    centres = fitted.cluster_centers_[order]
    sizes = np.bincount(fitted.labels_, minlength=clusters)[order] / len(both)
    largest = np.argsort(-np.linalg.norm(centres, axis=1), kind="stable")[:keep]
    return MotionPatterns(scale, centres, np.sort(largest), sizes)


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
