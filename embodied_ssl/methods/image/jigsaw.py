"""Jigsaw: say by which permutation the tiles of a picture were shuffled.

A crop is divided into cells and one tile cut from each; every tile goes through the network by itself, so what it gives must
say which part of what it shows. Only the head sees all of them, in the order in which they were shuffled, and
chooses among a fixed set of permutations that are far from each other (`permutations`).

Noroozi and Favaro 2016, arXiv:1603.09246: the context-free network. What would give the answer away without any understanding:
- lines that run on from tile to tile: tiles lie at random places in their cells, with room between them;
- mean colour and contrast, which neighbours share: each tile is standardised by itself (`patches.standardise_each`);
- colour fringes (chromatic aberration): channels of a tile are shifted against each other, and a share of puzzles is grey.
Different: crops are square, of a random share of the picture's shorter side, and mirrored half of the time (before they are
cut); the head has BatchNorm. Up to where tiles are joined, BatchNorm has its statistics over all B x T tiles of a batch. They
do not depend on the order, so shuffling what the tiles gave is the same as shuffling the tiles, and one pass through the
backbone serves several puzzles of a picture (``puzzles``; Kolesnikov, Zhai and Beyer 2019, arXiv:1901.09005). The BatchNorm
after that is over the B x P puzzles.

Jigsaw++ (Noroozi, Vinjimoor, Favaro and Pirsiavash 2018, arXiv:1805.00385) is ``foreign``: some tiles are of another picture,
and the network has to find out which do not count. The set must then be far enough apart for the other tiles to decide.

Legend: B pictures, T tiles, N permutations, P puzzles a picture, S pixels a tile's side. Permutation p shows tile p[s] in slot s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.core import Asks, Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.heads import places
from embodied_ssl.methods.image import permutations as sets
from embodied_ssl.views.crops import mirror
from embodied_ssl.views.marks import framed
from embodied_ssl.views.patches import standardise_each
from embodied_ssl.views.pixels import normalise, to_float, to_grey, unnormalise
from embodied_ssl.views.tiles import cut_tiles, laid_out, random_square, shift_channels, tile_corners

LEAST_CELL = 8  # pixels of the original picture: what is magnified from fewer shows nothing


@dataclass(frozen=True)
class JigsawConfig:
    """The puzzle, the permutations and the head.

    Args:
        grid: cells a side; 3 makes 9 tiles.
        cell, tile: sides in pixels; the room between neighbouring tiles is 0 to 2 (cell - tile), cell - tile on average.
        share: least and greatest side of the crop, as a share of the picture's shorter side.
        shift: each channel of a tile is moved by up to so many pixels.
        grey: share of puzzles that are grey.
        standardise: each tile to mean 0 and deviation 1; otherwise by ImageNet's, which leaves a way around the task.
        permutations: N, how many answers there are.
        distance: which distance of the permutations is made great, their ``mean`` (as the paper) or their ``least``.
        file: a set of your own instead, .npy or text [N, T] from 0; "" finds one.
        puzzles: P, permutations asked of each picture.
        foreign: least and greatest number of tiles that are of another picture of the batch.
        per_tile, hidden: widths of what a tile gives and of the layer above all tiles; ``hidden`` 0 for none.
        dropout: after each of these two layers.
        places: a tile is read from the backbone's last map, pooled to so many by so many places; 0 for its vector.
    """

    grid: int = 3
    cell: int = 32
    tile: int = 26
    share: tuple[float, float] = (0.6, 1.0)
    shift: int = 1
    grey: float = 0.3
    standardise: bool = True
    permutations: int = 100
    distance: Literal["mean", "least"] = "mean"
    file: str = ""
    puzzles: int = 1
    foreign: tuple[int, int] = (0, 0)
    per_tile: int = 512
    hidden: int = 1024
    dropout: float = 0.0
    places: int = 0

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise UserError(f"grid is {self.grid}; give at least 2 cells a side")
        if not 8 <= self.tile <= self.cell:
            raise UserError(f"tile is {self.tile} and cell {self.cell}; give a tile of at least 8 pixels that fits its cell")
        if not 0 < self.share[0] <= self.share[1] <= 1:
            raise UserError(f"share is {self.share[0]},{self.share[1]}; give the least and the greatest, within 0..1")
        if self.shift < 0 or not 0 <= self.grey <= 1 or not 0 <= self.dropout < 1:
            given = f"shift is {self.shift}, grey {self.grey} and dropout {self.dropout}"
            raise UserError(f"{given}; give pixels from 0 on, and shares of 0 to 1 (dropout below 1)")
        sets.check_count(self.permutations, self.tiles)
        if not 1 <= self.puzzles <= self.permutations:
            raise UserError(f"puzzles is {self.puzzles}; give 1 to {self.permutations}, the permutations there are")
        if not 0 <= self.foreign[0] <= self.foreign[1] <= self.tiles - 2:
            given = f"foreign is {self.foreign[0]},{self.foreign[1]}"
            raise UserError(f"{given}; give the least and the greatest number of tiles, of {self.tiles} at most {self.tiles - 2}")

    @property
    def tiles(self) -> int:
        return self.grid**2

    def build(self, backbone: Backbone) -> Jigsaw:
        backbone.check_side(self.tile)
        if not self.places:
            return Jigsaw(backbone.width, self, backbone.channels)
        if not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no map to read places from; set --set method.places=0")
        last, width = backbone.grid_stage(self.tile, 1)
        return Jigsaw(width * self.places**2, self, backbone.channels, last)


@dataclass(frozen=True)
class Puzzle(View):
    """The tiles of a crop, uint8 [T, S, S, 3] in their own order, and P permutations' numbers.

    Rendered, ``tiles`` are what the network sees [B, T, C, S, S], still in their own order. A foreign tile is of the next
    picture of the batch, so that the same batch is always the same puzzles; a batch of one picture has none.
    """

    config: JigsawConfig
    channels: int = 3

    @property
    def size(self) -> int:
        """Side of the whole crop in pixels."""
        return self.config.grid * self.config.cell

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        config = self.config
        picture = sample["picture"]
        height, width = picture.size
        least = math.ceil(config.grid * LEAST_CELL / config.share[0])
        if min(height, width) < least:
            name = str(getattr(picture, "path", "") or getattr(picture, "name", "a picture"))
            raise BadItem(name, f"is {width} x {height} pixels; {config.tiles} tiles need at least {least} on the shorter side")
        pixels = picture.take(random_square(height, width, rng, config.share), (self.size, self.size))
        if rng.random() < 0.5:
            pixels = mirror(pixels)
        grey = rng.random() < config.grey
        corners = tile_corners(config.grid, config.cell, config.tile, rng)
        # A grey puzzle has no fringes to hide, and grey made of shifted channels would be blurred.
        corners = shift_channels(corners, 0 if grey else config.shift, config.cell, config.tile, rng)
        return {
            "cut": cut_tiles(pixels, corners, config.tile),
            "grey": np.asarray(grey),
            "foreign": self._foreign(rng),
            "label": rng.choice(config.permutations, config.puzzles, replace=False).astype(np.int64),
        }

    def _foreign(self, rng: np.random.Generator) -> np.ndarray:
        """For each tile the tile of another picture that takes its place, -1 for none: int64 [T].

        Which one is drawn evenly from all T, so that it says nothing of the place that it takes.
        """
        tiles = self.config.tiles
        replaced = rng.permutation(tiles) < rng.integers(self.config.foreign[0], self.config.foreign[1] + 1)
        return np.where(replaced, rng.integers(tiles, size=tiles), -1)

    def render(self, batch: Batch) -> Batch:
        tiles = to_float(batch["cut"])
        tiles = with_foreign(tiles, batch["foreign"])
        luminance = to_grey(tiles)
        if self.channels == 3:
            tiles = torch.where(batch["grey"].view(-1, 1, 1, 1, 1), luminance, tiles)
        else:
            tiles = luminance
        return {**batch, "tiles": standardise_each(tiles) if self.config.standardise else normalise(tiles)}

    def for_people(self, tiles: Tensor) -> Tensor:
        """What the network sees [..., C, S, S] as pictures [..., 3, S, S] in 0..1."""
        if not self.config.standardise:
            return unnormalise(tiles)
        return (tiles.float() / 4 + 0.5).clamp(0, 1).expand(*tiles.shape[:-3], 3, *tiles.shape[-2:])

    def panels(self, batch: Batch) -> Sequence[Panel]:
        shown = laid_out(self.for_people(batch["tiles"]), self.config.grid, self.config.cell - self.config.tile)
        return [("tiles as cut, before they are shuffled", shown)]


def with_foreign(tiles: Tensor, foreign: Tensor) -> Tensor:
    """Tiles [B, T, C, S, S] with those of the next picture of the batch where ``foreign`` [B, T] names one (-1: none)."""
    if len(tiles) < 2:
        return tiles
    others = tiles.roll(-1, dims=0)
    chosen = others[torch.arange(len(tiles), device=tiles.device)[:, None], foreign.clamp_min(0)]
    return torch.where((foreign >= 0)[..., None, None, None], chosen, tiles)


def _layer(inner: int, outer: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU(inplace=True), nn.Dropout(dropout))


class Jigsaw(Method):
    """Cross-entropy over permutations; log N when all puzzles look alike."""

    needs = frozenset({"picture"})
    asks = Asks(channels=(1, 3))
    gives_logits = True
    view: View
    permutations: Tensor

    def __init__(self, width: int, config: JigsawConfig, channels: int = 3, stage: str = "") -> None:
        super().__init__()
        self.config = config
        self.stage = stage
        self.puzzle = Puzzle(config, channels)
        self.view = self.puzzle
        self.tile = _layer(width, config.per_tile, config.dropout)
        joined = config.tiles * config.per_tile
        above = _layer(joined, config.hidden, config.dropout) if config.hidden else nn.Identity()
        self.answer = nn.Sequential(above, nn.Linear(config.hidden or joined, config.permutations))
        unshuffled = torch.arange(config.tiles).repeat(config.permutations, 1)  # until `fit`
        self.register_buffer("permutations", unshuffled)

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Find the permutations, or read them.

        Raises:
            UserError: the file has none, others than N of T, or (with foreign tiles) some that are too near each other.
        """
        config = self.config
        if config.file:
            found = sets.read_permutations(Path(config.file).expanduser(), config.permutations, config.tiles)
        else:
            find = sets.spread_out if config.distance == "mean" else sets.kept_apart
            found = find(config.permutations, config.tiles, rng)
        least, foreign = sets.least_distance(found), config.foreign[1]
        if least <= foreign:
            raise UserError(
                f"two permutations differ in {least} tiles only, so with {foreign} foreign tiles some puzzles have two answers; "
                f"give fewer permutations or foreign tiles, or set --set method.distance=least"
            )
        self.permutations = torch.from_numpy(found)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        label = batch["label"]
        return {"logits": self.solve(self.look(backbone, batch["tiles"]), self.permutations[label]), "label": label}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits, label = embeddings["logits"].float(), embeddings["label"]  # [B, P, N] and [B, P]
        guess = logits.argmax(-1)
        accuracy = (guess == label).float().mean().detach()
        loss = F.cross_entropy(logits.flatten(0, 1), label.flatten())
        return Step(loss, {"accuracy": accuracy}, answers={"label": label, "guess": guess})

    def look(self, backbone: nn.Module, tiles: Tensor) -> Tensor:
        """What each tile of [B, T, C, S, S] gives by itself: [B, T, F]."""
        seen: Features = backbone(tiles.flatten(0, 1))
        given = places(seen.maps[self.stage], self.config.places) if self.stage else seen.vector
        features: Tensor = self.tile(given)
        return features.view(*tiles.shape[:2], -1)

    def solve(self, features: Tensor, orders: Tensor) -> Tensor:
        """The logits [B, P, N] of P puzzles, in which tile orders[b, p, s] of features [B, T, F] lies in slot s."""
        batch, puzzles, _ = orders.shape
        shuffled = features[torch.arange(batch, device=orders.device)[:, None, None], orders]  # [B, P, T, F]
        logits: Tensor = self.answer(shuffled.flatten(2).flatten(0, 1))
        return logits.view(batch, puzzles, -1)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``accuracy``: the permutation was found; ``tiles_in_place``: the share of tiles that the guess puts where they belong.

        Chance is guessing evenly among the N permutations.
        """
        known = self.permutations.cpu()
        label, guess = answers["label"].long(), answers["guess"].long()
        count, tiles = known.shape
        apart = sets.mean_distance(known.numpy()) * (count - 1) / count  # on average from any of them, itself included
        return {
            "accuracy": float((label == guess).float().mean()),
            "chance_accuracy": 1 / count,
            "tiles_in_place": float((known[label] == known[guess]).float().mean()),
            "chance_tiles_in_place": 1 - apart / tiles,
        }

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """The first puzzle of each picture as it was shuffled, and as the guess puts it together, tile by tile right or wrong."""
        truth = self.permutations[batch["label"][:, 0]]  # [B, T]
        guess = self.permutations[step.answers["guess"][:, 0]]
        tiles = self.puzzle.for_people(batch["tiles"])
        row = torch.arange(len(tiles), device=tiles.device)[:, None]
        restored = truth[row, guess.argsort(1)]  # which tile the guess puts into each cell
        right = restored == torch.arange(tiles.shape[1], device=tiles.device)
        marked = framed(tiles[row, restored].flatten(0, 1), right.flatten()).view_as(tiles)
        gap = max(1, self.config.cell - self.config.tile)
        return [
            ("shuffled", laid_out(tiles[row, truth], self.config.grid, gap)),
            ("put together as the network answers", laid_out(marked, self.config.grid, gap)),
        ]

    def describe(self) -> dict[str, object]:
        """The set's size and its ``mean_distance`` (beside ``best_mean_distance``, which none exceeds) and ``least_distance``."""
        known = self.permutations.cpu().numpy()
        return {
            "permutations": len(known),
            "mean_distance": round(sets.mean_distance(known), 4),
            "best_mean_distance": round(sets.best_mean_distance(*known.shape), 4),
            "least_distance": sets.least_distance(known),
        }
