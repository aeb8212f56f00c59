"""From bytes to network input and back."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from embodied_ssl.views.pixels import GREY_MEAN, MEAN, STD, fold, network_input, normalise, to_float, to_grey, unfold, unnormalise


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (2, 5, 4, 5)])
def test_bytes_become_channels_first_in_0_to_1(shape: tuple[int, ...]) -> None:
    x = pixels(*shape)
    y = to_float(x)
    assert y.shape == (*shape[:-2], 3, *shape[-2:])
    assert y.dtype == torch.float32
    assert torch.equal((y * 255).round().to(torch.uint8).movedim(-3, -1), x)
    assert float(to_float(torch.full((1, 1, 3), 255, dtype=torch.uint8)).max()) == 1


def test_normalise_is_torchvisions() -> None:
    x = to_float(pixels(2, 4, 5))
    torch.testing.assert_close(normalise(x), tv.normalize(x, list(MEAN), list(STD)))


def test_unnormalise_undoes_normalise() -> None:
    x = to_float(pixels(2, 4, 5))
    torch.testing.assert_close(unnormalise(normalise(x)), x)
    assert torch.equal((unnormalise(network_input(pixels(4, 5))) * 255).round().to(torch.uint8).movedim(0, -1), pixels(4, 5))


def test_unnormalise_clamps() -> None:
    assert float(unnormalise(torch.full((3, 1, 1), 99.0)).max()) == 1
    assert float(unnormalise(torch.full((3, 1, 1), -99.0)).min()) == 0


def test_fold_and_unfold_keep_examples_together() -> None:
    x = torch.arange(2 * 5 * 3 * 4 * 4.0).view(2, 5, 3, 4, 4)
    folded = fold(x)
    assert torch.equal(folded[7], x[1, 2])
    assert torch.equal(unfold(folded.flatten(1), 5), x.flatten(2))
    assert torch.equal(unfold(folded, 5), x)


def test_one_channel_is_luminance_near_zero_mean_and_is_shown_as_grey() -> None:
    x = pixels(2, 4, 5)
    torch.testing.assert_close(to_grey(to_float(x)), tv.rgb_to_grayscale(to_float(x)), rtol=0, atol=1e-3)  # its weights: 3 digits
    assert GREY_MEAN[0] == pytest.approx(float(to_grey(torch.tensor(MEAN).view(3, 1, 1))), abs=1e-3)
    fed = network_input(x, channels=1)
    assert fed.shape == (2, 1, 4, 5)
    shown = unnormalise(fed)
    assert shown.shape == (2, 3, 4, 5)
    torch.testing.assert_close(shown, to_grey(to_float(x)).expand(-1, 3, -1, -1))
