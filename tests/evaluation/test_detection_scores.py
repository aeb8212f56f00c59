import numpy as np
import pytest
from numpy.typing import NDArray

from embodied_ssl.datasets.target import Boxes
from embodied_ssl.evaluation.average_precision import Kind, average_precision
from embodied_ssl.evaluation.detection.scores import THRESHOLDS, Detections, judge, match, overlap
from embodied_ssl.evaluation.statistics import resamples


def boxes(
    *given: tuple[float, float, float, float], labels: list[int] | None = None, difficult: list[bool] | None = None
) -> Boxes:
    corners = np.asarray(given, np.float32).reshape(-1, 4)
    columns = labels or [0] * len(corners), difficult or [False] * len(corners)
    return Boxes(corners, np.asarray(columns[0], np.int64), np.asarray(columns[1], bool))


def found(
    *given: tuple[float, float, float, float], scores: list[float] | None = None, labels: list[int] | None = None
) -> Detections:
    corners = np.asarray(given, np.float32).reshape(-1, 4)
    falling = np.linspace(0.9, 0.1, max(1, len(corners)))[: len(corners)]
    return Detections(corners, np.asarray(labels or [0] * len(corners), np.int64), np.asarray(scores or falling, np.float32))


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    start = rng.integers(0, 20, (count, 2))
    return np.concatenate([start, start + rng.integers(4, 16, (count, 2))], 1).astype(np.float32)


def made_up(seed: int, pictures: int = 12, classes: int = 3) -> tuple[list[Detections], list[Boxes]]:
    """Objects, some difficult; detections near them, far from them, of wrong classes and double, with tied scores."""
    rng = np.random.default_rng(seed)
    all_found, all_truth = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 5))
        truth = Boxes(random_boxes(rng, count), rng.integers(0, classes, count), rng.random(count) < 0.25)
        near = np.repeat(truth.corners, 2, 0) + rng.integers(-2, 3, (2 * count, 4))
        corners = np.concatenate([near, random_boxes(rng, 3)]).astype(np.float32)
        labels = np.concatenate([np.repeat(truth.labels, 2), rng.integers(0, classes, 3)])
        wrong = rng.random(len(labels)) < 0.15
        labels[wrong] = (labels[wrong] + 1) % classes
        all_found.append(Detections(corners, labels, (rng.integers(1, 15, len(labels)) / 15).astype(np.float32)))
        all_truth.append(truth)
    return all_found, all_truth


