"""Frames of one recording, seen together: through one crop, one mirror, at one size.

Where the camera went shows in where things moved to in the picture. If each frame had a crop of its own, 12 pixels between
the crops of a KITTI frame would look like a degree of turning that never was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embodied_ssl.core import Asks
from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.source import Box, Frames, Pixels
from embodied_ssl.views.crops import mirror

GREY_OR_COLOUR = Asks(channels=(1, 3))  # of methods that render with as many channels as their backbone has


def take_together(
    frames: Frames, numbers: Sequence[int], size: int, area: tuple[float, float], mirrored: bool, rng: np.random.Generator
) -> Pixels:
    """Frames of one recording through one crop, squeezed square: uint8 [n, size, size, 3].

    Args:
        frames: the recording.
        numbers: of the n frames.
        size: side in pixels.
        area: least and greatest share of the frame that the crop covers; (1, 1) is the whole frame, squeezed.
        mirrored: whether left and right are exchanged.
        rng: keyed generator.

    Raises:
        BadItem: a frame cannot be read.
    """
    whole = frames.take(list(numbers))
    box = box_of_own_shape(whole.shape[1], whole.shape[2], rng, area)
    cut = np.stack([crop_and_resize(frame, box, (size, size)) for frame in whole])
    return mirror(cut) if mirrored else cut


def box_of_own_shape(height: int, width: int, rng: np.random.Generator, area: tuple[float, float]) -> Box:
    """A box as wide for its height as the frame, anywhere in it, so that all crops are squeezed alike.

    Args:
        height, width: of the frame.
        rng: keyed generator.
        area: least and greatest share of the frame's area, drawn evenly.
    """
    scale = math.sqrt(rng.uniform(*area))
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
