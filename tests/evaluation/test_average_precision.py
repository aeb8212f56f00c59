import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from embodied_ssl.evaluation.average_precision import (
    Kind,
    average_precision,
    precision_recall,
    resampled_average_precision,
)
from embodied_ssl.evaluation.statistics import resamples

KINDS: tuple[Kind, ...] = ("area", "11-point", "101-point", "steps")


def ranking(*answers: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """These answers, best score first."""
    return np.arange(len(answers), 0, -1) / 10, np.asarray(answers)


def slow(scores: NDArray[np.float64], answers: NDArray[np.int64], kind: str, total: int) -> float:
    """By the definition: accept everything down to each score in turn, and count."""
    points = []
    for score in sorted(set(scores), reverse=True):
        accepted = answers[scores >= score]
        points.append((sum(accepted) / total, sum(accepted) / len(accepted)))
    if kind == "steps":
        return sum((r - before) * p for (r, p), before in zip(points, [0.0, *(r for r, _ in points)], strict=False))
    if kind == "area":
        best = [max(p for r, p in points if r >= reached) for reached, _ in points]
        return sum((r - before) * p for (r, _), p, before in zip(points, best, [0.0, *(r for r, _ in points)], strict=False))
    last = 10 if kind == "11-point" else 100
    return float(np.mean([max((p for r, p in points if r >= k / last), default=0.0) for k in range(last + 1)]))


def test_the_same_scores_in_each_kind() -> None:
    scores, answers = ranking(1, 0, 1, 1, 0, 0, 1)
    # Precision at the four positives: 1, 2/3, 3/4, 4/7; the maximum to the right lifts 2/3 to 3/4.
    assert average_precision(scores, answers, "area") == pytest.approx((1 + 3 / 4 + 3 / 4 + 4 / 7) / 4)
    assert average_precision(scores, answers, "11-point") == pytest.approx((3 * 1 + 5 * 3 / 4 + 3 * 4 / 7) / 11)
    assert average_precision(scores, answers, "steps") == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 7) / 4)
    figures = [round(average_precision(scores, answers, kind), 4) for kind in ("area", "11-point", "steps")]
    assert figures == [0.7679, 0.7695, 0.7470]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_against_the_definition_with_ties_and_missed_positives(kind: Kind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, answers = rng.integers(0, 12, 40) / 12, rng.integers(0, 2, 40)
    total = int(answers.sum()) + 3 * (seed % 2)
    assert average_precision(scores, answers, kind, total) == pytest.approx(slow(scores, answers, kind, total))


@pytest.mark.parametrize("seed", range(20))
def test_steps_are_scikit_learn_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 2, 500)
    scores = np.round(rng.standard_normal(500) + answers, 1 + seed % 6)  # with many ties, and with none
    assert average_precision(scores, answers, "steps") == average_precision_score(answers, scores)
    curve = precision_recall(scores, answers)
    precision, recall, thresholds = precision_recall_curve(answers, scores)
    np.testing.assert_array_equal(curve.precision, precision[-2::-1])
    np.testing.assert_array_equal(curve.recall, recall[-2::-1])
    np.testing.assert_array_equal(curve.scores, thresholds[::-1])


def test_recall_on_a_point_counts_at_it() -> None:
    scores, answers = ranking(1, 1, 1, *[0] * 7, *[1] * 7)  # recall 0.3 at precision 1, though 3 * 0.1 > 0.3 in floats
    tail = 10 / 17  # precision rises through the last seven to 10 of 17
    assert average_precision(scores, answers, "11-point") == pytest.approx((4 * 1 + 7 * tail) / 11)


@pytest.mark.parametrize("kind", KINDS)
def test_known_values(kind: Kind) -> None:
    assert average_precision(*ranking(1, 1, 1, 0, 0), kind) == 1
    assert average_precision([0.5] * 8, [1, 0, 0, 0, 1, 0, 0, 0], kind) == 0.25  # all equal: the share of positives
    assert average_precision(*ranking(0, 0), kind, total=2) == 0  # nothing found
    assert average_precision([], [], kind, total=2) == 0
    assert np.isnan(average_precision(*ranking(0, 0, 0), kind))
    assert np.isnan(average_precision([], [], kind))
    found = (6 / 11, 51 / 101)[kind == "101-point"] if kind.endswith("point") else 0.5
    assert average_precision([0.9], [True], kind, total=2) == pytest.approx(found)  # one of two objects ever detected


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_given_does_not_matter_and_dropped_items_do_nothing(kind: Kind) -> None:
    rng = np.random.default_rng(3)
    scores, answers = rng.integers(0, 9, 60) / 9, rng.integers(0, 2, 60)
    value = average_precision(scores, answers, kind)
    order = rng.permutation(60)
    assert average_precision(scores[order], answers[order], kind) == value
    more = np.append(scores, rng.random(30))
    assert average_precision(more, np.append(answers, np.full(30, -1)), kind) == value


@pytest.mark.parametrize("kind", KINDS)
def test_resampling_is_repeating_items(kind: Kind) -> None:
    rng = np.random.default_rng(4)
    owner = rng.integers(0, 7, 50)  # items of seven pictures
    scores, answers, draws = rng.integers(0, 20, 50) / 20, rng.integers(-1, 2, 50), resamples(7, 30)
    missed = rng.integers(0, 3, 7)  # objects of each picture that nobody found
    found = np.bincount(owner, answers == 1, minlength=7).astype(np.int64)
    given = resampled_average_precision(scores, answers, draws, kind, owner, draws @ (found + missed))
    for row, value in zip(draws, given, strict=True):
        times = row[owner]
        total = int(row @ (found + missed))
        assert value == pytest.approx(average_precision(np.repeat(scores, times), np.repeat(answers, times), kind, total))
    alone = resampled_average_precision(scores, answers, resamples(50, 3), kind)
    times = resamples(50, 3)[0]
    assert alone[0] == pytest.approx(average_precision(np.repeat(scores, times), np.repeat(answers, times), kind))


def test_a_resample_without_positives_is_no_number() -> None:
    draws = np.array([[1, 1, 0], [0, 2, 1]])
    assert resampled_average_precision([0.9, 0.8, 0.7], [1, 0, 0], draws)[0] == 1
    assert np.isnan(resampled_average_precision([0.9, 0.8, 0.7], [1, 0, 0], draws)[1])


def test_a_ranking_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        average_precision([0.1, np.nan], [1, 0])
    with pytest.raises(ValueError, match="shape"):
        average_precision([0.1, 0.2], [1, 0, 0])
    with pytest.raises(ValueError, match="-1"):
        average_precision([0.1, 0.2], [2, 0])
    with pytest.raises(ValueError, match="total of 1"):
        average_precision([0.1, 0.2], [1, 1], total=1)
    with pytest.raises(ValueError, match="101-point"):
        average_precision([0.1, 0.2], [1, 0], "volume")  # type: ignore[arg-type]
