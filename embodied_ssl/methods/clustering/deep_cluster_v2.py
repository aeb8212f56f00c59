"""DeepCluster-v2: say from any crop in which cluster its picture was at the end of the last epoch.

Before each epoch, what the head gave for every picture in the last one is clustered on the unit sphere, and the clusters'
centres become the prototypes of the epoch: nothing has to be learnt anew when clusters get other names. Every crop, large or
small, has to name its picture's cluster. Several sets of clusters are found, from the pictures' first and second large crops in
turn, so that no single start of k-means decides.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin 2020, arXiv:2006.09882, appendix, and their program. Kept: spherical
k-means of 10 rounds on vectors stored while training (nothing is embedded between epochs), from random pictures; fixed prototypes
that are the centres, the loss's mean over sets, multi-crop. Different, and why:
- Before the first epoch large crops are embedded with each batch's own statistics: those that a new network keeps say nothing
  yet, and its first clusters would be of vectors unlike any that training sees.
- Empty clusters are repaired (`embodied_ssl.clusters`); in their program a prototype without pictures stays where it was.
- A picture that an epoch leaves out keeps the vectors it had.

The stored vectors are C x N x D numbers, and lie in the checkpoint: 1.3 GB for ImageNet.
Legend: B pictures of a batch, N in all, C large crops and V crops in all, H sets of K prototypes, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.clusters import agreement as mutual_information
from embodied_ssl.clusters import kmeans
from embodied_ssl.core import Batch, Epoch, Method, Panel, Step
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import frozen_statistics
from embodied_ssl.heads import mlp
from embodied_ssl.keys import generator
from embodied_ssl.losses import precise
from embodied_ssl.methods.contrastive.multi_crop import MultiCropConfig
from embodied_ssl.methods.contrastive.prototypes import check_prototypes, cosines, grouped, prototype_figures
from embodied_ssl.views.coloured_crops import check_not_enlarged, crops_of, vectors_of
from embodied_ssl.views.pixels import unnormalise


@dataclass(frozen=True)
class DeepClusterV2Config(MultiCropConfig):
    """The clusters; the crops are those of `MultiCropConfig`.

    Args:
        prototypes: K, clusters in each set; at most the pictures there are.
        sets: H.
        iterations: rounds of k-means.
        temperature: divides the scores.
        hidden, out: widths of the projection head; ``out`` is D.
        norm_out: a norm without scale and shift after the head; see `embodied_ssl.methods.contrastive.swav.SwAVConfig`.
    """

    prototypes: int = 200
    sets: int = 3
    iterations: int = 10
    temperature: float = 0.1
    hidden: int = 512
    out: int = 128
    norm_out: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prototypes < 2 or self.sets < 1 or self.iterations < 1:
            given = f"prototypes is {self.prototypes}, sets {self.sets} and iterations {self.iterations}"
            raise UserError(f"{given}; give at least 2 prototypes, 1 set of them and 1 iteration")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (the paper's is 0.1)")

    def build(self, backbone: Backbone) -> DeepClusterV2:
        self.check_backbone(backbone)
        return DeepClusterV2(mlp(backbone.width, self.hidden, self.out, norm_out=self.norm_out), self)


class DeepClusterV2(Method):
    """Cross-entropy over K clusters, on average over sets; log K when all look alike."""

    needs = frozenset({"picture"})
    stored: Tensor
    labels: Tensor
    centres: Tensor
    found: Tensor
    key: Tensor

    def __init__(self, head: nn.Module, config: DeepClusterV2Config) -> None:
        super().__init__()
        self.config = config
        self.view = config.crops()
        self.head = head
        directions = F.normalize(torch.randn(config.sets, config.prototypes, config.out), dim=2)
        self.register_buffer("centres", directions)  # [H, K, D]; clusters' from the first epoch on
        self.register_buffer("stored", torch.zeros(config.large, 0, config.out))  # [C, N, D] from `fit` on
        self.register_buffer("labels", torch.zeros(config.sets, 0, dtype=torch.int64))  # [H, N]
        self.register_buffer("found", torch.zeros(3))  # of the clusters: see `clusters_found`
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))  # of what `before_epoch` draws

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Nothing is found yet; there is room for every picture's vectors.

        Raises:
            UserError: more prototypes than pictures, or pictures smaller than the crops.
        """
        check_prototypes(self.config.prototypes, len(source))
        check_not_enlarged(source, self.config.size)
        self.stored = torch.zeros(self.config.large, len(source), self.config.out)
        self.labels = torch.zeros(self.config.sets, len(source), dtype=torch.int64)
        self.key = torch.tensor(int(rng.integers(2**31)))

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> None:
        """Cluster what was stored; every set from another of the large crops, in turn."""
        if epoch.number == 0:
            self.stored.copy_(epoch.embed(self.first_look).unflatten(1, (self.config.large, -1)).transpose(0, 1))
        before = self.labels.clone()
        for number in range(self.config.sets):
            rng = generator(int(self.key), "clusters", epoch.number, number)
            rows = self.stored[number % self.config.large]
            clusters = kmeans(rows, self.config.prototypes, rng, self.config.iterations, spherical=True, start="random")
            self.centres[number].copy_(clusters.centres)
            self.labels[number].copy_(clusters.labels)
        self.found.copy_(clusters_found(before, self.labels, self.config.prototypes))

    def first_look(self, backbone: nn.Module, batch: Batch) -> Tensor:
        """Vectors [B, C * D] of the large crops, normalised as in training; running statistics stay as they are."""
        with frozen_statistics(backbone), frozen_statistics(self.head):
            backbone.train()
            self.head.train()
            try:
                return self.project(backbone, crops_of(batch)[: self.config.large]).flatten(1)
            finally:
                backbone.eval()
                self.head.eval()

    def project(self, backbone: nn.Module, crops: Sequence[Tensor]) -> Tensor:
        """Crops, V of [B, 3, S, S], to unit vectors [B, V, D]. One pass through the head: its BatchNorm sees all crops."""
        projected = precise(self.head(torch.cat(vectors_of(backbone, crops))))
        vectors: Tensor = F.normalize(projected, dim=1).unflatten(0, (len(crops), -1)).transpose(0, 1)
        return vectors

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        crops, config = crops_of(batch), self.config
        vectors = self.project(backbone, crops)
        scores = cosines(vectors, self.centres.flatten(0, 1)).unflatten(2, (config.sets, -1))  # [B, V, H, K]
        nearest = scores.detach()[:, : config.large].argmax(3).transpose(1, 2)  # [B, H, C]
        if self.training:
            label = self.labels[:, batch["index"]].T
        else:  # pictures held out are in no cluster: what counts is the nearest of the crop that a set is found from
            label = torch.stack([nearest[:, number, number % config.large] for number in range(config.sets)], dim=1)
        loss = named_cluster(scores, label, config.temperature)
        right = (scores.detach().argmax(3) == label.unsqueeze(1)).float().mean()
        filled, largest, kept = self.found.to(loss.dtype).unbind()
        metrics = {"accuracy": right, "filled_clusters": filled, "largest_cluster": largest, "clusters_kept": kept}
        chance = torch.ones_like(right) / config.prototypes
        carry = {"index": batch["index"], "vectors": vectors[:, : config.large].detach()}
        return Step(loss, {**metrics, "chance_accuracy": chance}, carry, {"nearest": nearest})

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        """Store what the head gave for the large crops: it is clustered before the next epoch."""
        self.stored[:, carry["index"]] = carry["vectors"].transpose(0, 1).to(self.stored)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``agreement`` and ``used`` of the nearest prototypes, beside chance: see `prototype_figures`."""
        return prototype_figures(answers["nearest"], self.config.prototypes)

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Large crops under the cluster of the first set that they are nearest to, those that got most of these crops."""
        crops = [unnormalise(crop) for crop in crops_of(batch)[: self.config.large]]
        return grouped(crops, step.answers["nearest"][:, 0])


def named_cluster(scores: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of every crop under its picture's cluster: the mean over crops and pictures, and over sets.

    Args:
        scores: [B, V, H, K].
        label: int64 [B, H].
        temperature: divides the scores.

    Returns:
        A scalar; log K when all scores are alike.
    """
    label = label.unsqueeze(1).expand(scores.shape[:3])
    return F.cross_entropy(scores.flatten(0, 2) / temperature, label.flatten())


def clusters_found(before: Tensor, labels: Tensor, prototypes: int) -> Tensor:
    """What is said of clusterings int64 [H, N], on average over sets: float [3].

    The share of clusters that hold a picture; the share of pictures in the largest one; and how far clusters agree with those
    ``before``: normalised mutual information, 0 to 1.
    """
    sizes = torch.stack([one.bincount(minlength=prototypes) for one in labels]).float()
    kept = [mutual_information(old, new) for old, new in zip(before, labels, strict=True)]
    shares = (sizes > 0).float().mean(), sizes.amax(1).mean() / labels.shape[1]
    return torch.stack([*shares, sizes.new_tensor(kept).mean()])
