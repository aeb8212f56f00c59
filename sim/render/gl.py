"""Pictures by OpenGL without a window (EGL): colour, depth and ids in one pass, on a GPU's driver or in software (Mesa).

Meshes lie in one buffer (`arena`), where each stands in another, and a list of commands in a third, so that one call draws all
that bears the same texture. A mesh without gaps is drawn without its back faces, which are half of a software rasteriser's work;
where the near plane may cut it open, and for all other meshes, both sides are drawn and lit alike.

Mesa's software rasteriser starts a thread for every core unless ``LP_NUM_THREADS`` is set; here it starts none, because there is
a worker for every core already, and pictures of this size gain nothing. Set it yourself to have threads.
``GLCONTEXT_DEVICE_INDEX`` chooses among several GPUs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import NOTHING, Camera, Floats, Light, View
from embodied_ssl.sim.render import shaders
from embodied_ssl.sim.render.arena import Meshes, Placed, Textures
from embodied_ssl.sim.render.device import device
from embodied_ssl.sim.render.lamp import shadow_map
from embodied_ssl.sim.render.renderer import VOID, Drawn
from embodied_ssl.sim.render.scene import colours_of, lamp_of, poses_of, repeat_of, to_camera
from embodied_ssl.sim.render.spare import Arrays, Spare

_SIZES = 8  # picture sizes whose buffers are kept
_WORDS = 20  # of 32 bits an instance: three rows of its pose, colour, repeats of its texture, id, and three to spare
_CORNER = (("at", "3f"), ("normal", "3f"), ("texture_at", "2f"))
_INSTANCE = (("right", "4f"), ("down", "4f"), ("forward", "4f"), ("painted", "4f"), ("number", "1i"), ("", "12x"))
_GAPS = {"2f": "8x", "3f": "12x", "4f": "16x", "1i": "4x", "12x": "12x"}
_SLOPE, _UNITS = 2.0, 8.0  # by which what has gaps is pushed away from the lamp, lest it shade itself
_VOID = VOID[0] / 255, VOID[1] / 255, VOID[2] / 255, 1.0
_MANY = 24  # instances from which on it pays to leave out those that are out of the picture

_Kind = tuple[bool, bool, bool]  # of a program: whether there is a shadow map, a texture, and both sides are drawn


@dataclass(frozen=True)
class _Target:
    """Buffers of one picture size."""

    frame: Any
    parts: tuple[Any, ...]
    scratch: NDArray[np.uint8]


@dataclass(frozen=True)
class _Call:
    """Commands ``first`` to ``first + count``, drawn at once."""

    both_sides: bool
    texture: Any
    first: int
    count: int


@dataclass(frozen=True)
class _Plan:
    """The order of instances (by place in the scene), commands, calls for the picture and for the shadow map."""

    order: list[int]
    commands: list[tuple[int, int, int, int, int]]
    seen: list[_Call]
    casting: list[_Call]


class GlRenderer:
    """OpenGL on EGL through moderngl; all renderers of a process share one context.

    Attributes:
        device: what draws, in the driver's words.

    Raises:
        UserError: moderngl or EGL is missing, or the driver is too old; says what to install.
    """

    name = "gl"

    def __init__(self) -> None:
        self._device = device()
        self.device = self._device.name
        context = self._context = self._device.context
        self._meshes, self._textures = Meshes(context), Textures(context)
        self._programs: dict[_Kind | None, Any] = {}
        self._arrays: dict[_Kind | None, Any] = {}
        self._bound_to = (0, 0)
        self._targets: dict[tuple[int, int], _Target] = {}
        self._shades: dict[int, _Target] = {}
        self._spare = Spare()
        self._frame = context.buffer(reserve=208)
        self._room = 64
        self._instances, self._commands = self._buffers()

    def look(self, scene: Sequence[Drawn], camera: Camera, light: Light) -> View:
        """Take a picture; the memory of meshes and textures is kept as long as they live.

        Raises:
            UserError: a pose, colour, mesh or texture that cannot be drawn, a camera that makes no picture, or use in a process
                or thread other than that which opened the first renderer.
        """
        self._device.enter()
        to_eye = to_camera(camera)
        target = self._target(camera.height, camera.width)
        scene = [drawn for drawn in scene if len(drawn.mesh.faces)]
        calls, shadowed = self._prepare(scene, camera, light, to_eye) if scene else ([], False)
        self._begin(target, camera)
        for call in calls:
            if call.texture is not None:
                call.texture.use(0)
            self._draw((shadowed, call.texture is not None, call.both_sides), call)
        return _read(target, self._spare.take(camera.height, camera.width))

    def close(self) -> None:
        """Give the device's memory back; the context stays, for other renderers of this process."""
        self._device.enter()
        for part in (self._meshes, self._textures, self._frame, self._instances, self._commands):
            part.release()
        for part in (*self._arrays.values(), *self._programs.values()):
            part.release()
        for target in (*self._targets.values(), *self._shades.values()):
            _release(target)

    def _prepare(self, scene: Sequence[Drawn], camera: Camera, light: Light, to_eye: Floats) -> tuple[list[_Call], bool]:
        """Send what has changed to the device and draw the shadow map; the calls to come, and whether there are shadows."""
        pictures = [drawn.mesh.picture if drawn.texture is None else drawn.texture for drawn in scene]
        by_metres = [one is not None and drawn.mesh.texture_at is None for one, drawn in zip(pictures, scene, strict=True)]
        placed = self._meshes.place([(drawn.mesh, laid) for drawn, laid in zip(scene, by_metres, strict=True)])
        textures = self._textures.place(pictures)
        views = to_eye @ poses_of(scene)
        boxes = _Boxes(views, placed)
        lamp = lamp_of(light, to_eye)
        casts = [light.shadow and drawn.shadow for drawn in scene]
        texels = 64 * math.ceil(max(camera.height, camera.width) / 64)  # a shadow's edge is about a pixel soft
        shadow = shadow_map(lamp, boxes.centres, boxes.halves(), casts, camera, texels) if any(casts) else None
        plan = _plan(placed, textures, boxes.cut(camera), boxes.seen(camera), casts if shadow is not None else ())
        self._write(scene, by_metres, views, plan)
        self._frame.write(_frame_bytes(camera, light, lamp, shadow))
        self._frame.bind_to_uniform_block(0)
        if shadow is not None:
            self._cast(texels, plan.casting)
        return plan.seen, shadow is not None

    def _write(self, scene: Sequence[Drawn], by_metres: Sequence[bool], views: Floats, plan: _Plan) -> None:
        if max(len(scene), len(plan.commands)) > self._room:
            self._room = 2 * max(len(scene), len(plan.commands))
            self._instances.release()
            self._commands.release()
            self._instances, self._commands = self._buffers()
        words = np.zeros((len(scene), _WORDS), np.float32)
        words[:, :12] = views.reshape(-1, 16)[plan.order, :12]
        words[:, 12:15] = colours_of([scene[place] for place in plan.order])
        words[:, 15] = [repeat_of(scene[place]) if by_metres[place] else 1.0 for place in plan.order]
        words.view(np.int32)[:, 16] = [scene[place].id for place in plan.order]
        self._instances.write(words)
        self._commands.write(np.array(plan.commands, np.int32))

    def _buffers(self) -> tuple[Any, Any]:
        return self._context.buffer(reserve=self._room * _WORDS * 4), self._context.buffer(reserve=self._room * 20)

    def _begin(self, target: _Target, camera: Camera) -> None:
        """An empty picture."""
        target.frame.use()
        self._device.clear_floats(0, _VOID)
        self._device.clear_floats(1, (camera.far, 0.0, 0.0, 0.0))
        self._device.clear_numbers(2, NOTHING)
        self._device.clear_depth()
        self._context.enable_only(self._context.DEPTH_TEST)
        self._context.front_face = "cw"  # rows run down in the picture, which mirrors it

    def _cast(self, texels: int, calls: Sequence[_Call]) -> None:
        """Draw the shadow map: of closed meshes the faces that look away from the lamp, which are dark by themselves."""
        context = self._context
        if texels not in self._shades:
            if len(self._shades) >= _SIZES:
                _release(self._shades.pop(next(iter(self._shades))))
            texture = context.depth_texture((texels, texels))
            texture.compare_func, texture.repeat_x, texture.repeat_y = "<=", False, False
            self._shades[texels] = _Target(context.framebuffer(depth_attachment=texture), (texture,), np.empty(0, np.uint8))
        shade = self._shades[texels]
        shade.frame.use()
        shade.frame.clear()
        context.enable_only(context.DEPTH_TEST)
        context.front_face = "cw"
        for call in calls:
            context.polygon_offset = (_SLOPE, _UNITS) if call.both_sides else (0.0, 0.0)
            self._draw(None, call)
        context.polygon_offset = 0.0, 0.0
        shade.parts[0].use(1)

    def _draw(self, kind: _Kind | None, call: _Call) -> None:
        if (self._meshes.version, self._room) != self._bound_to:
            for array in self._arrays.values():
                array.release()
            self._arrays.clear()
            self._bound_to = self._meshes.version, self._room
        if kind not in self._arrays:
            self._arrays[kind] = self._array(kind)
        change = self._context.disable if call.both_sides else self._context.enable
        change(self._context.CULL_FACE)
        self._arrays[kind].render_indirect(self._commands, count=call.count, first=call.first)

    def _array(self, kind: _Kind | None) -> Any:
        """A program bound to corners and instances; None for the one that casts shadows."""
        if kind not in self._programs:
            corner, pixel = (
                (shaders.caster(), shaders.NOTHING_SEEN) if kind is None else (shaders.corner(*kind), shaders.pixel(*kind))
            )
            self._programs[kind] = self._context.program(vertex_shader=corner, fragment_shader=pixel)
        program = self._programs[kind]
        parts = [_bound(program, self._meshes.corners, _CORNER, ""), _bound(program, self._instances, _INSTANCE, "/i")]
        return self._context.vertex_array(program, parts, self._meshes.faces)

    def _target(self, height: int, width: int) -> _Target:
        if (height, width) not in self._targets:
            if len(self._targets) >= _SIZES:
                _release(self._targets.pop(next(iter(self._targets))))
            context, size = self._context, (width, height)
            parts = [context.texture(size, 4), context.texture(size, 1, dtype="f4"), context.texture(size, 1, dtype="i4")]
            depth = context.depth_texture(size)
            scratch = np.empty((height, width, 4), np.uint8)
            self._targets[height, width] = _Target(context.framebuffer(parts, depth), (*parts, depth), scratch)
        return self._targets[height, width]


