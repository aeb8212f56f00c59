"""Moving a patch about: shifted, zoomed, turned and mirrored views of it, all cut from a larger source, so no border shows.

How each copy is moved is drawn in the worker; the pixels are taken for a whole batch on the device. The source is large enough
for the strongest move, hence no fill of any colour can tell what was done.

Legend: B sources, K copies of each, S side of the patch, R side of its source, both in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.errors import UserError


@dataclass(frozen=True)
class Moves:
    """How far a patch is moved; 0 everywhere leaves it as it is. Defaults are Dosovitskiy et al. 2014, section 3.

    Args:
        translation: greatest shift along each axis, in sides of the patch.
        scale: greatest zoom in and out, in octaves: 0.5 shows between 0.71 and 1.41 sides.
        rotation: greatest turn either way, in degrees.
        mirror: share of copies whose left and right are exchanged; the paper mirrors none.
    """

    translation: float = 0.2
    scale: float = 0.5
    rotation: float = 20.0
    mirror: float = 0.0

    def __post_init__(self) -> None:
        if min(self.translation, self.scale, self.rotation, self.mirror) < 0 or self.mirror > 1:
            raise UserError(f"moves are {self}; give strengths of at least 0 (mirror: a share within 0..1)")

    @property
    def margin(self) -> float:
        """How many sides of the patch its source needs, at least: 1 where nothing moves."""
        angle = math.radians(min(self.rotation, 45.0))
        return 2**self.scale * (math.cos(angle) + math.sin(angle)) + 2 * self.translation

    def source_side(self, size: int) -> int:
        """R: the source of a patch of ``size`` pixels, with whole pixels on either side of it."""
        return size + 2 * math.ceil((self.margin - 1) * size / 2 - 1e-9)

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One copy's factors, float32 [5]: shift right and down in sides, sides shown, turn in radians, 1 or -1 (mirrored)."""
        right, down = rng.uniform(-self.translation, self.translation, 2)
        shown = 2 ** rng.uniform(-self.scale, self.scale)
        turn = math.radians(rng.uniform(-self.rotation, self.rotation))
        return np.array([right, down, shown, turn, -1.0 if rng.random() < self.mirror else 1.0], np.float32)


UNMOVED = (0.0, 0.0, 1.0, 0.0, 1.0)


def move(sources: Tensor, factors: Tensor, size: int) -> Tensor:
    """Copies of the patch in the middle of each source, moved as the factors say; one that is not moved has its very pixels.

    Linear interpolation; nothing is averaged where more than one side is shown, which the paper does not do either.

    Args:
        sources: float [B, 3, R, R]; R - S is even.
        factors: float [B, K, 5], see `Moves.draw`.
        size: S.

    Returns:
        Float [B, K, 3, S, S].
    """
    count, copies = factors.shape[:2]
    side = sources.shape[-1]
    grid = where(factors, size, side)
    cut = F.grid_sample(
        sources, grid.view(count, copies * size, size, 2).to(sources.dtype), padding_mode="border", align_corners=False
    )
    moved = cut.view(count, 3, copies, size, size).transpose(1, 2)
    rim = (side - size) // 2
    middle = sources[:, None, :, rim : rim + size, rim : rim + size]
    still = (factors == torch.tensor(UNMOVED, device=factors.device)).all(-1)
    return torch.where(still.view(count, copies, 1, 1, 1), middle, moved)


def where(factors: Tensor, size: int, side: int) -> Tensor:
    """The place in the source of every pixel of every copy: [B, K, S, S, 2], x and y from -1 to 1 over the source's sides."""
    right, down, shown, turn, across = factors.unbind(-1)
    share = size / side
    cos, sin = shown * share * turn.cos(), shown * share * turn.sin()
    rows = [torch.stack([cos * across, -sin, 2 * right * share], -1), torch.stack([sin * across, cos, 2 * down * share], -1)]
    matrix = torch.stack(rows, dim=-2).flatten(0, 1)  # [B * K, 2, 3]
    grid = F.affine_grid(matrix, [len(matrix), 3, size, size], align_corners=False)
    return grid.view(*factors.shape[:2], size, size, 2)
