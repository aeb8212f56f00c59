"""Hulls and stable poses against closed forms, trimesh, and physics."""

import math
import tempfile

import numpy as np
import pytest
import trimesh

from embodied_ssl.keys import generator
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.objects import library, primitives, rests
from embodied_ssl.sim.objects.hulls import enclosed, gaps, hull, thinned
from embodied_ssl.sim.objects.thing import Primitive
from embodied_ssl.sim.solids import sphere

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float) - 0.5


def cloud(key, count=60):
    return generator("cloud", key).normal(size=(count, 3)) * (1.0, 0.7, 0.4) + (5, -3, 2)


@pytest.mark.parametrize("key", range(5))
def test_a_hull_is_trimeshs(key):
    points = cloud(key)
    found, expected = hull(points), trimesh.PointCloud(points).convex_hull
    assert found.volume == pytest.approx(expected.volume)
    assert found.centre == pytest.approx(expected.center_mass)
    assert len(found.corners) == len(expected.vertices)
    assert enclosed(found.corners, found.triangles) == (pytest.approx(found.volume), pytest.approx(found.centre))
    inside = points @ found.planes[:, :3].T + found.planes[:, 3]
    assert inside.max() < 1e-9
    on = (found.corners[found.triangles] * found.planes[:, None, :3]).sum(-1) + found.planes[:, None, 3]
    assert on == pytest.approx(0, abs=1e-9)
    for triangle, neighbours in zip(found.triangles, found.beside, strict=True):
        for k, other in enumerate(neighbours):
            assert set(np.delete(triangle, k)) <= set(found.triangles[other])


def test_a_hull_has_no_corners_within_faces():
    grid = np.stack(np.meshgrid(*[np.linspace(0, 2, 5)] * 3), -1).reshape(-1, 3)
    assert len(hull(grid).corners) == 8
    assert hull(grid * 1e-5).volume == pytest.approx(8e-15)


@pytest.mark.parametrize("points", [np.zeros((9, 3)), CUBE[:3], CUBE * (1, 1, 0), CUBE * (1, 1e-12, 1)])
def test_what_is_flat_has_no_hull(points):
    with pytest.raises(ValueError, match="enclose no volume"):
        hull(points)


def test_gaps_are_counted():
    faces = hull(CUBE).triangles
    assert gaps(faces) == 0
    assert gaps(faces[1:]) == pytest.approx(3 / 33)
    assert gaps(faces[:1]) == gaps(faces[:0]) == 1
    assert gaps(np.concatenate([faces, faces[:, ::-1] + 8])) == 0


