"""What grasps, pushes and pokes do, against what must happen."""

import math

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim import grasp, poke, push
from embodied_ssl.sim.first_objects import Thing, thing
from embodied_ssl.sim.table import set_table
from embodied_ssl.sim.world import Shape, World


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.close()


BOX = Shape("box", (0.04, 0.06, 0.05))


def a_thing(shape=BOX, mass=0.1, stiffness=1000.0, damping=10.0):
    return Thing(0, "thing", shape, mass, 0.8, stiffness, damping, (0.8, 0.2, 0.2))


def a_table(world, *things, key=0):
    return set_table(world, things or (a_thing(),), generator("test", key), (128, 128))


def top_pixel(table, place=0):
    centre = table.states()[place][:3] + np.array([0, 0, table.things[place].rise])
    return tuple(table.camera.project(centre[None])[0, :2])


@pytest.mark.parametrize("key", range(4))
def test_a_grasp_across_the_narrow_side_of_a_box_lifts_it(world, key):
    table = a_table(world, key=key)
    row, column = top_pixel(table)
    pose = table.states()[0]
    angle = grasp.in_picture(table, pose[:3], grasp.narrow(table.things[0], pose))
    outcome = grasp.attempt(table, row, column, round(angle / math.pi * 18) % 18)
    assert outcome.success
    assert outcome.action[3] == 1
    assert outcome.force.max() > 10


def test_a_grasp_beside_the_thing_fails_and_leaves_it(world):
    table = a_table(world)
    row, column = top_pixel(table)
    before = table.states()
    outcome = grasp.attempt(table, (row + 64) % 128, column, 0)
    assert not outcome.success
    assert outcome.force.max() == 0
    assert table.states() == pytest.approx(before, abs=1e-3)


def test_a_grasp_across_a_side_wider_than_the_jaw_fails(world):
    table = a_table(world, a_thing(Shape("box", (0.04, 0.11, 0.05))))
    pose = table.states()[0]
    angle = grasp.in_picture(table, pose[:3], grasp.narrow(table.things[0], pose)) + math.pi / 2
    assert not grasp.attempt(table, *top_pixel(table), round(angle / math.pi * 18) % 18).success


def test_angles_go_from_picture_to_world_and_back(world):
    table = a_table(world)
    for angle in np.linspace(-3, 3, 7):
        yaw = grasp.in_world(table, 40, 70, 0.05, angle)
        point = table.camera.at_height(40, 70, 0.05)
        assert math.remainder(grasp.in_picture(table, point, yaw) - angle, 2 * math.pi) == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("key", range(4))
def test_a_push_moves_the_thing_the_way_it_points(world, key):
    table = a_table(world, key=key)
    before = table.states()[0][:2]
    outcome = push.act(table, generator("push", key))
    way = table.camera.at_height(*outcome.action[2:4], outcome.action[4]) - table.camera.at_height(
        *outcome.action[:2], outcome.action[4]
    )
    moved = table.states()[0][:2] - before
    assert outcome.success
    assert moved @ way[:2] / np.linalg.norm(moved) / np.linalg.norm(way[:2]) > 0.7
    assert outcome.force.max() > 0


def test_a_push_past_everything_moves_nothing(world):
    table = a_table(world)
    row = 3.0 if top_pixel(table)[0] > 64 else 124.0
    before = table.states()
    outcome = push.attempt(table, row, 10.0, row, 60.0, 0.01)
    assert not outcome.success
    assert table.states() == pytest.approx(before, abs=1e-4)


def test_the_slope_of_a_poke_is_the_stiffness(world):
    found = []
    for stiffness in (100.0, 300.0, 1000.0, 3000.0):
        table = a_table(world, a_thing(stiffness=stiffness))
        *_, slope, intercept = poke.attempt(table, *top_pixel(table)).action
        found.append(slope)
        assert slope == pytest.approx(stiffness / 1000, rel=1e-6)
        assert intercept == pytest.approx(10.0 * poke.SPEED, abs=0.03)
    assert found == sorted(found)


def test_the_intercept_of_a_poke_is_speed_times_damping(world):
    found = []
    for damping in (5.0, 10.0, 20.0):
        table = a_table(world, a_thing(stiffness=500.0, damping=damping))
        found.append(poke.attempt(table, *top_pixel(table)).action[3])
    assert found == pytest.approx([damping * poke.SPEED for damping in (5.0, 10.0, 20.0)], rel=0.03)


def test_a_line_is_fitted():
    depth = np.linspace(0, 5, 20)
    assert poke.fit(3 * depth + 0.5, depth) == pytest.approx((3, 0.5))
    assert poke.fit(np.ones(3), np.ones(3)) == (0.0, 0.0)


@pytest.mark.parametrize("task", [grasp, push, poke])
def test_no_tool_is_in_either_picture(world, task):
    table = a_table(world, thing(0, 0), thing(0, 1), key=7)
    bodies = len(table.bodies) + 1
    task.act(table, generator("tool", task.__name__))
    table.settle()
    seen = np.unique(world.look(table.camera, table.light).bodies)
    assert seen.max() < bodies
    assert world.add(Shape("sphere", (0.01, 0.01, 0.01)), (0, 0, 1)) > seen.max()


def test_things_are_the_same_each_time_and_fit_the_jaw():
    pool = [thing(3, number) for number in range(200)]
    assert pool[17] == thing(3, 17)
    assert thing(4, 17) != pool[17]
    assert len({each.name for each in pool}) == 200
    assert all(min(each.shape.size) <= 0.055 < grasp.OPENING for each in pool)
    stiff = np.log([each.stiffness for each in pool])
    assert np.histogram(stiff, 4, (math.log(100), math.log(3000)))[0].min() > 30


def test_broad_flat_things_tend_to_be_stiff():
    pool = [thing(0, number) for number in range(1000)]
    boxes = [each for each in pool if each.shape.kind == "box"]
    broad = [each.shape.size[0] * each.shape.size[1] / each.shape.size[2] for each in boxes]
    assert 0.6 < np.corrcoef(np.log(broad), np.log([each.stiffness for each in boxes]))[0, 1] < 0.95
    spread = np.histogram(np.log([each.stiffness for each in pool]), 4, (math.log(100), math.log(3000)))[0]
    assert spread.min() > 190


def test_colour_tells_nothing_about_weight_or_stiffness():
    pool = [thing(0, number) for number in range(2000)]
    colours = np.array([each.colour for each in pool])
    # Hue is on a circle, so the linear correlation of each channel, and of its square, is looked at.
    looks = np.hstack([colours, colours**2])
    for truth in ("mass", "stiffness", "friction"):
        values = np.array([getattr(each, truth) for each in pool])
        assert np.abs([np.corrcoef(values, look)[0, 1] for look in looks.T]).max() < 0.08


def test_things_stand_apart_and_stay(world):
    for key in range(5):
        table = a_table(world, *(thing(0, number) for number in range(5)), key=key)
        before = table.states()
        table.settle(240)
        assert table.states()[:, :3] == pytest.approx(before[:, :3], abs=2e-3)
