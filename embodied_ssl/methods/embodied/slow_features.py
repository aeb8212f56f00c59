"""Slow features: frames close in time look alike to the network, frames far apart in the same recording do not.

What stays while pixels flicker is where one is and what is there. This is the invariance that equivariant features
(`ego_motion_equivariance`) are measured against: it forgets how the camera moved.

``distance="l2"`` is DrLIM (Hadsell, Chopra and LeCun 2006, eq. 4), ``"l1"`` temporal coherence (Mobahi, Collobert and Weston
2009): the baselines ``drlim`` and ``temporal`` of Jayaraman and Grauman 2015, arXiv:1505.02206; also the SFA of Agrawal et al.
2015, arXiv:1505.01596. Here each example is three frames through one crop: one, another near it and another far from it, so
half of the pairs are near. Only times count: drives, robots and plain videos will do. Near the ends of a recording others
clip the far frame to the last one, which may be near; here far frames are drawn from those that are far, and frames that have
none are not drawn. Of a recording in which no two frames are far apart only near pairs count.

Where nothing moves (a car that waits), far frames look like near ones: then no network can tell them, and some loss remains.

Legend: B examples, D = ``dim``, S pixels; frames are in the order one, near, far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Frames, Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.losses import drlim, mean_where, temporal_coherence
from embodied_ssl.methods.embodied.pairs import COLOURS, GREY_OR_COLOUR, take_together, together_input
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import fold, unfold, unnormalise


@dataclass(frozen=True)
class SlowFeaturesConfig:
    """Which frames are near, and how features are compared.

    Args:
        size: side of the pictures in pixels; whole frames are squeezed to it.
        distance: ``l2`` (DrLIM, squared) or ``l1`` (temporal coherence).
        margin: far frames are pushed to this distance; of ``l1`` the sum over all D.
        dim: D, of the space in which distances are measured.
        near_seconds: near frames are at most so far apart.
        far_seconds: far frames are at least so far apart.
        cuts: keep near frames within one uncut shot. Looking for cuts reads a recording once; drives have none.
        flip: mirror half of the examples.
        area: least and greatest share of the frame that the common crop covers; ``1,1`` is the whole frame.
        colour: how the colours of an example change, alike in all its frames.
    """

    size: int = 96
    distance: Literal["l1", "l2"] = "l2"
    margin: float = 1.0
    dim: int = 64
    near_seconds: float = 0.5
    far_seconds: float = 1.5
    cuts: bool = True
    flip: bool = True
    area: tuple[float, float] = (0.8, 1.0)
    colour: ColourChange = COLOURS

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.margin <= 0 or self.dim < 1:
            raise UserError(f"margin is {self.margin} and dim {self.dim}; give a margin above 0 and at least 1 dimension")
        if not 0 < self.near_seconds < self.far_seconds:
            given = f"near_seconds is {self.near_seconds} and far_seconds {self.far_seconds}"
            raise UserError(f"{given}; need 0 < near_seconds < far_seconds, or pairs would be both near and far")

    def build(self, backbone: Backbone) -> SlowFeatures:
        bounds = (self.near_seconds, self.far_seconds)
        view = NearAndFar(self.size, bounds, self.cuts, self.flip, self.area, backbone.channels, self.colour)
        return SlowFeatures(backbone.width, self, view)


def pick_near_and_far(
    seconds: NDArray[np.float64], shots: NDArray[np.int64], near: float, far: float, rng: np.random.Generator
) -> tuple[list[int], bool] | None:
    """A frame, another near it and another far from it, each drawn evenly from those there are.

    Args:
        seconds: of every frame [n], rising.
        shots: of every frame [n]; near frames are of one shot, far ones of any.
        near: greatest distance of near frames, in seconds.
        far: least distance of far frames.
        rng: keyed generator.

    Returns:
        The three frames, and whether the last is far: if no frame has both kinds, it is the first again and counts nothing.
        None when no two frames are near.
    """
    slack = 1e-6  # a tenth of a second, ten times, is not quite a second
    count = len(seconds)
    first = np.maximum(np.searchsorted(seconds, seconds - near - slack), np.searchsorted(shots, shots))
    last = np.searchsorted(seconds, seconds + near + slack, side="right") - 1
    last = np.minimum(last, np.searchsorted(shots, shots, side="right") - 1)
    before = np.searchsorted(seconds, seconds - far + slack, side="right")  # this many far frames lie before
    after = np.searchsorted(seconds, seconds + far - slack)  # and from here on after
    company = last > first
    if not company.any():
        return None
    both = company & ((before > 0) | (after < count))
    one = int(rng.choice(np.flatnonzero(both if both.any() else company)))
    other = int(rng.integers(first[one], last[one]))  # all but the frame itself
    other += other >= one
    if not both.any():
        return [one, other, one], False
    away = int(rng.integers(before[one] + count - after[one]))
    away += int(after[one] - before[one]) if away >= before[one] else 0
    return [one, other, away], True


@dataclass(frozen=True)
class NearAndFar(View):
    """Three frames through one crop: uint8 [3, S, S, 3], whether the last is far, and their times [3] in seconds."""

    size: int
    bounds: tuple[float, float]
    cuts: bool
    flip: bool
    area: tuple[float, float]
    channels: int = 3
    colour: ColourChange = COLOURS

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames: Frames = sample["frames"]
        seconds = frames.seconds
        shots = frames.shots if self.cuts else np.zeros(len(seconds), np.int64)
        found = pick_near_and_far(seconds, shots, *self.bounds, rng)
        if found is None:
            raise BadItem(frames.name, f"no two frames within {self.bounds[0]} s of each other")
        chosen, has_far = found
        mirrored = self.flip and bool(rng.random() < 0.5)
        three = take_together(frames, chosen, self.size, self.area, mirrored, rng)
        drawn: Example = {"three": three, "colours": self.colour.draw(rng)}
        return drawn | {"has_far": np.asarray(has_far), "seconds": seconds[chosen]}

    def render(self, batch: Batch) -> Batch:
        return {**batch, "three": together_input(batch["three"], batch["colours"], self.channels)}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        apart = (batch["seconds"] - batch["seconds"][:, :1]).tolist()
        far = [f"{row[2]:+.1f}" if has else "none" for row, has in zip(apart, batch["has_far"].tolist(), strict=True)]
        near = ", ".join(f"{row[1]:+.1f}" for row in apart)
        captions = ("one", f"near, seconds away: {near}", f"far, seconds away: {', '.join(far)}")
        return [(caption, unnormalise(batch["three"][:, i])) for i, caption in enumerate(captions)]


class SlowFeatures(Method):
    """Half of the pairs near: for collapsed features margin^2 / 4 (``l2``) or margin / 2 (``l1``), 0 when all is as asked."""

    needs = frozenset({"frames"})
    asks = GREY_OR_COLOUR

    def __init__(self, width: int, config: SlowFeaturesConfig, view: NearAndFar) -> None:
        super().__init__()
        self.view = view
        self.margin = config.margin
        self.order = 1 if config.distance == "l1" else 2
        self.project = nn.Linear(width, config.dim, bias=False)  # distances are between features: a bias would cancel

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        flat = self.project(backbone(fold(batch["three"])).vector).float()
        one, near, far = unfold(flat, 3).unbind(1)
        has_far = batch["has_far"]
        is_near = torch.cat([torch.ones_like(has_far), torch.zeros_like(has_far)])
        present = torch.cat([torch.ones_like(has_far), has_far])
        loss_of = temporal_coherence if self.order == 1 else drlim
        loss = loss_of(torch.cat([one, one]), torch.cat([near, far]), is_near, self.margin, present)
        distances = [torch.linalg.vector_norm(one - other, ord=self.order, dim=1).detach() for other in (near, far)]
        metrics = {
            "near_distance": distances[0].mean(),
            "far_distance": mean_where(distances[1], has_far),
            **collapse(flat.detach()),
        }
        return Step(loss, metrics, answers={"near": distances[0], "far": distances[1], "has_far": has_far.float()})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Is a far pair the more distant? The AUC of far against near pairs by distance; chance is 0.5, also when collapsed."""
        from sklearn.metrics import roc_auc_score

        near, far = answers["near"], answers["far"][answers["has_far"].bool()]
        if len(far) == 0 or len(near) == 0:
            return {}
        truth = np.r_[np.zeros(len(near)), np.ones(len(far))]
        return {"auc": float(roc_auc_score(truth, torch.cat([near, far]).numpy())), "chance_auc": 0.5}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """One frame, one near it and one far from it; right where the near one is the nearer to the network too."""
        asked = batch["has_far"]
        if not asked.any():
            return ()
        near, far = step.answers["near"][asked], step.answers["far"][asked]
        one, close, away = (unnormalise(frame) for frame in batch["three"][asked].unbind(1))
        right = near < far
        told = [", ".join(f"{distance:.2f}" for distance in distances.tolist()) for distances in (near, far)]
        return [
            ("one frame", one),
            (
                f"near it in time; {int(right.sum())} of {len(right)} are nearer to the network too, at {told[0]}",
                framed(close, right),
            ),
            (f"far from it in time, to the network at {told[1]}", away),
        ]


def collapse(vectors: Tensor) -> dict[str, Tensor]:
    """Whether features [N, D] are alive: both figures are 0 when all are alike.

    ``deviation`` is their standard deviation over examples, the mean over D; ``spread`` is that of their directions, times
    sqrt(D): 1 when these fill the sphere.
    """
    directions = F.normalize(vectors, dim=1)
    spread = directions.std(0).mean() * vectors.shape[1] ** 0.5
    return {"deviation": vectors.std(0).mean(), "spread": spread}
