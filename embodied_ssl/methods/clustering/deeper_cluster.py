"""DeeperCluster: say by which quarter turn a picture was rotated, of which group of pictures it is, and of which cluster in it.

DeepCluster for pictures that nobody chose: clusters alone follow what a mass of pictures happens to hold, and turns ask for what
is in the picture whatever the mass is like. Groups make very many clusters affordable: a picture is compared with its group's.

Caron, Bojanowski, Mairal and Joulin 2019, arXiv:1905.01278. Features of upright pictures are clustered into groups, and each
group into its clusters, every few epochs. Turn and group together are the *super-class*. The loss is the cross-entropy of the
super-class among all of them, plus that of the cluster among its group's, by a head that each super-class has for itself. Without
turns and with one group this is DeepCluster; with turns, one group and one cluster it is RotNet (a turn a picture, not all four).

The authors give every super-class processes of its own, which then see its pictures alone, in its one turn: BatchNorm would tell
the super-class by the statistics of their batch, so theirs must be taken over all processes. Here a batch holds pictures of all
super-classes, each in a turn of its own, on every process, and nothing is told. Also different: all heads have first weights of
deviation 0.01, as DeepCluster's, and are trained by the run's one optimiser.

Legend: B pictures, D features, G groups, k clusters of a group, T turns (4, or 1 for none), S = T G super-classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Panel, Step
from embodied_ssl.errors import UserError
from embodied_ssl.methods.clustering.clustered import answered
from embodied_ssl.methods.clustering.deep_cluster import Before, DeepCluster, check_layers
from embodied_ssl.methods.clustering.looks import AS_IT_IS, CropAndWhole, Whole
from embodied_ssl.methods.clustering.pseudo_labels import Clustering, PseudoLabels
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import to_float, unnormalise


@dataclass(frozen=True)
class DeeperClusterConfig:
    """The crops, the super-classes and the clusters.

    Args:
        size: side of the crop and of the whole picture in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how a crop's colours change; the authors change nothing.
        rotation: whether crops are turned by 0, 90, 180 or 270 degrees.
        groups: G; the paper's are 4.
        clusters: k.
        components: principal components that are clustered; 0 for the features as they are.
        iterations: rounds of k-means, at most.
        every: epochs between one clustering and the next.
        hidden, cells, dropout: see `DeepClusterConfig`.
    """

    size: int = 96
    area: tuple[float, float] = (0.08, 1.0)
    colour: ColourChange = field(default_factory=lambda: AS_IT_IS)
    rotation: bool = True
    groups: int = 4
    clusters: int = 25
    components: int = 64
    iterations: int = 10
    every: int = 3
    hidden: int = 0
    cells: int = 0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        Clustering(self.clusters, self.groups, self.components, self.iterations)
        if self.turns * self.groups * self.clusters < 2:
            raise UserError("one group of one cluster without rotation is nothing to tell apart; give more of one of them")
        check_layers(self.every, self.hidden, self.cells, self.dropout)

    @property
    def turns(self) -> int:
        return 4 if self.rotation else 1

    def build(self, backbone: Backbone) -> DeeperCluster:
        before = Before.of(backbone, self.size, self.hidden, self.cells, self.dropout)
        labels = PseudoLabels(before.width, Clustering(self.clusters, self.groups, self.components, self.iterations))
        whole = Whole(self.size, backbone.channels)
        view = CropAndWhole(self.size, self.area, whole, self.colour, backbone.channels, self.turns)
        return DeeperCluster(before, labels, TwoLevels(before.width, self.turns * self.groups, self.clusters), view, self.every)


class TwoLevels(nn.Module):
    """A head over S super-classes and for each of them one over k clusters; none where there is only one to choose."""

    def __init__(self, width: int, supers: int, clusters: int) -> None:
        super().__init__()
        self.supers = nn.Linear(width, supers) if supers > 1 else None
        bound = width**-0.5
        shapes = {"weight": (supers, clusters, width), "bias": (supers, clusters)} if clusters > 1 else {}
        self.subs = nn.ParameterDict({name: torch.empty(shape).uniform_(-bound, bound) for name, shape in shapes.items()})
        self.clusters = clusters

    def of_supers(self, features: Tensor) -> Tensor:
        """Logits [B, S] of features [B, D]."""
        if self.supers is None:
            return features.new_zeros(len(features), 1)
        logits: Tensor = self.supers(features)
        return logits

    def of_clusters(self, features: Tensor, supers: Tensor) -> Tensor:
        """Logits [B, k] by the heads of the given super-classes int64 [B]: a head sees its own pictures alone."""
        if not self.subs:
            return features.new_zeros(len(features), 1)
        weight, bias = self.subs["weight"], self.subs["bias"]
        order = supers.argsort(stable=True)
        numbers, counts = supers.unique(return_counts=True)
        parts = features[order].split(counts.tolist())
        logits = [F.linear(part, weight[number], bias[number]) for number, part in zip(numbers.tolist(), parts, strict=True)]
        return torch.cat(logits)[order.argsort()]


class DeeperCluster(DeepCluster):
    """Cross-entropy over S super-classes plus that over the k clusters of the own one; log S + log k when all look alike."""

    gives_logits = False  # of two questions, the second of which depends on the first
    head: TwoLevels
    view: CropAndWhole

    @property
    def looks_before_epochs(self) -> bool:
        """Where all pictures are one cluster nothing is to be looked for."""
        how: Clustering = self.pseudo.how
        return how.total > 1

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features = self.before.rectified(self.before(backbone, batch["crop"]))
        asked = self.asked(batch, lambda whole: self.before(backbone, whole))
        return {"features": features, "turn": batch["turn"], **asked}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        features, turn, cluster = embeddings["features"], embeddings["turn"], self.truth(embeddings)
        how = self.pseudo.how
        supers, sub = turn * how.groups + cluster // how.clusters, cluster % how.clusters
        first, second = self.head.of_supers(features), self.head.of_clusters(features, supers)
        loss = F.cross_entropy(first, supers) + F.cross_entropy(second, sub)
        guess, guessed_sub = first.argmax(1), second.argmax(1)
        if not self.training:
            told = {"guess": guess * how.clusters + guessed_sub, "truth": supers * how.clusters + sub}
            return Step(loss, answers={**told, "guessed_turn": guess // how.groups, "turn": turn})
        turns = self.view.turns
        found = self.pseudo.metrics()
        metrics = {
            "accuracy": ((guess == supers) & (guessed_sub == sub)).float().mean(),
            "chance_accuracy": 1 / (found["clusters"] * turns),
            "turn_accuracy": (guess // how.groups == turn).float().mean(),
            "chance_turn_accuracy": loss.new_tensor(1 / turns),
        }
        return Step(loss, {**metrics, **found})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``accuracy`` of turn, group and cluster together, by chance as in DeepCluster; ``turn_accuracy`` of the turn alone."""
        turned = float((answers["guessed_turn"] == answers["turn"]).double().mean())
        found = answered(answers["guess"], answers["truth"])
        return {**found, "turn_accuracy": turned, "chance_turn_accuracy": 1 / self.view.turns}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Pictures of some clusters; and turned crops of unseen ones, framed by whether turn and cluster were answered."""
        right = step.answers["guess"] == step.answers["truth"]
        turned = step.answers["guessed_turn"] == step.answers["turn"]
        count = f"turn, group and cluster of {int(right.sum())} of {len(right)} answered, the turn of {int(turned.sum())}"
        return [
            *self.pseudo.panels(len(right)),
            ("pictures it was not trained on", to_float(batch["shown"])),
            (f"turned crops of them: {count}", framed(unnormalise(batch["crop"]), right)),
        ]
