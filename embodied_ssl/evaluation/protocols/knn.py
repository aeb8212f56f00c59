"""Nearest neighbours: no training and nothing to tune, so it shows the geometry of the features themselves.

The k training pictures of highest cosine vote with weight exp(cosine / T); k and T are fixed and stated. A neighbour at cosine 1
counts 4.17 times one at 0.9. Features are not standardised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.evaluation.features import FeatureTable, unit
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.linear import Labels, accuracy_scores
from embodied_ssl.evaluation.scores import Score


@dataclass(frozen=True)
class Knn(OnFeatures):
    """The nearest-neighbour protocol.

    Args:
        k: neighbours that vote (all, where there are fewer).
        temperature: divides the cosine; smaller trusts the nearest more.
    """

    name: ClassVar[str] = "knn"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 0.3
    k: int = 20
    temperature: float = 0.07

    def predict(
        self,
        bank: NDArray[np.float32],
        labels: Labels,
        queries: NDArray[np.float32],
        exclude: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> Labels:
        """The label voted for each query.

        Args:
            bank: features of the train part [N, D].
            labels: their labels [N].
            queries: features [n, D].
            exclude: recordings of the bank and of the queries; a query's own recording does not vote.
        """
        unit_bank, unit_queries = unit(bank), unit(queries)
        one_hot = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
        answers = []
        for start in range(0, len(queries), 1024):
            cosines = unit_queries[start : start + 1024] @ unit_bank.T
            if exclude is not None:
                own = np.asarray(exclude[1][start : start + 1024])[:, None] == np.asarray(exclude[0])[None]
                cosines = np.where(own, -np.inf, cosines)
            answers.append(self._vote(cosines, one_hot))
        return np.concatenate(answers)

    def _vote(self, cosines: NDArray[np.float32], one_hot: NDArray[np.float32]) -> Labels:
        k = min(self.k, cosines.shape[1])
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1).astype(np.float64) / self.temperature)
        votes: Labels = np.einsum("bk,bkc->bc", weights, one_hot[nearest]).argmax(1)
        return votes

    def train_accuracy(self, train: FeatureTable, layer: str) -> float:
        """Accuracy on the train part, each picture judged by those of other recordings."""
        features = train.features[layer]
        predicted = self.predict(features, train.labels, features, (train.recordings, train.recordings))
        return float((predicted == train.labels).mean())

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Every layer's leave-one-recording-out accuracy on the train part, then the best and the last layer on the test part."""
        shared = {"k": self.k, "T": self.temperature, "standardised": False}
        on_train = {layer: self.train_accuracy(train, layer) for layer in train.layers}
        scores = [
            Score(
                train.model,
                "run",
                "",
                self.name,
                layer,
                "cv_accuracy",
                value,
                n=len(train.labels),
                settings={"choice": "every", **shared, "folds_of": "one recording at a time"},
            )
            for layer, value in on_train.items()
        ]
        for how, layer in (("best", max(on_train, key=on_train.__getitem__)), ("last", train.last)):
            hits = self.predict(train.features[layer], train.labels, test.features[layer]) == test.labels
            scores += accuracy_scores(self.name, train.model, layer, hits, test.labels, {"choice": how, **shared})
        return scores
