"""What PIRL compares a picture with: the picture cut into a puzzle, or turned.

Legend: B pictures, T tiles of a puzzle, S pixels a tile's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from embodied_ssl.core import Batch, Example, Panel, View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import UserError
from embodied_ssl.methods.image.rotation import four_turns
from embodied_ssl.views.colour import ColourChange, blur, change_colours
from embodied_ssl.views.coloured_crops import ColouredCrops
from embodied_ssl.views.crops import LEAST, check_crop, check_picture, mirror, random_resized_box
from embodied_ssl.views.pixels import normalise, to_float, unnormalise
from embodied_ssl.views.tiles import cut_tiles, laid_out, tile_corners


@dataclass(frozen=True)
class Puzzle:
    """How a puzzle is cut.

    Args:
        grid: cells a side; 3 makes 9 tiles.
        cell, tile: sides in pixels; a tile lies anywhere in its cell, so that lines do not run on from tile to tile.
        area: least and greatest share of the picture that the puzzle covers.
        colour: how the colours of each tile change, each by itself.
    """

    grid: int = 3
    cell: int = 32
    tile: int = 28
    area: tuple[float, float] = (0.6, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise UserError(f"grid is {self.grid}; give at least 2 cells a side")
        if not LEAST <= self.tile <= self.cell:
            raise UserError(
                f"tile is {self.tile} and cell {self.cell}; give a tile of at least {LEAST} pixels that fits its cell"
            )
        check_crop(self.side, self.area)

    @property
    def tiles(self) -> int:
        return self.grid**2

    @property
    def side(self) -> int:
        return self.grid * self.cell


@dataclass(frozen=True)
class CropAndPuzzle(View):
    """A crop, and the tiles of another in a random order, each mirrored half of the time: uint8 [T, S, S, 3].

    ``colours`` are their factors [T, 6]; ``order`` int64 [T] says which tile lies in each slot. Rendered, ``tiles`` are what the
    network sees [B, T, 3, S, S].
    """

    crops: ColouredCrops
    puzzle: Puzzle

    @property
    def size(self) -> int:
        return self.crops.size

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        puzzle, picture = self.puzzle, sample["picture"]
        check_picture(picture, puzzle.grid * LEAST)
        drawn = self.crops.draw(sample, rng)
        height, width = picture.size
        box = random_resized_box(height, width, rng, puzzle.area)
        pixels = picture.take(box, (puzzle.side, puzzle.side))
        corners = tile_corners(puzzle.grid, puzzle.cell, puzzle.tile, rng)
        order = rng.permutation(puzzle.tiles)
        tiles = cut_tiles(pixels, np.repeat(corners[order, None], 3, axis=1), puzzle.tile)
        turned_over = rng.random(puzzle.tiles) < 0.5
        drawn["tiles"] = np.where(turned_over[:, None, None, None], mirror(tiles), tiles)
        drawn["colours"] = np.stack([puzzle.colour.draw(rng) for _ in range(puzzle.tiles)])
        drawn["order"] = order.astype(np.int64)
        return drawn

    def render(self, batch: Batch) -> Batch:
        colours = batch["colours"].flatten(0, 1)
        tiles = change_colours(to_float(batch["tiles"].flatten(0, 1)), colours)
        if self.puzzle.colour.blur:
            tiles = blur(tiles, colours[:, 5], radius=max(1, self.puzzle.tile // 20))
        return self.crops.render(batch) | {"tiles": normalise(tiles).unflatten(0, batch["tiles"].shape[:2])}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [*self.crops.panels(batch), ("puzzle", self.laid_out(batch))]

    def laid_out(self, batch: Batch) -> torch.Tensor:
        """The puzzles of a rendered batch as pictures in 0..1 [B, 3, ...], in the order in which the network gets the tiles."""
        gap = max(2, self.puzzle.cell - self.puzzle.tile)
        return laid_out(unnormalise(batch["tiles"]), self.puzzle.grid, gap)


@dataclass(frozen=True)
class CropAndTurn(View):
    """Two crops, the second turned counter-clockwise by ``turn`` quarters of a circle: rendered ``turned`` [B, 3, S, S]."""

    crops: ColouredCrops

    @property
    def size(self) -> int:
        return self.crops.size

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        return self.crops.draw(sample, rng) | {"turn": np.asarray(rng.integers(4))}

    def render(self, batch: Batch) -> Batch:
        rendered = self.crops.render(batch)
        each = torch.arange(len(batch["turn"]), device=batch["turn"].device)
        return rendered | {"turned": four_turns(rendered["crop1"])[each, batch["turn"]]}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        return [("crop", unnormalise(batch["crop0"])), ("another crop, turned", unnormalise(batch["turned"]))]
