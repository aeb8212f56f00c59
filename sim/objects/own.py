"""The user's own things: a folder of URDF, OBJ, STL and PLY files, in metres and kilograms, each checked before it is used.

A URDF file is a thing; so is a mesh that no URDF file there names. Nothing is scaled or mended in silence: what cannot be used
is skipped and named with its reason. A mass, friction or colour that a file states is kept; what it leaves open is drawn.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim.camera import Floats, Vector
from embodied_ssl.sim.objects import forms, obj, primitives, surface, urdf
from embodied_ssl.sim.objects.forms import Body
from embodied_ssl.sim.objects.surface import Surface
from embodied_ssl.sim.objects.thing import OPENING, Form, Given
from embodied_ssl.sim.objects.urdf import Described, Shape
from embodied_ssl.sim.spec import Pool

MESHES = (".obj", ".stl", ".ply")
_FOREIGN = (".dae", ".glb", ".gltf", ".fbx", ".blend", ".step", ".stp", ".iges", ".3ds", ".off", ".sdf", ".usd", ".3mf")
_BESIDE = (".mtl", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tga", ".tif", ".tiff")  # decide how things look
_LONGEST = 0.4  # metres; more does not fit on the table
_SHORTEST = 0.01  # metres; less is three pixels
_MASS = (0.0005, 20.0)  # kg
_DENSITY = (2.0, 25_000.0)  # kg per cubic metre, of the hull: from foam to the heaviest metal
_FACES = 200_000
_PARTS = 256
_LIMITS = {"friction": 5.0, "spinning": 1.0, "rolling": 1.0, "restitution": 1.0, "stiffness": 1e6, "damping": 1e5}


@dataclass(frozen=True)
class Own:
    """A file that can be used.

    Args:
        name: of the form: "own/" and its path in the folder without its ending.
        path: of the file.
        content: what it and all others in the folder hold, in 32 letters.
    """

    name: str
    path: Path
    content: str


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Args:
        good: files that can be used, sorted by name.
        bad: files that cannot, with the reason, sorted by name.
        fingerprint: of the content of all files that matter, in 32 letters.
    """

    good: tuple[Own, ...]
    bad: tuple[BadItem, ...]
    fingerprint: str


def fingerprint(pool: Pool) -> str:
    """What the user's files hold, in 32 letters, so that an edited folder is another specification; "" without any.

    Raises:
        UserError: as `survey`.
    """
    return survey(pool.folder).fingerprint if "own" in pool.kinds else ""


@lru_cache(16)
def survey(folder: str) -> Survey:
    """Look through a folder and all below it, once in a process.

    Raises:
        UserError: there is no such folder, no file in it, or none that can be used.
    """
    root = Path(folder).expanduser()
    if not folder or not root.is_dir():
        given = f"'{folder}' is no folder" if folder else "pool.folder is empty"
        raise UserError(f"{given}; for things of your own give the folder of their URDF, OBJ, STL or PLY files")
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    things = [path for path in paths if path.suffix.lower() in (".urdf", *MESHES, *_FOREIGN)]
    if not things:
        raise UserError(f"'{folder}' holds no URDF, OBJ, STL or PLY file")
    print_ = _content(root, [path for path in paths if path.suffix.lower() in (".urdf", *MESHES, *_FOREIGN, *_BESIDE)])
    good, bad = _known(root, print_) or _looked_through(root, things, print_)
    if not good:
        first = "; ".join(str(item) for item in bad[:3]) + ("; ..." if len(bad) > 3 else "")
        raise UserError(f"none of the {len(bad)} files in '{folder}' can be used: {first}")
    return Survey(good, bad, print_)


def _content(root: Path, paths: Sequence[Path]) -> str:
    """Names count too; what cannot be read counts as empty."""
    found = hashlib.blake2b(digest_size=16)
    for path in paths:
        name = path.relative_to(root).as_posix().encode(errors="surrogateescape")
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        found.update(b"%d %s %d " % (len(name), name, len(data)) + data)
    return found.hexdigest()


def _known(root: Path, content: str) -> tuple[tuple[Own, ...], tuple[BadItem, ...]] | None:
    """What was found when a folder of this content was last looked through."""
    stored = array_cache.recall("own", forms.VERSION, content)
    try:
        if stored is None:
            return None
        good = tuple(Own(str(name), root / str(at), content) for name, at in stored["good"].reshape(-1, 2))
        return good, tuple(BadItem(str(name), str(why)) for name, why in stored["bad"].reshape(-1, 2))
    except (LookupError, ValueError):
        return None


