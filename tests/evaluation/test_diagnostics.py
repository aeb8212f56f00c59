from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.special import gammaln, logsumexp

from embodied_ssl.evaluation.diagnostics import alignment, cka, cka_matrix, lidar, rank_me, spread, uniformity


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
    for point in (np.ones((10, 4)), np.zeros((10, 4))):
        assert uniformity(point) == pytest.approx(0, abs=1e-9)


def test_alignment() -> None:
    z = normal(3000, 32)
    assert alignment(z, 3 * z) == pytest.approx(0, abs=1e-12)
    assert alignment(z, normal(3000, 32, seed=1)) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("n", "d", "expected"), [(25600, 128, 127.9), (25600, 512, 510.8), (2048, 512, 494.8), (512, 512, 412.4)]
)
def test_rank_of_noise(n: int, d: int, expected: float) -> None:
    assert rank_me(normal(n, d)) == pytest.approx(expected, rel=0.01)


def test_rank_of_known_matrices_and_what_centring_does() -> None:
    assert rank_me(np.linalg.qr(normal(256, 64))[0], centre=False) == pytest.approx(64, abs=0.01)
    assert rank_me(np.outer(normal(200), normal(64)), centre=False) == pytest.approx(1.0001, abs=1e-3)
    shifted = normal(25600, 128) + 50
    assert rank_me(shifted, centre=False) == pytest.approx(3.9, abs=0.05)
    assert rank_me(shifted) == pytest.approx(127.9, abs=0.1)
    assert rank_me(np.ones((8, 3))) == 1


def exact_views(pictures: int, width: int, informative: int, seed: int = 0) -> np.ndarray:
    """Pictures differ exactly alike in some directions; views move exactly alike in all, around exact means: [A, 2 D, D]."""
    centred = normal(pictures, informative, seed=seed)
    means = np.zeros((pictures, width))
    means[:, :informative] = 5 * np.linalg.qr(centred - centred.mean(0))[0]
    moves = np.concatenate([np.eye(width), -np.eye(width)])
    return means[:, None] + 0.3 * moves


@pytest.mark.parametrize("informative", [1, 3, 8])
def test_lidar_counts_the_directions_that_tell_pictures_apart(informative: int) -> None:
    views = exact_views(20, 8, informative)
    assert lidar(views) == pytest.approx(informative, abs=1e-4)
    turn = np.linalg.qr(normal(8, 8, seed=1))[0]
    assert lidar(100 * views @ turn - 7) == pytest.approx(informative, abs=1e-4)


@pytest.mark.parametrize("views", [4, 16])
def test_lidar_of_gaussian_classes(views: int) -> None:
    """The eigenvalues are as b / w + 1 / V, in any basis; variances of either kind alone do not matter."""
    between, within = np.array([9.0, 4.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.5, 1.0, 2.0, 1.0, 3.0, 8.0])
    ratios = between / within + 1 / views
    shares = ratios / ratios.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    z = np.sqrt(between) * normal(4000, 1, 6) + np.sqrt(within) * normal(4000, views, 6, seed=1)
    assert lidar(z, delta=1e-9) == pytest.approx(expected, rel=0.02)
    assert lidar(z @ normal(6, 6, seed=2), delta=1e-9) == pytest.approx(expected, rel=0.02)


def test_lidar_of_noise_alone_is_the_width_and_of_unmoved_pictures_their_rank() -> None:
    assert lidar(normal(3000, 5, 16)) == pytest.approx(16, rel=0.01)
    unmoved = np.repeat(exact_views(20, 8, 3)[:, :1] - 0.3 * np.eye(8)[0], 4, axis=1)
    assert lidar(unmoved) == pytest.approx(3, abs=1e-4)
    assert lidar(np.ones((5, 3, 4))) == 1


def test_lidar_equals_the_generalised_eigenproblem() -> None:
    z = normal(30, 6, 5) + 2 * normal(30, 1, 5, seed=1)
    means = z.mean(1)
    between = np.cov(means.T, bias=True)
    within = sum(np.outer(v - m, v - m) for views, m in zip(z, means, strict=True) for v in views) / (30 * 6)
    values = eigh(between, within + 0.01 * np.trace(within) / 5 * np.eye(5), eigvals_only=True)
    shares = values / values.sum() + 1e-7
    assert lidar(z, delta=0.01) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("wrong", [(4, 4), (1, 4, 4), (4, 1, 4), (4, 4, 0)])
def test_lidar_needs_pictures_of_several_views(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[A, V, D\] with A and V at least 2"):
        lidar(np.ones(wrong))


def test_cka_is_a_mean_over_four_different_examples() -> None:
    """HSIC_1 is E[k_ij (l_ij + l_qr - 2 l_iq)] over different i, j, q, r."""
    x, y = normal(7, 3), normal(7, 2, seed=1)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        tuples = permutations(range(7), 4)
        return float(np.mean([k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in tuples]))

    k, m = x @ x.T, y @ y.T
    assert cka(x, y) == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))


def test_the_matrix_of_cka_is_of_every_pair() -> None:
    first, second = [normal(40, d, seed=d) for d in (2, 5, 9)], [normal(40, d, seed=d) for d in (5, 3)]
    matrix = cka_matrix(first, [*second, np.ones((40, 4))])
    assert matrix[:, :2] == pytest.approx(np.array([[cka(a, b) for b in second] for a in first]))
    assert matrix[1, 0] == pytest.approx(1)
    assert (matrix[:, 2] == 0).all()  # a collapsed space is like none
    with pytest.raises(ValueError, match="the same examples"):
        cka_matrix([normal(5, 2)], [normal(6, 2)])


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
