"""What plain image statistics know: the floor under every network, and for scenes a high one.

``raw16`` is the picture itself at 16 x 16 grey pixels, ``colour_histogram`` its colours without their places, ``hog`` the
directions of its edges in small cells (Dalal and Triggs 2005), ``gist`` the energy of oriented edges on a coarse grid (Oliva and
Torralba 2001). They see the same centre crop as the networks.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, Progress, silent

GIST_SIDE = 128  # pixels after padding; filters are defined on this frame
GIST_SCALES = 4
GIST_TURNS = 8
GIST_GRID = 4
HOG_SIDE = 96  # pixels to which the crop is brought
HOG_CELL = 8
HOG_TURNS = 9  # directions in half a turn: light to dark counts as dark to light
HOG_CLIP = 0.2


def describe(name: str, pictures: Pictures, preprocessing: Preprocessing, on_progress: Progress = silent) -> FeatureTable:
    """One descriptor of every picture, as a table with one layer of the descriptor's name.

    Raises:
        UserError: no such descriptor.
    """
    if name not in DESCRIPTORS:
        raise UserError(f"no descriptor '{name}'{suggest(name, DESCRIPTORS)}")
    rows = []
    for start in range(0, len(pictures.pixels), 32):
        rows.append(DESCRIPTORS[name](preprocessing.centre(pictures.pixels[start : start + 32])))
        on_progress(f"descriptor {name}", min(start + 32, len(pictures.pixels)), len(pictures.pixels))
    return FeatureTable(name, {name: np.concatenate(rows)}, pictures.labels, pictures.recordings, pictures.bad, pictures.tags)


def raw16(pixels: Pixels) -> NDArray[np.float32]:
    """Uint8 [N, S, S, 3] to grey 16 x 16, area-averaged: float32 [N, 256]."""
    small = [cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA) for picture in pixels]
    return np.asarray(_grey(np.stack(small)).reshape(len(pixels), 256), np.float32)


def colour_histogram(pixels: Pixels) -> NDArray[np.float32]:
    """Uint8 [N, S, S, 3] to the shares of 4 x 4 x 4 RGB cells: float32 [N, 64], rows sum to 1."""
    cells = (pixels // 64).astype(np.int64) @ np.array([16, 4, 1])
    counts = [np.bincount(cell.ravel(), minlength=64) for cell in cells]
    return np.asarray(np.stack(counts) / (pixels.shape[1] * pixels.shape[2]), np.float32)


def hog(pixels: Pixels) -> NDArray[np.float32]:
    """Uint8 [N, S, S, 3] to histograms of gradient directions, in 12 x 12 cells and blocks of 2 x 2: float32 [N, 4356].

    Each pixel votes with the length of its gradient for the two directions nearest to its own. A block's 36 values are divided by
    their length, clipped at 0.2 and divided again, so contrast does not matter; a flat block is 0. Dalal and Triggs also spread
    votes over neighbouring cells and weigh a block's middle more; ours do not.
    """
    grey = _grey(np.stack([cv2.resize(picture, (HOG_SIDE, HOG_SIDE), interpolation=cv2.INTER_AREA) for picture in pixels]))
    framed = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down, right = framed[:, 2:, 1:-1] - framed[:, :-2, 1:-1], framed[:, 1:-1, 2:] - framed[:, 1:-1, :-2]
    place = np.mod(np.arctan2(down, right) / np.pi, 1) * HOG_TURNS
    lower = np.floor(place).astype(np.int64)
    length, share = np.hypot(down, right), place - lower
    last = HOG_SIDE // HOG_CELL - 1
    cells = np.zeros((len(grey), HOG_SIDE // HOG_CELL, HOG_SIDE // HOG_CELL, HOG_TURNS), np.float32)
    for turn in range(HOG_TURNS):
        votes = length * ((lower % HOG_TURNS == turn) * (1 - share) + ((lower + 1) % HOG_TURNS == turn) * share)
        cells[..., turn] = votes.reshape(len(grey), *2 * (HOG_SIDE // HOG_CELL, HOG_CELL)).sum((2, 4))
    corners = [cells[:, i : i + last, j : j + last] for i in (0, 1) for j in (0, 1)]
    blocks = _unit(np.minimum(_unit(np.concatenate(corners, axis=3)), HOG_CLIP))
    return np.asarray(blocks.reshape(len(grey), -1), np.float32)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-3), np.float32)


def gist(pixels: Pixels) -> NDArray[np.float32]:
    """Uint8 [N, S, S, 3] to Gabor energies of 4 scales and 8 directions on a 4 x 4 grid: float32 [N, 512]."""
    size = 3 * GIST_SIDE // 4
    grey = _grey(np.stack([cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) for picture in pixels]))
    border = (GIST_SIDE - size) // 2
    frame = torch.from_numpy(np.pad(grey, ((0, 0), (border, border), (border, border)), mode="symmetric"))
    spectrum = torch.fft.fft2(_even_contrast(frame))
    found = []
    for scale in range(GIST_SCALES):
        # The coarse scales hold no high frequencies: a smaller inverse transform gives the same energies for less.
        side = (GIST_SIDE, GIST_SIDE, GIST_SIDE // 2, GIST_SIDE // 4)[scale]
        part = _low_frequencies(spectrum, side)
        inner = slice(side * border // GIST_SIDE, side - side * border // GIST_SIDE)
        for turn in range(GIST_TURNS):
            energy = torch.fft.ifft2(part * _gabor(scale, turn, side)).abs()[:, inner, inner]
            found.append(torch.nn.functional.adaptive_avg_pool2d(energy[:, None], GIST_GRID).flatten(1))
    return np.asarray(torch.cat(found, dim=1).numpy(), np.float32)


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255, np.float32)


def _frequencies(side: int, full: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal frequency in cycles per pixel of the full frame, for the lowest ``side`` of ``full``."""
    line = torch.fft.fftfreq(side) * side / full
    vertical, horizontal = torch.meshgrid(line, line, indexing="ij")
    return vertical, horizontal


