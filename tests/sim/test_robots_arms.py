"""Arms: where angles bring a hand, against PyBullet reading the same files; and what can be reached."""

import itertools
import math

import numpy as np
import pytest

from embodied_ssl.sim.client import Client, data_folder
from embodied_ssl.sim.jointed import matrix, place, quaternion
from embodied_ssl.sim.robots import kuka, panda, urdf
from embodied_ssl.sim.robots.arm import Arm, progress
from embodied_ssl.sim.robots.skins import seen, triangles

MODELS = [panda.model, kuka.model]
ANGLES = [k * math.pi / 18 for k in range(18)]


@pytest.fixture(scope="module")
def client():
    made = Client()
    made.resetSimulation()
    yield made
    made.close()


both = pytest.mark.parametrize("model", MODELS, ids=["panda", "kuka"])


def test_poses_and_quaternions_agree_with_the_engine(client):
    rng = np.random.default_rng(0)
    turns = [*rng.normal(size=(40, 4)), [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1e-9, 0, 1, 0]]
    for turn in turns:
        turn = np.array(turn) / np.linalg.norm(turn)
        pose = matrix((1, 2, 3), turn)
        assert pose[:3, :3].ravel() == pytest.approx(client.getMatrixFromQuaternion(turn.tolist()))
        back = np.array(quaternion(pose))
        assert abs(back @ turn) == pytest.approx(1)
    for angles in rng.uniform(-3, 3, (20, 3)):
        own = urdf.turn(*angles)
        theirs = client.getMatrixFromQuaternion(client.getQuaternionFromEuler(angles.tolist()))
        assert own[:3, :3].ravel() == pytest.approx(theirs)
    assert place((1, 2, 3), 0.3) == pytest.approx(matrix((1, 2, 3), (0, 0, math.sin(0.15), math.cos(0.15))))


@pytest.mark.parametrize(
    ("model", "file", "last"),
    [(panda.model, "franka_panda/panda.urdf", 6), (kuka.model, "kuka_iiwa/model.urdf", 6)],
    ids=["panda", "kuka"],
)
def test_a_chain_is_where_the_engine_has_it(client, model, file, last):
    arm = Arm(client, model())
    base = arm.model.base[:3, 3]
    loaded = client.loadURDF(str(data_folder() / file), base.tolist(), useFixedBase=1)
    for angles in np.random.default_rng(0).uniform(arm.chain.lower, arm.chain.upper, (10, 7)):
        for joint, angle in enumerate(angles):
            client.resetJointState(loaded, joint, angle)
        own = arm.chain.frames(angles[None])[0]
        for joint in range(last + 1):
            state = client.getLinkState(loaded, joint, computeForwardKinematics=1)
            assert own[joint] == pytest.approx(matrix(state[4], state[5]), abs=1e-6)
    masses = [client.getDynamicsInfo(loaded, joint)[0] for joint in range(6)]
    assert [bone.mass for bone in arm.model.arm[:6]] == pytest.approx(masses)
    limits = [client.getJointInfo(loaded, joint)[8:11] for joint in range(7)]
    assert [(bone.lower, bone.upper, bone.effort) for bone in arm.model.arm] == [pytest.approx(limit) for limit in limits]
    client.removeBody(loaded)


@both
def test_every_point_is_reached_exactly_and_upright(client, model):
    chain = Arm(client, model()).chain
    points = np.array(list(itertools.product(np.linspace(-0.15, 0.15, 5), np.linspace(-0.15, 0.15, 5), np.linspace(0, 0.3, 4))))
    worst = 0.0
    for yaw in ANGLES:
        for point in points:
            turned = chain.nearest(point, yaw)
            assert abs(math.cos(turned - yaw)) == pytest.approx(1)
            angles, missing = chain.solve(point[None], turned)
            pose = chain.frames(angles)[0, -1]
            worst = max(worst, float(np.linalg.norm(pose[:3, 3] - point)), float(missing[0]))
            assert pose[:3, :3] == pytest.approx(place(yaw=turned)[:3, :3], abs=1e-6)
            assert ((angles >= chain.lower) & (angles <= chain.upper)).all()
    assert worst < 1e-6


@both
def test_a_hand_that_stands_there_stands_there_in_the_engine(client, model):
    arm = Arm(client, model())
    rng = np.random.default_rng(2)
    for point in rng.uniform((-0.15, -0.15, 0), (0.15, 0.15, 0.3), (12, 3)):
        yaw = rng.uniform(0, math.pi)
        hand = arm.jaw(point, yaw)
        assert hand.residual < 1e-6
        assert hand.where() == pytest.approx(point, abs=1e-6)
        assert abs(hand.frame()[:3, 0] @ [math.cos(yaw), math.sin(yaw), 0]) == pytest.approx(1)
        hand.leave()


@pytest.mark.slow
@both
def test_the_whole_workspace_is_reached_in_the_engine(client, model):
    arm = Arm(client, model())
    found = []
    for x, y, z in itertools.product(np.linspace(-0.15, 0.15, 5), np.linspace(-0.15, 0.15, 5), np.linspace(0, 0.3, 3)):
        for yaw in ANGLES:
            for make in (arm.jaw, arm.finger):
                hand = make((x, y, z), yaw)
                found.append(hand.residual)
                hand.leave()
        hand = arm.tip((x, y, z))
        found.append(hand.residual)
        hand.leave()
    assert max(found) < 1e-6


