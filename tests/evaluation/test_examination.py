"""Exhibits are the same for every network, and every figure of an examination is what its parts say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation import diagnostics
from embodied_ssl.evaluation.examination import LayerHealth, examine, jackknife, measure
from embodied_ssl.evaluation.exhibits import Drawing, Exhibits, of_views, open_pictures
from embodied_ssl.evaluation.models import Model, open_model
from embodied_ssl.evaluation.pictures import Preprocessing

SMALL = Drawing(queries=10, gallery=12, viewed=5, views=4)
HOW = Preprocessing(32, 36)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def scenes(tmp_path: Path) -> str:
    return ClassFolder.tiny(tmp_path / "scenes").root


def model() -> Model:
    return open_model("conv4", preprocessing=HOW)


def test_leaving_one_out_gives_students_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).standard_normal(15)
    found = jackknife(lambda rows: float(values[rows].mean()), 15, groups=15)
    low, high = stats.t.interval(0.95, 14, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(15))
    assert tuple(found) == pytest.approx((values.mean(), low, high))


def test_the_interval_of_a_rank_covers_what_other_pictures_give() -> None:
    """Fifty samples of one space: 95 % intervals hold the mean of all samples' ranks nearly always."""
    samples = [normal(60, 6, seed=seed) * np.geomspace(1, 4, 6) for seed in range(50)]
    ranks = [jackknife(lambda rows, s=sample: diagnostics.rank_me(s[rows]), 60) for sample in samples]  # type: ignore[misc]
    truth = np.mean([rank.value for rank in ranks])
    covered = sum(rank.low <= truth <= rank.high for rank in ranks)
    assert 42 <= covered <= 50
    assert np.mean([rank.high - rank.low for rank in ranks]) < 2  # and are not so wide that they always would


def test_groups_are_left_out_once_each() -> None:
    left: list[int] = []
    jackknife(lambda rows: float(left.extend(set(range(23)) - set(rows.tolist())) or 0), 23, groups=10)
    assert sorted(left) == list(range(23))


def test_a_row_says_what_its_parts_say() -> None:
    features, views = normal(40, 8), normal(12, 4, 8, seed=1)
    features[:, 3] = 7
    row = measure("mine", "run", "layer4", features, views)
    assert (row.width, row.pictures, row.dead) == (8, 40, 1)
    assert row.rank_me.value == pytest.approx(diagnostics.rank_me(features))
    assert row.lidar.value == pytest.approx(diagnostics.lidar(views))
    assert row.uniformity.value == pytest.approx(diagnostics.uniformity(features))
    assert row.spread.value == pytest.approx(diagnostics.spread(features).std * np.sqrt(8))
    pairs = [diagnostics.alignment(views[:, i], views[:, i + 1]) for i in (0, 2)]
    assert row.alignment.value == pytest.approx(np.mean(pairs))
    apart = [diagnostics.alignment(views[:, i], np.roll(views[:, i + 1], 1, axis=0)) for i in (0, 2)]
    assert row.unrelated.value == pytest.approx(np.mean(apart))
    assert row.rank_me.low < row.rank_me.value < row.rank_me.high
    assert json.loads(json.dumps(row.to_json()))["rank_me"]["value"] == row.rank_me.value


def test_views_that_change_nothing_align_and_unrelated_ones_do_not() -> None:
    same = np.repeat(normal(50, 1, 16), 4, axis=1)
    row = measure("mine", "run", "x", same[:, 0], same)
    assert row.alignment.value == pytest.approx(0, abs=1e-12)
    assert row.unrelated.value == pytest.approx(2, abs=0.15)
    assert row.notes == ("RankMe of 16 features reads low from 50 pictures; give 64",)


def test_noise_is_measured_as_noise_and_too_few_pictures_are_said() -> None:
    row = measure("noise", "run", "x", normal(64, 16), normal(200, 4, 16, seed=1))
    assert row.rank_me.value == pytest.approx(row.rank_of_noise, rel=0.03)
    assert row.lidar.value == pytest.approx(row.lidar_of_noise, rel=0.03)
    assert row.notes == ()
    few = measure("noise", "run", "x", normal(63, 16), normal(16, 4, 16))
    assert [note.split(";")[0] for note in few.notes] == [
        "RankMe of 16 features reads low from 63 pictures",
        "LiDAR cannot exceed 15 with views of 16 pictures",
    ]


