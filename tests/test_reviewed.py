"""Defects that a strict reading found, each pinned by the fact that it got wrong."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_run
from torch import nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.core import Batch, Step
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pretext import evaluate_pretext
from embodied_ssl.files import read_lines
from embodied_ssl.methods.image.rotation import Rotation, RotationConfig, TurnView
from embodied_ssl.optim import SGD, AdamW
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import Trainer, pretrain

QUICK = Options(device="cpu", workers=0)


def learner_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder / "checkpoints" / "last.pt")["learner"])


def test_a_corrupt_held_out_video_does_not_cost_the_run(tmp_path: Path) -> None:
    spec = VideoFolder.tiny(tmp_path / "videos")
    out = spec.open("held_out")
    for name in set(out.recordings):
        for path in (tmp_path / "videos").rglob(f"*{Path(name).name}*"):
            path.write_bytes(b"no video at all")
    run = dataclasses.replace(tiny_run("temporal_order", tmp_path / "other"), data=spec, steps=2)
    pretrain([run], tmp_path / "run", QUICK)
    assert (tmp_path / "run" / "backbone" / "model.safetensors").exists()
    assert len(read_lines(tmp_path / "run" / "bad_items.jsonl")) >= 1


def test_a_knn_folder_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", tmp_path / "data", knn=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        pretrain([run], tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


@dataclass(frozen=True)
class SparseConfig(RotationConfig):
    """Rotation with a parameter that no loss ever touches."""

    def build(self, backbone: Backbone) -> Rotation:
        method = super().build(backbone)
        method.unused = nn.Linear(2, 2)
        return method


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.0), AdamW()])
def test_resume_without_state_for_some_parameter(optimizer: SGD | AdamW, tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", tmp_path / "data", optimizer=optimizer, method=SparseConfig(size=32))
    pretrain([run], tmp_path / "straight", QUICK)
    with pytest.raises(Stopped):
        pretrain([run], tmp_path / "broken", dataclasses.replace(QUICK, stop_after=2))
    pretrain([run], tmp_path / "broken", dataclasses.replace(QUICK, resume=True))
    straight, broken = learner_of(tmp_path / "straight"), learner_of(tmp_path / "broken")
    assert all(torch.equal(straight[key], broken[key]) for key in straight)


def test_held_out_questions_are_answered_with_the_tasks_own_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("multi_task", tmp_path / "data", steps=1)
    run = dataclasses.replace(run, method=dataclasses.replace(run.method, batch_norm="per_task"))  # type: ignore[type-var]
    asked: list[str] = []
    kind = type(run.method.build(run.backbone.build()))
    original = kind.seen_by

    def watched(self: nn.Module, task: str, backbone: nn.Module) -> nn.Module:
        if not self.training:
            asked.append(task)
        return original(self, task, backbone)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "seen_by", watched)
    pretrain([run], tmp_path / "run", QUICK)
    assert set(asked) == set(run.method.tasks)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class CopyConfig(RotationConfig):
    """Rotation with a frozen copy of the backbone, as momentum methods keep one."""

    def build(self, backbone: Backbone) -> CopyRotation:
        return CopyRotation(backbone, TurnView(self.size, self.area))


class CopyRotation(Rotation):
    def __init__(self, backbone: Backbone, view: TurnView) -> None:
        super().__init__(backbone.width, view)
        self.key = copy.deepcopy(backbone).requires_grad_(False)

    def start(self, backbone: nn.Module) -> None:
        self.key.load_state_dict(backbone.state_dict())

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        return super().forward(backbone, batch, phase)


def test_a_momentum_copy_starts_from_the_last_stages_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_run("rotation_photos", tmp_path / "data", steps=2)
    second = dataclasses.replace(first, method=CopyConfig(size=32))
    equal: list[bool] = []
    original = Trainer.run_stage

    def watched(self: Trainer) -> None:
        if self.stage == 1:
            own, key = self.learner.backbone.state_dict(), self.learner.method.key.state_dict()
            equal.append(all(torch.equal(own[name], key[name]) for name in own))
        original(self)

    monkeypatch.setattr(Trainer, "run_stage", watched)
    pretrain([first, second], tmp_path / "run", QUICK)
    assert equal == [True]


def test_the_untrained_baseline_of_pretext_has_nothing_from_the_run(tmp_path: Path) -> None:
    """A head's trained BatchNorm statistics once found their way into 'random init'."""
    run = tiny_run("simclr_photos", tmp_path / "data", steps=2)
    pretrain([run], tmp_path / "one", QUICK)
    before = {r.metric: r.value for r in evaluate_pretext(tmp_path / "one", "", torch.device("cpu")) if r.role == "random"}
    path = tmp_path / "one" / "checkpoints" / "last.pt"
    stored = load_checkpoint(path)
    for name, tensor in stored["learner"].items():
        if name.startswith("method.") and "running" in name:
            tensor.fill_(7.0)
    torch.save(stored, path)
    after = {r.metric: r.value for r in evaluate_pretext(tmp_path / "one", "", torch.device("cpu")) if r.role == "random"}
    assert after == before


def test_weights_that_are_no_longer_finite_are_not_saved(tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", tmp_path / "data", optimizer=SGD(rate=1e38), checkpoint_every=1, held_out_every=0)
    with pytest.raises(UserError, match=r"lower the rate"):
        pretrain([run], tmp_path / "run", QUICK)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip": -1.0}, "clip is -1"),
        ({"log_every": -1}, "log_every is -1"),
        ({"held_out_examples": 0}, "held_out_examples is 0"),
    ],
)
def test_settings_without_sense_are_refused(changes: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        tiny_run("rotation_photos", tmp_path, **changes)


@pytest.mark.parametrize("build", [lambda: AdamW(rate=-1), lambda: SGD(weight_decay=-1), lambda: AdamW(betas=(2, 2))])
def test_optimisers_without_sense_are_refused(build: object) -> None:
    with pytest.raises(UserError, match="optimizer has"):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(("size", "area"), [(0, (0.3, 1.0)), (32, (1.0, 0.3)), (32, (2.0, 3.0))])
def test_crops_without_sense_are_refused(size: int, area: tuple[float, float]) -> None:
    with pytest.raises(UserError):
        RotationConfig(size=size, area=area)
