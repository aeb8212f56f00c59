"""Ego-motion equivariance: when the camera turns left, features move by one and the same linear map.

Pairs of frames at most a second apart are sorted into motion patterns (`motion_patterns`); each pattern g has a linear map
M_g, learned with the features, such that M_g z(before) is close to z(after) for pairs of that pattern and far for others.
A feature that obeys must show how the scene lies around the camera, not only what is in it.

Jayaraman and Grauman 2015, arXiv:1505.02206, eq. 5. Here z is a linear projection of the backbone's vector (the paper's
last layer), maps start at the identity, pairs are drawn evenly over the patterns that a frame offers, and both frames
share one crop. A mirror image turns left into right, so the pair's motion is mirrored with it and its pattern found anew.

Legend: B pairs, G patterns, D = ``dim``, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Frames, Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.losses import pattern_contrast
from embodied_ssl.methods.embodied.motion_patterns import MIRROR, MotionPatterns, find_patterns, gather_motions
from embodied_ssl.methods.embodied.pairs import GREY_OR_COLOUR, take_together
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.pixels import network_input, unnormalise


@dataclass(frozen=True)
class EgoMotionEquivarianceConfig:
    """Patterns, features and pairs.

    Args:
        size: side of the pictures in pixels; whole frames are squeezed to it, as in the paper.
        clusters, keep: of k-means, and how many of the largest motions become patterns.
        dim: D, of the space the maps act in.
        margin: beyond this distance pairs of other patterns are not pushed.
        other_share: share of pairs whose motion is of no pattern; they repel every map.
        flip: mirror half of the pairs.
        area: least and greatest share of the frame that the common crop covers; ``1,1`` is the whole frame.
    """

    size: int = 96
    clusters: int = 6
    keep: int = 3
    dim: int = 64
    margin: float = 1.0
    other_share: float = 0.1
    flip: bool = True
    area: tuple[float, float] = (0.8, 1.0)

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if not 2 <= self.keep <= self.clusters:
            raise UserError(f"keep is {self.keep} of {self.clusters} clusters; keep at least 2 and at most all")

    def build(self, backbone: Backbone) -> EgoMotionEquivariance:
        return EgoMotionEquivariance(backbone.width, self, backbone.channels)


@dataclass(frozen=True)
class MotionPair(View):
    """Two frames through one crop, uint8 [S, S, 3] each, with the pair's pattern (-1: none) and its motion [2]."""

    size: int
    patterns: MotionPatterns
    other_share: float
    flip: bool
    area: tuple[float, float]
    channels: int = 3

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames: Frames = sample["frames"]
        flipped = self.flip and bool(rng.random() < 0.5)
        motions = sample["motions"] * (MIRROR if flipped else 1.0)
        if len(motions) == 0:
            raise BadItem(f"{frames.name} frame {sample['frame']}", "no later frame within the horizon")
        chosen, pattern = self._choose(motions, rng)
        numbers = [int(sample["frame"]), int(sample["later"][chosen])]
        cut = take_together(frames, numbers, self.size, self.area, flipped, rng)
        return {"before": cut[0], "after": cut[1], "pattern": np.int64(pattern), "motion": motions[chosen].astype(np.float32)}

    def _choose(self, motions: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rng: np.random.Generator) -> tuple[int, int]:
        """Which later frame: first the pattern, evenly over those on offer, then a frame of that pattern."""
        patterns = self.patterns.of(motions)
        offered = np.unique(patterns)
        if len(offered) > 1 and offered[0] == -1:
            offered = offered[:1] if rng.random() < self.other_share else offered[1:]
        pattern = int(rng.choice(offered))
        return int(rng.choice(np.flatnonzero(patterns == pattern))), pattern

    def render(self, batch: Batch) -> Batch:
        return {**batch, **{name: network_input(batch[name], self.channels) for name in ("before", "after")}}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        names = [*self.patterns.names(), "none"]
        answers = ", ".join(names[int(p)] for p in batch["pattern"])
        return [("before", unnormalise(batch["before"])), (f"after: {answers}", unnormalise(batch["after"]))]


