"""A town of streets at right angles: blocks with houses, gardens and pavements, parked cars, trees and lamps, sky and fields.

Drawn by key like a room; junctions are numbered (column, row). Lengths are metres, z is up, the carriageway is z = 0; traffic
keeps to the right. Everything that stands has an id of its own; carriageway, pavements, gardens and sky have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Camera, Floats, Light, Vector
from embodied_ssl.sim.drive.modelling import Finish, Part, drawn, turned
from embodied_ssl.sim.drive.scheme import about
from embodied_ssl.sim.drive.surfaces import draw_surface
from embodied_ssl.sim.drive.town import sky
from embodied_ssl.sim.drive.town.ground import CORNER, KERB, PARKING, PAVEMENT, carriageway, marks, pavements
from embodied_ssl.sim.drive.town.stock import STOCKS, Model, Stock, stock_of
from embodied_ssl.sim.render.renderer import Drawn

LINES = 4  # streets each way
PITCH = (38.0, 50.0)  # from one street's middle line to the next
_OUTSKIRTS = 15.0  # depth of the rows of houses around the town
_CLEAR = 13.0  # no car parks nearer than this to a junction's middle
_SHADOWS, _BEHIND = 40.0, 15.0  # what is this near, and no farther behind, may cast a shadow into the picture
_FINE = 0.5  # metres: what is fine is left out where this is less than a pixel
_GROUNDS = ((0.25, 0.5, 0.5), (0.1, 0.06, 0.6), (0.27, 0.5, 0.5))  # fields, paving, lawns


@dataclass(frozen=True, eq=False)
class Standing:
    """A model in its place: ``yaw`` about z, then moved to x, y, z; its colours are multiplied by ``tint``."""

    model: Model
    x: float
    y: float
    z: float
    yaw: float
    tint: Vector = (1.0, 1.0, 1.0)

    @property
    def pose(self) -> Floats:
        """Model to world [4, 4]."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[c, -s, 0, self.x], [s, c, 0, self.y], [0, 0, 1, self.z], [0, 0, 0, 1.0]])

    def distance(self, points: Floats) -> Floats:
        """How far points [n, 2] are from its footprint, 0 inside: [n]."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        local = (points - [self.x, self.y]) @ np.array([[c, -s], [s, c]])
        away = np.maximum(np.maximum(self.model.low[:2] - local, local - self.model.high[:2]), 0)
        return np.asarray(np.hypot(away[:, 0], away[:, 1]))


@dataclass(eq=False)
class Town:
    """Streets, and all that stands along them.

    Attributes:
        across: x of the streets that run along y [LINES].
        along: y of the streets that run along x [LINES].
        standing: houses, cars and the rest; number k has id k + 1.
        ground: what lies flat.
        weather: the sky's texture.
    """

    across: Floats
    along: Floats
    standing: list[Standing] = field(default_factory=list)
    ground: list[Drawn] = field(default_factory=list)
    weather: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    _balls: Floats = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    _drawn: dict[tuple[int, bool], list[Drawn]] = field(default_factory=dict, repr=False)

    def finish(self) -> None:
        """Work out where all that stands can be seen from; to be called when everything does."""
        self._balls = np.array([[*each.pose[:3] @ each.model.middle, each.model.reach] for each in self.standing])

    def _things(self, place: int, near: bool) -> list[Drawn]:
        """What renderers are given of one that stands; made when it is first seen."""
        if (place, near) not in self._drawn:
            each = self.standing[place]
            things, pose = each.model.things if near else each.model.coarse, each.pose
            self._drawn[place, near] = [_placed(thing, pose, place + 1, each.tint) for thing in things]
        return self._drawn[place, near]

    def seen(self, camera: Camera, light: Light, steady: bool = False) -> list[Drawn]:
        """What a camera may see, and what is near and may cast a shadow there; what is far is coarser and casts none.

        Args:
            camera: what a picture is taken with.
            light: whether anything casts a shadow.
            steady: rather give everything, for a renderer to which a thing that comes or goes costs more than one out of sight.
        """
        if steady:
            every = (thing for place in range(len(self.standing)) for thing in self._things(place, True))
            return [*self.ground, *every, self._sky(camera, light)]
        pose = camera.pose
        local, reach = (self._balls[:, :3] - pose[:3, 3]) @ pose[:3, :3], self._balls[:, 3]
        up = math.tan(math.radians(camera.fov) / 2)
        ok = local[:, 2] > -reach
        for axis, slope in ((0, up * camera.width / camera.height), (1, up)):
            ok &= np.abs(local[:, axis]) < local[:, 2] * slope + reach * math.hypot(1, slope)
        if light.shadow:
            ok |= (np.hypot(local[:, 0], local[:, 2]) < _SHADOWS) & (local[:, 2] > -_BEHIND)
        near = local[:, 2] - reach < _FINE * camera.height / (2 * up)
        things = [thing for place in np.flatnonzero(ok).tolist() for thing in self._things(place, bool(near[place]))]
        return [*self.ground, *things, self._sky(camera, light)]

    def _sky(self, camera: Camera, light: Light) -> Drawn:
        return sky.dome(self.weather, light, camera.position)


def _placed(thing: Drawn, pose: Floats, number: int, tint: Vector) -> Drawn:
    r, g, b = (one * factor for one, factor in zip(thing.colour, tint, strict=True))
    return Drawn(thing.mesh, pose, (r, g, b), number, thing.texture, thing.size, thing.shadow)


def _grounds(rng: np.random.Generator, textured: bool) -> list[Finish]:
    """Asphalt, fields, paving and lawns."""
    grey = float(rng.uniform(0.28, 0.45))
    plain = [Finish((grey, grey, grey * 1.03)), *(about(rng, hsv) for hsv in _GROUNDS)]
    if not textured:
        return plain
    kinds = (("asphalt", 3.0), ("grass", 12.0), (str(rng.choice(["tiles", "stone", "brick"])), 1.5), ("grass", 1.5))
    return [replace(each, texture=draw_surface(rng, kind), size=size) for each, (kind, size) in zip(plain, kinds, strict=True)]


@dataclass(frozen=True)
class _Side:
    """One side of a block in a frame of its own: x along the kerb, y from the kerb into the block, the origin at its middle."""

    town: Town
    origin: tuple[float, float]
    yaw: float
    half: float

    def put(self, model: Model, x: float, y: float, yaw: float = 0.0, z: float = 0.12, tint: Vector = (1.0, 1.0, 1.0)) -> None:
        """Stand a model there."""
        dx, dy = turned(x, y, self.yaw)
        self.town.standing.append(Standing(model, self.origin[0] + dx, self.origin[1] + dy, z, self.yaw + yaw, tint))


def _sides(town: Town, low: Floats, high: Floats, which: Sequence[int]) -> Iterator[tuple[int, _Side]]:
    middle, half = (low + high) / 2, (high - low) / 2
    for k in which:
        yaw = k * math.pi / 2
        dx, dy = turned(0.0, -float(half[(k + 1) % 2]), yaw)
        yield k, _Side(town, (float(middle[0]) + dx, float(middle[1]) + dy), yaw, float(half[k % 2]))


def _pick(rng: np.random.Generator, models: Sequence[Model]) -> Model:
    return models[int(rng.integers(len(models)))]


def _build_row(side: _Side, stock: Stock, rng: np.random.Generator, begin: float) -> None:
    """Houses in a row with gardens before them, from ``begin`` short of either corner."""
    garden = float(rng.uniform(1.8, 3.2))
    at, stop = -side.half + begin, side.half - begin
    while True:
        at += float(rng.uniform(0.3, 2.5))
        model = stock.church if rng.uniform() < 0.02 else _pick(rng, stock.houses)
        wide = float(model.high[0] - model.low[0])
        if at + wide > stop:
            break
        r, g, b = (float(value) for value in rng.uniform(0.82, 1.0, 3))
        side.put(model, at - float(model.low[0]), PAVEMENT + garden, tint=(r, g, b))
        at += wide
    for x in np.arange(-side.half + 4.0, side.half - 4.0, 2.5):
        if rng.uniform() < 0.55:
            side.put(_pick(rng, stock.hedges), float(x), PAVEMENT + 0.35)
        elif rng.uniform() < 0.2 and garden > 2.4:
            side.put(stock.small[-1], float(x), PAVEMENT + 1.0)


def _build_pavement(side: _Side, stock: Stock, rng: np.random.Generator) -> None:
    """Lamp posts, trees and small things along the kerb, and a light at the corner where one stops."""
    leafy, first = rng.uniform(0.1, 0.9), float(rng.uniform(0, 4))
    edge = side.half - CORNER
    for k, x in enumerate(np.arange(-edge + first, edge, 5.5)):
        if k % 4 == 1:
            side.put(stock.lamp, float(x), 0.5)
        elif rng.uniform() < leafy:
            side.put(_pick(rng, stock.trees), float(x), 0.8, float(rng.uniform(0, 6.28)))
        elif rng.uniform() < 0.25:
            side.put(_pick(rng, stock.small[:-1]), float(x), 0.6, math.pi / 2)
    if rng.uniform() < 0.15:
        side.put(stock.shelter, float(rng.uniform(-0.4, 0.4) * edge), 1.1)


def _park(side: _Side, stock: Stock, rng: np.random.Generator) -> None:
    """Cars at the kerb, most of them facing with the traffic."""
    full, at, stop = rng.uniform(0.2, 0.85), -side.half - KERB + _CLEAR, side.half + KERB - _CLEAR
    while True:
        model = _pick(rng, stock.cars)
        long = float(model.high[0] - model.low[0])
        if at + long > stop:
            break
        if rng.uniform() < full:
            turn = math.pi if rng.uniform() < 0.9 else 0.0
            side.put(model, at + long / 2, -(KERB - PARKING) / 2, turn + float(rng.normal(0, 0.01)), 0.0)
        at += long + float(rng.uniform(0.6, 1.6))


def _blocks(across: Floats, along: Floats) -> Iterator[tuple[Floats, Floats, tuple[int, ...]]]:
    """Lowest and highest x, y of every block at its kerbs, and which sides have houses: 0 south, 1 east, 2 north, 3 west.

    Around the town are blocks of one side, and at its corners of none.
    """
    xs = [across[0] - KERB - _OUTSKIRTS, *across, across[-1] + KERB + _OUTSKIRTS]
    ys = [along[0] - KERB - _OUTSKIRTS, *along, along[-1] + KERB + _OUTSKIRTS]
    last = LINES
    for i in range(last + 1):
        for j in range(last + 1):
            edges = [i == 0, i == last, j == 0, j == last]
            low = np.array([xs[i] + (KERB if i > 0 else 0), ys[j] + (KERB if j > 0 else 0)])
            high = np.array([xs[i + 1] - (KERB if i < last else 0), ys[j + 1] - (KERB if j < last else 0)])
            facing = tuple(side for edge, side in zip(edges, (1, 3, 2, 0), strict=True) if edge)
            yield low, high, (facing or (0, 1, 2, 3)) if sum(edges) < 2 else ()


def _streets(town: Town, rng: np.random.Generator) -> list[Part]:
    parts = []
    for x in town.across:
        for y0, y1 in zip(town.along[:-1], town.along[1:], strict=True):
            parts += marks(np.array([x, y0]), np.array([x, y1]), (bool(rng.uniform() < 0.5), bool(rng.uniform() < 0.5)))
    for y in town.along:
        for x0, x1 in zip(town.across[:-1], town.across[1:], strict=True):
            parts += marks(np.array([x0, y]), np.array([x1, y]), (bool(rng.uniform() < 0.5), bool(rng.uniform() < 0.5)))
    return parts


def _lights(town: Town, stock: Stock, rng: np.random.Generator) -> None:
    """Traffic lights at half of the junctions, on the right before each, looking at who comes."""
    for x in town.across[1:-1]:
        for y in town.along[1:-1]:
            if rng.uniform() < 0.5:
                for k in range(4):
                    dx, dy = turned(KERB + 0.6, -KERB - CORNER - 0.4, k * math.pi / 2)
                    town.standing.append(Standing(stock.light, float(x + dx), float(y + dy), 0.12, k * math.pi / 2))


def _outskirts(town: Town, stock: Stock, rng: np.random.Generator) -> None:
    """Trees in the fields around."""
    low = np.array([town.across[0], town.along[0]]) - 2 * _OUTSKIRTS
    high = np.array([town.across[-1], town.along[-1]]) + 2 * _OUTSKIRTS
    for _ in range(60):
        x, y = rng.uniform(low - 45, high + 45)
        if not (low[0] < x < high[0] and low[1] < y < high[1]):
            town.standing.append(Standing(_pick(rng, stock.far_trees), float(x), float(y), -0.06, float(rng.uniform(0, 6.28))))


def build_town(rng: np.random.Generator, textured: bool = False) -> Town:
    """Draw a town.

    Args:
        rng: where from.
        textured: whether surfaces bear textures.
    """
    lines = [np.concatenate([[0.0], np.cumsum(rng.uniform(*PITCH, LINES - 1))]) for _ in range(2)]
    town = Town(lines[0] - lines[0].mean(), lines[1] - lines[1].mean())
    stock = stock_of(int(rng.integers(STOCKS)), textured)
    blocks = []
    for low, high, which in _blocks(town.across, town.along):
        blocks.append((low, high))
        for k, side in _sides(town, low, high, which):
            corner = len(which) == 4 and k % 2 == 1  # the corner plots belong to the sides along x
            _build_row(side, stock, rng, 12.5 if corner else 2.6)
            _build_pavement(side, stock, rng)
            _park(side, stock, rng)
    _lights(town, stock, rng)
    _outskirts(town, stock, rng)
    asphalt, field_, paving, lawn = _grounds(rng, textured)
    low, high = np.array([town.across[0], town.along[0]]) - KERB, np.array([town.across[-1], town.along[-1]]) + KERB
    town.ground += carriageway(low, high, asphalt, field_)
    town.ground += pavements(blocks, Finish((0.68, 0.68, 0.66)), paving, lawn)
    town.ground += drawn(_streets(town, rng), shadow=False)
    town.weather = sky.paint(sky.draw_weather(rng), rng)
    town.finish()
    return town
