"""Physics against closed forms, and one world after another against a new one."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.sim import client, solids
from embodied_ssl.sim import world as module
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.objects.thing import Form, Primitive, Rest
from embodied_ssl.sim.solver import RATE, SOLVERS, solver
from embodied_ssl.sim.world import GRAVITY, Surface, World, fewer, matrix, turned

ROOT = Path(module.__file__).parent


@pytest.fixture(scope="module", params=list(SOLVERS))
def world(request):
    world = World(SOLVERS[request.param])
    world.save()
    yield world
    world.close()


@pytest.fixture(autouse=True)
def _empty(request):
    if "world" in request.fixturenames:
        request.getfixturevalue("world").restore()


def form(kind, size):
    rest = Rest((0.0, 0.0, 0.0, 1.0), size[2] / 2, 1.0)
    mesh = solids.box(size) if kind == "box" else solids.sphere(size[0])
    return Form(kind, mesh, Primitive(kind, size), size, math.prod(size), 1.0, (rest,))


BRICK = form("box", (0.2, 0.2, 0.05))
BALL = form("sphere", (0.05, 0.05, 0.05))


def corners(count, key=0):
    """A hull of so many corners, all of them on a ball's surface."""
    points = np.random.default_rng(key).normal(size=(count, 3))
    return 0.03 * points / np.linalg.norm(points, axis=1, keepdims=True)


HULL = Form("hull", solids.sphere(0.06), (corners(200),), (0.06, 0.06, 0.06), 1e-4, 1.0, (Rest((0, 0, 0, 1), 0.03, 1.0),))


@pytest.mark.parametrize(("damping", "tolerance"), [(0.0, 0.01), (0.04, 0.10)])
@pytest.mark.parametrize("mu", [0.3, 0.5, 0.8])
def test_a_sliding_box_stops_after_v_squared_over_two_mu_g(world, mu, damping, tolerance):
    world.set_surface(world.table, Surface(1.0))
    brick = world.add(BRICK, 1.0, (0, 0, 0.025), surface=Surface(mu))
    world.set_damping(brick, damping, damping)
    world.step(20)
    start = world.pose(brick)[0]
    world.set_velocity(brick, (1.0, 0.0, 0.0))
    world.step(240)
    expected = 1 / (2 * mu * GRAVITY) - 1 / (2 * RATE)  # speed falls before place moves: half a step is lost
    assert world.pose(brick)[0] - start == pytest.approx(expected, rel=tolerance)


def test_friction_is_the_product_of_the_two(world):
    slides = []
    for table, thing in ((1.0, 0.25), (0.5, 0.5)):
        world.restore()
        world.set_surface(world.table, Surface(table))
        brick = world.add(BRICK, 1.0, (0, 0, 0.025), surface=Surface(thing))
        world.step(20)
        world.set_velocity(brick, (1.0, 0.0, 0.0))
        world.step(240)
        slides.append(world.pose(brick)[0])
    assert slides[0] == pytest.approx(slides[1], rel=0.03)


def test_a_thing_falls_as_far_as_half_g_t_squared(world):
    ball = world.add(BALL, 0.1, (0, 0, 1.0))
    world.set_damping(ball, 0.0, 0.0)
    world.step(60)
    time = 60 / RATE
    assert 1.0 - world.pose(ball)[2] == pytest.approx(GRAVITY * time * (time + 1 / RATE) / 2, rel=1e-4)


