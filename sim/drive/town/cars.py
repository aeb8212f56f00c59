"""Cars of several kinds, to stand at the kerb: x is forward, the middle of the wheels' ground is the origin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from embodied_ssl.sim.drive.modelling import Finish, Part, box, fine, pane, rod
from embodied_ssl.sim.drive.scheme import BLACK, METAL

Make = Callable[[np.random.Generator, Finish], list[Part]]
_GLASS = Finish((0.16, 0.2, 0.25))
_WHITE_LIGHT, _RED_LIGHT = Finish((0.95, 0.95, 0.85)), Finish((0.75, 0.08, 0.06))
_QUARTER = np.pi / 2


def _wheels(wheelbase: float, w: float, across: float) -> list[Part]:
    parts = []
    for x in (-wheelbase / 2, wheelbase / 2):
        for side in (-1, 1):
            parts.append(rod(across, 0.2, (x, side * (w / 2 - 0.09), across / 2), BLACK, axis=1))
            parts.append(
                pane(across * 0.55, across * 0.55, (x, side * (w / 2 + 0.015), across / 2), METAL, 0 if side < 0 else np.pi)
            )
    return parts


def _ends(long: float, w: float, z: float) -> list[Part]:
    """Lamps, number plates and bumpers at front (+x) and back."""
    parts = []
    for x, yaw, lamp in ((long / 2, _QUARTER, _WHITE_LIGHT), (-long / 2, -_QUARTER, _RED_LIGHT)):
        out = 0.015 if x > 0 else -0.015
        parts += [pane(0.32, 0.16, (x + out, y, z), lamp, yaw) for y in (-w / 2 + 0.24, w / 2 - 0.24)]
        parts.append(pane(0.5, 0.12, (x + 2 * out, 0, z - 0.22), Finish((0.92, 0.92, 0.85)), yaw))
        parts.append(box(0.12, w - 0.1, 0.16, (x, 0, z - 0.26), BLACK.shade(2.0)))
    return parts


def _body(
    paint: Finish, long: float, w: float, low: float, high: float, cabin: tuple[float, float, float], lean: float
) -> list[Part]:
    """A lower body and a cabin of glass under a roof.

    Args:
        paint: colour.
        long, w: outer extents.
        low: height of the underside.
        high: of the bonnet.
        cabin: its length, the x of its middle, and the height of the roof.
        lean: how much shorter the cabin is at the top, as a share.
    """
    length, x, top = cabin
    tall = top - high
    return [
        Part("box", (long, w, high - low), (0, 0, (high + low) / 2), paint, taper=(0.98, 0.95)),
        Part("box", (length, w * 0.93, tall), (x, 0, high + tall / 2), _GLASS, taper=(1 - lean, 0.84)),
        Part("box", (length * (1 - lean) + 0.04, w * 0.8, 0.06), (x, 0, top), paint, taper=(0.95, 0.95)),
        box(0.09, w * 0.9, tall, (x + 0.02, 0, high + tall / 2), paint),
    ]


def hatchback(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """Short, its cabin reaching to the back."""
    long, w = rng.uniform(3.7, 4.1), 1.7
    body = _body(paint, long, w, 0.28, 0.88, (long * 0.62, -long * 0.13, 1.45), 0.32)
    return [*body, *fine(*_wheels(long * 0.62, w, 0.6), *_ends(long, w, 0.68))]


def saloon(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """Long, with a boot."""
    long, w = rng.uniform(4.5, 4.8), 1.78
    body = _body(paint, long, w, 0.28, 0.9, (long * 0.52, -long * 0.04, 1.42), 0.42)
    return [*body, *fine(*_wheels(long * 0.6, w, 0.63), *_ends(long, w, 0.7))]


def estate(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """Long, its roof reaching to the back, with rails."""
    long, w = rng.uniform(4.5, 4.8), 1.78
    body = _body(paint, long, w, 0.28, 0.9, (long * 0.68, -long * 0.14, 1.46), 0.2)
    rails = [box(long * 0.45, 0.05, 0.05, (-long * 0.14, y, 1.53), BLACK) for y in (-0.55, 0.55)]
    return [*body, *fine(*rails), *fine(*_wheels(long * 0.6, w, 0.63), *_ends(long, w, 0.72))]


def offroader(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """High, with large wheels and a spare one."""
    long, w = rng.uniform(4.3, 4.7), 1.85
    body = _body(paint, long, w, 0.42, 1.08, (long * 0.66, -long * 0.13, 1.78), 0.16)
    spare = rod(0.65, 0.18, (-long / 2 - 0.08, 0, 1.0), BLACK, axis=0)
    return [*body, spare, *fine(*_wheels(long * 0.6, w, 0.76), *_ends(long, w, 0.86))]


def van(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """A closed van with a stripe."""
    long, w, top = rng.uniform(4.9, 5.3), 1.95, rng.uniform(2.1, 2.4)
    stripe = Finish(tuple(float(v) for v in rng.uniform(0.1, 0.9, 3)))  # type: ignore[arg-type]
    parts = [
        Part("box", (long * 0.74, w, top - 0.35), (-long * 0.13, 0, (top + 0.35) / 2), paint, taper=(0.97, 0.92)),
        box(long, w, 0.7, (0, 0, 0.65), paint),
        Part("box", (long * 0.3, w * 0.95, 0.85), (long * 0.27, 0, 1.4), _GLASS, taper=(0.3, 0.88)),
        *(
            pane(long * 0.6, 0.3, (-long * 0.14, side * (w / 2 + 0.012), 1.0), stripe, 0 if side < 0 else np.pi)
            for side in (-1, 1)
        ),
    ]
    return [*parts, *fine(*_wheels(long * 0.6, w, 0.68), *_ends(long, w, 0.75))]


def pickup(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """A cabin before an open bed."""
    long, w = rng.uniform(4.9, 5.2), 1.85
    parts = _body(paint, long, w, 0.4, 0.95, (long * 0.36, long * 0.06, 1.72), 0.28)
    parts.append(box(long * 0.34, w * 0.8, 0.04, (-long * 0.3, 0, 0.97), BLACK))
    parts += [box(long * 0.36, 0.08, 0.28, (-long * 0.3, y, 1.08), paint) for y in (-w * 0.44, w * 0.44)]
    parts.append(box(0.08, w * 0.9, 0.28, (-long * 0.485, 0, 1.08), paint))
    return [*parts, *fine(*_wheels(long * 0.62, w, 0.74), *_ends(long, w, 0.78))]


def lorry(rng: np.random.Generator, paint: Finish) -> list[Part]:
    """A small lorry with a box."""
    long, w, top = rng.uniform(5.9, 6.4), 2.05, rng.uniform(2.7, 3.0)
    load = Finish((0.9, 0.9, 0.88))
    parts = [
        box(long * 0.68, w, top - 0.8, (-long * 0.16, 0, (top + 0.8) / 2), load),
        box(long, w * 0.6, 0.25, (0, 0, 0.65), BLACK),
        box(long * 0.26, w * 0.96, 0.9, (long * 0.36, 0, 0.95), paint),
        Part("box", (long * 0.26, w * 0.96, 0.8), (long * 0.36, 0, 1.8), _GLASS, taper=(0.7, 0.92)),
        box(long * 0.2, w * 0.88, 0.1, (long * 0.34, 0, 2.22), paint),
        *(
            pane(long * 0.5, 0.7, (-long * 0.16, side * (w / 2 + 0.012), 1.9), paint, 0 if side < 0 else np.pi)
            for side in (-1, 1)
        ),
    ]
    return [*parts, *fine(*_wheels(long * 0.6, w, 0.8), *_ends(long, w, 0.85))]


CARS: tuple[Make, ...] = (hatchback, hatchback, saloon, saloon, estate, offroader, van, pickup, lorry)
