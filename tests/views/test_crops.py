"""Boxes lie inside their pictures and cover what they should; mirrors are exact."""

from __future__ import annotations

import numpy as np
import pytest

from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.keys import generator
from embodied_ssl.views.crops import centre_box, mirror, random_crop, random_resized_box, shifted_crop

SIZES = [(48, 64), (64, 48), (100, 100), (1, 1), (1, 50), (50, 1), (3, 200), (7, 5), (375, 1242)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.5, 0.6), (1.0, 1.0)])
def test_boxes_lie_inside(height: int, width: int, area: tuple[float, float]) -> None:
    rng = generator("boxes", height, width)
    for _ in range(400):  # 27 cases: over 10,000 boxes
        top, left, h, w = random_resized_box(height, width, rng, area)
        assert h >= 1
        assert w >= 1
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w


def test_areas_and_aspects_lie_in_range() -> None:
    rng = generator("areas")
    boxes = np.array([random_resized_box(400, 500, rng, (0.1, 0.5), (0.5, 2.0)) for _ in range(3000)])
    share, aspect = boxes[:, 2] * boxes[:, 3] / 200_000, boxes[:, 3] / boxes[:, 2]
    assert 0.098 <= share.min() < 0.12
    assert 0.48 < share.max() <= 0.502
    assert 0.49 <= aspect.min() < 0.55
    assert 1.8 < aspect.max() <= 2.02
    assert np.median(aspect) == pytest.approx(1, abs=0.05)  # even on a log scale
    assert share.mean() == pytest.approx(0.3, abs=0.01)


def test_boxes_reach_every_corner() -> None:
    rng = generator("corners")
    boxes = np.array([random_resized_box(20, 20, rng, (0.2, 0.3)) for _ in range(2000)])
    assert boxes[:, 0].min() == boxes[:, 1].min() == 0
    assert (boxes[:, 0] + boxes[:, 2]).max() == (boxes[:, 1] + boxes[:, 3]).max() == 20


def test_a_picture_too_narrow_for_any_box_gives_its_middle() -> None:
    assert random_resized_box(30, 300, generator(0), (1.0, 1.0)) == (0, 130, 30, 40)
    assert random_resized_box(300, 30, generator(0), (1.0, 1.0)) == (130, 0, 40, 30)


def test_the_same_key_gives_the_same_box() -> None:
    assert random_resized_box(48, 64, generator(1)) == random_resized_box(48, 64, generator(1))


@pytest.mark.parametrize(("height", "width", "box"), [(4, 10, (0, 3, 4, 4)), (10, 4, (3, 0, 4, 4)), (5, 5, (0, 0, 5, 5))])
def test_the_centre_is_the_centre(height: int, width: int, box: tuple[int, int, int, int]) -> None:
    assert centre_box(height, width) == box


def test_mirror_twice_is_the_identity_and_once_is_not() -> None:
    pixels = generator("mirror").integers(0, 256, (2, 5, 7, 3), np.uint8)
    assert np.array_equal(mirror(mirror(pixels)), pixels)
    assert np.array_equal(mirror(pixels)[:, :, 0], pixels[:, :, -1])
    assert mirror(pixels).flags.c_contiguous


def test_a_random_crop_is_mirrored_half_of_the_time() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], (48, 48, 3)).copy()
    rises = [
        bool(crop[0, 0, 0] < crop[0, -1, 0])
        for crop in (random_crop(ArrayPicture(ramp), 8, generator("half", i), (0.5, 1.0)) for i in range(1000))
    ]
    assert np.mean(rises) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_picture_gives_a_crop_of_the_size_asked_for(height: int, width: int) -> None:
    picture = ArrayPicture(np.full((height, width, 3), 77, np.uint8))
    crop = random_crop(picture, 16, generator(height, width), (0.08, 1.0))
    assert crop.shape == (16, 16, 3)
    assert crop.dtype == np.uint8
    assert (crop == 77).all()


def test_a_shifted_crop_is_the_picture_within_black_moved_or_mirrored() -> None:
    """Every outcome is one of the 2 * 9 * 9 that there are, and all of them are met equally often."""
    pixels = generator("shifted").integers(1, 256, (32, 32, 3), np.uint8)
    rim = np.pad(pixels, ((4, 4), (4, 4), (0, 0)))
    places = {}
    for top in range(9):
        for left in range(9):
            crop = rim[top : top + 32, left : left + 32]
            places[crop.tobytes()] = (top, left, 0)
            places[mirror(crop).tobytes()] = (top, left, 1)
    picture = ArrayPicture(pixels)
    drawn = [shifted_crop(picture, 32, generator("shifts", i), 4) for i in range(4000)]
    assert all(crop.flags.c_contiguous for crop in drawn)
    found = np.array([places[crop.tobytes()] for crop in drawn])
    for axis, many in ((0, 9), (1, 9), (2, 2)):
        np.testing.assert_allclose(np.bincount(found[:, axis]) / len(found), 1 / many, atol=0.025)
    assert len({tuple(place) for place in found}) == 2 * 9 * 9


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_picture_gives_a_shifted_crop(height: int, width: int) -> None:
    crop = shifted_crop(ArrayPicture(np.full((height, width, 3), 77, np.uint8)), 16, generator(height, width), 4)
    assert crop.shape == (16, 16, 3)
    assert set(np.unique(crop)) <= {0, 77}
