"""Sinkhorn codes, held against closed forms, an optimal transport library and a peer."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from torch import Tensor

from embodied_ssl.methods.contrastive.sinkhorn import sinkhorn


def scores(pictures: int = 24, prototypes: int = 7, seed: int = 0) -> Tensor:
    """Cosines in float64, as unit vectors of 5 dimensions have them."""
    generator = torch.Generator().manual_seed(seed)
    vectors, rows = (
        torch.nn.functional.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64), dim=1)
        for n in (pictures, prototypes)
    )
    return vectors @ rows.T


def slow(of: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    codes = np.exp(of / epsilon)
    pictures, prototypes = codes.shape
    for _ in range(iterations):
        for k in range(prototypes):
            codes[:, k] *= pictures / prototypes / codes[:, k].sum()
        for b in range(pictures):
            codes[b] /= codes[b].sum()
    return codes


def test_swav_sinkhorn_rows_sum_to_1_after_3_iterations() -> None:
    codes = sinkhorn(scores(), 0.05, 3)
    torch.testing.assert_close(codes.sum(1), torch.ones(24, dtype=torch.float64), rtol=0, atol=1e-12)


def test_swav_sinkhorn_prototypes_get_b_over_k_each_after_100_iterations() -> None:
    codes = sinkhorn(scores(), 0.05, 100)
    torch.testing.assert_close(codes.sum(0), torch.full((7,), 24 / 7, dtype=torch.float64), rtol=1e-4, atol=0)
    rough = sinkhorn(scores(), 0.05, 3).sum(0)
    assert float((rough / (24 / 7) - 1).abs().max()) > 0.01, "3 are few"


def test_swav_sinkhorn_of_zeros_is_1_over_k() -> None:
    torch.testing.assert_close(sinkhorn(torch.zeros(6, 4), 0.05, 3), torch.full((6, 4), 0.25))


def test_swav_sinkhorn_of_the_2_by_2_identity() -> None:
    codes = sinkhorn(torch.eye(2), 1.0, 3)
    share = math.e / (1 + math.e)
    torch.testing.assert_close(codes, torch.tensor([[share, 1 - share], [1 - share, share]]))
    assert share == pytest.approx(0.7311, abs=1e-4)


def test_swav_sinkhorn_converged_is_the_optimal_transport() -> None:
    of = scores().numpy()
    plan = ot.sinkhorn(np.full(24, 1 / 24), np.full(7, 1 / 7), -of, 0.05, numItermax=5000, stopThr=1e-15) * 24
    np.testing.assert_allclose(sinkhorn(torch.from_numpy(of), 0.05, 1000).numpy(), plan, rtol=0, atol=1e-9)


def test_three_iterations_can_be_far_from_the_optimal_transport() -> None:
    of = scores(seed=3)
    assert float((sinkhorn(of, 0.05, 3) - sinkhorn(of, 0.05, 1000)).abs().max()) > 0.01


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_the_matrix_is_scaled_as_a_slow_loop_scales_it(iterations: int) -> None:
    of = scores(seed=1)
    np.testing.assert_allclose(sinkhorn(of, 0.05, iterations).numpy(), slow(of.numpy(), 0.05, iterations), rtol=1e-9)


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_parity_with_lightly(iterations: int) -> None:
    """Same order there: prototypes first, pictures last."""
    of = scores(seed=2).float()
    torch.testing.assert_close(sinkhorn(of, 0.05, iterations), lightly_sinkhorn(of, iterations, 0.05), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_taken_in_float32(half: torch.dtype) -> None:
    """exp(1 / 0.05) is 4.85e8, and float16 ends at 65504."""
    of = scores().to(half)
    of[0, 0] = 1.0
    codes = sinkhorn(of, 0.05, 3)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.double(), sinkhorn(of.double(), 0.05, 3), rtol=1e-5, atol=1e-6)


def test_a_small_epsilon_leaves_no_row_empty() -> None:
    """Without logarithms exp(-2 / 0.001) is 0 in float64 too, and a prototype far from every picture divides 0 by 0."""
    codes = sinkhorn(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), 0.001, 3)
    torch.testing.assert_close(codes, torch.full((2, 2), 0.5))


def test_codes_have_no_gradient_and_leave_the_scores_as_they_are() -> None:
    of = scores().requires_grad_()
    before = of.detach().clone()
    assert not sinkhorn(of, 0.05, 3).requires_grad
    assert torch.equal(of.detach(), before)
