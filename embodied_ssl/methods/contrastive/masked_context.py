"""A context of every place of a grid, made of its own row and those above, and of nothing below.

PixelCNN (van den Oord et al. 2016, arXiv:1606.05328) reduced to rows: what is below is to be predicted, so it must not be seen.
A block looks at the row itself, one place to either side, and at the row above; so many blocks see so many rows up. The blocks
are those of Henaff et al. 2020, arXiv:1905.09272, appendix, as others have written them down: we have not seen the authors' own.

Legend: B pictures, D features, R C rows and columns.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PlaceNorm(nn.LayerNorm):
    """LayerNorm over the features of each place of [B, D, R, C] by itself: nothing passes from one place to another."""

    def forward(self, grid: Tensor) -> Tensor:
        return super().forward(grid.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """[B, D, R, C] to the same, plus what a place, its neighbours in the row and the row above give."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = PlaceNorm(width)
        self.inner = nn.Conv2d(width, hidden, 1)
        self.along = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.down = nn.Conv2d(hidden, hidden, (2, 1))
        self.outer = nn.Conv2d(hidden, width, 1)

    def forward(self, grid: Tensor) -> Tensor:
        x = self.along(F.relu(self.inner(self.norm(grid))))
        x = F.relu(self.down(F.pad(x, (0, 0, 1, 0))))  # a row of zeros on top: each row sees the one above it and itself
        added: Tensor = self.outer(x)
        return grid + added


class MaskedContext(nn.Module):
    """What each place knows from its row and those above: [B, D, R, C] to [B, D, R, C].

    Args:
        width: D.
        hidden: features inside a block.
        blocks: how many, and so how many rows up can be seen.
    """

    def __init__(self, width: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[Block(width, hidden) for _ in range(blocks)])

    def forward(self, grid: Tensor) -> Tensor:
        return F.relu(self.blocks(grid))
