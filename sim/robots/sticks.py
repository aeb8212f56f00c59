"""What hands sweep and press with: the same for a hand that floats and for one that holds it between its fingers."""

from __future__ import annotations

from dataclasses import dataclass

from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.robots.hand import ROUND
from embodied_ssl.sim.robots.tool import facing

THICK = 0.012  # metres; of what sweeps
_SWEEPS, _PRESSES = 0.1, 0.06  # metres long
METAL: Vector = (0.55, 0.56, 0.58)


@dataclass(frozen=True, eq=False)
class Stick:
    """Something upright, in a frame in its middle whose z axis is its own.

    Attributes:
        shape: number of its collision shape.
        mesh: what is seen.
        length: metres.
        thick: metres.
        friction: lateral.
        pad: where it feels [4, 4]; z points out of it.
    """

    shape: int
    mesh: Mesh
    length: float
    thick: float
    friction: float
    pad: Floats


def rod(client: Client) -> Stick:
    """What sweeps, along its x axis."""
    shape = client.createCollisionShape(client.GEOM_CYLINDER, radius=THICK / 2, height=_SWEEPS)
    front = facing((1, 0, 0), (THICK / 2, 0, 0.01 - _SWEEPS / 2))
    return Stick(shape, solids.cylinder(THICK / 2, _SWEEPS), _SWEEPS, THICK, 0.8, front)


def probe(client: Client) -> Stick:
    """What presses down. It is smooth: on a slope, friction would bear some of what it presses with."""
    shape = client.createCollisionShape(client.GEOM_CAPSULE, radius=ROUND / 2, height=_PRESSES - ROUND)
    below = facing((0, 0, -1), (0, 0, -_PRESSES / 2), up=(1, 0, 0))
    return Stick(shape, solids.capsule(ROUND / 2, _PRESSES), _PRESSES, ROUND, 0.05, below)
