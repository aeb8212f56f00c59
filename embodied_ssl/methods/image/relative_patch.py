"""Relative patches: of two patches of a picture, say on which of eight sides of the first the second lies.

Whoever knows what is shown in a patch (an ear) knows on which side of it to expect another (the nose, the other ear).

Doersch, Gupta and Efros 2015, arXiv:1505.05192. What would answer without looking at things is taken away: lines and textures
that run on (a gap of half a patch; every patch moved at random), the place in the picture that a lens betrays by its coloured
fringes (the green-magenta axis projected out, or all channels but one replaced by noise), shared brightness and contrast (each
patch standardised), fine texture (a third of the patches made coarse). Patches lie on grids; each is looked at once, and all
neighbours on a grid are asked, in both orders.

All lengths are shares of the patch's side: at 96 pixels the gap is 48, patches move by up to 7 each way, and pictures are resized
to 150,000 to 450,000 pixels, as there. Different, and why:
- Grids have a fixed number of rows and columns (the authors' fill the picture), so that every picture gives as many questions.
- A grid has more neighbours side by side than across corners; pairs are weighted so that each of the eight sides counts alike.
- Colours are projected by default, which shows the network colours at all. Measured on pictures through a made-up lens: where
  red and blue part from green alike, one patch then does not tell its place; where red parts from blue, it still does, and only
  dropping channels hides it (the authors' choice, and the paper config's). The fringes of pictures shrunk to a few hundred
  pixels are a small part of a pixel.
- Half of the pictures are mirrored first (the authors' are not). Noise for dropped channels is the paper's (a hundredth of the
  kept channel's deviation), not the published code's. The momentum and rates of the paper itself are not known to us.

Legend: B pictures, N patches of one picture, K pairs among them, S side of a patch, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.core import Batch, Method, Panel, Step
from embodied_ssl.errors import UserError
from embodied_ssl.heads import places
from embodied_ssl.methods.image.patch_grids import EMPTY, PAPER_SIDE, UNASKED, Colours, PatchGrids, laid_out
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import fold, to_float, unfold

GAP = 48 / PAPER_SIDE
JITTER = 7 / PAPER_SIDE
PIXELS = (150_000 / PAPER_SIDE**2, 450_000 / PAPER_SIDE**2)


@dataclass(frozen=True)
class RelativePatchConfig:
    """Patches, what is hidden of them, and the head. Lengths are shares of the patch's side, areas of its area.

    Args:
        size: side of a patch in pixels.
        grid: rows and columns of patches; at least 2 of each.
        grids: how many grids are laid on one picture.
        gap: between neighbours, before they are moved.
        jitter: how far each patch is moved, at most, up, down, left or right.
        pixels: least and greatest area to which pictures are resized.
        enlarge: how many times a picture's sides may be enlarged; pictures that then still do not hold a grid are bad items.
        colours: ``project`` out green against magenta, ``drop`` all channels but one, or keep ``all`` (open to the shortcut).
        coarse: share of patches made coarse: shrunk and enlarged again.
        flip: mirror half of the pictures.
        hidden: width of the head's layers.
        cells: features are read from the backbone's last map, pooled to so many by so many places, each kept apart; 0 for its
            vector, in which most backbones average over all places.
    """

    size: int = 96
    grid: tuple[int, int] = (2, 2)
    grids: int = 4
    gap: float = GAP
    jitter: float = JITTER
    pixels: tuple[float, float] = PIXELS
    enlarge: float = 2.0
    colours: Colours = "project"
    coarse: float = 0.33
    flip: bool = True
    hidden: int = 512
    cells: int = 0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UserError(f"size is {self.size}; give patches of at least 16 pixels")
        if min(self.grid) < 2 or self.grids < 1:
            rows, columns = self.grid
            raise UserError(f"grids is {self.grids} and grid {rows},{columns}; give at least 1 grid of at least 2,2 patches")
        if not 0 <= 2 * self.jitter <= self.gap:
            raise UserError(f"jitter is {self.jitter} and gap {self.gap}; give 0 <= 2 jitter <= gap, or patches may overlap")
        if not 0 < self.pixels[0] <= self.pixels[1]:
            raise UserError(f"pixels is {self.pixels[0]},{self.pixels[1]}; give the least and the greatest area, in patches")
        if self.enlarge < 1 or not 0 <= self.coarse <= 1:
            raise UserError(f"enlarge is {self.enlarge} and coarse {self.coarse}; give at least 1, and a share in 0..1")
        if self.hidden < 1 or self.cells < 0:
            raise UserError(f"hidden is {self.hidden} and cells {self.cells}; give a width, and 0 or how many places a side")

    def build(self, backbone: Backbone) -> RelativePatch:
        view = PatchGrids(
            self.size,
            self.grid,
            self.grids,
            round(self.gap * self.size),
            round(self.jitter * self.size),
            (self.pixels[0] * self.size**2, self.pixels[1] * self.size**2),
            self.enlarge,
            self.colours,
            self.coarse,
            self.flip,
        )
        if not self.cells:
            return RelativePatch(backbone.width, self.hidden, view)
        if not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no map to read cells from; set --set method.cells=0")
        last, width = backbone.grid_stage(self.size, 1)
        return RelativePatch(width * self.cells**2, self.hidden, view, last, self.cells)


class RelativePatch(Method):
    """Cross-entropy over eight sides, each counting alike; log 8 when the network does not know."""

    needs = frozenset({"picture"})
    gives_logits = True
    pairs: Tensor
    place: Tensor
    weight: Tensor

    def __init__(self, width: int, hidden: int, view: PatchGrids, stage: str = "", cells: int = 0) -> None:
        super().__init__()
        self.view = view
        self.stage = stage
        self.cells = cells
        pairs, place = (torch.from_numpy(numbers) for numbers in view.pairs())
        self.register_buffer("pairs", pairs, persistent=False)  # [K, 2]
        self.register_buffer("place", place, persistent=False)  # [K]
        self.register_buffer("weight", 1 / place.bincount(minlength=8), persistent=False)  # [8]
        self.each = nn.Sequential(*_layer(width, hidden))
        self.both = nn.Sequential(
            *_layer(2 * hidden, hidden), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 8)
        )

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        patches = batch["patches"]
        vectors = unfold(self.each(self._read(backbone(fold(patches)))), patches.shape[1])  # [B, N, hidden]
        both = vectors[:, self.pairs].flatten(2)  # [B, K, 2 hidden]
        return {"logits": unfold(self.both(fold(both)), both.shape[1])}  # [B, K, 8]

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits = embeddings["logits"]
        place = self.place.expand(logits.shape[:2])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), place.flatten(), weight=self.weight)
        guess = logits.detach().argmax(2)
        return Step(loss, {"accuracy": self._recall(guess)}, answers={"guess": guess})

    def _read(self, features: Features) -> Tensor:
        """What the head sees of a patch: the vector [n, D], or the places of a map one after another [n, D cells^2]."""
        if not self.cells:
            return features.vector
        return places(features.maps[self.stage], self.cells)

    def _recall(self, guess: Tensor) -> Tensor:
        """The share of right answers among guesses [B, K], averaged over the eight sides."""
        weight = self.weight[self.place].to(guess.device)
        right = (guess == self.place.to(guess.device)).float().mean(0)
        return (right * weight).sum() / weight.sum()

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Accuracy over all pairs, each of the eight sides counting alike; chance is 0.125."""
        return {"accuracy": float(self._recall(answers["guess"])), "chance_accuracy": 1 / 8}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """One pair of each picture: the first patch amid, the second where it belongs, a rim around the cell answered."""
        pixels, guesses = batch["pixels"], step.answers["guess"].to(self.place.device)
        chosen = _some_of_every_side(self.place, len(pixels))
        rows = torch.arange(len(pixels), device=chosen.device)
        place, guess = self.place[chosen], guesses[rows, chosen].long()
        first, second = (to_float(pixels[rows, self.pairs[chosen, i]]) for i in (0, 1))
        drawn = torch.stack([eight_cells(*one) for one in zip(first, second, place.tolist(), guess.tolist(), strict=True)])
        right = int((place == guess).sum())
        return [(f"the second patch where it belongs, a rim around the cell answered: {right} of {len(rows)} right", drawn)]


