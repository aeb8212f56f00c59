"""What a piece of furniture is: parts in its own frame, and the footprint that they keep to.

Its x runs along the wall that it stands at, its y from the wall into the room, its z up; its back is y = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, Part, bounds, box
from embodied_ssl.sim.drive.scheme import Scheme


@dataclass(frozen=True)
class Piece:
    """One piece of furniture.

    Attributes:
        parts: what is seen of it.
        width: extent along x, to both sides of 0.
        depth: extent along y, from 0.
        hung: it hangs on the wall, with things standing below.
        low: metres above the floor of its lowest part, if it hangs.
    """

    parts: list[Part]
    width: float
    depth: float
    hung: bool = False
    low: float = 0.0

    @cached_property
    def tall(self) -> float:
        """How high it reaches, metres."""
        return float(bounds(self.parts)[1][2])


Make = Callable[[np.random.Generator, Scheme], Piece]


def legs(w: float, d: float, z: float, finish: Finish, thick: float = 0.05) -> list[Part]:
    """Four legs of a top of ``w`` times ``d``."""
    spots = [(sx * (w / 2 - thick), d / 2 + sy * (d / 2 - thick)) for sx in (-1, 1) for sy in (-1, 1)]
    return [box(thick, thick, z, (x, y, z / 2), finish) for x, y in spots]


def seat(rng: np.random.Generator, s: Scheme) -> list[Part]:
    """A plain chair, its back at y = 0: four legs, a seat and a back."""
    w = rng.uniform(0.42, 0.48)
    return [
        box(w, w, 0.05, (0, w / 2, 0.45), s.accent),
        box(w, 0.05, 0.34, (0, 0.025, 0.76), s.wood),
        *(box(0.04, 0.04, 0.6, (x, 0.03, 0.6), s.wood) for x in (-w / 2 + 0.03, w / 2 - 0.03)),
        *legs(w, w, 0.45, s.wood, 0.04),
    ]


def row_of(
    rng: np.random.Generator,
    at: float,
    stop: float,
    y: float,
    z: float,
    tall: float,
    thick: tuple[float, float],
    deep: float,
    gaps: float,
) -> list[Part]:
    """Boxes of many colours in a row along x from ``at`` to ``stop``, such as books or goods, standing on height ``z``.

    Args:
        rng: where from.
        at, stop: where the row begins and must have ended.
        y: middle of their depth.
        z: what they stand on.
        tall: the tallest that fits.
        thick: range of their widths.
        deep: their depth.
        gaps: share of places left empty.
    """
    parts = []
    while at < stop - thick[1]:
        w, high = rng.uniform(*thick), tall * rng.uniform(0.6, 0.95)
        if rng.uniform() >= gaps:
            parts.append(box(w, deep, high, (at + w / 2, y, z + high / 2), Finish(colour(rng))))
        at += w + 0.008
    return parts
