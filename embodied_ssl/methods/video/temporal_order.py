"""Temporal order: does the middle frame lie between the other two?

Five frames a < b < c < d < e of one video make one question and its counter-examples: (b, c, d) is in order, (b, a, d)
and (b, e, d) are not. All share the end frames b and d, so only the middle one can tell; each is also asked backwards,
which changes no answer. To answer, a network must know how things move.

Misra, Zitnick and Hebert 2016 (Shuffle and Learn), arXiv:1603.08561. Kept: tau_max bounds d - b, tau_min is the least
distance of a before b and of e after d, crop and mirror are one draw for all five, windows are drawn by motion, and the
share of counter-examples. Different, and why:
- Tuples are drawn by the motion at a, c and e together, and so that c moves no more than a and e on average. Drawing c
  alone by motion makes middle frames of the right order move more: that alone gives an AUC of about 0.63.
- Several tuples come from one window of the video, which is decoded once; the feed spreads them over the steps.
- No tuple spans a cut, and crops stay inside black bars and burnt-in borders: both would tell the order by themselves.
- The five frames are encoded once and shared by the three tuples; the share of counter-examples is a weight in the loss
  (equal in expectation to sampling).
- Motion is the frame difference kept in the video's index unless the data say ``motion="farneback"`` or ``"dis"`` (flow).
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
from embodied_ssl.datasets.source import Sample
from embodied_ssl.datasets.windows import FLOOR, draw_window
from embodied_ssl.errors import UserError
from embodied_ssl.views.crops import check_crop, mirror, random_resized_box
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import fold, network_input, unfold, unnormalise

CANDIDATES = 512  # tuples drawn evenly, at the least, to choose by motion from
STEEPEST = 12.0  # of the tilt: beyond it a few odd tuples would be drawn again and again
TUPLES = ((1, 2, 3), (1, 0, 3), (1, 4, 3))  # positions in a b c d e: one in order, two not
KINDS = ("three frames in order", "not in order, the middle one is earlier", "not in order, the middle one is later")


@dataclass(frozen=True)
class TemporalOrderConfig:
    """How frames are chosen and judged.

    Args:
        size: side of the crops in pixels.
        tau_min, tau_max: in frames, see the module.
        tuples: questions drawn from one window; more decode fewer frames each.
        window: frames in a window; 0 for the whole video, which is exact random access.
        negative_share: weight of counter-examples in the loss.
        distinct: least mean difference, in grey levels, of a counter-example's middle frame from c.
        area: least and greatest share of the frame that the crop covers.
        hidden: width of the head's hidden layer; 0 for none.
    """

    size: int = 96
    tau_min: int = 15
    tau_max: int = 60
    tuples: int = 16
    window: int = 200
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
        if self.window and self.window < 2 * self.tau_min + 3:
            least = 2 * self.tau_min + 3
            raise UserError(
                f"window is {self.window}; give at least the {least} frames that tau_min needs, or 0 for whole videos"
            )

    def build(self, backbone: Backbone) -> TemporalOrder:
        view = FiveFrames(self.size, self.tau_min, self.tau_max, self.distinct, self.area, self.tuples, self.window)
        return TemporalOrder(backbone.width, self.hidden, self.negative_share, view)


def pick_tuples(
    motion: NDArray[np.float32], shots: NDArray[np.int64], tau_min: int, tau_max: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose frames a < b < c < d < e with d - b <= tau_max and tau_min <= b - a, e - d <= tau_max, all of one shot.

    Many are drawn evenly, then ``count`` of them by the motion at a, c and e together. Frames near the ends of a shot can
    be a or e and never c, and things tend to move more amid a shot; so the choice is tilted until c moves no more than a
    and e on average over what may be chosen. Then how much the middle frame moves tells nothing.

    Args:
        motion: of every frame [n].
        shots: of every frame [n]; the longest has at least 2 * tau_min + 3 frames. Where it has too few for tau_max,
            distances are drawn from what fits.
        tau_min, tau_max: in frames.
        count: tuples to choose; may repeat.
        rng: keyed generator.

    Returns:
        int64 [count, 5].
    """
    tuples = draw_evenly(shots, tau_min, tau_max, max(CANDIDATES, len(motion)), rng)
    near = nearby_motion(motion)
    rank = midranks(near)
    weight = near[tuples[:, [0, 2, 4]]].sum(1) + FLOOR
    weight *= tilt(rank[tuples[:, 2]] - rank[tuples[:, [0, 4]]].mean(1), weight)
    return tuples[rng.choice(len(tuples), count, p=weight / weight.sum())]


