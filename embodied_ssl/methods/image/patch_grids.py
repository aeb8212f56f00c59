"""Patches of a picture on grids, with all that would tell how they lie, but what they show, taken away.

What is hidden, and why, stands in `relative_patch`.

Legend: B pictures, N patches of one picture, K pairs among them, S side of a patch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.core import Batch, Example, Panel, View
from embodied_ssl.datasets.source import Picture, Pixels, Sample
from embodied_ssl.errors import BadItem
from embodied_ssl.views.crops import mirror
from embodied_ssl.views.patches import keep_one_channel, standardise_each, without_green_magenta
from embodied_ssl.views.pixels import to_float

PAPER_SIDE = 96  # pixels of a patch in the paper, to which its other lengths belong
Colours = Literal["project", "drop", "all"]
COARSE_SIDES = (10 / PAPER_SIDE, 95 / PAPER_SIDE)  # least and greatest that a patch is shrunk to
# Where the second patch lies, rows down and columns across of the first: numbered row by row without the middle.
SIDES = tuple((down, across) for down, across in itertools.product((-1, 0, 1), repeat=2) if (down, across) != (0, 0))
EMPTY, UNASKED = 1.0, 0.82  # greys, in drawings: between patches, and cells in which none lies


@dataclass(frozen=True)
class PatchGrids(View):
    """Patches of one picture, uint8 [N, S, S, 3], grid by grid and row by row; lengths in pixels of the resized picture.

    Also drawn: ``corner`` int64 [N, 2], each patch's top and left in the resized picture, and ``resized`` [2], its height and
    width; ``kept`` [N], the channel that is not dropped; ``noise``, the key of the noise in the place of the others.
    Rendered: ``patches`` float [B, N, 3, S, S], as the network sees them.
    """

    size: int
    grid: tuple[int, int]
    grids: int
    gap: int
    jitter: int
    pixels: tuple[float, float]
    enlarge: float
    colours: Colours
    coarse: float
    flip: bool

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        picture: Picture = sample["picture"]
        resized = self.resized(picture, rng)
        pixels = picture.take((0, 0, *picture.size), resized)
        if self.flip and rng.random() < 0.5:
            pixels = mirror(pixels)
        corners = np.concatenate([self.lay(resized, rng) for _ in range(self.grids)])
        patches = [pixels[top : top + self.size, left : left + self.size] for top, left in corners]
        return {
            "pixels": np.stack([self._perhaps_coarse(patch, rng) for patch in patches]),
            "corner": corners,
            "resized": np.array(resized),
            "kept": rng.integers(3, size=len(corners)),
            "noise": np.asarray(rng.integers(2**31)),
        }

    def resized(self, picture: Picture, rng: np.random.Generator) -> tuple[int, int]:
        """Height and width to resize a picture to: a random area within ``pixels``, as far as ``enlarge`` and the grid allow.

        Raises:
            BadItem: the picture is too small for a grid, even enlarged.
        """
        height, width = picture.size
        needed = self.extent(self.grid[0]), self.extent(self.grid[1])
        least = max(needed[0] / height, needed[1] / width)  # factor on the sides
        if least > self.enlarge:
            wanted = " x ".join(str(math.ceil(side / self.enlarge)) for side in needed)
            raise BadItem(picture.name, f"is {height} x {width} pixels (height, width); a grid of patches needs {wanted}")
        factor = math.sqrt(rng.uniform(*self.pixels) / (height * width))
        factor = max(min(factor, self.enlarge), least)
        return max(needed[0], round(height * factor)), max(needed[1], round(width * factor))

    def extent(self, count: int) -> int:
        """How many pixels a row (or column) of ``count`` patches needs, with room to be moved on one side."""
        return count * self.size + (count - 1) * self.gap + self.jitter

    def lay(self, resized: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
        """A grid at a random place, each of its patches moved on its own and kept inside: top and left [rows * columns, 2]."""
        rows, columns = self.grid
        spacing = self.size + self.gap
        room = [side - (count * self.size + (count - 1) * self.gap) for side, count in zip(resized, self.grid, strict=True)]
        start = [rng.integers(r + 1) for r in room]
        places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
        moved = start + spacing * places + rng.integers(-self.jitter, self.jitter + 1, places.shape)
        corners: NDArray[np.int64] = np.clip(moved, 0, np.array(resized) - self.size)
        return corners

    def _perhaps_coarse(self, patch: Pixels, rng: np.random.Generator) -> Pixels:
        """A share of the patches shrunk to a random area and enlarged again, so that fine texture cannot be relied on."""
        if rng.random() >= self.coarse:
            return patch
        least, most = (share * self.size for share in COARSE_SIDES)
        side = max(1, round(math.sqrt(rng.uniform(least**2, most**2))))
        small = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (self.size, self.size), interpolation=cv2.INTER_LINEAR), np.uint8)

    def render(self, batch: Batch) -> Batch:
        patches = to_float(batch["pixels"])
        if self.colours == "project":
            patches = without_green_magenta(patches)
        elif self.colours == "drop":
            patches = keep_one_channel(patches, batch["kept"], _keyed_noise(batch["noise"], patches))
        return {**batch, "patches": standardise_each(patches)}

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All ordered pairs of neighbours among the N patches, int64 [K, 2], and where the second lies, [K], 0 to 7."""
        rows, columns = self.grid
        found = [
            (g * rows * columns + y * columns + x, g * rows * columns + (y + down) * columns + x + across, place)
            for g, y, x in itertools.product(range(self.grids), range(rows), range(columns))
            for place, (down, across) in enumerate(SIDES)
            if 0 <= y + down < rows and 0 <= x + across < columns
        ]
        numbers = np.array(found, np.int64)
        return numbers[:, :2], numbers[:, 2]

    def panels(self, batch: Batch) -> Sequence[Panel]:
        """The first grid's patches as they were cut, and as the network sees them."""
        rows, columns = self.grid
        count = rows * columns
        cut, seen = to_float(batch["pixels"][:, :count]), visible(batch["patches"][:, :count])
        gap = max(2, self.size // 8)
        shown = [F.pad(laid_out(patches, rows, columns, gap), (gap, gap, gap, gap), value=EMPTY) for patches in (cut, seen)]
        return [("a grid of patches", shown[0]), ("as the network sees them", shown[1])]


def _keyed_noise(keys: Tensor, like: Tensor) -> Tensor:
    """Normal noise in the shape of ``like`` [B, ...], each example's from its own key [B]: made on the CPU, the same anywhere."""
    generator = torch.Generator()
    noise = [torch.randn(like.shape[1:], generator=generator.manual_seed(key)) for key in keys.tolist()]
    return torch.stack(noise).to(like.device)


def visible(patches: Tensor) -> Tensor:
    """Standardised patches for people: three standard deviations to either side of grey."""
    return (0.5 + patches / 6).clamp(0, 1)


def laid_out(patches: Tensor, rows: int, columns: int, gap: int) -> Tensor:
    """[B, rows * columns, 3, S, S] as one picture each, with gaps between."""
    padded = F.pad(patches, (0, gap, 0, gap), value=EMPTY)
    batch, _, channels, height, width = padded.shape
    grid = padded.view(batch, rows, columns, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, channels, rows * height, columns * width)[..., :-gap, :-gap]
