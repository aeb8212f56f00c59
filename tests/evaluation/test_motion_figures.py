"""Every trap of equivariance figures on every figure, against closed forms; the probe; what intervals resample."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.motion.figures import FIGURES, figures, measured, replicates, totals, units_of
from embodied_ssl.evaluation.motion.maps import STRENGTHS, dealt, find_space, fit_maps, ridge_path
from embodied_ssl.evaluation.motion.probe import fit_probe, r2

N, D, G = 4000, 32, 3
Array = NDArray[np.float64]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


PATTERN = np.arange(N) % G
Z, NOISE = normal(N, D), normal(N, D, seed=1)


def shifted(z: Array) -> Array:
    """Each pattern moves features round by another number of places."""
    return np.stack([np.roll(row, 1 + 3 * g) for row, g in zip(z, PATTERN, strict=True)])


def found(before: Array, after: Array, pattern: NDArray[np.int64] = PATTERN, patterns: int = G) -> dict[str, float]:
    """Fitted on the first 3000 pairs of six drives, judged on the others; over patterns."""
    train, test = np.arange(N) < 3000, np.arange(N) >= 3000
    space = find_space(before[train], 64)
    a, b = space.of(before), space.of(after)
    maps = fit_maps(a[train], b[train], pattern[train], np.arange(3000) // 500, patterns)
    sums = totals(measured(maps, a[test], b[test], pattern[test]), np.arange(1000) // 50, pattern[test], (20, patterns))
    return {name: float(values[0]) for name, values in figures(sums.sum(0)).items()}


# What each kind of features gives: circular shifts, those with noise of 0.1, independent views, slow features with noise of 0.1,
# and a constant with noise. With e = 0.01 the noise's variance: the view's R2 of shifts is 1 - e / (1 + e), the displacement's
# 1 - e / (2 + e); one map for G different shifts is at best their mean, which leaves (1 - 1/G) of 2 D.
TRAPS = {
    "shift": (Z, shifted(Z), (0, 1, 1, 1 / 3, 1 / 3, 0, 1, 1 / 3)),
    "noisy shift": (Z, shifted(Z) + 0.1 * NOISE, (0.0731, 0.9901, 0.9950, 0.3317, 0.3317, 0.0713, 1, 1 / 3)),
    "independent": (Z, NOISE, (0.7071, 0, 0.5, 0, 0, 1, 1 / 3, 1 / 3)),
    "slow": (Z, Z + 0.1 * NOISE, (1, 0.9901, 0, 0, 0, 1, 1 / 3, 1 / 3)),
    "collapsed": (5 + 0.1 * Z, 5 + 0.1 * NOISE, (0.7071, 0, 0.5, 0, 0, 1, 1 / 3, 1 / 3)),
}


@pytest.mark.parametrize("kind", TRAPS)
def test_every_figure_on_every_trap(kind: str) -> None:
    before, after, known = TRAPS[kind]
    given = found(before, after)
    expected = dict(zip((figure.name for figure in FIGURES), known, strict=False))
    tolerance = {"nearest_map": 0.04, "nearest_blind": 0.04}
    for name, value in expected.items():
        assert given[name] == pytest.approx(value, abs=tolerance.get(name, 0.02)), name
    assert given["beyond_blind"] == pytest.approx(given["nearest_map"] - given["nearest_blind"])


def test_an_exact_map_is_found_to_the_last_digit() -> None:
    assert found(Z, shifted(Z))["rho"] < 1e-6


def test_features_of_any_scale_and_turn_give_the_same_figures() -> None:
    turn = np.linalg.qr(normal(D, D, seed=2))[0] * 37
    plain, other = (found(z, shifted_z) for z, shifted_z in ((Z, shifted(Z)), (Z @ turn + 5, shifted(Z) @ turn + 5)))
    assert other["displacement_r2"] == pytest.approx(plain["displacement_r2"], abs=1e-6)
    assert other["beyond_one_map"] == pytest.approx(plain["beyond_one_map"], abs=0.02)


def test_the_place_that_gives_the_motion_away_is_no_equivariance() -> None:
    """Views before and after know nothing of each other but that the road bends: the right map is nearest, blindly."""
    bend = 0.5 * normal(G, D, seed=3)[PATTERN]
    given = found(Z + bend, NOISE + bend)
    assert given["nearest_map"] > 0.6
    assert given["beyond_blind"] < 0
    assert given["beyond_shifts"] < 0.02


def test_shifts_by_a_constant_are_known_from_maps() -> None:
    """z' = z + t_g: all of the displacement is explained, and none of it by more than a constant for each pattern."""
    given = found(Z, Z + 3 * normal(G, D, seed=4)[PATTERN])
    assert given["rho"] < 0.01
    assert given["beyond_one_map"] == pytest.approx(1, abs=0.05)
    assert given["beyond_shifts"] == pytest.approx(0, abs=0.01)


def test_seldom_motions_weigh_as_much_as_frequent_ones() -> None:
    """One pair in ten of a pattern that moves, the others stand still: the mean over patterns is one half, not one tenth."""
    seldom = (np.arange(N) % 10 == 0).astype(np.int64)
    given = found(Z, np.where(seldom[:, None] == 1, NOISE, Z + 0.1 * NOISE), seldom, 2)
    assert given["rho"] == pytest.approx((1 + 0.7071) / 2, abs=0.05)