def test_exhibits_are_drawn_by_key_and_queries_and_gallery_share_no_picture(scenes: str) -> None:
    target = open_pictures(scenes)
    first, again = Exhibits(target, SMALL), Exhibits(open_pictures(scenes), SMALL)
    other = Exhibits(target, Drawing(queries=10, gallery=12, viewed=5, views=4, seed=1))
    assert first.queries(HOW).recordings == again.queries(HOW).recordings != other.queries(HOW).recordings
    assert np.array_equal(first.views(HOW).pixels, again.views(HOW).pixels)
    assert not np.array_equal(first.views(HOW).pixels, other.views(HOW).pixels)
    assert (len(first.queries(HOW)), len(first.gallery(HOW))) == (9, 12)  # the test part has no more
    queries, gallery = ({one.tobytes() for one in part.pixels} for part in (first.queries(HOW), first.gallery(HOW)))
    assert len(queries) == 9
    assert not queries & gallery
    assert first.classes == ("blue", "green", "red")


def test_a_view_is_the_same_crop_at_every_size(scenes: str) -> None:
    exhibits = Exhibits(open_pictures(scenes), SMALL)
    small, large = exhibits.views(Preprocessing(16, 20)).pixels, exhibits.views(Preprocessing(64, 70)).pixels
    assert small.shape == (20, 16, 16, 3)
    shrunk = torch.nn.functional.avg_pool2d(torch.from_numpy(large).permute(0, 3, 1, 2).float(), 16).flatten(1).numpy()
    means = torch.nn.functional.avg_pool2d(torch.from_numpy(small).permute(0, 3, 1, 2).float(), 4).flatten(1).numpy()
    for i in range(20):
        assert np.abs(shrunk - means[i]).mean(1).argmin() == i


def test_an_examination_leaves_the_network_alone_and_repeats_itself(scenes: str) -> None:
    given = model()
    before = {name: tensor.clone() for name, tensor in given.backbone.state_dict().items()}
    rows = [examine(given, Exhibits(open_pictures(scenes), SMALL)).layers for _ in range(2)]
    assert rows[0] == rows[1]
    assert [row.layer for row in rows[0]] == ["conv1", "conv2", "conv3", "conv4"]
    assert [row.width for row in rows[0]] == [16, 32, 48, 64]
    assert all(torch.equal(before[name], tensor) for name, tensor in given.backbone.state_dict().items())


def test_a_collapsed_network_reads_as_collapsed(scenes: str) -> None:
    given = model()
    with torch.no_grad():
        for parameter in given.backbone.parameters():
            parameter.zero_()
        given.backbone.net.get_submodule("conv4").get_parameter("1.bias").fill_(1)  # the same vector for every picture
    row = examine(given, Exhibits(open_pictures(scenes), SMALL)).layers[-1]
    assert (row.rank_me.value, row.lidar.value, row.dead) == (1, 1, 64)
    assert row.uniformity.value == pytest.approx(0, abs=1e-9)
    assert row.unrelated.value == pytest.approx(0, abs=1e-9)


def test_a_folder_without_labels_is_halved_by_key(tmp_path: Path) -> None:
    PictureFolder.tiny(tmp_path / "sorted")
    (tmp_path / "loose").mkdir()
    for path in (tmp_path / "sorted").rglob("*.png"):
        path.rename(tmp_path / "loose" / path.name)
    target = open_pictures(str(tmp_path / "loose"))
    train, test = target.divisions[0]
    assert sorted([*train, *test]) == list(range(24))
    assert (len(train), len(test)) == (12, 12)
    exhibits = Exhibits(target, SMALL)
    assert exhibits.classes == ()
    assert (exhibits.queries(HOW).labels == -1).all()
    (tmp_path / "few").mkdir()
    (tmp_path / "loose" / "00.png").rename(tmp_path / "few" / "00.png")
    with pytest.raises(UserError, match="holds 1 pictures; give a folder of at least 20"):
        open_pictures(str(tmp_path / "few"))


def test_a_bad_file_is_left_out_and_named(scenes: str) -> None:
    (Path(scenes) / "test" / "red" / "red00.png").write_bytes(b"not a picture")
    exhibits = Exhibits(open_pictures(scenes), SMALL)
    found = examine(model(), exhibits)
    assert len(found.queries.labels) == 8
    assert [item.name.endswith("red00.png") for item in exhibits.bad] == [True]


@pytest.mark.parametrize("wrong", [{"queries": 5}, {"views": 3}, {"viewed": 1}])
def test_drawings_that_cannot_be_made_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="an even number of views"):
        Drawing(**wrong)


def test_views_need_no_crop() -> None:
    assert of_views(Preprocessing(64, 80)) == Preprocessing(64, 64)


def test_rows_carry_the_role(scenes: str) -> None:
    found = examine(model(), Exhibits(open_pictures(scenes), SMALL))
    assert isinstance(found.layers[0], LayerHealth)
    assert {row.role for row in found.layers} == {"external"}
    assert BackboneConfig("conv4") == found.model.config