def _read(target: _Target, arrays: Arrays) -> View:
    rgb, depth, ids = arrays
    target.frame.read_into(target.scratch, components=4)
    target.frame.read_into(depth, components=1, attachment=1, dtype="f4")
    target.frame.read_into(ids, components=1, attachment=2, dtype="i4")
    cv2.cvtColor(target.scratch, cv2.COLOR_RGBA2RGB, dst=rgb)  # fifty times faster than numpy
    return View(rgb, depth, ids)


def _release(target: _Target) -> None:
    for part in (target.frame, *target.parts):
        part.release()


def _bound(program: Any, buffer: Any, parts: Sequence[tuple[str, str]], step: str) -> tuple[Any, ...]:
    """A buffer with the format of those of its parts which a program asks for, and gaps for the others."""
    asked = [name for name, _ in parts if name in program]
    formats = [kind if name in asked else _GAPS[kind] for name, kind in parts]
    return (buffer, " ".join(formats) + step, *asked)


class _Boxes:
    """Boxes around what is drawn, in the camera's frame; their ``centres`` are [n, 3]."""

    def __init__(self, views: Floats, placed: Sequence[Placed]) -> None:
        self._turns, self._placed = views[:, :3, :3], placed
        middles = np.array([one.centre for one in placed])
        self.centres: Floats = (views[:, :3] @ middles[:, :, None])[:, :, 0]
        self._radius: Floats = np.array([one.radius for one in placed])

    def halves(self) -> Floats:
        """Half the boxes' edges as columns [n, 3, 3]."""
        halves: Floats = self._turns * np.array([one.half for one in self._placed])[:, None]
        return halves

    def cut(self, camera: Camera) -> list[bool]:
        """Whether the near plane may cut a thing open."""
        cut: list[bool] = (np.abs(self.centres[:, 2] - camera.near) < self._radius).tolist()
        return cut

    def seen(self, camera: Camera) -> list[bool]:
        """Whether any of a thing may be in the picture; all of them where there are few."""
        if len(self.centres) < _MANY:
            return [True] * len(self.centres)
        x, y, depth = self.centres.T
        tall = math.tan(math.radians(camera.fov) / 2)
        wide = tall * camera.width / camera.height
        beside = np.abs(x) - wide * depth > self._radius * math.hypot(1, wide)
        above = np.abs(y) - tall * depth > self._radius * math.hypot(1, tall)
        behind = depth + self._radius < camera.near
        seen: list[bool] = (~(beside | above | behind | (depth - self._radius > camera.far))).tolist()
        return seen


