"""DeepCluster: its labels, its order, its new heads, and what it does with too few pictures, or pictures all alike."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_runs import tiny_run
from torch import Tensor, nn

from embodied_ssl import held_out
from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.clusters import agreement
from embodied_ssl.config import Run
from embodied_ssl.core import Epoch, Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture, encode
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.methods.clustering.clustered import answered
from embodied_ssl.methods.clustering.deep_cluster import DeepCluster, DeepClusterConfig
from embodied_ssl.methods.clustering.looks import CropAndWhole
from embodied_ssl.methods.clustering.pseudo_labels import PseudoLabels, even_order
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.progress import Silent
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain
from embodied_ssl.views.pixels import network_input

CPU = torch.device("cpu")
OPTIONS = Options(device="cpu", workers=0)


class Given(Source):
    """Pictures in memory, uint8 [N, H, W, 3]."""

    name = "given pictures"
    provides = frozenset({"picture", "index"})

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.recordings = [str(i) for i in range(len(pixels))]
        self.bad = []

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Sample:
        return {"picture": ArrayPicture(self.pixels[index]), "index": index}


def noise(count: int = 30) -> Given:
    return Given(generator(0, "noise").integers(0, 256, (count, 40, 48, 3), np.uint8))


def built(source: Source, channels: int = 3, **settings: object) -> tuple[Backbone, DeepCluster]:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4", channels=channels).build().eval()
    given = {"size": 32, "clusters": 5, "components": 4, **settings}
    method = DeepClusterConfig(**given).build(backbone)  # type: ignore[arg-type]
    method.fit(source, generator(1))
    return backbone, method


def vectors(count: int, width: int = 64, kinds: int = 5) -> Tensor:
    """Rows of some kinds, far apart."""
    random = torch.Generator().manual_seed(0)
    middles = 5 * torch.randn(kinds, width, generator=random)
    return middles[torch.arange(count) % kinds] + torch.randn(count, width, generator=random)


@pytest.mark.parametrize("seed", range(3))
def test_deepcluster_sampler_histogram_over_clusters_is_flat(seed: int) -> None:
    """Clusters of 1 to 500 pictures, two of them empty: each of the others comes as often, to within 1."""
    sizes = [500, 0, 1, 33, 7, 0, 59]
    labels = generator(seed).permutation(np.repeat(np.arange(7), sizes))
    order = even_order(labels, generator(seed, "order"))
    assert len(order) == len(labels) == 600
    assert np.bincount(labels[order], minlength=7).tolist() == [120, 0, 120, 120, 120, 0, 120]
    often = np.bincount(order, minlength=600)
    assert all(np.ptp(often[labels == label]) <= 1 for label in (0, 2, 3, 4, 6))
    assert len(np.unique(labels[order[:50]])) == 5, "not shuffled"
    assert not np.array_equal(order, even_order(labels, generator(seed, "another")))


def test_an_even_order_of_a_number_that_does_not_divide_is_even_to_within_1() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 2, 2, 3])
    assert sorted(np.bincount(labels[even_order(labels, generator(0))])) == [2, 2, 3, 3]


def test_before_an_epoch_pictures_are_clustered_and_a_new_head_is_drawn() -> None:
    source = noise()
    backbone, method = built(source)
    features = vectors(len(source))
    plan = method.before_epoch(backbone, Epoch(0, source, lambda through: features))
    assert [len(method.pseudo.labels[i::5].unique()) for i in range(5)] == [1] * 5
    assert torch.equal(method.pseudo.of(features), method.pseudo.labels)
    assert plan.restart == ("head.weight", "head.bias")
    assert set(plan.restart) <= dict(method.named_parameters()).keys()
    assert plan.note == ""
    assert float(method.head.weight.detach().std()) == pytest.approx(0.01, rel=0.15)
    assert bool(method.head.bias.eq(0).all())
    assert plan.indices is not None
    assert sorted(plan.indices) == list(range(30))  # clusters are even already


def test_the_whitened_features_are_what_is_clustered() -> None:
    source = noise()
    backbone, method = built(source)
    features = vectors(len(source))
    method.before_epoch(backbone, Epoch(0, source, lambda through: features))
    whitened = (features - method.pseudo.mean) @ method.pseudo.matrix
    torch.testing.assert_close(torch.cov(whitened.T), torch.eye(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(method.pseudo.seen(features).norm(dim=1), torch.ones(30))


def test_between_two_clusterings_labels_and_head_stay() -> None:
    source = noise()
    backbone, method = built(source, every=3)
    looks = 0

    def embed(through: object) -> Tensor:
        nonlocal looks
        looks += 1
        return vectors(len(source)) + looks

    heads, orders = [], []
    for number in range(4):
        plan = method.before_epoch(backbone, Epoch(number, source, embed))
        heads.append(method.head.weight.detach().clone())
        orders.append(plan.indices)
        assert looks == 1 + number // 3
    assert torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[2], heads[3])
    assert orders[0] is not None
    assert not np.array_equal(orders[0], orders[1])  # type: ignore[arg-type]
    assert method.pseudo.metrics()["agreement"].item() == pytest.approx(1)  # the same but for a shift


def test_equal_answers_cost_log_k_and_right_ones_nothing() -> None:
    _, method = built(noise())
    cluster = torch.tensor([0, 1, 2, 3])
    step = method.train().objective({"logits": torch.zeros(4, 5), "cluster": cluster})
    assert step.loss.item() == pytest.approx(math.log(5))
    step = method.objective({"logits": 50 * torch.eye(5)[cluster], "cluster": cluster})
    assert step.loss.item() == pytest.approx(0, abs=1e-6)
    assert step.metrics["accuracy"].item() == 1
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / 5)


def test_training_pictures_are_asked_for_their_label_and_others_for_the_nearest_centre() -> None:
    source = noise()
    backbone, method = built(source)
    learner = Learner(backbone, method).eval()
    feed = Feed({"": Stream("", source, method.view, 6)}, 0)
    alone = Ranks(0, 1, CPU)
    method.before_epoch(backbone, Epoch(0, source, lambda through: held_out.embed_all(learner, feed, "", alone, through)))
    batch = held_out.render(method, next(feed.batches(0, 1)).batch, CPU)
    trained = method.train().embed(backbone, batch)["cluster"]
    assert torch.equal(trained, method.pseudo.labels[batch["index"]])
    step = method.eval()(backbone.eval(), {**batch, "index": batch["index"] + 1000})
    assert torch.equal(step.answers["cluster"], trained), "the same network looks at the same pictures"


def test_looking_takes_the_whole_picture_alone_and_all_ranks_get_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training crop is drawn for it; 7 pictures on 2 ranks are 4 each, and the eighth is not in the result."""
    source = noise(7)
    backbone, method = built(source)
    learner = Learner(backbone, method).eval()
    feed = Feed({"": Stream("", source, method.view, 4)}, 0)
    monkeypatch.setattr(CropAndWhole, "draw", None)

    class Apart(Ranks):
        def gather(self, tensor: Tensor) -> Tensor:
            parts.append(tensor)
            return torch.cat(parts)

    whole = held_out.embed_all(learner, feed, "", Ranks(0, 1, CPU))
    parts: list[Tensor] = []
    for rank in range(2):
        found = held_out.embed_all(learner, feed, "", Apart(rank, 2, CPU))
    assert [len(part) for part in parts] == [4, 4]
    torch.testing.assert_close(found, whole)
    one = torch.from_numpy(method.embed_view.pixels(source[3]["picture"]))
    torch.testing.assert_close(whole[3:4], backbone(network_input(one[None])).vector.detach())


