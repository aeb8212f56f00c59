import numpy as np
import pytest
from sklearn.svm import LinearSVC

from embodied_ssl.evaluation.solvers import hinge
from embodied_ssl.evaluation.solvers.hinge import HingePart, decision_values, row_space

WEIGHT = {1: 2.0, -1: 1.0}


def part(n: int, d: int, strengths: list[float], seed: int = 0) -> HingePart:
    """Unit rows with a common direction; positives are few and overlap with the rest. Odd problems leave every third row out."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n) < 0.3, 1, -1).astype(np.int8)
    truth[:2] = 1, -1
    rows = rng.standard_normal((n + 20, d)) + 3
    rows[:n] += 0.8 * truth[:, None] * rng.standard_normal(d)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    costs = np.where(truth == 1, 2.0, 1.0)[:, None] * np.array(strengths)
    costs[np.ix_(np.arange(n) % 3 == 2, np.arange(len(strengths)) % 2 == 1)] = 0
    return HingePart(rows[:n], np.repeat(truth[:, None], len(strengths), 1), costs, rows[n:])


def liblinear(given: HingePart, problem: int, C: float) -> np.ndarray:
    model = LinearSVC(C=C, loss="squared_hinge", dual=False, tol=1e-10, max_iter=100000, class_weight=WEIGHT)
    rows = given.costs[:, problem] > 0
    return np.asarray(model.fit(given.features[rows], given.targets[rows, problem]).decision_function(given.others))


def test_scores_equal_those_of_liblinear_for_parts_of_any_shape() -> None:
    strengths = [0.01, 0.1, 0.5, 20.0]
    parts = [part(60, 7, strengths), part(25, 90, strengths, seed=1)]
    for given, found in zip(parts, decision_values(parts, 1e-13), strict=True):
        assert found.shape == (20, 4)
        for i, C in enumerate(strengths):
            np.testing.assert_allclose(found[:, i], liblinear(given, i, C), rtol=1e-4, atol=1e-5)


def test_the_default_gap_ranks_as_the_optimum_does() -> None:
    given = part(80, 30, [0.1, 0.1], seed=2)
    loose, tight = decision_values([given])[0], decision_values([given], 1e-13)[0]
    np.testing.assert_allclose(loose, tight, atol=2e-5)
    np.testing.assert_array_equal(loose.argsort(0), tight.argsort(0))


def test_one_picture_on_each_side_has_the_closed_form() -> None:
    """For x = +1, t = +1 and x = -1, t = -1 at cost c: b = 0, and w - 4 c (1 - w) = 0."""
    given = HingePart(np.array([[1.0], [-1.0]]), np.array([[1], [-1]], np.int8), np.full((2, 1), 0.75), np.array([[1.0], [0.0]]))
    assert decision_values([given], 1e-15)[0][:, 0] == pytest.approx([3 / 4, 0], abs=1e-7)


def test_problems_that_do_not_fit_in_memory_are_solved_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    given = part(30, 6, [0.1, 1.0, 0.5])
    whole = decision_values([given], 1e-12)[0]
    monkeypatch.setattr(hinge, "AT_ONCE", 1)
    np.testing.assert_allclose(decision_values([given], 1e-12)[0], whole, atol=1e-6)


def test_fits_in_the_space_of_all_rows_are_the_fits_on_the_features() -> None:
    given = part(30, 200, [0.1, 1.0])
    features, others = row_space(given.features, given.others)
    assert features.shape == (30, 30)
    some = np.arange(0, 30, 2)
    answers = given.targets[some], given.costs[some]
    short, long = HingePart(features[some], *answers, others), HingePart(given.features[some], *answers, given.others)
    for mine, expected in zip(decision_values([short], 1e-13), decision_values([long], 1e-13), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-6)
