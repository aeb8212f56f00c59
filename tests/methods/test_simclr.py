"""SimCLR: its head, its views, and what collapse looks like in its figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.simclr import SimCLR, SimCLRConfig
from embodied_ssl.views.colour import ColourChange


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
    step = built().objective({"first": same, "second": same})
    assert step.loss.item() == pytest.approx(math.log(31), abs=1e-5)
    assert step.metrics["accuracy"].item() == pytest.approx(1 / 16)
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / 16)
    assert step.metrics["spread"].item() == pytest.approx(0, abs=1e-6)


def test_spread_is_about_1_when_directions_fill_the_sphere() -> None:
    torch.manual_seed(0)
    step = built().objective({"first": torch.randn(500, 32), "second": torch.randn(500, 32)})
    assert step.metrics["spread"].item() == pytest.approx(1, abs=0.03)


def test_exact_agreement_is_found() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(16, 32)
    step = built().objective({"first": vectors, "second": vectors * 3})
    assert step.metrics["accuracy"].item() == 1


def test_both_views_go_through_the_network_in_one_pass() -> None:
    backbone = BackboneConfig("conv4").build().train()
    method = built()
    x = {name: torch.randn(4, 3, 32, 32) for name in ("first", "second")}
    embeddings = method.embed(backbone, x)
    assert int(backbone.net.conv1[1].num_batches_tracked) == 1  # type: ignore[index, arg-type]
    joined = method.head.eval()(backbone.eval()(torch.cat([x["first"], x["second"]])).vector)
    again = method.embed(backbone, x)
    torch.testing.assert_close(torch.cat([again["first"], again["second"]]), joined)
    assert embeddings["first"].shape == (4, 128)


def test_two_views_are_two_crops_with_colours_of_their_own() -> None:
    picture = ArrayPicture(generator(0).integers(0, 256, (48, 64, 3), np.uint8))
    view = built(colour=ColourChange(change=1.0)).view
    drawn = view.draw({"picture": picture}, generator(1))
    assert not np.array_equal(drawn["first"], drawn["second"])
    assert not np.array_equal(drawn["first_colours"], drawn["second_colours"])


def test_blur_happens_where_it_is_asked_for() -> None:
    noise = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    factors = torch.tensor([[1.0, 1, 1, 0, 0, 2]])
    batch = {
        "first": noise,
        "second": noise,
        "first_colours": factors,
        "second_colours": factors * torch.tensor([1, 1, 1, 0, 0, 0]),
    }
    sharp, blurred = (built(colour=ColourChange(blur=share)).view.render(batch) for share in (0.0, 1.0))
    assert torch.equal(sharp["first"], sharp["second"])
    assert float(blurred["first"].std()) < 0.8 * float(blurred["second"].std())


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(UserError, match="temperature is 0; give a number above 0"):
        SimCLRConfig(temperature=0)
