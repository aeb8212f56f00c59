"""Temporal order: does the middle frame lie between the other two?

Five frames a < b < c < d < e of one video make one question and its counter-examples: (b, c, d) is in order, (b, a, d)
and (b, e, d) are not. All share the end frames b and d, so only the middle one can tell; each is also asked backwards,
which changes no answer. To answer, a network must know how things move.

Misra, Zitnick and Hebert 2016 (Shuffle and Learn), arXiv:1603.08561. Kept: tau_max bounds d - b, tau_min is the least
distance of a before b and of e after d, crop and mirror are one draw for all five, windows are drawn by motion, and the
share of counter-examples. Different, and why:
- Windows are drawn by the motion at a, c and e together. Drawing c alone by motion makes middle frames of the right
  order move more than those of the wrong one: that alone gives an AUC of about 0.63.
- The five frames are encoded once and shared by the three tuples; the share of counter-examples is a weight in the loss
  (equal in expectation to sampling).
- Motion is the frame difference kept in the video's index, not optical flow.
- The head has a hidden layer. A linear layer on concatenated vectors is a sum of one term a frame, and with shared ends
  such a sum can only look at the middle frame alone. ``hidden=0`` is the paper's.
- A counter-example whose middle frame looks like c (mean difference under ``distinct`` grey levels) is not counted.

Legend: B examples, S pixels, D features; frames are in the order a b c d e.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.source import Frames, Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.views.crops import check_crop, mirror, random_resized_box
from embodied_ssl.views.pixels import fold, network_input, unfold, unnormalise

TUPLES = ((1, 2, 3), (1, 0, 3), (1, 4, 3))  # positions in a b c d e: one in order, two not


@dataclass(frozen=True)
class TemporalOrderConfig:
    """How frames are chosen and judged.

    Args:
        size: side of the crops in pixels.
        tau_min, tau_max: in frames, see the module.
        tuples: questions drawn from one video at a time; more decode fewer frames each.
        negative_share: weight of counter-examples in the loss.
        distinct: least mean difference, in grey levels, of a counter-example's middle frame from c.
        area: least and greatest share of the frame that the crop covers.
        hidden: width of the head's hidden layer; 0 for none.
    """

    size: int = 96
    tau_min: int = 15
    tau_max: int = 60
    tuples: int = 4
    negative_share: float = 0.75
    distinct: float = 1.0
    area: tuple[float, float] = (0.5, 1.0)
    hidden: int = 512

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.tuples < 1:
            raise UserError(f"tuples is {self.tuples}; give at least 1")
        if not 0 < self.negative_share < 1:
            raise UserError(f"negative_share is {self.negative_share}; give a share between 0 and 1")
        if self.tau_min < 1 or self.tau_max < 2:
            raise UserError(f"tau_min is {self.tau_min} and tau_max {self.tau_max}; give at least 1 and 2 frames")

    def build(self, backbone: Backbone) -> TemporalOrder:
        view = FiveFrames(self.size, self.tau_min, self.tau_max, self.distinct, self.area, self.tuples)
        return TemporalOrder(backbone.width, self.hidden, self.negative_share, view)


def pick_frames(
    motion: NDArray[np.float32], tau_min: int, tau_max: int, rng: np.random.Generator
) -> tuple[int, int, int, int, int]:
    """Choose a < b < c < d < e with d - b <= tau_max and tau_min <= b - a, e - d (<= tau_max, where the video is long enough).

    All distances are drawn first, then the place, by the motion at a, c and e together. The three frames that may stand
    in the middle thus play equal parts, and none can be told by how much it moves.

    Args:
        motion: of every frame [n]; n is at least 2 * tau_min + 3.
        tau_min, tau_max: in frames.
        rng: keyed generator.
    """
    room = len(motion) - 1 - 2 * tau_min  # what d - b and the outer distances beyond tau_min may share
    ends = int(rng.integers(2, min(tau_max, room) + 1))
    spare = min(max(0, tau_max - tau_min), (room - ends) // 2)
    before, after = (tau_min + int(extra) for extra in rng.integers(spare + 1, size=2))
    middle = int(rng.integers(1, ends))
    near = np.convolve(motion.astype(np.float64), np.ones(5) / 5, mode="same") + 1e-3
    places = len(motion) - (before + ends + after)
    weight = sum(near[offset : offset + places] for offset in (0, before + middle, before + ends + after))
    a = int(rng.choice(places, p=weight / np.sum(weight)))
    return a, a + before, a + before + middle, a + before + ends, a + before + ends + after


@dataclass(frozen=True)
class FiveFrames(View):
    """Five frames of a video through one crop: uint8 [5, S, S, 3], in order, with which counter-examples count [2]."""

    size: int
    tau_min: int
    tau_max: int
    distinct: float
    area: tuple[float, float]
    copies: int = 4

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames: Frames = sample["frames"]
        need = 2 * self.tau_min + 3
        if len(frames) < need:
            raise BadItem(frames.name, f"{len(frames)} frames are too few for tau_min {self.tau_min}, which needs {need}")
        chosen = np.array([pick_frames(frames.motion, self.tau_min, self.tau_max, rng) for _ in range(self.copies)])
        unique, where = np.unique(chosen, return_inverse=True)
        pixels = frames.take([int(i) for i in unique])
        views = []
        for five in where.reshape(chosen.shape):
            box = random_resized_box(pixels.shape[1], pixels.shape[2], rng, self.area)
            cut = np.stack([crop_and_resize(pixels[i], box, (self.size, self.size)) for i in five])
            views.append(mirror(cut) if rng.random() < 0.5 else cut)
        five_frames = np.stack(views)
        counts = self._differ(five_frames)
        backwards = rng.random((self.copies, len(TUPLES))) < 0.5
        drawn: Example = {"five": five_frames, "counts": counts, "backwards": backwards, "frame": chosen}
        return drawn if self.copies > 1 else {name: value[0] for name, value in drawn.items()}

    def _differ(self, five: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether a and e differ visibly from c: bool [K, 2]. In int16: uint8 differences would wrap."""
        wide = five.astype(np.int16)
        return np.stack([np.abs(wide[:, i] - wide[:, 2]).mean(axis=(1, 2, 3)) >= self.distinct for i in (0, 4)], axis=1)

    def render(self, batch: Batch) -> Batch:
        return {**batch, "five": network_input(batch["five"])}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        captions = ("a (before)", "b (first end)", "c (between: in order)", "d (second end)", "e (after)")
        return [(caption, unnormalise(batch["five"][:, i])) for i, caption in enumerate(captions)]


