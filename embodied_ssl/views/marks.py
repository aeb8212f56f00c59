"""Marks on pictures for people to look at: a green rim where an answer is right, a red one where it is wrong.

Besides their colours the two differ in brightness, for readers who see red and green alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIGHT = (0.35, 0.85, 0.35)  # luminance 0.64
WRONG = (0.80, 0.05, 0.10)  # luminance 0.28
RIM = 1 / 24  # of the shorter side; at least 2 pixels, which remain visible in a row of pictures 64 pixels high


def framed(pictures: Tensor, right: Tensor) -> Tensor:
    """Pictures of the same size with a rim drawn over their edges: `RIGHT` where an answer is right, `WRONG` where it is not.

    Args:
        pictures: float [n, 3, H, W] in 0..1; left as they are.
        right: bool [n].
    """
    height, width = pictures.shape[-2:]
    rim = max(2, round(min(height, width) * RIM))
    inside = torch.zeros(height, width, dtype=torch.bool, device=pictures.device)
    inside[rim : height - rim, rim : width - rim] = True
    either = torch.tensor([WRONG, RIGHT], dtype=pictures.dtype, device=pictures.device)
    colours = either[right.long().to(pictures.device)]
    return torch.where(inside, pictures, colours[:, :, None, None])
