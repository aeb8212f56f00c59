"""Consistency: any task, and its answers about a picture are to stay as they are when the picture is disturbed.

What a picture shows does not depend on its colours' cast or on its sharpness, so a network that understood a question answers
it alike about both. The task draws its question once. Its pixels are then disturbed (colours, blur; nothing is moved, so that
the question keeps its answer) *before* the task renders them, and what is answered about the disturbed copy is held against
what was answered about the picture as it is. The task's own loss is that of the undisturbed half, and the term is added.

Xie et al. 2020 (UDA), arXiv:1904.12848, eq. 1, for any task: the mean of KL(target || answer), where the target is the answer
about the undisturbed copy, sharpened by a temperature and without gradient, and examples of which the network is not sure count
as 0 in the mean. Both copies go through the network in one pass, so that BatchNorm sees them together. Their disturbance is
RandAugment, which moves things; ours does not.

Where a task has no probabilities (`Method.gives_logits` is false), the backbone's vectors are held together instead, by cosine;
then both copies are passed one after the other, since what a task does with its pictures is its own affair, and temperature and
threshold do nothing.
Legend: B examples, K answers, D features.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.config import MethodConfig
from embodied_ssl.core import Batch, Epoch, Example, Method, Panel, Plan, Step, View, ViewAround
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.views.colour import ColourChange, blur, change_colours
from embodied_ssl.views.pixels import to_float

OTHER = "disturbed/"  # fields of the disturbed copy
OURS = "consistency/"  # rows and answers that are not the task's


@dataclass(frozen=True)
class ConsistentConfig:
    """The task, and how its answers are to agree.

    Args:
        task: any method but a multi-task one (which may have consistent tasks).
        weight: of the term, beside the task's loss.
        disturbance: how colours change and what is blurred.
        temperature: sharpens the target below 1; the paper has 0.4 for small pictures.
        threshold: answers whose greatest probability is not above it count as 0; the paper has 0.8 for small pictures.
    """

    task: MethodConfig
    weight: float = 1.0
    disturbance: ColourChange = field(default_factory=lambda: ColourChange(change=1.0, blur=0.5))
    temperature: float = 1.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0 or not 0 <= self.threshold < 1:
            raise UserError(
                f"consistency was given weight {self.weight}, temperature {self.temperature} and threshold {self.threshold}; "
                "the weight is at least 0, the temperature above 0, the threshold from 0 to below 1"
            )

    def build(self, backbone: Backbone) -> Consistent:
        return Consistent(self.task.build(backbone), self)


class DisturbedView(ViewAround):
    """Another view, and what it renders of the same example with disturbed pixels, under ``disturbed/``."""

    def __init__(self, disturbance: ColourChange, view: View) -> None:
        super().__init__(view)
        self.disturbance = disturbance

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        """What the view draws, as it would be without a disturbance, and the factors [6] of `ColourChange.draw`."""
        drawn = self.view.draw(sample, rng)
        factors = [self.disturbance.draw(rng) for _ in range(self.copies)]
        return {**drawn, f"{OURS}factors": np.stack(factors) if self.copies > 1 else factors[0]}

    def render(self, batch: Batch) -> Batch:
        own = {name: value for name, value in batch.items() if name != f"{OURS}factors"}
        factors = batch[f"{OURS}factors"]
        changed = {n: disturb(v, factors, self.disturbance) if v.dtype == torch.uint8 else v for n, v in own.items()}
        return {**self.view.render(own), **{f"{OTHER}{name}": value for name, value in self.view.render(changed).items()}}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        own, other = apart(batch)
        return [*self.view.panels(own), *((f"disturbed: {caption}", rows) for caption, rows in self.view.panels(other))]


def disturb(pixels: Tensor, factors: Tensor, how: ColourChange) -> Tensor:
    """Change colours and blur uint8 [B, ..., H, W, 3] by factors [B, 6]; all pictures of one example alike, rounded to uint8."""
    batch, (height, width) = len(pixels), pixels.shape[-3:-1]
    pictures = to_float(pixels.view(batch, -1, width, 3))  # [B, 3, n * H, W]: contrast is about the mean of the whole example
    pictures = change_colours(pictures, factors).view(batch, 3, -1, height, width).transpose(1, 2)
    if how.blur:
        count, radius = pictures.shape[1], min(math.ceil(2 * how.sigma[1]), height - 1, width - 1)
        pictures = blur(pictures.flatten(0, 1), factors[:, 5].repeat_interleave(count), radius)
    return pictures.mul(255).round().to(torch.uint8).movedim(-3, -1).reshape(pixels.shape)


def apart(batch: Batch) -> tuple[Batch, Batch]:
    """The examples as they are, and their disturbed copies."""
    other = {name.removeprefix(OTHER): value for name, value in batch.items() if name.startswith(OTHER)}
    return {name: batch[name] for name in other}, other


def disagreement(logits: Tensor, target: Tensor, temperature: float, threshold: float) -> Tensor:
    """KL(target || answer) of each question, 0 where the target is not sure: UDA's consistency term before it is averaged.

    Args:
        logits: [..., K], of the disturbed copy; the gradient flows into these alone.
        target: [..., K], of the copy as it is.
        temperature: divides the target's logits, not the answer's.
        threshold: of the target's greatest probability, before it is sharpened.

    Returns:
        [...]; 0 for equal logits at temperature 1, log K for a target without doubt and an answer without any idea.
    """
    logits, target = logits.float(), target.detach().float()
    log_wanted = F.log_softmax(target / temperature, dim=-1)
    each = (log_wanted.exp() * (log_wanted - F.log_softmax(logits, dim=-1))).sum(-1)
    sure: Tensor = target.softmax(-1).amax(-1) > threshold
    return each * sure


class Watched(nn.Module):
    """A backbone that remembers the vectors it gave."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self._backbone = [backbone]  # in a list, so that it is not registered
        self.vectors: list[Tensor] = []

    def forward(self, pictures: Tensor) -> Features:
        features: Features = self._backbone[0](pictures)
        self.vectors.append(features.vector)
        return features


