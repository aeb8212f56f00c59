"""Choosing the part of a picture to look at: in the worker, in whole pixels, from a keyed generator."""

from __future__ import annotations

import math

import numpy as np

from embodied_ssl.datasets.source import Box, Picture, Pixels
from embodied_ssl.errors import BadItem, UserError

LEAST = 8  # pixels a side, of a picture and of what is cut from it


def check_crop(size: int, area: tuple[float, float], least: int = LEAST) -> None:
    """Refuse crops that cannot be made.

    Raises:
        UserError: a side under ``least`` pixels, or shares that are not 0 < least <= greatest <= 1.
    """
    if size < least:
        raise UserError(f"size is {size}; give at least {least} pixels")
    if not 0 < area[0] <= area[1] <= 1:
        raise UserError(f"area is {area[0]},{area[1]}; give the least and the greatest share of the picture, within 0..1")


def random_resized_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A box of random area and aspect (Inception crop): up to ten tries, then the largest centred box of a legal aspect.

    Args:
        height, width: of the picture.
        rng: keyed generator.
        area: least and greatest share of the picture's area, drawn evenly.
        aspect: least and greatest width / height, drawn evenly on a log scale.
    """
    for _ in range(10):
        wanted = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * aspect[1])), min(height, round(width / aspect[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def centre_box(height: int, width: int) -> Box:
    """The largest centred square."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def check_picture(picture: Picture, least: int = LEAST) -> None:
    """Refuse pictures in which nothing can be seen, however much they are enlarged: rules, dots and counters of web pages.

    Raises:
        BadItem: a side is under ``least`` pixels, or the picture cannot be read.
    """
    height, width = picture.size
    if min(height, width) < least:
        raise BadItem(picture.name, f"is {height} x {width} pixels (height, width), too few to see anything; {least} are needed")


def random_crop(picture: Picture, size: int, rng: np.random.Generator, area: tuple[float, float]) -> Pixels:
    """A random resized crop, mirrored half of the time: uint8 [size, size, 3]."""
    height, width = picture.size
    pixels = picture.take(random_resized_box(height, width, rng, area), (size, size))
    return mirror(pixels) if rng.random() < 0.5 else pixels


def shifted_crop(picture: Picture, size: int, rng: np.random.Generator, padding: int) -> Pixels:
    """A picture's largest centred square at the crop's size, shifted and mirrored half of the time: uint8 [size, size, 3].

    It is what small pictures (CIFAR) are cropped by: nothing of a square picture of this size is resized.

    Args:
        picture: of any shape.
        size: side in pixels.
        rng: keyed generator.
        padding: the greatest shift each way in pixels, drawn evenly; what lies beyond the square is black.
    """
    square = picture.take(centre_box(*picture.size), (size, size))
    top, left = (int(place) for place in rng.integers(2 * padding + 1, size=2))
    pixels = np.pad(square, ((padding, padding), (padding, padding), (0, 0)))[top : top + size, left : left + size]
    return mirror(pixels) if rng.random() < 0.5 else np.ascontiguousarray(pixels)


def mirror(pixels: Pixels) -> Pixels:
    """Left and right exchanged, for uint8 [..., H, W, 3]."""
    return np.ascontiguousarray(pixels[..., ::-1, :])
