"""Rotation: exact turns, one convention, the mirror before the turn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.keys import generator
from embodied_ssl.methods.image.rotation import RotationConfig, TurnView, four_turns
from embodied_ssl.views.crops import random_crop


def pictures() -> Tensor:
    return torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_turns_form_a_group() -> None:
    x = pictures()
    once = four_turns(x)
    for i in range(4):
        for j in range(4):
            assert torch.equal(four_turns(once[:, i])[:, j], once[:, (i + j) % 4])


def test_label_1_is_numpys_quarter_turn() -> None:
    x = pictures()
    for k in range(4):
        assert np.array_equal(four_turns(x)[0, k].numpy(), np.rot90(x[0].numpy(), k, axes=(1, 2)))


def test_a_mirror_after_the_turn_would_exchange_two_answers() -> None:
    """Why the mirror comes first: mirrored, a quarter turn one way is a quarter turn of the mirror image the other way."""
    x = pictures()
    turns, mirrored = four_turns(x), four_turns(x.flip(-1))
    assert torch.equal(turns[:, 1].flip(-1), mirrored[:, 3])
    assert torch.equal(turns[:, 3].flip(-1), mirrored[:, 1])


def test_the_view_mirrors_before_it_turns() -> None:
    view = TurnView(16, (0.5, 1.0))
    picture = ArrayPicture(generator(0).integers(0, 256, (40, 40, 3), np.uint8))
    for i in range(6):
        drawn = view.draw({"picture": picture}, generator(i))
        assert np.array_equal(drawn["picture"], random_crop(picture, 16, generator(i), (0.5, 1.0)))
        rendered = view.render({"picture": torch.from_numpy(drawn["picture"])[None]})
        assert torch.equal(rendered["turned"], four_turns(rendered["picture"]))


def built() -> Learner:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    return Learner(backbone, RotationConfig(32).build(backbone))


def batch() -> dict[str, Tensor]:
    x = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"picture": x, "turned": four_turns(x)}


def test_a_head_of_zeros_knows_nothing() -> None:
    learner = built()
    nn.init.zeros_(learner.method.head.weight)
    nn.init.zeros_(learner.method.head.bias)
    step = learner(batch())
    assert step.loss.item() == pytest.approx(math.log(4), abs=1e-6)
    assert step.metrics["accuracy"].item() == pytest.approx(0.25)


def test_every_turn_of_every_picture_is_asked() -> None:
    step = built().eval()(batch())
    assert step.answers["right"].shape == (5, 4)


def test_answers_belong_to_their_own_turns() -> None:
    """A backbone that sees which corner is bright answers exactly."""

    class Corner(nn.Module):
        def forward(self, x: Tensor) -> object:
            corners = torch.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, 0, -1, -1], x[:, 0, 0, -1]], dim=1)
            return type("Features", (), {"vector": corners})

    x = torch.zeros(3, 3, 8, 8)
    x[:, :, 0, 0] = 1  # turned counter-clockwise, the top left corner goes down the left side
    method = RotationConfig(8).build(BackboneConfig("conv4").build())
    method.head = nn.Linear(4, 4)
    with torch.no_grad():
        method.head.weight.copy_(50 * torch.eye(4))
        method.head.bias.zero_()
    step = method(Corner(), {"turned": four_turns(x)})
    assert step.loss.item() == pytest.approx(0, abs=1e-6)
    assert method.score(step.answers) == {"accuracy": 1.0, "chance_accuracy": 0.25}
