"""k-means against scikit-learn's, and what becomes of empty clusters, large numbers and many rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl import clusters
from embodied_ssl.clusters import agreement, kmeans, nearest
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator


def clouds(centres: int = 6, each: int = 50, width: int = 5, spread: float = 0.05) -> tuple[Tensor, Tensor]:
    """Rows in clouds far apart, shuffled, and the cloud of each."""
    random = torch.Generator().manual_seed(0)
    middles = torch.randn(centres, width, generator=random) * 3
    own = torch.arange(centres).repeat_interleave(each)[torch.randperm(centres * each, generator=random)]
    return middles[own] + spread * torch.randn(len(own), width, generator=random), own


def noise(rows: int = 600, width: int = 8) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_from_the_same_start_it_ends_where_scikit_learn_does(shift: float) -> None:
    """Also far from the origin, where distances written out as squares lose all their digits in float32."""
    features = noise() + shift
    found = kmeans(features, 12, generator(0), iterations=300, start=features[:12])
    other = KMeans(12, init=features[:12].double().numpy(), n_init=1, max_iter=300, tol=0, algorithm="lloyd")
    other.fit(features.double().numpy())
    assert found.inertia == pytest.approx(other.inertia_, rel=1e-3)
    assert agreement(found.labels, torch.from_numpy(other.labels_).long()) == pytest.approx(1)
    torch.testing.assert_close(found.centres.double(), torch.from_numpy(other.cluster_centers_), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("start", ["far", "random"])
def test_clouds_far_apart_are_told_apart(start: str) -> None:
    """At once by k-means++; from random rows the best of a few tries."""
    features, own = clouds()
    found = [kmeans(features, 6, generator(seed), start=start) for seed in range(8)]  # type: ignore[arg-type]
    best = min(found, key=lambda one: one.inertia)
    assert agreement(best.labels, own) == pytest.approx(1)
    if start == "far":
        assert agreement(found[0].labels, own) == pytest.approx(1)


def test_stretches_of_rows_give_what_all_rows_together_give(monkeypatch: pytest.MonkeyPatch) -> None:
    features = noise()
    whole = kmeans(features, 7, generator(0))
    monkeypatch.setattr(clusters, "CELLS", 100)
    apart = kmeans(features, 7, generator(0))
    assert torch.equal(whole.labels, apart.labels)
    torch.testing.assert_close(whole.centres, apart.centres)


def test_same_seed_same_bits() -> None:
    one, two, other = (kmeans(noise(), 9, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.centres, two.centres)
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.centres, other.centres)


def test_empty_clusters_take_part_of_a_large_one() -> None:
    """A start with five centres where nothing is: scikit-learn's result of a good start is reached within a few percent."""
    features = noise()
    start = torch.cat([features[:5], features.new_full((5, 8), 50.0) + torch.arange(5.0).unsqueeze(1)])
    found = kmeans(features, 10, generator(0), iterations=50, start=start)
    good = KMeans(10, n_init=5, random_state=0).fit(features.numpy()).inertia_
    assert found.repaired == 5
    assert int(found.sizes.min()) > 0
    assert found.inertia < 1.05 * good


def test_every_row_may_be_a_cluster_of_its_own() -> None:
    features = noise(20)
    found = kmeans(features, 20, generator(0))
    assert found.sizes.tolist() == [1] * 20
    assert found.inertia == pytest.approx(0, abs=1e-9)


def test_fewer_different_rows_than_clusters_leave_some_empty() -> None:
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).repeat(25, 1)
    found = kmeans(features, 6, generator(0))
    assert sorted(found.sizes.tolist()) == [0, 0, 25, 25, 25, 25]
    assert bool(found.centres.isfinite().all())


def test_spherical_clusters_look_at_directions_alone() -> None:
    features, own = clouds(spread=0.01)
    scaled = features * torch.rand(len(features), 1, generator=torch.Generator().manual_seed(2)).add(0.1)
    found = kmeans(scaled, 6, generator(0), spherical=True)
    assert agreement(found.labels, own) == pytest.approx(1)
    torch.testing.assert_close(found.centres.norm(dim=1), torch.ones(6))
    cosine = F.normalize(scaled, dim=1) @ found.centres.T
    assert torch.equal(cosine.argmax(1), found.labels)
    assert found.inertia == pytest.approx(float((2 - 2 * cosine.amax(1)).sum()), abs=1e-3)
    assert torch.equal(nearest(scaled * 7, found.centres, spherical=True), found.labels)


def test_a_row_belongs_to_the_nearest_centre() -> None:
    features = noise() + 300
    found = kmeans(features, 11, generator(0), iterations=100)
    distances = torch.cdist(features.double(), found.centres.double())
    assert torch.equal(distances.argmin(1), found.labels)
    assert torch.equal(nearest(features, found.centres), found.labels)
    assert found.inertia == pytest.approx(float(distances.amin(1).square().sum()), rel=1e-6)


def test_float64_stays_float64_and_features_stay_as_they_are() -> None:
    features = noise().double()
    before = features.clone()
    assert kmeans(features, 5, generator(0)).centres.dtype == torch.float64
    assert torch.equal(features, before)


@pytest.mark.parametrize("k", [0, 21])
def test_more_clusters_than_rows_are_refused(k: int) -> None:
    with pytest.raises(UserError, match=f"{k} clusters of 20 pictures: give at least 1 cluster, and no more than there are"):
        kmeans(noise(20), k, generator(0))


def test_features_that_are_not_finite_are_refused() -> None:
    features = noise(20)
    features[3, 2] = float("nan")
    with pytest.raises(UserError, match="features are not finite"):
        kmeans(features, 2, generator(0))


def test_agreement_equals_scikit_learns_nmi() -> None:
    random = np.random.default_rng(0)
    for clusters_a, clusters_b in ((5, 5), (40, 3), (1, 4), (1, 1)):
        a, b = random.integers(clusters_a, size=300), random.integers(clusters_b, size=300)
        ours = agreement(torch.from_numpy(a), torch.from_numpy(b))
        assert ours == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)
    renamed = torch.from_numpy(a) * -3 + 7
    assert agreement(torch.from_numpy(a), renamed) == 1
