"""Sobel's slopes: what a ramp, a step and a turn give, and that training and judging see the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel as scipy_sobel

from embodied_ssl.checkpoint import preprocessing
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.models import preprocessing_of
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.views.pixels import network_input, unnormalise
from embodied_ssl.views.sobel import sobel


def test_slopes_are_scipys_but_for_the_sign() -> None:
    grey = torch.rand(3, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    across, down = sobel(grey).unbind(1)
    for given, a, d in zip(grey[:, 0].numpy(), across.numpy(), down.numpy(), strict=True):
        np.testing.assert_allclose(-a, scipy_sobel(given, axis=1, mode="nearest"), atol=1e-5)
        np.testing.assert_allclose(-d, scipy_sobel(given, axis=0, mode="nearest"), atol=1e-5)


def test_a_ramp_has_8_times_its_slope_and_an_even_picture_none() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 5, 6)
    found = sobel(ramp)
    assert torch.equal(found[0, 0, :, 1:-1], torch.full((5, 4), -8.0))
    assert bool(found[0, 1].eq(0).all())
    assert bool(sobel(torch.full((2, 1, 4, 4), 0.7)).abs().max() < 1e-6)


def test_leading_axes_stay() -> None:
    assert sobel(torch.rand(2, 3, 1, 5, 6)).shape == (2, 3, 2, 5, 6)


def test_a_network_of_two_channels_is_judged_on_what_it_was_trained_on() -> None:
    """The card of an exported backbone says ``slopes``, and evaluation renders them as training did."""
    pixels = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    card = {"preprocessing": preprocessing(96, 2), "architecture": {"name": "conv4", "channels": 2}}
    torch.testing.assert_close(preprocessing_of(card).render(pixels, 2), network_input(pixels, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_of_other_channels_is_not_shown_slopes(channels: int) -> None:
    pixels = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    with pytest.raises(UserError, match=f"slopes are two channels, the network takes {channels}"):
        Preprocessing.usual(96, 112, 2).render(pixels, channels)


def test_slopes_are_shown_by_their_strength() -> None:
    pixels = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    pixels[:, :, 8:] = 255
    shown = unnormalise(network_input(pixels, 2))
    assert shown.shape == (1, 3, 16, 16)
    assert bool(shown[..., 7:9].eq(1).all())
    assert bool(shown[..., :6].abs().max() < 1e-5)
