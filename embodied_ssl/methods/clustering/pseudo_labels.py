"""Clusters as labels: which picture is of which cluster, kept in buffers, and what must be known to give a new one its own.

Features are PCA-whitened (or not), set to unit length and clustered by k-means: into groups first, if more than one is wanted,
and within each group into clusters, so that a cluster's number is its group's times the clusters a group has, plus its own in it.

Legend: N training pictures, D numbers a feature has, d of them after whitening, G groups, k clusters of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.clusters import agreement, kmeans, nearest
from embodied_ssl.core import Panel
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.methods.clustering.looks import Whole
from embodied_ssl.whitening import pca_whitening

MANY = 1000  # k-means++ passes over all features once for each cluster; so many and more begin at random pictures instead
SHOWN = 6  # clusters that are shown, from the largest to the smallest
EACH = 8  # pictures of each
LARGE = 0.5  # a cluster with more than this share of all pictures has swallowed the others


@dataclass(frozen=True)
class Clustering:
    """How features are clustered.

    Args:
        clusters: k.
        groups: G.
        components: d of PCA-whitening; 0 leaves features as they are.
        iterations: rounds of k-means, at most.
    """

    clusters: int
    groups: int = 1
    components: int = 0
    iterations: int = 20

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.groups < 1:
            raise UserError(f"{self.groups} groups of {self.clusters} clusters each: give at least 1 and 1")
        if self.components < 0 or self.iterations < 1:
            raise UserError(f"components is {self.components} and iterations {self.iterations}; give at least 0 and 1")

    @property
    def total(self) -> int:
        return self.clusters * self.groups


class PseudoLabels(nn.Module):
    """The clusters of the training pictures, all in buffers: a run resumed inside an epoch goes on with them.

    Attributes:
        labels: int64 [N]; until the first look at the pictures, drawn at random.
        agreed: how far they agree with those before them (normalised mutual information); -1 where there were none.
    """

    labels: Tensor
    agreed: Tensor
    mean: Tensor
    matrix: Tensor
    group_centres: Tensor
    centres: Tensor
    counts: Tensor
    samples: Tensor
    sampled: Tensor

    def __init__(self, width: int, how: Clustering) -> None:
        super().__init__()
        if how.components > width:
            raise UserError(f"components is {how.components} of features with {width} numbers; give at most {width}")
        self.how = how
        d = how.components or width
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("agreed", torch.tensor(-1.0))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width, d) if how.components else torch.zeros(0, 0))
        self.register_buffer("group_centres", torch.zeros(how.groups, d))
        self.register_buffer("centres", torch.zeros(how.total, d))
        self.register_buffer("counts", torch.full((how.groups,), how.clusters))  # clusters of each group: k, or as its pictures
        self.register_buffer("samples", torch.zeros(0, 8, 8, 3, dtype=torch.uint8))  # pictures of some clusters
        self.register_buffer("sampled", torch.zeros(0, dtype=torch.int64))  # the cluster of each of them

    def begin(self, source: Source, rng: np.random.Generator) -> None:
        """Before training.

        Raises:
            UserError: there are fewer pictures than clusters, or than principal components.
        """
        count = len(source)
        if self.how.total > count:
            raise UserError(
                f"{self.how.total} clusters of {count} pictures: there must be at least one picture a cluster, and some ten are "
                f"better; set --set method.clusters={max(2, count // 10 // self.how.groups)}"
            )
        if self.how.components >= count:
            raise UserError(
                f"{self.how.components} principal components of {count} pictures: give fewer than there are pictures, "
                f"--set method.components={count - 1} or less"
            )
        self.labels = torch.from_numpy(rng.integers(self.how.total, size=count)).to(self.centres.device)
        self.agreed.fill_(-1)

    # --- clustering ---------------------------------------------------------------------------------------------------

    def cluster(self, features: Tensor, rng: np.random.Generator, again: bool) -> int:
        """Cluster features float [N, D] anew.

        Args:
            again: whether there were clusters of features before, to compare with.

        Returns:
            How often an empty cluster was given part of a large one.
        """
        if self.how.components:
            mean, matrix = pca_whitening(features, self.how.components)
            self.mean.copy_(mean)
            self.matrix.copy_(matrix)
        points = self.seen(features)
        group = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        labels, repaired = group.clone(), 0
        if self.how.groups > 1:
            found = kmeans(points, self.how.groups, rng, self.how.iterations)
            self.group_centres.copy_(found.centres)
            group, repaired = found.labels, found.repaired
        for number in range(self.how.groups):
            own = (group == number).nonzero().flatten()
            if len(own):
                labels[own], splits = self._within(points[own], number, rng)
                repaired += splits
        self.agreed.fill_(agreement(self.labels, labels) if again else -1)
        self.labels.copy_(labels)
        return repaired

    def _within(self, points: Tensor, group: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        """The clusters of one group's pictures, by their numbers. A group of few pictures has as many clusters as those."""
        count = min(self.how.clusters, len(points))
        first = group * self.how.clusters
        found = kmeans(points, count, rng, self.how.iterations, start="far" if count < MANY else "random")
        self.centres[first : first + count] = found.centres
        self.counts[group] = count
        return found.labels + first, found.repaired

    def seen(self, features: Tensor) -> Tensor:
        """Features [n, D] as they are clustered: [n, d], of unit length."""
        changed = (features - self.mean) @ self.matrix if self.how.components else features
        return F.normalize(changed, dim=1)

    def of(self, features: Tensor) -> Tensor:
        """The clusters int64 [n] of new pictures, by their features [n, D]: the nearest centre's, of the nearest group."""
        points = self.seen(features.to(self.centres.dtype))
        if self.how.groups == 1:
            return self._nearest_in(points, 0)
        group = nearest(points, self.group_centres)
        found = torch.zeros_like(group)
        for number in group.unique().tolist():
            own = group == number
            found[own] = self._nearest_in(points[own], number)
        return found

    def _nearest_in(self, points: Tensor, group: int) -> Tensor:
        first = group * self.how.clusters
        return nearest(points, self.centres[first : first + int(self.counts[group])]) + first

    # --- what is told and drawn ---------------------------------------------------------------------------------------

    @property
    def sizes(self) -> Tensor:
        """Pictures in each cluster, int64 [G * k]."""
        return torch.bincount(self.labels, minlength=self.how.total)

    def metrics(self) -> dict[str, Tensor]:
        """``clusters``: those that are not empty; ``largest_share`` of all pictures; ``agreement`` with the clusters before."""
        sizes = self.sizes
        found = {"clusters": (sizes > 0).sum().float(), "largest_share": sizes.max() / len(self.labels)}
        return found | ({"agreement": self.agreed.clone()} if bool(self.agreed >= 0) else {})

    def note(self) -> str:
        """What to say of these clusters: a warning where they die out or run together, "" else."""
        sizes = self.sizes
        empty, share = int((sizes == 0).sum()), float(sizes.max()) / len(self.labels)
        if share > LARGE:
            return (
                f"one cluster holds {share:.0%} of all pictures: to the network most pictures look alike (collapse); "
                "a lower rate or fewer clusters may help"
            )
        if empty:
            return (
                f"{empty} of {len(sizes)} clusters are empty: there are fewer different features (or pictures in a group) than "
                "clusters; fewer clusters may help"
            )
        return ""

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """As many samples as there are, int64 [N], shuffled: every cluster that is not empty as often as any other, to within 1.

        Else a network may learn to answer with large clusters alone. Pictures of small clusters come again, those of large
        ones do not all come.
        """
        return even_order(self.labels.cpu().numpy(), rng)

    def take_samples(self, source: Source, look: Whole, rng: np.random.Generator) -> None:
        """Keep some pictures of some clusters, from the largest to the smallest, to be shown."""
        sizes = self.sizes.cpu().numpy()
        largest = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
        chosen = largest[np.unique(np.linspace(0, len(largest) - 1, SHOWN).round().astype(int))]
        labels = self.labels.cpu().numpy()
        pictures, owners = [], []
        for cluster in chosen.tolist():
            for index in rng.permutation(np.flatnonzero(labels == cluster))[:EACH].tolist():
                try:
                    pictures.append(look.pixels(source[index]["picture"]))
                except BadItem:  # left out: it is named when it is met in training
                    continue
                owners.append(cluster)
        if not pictures:
            return
        self.samples = torch.from_numpy(np.stack(pictures)).to(self.labels.device)
        self.sampled = torch.tensor(owners, device=self.labels.device)

    def panels(self, most: int) -> Sequence[Panel]:
        """A row for each cluster of which pictures are kept, with ``most`` of them at most."""
        sizes = self.sizes.tolist()
        return [
            (
                f"training pictures of cluster {cluster}, which has {sizes[cluster]} of {len(self.labels)}",
                self.samples[self.sampled == cluster][:most].movedim(-1, -3).float() / 255,
            )
            for cluster in dict.fromkeys(self.sampled.tolist())
        ]


def even_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions int64 [N] in a random order, in which every label that occurs comes equally often, to within 1.

    A label's own samples come equally often too, to within 1.
    """
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    quota = np.full(len(counts), len(labels) // len(counts))
    quota[rng.permutation(len(counts))[: len(labels) % len(counts)]] += 1
    owner = np.repeat(np.arange(len(counts)), quota)
    turn = np.arange(len(labels)) - np.repeat(np.cumsum(quota) - quota, quota)  # how often this label has come before
    first = np.cumsum(counts) - counts
    return rng.permutation(by_label[first[owner] + turn % counts[owner]]).astype(np.int64)