class EgoMotionEquivariance(Method):
    """The contrastive form, summed over maps; 0 when every map is exact and the others miss by the margin."""

    needs = frozenset({"frames", "frame", "later", "motions"})
    asks = GREY_OR_COLOUR
    scale: Tensor
    centres: Tensor
    kept: Tensor
    sizes: Tensor

    def __init__(self, width: int, config: EgoMotionEquivarianceConfig, channels: int = 3) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.project = nn.Linear(width, config.dim)
        self.maps = nn.Parameter(torch.eye(config.dim).repeat(config.keep, 1, 1))  # [G, D, D]
        self.register_buffer("scale", torch.ones(2, dtype=torch.float64))
        self.register_buffer("centres", torch.zeros(config.clusters, 2, dtype=torch.float64))
        self.register_buffer("kept", torch.arange(config.keep))
        self.register_buffer("sizes", torch.zeros(config.clusters, dtype=torch.float64))
        self.motion_unit = ""
        self.points: list[list[float]] = []
        self.wrap: Callable[[View], View] = lambda view: view

    @property
    def patterns(self) -> MotionPatterns:
        """What `fit` found, from the buffers."""
        return MotionPatterns(*(b.cpu().numpy() for b in (self.scale, self.centres, self.kept, self.sizes)))

    @property
    def view(self) -> View:  # type: ignore[override]
        config = self.config
        pair = MotionPair(config.size, self.patterns, config.other_share, config.flip, config.area, self.channels)
        return self.wrap(pair)

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Find the motion patterns of the training drives.

        Raises:
            UserError: too few or too uniform motions.
        """
        config = self.config
        motions = gather_motions(source, rng)
        found = find_patterns(motions, config.clusters, config.keep, config.flip, seed=int(rng.integers(2**31)))
        self.motion_unit = source.motion_unit
        self.points = motions[:600].round(4).tolist()
        self.scale, self.centres = torch.from_numpy(found.scale), torch.from_numpy(found.centres)
        self.kept, self.sizes = torch.from_numpy(found.kept), torch.from_numpy(found.sizes)

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        before, after = self.project(backbone(torch.cat([batch["before"], batch["after"]])).vector).float().chunk(2)
        moved = torch.einsum("gij,bj->bgi", self.maps.float(), before)
        loss = pattern_contrast(moved, after, batch["pattern"], self.config.margin)
        distance = torch.linalg.vector_norm(moved - after.unsqueeze(1), dim=2).detach()
        known = batch["pattern"] >= 0
        right = ((distance.argmin(1) == batch["pattern"]) & known).float()
        answers = {"distance": distance, "pattern": batch["pattern"]}
        return Step(loss, {"accuracy": right.sum() / known.sum().clamp_min(1)}, answers=answers)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Is the right map the nearest? Recall averaged over the patterns met; chance is one over their number."""
        pattern, guess = answers["pattern"].long(), answers["distance"].argmin(1)
        met = [int(g) for g in pattern.unique() if g >= 0]
        if not met:
            return {}
        recall = {g: float((guess[pattern == g] == g).float().mean()) for g in met}
        names = self.patterns.names()
        each = {f"recall_{names[g]}_{g}": value for g, value in recall.items()}
        return {"balanced_accuracy": sum(recall.values()) / len(met), "chance_balanced_accuracy": 1 / len(met), **each}

    def describe(self) -> dict[str, object]:
        found = self.patterns
        rows = zip(found.names(), found.centres[found.kept] * found.scale, found.sizes[found.kept], strict=True)
        return {
            "motion_unit": self.motion_unit,
            "patterns": [{"name": n, "forward": float(c[0]), "left_yaw": float(c[1]), "share": float(s)} for n, c, s in rows],
            "points": self.points,
        }
