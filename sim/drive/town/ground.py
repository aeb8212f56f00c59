"""What lies flat: the carriageway with its marks, kerbs and pavements with rounded corners, gardens and fields."""

from __future__ import annotations

import numpy as np

from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.drive.modelling import Finish, Part, tile
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import Drawn

KERB = 5.6  # metres from a street's middle line to its kerb: a lane, and a strip to park on
LANE = 1.75  # from the middle line to the middle of a lane; one keeps to the right
PARKING = 3.45  # from the middle line to where the strip begins
PAVEMENT = 2.4
CORNER = 3.5  # radius of a kerb round a corner
_HIGH = 0.12  # of pavements over the carriageway
_MARK = 0.012  # marks lie this high: less would flicker far away
_PAINT = Finish((0.93, 0.93, 0.9))


def rounded(low: Floats, high: Floats, radius: float) -> Floats:
    """The outline [n, 2] of a rectangle with rounded corners, counter-clockwise."""
    turn = np.linspace(0, np.pi / 2, 5)
    arc = np.column_stack([np.cos(turn), np.sin(turn)]) * radius
    points = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        c, s = np.cos(k * np.pi / 2), np.sin(k * np.pi / 2)
        middle = np.array([(high if sx > 0 else low)[0] - sx * radius, (high if sy > 0 else low)[1] - sy * radius])
        points.append(middle + arc @ np.array([[c, s], [-s, c]]))
    return np.concatenate(points)


def _rectangle(low: Floats, high: Floats) -> Floats:
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def slabs(outlines: list[Floats], low: float, high: float) -> Mesh:
    """Convex outlines [n, 2], counter-clockwise, raised from one height to another: tops and, where these differ, sides."""
    points, normals, faces, count = [], [], [], 0
    for outline in outlines:
        n = len(outline)
        points.append(np.column_stack([outline, np.full(n, high)]))
        normals.append(np.tile([0.0, 0.0, 1.0], (n, 1)))
        faces.append(np.column_stack([np.zeros(n - 2, np.int64), np.arange(1, n - 1), np.arange(2, n)]) + count)
        count += n
        if low == high:
            continue
        after = np.roll(outline, -1, axis=0)
        along = after - outline
        out = np.column_stack([along[:, 1], -along[:, 0]]) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        ring = ((outline, low), (after, low), (after, high), (outline, high))
        points.append(np.stack([np.column_stack([at, np.full(n, z)]) for at, z in ring], axis=1).reshape(-1, 3))
        normals.append(np.column_stack([out, np.zeros(n)]).repeat(4, axis=0))
        quads = 4 * np.arange(n)[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])
        faces.append(quads.reshape(-1, 3) + count)
        count += 4 * n
    return Mesh(
        np.concatenate(points).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(normals).astype(np.float32),
    )


def lying(mesh: Mesh, finish: Finish) -> Drawn:
    """Something flat; it casts no shadow."""
    return Drawn(mesh, np.eye(4), finish.colour, texture=finish.texture, size=finish.size, shadow=False)


def pavements(blocks: list[tuple[Floats, Floats]], stone: Finish, paving: Finish, lawn: Finish) -> list[Drawn]:
    """Kerbs, pavements and gardens of blocks, each given by its lowest and highest x, y at the kerb."""
    inset = [(low + 0.18, high - 0.18) for low, high in blocks]
    gardens = [(low + PAVEMENT, high - PAVEMENT) for low, high in blocks]
    return [
        lying(slabs([rounded(low, high, CORNER) for low, high in blocks], -0.02, _HIGH - 0.01), stone),
        lying(slabs([rounded(low, high, CORNER - 0.18) for low, high in inset], _HIGH, _HIGH), paving),
        lying(slabs([_rectangle(low, high) for low, high in gardens], 0.0, _HIGH + 0.05), lawn),
    ]


def carriageway(low: Floats, high: Floats, asphalt: Finish, field: Finish) -> list[Drawn]:
    """Asphalt over the whole town, and fields around it."""
    return [
        lying(slabs([_rectangle((low + high) / 2 - 400.0, (low + high) / 2 + 400.0)], -0.06, -0.06), field),
        lying(slabs([_rectangle(low, high)], 0.0, 0.0), asphalt),
    ]


def marks(start: Floats, stop: Floats, zebra: tuple[bool, bool]) -> list[Part]:
    """The marks of a street from one junction's middle to the next [2], [2]: dashes, parking strips, stop lines, zebras."""
    along = stop - start
    long = float(np.linalg.norm(along))
    yaw = float(np.arctan2(along[1], along[0]))
    parts = [tile(2.0, 0.14, (x, 0.0, _MARK), _PAINT) for x in np.arange(14.0, long - 13.0, 5.0)]
    parts += [tile(long - 24.0, 0.1, (long / 2, side * PARKING, _MARK), _PAINT) for side in (-1, 1)]
    parts += [
        tile(0.4, PARKING - 0.2, (long - 11.3, -PARKING / 2, _MARK), _PAINT),
        tile(0.4, PARKING - 0.2, (11.3, PARKING / 2, _MARK), _PAINT),
    ]
    for at, painted in ((9.4, zebra[0]), (long - 9.4, zebra[1])):
        parts += [tile(2.4, 0.5, (at, -KERB + 0.8 + k, _MARK), _PAINT) for k in range(11 if painted else 0)]
    return [part.moved(float(start[0]), float(start[1]), yaw) for part in parts]
