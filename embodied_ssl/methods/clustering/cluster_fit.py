"""ClusterFit: a network that was trained before clusters the pictures; a fresh one learns to say of which cluster each is.

Clusters keep what a trained network makes of whole pictures and drop the details by which it solved its own task; a network that
learns from clusters alone has never met that task, and its last layers serve other tasks better.

Yan, Misra, Gupta, Ghadiyaram and Mahajan 2020, arXiv:1912.03330. The *teacher* is the network as it stands when the stage begins:
trained by the stage before it, or given by ``--init``; or any other network, by ``teacher``. Its vectors of the whole pictures
are set to unit length and clustered once, as in the authors' published program, without PCA. The network that is trained is
drawn anew, whatever it was before. A teacher that nobody trained gives clusters too, worth little.

The teacher stays in the checkpoint, since it answers what is asked of held-out pictures: of which cluster is the whole, said by
the teacher; and does the network tell it from a crop? It is not exported.

Legend: B pictures, k clusters.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Epoch, Plan
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.clustering.clustered import Clustered
from embodied_ssl.methods.clustering.looks import AsAnother, CropAndWhole, Whole
from embodied_ssl.methods.clustering.pseudo_labels import Clustering, PseudoLabels
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop


@dataclass(frozen=True)
class ClusterFitConfig:
    """The crops, the clusters and whose they are.

    Args:
        size: side of the crop in pixels, and of the whole picture for a teacher of the same kind.
        area: least and greatest share of the picture that a crop covers.
        colour: how a crop's colours change; as in the authors' program by default.
        clusters: k.
        iterations: rounds of k-means, at most.
        teacher: a network as ``embodied-ssl evaluate`` opens it (a run folder, a file of weights, ...), in its own preprocessing;
            give a path that holds from everywhere. "" for the network as it stands when the stage begins.
    """

    size: int = 96
    area: tuple[float, float] = (0.08, 1.0)
    colour: ColourChange = field(default_factory=lambda: ColourChange(0.4, 0.4, 0.4, 0.2, change=1.0, grey=0.0))
    clusters: int = 100
    iterations: int = 50
    teacher: str = ""

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.clusters < 2:
            raise UserError(f"clusters is {self.clusters}; give at least 2")
        Clustering(self.clusters, iterations=self.iterations)

    def build(self, backbone: Backbone) -> ClusterFit:
        teacher, whole = self._teacher(backbone)
        labels = PseudoLabels(teacher.width, Clustering(self.clusters, iterations=self.iterations))
        view = CropAndWhole(self.size, self.area, whole, self.colour, backbone.channels)
        return ClusterFit(teacher, labels, nn.Linear(backbone.width, self.clusters), view, takes_over=not self.teacher)

    def _teacher(self, backbone: Backbone) -> tuple[Backbone, Whole]:
        if not self.teacher:
            return copy.deepcopy(backbone), Whole(self.size, backbone.channels)
        from embodied_ssl.evaluation.models import open_model

        model = open_model(self.teacher)
        own = model.preprocessing
        return model.backbone, AsAnother(own.size, model.backbone.channels, own)


class ClusterFit(Clustered):
    """Cross-entropy over the k clusters of another network; log k when all look alike.

    Args:
        takes_over: whether the teacher takes the weights that the backbone has at the start.
    """

    fresh = True
    head: nn.Linear

    def __init__(
        self, teacher: Backbone, labels: PseudoLabels, head: nn.Linear, view: CropAndWhole, takes_over: bool = True
    ) -> None:
        super().__init__(labels, head, view)
        self.teacher = teacher.requires_grad_(False)
        self.takes_over = takes_over

    def start(self, backbone: nn.Module) -> None:
        if self.takes_over:
            self.teacher.load_state_dict(backbone.state_dict())

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan | None:
        """Before the first epoch, cluster; the pictures come in the usual order."""
        if epoch.number:
            return None
        self.head.reset_parameters()  # one of a stage before, of the same shape, would be of other clusters
        rng = generator(int(self.key), "clusters")
        self.pseudo.cluster(epoch.embed(lambda network, batch: self.seen(batch["picture"])), rng, again=False)
        self.pseudo.take_samples(epoch.source, self.whole, rng)
        return Plan(note=self.pseudo.note())

    def seen(self, pictures: Tensor) -> Tensor:
        """What the teacher makes of whole pictures: its vectors [B, D]."""
        vectors: Tensor = self.teacher(pictures).vector
        return vectors

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"logits": self.head(backbone(batch["crop"]).vector), **self.asked(batch, self.seen)}
