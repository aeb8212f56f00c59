"""Segmentation and depth by a frozen network: figures against torchmetrics, slow loops and scikit-learn; settings and honesty."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, BackboneConfig, untrained
from embodied_ssl.datasets.mask_folders import CAMVID, MaskFolders
from embodied_ssl.datasets.nyu_depth import NyuDepth
from embodied_ssl.datasets.target import IGNORED, ArrayPlane, Division, LabelledPictures, Target
from embodied_ssl.datasets.voc import Voc
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.dense.maps import DenseReader, at_points, coarser, draw_points, inner_fold, to_pixels, truth_at
from embodied_ssl.evaluation.dense.overlap import class_iou, confusion, mean_iou, pixel_accuracy
from embodied_ssl.evaluation.dense.whitening import WHITEN_FLOOR, Whiten, whitened
from embodied_ssl.evaluation.features import weights_hash
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.depth import EIGEN, Depth, Moments, errors
from embodied_ssl.evaluation.protocols.segmentation import Segmentation, make_head, pixel_loss
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import resamples

SMALL = Segmentation(size=(32, 40), steps=60, pictures=4, points=64)
FLAT = Depth(size=(48, 64), crop="none")


def conv4() -> Backbone:
    return untrained(BackboneConfig("conv4"), 0)


def job_for(target: Target, **changes: Any) -> Job:
    return replace(Job("net", conv4, Preprocessing(), target, target.divisions[0], torch.device("cpu")), **changes)


def stripes(n: int = 10, noise: int = 10) -> Target:
    """Pictures whose left part is dark and right part bright; classes 0, 1, and a third that is nowhere."""
    rng = np.random.default_rng(0)
    pictures, masks = [], []
    for _ in range(n):
        edge = int(rng.integers(8, 32))
        mask = np.zeros((32, 40), np.uint8)
        mask[:, edge:] = 1
        pictures.append((60 + 130 * mask[..., None] + rng.integers(0, noise, (32, 40, 3))).astype(np.uint8))
        mask[:2] = IGNORED
        masks.append(ArrayPlane(mask))
    source = LabelledPictures("stripes", np.stack(pictures), masks=masks)
    rows = np.arange(n, dtype=np.intp)
    return Target("stripes", source, (Division(rows[: n - 3], rows[n - 3 :]),), ("left", "right", "nowhere"), "made up")


def spoilt(target: Target, rows: Any) -> Target:
    """The same with other pixels and answers in the given rows."""
    pictures = np.asarray(target.source.pictures).copy()
    pictures[rows] = 255 - pictures[rows]
    masks = [target.source[i]["mask"] for i in range(len(pictures))]
    for row in rows:
        masks[row] = ArrayPlane(np.where(masks[row].values == IGNORED, IGNORED, 2).astype(np.uint8))
    return replace(target, source=LabelledPictures("spoilt", pictures, masks=masks))


def by(scores: list[Score], choice: str, metric: str) -> Score:
    return next(score for score in scores if score.choice == choice and score.metric == metric)


# Figures


def test_confusion_and_iou_are_torchmetrics_where_all_classes_occur() -> None:
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    rng = np.random.default_rng(1)
    truth, said = rng.integers(0, 4, (3, 20, 30)), rng.integers(0, 4, (3, 20, 30))
    said = np.where(rng.random(truth.shape) < 0.5, truth, said)
    truth[:, :3] = IGNORED
    ours = confusion(truth.astype(np.uint8), said, 4)
    given = torch.from_numpy(said), torch.from_numpy(truth)
    assert np.array_equal(ours, MulticlassConfusionMatrix(4, ignore_index=IGNORED)(*given).numpy())
    assert float(mean_iou(ours)) == pytest.approx(float(MulticlassJaccardIndex(4, ignore_index=IGNORED)(*given)), abs=1e-6)
    each = MulticlassJaccardIndex(4, average="none", ignore_index=IGNORED)(*given).numpy()
    assert class_iou(ours) == pytest.approx(each, abs=1e-6)
    micro = MulticlassAccuracy(4, average="micro", ignore_index=IGNORED)(*given)
    assert float(pixel_accuracy(ours)) == pytest.approx(float(micro), abs=1e-6)


def test_mean_iou_by_sets_of_pixels_leaves_out_classes_that_are_not_there() -> None:
    rng = np.random.default_rng(2)
    truth, said = rng.integers(0, 3, 500), rng.integers(0, 5, 500)  # 3 and 4 are only ever said
    pixels = range(500)
    overlaps = []
    for label in range(3):
        true, named = {p for p in pixels if truth[p] == label}, {p for p in pixels if said[p] == label}
        overlaps.append(len(true & named) / len(true | named))
    counts = confusion(truth.astype(np.uint8), said, 5)
    assert float(mean_iou(counts)) == pytest.approx(np.mean(overlaps))
    assert np.isnan(class_iou(counts)[3:]).all()
    assert float(mean_iou(confusion(truth, truth, 5))) == 1
    assert float(mean_iou(confusion(truth, truth + 1, 5))) == 0
    assert np.isnan(mean_iou(np.zeros((5, 5))))


def test_depth_errors_are_those_of_a_slow_loop_and_the_stated_ones() -> None:
    rng = np.random.default_rng(3)
    truth, said = rng.uniform(0.5, 9, 200), rng.uniform(0.5, 9, 200)
    within, relative, square = [0, 0, 0], 0.0, 0.0
    for s, t in zip(said, truth, strict=True):
        for power in range(3):
            within[power] += max(s / t, t / s) < 1.25 ** (power + 1)
        relative += abs(s - t) / t / 200
        square += (s - t) ** 2 / 200
    assert errors(said, truth) == pytest.approx([*(count / 200 for count in within), relative, math.sqrt(square)])
    assert errors(truth, truth).tolist() == [1, 1, 1, 0, 0]
    assert errors(2 * truth, truth) == pytest.approx([0, 0, 0, 1, np.sqrt(np.square(truth).mean())])
    assert errors(1.5 * truth, truth)[:3].tolist() == [0, 1, 1]


# Maps and pixels


@pytest.mark.parametrize("size", [(32, 40), (30, 41)])
def test_a_map_at_points_is_the_interpolated_map_there(size: tuple[int, int]) -> None:
    maps = torch.randn(3, 5, 4, 6)
    points = draw_points(3, 50, size, "test")
    full = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    assert torch.equal(full, to_pixels(maps, size))
    expected = torch.stack([full[i][:, points[i, :, 0], points[i, :, 1]].T for i in range(3)])
    assert at_points(maps, points, size) == pytest.approx(expected.numpy(), abs=1e-5)
    truth = np.random.default_rng(0).integers(0, 9, (3, *size))
    assert truth_at(truth, points)[2, 7] == truth[2, points[2, 7, 0], points[2, 7, 1]]


def test_a_linear_head_before_or_after_interpolation_is_the_same() -> None:
    maps, head = torch.randn(2, 7, 4, 5), torch.nn.Conv2d(7, 3, 1)
    assert torch.allclose(to_pixels(head(maps), (16, 20)), head(to_pixels(maps, (16, 20))), atol=1e-5)


def test_fine_maps_are_averaged_to_the_cells_allowed() -> None:
    maps = torch.randn(1, 2, 60, 80)
    assert torch.allclose(coarser(maps, 1200), F.avg_pool2d(maps, 2), atol=1e-6)
    assert coarser(maps, 1199).shape[2:] == (20, 27)
    assert coarser(maps, 4800) is maps


def test_points_depend_on_their_key_alone_and_reach_every_pixel() -> None:
    assert np.array_equal(draw_points(2, 10, (5, 6), "a", 1), draw_points(2, 10, (5, 6), "a", 1))
    assert not np.array_equal(draw_points(2, 10, (5, 6), "a", 1), draw_points(2, 10, (5, 6), "a", 2))
    assert len(np.unique(draw_points(1, 2000, (5, 6), "a")[0], axis=0)) == 30


def test_whitened_channels_are_uncorrelated_and_of_deviation_one() -> None:
    mix = torch.randn(6, 6)
    maps = torch.einsum("dc,nchw->ndhw", mix, torch.randn(20, 6, 5, 7)) + 3
    rows = np.arange(5, 20)
    out = Whiten.fit(maps, rows)(maps)[5:].transpose(0, 1).flatten(1)
    covariance = np.cov(out.numpy(), bias=True)
    largest = WHITEN_FLOOR * torch.linalg.eigvalsh(torch.cov(maps[5:].transpose(0, 1).flatten(1))).mean()
    smallest = float(torch.linalg.eigvalsh(torch.cov(maps[5:].transpose(0, 1).flatten(1)))[0])
    assert covariance == pytest.approx(np.eye(6), abs=max(float(largest) / smallest, 1e-3) + 1e-3)
    assert out.mean(1).abs().max() < 1e-4
    same = torch.ones(4, 3, 2, 2)
    assert whitened(Whiten.fit(same, np.arange(4)), same).abs().max() == 0


def test_the_fold_is_made_of_recordings() -> None:
    fit, fold, how = inner_fold(["a"] * 6 + ["b"] * 3 + ["c"] * 5)
    names = np.asarray(["a"] * 6 + ["b"] * 3 + ["c"] * 5)
    assert not set(names[fit]) & set(names[fold])
    assert sorted([*fit, *fold]) == list(range(14))
    assert "of 3 recordings" in how
    fit, fold, how = inner_fold(["a"] * 10)
    assert fold.tolist() == [8, 9]
    assert "one recording" in how


def test_cross_entropy_of_pixels() -> None:
    truth = torch.from_numpy(np.asarray([[0, 2, IGNORED]], np.uint8))
    assert float(pixel_loss(torch.zeros(1, 3, 4), truth)) == pytest.approx(math.log(4))
    logits = torch.randn(1, 3, 4)
    expected = -(logits[0, 0].log_softmax(0)[0] + logits[0, 1].log_softmax(0)[2]) / 2
    assert float(pixel_loss(logits, truth)) == pytest.approx(float(expected), abs=1e-6)
    assert float(pixel_loss(logits, torch.full((1, 3), IGNORED, dtype=torch.uint8))) == 0


def test_ridge_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(4)
    x = (rng.standard_normal((300, 6)) * [1, 10, 0.1, 1, 1, 0] + 5).astype(np.float32)
    y = x[:, 0] - 0.3 * x[:, 1] + rng.standard_normal(300)
    z = (x - x.mean(0, dtype=float)) / np.where(x.std(0) > 0, x.std(0, dtype=float), 1)
    for C in (0.1, 100.0):
        theirs = Ridge(alpha=300 / C).fit(z, y)
        weight, bias = Moments.of([(x[:100], y[:100]), (x[100:], y[100:])]).ridge(C)
        assert x @ weight + bias == pytest.approx(theirs.predict(z), abs=1e-6)


# The protocols


@pytest.fixture(scope="module")
def segmented() -> list[Score]:
    return SMALL.run(job_for(stripes()))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, list[Score]]:
    target = NyuDepth.tiny(tmp_path_factory.mktemp("nyu")).target()
    return target, FLAT.run(job_for(target))


def test_what_is_in_the_maps_is_segmented(segmented: list[Score]) -> None:
    for choice in ("best", "last"):
        score = by(segmented, choice, "mIoU")
        assert score.value > 0.6 > 0.5 > score.settings["always_the_commonest_class"]
        assert set(score.settings["iou"]) == {"left", "right"}
        assert np.mean([*score.settings["iou"].values()]) == pytest.approx(score.value)
    assert by(segmented, "best", "mIoU").value > 0.8
    assert by(segmented, "best", "pixel_accuracy").value > 0.9
    assert [score.layer for score in segmented if score.choice == "every"] == ["conv1", "conv2", "conv3", "conv4"]


def test_always_the_commonest_class_is_scored_as_if_said_everywhere() -> None:
    target = stripes()
    score = by(replace(SMALL, steps=1).run(job_for(target)), "best", "mIoU")
    train = np.concatenate([target.source[int(row)]["mask"].values.ravel() for row in target.divisions[0].train])
    common = np.bincount(train[train != IGNORED]).argmax()
    truth = np.concatenate([target.source[int(row)]["mask"].values.ravel() for row in target.divisions[0].test])
    expected = float(mean_iou(confusion(truth, np.full(truth.shape, common), 3)))
    assert score.settings["always_the_commonest_class"] == pytest.approx(expected)


def test_replicates_are_the_figure_on_each_resample_of_test_pictures(segmented: list[Score]) -> None:
    target = stripes()
    protocol, job = SMALL, job_for(target)
    reader = DenseReader(job, "mask", protocol.size, protocol.cells, lambda truth: "")
    network = job.build()
    train = reader.train_maps(network)
    score = by(segmented, "last", "mIoU")
    head = protocol.fit_all(job, train, "conv4", score.settings["rate"])
    confusions = []
    for row in target.divisions[0].test:  # one by one, from the sample itself
        sample = target.source[int(row)]
        with torch.no_grad():
            maps = network.eval()(Preprocessing().render(torch.from_numpy(sample["picture"].pixels[None])))[0]
            said = F.interpolate(head(maps["conv4"]), (32, 40), mode="bilinear")[0].argmax(0)
        confusions.append(confusion(sample["mask"].values, said.numpy(), 3))
    assert float(mean_iou(np.sum(confusions, 0))) == pytest.approx(score.value, abs=1e-4)
    draws = resamples(3)
    values = [float(mean_iou(sum(count * one for count, one in zip(draw, confusions, strict=True)))) for draw in draws]
    assert score.replicates == pytest.approx(np.asarray(values), abs=1e-4)
    assert score.interval == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-4)


@pytest.mark.parametrize("protocol", [SMALL, replace(SMALL, head="fcn", steps=10), FLAT], ids=["linear", "fcn", "depth"])
def test_the_backbone_stays_as_it_is_to_the_bit(protocol: OnNetworks, tmp_path: Path) -> None:
    target = stripes() if protocol.needs == "mask" else NyuDepth.tiny(tmp_path).target()
    network = conv4().train()  # as left by training: BatchNorm would move if it were not set to eval
    before, modes = weights_hash(network), [module.training for module in network.modules()]
    generator_state = torch.random.get_rng_state()
    scores = protocol.run(job_for(target, build=lambda: network))
    assert weights_hash(network) == before
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), generator_state)
    assert all(score.settings["backbone"] == "frozen, eval mode" for score in scores)


@pytest.mark.parametrize("protocol", [replace(SMALL, steps=8), replace(SMALL, head="fcn", steps=8)], ids=["linear", "fcn"])
def test_the_same_run_twice_gives_the_same_json(protocol: Segmentation) -> None:
    first, second = (protocol.run(job_for(stripes())) for _ in range(2))
    assert json.dumps([score.to_json() for score in first]) == json.dumps([score.to_json() for score in second])


def test_test_pictures_choose_nothing(segmented: list[Score]) -> None:
    target = stripes()
    other = SMALL.run(job_for(spoilt(target, target.divisions[0].test)))
    for ours, theirs in zip(segmented, other, strict=True):
        assert (ours.layer, ours.settings["rate"]) == (theirs.layer, theirs.settings["rate"])
        if ours.choice == "every":
            assert (ours.value, ours.settings["tried"]) == (theirs.value, theirs.settings["tried"])
        elif ours.metric == "pixel_accuracy":
            assert theirs.value < 0.5 < ours.value  # only the judgement changed


def test_rates_are_judged_on_a_fold_that_trained_nothing() -> None:
    target = stripes()
    job = job_for(target)
    train = DenseReader(job, "mask", SMALL.size, SMALL.cells, lambda truth: "").train_maps(job.build())
    fit, fold, _ = inner_fold(train.recordings)
    hidden = train.truth.copy()
    hidden[fold] = IGNORED
    maps = train.maps["conv2"].clone()
    maps[torch.from_numpy(fold)] = 0
    whiten = Whiten.fit(maps, fit)
    model = SMALL.fit(job, whitened(whiten, maps), hidden, fit, "linear", 0.01)
    points = draw_points(len(fold), 1000, SMALL.size, "fold")
    with torch.no_grad():
        said = to_pixels(model(whitened(whiten, train.maps["conv2"][torch.from_numpy(fold)]).float()), SMALL.size).argmax(1)
    expected = mean_iou(confusion(truth_at(train.truth[fold], points), truth_at(said.numpy(), points), 3))
    assert SMALL.choose(job, train, "conv2", "linear").tried[0.01] == pytest.approx(float(expected), abs=2e-3)


def test_strengths_are_judged_on_a_fold_that_trained_nothing(tmp_path: Path) -> None:
    job = job_for(NyuDepth.tiny(tmp_path).target())
    train = DenseReader(job, "depth", FLAT.size, FLAT.cells, lambda truth: "").train_maps(job.build())
    fit, fold, _ = inner_fold(train.recordings)
    hidden = train.truth.copy()
    hidden[fold] = 9.0
    weight, bias = Moments.of(FLAT._pixels(job, replace(train, truth=hidden), "conv4", fit)).ridge(1e4)
    shares = [errors(np.exp(x @ weight + bias), np.exp(y))[0] for x, y in FLAT._pixels(job, train, "conv4", fold)]
    assert FLAT.choose(job, train, "conv4").tried[1e4] == pytest.approx(np.mean(shares)) != 1.0


def test_all_settings_are_in_the_rows(segmented: list[Score], measured: tuple[Target, list[Score]]) -> None:
    for scores in (segmented, measured[1]):
        json.dumps([score.to_json() for score in scores], allow_nan=False)
        for score in scores:
            assert {"choice", "seed", "size", "cells", "fold", "skipped", "interval", "backbone"} <= set(score.settings)
            if score.choice != "every":
                assert score.interval is not None
                assert score.interval[0] <= score.value <= score.interval[1]
                assert score.settings["interval"].startswith("bootstrap over test pictures")
    for score in segmented:
        assert {"head", "steps", "batch", "optimizer", "rate", "augmentation", "class_weights"} <= set(score.settings)
    for score in measured[1]:
        assert {"C", "C_at_bound", "crop", "metres", "averaged", "fitted_on"} <= set(score.settings)
    assert measured[1][-1].settings["interval"].endswith("2 recordings only")


def test_distance_is_read_from_brightness(measured: tuple[Target, list[Score]]) -> None:
    target, scores = measured
    headline = by(scores, "best", Depth.metric)
    assert headline.value > 0.8 > 0.5 > headline.settings["same_depth_everywhere"]
    rmse = by(scores, "best", "rmse")
    assert rmse.value < 0.7 * rmse.settings["same_depth_everywhere"]
    assert (rmse.settings["unit"], rmse.settings["better"]) == ("metres", "lower")
    train = [target.source[int(row)]["depth"].values for row in target.divisions[0].train]
    level = np.exp(np.mean([np.log(metres[metres > 0]).mean() for metres in train]))
    test = [target.source[int(row)]["depth"].values for row in target.divisions[0].test]
    constant = [errors(np.full((metres > 0).sum(), level), metres[metres > 0])[4] for metres in test]
    assert rmse.settings["same_depth_everywhere"] == pytest.approx(np.mean(constant), rel=0.02)  # train pixels are drawn


def test_depth_rows_pair_picture_by_picture(measured: tuple[Target, list[Score]]) -> None:
    for score in measured[1]:
        if score.choice == "every":
            continue
        if score.hits is not None:
            assert score.hits.shape == (1, score.n) == (1, 6)
            assert float(score.hits.mean()) == pytest.approx(score.value, abs=1e-6)
        else:
            assert score.replicates is not None
            assert score.interval == pytest.approx(np.quantile(score.replicates, [0.025, 0.975]))


def test_the_eigen_crop_is_rows_45_to_470_and_columns_41_to_600() -> None:
    judged = Depth()._judged(np.full((480, 640), 2.0, np.float32))
    assert judged.sum() == (471 - 45) * (601 - 41)
    assert judged[45:471, 41:601].all()
    assert np.allclose(np.asarray(EIGEN) * [480, 480, 640, 640], [45, 471, 41, 601])
    assert not Depth(crop="none")._judged(np.full((4, 4), 10.0)).any()  # at the end of the range: unknown
    assert Depth(crop="none")._judged(np.full((4, 4), 9.9)).all()


# What cannot serve


def bad_mask(kind: str) -> ArrayPlane:
    shape = (16, 20) if kind == "size" else (32, 40)
    return ArrayPlane(np.full(shape, {"size": 0, "label": 7, "empty": IGNORED}[kind], np.uint8))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("size", "but its mask (16, 20)"), ("label", "has class number 7, but there are 3 classes"), ("empty", "no labelled pixel")],
)
def test_a_picture_whose_answers_cannot_serve_is_left_out_and_named(kind: str, reason: str) -> None:
    target = stripes()
    masks = [target.source[i]["mask"] for i in range(10)]
    masks[2] = masks[9] = bad_mask(kind)
    source = LabelledPictures("stripes", target.source.pictures, masks=masks)
    scores = replace(SMALL, steps=2).run(job_for(replace(target, source=source)))
    for part, name in (("train", "2"), ("test", "9")):
        skipped = scores[-1].settings["skipped"][part]
        assert skipped["count"] == 1
        assert skipped["first"][0].startswith(f"{name}: ")
        assert reason in skipped["first"][0]
    assert by(scores, "best", "mIoU").n == 2
    assert scores[0].n == 6


@pytest.mark.parametrize(("part", "message"), [("train", "0 of 7 train pictures"), ("test", "no test picture")])
def test_nothing_left_is_refused(part: str, message: str) -> None:
    target = stripes()
    masks = [target.source[i]["mask"] for i in range(10)]
    for row in getattr(target.divisions[0], part):
        masks[row] = bad_mask("empty")
    source = LabelledPictures("stripes", target.source.pictures, masks=masks)
    with pytest.raises(UserError, match=f"{message}.*no labelled pixel"):
        replace(SMALL, steps=1).run(job_for(replace(target, source=source)))


def test_weights_that_are_no_numbers_are_refused() -> None:
    def broken() -> Backbone:
        network = conv4()
        with torch.no_grad():
            next(network.parameters())[0] = float("nan")
        return network

    with pytest.raises(UserError, match="collapsed or diverged"):
        SMALL.run(job_for(stripes(), build=broken))


def test_heads() -> None:
    linear = make_head("linear", 8, 3)
    assert torch.equal(linear(torch.randn(2, 8, 4, 5)), torch.zeros(2, 3, 4, 5))
    assert make_head("fcn", 8, 3).eval()(torch.randn(2, 8, 4, 5)).shape == (2, 3, 4, 5)


# On the readers' own layouts


@pytest.mark.parametrize("make", [MaskFolders.tiny, lambda folder: replace(Voc.tiny(folder), segmentation=True)])
def test_segmentation_of_the_published_layouts(make: Callable[[Path], MaskFolders | Voc], tmp_path: Path) -> None:
    target = make(tmp_path).target()
    scores = replace(SMALL, steps=5).run(job_for(target))
    assert by(scores, "best", "mIoU").n == len(target.test)
    assert scores[-1].settings["skipped"]["test"]["count"] == 0


@pytest.mark.data
def test_camvid_is_segmented_far_better_than_by_one_class(data_root: Path) -> None:
    target = MaskFolders(str(data_root / "camvid")).target()
    train, test = target.divisions[0].train[::12], target.divisions[0].test[::25]
    protocol = Segmentation(size=(120, 160), steps=60)
    scores = protocol.run(job_for(target, division=Division(train, test)))
    score = by(scores, "best", "pixel_accuracy")
    assert score.value > 0.45 > 0.35 > score.settings["always_the_commonest_class"]
    assert set(by(scores, "best", "mIoU").settings["iou"]) <= set(CAMVID)
    assert "of 1 recording only" in score.settings["interval"]
