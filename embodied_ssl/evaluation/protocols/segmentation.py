"""Semantic segmentation: which class is at each pixel, told by a small head on the maps of a frozen network.

Linear: one weight for each channel and class at each place, so that the figure is the maps' own. FCN: a 3x3 convolution first
(Long et al. 2015, arXiv:1411.4038; torchvision's head). Stage and rate are chosen on a fold of train recordings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.target import IGNORED
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.dense.maps import (
    DenseReader,
    Size,
    TrainMaps,
    at_points,
    draw_points,
    inner_fold,
    interval_covers,
    to_pixels,
    truth_at,
)
from embodied_ssl.evaluation.dense.overlap import Confusion, class_iou, confusion, mean_iou, pixel_accuracy
from embodied_ssl.evaluation.dense.whitening import WHITEN_FLOOR, Whiten, whitened
from embodied_ssl.evaluation.pictures import batches
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.linear import Choice, choose
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import percentiles, resamples
from embodied_ssl.keys import generator, torch_seed

Head = Literal["linear", "fcn"]
RATE_BOUNDS = (1e-5, 10.0)
FOLD_POINTS = 1000  # of each picture of the fold


@dataclass(frozen=True)
class Segmentation(OnNetworks):
    """The segmentation protocol.

    Args:
        head: ``linear`` or ``fcn``.
        size: height and width that whole pictures are resized to for the network. Judged are all pixels of the original.
        cells: of a map at most; finer maps are averaged down.
        steps: of AdamW, with a rate that falls to 0 along half a cosine.
        pictures, points: a batch is this many labelled pixels of this many pictures.
        rates: the first ones tried; more by decades, until the best is not the last.
        weight_decay: of the head.
    """

    name: ClassVar[str] = "segmentation"
    needs: ClassVar[str] = "mask"
    metric: ClassVar[str] = "mIoU"  # the one to show
    cost: ClassVar[float] = 150.0
    head: Head = "linear"
    size: Size = (240, 320)
    cells: int = 1200
    steps: int = 400
    pictures: int = 8
    points: int = 256
    rates: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    weight_decay: float = 1e-4

    @classmethod
    def tiny(cls) -> Self:
        return cls(size=(32, 32), steps=4, pictures=2, points=16, rates=(1e-2, 1e-1))

    def run(self, job: Job) -> list[Score]:
        """Every stage's mean IoU on the fold; mean IoU and pixel accuracy of the best and the last stage on the test part.

        Raises:
            UserError: too few pictures can be used, or the weights are no numbers.
        """
        classes = len(job.target.classes)
        reader = DenseReader(job, "mask", self.size, self.cells, lambda truth: _complaint(truth, classes))
        network = job.build().to(job.device)
        train = reader.train_maps(network)
        _, _, fold = inner_fold(train.recordings)
        found = {stage: self.choose(job, train, stage, "linear") for stage in train.maps}
        best = max(found, key=lambda stage: found[stage].accuracy)
        chosen = {s: found[s] if self.head == "linear" else self.choose(job, train, s, self.head) for s in (best, train.last)}
        heads = {stage: self.fit_all(job, train, stage, choice.C) for stage, choice in chosen.items()}
        bad: list[BadItem] = []
        confusions, recordings = self._judge(reader, network, heads, bad)
        common = np.bincount(train.truth[train.truth != IGNORED], minlength=classes).argmax()
        shared = {
            **self._settings(),
            "seed": job.seed,
            "fold": fold,
            "stage_chosen_by": "linear head, mean IoU on the fold",
            "skipped": reader.skipped(train.bad, bad),
            "interval": interval_covers(recordings),
        }
        scores = [_on_fold(job.model, stage, choice, shared, len(train.truth)) for stage, choice in found.items()]
        for how, stage in (("best", best), ("last", train.last)):
            settings = {"choice": how, **_rate(chosen[stage]), **shared}
            scores += _on_test(job, stage, confusions[stage], int(common), settings)
        return scores

    def choose(self, job: Job, train: TrainMaps, stage: str, head: Head) -> Choice:
        """The rate (as ``C``) whose head, trained without the fold, has the highest mean IoU on points of the fold."""
        fit, fold, _ = inner_fold(train.recordings)
        points = draw_points(len(fold), FOLD_POINTS, self.size, "fold")
        truth = truth_at(train.truth[fold], points)
        whiten = Whiten.fit(train.maps[stage], fit)
        maps = whitened(whiten, train.maps[stage])

        def score(rate: float) -> float:
            model = self.fit(job, maps, train.truth, fit, head, rate)
            said = []
            with torch.no_grad():
                for some in batches(len(fold), 16):
                    logits = model(maps[torch.from_numpy(fold[some])].to(job.device).float())
                    said.append(at_points(logits, points[some], self.size).argmax(2).cpu())
            found = mean_iou(confusion(truth, torch.cat(said).numpy(), len(job.target.classes)))
            return float(np.nan_to_num(found))  # masks so sparse that no labelled pixel was drawn: all rates are alike

        job.on_progress(f"segmentation of {job.model} at {stage}", list(train.maps).index(stage) + 1, len(train.maps))
        return choose(score, self.rates, RATE_BOUNDS)

    def fit_all(self, job: Job, train: TrainMaps, stage: str, rate: float) -> nn.Module:
        """The head for one stage, trained on the whole train part: its maps [B, C, h, w] to logits [B, K, h, w]."""
        rows = np.arange(len(train.truth), dtype=np.intp)
        whiten = Whiten.fit(train.maps[stage], rows)
        model = self.fit(job, whitened(whiten, train.maps[stage]), train.truth, rows, self.head, rate)
        return nn.Sequential(whiten, model).to(job.device).eval()

    def fit(self, job: Job, maps: Tensor, truth: NDArray[Any], rows: NDArray[np.intp], head: Head, rate: float) -> nn.Module:
        """A head in eval mode, trained on the whitened maps of ``rows``.

        The batches depend on the seed alone: they are the same for every network, stage and rate.
        """
        devices = [job.device] if job.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(torch_seed("segmentation", job.seed))
            model = make_head(head, maps.shape[1], len(job.target.classes)).to(job.device).train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=self.weight_decay)
            for step in range(self.steps):
                for group in optimizer.param_groups:
                    group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
                drawn = rows[generator("segmentation", job.seed, step).integers(0, len(rows), self.pictures)]
                points = draw_points(self.pictures, self.points, self.size, job.seed, step)
                logits = at_points(model(maps[torch.from_numpy(drawn)].to(job.device).float()), points, self.size)
                loss = pixel_loss(logits, torch.from_numpy(truth_at(truth[drawn], points)).to(job.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.eval()

    def _judge(
        self, reader: DenseReader, network: Backbone, heads: Mapping[str, nn.Module], bad: list[BadItem]
    ) -> tuple[dict[str, Confusion], list[str]]:
        """Every stage's confusion [n, K, K] on each test picture, at all its pixels; and the recordings of these."""
        job = reader.job
        found: dict[str, list[Confusion]] = {stage: [] for stage in heads}
        recordings: list[str] = []
        for batch in reader.batches(job.division.test, bad, full=True):
            maps = reader.stages(network, batch.pixels)
            for stage, head in heads.items():
                with torch.no_grad():
                    logits = head(maps[stage])
                for own, truth in zip(logits, batch.truths, strict=True):
                    said = to_pixels(own[None], (truth.shape[0], truth.shape[1]))[0].argmax(0).cpu().numpy()
                    found[stage].append(confusion(truth, said, len(job.target.classes)))
            recordings += [job.target.source.recordings[row] for row in batch.rows]
            job.on_progress(f"segmentation of {job.model} on test", len(recordings) + len(bad), len(job.division.test))
        if not recordings:
            raise UserError(f"no test picture of {job.target.name} can be used{f' (the first: {bad[0]})' if bad else ''}")
        return {stage: np.stack(confusions) for stage, confusions in found.items()}, recordings

    def _settings(self) -> dict[str, Any]:
        return {
            "head": self.head,
            "size": list(self.size),
            "resized": "the whole picture, stretched; judged at all pixels of the original mask",
            "cells": self.cells,
            "steps": self.steps,
            "batch": f"{self.points} pixels of each of {self.pictures} pictures",
            "optimizer": f"AdamW, cosine to 0, weight decay {self.weight_decay:g}",
            "augmentation": "none",
            "class_weights": "none",
            "whitened": f"channels, with statistics of what is trained on, floor {WHITEN_FLOOR:g}",
            "backbone": "frozen, eval mode",
        }


