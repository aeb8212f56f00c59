"""Optimisers by hand, schedules by their corners, parameter groups by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import LARS, SGD, AdamW, LARSOptimizer, Schedule, group_of, parameter_groups


def lars(weight: Tensor, **group: object) -> LARSOptimizer:
    return LARSOptimizer([{"params": [weight], **group}], lr=0.5, momentum=0.9, weight_decay=0.1, trust=0.02)


def test_lars_takes_the_steps_written_in_its_docstring() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    expected, velocity = weight.detach().clone(), torch.zeros(4, 3, dtype=torch.float64)
    optimizer = lars(weight)
    for _ in range(3):
        gradient = torch.randn(4, 3, dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        update = gradient + 0.1 * expected
        ratio = 0.02 * math.sqrt(float(expected.square().sum())) / math.sqrt(float(update.square().sum()))
        velocity = 0.9 * velocity + ratio * update
        expected = expected - 0.5 * velocity
        torch.testing.assert_close(weight.detach(), expected)


def test_lars_step_length_does_not_depend_on_the_gradients_scale() -> None:
    ends = []
    for scale in (1.0, 1e4):
        weight = nn.Parameter(torch.ones(3, 3))
        weight.grad = torch.arange(9.0).view(3, 3) * scale
        optimizer = LARSOptimizer([weight], lr=1.0, momentum=0.0, weight_decay=0.0, trust=0.02)
        optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_lars_trusts_fully_where_a_norm_is_0(start: float) -> None:
    """Weights that start at zero must be able to leave it; where nothing pulls, nothing moves and nothing is NaN."""
    weight = nn.Parameter(torch.full((2, 2), start))
    weight.grad = torch.ones(2, 2) * (1 - start)
    LARSOptimizer([weight], lr=0.5, momentum=0.9, weight_decay=0.0, trust=0.02).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), start - 0.5 * (1 - start)))


def test_lars_neither_adapts_nor_decays_what_is_spared() -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), 0.2)
    lars(weight, weight_decay=0.0, adapt=False).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.5 * 0.2))


def test_lars_passes_over_what_has_no_gradient() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    lars(weight).step()
    assert torch.equal(weight.detach(), torch.ones(3, 3))


@pytest.mark.parametrize("config", [SGD(rate=0.1), AdamW(rate=0.1), LARS(rate=5.0, trust=0.02)])
def test_every_optimiser_finds_the_bottom_of_a_bowl(config: SGD | AdamW | LARS) -> None:
    torch.manual_seed(0)
    weight, target = nn.Parameter(torch.randn(4, 4)), torch.ones(4, 4)
    optimizer = config.build([{"name": "head", "params": [weight]}])
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * (1 - step / 300)
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    assert float((weight - target).norm().detach()) < 0.05


def test_cosine_climbs_to_1_and_falls_to_0() -> None:
    factor = Schedule(warmup=0.1).factor
    assert factor(0.0) == 0
    assert factor(0.05) == pytest.approx(0.5)
    assert factor(0.1) == pytest.approx(1)
    assert factor(0.55) == pytest.approx(0.5)
    assert factor(1.0) == pytest.approx(0, abs=1e-12)


def test_without_warm_up_a_schedule_starts_at_its_peak() -> None:
    assert Schedule(warmup=0).factor(0) == 1
    assert Schedule("constant", warmup=0).factor(0) == 1


def test_steps_drop_at_their_places() -> None:
    factor = Schedule("step", warmup=0, drops=(0.6, 0.8), gamma=0.1).factor
    assert [factor(p) for p in (0, 0.59, 0.6, 0.79, 0.8, 1)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_constant_stays() -> None:
    factor = Schedule("constant", warmup=0.2).factor
    assert [factor(p) for p in (0.1, 0.2, 0.5, 1)] == pytest.approx([0.5, 1, 1, 1])


@pytest.mark.parametrize("shape", ["cosine", "step", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
def test_a_factor_lies_between_0_and_1(shape: str, warmup: float) -> None:
    schedule = Schedule(shape, warmup)  # type: ignore[arg-type]
    assert all(0 <= schedule.factor(i / 200) <= 1 for i in range(201))


def learner_of(method: object) -> Learner:
    backbone = BackboneConfig("conv4").build()
    return Learner(backbone, method.build(backbone))  # type: ignore[attr-defined]


SEVERAL = MultiTaskConfig(
    {
        "rotation": Task(RotationConfig(32)),
        "simclr": Task(SimCLRConfig(32)),
        "ego": Task(EgoMotionEquivarianceConfig(32)),
    }
)


@pytest.mark.parametrize("config", [SGD(), AdamW(), LARS()])
@pytest.mark.parametrize("method", [RotationConfig(32), SimCLRConfig(32), SEVERAL])
def test_groups_hold_every_parameter_once(config: SGD | AdamW | LARS, method: object) -> None:
    learner = learner_of(method)
    grouped = [id(p) for group in parameter_groups(learner, config) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in learner.parameters())


def test_groups_are_named_by_part() -> None:
    assert {group["name"] for group in parameter_groups(learner_of(RotationConfig(32)), SGD())} == {"backbone", "head"}
    names = {group["name"] for group in parameter_groups(learner_of(SEVERAL), AdamW())}
    assert names == {"backbone", "rotation.head", "simclr.head", "ego.project", "ego.maps"}


@pytest.mark.parametrize(
    ("parameter", "group"),
    [
        ("backbone.net.conv1.0.weight", "backbone"),
        ("method.head.weight", "head"),
        ("method.maps", "maps"),
        ("method.tasks.ego.maps", "ego.maps"),
        ("method.tasks.rotation.head.weight", "rotation.head"),
    ],
)
def test_group_of_a_name(parameter: str, group: str) -> None:
    assert group_of(parameter) == group


def test_sgd_decays_everything() -> None:
    assert all("weight_decay" not in group for group in parameter_groups(learner_of(SimCLRConfig(32)), SGD()))


@pytest.mark.parametrize("config", [AdamW(), LARS()])
def test_norms_and_biases_are_spared(config: AdamW | LARS) -> None:
    for group in parameter_groups(learner_of(SimCLRConfig(32)), config):
        spared = group.get("weight_decay") == 0
        assert all((p.ndim <= 1) == spared for p in group["params"])
        assert group.get("adapt", True) == (not spared or not isinstance(config, LARS))


def test_what_needs_no_gradient_is_in_no_group() -> None:
    learner = learner_of(RotationConfig(32))
    learner.backbone.requires_grad_(False)
    assert {group["name"] for group in parameter_groups(learner, SGD())} == {"head"}


def test_a_methods_rate_reaches_its_own_groups_through_a_multi_task_run() -> None:
    learner = learner_of(SEVERAL)
    task = learner.method.children_by_name["ego"]
    task.rate = lambda group, progress: 10.0 * (1 - progress) if group == "maps" else 1.0  # type: ignore[method-assign]
    assert learner.method.rate("ego.maps", 0.25) == 7.5
    assert learner.method.rate("ego.project", 0.25) == 1
    assert learner.method.rate("rotation.head", 0.25) == 1
    assert learner.method.rate("backbone", 0.25) == 1


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"weight_decay": -1.0}, {"momentum": 1.0}, {"trust": 0.0}])
def test_lars_refuses_what_cannot_descend(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match="optimizer"):
        LARS(**settings)
