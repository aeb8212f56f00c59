"""Making forms: what is seen and what is touched in one frame at the centre of mass, with its stable poses.

Making one from a file costs some milliseconds and half a second's import, so all but its scale is kept on disk, under a key
that holds the file's content.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.datasets.io.array_cache import Arrays
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.objects import rests, surface
from embodied_ssl.sim.objects.hulls import Hull, hull, thinned
from embodied_ssl.sim.objects.surface import Surface
from embodied_ssl.sim.objects.thing import Form, Given, Primitive, Rest

_CORNERS = 256  # of a convex part; more are thinned, because every contact looks at all of them
VERSION = 3  # of what is kept; to be raised when anything that makes it changes


@dataclass(frozen=True, eq=False)
class Body:
    """A form in the units of its file, origin at the centre of mass.

    Attributes:
        mesh: what is seen.
        parts: corners of the convex parts that are touched.
        volume: of what is touched.
        filled: volume of what is seen over that.
        rests: stable poses, heights in the file's units.
        narrow: the narrowest horizontal side in the likeliest of them.
        colour: its own, or None.
    """

    mesh: Mesh
    parts: tuple[Floats, ...]
    volume: float
    filled: float
    rests: tuple[Rest, ...]
    narrow: float
    colour: Vector | None


def body(seen: Surface, touched: Sequence[Floats], matter: float | None, colour: Vector | None = None) -> Body:
    """A body of what is seen and of the corners of what is touched, convex part by part.

    Args:
        seen: triangles, in the frame of ``touched``.
        touched: corners [n, 3] of each part; their hulls are what is touched.
        matter: the volume of what is seen; None for that of what is touched.
        colour: its own, or None.

    Raises:
        ValueError: a part encloses no volume.
    """
    full = _shells(touched)
    shells = [hull(thinned(each.corners, _CORNERS)) if len(each.corners) > _CORNERS else each for each in full]
    whole = shells[0] if len(shells) == 1 else hull(np.concatenate([shell.corners for shell in shells]))
    volume = sum(shell.volume for shell in shells)
    centre = np.sum([shell.volume * shell.centre for shell in shells], axis=0) / volume
    found = rests.of_hull(whole, centre)
    return Body(
        mesh=surface.mesh(seen.moved(np.eye(3), -centre)),
        parts=tuple(shell.corners - centre for shell in shells),
        volume=volume,
        filled=1.0 if matter is None else min(matter / volume, 1.0) if len(shells) == 1 else matter / volume,
        rests=found,
        narrow=rests.narrow(np.concatenate([each.corners for each in full]), found[0].orientation)[0],
        colour=colour,
    )


def _shells(touched: Sequence[Floats]) -> list[Hull]:
    """The hull of each part; parts that are flat, such as a label, are left out unless all are."""
    shells: list[Hull] = []
    for points in touched:
        try:
            found = hull(points)
        except ValueError:
            if len(touched) == 1:
                raise
            continue
        shells.append(found)
    if not shells:
        raise ValueError("its points enclose no volume")
    return shells


def kept(make: Callable[[], Body], *key: int | str) -> Body:
    """The body kept on disk under this key, or made and kept there; what is broken is made anew."""
    key = ("body", VERSION, *key)
    stored = array_cache.recall(*key)
    found = None if stored is None else _unpacked(stored)
    if found is None:
        found = make()
        array_cache.keep(_packed(found), *key)
    return found


def _packed(made: Body) -> Arrays:
    colour = made.colour or ()
    arrays: Arrays = {
        "points": made.mesh.points,
        "faces": made.mesh.faces,
        "normals": made.mesh.normals,
        "corners": np.concatenate(made.parts),
        "counts": np.array([len(part) for part in made.parts]),
        "figures": np.array([made.volume, made.filled, made.narrow, *colour]),
        "rests": np.array([[*rest.orientation, rest.height, rest.share] for rest in made.rests]),
    }
    if made.mesh.texture_at is not None and made.mesh.picture is not None:
        arrays |= {"texture_at": made.mesh.texture_at, "picture": made.mesh.picture}
    return arrays


def _unpacked(stored: Arrays) -> Body | None:
    """The body that was packed, or None if this was none."""
    try:
        volume, filled, narrow, *own = (float(value) for value in stored["figures"])
        colour = (own[0], own[1], own[2]) if own else None
        cuts = np.cumsum(stored["counts"])
        found = Body(
            mesh=Mesh(
                _checked(stored["points"], np.float32, 3),
                _checked(stored["faces"], np.int32, 3),
                _checked(stored["normals"], np.float32, 3),
                _checked(stored["texture_at"], np.float32, 2) if "texture_at" in stored else None,
                stored.get("picture"),
            ),
            parts=tuple(np.split(_checked(stored["corners"], np.float64, 3), cuts[:-1])),
            volume=volume,
            filled=filled,
            rests=tuple(
                Rest((float(x), float(y), float(z), float(w)), float(height), float(share))
                for x, y, z, w, height, share in _checked(stored["rests"], np.float64, 6)
            ),
            narrow=narrow,
            colour=colour,
        )
    except (LookupError, ValueError, TypeError):
        return None
    whole = found.mesh.faces.max() < len(found.mesh.points) == len(found.mesh.normals) and cuts[-1] == len(stored["corners"])
    return found if whole and volume > 0 else None


def _checked(array: NDArray[Any], kind: type, width: int) -> NDArray[Any]:
    if array.dtype != kind or array.ndim != 2 or array.shape[1] != width or not len(array) or not np.isfinite(array).all():
        raise ValueError("not what was kept")
    array.flags.writeable = False
    return array


def form(name: str, made: Body, scale: float, given: Given | None = None) -> Form:
    """A form in metres from a body in its file's units, which are ``scale`` metres long."""
    scaled = _scaled(made.mesh, scale)
    return Form(
        name=name,
        mesh=scaled,
        touched=tuple(part * scale for part in made.parts),
        size=_size(scaled.points),
        volume=made.volume * scale**3,
        filled=made.filled,
        rests=tuple(Rest(rest.orientation, rest.height * scale, rest.share) for rest in made.rests),
        colour=made.colour,
        given=given or Given(),
    )


