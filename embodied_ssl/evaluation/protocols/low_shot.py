"""Low-shot: how good are the features when only a few pictures of each class are labelled?

Ten fixed draws, the same for every model, so that rows pair draw by draw. In a draw, the pictures of n = 5 are among those
of n = 10.
The penalty is chosen once per n, by cross-validation inside the draws summed over draws; one draw alone picks badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.few_shots import draw_rows
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.linear import (
    FOLDS,
    Choice,
    Labels,
    Linear,
    choose_penalty,
    folded,
    make_folds,
    per_class_score,
)
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.solvers.logistic import Fits, Part
from embodied_ssl.evaluation.statistics import bootstrap

SHOTS = (1, 5, 6, 10, 20, 50)
DRAWS = 10
AT_ONCE = 1 << 25  # feature values of the draws that are fitted together


def possible(shots: Sequence[int], labels: Labels) -> list[int]:
    """The numbers of shots that every class has, in order.

    Raises:
        UserError: none of them.
    """
    counts = np.bincount(labels)
    rarest = int(counts[counts > 0].min())
    found = sorted({n for n in shots if n <= rarest})
    if not found:
        label = int(np.flatnonzero(counts == rarest)[0])
        raise UserError(
            f"low-shot with {', '.join(map(str, shots))} pictures a class needs more than the {rarest} there are of class number "
            f"{label}; give fewer shots, or add pictures"
        )
    return found


@dataclass(frozen=True)
class LowShot(OnFeatures):
    """The low-shot protocol.

    Args:
        linear: chooses the best layer (on the whole train part, which is more than the few shots; the last needs no choice).
        shots: labelled pictures a class (published: 1, 2, 4, 5, 6, 8, 10, 16, 20, 32, 50, 64, 96). Those above the rarest
            class are left out, and named in ``settings["shots_left_out"]``.
        draws: repeats.
    """

    name: ClassVar[str] = "low-shot"
    needs: ClassVar[str] = "label"
    cost: ClassVar[float] = 15.0
    linear: Linear = field(default_factory=Linear)
    shots: tuple[int, ...] = SHOTS
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if self.draws < 1 or not self.shots or min(self.shots) < 1:
            raise UserError(f"low-shot was given shots {self.shots} and {self.draws} draws; all need to be at least 1")

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Accuracy on the test part for each number of shots, of the best and the last layer.

        Raises:
            UserError: every number of shots is above the rarest class.
        """
        shots = possible(self.shots, train.labels)
        scores, done = [], {}
        for how, layer in (("best", self.linear.best_layer(train)), ("last", train.last)):
            if layer not in done:
                done[layer] = self._layer(train, test, layer, shots)
            for n, (choice, hits) in done[layer].items():
                scores += self._rows(train.model, layer, how, n, choice, hits, test.labels)
        left_out = sorted(set(self.shots) - set(shots))
        if left_out:
            scores = [replace(score, settings={**score.settings, "shots_left_out": left_out}) for score in scores]
        return scores

    def choices(self, train: FeatureTable, layer: str, shots: Sequence[int]) -> dict[int, Choice]:
        """C for each number of shots; one picture a class cannot be divided and takes the next number's."""
        found = {n: self._choose(train, layer, n) for n in shots if n >= 2}
        if 1 in shots:
            found[1] = found[min(found)] if found else self._choose(train, layer, 2)
        return found

    def _choose(self, train: FeatureTable, layer: str, n: int) -> Choice:
        features = train.features[layer]
        parts: list[Part] = []
        truths: list[Labels] = []
        for number in range(min(self.draws, max(2, 100 // n))):  # large draws vary little and cost much
            rows = draw_rows(train.labels, train.recordings, n, number)
            folds, _ = make_folds(train.labels[rows], [train.recordings[row] for row in rows], min(FOLDS, n))
            more = folded(features[rows], train.labels[rows], folds)
            parts += more[0]
            truths += more[1]
        return choose_penalty(parts, truths, self.linear.tolerance, train.device, self.linear.strengths)

    def _layer(
        self, train: FeatureTable, test: FeatureTable, layer: str, shots: Sequence[int]
    ) -> dict[int, tuple[Choice, NDArray[np.float32]]]:
        choices = self.choices(train, layer, shots)
        features, others = train.features[layer], test.features[layer]
        found = {}
        for n in shots:
            draws = [draw_rows(train.labels, train.recordings, n, number) for number in range(self.draws)]
            together = max(1, AT_ONCE // ((len(draws[0]) + len(others)) * others.shape[1]))
            hits = []
            for some in batches(self.draws, together):
                parts = [Part(features[rows], train.labels[rows], others) for rows in draws[some]]
                fits = Fits(parts, self.linear.tolerance, train.device)
                hits += [predicted[0] == test.labels for predicted in fits.predict([choices[n].C])]
            found[n] = choices[n], np.asarray(hits, np.float32)
        return found

    def _rows(
        self, model: str, layer: str, how: str, n: int, choice: Choice, hits: NDArray[np.float32], labels: Labels
    ) -> list[Score]:
        settings = {"choice": how, "C": choice.C, "C_at_bound": choice.at_bound, "draws": self.draws, "standardised": True}
        return draw_scores(self.name, model, layer, n, hits, labels, settings)


def draw_scores(
    protocol: str,
    model: str,
    layer: str,
    shots: int,
    hits: NDArray[np.float32],
    labels: Labels,
    settings: dict[str, Any],
    repeats: str = "draws",
) -> list[Score]:
    """Accuracy (mean, deviation and bootstrap interval over draws) and mean per-class accuracy: hits [R, n] of R ``repeats``."""
    estimate = bootstrap(hits)
    about: dict[str, Any] = {"model": model, "role": "run", "dataset": "", "protocol": protocol, "layer": layer, "shots": shots}
    about["n"] = hits.shape[1]
    return [
        Score(
            metric="accuracy",
            value=estimate.value,
            std=float(hits.mean(1).std(ddof=1)) if len(hits) > 1 else None,
            interval=(estimate.low, estimate.high),
            settings={**settings, "interval": f"bootstrap, over test pictures and {repeats}"},
            hits=hits,
            **about,
        ),
        per_class_score(hits, labels, settings, **about),
    ]
