"""Training a network on labelled pictures: the one loop behind every protocol that does not leave the network as it is.

The caller states which parts train (groups in order of depth), at which rates, and for how long; nothing is chosen in here, and
nothing is stopped early. Order and crops are keyed: the same seed gives the same weights.
Legend: N stored pictures, n pictures to learn from, R side of the stored square, S side that the network sees, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.config import to_json
from embodied_ssl.datasets.target import Rows
from embodied_ssl.distributed import use_bf16
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import Precision, frozen
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, batches
from embodied_ssl.evaluation.protocol import Job
from embodied_ssl.evaluation.training.classifier import BatchNorms, Classifier, Group, keyed_torch
from embodied_ssl.keys import Word, generator
from embodied_ssl.optim import LARS, OptimizerConfig
from embodied_ssl.views.batched import crop_batch
from embodied_ssl.views.crops import check_crop, random_resized_box

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures, to learn from or to be judged on.

    Attributes:
        pictures: stored squares and their labels.
        rows: where these pictures are among them [n].
        classes: C.
        preprocessing: from squares to what the network sees.
    """

    pictures: Pictures
    rows: Rows
    classes: int
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if len(self.rows) == 0 or self.labels.min() < 0 or self.labels.max() >= self.classes:
            found = f"{self.labels.min()}..{self.labels.max()}" if len(self.rows) else "none"
            raise UserError(f"the labels are {found}; every picture needs one of 0..{self.classes - 1}: mend them")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Labels:
        """Int64 [n]."""
        return self.pictures.labels[self.rows]

    @property
    def recordings(self) -> list[str]:
        """Of each of these pictures."""
        return [self.pictures.recordings[row] for row in self.rows]

    def part(self, chosen: Rows) -> Labelled:
        """Some of its pictures, by their place in ``rows``."""
        return replace(self, rows=self.rows[chosen])


def parts_of(job: Job) -> tuple[Labelled, Labelled]:
    """The train and the test part of a job.

    Raises:
        UserError: a class of the test part has no train picture, so that nothing could learn it.
    """
    train, test = (Labelled(job.pictures, rows, len(job.target.classes), job.preprocessing) for rows in (job.train, job.test))
    unseen = sorted(set(test.labels.tolist()) - set(train.labels.tolist()))
    if unseen:
        name = job.target.classes[unseen[0]]
        raise UserError(f"class '{name}' has test pictures but no readable train picture; add some, or remove the class")
    return train, test


@dataclass(frozen=True)
class Showing:
    """How pictures are shown to a network that learns from them.

    Args:
        batch_size: pictures a step; all there are, where they are fewer.
        area: least and greatest share of the stored square that a random crop covers.
        mirror: left and right are exchanged half of the time.
        batch_norm: ``train``: BatchNorm of trained groups normalises by the batch and follows it; ``frozen``: its statistics stay
            as they came (its scale and shift still train). That of frozen groups never moves.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 where the hardware has it.
    """

    batch_size: int = 32
    area: tuple[float, float] = (0.25, 1.0)
    mirror: bool = True
    batch_norm: BatchNorms = "train"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_crop(8, self.area)
        if self.batch_size < 2:
            raise UserError(f"batch_size is {self.batch_size}; give at least 2, since BatchNorm needs more than one picture")

    def steps(self, examples: float, count: int) -> int:
        """How many steps show about so many pictures, of ``count`` that there are; at least 1."""
        return max(1, round(examples / min(self.batch_size, count)))


class Phase(NamedTuple):
    """A stretch of training.

    Attributes:
        steps: how long.
        rates: progress in 0..1 -> the rate of each group.
        first: groups before this one are frozen.
        momentum: progress -> SGD's momentum or Adam's first beta; the optimiser's own when not given.
    """

    steps: int
    rates: Callable[[float], Sequence[float]]
    first: int = 0
    momentum: Callable[[float], float] | None = None


