"""Memory for pictures, used again once nobody holds the picture any more.

Fresh memory of this size comes from the system and costs a page fault for every 4 kB: a quarter of a picture's time at 224 x 224.
"""

from __future__ import annotations

import sys
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels

Arrays = tuple[Pixels, NDArray[np.float32], NDArray[np.int32]]
_EACH, _SIZES = 4, 4  # pictures kept of a size, sizes
_LARGEST = 512 * 512  # pixels; larger ones cost more to draw than to have memory for


class Spare:
    """Arrays for colour, depth and ids of a size.

    Whoever holds an array, a part of it or a buffer over it counts: it is not given out again before they let go.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], list[Arrays]] = OrderedDict()

    def take(self, height: int, width: int) -> Arrays:
        """Colour uint8 [h, w, 3], depth float32 [h, w] and ids int32 [h, w], to be written over as a whole."""
        size = height, width
        if height * width > _LARGEST:
            return _fresh(size)
        kept = self._kept.setdefault(size, [])
        self._kept.move_to_end(size)
        if len(self._kept) > _SIZES:
            self._kept.popitem(last=False)
        for place in range(len(kept)):
            if _holders(kept[place]) == _NOBODY:
                return kept[place]
        arrays = _fresh(size)
        if len(kept) < _EACH:
            kept.append(arrays)
        return arrays


def _fresh(size: tuple[int, int]) -> Arrays:
    return np.empty((*size, 3), np.uint8), np.empty(size, np.float32), np.empty(size, np.int32)


def _holders(arrays: Arrays) -> tuple[int, ...]:
    """How often each is referred to, what this function itself adds included."""
    return tuple(sys.getrefcount(array) for array in arrays)


_NOBODY = _holders(_fresh((1, 1)))  # but the tuple they are kept in