def draw_evenly(shots: NDArray[np.int64], tau_min: int, tau_max: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Tuples [count, 5] as `pick_tuples` wants them: distances evenly from what is allowed, then any place where they fit."""
    begins = np.flatnonzero(np.diff(shots, prepend=shots[0] - 1))
    lengths = np.diff(begins, append=len(shots))
    room = int(lengths.max()) - 1 - 2 * tau_min  # what d - b and the outer distances beyond tau_min may share
    ends = rng.integers(2, min(tau_max, room) + 1, count)
    spare = np.minimum(max(0, tau_max - tau_min), (room - ends) // 2)
    before, after = tau_min + rng.integers(0, spare + 1), tau_min + rng.integers(0, spare + 1)
    middle = rng.integers(1, ends)
    places = np.maximum(0, lengths - (before + ends + after)[:, None]).cumsum(1)  # [count, shots], counted through
    place = rng.integers(0, places[:, -1])
    shot = (places <= place[:, None]).sum(1)
    a = begins[shot] + place - np.where(shot > 0, places[np.arange(count), shot - 1], 0)
    return np.stack([a, a + before, a + before + middle, a + before + ends, a + before + ends + after], axis=1)


def nearby_motion(motion: NDArray[np.float32]) -> NDArray[np.float64]:
    """Motion [n] averaged over five frames, fewer at the ends; the first frame, which has none before it, counts as the next."""
    known = motion.astype(np.float64)
    known[0] = known[min(1, len(known) - 1)]
    ones = np.ones(5)
    return np.convolve(known, ones, mode="same") / np.convolve(np.ones(len(known)), ones, mode="same")


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of values [n] below each, and half of those equal to it."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(values))


def tilt(lead: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors exp(-t * lead) under which the weighted mean of ``lead`` is 0, or as near to it as |t| <= STEEPEST comes."""
    low, high = -STEEPEST, STEEPEST
    for _ in range(24):  # the mean falls as t rises
        t = (low + high) / 2
        low, high = (t, high) if (weight * np.exp(-t * lead) * lead).sum() > 0 else (low, t)
    return np.exp(-t * lead)


@dataclass(frozen=True)
class FiveFrames(View):
    """Five frames of a video through one crop: uint8 [5, S, S, 3], in order, with which counter-examples count [2]."""

    size: int
    tau_min: int
    tau_max: int
    distinct: float
    area: tuple[float, float]
    copies: int = 4
    window: int = 0
    spread: bool = True

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames = draw_window(sample["frames"], self.window, 2 * self.tau_min + 3, rng)
        chosen = pick_tuples(frames.motion, frames.shots, self.tau_min, self.tau_max, self.copies, rng)
        unique, where = np.unique(chosen, return_inverse=True)
        pixels = frames.take([int(i) for i in unique])
        top, left, height, width = frames.content
        views = []
        for five in where.reshape(chosen.shape):
            y, x, *size = random_resized_box(height, width, rng, self.area)
            box = (top + y, left + x, size[0], size[1])
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

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """The three frames of every question side by side, as they were asked; a row for each kind of question."""
        logits, counted = step.answers["logits"], step.answers["counted"] > 0
        frames, panels = unnormalise(batch["five"]), []
        for number, (order, kind) in enumerate(zip(TUPLES, KINDS, strict=True)):
            rows = counted[:, number].nonzero().flatten().tolist()
            if not rows:
                continue
            asked = [list(reversed(order)) if batch["backwards"][row, number] else list(order) for row in rows]
            strips = torch.stack([frames[row, three].movedim(0, 2).flatten(2, 3) for row, three in zip(rows, asked, strict=True)])
            right = (logits[rows, number] > self._even_odds()) == (number == 0)
            panels.append((f"{kind}: {int(right.sum())} of {len(rows)} answered right", framed(strips, right)))
        return panels


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
