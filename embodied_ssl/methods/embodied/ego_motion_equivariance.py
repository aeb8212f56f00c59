"""Ego-motion equivariance: when the camera turns left, features move by one and the same linear map.

Pairs of frames at most a second apart are sorted into motion patterns (`motion_patterns`); each pattern g has a linear map
M_g, learned with the features, such that M_g z(before) is close to z(after) for pairs of that pattern and far for others.
A feature that obeys must show how the scene lies around the camera, not only what is in it.

Jayaraman and Grauman 2015, arXiv:1505.02206, eq. 5. Here z is a linear projection of the backbone's vector (the paper's
last layer), not normalised, as there: the margin fixes the scale, since shrinking features pays the margin for every map.
Maps start next to the identity. At the network's own rate they may stay there, all alike, so that no feature can be right; with
a higher ``map_rate`` they do not, but where places give the motion away, fast maps pay the loss instead of the features. Patterns
are drawn evenly (`even_patterns`), and both frames share one crop. A mirror image turns left into right, so the pair's motion is
mirrored with it and its pattern found anew.

Legend: B pairs, G patterns, D = ``dim``, m axes of motion, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.core import Batch, Epoch, Example, Method, Panel, Plan, Step, View
from embodied_ssl.datasets.source import Frames, Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.heads import places
from embodied_ssl.keys import generator
from embodied_ssl.losses import pattern_contrast
from embodied_ssl.methods.embodied.even_patterns import all_chances, chances_offered, even_weights, weighted_order
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns, Motions, find_patterns, gather_motions, mirror_signs
from embodied_ssl.methods.embodied.pairs import COLOURS, GREY_OR_COLOUR, take_together, together_input
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import unnormalise

BESIDE_IDENTITY = 1e-3  # standard deviation of each entry of a map at the start
PAIRS_SHOWN = 6  # of each pattern
POINTS_DRAWN = 600


@dataclass(frozen=True)
class EgoMotionEquivarianceConfig:
    """Patterns, features and pairs.

    Args:
        size: side of the pictures in pixels; whole frames are squeezed to it, as in the paper.
        clusters, keep: of k-means, and how many of them become patterns (at most: there may be fewer).
        dim: D, of the space the maps act in.
        cells: z is read from the backbone's last map, pooled to so many by so many places, each kept apart; 0 for its vector, in
            which most backbones average over all places.
        margin: beyond this distance pairs of other patterns are not pushed.
        map_rate: how many times as fast as everything else the maps learn; measured in configs/ego_motion_drives.py.
        other_share: share of pairs whose motion is of no pattern; they repel every map.
        even: draw frames so that every pattern is met equally often; otherwise frames are drawn alike, and only the pair of a
            frame evenly over the patterns that it offers.
        flip: mirror half of the pairs.
        area: least and greatest share of the frame that the common crop covers; ``1,1`` is the whole frame.
        colour: how the colours of an example change, alike in all its frames.
    """

    size: int = 96
    clusters: int = 6
    keep: int = 3
    dim: int = 64
    cells: int = 0
    margin: float = 1.0
    map_rate: float = 1.0
    other_share: float = 0.1
    even: bool = True
    flip: bool = True
    area: tuple[float, float] = (0.8, 1.0)
    colour: ColourChange = COLOURS

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.cells < 0:
            raise UserError(f"cells is {self.cells}; give 0 for the vector, or how many places a side, such as 4")
        if self.map_rate <= 0:
            raise UserError(f"map_rate is {self.map_rate}; give a factor above 0, such as 10")
        if not 2 <= self.keep <= self.clusters:
            raise UserError(f"keep is {self.keep} of {self.clusters} clusters; keep at least 2 and at most all")

    def build(self, backbone: Backbone) -> EgoMotionEquivariance:
        if not self.cells:
            return EgoMotionEquivariance(backbone.width, self, backbone.channels)
        if not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no map to read cells from; set --set method.cells=0")
        last, width = backbone.grid_stage(self.size, 1)
        return EgoMotionEquivariance(width * self.cells**2, self, backbone.channels, last)


@dataclass(frozen=True)
class MotionPair(View):
    """Two frames through one crop, uint8 [S, S, 3] each, with the pair's pattern (-1: none) and its motion [m]."""

    size: int
    patterns: MotionPatterns
    other_share: float
    flip: bool
    area: tuple[float, float]
    channels: int = 3
    colour: ColourChange = COLOURS
    shown: int = 96  # examples to find some of every pattern among

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames: Frames = sample["frames"]
        flipped = self.flip and bool(rng.random() < 0.5)
        motions = sample["motions"] * (mirror_signs(self.patterns.axes) if flipped else 1.0)
        usable = np.flatnonzero(np.isfinite(motions).all(axis=1))
        if not len(usable):
            why = "no later frame with a known motion" if len(motions) else "no later frame within the horizon"
            raise BadItem(f"{frames.name} frame {sample['frame']}", why)
        place, pattern = self._choose(motions[usable], rng)
        chosen = int(usable[place])
        numbers = [int(sample["frame"]), int(sample["later"][chosen])]
        cut = take_together(frames, numbers, self.size, self.area, flipped, rng)
        moved = {"pattern": np.int64(pattern), "motion": motions[chosen].astype(np.float32)}
        return {"before": cut[0], "after": cut[1], "colours": self.colour.draw(rng), **moved}

    def _choose(self, motions: Motions, rng: np.random.Generator) -> tuple[int, int]:
        """Which later frame: first the pattern, evenly over those on offer, then a frame of that pattern."""
        patterns = self.patterns.of(motions)
        chances = chances_offered(patterns, len(self.patterns.kept), self.other_share)
        pattern = int(rng.choice(len(chances), p=chances)) - 1
        return int(rng.choice(np.flatnonzero(patterns == pattern))), pattern

    def render(self, batch: Batch) -> Batch:
        both = together_input(torch.stack([batch["before"], batch["after"]], dim=1), batch["colours"], self.channels)
        return {**batch, "before": both[:, 0], "after": both[:, 1]}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        """One row a pattern: some of its pairs, before on the left and after on the right."""
        pairs = side_by_side(batch)
        shown = {name: pairs[batch["pattern"] == g][:PAIRS_SHOWN] for g, name in enumerate(self.patterns.captions())}
        shown["no pattern"] = pairs[batch["pattern"] < 0][:PAIRS_SHOWN]
        return [(f"{name}: before | after", pictures) for name, pictures in shown.items() if len(pictures)]


