"""Moves: nothing moved is bit-exact, moves go where they say, and no border is ever seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.views.moves import UNMOVED, Moves, move, where

STILL = Moves(translation=0, scale=0, rotation=0, mirror=0)


def test_nothing_moves_at_strength_0() -> None:
    assert STILL.draw(generator(0)).tolist() == list(UNMOVED)
    assert STILL.margin == 1
    assert STILL.source_side(33) == 33


def test_an_unmoved_patch_has_the_very_pixels_of_the_middle() -> None:
    source = torch.rand(2, 3, 20, 20)
    factors = torch.tensor([[UNMOVED, (0.1, 0, 1, 0, 1)]] * 2)
    moved = move(source, factors, 12)
    assert torch.equal(moved[:, 0], source[:, :, 4:16, 4:16])
    assert not torch.equal(moved[:, 1], source[:, :, 4:16, 4:16])


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((0.25, 0.0, 1.0, 0.0, 1.0), lambda s: s[:, 2:10, 4:12]),  # two of eight pixels to the right
        ((0.0, -0.125, 1.0, 0.0, 1.0), lambda s: s[:, 1:9, 2:10]),
        ((0.0, 0.0, 1.0, 0.0, -1.0), lambda s: s[:, 2:10, 2:10].flip(-1)),
        ((0.0, 0.0, 1.0, math.pi / 2, 1.0), lambda s: torch.rot90(s[:, 2:10, 2:10], 1, (-2, -1))),
        ((0.0, 0.0, 1.5, 0.0, 1.0), lambda s: torch.nn.functional.interpolate(s[None], size=(8, 8), mode="bilinear")[0]),
    ],
)
def test_moves_go_where_they_say(factors: tuple[float, ...], expected: object) -> None:
    """Whole pixels, quarter turns and plain zooms are known exactly."""
    source = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    moved = move(source[None], torch.tensor([[factors]]), 8)[0, 0]
    torch.testing.assert_close(moved, expected(source), rtol=0, atol=1e-5)  # type: ignore[operator]


def test_no_move_leaves_the_source() -> None:
    """Crops are taken from the larger source: the strongest moves, all corners of them, see no border."""
    for moves in (Moves(), Moves(translation=0.4, scale=1, rotation=80), Moves(0, 0, 20), Moves(0.2, 0, 0), STILL):
        size = 16
        side = moves.source_side(size)
        strong = [
            (right, down, 2**zoom, math.radians(turn), 1.0)
            for right in (-moves.translation, moves.translation)
            for down in (-moves.translation, moves.translation)
            for zoom in (-moves.scale, moves.scale)
            for turn in np.linspace(-moves.rotation, moves.rotation, 9)
        ]
        place = where(torch.tensor([strong]), size, side)
        assert float(place.abs().max()) <= 1 - 1 / side + 1e-5  # the middles of the outermost pixels


def test_strengths_are_what_is_drawn() -> None:
    moves = Moves(mirror=0.5)
    drawn = np.stack([moves.draw(generator(i)) for i in range(2000)])
    assert np.abs(drawn[:, :2]).max() == pytest.approx(0.2, abs=0.001)
    assert drawn[:, 2].min() == pytest.approx(0.7071, abs=0.001)
    assert drawn[:, 2].max() == pytest.approx(1.4142, abs=0.002)
    assert np.degrees(np.abs(drawn[:, 3])).max() == pytest.approx(20, abs=0.1)
    assert drawn[:, 4].mean() == pytest.approx(0, abs=0.06)
    assert np.median(drawn[:, 2]) == pytest.approx(1, abs=0.03)


def test_negative_strengths_are_refused() -> None:
    with pytest.raises(UserError, match="give strengths of at least 0"):
        Moves(rotation=-1)
