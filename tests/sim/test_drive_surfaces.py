"""Textures: pale, without seams, and always the same."""

import subprocess
import sys

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim.drive.rooms import furnish
from embodied_ssl.sim.drive.surfaces import KINDS, VARIANTS, smooth, surface
from embodied_ssl.sim.drive.town.stock import stock_of
from embodied_ssl.sim.drive.town.town import build_town


@pytest.mark.parametrize("kind", KINDS)
def test_a_texture_is_pale_and_repeats_without_a_seam(kind):
    for variant in range(VARIANTS):
        picture = surface(kind, variant)
        assert picture.shape == (128, 128, 3)
        assert 140 < picture.mean() < 252  # it is to be tinted: dark ones would swallow colours
        assert picture.std() > 1
        grey = picture[..., 0].astype(float)
        for axis in (0, 1):
            steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
            seam = np.abs(np.take(grey, 0, axis) - np.take(grey, -1, axis)).mean()
            assert seam <= steps.max() * 1.3 + 3, (variant, axis)


def test_a_process_keeps_textures_and_stocks():
    assert surface("planks", 1) is surface("planks", 1)
    assert not surface("planks", 1).flags.writeable
    assert stock_of(3, True) is stock_of(3, True)
    first, second = stock_of(3, True).houses[0].things, stock_of(3, True).houses[0].things
    assert all(one.mesh is two.mesh for one, two in zip(first, second, strict=True))


def test_noise_repeats_and_stays_within_its_range():
    noise = smooth(generator("noise"), (60, 80), (5, 7))
    assert 0 <= noise.min() < noise.max() <= 1
    assert np.abs(noise[0] - noise[-1]).max() < 0.2
    assert np.abs(noise[:, 0] - noise[:, -1]).max() < 0.2


def test_another_process_makes_the_same():
    script = """
import hashlib
from embodied_ssl.sim.drive.surfaces import KINDS, surface
from embodied_ssl.sim.drive.town.stock import stock_of
stock_of(2, False)
print(hashlib.sha256(b"".join(surface(kind, 2).tobytes() for kind in KINDS)).hexdigest())
print(hashlib.sha256(b"".join(one.mesh.points.tobytes() for model in stock_of(1, True).cars for one in model.things)).hexdigest())
"""
    runs = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_rooms_and_towns_bear_textures_only_when_asked():
    for textured in (False, True):
        room, town = furnish("office", generator("cloth"), textured=textured), build_town(generator("cloth"), textured)
        found = [one.texture is not None for one in room.seen(None, None)] + [one.texture is not None for one in town.ground]
        assert any(found) == textured
