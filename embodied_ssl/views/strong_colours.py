"""Strong changes of colour: contrast along the principal colours of the data, and powers, factors and shifts in HSV.

Dosovitskiy et al. 2014, section 3. Much stronger than `embodied_ssl.views.colour`, and not affine: saturation and brightness
are raised to a power. Factors are drawn in the worker and applied to a whole batch on the device. Ranges that multiply are
drawn evenly on a log scale, so that 2 and 1/2 are as likely as each other (the paper draws evenly between the two).

Legend: n pictures, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.views.pixels import to_grey

PICTURES_LOOKED_AT = 256  # to find the principal colours
THUMBNAIL = 24
TINY = 1e-12


@dataclass(frozen=True)
class StrongColours:
    """How strongly colours change; 0 everywhere leaves them as they are. Defaults are the paper's, but for ``grey``.

    Args:
        contrast: of each principal colour on its own, in octaves: 1 multiplies it by 0.5 to 2.
        power: saturation and brightness, each on its own, are raised to a power; in octaves: 2 is 0.25 to 4.
        factor: by which they are then multiplied, in octaves: 0.5 is 0.71 to 1.41.
        shift: greatest number then added to or taken from them.
        hue: greatest turn of the colour circle either way, in turns.
        grey: share of pictures made grey at the end.
    """

    contrast: float = 1.0
    power: float = 2.0
    factor: float = 0.5
    shift: float = 0.1
    hue: float = 0.1
    grey: float = 0.0

    def __post_init__(self) -> None:
        if min(self.contrast, self.power, self.factor, self.shift, self.hue, self.grey) < 0 or self.grey > 1:
            raise UserError(f"colours are {self}; give strengths of at least 0 (grey: a share within 0..1)")

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Factors for one picture, float32 [11]: contrast (3), power, factor and shift of S and V (2 each), hue, grey (0 / 1)."""
        octaves = np.array([self.contrast] * 3 + [self.power] * 2 + [self.factor] * 2)
        multiplied = 2 ** rng.uniform(-octaves, octaves)
        added = rng.uniform(-1, 1, 3) * np.array([self.shift, self.shift, self.hue])
        return np.array([*multiplied, *added, float(rng.random() < self.grey)], np.float32)


UNCHANGED = (1.0,) * 7 + (0.0,) * 4


def principal_colours(source: Source, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean colour [3] and the principal axes [3, 3] (columns, strongest first) of the pixels of some pictures, in 0..1.

    Of at most 256 pictures, each as a thumbnail of the same size; those that cannot be read are left out.

    Raises:
        UserError: none can be read.
    """
    thumbnails = []
    for index in rng.permutation(len(source))[:PICTURES_LOOKED_AT]:
        try:
            picture = source[int(index)]["picture"]
            height, width = picture.size
            thumbnails.append(picture.take((0, 0, height, width), (THUMBNAIL, THUMBNAIL)))
        except BadItem:
            continue
    if not thumbnails:
        raise UserError(f"none of the pictures looked at can be read in {source.name}; check the data folder")
    pixels = np.stack(thumbnails).reshape(-1, 3) / 255
    _, axes = np.linalg.eigh(np.cov(pixels, rowvar=False))
    axes = axes[:, ::-1] * np.where(axes[:, ::-1].sum(0) < 0, -1.0, 1.0)  # a sign of their own, the same on every machine
    return pixels.mean(0).astype(np.float32), np.ascontiguousarray(axes, np.float32)


def change_strongly(pictures: Tensor, factors: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """Change colours: contrast, then saturation and brightness, then hue, then grey. Factors of 1 and 0 change no bit.

    Args:
        pictures: float [n, 3, H, W] in 0..1.
        factors: float [n, 11], see `StrongColours.draw`.
        mean, axes: [3] and [3, 3], see `principal_colours`.

    Returns:
        Float [n, 3, H, W] in 0..1.
    """
    contrasted = contrast(pictures, factors[:, :3], mean, axes)
    changed = change_hsv(contrasted, factors[:, 3:5], factors[:, 5:7], factors[:, 7:9], factors[:, 9])
    changed = torch.where((factors[:, 10] > 0).view(-1, 1, 1, 1), to_grey(changed), changed)
    same = (factors == torch.tensor(UNCHANGED, device=factors.device)).all(1)
    return torch.where(same.view(-1, 1, 1, 1), pictures, changed)


def contrast(pictures: Tensor, factors: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """Multiply what pixels have along each principal colour, seen from the mean colour, by a factor [n, 3]; kept in 0..1."""
    matrix = axes @ torch.diag_embed(factors - 1) @ axes.T  # what is added, so that factors of 1 add exactly nothing
    centred = pictures - mean.view(3, 1, 1)
    return (pictures + torch.einsum("nij,njhw->nihw", matrix, centred)).clamp(0, 1)


def change_hsv(pictures: Tensor, power: Tensor, factor: Tensor, shift: Tensor, hue: Tensor) -> Tensor:
    """Saturation and value to a power, times a factor, plus a shift (each [n, 2]: S, V); hue turned by [n] turns.

    S and V are kept in 0..1. A pixel without saturation has no hue and stays grey, whatever is added: HSV would call it red.

    Args:
        pictures: float [n, 3, H, W] in 0..1.
        power, factor, shift, hue: see above.
    """
    h, s, v = to_hsv(pictures)
    powers, factors, shifts = (x.view(-1, 2, 1, 1) for x in (power, factor, shift))
    new_s = (s.clamp_min(TINY) ** powers[:, 0] * factors[:, 0] + shifts[:, 0]).clamp(0, 1)
    new_v = (v.clamp_min(TINY) ** powers[:, 1] * factors[:, 1] + shifts[:, 1]).clamp(0, 1)
    return from_hsv(h + hue.view(-1, 1, 1), torch.where(s > 0, new_s, 0.0), new_v)


def to_hsv(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB [n, 3, H, W] in 0..1 to hue in turns, saturation and value, [n, H, W] each; greys have hue and saturation 0."""
    red, green, blue = pictures.unbind(1)
    value, least = pictures.amax(1), pictures.amin(1)
    spread = value - least
    divisor = spread.clamp_min(TINY)
    of_red, of_green, of_blue = (green - blue) / divisor, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
    hue = torch.where(value == red, of_red, torch.where(value == green, of_green, of_blue)) / 6 % 1
    return torch.where(spread > 0, hue, 0.0), spread / value.clamp_min(TINY), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue in turns (of any number), saturation and value [n, H, W] to RGB [n, 3, H, W]."""
    sixth = torch.stack([(hue * 6 + offset) % 6 for offset in (5, 3, 1)], dim=1)
    away = torch.minimum(sixth, 4 - sixth).clamp(0, 1)  # how much of the saturation a channel lacks
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * away)
