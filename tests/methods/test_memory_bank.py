"""The memory bank: rows on the sphere, an update that a slow loop agrees with, and who is compared with whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.memory_bank import MemoryBank


def filled(rows: int = 20, width: int = 6) -> MemoryBank:
    bank = MemoryBank(width)
    bank.fill(rows, generator(0))
    return bank


def directions(count: int, width: int = 6, seed: int = 1) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_rows_start_on_the_sphere_with_no_direction_preferred() -> None:
    rows = filled(4000, 16).rows
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4000))
    assert float(rows.mean(0).abs().max()) < 5 / (4000 * 16) ** 0.5
    torch.testing.assert_close(rows.T @ rows / 4000, torch.eye(16) / 16, atol=0.01, rtol=0)


def test_the_same_key_fills_the_same_rows() -> None:
    assert torch.equal(filled().rows, filled().rows)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_pirl_and_npid_memory_row_norm_is_1_and_the_update_is_a_slow_loop(keep: float) -> None:
    bank, slow = filled(), filled().rows.double().numpy()
    for step in range(5):
        index = torch.from_numpy(generator(step).permutation(20)[:7])
        features = directions(7, seed=step)
        bank.update(index, features, keep)
        for place, row in enumerate(index.tolist()):
            moved = keep * slow[row] + (1 - keep) * features[place].double().numpy()
            slow[row] = moved / np.sqrt((moved**2).sum())
    np.testing.assert_allclose(bank.rows.numpy(), slow, atol=1e-6)
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(20))


def test_of_a_sample_seen_twice_in_a_step_the_last_counts() -> None:
    """Which of two writes to one row is the last is otherwise up to the device."""
    features = directions(5)
    twice, once = filled(), filled()
    twice.update(torch.tensor([3, 8, 3, 1, 3]), features, 0.5)
    once.update(torch.tensor([8, 1, 3]), features[[1, 3, 4]], 0.5)
    assert torch.equal(twice.rows, once.rows)


def test_rows_not_seen_stay_as_they_are() -> None:
    bank = filled()
    before = bank.rows.clone()
    bank.update(torch.tensor([2, 5]), directions(2), 0.5)
    changed = (bank.rows != before).any(1).nonzero().flatten()
    assert changed.tolist() == [2, 5]


def test_drawn_rows_are_even_and_keyed_by_torch_s_generator() -> None:
    bank = filled(5)
    torch.manual_seed(3)
    drawn = bank.drawn(40_000, torch.tensor([0, 4]), with_own=True)
    torch.manual_seed(3)
    assert torch.equal(drawn, bank.drawn(40_000, torch.tensor([0, 4]), with_own=True))
    for row in drawn:
        torch.testing.assert_close(torch.bincount(row, minlength=5) / 40_000, torch.full((5,), 0.2), atol=0.01, rtol=0)


def test_without_the_own_row_the_others_are_drawn_evenly() -> None:
    bank, index = filled(5), torch.tensor([0, 2, 4])
    drawn = bank.drawn(40_000, index, with_own=False)
    for own, row in zip(index.tolist(), drawn, strict=True):
        share = torch.bincount(row, minlength=5) / 40_000
        expected = torch.full((5,), 0.25)
        expected[own] = 0
        torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
        assert share[own] == 0


@pytest.mark.parametrize(("rows", "count"), [(20, 7), (20, 20), (20, 50), (7, 3)])
def test_even_rows_are_different_and_spread_over_the_bank(rows: int, count: int) -> None:
    found = filled(rows).evenly(count)
    assert len(found) == min(rows, count) == len(found.unique())
    assert int(found[0]) == 0
    assert rows - 1 - int(found[-1]) <= int(found.diff().max())
    assert int(found.diff().max()) - int(found.diff().min()) <= 1


@pytest.mark.parametrize("rows", [20, 1000])
def test_cosines_gathered_or_picked_are_a_slow_loop(rows: int) -> None:
    """Of a bank small against what is drawn, products with all rows are taken and picked from; of a large one, rows gathered."""
    bank, features = filled(rows), directions(3).requires_grad_()
    chosen = torch.randint(rows, (3, 9), generator=torch.Generator().manual_seed(2))
    found = bank.cosines(features, chosen)
    for b in range(3):
        for m in range(9):
            assert float(found[b, m].detach()) == pytest.approx(float(features[b].detach() @ bank.rows[chosen[b, m]]), abs=1e-6)
    (gradient,) = torch.autograd.grad(found.square().sum(), features)
    slow = torch.stack([2 * (found[b].detach()[:, None] * bank.rows[chosen[b]]).sum(0) for b in range(3)])
    torch.testing.assert_close(gradient, slow)
    torch.testing.assert_close(bank.cosines(features), features @ bank.rows.T)
