import numpy as np
import torch
from torch.nn import functional as F

from embodied_ssl.views.batched import crop_batch

RNG = np.random.default_rng(0)
SQUARES = torch.from_numpy(RNG.integers(0, 256, (3, 20, 20, 3), dtype=np.uint8))


def test_a_box_of_the_crops_size_comes_out_as_it_is_and_mirrored() -> None:
    boxes, mirrored = [(0, 0, 8, 8), (12, 5, 8, 8), (3, 12, 8, 8)], [False, True, False]
    cut = crop_batch(SQUARES, boxes, mirrored, 8)
    for i, (top, left, height, width) in enumerate(boxes):
        expected = SQUARES[i, top : top + height, left : left + width]
        expected = expected.flip(1) if mirrored[i] else expected
        torch.testing.assert_close(cut[i], expected.float(), atol=2e-3, rtol=0)


def test_a_whole_square_is_resized_as_torch_does() -> None:
    for size in (13, 20, 31):
        cut = crop_batch(SQUARES, [(0, 0, 20, 20)] * 3, [False] * 3, size)
        expected = F.interpolate(SQUARES.permute(0, 3, 1, 2).float(), size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(cut, expected.permute(0, 2, 3, 1), atol=1e-2, rtol=0)


def test_any_box_equals_a_slow_loop() -> None:
    top, left, height, width, size = 4, 2, 10, 15, 6
    cut = crop_batch(SQUARES[:1], [(top, left, height, width)], [False], size)[0].numpy()
    image = SQUARES[0].numpy().astype(float)
    for i in range(size):
        for j in range(size):
            y, x = top + (i + 0.5) * height / size - 0.5, left + (j + 0.5) * width / size - 0.5
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            rows = image[y0] * (1 - (y - y0)) + image[y0 + 1] * (y - y0)
            np.testing.assert_allclose(cut[i, j], rows[x0] * (1 - (x - x0)) + rows[x0 + 1] * (x - x0), atol=1e-2)
