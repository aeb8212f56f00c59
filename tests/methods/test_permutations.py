"""Permutation sets: as far apart as a closed form and exhaustive search say; a user's own set is checked row by row."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.image import permutations
from embodied_ssl.methods.image.permutations import (
    Permutations,
    _cheapest_first,
    best_mean_distance,
    kept_apart,
    least_distance,
    mean_distance,
    read_permutations,
    spread_out,
)


def slow_distances(rows: Permutations) -> list[int]:
    """Of every two rows, place by place."""
    return [sum(int(a) != int(b) for a, b in zip(one, two, strict=True)) for one, two in itertools.combinations(rows, 2)]


@pytest.mark.parametrize(("count", "best"), [(64, 8.125), (100, 8.08), (1000, 8.008)])
def test_jigsaw_perm_set_mean_hamming(count: int, best: float) -> None:
    """The oracle table's row: 8.125 / 8.08 / 8.008 at 64 / 100 / 1000 permutations of 9 tiles."""
    assert best_mean_distance(count, 9) == pytest.approx(best, abs=5e-5)
    found = spread_out(count, 9, generator(0, "perm"))
    assert mean_distance(found) == pytest.approx(best_mean_distance(count, 9), abs=1e-6)


@pytest.mark.parametrize(("count", "least", "mean"), [(64, 7, 8.108), (100, 6, 8.066), (1000, 5, 8.007)])
def test_the_least_distance_of_greedy_sets(count: int, least: int, mean: float) -> None:
    found = kept_apart(count, 9, generator(0, "perm"))
    assert least_distance(found) == least
    assert mean < mean_distance(found) <= best_mean_distance(count, 9)


@pytest.mark.parametrize("find", [spread_out, kept_apart])
@pytest.mark.parametrize(("count", "tiles"), [(30, 4 + 1), (24, 4), (40, 8), (2, 4)])
def test_sets_are_of_different_permutations(find, count: int, tiles: int) -> None:  # type: ignore[no-untyped-def]
    found = find(count, tiles, generator(1, "perm"))
    assert found.shape == (count, tiles)
    assert found.dtype == np.int64
    assert (np.sort(found, axis=1) == np.arange(tiles)).all()
    assert len(np.unique(found, axis=0)) == count


@pytest.mark.parametrize("find", [spread_out, kept_apart])
def test_distances_are_those_of_a_slow_loop(find) -> None:  # type: ignore[no-untyped-def]
    found = find(37, 8, generator(2, "perm"))
    slow = slow_distances(found)
    assert mean_distance(found) == pytest.approx(np.mean(slow), abs=1e-12)
    assert least_distance(found) == min(slow)


def test_tiles_too_many_to_look_at_all_permutations_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutations, "DRAWN", 5000)
    found = kept_apart(12, 16, generator(1, "perm"))
    assert len(np.unique(found, axis=0)) == 12
    assert least_distance(found) >= 14
    assert mean_distance(spread_out(12, 16, generator(1, "perm"))) == 16


@pytest.mark.parametrize("find", [spread_out, kept_apart])
def test_sets_are_keyed(find) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (find(20, 8, generator(seed, "perm")) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], other[0]), "the first is drawn too"


def test_each_step_of_the_greedy_is_the_best_there_is() -> None:
    """Against all 120 permutations of five: none left out has a greater sum of distances to those chosen before."""
    found = spread_out(60, 5, generator(5, "perm"))
    everything = np.array(list(itertools.permutations(range(5))))
    for step in range(1, len(found)):
        sums = (everything[:, None] != found[None, :step]).sum(axis=(1, 2))
        chosen = {row.tobytes() for row in found[:step]}
        free = np.array([row.tobytes() not in chosen for row in everything])
        assert (found[step] != found[:step]).sum() == sums[free].max()


def test_assignments_come_in_the_order_of_their_cost_and_once() -> None:
    cost = generator(6, "cost").random((4, 4))
    given = list(_cheapest_first(cost))
    costs = [cost[np.arange(4), one].sum() for one in given]
    slow = sorted(cost[np.arange(4), list(one)].sum() for one in itertools.permutations(range(4)))
    assert costs == pytest.approx(slow)
    assert len({one.tobytes() for one in given}) == 24


