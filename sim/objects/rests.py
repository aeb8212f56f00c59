"""Stable poses by geometry: on which facets a body rests, how often, and how broad it then is.

A body falls in a random orientation, touches with the facet that looks down and rolls over edges until its centre of mass is
above the facet it lies on; how often each facet comes out is the solid angle, seen from the centre of mass, of all facets that
end there (quasi-static toppling; Goldberg et al. 1999, "Part pose statistics", section 3). Bouncing is left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.sim.camera import Floats, Quaternion, Vector
from embodied_ssl.sim.objects.hulls import Hull, Whole
from embodied_ssl.sim.objects.thing import Primitive, Rest

TIP = math.radians(3.0)  # how far a body must be leaned before it falls over; what needs less is no rest
_ROLL = math.radians(0.5)  # the same for round bodies, which then only roll on to a facet nearly alike
_NEAR = math.cos(math.radians(10.0))  # nearly alike
_FLAT = math.tan(math.radians(0.25))  # corners that meet the table when it is leaned by so little bear weight too
_ALIKE = math.cos(math.radians(2.0))  # rests whose facets differ by less are one
_RARE = 0.01  # of all falls; rarer rests are left out
_MOST = 24  # rests that are kept


def of_hull(hull: Hull, centre: Floats) -> tuple[Rest, ...]:
    """Stable poses of a convex body, or of any body with this hull, the likeliest first.

    Args:
        hull: what is touched from outside.
        centre: of mass [3], inside the hull; heights are those of this point.

    Returns:
        At least one. Where no facet is stable enough, as of a ball of small facets, the stablest is given alone.
    """
    corners = hull.corners - centre
    offset = hull.planes[:, 3] + hull.planes[:, :3] @ centre
    ends, rolled = _topple(corners, hull, offset)
    angles = np.abs(_solid_angles(corners, hull.triangles))
    facets, where = np.unique(ends, return_inverse=True)
    shares = np.bincount(where, angles)
    if (often := shares >= _RARE / 2 * shares.sum()).any():  # what is rarer is not looked at
        facets, shares = facets[often], shares[often]
    normals, heights = hull.planes[facets, :3], -offset[facets]
    tips = np.array([_tip(corners, normal, height) for normal, height in zip(normals, heights, strict=True)])
    near = (normals * hull.planes[rolled[facets], :3]).sum(axis=1) > _NEAR
    steady = tips >= TIP
    if shares[steady].sum() < shares.sum() / 3:
        steady |= (tips >= _ROLL) & near
    kept: list[int] = []
    total = np.zeros(len(facets))
    for k in np.lexsort((facets, -shares.round(9))):
        same = next((other for other in kept if normals[k] @ normals[other] > _ALIKE), None)
        if same is None and steady[k]:
            kept.append(k)
        total[k if same is None else same] += shares[k]
    if not kept:
        kept = [int(np.argmax(tips))]
        total[kept] = 1.0
    kept.sort(key=lambda k: (-total[k].round(9), k))
    kept = ([k for k in kept if total[k] >= _RARE * total[kept].sum()] or kept)[:_MOST]
    whole = total[kept].sum()
    return tuple(Rest(downwards(normals[k]), float(heights[k]), float(total[k] / whole)) for k in kept)


def _topple(corners: Floats, hull: Hull, offset: Floats) -> tuple[Whole, Whole]:
    """Where a body ends up that lies on each triangle [m], and where if it is first tipped over the nearest edge [m].

    Both are triangles, the first of a flat facet standing for all of it.
    """
    _, first, facet = np.unique(hull.planes, axis=0, return_index=True, return_inverse=True)
    facet = facet.reshape(-1)
    normal = hull.planes[:, :3]
    foot = -offset[:, None] * normal  # of the centre of mass on each plane
    beyond = np.empty(hull.triangles.shape)
    for k in range(3):  # the edge that lies opposite to corner k
        start, end = corners[hull.triangles[:, (k + 1) % 3]], corners[hull.triangles[:, (k + 2) % 3]]
        outward = np.cross(end - start, normal)
        length = np.linalg.norm(outward, axis=1)
        beyond[:, k] = ((foot - start) * outward).sum(axis=1) / np.maximum(length, 1e-300)
    beyond[facet[hull.beside] == facet[:, None]] = -np.inf  # no edge of the facet
    worst = beyond.max(axis=1)
    order = np.lexsort((worst, facet))
    last = order[np.cumsum(np.bincount(facet)) - 1]  # of each facet, the triangle whose edge is furthest exceeded
    over = facet[hull.beside[last, beyond[last].argmax(axis=1)]]
    follows = np.where(worst[last] > 1e-12 * np.abs(offset).max(), over, np.arange(len(first)))
    for _ in range(len(follows).bit_length()):  # twice as far each time; heights only fall, so all paths end
        follows = follows[follows]
    return first[follows][facet], first[follows[over]][facet]


def _solid_angles(corners: Floats, triangles: Whole) -> Floats:
    """Of each triangle as seen from the origin, steradians [m] (Van Oosterom and Strackee 1983, eq. 8)."""
    unit = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    first, second, third = (unit[triangles[:, k]] for k in range(3))
    above = (first * np.cross(second, third)).sum(axis=1)
    below = 1 + (first * second).sum(axis=1) + (second * third).sum(axis=1) + (third * first).sum(axis=1)
    return np.asarray(2 * np.arctan2(above, below))


def _tip(corners: Floats, normal: Floats, height: float) -> float:
    """How far a body that lies on this plane can be leaned, in the worst direction, before it falls over; radians."""
    flat = corners @ _axes(normal)
    flat = flat[height - corners @ normal <= _FLAT * np.hypot(flat[:, 0], flat[:, 1]) + 1e-9 * height]
    order = _around(flat)
    if len(order) < 3:
        return -math.pi
    start, step = flat[order], np.roll(flat[order], -1, axis=0) - flat[order]
    # The foot of the centre of mass is the origin; the polygon runs counter-clockwise.
    inside = (step[:, 1] * start[:, 0] - step[:, 0] * start[:, 1]) / np.linalg.norm(step, axis=1)
    return math.atan2(float(inside.min()), height)


def _around(flat: Floats) -> list[int]:
    """Corners of the convex hull of points [n, 2], counter-clockwise (Andrew's monotone chain)."""
    rows = flat.tolist()
    order = sorted(range(len(rows)), key=lambda k: rows[k])
    chain: list[int] = []
    for run in (order, order[::-1]):
        begun = len(chain)
        for k in run:
            x, y = rows[k]
            while len(chain) >= begun + 2:
                (ax, ay), (bx, by) = rows[chain[-2]], rows[chain[-1]]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                chain.pop()
            chain.append(k)
        chain.pop()
    return chain


def _axes(normal: Floats) -> Floats:
    """Two directions, as columns [3, 2], that make a right-handed frame with this one as the third."""
    x, y, z = normal.tolist()
    # Duff et al. 2017, "Building an orthonormal basis, revisited": no case in which it comes near zero by zero.
    sign = math.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    return np.array([[1.0 + sign * x * x * a, b], [sign * b, sign + y * y * a], [-sign * x, -y]])


def downwards(normal: Floats) -> Quaternion:
    """The shortest turn that makes this unit direction point straight down."""
    x, y, z = (float(value) for value in normal)
    if z > 1 - 1e-12:
        return 1.0, 0.0, 0.0, 0.0
    size = math.sqrt(2 * (1 - z))
    return -y / size, x / size, 0.0, size / 2


def turned(orientation: Quaternion, points: Floats) -> Floats:
    """Points [n, 3] of a frame in this orientation, as the world sees them."""
    x, y, z, w = orientation
    matrix = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.asarray(points @ matrix.T)


def narrow(corners: Floats, orientation: Quaternion) -> tuple[float, float]:
    """The narrowest horizontal side of a body in an orientation, and which way it is measured.

    Args:
        corners: of its hull [n, 3].
        orientation: of its frame.

    Returns:
        Width in the corners' units, and the direction across it: radians from the x axis, in -pi/2 .. pi/2. Jaws that close
        along this direction meet it where it is narrowest.
    """
    flat = turned(orientation, corners)[:, :2]
    edge = flat[_around(flat)]
    step = np.roll(edge, -1, axis=0) - edge
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    across = np.column_stack([step[:, 1], -step[:, 0]])  # a convex outline is narrowest across one of its edges
    widths = np.ptp(edge @ across.T, axis=0)
    best = int(widths.argmin())
    return float(widths[best]), math.remainder(math.atan2(across[best, 1], across[best, 0]), math.pi)


def outline(corners: Floats, orientation: Quaternion) -> float:
    """Area of a body's outline from above over its height, in an orientation."""
    world = turned(orientation, corners)
    edge = world[_around(world[:, :2])]
    after = np.roll(edge, -1, axis=0)
    area = (edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0]).sum() / 2
    return float(area / np.ptp(world[:, 2]))


