"""SimCLR: find a picture's other view among the other views of all pictures in the batch.

Two crops share what is in the picture and little else, once colours are changed; agreement then rests on content.

Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709: loss eq. 1, views appendix A, head section 4. Here pictures
are normalised by ImageNet's mean and standard deviation (the authors feed 0..1), crops are area-averaged (theirs bicubic),
and colours change by one fused matrix (`embodied_ssl.views.colour`). BatchNorm's statistics are each rank's own unless
``sync_batch_norm`` is set (theirs are global). The loss is the mean over all 2N anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.losses import nt_xent
from embodied_ssl.views.colour import ColourChange, blur, change_colours
from embodied_ssl.views.crops import check_crop, check_picture, random_crop
from embodied_ssl.views.pixels import normalise, to_float, unnormalise


@dataclass(frozen=True)
class SimCLRConfig:
    """The two views, the head and the temperature.

    Args:
        size: side of the crops in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how colours change; half the paper's strength suits small pictures.
        temperature: divides the cosine.
        hidden, out: widths of the projection head.
    """

    size: int = 96
    area: tuple[float, float] = (0.08, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    temperature: float = 0.2
    hidden: int = 512
    out: int = 128

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (0.1 to 0.5 are usual)")

    def build(self, backbone: Backbone) -> SimCLR:
        head = mlp(backbone.width, self.hidden, self.out)
        return SimCLR(head, TwoViews(self.size, self.area, self.colour), self.temperature)


@dataclass(frozen=True)
class TwoViews(View):
    """Two crops of one picture, uint8 [S, S, 3] each, with the factors of their colour changes [6]."""

    size: int
    area: tuple[float, float]
    colour: ColourChange

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        check_picture(sample["picture"])
        drawn: Example = {}
        for name in ("first", "second"):
            drawn[name] = random_crop(sample["picture"], self.size, rng, self.area)
            drawn[f"{name}_colours"] = self.colour.draw(rng)
        return drawn

    def render(self, batch: Batch) -> Batch:
        rendered = dict(batch)
        for name in ("first", "second"):
            factors = batch[f"{name}_colours"]
            pictures = change_colours(to_float(batch[name]), factors)
            if self.colour.blur:
                pictures = blur(pictures, factors[:, 5], radius=max(1, self.size // 20))
            rendered[name] = normalise(pictures)
        return rendered

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [(f"{name} view", unnormalise(batch[name])) for name in ("first", "second")]


class SimCLR(Method):
    """NT-Xent over projections of two views; log(2N - 1) when all look alike."""

    needs = frozenset({"picture"})
    coupled = True

    def __init__(self, head: nn.Sequential, view: TwoViews, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.view = view
        self.temperature = temperature

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        both = torch.cat([batch["first"], batch["second"]])  # one pass: BatchNorm sees both views together
        first, second = self.head(backbone(both).vector).float().chunk(2)
        return {"first": first, "second": second}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        first, second = embeddings["first"], embeddings["second"]
        loss = nt_xent(first, second, self.temperature)
        with torch.no_grad():
            a, b = F.normalize(first, dim=1), F.normalize(second, dim=1)
            found = (a @ b.T).argmax(1) == torch.arange(len(a), device=a.device)
            # 1/sqrt(D) when directions fill the sphere, 0 when they collapse to a point
            spread = a.std(0).mean() * a.shape[1] ** 0.5 if len(a) > 1 else a.new_zeros(())
        metrics = {"accuracy": found.float().mean(), "chance_accuracy": a.new_tensor(1 / len(a)), "spread": spread}
        return Step(loss, metrics)
