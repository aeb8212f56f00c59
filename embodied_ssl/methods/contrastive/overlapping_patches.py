"""A picture cut into patches that overlap, each changed by itself: what CPC predicts from one another.

A patch is moved a little inside its cell, so that lines do not run on exactly, and has colours of its own, so that a cast of the
whole picture tells nothing. What a patch loses at its rim is filled with the mean colour.

Legend: B pictures, G patches a side, N = G * G patches in reading order, P pixels a patch's side, S pixels the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.core import Batch, Example, Panel, View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.views.colour import ColourChange, blur, change_colours
from embodied_ssl.views.crops import check_picture, mirror
from embodied_ssl.views.pixels import normalise, to_float, to_grey, unnormalise
from embodied_ssl.views.tiles import laid_out, random_square


@dataclass(frozen=True)
class OverlappingPatches(View):
    """A square crop uint8 [S, S, 3], and what is done to each of its patches; rendered to ``patches`` float [B, N, 3, P, P].

    Also drawn: ``grey``, whether the whole picture is; ``corner`` int64 [N, 2], where in its cell the part that is kept of a
    patch begins; ``colours`` float32 [N, 6].

    Args:
        patch, stride, grid: P, pixels from one patch to the next, and G.
        share: least and greatest side of the crop, as a share of the picture's shorter side.
        jitter: how many pixels narrower the part is that is kept of a patch.
        grey: share of pictures that are grey.
        colour: how the colours of each patch change.
    """

    patch: int
    stride: int
    grid: int
    share: tuple[float, float]
    jitter: int
    grey: float
    colour: ColourChange

    @property
    def size(self) -> int:
        """S."""
        return self.patch + (self.grid - 1) * self.stride

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        picture = sample["picture"]
        check_picture(picture)
        height, width = picture.size
        pixels = picture.take(random_square(height, width, rng, self.share), (self.size, self.size))
        count = self.grid**2
        return {
            "pixels": mirror(pixels) if rng.random() < 0.5 else pixels,
            "grey": np.asarray(rng.random() < self.grey),
            "corner": rng.integers(self.jitter + 1, size=(count, 2)),
            "colours": np.stack([self.colour.draw(rng) for _ in range(count)]),
        }

    def render(self, batch: Batch) -> Batch:
        patches = self.cut(self.picture(batch)).flatten(0, 1)
        colours = batch["colours"].flatten(0, 1)
        patches = change_colours(patches, colours)
        if self.colour.blur:
            patches = blur(patches, colours[:, 5], radius=max(1, self.patch // 20))
        kept = self._kept(normalise(patches), batch["corner"].flatten(0, 1))
        return {**batch, "patches": kept.unflatten(0, (-1, self.grid**2))}

    def picture(self, batch: Batch) -> Tensor:
        """The crops as they are before they are cut: float [B, 3, S, S] in 0..1."""
        pictures = to_float(batch["pixels"])
        return torch.where(batch["grey"].view(-1, 1, 1, 1), to_grey(pictures), pictures)

    def cut(self, pictures: Tensor) -> Tensor:
        """Pictures [B, C, S, S] to their patches [B, N, C, P, P]."""
        windows = pictures.unfold(2, self.patch, self.stride).unfold(3, self.patch, self.stride)  # [B, C, G, G, P, P]
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)

    def box(self, place: int) -> tuple[slice, slice]:
        """Rows and columns of the picture that are the patch of this number."""
        top, left = (self.stride * number for number in divmod(place, self.grid))
        return slice(top, top + self.patch), slice(left, left + self.patch)

    def _kept(self, patches: Tensor, corner: Tensor) -> Tensor:
        """A part of each patch [n, C, P, P], from its own corner [n, 2] on, amid zeros."""
        if not self.jitter:
            return patches
        along = torch.arange(self.patch - self.jitter, device=patches.device)
        rows, columns = (corner[:, axis, None] + along for axis in (0, 1))  # [n, P - jitter] each
        number = torch.arange(len(patches), device=patches.device)[:, None, None]
        kept = patches.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        before, after = self.jitter // 2, self.jitter - self.jitter // 2
        return F.pad(kept, (before, after, before, after))

    def panels(self, batch: Batch) -> Sequence[Panel]:
        seen = laid_out(unnormalise(batch["patches"]), self.grid, max(2, self.patch // 8))
        return [
            ("pictures, which are cut into overlapping patches", self.picture(batch)),
            ("patches as the network sees them", seen),
        ]
