"""Multi-task: the joint gradient is the sum of the tasks' own; statistics apart where asked; grey is grey."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor
from toys import CriticToyConfig

from embodied_ssl import distributed
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_backbone
from embodied_ssl.core import Learner, Step
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.image.rotation import RotationConfig, four_turns
from embodied_ssl.methods.multi_task import GreyView, MultiTaskConfig, Task
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

WEIGHTS = {"turn": 1.0, "again": 0.25, "views": 2.0}


def built(batch_norm: str = "shared", **settings: object) -> Learner:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    methods = {"turn": RotationConfig(32), "again": RotationConfig(32), "views": SimCLRConfig(32, hidden=16, out=8)}
    tasks = {name: Task(method, WEIGHTS[name], 4) for name, method in methods.items()}
    config = MultiTaskConfig(tasks, batch_norm, **settings)  # type: ignore[arg-type]
    return Learner(backbone, config.build(backbone))


def batch(shift: float = 0.0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    a, b, c, d = (torch.randn(4, 3, 32, 32, generator=rng) for _ in range(4))
    turns = {"turn/turned": four_turns(a), "again/turned": four_turns(b * 3 + shift)}
    return turns | {"views/crop0": c, "views/crop1": d, "views/index": torch.arange(4)}


def own(given: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}/"): value for key, value in given.items() if key.startswith(f"{name}/")}


def gradients(learner: Learner, loss: Tensor) -> dict[str, Tensor | None]:
    learner.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in learner.named_parameters()}


def test_the_joint_gradient_is_the_weighted_sum_of_the_tasks_own() -> None:
    learner = built().eval()
    joint = gradients(learner, learner(batch()).loss)
    for name, gradient in joint.items():
        assert gradient is not None, name
    summed = {name: torch.zeros_like(p) for name, p in learner.named_parameters()}
    for task, method in learner.method.children_by_name.items():
        for name, gradient in gradients(learner, method(learner.backbone, own(batch(), task)).loss).items():
            if gradient is not None:
                summed[name] += WEIGHTS[task] * gradient
    for name, gradient in joint.items():
        torch.testing.assert_close(gradient, summed[name], rtol=1e-4, atol=1e-6)


def test_a_tasks_loss_does_not_reach_another_tasks_head() -> None:
    learner = built().eval()
    for task, method in learner.method.children_by_name.items():
        for name, gradient in gradients(learner, method(learner.backbone, own(batch(), task)).loss).items():
            mine = name.startswith(("backbone.", f"method.tasks.{task}."))
            assert (gradient is not None and bool((gradient != 0).any())) == mine, (task, name)


def test_one_coupled_task_makes_the_whole_coupled_with_the_same_loss() -> None:
    learner = built().eval()
    assert learner.method.coupled
    split = learner.method.objective(learner.method.embed(learner.backbone, batch()))
    whole = learner.method(learner.backbone, batch())
    torch.testing.assert_close(split.loss, whole.loss)
    assert split.metrics.keys() == whole.metrics.keys()
    assert not MultiTaskConfig({"turn": Task(RotationConfig(32))}).build(learner.backbone).coupled


def test_metrics_carry_their_tasks_names() -> None:
    metrics = built()(batch()).metrics
    assert {"turn/loss", "turn/accuracy", "views/spread", "again/loss"} <= metrics.keys()


# --- statistics apart -------------------------------------------------------------------------------------------------


def test_with_norms_apart_each_task_keeps_its_own_and_the_backbone_their_mean() -> None:
    learner = built("per_task").train()
    start = {name: buffer.clone() for name, buffer in learner.backbone.named_buffers()}
    learner(batch(shift=5))
    for name, buffer in learner.backbone.named_buffers():
        assert torch.equal(buffer, start[name]), "a forward pass moves the tasks' statistics, not the backbone's"
    norms = {name: one.by_name() for name, one in learner.method.norms.items()}  # type: ignore[union-attr]
    first = "net.conv1.1.running_mean"
    assert not torch.allclose(norms["turn"][first], norms["again"][first], atol=1e-3)
    learner.method.after_step(learner.backbone, {}, 1.0)
    for name, buffer in learner.backbone.named_buffers():
        mean = torch.stack([norms[task][name].double() for task in WEIGHTS]).mean(0)
        torch.testing.assert_close(buffer.double(), mean.to(buffer.dtype).double(), rtol=1e-5, atol=1e-6)


def test_with_norms_apart_a_task_sees_what_it_would_see_alone() -> None:
    learner, alone = built("per_task").train(), built().train()
    alone.method.tasks["turn"](alone.backbone, own(batch(shift=5), "turn"))
    learner(batch(shift=5))
    norms = learner.method.norms["turn"].by_name()  # type: ignore[index]
    for name, buffer in alone.backbone.named_buffers():
        torch.testing.assert_close(norms[name], buffer)


def test_norms_apart_share_the_weights() -> None:
    learner = built("per_task")
    assert sum("conv1" in name for name, _ in learner.named_parameters()) == 3


def test_norms_apart_are_averaged_over_ranks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, averaged = built("per_task"), []
    monkeypatch.setattr(distributed.Ranks, "average", lambda self, tensors: averaged.extend(tensors))
    distributed.average_batch_norms(learner, distributed.Ranks(0, 2, torch.device("cpu")))
    seen = {id(tensor) for tensor in averaged}
    for one in learner.method.norms.values():  # type: ignore[union-attr]
        for name, buffer in one.by_name().items():  # type: ignore[operator]
            assert (id(buffer) in seen) == ("running" in name)


# --- grey -------------------------------------------------------------------------------------------------------------


def test_a_grey_view_is_grey_by_luma_and_changes_nothing_else() -> None:
    picture = ArrayPicture(generator(0).integers(0, 256, (40, 40, 3), np.uint8))
    view = SimCLRConfig(32).build(BackboneConfig("conv4").build()).view
    plain, grey = (one.draw({"picture": picture}, generator(1)) for one in (view, GreyView(view)))
    assert plain.keys() == grey.keys()
    for name in ("crop0", "crop1"):
        luma = (plain[name] @ np.array([0.299, 0.587, 0.114])).round()
        for channel in range(3):
            np.testing.assert_allclose(grey[name][..., channel], luma, atol=1)
    assert np.array_equal(plain["crop0_colours"], grey["crop0_colours"])


def test_a_grey_run_shows_grey_to_every_task_of_the_shipped_config(tmp_path: Path) -> None:
    """Ego-motion makes its view anew from the patterns it found; it is to be grey as well."""
    run = tiny_run("multi_task", tmp_path / "data", steps=1, held_out_every=0)
    run = replace(run, method=replace(run.method, grey=True))  # type: ignore[type-var]
    torch.manual_seed(0)
    method = run.method.build(run.backbone.build())
    assert all(isinstance(task.view, GreyView) for task in method.children_by_name.values())
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    _, card = load_backbone(tmp_path / "run")
    assert card["preprocessing"]["size"] == 32


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_method_of_several_phases_is_refused() -> None:
    with pytest.raises(UserError, match="task critic trains in several phases, which a multi-task run cannot interleave"):
        MultiTaskConfig({"critic": Task(CriticToyConfig())}).build(BackboneConfig("conv4").build())


def test_no_task_is_refused() -> None:
    with pytest.raises(UserError, match="at least one task"):
        MultiTaskConfig({})


def test_after_step_gives_each_task_its_own_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seen = built(), {}
    for name, method in learner.method.children_by_name.items():
        monkeypatch.setattr(method, "after_step", lambda backbone, carry, progress, name=name: seen.update({name: carry}))
    step = Step(torch.zeros(()), carry={"turn/index": torch.arange(3), "views/keys": torch.ones(2)})
    learner.method.after_step(learner.backbone, step.carry, 0.5)
    assert {name: sorted(carry) for name, carry in seen.items()} == {"turn": ["index"], "again": [], "views": ["keys"]}


def test_tasks_describe_themselves_by_name() -> None:
    backbone = BackboneConfig("conv4").build()
    tasks = {"turn": Task(RotationConfig(32)), "ego": Task(EgoMotionEquivarianceConfig(32))}
    assert set(MultiTaskConfig(tasks).build(backbone).describe()) == {"ego"}


def test_what_a_task_keeps_still_stays_still_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's parameters are named to it as they would be if it trained alone."""
    backbone = BackboneConfig("conv4").build()
    tasks = {"simclr": Task(SimCLRConfig(size=32)), "rotation": Task(RotationConfig(size=32))}
    method = MultiTaskConfig(tasks).build(backbone)
    still = {"backbone.net.conv1.0.weight", "method.head.weight"}
    monkeypatch.setattr(method.children_by_name["rotation"], "trains", lambda phase, parameter: parameter not in still)
    names = dict(Learner(backbone, method).named_parameters())
    kept = {name for name in names if not method.trains("main", name)}
    assert kept == {"backbone.net.conv1.0.weight", "method.tasks.rotation.head.weight"}
