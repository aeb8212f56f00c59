"""MoCo v3: its loss against a slow loop, its heads, what is frozen, and how its slow copy slows down."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.core import Batch, Learner
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward
from embodied_ssl.methods.contrastive.moco_v3 import MoCoV3, MoCoV3Config, batch_contrast
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

ALONE = Ranks(0, 1, torch.device("cpu"))
QUICK = Options(device="cpu", workers=0)


def learner(backbone: str = "conv4", **settings: Any) -> Learner:
    torch.manual_seed(0)
    built = BackboneConfig(backbone).build()
    return Learner(built, MoCoV3Config(size=32, hidden=16, out=8, **settings).build(built))


def batch(count: int = 6) -> Batch:
    torch.manual_seed(0)
    return {"crop0": torch.randn(count, 3, 32, 32), "crop1": torch.randn(count, 3, 32, 32), "index": torch.arange(count)}


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape).double(), dim=-1)


def slow_loop(query: Tensor, key: Tensor, temperature: float) -> float:
    total = 0.0
    for i in range(len(query)):
        scores = [math.exp(float(query[i] @ key[j]) / temperature) for j in range(len(key))]
        total -= math.log(scores[i] / sum(scores))
    return 2 * temperature * total / len(query)


def test_the_loss_is_the_slow_loop_both_ways() -> None:
    torch.manual_seed(0)
    query0, query1, key0, key1 = (unit(5, 7) for _ in range(4))
    expected = slow_loop(query0, key1, 0.2) + slow_loop(query1, key0, 0.2)
    rows = {"query0": query0 * 3, "query1": query1 / 3, "key0": key0 * 2, "key1": key1, "asked": torch.arange(5)}
    step = learner().method.objective(rows)
    assert step.loss.item() == pytest.approx(expected, abs=1e-10)
    assert step.loss.dtype == torch.float64


def test_a_query_is_held_against_the_other_views_keys_never_against_its_own_views() -> None:
    torch.manual_seed(0)
    one, other = unit(5, 7), unit(5, 7)
    rows = {"query0": one, "query1": other, "key0": other, "key1": one, "asked": torch.arange(5)}
    assert learner().method.objective(rows).metrics["accuracy"].item() == 1


def test_oracle_collapse_is_4_t_log_b() -> None:
    same = torch.ones(16, 8)
    rows = dict.fromkeys(("query0", "query1", "key0", "key1"), same)
    step = learner().method.objective({**rows, "asked": torch.arange(16)})
    assert step.loss.item() == pytest.approx(4 * 0.2 * math.log(16), abs=1e-5)
    assert step.metrics["accuracy"].item() == pytest.approx(1 / 16)
    assert step.metrics["spread"].item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_at_large_temperatures_does_not_shrink() -> None:
    """What the factor 2 T is for: the gradient tends to twice the mean of all keys less its own, where 1 / T would end it."""
    torch.manual_seed(0)
    query, key = unit(5, 7).requires_grad_(), unit(5, 7)
    batch_contrast(query, key, 1e4).backward()
    torch.testing.assert_close(query.grad, 2 * (key.mean(0) - key) / 5, atol=1e-3, rtol=0)


def test_keys_get_no_gradient() -> None:
    built = learner().train()
    backward(built, [batch()], "main", lambda micro: nullcontext(), ALONE)
    for name, parameter in built.method.named_parameters():
        assert (parameter.grad is None) == name.startswith("slow_"), name


def test_micro_batches_are_the_whole_batch_in_eval_mode() -> None:
    """Negatives are those of the whole step, not of a micro-batch. BatchNorm would tell them apart, so it is held still."""
    found = []
    for size in (6, 2):
        built = learner().double().eval()
        whole = {name: value.double() if value.is_floating_point() else value for name, value in batch().items()}
        parts = [{name: value[i : i + size] for name, value in whole.items()} for i in range(0, 6, size)]
        step = backward(built, parts, "main", lambda micro: nullcontext(), ALONE)
        found.append([step.loss, *(parameter.grad.clone() for parameter in built.parameters() if parameter.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def kinds(head: nn.Sequential) -> list[str]:
    return [{nn.Linear: "linear", nn.BatchNorm1d: "norm", nn.ReLU: "relu"}[type(layer)] for layer in head]  # type: ignore[index]


def test_heads_are_the_authors() -> None:
    resnet, vit = (learner(layers=layers, norm_out=layers == 3).method for layers in (2, 3))
    assert isinstance(resnet, MoCoV3)
    assert isinstance(vit, MoCoV3)
    assert kinds(resnet.head) == ["linear", "norm", "relu", "linear", "norm"]
    assert kinds(resnet.predictor) == ["linear", "norm", "relu", "linear"]
    assert kinds(vit.head) == ["linear", "norm", "relu"] * 2 + ["linear", "norm"]
    assert kinds(vit.predictor) == ["linear", "norm", "relu", "linear", "norm"]
    assert not list(vit.head[-1].parameters())
    assert [layer.bias for layer in vit.head if isinstance(layer, nn.Linear)] == [None] * 3


def test_the_slow_copy_stands_still_in_the_end() -> None:
    built = learner(momentum=0.5)
    method = built.method
    assert isinstance(method, MoCoV3)
    for progress, left in ((1e-9, 0.5), (0.5, 0.75), (1.0, 1.0)):
        method.start(built.backbone)
        before = method.slow_backbone.module.get_parameter("net.conv1.0.weight").clone()
        with torch.no_grad():
            built.backbone.get_parameter("net.conv1.0.weight").add_(1)
        method.after_step(built.backbone, {}, progress)
        moved = method.slow_backbone.module.get_parameter("net.conv1.0.weight") - before
        torch.testing.assert_close(moved, torch.full_like(moved, 1 - left))


def test_a_transformers_patch_projection_stays_random_and_the_rest_is_trained(tmp_path: Path) -> None:
    run = tiny_run("moco_v3_photos", tmp_path / "data", steps=2, backbone=BackboneConfig("timm:vit_tiny_patch16_224"))
    ends = []
    for number, frozen in enumerate((True, False)):
        given = dataclasses.replace(run, method=dataclasses.replace(run.method, frozen_patches=frozen))  # type: ignore[type-var]
        torch.manual_seed(0)
        pretrain([given], tmp_path / str(number), QUICK)
        ends.append(load_checkpoint(tmp_path / str(number) / "checkpoints" / "last.pt")["learner"])
    frozen, trained = ends
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias"):
        assert torch.equal(frozen[f"backbone.net.{name}"], frozen[f"method.slow_backbone.module.net.{name}"])
        assert not torch.equal(frozen[f"backbone.net.{name}"], trained[f"backbone.net.{name}"])
        assert not torch.equal(trained[f"backbone.net.{name}"], trained[f"method.slow_backbone.module.net.{name}"])
    block = "net.blocks.0.attn.qkv.weight"
    assert not torch.equal(frozen[f"backbone.{block}"], frozen[f"method.slow_backbone.module.{block}"])


def test_one_image_is_refused_before_training(tmp_path: Path) -> None:
    run = tiny_run("moco_v3_photos", tmp_path / "data", batch_size=1)
    with pytest.raises(UserError, match=r"1 picture of the batch for each.*the 2 at least that BatchNorm needs"):
        pretrain([run], tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": 0}, "temperature is 0"), ({"layers": 0}, "layers is 0"), ({"momentum": -1}, "momentum is -1")],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MoCoV3Config(**settings)
