"""Frames of one recording, seen together: through one crop, one mirror, one change of colours, at one size.

Where the camera went shows in where things moved to in the picture. If each frame had a crop of its own, 12 pixels between
the crops of a KITTI frame would look like a degree of turning that never was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from embodied_ssl.core import Asks
from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.source import Box, Frames, Pixels
from embodied_ssl.views.colour import ColourChange, change_colours
from embodied_ssl.views.crops import mirror
from embodied_ssl.views.pixels import fold, normalise, to_float, to_grey, unfold

GREY_OR_COLOUR = Asks(channels=(1, 3))  # of methods that render with as many channels as their backbone has
# Half of the examples are grey, so that what is learnt on one car's colours serves elsewhere, on grey photographs too.
COLOURS = ColourChange(hue=0.0, grey=0.5)
AS_THEY_ARE = ColourChange(change=0.0, grey=0.0)  # as in the papers


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


def together_input(pixels: Tensor, colours: Tensor, channels: int) -> Tensor:
    """Frames under one change of colours, ready for the network: in colour, or in luminance for one channel.

    Args:
        pixels: uint8 [B, n, S, S, 3], n frames of each example.
        colours: factors [B, 6] of `ColourChange`, the same for all frames of an example.
        channels: C, 1 or 3.

    Returns:
        Normalised float32 [B, n, C, S, S].
    """
    n = pixels.shape[1]
    pictures = change_colours(to_float(fold(pixels)), colours.repeat_interleave(n, 0))
    return unfold(normalise(to_grey(pictures) if channels == 1 else pictures), n)
