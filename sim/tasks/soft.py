"""Poking soft things: press a fingertip into a block of rubber that dents where it is pressed, and springs back.

Task: as in `poke`, a round tip comes straight down on a pixel and presses 8 mm deep at a constant speed; but the things are
blocks of tetrahedra with a Neo-Hookean law (`elastic`), of which the one that is poked bends as a whole.
Randomised: which block, the point on its top; of each block its measures, moduli and damping.
Success: the tip pressed on a block and a line fits force against depth.

The label is that line. Its slope is proportional to the shear modulus for the same block and point; what else it depends on (the
measures, how far from the nearest node the tip presses) is geometry, so that a slope is no modulus by itself. The truth stands
beside it: shear modulus, Lame's first parameter and damping, and as ``stiffness`` Young's modulus times area over height, in N/m:
how the whole block would yield under a flat plate.

The force is what the tip's motor gives to keep its speed; the contact forces that the engine reports for soft things disagree
with it. A floating tip does it, whatever the robot, and weighs 50 kg: the engine solves motors and soft contacts one after the
other, and a light tip is thrown back in between. Gravity is left out, so that a block rests in exactly its own shape. Besides the
pictures before and after there is one at the deepest point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Camera, Floats, View
from embodied_ssl.sim.draws import colour, log_uniform
from embodied_ssl.sim.elastic import MARGIN, Elastic, Lattice
from embodied_ssl.sim.objects.thing import Form, Primitive, Rest, Thing
from embodied_ssl.sim.render.renderer import Drawn
from embodied_ssl.sim.robots.hand import Hand
from embodied_ssl.sim.robots.jaw import Jaw
from embodied_ssl.sim.solver import RATE
from embodied_ssl.sim.spec import Pool
from embodied_ssl.sim.tasks import poke
from embodied_ssl.sim.tasks.outcome import Felt, Outcome
from embodied_ssl.sim.tasks.scene import Scene, draw_scene
from embodied_ssl.sim.tasks.stage import Stage, Table
from embodied_ssl.sim.world import UPRIGHT, Contact, matrix

ACROSS = (0.035, 0.06)  # metres along x and along y
HIGH = (0.025, 0.05)
DENSITY = 1100.0  # of rubber, kg per cubic metre; without gravity, and pressed slowly, it does not change what is felt
WEIGHT = 50.0  # of the tip, kg
FORCE = 2000.0  # newtons; more than any block resists with
TOUCH = 1e-3  # newtons; less is rounding
QUIET = 8.0  # times of recovery after which a dent is a thousandth of what it was
_TIP = 0.006  # its radius, metres
choose = poke.choose


@dataclass(frozen=True, eq=False)
class Block(Thing):
    """A thing of rubber.

    Attributes:
        lattice: how it is cut into tetrahedra.
        elastic: what it is made of.
    """

    lattice: Lattice
    elastic: Elastic


@lru_cache(1024)
def block(pool: Pool, seed: int, number: int) -> Block:
    """Block ``number`` of the pool that belongs to a seed; the same object within a process."""
    rng = generator(seed, "block", number)
    size = (float(rng.uniform(*ACROSS)), float(rng.uniform(*ACROSS)), float(rng.uniform(*HIGH)))
    lattice = Lattice(size)
    mu, poisson = log_uniform(rng, *pool.shear), float(rng.uniform(*pool.poisson))
    elastic = Elastic(mu, 2 * mu * poisson / (1 - 2 * poisson), float(rng.uniform(*pool.recovery)), DENSITY)
    stiffness = elastic.young * size[0] * size[1] / size[2]
    volume = math.prod(size)
    form = Form("rubber", lattice.mesh(), Primitive("box", size), size, volume, 1.0, (Rest(UPRIGHT, size[2] / 2, 1.0),))
    return Block(
        number=number,
        name=f"block-{seed}-{number:03d}",
        form=form,
        mass=volume * DENSITY,
        friction=0.5,
        spinning=0.0,
        rolling=0.0,
        restitution=0.0,
        stiffness=stiffness,
        damping=stiffness * elastic.damping,
        colour=colour(generator(seed, "block colour", number)),
        lattice=lattice,
        elastic=elastic,
    )


def stuff(scene: Scene, place: int) -> Elastic:
    """What a block is made of in this scene, with its factor on stiffness."""
    thing = scene.things[place]
    assert isinstance(thing, Block)
    factor = scene.stiffnesses[place] / thing.stiffness
    return replace(thing.elastic, mu=factor * thing.elastic.mu, lame=factor * thing.elastic.lame)


@dataclass(eq=False)
class SoftTable(Table):
    """A table on which blocks stand. Only the one that is poked is in a physics world, and only then."""

    poked: int = -1
    nodes: Floats | None = None  # of the poked block, in its own frame

    def look_again(self, second: Camera | None = None) -> View:
        """The picture after: a dent moves nothing that `states` knows of."""
        return self.look(second)

    def states(self) -> Floats:
        """Position and orientation of every block; they stay where they are [n, 7]."""
        return np.array([[*place.position, *place.orientation] for place in self.scene.places])

    def rest(self) -> None:
        """A poke has come to rest already."""

    def drawn(self, hand: Hand | None = None) -> list[Drawn]:
        """Everything that is to be seen now, with the poked block as it is bent."""
        found = super().drawn(hand)
        if self.nodes is not None:
            thing = self.scene.things[self.poked]
            assert isinstance(thing, Block)
            found = [replace(each, mesh=thing.lattice.mesh(self.nodes)) if each.id == self.poked else each for each in found]
        return found


class Press:
    """A block with a tip above it, step by step.

    Args:
        table: that the block stands on.
        place: of the block.
        start: the tip's lowest point, in the world [3].
    """

    def __init__(self, table: SoftTable, place: int, start: Floats) -> None:
        self.table, self.world = table, table.stage.soft
        thing = table.scene.things[place]
        assert isinstance(thing, Block)
        table.poked = place
        self._pose = matrix(table.states()[place])
        self.world.place(thing.lattice, stuff(table.scene, place), thing.lattice.nodes @ self._pose[:3, :3].T + self._pose[:3, 3])
        self.start = start
        self.hand = Jaw(self.world.client).tip(start.tolist())
        self.world.client.changeDynamics(self.hand.body, 0, mass=WEIGHT)
        self.felt = Felt()
        self._look_from_wrist()
        self._force: list[float] = []
        self._height: list[float] = []

    def _look_from_wrist(self) -> None:
        spec = self.table.stage.spec
        if spec.outputs.wrist:
            self.felt.wrist.append(self.table.look(self.hand.camera(spec.size), self.hand))

    def bend(self) -> None:
        """Let the table know how the block is bent now."""
        self.table.nodes = (self.world.nodes() - self._pose[:3, 3]) @ self._pose[:3, :3]

    def down(self, depth: float) -> None:
        """Press at a constant speed, from the first step on, until the tip has come so far."""
        client, outputs = self.world.client, self.table.stage.spec.outputs
        every = RATE // outputs.video if outputs.video else 0
        client.resetJointState(self.hand.body, 0, 0.0, -poke.SPEED)
        for step in range(self.hand.go(self.start - np.array([0, 0, depth]), poke.SPEED, FORCE)):
            if every and step % every == 0:
                self.bend()
                self.felt.film.append(self.table.look(hand=self.hand))
            self.world.step()
            position, _, _, effort = client.getJointState(self.hand.body, 0)
            self._force.append(-effort)
            self._height.append(-position)

    def _tared(self) -> Floats:
        """The motor's effort less that before the first touch, where it only makes up for the engine's drag on the tip [n]."""
        force, height = np.array(self._force), np.array(self._height)
        free = np.flatnonzero(height < poke.ABOVE - 2 * MARGIN)[1:]  # the first step has no speed to keep yet
        tared: Floats = force - force[free].mean()
        return tared

    def finish(self, place: int) -> tuple[Felt, View]:
        """What was felt, and the picture at the deepest point; the tip leaves and the block springs back."""
        table, spec = self.table, self.table.stage.spec
        self.bend()
        self._look_from_wrist()
        felt = replace(self.felt, force=self._tared(), travel=np.array(self._height))
        felt.pushed = felt.force[:, None] * np.array([0.0, 0.0, 1.0])
        if felt.force[-1] > TOUCH:
            felt.contacts = [(place, Contact(self.hand.where(), felt.pushed[-1]))]
        deepest = table.look(hand=self.hand)
        if spec.outputs.tactile:
            felt.tactile = [table.look(camera) for camera in self.hand.fingertip_cameras(spec.size)]
        self.hand.leave()
        self.world.step(math.ceil(QUIET * stuff(table.scene, place).damping * RATE))
        self.bend()
        return felt, deepest


def set_table(stage: Stage, index: int, scene: Scene | None = None) -> SoftTable:
    """Put the blocks of item ``index`` on the table and take the picture before."""
    scene = scene or draw_scene(stage.spec, index, block)
    return SoftTable(stage, scene, list(range(len(scene.things))))


def attempt(table: SoftTable, action: Sequence[float]) -> Outcome:
    """Press on a pixel of the picture before."""
    row, column = action[:2]
    seen = table.point_at(row, column)
    place = table.nearest(seen)
    top = table.top_of(place)
    start = np.array([seen[0], seen[1], max(table.top(seen, _TIP), top) + poke.ABOVE])
    press = Press(table, place, start)
    gap = float(start[2] - top)
    press.down(gap + poke.DEPTH)
    felt, deepest = press.finish(place)
    depth = (felt.travel - gap) * 1000
    past = (depth > poke.IMPACT) & (felt.force > TOUCH)
    slope, intercept = poke.fit(felt.force[past], depth[past])
    return Outcome(place, (row, column, slope, intercept), slope > 0, felt, deepest=deepest, elastic=stuff(table.scene, place))
