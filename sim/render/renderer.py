"""What a renderer is given and what it gives: no renderer knows of physics, robots or tasks.

Two of them draw the same scene: `gl` (OpenGL without a window; fast) and `tiny` (PyBullet's TinyRenderer; works everywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.camera import NOTHING, Camera, Floats, Light, Vector, View
from embodied_ssl.sim.mesh import Mesh

VOID = (225, 232, 240)  # colour of pixels where nothing is


@dataclass(frozen=True, eq=False)
class Drawn:
    """One mesh somewhere in the scene.

    Attributes:
        mesh: the same object from picture to picture, so that it is sent to the device once.
        pose: mesh to world, float64 [4, 4]: a turn and a shift, no scale.
        colour: red, green, blue in 0..1; multiplies the texture if there is one.
        id: what the view's ids say where this is seen.
        texture: a picture uint8 [h, w, 3] wrapped around it instead of the mesh's own; None for the mesh's own or none.
        size: metres that one repeat of ``texture`` covers where the mesh has no place in textures (it is then laid on from the
            three axes of the mesh's frame).
        shadow: whether it casts one.
    """

    mesh: Mesh
    pose: Floats
    colour: Vector = (0.5, 0.5, 0.5)
    id: int = NOTHING
    texture: Pixels | None = None
    size: float = 0.2
    shadow: bool = True


class Renderer(Protocol):
    """Turns scenes into pictures. One to a process; never carried over a fork.

    Attributes:
        name: as it is chosen by.
        device: what draws, for manifests: pictures of two devices may differ by a grey level.
    """

    name: str
    device: str

    def look(self, scene: Sequence[Drawn], camera: Camera, light: Light) -> View:
        """Take a picture: colour, depth and ids in one pass. The same scene gives the same bytes, whatever was drawn before."""
        ...

    def close(self) -> None:
        """Give the device's memory back."""
        ...