def _even_contrast(frame: torch.Tensor) -> torch.Tensor:
    """Log intensity without its slow part, divided by the local deviation: shadows and exposure matter less."""
    log = torch.log1p(frame * 255)
    vertical, horizontal = _frequencies(GIST_SIDE, GIST_SIDE)
    cut = 4 / GIST_SIDE / np.sqrt(np.log(2.0))  # four cycles a frame
    slow = torch.exp(-(vertical**2 + horizontal**2) / cut**2)
    fast = log - torch.fft.ifft2(torch.fft.fft2(log) * slow).real
    deviation = torch.fft.ifft2(torch.fft.fft2(fast**2) * slow).real.clamp_min(0).sqrt()
    even: torch.Tensor = fast / (0.2 + deviation)
    return even


def _low_frequencies(spectrum: torch.Tensor, side: int) -> torch.Tensor:
    """The lowest ``side`` x ``side`` of a spectrum [N, F, F], scaled so that an inverse transform keeps amplitudes."""
    full = spectrum.shape[-1]
    if side == full:
        return spectrum
    keep = torch.cat([torch.arange(side // 2), torch.arange(full - side // 2, full)])
    return spectrum[:, keep][:, :, keep] * (side / full) ** 2


def _gabor(scale: int, turn: int, side: int) -> torch.Tensor:
    """One direction and one octave-wide band, on one side of the spectrum: [side, side]."""
    vertical, horizontal = _frequencies(side, GIST_SIDE)
    radius = torch.hypot(vertical, horizontal)
    angle = torch.atan2(vertical, horizontal) + np.pi / GIST_TURNS * turn
    angle = torch.remainder(angle + np.pi, 2 * np.pi) - np.pi
    width = 16 * GIST_TURNS**2 / 32**2
    peak = 0.3 / 1.85**scale
    return torch.exp(-3.5 * (radius / peak - 1) ** 2 - 2 * width * np.pi * angle**2)


DESCRIPTORS: dict[str, Callable[[Pixels], NDArray[np.float32]]] = {
    "raw16": raw16,
    "colour_histogram": colour_histogram,
    "hog": hog,
    "gist": gist,
}
