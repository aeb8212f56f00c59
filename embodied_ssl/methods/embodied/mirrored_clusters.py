"""k-means that a mirror leaves as it is: every cluster is its own mirror image, or has it for a partner.

Points and their mirror images are clustered together: a centre stands for itself and for its image, and a point belongs to
whichever of the two is nearer. A centre whose points lie across the plane of the mirror is then put into that plane; two
centres would only cut one cloud in half. Where the mirror changes nothing, this is plain k-means.

Legend: n points, m coordinates, h centres (each standing for its image too), k centres and images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A cluster has an image of its own when its mean is so many standard deviations from the plane. Points that are spread evenly
# from the plane on have 1.73, the half of a normal cloud about the plane 1.32, a cloud beyond the plane any number above.
APART = 2.0
ROUNDS = 200


class Clusters(NamedTuple):
    """Centres [k, m], and of each the position of its mirror image [k]: its own for those that lie in the plane."""

    centres: Array
    partner: NDArray[np.int64]


def mirrored_clusters(points: Array, halves: int, signs: Array, rng: np.random.Generator, restarts: int = 10) -> Clusters:
    """Cluster points [n, m] into ``halves`` centres, and the images of those that do not lie in the mirror's plane.

    Args:
        points: finite, in units in which all coordinates matter alike.
        halves: how many centres, not counting images.
        signs: what the mirror multiplies each coordinate by [m], 1 or -1.
        rng: keyed generator, for the k-means++ beginnings.
        restarts: beginnings; the one with the least squared distances wins.
    """
    both = np.stack([points, points * signs])
    inside = np.full(halves, bool((signs == 1).all()))
    tried = [_settle(both, _spread(both, halves, rng), signs, inside) for _ in range(restarts)]
    centres = min(tried, key=lambda one: _nearest(both, one)[2].sum())
    inside |= _across(both, centres, signs)
    centres = _settle(both, centres, signs, inside)
    own = np.flatnonzero(~inside)
    partner = np.arange(halves + len(own))
    partner[own], partner[halves:] = partner[halves:], own
    return Clusters(np.concatenate([centres, centres[own] * signs]), partner)


def _nearest(both: Array, centres: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Of each point: the nearest centre [n], whether the image (1) or the point (0) is near it [n], the squared distance [n]."""
    squared = (both**2).sum(2)[..., None] - 2 * both @ centres.T + (centres**2).sum(1)  # [2, n, h]
    flat = squared.transpose(1, 0, 2).reshape(both.shape[1], -1)
    best = flat.argmin(1)
    return best % len(centres), best // len(centres), flat[np.arange(len(flat)), best].clip(0)


def _spread(both: Array, halves: int, rng: np.random.Generator) -> Array:
    """k-means++: points, each drawn by its squared distance to those drawn before."""
    count = both.shape[1]
    centres = both[0, [int(rng.integers(count))]]
    while len(centres) < halves:
        far = _nearest(both, centres)[2]
        chance = far / far.sum() if far.sum() > 0 else np.full(count, 1 / count)
        centres = np.concatenate([centres, both[0, [int(rng.choice(count, p=chance))]]])
    return centres


def _settle(both: Array, centres: Array, signs: Array, inside: NDArray[np.bool_]) -> Array:
    """Lloyd's rounds until nothing moves; centres ``inside`` stay in the mirror's plane, empty ones where they are."""
    everyone = np.arange(both.shape[1])
    for _ in range(ROUNDS):
        centre, side, _ = _nearest(both, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, centre, both[side, everyone])
        count = np.bincount(centre, minlength=len(centres))[:, None]
        moved = np.where(count > 0, sums / np.maximum(count, 1), centres)
        moved[inside] = (moved[inside] + moved[inside] * signs) / 2
        if np.allclose(moved, centres, rtol=0, atol=1e-12):
            break
        centres = moved
    return centres


def _across(both: Array, centres: Array, signs: Array) -> NDArray[np.bool_]:
    """Which clusters reach across the mirror's plane [h]: they are within `APART` deviations of it."""
    centre, side, _ = _nearest(both, centres)
    own = both[side, np.arange(both.shape[1])]
    beside = (own - own * signs) / 2  # the part that the mirror turns round
    found = np.zeros(len(centres), bool)
    for number in range(len(centres)):
        part = beside[centre == number]
        mean = part.mean(0) if len(part) else np.zeros(len(signs))
        distance = float(np.linalg.norm(mean))
        found[number] = distance == 0 or distance < APART * float((part @ mean / distance).std())
    return found
