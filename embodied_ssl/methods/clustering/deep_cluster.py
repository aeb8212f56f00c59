"""DeepCluster: say of which cluster a picture is, where the clusters are those of the network's own features.

Even an untrained network groups pictures a little better than chance. To name a picture's group from any crop of it, the network
must hold on to what the group has in common; its features then group pictures better, and so on, epoch by epoch.

Caron, Bojanowski, Joulin and Douze 2018, arXiv:1807.05520. Each epoch: features of all pictures (whole, in eval mode, before the
last ReLU where there are fully connected layers) are PCA-whitened, set to unit length and clustered; a new head is drawn; and the
pictures are met so that every cluster comes equally often. Three ways lead to a network that answers without looking: empty
clusters (k-means splits a large one), a few clusters that swallow all others (hence the even order), and answers kept from the
last epoch (hence the new head: cluster 7 is not what it was). Different from the authors' program, and why:
- The new head is trained by the run's optimiser, whose memory of the old one is dropped; theirs has plain descent of its own.
- An even order goes round each cluster's pictures; theirs draws them with replacement.
- The whole picture is its largest centred square, theirs the middle 224 of 256 pixels.

A new head is of no use until it has learned, so an epoch of few steps is too short for it (``every`` makes it longer), and a rate
that has fallen to nothing at the end leaves the last head as it was drawn.

Held-out pictures are asked for the cluster that their whole is nearest to (`clustered`). Features have moved on since the centres
were found, so late in an epoch this is harder.

Legend: B pictures, N of them for training, D features, k clusters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Epoch, Plan
from embodied_ssl.errors import UserError
from embodied_ssl.heads import places
from embodied_ssl.keys import generator
from embodied_ssl.methods.clustering.clustered import Clustered
from embodied_ssl.methods.clustering.looks import AS_IT_IS, CropAndWhole, Whole
from embodied_ssl.methods.clustering.pseudo_labels import Clustering, PseudoLabels
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop

HEAD_STD = 0.01  # of a new head's weights


@dataclass(frozen=True)
class DeepClusterConfig:
    """The crops, the clusters and the layers before the head.

    Args:
        size: side of the crop and of the whole picture in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how a crop's colours change; the authors change nothing.
        clusters: k. Some ten times as many as there are kinds of things is what the paper finds best.
        components: principal components that are clustered; 0 for the features as they are.
        iterations: rounds of k-means, at most.
        every: epochs between one clustering and the next.
        hidden: width of two fully connected layers with dropout, AlexNet's are of 4,096; 0 for none, then the backbone's vector
            is clustered.
        cells: with ``hidden``, so many by so many places of the last map are kept apart; 0 for the vector, which averages them.
        dropout: before each fully connected layer.
    """

    size: int = 96
    area: tuple[float, float] = (0.08, 1.0)
    colour: ColourChange = field(default_factory=lambda: AS_IT_IS)
    clusters: int = 100
    components: int = 64
    iterations: int = 20
    every: int = 1
    hidden: int = 0
    cells: int = 0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.clusters < 2:
            raise UserError(f"clusters is {self.clusters}; give at least 2")
        Clustering(self.clusters, 1, self.components, self.iterations)
        check_layers(self.every, self.hidden, self.cells, self.dropout)

    def build(self, backbone: Backbone) -> DeepCluster:
        before = Before.of(backbone, self.size, self.hidden, self.cells, self.dropout)
        labels = PseudoLabels(before.width, Clustering(self.clusters, 1, self.components, self.iterations))
        whole = Whole(self.size, backbone.channels)
        view = CropAndWhole(self.size, self.area, whole, self.colour, backbone.channels)
        return DeepCluster(before, labels, nn.Linear(before.width, self.clusters), view, self.every)


def check_layers(every: int, hidden: int, cells: int, dropout: float) -> None:
    """Refuse settings that make no sense.

    Raises:
        UserError: says which and what is accepted.
    """
    if every < 1 or hidden < 0 or cells < 0 or not 0 <= dropout < 1:
        raise UserError(
            f"every is {every}, hidden {hidden}, cells {cells} and dropout {dropout}; "
            "give at least 1, 0 and 0, and a share under 1"
        )
    if cells and not hidden:
        raise UserError(f"cells is {cells} without hidden layers to read them; set --set method.hidden=4096, or cells=0")


class Before(nn.Module):
    """What comes between backbone and head: nothing, or two fully connected layers, as AlexNet and VGG have them.

    Args:
        layers: ends without a ReLU.
        width: of what it gives, D.
        stage, cells: the map that it reads and its places; cells of 0 for the backbone's vector.
    """

    def __init__(self, layers: nn.Sequential, width: int, stage: str = "", cells: int = 0) -> None:
        super().__init__()
        self.layers, self.width, self.stage, self.cells = layers, width, stage, cells

    @classmethod
    def of(cls, backbone: Backbone, size: int, hidden: int, cells: int, dropout: float) -> Before:
        """Fitted to a backbone."""
        if not hidden:
            return cls(nn.Sequential(), backbone.width)
        if cells and not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no map to read cells from; set --set method.cells=0")
        stage, width = backbone.grid_stage(size, 1) if cells else ("", backbone.width)
        first = [nn.Dropout(dropout), nn.Linear(width * max(1, cells**2), hidden), nn.ReLU(inplace=True)]
        return cls(nn.Sequential(*first, nn.Dropout(dropout), nn.Linear(hidden, hidden)), hidden, stage, cells)

    def forward(self, backbone: nn.Module, pictures: Tensor) -> Tensor:
        """Features [B, D]: what is clustered. The head reads them through `rectified`."""
        found = backbone(pictures)
        features: Tensor = self.layers(places(found.maps[self.stage], self.cells) if self.cells else found.vector)
        return features

    def rectified(self, features: Tensor) -> Tensor:
        return F.relu(features) if len(self.layers) else features


class DeepCluster(Clustered):
    """Cross-entropy over k clusters; log k when all look alike."""

    def __init__(self, before: Before, labels: PseudoLabels, head: nn.Module, view: CropAndWhole, every: int) -> None:
        super().__init__(labels, head, view)
        self.before = before
        self.every = every

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan:
        """Cluster and draw a new head, when it is time; and put the pictures in an even order."""
        rng = generator(int(self.key), "epoch", epoch.number)
        if epoch.number % self.every:
            return Plan(self.pseudo.order(rng))
        features = epoch.embed(lambda network, batch: self.before(network, batch["picture"]))
        self.pseudo.cluster(features, rng, again=epoch.number > 0)
        self.pseudo.take_samples(epoch.source, self.whole, rng)
        return Plan(self.pseudo.order(rng), self.renew(), self.pseudo.note())

    def renew(self) -> tuple[str, ...]:
        """Draw a new head.

        Returns:
            The names of its parameters.
        """
        for name, parameter in self.head.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=HEAD_STD)
        return tuple(f"head.{name}" for name, _ in self.head.named_parameters())

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features = self.before.rectified(self.before(backbone, batch["crop"]))
        return {"logits": self.head(features), **self.asked(batch, lambda whole: self.before(backbone, whole))}