def slow_share(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Shared over joint area by counting the cells of a grid: for whole-number corners."""
    cells = [np.zeros((64, 64), bool), np.zeros((64, 64), bool)]
    for place, box in zip(cells, (a, b), strict=True):
        left, top, right, bottom = (int(v) + 10 for v in box)
        place[top:bottom, left:right] = True
    return float((cells[0] & cells[1]).sum() / max(1, (cells[0] | cells[1]).sum()))


def slow_average_precision(given: list[Detections], truths: list[Boxes], label: int, threshold: float, kind: Kind) -> float:
    """One class by the rule as VOC words it: all detections of the whole test part in one list, surest first."""
    ranked = sorted(
        (
            (score, number, corners)
            for number, f in enumerate(given)
            for corners, of, score in zip(*f, strict=True)
            if of == label
        ),
        key=lambda entry: -entry[0],
    )
    taken, scores, verdicts = set(), [], []
    for score, number, corners in ranked:
        truth = truths[number]
        own = [i for i in range(len(truth.labels)) if truth.labels[i] == label]
        shares = [slow_share(corners, truth.corners[i]) for i in own]
        best = max(range(len(own)), key=shares.__getitem__) if own else -1
        if best < 0 or shares[best] < threshold:
            verdict = 0
        elif truth.difficult[own[best]]:
            continue
        else:
            verdict = 0 if (number, best) in taken else 1
            taken.add((number, best))
        scores.append(float(score))
        verdicts.append(verdict)
    total = sum(int(((t.labels == label) & ~t.difficult).sum()) for t in truths)
    return average_precision(scores, verdicts, kind, total)


def test_overlap_of_whole_numbers_is_counting_cells() -> None:
    rng = np.random.default_rng(0)
    first, second = random_boxes(rng, 15), random_boxes(rng, 20)
    expected = [[slow_share(a, b) for b in second] for a in first]
    np.testing.assert_allclose(overlap(first, second), expected)
    square = np.array([[0, 0, 10, 10]], np.float32)
    assert overlap(square, square) == 1
    assert overlap(square, np.array([[10, 0, 20, 10]], np.float32)) == 0  # they only touch
    assert overlap(square, np.array([[5, 5, 5, 5]], np.float32)) == 0  # nothing there
    assert overlap(square, np.array([[0, 0, 10, 5]], np.float32)) == 0.5


def test_each_object_is_found_once_and_half_is_enough() -> None:
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10))
    given = found((0, 0, 10, 10), (0, 0, 10, 9), (20, 0, 30, 5), (50, 50, 60, 60))
    assert match(given, truth, 0.5).tolist() == [1, 0, 1, 0]  # the second comes late; the third covers exactly half
    assert match(given, truth, 0.55).tolist() == [1, 0, 0, 0]
    later = given._replace(scores=np.array([0.1, 0.9, 0.5, 0.2], np.float32))
    assert match(later, truth, 0.5).tolist() == [0, 1, 1, 0]


def test_a_detection_answers_for_the_object_it_overlaps_most_even_if_taken() -> None:
    truth = boxes((0, 0, 10, 10), (0, 0, 10, 12))
    given = found((0, 0, 10, 10), (0, 0, 10, 10))  # the second overlaps the other object by 10 / 12, and COCO would count it
    assert match(given, truth, 0.5).tolist() == [1, 0]


def test_difficult_is_neither_right_nor_wrong() -> None:
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), difficult=[True, False])
    given = found((0, 0, 10, 10), (0, 0, 10, 10), (20, 0, 30, 10))
    assert match(given, truth, 0.5).tolist() == [-1, -1, 1]
    judged = judge([given], [truth], 1)
    np.testing.assert_array_equal(judged.mean_average_precision(), np.ones((10, 1)))
    assert judged.objects.tolist() == [[1]]


def test_other_classes_are_other_things() -> None:
    truth = boxes((0, 0, 10, 10), labels=[1])
    assert match(found((0, 0, 10, 10), labels=[0]), truth, 0.5).tolist() == [0]
    assert match(found((0, 0, 10, 10), labels=[1]), truth, 0.5).tolist() == [1]


@pytest.mark.parametrize("kind", ["area", "11-point", "101-point", "steps"])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_slow_loop_of_the_rule(seed: int, kind: Kind) -> None:
    given, truths = made_up(seed)
    values = judge(given, truths, 3).mean_average_precision(kind=kind)[:, 0]
    for place in (0, 5, 8):
        slow = [slow_average_precision(given, truths, label, THRESHOLDS[place], kind) for label in range(3)]
        assert values[place] == pytest.approx(np.mean(slow))
    assert 0.02 < values[5] < values[0] < 0.98


def test_by_hand_over_thresholds() -> None:
    """One object, covered to 0.72 by the surest detection: right at 0.5 to 0.7, five of ten thresholds."""
    judged = judge([found((0, 0, 10, 7.2))], [boxes((0, 0, 10, 10))], 1)
    np.testing.assert_array_equal(judged.mean_average_precision()[:, 0], [1] * 5 + [0] * 5)


def test_pictures_without_objects_or_detections_count() -> None:
    empty, nothing = boxes(), found()
    right = found((0, 0, 10, 10), scores=[0.5])
    truth = boxes((0, 0, 10, 10))
    assert judge([right, nothing], [truth, empty], 1).mean_average_precision()[0, 0] == 1
    assert judge([right, nothing], [truth, truth], 1).mean_average_precision()[0, 0] == 0.5
    false_alarm = found((0, 0, 10, 10), scores=[0.9])
    assert judge([right, false_alarm], [truth, empty], 1).mean_average_precision()[0, 0] == 0.5
    assert judge([nothing], [truth], 1).mean_average_precision()[0, 0] == 0


def test_classes_without_an_object_are_left_out_of_the_mean() -> None:
    truth = boxes((0, 0, 10, 10), labels=[1])
    given = found((0, 0, 10, 10), (0, 0, 5, 5), labels=[1, 0])
    assert judge([given], [truth], 4).mean_average_precision()[0, 0] == 1
    assert np.isnan(judge([given], [boxes()], 4).mean_average_precision()[0, 0])


def test_resampling_is_judging_the_drawn_pictures() -> None:
    given, truths = made_up(7)
    draws = resamples(len(given), 8)
    values = judge(given, truths, 3).mean_average_precision(draws)
    assert values.shape == (10, 8)
    for row, expected in zip(draws, values.T, strict=True):
        drawn = np.repeat(np.arange(len(given)), row)
        again = judge([given[i] for i in drawn], [truths[i] for i in drawn], 3).mean_average_precision()[:, 0]
        np.testing.assert_allclose(again, expected)


def test_the_order_of_detections_and_pictures_does_not_matter() -> None:
    given, truths = made_up(5)
    value = judge(given, truths, 3).mean_average_precision()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(given))
    turned = []
    for number in order:
        inside = rng.permutation(len(given[number].scores))
        turned.append(Detections(*(column[inside] for column in given[number])))
    np.testing.assert_allclose(judge(turned, [truths[i] for i in order], 3).mean_average_precision(), value)
