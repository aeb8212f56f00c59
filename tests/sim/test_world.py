"""Physics and optics against closed forms."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.sim import world as module
from embodied_ssl.sim.world import Camera, Light, Shape, World, quaternion

ROOT = Path(module.__file__).parent


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.close()


def floor(world, friction=1.0):
    body = world.add(Shape("box", (4, 4, 0.2)), (0, 0, -0.1))
    world.set_friction(body, friction)
    return body


@pytest.mark.parametrize(("damping", "tolerance"), [(0.0, 0.01), (0.04, 0.10)])
@pytest.mark.parametrize("mu", [0.3, 0.5, 0.8])
def test_a_sliding_box_stops_after_v_squared_over_two_mu_g(world, mu, damping, tolerance):
    world.clear()
    floor(world)
    box = world.add(Shape("box", (0.2, 0.2, 0.05)), (0, 0, 0.025), mass=1.0)
    world.set_friction(box, mu)
    world.set_damping(box, damping, damping)
    world.step(20)
    start = world.pose(box)[0]
    world.set_velocity(box, (1.0, 0.0, 0.0))
    world.step(240)
    expected = 1 / (2 * mu * 9.81) - 1 / (2 * world.rate)  # speed falls before place moves: half a step is lost
    assert world.pose(box)[0] - start == pytest.approx(expected, rel=tolerance)


def test_friction_is_the_product_of_the_two(world):
    slides = []
    for table, thing in ((1.0, 0.25), (0.5, 0.5)):
        world.clear()
        floor(world, table)
        box = world.add(Shape("box", (0.2, 0.2, 0.05)), (0, 0, 0.025), mass=1.0)
        world.set_friction(box, thing)
        world.step(20)
        world.set_velocity(box, (1.0, 0.0, 0.0))
        world.step(240)
        slides.append(world.pose(box)[0])
    assert slides[0] == pytest.approx(slides[1], rel=0.03)


def test_depth_of_a_plane_is_exact_in_the_middle_and_in_the_corners(world):
    world.clear()
    floor(world)
    depth = world.look(Camera((0, 0, 1.0), (0, 0, 0), (0, 1, 0), 64, 64)).depth
    assert depth == pytest.approx(np.ones((64, 64)), abs=1e-4)


def test_a_known_point_is_seen_where_the_camera_says(world):
    rng = np.random.default_rng(0)
    for _ in range(12):
        world.clear()
        place = tuple(rng.uniform(-0.12, 0.12, 3))
        ball = world.add(Shape("sphere", (0.03, 0.03, 0.03)), place)
        camera = Camera((*rng.uniform(-0.1, 0.1, 2), 0.75), (0, 0, 0), (0.1, 1, 0), 128, 160)
        rows, columns = np.nonzero(world.look(camera).bodies == ball)
        row, column, depth = camera.project(np.array([place]))[0]
        assert math.hypot(rows.mean() - row, columns.mean() - column) < 1
        assert camera.at_depth(row, column, depth) == pytest.approx(place)
        assert camera.at_height(row, column, place[2]) == pytest.approx(place)


def test_camera_axes_are_right_down_forward():
    pose = Camera((0, 0, 1), (1, 0, 1), (0, 0, 1)).pose
    assert pose[:3, :3] == pytest.approx(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))
    assert np.linalg.det(pose) == pytest.approx(1)


def test_a_turned_body_is_seen_turned(world):
    world.clear()
    bar = world.add(Shape("box", (0.2, 0.02, 0.02)), (0, 0, 0), quaternion(math.pi / 2))
    rows, columns = np.nonzero(world.look(Camera((0, 0, 0.75), (0, 0, 0), (0, 1, 0))).bodies == bar)
    assert np.ptp(rows) > 5 * np.ptp(columns)


@pytest.mark.parametrize("kind", ["box", "cylinder", "sphere", "capsule"])
def test_what_is_seen_is_as_large_as_what_is_touched(world, kind):
    size = {"box": (0.04, 0.06, 0.05), "sphere": (0.05, 0.05, 0.05)}.get(kind, (0.04, 0.04, 0.09))
    world.clear()
    body = world.add(Shape(kind, size), (0, 0, 0), quaternion(0.0, math.pi / 2), mass=1.0)
    view = world.look(Camera((0, 0, 2.0), (0, 0, 0), (0, 1, 0), 256, 256, fov=5, far=4.0))
    rows, columns = np.nonzero(view.bodies == body)
    pixel = 2.0 * math.tan(math.radians(2.5)) / 128  # metres a pixel where the axis is
    assert [np.ptp(columns) * pixel, np.ptp(rows) * pixel] == pytest.approx([size[2], size[1]], rel=0.05)
    assert 2.0 - view.depth.min() == pytest.approx(size[0] / 2, abs=2e-3)  # a drawn sphere has facets
    probe = world.add(Shape("sphere", (0.01, 0.01, 0.01)), (size[2] / 2 + 0.01, 0, 0))
    assert world.gap(probe, body) == pytest.approx(0.005, abs=1e-3)


def test_pictures_are_copies(world):
    world.clear()
    first = world.look(Camera((0, 0, 1), (0, 0, 0), (0, 1, 0), 16, 16), Light())
    kept = first.rgb.copy()
    world.add(Shape("box", (1, 1, 0.1)), (0, 0, 0), colour=(1, 0, 0))
    second = world.look(Camera((0, 0, 1), (0, 0, 0), (0, 1, 0), 16, 16), Light())
    assert (first.rgb == kept).all()
    assert (second.rgb != kept).any()


def test_volumes():
    assert Shape("sphere", (2, 2, 2)).volume == pytest.approx(4 / 3 * math.pi)
    assert Shape("cylinder", (2, 2, 3)).volume == pytest.approx(3 * math.pi)
    assert Shape("capsule", (2, 2, 5)).volume == pytest.approx(3 * math.pi + 4 / 3 * math.pi)


def test_two_worlds_do_not_meet():
    one, two = World(), World()
    one.add(Shape("box", (1, 1, 1)), (0, 0, 0))
    assert (two.look(Camera((0, 0, 3), (0, 0, 0), (0, 1, 0), 16, 16, far=5)).bodies == -1).all()
    one.close(), two.close()


def test_pybullet_is_called_in_one_file_and_always_with_a_client():
    for path in ROOT.glob("*.py"):
        if path.name not in ("world.py", "client.py"):
            assert not re.search(r"\bpybullet\.|import pybullet|\bp\.[a-z]\w*\(", path.read_text().replace("p.wood", "")), path
    calls = re.findall(r"self\._p\.[a-z]\w*\((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\)", (ROOT / "world.py").read_text())
    assert len(calls) > 25
    assert [call for call in calls if "physicsClientId" not in call and "connect(" not in call] == []


def test_an_absent_engine_says_what_to_do(monkeypatch):
    import sys

    from embodied_ssl.errors import UserError

    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(UserError, match=r"pip install pybullet==3\.2\.7"):
        module.load_pybullet()
