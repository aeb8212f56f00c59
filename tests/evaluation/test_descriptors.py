import math

import cv2
import numpy as np
import pytest

from embodied_ssl.evaluation.descriptors import hog


def slow_hog(picture: np.ndarray) -> np.ndarray:
    """Pixel by pixel and block by block."""
    grey = picture.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    at = lambda y, x: grey[min(max(y, 0), 95), min(max(x, 0), 95)]  # noqa: E731
    cells = np.zeros((12, 12, 9))
    for y in range(96):
        for x in range(96):
            down, right = at(y + 1, x) - at(y - 1, x), at(y, x + 1) - at(y, x - 1)
            degrees = math.degrees(math.atan2(down, right)) % 180
            lower, share = int(degrees // 20), degrees % 20 / 20
            cells[y // 8, x // 8, lower % 9] += (1 - share) * math.hypot(down, right)
            cells[y // 8, x // 8, (lower + 1) % 9] += share * math.hypot(down, right)
    found = []
    for y in range(11):
        for x in range(11):
            block = cells[y : y + 2, x : x + 2].ravel()
            block = np.minimum(block / max(np.linalg.norm(block), 1e-3), 0.2)
            found.append(block / max(np.linalg.norm(block), 1e-3))
    return np.concatenate(found)


def noise(size: int = 96, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (size // 4, size // 4, 3)).astype(np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def test_hog_equals_a_slow_loop() -> None:
    pictures = np.stack([noise(seed=1), noise(seed=2)])
    found = hog(pictures)
    assert found.shape == (2, 11 * 11 * 4 * 9)
    for own, picture in zip(found, pictures, strict=True):
        np.testing.assert_allclose(own, slow_hog(picture), atol=1e-5)


@pytest.mark.parametrize(("degrees", "turn"), [(0, 0), (20, 1), (80, 4), (160, 8), (200, 1)])
def test_hog_tells_the_direction_of_a_slope(degrees: int, turn: int) -> None:
    """Brightness that rises towards ``degrees`` (down the picture from the right) votes for one direction of nine."""
    y, x = np.mgrid[:96, :96] - 47.5
    slope = np.cos(np.radians(degrees)) * x + np.sin(np.radians(degrees)) * y
    picture = np.repeat((128 + 1.8 * slope).round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    votes = hog(picture[None]).reshape(-1, 9).sum(0)
    assert votes.argmax() == turn


def test_hog_does_not_mind_contrast_and_sees_nothing_in_flat_pictures() -> None:
    picture = noise(seed=3)
    dim = (picture // 4 * 2).astype(np.uint8)
    np.testing.assert_allclose(hog((dim * 2)[None]), hog(dim[None]), atol=1e-5)
    assert (hog(np.full((1, 96, 96, 3), 90, np.uint8)) == 0).all()
    assert hog(noise(48)[None]).shape == (1, 4356)  # another crop is brought to the same frame
