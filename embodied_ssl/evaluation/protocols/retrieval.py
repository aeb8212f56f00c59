"""Retrieval: is one of the nearest pictures of the same class? Nothing is trained and nothing is tuned.

Test pictures are queries, train pictures the gallery, in order of their cosine. R@k is the share of queries that have their
class among the first k; precision@k the mean share of the first k that are of it. R@k is high by chance when k is large, so
what a random order would give stands in every row. Pictures of a query's own recording are left out of its gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable, unit
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import bootstrap, wilson

Labels = NDArray[np.int64]


def right_among_nearest(gallery: FeatureTable, queries: FeatureTable, layer: str, most: int) -> NDArray[np.bool_]:
    """Whether each query's first, second, ... neighbour is of its class: [n, most], nearest first.

    Of pictures at the same cosine, the earlier comes first. Places of the own recording, which come last, are never right.
    """
    bank, vectors = unit(gallery.features[layer]), unit(queries.features[layer])
    recordings = np.unique([*gallery.recordings, *queries.recordings], return_inverse=True)[1]
    theirs, own = recordings[: len(bank)], recordings[len(bank) :]
    found = []
    for some in batches(len(vectors), 512):
        hidden = own[some][:, None] == theirs
        cosines = np.where(hidden, -np.inf, vectors[some] @ bank.T)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        right = gallery.labels[order] == queries.labels[some][:, None]
        found.append(right & ~np.take_along_axis(hidden, order, axis=1))
    return np.concatenate(found)


def chance(gallery: Labels, queries: Labels, k: int) -> float:
    """R@k of a random order, expected: a query of a class with c of N pictures misses it with C(N - c, k) / C(N, k).

    For 101 balanced classes of many pictures: 0.99, 4.85, 9.47, 18.05 and 39.2 % at k = 1, 5, 10, 20 and 50.
    """
    n = len(gallery)
    of_class = np.bincount(gallery, minlength=int(queries.max()) + 1)[queries]
    places = np.arange(k)
    missed = np.clip(n - of_class[:, None] - places, 0, None) / (n - places)
    return float(1 - missed.prod(1).mean())


@dataclass(frozen=True)
class Retrieval(OnFeatures):
    """The retrieval protocol.

    Args:
        ks: how many neighbours are looked at; those above the gallery's size are left out, and named in the settings.
    """

    name: ClassVar[str] = "retrieval"
    needs: ClassVar[str] = "label"
    metric: ClassVar[str] = "recall@1"
    cost: ClassVar[float] = 0.5
    ks: tuple[int, ...] = (1, 5, 10, 20, 50)

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UserError(f"retrieval was given ks {self.ks}; give numbers of neighbours of at least 1")

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """R@1 of every layer within the train part, then R@k and precision@k of the best and the last layer on the test part.

        Raises:
            UserError: every k is above the gallery's size.
        """
        ks = sorted({k for k in self.ks if k <= len(train.labels)})
        if not ks:
            raise UserError(f"retrieval of {self.ks} neighbours needs more than the {len(train.labels)} train pictures there are")
        shared: dict[str, Any] = {"similarity": "cosine", "standardised": False, "own_recording": "left out"}
        if len(ks) < len(set(self.ks)):
            shared["ks_left_out"] = sorted(set(self.ks) - set(ks))
        on_train = {layer: float(right_among_nearest(train, train, layer, 1).mean()) for layer in train.layers}
        about: dict[str, Any] = {"n": len(train.labels), "settings": {"choice": "every", **shared}}
        scores = [Score(train.model, "run", "", self.name, where, "train_recall@1", v, **about) for where, v in on_train.items()]
        for how, layer in (("best", max(on_train, key=on_train.__getitem__)), ("last", train.last)):
            right = right_among_nearest(train, test, layer, ks[-1])
            for k in ks:
                settings = {"choice": how, "k": k, **shared, "chance": chance(train.labels, test.labels, k)}
                scores += rows_at(self.name, train.model, layer, k, right, settings)
        return scores


def rows_at(protocol: str, model: str, layer: str, k: int, right: NDArray[np.bool_], settings: dict[str, Any]) -> list[Score]:
    """R@k with Wilson's interval and precision@k with a bootstrap interval: right [n, at least k]."""
    shares = np.asarray(right[:, :k].sum(1)[None] / k, np.float32)
    found = np.asarray(shares > 0, np.float32)
    about: dict[str, Any] = {"model": model, "role": "run", "dataset": "", "protocol": protocol, "layer": layer, "n": len(right)}
    of_recall = {**settings, "interval": "Wilson, over test pictures"}
    of_precision = {**settings, "interval": "bootstrap, over test pictures"}
    del of_precision["chance"]  # which is R@k's
    recall, precision = wilson(int(found.sum()), len(right)), bootstrap(shares)
    return [
        Score(
            metric=f"recall@{k}",
            value=recall.value,
            interval=(recall.low, recall.high),
            settings=of_recall,
            hits=found,
            **about,
        ),
        Score(
            metric=f"precision@{k}",
            value=precision.value,
            interval=(precision.low, precision.high),
            settings=of_precision,
            hits=shares,
            **about,
        ),
    ]
