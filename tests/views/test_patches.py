"""Patches on their own: standardised, and without what the lens tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from embodied_ssl.views.patches import (
    GREEN_MAGENTA,
    WITHOUT_GREEN_MAGENTA,
    keep_one_channel,
    standardise_each,
    without_green_magenta,
)

B = np.array(WITHOUT_GREEN_MAGENTA)


def patches(*lead: int, channels: int = 3) -> Tensor:
    return torch.rand(*lead, channels, 12, 10, generator=torch.Generator().manual_seed(0))


def test_relative_loc_b_is_a_projection_of_rank_2_along_green_magenta() -> None:
    a = np.array(GREEN_MAGENTA)
    np.testing.assert_allclose(B, np.eye(3) - np.outer(a, a) / (a @ a), atol=1e-15)
    np.testing.assert_allclose(B, np.array([[5, 2, -1], [2, 2, 2], [-1, 2, 5]]) / 6)
    np.testing.assert_allclose(B @ B, B, atol=1e-15)
    assert np.linalg.matrix_rank(B) == 2
    np.testing.assert_allclose(B @ a, 0, atol=1e-15)
    np.testing.assert_allclose(B @ np.ones(3), 1)  # grey is grey
    np.testing.assert_allclose(B @ [0, 1, 0], 1 / 3)  # pure green is a grey of a third


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_every_pixel_is_projected(lead: tuple[int, ...]) -> None:
    x = patches(*lead)
    loop = np.apply_along_axis(lambda pixel: B @ pixel, x.ndim - 3, x.numpy())
    np.testing.assert_allclose(without_green_magenta(x).numpy(), loop, atol=1e-6)


def test_red_and_blue_moved_alike_against_green_leave_no_colour() -> None:
    """A grey edge under a lens: red and blue lie beside green, and the projection makes all of it grey again."""
    edge = torch.zeros(3, 4, 20)
    edge[1, :, 10:] = 1
    edge[[0, 2], :, 11:] = 1
    projected = without_green_magenta(edge)
    torch.testing.assert_close(projected, projected.mean(0, keepdim=True).expand(3, -1, -1))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_patch_has_mean_0_in_every_channel_and_rms_1(lead: tuple[int, ...], channels: int) -> None:
    x = patches(*lead, channels=channels) * torch.tensor([0.2, 1.0, 0.6])[:channels].view(-1, 1, 1) + 0.3
    y = standardise_each(x)
    assert y.shape == x.shape
    for one in y.reshape(-1, channels, 120):
        np.testing.assert_allclose(one.mean(1), 0, atol=1e-6)
        assert one.square().mean().sqrt() == pytest.approx(1, abs=1e-5)


def test_brightness_and_contrast_do_not_matter_to_a_standardised_patch() -> None:
    x = patches(4)
    torch.testing.assert_close(standardise_each(0.4 * x + 0.3), standardise_each(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_patches_become_zero_not_nan(value: float) -> None:
    assert torch.equal(standardise_each(torch.full((2, 3, 8, 8), value)), torch.zeros(2, 3, 8, 8))


def test_less_than_a_grey_level_is_not_stretched() -> None:
    faint = 0.5 + 1e-4 * patches(2)
    assert float(standardise_each(faint).square().mean().sqrt()) < 0.02


@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_one_channel_is_kept_and_the_others_are_noise_a_hundredth_as_strong(lead: tuple[int, ...]) -> None:
    x = torch.rand(*lead, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(int(np.prod(lead))).view(lead) % 3
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y = keep_one_channel(x, kept, noise)
    for old, new, channel in zip(x.flatten(0, -4), y.flatten(0, -4), kept.flatten().tolist(), strict=True):
        assert torch.equal(new[channel], old[channel])
        for other in {0, 1, 2} - {channel}:
            assert float(new[other].std()) == pytest.approx(float(old[channel].std()) / 100, rel=0.05)
            assert float(new[other].mean()) == pytest.approx(float(old[channel].mean()), abs=1e-3)


def test_a_kept_channel_carries_the_whole_strength() -> None:
    """Root mean square 1 over three channels, two of them next to nothing: the kept one has the root of 3 (50 gives 86.6)."""
    x = patches(2)
    y = standardise_each(keep_one_channel(x, torch.tensor([0, 2]), torch.randn_like(x)))
    assert y[0, 0].square().mean().sqrt() == pytest.approx(3**0.5, rel=1e-3)
    assert y[1, 2].square().mean().sqrt() == pytest.approx(3**0.5, rel=1e-3)