@both
def test_angles_along_a_line_have_no_leap(client, model):
    arm = Arm(client, model())
    rng = np.random.default_rng(3)
    for _ in range(20):
        start, end = rng.uniform((-0.15, -0.15, 0), (0.15, 0.15, 0.3), (2, 3))
        yaw = arm.chain.nearest(start, rng.uniform(0, math.pi))
        path = arm.path(start, end, yaw, 0.2)
        assert np.abs(np.diff(path, axis=0)).max() < 0.2 / 240 * 8  # radians a step: 8 a metre
        between = arm.chain.frames(path)[:, -1, :3, 3]
        way = (end - start) / np.linalg.norm(end - start)
        off = between - start - ((between - start) @ way)[:, None] * way
        assert np.linalg.norm(off, axis=1).max() < 2e-4
        assert between[-1] == pytest.approx(end, abs=1e-7)


def test_progress_is_even_and_complete():
    slow = progress(0.011, 0.04)
    assert len(slow) == 66
    assert np.diff(slow) == pytest.approx(1 / 66)
    fast = progress(0.12, 0.4)
    assert fast[-1] == 1
    assert np.diff(fast).max() * 0.12 * 240 == pytest.approx(0.4, rel=0.02)
    assert fast[0] < np.diff(fast).max() / 5  # it gathers speed
    assert progress(1e-5, 0.4)[-1] == 1


@both
def test_fingers_meet_at_the_fingertips_point(client, model):
    """The first finger's pad lies in the plane between the fingers when closed, and its end at the hand's origin."""
    made = model()
    finger = made.bones[-2]
    wrist = made.arm[-1]
    assert finger.parent == wrist.name
    inside = triangles(finger.skins[0]).reshape(-1, 3) @ finger.at[:3, :3].T + finger.at[:3, 3]
    inside = (inside - made.hand[:3, 3]) @ made.hand[:3, :3]
    assert inside[:, 2].min() == pytest.approx(0, abs=2e-4)
    assert inside[inside[:, 2] < 0.015, 0].min() == pytest.approx(0, abs=2e-4)
    way = made.hand[:3, :3].T @ finger.at[:3, :3] @ finger.axis
    assert way == pytest.approx([1, 0, 0], abs=1e-6)


@both
def test_skins_agree_with_trimesh(model):
    import trimesh

    for bone in model().bones:
        for skin in bone.skins:
            theirs = trimesh.load(skin.file, force="mesh")
            mesh = seen(skin)
            assert mesh is seen(skin)
            assert mesh.points.min(axis=0) == pytest.approx(theirs.bounds[0] * skin.scale, abs=1e-6)
            assert mesh.points.max(axis=0) == pytest.approx(theirs.bounds[1] * skin.scale, abs=1e-6)
            assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-5)
            a, b, c = (mesh.points[mesh.faces[:, k]].astype(np.float64) for k in range(3))
            crosses = np.cross(b - a, c - a)
            assert np.linalg.norm(crosses, axis=1).sum() / 2 == pytest.approx(theirs.area * skin.scale**2, rel=1e-4)
            facing = (crosses[:, None] * mesh.normals[mesh.faces]).sum(axis=2)
            assert (facing > 0).mean() > 0.99


@pytest.fixture
def falling():
    """A client of one's own: the engine's inverse dynamics remembers bodies that are gone."""
    made = Client()
    made.resetSimulation()
    made.setPhysicsEngineParameter(fixedTimeStep=1 / 240)
    made.setGravity(0, 0, -9.81)
    yield made
    made.close()


@both
def test_what_an_arm_bears_is_what_the_engine_says(falling, model):
    arm = Arm(falling, model())
    hand = arm.jaw((0.02, 0.05, 0.1), 0.3)
    rng = np.random.default_rng(4)
    start = np.array(hand.jointed.positions()[:7])
    for _ in range(5):
        angles, accelerations = start + rng.uniform(-0.3, 0.3, 7), rng.uniform(-10, 10, 7)
        for wanted, tolerance in ((np.zeros(7), 0.02), (accelerations, 1.5)):  # the inertia of a hull is no ball's
            own = arm.burden.torques(angles[None], wanted[None])[0]
            theirs = falling.calculateInverseDynamics(hand.body, [*angles, 0.04, 0.04], [0.0] * 9, [*wanted, 0, 0])[:7]
            assert own == pytest.approx(theirs, abs=tolerance)
    hand.leave()


@both
def test_motors_have_nothing_to_add_where_nothing_is_in_the_way(falling, model):
    arm = Arm(falling, model())
    hand = arm.jaw((0.02, 0.05, 0.1), 0.3)
    most = np.zeros(7)
    for _ in range(hand.go((0.02, -0.05, 0.16), 0.4) + 20):
        hand.advance()
        falling.stepSimulation()
        most = np.maximum(most, [abs(hand.jointed.effort(joint)) for joint in range(7)])
    assert (most < 0.02 * arm.efforts).all()
    assert hand.where() == pytest.approx([0.02, -0.05, 0.16], abs=1e-4)
    hand.leave()