def _layer(inner: int, outer: int) -> list[nn.Module]:
    """Linear, BatchNorm and ReLU; BatchNorm without scale and shift, so that no unit can fall silent, as in the paper."""
    return [nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer, affine=False), nn.ReLU(inplace=True)]


def _some_of_every_side(place: Tensor, count: int) -> Tensor:
    """Numbers of ``count`` pairs, sides in turn."""
    of_side = [torch.nonzero(place == side).flatten() for side in range(8)]
    return torch.stack([of_side[i % 8][i // 8 % len(of_side[i % 8])] for i in range(count)])


def eight_cells(first: Tensor, second: Tensor, place: int, guess: int) -> Tensor:
    """A picture of the question and its answer.

    Args:
        first, second: patches, float [3, S, S] in 0..1; the first is drawn in the middle.
        place: the cell where the second lies, 0 to 7: it is drawn there.
        guess: the cell that was answered: it has a rim, green if right and red if wrong.

    Returns:
        [3, 3 S + 4 g, 3 S + 4 g]: nine cells with gaps g between and around them, empty ones grey.
    """
    empty = torch.full_like(first, UNASKED)
    cells = [empty] * 9
    cells[4] = first
    cells[_cell(place)] = second
    rim = framed(cells[_cell(guess)][None], torch.tensor([place == guess], device=first.device))
    cells[_cell(guess)] = rim[0]
    gap = max(1, first.shape[-1] // 12)
    return F.pad(laid_out(torch.stack(cells)[None], 3, 3, gap)[0], (gap, gap, gap, gap), value=EMPTY)


def _cell(place: int) -> int:
    """Of nine cells in rows, the one of a side: the middle is left out of the count."""
    return place + (place >= 4)
