import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

from embodied_ssl.evaluation.diagnostics import alignment, cka, rank_me, spread, uniformity


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def sphere_uniformity(d: int) -> float:
    """-4 + log of 0F1(; d/2; 4): the mean of exp(4 cos) over a sphere, by its power series in logarithms."""
    k = np.arange(200)
    return float(-4 + logsumexp(k * np.log(4.0) + gammaln(d / 2) - gammaln(d / 2 + k) - gammaln(k + 1)))


@pytest.mark.parametrize(
    ("d", "expected"), [(2, -1.575), (16, -3.513), (64, -3.875), (128, -3.9375), (256, -3.969), (512, -3.984)]
)
def test_uniformity_of_a_sphere(d: int, expected: float) -> None:
    assert sphere_uniformity(d) == pytest.approx(expected, abs=1e-3)
    assert uniformity(normal(2500, d)) == pytest.approx(expected, abs=0.02)


def test_uniformity_equals_a_loop_over_pairs() -> None:
    z = normal(30, 5)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    pairs = [np.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i in range(30) for j in range(i)]
    assert uniformity(z) == pytest.approx(np.log(np.mean(pairs)))
    assert uniformity(np.ones((10, 4))) == pytest.approx(0, abs=1e-9)


def test_alignment() -> None:
    z = normal(3000, 32)
    assert alignment(z, 3 * z) == pytest.approx(0, abs=1e-12)
    assert alignment(z, normal(3000, 32, seed=1)) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(("n", "d", "expected"), [(25600, 128, 127.9), (2048, 512, 494.8), (512, 512, 412.4)])
def test_rank_of_noise(n: int, d: int, expected: float) -> None:
    assert rank_me(normal(n, d)) == pytest.approx(expected, rel=0.01)


def test_rank_of_known_matrices_and_what_centring_does() -> None:
    assert rank_me(np.linalg.qr(normal(256, 64))[0], centre=False) == pytest.approx(64, abs=0.01)
    assert rank_me(np.outer(normal(200), normal(64)), centre=False) == pytest.approx(1.0001, abs=1e-3)
    shifted = normal(25600, 128) + 50
    assert rank_me(shifted, centre=False) == pytest.approx(3.9, abs=0.05)
    assert rank_me(shifted) == pytest.approx(127.9, abs=0.1)
    assert rank_me(np.ones((8, 3))) == 1


def test_cka_sees_turns_and_scales_as_the_same() -> None:
    x = normal(300, 20)
    turn = np.linalg.qr(normal(20, 20, seed=1))[0]
    assert cka(x, 7 * x @ turn + 3) == pytest.approx(1)
    assert cka(x, 7 * x @ turn + 3, unbiased=False) == pytest.approx(1)
    assert cka(x, x * np.geomspace(0.1, 10, 20)) < 0.95


@pytest.mark.parametrize(("n", "p", "biased"), [(100, 512, 0.835), (500, 512, 0.505), (3000, 300, 0.091)])
def test_cka_of_unrelated_spaces_is_zero_only_without_bias(n: int, p: int, biased: float) -> None:
    x, y = normal(n, p), normal(n, p, seed=1)
    assert cka(x, y, unbiased=False) == pytest.approx(biased, abs=0.01)
    assert cka(x, y) == pytest.approx(0, abs=0.03)


def test_spread_of_healthy_and_collapsed_features() -> None:
    healthy = spread(normal(2000, 64))
    assert healthy.std == pytest.approx(healthy.healthy, rel=0.02)
    assert healthy.healthy == 0.125
    assert spread(np.ones((10, 64))).std == pytest.approx(0, abs=1e-12)
    dead = normal(500, 8)
    dead[:, 3] = 0
    assert spread(dead).smallest == 0


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((0, 4))])
def test_shapes_are_checked(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        spread(wrong)
