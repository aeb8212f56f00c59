"""Scenes that the renderers' tests share."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Camera, Floats, Light, Vector, View
from embodied_ssl.sim.render.choose import process_renderer
from embodied_ssl.sim.render.renderer import Drawn, Renderer

FLAT = Light(shadow=False)


def renderer_or_skip(name: str) -> Renderer:
    try:
        return process_renderer(name)
    except UserError as error:
        if "libegl1" in str(error) or "pip install" in str(error):
            pytest.skip(str(error))
        raise


def placed(x: float = 0, y: float = 0, z: float = 0, turn: Floats | None = None) -> Floats:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    if turn is not None:
        pose[:3, :3] = turn
    return pose


def turned(*key: int) -> Floats:
    """A random rotation."""
    turn, _ = np.linalg.qr(generator(0, "turn", *key).normal(size=(3, 3)))
    return turn * np.sign(np.linalg.det(turn))


def table(side: float = 1.0, **rest: object) -> Drawn:
    return Drawn(solids.plane((side, side)), placed(), (0.7, 0.6, 0.5), shadow=False, **rest)  # type: ignore[arg-type]


def things() -> list[Drawn]:
    """Six solids over a table, turned in all ways, none touching another in the picture."""
    meshes = [
        solids.capsule(0.02, 0.1), solids.box((0.05, 0.06, 0.07)), solids.sphere(0.03),
        solids.cylinder(0.03, 0.05), solids.capsule(0.03, 0.08), solids.box((0.1, 0.02, 0.05)),
    ]  # fmt: skip
    colours = generator(0, "colours").uniform(0.2, 0.9, (6, 3))
    return [
        Drawn(mesh, placed(0.12 * (k % 3 - 1), 0.14 * (k // 3) - 0.07, 0.06, turned(k)), tuple(colours[k]), k)
        for k, mesh in enumerate(meshes)
    ]


def oblique(height: int = 128, width: int = 128, **rest: float) -> Camera:
    return Camera((0.05, -0.35, 0.6), (0.0, 0.0, 0.03), (0.0, 0.0, 1.0), height, width, **rest)  # type: ignore[arg-type]


def above(height: int = 128, width: int = 128, up: Vector = (0.0, 1.0, 0.0)) -> Camera:
    return Camera((0.0, 0.0, 0.7), (0.0, 0.0, 0.0), up, height, width)


def turned_about_z(angle: float) -> Floats:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])


def checks(squares: int = 2, pixels: int = 32) -> NDArray[np.uint8]:
    """Black and white, ``squares`` to a side."""
    at = np.arange(squares * pixels) // pixels
    grey = ((at[:, None] + at) % 2 * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def digest(view: View) -> str:
    return hashlib.sha256(view.rgb.tobytes() + view.depth.tobytes() + view.ids.tobytes()).hexdigest()
