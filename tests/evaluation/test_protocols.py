import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from embodied_ssl.datasets.few_shots import draw_rows
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.protocols import low_shot
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import GRID, Linear, choose, make_folds
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.evaluation.scores import Score

Blobs = Callable[..., FeatureTable]


def shuffled(table: FeatureTable, seed: int = 0) -> FeatureTable:
    return dataclasses.replace(table, labels=np.random.default_rng(seed).permutation(table.labels))


def accuracy(scores: list[Score], choice: str = "last", shots: int | None = None) -> float:
    return next(s.value for s in scores if s.metric == "accuracy" and s.choice == choice and s.shots == shots)


def test_linear_equals_a_slow_loop_of_scikit_learn(blobs: Blobs) -> None:
    train, test = blobs(15, noise=4, seed=1, layers=("only",)), blobs(40, noise=4, seed=2, layers=("only",))
    x, y = train.features["only"].astype(np.float64), train.labels
    expected = {}
    for C in GRID:
        hits = 0
        for a, b in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
            mean, std = x[a].mean(0), x[a].std(0)
            model = LogisticRegression(C=C, tol=1e-6, max_iter=5000).fit((x[a] - mean) / std, y[a])
            hits += int((model.predict((x[b] - mean) / std) == y[b]).sum())
        expected[C] = hits / len(y)
    linear = Linear(tolerance=1e-6)
    choice = linear.choice(train, "only")
    assert {C: choice.tried[C] for C in GRID} == pytest.approx(expected)
    final = LogisticRegression(C=choice.C, tol=1e-6, max_iter=5000).fit((x - x.mean(0)) / x.std(0), y)
    right = final.score((test.features["only"] - x.mean(0)) / x.std(0), test.labels)
    assert accuracy(linear.run(train, test)) == pytest.approx(right)


@pytest.mark.parametrize("best", [1e-6, 1e-5, 1e3, 1e4, 0.1])
def test_the_grid_widens_until_the_best_is_inside(best: float) -> None:
    choice = choose(lambda C: -abs(np.log10(C) - np.log10(best)))
    assert best == choice.C
    assert not choice.at_bound
    assert min(choice.tried) < best < max(choice.tried)


@pytest.mark.parametrize(("slope", "end"), [(1, 1e5), (-1, 1e-7)])
def test_a_bound_that_is_hit_is_said(slope: int, end: float) -> None:
    choice = choose(lambda C: slope * np.log10(C))
    assert end == choice.C
    assert choice.at_bound


def test_a_flat_grid_is_not_widened_and_takes_the_strongest_penalty_inside() -> None:
    choice = choose(lambda C: 1.0)
    assert choice.C == 1e-3
    assert sorted(choice.tried) == sorted(GRID)