@pytest.mark.parametrize("restitution", [0.0, 0.5, 0.9])
def test_energy_is_never_created(world, restitution):
    world.set_surface(world.table, Surface(0.5, restitution=1.0))
    things = [
        world.add(shape, 0.2, (0.15 * k - 0.2, 0, 0.15 + 0.02 * k), surface=Surface(0.5, restitution=restitution))
        for k, shape in enumerate((BALL, BRICK, HULL))
    ]
    inertia = [np.array(world.client.getDynamicsInfo(thing, -1)[2]) for thing in things]

    def energy():
        total = 0.0
        for thing, own in zip(things, inertia, strict=True):
            v, w = np.split(world.velocity(thing), 2)
            w = matrix(world.pose(thing))[:3, :3].T @ w
            total += 0.2 * (GRAVITY * world.pose(thing)[2] + v @ v / 2) + own @ (w * w) / 2
        return total

    level = energy()
    let_in = math.sqrt(2 * GRAVITY * 0.2) / RATE  # what falls 20 cm enters the table by so much in one step, and is pushed out
    for _ in range(200):
        world.step()
        now = energy()
        assert now <= level + 0.2 * GRAVITY * let_in
        level = min(level, now)


def test_a_table_that_leans_by_more_than_its_friction_lets_things_slide(world):
    for tilt, slides in ((0.3, False), (0.6, True)):
        world.restore()
        world.set_gravity((tilt, 0.0))
        world.set_surface(world.table, Surface(1.0))
        brick = world.add(BRICK, 1.0, (0, 0, 0.025), surface=Surface(math.tan(0.45)))
        world.step(120)
        assert bool(world.pose(brick)[0] > 0.1) is slides


def test_a_world_that_was_used_is_as_good_as_a_new_one(world):
    def fall(in_world, key):
        in_world.restore()
        rng = np.random.default_rng(key)
        things = [
            in_world.add(shape, 0.1, (*rng.uniform(-0.1, 0.1, 2), 0.1 + 0.05 * k), surface=Surface(0.6, 0.001, 0.0, 0.2))
            for k, shape in enumerate((BALL, BRICK, HULL, HULL))
        ]
        in_world.step(100)
        return np.stack([in_world.pose(thing) for thing in things])

    used = [fall(world, key) for key in (0, 1, 2, 1, 0)]
    assert (used[0] == used[4]).all()
    assert (used[1] == used[3]).all()
    new = World(world.solver)
    new.save()
    assert (fall(new, 2) == used[2]).all()
    new.clear()
    new.save()
    assert (fall(new, 1) == used[1]).all()
    new.close()


def test_what_is_held_does_not_move(world):
    low, high = world.add(BRICK, 1.0, (0, 0, 0.5)), world.add(BRICK, 1.0, (0, 0, 0.7))
    world.hold(low)
    before = world.pose(low)
    world.step(240)
    assert (world.pose(low) == before).all()
    assert world.pose(high)[2] == pytest.approx(0.55, abs=2e-3)


def test_a_contact_carries_the_weight(world):
    brick = world.add(BRICK, 2.0, (0, 0, 0.025))
    world.step(120)
    contacts = world.contacts(brick, world.table)
    assert sum(contact.force for contact in contacts) == pytest.approx([0, 0, 2 * GRAVITY], abs=0.4)
    assert all(abs(contact.place[2]) < 2e-3 for contact in contacts)


def test_fewer_corners_keep_the_extent():
    points = corners(300)
    kept = fewer(points, 32)
    assert len(kept) == 32
    assert {tuple(p) for p in kept} <= {tuple(p) for p in points}
    assert np.ptp(kept, axis=0) == pytest.approx(np.ptp(points, axis=0))
    assert fewer(points, 0) is points
    assert fewer(points[:20], 32) is not None


def test_a_pose_as_a_matrix_turns_as_the_engine_turns():
    engine = Client()
    rng = np.random.default_rng(3)
    for _ in range(5):
        q = rng.normal(size=4)
        q /= np.linalg.norm(q)
        assert matrix(np.array([1.0, 2.0, 3.0, *q]))[:3, :3].ravel() == pytest.approx(engine._bullet.getMatrixFromQuaternion(q))
        yaw = float(rng.uniform(-3, 3))
        both = engine._bullet.multiplyTransforms((0, 0, 0), engine._bullet.getQuaternionFromEuler((0, 0, yaw)), (0, 0, 0), q)[1]
        assert turned(q, yaw) == pytest.approx(both) or turned(q, yaw) == pytest.approx(-np.array(both))
    engine.close()