def _looked_through(root: Path, things: Sequence[Path], content: str) -> tuple[tuple[Own, ...], tuple[BadItem, ...]]:
    good: list[Own] = []
    bad: list[BadItem] = []
    described: dict[Path, Described | BadItem] = {}
    named: set[Path] = set()
    for path in (path for path in things if path.suffix.lower() == ".urdf"):
        try:
            described[path] = found = urdf.read(path)
            named |= {_mesh_path(shape.mesh, path, root) for shape in (*found.seen, *found.touched) if shape.mesh}
        except BadItem as item:
            described[path] = item
    taken: dict[str, Path] = {}
    for path in sorted(things, key=lambda path: (path.suffix.lower() != ".urdf", path)):
        if path.resolve() in named:
            continue
        at = path.relative_to(root)
        try:
            name = _name(at)
            if name in taken:
                raise BadItem(str(at), f"has the same name as '{taken[name].name}'; rename one")
            taken[name] = path
            if isinstance(found_ := described.get(path), BadItem):
                raise found_
            _checked(path, root)
            good.append(Own(f"own/{name}", path, content))
        except BadItem as item:
            bad.append(BadItem(_shown(at), item.reason))
    good.sort(key=lambda own: own.name)
    bad.sort(key=lambda item: item.name)
    rows = [[own.name, own.path.relative_to(root).as_posix()] for own in good]
    array_cache.keep(
        {"good": np.array(rows, np.str_), "bad": np.array([[item.name, item.reason] for item in bad], np.str_)},
        *("own", forms.VERSION, content),
    )
    return tuple(good), tuple(bad)


def _shown(path: Path) -> str:
    return path.as_posix().encode(errors="replace").decode()


def _name(path: Path) -> str:
    name = path.with_suffix("").as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadItem(_shown(path), "has a name that is not UTF-8; rename it") from None
    return name


def _mesh_path(written: str, file: Path, root: Path) -> Path:
    """Where a mesh lies that a URDF file names: beside it, or, after "package://", anywhere up to the folder itself.

    Raises:
        BadItem: it is not there, or outside the folder.
    """
    if written.startswith("package://"):
        rest = written.removeprefix("package://")
        tails = [rest, rest.partition("/")[2]]
        above = [file.parent, *file.parent.parents]
        places = [place / tail for place in above[: above.index(root) + 1] for tail in tails if tail]
    else:
        places = [file.parent / written.removeprefix("file://")]
    found = next((place.resolve() for place in places if place.is_file()), None)
    if found is None:
        raise BadItem(file.name, f"its mesh '{written}' is not there")
    if not found.is_relative_to(root.resolve()):
        raise BadItem(file.name, f"its mesh '{written}' lies outside the folder")
    return found


@lru_cache(1024)
def form(thing: Own, touched: str) -> Form:
    """The form of a file, at the size that it states.

    Raises:
        BadItem: it can no longer be used: it has changed since the folder was looked through.
    """
    root = thing.path.parents[len(Path(thing.name).parts) - 2]
    return _form(thing.name, thing.path, root, touched, thing.content)


def _checked(path: Path, root: Path) -> None:
    """See that a file makes a form, of sensible size, mass and friction.

    Raises:
        BadItem: it does not.
    """
    if path.suffix.lower() in _FOREIGN:
        raise BadItem(path.name, f"is a {path.suffix} file; save it as URDF, OBJ, STL or PLY")
    made = _form("", path, root, "hull", "")
    _check_size(made, path.name)
    _check_physics(made, path.name)


def _form(name: str, path: Path, root: Path, touched: str, content: str) -> Form:
    """The form of a file; kept on disk if its content is known."""
    if path.suffix.lower() != ".urdf":
        return forms.form(name, _kept(lambda: _mesh_body(path, touched), name, touched, content), 1.0)
    found = urdf.read(path)
    only = found.touched[0]
    if len(found.touched) == 1 and only.primitive is not None:
        back = np.linalg.inv(only.pose)  # the form's frame is the primitive's
        seen, colour = _joined([replace(shape, pose=back @ shape.pose) for shape in found.seen], path, root)
        return forms.primitive(name, only.primitive, surface.mesh(seen), colour, found.given)
    made = _kept(lambda: _urdf_body(found, path, root, touched), name, touched, content)
    return forms.form(name, made, 1.0, found.given)


def _kept(make: Callable[[], Body], name: str, touched: str, content: str) -> Body:
    return forms.kept(make, name, touched, content) if content else make()


def _mesh_body(path: Path, touched: str) -> Body:
    seen, colour = load(path)
    return _body(seen, seen.parts() if touched == "parts" else [seen.points[np.unique(seen.faces)]], colour, path.name)


def _urdf_body(found: Described, path: Path, root: Path, touched: str) -> Body:
    seen, colour = _joined(found.seen, path, root)
    solids = [_surface(shape, path, root)[0] for shape in found.touched]
    parts = [corners for solid in solids for corners in solid.parts()]
    return _body(seen, parts if touched == "parts" else [np.concatenate(parts)], colour, path.name)


def _body(seen: Surface, touched: Sequence[Floats], colour: Vector | None, name: str) -> Body:
    if len(seen.faces) > _FACES:
        raise BadItem(name, f"has {len(seen.faces):,} triangles; simplify it to at most {_FACES:,}")
    if len(touched) > _PARTS:
        raise BadItem(name, f"has {len(touched)} parts; join them to at most {_PARTS}, or touch hulls")
    try:
        return forms.body(seen, touched, seen.volume(), colour)
    except ValueError as error:
        raise BadItem(name, str(error)) from None