def test_real_features_whose_best_penalty_lies_outside_the_first_grid() -> None:
    """Classes differ by a small part of one direction that a strong penalty drowns: only C well above 10 reads it."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    x = np.repeat(rng.standard_normal((240, 1)), 6, axis=1) + 0.003 * rng.standard_normal((240, 6))
    x[:, 0] += 0.006 * (2 * y - 1)
    table = FeatureTable("thin", {"x": x.astype(np.float64)}, y, tuple(map(str, range(240))))  # type: ignore[dict-item]
    choice = Linear(tolerance=1e-6).choice(table, "x")
    assert choice.C > 10
    assert not choice.at_bound
    assert choice.accuracy > choice.tried[10.0] > choice.tried[1e-4]


def test_folds_never_divide_a_recording() -> None:
    labels = np.repeat([0, 1], 20)
    recordings = [f"{label}/{i // 4}" for i, label in enumerate(labels)]
    folds, unit = make_folds(labels, recordings)
    assert unit == "recordings"
    assert len(folds) == 5
    for train, test in folds:
        assert {recordings[i] for i in train}.isdisjoint(recordings[i] for i in test)
    assert make_folds(labels, [str(i) for i in range(40)])[1] == "pictures"


def test_one_picture_of_a_class_is_too_few_to_choose() -> None:
    with pytest.raises(UserError, match="at least 2 of each class"):
        make_folds(np.array([0, 0, 0, 1]), list("abcd"))


def test_knn_equals_scikit_learn_with_its_weights_on_unit_vectors(blobs: Blobs) -> None:
    train, test = blobs(30, noise=5, seed=1), blobs(30, noise=5, seed=2)
    unit = [t.features["b"] / np.linalg.norm(t.features["b"], axis=1, keepdims=True) for t in (train, test)]
    other = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07), algorithm="brute").fit(
        unit[0], train.labels
    )
    mine = Knn().predict(train.features["b"], train.labels, test.features["b"])
    assert 0.3 < (mine == test.labels).mean() < 0.99
    np.testing.assert_array_equal(mine, other.predict(unit[1]))


def test_a_neighbour_at_cosine_one_counts_four_times_one_at_nine_tenths() -> None:
    assert np.exp((1 - 0.9) / Knn().temperature) == pytest.approx(4.17, abs=0.005)
    near = [1.0, 0.0]
    off = [0.9, np.sqrt(1 - 0.81)]
    for count, winner in ((4, 0), (5, 1)):
        bank = np.array([near] + [off] * count, np.float32)
        labels = np.array([0] + [1] * count)
        assert Knn().predict(bank, labels, np.array([near], np.float32))[0] == winner


def test_knn_on_the_train_part_leaves_the_own_recording_out() -> None:
    labels = np.array([0, 0, 1, 1])
    features = np.array([[1, 0], [1, 0], [1, 0.1], [1, 0.1]], np.float32)
    own = FeatureTable("x", {"f": features}, labels, ("a", "b", "c", "d"))
    same = dataclasses.replace(own, recordings=("a", "a", "c", "c"))
    assert Knn(k=1).train_accuracy(own, "f") == 1
    assert Knn(k=1).train_accuracy(same, "f") == 0  # without the twin, only the other class is left


@pytest.mark.parametrize("protocol", [Linear(), Knn(), LowShot(shots=(5,), draws=3)])
def test_separated_classes_are_all_right_and_random_labels_are_chance(blobs: Blobs, protocol: Linear | Knn | LowShot) -> None:
    shots = 5 if isinstance(protocol, LowShot) else None
    near, far = blobs(25, noise=0.05, seed=1), blobs(100, noise=0.05, seed=2)
    assert accuracy(protocol.run(near, far), shots=shots) == 1.0
    assert accuracy(protocol.run(shuffled(near), shuffled(far)), shots=shots) == pytest.approx(0.25, abs=0.09)


@pytest.mark.parametrize("protocol", [Linear, Knn, lambda: LowShot(shots=(1, 5), draws=2)], ids=["linear", "knn", "low-shot"])
def test_test_data_chooses_nothing(blobs: Blobs, protocol: Callable[[], Linear | Knn | LowShot]) -> None:
    train, test = blobs(12, noise=3, seed=1), blobs(20, noise=3, seed=2)
    other = dataclasses.replace(shuffled(test), features={k: v + 5 for k, v in test.features.items()})
    first, second = protocol().run(train, test), protocol().run(train, other)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert (a.layer, a.metric, a.shots, a.choice) == (b.layer, b.metric, b.shots, b.choice)
        assert a.settings == b.settings  # C, the grid, k, T
        if a.metric == "cv_accuracy":
            assert a.value == b.value
    assert any(a.value != b.value for a, b in zip(first, second, strict=True))


def test_the_best_layer_is_the_best_on_the_train_part_and_every_layer_has_a_row(blobs: Blobs) -> None:
    train, test = blobs(15, noise=2, seed=1), blobs(30, noise=2, seed=2)
    for protocol in (Linear(), Knn()):
        rows = protocol.run(train, test)
        on_train = {row.layer: row.value for row in rows if row.metric == "cv_accuracy"}
        assert list(on_train) == ["a", "b"]
        best = next(row for row in rows if row.metric == "accuracy" and row.choice == "best")
        assert best.layer == max(on_train, key=on_train.__getitem__) == "a"
        assert next(row for row in rows if row.metric == "accuracy" and row.choice == "last").layer == "b"
        assert best.n == 120
        assert best.interval is not None
        assert best.interval[0] < best.value < best.interval[1]


def test_draws_are_keyed_nested_balanced_and_spread_over_recordings() -> None:
    labels = np.repeat([0, 1, 2], 12)
    recordings = [f"{label}/{i % 12 // 3}" for i, label in enumerate(labels)]  # four recordings a class
    few, many = (draw_rows(labels, recordings, n, 3) for n in (4, 10))
    assert set(few) < set(many)
    assert np.bincount(labels[few]).tolist() == [4, 4, 4]
    assert len({recordings[i] for i in few}) == 12
    assert not np.array_equal(few, draw_rows(labels, recordings, 4, 4))
    np.testing.assert_array_equal(few, draw_rows(labels.copy(), list(recordings), 4, 3))


def test_low_shot_takes_the_shots_there_are_and_one_shot_takes_the_next_penalty(blobs: Blobs) -> None:
    train, test = blobs(7, noise=2, seed=1), blobs(20, noise=2, seed=2)
    rows = [row for row in LowShot(draws=4).run(train, test) if row.metric == "accuracy" and row.choice == "last"]
    assert [row.shots for row in rows] == [1, 5, 6]
    assert rows[0].settings["shots_left_out"] == [10, 20, 50]
    assert rows[0].settings["C"] == rows[1].settings["C"]
    for row in rows:
        assert row.hits is not None
        assert row.hits.shape == (4, 80)
        assert row.settings["draws"] == 4
        assert row.value == pytest.approx(row.hits.mean())
        assert row.std == pytest.approx(row.hits.mean(1).std(ddof=1))
        assert row.interval is not None
        assert row.interval[0] < row.value < row.interval[1]
    assert rows[0].value < rows[1].value


def test_one_shot_alone_takes_the_penalty_of_two(blobs: Blobs) -> None:
    train, layer = blobs(6, noise=2, seed=1), "a"
    protocol = LowShot(draws=3)
    assert protocol.choices(train, layer, [1])[1] == protocol.choices(train, layer, [2])[2]


def test_shots_above_the_rarest_class_are_left_out_and_named(blobs: Blobs) -> None:
    train = blobs(7, noise=2, seed=1)
    train = train.part(np.flatnonzero((train.labels > 0) | (np.arange(28) < 4)))  # four of the first class
    rows = LowShot(shots=(10, 2, 5, 4), draws=2).run(train, blobs(5, seed=2))
    assert {row.shots for row in rows} == {2, 4}
    assert all(row.settings["shots_left_out"] == [5, 10] for row in rows)
    assert "shots_left_out" not in LowShot(shots=(2,), draws=2).run(train, blobs(5, seed=2))[0].settings


def test_low_shot_refuses_more_shots_than_there_are(blobs: Blobs) -> None:
    with pytest.raises(UserError, match="more than the 3 there are of class number 0"):
        LowShot(shots=(5,)).run(blobs(3), blobs(5))
    for wrong in ({"shots": (0, 5)}, {"shots": ()}, {"draws": 0}):
        with pytest.raises(UserError, match="at least 1"):
            LowShot(**wrong)  # type: ignore[arg-type]


def test_draws_fitted_together_are_the_draws_fitted_alone(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = blobs(8, noise=3, seed=1), blobs(20, noise=3, seed=2)
    together = LowShot(shots=(3,), draws=4).run(train, test)
    monkeypatch.setattr(low_shot, "AT_ONCE", 1)
    assert LowShot(shots=(3,), draws=4).run(train, test) == together
