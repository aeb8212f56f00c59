"""Reading Wavefront OBJ files: their triangles by group, and how their materials look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.objects.surface import Surface, check_numbers, clean, mean, painted

_LARGEST = 512  # pixels along the longer side of a texture: more is never seen of a thing on the table


@dataclass
class _Read:
    """What the lines of a file say, still as text."""

    points: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    faces: list[str] = field(default_factory=list)
    before: list[tuple[int, int]] = field(default_factory=list)  # of each face: points and places given above it
    part: list[int] = field(default_factory=list)
    material: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """How part of a surface looks: a colour 0..1, and a texture's file if there is one."""

    colour: Vector = (0.8, 0.8, 0.8)
    picture: Path | None = None


def read(path: Path, looks: bool = True) -> tuple[Surface, Vector | None]:
    """The triangles of an OBJ file, and its colour if one plain material covers it.

    Faces of more corners are cut into fans. Every group or object that has faces is a part. Of several materials, each is
    given one colour (a texture's mean), side by side in one picture.

    Args:
        path: of the file.
        looks: whether to read materials and textures at all.

    Raises:
        BadItem: it cannot be read, has no faces, or numbers that are none.
    """
    name = path.name
    try:
        found = _lines(path.read_text(encoding="utf-8", errors="replace"))
        points = _numbers(found.points, 3)
        places = _numbers(found.places, 2)
        corners, origin = _fans(found)
    except OSError as error:
        raise BadItem(name, f"cannot be read ({error.strerror})") from None
    except (ValueError, IndexError):
        raise BadItem(name, "is no OBJ file, or is broken: a line does not hold the numbers it should") from None
    if not len(corners):
        raise BadItem(name, "has no faces")
    surface, materials = _triangles(found, points, places, (corners, origin), name)
    if not looks or not found.libraries:
        return surface, None
    return _painted(surface, materials, _materials(path.parent, found.libraries))


def _lines(text: str) -> _Read:
    found = _Read()
    part, fresh, material = -1, True, ""
    for line in text.replace("\\\n", " ").splitlines():
        head, _, rest = line.strip().partition(" ")
        if head == "v":
            found.points.append(rest)
        elif head == "vt":
            found.places.append(rest)
        elif head == "f":
            part, fresh = part + fresh, False
            found.faces.append(rest)
            found.before.append((len(found.points), len(found.places)))
            found.part.append(part)
            found.material.append(material)
        elif head in ("o", "g"):
            fresh = True
        elif head == "usemtl":
            material = rest.strip()
        elif head == "mtllib":
            found.libraries.append(rest.strip())
    return found


def _numbers(lines: list[str], count: int) -> Floats:
    """The first numbers of each line [n, count]; what follows them (weights, colours) is left out."""
    rows = [line.split() for line in lines]
    if any(len(row) != count for row in rows):
        rows = [(row + ["0"] * (count == 2))[:count] for row in rows]
    return np.array(rows, np.float64).reshape(len(lines), count)


def _fans(found: _Read) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles, as (corner, place in the texture or -1) counted from 0 [m, 3, 2], and the face that each is of [m]."""
    text = " ".join(found.faces)
    if "/" not in text and "-" not in text and all(len(line.split()) == 3 for line in found.faces):
        plain = np.array(text.split(), np.int64).reshape(-1, 3) - 1  # the same as below, several times as fast
        return np.stack([plain, np.full_like(plain, -1)], axis=2), np.arange(len(plain))
    rows, origin = [], []
    for number, line in enumerate(found.faces):
        face = [_corner(word, *found.before[number]) for word in line.split()]
        if len(face) < 3:
            raise ValueError("a face of fewer than three corners")
        rows += [(face[0], face[k], face[k + 1]) for k in range(1, len(face) - 1)]
        origin += [number] * (len(face) - 2)
    return np.array(rows, np.int64).reshape(-1, 3, 2), np.array(origin, np.int64)


def _corner(word: str, points: int, places: int) -> tuple[int, int]:
    """Negative numbers count back from the last that was given."""
    corner, _, rest = word.partition("/")
    at = int(corner)
    text = rest.partition("/")[0]
    place = int(text) if text else 0
    return at - 1 if at > 0 else points + at, place - 1 if place > 0 else places + place if place else -1


def _triangles(
    found: _Read, points: Floats, places: Floats, triangles: tuple[NDArray[np.int64], NDArray[np.int64]], name: str
) -> tuple[Surface, list[str]]:
    corners, number = triangles
    check_numbers(points, name)
    if corners[:, :, 0].min() < 0 or corners[:, :, 0].max() >= len(points) or corners[:, :, 1].max() >= len(places):
        raise BadItem(name, "has faces with corners that it does not list")
    textured = len(places) > 0 and bool((corners[:, :, 1] >= 0).all())
    surface = clean(
        Surface(
            points,
            corners[:, :, 0],
            np.array(found.part)[number],
            places * [1, -1] + [0, 1] if textured else None,  # files count up from the bottom
            corners[:, :, 1] if textured else None,
            material=np.unique(np.array(found.material), return_inverse=True)[1].reshape(-1)[number],
        )
    )
    if not len(surface.faces):
        raise BadItem(name, "has no faces of any area")
    return surface, sorted(set(found.material))


def _materials(folder: Path, libraries: Iterable[str]) -> dict[str, Material]:
    """The materials of files that are there; an absent file has none, as in every viewer."""
    materials: dict[str, Material] = {}
    for library in libraries:
        try:
            text = (folder / library).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        name = ""
        for line in text.splitlines():
            head, _, rest = line.strip().partition(" ")
            words = rest.split()
            if head == "newmtl":
                name = rest.strip()
                materials[name] = Material()
            elif head == "Kd" and name and len(words) >= 3:
                try:
                    red, green, blue = (min(max(float(word), 0.0), 1.0) for word in words[:3])
                except ValueError:
                    continue
                materials[name] = replace(materials[name], colour=(red, green, blue))
            elif head == "map_Kd" and name and words:
                materials[name] = replace(materials[name], picture=folder / rest.strip().replace("\\", "/"))
    return materials


def _painted(surface: Surface, names: list[str], materials: dict[str, Material]) -> tuple[Surface, Vector | None]:
    used = [materials.get(name, Material()) for name in names]
    pictures = [None if each.picture is None else picture(each.picture) for each in used]
    if len(used) == 1:
        if pictures[0] is not None and surface.texture_at is not None:
            return replace(surface, picture=pictures[0]), (1.0, 1.0, 1.0)
        return surface, used[0].colour if names[0] in materials else None
    colours = [each.colour if seen is None else mean(seen) for each, seen in zip(used, pictures, strict=True)]
    return painted(surface, colours), (1.0, 1.0, 1.0)


def picture(path: Path) -> Pixels | None:
    """A texture uint8 [h, w, 3], at most 512 pixels long; None if it cannot be read."""
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (OSError, cv2.error):
        return None
    if found is None:
        return None
    shrink = _LARGEST / max(found.shape[:2])
    if shrink < 1:
        size = (max(1, round(found.shape[1] * shrink)), max(1, round(found.shape[0] * shrink)))
        found = cv2.resize(found, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(found[:, :, ::-1], np.uint8)
