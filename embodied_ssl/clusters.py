"""k-means on the device where the features are: batched over rows, and no cluster is left empty.

Lloyd's rounds in plain torch. Distances are taken about the mean of all rows, since those of far points cancel badly; sums are
float64 and made by sorting, so the same features give the same clusters on every run and rank. A cluster that nothing falls to
takes part of the largest one (`_split`), which faiss does too, by another rule. Legend: N rows, D numbers each, k clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.errors import UserError

CELLS = 2**24  # distances held at a time: 64 MB in float32


class Clusters(NamedTuple):
    """What `kmeans` found.

    Attributes:
        centres: [k, D], in the dtype of the features; of unit length in the spherical form.
        labels: int64 [N], the cluster of each row: that of the nearest centre (but for clusters split in the last round).
        inertia: sum of squared distances to the own centre.
        repaired: how often an empty cluster was given part of a large one.
    """

    centres: Tensor
    labels: Tensor
    inertia: float
    repaired: int = 0

    @property
    def sizes(self) -> Tensor:
        """Rows in each cluster, int64 [k]."""
        return torch.bincount(self.labels, minlength=len(self.centres))


def kmeans(
    features: Tensor,
    k: int,
    rng: np.random.Generator,
    iterations: int = 20,
    spherical: bool = False,
    start: Literal["far", "random"] | Tensor = "far",
) -> Clusters:
    """Cluster rows into k groups of small squared distance to their mean.

    Args:
        features: float [N, D] on any device; left as they are.
        k: clusters.
        rng: keyed generator, of the start.
        iterations: rounds at most; fewer where nothing changes any more.
        spherical: rows and centres are set to unit length, so that the nearest centre is the one of greatest cosine. A row of
            zeros stays one.
        start: ``far`` draws each centre by its squared distance to those drawn before (k-means++; k passes over the rows),
            ``random`` k different rows (what suits thousands of clusters); or centres [k, D].

    Returns:
        No cluster is empty unless there are fewer than k different rows.

    Raises:
        UserError: k is not 1 to N, or a feature is not finite.
    """
    if not 1 <= k <= len(features):
        raise UserError(f"{k} clusters of {len(features)} pictures: give at least 1 cluster, and no more than there are pictures")
    if iterations < 1:
        raise UserError(f"k-means was given {iterations} rounds; give at least 1")
    middle = _mean(features, spherical)
    rows = _Rows(features, middle, spherical)
    if isinstance(start, Tensor):
        centres = rows.same_space(start)
    else:
        centres = _far(rows, k, rng) if start == "far" else rows[_random(len(features), k, rng, features.device)]
    labels, repaired = rows.nearest(centres), 0
    for _ in range(iterations):
        labels, splits = _fill_empty(rows, labels, k)
        repaired += splits
        centres = rows.means(labels, centres)
        before, labels = labels, rows.nearest(centres)
        if torch.equal(before, labels):
            break
    labels, splits = _fill_empty(rows, labels, k)  # what the last round emptied
    centres = rows.means(labels, centres) if splits else centres
    inertia = sum(float((part - centres[own]).double().square().sum()) for part, own in rows.parts(1, labels))
    return Clusters(centres if spherical else centres + middle, labels, inertia, repaired + splits)


def nearest(features: Tensor, centres: Tensor, spherical: bool = False) -> Tensor:
    """The nearest centre of each row: float [N, D] and [k, D] to int64 [N]; of equally near ones the first."""
    rows = _Rows(features, centres.mean(0) * (not spherical), spherical)
    return rows.nearest(rows.same_space(centres))


def agreement(first: Tensor, second: Tensor) -> float:
    """How far two clusterings int64 [N] of the same rows agree: normalised mutual information.

    Mutual information over the mean of both entropies (scikit-learn's default): 0 when independent, 1 when they are the same but
    for the names. Takes memory by the pairs that occur, so thousands of clusters are no trouble.
    """
    a, b = first.unique(return_inverse=True)[1], second.unique(return_inverse=True)[1]
    pairs = a * (b.max() + 1) + b
    of_a, of_b, of_both = (_entropy(one) for one in (a, b, pairs))
    mean = (of_a + of_b) / 2
    return 1.0 if mean == 0 else max(0.0, (of_a + of_b - of_both) / mean)


def _entropy(labels: Tensor) -> float:
    shares = labels.unique(return_counts=True)[1].double() / len(labels)
    return float(-(shares * shares.log()).sum())


class _Rows:
    """The rows as distances are taken of them: less the middle, or of unit length; a stretch of them at a time."""

    def __init__(self, features: Tensor, middle: Tensor, spherical: bool) -> None:
        self.features, self.middle, self.spherical = features, middle, spherical

    def __getitem__(self, which: Tensor) -> Tensor:
        return self.same_space(self.features[which])

    def same_space(self, raw: Tensor) -> Tensor:
        raw = raw.to(self.features)
        return F.normalize(raw, dim=1) if self.spherical else raw - self.middle

    def parts(self, width: int, *alongside: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Stretches of rows, of ``width`` numbers of work each, with the same stretch of other tensors [N, ...]."""
        length = max(1, CELLS // max(width, self.features.shape[1]))
        for first in range(0, len(self.features), length):
            stretch = slice(first, first + length)
            yield self.same_space(self.features[stretch]), *(one[stretch] for one in alongside)

    def nearest(self, centres: Tensor) -> Tensor:
        """int64 [N]."""
        offset = centres.square().sum(1)
        parts = [torch.addmm(offset, part, centres.T, alpha=-2).argmin(1) for (part,) in self.parts(len(centres))]
        return torch.cat(parts)

    def means(self, labels: Tensor, old: Tensor) -> Tensor:
        """Of every cluster [k, D]; an empty one keeps its old centre. In the spherical form of unit length."""
        k = len(old)
        sums = torch.zeros(k, old.shape[1], dtype=torch.float64, device=old.device)
        for part, own in self.parts(1, labels):
            order = own.argsort(stable=True)
            lengths = torch.bincount(own, minlength=k)
            sums += torch.segment_reduce(part[order].double(), "sum", lengths=lengths, axis=0, initial=0)
        count = torch.bincount(labels, minlength=k).unsqueeze(1)
        found = F.normalize(sums, dim=1) if self.spherical else sums / count.clamp_min(1)
        lost = (count == 0) | (self.spherical & (sums == 0).all(1, keepdim=True))
        return torch.where(lost, old, found.to(old.dtype))


def _mean(features: Tensor, spherical: bool) -> Tensor:
    """The mean row [D], or zeros in the spherical form.

    Raises:
        UserError: it is not finite.
    """
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    length = max(1, CELLS // features.shape[1])
    for part in features.split(length):
        total += part.double().sum(0)
    if not bool(total.isfinite().all()):
        raise UserError("features are not finite, so they cannot be clustered; lower the rate with --set optimizer.rate=")
    return (total / len(features)).to(features.dtype) * (not spherical)


def _random(count: int, k: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    return torch.from_numpy(rng.choice(count, k, replace=False)).to(device)


def _far(rows: _Rows, k: int, rng: np.random.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007): centres [k, D]."""
    device = rows.features.device
    chosen = [int(rng.integers(len(rows.features)))]
    far = torch.full((len(rows.features),), float("inf"), dtype=torch.float64, device=device)
    while True:
        last = rows[torch.tensor(chosen[-1:], device=device)]
        new = torch.cat([(part - last).square().sum(1) for (part,) in rows.parts(1)])
        far = torch.minimum(far, new.double())
        if len(chosen) == k:
            return rows[torch.tensor(chosen, device=device)]
        edges = np.cumsum(far.cpu().numpy())  # there: a sum in order, whatever the device
        at = np.searchsorted(edges, rng.random() * edges[-1], side="right")
        # where all rows are chosen already, or alike, any other will do: a cluster of no row is split off later
        chosen.append(min(int(at), len(far) - 1))


def _fill_empty(rows: _Rows, labels: Tensor, k: int) -> tuple[Tensor, int]:
    """Labels without empty clusters, as far as different rows last, and how many clusters were split for it."""
    sizes = torch.bincount(labels, minlength=k)
    empty = (sizes == 0).nonzero().flatten().tolist()
    if not empty:
        return labels, 0
    labels, splittable, splits = labels.clone(), sizes.clone(), 0
    while splits < len(empty) and int(splittable.max()) > 1:
        largest = int(splittable.argmax())
        members = (labels == largest).nonzero().flatten()
        leaving = members[_split(rows[members])]
        if len(leaving) == 0:
            splittable[largest] = 0  # all its rows are the same
            continue
        labels[leaving] = empty[splits]
        splittable[largest] -= len(leaving)
        splittable[empty[splits]] = len(leaving)
        splits += 1
    return labels, splits


def _split(members: Tensor) -> Tensor:
    """Which members leave [n], bool: those nearer to the farthest member than to the mean; none where all are the same.

    Else some leave and some stay: deviations sum to zero, so some point away from the farthest one.
    """
    beside = members.double() - members.double().mean(0)
    distance = beside.square().sum(1)
    farthest = distance.argmax()
    scale = members.double().square().sum(1).max()
    if not bool(distance[farthest] > 1e-12 * scale):
        return torch.zeros(len(members), dtype=torch.bool, device=members.device)
    return beside @ beside[farthest] > distance[farthest] / 2
