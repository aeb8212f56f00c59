import numpy as np
import pytest

from embodied_ssl.evaluation.statistics import (
    bootstrap,
    centred,
    mean_per_class,
    paired_difference,
    per_class_replicates,
    resamples,
    seed_reach,
    t_interval,
    wilson,
)


def test_wilson_against_known_values() -> None:
    assert wilson(10, 20)[1:] == pytest.approx((0.299, 0.701), abs=1e-3)
    assert wilson(0, 10)[1:] == pytest.approx((0.0, 0.278), abs=1e-3)
    assert wilson(10, 10).high == 1
    half = (wilson(9925, 19850).high - wilson(9925, 19850).low) / 2
    assert half == pytest.approx(0.0070, abs=1e-4)  # the size of SUN397's test part


@pytest.mark.parametrize(("hits", "n"), [(3, 2), (-1, 5), (0, 0)])
def test_impossible_counts_are_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="hits"):
        wilson(hits, n)


@pytest.mark.parametrize(("n", "factor"), [(3, 2.484), (5, 1.242), (10, 0.715)])
def test_student_half_widths(n: int, factor: float) -> None:
    values = np.random.default_rng(0).standard_normal(n).tolist()
    mean, std, estimate = t_interval(values)
    assert (estimate.high - mean) / std == pytest.approx(factor, abs=1e-3)
    reach = {3: 4.968, 5: 3.041, 10: 2.373}[n]  # t * sqrt(1 + 1 / n)
    assert seed_reach(values) / std == pytest.approx(reach, abs=2e-3)
    assert t_interval([0.5])[1:] == (0.0, (0.5, 0.5, 0.5))


def test_bootstrap_of_one_accuracy_is_the_normal_interval() -> None:
    hits = (np.arange(2000) % 10 < 3).astype(float)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 2000)
    assert bootstrap(hits) == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=0.0015)
    assert bootstrap(hits) == bootstrap(hits)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = bootstrap(rng.random(150) < 0.4, resamples=300)[1:]
        covered += low <= 0.4 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_pairing_removes_what_models_share() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(1000) < 0.5
    first = np.where(hard, 0, 1)
    second = first.copy()
    second[np.flatnonzero(first)[:40]] = 0
    difference = paired_difference(first, second)
    assert difference.value == pytest.approx(0.04)
    half = 1.96 * np.sqrt(0.04 * 0.96 / 1000)
    assert difference[1:] == pytest.approx((0.04 - half, 0.04 + half), abs=0.003)
    assert paired_difference(first, first) == (0, 0, 0)
    with pytest.raises(ValueError, match="paired"):
        paired_difference(first, second[:-1])


def test_repeats_are_resampled_too() -> None:
    by_draw = np.repeat(np.linspace(0, 1, 10)[:, None], 500, axis=1)  # draws differ, items do not
    estimate = bootstrap(by_draw)
    half = 1.96 * np.linspace(0, 1, 10).std() / np.sqrt(10)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.1)


def test_mean_per_class_counts_small_classes_fully() -> None:
    labels = np.array([0] * 9 + [1])
    assert mean_per_class([1] * 9 + [0], labels) == 0.5
    assert mean_per_class([[1] * 9 + [0], [1] * 10], labels) == 0.75


def test_per_class_replicates_equal_a_slow_loop_and_are_constant_for_equal_hits() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 40)
    hits = rng.random((3, 40)) < 0.6
    found = per_class_replicates(hits, labels)
    for replicate, times in list(zip(found, resamples(40), strict=True))[:20]:
        items = np.repeat(np.arange(40), times)
        assert replicate == pytest.approx(mean_per_class(hits[:, items], labels[items]))
    assert per_class_replicates(np.ones(40), labels).tolist() == [1.0] * len(found)


def test_centred_replicates_keep_their_spread_and_lose_their_bias() -> None:
    given = np.array([0.2, np.nan, 0.6])
    np.testing.assert_allclose(centred(given, 0.3), [0.1, np.nan, 0.5])