def test_thinning_keeps_a_box_and_nearly_a_ball():
    assert len(thinned(CUBE, 64)) == 8
    ball = generator("ball").normal(size=(3000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    kept = thinned(ball, 256)
    assert 200 < len(kept) <= 256
    assert -hull(kept).planes[:, 3].max() > 1 - 5 / 256


def test_a_die_falls_on_six_sides_alike():
    found = rests.of_hull(hull(CUBE), np.zeros(3))
    assert len(found) == 6
    assert [rest.share for rest in found] == pytest.approx([1 / 6] * 6)
    assert [rest.height for rest in found] == pytest.approx([0.5] * 6)
    downs = {tuple(rests.turned(rest.orientation, np.eye(3))[:, 2].round(6) + 0.0) for rest in found}
    assert len(downs) == 6
    assert {sum(abs(value) for value in down) for down in downs} == {1.0}


@pytest.mark.parametrize("size", [(1, 2, 3), (0.03, 0.05, 0.04), (2, 2, 1)])
def test_the_shares_of_a_box_are_solid_angles(size):
    """The closed form, the facets' own, and directions thrown at random agree."""
    closed = sorted((rest.height, rest.share) for rest in rests.of_primitive(Primitive("box", size)))
    by_hull = sorted((rest.height, rest.share) for rest in rests.of_hull(hull(CUBE * size), np.zeros(3)))
    assert np.array(by_hull) == pytest.approx(np.array(closed), abs=1e-9)
    assert sum(share for _, share in closed) == pytest.approx(1)
    thrown = generator("thrown").normal(size=(100_000, 3))
    hit = (np.abs(thrown) / size).argmax(axis=1)
    for axis in range(3):
        share = sum(share for height, share in closed if math.isclose(height, size[axis] / 2))
        assert (np.isclose(np.array(size)[hit], size[axis])).mean() == pytest.approx(share, abs=0.006)


def test_the_shares_of_a_cylinder_are_those_of_one_with_many_sides():
    turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    ring = np.column_stack([np.cos(turn), np.sin(turn)])
    points = np.concatenate([np.column_stack([ring, np.full(24, z)]) for z in (-0.8, 0.8)])
    found = rests.of_hull(hull(points), np.zeros(3))
    standing = [rest.share for rest in found if rest.height == pytest.approx(0.8)]
    closed = {round(rest.height, 6): rest.share for rest in rests.of_primitive(Primitive("cylinder", (2, 2, 1.6)))}
    assert len(standing) == 2
    assert standing == pytest.approx([closed[0.8]] * 2, abs=0.01)
    assert sum(rest.share for rest in found) - sum(standing) == pytest.approx(closed[1.0], abs=0.02)


@pytest.mark.parametrize("key", range(6))
def test_falls_are_trimeshs(key):
    """All facets that a body ends on, before those are left out that are too narrow to stay on."""
    shape = hull(cloud(key, 30))
    corners = shape.corners - shape.centre
    offset = shape.planes[:, 3] + shape.planes[:, :3] @ shape.centre
    ends, _ = rests._topple(corners, shape, offset)
    share = np.bincount(ends, rests._solid_angles(corners, shape.triangles), len(ends)) / (4 * math.pi)
    poses, expected = trimesh.poses.compute_stable_poses(trimesh.Trimesh(shape.corners, shape.triangles, process=False))
    for pose, each in zip(poses, expected, strict=True):
        facet = (shape.planes[:, :3] @ -pose[2, :3]).argmax()
        assert share[facet] == pytest.approx(each, abs=1e-6)
    assert sum(expected) == pytest.approx(share.sum()) == pytest.approx(1)


def test_a_leaning_block_falls_over():
    """Sheared so far that its centre of mass is beyond its ends: whatever first meets an end rolls on to the side below."""
    leaning = CUBE + np.outer(CUBE[:, 2], [1.5, 0, 0])
    shape = hull(leaning)
    found = rests.of_hull(shape, shape.centre)
    assert len(found) == 4
    sides = [rest for rest in found if rest.height == pytest.approx(0.5 / math.hypot(1, 1.5))]
    assert len(sides) == 2
    thrown = generator("thrown").normal(size=(100_000, 3))
    planes = np.unique(shape.planes, axis=0)
    first = (-planes[:, 3] / np.maximum(thrown @ planes[:, :3].T, 1e-9)).argmin(axis=1)
    flanks = (np.abs(planes[first, 1]) > 0.5).mean()
    assert sum(rest.share for rest in sides) == pytest.approx(1 - flanks, abs=0.006)


def test_a_ball_of_facets_still_has_a_rest():
    found = rests.of_hull(hull(sphere(0.03).points.astype(float)), np.zeros(3))
    assert sum(rest.share for rest in found) == pytest.approx(1)
    assert all(rest.height == pytest.approx(0.03, rel=0.03) for rest in found)


@pytest.mark.parametrize("key", range(4))
def test_the_narrow_side_is_the_narrowest_of_all_directions(key):
    points = cloud(key)
    turn = (0.0, 0.0, math.sin(0.4), math.cos(0.4))
    width, angle = rests.narrow(points, turn)
    world = rests.turned(turn, points)
    angles = np.linspace(-math.pi / 2, math.pi / 2, 2000)
    widths = np.ptp(world[:, :2] @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    assert width == pytest.approx(widths.min(), rel=1e-3)
    assert width <= widths.min()
    assert np.ptp(world[:, 0] * math.cos(angle) + world[:, 1] * math.sin(angle)) == pytest.approx(width)


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0.6, 0, 0.8), (0.36, 0.48, -0.8)])
def test_a_direction_is_turned_down(axis):
    turn = rests.downwards(np.array(axis, float))
    assert math.hypot(*turn) == pytest.approx(1)
    assert rests.turned(turn, np.array([axis], float)) == pytest.approx(np.array([[0, 0, -1]]), abs=1e-9)


def as_obj(parts):
    """Convex parts as groups of an OBJ file, which PyBullet touches one by one; faces only name the corners."""
    lines, first = [], 1
    for number, corners in enumerate(parts):
        lines += [f"o {number}", *(f"v {x!r} {y!r} {z!r}" for x, y, z in corners.tolist())]
        lines += [f"f {first} {first + k} {first + k + 1}" for k in range(1, len(corners) - 1)]
        first += len(corners)
    return "\n".join(lines)


