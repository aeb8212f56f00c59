"""Frames seen together: the same place in every frame, exactly the whole frame where asked, grey where the network is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from made_up import MemoryFrames

from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE, COLOURS, box_of_own_shape, take_together, together_input
from embodied_ssl.views.colour import change_colours
from embodied_ssl.views.pixels import network_input, normalise, to_float

WIDE = generator("wide").integers(0, 256, (3, 37, 124, 3), np.uint8)  # KITTI's shape, a tenth of its size


def test_area_one_is_exactly_the_whole_frame_squeezed() -> None:
    for key in range(20):
        assert box_of_own_shape(375, 1242, generator(key), (1.0, 1.0)) == (0, 0, 375, 1242)
    seen = take_together(MemoryFrames(WIDE), [0, 2], 32, (1.0, 1.0), False, generator(0))
    for one, whole in zip(seen, WIDE[[0, 2]], strict=True):
        np.testing.assert_array_equal(one, cv2.resize(whole, (32, 32), interpolation=cv2.INTER_AREA))


def test_boxes_keep_the_frames_shape_lie_inside_and_are_drawn_evenly_by_area() -> None:
    boxes = [box_of_own_shape(375, 1242, generator(key), (0.25, 1.0)) for key in range(2000)]
    shares = []
    for top, left, height, width in boxes:
        assert 0 <= top <= 375 - height
        assert 0 <= left <= 1242 - width
        assert width / height == pytest.approx(1242 / 375, rel=0.01)
        shares.append(height * width / (375 * 1242))
    assert min(shares) > 0.24
    assert np.mean(shares) == pytest.approx(0.625, abs=0.02)
    assert np.var(shares) == pytest.approx(0.75**2 / 12, rel=0.1)


def test_every_frame_is_cut_at_the_same_place() -> None:
    """A still recording stays still, whatever the crop and the mirror."""
    still = MemoryFrames(np.repeat(WIDE[:1], 4, axis=0))
    cuts = set()
    for key in range(6):
        seen = take_together(still, [0, 1, 3], 16, (0.3, 0.9), key % 2 == 1, generator(key))
        assert seen.shape == (3, 16, 16, 3)
        assert all(np.array_equal(seen[0], other) for other in seen[1:])
        cuts.add(seen[0].tobytes())
    assert len(cuts) == 6


def test_a_mirror_exchanges_left_and_right_in_every_frame() -> None:
    plain, mirrored = (take_together(MemoryFrames(WIDE), [0, 1], 16, (0.5, 1.0), m, generator(1)) for m in (False, True))
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_the_frames_of_an_example_change_their_colours_alike() -> None:
    """Against each picture changed alone; frames that were the same stay the same."""
    rng = generator("colours")
    pixels = torch.from_numpy(rng.integers(0, 256, (4, 1, 8, 8, 3), dtype=np.uint8)).repeat(1, 3, 1, 1, 1)
    factors = torch.from_numpy(np.stack([COLOURS.draw(rng) for _ in range(4)]))
    seen = together_input(pixels, factors, 3)
    assert seen.shape == (4, 3, 3, 8, 8)
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert torch.equal(seen[:, 0], seen[:, 2])
    for i in range(4):
        torch.testing.assert_close(seen[i, 1], normalise(change_colours(to_float(pixels[i, 1])[None], factors[i : i + 1]))[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_as_they_are_are_those_of_any_network(channels: int) -> None:
    pixels = torch.from_numpy(generator("as they are").integers(0, 256, (2, 2, 8, 8, 3), dtype=np.uint8))
    factors = torch.from_numpy(np.stack([AS_THEY_ARE.draw(generator(i)) for i in range(2)]))
    torch.testing.assert_close(
        together_input(pixels, factors, channels).flatten(0, 1), network_input(pixels.flatten(0, 1), channels), atol=1e-5, rtol=0
    )
