"""A car's way through a town: along the right lane, left, right and straight on at junctions, slower in turns.

A turn is a curve whose bend grows evenly, stays, and shrinks evenly, so that the yaw rate has no jump; speed obeys a driver's
patience: limits of acceleration and braking, and of the speed in turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.drive.spec import Outdoors
from embodied_ssl.sim.drive.town.ground import LANE
from embodied_ssl.sim.drive.town.town import LINES, Town
from embodied_ssl.sim.drive.track import Track

STRAIGHT, LEFT, RIGHT = 0, 1, -1
NAMES = {STRAIGHT: "straight", LEFT: "left", RIGHT: "right"}
_FINE = 0.02  # metres between the points that a way is worked out at
_REACH = 10.0  # from where a turn begins to where the lanes' middle lines meet
_RAMP = 0.3  # share of a turn in which its bend grows, and of that in which it shrinks
_ACCELERATION, _BRAKING = 2.5, 3.5  # m/s^2
_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_TRIES = 500


@dataclass(frozen=True)
class Way:
    """A way worked out finely: place [n, 2], yaw [n], bend (1/radius, positive to the left) [n], every ``_FINE`` metres."""

    place: Floats
    yaw: Floats
    bend: Floats
    moves: tuple[int, ...]


def _turn() -> tuple[Floats, Floats, Floats]:
    """A left turn from the origin along x: place [n, 2], yaw [n], bend [n], where the lanes' lines meet at x = ``_REACH``."""
    share = np.linspace(0, 1, 2001)
    bend = np.clip(np.minimum(share, 1 - share) / _RAMP, 0, 1)
    yaw = np.concatenate([[0], np.cumsum((bend[1:] + bend[:-1]) / 2)]) / 2000
    factor = np.pi / 2 / yaw[-1]
    yaw, bend = yaw * factor, bend * factor
    middle = (yaw[1:] + yaw[:-1]) / 2
    x, y = (np.concatenate([[0], np.cumsum(along(middle))]) / 2000 for along in (np.cos, np.sin))
    scale = _REACH / x[-1]  # by symmetry the reach is as far along x as along y
    n = round(scale / _FINE)
    at = np.linspace(0, 1, n + 1)
    place = np.column_stack([np.interp(at, share, x), np.interp(at, share, y)]) * scale
    return place, np.interp(at, share, yaw), np.interp(at, share, bend) / scale


def _moves(rng: np.random.Generator, count: int) -> list[int]:
    """The first three differ; then pairs that are mirrors of one another, so that left and right stay balanced."""
    moves = [int(move) for move in rng.permutation([STRAIGHT, LEFT, RIGHT])]
    while len(moves) < count:
        pair = ((STRAIGHT, STRAIGHT), (LEFT, RIGHT), (RIGHT, LEFT))[int(rng.integers(3))]
        moves += pair
    return moves[:count]


