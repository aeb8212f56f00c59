"""What is asked of held-out pictures by every method that compares two views of a picture: does one view find the other?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.core import Batch, Method, Panel, Step
from embodied_ssl.datasets.source import Source
from embodied_ssl.methods.retrieval import found_copies, retrieval
from embodied_ssl.views.coloured_crops import ColouredCrops, check_not_enlarged, crops_of
from embodied_ssl.views.pixels import unnormalise


class TwoViews(Method):
    """A method whose view is two crops. Its answers are ``first`` and ``second`` [B, D], and ``asked`` [B], which pictures."""

    needs = frozenset({"picture"})
    pair = ("first", "second")
    view: ColouredCrops

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Nothing is found.

        Raises:
            UserError: every picture looked at is smaller than the crops.
        """
        check_not_enlarged(source, self.view.size)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``retrieval``: is the nearest second view of the same picture? See `embodied_ssl.methods.retrieval`; chance is 1/64."""
        found, chance = retrieval(answers["first"], answers["second"], answers["asked"])
        return {"retrieval": found, "chance_retrieval": chance}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Both views, and what each first view takes for its second among those shown."""
        first, second = (unnormalise(crop) for crop in crops_of(batch))
        return found_copies(first, second, step.answers)


@torch.no_grad()
def found_in_batch(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """``accuracy``: how often a first view [B, D] is nearest to its own second view [B, D], beside chance; and the `spread`."""
    nearest = (F.normalize(first, dim=1) @ F.normalize(second, dim=1).T).argmax(1)
    found = nearest == torch.arange(len(first), device=first.device)
    return {"accuracy": found.float().mean(), "chance_accuracy": first.new_tensor(1 / len(first)), "spread": spread(first)}


@torch.no_grad()
def spread(vectors: Tensor) -> Tensor:
    """How unit vectors [B, D] fill the sphere: about 1 when evenly, 0 when they collapse to a point or are alone."""
    unit = F.normalize(vectors, dim=1)
    return unit.std(0).mean() * unit.shape[1] ** 0.5 if len(unit) > 1 else unit.new_zeros(())