def make_head(kind: Head, channels: int, classes: int) -> nn.Module:
    """Maps [B, C, h, w] to logits [B, K, h, w]; the linear one begins at 0, where every class is equally likely."""
    if kind == "fcn":
        from torchvision.models.segmentation.fcn import FCNHead

        head: nn.Module = FCNHead(channels, classes)
        return head
    linear = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    return linear


def pixel_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy over labelled pixels: logits [B, P, K] and classes uint8 [B, P] to a scalar.

    log K when all logits agree; 0 when no pixel is labelled.
    """
    labels = truth.long().flatten()
    total = F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def _complaint(truth: NDArray[Any], classes: int) -> str:
    labelled = truth[truth != IGNORED]
    if not len(labelled):
        return "has no labelled pixel"
    return f"has class number {labelled.max()}, but there are {classes} classes" if labelled.max() >= classes else ""


def _rate(choice: Choice) -> dict[str, Any]:
    tried = {f"{rate:g}": value for rate, value in choice.tried.items()}
    return {"rate": choice.C, "rate_at_bound": choice.at_bound, "tried": tried}


def _on_fold(model: str, stage: str, choice: Choice, shared: Mapping[str, Any], n: int) -> Score:
    settings = {"choice": "every", **shared, "head": "linear", **_rate(choice), "interval": "none"}
    return Score(model, "run", "", Segmentation.name, stage, "cv_mean_iou", choice.accuracy, n=n, settings=settings)


def _on_test(job: Job, stage: str, confusions: Confusion, common: int, settings: dict[str, Any]) -> list[Score]:
    """Both figures of one stage, from each test picture's confusion; and what naming the commonest train class would give."""
    total = confusions.sum(0)
    drawn = np.tensordot(resamples(len(confusions)), confusions, 1)
    constant = np.zeros_like(total)
    constant[:, common] = total.sum(1)
    each = zip(job.target.classes, class_iou(total).tolist(), strict=True)
    scores = []
    for metric, figure in (("mIoU", mean_iou), ("pixel_accuracy", pixel_accuracy)):
        about = {**settings, "always_the_commonest_class": float(figure(constant))}
        if metric == "mIoU":
            about["iou"] = {name: value for name, value in each if not math.isnan(value)}
        replicates = figure(drawn)
        scores.append(
            Score(
                job.model,
                "run",
                "",
                Segmentation.name,
                stage,
                metric,
                float(figure(total)),
                interval=percentiles(replicates),
                n=len(confusions),
                settings=about,
                replicates=replicates,
            )
        )
    return scores
