"""The context of a place: its row and those above it, exactly, and nothing that lies below."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from embodied_ssl.methods.contrastive.masked_context import MaskedContext, PlaceNorm


def seen_from(blocks: int, row: int, column: int) -> torch.Tensor:
    """How strongly the context at a place of a 5 x 5 grid depends on each place: [5, 5]."""
    torch.manual_seed(0)
    context = MaskedContext(width=6, hidden=8, blocks=blocks).double()
    grid = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(context(grid)[0, :, row, column].sum(), grid)
    assert float(gradient[1].abs().max()) == 0, "another picture is not seen"
    return gradient[0].abs().sum(0)


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 3), (4, 4)])
def test_nothing_below_is_seen(blocks: int, row: int, column: int) -> None:
    """The Jacobian is exactly zero, not nearly."""
    assert float(seen_from(blocks, row, column)[row + 1 :].sum()) == 0


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_so_many_blocks_see_so_many_rows_up_and_places_to_each_side(blocks: int) -> None:
    seen = seen_from(blocks, 4, 2) > 0
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[4 - blocks :, max(0, 2 - blocks) : 3 + blocks] = True
    assert torch.equal(seen, expected)


def test_a_norm_of_places_mixes_none() -> None:
    torch.manual_seed(0)
    grid = torch.randn(2, 6, 3, 4)
    normed = PlaceNorm(6)(grid)
    for picture, row, column in ((0, 0, 0), (1, 2, 3)):
        torch.testing.assert_close(normed[picture, :, row, column], F.layer_norm(grid[picture, :, row, column], (6,)))
