"""How clustering methods look at a picture: a changed crop to learn from, and the whole as it is, which is what is clustered.

Legend: B pictures, S pixels a side, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from embodied_ssl.core import Batch, Example, Panel, View
from embodied_ssl.datasets.source import Picture, Pixels, Sample
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.views.colour import ColourChange, change_colours
from embodied_ssl.views.crops import centre_box, check_picture, random_crop
from embodied_ssl.views.pixels import fed, network_input, to_float, unnormalise

AS_IT_IS = ColourChange(0, 0, 0, 0, change=0, grey=0)


@dataclass(frozen=True)
class Whole(View):
    """The largest centred square, ``picture``: uint8 [S, S, 3], rendered for a network of C channels."""

    size: int
    channels: int = 3

    def pixels(self, picture: Picture) -> Pixels:
        check_picture(picture)
        return picture.take(centre_box(*picture.size), (self.size, self.size))

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        return {"picture": self.pixels(sample["picture"])}

    def render(self, batch: Batch) -> Batch:
        return {**batch, "picture": network_input(batch["picture"], self.channels)}


@dataclass(frozen=True)
class AsAnother(Whole):
    """The middle of the picture as another network wants to see it: uint8 [S, S, 3], rendered by its own preprocessing."""

    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def pixels(self, picture: Picture) -> Pixels:
        check_picture(picture)
        return self.preprocessing.crop(picture)

    def render(self, batch: Batch) -> Batch:
        return {**batch, "picture": self.preprocessing.render(batch["picture"], self.channels)}


@dataclass(frozen=True)
class CropAndWhole(View):
    """A random crop, mirrored half of the time and perhaps changed in colour and turned, beside the whole picture.

    ``crop`` uint8 [S, S, 3] with ``colours`` float32 [6] and ``turn``, its quarter turns counter-clockwise; ``picture``, which
    only held-out questions and people look at, is ``whole``'s. Rendered: ``crop`` [B, C, S, S], and what ``whole`` renders.

    Args:
        size: S.
        area: least and greatest share of the picture that the crop covers.
        colour: how its colours change.
        channels: C.
        turns: how many quarter turns there are to draw from, 1 for none.
        whole: how the whole picture is looked at.
    """

    size: int
    area: tuple[float, float]
    whole: Whole
    colour: ColourChange = AS_IT_IS
    channels: int = 3
    turns: int = 1

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        picture = sample["picture"]
        check_picture(picture)
        return {
            "crop": random_crop(picture, self.size, rng, self.area),
            "colours": self.colour.draw(rng),
            "turn": np.asarray(rng.integers(self.turns)),
            "picture": self.whole.pixels(picture),
        }

    def render(self, batch: Batch) -> Batch:
        crop = to_float(batch["crop"])
        if self.colour != AS_IT_IS:
            crop = change_colours(crop, batch["colours"])
        return {**self.whole.render(batch), "crop": fed(turned(crop, batch["turn"]), self.channels), "shown": batch["picture"]}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        what = "crop" if self.turns == 1 else "crop, turned by 0 to 270 degrees"
        return [("picture", to_float(batch["shown"])), (what, unnormalise(batch["crop"]))]


def turned(pictures: Tensor, turn: Tensor) -> Tensor:
    """Each of the pictures [B, C, S, S] turned counter-clockwise by its own number of quarter turns, int64 [B]."""
    if not bool(turn.any()):
        return pictures
    result = pictures.clone()
    for quarters in (1, 2, 3):
        chosen = turn == quarters
        result[chosen] = torch.rot90(pictures[chosen], quarters, (-2, -1))
    return result
