"""PCA-whitening: what comes out has the identity for a covariance, and is scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

from embodied_ssl import whitening
from embodied_ssl.clusters import kmeans
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.whitening import pca_whitening


def features(rows: int = 400, width: int = 12) -> Tensor:
    """Correlated, of very different strengths, about a mean far from 0."""
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(rows, width, generator=random) @ torch.randn(width, width, generator=random)
    return mixed * torch.logspace(-1, 1, width) + 20


def whitened(given: Tensor, components: int) -> Tensor:
    mean, matrix = pca_whitening(given, components)
    return (given - mean) @ matrix


@pytest.mark.parametrize("components", [1, 5, 12])
def test_whitened_covariance_is_the_identity(components: int) -> None:
    found = whitened(features(), components)
    torch.testing.assert_close(torch.cov(found.T).view(components, components), torch.eye(components), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.mean(0), torch.zeros(components), rtol=0, atol=1e-4)


def test_whitened_features_are_scikit_learns_but_for_signs() -> None:
    given = features().double()
    theirs = torch.from_numpy(PCA(6, whiten=True, svd_solver="full").fit_transform(given.numpy()))
    torch.testing.assert_close(whitened(given, 6).abs(), theirs.abs(), rtol=1e-8, atol=1e-8)


def test_whitened_and_clustered_as_scikit_learn_whitens_and_clusters() -> None:
    given = features()
    theirs = PCA(6, whiten=True, svd_solver="full").fit_transform(given.double().numpy())
    inertia = KMeans(9, init=theirs[:9], n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(theirs).inertia_
    ours = whitened(given, 6)
    found = kmeans(ours, 9, generator(0), iterations=300, start=ours[:9])
    assert found.inertia == pytest.approx(inertia, rel=1e-3)


def test_stretches_of_rows_give_what_all_rows_together_give(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = whitened(features(), 4)
    monkeypatch.setattr(whitening, "STRETCH", 37)
    torch.testing.assert_close(whitened(features(), 4), whole)


def test_directions_in_which_nothing_varies_stay_0() -> None:
    """A dead channel, and one that repeats another: rounding is not blown up to be a direction of its own."""
    given = features(width=4)
    given = torch.cat([given, given[:, :1], torch.full_like(given[:, :1], 3)], dim=1)
    found = whitened(given, 6)
    torch.testing.assert_close(found.var(0), torch.tensor([1.0, 1, 1, 1, 0, 0]), rtol=0, atol=1e-3)
    assert bool(whitened(torch.full((5, 3), 7.0), 2).eq(0).all())


@pytest.mark.parametrize(("rows", "width", "components", "most"), [(400, 12, 13, 12), (10, 12, 10, 9), (400, 12, 0, 12)])
def test_more_components_than_there_can_be_are_refused(rows: int, width: int, components: int, most: int) -> None:
    with pytest.raises(UserError, match=f"{components} principal components .* give at least 1, at most {most} "):
        pca_whitening(features(rows, width), components)