def of_primitive(primitive: Primitive) -> tuple[Rest, ...]:
    """Stable poses of a primitive, in closed form: a box on six sides, a cylinder on two ends or lying, a capsule lying."""
    kind, (x, y, z) = primitive.kind, primitive.size
    if kind == "sphere":
        return (Rest((0.0, 0.0, 0.0, 1.0), x / 2, 1.0),)
    lying = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
    if kind == "capsule":
        return (Rest(lying, x / 2, 1.0),)
    if kind == "cylinder":
        ends = 1 - (z / 2) / math.hypot(z / 2, x / 2)  # of the whole sphere, both together
        found = [Rest(downwards(np.array([0.0, 0.0, sign])), z / 2, ends / 2) for sign in (-1.0, 1.0)]
        found.append(Rest(lying, x / 2, 1 - ends))
        tips = [math.atan2(x, z)] * 2 + [math.atan2(z, x)]
    else:
        found, tips = _of_box((x, y, z))
    steady = [rest for rest, tip in zip(found, tips, strict=True) if tip >= TIP]
    whole = sum(rest.share for rest in steady)
    return tuple(
        sorted((Rest(rest.orientation, rest.height, rest.share / whole) for rest in steady), key=lambda rest: -rest.share)
    )


def _of_box(size: Vector) -> tuple[list[Rest], list[float]]:
    found, tips = [], []
    for axis in range(3):
        high, broad, deep = size[axis], size[(axis + 1) % 3], size[(axis + 2) % 3]
        # The solid angle of a rectangle as seen from a point above its middle.
        angle = 4 * math.atan(broad * deep / (high * math.hypot(high, broad, deep)))
        for sign in (-1.0, 1.0):
            normal: NDArray[np.float64] = np.zeros(3)
            normal[axis] = sign
            found.append(Rest(downwards(normal), high / 2, angle / (4 * math.pi)))
            tips.append(math.atan2(min(broad, deep), high))
    return found, tips
