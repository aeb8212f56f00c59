"""Protocols that learn from no label: clustering and retrieval."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable, unit
from embodied_ssl.evaluation.protocols.clustering import Clustering, agreement, tables
from embodied_ssl.evaluation.protocols.retrieval import Retrieval, chance, right_among_nearest
from embodied_ssl.evaluation.scores import Score

Blobs = Callable[..., FeatureTable]


def shuffled(table: FeatureTable, seed: int = 0) -> FeatureTable:
    return dataclasses.replace(table, labels=np.random.default_rng(seed).permutation(table.labels))


def value(scores: list[Score], metric: str, choice: str = "last") -> float:
    return next(s.value for s in scores if s.metric == metric and s.choice == choice)


@pytest.mark.parametrize(("clusters", "classes"), [(4, 4), (2, 7), (1, 3), (5, 1), (1, 1)])
def test_agreement_equals_scikit_learn(clusters: int, classes: int) -> None:
    rng = np.random.default_rng(clusters)
    given, labels = rng.integers(0, clusters, (3, 50)), rng.integers(0, classes, 50)
    given[1] = labels % clusters
    counts = tables(given, labels, classes)
    found = agreement(counts)
    for i, own in enumerate(given):
        np.testing.assert_array_equal(counts[i][counts[i].sum(1) > 0][:, counts[i].sum(0) > 0], contingency_matrix(labels, own).T)
        assert found.nmi[i] == pytest.approx(normalized_mutual_info_score(labels, own), abs=1e-12)
        assert found.adjusted_rand[i] == pytest.approx(adjusted_rand_score(labels, own), abs=1e-12)
        assert found.purity[i] == sum(np.bincount(labels[own == c]).max() for c in np.unique(own)) / 50


def test_a_table_of_repeated_pictures_is_the_table_of_their_copies() -> None:
    rng = np.random.default_rng(0)
    given, labels, times = rng.integers(0, 3, (2, 20)), rng.integers(0, 4, 20), rng.integers(0, 3, 20)
    np.testing.assert_array_equal(tables(given, labels, 4, times), tables(given.repeat(times, 1), labels.repeat(times), 4))


def test_clusters_that_are_the_classes_agree_and_random_labels_do_not(blobs: Blobs) -> None:
    near, far = blobs(25, noise=0.02, seed=1), blobs(50, noise=0.02, seed=2)
    rows = Clustering(restarts=8).run(near, far)
    best = max(s.value for s in rows if s.metric == "nmi")
    assert best > 0.85  # not every start finds all four
    nothing = Clustering(restarts=8).run(shuffled(near), shuffled(far))
    assert value(nothing, "adjusted_rand") == pytest.approx(0, abs=0.02)
    assert value(nothing, "nmi") == pytest.approx(0, abs=0.05)
    assert value(nothing, "purity") == pytest.approx(0.25, abs=0.1)


def test_clustering_rows_repeat_and_say_what_they_are(blobs: Blobs) -> None:
    train, test = blobs(20, noise=3, seed=1), blobs(30, noise=3, seed=2)
    first, second = (Clustering(restarts=3).run(train, test) for _ in range(2))
    assert first == second
    for row in first:
        if row.choice == "every":
            continue
        assert row.replicates is not None
        assert row.interval is not None
        assert row.interval[0] < row.value < row.interval[1]
        assert row.replicates.mean() == pytest.approx(row.value)
        assert (row.n, row.settings["restarts"], row.settings["clusters"]) == (120, 3, 4)
    with pytest.raises(UserError, match="at least 1"):
        Clustering(restarts=0)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0099), (5, 0.0485), (10, 0.0947), (20, 0.1805), (50, 0.392)])
def test_random_retrieval_from_101_balanced_classes(k: int, expected: float) -> None:
    gallery = np.arange(101).repeat(500)
    assert chance(gallery, np.arange(101), k) == pytest.approx(expected, abs=6e-4)


def noise(labels: np.ndarray, name: str) -> FeatureTable:
    features = np.random.default_rng(len(labels)).standard_normal((len(labels), 40)).astype(np.float32)
    return FeatureTable("noise", {"a": features}, labels, tuple(f"{name}{i}" for i in range(len(labels))))


def test_random_features_retrieve_at_chance() -> None:
    rng = np.random.default_rng(0)
    few, many = (np.concatenate([np.arange(4), rng.integers(0, 5, n - 4) ** 2 // 4]) for n in (60, 1500))  # unbalanced
    rows = Retrieval(ks=(1, 8)).run(noise(few, "train"), noise(many, "test"))
    for metric in ("recall@1", "recall@8"):
        row = next(row for row in rows if row.metric == metric)
        assert row.value == pytest.approx(row.settings["chance"], abs=0.05)
    assert value(rows, "precision@8") == pytest.approx((np.bincount(few)[many] / 60).mean(), abs=0.03)


def test_retrieval_equals_scikit_learn(blobs: Blobs) -> None:
    train, test = blobs(30, noise=5, seed=1), blobs(30, noise=5, seed=2)
    test = dataclasses.replace(test, recordings=tuple(f"t{i}" for i in range(120)))
    rows = Retrieval(ks=(1, 7)).run(train, test)
    finder = NearestNeighbors(n_neighbors=7, metric="cosine").fit(train.features["b"])
    right = train.labels[finder.kneighbors(test.features["b"], return_distance=False)] == test.labels[:, None]
    assert value(rows, "recall@1") == value(rows, "precision@1") == right[:, 0].mean()
    assert value(rows, "recall@7") == right.any(1).mean()
    assert value(rows, "precision@7") == pytest.approx(right.mean())


def test_the_own_recording_is_not_found() -> None:
    features = {"f": np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)}
    table = FeatureTable("x", features, np.array([0, 0, 1, 1]), ("a", "b", "c", "c"))
    found = right_among_nearest(table, table, "f", 4)
    np.testing.assert_array_equal(found[:2], [[True, False, False, False]] * 2)
    assert not found[2:].any()  # the only picture of their class is of their recording


def test_retrieval_leaves_out_what_the_gallery_is_too_small_for(blobs: Blobs) -> None:
    rows = Retrieval().run(blobs(2), blobs(3, seed=5))
    assert {row.metric for row in rows if row.choice == "last"} == {"recall@1", "precision@1", "recall@5", "precision@5"}
    assert rows[0].settings["ks_left_out"] == [10, 20, 50]
    with pytest.raises(UserError, match="more than the 8"):
        Retrieval(ks=(9,)).run(blobs(2), blobs(3))
    with pytest.raises(UserError, match="at least 1"):
        Retrieval(ks=(0,))


def test_a_row_of_zeros_has_no_direction() -> None:
    np.testing.assert_array_equal(unit(np.array([[3, 4], [0, 0]], np.float32)), np.array([[0.6, 0.8], [0, 0]], np.float32))
