"""Seeds: patches with something to see, drawn from pictures in proportion to the strength of their gradients.

Sky and walls look alike everywhere, so a patch of them makes a class that nothing tells from others; Dosovitskiy et al. 2014
draw patches with chances proportional to their mean squared gradient. Within a picture so do we; the pictures themselves are
drawn alike. Gradients are looked at in a small copy of the picture, in luminance.

Legend: N seeds, H W pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Box, Picture, Pixels, Source
from embodied_ssl.errors import BadItem, UserError

LOOKED_AT = 160  # shorter side of the small copy, at most
LEAST_SIDE = 8  # pixels of a seed
MARK = 4  # a seed is recognised by its source, shrunk to so many pixels a side
SAME = 2.0  # mean difference in grey levels up to which it is the same: decoders differ by less


@dataclass(frozen=True)
class SeedSize:
    """How large seeds are.

    Args:
        least, most: side of a seed's *source*, as a share of the picture's shorter side; drawn evenly.
        margin: sides of the seed in its source, see `embodied_ssl.views.moves.Moves`.
    """

    least: float
    most: float
    margin: float


class Square(NamedTuple):
    """A seed's source in pixels of its picture; the seed is its middle, ``side / margin`` wide."""

    top: int
    left: int
    side: int

    @property
    def box(self) -> Box:
        return self.top, self.left, self.side, self.side


def gradient_energy(pixels: Pixels) -> NDArray[np.float64]:
    """The squared length of the gradient of luminance (0..1 a pixel) at every pixel of uint8 [H, W, 3]: [H, W]."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    down, right = np.gradient(grey)
    return np.asarray(down**2 + right**2)


def patch_means(energy: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The mean over every square of ``side`` pixels, by its top left corner: [H - side + 1, W - side + 1]."""
    sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    means: NDArray[np.float64] = np.maximum(total, 0) / side**2
    return np.where(means > 1e-12, means, 0)  # what rounding leaves of nothing


def draw_seed(picture: Picture, size: SeedSize, rng: np.random.Generator, taken: Sequence[Square] = (), name: str = "") -> Square:
    """Where there is something to see: a square whose middle is drawn with a chance proportional to its mean gradient energy.

    Args:
        picture: of any size.
        size: of seeds.
        rng: keyed generator.
        taken: sources of earlier seeds; the new seed's centre keeps half a side away from each of theirs.
        name: of the picture, for messages.

    Raises:
        BadItem: the picture is too small, flat, or has no room left beside ``taken``.
    """
    height, width = picture.size
    short = min(height, width)
    side = short * rng.uniform(size.least, size.most)
    if side / size.margin < LEAST_SIDE:
        least = math.ceil(LEAST_SIDE * size.margin / size.least)
        raise BadItem(name, f"{width} x {height} pixels are too few to cut a seed from; {least} each way would do")
    shrink = min(1.0, LOOKED_AT / short)
    small = picture.take((0, 0, height, width), (max(1, round(height * shrink)), max(1, round(width * shrink))))
    energy = gradient_energy(small)
    outer = min(round(side * shrink), *energy.shape)
    inner = max(1, round(outer / size.margin))
    rim = (outer - inner) // 2
    rows, columns = energy.shape[0] - outer + 1, energy.shape[1] - outer + 1
    weights = patch_means(energy, inner)[rim : rim + rows, rim : rim + columns]
    for other in taken:
        _leave_out(weights, outer, other, shrink, size.margin)
    if not weights.any():
        raise BadItem(name, "no room for another seed" if taken else "flat: there is nothing to see in it")
    edges = weights.cumsum()
    place = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    y, x = divmod(min(place, int(np.flatnonzero(weights)[-1])), columns)
    whole = min(round(side), short)
    return Square(min(round(y / shrink), height - whole), min(round(x / shrink), width - whole), whole)


def _leave_out(weights: NDArray[np.float64], outer: int, other: Square, shrink: float, margin: float) -> None:
    """No chance for sources whose middle is nearer than half a seed to another's."""
    near = (outer + other.side * shrink) / 4 / margin
    y, x = (shrink * (start + other.side / 2) - outer / 2 for start in (other.top, other.left))
    rows, columns = (np.arange(n) for n in weights.shape)
    weights[np.ix_(np.abs(rows - y) < near, np.abs(columns - x) < near)] = 0


@dataclass(frozen=True)
class Seeds:
    """The surrogate classes: seed k is class k.

    Attributes:
        picture: int64 [N], the picture's index in the training source.
        square: int64 [N, 3], see `Square`.
        mark: uint8 [N, 4, 4, 3], by which a seed is recognised.
    """

    picture: NDArray[np.int64]
    square: NDArray[np.int64]
    mark: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.picture)

    def pick(self, index: int, picture: Picture, size: SeedSize, rng: np.random.Generator) -> tuple[int, Square]:
        """One of this picture's seeds, drawn alike, and its source; class -1 and a fresh seed where it has none.

        A held-out picture can have the index of a training picture, and a file may have been exchanged since the seeds were
        found; so a seed counts only where the picture still looks as it did.

        Raises:
            BadItem: no seed can be drawn from the picture.
        """
        own = np.flatnonzero(self.picture == index)
        if len(own):
            chosen = int(own[rng.integers(len(own))])
            square = Square(*(int(number) for number in self.square[chosen]))
            if _fits(square, picture) and _differ(marked(picture, square), self.mark[chosen]) <= SAME:
                return chosen, square
        return -1, draw_seed(picture, size, rng, name=f"picture {index}")


def marked(picture: Picture, square: Square) -> Pixels:
    """What a seed is recognised by: its source in 4 x 4 pixels, uint8 [4, 4, 3]."""
    return picture.take(square.box, (MARK, MARK))


def _fits(square: Square, picture: Picture) -> bool:
    height, width = picture.size
    return square.top + square.side <= height and square.left + square.side <= width


def _differ(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def find_seeds(source: Source, count: int, size: SeedSize, rng: np.random.Generator) -> tuple[Seeds, list[BadItem]]:
    """At most ``count`` seeds: one from each picture in a random order, then, while more are wanted, another from each.

    Every picture that gives a seed is read once a round.

    Returns:
        The seeds, and the pictures that gave none with the reason.

    Raises:
        UserError: fewer than 2 seeds could be found.
    """
    found: list[tuple[int, Square, Pixels]] = []
    taken: dict[int, list[Square]] = {}
    bad: list[BadItem] = []
    left = [int(index) for index in rng.permutation(len(source))]
    for turn in itertools.count():
        still = []
        for index in left:
            if len(found) >= count:
                break
            try:
                picture = source[index]["picture"]
                square = draw_seed(picture, size, rng, taken.get(index, ()), source.recordings[index])
                found.append((index, square, marked(picture, square)))
            except BadItem as item:
                bad += [item] if turn == 0 else []
                continue
            taken.setdefault(index, []).append(square)
            still.append(index)
        left = still
        if len(found) >= count or not left:
            break
    if len(found) < 2:
        why = f"; the first: {bad[0]}" if bad else ""
        raise UserError(f"{len(found)} seeds could be found in {source.name}, at least 2 are needed{why}")
    pictures, squares, marks = zip(*found, strict=True)
    return Seeds(np.array(pictures, np.int64), np.array(squares, np.int64), np.stack(marks)), bad