def _plan(rng: np.random.Generator, count: int) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Junctions that are passed, headings before, between and after them, and moves; all within the town."""
    for _ in range(_TRIES):
        moves, heading = _moves(rng, count), int(rng.integers(4))
        column, row = (int(value) for value in rng.integers(0, LINES, 2))
        before = column - _HEADINGS[heading][0], row - _HEADINGS[heading][1]
        places, headings = [(column, row)], [heading]
        for move in moves:
            heading = (heading + move) % 4
            headings.append(heading)
            column, row = column + _HEADINGS[heading][0], row + _HEADINGS[heading][1]
            places.append((column, row))
        if all(0 <= i < LINES and 0 <= j < LINES for i, j in (before, *places)):
            return places[:-1], headings, moves
    raise RuntimeError(f"no way through the town passes {count} junctions")


def draw_way(town: Town, rng: np.random.Generator, junctions: int) -> Way:
    """Draw a way that passes so many junctions; it begins and ends on the straight."""
    places, headings, moves = _plan(rng, junctions)
    lane = {k: np.array([dy, -dx]) * LANE for k, (dx, dy) in enumerate(_HEADINGS)}  # to the right of the middle line
    middles = [np.array([town.across[i], town.along[j]]) for i, j in places]
    first, last = (float(value) for value in rng.uniform((20.0, 14.0), (26.0, 19.0)))
    ahead = np.array(_HEADINGS[headings[0]])
    at = middles[0] - first * ahead + lane[headings[0]]
    pieces: list[tuple[Floats, Floats, Floats]] = []
    for middle, heading, after, move in zip(middles, headings[:-1], headings[1:], moves, strict=True):
        if move == STRAIGHT:
            continue
        before, then = np.array(_HEADINGS[heading]), np.array(_HEADINGS[after])
        meet = middle + lane[heading] + lane[after]
        pieces.append(_straight(at, meet - _REACH * before))
        pieces.append(_curve(meet - _REACH * before, heading, move))
        at = meet + _REACH * then
    end = middles[-1] + last * np.array(_HEADINGS[headings[-1]]) + lane[headings[-1]]
    pieces.append(_straight(at, end))
    place, yaw, bend = (np.concatenate(values) for values in zip(*pieces, strict=True))
    return Way(place, np.unwrap(yaw), bend, tuple(moves))


def _straight(start: Floats, stop: Floats) -> tuple[Floats, Floats, Floats]:
    """Points from start up to, and without, stop."""
    along = stop - start
    n = max(1, round(float(np.linalg.norm(along)) / _FINE))
    share = np.arange(n)[:, None] / n
    return start + share * along, np.full(n, np.arctan2(along[1], along[0])), np.zeros(n)


def _curve(start: Floats, heading: int, side: int) -> tuple[Floats, Floats, Floats]:
    place, yaw, bend = (values[:-1] for values in _turn())
    angle = heading * np.pi / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return start + (place * [1, side]) @ turn, angle + side * yaw, side * bend


def _speeds(way: Way, rng: np.random.Generator, limits: tuple[float, float], length: Floats) -> Floats:
    """Speed at every point of a way: as fast as limits, turns, acceleration and braking allow."""
    slow = float(rng.uniform(limits[0], limits[0] + 0.06 * (limits[1] - limits[0])))
    fast = float(rng.uniform((limits[0] + limits[1]) / 2, limits[1]))
    speed = np.where(way.bend != 0, min(slow, fast), fast)
    # Squared speed grows by at most twice the acceleration a metre, and falls by at most twice the braking.
    square = _capped(speed**2 - 2 * _ACCELERATION * length) + 2 * _ACCELERATION * length
    square = _capped((square + 2 * _BRAKING * length)[::-1])[::-1] - 2 * _BRAKING * length
    return np.asarray(np.sqrt(square))


def _capped(values: Floats) -> Floats:
    """The least value so far."""
    return np.asarray(np.minimum.accumulate(values))


def draw_route(town: Town, rng: np.random.Generator, outdoors: Outdoors, rate: int) -> tuple[Track, list[str]]:
    """Draw a drive through a town: its track, and the moves it makes at junctions."""
    way = draw_way(town, rng, outdoors.junctions)
    steps = np.linalg.norm(np.diff(way.place, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    speed = _speeds(way, rng, outdoors.speed, length)
    seconds = np.concatenate([[0.0], np.cumsum(2 * steps / (speed[1:] + speed[:-1]))])
    times = np.arange(int(seconds[-1] * rate) + 1) / rate
    where = np.interp(times, seconds, length)
    place = np.column_stack([np.interp(where, length, way.place[:, axis]) for axis in (0, 1)])
    now = np.interp(where, length, speed)
    height = np.full(len(times), float(rng.uniform(*outdoors.height)))
    track = Track(
        np.column_stack([place, height]), np.interp(where, length, way.yaw), now, now * np.interp(where, length, way.bend)
    )
    return track, [NAMES[move] for move in way.moves]
