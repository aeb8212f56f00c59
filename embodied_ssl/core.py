"""The vocabulary: a View looks at a sample, a Method asks a question about it, a Learner is a backbone with a method.

A *sample* (see `embodied_ssl.datasets.source`) becomes an *example* in a worker (`View.draw`), examples become a
*batch* (stacked, on the training device), a batch is made ready for the network (`View.render`), and the method
turns it into a *step* (`Method.forward`). What changes between steps changes in the method's hooks, never in ``forward``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.losses import precise

Example = dict[str, NDArray[np.generic]]  # what a view draws: fixed shapes, pixels as uint8 [..., H, W, 3]
# Stacked examples; for a multi-task method the keys are "task/field". ``index`` is each sample's place in its own source: in
# held-out batches (``method.training`` is False) that is the held-out source, so nothing kept by training index applies.
Batch = dict[str, Tensor]
Panel = tuple[str, Tensor]  # a caption and pictures float [n, 3, H, W] in 0..1, for `show` and the report


class View(ABC):
    """How a method looks at a sample, in two halves. Views are picklable and hold no changing state."""

    copies: int = 1  # how many examples one sample gives; above 1, every field of `draw` has a leading axis of this length
    shown: int = 0  # how many examples `panels` chooses from, if it chooses
    spread: bool = False  # whether these go to different steps: examples from one window of a video resemble each other

    @abstractmethod
    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        """Choose from the metadata, then take pixels. Runs in a worker; the same bytes for the same key, anywhere."""

    def render(self, batch: Batch) -> Batch:
        """Make pixels ready for the network: batched, on the training device, without any randomness of its own."""
        return batch

    def panels(self, batch: Batch) -> Sequence[Panel]:
        """What a rendered batch shows, as captioned rows of pictures."""
        return ()


class ViewAround(View):
    """Another view, which it is like in all that it does not change."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.copies = view.copies
        self.shown = view.shown
        self.spread = view.spread
        self.size = getattr(view, "size", 0)

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        return self.view.draw(sample, rng)

    def render(self, batch: Batch) -> Batch:
        return self.view.render(batch)

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return self.view.panels(batch)


@dataclass(frozen=True)
class Asks:
    """What a method needs of a backbone; checked before any data is read. ``channels`` are the numbers that it can feed."""

    channels: tuple[int, ...] = (3,)
    maps: bool = False  # spatial maps of every stage, not only the vector

    def check(self, backbone: Backbone, method: str) -> None:
        """Refuse a backbone that cannot serve.

        Raises:
            UserError: names the backbone, what is missing and what to do.
        """
        if backbone.channels not in self.channels:
            raise UserError(
                f"{method} needs a backbone with {' or '.join(map(str, self.channels))} input channels, this one has "
                f"{backbone.channels}; set --set backbone.channels={self.channels[-1]}"
            )
        if self.maps and not backbone.has_maps:
            raise UserError(f"{method} needs spatial maps, which {backbone.name} does not give; choose a convolutional backbone")


@dataclass
class Step:
    """What one forward pass gives.

    Attributes:
        loss: one scalar.
        metrics: detached scalars for the log; averaged over micro-batches and ranks.
        carry: detached tensors with a leading batch axis for `Method.after_step`; gathered over micro-batches and ranks.
        answers: detached per-example answers [B, ...], from which `Method.score` computes the held-out figures.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    carry: dict[str, Tensor] = field(default_factory=dict)
    answers: dict[str, Tensor] = field(default_factory=dict)


def vector(backbone: nn.Module, batch: Batch) -> Tensor:
    """The backbone's vectors [B, D] of the field ``picture``."""
    found: Tensor = backbone(batch["picture"]).vector
    return found


class Embed(Protocol):
    """See `Epoch`."""

    def __call__(self, through: Callable[[nn.Module, Batch], Tensor] = vector) -> Tensor: ...


@dataclass(frozen=True)
class Epoch:
    """What `Method.before_epoch` may look at.

    Attributes:
        number: counts from 0, per task in a multi-task run.
        source: the training source.
        embed: gives float32 [N, D] of every sample, in the order of the source, in eval mode: the backbone's vectors of the
            field ``picture``, or what a function of the backbone and the rendered batch makes of it. What it looks at is drawn
            by `Method.embed_view`, or by the view where there is none.
    """

    number: int
    source: Source
    embed: Embed


@dataclass(frozen=True)
class Plan:
    """What `Method.before_epoch` may ask for.

    Attributes:
        indices: the samples of this epoch in order, repeats allowed; repeated or cut to the epoch's whole steps. None keeps
            the usual shuffled order.
        restart: names of the method's parameters whose optimiser state starts anew.
        note: a line for people that is said at once; "" for none.
    """

    indices: NDArray[np.int64] | None = None
    restart: tuple[str, ...] = ()
    note: str = ""


