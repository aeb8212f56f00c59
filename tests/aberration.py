"""Pictures as a simple lens shows them: red and blue a little larger than green, about the picture's centre.

So colours part from each other the more, the further from the centre a thing lies, and away from it: fringes that tell place.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.keys import generator

Colours = tuple[float, float, float]  # of red, green and blue


def scene(number: int, height: int = 120, width: int = 160) -> Pixels:
    """A made-up scene uint8 [height, width, 3]: blurred noise at three scales, mostly grey, the same everywhere on average."""
    rng = generator(0, "scene", number)

    def noise(sigma: float, channels: int) -> NDArray[np.float64]:
        field = cv2.GaussianBlur(rng.standard_normal((height, width, channels)), (0, 0), sigma).reshape(height, width, channels)
        return np.asarray(field / field.std(), np.float64)

    grey = noise(1.2, 1) + noise(3, 1) + noise(8, 1)
    coloured = noise(1.5, 3) + noise(6, 3)
    pixels = 128 + 22 * grey + 6 * coloured
    return pixels.clip(0, 255).astype(np.uint8)


def through_a_lens(pixels: Pixels, magnified: Colours) -> Pixels:
    """Each channel magnified about the centre by its own factor, 1 for none; what would lie outside is mirrored at the edge."""
    height, width = pixels.shape[:2]
    channels = []
    for channel, factor in zip(cv2.split(pixels), magnified, strict=True):
        shift = [(1 - factor) * (width - 1) / 2, (1 - factor) * (height - 1) / 2]
        matrix = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
        channels.append(cv2.warpAffine(channel, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return np.stack(channels, axis=-1)


def colour_shifts(patches: NDArray[np.floating]) -> NDArray[np.float64]:
    """How the channels of each patch lie beside each other, [n, 24] from [n, 3, S, S]: what second-order statistics tell.

    For every two channels the covariance of one with the other moved by 1 to 4 pixels, less that moved as far the other way,
    along both axes, over the geometric mean of their variances. 0 on average where no channel is displaced against another.
    """
    centred = patches - patches.mean(axis=(2, 3), keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=(2, 3))) + 1e-6
    found = []
    for one, other in ((0, 1), (1, 2), (0, 2)):
        a, b = centred[:, one], centred[:, other]
        scale = spread[:, one] * spread[:, other]
        for axis in (1, 2):
            for shift in (1, 2, 3, 4):
                size = a.shape[axis] - shift
                early, late = (np.s_[:, :size], np.s_[:, shift:]) if axis == 1 else (np.s_[:, :, :size], np.s_[:, :, shift:])
                found.append(((a[late] * b[early]).mean(axis=(1, 2)) - (a[early] * b[late]).mean(axis=(1, 2))) / scale)
    return np.stack(found, axis=1)
