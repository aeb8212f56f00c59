"""Depth: how many metres away is what each pixel shows, told by a linear map from the channels of a frozen network.

The logarithm of depth is fitted by ridge regression on pixels of the train part, so that nothing depends on steps or rates; stage
and strength are chosen on a fold of train recordings. Judged as by Eigen et al. 2014 (arXiv:1406.2283): shares within a
factor of 1.25, 1.25^2 and 1.25^3 of the truth, relative and root mean square error, inside their crop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied_ssl.backbones import Backbone
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.dense.maps import (
    DenseReader,
    Size,
    TrainMaps,
    at_points,
    inner_fold,
    interval_covers,
    to_pixels,
    truth_at,
)
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.linear import Choice, choose
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import percentiles, resamples
from embodied_ssl.keys import generator

FIGURES = ("accuracy_1.25", "accuracy_1.25^2", "accuracy_1.25^3", "abs_rel", "rmse")
EIGEN = (45 / 480, 471 / 480, 41 / 640, 601 / 640)  # top, bottom, left, right of what is judged, as shares of the picture
STRENGTHS = (1e1, 1e2, 1e3, 1e4)  # inverse, as C of the linear protocol
STRENGTH_BOUNDS = (1e-2, 1e8)
Values = NDArray[np.float64]


class Ridge(NamedTuple):
    """A linear map from channels to log metres: ``channels @ weight + bias``."""

    weight: Values
    bias: float

    def say(self, maps: Tensor) -> Tensor:
        """Log metres for each cell: float [B, D, h, w] to [B, 1, h, w] of float64 on the CPU."""
        return torch.einsum("bdhw,d->bhw", maps.double().cpu(), torch.from_numpy(self.weight))[:, None] + self.bias


class Moments(NamedTuple):
    """What ridge regression needs to know of M pixels with D channels x and log metres y: means, deviations, products.

    Attributes:
        mean, std: [D] of x; the deviation of a constant channel is infinite.
        covariance: [D, D] of standardised x.
        product: [D], mean of standardised x times y less its mean.
        level: mean of y.
    """

    mean: Values
    std: Values
    covariance: Values
    product: Values
    level: float

    @classmethod
    def of(cls, parts: Iterable[tuple[NDArray[np.float32], Values]]) -> Moments:
        """From pixels part by part, float [m, D] and [m]: one pass, sums of float64."""
        sums: Any = 0.0
        for x, y in parts:
            beside = np.column_stack([np.ones(len(y)), x, y])  # so that counts, sums and products are one matrix
            sums = sums + beside.T @ beside
        sums = sums / sums[0, 0]
        mean, level = sums[0, 1:-1], float(sums[0, -1])
        covariance = sums[1:, 1:] - np.outer(sums[0, 1:], sums[0, 1:])
        std = np.sqrt(covariance.diagonal()[:-1].clip(min=0))
        std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-6), std, np.inf)
        return cls(mean, std, covariance[:-1, :-1] / np.outer(std, std), covariance[:-1, -1] / std, level)

    def ridge(self, C: float) -> Ridge:
        """The weights w of standardised channels that minimise the mean squared error plus |w|^2 / C."""
        weight = np.linalg.solve(self.covariance + np.eye(len(self.mean)) / C, self.product) / self.std
        return Ridge(weight, self.level - float(weight @ self.mean))


@dataclass(frozen=True)
class Depth(OnNetworks):
    """The depth protocol.

    Args:
        size: height and width that whole pictures are resized to for the network. Judged are the pixels of the original.
        cells: of a map at most; finer maps are averaged down.
        points: known pixels drawn from each train picture.
        nearest, farthest: metres; pixels outside are unknown, and what is said is brought inside.
        crop: ``eigen`` leaves out a border (rows 45 to 470 and columns 41 to 600 of 640 x 480 pixels); or ``none``.
    """

    name: ClassVar[str] = "depth"
    needs: ClassVar[str] = "depth"
    metric: ClassVar[str] = FIGURES[0]  # the one to show
    cost: ClassVar[float] = 60.0
    size: Size = (240, 320)
    cells: int = 1200
    points: int = 200
    nearest: float = 1e-3
    farthest: float = 10.0
    crop: Literal["eigen", "none"] = "eigen"

    @classmethod
    def tiny(cls) -> Self:
        return cls(size=(32, 32), points=40, crop="none")

    def run(self, job: Job) -> list[Score]:
        """Every stage's share within 1.25 on the fold; all figures of the best and the last stage on the test part.

        Raises:
            UserError: too few pictures can be used, or the weights are no numbers.
        """
        reader = DenseReader(job, "depth", self.size, self.cells, self._complaint)
        network = job.build().to(job.device)
        train = reader.train_maps(network)
        _, _, fold = inner_fold(train.recordings)
        found = {stage: self.choose(job, train, stage) for stage in train.maps}
        best = max(found, key=lambda stage: found[stage].accuracy)
        everything = np.arange(len(train.truth), dtype=np.intp)
        moments = {stage: Moments.of(self._pixels(job, train, stage, everything)) for stage in (best, train.last)}
        fits = {stage: moments[stage].ridge(found[stage].C) for stage in moments}
        bad: list[BadItem] = []
        figures, constant, recordings = self._judge(reader, network, fits, moments[best].level, bad)
        shared = {
            **self._settings(),
            "seed": job.seed,
            "fold": fold,
            "skipped": reader.skipped(train.bad, bad),
            "interval": interval_covers(recordings),
        }
        scores = [_on_fold(job.model, stage, choice, shared, len(train.truth)) for stage, choice in found.items()]
        for how, stage in (("best", best), ("last", train.last)):
            settings = {"choice": how, "C": found[stage].C, "C_at_bound": found[stage].at_bound, **shared}
            scores += _on_test(job.model, stage, figures[stage], constant, settings)
        return scores

    def choose(self, job: Job, train: TrainMaps, stage: str) -> Choice:
        """The strength that, fitted without the fold, has the highest share within 1.25 on pixels of the fold."""
        fit, fold, _ = inner_fold(train.recordings)
        moments = Moments.of(self._pixels(job, train, stage, fit))
        x, y = (np.concatenate(parts) for parts in zip(*self._pixels(job, train, stage, fold), strict=True))

        def score(C: float) -> float:
            weight, bias = moments.ridge(C)
            return float(errors(self._metres(x @ weight + bias), np.exp(y))[0])

        job.on_progress(f"depth of {job.model} at {stage}", list(train.maps).index(stage) + 1, len(train.maps))
        return choose(score, STRENGTHS, STRENGTH_BOUNDS)

    def _pixels(
        self, job: Job, train: TrainMaps, stage: str, rows: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.float32], Values]]:
        """Channels [m, D] and log metres [m] at pixels of some pictures, the same ones for every network and stage."""
        for some in batches(len(rows), 64):
            truth = train.truth[rows[some]]
            points = self._points(truth, rows[some], job.seed)
            x = at_points(train.maps[stage][torch.from_numpy(rows[some])].float(), points, self.size)
            yield x.flatten(0, 1).numpy(), np.log(truth_at(truth, points).ravel().astype(np.float64))

    def _points(self, truth: NDArray[Any], rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
        """Known pixels [n, P, 2] of metres [n, H, W], drawn with replacement; each picture's by its own number."""
        drawn = []
        for metres, row in zip(truth, rows.tolist(), strict=True):
            known = np.flatnonzero(self._known(metres))
            chosen = known[generator("depth", seed, row).integers(0, len(known), self.points)]
            drawn.append(np.stack(np.unravel_index(chosen, metres.shape), -1))
        return np.stack(drawn)

    def _judge(
        self, reader: DenseReader, network: Backbone, fits: Mapping[str, Ridge], level: float, bad: list[BadItem]
    ) -> tuple[dict[str, Values], Values, list[str]]:
        """`FIGURES` of each test picture [n, 5]: of every stage, and of saying ``level`` everywhere; and the recordings."""
        job = reader.job
        found: dict[str, list[Values]] = {stage: [] for stage in fits}
        constant: list[Values] = []
        recordings: list[str] = []
        for batch in reader.batches(job.division.test, bad, full=True):
            maps = reader.stages(network, batch.pixels)
            said = {stage: fit.say(maps[stage]) for stage, fit in fits.items()}
            for i, truth in enumerate(batch.truths):
                judged = self._judged(truth)
                for stage, answers in said.items():
                    full = to_pixels(answers[i : i + 1], (truth.shape[0], truth.shape[1]))[0, 0].numpy()
                    found[stage].append(errors(self._metres(full[judged]), truth[judged]))
                constant.append(errors(self._metres(np.full(judged.sum(), level)), truth[judged]))
            recordings += [job.target.source.recordings[row] for row in batch.rows]
            job.on_progress(f"depth of {job.model} on test", len(recordings) + len(bad), len(job.division.test))
        if not recordings:
            raise UserError(f"no test picture of {job.target.name} can be used{f' (the first: {bad[0]})' if bad else ''}")
        return {stage: np.stack(values) for stage, values in found.items()}, np.stack(constant), recordings

    def _metres(self, logarithms: Values) -> Values:
        low, high = np.log(self.nearest), np.log(self.farthest)
        return np.exp(np.clip(logarithms, low, high))

    def _known(self, metres: NDArray[Any]) -> NDArray[np.bool_]:
        return (metres > self.nearest) & (metres < self.farthest)

    def _judged(self, metres: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels count: known ones inside the crop [H, W]."""
        inside = np.ones(metres.shape, bool)
        if self.crop == "eigen":
            height, width = metres.shape
            top, bottom, left, right = (
                round(share * side) for share, side in zip(EIGEN, (height, height, width, width), strict=True)
            )
            inside[:] = False
            inside[top:bottom, left:right] = True
        return inside & self._known(metres)

    def _complaint(self, truth: NDArray[Any]) -> str:
        return "" if self._judged(truth).any() else f"is nowhere known between {self.nearest:g} and {self.farthest:g} metres"

    def _settings(self) -> dict[str, Any]:
        return {
            "size": list(self.size),
            "resized": "the whole picture, stretched; judged at the pixels of the original depth",
            "cells": self.cells,
            "fitted_on": f"log metres at {self.points} known pixels of each train picture",
            "standardised": True,
            "metres": [self.nearest, self.farthest],
            "crop": self.crop,
            "averaged": "over the pixels of a picture, then over pictures",
            "backbone": "frozen, eval mode",
        }


def errors(said: NDArray[Any], truth: NDArray[Any]) -> Values:
    """`FIGURES` of one picture from metres at its known pixels, both [M]: [5].

    1, 1, 1, 0, 0 when all is right. Twice the truth everywhere gives 0, 0, 0, 1 and the truth's own root mean square;
    1.5 times gives 0, 1, 1.
    """
    said, truth = np.asarray(said, np.float64), np.asarray(truth, np.float64)
    factor = np.maximum(said / truth, truth / said)
    within = [float((factor < 1.25**power).mean()) for power in (1, 2, 3)]
    wrong = said - truth
    return np.asarray([*within, np.abs(wrong / truth).mean(), np.sqrt(np.square(wrong).mean())])


def _on_fold(model: str, stage: str, choice: Choice, shared: Mapping[str, Any], n: int) -> Score:
    tried = {f"{C:g}": value for C, value in choice.tried.items()}
    settings = {"choice": "every", **shared, "C": choice.C, "C_at_bound": choice.at_bound, "tried": tried, "interval": "none"}
    return Score(model, "run", "", Depth.name, stage, f"cv_{FIGURES[0]}", choice.accuracy, n=n, settings=settings)


def _on_test(model: str, stage: str, figures: Values, constant: Values, settings: Mapping[str, Any]) -> list[Score]:
    """A row for each of `FIGURES`, from those of single pictures [n, 5]; beside each, that of one depth everywhere."""
    drawn = resamples(len(figures)) / len(figures)
    scores = []
    for column, metric in enumerate(FIGURES):
        values = figures[:, column]
        share = metric.startswith("accuracy")
        about = {
            **settings,
            "unit": "metres" if metric == "rmse" else "share",
            "better": "higher" if share else "lower",
            "same_depth_everywhere": float(constant[:, column].mean()),
        }
        replicates = drawn @ values
        scores.append(
            Score(
                model,
                "run",
                "",
                Depth.name,
                stage,
                metric,
                float(values.mean()),
                interval=percentiles(replicates),
                n=len(values),
                settings=about,
                hits=values.astype(np.float32)[None] if share else None,
                replicates=None if share else replicates,
            )
        )
    return scores
