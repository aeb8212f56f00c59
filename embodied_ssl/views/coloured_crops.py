"""Crops of one picture, each of its own size and with colours of its own: what contrastive and clustering methods compare.

Crops of one picture share what is in it and little else once their colours are changed. Two of them are SimCLR's two views,
two large and six small ones SwAV's multi-crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from embodied_ssl.core import Batch, Example, Panel, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.views.colour import ColourChange, blur, change_colours
from embodied_ssl.views.crops import LEAST, centre_box, check_crop, check_picture, random_crop
from embodied_ssl.views.pixels import normalise, to_float, unnormalise

LOOKED_AT = 32  # pictures


@dataclass(frozen=True)
class Crop:
    """How one crop is cut and coloured.

    Args:
        size: side in pixels.
        area: least and greatest share of the picture that it covers.
        colour: how colours change; half of SimCLR's strength suits small pictures.
    """

    size: int = 64
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)


@dataclass(frozen=True)
class ColouredCrops(View):
    """Crops in the fields ``crop0``, ``crop1``, ..., uint8 [S, S, 3], with the factors of their colours [6] beside them.

    Args:
        crops: how each is made, in order.
        whole: side of ``picture``, the largest centred square as it is, uint8 [whole, whole, 3]; 0 for none. It is what
            `embodied_ssl.core.Epoch.embed` looks at.
    """

    crops: tuple[Crop, ...]
    whole: int = 0

    def __post_init__(self) -> None:
        if not self.crops or 0 < self.whole < LEAST:
            given = f"{len(self.crops)} crops and a whole picture of {self.whole} pixels"
            raise UserError(f"{given}; give at least 1 crop, and {LEAST} pixels or 0 for no whole picture")

    @property
    def size(self) -> int:
        """The largest side that a network is given: that of the pictures it will be used on."""
        return max([crop.size for crop in self.crops] + [self.whole] * (self.whole > 0))

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        picture = sample["picture"]
        check_picture(picture)
        drawn: Example = {}
        for number, crop in enumerate(self.crops):
            drawn[f"crop{number}"] = random_crop(picture, crop.size, rng, crop.area)
            drawn[f"crop{number}_colours"] = crop.colour.draw(rng)
        if self.whole:
            drawn["picture"] = picture.take(centre_box(*picture.size), (self.whole, self.whole))
        return drawn

    def render(self, batch: Batch) -> Batch:
        rendered = dict(batch)
        for number, crop in enumerate(self.crops):
            factors = batch[f"crop{number}_colours"]
            pictures = change_colours(to_float(batch[f"crop{number}"]), factors)
            if crop.colour.blur:
                pictures = blur(pictures, factors[:, 5], radius=max(1, crop.size // 20))
            rendered[f"crop{number}"] = normalise(pictures)
        if self.whole:
            rendered["picture"] = normalise(to_float(batch["picture"]))
        return rendered

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [(f"crop {number + 1}", unnormalise(batch[f"crop{number}"])) for number in range(len(self.crops))]


def crops_of(batch: Batch) -> list[Tensor]:
    """The rendered crops [B, 3, S, S] of a batch, in their order."""
    found: list[Tensor] = []
    while (name := f"crop{len(found)}") in batch:
        found.append(batch[name])
    return found


def vectors_of(backbone: nn.Module, crops: Sequence[Tensor]) -> list[Tensor]:
    """Each crop's vectors [B, D], in the order given. Crops of a size go through together: BatchNorm sees them together."""
    vectors: dict[int, Tensor] = {}
    for size in dict.fromkeys(crop.shape[-1] for crop in crops):
        alike = [number for number, crop in enumerate(crops) if crop.shape[-1] == size]
        found = backbone(torch.cat([crops[number] for number in alike])).vector
        vectors |= dict(zip(alike, found.chunk(len(alike)), strict=True))
    return [vectors[number] for number in range(len(crops))]


def check_not_enlarged(source: Source, size: int) -> None:
    """Refuse crops that are larger than every picture: nothing but blur would be added.

    A few pictures are looked at, evenly spread. Where some are large enough the small ones are enlarged, as everywhere.

    Raises:
        UserError: names the largest of those looked at.
    """
    sides = []
    for number in range(min(LOOKED_AT, len(source))):
        try:
            sides.append(min(source[number * len(source) // min(LOOKED_AT, len(source))]["picture"].size))
        except BadItem:
            continue  # named when its turn comes
    if sides and max(sides) < size:
        raise UserError(
            f"crops of {size} pixels are larger than every picture ({len(sides)} looked at of {source.name}; the largest has "
            f"{max(sides)} on its shorter side); give --set method.size={max(sides)} or less"
        )