class Table:
    """A plane with things on it, one at a time."""

    def __init__(self):
        self.client = client = Client()
        client.setGravity(0, 0, -9.81)
        client.setTimeStep(1 / 240)
        client.setPhysicsEngineParameter(deterministicOverlappingPairs=1)
        plane = client.createMultiBody(0, client.createCollisionShape(client.GEOM_PLANE), useMaximalCoordinates=1)
        client.changeDynamics(plane, -1, lateralFriction=0.5)

    def stays(self, form, yaw=0.0, steps=240):
        """For each rest: how far it moves in metres and turns in degrees."""
        client, found = self.client, []
        if isinstance(form.touched, Primitive):
            x, _, z = form.touched.size
            shape = {
                "box": lambda: client.createCollisionShape(client.GEOM_BOX, halfExtents=[s / 2 for s in form.size]),
                "sphere": lambda: client.createCollisionShape(client.GEOM_SPHERE, radius=x / 2),
                "cylinder": lambda: client.createCollisionShape(client.GEOM_CYLINDER, radius=x / 2, height=z),
                "capsule": lambda: client.createCollisionShape(client.GEOM_CAPSULE, radius=x / 2, height=z - x),
            }[form.touched.kind]()
        elif len(form.touched) == 1:
            shape = client.createCollisionShape(client.GEOM_MESH, vertices=form.touched[0].tolist())
        else:
            with tempfile.NamedTemporaryFile("w", suffix=".obj") as file:
                file.write(as_obj(form.touched))
                file.flush()
                shape = client.createCollisionShape(client.GEOM_MESH, fileName=file.name)
        for rest in form.rests:
            turn = (0, 0, math.sin(yaw / 2), math.cos(yaw / 2))
            turn = client.multiplyTransforms((0, 0, 0), turn, (0, 0, 0), rest.orientation)[1]
            body = client.createMultiBody(0.1, shape, -1, (0, 0, rest.height), turn, useMaximalCoordinates=1)
            client.changeDynamics(
                body, -1, lateralFriction=0.7, spinningFriction=0.001, rollingFriction=0.001, collisionMargin=0.0001
            )
            for _ in range(steps):
                client.stepSimulation()
            place, now = client.getBasePositionAndOrientation(body)
            turned = 2 * math.degrees(math.acos(min(1.0, abs(np.dot(now, turn)))))
            found.append((float(np.linalg.norm(np.subtract(place, (0, 0, rest.height)))), turned))
            client.removeBody(body)
        return found


@pytest.fixture(scope="module")
def table():
    table = Table()
    yield table
    table.client.close()


@pytest.mark.parametrize("kind", primitives.KINDS)
def test_primitives_stay_where_they_are_put(table, kind):
    for key in range(4):
        for moved, turned in table.stays(primitives.form(kind, 0.055, generator("stay", key)), yaw=key):
            assert moved < 0.001
            assert turned < 1


@pytest.mark.parametrize("touched", ["hull", "parts"])
def test_random_forms_stay_where_they_are_put(table, touched):
    forms = [library.random_form(library.RANDOM[46 * k + 7], 0.055, touched) for k in range(20)]
    moves = np.array([move for k, form in enumerate(forms) for move in table.stays(form, yaw=0.7 * k)])
    assert len(moves) > 100
    assert ((moves[:, 0] < 0.001) & (moves[:, 1] < 1)).mean() >= 0.99


def test_household_things_stay_where_they_are_put(table):
    for thing in library.HOUSEHOLD:
        form = library.household_form(thing, 0.055, "hull")
        moves = np.array(table.stays(form, yaw=1.0))
        assert (moves < (0.001, 1)).all(), (form.name, moves)


@pytest.mark.slow
@pytest.mark.parametrize("touched", ["hull", "parts"])
def test_all_random_forms_stay_where_they_are_put(table, touched):
    wrong, count = [], 0
    for number in library.RANDOM:
        form = library.random_form(number, 0.055, touched)
        assert form.filled > 0.25
        for place, (moved, turned) in enumerate(table.stays(form, yaw=float(number))):
            count += 1
            if moved >= 0.001 or turned >= 1:
                wrong.append(f"{form.name} rest {place}: {1000 * moved:.1f} mm, {turned:.1f} degrees")
    assert count > 5000
    assert len(wrong) < 0.01 * count, wrong