def primitive(name: str, shape: Primitive, seen: Mesh, colour: Vector | None = None, given: Given | None = None) -> Form:
    """A form that the engine knows by its measures, in metres; ``seen`` is in the same frame."""
    return Form(
        name=name,
        mesh=seen,
        touched=shape,
        size=shape.size,
        volume=volume(shape),
        filled=1.0,
        rests=rests.of_primitive(shape),
        colour=colour,
        given=given or Given(),
    )


def volume(shape: Primitive) -> float:
    """Of a primitive, in closed form."""
    x, y, z = shape.size
    if shape.kind == "box":
        return x * y * z
    if shape.kind == "sphere":
        return math.pi / 6 * x**3
    if shape.kind == "cylinder":
        return math.pi / 4 * x**2 * z
    return math.pi / 4 * x**2 * (z - x) + math.pi / 6 * x**3


def narrowest(made: Form) -> float:
    """The narrowest horizontal side in any of its rests."""
    if isinstance(made.touched, Primitive):
        return min(made.touched.size)
    corners = np.concatenate(made.touched)
    return min(rests.narrow(corners, rest.orientation)[0] for rest in made.rests)


def broad(made: Form) -> float:
    """Area of the outline seen from above over height, in the likeliest rest, metres."""
    rest = made.rests[0]
    if isinstance(made.touched, Primitive):
        return _broad_primitive(made.touched, rest)
    return rests.outline(np.concatenate(made.touched), rest.orientation)


def _broad_primitive(shape: Primitive, rest: Rest) -> float:
    x, _, z = shape.size
    if shape.kind == "box":
        low, middle, high = sorted(shape.size)
        return high * middle / low
    if shape.kind == "sphere":
        return math.pi / 4 * x
    if shape.kind == "capsule":
        return math.pi / 4 * x + (z - x)
    lies = abs(rest.orientation[3]) < 0.9 and abs(rest.orientation[0]) < 0.9
    return z if lies else math.pi / 4 * x**2 / z


def narrow(shape: Primitive) -> float:
    """The narrowest horizontal side of a primitive in its likeliest rest."""
    x, _, z = shape.size
    if shape.kind == "box":
        return sorted(shape.size)[1]  # it lies on its largest side
    return min(x, z)


def _scaled(mesh: Mesh, scale: float) -> Mesh:
    points = mesh.points * np.float32(scale)
    points.flags.writeable = False
    return Mesh(points, mesh.faces, mesh.normals, mesh.texture_at, mesh.picture)


def _size(points: NDArray[np.float32]) -> Vector:
    x, y, z = (float(value) for value in np.ptp(points, axis=0))
    return x, y, z
