"""Blocks of rubber: tetrahedra with a Neo-Hookean law, in a world of PyBullet's that lets bodies bend.

Such a world is another one than that of rigid things, and is made anew for every block: its nodes are no part of a saved state. A
block's base is glued down and there is no gravity, so that it rests in exactly the shape that it was made in (under its own
weight a block of this size would sag by less than a millimetre). Lengths are metres, forces newtons, moduli pascals.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.solver import RATE

Cells = tuple[int, int, int]
Indices = NDArray[np.int32]
MARGIN = 0.0005  # the engine's: what touches a block stops about so far above it
COURANT = 0.4  # share of the smallest cell that a wave of pressure may cross in a step; the engine's forces are explicit
_OUTWARDS = (  # the corners of a cell's six sides, counter-clockwise from outside, and the axis that each side lies across
    (((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)), (0, 0)),
    (((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)), (0, 1)),
    (((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)), (1, 0)),
    (((0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0)), (1, 1)),
    (((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)), (2, 0)),
    (((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)), (2, 1)),
)
# A cube cut into five tetrahedra; its neighbours are cut the other way round, so that diagonals meet.
_FIVE = (
    ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((1, 1, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)),
    ((1, 0, 1), (1, 0, 0), (0, 0, 1), (1, 1, 1)),
    ((0, 1, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
)


@dataclass(frozen=True)
class Elastic:
    """What a block is made of.

    Args:
        mu: shear modulus, Pa.
        lame: Lame's first parameter, Pa.
        damping: seconds; its stress grows by so much times the rate of strain, and a dent is gone e-fold in this time.
        density: kg per cubic metre.
    """

    mu: float
    lame: float
    damping: float
    density: float

    @property
    def young(self) -> float:
        """Young's modulus, Pa."""
        return self.mu * (3 * self.lame + 2 * self.mu) / (self.lame + self.mu)

    @property
    def wave(self) -> float:
        """Speed of a wave of pressure, m/s."""
        return math.sqrt((self.lame + 2 * self.mu) / self.density)


@dataclass(frozen=True)
class Lattice:
    """A box cut into tetrahedra. Its frame's origin is its centre; it stands on its lowest side.

    Args:
        size: extent along x, y, z.
        cells: how often it is cut along each.
    """

    size: tuple[float, float, float]
    cells: Cells = (2, 2, 2)

    @cached_property
    def nodes(self) -> Floats:
        """Where nodes are at rest [n, 3], z running fastest."""
        along = [np.linspace(-side / 2, side / 2, count + 1) for side, count in zip(self.size, self.cells, strict=True)]
        return np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)

    @property
    def tetrahedra(self) -> Indices:
        """Four nodes each [m, 4], of positive volume."""
        return _tetrahedra(self.cells)

    @property
    def base(self) -> Indices:
        """The nodes that it stands on."""
        return np.arange(0, len(self.nodes), self.cells[2] + 1, dtype=np.int32)

    @property
    def finest(self) -> float:
        """The shortest side of a cell."""
        return min(side / count for side, count in zip(self.size, self.cells, strict=True))

    def mesh(self, nodes: Floats | None = None) -> Mesh:
        """What is seen of it when its nodes are there [n, 3], or at rest; each of its six sides is smooth."""
        points = self.nodes if nodes is None else nodes
        faces, corners = _surface(self.cells)
        seen = points[corners]
        edges = seen[faces[:, 1:]] - seen[faces[:, :1]]
        across = np.cross(edges[:, 0], edges[:, 1])  # as long as the triangle is large, so that large ones count for more
        normals = np.zeros_like(seen)
        np.add.at(normals, faces.ravel(), np.repeat(across, 3, axis=0))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Mesh(seen.astype(np.float32), faces, normals.astype(np.float32))

    def file(self, nodes: Floats) -> str:
        """Nodes [n, 3] and tetrahedra in the form of a VTK file."""
        tetrahedra = self.tetrahedra
        lines = ["# vtk DataFile Version 2.0", "a block", "ASCII", "DATASET UNSTRUCTURED_GRID", f"POINTS {len(nodes)} double"]
        lines += [f"{x!r} {y!r} {z!r}" for x, y, z in nodes.tolist()]
        lines += [f"CELLS {len(tetrahedra)} {5 * len(tetrahedra)}"]
        lines += [f"4 {a} {b} {c} {d}" for a, b, c, d in tetrahedra.tolist()]
        lines += [f"CELL_TYPES {len(tetrahedra)}", *["10"] * len(tetrahedra), ""]
        return "\n".join(lines)


