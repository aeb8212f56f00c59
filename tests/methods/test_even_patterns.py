"""Even patterns: each pattern is met equally often, as counted; what stands still keeps to its share."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import Listed

from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.even_patterns import all_chances, chances_offered, even_weights, weighted_order
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns

ROAD = (FORWARD, LEFT_YAW)
PATTERNS = MotionPatterns(
    np.ones(2), np.array([[0.3, -1.0], [0.0, 0.0], [1.0, 0.0], [0.3, 1.0]]), np.array([0, 2, 3]), np.ones(4) / 4
)
STILL, RIGHT, FORWARDS, LEFT = [0.0, 0.0], [0.3, -1.0], [1.0, 0.0], [0.3, 1.0]


def drive(*frames: list[list[float]], bad: tuple[int, ...] = ()) -> Listed:
    source = Listed([{"motions": np.array(motions, float).reshape(-1, 2)} for motions in frames], bad=bad)
    source.motion_axes = ROAD
    return source


def met(source: Listed, other_share: float = 0.1, mirrored: bool = False) -> np.ndarray:
    """How often no pattern and each pattern is met under the even weights."""
    chances = all_chances(source, PATTERNS, other_share, mirrored)
    found: np.ndarray = even_weights(chances, other_share) @ chances
    return found


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([-1, -1], [1, 0, 0]),
        ([0, 0, 0], [0, 1, 0]),
        ([0, 1, 1], [0, 0.5, 0.5]),
        ([-1, 0], [0.2, 0.8, 0]),
        ([-1, 0, 1], [0.2, 0.4, 0.4]),
    ],
)
def test_a_frame_offers_what_follows_it(patterns: list[int], expected: list[float]) -> None:
    np.testing.assert_allclose(chances_offered(np.array(patterns), 2, 0.2), expected)


def test_a_mostly_straight_drive_with_stops_meets_all_alike() -> None:
    source = drive(*[[STILL]] * 500, *[[FORWARDS, STILL]] * 450, *[[LEFT, FORWARDS]] * 30, *[[RIGHT]] * 20)
    np.testing.assert_allclose(met(source), [0.1, 0.3, 0.3, 0.3], atol=0.01)
    plain = all_chances(source, PATTERNS, 0.1, False).mean(0)
    assert plain[0] > 0.5  # the control: drawn alike, standing still fills half of the batches
    assert plain[1] < 0.03


def test_a_mirror_gives_both_turns() -> None:
    np.testing.assert_allclose(
        met(drive(*[[FORWARDS]] * 50, *[[LEFT]] * 5), 0.0, mirrored=True), [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-6
    )


def test_patterns_that_nothing_offers_are_left_out() -> None:
    np.testing.assert_allclose(met(drive(*[[FORWARDS]] * 9, *[[LEFT]] * 3), 0.2), [0, 0, 0.5, 0.5], atol=1e-6)
    assert met(drive([[]], bad=(0,))).tolist() == [0, 0, 0, 0]


def test_frames_that_offer_the_same_are_drawn_alike() -> None:
    """Beginning from equal weights, nothing tells two such frames apart: no few frames stand for a pattern."""
    chances = all_chances(drive(*[[FORWARDS]] * 90, *[[LEFT]] * 10), PATTERNS, 0.1, False)
    weights = even_weights(chances, 0.1)
    np.testing.assert_allclose(weights[:90], weights[0])
    np.testing.assert_allclose(weights[90:], weights[90])


def test_what_cannot_be_read_or_is_not_finite_offers_nothing() -> None:
    source = drive([LEFT], [[np.nan, 0.0]], [], [FORWARDS], bad=(3,))
    assert all_chances(source, PATTERNS, 0.1, False).sum(1).tolist() == [1, 0, 0, 0]


def test_an_order_holds_each_as_often_as_its_weight_says() -> None:
    weights = generator("weights").dirichlet(np.ones(200))
    order = weighted_order(weights, generator(0))
    count = np.bincount(order, minlength=200)
    assert len(order) == 200
    assert (np.abs(count - 200 * weights) < 1 + 1e-9).all()
    assert not np.array_equal(order, np.sort(order))
    np.testing.assert_array_equal(order, weighted_order(weights, generator(0)))
    assert not np.array_equal(order, weighted_order(weights, generator(1)))
