"""A memory bank: for each training sample one unit vector, what the network made of it when it was last seen.

So any picture can be compared with any other without a second pass of the network, at the price of rows that are up to an
epoch old. Wu, Xiong, Yu and Lin 2018, arXiv:1805.01978, section 3.1.

Legend: N rows, D numbers in each, B samples of a batch, M rows to compare a sample with.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MemoryBank(nn.Module):
    """Unit vectors [N, D] in a buffer, so that the checkpoint keeps them; empty until `fill`.

    Args:
        width: D.
    """

    rows: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("rows", torch.zeros(0, width))

    def __len__(self) -> int:
        return len(self.rows)

    def fill(self, count: int, rng: np.random.Generator) -> None:
        """``count`` rows anew, in directions drawn evenly from the sphere (the authors' program starts off the sphere)."""
        self.rows = F.normalize(torch.from_numpy(rng.standard_normal((count, self.width), np.float32)), dim=1)

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor, keep: float) -> None:
        """Move rows towards what was seen now: v <- keep * v + (1 - keep) * f, brought back to length 1.

        Args:
            index: int64 [B], whose rows. Of a sample that is there twice, the last one counts, on any device.
            features: unit vectors [B, D].
            keep: how much of the old row stays, at least 0 and under 1.
        """
        place = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index, place, 0).amax(1)
        moved = keep * self.rows[index] + (1 - keep) * features[last].to(self.rows.dtype)
        self.rows[index] = F.normalize(moved, dim=1)  # equal indices write equal rows: no order of writing matters

    def drawn(self, count: int, index: Tensor, with_own: bool) -> Tensor:
        """Rows drawn evenly, with replacement, from torch's global generator: int64 [B, count].

        Args:
            count: M.
            index: int64 [B], each sample's own row.
            with_own: draw from all N rows; otherwise from the N - 1 others (N at least 2).
        """
        shape = (len(index), count)
        if with_own:
            return torch.randint(len(self), shape, device=index.device)
        others = torch.randint(len(self) - 1, shape, device=index.device)
        return others + (others >= index[:, None])

    def evenly(self, count: int) -> Tensor:
        """``count`` different rows (or all, if there are no more) from the first to the last, evenly apart: int64 [M]."""
        count = min(count, len(self))
        return torch.arange(count, device=self.rows.device) * len(self) // max(1, count)

    def cosines(self, features: Tensor, chosen: Tensor | None = None) -> Tensor:
        """How near unit vectors [B, D] are to rows, each to its own ``chosen`` ones int64 [B, M], or to all: [B, M] or [B, N].

        Many chosen rows of a small bank are cheaper picked from the products with all rows than gathered before.
        """
        if chosen is None:
            return features @ self.rows.T
        if len(self) <= chosen.shape[1] * self.width:
            return (features @ self.rows.T).gather(1, chosen)
        return torch.einsum("bd,bmd->bm", features, self.rows[chosen])
