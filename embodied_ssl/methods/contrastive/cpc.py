"""Contrastive predictive coding: from the upper part of a picture, find the patches of its lower part among many others.

A picture is cut into overlapping patches, which the network sees one by one. A context is made of what it gives for some rows of
patches, and from there what it gives for patches further below is to be told apart from what it gives for other patches: of
other places, and of other pictures. Textures and lines help little across so many pixels; what is shown does.

Van den Oord, Li and Vinyals 2018, arXiv:1807.03748, section 3.2: 7 x 7 patches of 64 pixels, 32 apart; the context sees its
own row and those above (`masked_context`); a patch k rows below is scored by a bilinear form of its own W_k, up to 5 rows below;
the loss is the cross-entropy of finding the true one (InfoNCE), from which follows a bound on the mutual information. Different,
and why:
- The paper's networks have no BatchNorm. Ours have what the backbone has: its statistics are those of all patches of a batch
  together, so that a patch could tell a little of the others. What comes after the backbone has LayerNorm, of each patch by
  itself. For a network without such ways around, take one with GroupNorm: --set backbone.name=timm:resnet50_gn.
- The nearest rows below share pixels with the row of the context, where patches overlap by half; they are not asked by default
  (``below`` starts at 2, as the paper's figure 4 does, from memory).
- W_k has rank ``out`` at most: context and patches are both brought to so many numbers and multiplied. Their product is divided
  by ``temperature``. Both are of Henaff et al. 2020, arXiv:1905.09272, as others have written it down; so are the other
  ``directions``.
- A patch may change its colours (``colour``); the paper's pictures are all grey.

The bound is on how much a context tells of a patch some rows below. It holds for candidates that have nothing to do with the
context nor with each other, as in `CPC.score`, where a patch is sought among those at the same place of other pictures. With
several patches of each other picture (``negatives="others"``) it holds nearly, with those of the same picture not strictly.

Legend: B pictures, N patches of one picture on a grid of G x G, D the backbone's width, E = ``out``, Q predictions a picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Method, Panel, Step
from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.masked_context import MaskedContext
from embodied_ssl.methods.contrastive.mutual_information import found, info_nce, information, saturated
from embodied_ssl.methods.contrastive.overlapping_patches import OverlappingPatches
from embodied_ssl.methods.retrieval import found_among
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.marks import framed

UNSEEN, MISSING = 0.82, 0.0  # greys, in drawings: what the context does not see, and the place that is asked for
ASKED = 4  # questions of each held-out picture that are kept for `CPC.score`


@dataclass(frozen=True)
class CPCConfig:
    """The patches, the context and what is asked.

    Args:
        patch, stride: sides in pixels: of a patch, and from one to the next.
        grid: G, patches a side; the picture is patch + (grid - 1) stride pixels wide.
        share: least and greatest side of the crop, as a share of the picture's shorter side.
        jitter: each patch loses so many of its rows and columns, at random sides, and the rest is laid in the middle.
        grey: share of pictures that are grey.
        colour: how colours of each patch change, by itself.
        below: the nearest and the farthest row below the context that is predicted.
        directions: 1 predicts downwards; 4 also upwards and to both sides, each with a context of its own.
        hidden, blocks: of the context: features in a block, and how many blocks, so many rows it sees.
        out: E, the numbers that contexts and patches are compared by.
        temperature: divides the products.
        negatives: what a patch is sought among: ``all`` patches of all pictures, or those of ``others`` and itself.
        group: patches are sought among those of so many pictures of the batch; 0 for all of them.
    """

    patch: int = 32
    stride: int = 16
    grid: int = 5
    share: tuple[float, float] = (0.6, 1.0)
    jitter: int = 2
    grey: float = 0.0
    colour: ColourChange = field(default_factory=ColourChange)
    below: tuple[int, int] = (2, 4)
    directions: int = 1
    hidden: int = 256
    blocks: int = 4
    out: int = 64
    temperature: float = 10.0
    negatives: Literal["all", "others"] = "all"
    group: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.patch or not 0 <= self.jitter < self.patch - 7:
            given = f"patch is {self.patch}, stride {self.stride} and jitter {self.jitter}"
            raise UserError(f"{given}; give a stride of 1 to patch, and a jitter that leaves at least 8 pixels of a patch")
        if self.grid < 2:
            raise UserError(f"grid is {self.grid}; give at least 2: in a single row nothing lies below")
        if not 1 <= self.below[0] <= self.below[1] < self.grid:
            nearest, farthest = self.below
            given = f"below is {nearest},{farthest}"
            raise UserError(f"{given}; give the nearest and the farthest row, 1 to {self.grid - 1} for a grid of {self.grid}")
        if not 0 < self.share[0] <= self.share[1] <= 1 or not 0 <= self.grey <= 1:
            given = f"share is {self.share[0]},{self.share[1]} and grey {self.grey}"
            raise UserError(f"{given}; give the least and the greatest share, within 0..1, and a share of 0 to 1")
        if self.directions not in (1, 4):
            raise UserError(f"directions is {self.directions}; give 1 (downwards) or 4 (also upwards and to both sides)")
        if min(self.hidden, self.blocks, self.out) < 1:
            raise UserError(f"hidden is {self.hidden}, blocks {self.blocks} and out {self.out}; give at least 1 each")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (1 in the paper, 10 in later work)")
        if self.group < 0 or (self.group == 1 and self.negatives == "others"):
            raise UserError(f"group is {self.group}; give 0 for all pictures of a batch, or at least 2 if negatives are others")

    @property
    def view(self) -> OverlappingPatches:
        return OverlappingPatches(self.patch, self.stride, self.grid, self.share, self.jitter, self.grey, self.colour)

    def build(self, backbone: Backbone) -> CPC:
        backbone.check_side(self.patch)
        return CPC(backbone.width, self)


class Questions:
    """Which patches are sought, from where: numbers of places in reading order.

    They come direction by direction, then from the nearest row to the farthest, then row by row: in the order in which
    `CPC.predict` gives its answers.

    Attributes:
        known: [Q], where the context stands.
        asked: [Q], the patch to find.
        turn: [Q], the direction: by how many quarter turns, counter-clockwise, the picture lies when the patch is below.
    """

    def __init__(self, grid: int, below: tuple[int, int], directions: int) -> None:
        known, asked, turns = [], [], []
        self.grids = [np.rot90(np.arange(grid**2).reshape(grid, grid), turn) for turn in range(directions)]
        for turn, places in enumerate(self.grids):
            for rows in range(below[0], below[1] + 1):
                known.append(places[: grid - rows].ravel())
                asked.append(places[rows:].ravel())
                turns.append(np.full(known[-1].shape, turn))
        self.known, self.asked, self.turn = (np.concatenate(each) for each in (known, asked, turns))

    def seen_from(self, question: int) -> NDArray[np.int64]:
        """The places that the context may look at: those of its own row and the rows above, as the picture is turned."""
        places = self.grids[self.turn[question]]
        row = int(np.argwhere(places == self.known[question])[0, 0])
        seen: NDArray[np.int64] = places[: row + 1].ravel()
        return seen


class _Sought(NamedTuple):
    """What came of seeking patches.

    Attributes:
        loss, right, among: each picture's mean loss, share found and how many there were to choose among, [b].
        guess: what was taken for each patch asked for, by its number among all b N, int64 [b, Q].
    """

    loss: Tensor
    right: Tensor
    among: Tensor
    guess: Tensor


class CPC(Method):
    """InfoNCE over patches; log of how many there are to choose among when all look alike."""

    needs = frozenset({"picture"})
    coupled = True
    asked: Tensor

    def __init__(self, width: int, config: CPCConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = config.view
        self.view = config.view
        self.questions = Questions(config.grid, config.below, config.directions)
        self.register_buffer("asked", torch.from_numpy(self.questions.asked), persistent=False)  # [Q]
        self.norm = nn.LayerNorm(width)
        self.target = nn.Linear(width, config.out)
        self.contexts = nn.ModuleList(MaskedContext(width, config.hidden, config.blocks) for _ in range(config.directions))
        self.rows = range(config.below[0], config.below[1] + 1)
        # W_k for each number of rows, direction by direction.
        self.steps = nn.ModuleList(nn.Conv2d(width, config.out, 1) for _ in range(config.directions * len(self.rows)))

    def check_batch(self, examples: int, together: int) -> None:
        if self.config.negatives == "others" and examples % (self.config.group or examples + 1) == 1:
            raise UserError(
                f"batch_size is {examples}, which leaves a picture without any other to choose among; give at least 2, and whole "
                "groups, or set --set method.negatives=all"
            )

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        patches = batch["patches"]
        seen = self.norm(backbone(patches.flatten(0, 1)).vector).unflatten(0, patches.shape[:2])  # [B, N, D]
        return {"said": self.predict(seen), "seen": self.target(seen), "index": batch["index"]}

    def predict(self, seen: Tensor) -> Tensor:
        """What every context says of the patches below it: [B, N, D] to [B, Q, E], in the order of `Questions`."""
        grid = seen.movedim(1, -1).unflatten(-1, (self.config.grid, self.config.grid))  # [B, D, G, G]
        known = [context(torch.rot90(grid, turn, (2, 3))) for turn, context in enumerate(self.contexts)]
        asked = itertools.product(known, self.rows)
        said = [
            step(context[:, :, : self.config.grid - rows]).flatten(2).movedim(1, 2)
            for step, (context, rows) in zip(self.steps, asked, strict=True)
        ]
        return torch.cat(said, dim=1)

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        said, seen = embeddings["said"], embeddings["seen"]
        group = self.config.group or len(said)
        parts = [self._seek(*part) for part in zip(said.split(group), seen.split(group), strict=True)]
        loss, right, among = (torch.cat(each) for each in list(zip(*parts, strict=True))[:3])
        metrics = {
            "information": information(loss, among).mean(),
            "most_information": among.log().mean(),
            "accuracy": right.mean(),
            "chance_accuracy": (1 / among).mean(),
        }
        answers = {}
        if not self.training:
            some = torch.linspace(0, said.shape[1] - 1, min(ASKED, said.shape[1]), device=said.device).round().long()
            guess = torch.cat([part.guess + number * group * seen.shape[1] for number, part in enumerate(parts)])
            answers = {"said": said[:, some], "seen": seen[:, self.asked[some]], "index": embeddings["index"], "guess": guess}
        return Step(loss.mean(), {k: v.detach() for k, v in metrics.items()}, answers={k: v.detach() for k, v in answers.items()})

    def _seek(self, said: Tensor, seen: Tensor) -> _Sought:
        """Seek every patch that is asked for among those of these b pictures."""
        (pictures, questions, _), patches = said.shape, seen.shape[1]
        scores = said.flatten(0, 1) @ seen.flatten(0, 1).T / self.config.temperature  # [b Q, b N]
        own = torch.arange(pictures, device=seen.device)
        true = (own[:, None] * patches + self.asked).view(-1, 1)
        positive, negative = scores.gather(1, true), scores.scatter(1, true, float("-inf"))
        among = pictures * patches
        if self.config.negatives == "others":
            same = own.repeat_interleave(questions)[:, None] == own.repeat_interleave(patches)
            negative = negative.masked_fill(same, float("-inf"))
            among -= patches - 1
        loss = info_nce(positive, negative).view(pictures, questions).mean(1)
        with torch.no_grad():
            right = found(positive[:, 0], negative).view(pictures, questions).mean(1)
            best, guess = negative.max(1)
            guess = torch.where(positive[:, 0] >= best, true[:, 0], guess).view(pictures, questions)
        return _Sought(loss, right, torch.full_like(loss, among), guess)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """What a few contexts of each picture tell of one patch below each, sought at the same place of the other pictures.

        ``accuracy``: the true patch among 64 (see `embodied_ssl.methods.retrieval`; chance is 1/64). ``place_information``: the
        bound from seeking it among all held out, at most ``most_place_information``; below 0 is worse than guessing.
        """
        thing = answers["index"]
        rival = thing[:, None] != thing
        figures = []
        for said, seen in zip(answers["said"].unbind(1), answers["seen"].unbind(1), strict=True):
            near = said @ seen.T / self.config.temperature
            right, chance = found_among(near, thing)
            loss = info_nce(near.diagonal().unsqueeze(1), near.masked_fill(~rival, float("-inf")))[:, 0]
            among = rival.sum(1) + 1
            figures.append((right, chance, float(information(loss, among).mean()), float(among.log().mean())))
        names = ("accuracy", "chance_accuracy", "place_information", "most_place_information")
        return {name: float(np.mean(values)) for name, values in zip(names, zip(*figures, strict=True), strict=True)}

    def warning(self, averages: Mapping[str, float]) -> str:
        return saturated(averages["information"], averages["most_information"], "with a larger batch_size (or group) it can")

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """One question of each picture: what its context has seen, and there the patch that is taken for the missing one."""
        pictures, guesses = self.patches.picture(batch), step.answers["guess"]
        patches = self.patches.cut(pictures).flatten(0, 1)
        asked, answered, right = [], [], 0
        for number, picture in enumerate(pictures):
            question = (7 * number + 1) % len(self.asked)
            guess, true = int(guesses[number, question]), int(self.asked[question])
            rows, columns = self.patches.box(true)
            is_right = guess == number * self.config.grid**2 + true
            right += is_right
            hidden = torch.full_like(picture, UNSEEN)
            for place in self.questions.seen_from(question):
                box = self.patches.box(int(place))
                hidden[:, box[0], box[1]] = picture[:, box[0], box[1]]
            asked.append(hidden.clone())
            asked[-1][:, rows, columns] = MISSING
            hidden[:, rows, columns] = framed(patches[guess][None], torch.tensor([is_right], device=hidden.device))[0]
            answered.append(hidden)
        caption = f"the patch found for it among all {len(patches)} of these pictures: {right} of {len(pictures)} right"
        return [
            ("pictures", pictures),
            ("what is known of them, and in black the place of the patch that is sought", torch.stack(asked)),
            (caption, torch.stack(answered)),
        ]