def _surface(shape: Shape, path: Path, root: Path) -> tuple[Surface, Vector | None]:
    """A shape's triangles in the thing's frame, and its colour."""
    if shape.primitive is not None:
        mesh = primitives.seen(shape.primitive)
        made = Surface(mesh.points.astype(np.float64), mesh.faces.astype(np.int64), np.zeros(len(mesh.faces), np.int64))
        colour, matrix = shape.colour, shape.pose[:3, :3]
    else:
        made, painted = load(_mesh_path(shape.mesh, path, root))
        # A picture is not tinted, and a colour in the URDF file stands before the mesh's.
        colour = painted if made.picture is not None else shape.colour or painted
        matrix = shape.pose[:3, :3] @ np.diag(shape.scale)
    return made.moved(matrix, shape.pose[:3, 3]), colour


def _joined(shapes: Sequence[Shape], path: Path, root: Path) -> tuple[Surface, Vector | None]:
    """All that is seen as one surface, and its colour."""
    found = [_surface(shape, path, root) for shape in shapes]
    return found[0] if len(found) == 1 else surface.joined(found)


def load(path: Path) -> tuple[Surface, Vector | None]:
    """The triangles of an OBJ, STL or PLY file, and its colour if it states one.

    Raises:
        BadItem: it cannot be read, or holds no triangles.
    """
    if path.suffix.lower() == ".obj":
        return obj.read(path)
    if path.suffix.lower() not in MESHES:
        raise BadItem(path.name, f"is a {path.suffix or 'nameless'} file; save it as OBJ, STL or PLY")
    import trimesh  # here: it takes 30 MB that only such files need

    log = logging.getLogger("trimesh")
    level = log.level
    try:
        log.setLevel(logging.CRITICAL + 1)  # it prints the traceback of each of its attempts
        found: Any = trimesh.load(path, force="mesh", process=False)
        points, faces = np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int64)
    except Exception as error:  # its readers let through whatever they stumble over
        raise BadItem(path.name, f"cannot be read as {path.suffix[1:].upper()} ({' '.join(str(error).split())})") from None
    finally:
        log.setLevel(level)
    if not len(faces):
        raise BadItem(path.name, "has no faces")
    surface.check_numbers(points, path.name)
    if faces.min() < 0 or faces.max() >= len(points):
        raise BadItem(path.name, "has faces with corners that it does not list")
    return surface.clean(Surface(points, faces, np.zeros(len(faces), np.int64))), None


def _check_size(made: Form, name: str) -> None:
    longest = max(made.size)
    if longest < _SHORTEST:
        raise BadItem(name, f"is {_length(longest)} long, too small to be seen; files are read in metres")
    narrowest = forms.narrowest(made)
    if longest <= _LONGEST and narrowest <= OPENING:
        return
    for unit, factor in (("millimetres", 1000), ("centimetres", 100)):
        if longest > 1 and _SHORTEST <= longest / factor <= _LONGEST:
            raise BadItem(
                name,
                f"is {_length(longest)} long: probably drawn in {unit}, files are read in metres; save it {factor} times "
                f"smaller, or name it in a URDF file with the mesh's scale {1 / factor:g}",
            )
    if longest > _LONGEST:
        raise BadItem(name, f"is {_length(longest)} long; at most {_length(_LONGEST)} fits on the table")
    raise BadItem(name, f"is wider than the jaw opens ({_length(OPENING)}), however it lies: {_length(narrowest)}; scale it down")


def _length(metres: float) -> str:
    return f"{metres:.3g} m" if metres >= 0.01 else f"{metres * 1000:.3g} mm"


def _check_physics(made: Form, name: str) -> None:
    mass = made.given.mass
    if mass is not None:
        if not _MASS[0] <= mass <= _MASS[1]:
            fixed = " (to a simulator: fixed in the world)" if mass == 0 else ""
            raise BadItem(
                name, f"has a mass of {mass:g} kg{fixed}; give {_MASS[0]:g} to {_MASS[1]:g}, or leave it out to have it drawn"
            )
        density = mass / made.volume
        if not _DENSITY[0] <= density <= _DENSITY[1]:
            raise BadItem(
                name,
                f"weighs {mass:g} kg in {made.volume * 1e6:.3g} cubic centimetres, {density / 1000:.3g} times as much as water; "
                "mend its mass or its scale, or leave the mass out to have it drawn",
            )
    for field in fields(Given):
        value = getattr(made.given, field.name)
        if field.name != "mass" and value is not None and not 0 <= value <= _LIMITS[field.name]:
            raise BadItem(name, f"has a {field.name} of {value:g}; give 0 to {_LIMITS[field.name]:g}, or leave it out")
    if made.given.stiffness == 0:
        raise BadItem(name, "has a stiffness of 0; leave it out to have it drawn")
