"""Trains a detector for a fixed number of steps and runs it: which pictures, at what size, mirrored or not, is all keyed.

The recipe is decided before anything is seen: no picture, of the train part or the test part, chooses when to stop.
Legend: B pictures of a batch, H W pixels, n objects of one picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.target import Boxes, LabelledPictures, Rows
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.detection.pictures import Shown, ahead, show
from embodied_ssl.evaluation.detection.scores import Detections
from embodied_ssl.evaluation.pictures import READERS, Preprocessing, Progress
from embodied_ssl.keys import generator, torch_seed


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained.

    Args:
        steps: of stochastic gradient descent, all at the rates below.
        batch: pictures a step.
        rate: peak learning rate.
        warmup: steps in which the rate climbs linearly from a thousandth of it.
        drops: steps at which it is divided by ten.
        clip: gradients longer than this are shortened to it, which keeps an untrained network from diverging; 0 for none.
        short_sides: of the training pictures, in pixels, one drawn for each picture; ``long_side`` is never exceeded.
        test_side: short side of the test pictures.
        mirrored: half the training pictures, drawn, are shown left to right.
        freeze: how many of the backbone's first stages keep their weights and statistics (0: all is trained).
        batch_norm: of the backbone's stages that train. ``frozen``: fixed statistics, scale and shift, as batches of a few
            pictures need. ``batch``: each batch's own statistics; what synchronised BatchNorm over 8 GPUs computes, here in one
            process. New layers always use the batch's.
        precise_batches: over how many training batches all statistics that are not held by ``freeze`` are estimated anew:
            before training where they are ``frozen``, after it where not. Without, a network whose statistics come from
            elsewhere (a random one has none at all) is judged by a handicap that training would have removed.
    """

    steps: int = 200
    batch: int = 4
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 50
    drops: tuple[int, ...] = (140, 180)
    clip: float = 10.0
    short_sides: tuple[int, ...] = (320,)
    test_side: int = 320
    long_side: int = 320
    mirrored: bool = True
    freeze: int = 0
    batch_norm: Literal["frozen", "batch"] = "frozen"
    precise_batches: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.test_side, self.long_side, *self.short_sides, len(self.short_sides)) < 1:
            raise UserError("detection: steps, batch, short_sides, test_side and long_side must be at least 1")
        if self.batch_norm not in ("frozen", "batch"):
            raise UserError(f"detection: batch_norm '{self.batch_norm}' is not known; there is frozen, batch")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: a thousandth of the peak at step 0, the peak at the end of warm-up."""
        share = min(1.0, step / self.warmup) if self.warmup else 1.0
        return self.rate * (0.001 + 0.999 * share) * 0.1 ** sum(step >= drop for drop in self.drops)


@dataclass
class Trainer:
    """One detector and everything that trains and runs it.

    Attributes:
        model: the detector, on its device.
        backbone: the network inside it.
        source: pictures and boxes.
        preprocessing: colour, mean and deviation of the network's input; its sizes are not used.
        recipe: see there.
        key: of every draw; the seed and the trial are part of it.
        on_progress: told about steps and test pictures.
    """

    model: Any
    backbone: Backbone
    source: LabelledPictures
    preprocessing: Preprocessing
    recipe: Recipe
    key: tuple[int | str, ...]
    on_progress: Progress
    held: list[nn.Module] = field(init=False)
    norms: list[_BatchNorm] = field(init=False)

    def __post_init__(self) -> None:
        self.held = hold_stages(self.backbone, self.recipe.freeze)
        inside = {id(module) for held in self.held for module in held.modules()}
        free = [m for m in self.backbone.modules() if isinstance(m, _BatchNorm) and id(m) not in inside]
        if self.recipe.batch_norm == "frozen":
            self.norms = free
            self.held += free
            for norm in free:
                norm.requires_grad_(False)
        else:
            self.norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm) and id(m) not in inside]

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def fit(self, rows: Rows) -> list[float]:
        """Train on these rows of the source; returns the loss of every step.

        Raises:
            UserError: the loss is no number any more.
        """
        recipe, losses = self.recipe, []
        if recipe.batch_norm == "frozen":
            self.estimate_statistics(rows)
        weights = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(weights, recipe.rate, recipe.momentum, weight_decay=recipe.weight_decay)
        self._train_mode()
        for step, batch in enumerate(self._batches(rows, "train", recipe.steps)):
            optimizer.param_groups[0]["lr"] = recipe.rate_at(step)
            with keyed_torch(self.device, *self.key, "step", step):
                loss = sum(self.model(*self._tensors(batch)).values())
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(weights, recipe.clip)
            optimizer.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                given = f"the loss is {losses[-1]} at step {step} with rate {recipe.rate}"
                raise UserError(f"detection: {given}; lower the rate or lengthen warmup")
            self.on_progress("training the detector", step + 1, recipe.steps)
        if recipe.batch_norm == "batch":
            self.estimate_statistics(rows)
        return losses

    @torch.no_grad()
    def find(self, rows: Rows) -> list[Detections]:
        """What the detector finds in each of these rows, surest first, in the pixels of the stored pictures."""
        self.model.eval()
        found = []
        with ThreadPoolExecutor(READERS) as pool:
            for done, shown in enumerate(ahead(pool, self._test_picture, rows.tolist(), READERS), start=1):
                given = self.model([self._render(shown)])[0]
                corners = given["boxes"].cpu().numpy() / np.asarray(shown.scale * 2, np.float32)
                found.append(Detections(corners, given["labels"].cpu().numpy() - 1, given["scores"].cpu().numpy()))
                self.on_progress("detecting", done, len(rows))
        return found

    @torch.no_grad()
    def estimate_statistics(self, rows: Rows) -> None:
        """Replace the running statistics of `norms` by their mean over a few training batches (precise BatchNorm)."""
        if not self.recipe.precise_batches or not self.norms:
            return
        self._train_mode()
        momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # every batch counts alike
        for number, batch in enumerate(self._batches(rows, "statistics", self.recipe.precise_batches)):
            with keyed_torch(self.device, *self.key, "statistics", number):
                self.model(*self._tensors(batch))
        for norm, momentum in zip(self.norms, momenta, strict=True):
            norm.momentum = momentum

    def _train_mode(self) -> None:
        self.model.train()
        for module in self.held:
            module.eval()

    def _batches(self, rows: Rows, purpose: str, count: int) -> Iterator[list[Shown]]:
        """Batches through one shuffle of the rows after another; the next batch is read meanwhile."""
        size, key = self.recipe.batch, (*self.key, purpose)

        @lru_cache(maxsize=2)
        def shuffled(turn: int) -> Rows:
            return rows[generator(*key, "order", turn).permutation(len(rows))]

        def read(place: int) -> Shown:
            turn, position = divmod(place, len(rows))
            return self._train_picture(int(shuffled(turn)[position]), generator(*key, "view", place))

        with ThreadPoolExecutor(READERS) as pool:
            shown = ahead(pool, read, range(count * size), 2 * size)
            for _ in range(count):
                yield [next(shown) for _ in range(size)]

    def _train_picture(self, row: int, rng: np.random.Generator) -> Shown:
        short = self.recipe.short_sides[int(rng.integers(len(self.recipe.short_sides)))]
        return show(self.source[row], short, self.recipe.long_side, self.recipe.mirrored and bool(rng.random() < 0.5))

    def _test_picture(self, row: int) -> Shown:
        return show(self.source[row], self.recipe.test_side, self.recipe.long_side)

    def _render(self, shown: Shown) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(shown.pixels))[None].to(self.device)
        return self.preprocessing.render(pixels, self.backbone.channels)[0]

    def _tensors(self, batch: Sequence[Shown]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        return [self._render(shown) for shown in batch], [_answers(shown.boxes, self.device) for shown in batch]


def hold_stages(backbone: Backbone, count: int) -> list[nn.Module]:
    """Keep the weights of the first stages as they are; returns their modules, which must also stay in evaluation mode.

    Raises:
        UserError: there are not so many stages, or they cannot be told apart.
    """
    if not 0 <= count <= len(backbone.stages) or (count and not any(backbone.parts.values())):
        stages = ", ".join(backbone.stages)
        raise UserError(f"detection: freeze is {count}, but the stages of '{backbone.name}' that can be held are {stages}")
    held = [backbone.net.get_submodule(part) for stage in backbone.stages[:count] for part in backbone.parts[stage]]
    for module in held:
        module.requires_grad_(False)
    return held


@contextmanager
def keyed_torch(device: torch.device, *key: int | str) -> Iterator[None]:
    """Draws from torch's global generator depend on the key inside, and leave no trace outside.

    torchvision samples anchors and proposals with it and takes no other.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(torch_seed(*key))
        yield


def _answers(boxes: Boxes, device: torch.device) -> dict[str, Tensor]:
    """As torchvision wants them: labels from 1. Difficult objects teach too; a box without area cannot."""
    corners: NDArray[np.float32] = boxes.corners.astype(np.float32)
    has_area = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    labels = torch.from_numpy(boxes.labels[has_area].astype(np.int64) + 1)
    return {"boxes": torch.from_numpy(corners[has_area]).to(device), "labels": labels.to(device)}
