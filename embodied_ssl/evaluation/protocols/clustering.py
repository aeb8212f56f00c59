"""Clustering: do classes fall into clusters by themselves? No label is learned from.

k-means with as many centres as classes finds clusters among the train features; test pictures go to the nearest centre, and
how far clusters and classes agree is read from their table of counts. Features are set to unit length, as for nearest neighbours.
A single start of k-means may end badly, so the figure is the mean over several, with their spread. Legend: R restarts, n test
pictures, G clusters, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable, unit
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import centred, percentiles, resamples
from embodied_ssl.keys import torch_seed

Values = NDArray[np.float64]
Labels = NDArray[np.int64]


class Agreement(NamedTuple):
    """How far clusters and classes agree; each of the shape of the tables before their last two axes.

    Attributes:
        nmi: mutual information over the mean of both entropies: 0 when independent, 1 when the same.
        adjusted_rand: agreement on pairs, less what chance gives: 0 on average for random clusters, 1 when the same.
        purity: share of pictures in the largest class of their cluster; grows with the number of clusters.
    """

    nmi: Values
    adjusted_rand: Values
    purity: Values


def agreement(counts: NDArray[Any]) -> Agreement:
    """From tables of counts [..., G, K] of each cluster and class."""
    table = np.asarray(counts, np.float64)
    total = table.sum((-2, -1))
    shares = table / total[..., None, None]
    rows, columns = shares.sum(-1), shares.sum(-2)
    information = _entropy(rows) + _entropy(columns) - _entropy(shares.reshape(*shares.shape[:-2], -1))
    mean = (_entropy(rows) + _entropy(columns)) / 2
    nmi = np.where(mean > 0, information / np.where(mean > 0, mean, 1), 1.0)  # one cluster and one class: the same
    same, in_rows, in_columns = (_pairs(t).sum(axis) for t, axis in ((table, (-2, -1)), (table.sum(-1), -1), (table.sum(-2), -1)))
    expected = in_rows * in_columns / np.maximum(_pairs(total), 1)
    most = (in_rows + in_columns) / 2
    rand = np.where(most > expected, (same - expected) / np.where(most > expected, most - expected, 1), 1.0)
    return Agreement(np.asarray(nmi), np.asarray(rand), table.max(-1).sum(-1) / total)


def _entropy(shares: Values) -> Values:
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1))


def _pairs(counts: Values) -> Values:
    return counts * (counts - 1) / 2


@dataclass(frozen=True)
class Clustering(OnFeatures):
    """The k-means protocol.

    Args:
        restarts: of k-means, each from its own start.
    """

    name: ClassVar[str] = "kmeans"
    needs: ClassVar[str] = "label"
    metric: ClassVar[str] = "nmi"
    cost: ClassVar[float] = 5.0
    restarts: int = 5

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise UserError(f"kmeans was given {self.restarts} restarts; give at least 1")

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's NMI on the train part; then all three figures of the best and the last layer on the test part."""
        found = {layer: self._fit(train, layer) for layer in train.layers}
        classes = int(train.labels.max()) + 1
        on_train = {
            layer: float(agreement(tables(np.stack([model.labels_ for model in models]), train.labels, classes)).nmi.mean())
            for layer, models in found.items()
        }
        shared = {"clusters": len(np.unique(train.labels)), "restarts": self.restarts, "unit_length": True}
        about: dict[str, Any] = {"n": len(train.labels), "settings": {"choice": "every", **shared}}
        scores = [
            Score(train.model, "run", "", self.name, where, "train_nmi", value, **about) for where, value in on_train.items()
        ]
        for how, layer in (("best", max(on_train, key=on_train.__getitem__)), ("last", train.last)):
            clusters = np.stack([model.predict(unit(test.features[layer])) for model in found[layer]])
            scores += self._rows(train.model, layer, clusters, test.labels, classes, {"choice": how, **shared})
        return scores

    def _fit(self, train: FeatureTable, layer: str) -> list[KMeans]:
        centres = len(np.unique(train.labels))
        vectors = unit(train.features[layer])
        return [
            KMeans(centres, n_init=1, random_state=torch_seed(self.name, number)).fit(vectors) for number in range(self.restarts)
        ]

    def _rows(
        self, model: str, layer: str, clusters: Labels, labels: Labels, classes: int, settings: dict[str, Any]
    ) -> list[Score]:
        given = agreement(tables(clusters, labels, classes))
        drawn = [agreement(tables(clusters, labels, classes, times)) for times in resamples(len(labels))]
        settings = {**settings, "interval": "bootstrap, over test pictures, of the mean over restarts"}
        rows = []
        for metric in Agreement._fields:
            values = getattr(given, metric)
            value = float(values.mean())
            replicates = centred([getattr(one, metric).mean() for one in drawn], value)
            std = float(values.std(ddof=1)) if self.restarts > 1 else None
            about: dict[str, Any] = {"std": std, "interval": percentiles(replicates), "n": len(labels), "settings": settings}
            rows.append(Score(model, "run", "", self.name, layer, metric, value, replicates=replicates, **about))
        return rows


def tables(clusters: Labels, labels: Labels, classes: int, times: NDArray[np.int64] | None = None) -> Values:
    """How many pictures are in each cluster and class: [R, G, K].

    Args:
        clusters: of each picture, by each restart [R, n].
        labels: of each picture [n].
        classes: K.
        times: how often each picture counts [n]; once when not given.
    """
    size = int(clusters.max()) + 1
    cells = clusters.astype(np.int64) * classes + labels
    counts = [np.bincount(own, times, minlength=size * classes) for own in cells]
    return np.stack(counts).astype(np.float64).reshape(-1, size, classes)
