"""Pictures by PyBullet's TinyRenderer, a small software rasteriser: slow, but there wherever PyBullet is.

It has quirks, which are made good here so that it sees what `gl` sees:

* its axis meets the picture at row h / 2 - 1 and column w / 2 instead of the middle: the projection is shifted by half a pixel;
* it leaves out back faces: a mesh with gaps gets a second set of faces that look the other way;
* it colours the lamp's light only, and remembers that colour: both lights are tinted through the colours of things instead;
* PyBullet never gives back the numbers of a mesh that is handed over as lists, nor what it keeps of files: meshes are handed over
  as files, of which it may keep the first ones (a body is made six times as fast then) and nothing of later ones;
* bodies, shapes and textures leave something behind when they go: its world is now and then replaced by a new one.

It differs in what would cost too much to make good: when anything casts a shadow everything does, shadows are pale, highlights
have the colours of things, a camera inside a closed mesh sees out of it, and textures are not smoothed.
"""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.camera import NOTHING, Camera, Floats, Light, View
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import VOID, Drawn
from embodied_ssl.sim.render.scene import check_picture, colours_of, lamp_of, poses_of, repeat_of, to_camera
from embodied_ssl.sim.render.surface import surface

_Form = tuple[Mesh, float]  # a mesh, and repeats to a metre of a texture laid on it; 0 where none is
_MOST = 32_000_000  # bytes that a world may have loaded before it is replaced
_CORNER, _FACE = 200, 40  # bytes of each, about
_KEPT = 48_000_000  # bytes of meshes that PyBullet may keep for good
_BODIES = 5000  # that a world may have made before it is replaced; each leaves 1 kB
_NO_TEXTURE = -1


@dataclass
class _World:
    """What a client holds: shapes by form, textures by picture with what was loaded, and the bodies of the last picture."""

    client: Client
    shapes: dict[_Form, int] = field(default_factory=dict)
    textures: dict[int, tuple[Pixels, Pixels, int]] = field(default_factory=dict)
    bodies: list[int] = field(default_factory=list)
    made_of: list[tuple[int, int]] = field(default_factory=list)  # their shapes and textures
    loaded: int = 0
    made: int = 0


class TinyRenderer:
    """PyBullet's software rasteriser, in a world of its own in which nothing moves.

    Attributes:
        device: what draws.

    Raises:
        UserError: PyBullet is absent, or has no client left.
    """

    name = "tiny"
    device = "PyBullet's TinyRenderer"

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._folder = Path(tempfile.mkdtemp(prefix="embodied_ssl_"))
        self._clean = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files: WeakKeyDictionary[Mesh, dict[float, Path]] = WeakKeyDictionary()
        self._kept = 0
        self._renew()

    def look(self, scene: Sequence[Drawn], camera: Camera, light: Light) -> View:
        """Take a picture.

        Raises:
            UserError: a pose, colour, mesh or texture that cannot be drawn, or a camera that makes no picture.
        """
        to_eye = to_camera(camera)
        lamp = to_eye[:3, :3].T @ lamp_of(light, to_eye)
        scene = [drawn for drawn in scene if len(drawn.mesh.faces)]
        poses, colours = poses_of(scene), colours_of(scene)
        if self._world.loaded > _MOST or self._world.made > _BODIES:
            self._world.client.close()
            self._renew()
        self._stand([self._made_of(drawn) for drawn in scene])
        brightest = max(1.0, *light.colour)
        tints = np.clip(colours * light.colour / brightest, 0.0, 1.0)
        client = self._world.client
        for body, pose, tint in zip(self._world.bodies, poses, tints.tolist(), strict=True):
            client.resetBasePositionAndOrientation(body, pose[:3, 3].tolist(), _quaternion(pose))
            client.changeVisualShape(body, -1, rgbaColor=[*tint, 1.0])
        picture = client.getCameraImage(
            camera.width,
            camera.height,
            (np.diag([1.0, -1.0, -1.0, 1.0]) @ to_eye).T.reshape(-1).tolist(),
            _projection(camera),
            lightDirection=lamp.tolist(),
            lightColor=[1.0, 1.0, 1.0],
            lightAmbientCoeff=light.ambient * brightest,
            lightDiffuseCoeff=light.diffuse * brightest,
            lightSpecularCoeff=light.specular * brightest,
            shadow=int(light.shadow and any(drawn.shadow for drawn in scene)),
            renderer=client.ER_TINY_RENDERER,
        )
        return _view(picture, camera, self._world.bodies, [drawn.id for drawn in scene])

    def close(self) -> None:
        """Give the client back, and take the files of meshes away."""
        self._world.client.close()
        self._clean()

    def _renew(self) -> None:
        self._world = _World(Client())

    def _stand(self, made_of: list[tuple[int, int]]) -> None:
        """Bodies of these shapes and textures, in this order and no others.

        Where two surfaces are equally near, the order decides; so bodies are kept only if all of them are the same.
        """
        world, client = self._world, self._world.client
        if world.made_of == made_of:
            return
        for body in reversed(world.bodies):
            client.removeBody(body)
        world.bodies = [client.createMultiBody(0, -1, shape) for shape, _ in made_of]
        for body, (_, texture) in zip(world.bodies, made_of, strict=True):
            if texture != _NO_TEXTURE:
                client.changeVisualShape(body, -1, textureUniqueId=texture)
        world.made_of = made_of
        world.made += len(made_of)

    def _made_of(self, drawn: Drawn) -> tuple[int, int]:
        picture = drawn.mesh.picture if drawn.texture is None else drawn.texture
        by_metres = picture is not None and drawn.mesh.texture_at is None
        form = drawn.mesh, repeat_of(drawn) if by_metres else 0.0
        if form not in self._world.shapes:
            self._world.shapes[form] = self._shape(*form)
        return self._world.shapes[form], _NO_TEXTURE if picture is None else self._texture(picture)

    def _shape(self, mesh: Mesh, repeat: float) -> int:
        files = self._files.setdefault(mesh, {})
        if repeat not in files:
            files[repeat] = self._write(mesh, repeat)
        client = self._world.client
        shape: int = client.createVisualShape(client.GEOM_MESH, fileName=str(files[repeat]))
        return shape

    def _write(self, mesh: Mesh, repeat: float) -> Path:
        """A mesh as a file that stays while the renderer does, so that a new world finds what PyBullet keeps of it."""
        ready = surface(mesh, repeat > 0)
        corners, faces = ready.corners.copy(), ready.faces
        if repeat > 0:
            corners[:, 6:] *= repeat
        corners[:, 7] = 1 - corners[:, 7]  # counts from the bottom
        if not ready.closed:
            faces = np.concatenate([faces, faces[:, ::-1] + len(corners)])
            corners = np.concatenate([corners, corners * np.array([1, 1, 1, -1, -1, -1, 1, 1], np.float32)])
        size = _CORNER * len(corners) + _FACE * len(faces)
        self._world.loaded += size
        keeping = self._kept + size <= _KEPT
        self._kept += size * keeping
        self._world.client.setPhysicsEngineParameter(enableFileCaching=int(keeping))
        path = self._folder / f"{next(self._numbers)}.obj"
        path.write_text(_obj(corners, faces))
        return path

    def _texture(self, picture: Pixels) -> int:
        """The texture of a picture; it is loaded anew if it was written to since."""
        kept = self._world.textures.get(id(picture))
        if kept is not None and kept[0] is picture and (kept[1] is picture or np.array_equal(kept[1], picture)):
            return kept[2]
        check_picture(picture)
        path = self._folder / f"{next(self._numbers)}.png"
        path.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
        texture: int = self._world.client.loadTexture(str(path))
        path.unlink()
        self._world.textures[id(picture)] = picture, picture.copy() if picture.flags.writeable else picture, texture
        self._world.loaded += 2 * picture.nbytes
        return texture