class TemporalOrder(Method):
    """Binary cross-entropy over tuples; log 2 when the network does not know and answers even odds."""

    needs = frozenset({"frames"})

    def __init__(self, width: int, hidden: int, negative_share: float, view: FiveFrames) -> None:
        super().__init__()
        self.view = view
        self.negative_share = negative_share
        layers = (
            [nn.Linear(3 * width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)] if hidden else [nn.Linear(3 * width, 1)]
        )
        self.head = nn.Sequential(*layers)

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        vectors = unfold(backbone(fold(batch["five"])).vector, 5)  # [B, 5, D]
        logits = self.head(ask_tuples(vectors, batch["backwards"])).squeeze(-1).float()  # [B, 3]
        in_order = torch.zeros_like(logits)
        in_order[:, 0] = 1
        weight = tuple_weights(batch["counts"], self.negative_share)
        each = F.binary_cross_entropy_with_logits(logits, in_order, reduction="none")
        loss = (each * weight).sum() / weight.sum()
        right = (logits > self._even_odds()) == in_order.bool()
        counted = weight > 0
        positive, negative = right[:, 0].float().mean(), (right & counted)[:, 1:].sum() / counted[:, 1:].sum().clamp_min(1)
        metrics = {"balanced_accuracy": ((positive + negative) / 2).detach()}
        return Step(loss, metrics, answers={"logits": logits.detach(), "counted": counted.float()})

    def _even_odds(self) -> float:
        """The logit at which a content-blind answer stands, given the share of counter-examples."""
        return float(np.log((1 - self.negative_share) / self.negative_share))

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Judged half and half: balanced accuracy at even odds, and the AUC; chance is 0.5 for both."""
        from sklearn.metrics import roc_auc_score

        logits, counted = answers["logits"], answers["counted"].bool()
        positive, negative = logits[:, 0], logits[:, 1:][counted[:, 1:]]
        if len(negative) == 0:
            return {}
        threshold = self._even_odds()
        balanced = ((positive > threshold).float().mean() + (negative <= threshold).float().mean()) / 2
        truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
        auc = float(roc_auc_score(truth, torch.cat([positive, negative]).numpy()))
        return {"balanced_accuracy": float(balanced), "chance_balanced_accuracy": 0.5, "auc": auc, "chance_auc": 0.5}


def ask_tuples(vectors: Tensor, backwards: Tensor) -> Tensor:
    """Vectors [B, 5, D] to the three questions [B, 3, 3 D], each forwards or backwards as [B, 3] says."""
    forwards = torch.stack([vectors[:, list(order)].flatten(1) for order in TUPLES], dim=1)
    reverse = torch.stack([vectors[:, list(reversed(order))].flatten(1) for order in TUPLES], dim=1)
    return torch.where(backwards.unsqueeze(-1), reverse, forwards)


def tuple_weights(counts: Tensor, negative_share: float) -> Tensor:
    """Weights [B, 3] of the tuples from which counter-examples count, bool [B, 2]: each kind's total is its share."""
    positive = torch.full_like(counts[:, :1], 1, dtype=torch.float32) * (1 - negative_share) / len(counts)
    negative = counts.float() * negative_share / counts.sum().clamp_min(1)
    return torch.cat([positive, negative], dim=1)
