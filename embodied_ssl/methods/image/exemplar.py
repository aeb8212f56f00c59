"""Exemplar-CNN: say which of N patches this is, whatever was done to it.

A patch with something to see (a *seed*) is a class of its own; its examples are copies shifted, zoomed, turned and changed in
colour. To name the seed, a network must hold on to what none of these changes touches. Nothing is labelled.

Dosovitskiy, Springenberg, Riedmiller and Brox 2014, arXiv:1406.6909 (with Fischer: TPAMI 2016). Kept: seeds drawn by their
gradient energy, from different pictures first; the set of transformations with its ranges, all applied to every copy; softmax
over the seeds. Different, and why:
- Ranges that multiply are drawn evenly on a log scale (`embodied_ssl.views.strong_colours`).
- Copies are drawn anew every time (the paper makes 100 to 150 a seed beforehand), ``copies`` of a seed to a batch, so that a
  picture is decoded once for them.
- They are normalised by ImageNet's mean and standard deviation, in place of subtracting each pixel's mean.
- Seeds are where the strongest move stays inside the picture, so copies have no border that would tell the move.

Held-out pictures have no class. They are asked whether two copies of one unseen seed find each other among others
(`embodied_ssl.methods.retrieval`), and their ``loss`` is how little the answers to both agree. One class a seed does not scale:
near twins among the seeds contradict each other. `exemplar_triplet` is the form that does.

Legend: B seeds of a batch, K copies of each, N classes, S R pixels of a copy's and of its source's side, W the backbone's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Asks, Batch, Epoch, Example, Method, Panel, Plan, Step, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.losses import mean_where
from embodied_ssl.methods.image.exemplar_seeds import MARK, Seeds, SeedSize, find_seeds
from embodied_ssl.methods.retrieval import found_copies, retrieval
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.moves import Moves, move
from embodied_ssl.views.pixels import normalise, to_float, to_grey, unnormalise
from embodied_ssl.views.strong_colours import StrongColours, change_strongly, principal_colours


@dataclass(frozen=True)
class ExemplarConfig:
    """The classes, the copies and the head.

    Args:
        size: S.
        classes: N, at most: there are fewer where the pictures offer no more seeds. The paper's best are 8,000 to 32,000.
        copies: K, at least 2; a batch of B seeds is B x K pictures to the network.
        side: least and greatest side of a seed's source, as a share of the picture's shorter side. With the paper's moves the
            seed itself is 0.45 of its source.
        moves, colours: the transformations and their strengths.
        hidden: width of a fully connected layer with ReLU before the classes; 0 for none.
        dropout: before the classes.
    """

    size: int = 64
    classes: int = 1000
    copies: int = 2
    side: tuple[float, float] = (0.5, 1.0)
    moves: Moves = field(default_factory=Moves)
    colours: StrongColours = field(default_factory=StrongColours)
    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_crop(self.size, (1.0, 1.0))
        if self.classes < 2:
            raise UserError(f"classes is {self.classes}; give at least 2")
        if self.copies < 2:
            raise UserError(f"copies is {self.copies}; give at least 2, held-out copies are asked for each other")
        if not 0 < self.side[0] <= self.side[1] <= 1:
            raise UserError(f"side is {self.side[0]},{self.side[1]}; give the least and the greatest share, within 0..1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}; give a share of at least 0 and under 1")

    @property
    def seed_size(self) -> SeedSize:
        return SeedSize(*self.side, self.moves.margin)

    def build(self, backbone: Backbone) -> Exemplar:
        return Exemplar(backbone.width, self, backbone.channels)


@dataclass(frozen=True)
class SeedView(View):
    """A seed's source uint8 [R, R, 3], the seed's class (-1: of none) and K copies' factors; rendered to copies [B, K, C, S, S].

    ``mean`` and ``axes`` are the principal colours of the training pictures.
    """

    config: ExemplarConfig
    seeds: Seeds
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    channels: int = 3

    @property
    def size(self) -> int:
        return self.config.size

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        config, picture = self.config, sample["picture"]
        label, square = self.seeds.pick(int(sample["index"]), picture, config.seed_size, rng)
        side = config.moves.source_side(config.size)
        return {
            "source": picture.take(square.box, (side, side)),
            "seed": np.int64(label),
            "moves": np.stack([config.moves.draw(rng) for _ in range(config.copies)]),
            "colours": np.stack([config.colours.draw(rng) for _ in range(config.copies)]),
        }

    def render(self, batch: Batch) -> Batch:
        mean, axes = (torch.from_numpy(x).to(batch["source"].device) for x in (self.mean, self.axes))
        moved = move(to_float(batch["source"]), batch["moves"], self.config.size)
        changed = change_strongly(moved.flatten(0, 1), batch["colours"].flatten(0, 1), mean, axes)
        pictures = normalise(to_grey(changed) if self.channels == 1 else changed)
        return {**batch, "copies": pictures.view(*moved.shape[:2], *pictures.shape[1:])}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        copies = [(f"copy {k + 1}", unnormalise(batch["copies"][:, k])) for k in range(self.config.copies)]
        return [("seeds, as they are", middle(batch["source"], self.config.size)), *copies]


def middle(sources: Tensor, size: int) -> Tensor:
    """The seeds, in the middle of their sources uint8 [B, R, R, 3]: float [B, 3, S, S] in 0..1."""
    rim = (sources.shape[1] - size) // 2
    return to_float(sources[:, rim : rim + size, rim : rim + size])


class Exemplar(Method):
    """Cross-entropy over N seeds; log N when they all look alike."""

    needs = frozenset({"picture", "index"})
    pair = ("first", "second")
    asks = Asks(channels=(1, 3))
    gives_logits = True
    picture: Tensor
    square: Tensor
    mark: Tensor
    mean: Tensor
    axes: Tensor
    key: Tensor

    def __init__(self, width: int, config: ExemplarConfig, channels: int = 3) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        layers: list[nn.Module] = [nn.Linear(width, config.hidden), nn.ReLU(inplace=True)] if config.hidden else []
        self.head = nn.Sequential(*layers, nn.Dropout(config.dropout), nn.Linear(config.hidden or width, config.classes))
        self.register_buffer("picture", torch.zeros(0, dtype=torch.int64))  # these three: see `Seeds`; none until `fit`
        self.register_buffer("square", torch.zeros(0, 3, dtype=torch.int64))
        self.register_buffer("mark", torch.zeros(0, MARK, MARK, 3, dtype=torch.uint8))
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("axes", torch.eye(3))
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))  # of what `before_epoch` draws
        self.left_out: list[str] = []
        self.wrap: Callable[[View], View] = lambda view: view

    @property
    def seeds(self) -> Seeds:
        """What `fit` found, from the buffers."""
        return Seeds(self.picture.cpu().numpy(), self.square.cpu().numpy(), self.mark.cpu().numpy())

    @property
    def view(self) -> View:  # type: ignore[override]
        return self.wrap(SeedView(self.config, self.seeds, self.mean.cpu().numpy(), self.axes.cpu().numpy(), self.channels))

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Find the seeds, and the principal colours of the pictures.

        Raises:
            UserError: fewer than 2 seeds could be found.
        """
        seeds, bad = find_seeds(source, self.config.classes, self.config.seed_size, rng)
        mean, axes = principal_colours(source, rng)
        self.picture, self.square, self.mark = (torch.from_numpy(x) for x in (seeds.picture, seeds.square, seeds.mark))
        self.mean, self.axes = torch.from_numpy(mean), torch.from_numpy(axes)
        self.key = torch.tensor(int(rng.integers(2**31)))
        self.left_out = [str(item) for item in bad]

    def before_epoch(self, backbone: nn.Module, epoch: Epoch) -> Plan:
        """Every seed is met alike: a picture's turn comes as often as it has seeds, and others have none."""
        order = generator(int(self.key), "order", epoch.number).permutation(len(self.picture))
        return Plan(self.picture.cpu().numpy()[order])

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        copies = batch["copies"]
        vectors = backbone(copies.flatten(0, 1)).vector
        # Where fewer seeds were found than there are outputs, the rest is no class.
        logits = self.head(vectors)[:, : max(2, len(self.picture))]
        each = {"logits": logits, "vectors": vectors}
        return {n: v.unflatten(0, copies.shape[:2]) for n, v in each.items()} | {"seed": batch["seed"], "asked": batch["index"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits, seed = embeddings["logits"].float(), embeddings["seed"]  # [B, K, N] and [B]
        known = seed >= 0
        target = seed.clamp_min(0).repeat_interleave(logits.shape[1])
        each = F.cross_entropy(logits.flatten(0, 1), target, reduction="none").view(logits.shape[:2]).mean(1)
        guess = logits.argmax(2)
        if self.training:
            right = (guess == seed.unsqueeze(1)).float().mean(1)
            chance = right.new_tensor(1 / logits.shape[2])
            metrics = {"accuracy": mean_where(right, known).detach(), "chance_accuracy": chance}
            return Step(mean_where(each, known), metrics)
        loss = torch.where(known, each, disagreement(logits[:, 0], logits[:, 1])).mean()
        first, second = embeddings["vectors"].detach().float()[:, :2].unbind(1)
        return Step(loss, answers={"first": first, "second": second, "asked": embeddings["asked"], "seed": seed, "guess": guess})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``retrieval``: is the nearest second copy of the same seed? See `embodied_ssl.methods.retrieval`; chance is 1/64."""
        found, chance = retrieval(answers["first"], answers["second"], answers["asked"])
        return {"retrieval": found, "chance_retrieval": chance}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Seeds, two copies of each, and what the first copy takes for its second one among those shown."""
        first, second = unnormalise(batch["copies"][:, 0]), unnormalise(batch["copies"][:, 1])
        return [("seed", middle(batch["source"], self.config.size)), *found_copies(first, second, step.answers)]

    def describe(self) -> dict[str, object]:
        """How many ``classes`` there are, from how many ``pictures``, and which pictures gave none."""
        return {
            "classes": len(self.picture),
            "pictures": len(self.picture.unique()),
            "left_out": len(self.left_out),
            "first_left_out": self.left_out[:3],
        }


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """How little two answers [B, N] (logits) agree: the cross-entropy of each under the other, averaged: [B].

    log N where nothing is known; 0 where both are sure of the same class.
    """
    a, b = F.log_softmax(first, dim=1), F.log_softmax(second, dim=1)
    return -(a.exp() * b + b.exp() * a).sum(1) / 2
