"""What towns are built from: models of houses, cars, trees and the rest, of which every town takes one stock.

A process keeps the stocks it has made, so that their meshes are sent to the renderer once and not for every town.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.draws import colour
from embodied_ssl.sim.drive.modelling import Finish, Palette, Part, bounds, drawn
from embodied_ssl.sim.drive.scheme import about
from embodied_ssl.sim.drive.surfaces import draw_surface
from embodied_ssl.sim.drive.town import cars, houses, roadside
from embodied_ssl.sim.render.renderer import Drawn

STOCKS = 12
_KEPT = 8  # of them, with textures and without; each is some megabytes with the renderer
_HUES = (0.0, 0.09, 0.1, 0.02, 0.55, 0.13)  # customary ones of walls


@dataclass(frozen=True, eq=False)
class Model:
    """Something that stands in many places.

    Attributes:
        name: what it is.
        parts: in its own frame.
        palette: has their colours, and those of the whole stock.
    """

    name: str
    parts: list[Part]
    palette: Palette

    @cached_property
    def things(self) -> list[Drawn]:
        """The same meshes whenever it is drawn."""
        return drawn(self.parts, self.palette)

    @cached_property
    def coarse(self) -> list[Drawn]:
        """The same without what is fine, and without a shadow."""
        large = [part for part in self.parts if not part.fine]
        return drawn(large or self.parts, self.palette, shadow=False)

    @cached_property
    def _bounds(self) -> tuple[Floats, Floats]:
        return bounds(self.parts)

    @cached_property
    def middle(self) -> Floats:
        """Of the box around it: x, y, z, 1."""
        return np.append((self.low + self.high) / 2, 1.0)

    @cached_property
    def reach(self) -> float:
        """From its middle to its farthest corner."""
        return float(np.linalg.norm(self.high - self.low)) / 2

    @property
    def low(self) -> Floats:
        """Lowest x, y, z of its parts [3]."""
        return self._bounds[0]

    @property
    def high(self) -> Floats:
        """Highest x, y, z of its parts [3]."""
        return self._bounds[1]


@dataclass(frozen=True)
class Stock:
    """Models, of which several may bear one name."""

    houses: list[Model]
    cars: list[Model]
    trees: list[Model]
    far_trees: list[Model]
    hedges: list[Model]
    small: list[Model]
    lamp: Model
    light: Model
    shelter: Model
    church: Model


Named = tuple[str, list[Part]]


@lru_cache(_KEPT)
def stock_of(number: int, textured: bool) -> Stock:
    """Stock ``number`` of ``STOCKS``, the same whenever it is asked for."""
    rng = generator("stock", number, int(textured))
    groups = _draw(rng, _walls(rng, textured), _roofs(rng, textured))
    palette = Palette(part.finish for named in groups for _, parts in named for part in parts)
    built, trees, far_trees, hedges, small, vehicles, single = (
        [Model(name, parts, palette) for name, parts in named] for named in groups
    )
    return Stock(built, vehicles, trees, far_trees, hedges, small, *single)


def _draw(rng: np.random.Generator, walls: list[Finish], roofs: list[Finish]) -> list[list[Named]]:
    """Parts by name: houses, trees, trees of the fields, hedges, small things, cars, and those of which there is one model."""

    def house(make: houses.Make) -> Named:
        wall, roof = (finishes[int(rng.integers(len(finishes)))] for finishes in (walls, roofs))
        return make.__name__, make(rng, wall, roof)

    def of(*makes: roadside.Make) -> list[Named]:
        return [(make.__name__, make(rng)) for make in makes]

    return [
        [house(make) for make in (*houses.HOUSES, *houses.HOUSES)],
        of(*roadside.TREES, *roadside.TREES),
        of(*[roadside.far_tree] * 5),
        of(*[roadside.hedge] * 4),
        of(*roadside.SMALL),
        [(make.__name__, make(rng, _car_paint(rng))) for make in (*cars.CARS, *cars.CARS)],
        [*of(roadside.lamp_post, roadside.traffic_light, roadside.shelter), house(houses.church)],
    ]


def _car_paint(rng: np.random.Generator) -> Finish:
    """Half of all cars are of some grey."""
    grey = float(rng.choice([0.9, 0.75, 0.5, 0.2, 0.1]))
    return Finish((grey, grey, grey)) if rng.uniform() < 0.5 else Finish(colour(rng, (0.5, 0.9))).shade(0.85)


def _walls(rng: np.random.Generator, textured: bool) -> list[Finish]:
    """What houses are built of."""
    plain = [about(rng, (float(rng.choice(_HUES)), rng.uniform(0.05, 0.45), rng.uniform(0.55, 0.95))) for _ in range(7)]
    if not textured:
        return plain
    return [replace(each, texture=draw_surface(rng, "brick", "plaster"), size=float(rng.uniform(1.2, 2.0))) for each in plain]


def _roofs(rng: np.random.Generator, textured: bool) -> list[Finish]:
    """Tiles and slate."""
    plain = [about(rng, (0.02, 0.55, 0.5)), about(rng, (0.03, 0.5, 0.4)), about(rng, (0.6, 0.08, 0.35))]
    return [replace(each, texture=draw_surface(rng, "roof"), size=2.5) for each in plain] if textured else plain
