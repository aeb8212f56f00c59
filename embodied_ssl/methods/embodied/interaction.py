"""Interaction: what a grasp, a push and a poke teach about a picture.

Three questions to one trunk: would a grasp at this point and angle hold (18 angle bins, of which only the tried one is
judged)? Which push turned the picture before into the picture after (start, end, height)? How does the thing yield under
a poke (slope and intercept of force over depth)? Rows of the other interactions are masked out of a branch, not skipped,
so that every branch runs for every batch.

Pinto, Gandhi, Han, Park and Gupta 2016 (The Curious Robot), arXiv:1604.01360. Here the trunk is the backbone and branches
are small: grasp and poke read its vector, of a patch around the touched point; push, which asks where, reads a map of
4 x 4 places of the scene before and after. Targets are scaled by training statistics found in `fit`. Identity over
viewpoints is not here.

Legend: B rows, S pixels, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Asks, Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Picture, Pixels, Sample, Source
from embodied_ssl.errors import BadItem
from embodied_ssl.losses import mean_where, tried_bin
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import network_input, unnormalise

BINS = 18  # of 10 degrees
CELLS = 4  # places along a side of the map that the push branch reads
GRASP, PUSH, POKE = 0, 1, 2
TRUE, ANSWERED = (1.0, 1.0, 1.0), (1.0, 0.55, 0.0)  # colours of lines: white and orange


@dataclass(frozen=True)
class InteractionConfig:
    """What is seen, and the branches.

    Args:
        size: side of the pictures in pixels.
        patch: side of the patch around a touched point, as a share of the picture's.
        jitter: how far the patch is moved at random, as a share of its side.
        hidden: width of the branches' hidden layers.
    """

    size: int = 96
    patch: float = 0.4
    jitter: float = 0.05
    hidden: int = 256

    def __post_init__(self) -> None:
        check_crop(self.size, (self.patch, 1.0))

    def build(self, backbone: Backbone) -> Interaction:
        return Interaction(backbone, self.hidden, TouchView(self.size, self.patch, self.jitter))


@dataclass(frozen=True)
class TouchView(View):
    """Two pictures uint8 [S, S, 3]: the touched patch (grasp, poke) or the whole scene before (push), and the scene after."""

    size: int
    patch: float
    jitter: float

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        task = int(sample["task"])
        before: Picture = sample["before"]
        height, width = before.size
        if task == PUSH:
            first = before.take((0, 0, height, width), (self.size, self.size))
        else:
            first = self._patch(before, sample["grasp" if task == GRASP else "poke"][:2], rng)
        second = (
            sample["after"].take((0, 0, *sample["after"].size), (self.size, self.size)) if task == PUSH else np.zeros_like(first)
        )
        scale = np.array([height, width, height, width, 1], np.float32)
        return {
            "first": first,
            "second": second,
            "task": np.asarray(task, np.int64),
            "bin": np.asarray(int(sample["grasp"][2]), np.int64),
            "success": np.asarray(sample["grasp"][3], np.float32),
            "push": np.asarray(sample["push"] / scale, np.float32),
            "poke": np.asarray(sample["poke"][2:], np.float32),
        }

    def _patch(self, picture: Picture, point: Sequence[float], rng: np.random.Generator) -> Pixels:
        """The square around a point, moved inside the picture where it would stick out."""
        height, width = picture.size
        side = max(2, round(self.patch * min(height, width)))
        moved = np.asarray(point, np.float64) + rng.uniform(-self.jitter, self.jitter, 2) * side
        top = int(np.clip(round(moved[0] - side / 2), 0, height - side))
        left = int(np.clip(round(moved[1] - side / 2), 0, width - side))
        return picture.take((top, left, side, side), (self.size, self.size))

    def render(self, batch: Batch) -> Batch:
        return {**batch, "first": network_input(batch["first"]), "second": network_input(batch["second"])}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        words = {GRASP: "grasp", PUSH: "push", POKE: "poke"}
        names = ", ".join(words[int(task)] for task in batch["task"])
        return [(f"seen: {names}", unnormalise(batch["first"])), ("after (pushes)", unnormalise(batch["second"]))]


class Interaction(Method):
    """The sum of the branches' losses: log 2 + 5 x 1 + 2 x 1 spread, on average, for a network that knows only the means."""

    needs = frozenset({"before", "after", "task", "grasp", "push", "poke"})
    asks = Asks(maps=True)
    push_mean: Tensor
    push_std: Tensor
    poke_mean: Tensor
    poke_std: Tensor

    def __init__(self, backbone: Backbone, hidden: int, view: TouchView) -> None:
        super().__init__()
        self.view = view
        width = backbone.width
        self.where, channels = backbone.grid_stage(view.size, CELLS)
        self.grasp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, BINS))
        self.push = nn.Sequential(nn.Linear(2 * channels * CELLS**2, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 5))
        self.poke = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 2))
        for name, size in (("push", 5), ("poke", 2)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Mean and spread of push and poke targets over (at most 2,000) training rows."""
        rows: dict[int, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = {PUSH: [], POKE: []}
        for index in rng.permutation(len(source))[:2000]:
            try:
                sample = source[int(index)]
                task = int(sample["task"])
                if task in rows:
                    height, width = sample["before"].size
                    scale = np.array([height, width, height, width, 1])
                    rows[task].append(sample["push"] / scale if task == PUSH else sample["poke"][2:])
            except BadItem:
                continue
        for name, task in (("push", PUSH), ("poke", POKE)):
            if len(rows[task]) > 1:
                values = torch.from_numpy(np.array(rows[task], np.float32))
                self.get_buffer(f"{name}_mean").copy_(values.mean(0))
                self.get_buffer(f"{name}_std").copy_(values.std(0).clamp_min(1e-6))

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        features = backbone(torch.cat([batch["first"], batch["second"]]))
        first, _ = features.vector.chunk(2)
        before, after = F.adaptive_avg_pool2d(features.maps[self.where], CELLS).flatten(1).chunk(2)
        task = batch["task"]
        logits = self.grasp(first).float()
        push = self.push(torch.cat([before, after], dim=1)).float()
        poke = self.poke(first).float()
        push_error = F.mse_loss(push, (batch["push"] - self.push_mean) / self.push_std, reduction="none").mean(1)
        poke_error = F.mse_loss(poke, (batch["poke"] - self.poke_mean) / self.poke_std, reduction="none").mean(1)
        losses = {
            "grasp_loss": tried_bin(logits, batch["bin"], batch["success"], task == GRASP),
            "push_loss": mean_where(push_error, task == PUSH),
            "poke_loss": mean_where(poke_error, task == POKE),
        }
        answers = {
            "task": task,
            "grasp": logits.detach().gather(1, batch["bin"].unsqueeze(1)).squeeze(1),
            "success": batch["success"],
            "push_error": push_error.detach(),
            "poke_error": poke_error.detach(),
            "push": push.detach() * self.push_std + self.push_mean,
            "poke": poke.detach() * self.poke_std + self.poke_mean,
        }
        return Step(torch.stack(list(losses.values())).sum(), {n: v.detach() for n, v in losses.items()}, answers=answers)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """AUC of grasp success (chance 0.5) and R^2 of pushes and pokes against the training mean (chance 0)."""
        from sklearn.metrics import roc_auc_score

        task = answers["task"].long()
        figures: dict[str, float] = {}
        success = answers["success"][task == GRASP]
        if 0 < success.sum() < len(success):
            auc = float(roc_auc_score(success.numpy(), answers["grasp"][task == GRASP].numpy()))
            figures |= {"grasp_auc": auc, "chance_grasp_auc": 0.5}
        for name, kind in (("push", PUSH), ("poke", POKE)):
            if (task == kind).any():  # targets are scaled: the training mean's squared error is 1
                figures |= {f"{name}_r2": 1 - float(answers[f"{name}_error"][task == kind].mean()), f"chance_{name}_r2": 0.0}
        return figures

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """What was touched, framed by whether the answer is right: of pushes and pokes, nearer than the training mean is."""
        task, answers = batch["task"], step.answers
        first, second = unnormalise(batch["first"]), unnormalise(batch["second"])
        panels: list[Panel] = []
        if (chosen := task == GRASP).any():
            held, said = batch["success"][chosen] > 0.5, answers["grasp"][chosen].sigmoid()
            words = "; ".join(
                f"{chance:.0%}, it {'held' if holds else 'slipped'}" for chance, holds in zip(said, held, strict=True)
            )
            panels.append((f"would this grasp hold? {words}", framed(first[chosen], (said > 0.5) == held)))
        if (chosen := task == PUSH).any():
            right = answers["push_error"][chosen] < self._error_of_mean("push", batch["push"][chosen])
            drawn = lines_on(first[chosen], answers["push"][chosen], ANSWERED)
            drawn = lines_on(drawn, batch["push"][chosen], TRUE)
            panels.append(("which push? white: as it was, orange: as answered, each from its dot on", framed(drawn, right)))
            panels.append(("after that push", second[chosen]))
        if (chosen := task == POKE).any():
            right = answers["poke_error"][chosen] < self._error_of_mean("poke", batch["poke"][chosen])
            pairs = zip(answers["poke"][chosen, 0].tolist(), batch["poke"][chosen, 0].tolist(), strict=True)
            words = "; ".join(f"{said:.3g}, it is {true:.3g}" for said, true in pairs)
            panels.append((f"how fast does force grow under a poke? {words}", framed(first[chosen], right)))
        return panels

    def _error_of_mean(self, name: str, truth: Tensor) -> Tensor:
        """The scaled squared error [n] of answering the training mean."""
        return ((truth - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_std")).square().mean(1)


def lines_on(pictures: Tensor, pushes: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Pictures [n, 3, S, S] with the way of each push drawn over them, and a dot where it starts.

    Args:
        pictures: float in 0..1; left as they are.
        pushes: [n, 5]: start and end as row and column, each as a share of the side, and a height that is not drawn.
        colour: of the line.
    """
    drawn, side = pictures.clone(), pictures.shape[-1]
    along = torch.linspace(0, 1, 2 * side, device=pictures.device)[:, None]
    thick = max(1, side // 64)
    for picture, push in zip(drawn, pushes, strict=True):
        points = ((push[:2] + along * (push[2:4] - push[:2])) * side).round().long().clamp(0, side - 1)
        for number, (row, column) in enumerate(points.tolist()):
            reach = 2 * thick if number == 0 else thick
            box = (slice(max(0, row - reach), row + reach), slice(max(0, column - reach), column + reach))
            picture[(slice(None), *box)] = picture.new_tensor(colour)[:, None, None]
    return drawn
