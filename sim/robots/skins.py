"""The triangles of a robot's files: what is seen of its links, and the hulls that they touch with."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.robots.urdf import Skin

_CREASE = 0.8  # cosine of the angle beyond which an edge is sharp


def triangles(skin: Skin) -> Floats:
    """Corners [m, 3, 3] in the link's frame, metres."""
    return _read(skin.file) * skin.scale @ skin.at[:3, :3].T + skin.at[:3, 3]


@lru_cache(256)
def _read(path: Path) -> Floats:
    """Corners [m, 3, 3] of an OBJ or binary STL file, in its own unit."""
    return _obj(path) if path.suffix == ".obj" else _stl(path)


def _obj(path: Path) -> Floats:
    points, faces = [], []
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            points.append([float(word) for word in words[1:4]])
        elif words[:1] == ["f"]:
            corners = [int(word.split("/")[0]) - 1 for word in words[1:]]
            faces += [(corners[0], *pair) for pair in itertools.pairwise(corners[1:])]
    found: Floats = np.array(points)[np.array(faces)]
    return found


def _stl(path: Path) -> Floats:
    row = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("word", "<u2")])
    return np.frombuffer(path.read_bytes(), row, offset=84)["corners"].astype(np.float64)


@lru_cache(256)
def _seen(file: Path, scale: float) -> Mesh:
    corners = triangles(Skin(file, np.eye(4), scale))
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(crosses, axis=1)
    corners, crosses, areas = corners[areas > 0], crosses[areas > 0], areas[areas > 0]
    flat = crosses / areas[:, None]
    _, at = np.unique(corners.reshape(-1, 3).round(7), axis=0, return_inverse=True)
    at = at.reshape(-1, 3)
    normals = np.empty_like(corners)
    order = np.argsort(at, axis=None, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(at.ravel()[order])) + 1)
    for group in groups:  # corners in one place share what of their faces is not across a crease
        own = flat[group // 3]
        shared = (own @ own.T > _CREASE) @ crosses[group // 3]
        normals.reshape(-1, 3)[group] = shared / np.maximum(np.linalg.norm(shared, axis=1, keepdims=True), 1e-30)
    return _joined(corners.reshape(-1, 3), normals.reshape(-1, 3))


def _joined(points: Floats, normals: Floats) -> Mesh:
    """A mesh of every three corners, those that are alike stored once."""
    rows, faces = np.unique(np.concatenate([points, normals], axis=1).astype(np.float32).round(6), axis=0, return_inverse=True)
    arrays: list[NDArray[np.float32]] = [np.ascontiguousarray(rows[:, :3]), np.ascontiguousarray(rows[:, 3:])]
    for array in arrays:
        array.flags.writeable = False
    return Mesh(arrays[0], faces.reshape(-1, 3).astype(np.int32), arrays[1])


def seen(skin: Skin) -> Mesh:
    """What is seen of a skin, in its file's frame, metres: the same mesh whenever it is asked for."""
    return _seen(skin.file, skin.scale)
