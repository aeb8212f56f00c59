"""ClusterFit: whose clusters they are, that the network that learns them is fresh, and that both stand a restart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny, tiny_run

from embodied_ssl import config
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_backbone, load_checkpoint, load_tensors
from embodied_ssl.clusters import agreement
from embodied_ssl.config import Run
from embodied_ssl.core import Batch, Epoch
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator, torch_seed
from embodied_ssl.methods.clustering.cluster_fit import ClusterFitConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import SGD
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain

OPTIONS = Options(device="cpu", workers=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def two_stages(data: Path) -> list[Run]:
    return [tiny(run, data, batch_size=8, steps=3, held_out_every=0) for run in config.load("cluster_fit_photos")]


def test_the_second_stage_learns_the_firsts_clusters_with_a_fresh_network(data: Path, tmp_path: Path) -> None:
    """The teacher is the first stage's network, bit for bit; at a rate of almost 0 the other is the one drawn from the seed."""
    first, second = two_stages(data)
    pretrain([first], tmp_path / "first", OPTIONS)
    still = dataclasses.replace(second, optimizer=SGD(rate=1e-12))
    pretrain([first, still], tmp_path / "both", OPTIONS)
    trained, _ = load_backbone(tmp_path / "first")
    learner = load_checkpoint(tmp_path / "both" / "checkpoints" / "last.pt")["learner"]
    weights = [name for name, _ in trained.named_parameters()]
    assert all(torch.equal(learner[f"method.teacher.{name}"], trained.get_parameter(name)) for name in weights)
    torch.manual_seed(torch_seed(second.seed, "fresh", 1))
    fresh = second.backbone.build()
    for name in weights:
        torch.testing.assert_close(learner[f"backbone.{name}"], fresh.get_parameter(name).detach(), rtol=0, atol=1e-6)
    assert not torch.allclose(learner["backbone.net.conv2.0.weight"], trained.get_parameter("net.conv2.0.weight"), atol=0.01)
    exported, _ = load_backbone(tmp_path / "both")
    assert torch.equal(exported.get_parameter(weights[0]), learner[f"backbone.{weights[0]}"]), "the teacher is not exported"


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_both_stages_stand_a_restart_to_the_bit(data: Path, tmp_path: Path, stop: int) -> None:
    """Stopped when the first stage ends, and inside and at the end of the second's first epoch of 2 steps."""
    stages = two_stages(data)
    pretrain(stages, tmp_path / "straight", OPTIONS)
    with pytest.raises(Stopped):
        pretrain(stages, tmp_path / "broken", dataclasses.replace(OPTIONS, stop_after=stop))
    pretrain(stages, tmp_path / "broken", dataclasses.replace(OPTIONS, resume=True))
    one, two = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"] for name in ("straight", "broken"))
    assert [name for name, value in one.items() if not torch.equal(value, two[name])] == []


def test_a_network_given_to_begin_with_is_the_teacher(data: Path, tmp_path: Path) -> None:
    """``--init``: the same clusters as by ``teacher``, which looks at the same pictures in the same way."""
    first, second = two_stages(data)
    pretrain([first], tmp_path / "first", OPTIONS)
    pretrain([second], tmp_path / "init", dataclasses.replace(OPTIONS, init=str(tmp_path / "first")))
    named = dataclasses.replace(second.method, teacher=str(tmp_path / "first"))  # type: ignore[type-var]
    pretrain([dataclasses.replace(second, method=named)], tmp_path / "teacher", OPTIONS)
    found = [load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"] for name in ("init", "teacher")]
    assert torch.equal(found[0]["method.teacher.net.conv1.0.weight"], found[1]["method.teacher.net.conv1.0.weight"])
    trained = load_tensors(tmp_path / "first" / "checkpoints" / "last.pt")["learner"]
    assert torch.equal(found[0]["method.teacher.net.conv1.0.weight"], trained["backbone.net.conv1.0.weight"])
    labels = [one["method.pseudo.labels"] for one in found]
    assert agreement(*labels) > 0.5  # 96 pixels cut from 112 in place of 32


def test_a_teacher_may_be_any_network(data: Path) -> None:
    """Of another architecture and width; it is shown what it was made for, and clusters alone come from it."""
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4", channels=1).build()
    method = ClusterFitConfig(size=32, clusters=3, teacher="resnet18").build(backbone)
    assert method.teacher.width == method.pseudo.mean.shape[0] == 512
    assert method.whole.size == 224
    method.start(backbone)
    assert method.head.in_features == 64
    view = method.view
    sample = {"picture": next(iter_pictures(data)), "index": 0}
    drawn = view.draw(sample, generator(0))
    batch: Batch = view.render({name: torch.from_numpy(value).unsqueeze(0) for name, value in drawn.items()})
    assert batch["crop"].shape == (1, 1, 32, 32)
    assert batch["picture"].shape == (1, 3, 224, 224)
    method.eval()
    assert method.embed(backbone.eval(), batch)["whole"].shape == (1, 512)


def iter_pictures(data: Path):  # type: ignore[no-untyped-def]
    source = tiny_run("rotation_photos", data).data.open("train")  # type: ignore[union-attr]
    yield from (source[i]["picture"] for i in range(len(source)))


def test_clusters_are_found_once(data: Path) -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    method = ClusterFitConfig(size=32, clusters=4).build(backbone)
    source = tiny_run("rotation_photos", data).data.open("train")  # type: ignore[union-attr]
    method.fit(source, generator(0))
    features = torch.randn(len(source), 64)
    plan = method.before_epoch(backbone, Epoch(0, source, lambda through: features))
    assert plan is not None
    assert plan.indices is None
    labels = method.pseudo.labels.clone()
    assert method.before_epoch(backbone, Epoch(1, source, lambda through: features * 0)) is None
    assert torch.equal(method.pseudo.labels, labels)


def test_other_tasks_cannot_share_a_network_that_is_drawn_anew(data: Path, tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", data)
    both = MultiTaskConfig({"fit": Task(ClusterFitConfig(size=32, clusters=3), 1, 2), "turn": Task(run.method, 1, 2)})
    multi = dataclasses.replace(run, method=both, data={"fit": run.data, "turn": run.data})
    with pytest.raises(UserError, match="task fit trains a network drawn anew, which other tasks cannot share; train it alone"):
        pretrain([multi], tmp_path / "run", OPTIONS)


def test_a_teacher_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="there is no model 'nowhere'"):
        ClusterFitConfig(teacher="nowhere").build(BackboneConfig("conv4").build())
