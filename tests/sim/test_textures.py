"""Textures repeat without a seam, and are the same whenever they are asked for."""

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim.render.textures import BANK, SIZE, from_bank, texture


@pytest.mark.parametrize("number", range(0, BANK, 3))
def test_a_texture_repeats_without_a_seam(number):
    pixels = from_bank(number).astype(float)
    for axis in (0, 1):
        inside = np.abs(np.diff(pixels, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.abs(np.take(pixels, 0, axis) - np.take(pixels, -1, axis)).mean()
        assert seam <= inside.max() + 1


def test_the_bank_is_the_same_each_time_and_its_textures_differ():
    assert from_bank(7) is from_bank(7)
    assert (texture(generator("texture", 7)) == from_bank(7)).all()
    assert len({from_bank(number).tobytes() for number in range(BANK)}) == BANK
    assert from_bank(3).shape == (SIZE, SIZE, 3)
    assert from_bank(-1) is None


def test_a_texture_shows_something():
    assert min(from_bank(number).std() for number in range(BANK)) > 5


def test_a_number_beyond_the_bank_is_refused():
    with pytest.raises(ValueError, match="texture 64 is not in the bank; give 0 to 63"):
        from_bank(BANK)