def _obj(corners: NDArray[np.float32], faces: NDArray[np.int32]) -> str:
    """A mesh as Wavefront OBJ; nine digits keep all of a float32."""
    count = len(corners)
    parts = [
        ("v %.9g %.9g %.9g\n" * count) % tuple(corners[:, :3].reshape(-1).tolist()),
        ("vn %.9g %.9g %.9g\n" * count) % tuple(corners[:, 3:6].reshape(-1).tolist()),
        ("vt %.9g %.9g\n" * count) % tuple(corners[:, 6:].reshape(-1).tolist()),
        ("f %d/%d/%d %d/%d/%d %d/%d/%d\n" * len(faces)) % tuple(np.repeat(faces.reshape(-1) + 1, 3).tolist()),
    ]
    return "".join(parts)


def _projection(camera: Camera) -> list[float]:
    """OpenGL's projection by columns, shifted by half a pixel to the left and down."""
    tall, near, far = 1 / math.tan(math.radians(camera.fov) / 2), camera.near, camera.far
    wide = tall * camera.height / camera.width
    shift = [1 / camera.width, 1 / camera.height]
    return [wide, 0, 0, 0, 0, tall, 0, 0, *shift, -(far + near) / (far - near), -1, 0, 0, -2 * far * near / (far - near), 0]


def _view(picture: Sequence[object], camera: Camera, bodies: Sequence[int], ids: Sequence[int]) -> View:
    rgba, depth, seen = (np.asarray(part) for part in picture[2:5])
    size = camera.height, camera.width
    names = np.full(max(bodies, default=0) + 2, NOTHING, np.int32)  # the last one is for -1
    names[list(bodies)] = ids
    near, far = camera.near, camera.far
    metres = np.float32(far * near) / (np.float32(far) - np.float32(far - near) * depth.astype(np.float32).reshape(size))
    rgb = np.empty((*size, 3), np.uint8)
    cv2.cvtColor(np.ascontiguousarray(rgba.reshape(*size, 4), np.uint8), cv2.COLOR_RGBA2RGB, dst=rgb)
    nothing = seen.reshape(size) < 0
    if nothing.any():
        metres[nothing] = far
        rgb[nothing] = VOID
    return View(rgb, metres, names.take(seen.reshape(size), mode="wrap"))


def _quaternion(pose: Floats) -> list[float]:
    """Of a rotation: x, y, z, w."""
    turn = pose[:3, :3].tolist()
    trace = turn[0][0] + turn[1][1] + turn[2][2]
    if trace > 0:
        w = math.sqrt(1 + trace) / 2
        return [(turn[2][1] - turn[1][2]) / 4 / w, (turn[0][2] - turn[2][0]) / 4 / w, (turn[1][0] - turn[0][1]) / 4 / w, w]
    i = max(range(3), key=lambda k: turn[k][k])
    j, k = (i + 1) % 3, (i + 2) % 3
    found = [0.0] * 4
    found[i] = math.sqrt(max(0.0, 1 + turn[i][i] - turn[j][j] - turn[k][k])) / 2
    found[j], found[k] = (turn[j][i] + turn[i][j]) / 4 / found[i], (turn[k][i] + turn[i][k]) / 4 / found[i]
    found[3] = (turn[k][j] - turn[j][k]) / 4 / found[i]
    return found
