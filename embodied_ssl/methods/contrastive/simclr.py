"""SimCLR: find a picture's other view among the other views of all pictures in the batch.

Two crops share what is in the picture and little else, once colours are changed; agreement then rests on content.

Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709: loss eq. 1, views appendix A, head section 4; version 2
(arXiv:2006.10029) has a head of three layers. Their program puts a norm, without a shift, on the head's output as well
(``norm_out``). Here pictures are normalised by ImageNet's mean and standard deviation (the authors feed 0..1), crops are
area-averaged (theirs bicubic), and colours change by one fused matrix (`embodied_ssl.views.colour`). BatchNorm's statistics are
each rank's own unless ``sync_batch_norm`` is set (theirs are global). The loss is the mean over all 2N anchors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Step
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.losses import nt_xent, precise
from embodied_ssl.methods.contrastive.two_views import TwoViews, found_in_batch
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, crops_of, vectors_of


@dataclass(frozen=True)
class SimCLRConfig:
    """The two views, the head and the temperature.

    Args:
        size: side of the crops in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how colours change; half the paper's strength suits small pictures.
        temperature: divides the cosine.
        hidden, out: widths of the projection head.
        layers: of the head; 2 in version 1, 3 in version 2.
        norm_out: a norm without a shift after the last layer, as in the authors' program.
    """

    size: int = 96
    area: tuple[float, float] = (0.08, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    temperature: float = 0.2
    hidden: int = 512
    out: int = 128
    layers: int = 2
    norm_out: bool = False

    def __post_init__(self) -> None:
        Crop(self.size, self.area)  # checked there
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (0.1 to 0.5 are usual)")
        if self.layers < 1:
            raise UserError(f"layers is {self.layers}; give at least 1 (2 in SimCLR, 3 in its version 2)")

    def build(self, backbone: Backbone) -> SimCLR:
        head = mlp(backbone.width, *[self.hidden] * (self.layers - 1), self.out)
        if self.norm_out:
            norm = nn.BatchNorm1d(self.out)
            norm.bias.requires_grad_(False)  # it stays at 0
            head.append(norm)
        crop = Crop(self.size, self.area, self.colour)
        return SimCLR(head, ColouredCrops((crop, crop)), self.temperature)


class SimCLR(TwoViews):
    """NT-Xent over projections of two views; log(2N - 1) when all look alike."""

    coupled = True

    def __init__(self, head: nn.Sequential, view: ColouredCrops, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.view = view
        self.temperature = temperature

    def check_batch(self, examples: int, together: int) -> None:
        """Refuse a picture alone: there is no other to tell it from."""
        if examples < 2:
            raise UserError(f"a batch of {examples} picture has no negatives; give batch_size of at least 2, better 64 or more")

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        vectors = torch.cat(vectors_of(backbone, crops_of(batch)))
        first, second = precise(self.head(vectors)).chunk(2)
        return {"first": first, "second": second, "asked": batch["index"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        first, second = embeddings["first"], embeddings["second"]
        loss = nt_xent(first, second, self.temperature)
        answers = {"first": first.detach(), "second": second.detach(), "asked": embeddings["asked"]}
        return Step(loss, found_in_batch(first, second), answers=answers)
