"""Losses against slow loops, closed forms and an independent library."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.losses import drlim, mean_where, nt_xent, pattern_contrast, temporal_coherence, tried_bin


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    """Chen et al. 2020, eq. 1, one term at a time."""
    views = [row / row.norm() for row in torch.cat([first, second]).double()]
    n, total = len(first), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = sum(math.exp(float(views[i] @ views[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(float(views[i] @ views[partner]) / temperature) / others)
    return total / (2 * n)


@pytest.mark.parametrize(("n", "temperature"), [(1, 0.5), (2, 0.1), (7, 0.5), (16, 1.0)])
def test_nt_xent_equals_a_double_loop(n: int, temperature: float) -> None:
    first, second = random(n, 5), random(n, 5, seed=1)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(slow_nt_xent(first, second, temperature), abs=1e-5)


def test_nt_xent_of_a_worked_example() -> None:
    first, second = torch.eye(2), torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(2.030190, abs=1e-6)


@pytest.mark.parametrize("n", [2, 8, 256])
def test_nt_xent_at_collapse_is_the_log_of_the_others(n: int) -> None:
    same = torch.ones(n, 16)
    assert float(nt_xent(same, same, 0.2)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)
    assert math.log(2 * 256 - 1) == pytest.approx(6.2364, abs=1e-4)


def test_nt_xent_of_exact_agreement_on_orthogonal_pictures() -> None:
    loss = float(nt_xent(torch.eye(8), torch.eye(8), 0.5))
    assert loss == pytest.approx(math.log(1 + 14 * math.exp(-2)), abs=1e-6)
    assert loss == pytest.approx(1.06288, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_nt_xent_equals_lightlys() -> None:
    module = pytest.importorskip("lightly.loss")
    first, second = random(32, 16), random(32, 16, seed=1)
    for temperature in (0.1, 0.5):
        theirs = module.NTXentLoss(temperature=temperature)(first, second)
        torch.testing.assert_close(nt_xent(first, second, temperature), theirs, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_nt_xent_equals_pytorch_metric_learnings() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    first, second = random(32, 16), random(32, 16, seed=1)
    for temperature in (0.1, 0.5):
        theirs = losses.NTXentLoss(temperature)(torch.cat([first, second]), torch.arange(32).repeat(2))
        torch.testing.assert_close(nt_xent(first, second, temperature), theirs, rtol=0, atol=1e-5)


def test_nt_xent_is_symmetric_and_sees_only_directions() -> None:
    first, second = random(6, 4), random(6, 4, seed=1)
    turn = torch.linalg.qr(random(4, 4, seed=2)).Q
    loss = nt_xent(first, second, 0.5)
    torch.testing.assert_close(nt_xent(second, first, 0.5), loss)
    torch.testing.assert_close(nt_xent(first * 7, second * torch.arange(1.0, 7.0).unsqueeze(1), 0.5), loss)
    torch.testing.assert_close(nt_xent(first @ turn, second @ turn, 0.5), loss)


def slow_pattern_contrast(moved: Tensor, seen: Tensor, pattern: Tensor, margin: float) -> float:
    total = 0.0
    for b in range(len(seen)):
        for g in range(moved.shape[1]):
            distance = float((moved[b, g] - seen[b]).double().norm())
            total += distance if g == int(pattern[b]) else max(margin - distance, 0.0)
    return total / len(seen)


def test_pattern_contrast_equals_a_double_loop() -> None:
    moved, seen, pattern = random(9, 3, 4) / 2, random(9, 4, seed=1) / 2, torch.tensor([0, 1, 2, -1, 0, 1, 2, -1, 0])
    for margin in (0.5, 1.0, 3.0):
        expected = slow_pattern_contrast(moved, seen, pattern, margin)
        assert float(pattern_contrast(moved, seen, pattern, margin)) == pytest.approx(expected, rel=1e-5)


def test_pattern_contrast_is_0_where_every_motion_is_a_circular_shift() -> None:
    shifts = (0, 3, 8)
    before = F.one_hot(torch.arange(12), 16).float() * 4
    moved = torch.stack([before.roll(shift, 1) for shift in shifts], dim=1)
    pattern = torch.arange(12) % 3
    seen = moved[torch.arange(12), pattern]
    assert float(pattern_contrast(moved, seen, pattern, margin=1.0)) == 0


@pytest.mark.parametrize("maps", [2, 3, 5])
def test_pattern_contrast_at_collapse_is_the_margin_of_every_wrong_map(maps: int) -> None:
    pattern = torch.arange(8) % maps
    loss = pattern_contrast(torch.ones(8, maps, 4), torch.ones(8, 4), pattern, margin=0.7)
    assert float(loss) == pytest.approx((maps - 1) * 0.7)


def test_a_pair_of_no_pattern_is_pushed_from_every_map() -> None:
    moved = random(1, 3, 4).requires_grad_()
    pattern_contrast(moved, torch.zeros(1, 4), torch.tensor([-1]), margin=100.0).backward()
    assert moved.grad is not None
    outward = (moved.detach() * -moved.grad).sum(2)  # what gradient descent would do, along the way out
    assert (outward > 0).all()


def test_pattern_contrast_has_a_finite_gradient_where_features_agree_exactly() -> None:
    moved = torch.ones(2, 3, 4, requires_grad=True)
    pattern_contrast(moved, torch.ones(2, 4), torch.tensor([0, -1]), margin=1.0).backward()
    assert moved.grad is not None
    assert torch.isfinite(moved.grad).all()


def test_untried_bins_get_exactly_no_gradient() -> None:
    logits, bins = random(6, 18).requires_grad_(), torch.tensor([0, 3, 17, 5, 5, 9])
    tried_bin(logits, bins, torch.tensor([1.0, 0, 1, 0, 1, 0]), torch.ones(6, dtype=torch.bool)).backward()
    assert logits.grad is not None
    tried = F.one_hot(bins, 18).bool()
    assert (logits.grad[~tried] == 0).all()
    assert (logits.grad[tried] != 0).all()


def test_tried_bin_is_log_2_for_zero_logits() -> None:
    loss = tried_bin(torch.zeros(4, 18), torch.arange(4), torch.tensor([0.0, 1, 1, 0]), torch.ones(4, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(2))


def test_tried_bin_equals_a_loop_over_present_rows() -> None:
    logits, bins = random(8, 18), torch.arange(8)
    success, present = (torch.arange(8) % 2).float(), torch.arange(8) % 3 == 0
    terms = [
        -math.log(1 / (1 + math.exp(-float(logits[i, bins[i]]) * (1 if success[i] else -1)))) for i in range(8) if present[i]
    ]
    assert float(tried_bin(logits, bins, success, present)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_absent_rows_count_nothing() -> None:
    logits = random(4, 18).requires_grad_()
    present = torch.tensor([True, False, False, True])
    tried_bin(logits, torch.zeros(4, dtype=torch.int64), torch.ones(4), present).backward()
    assert logits.grad is not None
    assert (logits.grad[~present] == 0).all()


def test_no_present_row_is_a_loss_of_0_with_no_gradient() -> None:
    logits = random(4, 18).requires_grad_()
    loss = tried_bin(logits, torch.zeros(4, dtype=torch.int64), torch.ones(4), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_mean_where_is_the_mean_of_what_is_there() -> None:
    values = torch.tensor([1.0, 2.0, 30.0, 4.0])
    assert float(mean_where(values, torch.tensor([True, True, False, False]))) == 1.5
    assert float(mean_where(values, torch.ones(4, dtype=torch.bool))) == float(values.mean())
    assert float(mean_where(values, torch.zeros(4, dtype=torch.bool))) == 0


# --- near and far ---------------------------------------------------------------------------------------------------------

NEAR = torch.tensor([True, False, True, False, False, True])
HERE = torch.tensor([True, True, True, True, False, True])


def slow_near_and_far(first: Tensor, second: Tensor, margin: float, squared: bool) -> float:
    """Hadsell et al. 2006, eq. 4 (Y = 0 for near pairs), or the coherence loss of Mobahi et al. 2009, one pair at a time."""
    terms = []
    for a, b, near, present in zip(first.tolist(), second.tolist(), NEAR.tolist(), HERE.tolist(), strict=True):
        y = 0 if near else 1
        if not present:
            continue
        if squared:
            d = math.sqrt(sum((i - j) ** 2 for i, j in zip(a, b, strict=True)))
            terms.append((1 - y) * 0.5 * d**2 + y * 0.5 * max(0, margin - d) ** 2)
        else:
            d = sum(abs(i - j) for i, j in zip(a, b, strict=True))
            terms.append(d if near else max(0, margin - d))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("loss", [drlim, temporal_coherence])
@pytest.mark.parametrize("margin", [0.5, 3.0, 20.0])
def test_near_and_far_are_the_papers_formulas(loss: Callable[..., Tensor], margin: float) -> None:
    first, second = random(6, 5), random(6, 5, seed=1)
    expected = slow_near_and_far(first, second, margin, loss is drlim)
    assert loss(first, second, NEAR, margin, HERE).item() == pytest.approx(expected, rel=1e-5)


def test_collapsed_features_cost_the_margin_of_far_pairs() -> None:
    """Two of five present pairs are far: 2/5 of half the squared margin, and 2/5 of the margin; gradients stay finite."""
    same = torch.ones(6, 5, requires_grad=True)
    assert drlim(same, same, NEAR, 3.0, HERE).item() == pytest.approx(2 / 5 * 4.5)
    assert temporal_coherence(same, same, NEAR, 3.0, HERE).item() == pytest.approx(2 / 5 * 3)
    (drlim(same, same, NEAR, 3.0, HERE) + temporal_coherence(same, same, NEAR, 3.0, HERE)).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("loss", [drlim, temporal_coherence])
def test_near_together_and_far_beyond_the_margin_cost_nothing(loss: Callable[..., Tensor]) -> None:
    first = random(6, 5)
    second = torch.where(NEAR.unsqueeze(1), first, first + 4)
    assert loss(first, second, NEAR, 2.0, HERE).item() == 0
