"""Milliseconds of CPU time that a picture takes, for each renderer, look and size; and a sheet of what it looks like.

python scripts/benchmark_renderers.py [--sheet sheet.png]

The scene is a table and six things of 12 to 320 triangles. Every figure is the least of many short runs, sizes taken in turn, so
that what else the machine does weighs on all alike. Set LP_NUM_THREADS to let Mesa draw with threads (it starts none).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from embodied_ssl.keys import generator
from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import Camera, Light, View
from embodied_ssl.sim.render.choose import open_renderer
from embodied_ssl.sim.render.renderer import Drawn
from embodied_ssl.sim.render.textures import BANK, from_bank

SIZES = (64, 128, 224)
FLAT, FULL = Light(shadow=False), Light((0.5, 0.3, 1.0))


def scene(textured: bool) -> list[Drawn]:
    """A table and six things, turned in all ways."""
    meshes = [
        solids.capsule(0.025, 0.1),
        solids.capsule(0.02, 0.08),
        solids.sphere(0.03),
        solids.box((0.05, 0.06, 0.07)),
        solids.cylinder(0.03, 0.05),
        solids.capsule(0.03, 0.09),
    ]
    rng = generator(0, "benchmark of renderers")
    found = [Drawn(solids.plane((1.0, 1.0)), np.eye(4), (0.75, 0.7, 0.6), shadow=False)]
    for place, mesh in enumerate(meshes):
        pose = np.eye(4)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
        pose[:3, 3] = 0.1 * (place % 3 - 1), 0.14 * (place // 3) - 0.07, 0.05
        red, green, blue = rng.uniform(0.3, 1, 3)
        found.append(Drawn(mesh, pose, (red, green, blue), place))
    if textured:
        numbers = rng.integers(BANK, size=len(found))
        found = [
            dataclasses.replace(drawn, texture=from_bank(int(number)), size=0.08)
            for drawn, number in zip(found, numbers, strict=True)
        ]
    return found


def camera(size: int) -> Camera:
    return Camera((0.05, -0.25, 0.65), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), size, size)


def least(kinds: Mapping[str, Callable[[], View]], rounds: int, looks: int) -> dict[str, float]:
    """Milliseconds a look of each kind, taken in turn; the least of all rounds."""
    found = {name: float("inf") for name in kinds}
    for _ in range(rounds):
        for name, look in kinds.items():
            look()
            start = time.process_time()
            for _ in range(looks):
                look()
            found[name] = min(found[name], 1e3 * (time.process_time() - start) / looks)
    return found


def sheet(path: Path, names: Sequence[str], size: int = 300) -> None:
    """Colour of both looks, depth and ids, a row a renderer."""
    rows = []
    for name in names:
        renderer = open_renderer(name)
        flat, full = renderer.look(scene(False), camera(size), FLAT), renderer.look(scene(True), camera(size), FULL)
        near, far = full.depth.min(), full.depth.max()
        depth = np.repeat((255 * (full.depth - near) / (far - near)).astype(np.uint8)[..., None], 3, axis=2)
        ids = (np.stack([full.ids * 67, full.ids * 131, full.ids * 29], axis=-1) % 206 + 50).astype(np.uint8)
        rows.append(np.hstack([flat.rgb, full.rgb, depth, ids * (full.ids >= 0)[..., None]]))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="also write a picture of what is drawn")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    print("renderer  look  " + "".join(f"{size:>7} px" for size in SIZES))
    for name, looks in (("gl", 8), ("tiny", 1)):
        renderer = open_renderer(name)
        for look, things, light in (("flat", scene(False), FLAT), ("full", scene(True), FULL)):
            kinds = {str(size): partial(renderer.look, things, camera(size), light) for size in SIZES}
            found = least(kinds, given.rounds, looks)
            print(f"{name:10}{look:6}" + "".join(f"{found[str(size)]:7.2f} ms" for size in SIZES))
    if given.sheet:
        sheet(given.sheet, ("gl", "tiny"))


if __name__ == "__main__":
    main()