def train(
    model: Classifier,
    groups: Sequence[Group],
    phases: Sequence[Phase],
    data: Labelled,
    showing: Showing,
    optimizer: OptimizerConfig,
    device: torch.device,
    *key: Word,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """Train a classifier in place by cross-entropy; at step i of n the rates are those at progress i / n.

    Args:
        model: moved to ``device``.
        groups: parts in order of depth, which together are the whole model.
        phases: one after another, with one optimiser; its memory of groups that train on is kept.
        data: what to learn from.
        showing: batches, crops, and what BatchNorm does.
        optimizer: its ``rate`` is not used: rates are the phases'.
        device: where to train.
        key: of order, crops and dropout.
        on_step: told how many steps are done, of how many.

    Returns:
        The loss at every step; not finite where training diverged.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = optimizer.build(_torch_groups(groups, optimizer))
    shown = _batches(data, showing, model.backbone.channels, device, key)
    bf16 = use_bf16(showing.precision, device)
    total = sum(phase.steps for phase in phases)
    losses: list[Tensor] = []
    with keyed_torch(*key, "train", device=device):
        for phase in phases:
            model.train()
            for number, group in enumerate(groups):
                group.set(number >= phase.first, showing.batch_norm)
            for step in range(phase.steps):
                _set_rates(engine, phase, step / phase.steps)
                x, labels = next(shown)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits = model(x)
                loss = F.cross_entropy(logits.float(), labels)
                engine.zero_grad(set_to_none=True)
                loss.backward()
                engine.step()
                losses.append(loss.detach())
                on_step(len(losses), total)
    return np.asarray(torch.stack(losses).float().cpu().numpy(), np.float32)


def refuse_divergence(losses: NDArray[np.float32], what: str) -> None:
    """Refuse to judge a network whose training went astray.

    Raises:
        UserError: a loss is no number.
    """
    if not np.isfinite(losses).all():
        step = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise UserError(f"{what} diverged at step {step} of {len(losses)} (the loss is no number); give a lower rate")


def predict(model: Classifier, data: Labelled, device: torch.device, precision: Precision = "auto") -> Labels:
    """The class of the highest logit for the centre crop of each picture [n], in eval mode; labels are not looked at."""
    answers, how = [], data.preprocessing
    with frozen(model), torch.autocast(device.type, torch.bfloat16, enabled=use_bf16(precision, device)):
        for some in batches(len(data), 64):
            squares = np.ascontiguousarray(how.centre(data.pictures.pixels[data.rows[some]]))
            x = how.render(torch.from_numpy(squares).to(device), model.backbone.channels)
            answers.append(model(x.contiguous(memory_format=torch.channels_last)).float().argmax(1).cpu().numpy())
    return np.concatenate(answers)


def shuffled(count: int, size: int, *key: Word) -> Iterator[Rows]:
    """Endless batches of ``size``, from one shuffled pass over ``count`` items after another; nothing is left out at the ends."""
    pending, passes = np.zeros(0, np.intp), 0
    while True:
        while len(pending) < size:
            pending = np.concatenate([pending, generator(*key, "order", passes).permutation(count)])
            passes += 1
        yield pending[:size]
        pending = pending[size:]


def _batches(
    data: Labelled, showing: Showing, channels: int, device: torch.device, key: tuple[Word, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless network inputs [B, channels, S, S] with their labels [B]."""
    how, pixels, labels = data.preprocessing, data.pictures.pixels, data.labels
    size, side = min(showing.batch_size, len(data)), pixels.shape[1]
    for step, chosen in enumerate(shuffled(len(data), size, *key)):
        rng = generator(*key, "crops", step)
        boxes = [random_resized_box(side, side, rng, showing.area) for _ in chosen]
        mirrored = (showing.mirror & (rng.random(size) < 0.5)).tolist()
        squares = torch.from_numpy(np.ascontiguousarray(pixels[data.rows[chosen]])).to(device)
        x = how.render(crop_batch(squares, boxes, mirrored, how.size), channels)
        yield x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels[chosen]).to(device)


def _torch_groups(groups: Sequence[Group], optimizer: OptimizerConfig) -> list[dict[str, Any]]:
    """Torch's parameter groups, each with the number of ours; norms and biases apart where the optimiser spares them."""
    found = []
    for number, group in enumerate(groups):
        for decays in (True, False):
            chosen = [p for p in group.parameters if (optimizer.decay_norms or p.ndim > 1) == decays]
            spared: dict[str, Any] = {} if decays else {"weight_decay": 0.0}
            if not decays and isinstance(optimizer, LARS):
                spared["adapt"] = False
            if chosen:
                found.append({"params": chosen, "number": number, **spared})
    return found


def _set_rates(engine: torch.optim.Optimizer, phase: Phase, progress: float) -> None:
    rates = phase.rates(progress)
    for group in engine.param_groups:
        group["lr"] = rates[group["number"]]
        if phase.momentum is not None:
            momentum = phase.momentum(progress)
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum


def stated(protocol: Any, showing: Showing, job: Job) -> dict[str, Any]:
    """Every field of a protocol, nested ones with their type, the seed, and whether bf16 was used: for a score."""
    fields = {key: value for key, value in to_json(protocol).items() if key != "type"}
    return {**fields, "seed": job.seed, "bf16": use_bf16(showing.precision, job.device)}