class Method(nn.Module, ABC):
    """A pretext task: heads, a loss and whatever memory the loss needs. It borrows the backbone and never owns it.

    A method states the fields it ``needs`` and what it ``asks`` of a backbone. ``forward`` leaves no trace (BatchNorm's
    running statistics excepted). A loss that couples the examples of a batch sets ``coupled`` and is written as `embed` and
    `objective`; the trainer then joins embeddings over micro-batches and ranks, so no method mentions either. Of a coupled method
    with several phases, that is the last one; the others are plain.
    """

    needs: ClassVar[frozenset[str]]
    asks: ClassVar[Asks] = Asks()
    coupled: bool = False
    pair: tuple[str, str] | None = None  # held-out answers [B, D] that are of two views of one example; watched for collapse
    gives_logits: bool = False  # it is written as `embed` and `objective`, and ``logits`` [B, ..., K] are among the embeddings
    phases: tuple[str, ...] = ("main",)  # trained one after another in every step; the last one answers held-out questions
    view: View
    embed_view: View | None = None  # what `Epoch.embed` draws instead of the view, where that is less work
    fresh: bool = False  # train a network drawn anew, once `start` has seen the weights that were there before

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        """One rendered batch to a `Step`. The default is `embed`, then `objective`."""
        return self.precise_objective(self.embed(backbone, batch))

    def precise_objective(self, embeddings: dict[str, Tensor]) -> Step:
        """`objective` in float32 at least, outside autocast: similarities of a whole batch need more digits than a network."""
        kinds = {tensor.device.type for tensor in embeddings.values()}
        with torch.autocast(kinds.pop(), enabled=False):
            return self.objective({name: precise(tensor) for name, tensor in embeddings.items()})

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """For methods that are coupled or give logits: embeddings, each with the examples on the leading axis."""
        raise TypeError(f"{type(self).__name__} has neither forward nor embed")

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        """For the same: the loss of joined embeddings; row i of every entry is from the same example."""
        raise TypeError(f"{type(self).__name__} has neither forward nor objective")

    def see_through(self, wrap: Callable[[View], View]) -> None:
        """Put another view around this method's own. A method that makes its view anew wraps each one it makes."""
        self.view = wrap(self.view)
        if self.embed_view is not None:
            self.embed_view = wrap(self.embed_view)

    def trains(self, phase: str, parameter: str) -> bool:
        """Whether a phase moves this parameter, named as ``backbone.*`` or ``method.*``."""
        return True

    def check_batch(self, examples: int, together: int) -> None:
        """Refuse a batch that this method cannot be trained with; asked before any data is read.

        Args:
            examples: of a step, over all ranks and micro-batches.
            together: how many of them one rank passes through the network at once.

        Raises:
            UserError: says what was given and what is accepted.
        """

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Once, before training: find what the task needs in the training data and keep it in buffers."""

    @property
    def looks_before_epochs(self) -> bool:
        """Whether `before_epoch` is to be called."""
        return type(self).before_epoch is not Method.before_epoch

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan | None:
        """Before each epoch: cluster, say. Returning None keeps the usual order."""
        return None

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        """After each optimiser step: moving averages, queues, prototypes. ``progress`` runs from 0 to 1 over the run."""

    def start(self, backbone: nn.Module) -> None:
        """Once, before training, when the backbone's weights are in: make copies of it (a momentum encoder), say.

        Such a copy is a part of the method, made in ``build`` by ``copy.deepcopy(backbone).requires_grad_(False)``; this is
        where it takes over weights that were loaded since.
        """

    def seen_by(self, task: str, backbone: nn.Module) -> nn.Module:
        """The backbone as one of a multi-task method's tasks sees it."""
        return backbone

    def rate(self, group: str, progress: float) -> float:
        """A factor on the learning rate of a parameter group (``backbone`` or the name of one of the method's parts)."""
        return 1.0

    def after_load(self) -> None:
        """After weights were loaded: rebuild what is derived from buffers."""

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Held-out figures from all answers of a pass; give chance beside every figure, as ``chance_NAME``."""
        return {}

    def warning(self, averages: Mapping[str, float]) -> str:
        """One line for people where held-out averages, of ``loss`` and the metrics, call for it, else ""; said once a run."""
        return ""

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """What was asked of a rendered batch and what was answered, as captioned rows of pictures; nothing by default.

        The tasks of a multi-task method are asked one by one, and each draws its own answers.

        Args:
            batch: rendered, of as many examples as a row shall have.
            step: what `forward` made of this batch in eval mode; what is drawn stands in its ``answers``, example by example.
        """
        return ()

    def describe(self) -> dict[str, object]:
        """What `fit` found, JSON-ready, for the run folder and the report; ``points`` are drawn, the rest is printed too."""
        return {}

    @property
    def children_by_name(self) -> Mapping[str, Method]:
        """A multi-task method's tasks by name; empty for any other."""
        return {}


class Learner(nn.Module):
    """A backbone and a method: the one module that is compiled, wrapped, sharded and saved."""

    def __init__(self, backbone: Backbone, method: Method) -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method

    def forward(self, batch: Batch, phase: str = "main", only_embed: bool = False) -> Step | dict[str, Tensor]:
        """A rendered batch to a `Step`, or to the embeddings alone. One entry, so that wrapping and compiling see every call."""
        if only_embed:
            return self.method.embed(self.backbone, batch)
        step: Step = self.method(self.backbone, batch, phase)
        return step


def check_fields(method: Method, source: Source, name: str) -> None:
    """See that the source provides what the method needs, before any data is decoded.

    Raises:
        UserError: names the missing fields and what there is.
    """
    missing = sorted(method.needs - source.provides)
    if missing:
        has = ", ".join(sorted(source.provides))
        raise UserError(f"{name} needs {', '.join(missing)}, which {source.name} does not provide; it provides {has}")