def test_features_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(UserError, match="the network has collapsed"):
        find_space(np.full((50, 8), 3.0), 4)


def test_constant_dimensions_and_missing_ones_are_left_out() -> None:
    """Sixteen dimensions of which three are one and the same, and one is constant: fourteen are left... less one copy."""
    given = normal(200, 16)
    given[:, 3] = given[:, 4] = given[:, 5]
    given[:, 7] = 2
    space = find_space(given, 64)
    assert space.axes.shape == (16, 13)
    assert space.explained == pytest.approx(1)
    # Squared distances over all dimensions are those of standardised features.
    standard = (given - given.mean(0)) / np.where(given.std(0) > 0, given.std(0), 1)
    assert (space.of(given) ** 2).sum(1) == pytest.approx((standard**2).sum(1))


def test_ridge_is_scikit_learns() -> None:
    x, y, weights = normal(300, 12), normal(300, 5, seed=1), np.random.default_rng(2).uniform(0.1, 2, 300)
    share = weights / weights.sum()
    centred = x - share @ x
    unit = np.trace((centred * share[:, None]).T @ centred) / 12
    for strength, one in zip(STRENGTHS, ridge_path(x, y, weights), strict=True):
        other = Ridge(alpha=strength * unit).fit(x, y, sample_weight=share)
        assert one(x) == pytest.approx(other.predict(x), abs=1e-8)


def test_folds_keep_recordings_whole_and_are_about_even() -> None:
    names = np.repeat(["a", "b", "c", "d", "e"], [50, 30, 20, 20, 10])
    part = dealt(names.tolist(), 2)
    assert all(len(set(part[names == name])) == 1 for name in set(names))
    assert sorted(np.bincount(part)) == [60, 70]


def test_what_is_resampled() -> None:
    even = units_of([f"drive {i}" for i in range(12) for _ in range(7)], np.tile(np.arange(7.0) * 5, 12))
    assert even.kind == "12 recordings"
    assert len(even.names) == 12
    uneven = units_of(["long"] * 100 + [f"short {i}" for i in range(20)], np.concatenate([np.arange(100.0), np.zeros(20)]))
    assert uneven.kind == "30 stretches of 10 s of 21 recordings"  # ten of the long one
    assert (np.bincount(uneven.of)[:10] == 10).all()


def test_intervals_hold_the_figure_and_shrink_with_drives() -> None:
    train = np.arange(N) < 2000
    maps = fit_maps(Z[train], NOISE[train], PATTERN[train], np.arange(2000) // 500, G)
    sums = totals(measured(maps, Z[~train], NOISE[~train], PATTERN[~train]), np.arange(2000) // 20, PATTERN[~train], (100, G))
    wide = {}
    for units in (10, 100):
        low, high = np.quantile(replicates(sums[:units])["rho"][:, 0], [0.025, 0.975])
        assert low < figures(sums[:units].sum(0))["rho"][0] < high
        wide[units] = high - low
    assert 2 < wide[10] / wide[100] < 5  # sqrt(10), about


def test_a_pattern_without_pairs_has_no_figures_and_does_not_count() -> None:
    sums = np.ones((4, G, len(measured.__annotations__) and 13))
    sums[:, 1] = 0
    given = figures(sums.sum(0))
    assert np.isnan(given["rho"][2])
    assert given["rho"][0] == 1


# --- the probe --------------------------------------------------------------------------------------------------------


def test_a_motion_that_lies_in_the_difference_is_read_off_two_frames_and_not_off_one() -> None:
    moved = Z + 0.5 * NOISE
    motion = (moved - Z)[:, :2] @ np.array([[1.0, 2], [0, 1]])
    assert probed(Z, moved, motion) == pytest.approx([1, 1, 0, 0], abs=0.02)


def test_a_motion_that_the_road_gives_away_is_read_off_one_frame_as_well() -> None:
    motion = Z[:, :2] + 0.5 * NOISE[:, :2]
    assert probed(Z, Z + normal(N, D, seed=3), motion) == pytest.approx([0.8] * 4, abs=0.05)  # 1 / 1.25


def test_shuffled_motions_cannot_be_read() -> None:
    motion = np.random.default_rng(5).permutation(Z[:, :2])
    both, first = probed(Z, Z + 0.1 * NOISE, motion)[:2], probed(Z, Z + 0.1 * NOISE, motion)[2:]
    assert max(*both, *first) <= 0.005
    assert min(*both, *first) > -0.05


def probed(before: Array, after: Array, motion: Array) -> list[float]:
    """R2 of both axes from both frames, then from the first alone; fitted on 3000 pairs, judged on the others."""
    probe = fit_probe(before[:3000], after[:3000], motion[:3000], np.arange(3000) // 500)
    errors = {name: (values**2).sum(0) for name, values in probe.errors(before[3000:], after[3000:], motion[3000:]).items()}
    return [*r2(errors["pair"], errors["typical"]), *r2(errors["first"], errors["typical"])]