def _plan(placed: Sequence[Placed], textures: Sequence[Any], cut: list[bool], seen: list[bool], casts: Sequence[bool]) -> _Plan:
    """Group a scene by texture and mesh: closed meshes first, because they hide much of the others; else as they come."""
    groups: dict[tuple[bool, Any], dict[Placed, list[int]]] = {}
    for place, one in enumerate(placed):
        if seen[place]:
            groups.setdefault((cut[place] or not one.closed, textures[place]), {}).setdefault(one, []).append(place)
    plan = _Plan([], [], [], [])
    for (both_sides, texture), members in sorted(groups.items(), key=lambda item: item[0][0]):
        plan.seen.append(_Call(both_sides, texture, len(plan.commands), len(members)))
        for one, places in members.items():
            plan.commands.append((one.count, len(places), one.first, one.base, len(plan.order)))
            plan.order.extend(places)
    plan.order.extend(place for place, is_seen in enumerate(seen) if not is_seen)
    if any(casts):
        for both_sides in (False, True):
            first = len(plan.commands)
            for row, place in enumerate(plan.order):
                one = placed[place]
                if casts[place] and one.closed is not both_sides:
                    plan.commands.append((one.count, 1, one.first, one.base, row))
            if len(plan.commands) > first:
                plan.casting.append(_Call(both_sides, None, first, len(plan.commands) - first))
    return plan


def _frame_bytes(camera: Camera, light: Light, lamp: Floats, shadow: Floats | None) -> bytes:
    """What all programs read of a picture, as `shaders.FRAME` lays it out."""
    tall, near, far = 1 / math.tan(math.radians(camera.fov) / 2), camera.near, camera.far
    wide, flat, rest = tall * camera.height / camera.width, (far + near) / (far - near), -2 * far * near / (far - near)
    clip = (wide, 0, 0, 0, 0, tall, 0, 0, 0, 0, flat, 1, 0, 0, rest, 0)
    spot = (0.0,) * 16 if shadow is None else shadow.T.reshape(16).tolist()
    x, y, z = lamp.tolist()
    length = math.sqrt(x * x + y * y + (z - 1) ** 2)  # the eye is taken to be far away along the camera's axis
    half = (x / length, y / length, (z - 1) / length) if length > 1e-6 else (x, y, z)
    shares = [value * part for part in (light.ambient, light.diffuse, light.specular) for value in (*light.colour, 0)]
    return struct.pack("52f", *clip, *spot, x, y, z, 0, *half, 0, *shares)