def test_parts_are_touched_as_parts_and_a_hull_as_a_hull(world):
    legs = [
        np.array([[x + dx, dy, dz] for dx in (-0.01, 0.01) for dy in (-0.05, 0.05) for dz in (-0.05, 0.05)])
        for x in (-0.05, 0.05)
    ]
    rest = (Rest((0, 0, 0, 1), 0.05, 1.0),)
    table = Form("legs", solids.box((0.12, 0.1, 0.1)), tuple(legs), (0.12, 0.1, 0.1), 4e-4, 1.0, rest)
    solid = Form("hull", solids.box((0.12, 0.1, 0.1)), (np.concatenate(legs),), (0.12, 0.1, 0.1), 1.2e-3, 1.0, rest)
    for shape, stopped in ((table, 0.01), (solid, 0.11)):  # a ball between the legs, or on top of what spans them
        world.restore()
        world.hold(world.add(shape, 1.0, (0, 0, 0.05)))
        ball = world.add(form("sphere", (0.02, 0.02, 0.02)), 0.1, (0, 0, 0.14))
        world.step(240)
        assert world.pose(ball)[2] == pytest.approx(stopped, abs=2e-3)


def test_a_body_is_made_without_the_outline_of_what_it_touches():
    world = World()
    for _ in range(2):
        (seen,) = world.client.getVisualShapeData(world.add(BALL, 1.0, (0, 0, 1)))
        assert seen[2] == world.client.GEOM_MESH  # the triangle, not a sphere
        world.clear()
    world.close()


def test_two_worlds_do_not_meet():
    one, two = World(), World()
    one.save(), two.save()
    body = one.add(BRICK, 1.0, (0, 0, 0.025))
    assert two.client.getNumBodies() == 2  # the table and the probe
    assert one.client.getNumBodies() == 3
    assert body not in two._bodies
    one.close(), two.close()


def test_pybullet_is_imported_in_one_file_only():
    for path in ROOT.rglob("*.py"):
        if path.name != "client.py":
            assert not re.search(r"^\s*(import|from) pybullet\b", path.read_text(), re.MULTILINE), path


def test_every_call_goes_to_the_clients_own_number(monkeypatch):
    sent = []

    class Bullet:
        DIRECT = 2

        def connect(self, mode):
            return 7

        def disconnect(self, physicsClientId):
            sent.append(physicsClientId)

        def stepSimulation(self, physicsClientId):
            sent.append(physicsClientId)

    monkeypatch.setattr(client, "load_pybullet", Bullet)
    one = Client()
    one.stepSimulation()
    one.stepSimulation()
    one.close()
    assert sent == [7, 7, 7]


def test_an_absent_engine_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(UserError, match=r"pip install pybullet==3\.2\.7"):
        client.load_pybullet()


def test_an_engine_without_numpy_is_refused(monkeypatch):
    import pybullet

    monkeypatch.setattr(pybullet, "isNumpyEnabled", lambda: 0)
    with pytest.raises(UserError, match="without numpy"):
        client.load_pybullet()


def test_a_solver_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="no solver 'defualt', did you mean 'default'"):
        solver("defualt")


def test_things_that_do_not_touch_are_solved_together(world):
    """Which of them PyBullet would solve apart depends on what was near what before; each part would stop iterating by itself."""
    world.client.setPhysicsEngineParameter(reportSolverAnalytics=1)
    for x in (-0.5, 0.0, 0.5):
        world.add(BRICK, 1.0, (x, 0, 0.025))
    world.add(BALL, 1.0, (0.5, 0.5, 0.025))
    world.step()
    (solved,) = world.client.stepSimulation()
    world.client.setPhysicsEngineParameter(reportSolverAnalytics=0)
    assert solved["numBodies"] >= 4
