"""What hands do to things, against mechanics; every robot must pass the same."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.sim.camera import Camera
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.robots.hand import OPENING, ROBOT, Unreachable
from embodied_ssl.sim.robots.robot import ROBOTS, robot

NAMES = list(ROBOTS)
BOX = (0.04, 0.06, 0.05)
GRAVITY = 9.81
IDLE = SimpleNamespace(advance=lambda: None)  # no hand


def stage(name, residual=1e-3, iterations=50, rest=12):
    """A table, a box of 100 g on its middle, and a robot."""
    client = Client()
    client.resetSimulation()
    client.setPhysicsEngineParameter(
        fixedTimeStep=1 / 240,
        numSolverIterations=iterations,
        solverResidualThreshold=residual,
        deterministicOverlappingPairs=1,
    )
    client.setGravity(0, 0, -GRAVITY)
    table = client.createMultiBody(0, client.createCollisionShape(client.GEOM_PLANE), useMaximalCoordinates=1)
    client.changeDynamics(table, -1, lateralFriction=0.5)
    shape = client.createCollisionShape(client.GEOM_BOX, halfExtents=[side / 2 for side in BOX])
    box = client.createMultiBody(0.1, shape, -1, (0, 0, BOX[2] / 2), useMaximalCoordinates=1)
    client.changeDynamics(box, -1, lateralFriction=0.7, spinningFriction=0.001, linearDamping=0, angularDamping=0)
    for _ in range(rest):
        client.stepSimulation()
    return SimpleNamespace(client=client, table=table, box=box, robot=robot(name, client))


@pytest.fixture
def scene(request):
    made = stage(request.param)
    yield made
    made.client.close()


every = pytest.mark.parametrize("scene", NAMES, indirect=True)


def step(scene, hand, count, watch=None):
    seen = []
    for _ in range(count):
        hand.advance()
        scene.client.stepSimulation()
        if watch:
            seen.append(watch())
    return np.array(seen)


def centre(scene):
    return np.array(scene.client.getBasePositionAndOrientation(scene.box)[0])


def grasp(scene, low=0.012):
    hand = scene.robot.jaw((0.003, 0, 0.1), 0.1)
    step(scene, hand, hand.go((0.003, 0, low), 0.5) + 4)
    hand.close(25, 0.15)
    step(scene, hand, 75)
    return hand


@every
def test_a_jaw_lifts_a_box_and_feels_its_weight(scene):
    hand = grasp(scene)
    assert hand.touching(scene.box) == (True, True)
    squeeze = hand.forces(scene.box)
    assert np.linalg.norm(squeeze[:, :2], axis=1) == pytest.approx([25, 25], rel=0.12)
    step(scene, hand, hand.go((0.003, 0, 0.13), 0.4) + 40)
    assert centre(scene)[2] == pytest.approx(0.13 - 0.012 + BOX[2] / 2, abs=3e-3)
    held = step(scene, hand, 120, lambda: hand.forces(scene.box).sum(axis=0)).mean(axis=0)
    assert held == pytest.approx([0, 0, -0.1 * GRAVITY], abs=0.02 * 0.1 * GRAVITY)
    assert hand.opening() == pytest.approx(BOX[0], abs=2e-3)
    first, second = (hand.jointed.positions()[joint] for joint in hand.shape.jaws)
    assert first == pytest.approx(second, abs=2e-4)  # as near as a coarse solver brings the gear


@every
def test_what_is_held_goes_where_the_hand_goes(scene):
    hand = grasp(scene)
    step(scene, hand, hand.go((0.003, 0, 0.1), 0.4) + 4)
    held = centre(scene) - hand.where()
    step(scene, hand, hand.go((0.08, 0.05, 0.13), 0.3) + 4)
    assert hand.where() == pytest.approx([0.08, 0.05, 0.13], abs=5e-4)
    assert centre(scene) - hand.where() == pytest.approx(held, abs=3e-3)
    hand.open(0.2)
    step(scene, hand, 60)
    assert hand.opening() == pytest.approx(OPENING, abs=1e-3)
    assert hand.touching(scene.box) == (False, False)
    assert not hand.forces().any()


@every
def test_a_jaw_that_closes_on_nothing_ends_closed(scene):
    hand = scene.robot.jaw((0, 0, 0.2), 0.5)
    assert hand.opening() == pytest.approx(OPENING)
    hand.close(25, 0.15)
    step(scene, hand, 90)
    assert hand.opening() == pytest.approx(0, abs=1e-3)
    assert not hand.forces().any()


@every
@pytest.mark.parametrize("stiffness", [100.0, 300.0, 1000.0, 3000.0])
def test_the_slope_of_a_poke_is_the_stiffness(scene, stiffness):
    p = scene.client
    p.setPhysicsEngineParameter(numSolverIterations=200, solverResidualThreshold=0.0)
    p.resetBaseVelocity(scene.box, (0, 0, 0), (0, 0, 0))
    p.changeDynamics(scene.box, -1, mass=0)
    p.changeDynamics(scene.box, -1, contactStiffness=stiffness, contactDamping=10)
    hand = scene.robot.tip((0.004, 0.003, BOX[2] + 0.003))
    start, gap = hand.where()[2], hand.gap(scene.box)
    assert gap == pytest.approx(0.003, abs=2e-4)
    steps = hand.go((0.004, 0.003, BOX[2] - 0.008), 0.04)
    assert steps == 66
    force, depth = step(scene, hand, steps, lambda: (hand.forces(scene.box)[0, 2], start - gap - hand.where()[2])).T
    past = depth > 1e-3
    slope, intercept = np.polyfit(depth[past], force[past], 1)
    assert slope == pytest.approx(stiffness, rel=1e-3)
    assert intercept == pytest.approx(10 * 0.04, abs=0.04)
    assert hand.touching(scene.box) == (True,)


@every
@pytest.mark.parametrize("yaw", [0.0, 2.0, -1.0])
def test_a_finger_pushes_along_its_yaw_against_friction(scene, yaw):
    ahead = np.array([math.cos(yaw), math.sin(yaw), 0])
    p = scene.client
    p.resetBasePositionAndOrientation(scene.box, (0, 0, BOX[2] / 2), (0, 0, math.sin(yaw / 2), math.cos(yaw / 2)))
    step(scene, IDLE, 12)
    hand = scene.robot.finger(np.array([0, 0, 0.015]) - 0.06 * ahead, yaw)
    steps = hand.go(np.array([0, 0, 0.015]) + 0.05 * ahead, 0.1)
    felt, normal = np.split(step(scene, hand, steps, lambda: [*hand.forces(scene.box)[0], borne(scene)])[-80:].mean(axis=0), [3])
    moved = centre(scene) - [0, 0, BOX[2] / 2]
    assert moved[:2] @ ahead[:2] > 0.05
    assert abs(moved[0] * ahead[1] - moved[1] * ahead[0]) < 0.006
    assert -felt @ ahead == pytest.approx(0.7 * 0.5 * normal[0], rel=0.12)  # it slides; the engine's friction is no perfect cone
    assert felt[2] + 0.1 * GRAVITY == pytest.approx(normal[0], rel=0.02)  # what the finger drags down, the table bears


def borne(scene):
    """Newtons with which the table holds the box up."""
    return sum(contact[9] for contact in scene.client.getContactPoints(scene.table, scene.box))


@every
def test_hands_stand_where_they_should_and_go_straight(scene):
    rng = np.random.default_rng(1)
    for _ in range(4):
        start, end = rng.uniform((-0.15, -0.15, 0.06), (0.15, 0.15, 0.3), (2, 3))
        end = start + (end - start) * min(1, 0.12 / np.linalg.norm(end - start))
        hand = scene.robot.jaw(start, rng.uniform(0, math.pi))
        assert hand.residual < 1e-6
        assert hand.where() == pytest.approx(start, abs=1e-6)
        way = (end - start) / np.linalg.norm(end - start)
        passed = step(scene, hand, hand.go(end, 0.4), hand.where) - start
        along = passed @ way
        assert np.linalg.norm(passed - along[:, None] * way, axis=1).max() < 5e-4
        assert (np.diff(along) > 0).all()
        step(scene, hand, 3)
        assert hand.where() == pytest.approx(end, abs=5e-4)
        hand.leave()


@every
def test_a_jaw_closes_along_its_yaw_and_feels_where_it_stands(scene):
    for yaw in (0.0, 1.0, 2.5):
        hand = scene.robot.jaw((0.05, 0.02, 0.15), yaw)
        axis = hand.frame()[:3, 0]
        assert abs(axis @ [math.cos(yaw), math.sin(yaw), 0]) == pytest.approx(1)
        assert hand.frame()[:3, 2] == pytest.approx([0, 0, 1], abs=1e-6)
        hand.leave()
    hand = scene.robot.jaw((0, 0, 0.03), math.pi / 2)
    assert hand.gap(scene.box) == pytest.approx(0.01, abs=1e-3)  # 80 mm around 60 mm
    assert not hand.overlaps([scene.box])
    hand.leave()
    hand = scene.robot.jaw((0.035, 0, 0.03), 0)
    assert hand.overlaps([scene.table, scene.box])
    assert not hand.overlaps([scene.table])
    assert hand.gap(scene.table, most=0.01) == 0.01


@every
def test_a_hand_presses_no_harder_than_it_may_and_comes_away_again(scene):
    scene.client.changeDynamics(scene.box, -1, mass=2)
    hand = scene.robot.jaw((0.035, 0, BOX[2] + 0.02), 0)
    step(scene, hand, hand.go((0.035, 0, BOX[2] - 0.03), 0.2, force=60) + 30)
    assert hand.where()[2] == pytest.approx(BOX[2], abs=5e-3)  # it stands on the box
    pressed = np.abs(step(scene, hand, 60, lambda: hand.forces(scene.box).sum(axis=0))[:, 2].mean())
    assert 40 < pressed < 130
    step(scene, hand, hand.go((0.035, 0, BOX[2] + 0.03), 0.4) + 4)
    assert hand.where() == pytest.approx([0.035, 0, BOX[2] + 0.03], abs=1e-3)
    assert not hand.forces().any()


@every
def test_nothing_stays_of_a_hand(scene):
    before = scene.client.getNumBodies(), scene.client.getNumConstraints()
    makers = (lambda: scene.robot.jaw((0, 0, 0.1), 1), lambda: scene.robot.finger((0.1, 0, 0.02), 1))
    for make in (*makers, lambda: scene.robot.tip((0, 0.1, 0.1))):
        hand = make()
        assert scene.client.getNumBodies() == before[0] + 1
        hand.leave()
        assert (scene.client.getNumBodies(), scene.client.getNumConstraints()) == before


@every
def test_what_happens_depends_neither_on_order_nor_on_what_came_before(scene):
    p = scene.client
    p.removeBody(scene.box)
    shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=[side / 2 for side in BOX])
    saved = p.saveState()

    def grasps():
        hand = grasp(scene)
        step(scene, hand, hand.go((0.003, 0, 0.08), 0.4))
        return hand

    def pushes():
        hand = scene.robot.finger((-0.07, 0.01, 0.015), 0.1)
        step(scene, hand, hand.go((0, 0.017, 0.015), 0.2))
        return hand

    def pokes():
        hand = scene.robot.tip((0.01, 0.01, 0.053))
        step(scene, hand, hand.go((0.01, 0.01, 0.049), 0.04))
        return hand

    def outcome(act):
        p.restoreState(saved)
        scene.box = p.createMultiBody(0.1, shape, -1, (0, 0, BOX[2] / 2), useMaximalCoordinates=1)
        step(scene, IDLE, 12)
        hand = act()
        found = [*p.getBasePositionAndOrientation(scene.box), hand.where().tolist(), hand.forces().tolist()]
        hand.leave()
        p.removeBody(scene.box)
        return found

    first = {act: outcome(act) for act in (grasps, pushes, pokes)}
    for act in (pokes, pushes, grasps, grasps, pokes):
        assert outcome(act) == first[act]


def corners(hand):
    """Of all that is seen around the fingers, in the world."""
    points = np.concatenate([part.mesh.points @ part.pose[:3, :3].T + part.pose[:3, 3] for part in hand.drawn()])
    return points[np.linalg.norm(points - hand.where(), axis=1) < 0.1]


@every
def test_what_is_seen_is_where_it_touches(scene):
    hand = scene.robot.jaw((0, 0, 0.2), 0.4)
    assert {part.id for part in hand.drawn()} == {ROBOT}
    seen = corners(hand)
    assert seen[:, 2].min() == pytest.approx(0.2, abs=5e-4)
    low = seen[seen[:, 2] < 0.215] @ [math.cos(0.4), math.sin(0.4), 0]
    assert np.abs(low).min() == pytest.approx(OPENING / 2, abs=5e-4)
    assert all(one.mesh is other.mesh for one, other in zip(hand.drawn(), hand.drawn(), strict=True))
    ball = scene.client.createMultiBody(0, scene.client.createCollisionShape(scene.client.GEOM_SPHERE, radius=0.01), -1)
    for way in ([0, 0, -0.03], [0, 0, 0.01]):  # below the fingertips' point, and between the pads
        scene.client.resetBasePositionAndOrientation(ball, np.add((0, 0, 0.2), way).tolist(), (0, 0, 0, 1))
        apart = np.linalg.norm(near_surface(hand) - np.add((0, 0, 0.2), way), axis=1).min() - 0.01
        assert hand.gap(ball) == pytest.approx(apart, abs=1.5e-3)
    hand.leave()
    assert corners(scene.robot.tip((0, 0, 0.2)))[:, 2].min() == pytest.approx(0.2, abs=1e-6)


def near_surface(hand):
    """Points strewn over the triangles that are seen near the fingers."""
    found = []
    for part in hand.drawn():
        faces = part.mesh.points[part.mesh.faces] @ part.pose[:3, :3].T + part.pose[:3, 3]
        faces = faces[np.linalg.norm(faces.mean(axis=1) - hand.where(), axis=1) < 0.08]
        shares = np.random.default_rng(0).dirichlet(np.ones(3), 300)
        found.append(np.einsum("sk,fkx->fsx", shares, faces).reshape(-1, 3))
    return np.concatenate(found)


@every
def test_fingertips_look_at_what_they_squeeze(scene):
    hand = grasp(scene)
    looks = hand.fingertip_cameras((32, 32))
    position, orientation = scene.client.getBasePositionAndOrientation(scene.box)
    turn = np.array(scene.client.getMatrixFromQuaternion(orientation)).reshape(3, 3)
    for camera in looks:
        ahead = np.subtract(camera.target, camera.position)
        ahead /= np.linalg.norm(ahead)
        side = turn[:, 0] * np.sign(ahead @ turn[:, 0])
        face = np.array(position) - side * BOX[0] / 2
        depth = (face - camera.position) @ side / (ahead @ side)
        assert depth == pytest.approx(0.02, abs=1e-3)  # the pad's own distance
        assert camera.near < depth < camera.far
    wide = hand.camera((48, 64))
    row, column, depth = wide.project(hand.where()[None])[0]
    assert (row, column) == pytest.approx((23.5, 31.5))
    assert wide.near < depth < wide.far


@every
def test_a_finger_looks_the_way_that_it_sweeps(scene):
    for yaw in np.linspace(-3, 3, 7):
        hand = scene.robot.finger((0.02, 0.05, 0.03), yaw)
        (camera,) = hand.fingertip_cameras((8, 8))
        ahead = np.array([math.cos(yaw), math.sin(yaw), 0])
        assert np.subtract(camera.target, camera.position) == pytest.approx(0.02 * ahead, abs=1e-6)
        assert hand.where() == pytest.approx([0.02, 0.05, 0.03], abs=1e-6)
        assert hand.opening() == 0
        hand.leave()


@every
def test_a_hand_is_in_the_picture_while_it_acts_and_not_after(scene):
    above = Camera((0, 0, 0.7), (0, 0, 0), (0, 1, 0), 64, 64, fov=30.0)
    hand = scene.robot.jaw((0, 0, 0.1), 0)
    rows, columns, _ = above.project(corners(hand)).T
    assert ((np.abs(rows - 31.5) < 32) & (np.abs(columns - 31.5) < 32)).any()
    hand.leave()
    assert scene.client.getNumBodies() == 2  # table and box: nobody who could be seen


def test_an_unknown_robot_is_named_with_a_suggestion():
    with pytest.raises(UserError, match="there is no robot 'pandas', did you mean 'panda'"):
        robot("pandas", None)


@pytest.mark.parametrize("scene", ["panda", "kuka"], indirect=True)
def test_what_an_arm_cannot_reach_is_refused(scene):
    bodies = scene.client.getNumBodies()
    with pytest.raises(Unreachable, match="which is no place"):
        scene.robot.tip((math.nan, 0, 0.1))
    for point in ((0.6, 0, 0.1), (0, 0, 1.2), (-0.45, 0, 0.1)):
        with pytest.raises(Unreachable, match=rf"{scene.robot.name} cannot hold its hand upright at x {point[0]}") as refused:
            scene.robot.jaw(point, 0)
        assert refused.value.residual > 1e-3
    hand = scene.robot.jaw((0, 0, 0.1), 0)
    for target in ((0, 0, 1.2), (0, math.nan, 0.1), (math.inf, 0, 0)):
        with pytest.raises(Unreachable):
            hand.go(target, 0.4)
    step(scene, hand, 2)
    assert hand.where() == pytest.approx([0, 0, 0.1], abs=5e-4)
    hand.leave()
    assert scene.client.getNumBodies() == bodies
