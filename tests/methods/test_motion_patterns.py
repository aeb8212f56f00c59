"""Motion patterns: found where they were put, whatever the axes and units; a mirror exchanges left and right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from made_up import Listed

from embodied_ssl.datasets.drives import METRIC
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW, SIX, Axis
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns, find_patterns, gather_motions

ROAD = (FORWARD, LEFT_YAW)
MIRROR = np.array([1.0, -1.0])
ELBOW = Axis("elbow", "stretch", "bend", 0)
GRIP = Axis("grip", "open", "close", 1)


def motions(metres: float = 1.0, n: int = 300) -> np.ndarray:
    """Left turns, right turns, driving on, and hardly moving; in metres and radians."""
    rng = generator("motions")
    centres = np.array([[0.3, 0.3], [0.3, -0.3], [1.0, 0.0], [0.02, 0.0]]) * [metres, 1]
    spread = np.array([0.04 * metres, 0.02])
    return np.concatenate([centre + rng.normal(size=(n, 2)) * spread for centre in centres])


def kinds(n: int = 300) -> np.ndarray:
    return np.repeat(["left", "right", "forward", "still"], n)


def find(
    given: np.ndarray,
    clusters: int = 4,
    keep: int = 3,
    mirrored: bool = True,
    seed: int = 0,
    axes: Sequence[Axis] = ROAD,
    unit: str = "",
) -> MotionPatterns:
    return find_patterns(given, clusters, keep, mirrored, generator(seed), axes, unit)


def words(patterns: MotionPatterns, given: np.ndarray) -> np.ndarray:
    return np.array([*patterns.names(), "still"])[patterns.of(given)]


# --- found where they were put ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_left_right_and_forward_are_found(seed: int, mirrored: bool) -> None:
    patterns = find(motions(), seed=seed, mirrored=mirrored)
    assert patterns.names() == ["right", "forward", "left"]  # sorted by yaw
    assert patterns.missing() == []
    assert (words(patterns, motions()) == kinds()).mean() > 0.99


@pytest.mark.parametrize("metres", [0.001, 1.0, 1000.0])
def test_units_do_not_matter(metres: float) -> None:
    """Unscaled, a hundred metres would drown every radian, and left could not be told from right."""
    assert (words(find(motions(metres)), motions(metres)) == kinds()).mean() > 0.99


def test_without_scaling_metres_drown_radians() -> None:
    """The control for the test above."""
    from sklearn.cluster import KMeans

    labels = KMeans(4, n_init=10, random_state=0).fit(motions(100.0)).labels_
    left, right = labels[:300], labels[300:600]
    assert np.abs(np.bincount(left, minlength=4) - np.bincount(right, minlength=4)).max() < 60


def on_every_axis(axes: Sequence[Axis], scale: np.ndarray, n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Motions one way and the other along each axis and along none, and what each is called."""
    rng = generator("every axis", len(axes))
    given, names = [], []
    for i, axis in enumerate(axes):
        for sign, name in ((1, axis.more), (-1, axis.less)):
            given.append((sign * np.eye(len(axes))[i] + rng.normal(size=(n, len(axes))) * 0.05) * scale)
            names += [name] * n
    given.append(rng.normal(size=(n, len(axes))) * 0.05 * scale)
    return np.concatenate(given), np.array([*names, *["none"] * n])


@pytest.mark.parametrize("axes", [(GRIP,), ROAD, SIX[:3], SIX], ids=lambda axes: str(len(axes)))
@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_each_direction_of_any_axes_is_found_and_named(axes: tuple[Axis, ...], mirrored: bool, scale: float) -> None:
    units = scale * generator("units").uniform(0.1, 10, len(axes))
    given, names = on_every_axis(axes, units)
    reversing = sum(axis.mirror == -1 for axis in axes)
    # Both ways of a reversing axis are one cluster and its image; all others, and no motion, are one each.
    halves = reversing + 2 * (len(axes) - reversing) + 1
    patterns = find(given, 2 * (halves - 1) if mirrored else 2 * len(axes) + 1, 2 * len(axes), mirrored, axes=axes)
    assert sorted(patterns.names()) == sorted(set(names) - {"none"})
    found = np.array([*patterns.names(), "none"])[patterns.of(given)]
    assert (found == names).mean() > 0.99
    assert patterns.missing() == []


def test_axes_of_which_no_mirror_is_known_are_clustered_unmirrored() -> None:
    given, names = on_every_axis((ELBOW, GRIP), np.array([3.0, 0.1]))
    patterns = find(given, 5, 4, mirrored=False, axes=(ELBOW, GRIP))
    assert set(patterns.names()) == {"stretch", "bend", "open", "close"}
    assert (np.array([*patterns.names(), "none"])[patterns.of(given)] == names).mean() > 0.99
    assert patterns.mirrored().tolist() == [0, 1, 2, 3]


def test_an_unknown_mirror_is_refused() -> None:
    given, _ = on_every_axis((ELBOW, GRIP), np.ones(2))
    with pytest.raises(UserError, match=r"a mirror image does to elbow is not known.*method\.flip=false"):
        find(given, 5, 4, mirrored=True, axes=(ELBOW, GRIP))


