"""Strong colours: HSV as Python's own, contrast as a PCA in numpy, and strength 0 changes no bit."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.views.strong_colours import (
    UNCHANGED,
    StrongColours,
    change_hsv,
    change_strongly,
    contrast,
    from_hsv,
    principal_colours,
    to_hsv,
)

NONE = StrongColours(contrast=0, power=0, factor=0, shift=0, hue=0, grey=0)
AXES = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
MEAN = torch.tensor([0.4, 0.5, 0.3])


def pictures() -> torch.Tensor:
    """Some noise, with grey, black, white and pure pixels among it."""
    made = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    made[0, :, 0, 0], made[0, :, 0, 1], made[0, :, 0, 2] = 0, 1, 0.5
    made[0, :, 1, :3] = torch.eye(3)
    return made


def test_strength_0_changes_no_bit() -> None:
    factors = torch.from_numpy(np.stack([NONE.draw(generator(i)) for i in range(3)]))
    assert factors.tolist() == [list(UNCHANGED)] * 3
    assert torch.equal(change_strongly(pictures(), factors, MEAN, AXES), pictures())


def test_an_unchanged_picture_is_exact_beside_changed_ones() -> None:
    factors = torch.from_numpy(np.stack([np.array(UNCHANGED, np.float32), StrongColours().draw(generator(0))]))
    changed = change_strongly(pictures()[:2], factors, MEAN, AXES)
    assert torch.equal(changed[0], pictures()[0])
    assert not torch.equal(changed[1], pictures()[1])
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_hsv_is_pythons_own() -> None:
    x = pictures()
    h, s, v = to_hsv(x)
    for n, row, column in np.ndindex(3, 6, 6):
        expected = colorsys.rgb_to_hsv(*x[n, :, row, column].tolist())
        assert (float(h[n, row, column]), float(s[n, row, column]), float(v[n, row, column])) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(from_hsv(h, s, v), x, rtol=0, atol=1e-5)


def test_hsv_changes_are_a_slow_loop() -> None:
    x = pictures()[:1]
    power, factor, shift, hue = (0.5, 2.0), (1.3, 0.8), (-0.05, 0.1), 0.1
    changed = change_hsv(x, *(torch.tensor([pair]) for pair in (power, factor, shift)), torch.tensor([hue]))
    for row, column in np.ndindex(6, 6):
        h, s, v = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
        new_s, new_v = (min(1.0, max(0.0, c**p * f + a)) for c, p, f, a in zip((s, v), power, factor, shift, strict=True))
        expected = colorsys.hsv_to_rgb((h + hue) % 1, new_s, new_v)
        assert changed[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-4)


def test_grey_pixels_are_not_made_red() -> None:
    """HSV gives greys the hue of red; adding saturation would show it."""
    grey = torch.full((1, 3, 4, 4), 0.5)
    one = torch.ones(1, 2)
    changed = change_hsv(grey, one, one, torch.full((1, 2), 0.1), torch.zeros(1))
    torch.testing.assert_close(changed, torch.full((1, 3, 4, 4), 0.6))


def test_contrast_scales_the_principal_coefficients() -> None:
    """One factor a component, the same for all pixels: against numpy, pixel by pixel."""
    x = 0.4 + 0.2 * pictures()[:1]  # far from 0 and 1, where nothing is cut off
    factors = torch.tensor([[0.5, 1.2, 0.8]])
    changed = contrast(x, factors, MEAN, AXES)
    for row, column in np.ndindex(6, 6):
        coefficients = AXES.numpy().T @ (x[0, :, row, column] - MEAN).numpy()
        expected = MEAN.numpy() + AXES.numpy() @ (coefficients * factors[0].numpy())
        np.testing.assert_allclose(changed[0, :, row, column], expected, atol=1e-5)


def test_grey_makes_all_channels_alike() -> None:
    factors = torch.tensor([[*UNCHANGED[:10], 1.0]])
    changed = change_strongly(pictures()[:1], factors, MEAN, AXES)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])


def test_strengths_are_what_is_drawn() -> None:
    drawn = np.stack([StrongColours(grey=0.25).draw(generator(i)) for i in range(3000)])
    assert drawn[:, :3].min() == pytest.approx(0.5, abs=0.002)
    assert drawn[:, :3].max() == pytest.approx(2, abs=0.005)
    assert drawn[:, 3:5].min() == pytest.approx(0.25, abs=0.002)
    assert drawn[:, 3:5].max() == pytest.approx(4, abs=0.02)
    assert np.abs(drawn[:, 7:10]).max() == pytest.approx(0.1, abs=0.001)
    assert drawn[:, 10].mean() == pytest.approx(0.25, abs=0.03)
    assert np.corrcoef(drawn[:, :10], rowvar=False)[np.triu_indices(10, 1)].max() < 0.08  # each on its own


class Few(Source):
    name = "few pictures"
    provides = frozenset({"picture", "index"})
    recordings = ("a", "b", "c")

    def __init__(self, readable: bool = True) -> None:
        self.bad = []
        self.readable = readable

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, object]:
        if index == 1 or not self.readable:
            raise BadItem(str(index), "cannot be read")
        return {"picture": ArrayPicture(generator(index).integers(0, 256, (24, 24, 3), np.uint8)), "index": index}


def test_principal_colours_are_sklearns() -> None:
    from sklearn.decomposition import PCA

    mean, axes = principal_colours(Few(), generator(0))
    pixels = np.concatenate([Few()[i]["picture"].pixels.reshape(-1, 3) for i in (0, 2)]) / 255  # type: ignore[attr-defined]
    expected = PCA(3).fit(pixels)
    np.testing.assert_allclose(mean, expected.mean_, atol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(axes * expected.components_.T, axis=0)), 1, atol=1e-4)


def test_pictures_of_which_none_can_be_read_are_refused() -> None:
    with pytest.raises(UserError, match="none of the pictures"):
        principal_colours(Few(readable=False), generator(0))
