"""SimCLR: its head, its views, and what collapse looks like in its figures."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_run
from torch import nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.simclr import SimCLR, SimCLRConfig
from embodied_ssl.trainer import pretrain


def built(**settings: object) -> SimCLR:
    torch.manual_seed(0)
    return SimCLRConfig(size=32, **settings).build(BackboneConfig("conv4").build())  # type: ignore[arg-type]


def test_the_head_is_two_layers_with_a_norm_between() -> None:
    head = built(hidden=20, out=7).head
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert head[0].bias is None
    assert head(torch.randn(4, 64)).shape == (4, 7)


def test_collapse_shows_in_every_figure() -> None:
    same = torch.ones(16, 8)
    step = built().objective({"first": same, "second": same, "asked": torch.arange(16)})
    assert step.loss.item() == pytest.approx(math.log(31), abs=1e-5)
    assert step.metrics["accuracy"].item() == pytest.approx(1 / 16)
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / 16)
    assert step.metrics["spread"].item() == pytest.approx(0, abs=1e-6)


def test_spread_is_about_1_when_directions_fill_the_sphere() -> None:
    torch.manual_seed(0)
    step = built().objective({"first": torch.randn(500, 32), "second": torch.randn(500, 32), "asked": torch.arange(500)})
    assert step.metrics["spread"].item() == pytest.approx(1, abs=0.03)


def test_exact_agreement_is_found() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(16, 32)
    step = built().objective({"first": vectors, "second": vectors * 3, "asked": torch.arange(16)})
    assert step.metrics["accuracy"].item() == 1


def test_both_views_go_through_the_network_in_one_pass() -> None:
    backbone = BackboneConfig("conv4").build().train()
    method = built()
    batch = {name: torch.randn(4, 3, 32, 32) for name in ("crop0", "crop1")} | {"index": torch.arange(4)}
    embeddings = method.embed(backbone, batch)
    assert int(backbone.net.conv1[1].num_batches_tracked) == 1  # type: ignore[index, arg-type]
    joined = method.head.eval()(backbone.eval()(torch.cat([batch["crop0"], batch["crop1"]])).vector)
    again = method.embed(backbone, batch)
    torch.testing.assert_close(torch.cat([again["first"], again["second"]]), joined)
    assert embeddings["first"].shape == (4, 128)


def test_version_2_has_a_third_layer_and_a_norm_out_has_no_shift() -> None:
    linear, norm = nn.Linear, nn.BatchNorm1d
    assert [type(layer) for layer in built(layers=3).head] == [linear, norm, nn.ReLU, linear, norm, nn.ReLU, linear]
    head = built(norm_out=True).head
    assert [type(layer) for layer in head] == [linear, norm, nn.ReLU, linear, norm]
    assert not head[-1].bias.requires_grad
    assert float(head(torch.randn(64, 64)).mean().detach()) == pytest.approx(0, abs=1e-6)


def test_held_out_views_are_found_among_64() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(500, 32)
    alike, unlike = (
        built().score({"first": vectors, "second": second, "asked": torch.arange(500)})
        for second in (vectors + 0.01, torch.randn(500, 32))
    )
    assert alike == {"retrieval": 1.0, "chance_retrieval": pytest.approx(1 / 64)}
    assert unlike["retrieval"] == pytest.approx(1 / 64, abs=0.02)


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(UserError, match="temperature is 0; give a number above 0"):
        SimCLRConfig(temperature=0)


def test_a_head_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="layers is 0; give at least 1"):
        SimCLRConfig(layers=0)


def test_a_picture_alone_is_refused() -> None:
    with pytest.raises(UserError, match="a batch of 1 picture has no negatives"):
        built().check_batch(1, 1)


def test_crops_larger_than_every_picture_are_refused_before_training(tmp_path: Path) -> None:
    run = tiny_run("simclr_photos", tmp_path / "data")
    run = dataclasses.replace(run, method=dataclasses.replace(run.method, size=96))  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"crops of 96 pixels are larger than every picture .* method.size=48 or less"):
        pretrain([run], tmp_path / "run")
    assert not (tmp_path / "run").exists()