# --- mirrors ----------------------------------------------------------------------------------------------------------


def test_the_pattern_of_a_mirrored_motion_is_the_mirrored_pattern() -> None:
    patterns, swap = find(motions()), {"left": "right", "right": "left", "forward": "forward", "still": "still"}
    given = motions()
    mirrored = words(patterns, given * MIRROR)
    assert np.array_equal(mirrored, [swap[word] for word in words(patterns, given)])
    assert patterns.mirrored().tolist() == [2, 1, 0]


def test_with_mirroring_a_one_sided_drive_gives_both_turns() -> None:
    only_left = motions()[np.isin(kinds(), ["left", "forward", "still"])]
    patterns = find(only_left)
    assert patterns.names() == ["right", "forward", "left"]
    np.testing.assert_allclose(patterns.motions()[0], patterns.motions()[2] * MIRROR)


def test_unmirrored_a_one_sided_drive_lacks_the_other_turn() -> None:
    only_left = motions()[np.isin(kinds(), ["left", "forward", "still"])]
    patterns = find(only_left, 3, 3, mirrored=False)
    assert set(patterns.names()) == {"left", "forward"}
    assert patterns.missing() == ["right"]


# --- what becomes a pattern -------------------------------------------------------------------------------------------


def test_the_scale_is_the_standard_deviation_and_shares_add_up() -> None:
    patterns = find(motions(), mirrored=False)
    np.testing.assert_allclose(patterns.scale, motions().std(axis=0), rtol=0.25)  # without most of the still ones
    assert patterns.sizes.sum() == pytest.approx(1)
    np.testing.assert_allclose(patterns.sizes, 0.25, atol=0.01)


def test_hardly_moving_is_no_pattern() -> None:
    assert set(find(motions()).of(np.zeros((3, 2)))) == {-1}


def test_a_motion_that_is_not_finite_is_of_no_pattern() -> None:
    assert find(motions()).of(np.array([[np.nan, 0.3], [1.0, np.inf], [1.0, 0.0]])).tolist() == [-1, -1, 1]


@pytest.mark.parametrize("still", [0, 2_000, 20_000])
def test_stretches_of_stillness_change_nothing(still: int) -> None:
    """A car at a light: what is found is found as if it had not stopped, and the share of standing is said as it is."""
    rng = generator("light")
    given = rng.permutation(np.concatenate([motions(), rng.normal(size=(still, 2)) * 1e-4]))
    patterns = find(given, seed=1)
    assert patterns.names() == ["right", "forward", "left"]
    np.testing.assert_allclose(patterns.motions(), [[0.3, -0.3], [1, 0], [0.3, 0.3]], atol=0.02)
    assert patterns.sizes[patterns.kept].sum() == pytest.approx(900 / len(given), rel=0.02)


def test_each_direction_comes_before_a_second_of_one() -> None:
    """Three speeds straight on are all larger than the turns, which are what is wanted."""
    rng = generator("speeds")
    centres = np.array([[4.0, 0], [6, 0], [8, 0], [0.5, 0.3], [0.5, -0.3], [0, 0]])
    given = np.concatenate([centre + rng.normal(size=(200, 2)) * [0.1, 0.01] for centre in centres])
    assert find(given, 8, 3).names() == ["right", "forward", "left"]
    assert find(given, 8, 4).names() == ["right", "forward 2", "forward", "left"]
    np.testing.assert_allclose(find(given, 8, 3).motions()[1], [8, 0], atol=0.1)


def test_what_hardly_ever_happens_is_no_pattern() -> None:
    backed = np.concatenate([motions(), np.full((3, 2), [-2.0, 0]) + generator("back").normal(size=(3, 2)) * 0.01])
    patterns = find(backed, 6, 4)
    assert "back" not in patterns.names()


@pytest.mark.parametrize("spread", [0.0, 0.002])
def test_drives_without_a_turn_say_so_and_go_on(spread: float) -> None:
    """A thousandth of a radian is the sensor's noise, not steering, in an unit in which that is known."""
    rng = generator("straight", str(spread))
    given = np.c_[np.repeat([2.0, 4.0, 8.0], 200) + rng.normal(size=600) * 0.1, rng.normal(size=600) * spread]
    patterns = find(given, unit=METRIC)
    assert set(patterns.names()) <= {"forward", "forward 2", "forward 3"}
    assert len(patterns.kept) >= 2
    assert patterns.missing() == ["right", "left"]


def test_backing_up_has_a_name() -> None:
    patterns = MotionPatterns(np.ones(2), np.array([[0.1, -1.0], [-1.0, 0.1], [1.0, 0.0]]), np.arange(3), np.ones(3) / 3)
    assert patterns.names() == ["right", "back", "forward"]
    assert patterns.missing() == ["left"]


