"""Meshes and textures on the device, each sent once and dropped when nothing else holds it or room runs short."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.scene import check_picture
from embodied_ssl.sim.render.surface import Surface, surface

Wanted = tuple[Mesh, bool]  # a mesh, and whether a texture is laid on it by metres
_CORNER = 32  # bytes: eight float32
_ROOM = 1 << 15  # corners at least, with two faces to each; when it is full, all is dropped and sent again as it is asked for
_MOST = 1 << 20  # corners: 32 MB, and 24 MB of faces; a larger scene still gets what it needs
_TEXELS = 1 << 23  # of all textures: 45 MB with their smaller sizes; likewise


@dataclass(frozen=True, eq=False)
class Placed:
    """Where a mesh lies: ``count`` indices from ``first`` on, of ``corners`` corners from ``base`` on; with its bounding box."""

    first: int
    count: int
    base: int
    corners: int
    centre: tuple[float, ...]  # and a one
    half: tuple[float, ...]
    radius: float
    closed: bool


class Meshes:
    """All meshes in one buffer of corners and one of faces, so that one call draws many.

    Attributes:
        corners: the device's buffer of corners.
        faces: the device's buffer of indices.
        version: changes whenever the buffers are others.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self.version = 0
        self.corners: Any = None
        self.faces: Any = None
        self._reset(_ROOM)

    def _reset(self, room: int) -> None:
        if self.version:
            self.release()
        self.corners = self._context.buffer(reserve=room * _CORNER)
        self.faces = self._context.buffer(reserve=room * 24)
        self._room, self._corners_used, self._indices_used = room, 0, 0
        self._placed: tuple[weakref.WeakKeyDictionary[Mesh, Placed], ...] = (
            weakref.WeakKeyDictionary(),
            weakref.WeakKeyDictionary(),
        )
        self.version += 1

    def place(self, wanted: Iterable[Wanted]) -> list[Placed]:
        """Send what is not there yet; all of it is there together afterwards.

        Raises:
            UserError: a mesh that cannot be drawn.
        """
        wanted = list(wanted)
        found = [self._placed[by_metres].get(mesh) for mesh, by_metres in wanted]
        if all(found):
            return found  # type: ignore[return-value]
        new = {key: surface(*key) for key, one in zip(wanted, found, strict=True) if one is None}
        if not self._fits(new.values()):
            room = self._room_for([one for kept in self._placed for one in kept.values()])
            new = {key: surface(*key) for key in wanted}
            self._reset(max(room, *(2 * size for size in _sizes(new.values()))))
        for (mesh, by_metres), one in new.items():
            self._placed[by_metres][mesh] = self._send(one)
        return [self._placed[by_metres][mesh] for mesh, by_metres in wanted]

    def _fits(self, new: Iterable[Surface]) -> bool:
        corners, faces = _sizes(new)
        return self._corners_used + corners <= self._room and self._indices_used // 3 + faces <= 2 * self._room

    def _room_for(self, alive: Iterable[Placed]) -> int:
        """Four times what is alive, so that a stream of meshes that come once never makes it grow."""
        alive = list(alive)
        corners, faces = sum(one.corners for one in alive), sum(one.count for one in alive) // 3
        return min(max(_ROOM, 4 * corners, 2 * faces), _MOST)

    def _send(self, one: Surface) -> Placed:
        base, first = self._corners_used, self._indices_used
        if one.faces.size:
            self.corners.write(np.ascontiguousarray(one.corners), offset=base * _CORNER)
            self.faces.write(np.ascontiguousarray(one.faces), offset=first * 4)
        self._corners_used += len(one.corners)
        self._indices_used += one.faces.size
        half = tuple(((one.high - one.low) / 2).tolist())
        centre = (*((one.low + one.high) / 2).tolist(), 1.0)
        return Placed(first, one.faces.size, base, len(one.corners), centre, half, math.hypot(*half), one.closed)

    def release(self) -> None:
        """Give the memory back."""
        self.corners.release()
        self.faces.release()


def _sizes(surfaces: Iterable[Surface]) -> tuple[int, int]:
    """Corners and faces."""
    pairs = [(len(one.corners), len(one.faces)) for one in surfaces]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


class Textures:
    """Pictures by identity; one that may be written to is compared with what was sent, because it may have changed since."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._kept: dict[int, tuple[weakref.ref[Pixels], Any, Pixels | None]] = {}
        self._gone: list[
            int
        ] = []  # filled by the collector, at any moment and in any thread; emptied here, where GL may be called
        self._texels = 0

    def place(self, wanted: Iterable[Pixels | None]) -> list[Any]:
        """The device's texture of every picture uint8 [h, w, 3], None for None; all of them are there together afterwards.

        Raises:
            UserError: a picture of another shape or type.
        """
        wanted = list(wanted)
        while self._gone:
            self._drop(self._gone.pop(), only_dead=True)
        kept_before = [self._find(picture) for picture in wanted]
        new = {id(one): one for one, texture in zip(wanted, kept_before, strict=True) if one is not None and texture is None}
        for picture in new.values():
            check_picture(picture)
        if not new:
            return kept_before
        if self._texels + sum(one.shape[0] * one.shape[1] for one in new.values()) > _TEXELS:
            self.release()
            new = {id(one): one for one in wanted if one is not None}
        for picture in new.values():
            self._send(picture)
        return [None if picture is None else self._kept[id(picture)][1] for picture in wanted]

    def _find(self, picture: Pixels | None) -> Any:
        entry = None if picture is None else self._kept.get(id(picture))
        if entry is None:
            return None
        owner, texture, copy = entry
        if owner() is picture and (copy is None or np.array_equal(copy, picture)):  # type: ignore[arg-type]
            return texture
        self._drop(id(picture))
        return None

    def _send(self, picture: Pixels) -> None:
        check_picture(picture)
        height, width = picture.shape[:2]
        texture = self._context.texture((width, height), 3, picture.tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.filter = (self._context.LINEAR_MIPMAP_LINEAR, self._context.LINEAR)
        key, gone = id(picture), self._gone
        owner = weakref.ref(picture, lambda _: gone.append(key))
        self._kept[key] = (owner, texture, picture.copy() if picture.flags.writeable else None)
        self._texels += height * width

    def _drop(self, key: int, only_dead: bool = False) -> None:
        if key in self._kept and not (only_dead and self._kept[key][0]() is not None):  # another may live where one died
            texture = self._kept.pop(key)[1]
            self._texels -= texture.width * texture.height
            texture.release()

    def release(self) -> None:
        """Give the memory back."""
        for key in list(self._kept):
            self._drop(key)