def side_by_side(batch: Batch) -> Tensor:
    """Pairs as people see them: before, a gap, after, float [B, 3, S, 2 S + gap]."""
    before, after = unnormalise(batch["before"]), unnormalise(batch["after"])
    size = before.shape[-1]
    return torch.cat([before, before.new_ones(*before.shape[:3], max(1, size // 24)), after], dim=3)


class EgoMotionEquivariance(Method):
    """The contrastive form, summed over maps; 0 when every map is exact and the others miss by the margin."""

    needs = frozenset({"frames", "frame", "later", "motions"})
    asks = GREY_OR_COLOUR
    scale: Tensor
    centres: Tensor
    kept: Tensor
    sizes: Tensor
    words: Tensor
    draws: Tensor

    def __init__(self, width: int, config: EgoMotionEquivarianceConfig, channels: int = 3, stage: str = "") -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.stage = stage
        self.project = nn.Linear(width, config.dim)
        # [keep, D, D], of fewer patterns the first. From the very identity, what all features have in common gets no gradient.
        beside = torch.randn(config.keep, config.dim, config.dim) * BESIDE_IDENTITY
        self.maps = nn.Parameter(torch.eye(config.dim) + beside)
        unknown = MotionPatterns(
            np.ones(2), np.zeros((config.clusters, 2)), np.arange(config.keep), np.zeros(config.clusters)
        )  # until `fit`
        for name, numbers in unknown.to_numbers().items():
            self.register_buffer(name, torch.from_numpy(numbers))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))  # the key of what `before_epoch` draws
        self.points: dict[str, object] = {}
        self.weights: tuple[Source, NDArray[np.float64]] | None = None
        self.wrap: Callable[[View], View] = lambda view: view

    @property
    def patterns(self) -> MotionPatterns:
        """What `fit` found, from the buffers."""
        return MotionPatterns.from_numbers(
            {name: self.get_buffer(name).cpu().numpy() for name in ("scale", "centres", "kept", "sizes", "words")}
        )

    @property
    def view(self) -> View:  # type: ignore[override]
        config = self.config
        pair = MotionPair(config.size, self.patterns, config.other_share, config.flip, config.area, self.channels, config.colour)
        return self.wrap(pair)

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Find the motion patterns of the training drives.

        Raises:
            UserError: too few or too uniform motions, or ``flip`` where it is not known what a mirror does to them.
        """
        config = self.config
        motions = gather_motions(source, rng)
        found = find_patterns(motions, config.clusters, config.keep, config.flip, rng, source.motion_axes, source.motion_unit)
        for name, numbers in found.to_numbers().items():
            setattr(self, name, torch.from_numpy(numbers))
        self.draws = torch.tensor(int(rng.integers(2**31)))
        some = motions[:POINTS_DRAWN]
        self.points = {
            "motions": [[float(f"{number:.4g}") for number in row] for row in some],
            "patterns": found.of(some).tolist(),
            "axes": [axis._asdict() for axis in found.axes],
        }

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan | None:
        """Frames drawn so that every pattern is met equally often."""
        if not self.config.even:
            return None
        if self.weights is None or self.weights[0] is not epoch.source:
            chances = all_chances(epoch.source, self.patterns, self.config.other_share, self.config.flip)
            self.weights = epoch.source, even_weights(chances, self.config.other_share)
        weights = self.weights[1]
        if not weights.sum():
            return None
        return Plan(weighted_order(weights, generator(int(self.draws), "even", epoch.number)))

    def rate(self, group: str, progress: float) -> float:
        return self.config.map_rate if group == "maps" else 1.0

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        before, after = self.project(self._read(backbone(torch.cat([batch["before"], batch["after"]])))).float().chunk(2)
        maps = self.maps[: len(self.kept)].float()
        moved = torch.einsum("gij,bj->bgi", maps, before)
        loss = pattern_contrast(moved, after, batch["pattern"], self.config.margin)
        distance = torch.linalg.vector_norm(moved - after.unsqueeze(1), dim=2).detach()
        known = batch["pattern"] >= 0
        right = ((distance.argmin(1) == batch["pattern"]) & known).float()
        answers = {"distance": distance, "pattern": batch["pattern"]}
        metrics = {"accuracy": right.sum() / known.sum().clamp_min(1)}
        if not self.training:  # held-out: also what the maps do, and what is answered where nothing moved
            metrics |= of_maps(maps.detach(), self.patterns.mirrored())
            stayed = torch.einsum("gij,bj->bgi", maps, after) - after.unsqueeze(1)
            answers["distance_unmoved"] = torch.linalg.vector_norm(stayed, dim=2).detach()
        return Step(loss, metrics, answers=answers)

    def _read(self, features: Features) -> Tensor:
        """What z is projected from: the vector [n, W], or the places of a map one after another [n, W * cells^2]."""
        if not self.stage:
            return features.vector
        return places(features.maps[self.stage], self.config.cells)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Is the right map the nearest? Recall averaged over the patterns met; chance is one over their number.

        ``balanced_accuracy_unmoved`` is the control: the same with the second frame in the place of both. As far as it is above
        chance, the answer was read from where the camera is (in this room it always turns right), not from how it moved.
        """
        pattern = answers["pattern"].long()
        met = [int(g) for g in pattern.unique() if g >= 0]
        if not met:
            return {}
        recall, unmoved = (_recalls(answers[name], pattern, met) for name in ("distance", "distance_unmoved"))
        names = self.patterns.names()
        return {
            "balanced_accuracy": sum(recall) / len(met),
            "chance_balanced_accuracy": 1 / len(met),
            "balanced_accuracy_unmoved": sum(unmoved) / len(met),
            "chance_balanced_accuracy_unmoved": 1 / len(met),
            **{f"recall_{names[g].replace(' ', '_')}": value for g, value in zip(met, recall, strict=True)},
        }

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Pairs of a known pattern, and of which pattern the map is that leads nearest to the second frame."""
        pattern = step.answers["pattern"].long()
        known = pattern >= 0
        if not known.any():
            return ()
        guess, names = step.answers["distance"].argmin(1), self.patterns.names()
        moved, nearest = (", ".join(names[g] for g in one[known].tolist()) for one in (pattern, guess))
        caption = f"before | after; moved {moved}; nearest map: {nearest}"
        return [(caption, framed(side_by_side(batch)[known], (guess == pattern)[known]))]

    def describe(self) -> dict[str, object]:
        """``patterns`` with their motion by axis and their share of the motions, directions that none goes, ``points`` drawn."""
        found = self.patterns
        rows = zip(found.names(), found.motions(), found.sizes[found.kept], strict=True)
        axes = [axis.name for axis in found.axes]
        return {
            "motion_unit": found.unit,
            "patterns": [
                {"name": n, **{a: float(f"{v:.4g}") for a, v in zip(axes, c, strict=True)}, "share": round(float(s), 4)}
                for n, c, s in rows
            ],
            "missing": found.missing(),
            "points": self.points,
        }


def _recalls(distance: Tensor, pattern: Tensor, met: Sequence[int]) -> list[float]:
    """For each pattern met, the share of its pairs whose nearest map is its own."""
    guess = distance.argmin(1)
    return [float((guess[pattern == g] == g).float().mean()) for g in met]


def of_maps(maps: Tensor, mirrored: NDArray[np.int64]) -> dict[str, Tensor]:
    """What the maps do, over all of them: how much they stretch, how far they are from the identity, whether turns cancel out.

    Args:
        maps: [G, D, D].
        mirrored: the pattern that is each pattern's mirror image [G].

    Returns:
        ``map_stretch_least`` and ``_most``: singular values, both 1 for a turn of the space. ``map_from_identity``: the mean of
        |M_g - I| / |I| (Frobenius). ``turns_from_identity``: the same of M_left M_right, where there are both.
    """
    unit = torch.eye(maps.shape[-1], device=maps.device)
    stretch = torch.linalg.svdvals(maps)
    from_identity = torch.linalg.matrix_norm(maps - unit) / torch.linalg.matrix_norm(unit)
    figures = {
        "map_stretch_least": stretch.min(),
        "map_stretch_most": stretch.max(),
        "map_from_identity": from_identity.mean(),
    }
    turns = [(g, int(image)) for g, image in enumerate(mirrored) if image != g and mirrored[image] == g]
    if turns:
        first, then = (maps[list(places)] for places in zip(*turns, strict=True))
        undone = torch.linalg.matrix_norm(first @ then - unit) / torch.linalg.matrix_norm(unit)
        figures["turns_from_identity"] = undone.mean()
    return figures