@pytest.mark.parametrize("forward", [1.0, 5.0])
def test_a_turn_is_a_turn_although_the_car_goes_on_forward(forward: float) -> None:
    """At constant speed every motion is mostly forward, by any count; what a turn does that others do not is turn."""
    rng = generator("constant")
    gaps = rng.uniform(0.1, 1, 900)
    turn = np.repeat([0.4, -0.4, 0.0], 300)
    given = np.c_[forward * gaps, turn * gaps]
    assert set(find(given, 6, 3).names()) == {"left", "right", "forward"}
    assert set(find(given, 6, 3, mirrored=False).names()) == {"left", "right", "forward"}


def test_the_same_motions_in_another_order_are_the_same_patterns() -> None:
    first = find(motions())
    second = find(generator("order").permutation(motions()), seed=5)
    np.testing.assert_allclose(first.motions(), second.motions(), atol=0.01)
    assert first.names() == second.names()


def test_everything_survives_as_numbers() -> None:
    given, _ = on_every_axis(SIX, np.ones(6))
    first = find(given, 12, 5, axes=SIX, unit=METRIC)
    second = MotionPatterns.from_numbers(first.to_numbers())
    assert (second.axes, second.unit, second.names()) == (SIX, METRIC, first.names())
    np.testing.assert_array_equal(second.of(given), first.of(given))


def test_captions_give_the_motion_in_its_unit() -> None:
    patterns = MotionPatterns(
        np.array([2.0, 0.5]), np.array([[0.5, -1.0], [4, 0]]), np.arange(2), np.ones(2) / 2, unit="metres, radians"
    )
    assert patterns.captions() == [
        "right (forward 1, left_yaw -0.5; metres, radians)",
        "forward (forward 8, left_yaw 0; metres, radians)",
    ]


def test_captions_of_many_axes_give_those_that_move() -> None:
    centre = np.array([[0.1, -4.0, 0.2, 3.0, 0.0, 2.0], [1.0, 0, 0, 0, 0, 0]])
    patterns = MotionPatterns(np.ones(6) * 100, centre, np.arange(2), np.ones(2) / 2, SIX)
    assert patterns.captions()[0].endswith("(left -400, left_yaw 300, right_roll 200)")


# --- bad input --------------------------------------------------------------------------------------------------------


def test_fewer_different_motions_than_clusters_are_counted() -> None:
    given = np.repeat([[1.0, 0.1], [2.0, 0.2], [1.0, -0.1]], 4, axis=0)
    message = "12 pairs of frames with 3 different motions are fewer than the 6 clusters"
    with pytest.raises(UserError, match=re.escape(message) + r".*method\.clusters=3"):
        find(given, 6)


@pytest.mark.parametrize("given", [np.ones((50, 2)), np.full((50, 2), 0.1) * 3, np.zeros((9, 2))])
def test_a_single_motion_is_said_with_what_it_is(given: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=rf"all \d+ pairs of frames move alike \(forward {given[0, 0]:.3g}, left_yaw .*tell apart"
    ):
        find(given, 6)


def test_a_drive_that_stands_is_a_single_motion_in_metres() -> None:
    noise = generator("stands").normal(size=(500, 2)) * 0.001
    with pytest.raises(UserError, match="all 500 pairs of frames move alike"):
        find(noise, 6, unit=METRIC)


def test_one_pattern_alone_is_refused_with_what_is_missing() -> None:
    rng = generator("alone")
    given = np.concatenate([rng.normal(size=(200, 2)) * 0.01, [8, 0] + rng.normal(size=(200, 2)) * 0.01])
    with pytest.raises(UserError, match=r"only one pattern was found \(forward\).*missing are right, left"):
        find(given, 2, 2, mirrored=False, unit=METRIC)


# --- gathered ---------------------------------------------------------------------------------------------------------


def source(samples: list[np.ndarray], bad: Sequence[int] = (), axes: tuple[Axis, ...] = ROAD) -> Listed:
    made = Listed([{"motions": one} for one in samples], bad=bad)
    made.motion_axes = axes
    return made


def test_motions_are_gathered_without_reading_a_pixel_and_past_bad_items() -> None:
    made = source([np.array([[float(i), 0.0], [float(i), 1.0]]) for i in range(50)], bad=[3, 4])
    every = gather_motions(made, generator(0))
    assert sorted(every[:, 0]) == sorted([i for i in range(50) if i not in (3, 4)] * 2)
    one_each = gather_motions(made, generator(0), most=50)
    assert sorted(one_each[:, 0]) == [i for i in range(50) if i not in (3, 4)]
    assert set(one_each[:, 1]) == {0.0, 1.0}


def test_motions_that_are_not_finite_are_passed_over() -> None:
    made = source([np.array([[1.0, np.nan], [2.0, 0.0]]), np.array([[np.inf, 0.0]])])
    np.testing.assert_array_equal(gather_motions(made, generator(0)), [[2.0, 0.0]])


@pytest.mark.parametrize("samples", [[np.zeros((0, 2))], [np.full((2, 2), np.nan)]])
def test_no_motions_are_said(samples: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match="made up holds no two frames within the horizon"):
        gather_motions(source(samples), generator(0))


def test_a_source_must_say_what_its_numbers_are() -> None:
    with pytest.raises(UserError, match="motions of 3 numbers and names 2 axes"):
        gather_motions(source([np.ones((2, 3))]), generator(0))
