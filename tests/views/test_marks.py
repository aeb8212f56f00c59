"""Rims that say whether an answer is right."""

from __future__ import annotations

import pytest
import torch

from embodied_ssl.views.colour import LUMA
from embodied_ssl.views.marks import RIGHT, WRONG, framed


def test_a_rim_is_green_where_right_and_red_where_wrong_and_the_inside_stays() -> None:
    pictures = torch.rand(3, 3, 48, 96, generator=torch.Generator().manual_seed(0))
    before = pictures.clone()
    marked = framed(pictures, torch.tensor([True, False, True]))
    assert marked.shape == pictures.shape
    assert torch.equal(pictures, before)
    assert torch.equal(marked[:, :, 2:-2, 2:-2], pictures[:, :, 2:-2, 2:-2])
    for i, colour in enumerate((RIGHT, WRONG, RIGHT)):
        for part in (marked[i, :, :2], marked[i, :, -2:], marked[i, :, :, :2], marked[i, :, :, -2:]):
            assert torch.equal(part, torch.tensor(colour).view(3, 1, 1).expand_as(part))


def test_the_rim_grows_with_the_picture() -> None:
    marked = framed(torch.zeros(1, 3, 240, 240), torch.tensor([True]))
    assert int((marked[0, 1, 120] > 0).sum()) == 2 * 10


@pytest.mark.parametrize("side", [1, 3, 4])
def test_a_picture_smaller_than_its_rim_is_all_rim(side: int) -> None:
    marked = framed(torch.zeros(1, 3, side, side), torch.tensor([False]))
    assert torch.equal(marked, torch.tensor(WRONG).view(1, 3, 1, 1).expand_as(marked))


def test_no_pictures_are_no_pictures() -> None:
    assert framed(torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.bool)).shape == (0, 3, 8, 8)


def test_right_and_wrong_also_differ_in_brightness() -> None:
    bright, dark = (sum(c * w for c, w in zip(colour, LUMA, strict=True)) for colour in (RIGHT, WRONG))
    assert bright > 2 * dark
