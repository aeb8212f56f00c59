"""Colour changes, one at a time, against torchvision's; and what a fused matrix promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from embodied_ssl.keys import generator
from embodied_ssl.views.colour import UNCHANGED, ColourChange, blur, change_colours, colour_matrix


def pictures(low: float = 0.0, high: float = 1.0, n: int = 4, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * (high - low) + low


def factors(n: int = 4, **changed: float) -> Tensor:
    names = ("brightness", "contrast", "saturation", "hue", "grey", "sigma")
    row = torch.tensor(UNCHANGED)
    for name, value in changed.items():
        row[names.index(name)] = value
    return row.repeat(n, 1)


def test_unchanged_is_the_identity() -> None:
    torch.testing.assert_close(change_colours(pictures(), factors()), pictures(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.4])
def test_brightness_is_torchvisions(factor: float) -> None:
    x = pictures(0, 0.7)
    torch.testing.assert_close(
        change_colours(x, factors(brightness=factor)), tv.adjust_brightness(x, factor), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.4])
def test_contrast_is_torchvisions(factor: float) -> None:
    x = pictures(0.3, 0.7)
    torch.testing.assert_close(change_colours(x, factors(contrast=factor)), tv.adjust_contrast(x, factor), atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.4])
def test_saturation_is_torchvisions(factor: float) -> None:
    x = pictures(0.3, 0.7)
    torch.testing.assert_close(change_colours(x, factors(saturation=factor)), tv.adjust_saturation(x, factor), atol=1e-3, rtol=0)


def test_grey_is_torchvisions() -> None:
    grey = tv.rgb_to_grayscale(pictures(), num_output_channels=3)
    torch.testing.assert_close(change_colours(pictures(), factors(grey=1)), grey, atol=1e-3, rtol=0)


def test_grey_has_no_colour_whatever_else_is_changed() -> None:
    y = change_colours(pictures(), factors(brightness=0.8, contrast=1.3, saturation=1.4, hue=1.0, grey=1))
    torch.testing.assert_close(y[:, 0], y[:, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(y[:, 0], y[:, 2], atol=1e-6, rtol=0)


def test_hue_keeps_the_luma_and_a_whole_turn_is_none() -> None:
    x = pictures(0.4, 0.6)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    y = change_colours(x, factors(hue=0.7))
    torch.testing.assert_close((y * luma).sum(1), (x * luma).sum(1), atol=1e-5, rtol=0)
    assert float((y - x).abs().max()) > 0.01
    torch.testing.assert_close(change_colours(x, factors(hue=2 * math.pi)), x, atol=1e-5, rtol=0)


def test_hue_turns_add_up() -> None:
    x = pictures(0.45, 0.55)
    twice = change_colours(change_colours(x, factors(hue=0.4)), factors(hue=0.5))
    torch.testing.assert_close(twice, change_colours(x, factors(hue=0.9)), atol=1e-5, rtol=0)


def drawn(change: ColourChange, n: int = 4000) -> np.ndarray:
    return np.stack([change.draw(generator("colour", i)) for i in range(n)])


def test_rows_of_the_matrix_sum_to_1_so_that_greys_stay() -> None:
    some = torch.from_numpy(drawn(ColourChange(), 200))
    torch.testing.assert_close(colour_matrix(some).sum(2), torch.ones(200, 3), atol=1e-5, rtol=0)
    grey = torch.full((200, 3, 2, 2), 0.5)
    only_colour = some.clone()
    only_colour[:, :2] = 1
    torch.testing.assert_close(change_colours(grey, only_colour), grey, atol=1e-5, rtol=0)


def test_every_picture_has_its_own_factors() -> None:
    x = pictures(0.2, 0.6)
    mixed = torch.cat([factors(1), factors(1, brightness=0.5), factors(1, grey=1), factors(1, contrast=0.5, hue=0.3)])
    one_by_one = torch.cat([change_colours(x[i : i + 1], mixed[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(change_colours(x, mixed), one_by_one)


def test_the_result_stays_in_range_and_the_input_as_it_was() -> None:
    x = pictures()
    y = change_colours(x, factors(brightness=1.4, contrast=1.4, saturation=1.4))
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1
    assert torch.equal(x, pictures())


def test_factors_lie_in_their_ranges_and_happen_as_often_as_asked() -> None:
    found = drawn(ColourChange(0.4, 0.3, 0.2, 0.1, change=0.8, grey=0.2, blur=0.5, sigma=(0.1, 2.0)))
    changed = (found[:, :4] != UNCHANGED[:4]).any(1)
    assert changed.mean() == pytest.approx(0.8, abs=0.03)
    assert found[:, 4].mean() == pytest.approx(0.2, abs=0.03)
    assert (found[:, 5] > 0).mean() == pytest.approx(0.5, abs=0.03)
    for column, reach in ((0, 0.4), (1, 0.3), (2, 0.2)):
        assert np.abs(found[:, column] - 1).max() <= reach + 1e-6
        assert np.abs(found[:, column] - 1).max() > 0.95 * reach
    assert np.abs(found[:, 3]).max() <= 0.1 * 2 * math.pi + 1e-6
    blurred = found[found[:, 5] > 0, 5]
    assert 0.1 <= blurred.min() <= blurred.max() <= 2.0


def test_no_strength_changes_nothing() -> None:
    still = ColourChange(0, 0, 0, 0, change=1, grey=0, blur=0)
    assert (drawn(still, 20) == UNCHANGED).all()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_torchvisions(sigma: float) -> None:
    x = pictures()
    expected = tv.gaussian_blur(x, [7, 7], [sigma, sigma])
    torch.testing.assert_close(blur(x, torch.full((4,), sigma), radius=3), expected, atol=1e-4, rtol=0)


def test_blur_of_sigma_0_is_the_identity_beside_blurred_ones() -> None:
    x = pictures()
    y = blur(x, torch.tensor([0.0, 1.0, 0.0, 2.0]), radius=2)
    assert torch.equal(y[0], x[0])
    assert torch.equal(y[2], x[2])
    torch.testing.assert_close(y[3:], blur(x[3:], torch.tensor([2.0]), radius=2))
    assert float((y[1] - x[1]).abs().max()) > 0.05
