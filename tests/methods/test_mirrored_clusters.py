"""Mirrored k-means: as good as scikit-learn's where there is no mirror, exactly symmetric where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.mirrored_clusters import Clusters, mirrored_clusters

MIRROR = np.array([1.0, -1.0])


def cloud(centre: tuple[float, float], n: int = 200, spread: float = 0.05) -> np.ndarray:
    return np.array(centre) + generator("cloud", str(centre)).normal(size=(n, 2)) * spread


def clustered(points: np.ndarray, halves: int, signs: np.ndarray = MIRROR, seed: int = 0) -> Clusters:
    return mirrored_clusters(points, halves, signs, generator(seed))


def inertia(points: np.ndarray, centres: np.ndarray) -> float:
    return float(((points[:, None] - centres) ** 2).sum(2).min(1).sum())


@pytest.mark.parametrize("columns", [1, 2, 6])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_without_a_mirror_it_is_as_good_as_scikit_learn(columns: int, count: int) -> None:
    points = generator("free", columns, count).normal(size=(600, columns))
    own = clustered(points, count, np.ones(columns))
    theirs = KMeans(count, n_init=10, random_state=0).fit(points)
    assert inertia(points, own.centres) < 1.02 * theirs.inertia_
    assert own.partner.tolist() == list(range(count))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clouds_beside_the_plane_come_in_pairs_and_one_across_it_alone(seed: int) -> None:
    points = np.concatenate([cloud((0, 1)), cloud((2, 0.8)), cloud((1, 0))])
    found = clustered(points, 3, seed=seed)
    order = np.lexsort(found.centres.T)
    expected = np.array([[0, -1], [2, -0.8], [1, 0], [2, 0.8], [0, 1]])
    np.testing.assert_allclose(found.centres[order], expected, atol=0.02)
    assert sorted(found.partner[found.partner == np.arange(5)].tolist()) == [int(np.abs(found.centres[:, 1]).argmin())]


def test_partners_are_exact_images_and_loners_lie_in_the_plane() -> None:
    points = generator("any").normal(size=(500, 4)) + np.array([2, 0, 0, 0])
    signs = np.array([1.0, -1, 1, -1])
    found = clustered(points, 6, signs)
    np.testing.assert_array_equal(found.centres[found.partner], found.centres * signs)
    np.testing.assert_array_equal(found.partner[found.partner], np.arange(len(found.partner)))


def test_two_halves_of_one_cloud_are_one() -> None:
    """The control of `APART`: evenly spread from the plane on is not apart from it, twice as far is."""
    even = np.c_[np.zeros(400), np.linspace(-1, 1, 400)]
    assert len(clustered(even, 1).centres) == 1
    beside = np.c_[np.zeros(400), np.r_[np.linspace(-1, -0.5, 200), np.linspace(0.5, 1, 200)]]
    np.testing.assert_allclose(np.sort(clustered(beside, 1).centres[:, 1]), [-0.75, 0.75], atol=1e-6)


def test_one_sided_points_are_answered_with_both_sides() -> None:
    found = clustered(cloud((1, 1)), 1)
    np.testing.assert_allclose(np.sort(found.centres[:, 1]), [-1, 1], atol=0.02)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.array([[1.0, 2.0]]), np.zeros((3, 2))])
def test_fewer_places_than_centres_do_no_harm(points: np.ndarray) -> None:
    found = clustered(points, 3)
    assert np.isfinite(found.centres).all()
    assert inertia(points, found.centres) == pytest.approx(0)


def test_the_same_key_finds_the_same() -> None:
    points = generator("same").normal(size=(300, 3))
    first, second = (clustered(points, 4, np.array([1.0, -1, 1])) for _ in range(2))
    np.testing.assert_array_equal(first.centres, second.centres)