def test_fully_connected_layers_are_clustered_before_their_last_relu() -> None:
    source = noise()
    backbone, method = built(source, hidden=20, cells=2, components=6)
    picture = torch.randn(3, 3, 32, 32)
    features = method.eval().before(backbone, picture)
    assert features.shape == (3, 20)
    assert bool((features < 0).any())
    assert bool((method.before.rectified(features) >= 0).all())
    assert [type(layer) for layer in method.before.layers] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert method.before.layers[1].in_features == 64 * 4
    assert torch.equal(method.eval().before(backbone, picture), features), "dropout is off when looking"


def test_edges_are_what_a_network_of_two_channels_is_shown() -> None:
    source = noise()
    backbone, method = built(source, channels=2)
    batch = held_out.render(method, next(Feed({"": Stream("", source, method.view, 4)}, 0).batches(0, 1)).batch, CPU)
    assert batch["crop"].shape == batch["picture"].shape == (4, 2, 32, 32)
    assert method.train()(backbone, batch).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 31}, "31 clusters of 30 pictures: .*at least one picture a cluster.*method.clusters=3"),
        ({"components": 30}, "30 principal components of 30 pictures: .*method.components=29"),
        ({"components": 65}, "components is 65 of features with 64 numbers; give at most 64"),
        ({"clusters": 1}, "clusters is 1; give at least 2"),
        ({"every": 0}, "every is 0"),
        ({"cells": 2}, "cells is 2 without hidden layers"),
    ],
)
def test_what_cannot_be_clustered_is_refused_before_training(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(noise(), **settings)


def alike(data: Path, **changes: object) -> Run:
    run = tiny_run("deep_cluster_photos", data, batch_size=8, steps=5, held_out_every=0, **changes)
    return dataclasses.replace(run, method=dataclasses.replace(run.method, every=1))  # type: ignore[type-var]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resume_with_pseudo_labels_is_bit_exact_inside_an_epoch_and_between_two(tmp_path: Path, stop: int) -> None:
    """2 steps an epoch: a run stopped at 1 or 3 goes on with the labels and the order of its epoch, at 2 it clusters."""
    run = alike(tmp_path / "data")
    options = Options(device="cpu", workers=0)
    pretrain([run], tmp_path / "straight", options)
    with pytest.raises(Stopped):
        pretrain([run], tmp_path / "broken", dataclasses.replace(options, stop_after=stop))
    pretrain([run], tmp_path / "broken", dataclasses.replace(options, resume=True))
    one, two = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"] for name in ("straight", "broken"))
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []
    assert len(one["method.pseudo.labels"].unique()) == run.method.clusters  # type: ignore[attr-defined]


def test_more_clusters_than_pictures_leave_no_run_behind(tmp_path: Path) -> None:
    run = alike(tmp_path / "data")
    run = dataclasses.replace(run, method=dataclasses.replace(run.method, clusters=500))  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"500 clusters of \d+ pictures"):
        pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    assert not (tmp_path / "run").exists()