class Consistent(Method):
    """A task's loss, and ``weight`` times how much its answers change with a disturbance: nothing where they do not."""

    needs = frozenset()  # the task's, once there is one

    def __init__(self, task: Method, config: ConsistentConfig) -> None:
        super().__init__()
        if task.children_by_name:
            raise UserError("consistency is of one task; inside a multi-task method, give each task that shall have it its own")
        if task.phases != ("main",):
            raise UserError(f"{type(task).__name__} trains in several phases, of which consistency cannot be one; train it alone")
        self.task = task
        self.config = config
        self.wrap: Callable[[View], View] = lambda view: view
        self.needs, self.asks, self.coupled = task.needs, task.asks, task.coupled  # type: ignore[misc]

    @property
    def view(self) -> View:  # type: ignore[override]
        return self.wrap(DisturbedView(self.config.disturbance, self.task.view))

    @property
    def embed_view(self) -> View | None:  # type: ignore[override]
        return self.wrap(self.task.embed_view or self.task.view) if self.looks_before_epochs else None

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return self.task.fresh

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    # --- the loss -----------------------------------------------------------------------------------------------------

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        if self.task.gives_logits or self.coupled:
            return self.precise_objective(self.embed(backbone, batch))
        own, other = apart(batch)
        seen, again = Watched(backbone), Watched(backbone)
        step = self.task(seen, own)
        self.task(again, other)
        return self._added(step, turned_away(again.vectors, seen.vectors))

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the task embeds of the copies as they are, and the term, as rows beside it."""
        own, other = apart(batch)
        if not self.task.gives_logits:
            seen, again = Watched(backbone), Watched(backbone)
            rows = self.task.embed(seen, own)
            self.task.embed(again, other)
            return {**rows, f"{OURS}term": turned_away(again.vectors, seen.vectors).reshape(1)}
        both = self.task.embed(backbone, {name: torch.cat([value, other[name]]) for name, value in own.items()})
        logits, again_logits = both["logits"].chunk(2)
        each = disagreement(again_logits, logits, self.config.temperature, self.config.threshold)
        return {
            **{name: value.chunk(2)[0] for name, value in both.items()},
            f"{OURS}term": each.flatten(1).mean(1) if each.ndim > 1 else each,
            f"{OURS}guess": logits.argmax(-1),
            f"{OURS}again": again_logits.argmax(-1),
        }

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        ours = {name.removeprefix(OURS): value for name, value in embeddings.items() if name.startswith(OURS)}
        step = self.task.objective({name: value for name, value in embeddings.items() if not name.startswith(OURS)})
        answers = {f"{OURS}{name}": ours[name].detach() for name in ("guess", "again") if name in ours}
        return self._added(dataclasses.replace(step, answers={**step.answers, **answers}), ours["term"].mean())

    def _added(self, step: Step, term: Tensor) -> Step:
        metrics = {**step.metrics, "task_loss": step.loss.detach(), "consistency": term.detach()}
        return dataclasses.replace(step, loss=step.loss + self.config.weight * term, metrics=metrics)

    # --- what is told about it ----------------------------------------------------------------------------------------

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """The task's figures, and how often a disturbed copy is answered as the copy as it is.

        Chance is how often two answers would agree that are given as often but independently.
        """
        found = self.task.score({name: value for name, value in answers.items() if not name.startswith(OURS)})
        if f"{OURS}guess" not in answers:
            return found
        guess, again = (answers[f"{OURS}{name}"].long().flatten() for name in ("guess", "again"))
        count = int(torch.maximum(guess.max(), again.max())) + 1
        often, often_again = (one.bincount(minlength=count) / len(one) for one in (guess, again))
        agreement = float((guess == again).float().mean())
        return {**found, "agreement": agreement, "chance_agreement": float(often @ often_again)}

    def warning(self, averages: Mapping[str, float]) -> str:
        return self.task.warning(averages)

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        return self.task.figure(apart(batch)[0], step)

    def describe(self) -> dict[str, object]:
        return self.task.describe()

    # --- the task's hooks ---------------------------------------------------------------------------------------------

    def check_batch(self, examples: int, together: int) -> None:
        self.task.check_batch(examples, together)

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        self.task.fit(source, rng)

    def start(self, backbone: nn.Module) -> None:
        self.task.start(backbone)

    @property
    def looks_before_epochs(self) -> bool:
        return self.task.looks_before_epochs

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan | None:
        plan = self.task.before_epoch(backbone, epoch)
        return plan and dataclasses.replace(plan, restart=tuple(f"task.{name}" for name in plan.restart))

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        self.task.after_step(backbone, carry, progress)

    def after_load(self) -> None:
        self.task.after_load()

    def rate(self, group: str, progress: float) -> float:
        return self.task.rate(group, progress)

    def trains(self, phase: str, parameter: str) -> bool:
        return self.task.trains(phase, parameter.replace("method.task.", "method.", 1))


def turned_away(again: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
    """The mean of 1 - cosine between vectors [n, D] of disturbed copies and those as they are, which get no gradient."""
    cosine = F.cosine_similarity(torch.cat(list(again)).float(), torch.cat(list(seen)).detach().float(), dim=1)
    return 1 - cosine.mean()