def test_no_set_exceeds_the_best_mean_distance() -> None:
    rng = generator(7, "perm")
    for count in (2, 5, 9, 23):
        assert mean_distance(rng.permuted(np.tile(np.arange(9), (count, 1)), axis=1)) <= best_mean_distance(count, 9) + 1e-12


@pytest.mark.parametrize(("count", "tiles"), [(1, 9), (25, 4), (0, 4)])
def test_impossible_sizes_are_refused(count: int, tiles: int) -> None:
    for find in (spread_out, kept_apart):
        with pytest.raises(UserError, match=rf"permutations is {count}; of {tiles} tiles give 2 to"):
            find(count, tiles, generator(0))


def written(path: Path, rows: object) -> Path:
    if path.suffix == ".npy":
        np.save(path, np.asarray(rows))
    else:
        path.write_text(rows if isinstance(rows, str) else "\n".join(" ".join(map(str, row)) for row in rows))  # type: ignore[attr-defined]
    return path


FOUR = [[0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]]


@pytest.mark.parametrize("name", ["set.npy", "set.txt"])
def test_a_set_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    assert read_permutations(written(tmp_path / name, FOUR), 3, 4).tolist() == FOUR


def test_text_may_have_commas_comments_and_empty_lines(tmp_path: Path) -> None:
    text = "# mine\n0, 1, 2, 3\n\n1,0,3,2  # swapped\n3 2 1 0\n"
    assert read_permutations(written(tmp_path / "set.csv", text), 3, 4).tolist() == FOUR


@pytest.mark.parametrize("name", ["set.npy", "set.txt"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (FOUR[:2], r"is 2 x 4; expected is 3 x 4: set --set method.permutations=2"),
        ([row[:3] for row in FOUR], r"is 3 x 3; expected is 3 x 4"),
        ([[0, 1, 2, 3], [1, 0, 3, 3], [3, 2, 1, 0]], r"row 2 \(1 0 3 3\) is no permutation of 0 to 3; give each of 0 to 3 once"),
        ([[0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 2, 3]], r"row 3 is the same as row 1"),
        ([[1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1]], r"row 1 \(1 2 3 4\) is no permutation.*numbered from 0: subtract 1"),
        ([[0.5, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]], r"row 1 \(0.5 1 2 3\) is no permutation"),
        ([[0, 1, 2, -3], [1, 0, 3, 2], [3, 2, 1, 0]], r"row 1 \(0 1 2 -3\) is no permutation"),
        ([[float("nan"), 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]], r"row 1 \(nan 1 2 3\) is no permutation"),
    ],
)
def test_a_wrong_set_is_refused_with_its_row(tmp_path: Path, name: str, rows: list[list[float]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_permutations(written(tmp_path / name, rows), 3, 4)


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("set.npy", np.arange(4), r"is 4; expected is 3 x 4"),
        ("set.npy", np.zeros((2, 3, 4)), r"is 2 x 3 x 4; expected is 3 x 4"),
        ("set.npy", np.int64(5), r"is a single number; expected is 3 x 4"),
        ("set.txt", "0 1 2 3\n0 1\n", r"row 2 has 2 numbers, the first 4"),
        ("set.txt", "0 1 2 x\n", r"cannot be read as permutations"),
        ("set.txt", "", r"is 0; expected is 3 x 4"),
        ("set.txt", "# nothing\n", r"is 0; expected is 3 x 4"),
    ],
)
def test_other_shapes_are_refused_with_the_expected_one(tmp_path: Path, name: str, rows: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_permutations(written(tmp_path / name, rows), 3, 4)


def test_what_is_no_set_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no permutation file"):
        read_permutations(tmp_path / "absent.npy", 3, 4)
    with pytest.raises(UserError, match=r"there is no permutation file"):
        read_permutations(tmp_path, 3, 4)
    for name, data in (("cut.npy", b"\x93NUMPY\x01\x00"), ("empty.npy", b""), ("picture.txt", b"\xff\xd8\xff\xe0\x00")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be read as permutations"):
            read_permutations(tmp_path / name, 3, 4)
    objects = np.empty((2, 4), object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    with pytest.raises(UserError, match=r"cannot be read as permutations"):
        read_permutations(tmp_path / "objects.npy", 3, 4)
