"""Pictures with boxes as a detector sees them: resized, perhaps mirrored, the boxes with them; read ahead in threads.

Legend: H W pixels, n objects of one picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from embodied_ssl.datasets.source import Pixels, Sample
from embodied_ssl.datasets.target import Boxes, LabelledPictures, Rows
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.pictures import READERS, Progress
from embodied_ssl.views.crops import mirror


class Shown(NamedTuple):
    """A picture as the detector sees it.

    Attributes:
        pixels: uint8 [H, W, 3].
        boxes: its objects, in these pixels.
        scale: pixels here for one pixel there: along x and along y.
    """

    pixels: Pixels
    boxes: Boxes
    scale: tuple[float, float]


def show(sample: Sample, short: int, long: int, mirrored: bool = False) -> Shown:
    """A picture with its shorter side resized to ``short``, or its longer to ``long`` where that is less; perhaps mirrored."""
    picture, boxes = sample["picture"], sample["boxes"]
    height, width = picture.size
    factor = min(short / min(height, width), long / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    pixels = picture.take((0, 0, height, width), size)
    scale = size[1] / width, size[0] / height
    corners = boxes.corners.reshape(-1, 4) * np.asarray(scale * 2, np.float32)
    if mirrored:
        pixels = mirror(pixels)
        corners = np.stack([size[1] - corners[:, 2], corners[:, 1], size[1] - corners[:, 0], corners[:, 3]], 1)
    return Shown(pixels, boxes._replace(corners=corners), scale)


def readable(source: LabelledPictures, rows: Rows, on_progress: Progress) -> tuple[Rows, list[BadItem]]:
    """The rows whose pictures can be decoded, and those that cannot."""

    def check(row: int) -> BadItem | None:
        try:
            source[row]["picture"].size  # noqa: B018  # asking for the size decodes
        except BadItem as error:
            return error
        return None

    kept, bad = [], []
    with ThreadPoolExecutor(READERS) as pool:
        for done, (row, error) in enumerate(zip(rows.tolist(), pool.map(check, rows.tolist()), strict=True), start=1):
            if error is None:
                kept.append(row)
            else:
                bad.append(error)
            if done % 256 == 0 or done == len(rows):
                on_progress(f"checking {source.name}", done, len(rows))
    return np.asarray(kept, np.intp), bad


def ahead(pool: ThreadPoolExecutor, read: Callable[[int], Shown], places: Iterable[int], count: int) -> Iterator[Shown]:
    """What ``read`` makes of each place, in order; ``count`` of them always under way."""
    waiting: deque[Future[Shown]] = deque()
    for place in places:
        waiting.append(pool.submit(read, place))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
