"""Motion patterns: found where they were put, whatever the units; a mirror exchanges left and right."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import Listed

from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.motion_patterns import MIRROR, MotionPatterns, find_patterns, gather_motions


def motions(metres: float = 1.0, n: int = 300) -> np.ndarray:
    """Left turns, right turns, driving on, and hardly moving; in metres and radians."""
    rng = generator("motions")
    centres = np.array([[0.3, 0.3], [0.3, -0.3], [1.0, 0.0], [0.02, 0.0]]) * [metres, 1]
    spread = np.array([0.04 * metres, 0.02])
    return np.concatenate([centre + rng.normal(size=(n, 2)) * spread for centre in centres])


def kinds(n: int = 300) -> np.ndarray:
    return np.repeat(["left", "right", "forward", "still"], n)


def found(metres: float = 1.0, mirrored: bool = True, seed: int = 0) -> MotionPatterns:
    return find_patterns(motions(metres), clusters=4, keep=3, mirrored=mirrored, seed=seed)


def words(patterns: MotionPatterns, given: np.ndarray) -> np.ndarray:
    return np.array([*patterns.names(), "still"])[patterns.of(given)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_left_right_and_forward_are_found(seed: int) -> None:
    patterns = found(seed=seed)
    assert patterns.names() == ["right", "forward", "left"]  # sorted by yaw
    assert (words(patterns, motions()) == kinds()).mean() > 0.99


@pytest.mark.parametrize("metres", [0.01, 1.0, 100.0])
def test_units_do_not_matter(metres: float) -> None:
    """Unscaled, a hundred metres would drown every radian, and left could not be told from right."""
    assert (words(found(metres), motions(metres)) == kinds()).mean() > 0.99


def test_without_scaling_metres_drown_radians() -> None:
    """The control for the test above."""
    from sklearn.cluster import KMeans

    labels = KMeans(4, n_init=10, random_state=0).fit(motions(100.0)).labels_
    left, right = labels[:300], labels[300:600]
    assert np.abs(np.bincount(left, minlength=4) - np.bincount(right, minlength=4)).max() < 60


def test_the_pattern_of_a_mirrored_motion_is_the_mirrored_pattern() -> None:
    patterns, swap = found(), {"left": "right", "right": "left", "forward": "forward", "still": "still"}
    given = motions()
    mirrored = words(patterns, given * MIRROR)
    agree = mirrored == np.array([swap[word] for word in words(patterns, given)])
    assert agree.mean() > 0.995


def test_with_mirroring_a_one_sided_drive_gives_both_turns() -> None:
    only_left = motions()[np.isin(kinds(), ["left", "forward", "still"])]
    patterns = find_patterns(only_left, 4, 3, mirrored=True, seed=0)
    assert patterns.names() == ["right", "forward", "left"]
    np.testing.assert_allclose(patterns.centres[patterns.kept][0], patterns.centres[patterns.kept][2] * MIRROR, atol=0.02)


def test_the_scale_is_the_standard_deviation_and_shares_add_up() -> None:
    patterns = found(mirrored=False)
    np.testing.assert_allclose(patterns.scale, motions().std(axis=0))
    assert patterns.sizes.sum() == pytest.approx(1)
    np.testing.assert_allclose(patterns.sizes, 0.25, atol=0.01)


def test_hardly_moving_is_no_pattern() -> None:
    assert set(found().of(np.zeros((3, 2)))) == {-1}


def test_backing_up_has_a_name() -> None:
    patterns = MotionPatterns(np.ones(2), np.array([[0.1, -1.0], [-1.0, 0.1], [1.0, 0.0]]), np.arange(3), np.ones(3) / 3)
    assert patterns.names() == ["right", "back", "forward"]


@pytest.mark.parametrize("given", [np.ones((50, 2)), np.array([[1.0, 0.1], [2.0, 0.2]]), np.c_[np.arange(20.0), np.zeros(20)]])
def test_too_few_or_too_uniform_motions_are_said(given: np.ndarray) -> None:
    with pytest.raises(UserError, match="too few or too alike for 6 patterns"):
        find_patterns(given, 6, 3, mirrored=True, seed=0)


def test_motions_are_gathered_without_reading_a_pixel_and_past_bad_items() -> None:
    source = Listed([{"motions": np.array([[float(i), 0.0], [float(i), 1.0]])} for i in range(50)], bad=[3, 4])
    gathered = gather_motions(source, generator(0))
    assert sorted(gathered[:, 0]) == [i for i in range(50) if i not in (3, 4)]
    assert set(gathered[:, 1]) == {0.0, 1.0}


def test_no_motions_are_said() -> None:
    with pytest.raises(UserError, match="made up holds no two frames within the horizon"):
        gather_motions(Listed([{"motions": np.zeros((0, 2))}]), generator(0))