def _number(cells: Cells, at: Sequence[int]) -> int:
    return (at[0] * (cells[1] + 1) + at[1]) * (cells[2] + 1) + at[2]


@lru_cache(64)
def _tetrahedra(cells: Cells) -> Indices:
    found = []
    for cell in itertools.product(*map(range, cells)):
        mirrored = sum(cell) % 2  # along x; this turns the tetrahedra inside out, so two of their nodes are exchanged
        for four in _FIVE:
            a, b, c, d = (_number(cells, [cell[0] + abs(x - mirrored), cell[1] + y, cell[2] + z]) for x, y, z in four)
            found.append((a, b, c, d))
    numbers = np.array(found, np.int32)
    places = np.array(list(itertools.product(*(range(count + 1) for count in cells))), np.float64)[numbers]
    inside_out = np.linalg.det(places[:, 1:] - places[:, :1]) < 0
    numbers[inside_out] = numbers[inside_out][:, [0, 2, 1, 3]]
    return numbers


@lru_cache(64)
def _surface(cells: Cells) -> tuple[Indices, Indices]:
    """Triangles [m, 3] as corners, and the node of each corner [k]; the six sides share no corners."""
    faces: list[tuple[int, int, int]] = []
    corners: dict[tuple[int, int], int] = {}
    for side, (square, (axis, high)) in enumerate(_OUTWARDS):
        for cell in itertools.product(*map(range, cells)):
            if cell[axis] != (cells[axis] - 1 if high else 0):
                continue
            nodes = [_number(cells, [at + step for at, step in zip(cell, corner, strict=True)]) for corner in square]
            a, b, c, d = (corners.setdefault((side, node), len(corners)) for node in nodes)
            # The diagonal is the tetrahedra's: of the two nodes that it joins, the coordinates sum to an odd number.
            even = sum(cell) + sum(square[0])
            faces += [(a, b, c), (a, c, d)] if even % 2 else [(a, b, d), (b, c, d)]
    return np.array(faces, np.int32), np.array([node for _, node in corners], np.int32)


class SoftWorld:
    """One PyBullet client that holds one block of rubber at a time.

    Raises:
        UserError: PyBullet is absent, or has no client left.
    """

    def __init__(self) -> None:
        self.client = Client()
        self.body = -1
        self.finer = 1

    def close(self) -> None:
        """Give the client back; the world is of no use afterwards."""
        self.client.close()

    def place(self, lattice: Lattice, elastic: Elastic, nodes: Floats) -> None:
        """Forget everything, and put a block there.

        Args:
            lattice: how it is cut.
            elastic: what it is made of.
            nodes: where its nodes rest, in the world [n, 3].
        """
        p = self.client
        self.finer = max(1, math.ceil(elastic.wave / RATE / (COURANT * lattice.finest)))
        with tempfile.TemporaryDirectory() as folder, p.quiet():  # PyBullet counts nodes aloud
            p.empty(p.RESET_USE_DEFORMABLE_WORLD)
            p.setPhysicsEngineParameter(fixedTimeStep=1 / RATE / self.finer, deterministicOverlappingPairs=1)
            p.setGravity(0, 0, 0)
            path = Path(folder) / "block.vtk"
            path.write_text(lattice.file(nodes))
            self.body = p.loadSoftBody(
                str(path),
                mass=elastic.density * math.prod(lattice.size),
                useNeoHookean=1,
                NeoHookeanMu=elastic.mu,
                NeoHookeanLambda=elastic.lame,
                NeoHookeanDamping=elastic.damping,
                useSelfCollision=0,
                useFaceContact=1,
                collisionMargin=MARGIN,
                frictionCoeff=0.5,
            )
        for node in lattice.base.tolist():
            p.createSoftBodyAnchor(self.body, node, -1, -1)

    def step(self, count: int = 1) -> None:
        """Let ``count / 240`` seconds pass, in as many steps as the stiffness asks for."""
        for _ in range(count * self.finer):
            self.client.stepSimulation()

    def nodes(self) -> Floats:
        """Where the block's nodes are now, in the world [n, 3]."""
        return np.array(self.client.getMeshData(self.body, -1, flags=self.client.MESH_DATA_SIMULATION_MESH)[1])