def test_pictures_that_look_alike_are_said_to_collapse() -> None:
    source = noise()
    backbone, method = built(source)
    method.before_epoch(backbone, Epoch(0, source, lambda through: vectors(30, kinds=3).round(decimals=-1)))
    features = vectors(30)
    features[:25] = features[0]
    plan = method.before_epoch(backbone, Epoch(1, source, lambda through: features))
    assert plan.note.startswith("one cluster holds 83% of all pictures")
    features = vectors(30, kinds=2)
    features[::2], features[1::2] = features[0], features[1]
    plan = method.before_epoch(backbone, Epoch(2, source, lambda through: features))
    assert plan.note.startswith("3 of 5 clusters are empty")
    metrics = method.pseudo.metrics()
    assert (metrics["clusters"].item(), metrics["largest_share"].item()) == (2, 0.5)


def test_what_is_wrong_with_clusters_is_said_when_they_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Heard(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    monkeypatch.setattr(PseudoLabels, "note", lambda labels: "clusters die")
    pretrain([alike(tmp_path / "data")], tmp_path / "run", Options(device="cpu", workers=0), Heard())
    assert [line for line in said if "die" in line] == [f"DeepCluster, epoch {n}: clusters die" for n in (1, 2, 3)]


def test_it_is_one_of_several_tasks_of_grey_pictures_and_may_be_disturbed(tmp_path: Path) -> None:
    """Its epochs, its new heads and what it looks at are found behind a multi-task method and a consistency term."""
    run = alike(tmp_path / "data")
    both = MultiTaskConfig({"one": Task(ConsistentConfig(run.method), 1, 8), "two": Task(run.method, 1, 8)}, grey=True)
    pretrain([dataclasses.replace(run, method=both, data={"one": run.data, "two": run.data})], tmp_path / "run", OPTIONS)
    learner = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["learner"]
    for name in ("method.tasks.one.task.pseudo", "method.tasks.two.pseudo"):
        assert len(learner[f"{name}.labels"].unique()) == 6
        assert float(learner[f"{name}.agreed"]) >= 0


@pytest.mark.slow
def test_stripes_of_four_directions_are_told_from_any_crop(tmp_path: Path) -> None:
    """Held-out crops are answered with their picture's cluster more often than chance, and clusters follow the stripes."""
    rng = generator(0, "stripes")
    rows, columns = np.mgrid[:48, :48]
    kinds = np.arange(160) % 4
    (tmp_path / "pictures").mkdir()
    for number, kind in enumerate(kinds):
        along = rows * math.sin(kind * math.pi / 4) + columns * math.cos(kind * math.pi / 4)
        wave = 127 + 70 * np.sin(along * 0.9 + rng.uniform(0, 6.3)) + rng.normal(0, 20, (48, 48))
        pixels = np.repeat(wave.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        (tmp_path / "pictures" / f"{number:03d}.png").write_bytes(encode(pixels))
    run = tiny_run("deep_cluster_photos", tmp_path / "data", batch_size=16, steps=72, held_out_every=0)
    method = dataclasses.replace(run.method, clusters=8, components=8, area=(0.5, 1.0), every=4)  # type: ignore[type-var]
    run = dataclasses.replace(run, method=method, data=PictureFolder(root=str(tmp_path / "pictures")), held_out_examples=64)
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    found = next(line for line in lines if "held_out/accuracy" in line)
    assert found["held_out/accuracy"] > 1.5 * found["held_out/chance_accuracy"]
    learner = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["learner"]
    names = run.data.open("train").recordings  # type: ignore[union-attr]
    own = torch.tensor([int(Path(name).stem) % 4 for name in names])
    assert agreement(learner["method.pseudo.labels"], own) > 0.5


def test_some_clusters_are_shown_from_the_largest_to_the_smallest() -> None:
    source = noise()
    backbone, method = built(source)
    features = vectors(30)
    features[:9] = features[0] + torch.randn(9, 64, generator=torch.Generator().manual_seed(3)) * 0.1
    method.before_epoch(backbone, Epoch(0, source, lambda through: features))
    rows = method.pseudo.panels(4)
    sizes = [int(caption.split("has ")[1].split(" of")[0]) for caption, _ in rows]
    assert sizes == sorted(method.pseudo.sizes.tolist(), reverse=True)
    assert [len(pictures) for _, pictures in rows] == [min(4, size) for size in sizes]


def test_chance_is_what_answers_given_as_often_would_reach() -> None:
    guess, truth = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert answered(guess, truth) == {"accuracy": 0.75, "chance_accuracy": 0.75 * 0.5 + 0.25 * 0.5}
