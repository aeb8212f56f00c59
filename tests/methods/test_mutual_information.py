"""Bounds on mutual information: closed forms, Gaussians whose information is known, and what saturation looks like."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.methods.contrastive.mutual_information import (
    donsker_varadhan,
    found,
    info_nce,
    information,
    jensen_shannon,
    saturated,
)

N = 64


def gaussian_scores(rho: float, dimensions: int, batches: int, seed: int = 0) -> Tensor:
    """Scores [batches, N, N] of the best critic, the log of the ratio of densities, for pairs of correlated Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, batches, N, dimensions, dtype=torch.float64, generator=generator).unbind()
    y = rho * x + math.sqrt(1 - rho**2) * noise
    rest = (y.unsqueeze(1) - rho * x.unsqueeze(2)).square().sum(-1) / (1 - rho**2)
    return (y.square().sum(-1).unsqueeze(1) - rest - dimensions * math.log(1 - rho**2)) / 2


def pairs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of N true pairs [batches, N] and the false ones that each is held against [batches, N, N - 1]."""
    own = torch.eye(N, dtype=torch.bool).expand_as(scores)
    return scores[own].view(-1, N), scores[~own].view(-1, N, N - 1)


@functools.cache
def bound(rho: float, dimensions: int) -> tuple[Tensor, float]:
    """The bound of each of many batches, and the information that there is."""
    positive, negative = pairs(gaussian_scores(rho, dimensions, batches=150))
    true = -dimensions / 2 * math.log(1 - rho**2)
    return information(info_nce(positive.unsqueeze(-1), negative).flatten(1).mean(1), N), true


@pytest.mark.parametrize(
    ("rho", "dimensions", "expected", "true"), [(0.5, 4, 0.557, 0.575), (0.9, 4, 2.85, 3.32), (0.9, 20, 4.159, 16.6)]
)
def test_info_nce_gaussian_mi_is_bounded_and_stops_at_log_n(rho: float, dimensions: int, expected: float, true: float) -> None:
    """The oracle table's InfoNCE row: below the truth, and ln 64 = 4.159 however much there is to know.

    The table's 0.53 for the first is of fewer draws: one batch of 64 scatters by 0.13, and the mean of 4,800 is 0.557.
    """
    found_bound, truth = bound(rho, dimensions)
    assert truth == pytest.approx(true, rel=5e-3)
    assert float(found_bound.mean()) == pytest.approx(expected, abs=0.03)
    assert float(found_bound.mean()) < truth
    assert float(found_bound.max()) <= math.log(N), "in no batch more"


def test_no_critic_gets_above_log_n() -> None:
    torch.manual_seed(0)
    for scale in (0.1, 1, 10, 1000):
        scores = torch.randn(50, N) * scale
        assert float(information(info_nce(scores[:, :1], scores[:, 1:]), N).max()) <= math.log(N) + 1e-6


def test_info_nce_is_log_n_when_all_look_alike() -> None:
    loss = info_nce(torch.full((5, 1), 3.0), torch.full((5, N - 1), 3.0))
    assert loss.shape == (5, 1)
    assert torch.allclose(loss, torch.full((5, 1), math.log(N)))
    assert torch.allclose(information(loss, N), torch.zeros(5, 1), atol=1e-6)


def test_info_nce_is_a_cross_entropy() -> None:
    torch.manual_seed(0)
    scores, true = torch.randn(7, 20) * 3, torch.randint(20, (7,))
    loss = info_nce(scores.gather(1, true[:, None]), scores.scatter(1, true[:, None], float("-inf")))
    torch.testing.assert_close(loss[:, 0], F.cross_entropy(scores, true, reduction="none"))


def test_several_true_pairs_are_not_each_others_rivals() -> None:
    """Against the same false ones, each by itself: as a slow loop takes them."""
    torch.manual_seed(0)
    positive, negative = torch.randn(4, 3), torch.randn(4, 10)
    slow = [[math.log(sum(math.exp(x) for x in [p, *row]) / math.exp(p)) for p in own] for own, row in _lists(positive, negative)]
    torch.testing.assert_close(info_nce(positive, negative), torch.tensor(slow))


def _lists(*tensors: Tensor) -> list[tuple[list[float], ...]]:
    return list(zip(*[tensor.tolist() for tensor in tensors], strict=True))


def test_jensen_shannon_of_a_critic_of_zeros() -> None:
    """-2 ln 2, the paper's sign: what is made great. The greatest, when both are told for sure, is 0."""
    assert float(jensen_shannon(torch.zeros(3), torch.zeros(9))) == pytest.approx(-2 * math.log(2))
    assert float(jensen_shannon(torch.full((3,), 50.0), torch.full((9,), -50.0))) == pytest.approx(0, abs=1e-6)


def test_jensen_shannon_is_scikit_learns_log_loss_of_both_kinds() -> None:
    torch.manual_seed(0)
    positive, negative = torch.randn(2, 40, dtype=torch.float64).unbind()
    expected = log_loss([1] * 40, positive.sigmoid().numpy(), labels=[0, 1]) + log_loss(
        [0] * 40, negative.sigmoid().numpy(), labels=[0, 1]
    )
    assert float(jensen_shannon(positive, negative)) == pytest.approx(-expected, abs=1e-12)


def test_the_best_critics_jensen_shannon_is_the_divergence_of_both_densities() -> None:
    """In one dimension: twice the divergence of N(1, 1) and N(-1, 1) less 2 ln 2, integrated on a grid."""
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    p, q = (torch.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (1, -1))
    middle = (p + q) / 2
    divergence = float(torch.trapezoid((p * (p / middle).log() + q * (q / middle).log()) / 2, x))
    torch.manual_seed(0)
    true, false = (torch.randn(400_000, dtype=torch.float64) + m for m in (1, -1))
    assert float(jensen_shannon(2 * true, 2 * false)) == pytest.approx(2 * divergence - 2 * math.log(2), abs=5e-3)


def test_donsker_varadhan_reaches_the_information_of_gaussians() -> None:
    positive, negative = pairs(gaussian_scores(0.5, 4, 150))
    assert float(donsker_varadhan(positive, negative)) == pytest.approx(0.575, abs=0.02)
    assert float(donsker_varadhan(torch.full((3,), 7.0), torch.full((9,), 7.0))) == pytest.approx(0, abs=1e-5)


def test_half_precision_is_taken_in_float32_and_float64_is_kept() -> None:
    half = torch.zeros(3, 1, dtype=torch.bfloat16)
    assert info_nce(half, half.expand(3, 999)).dtype == torch.float32
    assert info_nce(half.double(), half.double()).dtype == torch.float64
    assert jensen_shannon(half, half).dtype == torch.float32


def test_what_scores_alike_is_found_by_chance() -> None:
    positive = torch.tensor([1.0, 1.0, 1.0, 1.0])
    negative = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 2.0, 0.0]])
    assert found(positive, negative).tolist() == pytest.approx([1, 1 / 2, 1 / 4, 0])


def test_saturation_is_said_in_words() -> None:
    """Of the oracle's three rows only the last stands at ln 64."""
    rows = ((0.5, 4), (0.9, 4), (0.9, 20))
    said = [saturated(float(bound(*row)[0].mean()), math.log(N), "take larger batches") for row in rows]
    assert said[:2] == ["", ""]
    assert "is 4.16 of at most 4.16 nats" in said[2]
    assert said[2].endswith("take larger batches")
    assert saturated(0.0, 0.0, "") == "", "one to choose from: nothing to saturate"
