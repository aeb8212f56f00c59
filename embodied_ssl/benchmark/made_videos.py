"""Test videos made on the spot: a camera wandering over a rough surface, with every frame's number along its upper edge.

The texture has the falling spectrum of natural scenes, so H.264 spends on it what it spends on real footage; the number
lets the benchmark see whether a feed returned the frame it was asked for.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.array_cache import cache_folder
from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.files import atomic
from embodied_ssl.keys import generator

VERSION = 1  # of what is drawn; raise it when that changes
RATE = 30  # frames a second
STRIP = 9  # the numbers fill the upper 1/9 of a frame
SURFACE = 1024  # side of the surface, which repeats


@dataclass(frozen=True)
class MadeVideo:
    """What a test video is to be.

    Attributes:
        height: of its frames, in pixels; they are 16:9.
        gop: frames from one keyframe to the next.
        seconds: how long.
    """

    height: int
    gop: int
    seconds: int

    def __len__(self) -> int:
        return self.seconds * RATE

    @property
    def title(self) -> str:
        return f"{self.height}p, GOP {self.gop}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame; the width a multiple of 16, so that the numbers' 16 blocks fill it."""
        return self.height, round(self.height / 9) * 16

    @property
    def path(self) -> Path:
        folder = cache_folder().parent / "benchmark"
        return folder / f"made{VERSION}_{self.height}p_gop{self.gop}_{self.seconds}s.mp4"

    def make(self) -> Path:
        """The file, made if it is not there yet: x264 veryfast, constant quality 24, a keyframe every ``gop`` frames."""
        if self.path.exists():
            return self.path
        every = str(self.gop)
        options = {"preset": "veryfast", "crf": "24", "g": every, "keyint_min": every, "sc_threshold": "0"}
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made.mp4"
            write_video(made, (drawn(number, self.size) for number in range(len(self))), "libx264", RATE, options)
            with atomic(self.path) as file:
                file.write(made.read_bytes())
        return self.path

    def megabits(self) -> float:
        """Megabits a second of the file."""
        return self.path.stat().st_size * 8 / self.seconds / 1e6


def drawn(number: int, size: tuple[int, int]) -> Pixels:
    """Frame ``number`` before it is encoded: uint8 RGB [*size, 3]."""
    height, width = size
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moving = cv2.warpAffine(surface(), _seen_from(number, size), (width, height), flags=how, borderMode=cv2.BORDER_WRAP)
    strip = height // STRIP
    moving[:strip] = numbered(number, (3 * strip, width))[:strip]
    return np.asarray(moving, np.uint8)


def number_in(frame: Pixels) -> int:
    """The number along the upper edge of a frame uint8 RGB [h, w, 3] of any size."""
    return number_shown(frame[: 3 * frame.shape[0] // STRIP])


def _seen_from(number: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """Where the camera stands at a frame: the affine map [2, 3] from its pixels to the surface's.

    It drifts, sways, breathes and rolls slowly, as one worn on a head does; near enough the same part for all sizes.
    """
    time = number / RATE
    scale = 360 / size[0] * (0.6 + 0.1 * np.sin(0.31 * time))
    roll = 0.15 * np.sin(0.47 * time)
    x = 40 * time + 30 * np.sin(1.3 * time)
    y = 25 * time + 20 * np.sin(1.9 * time + 1)
    cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
    return np.array([[cosine, -sine, x % SURFACE], [sine, cosine, y % SURFACE]])


@lru_cache(1)
def surface() -> Pixels:
    """The surface: noise with a 1/f spectrum in soft colours, uint8 RGB [side, side, 3]; it repeats at its borders."""
    across = np.fft.fftfreq(SURFACE)
    frequency = np.maximum(np.hypot(across[:, None], across[None]), 1 / SURFACE)
    noise = np.fft.fft2(generator("benchmark surface", VERSION).standard_normal((4, SURFACE, SURFACE)))
    noise[0] /= frequency
    noise[1:] /= frequency**1.6  # colours change more slowly than brightness
    layers = np.fft.ifft2(noise).real
    layers /= layers.std(axis=(1, 2), keepdims=True)
    picture: Pixels = np.clip(128 + 60 * layers[0] + 25 * layers[1:], 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(picture)
