"""MoCo v3: each view predicts what a slow copy of the network says of the picture's other view, among all pictures of the batch.

Large batches make the queue of `moco` needless: the other keys of the batch are the negatives, and no earlier step leaves its
stamp on them, so nothing needs to be normalised apart either. A second head, the predictor, sits on the trained side only.

Chen, Xie and He 2021, arXiv:2104.02057, algorithm 1, with their program's particulars: each direction's cross-entropy is times
twice the temperature, both directions are added, heads have no biases and end in BatchNorm without scale and shift (but for a
ResNet's predictor), the copy's momentum rises to 1 along half a cosine. For vision transformers the random projection of patches
is never trained (``frozen_patches``): training it is what made theirs unstable. Different: both views go through the network in
one pass, so that BatchNorm sees them together (theirs: one after the other; statistics over all ranks, here with
``sync_batch_norm``); none are solarised.

Legend: B pictures of a step, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Step
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.methods.contrastive.momentum import MomentumCopy, check_momentum, rising
from embodied_ssl.methods.contrastive.sub_batches import check_groups
from embodied_ssl.methods.contrastive.two_views import TwoViews, found_in_batch
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, crops_of, vectors_of

PATCHES = "backbone.net.patch_embed."  # where timm's transformers project patches to tokens


@dataclass(frozen=True)
class MoCoV3Config:
    """The two views, the slow copy and the heads.

    Args:
        size: side of the crops in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour, other_colour: how the colours of the first and of the second view change.
        momentum: of the slow copy at the start; it rises to 1.
        temperature: divides the cosine.
        layers: of the projection; the authors have 2 for ResNets and 3 for transformers. The predictor has 2.
        hidden, out: widths of both heads.
        norm_out: whether the predictor ends in a norm too; for transformers it does.
        frozen_patches: a transformer's projection of patches stays random; of no consequence for other networks.
    """

    size: int = 96
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    other_colour: ColourChange = field(default_factory=ColourChange)
    momentum: float = 0.99
    temperature: float = 0.2
    layers: int = 2
    hidden: int = 512
    out: int = 128
    norm_out: bool = False
    frozen_patches: bool = True

    def __post_init__(self) -> None:
        Crop(self.size, self.area)  # checked there
        check_momentum(self.momentum)
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (0.2 for transformers, 1 for ResNets)")
        if self.layers < 1 or self.hidden < 1 or self.out < 1:
            raise UserError(f"layers is {self.layers}, hidden {self.hidden} and out {self.out}; give at least 1 each")

    def build(self, backbone: Backbone) -> MoCoV3:
        return MoCoV3(backbone, backbone.width, self)


class MoCoV3(TwoViews):
    """Cross-entropy among the B keys of a step, both ways, times twice the temperature T; 4 T log B when all look alike."""

    coupled = True

    def __init__(self, backbone: nn.Module, width: int, config: MoCoV3Config) -> None:
        super().__init__()
        crops = [Crop(config.size, config.area, colour) for colour in (config.colour, config.other_colour)]
        self.view = ColouredCrops(tuple(crops))
        self.config = config
        hidden, out = config.hidden, config.out
        self.head = mlp(width, *[hidden] * (config.layers - 1), out, norm_out=True)
        self.predictor = mlp(out, hidden, out, norm_out=config.norm_out)
        self.slow_backbone = MomentumCopy(backbone)
        self.slow_head = MomentumCopy(self.head)

    def check_batch(self, examples: int, together: int) -> None:
        """A lone picture has no negatives, and BatchNorm (in the heads at least) nothing to compare it with."""
        check_groups(together, 1)

    def trains(self, phase: str, parameter: str) -> bool:
        return not (self.config.frozen_patches and parameter.startswith(PATCHES))

    def start(self, backbone: nn.Module) -> None:
        self.slow_backbone.start(backbone)
        self.slow_head.start(self.head)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        crops = crops_of(batch)
        queries = self.predictor(self.head(torch.cat(vectors_of(backbone, crops))))
        keys = self.slow_head(torch.cat(vectors_of(self.slow_backbone, crops)))
        rows = dict(zip(("query0", "query1", "key0", "key1"), (*queries.chunk(2), *keys.chunk(2)), strict=True))
        return {**rows, "asked": batch["index"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        query0, query1 = (F.normalize(embeddings[name], dim=1) for name in ("query0", "query1"))
        key0, key1 = (F.normalize(embeddings[name].detach(), dim=1) for name in ("key0", "key1"))
        temperature = self.config.temperature
        loss = batch_contrast(query0, key1, temperature) + batch_contrast(query1, key0, temperature)
        answers = {"first": query0.detach(), "second": key1, "asked": embeddings["asked"]}
        return Step(loss, found_in_batch(query0, key1), answers=answers)

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        """The slow copy follows the network, ever more slowly."""
        momentum = rising(self.config.momentum, progress)
        self.slow_backbone.update(backbone, momentum)
        self.slow_head.update(self.head, momentum)


def batch_contrast(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Twice the temperature times the cross-entropy of picking each query's own key among the keys of all.

    Chen et al. 2021, algorithm 1, and the factor of their program, with which gradients do not grow as the temperature falls.

    Args:
        query, key: unit vectors [B, D]; row i of one belongs to row i of the other.
        temperature: divides the cosine.

    Returns:
        A scalar; 2 * temperature * log B when all look alike.
    """
    own = torch.arange(len(query), device=query.device)
    return 2 * temperature * F.cross_entropy(query @ key.T / temperature, own)
