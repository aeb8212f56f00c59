"""What grasps, pushes, pokes and looks do, against what must happen, with every robot and solver."""

import math
from dataclasses import replace

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim import solids
from embodied_ssl.sim.interaction import ACTS, choose, play
from embodied_ssl.sim.objects.thing import Form, Primitive, Rest, Thing
from embodied_ssl.sim.robots.hand import Unreachable
from embodied_ssl.sim.spec import Outputs, Pool, Randomise, Spec
from embodied_ssl.sim.tasks import grasp, observe, poke, push
from embodied_ssl.sim.tasks.outcome import resample
from embodied_ssl.sim.tasks.scene import Place, draw_scene, footprint
from embodied_ssl.sim.tasks.stage import Stage

SPEC = Spec(size=(64, 64), renderer="tiny", pool=Pool(kinds=("primitives",)))
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module", params=["jaw", "panda", "kuka"])
def stage(request):
    stage = Stage(replace(SPEC, robot=request.param))
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def jaws():
    stage = Stage(SPEC)
    yield stage
    stage.close()


def a_box(size=(0.04, 0.06, 0.05)):
    return Form("box", solids.box(size), Primitive("box", size), size, math.prod(size), 1.0, (Rest(UPRIGHT, size[2] / 2, 1.0),))


def a_thing(form=None, mass=0.1, stiffness=1000.0, damping=10.0, number=0):
    return Thing(number, f"thing-{number}", form or a_box(), mass, 0.8, 0.001, 0.0, 0.0, stiffness, damping, (0.8, 0.2, 0.2))


def a_table(stage, *things, key=0, yaw=None, spread=0.05):
    """A table with these things in a row, the first near the middle."""
    things = list(things) or [a_thing()]
    rng = generator("test", key)
    turn = float(rng.uniform(0, math.pi)) if yaw is None else yaw
    places = [Place(spread * k, 0.02 * k, turn, thing.form.rests[0]) for k, thing in enumerate(things)]
    scene = draw_scene(stage.spec, key)
    scene = replace(
        scene,
        things=things,
        places=places,
        masses=[thing.mass for thing in things],
        stiffnesses=[thing.stiffness for thing in things],
        textures=[-1] * len(things),
        distractors=0,
    )
    return stage.set_table(key, scene)


def pixel(table, place=0):
    return tuple(table.camera.project(table.before[place][None, :3] + [[0, 0, 0]])[0, :2])


def across(table, place=0):
    """The bin of the angle across a thing's narrow side."""
    angle = grasp.in_picture(table, table.before[place][:3], grasp.narrow(table, place))
    return round(angle / math.pi * grasp.BINS) % grasp.BINS


@pytest.mark.parametrize("key", range(3))
def test_a_grasp_across_the_narrow_side_of_a_box_lifts_it_and_puts_it_back(stage, key):
    table = a_table(stage, key=key)
    outcome = grasp.attempt(table, (*pixel(table), across(table)))
    assert outcome.success
    assert outcome.action[3] == 1
    assert max(outcome.felt.force) > 10
    assert outcome.felt.travel[-1] == pytest.approx(0.04, abs=3e-3)  # the jaw is as far open as the box is wide
    assert len(outcome.felt.contacts) >= 2
    assert all(place == 0 for place, _ in outcome.felt.contacts)
    table.rest()
    assert table.states()[0] == pytest.approx(table.before[0], abs=0.03)
    assert outcome.residual < 1e-3


def test_what_is_squeezed_is_squeezed_from_both_sides(jaws):
    table = a_table(jaws)
    outcome = grasp.attempt(table, (*pixel(table), across(table)))
    total = sum(contact.force for _, contact in outcome.felt.contacts)
    strongest = max(np.linalg.norm(contact.force) for _, contact in outcome.felt.contacts)
    assert np.linalg.norm(total[:2]) < 0.2 * strongest


def test_a_grasp_beside_the_thing_fails_and_leaves_it(stage):
    table = a_table(stage)
    row, column = pixel(table)
    outcome = grasp.attempt(table, (row, min(column + 22, 62.0), 9))
    assert not outcome.success
    assert max(outcome.felt.force) == 0
    assert table.states()[0] == pytest.approx(table.before[0], abs=1e-3)


def test_a_grasp_across_a_side_wider_than_the_jaw_fails(jaws):
    table = a_table(jaws, a_thing(a_box((0.04, 0.11, 0.05))))
    assert not grasp.attempt(table, (*pixel(table), (across(table) + 9) % 18)).success


def test_angles_go_from_picture_to_world_and_back(jaws):
    table = a_table(jaws)
    for angle in np.linspace(-3, 3, 7):
        yaw = grasp.in_world(table, 20, 35, 0.05, angle)
        point = table.camera.at_height(20, 35, 0.05)
        assert math.remainder(grasp.in_picture(table, point, yaw) - angle, 2 * math.pi) == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.2, 2.5])
def test_the_narrow_side_is_found(jaws, turn):
    table = a_table(jaws, yaw=turn)
    assert math.remainder(grasp.narrow(table, 0) - turn, math.pi) == pytest.approx(0, abs=math.radians(6))


@pytest.mark.parametrize("key", range(4))
def test_a_push_moves_the_thing_the_way_it_points(stage, key):
    table = a_table(stage, key=key)
    outcome = None
    for attempt in range(4):
        try:
            outcome = push.attempt(table, push.choose(table, generator("push", key, attempt)))
            break
        except Unreachable:
            table = a_table(stage, key=key)
    start = table.camera.at_height(*outcome.action[:2], outcome.action[4])
    way = (table.camera.at_height(*outcome.action[2:4], outcome.action[4]) - start)[:2]
    moved = (table.states()[0] - table.before[0])[:2]
    assert outcome.success
    assert moved @ way / np.linalg.norm(moved) / np.linalg.norm(way) > 0.7
    assert max(outcome.felt.force) > 0
    assert outcome.felt.travel[-1] == pytest.approx(np.linalg.norm(way), abs=5e-3)


def test_a_push_past_everything_moves_nothing(jaws):
    table = a_table(jaws)
    row = 2.0 if pixel(table)[0] > 32 else 61.0
    outcome = push.attempt(table, (row, 5.0, row, 30.0, 0.01))
    assert not outcome.success
    assert table.states() == pytest.approx(table.before, abs=1e-4)


def test_a_push_costs_what_friction_takes(jaws):
    """Work of the finger over the way that the thing slid: mu m g, as long as it neither turns nor tips."""
    thing = a_thing(a_box((0.08, 0.08, 0.03)), mass=0.3)
    table = a_table(jaws, thing, yaw=0.0)
    middle = table.before[0]
    start, end = middle[0] - 0.07, middle[0] + 0.03
    ends = table.camera.project(np.array([[start, middle[1], 0.012], [end, middle[1], 0.012]]))
    outcome = push.attempt(table, (*ends[0, :2], *ends[1, :2], 0.012))
    steady = outcome.felt.force[outcome.felt.travel > 0.06]
    assert steady.mean() == pytest.approx(table.scene.table_friction * 0.8 * 0.3 * 9.81, rel=0.1)


@pytest.mark.parametrize("solver", ["reference", "default", "fast"])
def test_the_slope_of_a_poke_is_the_stiffness_and_its_intercept_the_damping(solver):
    stage = Stage(replace(SPEC, solver=solver))
    for stiffness in (100.0, 300.0, 1000.0, 3000.0):
        table = a_table(stage, a_thing(stiffness=stiffness))
        *_, slope, intercept = poke.attempt(table, pixel(table)).action
        assert slope == pytest.approx(stiffness / 1000, rel=1e-3)
        assert intercept == pytest.approx(10.0 * poke.SPEED, abs=0.03)
    for damping in (5.0, 20.0):
        table = a_table(stage, a_thing(stiffness=500.0, damping=damping))
        assert poke.attempt(table, pixel(table)).action[3] == pytest.approx(damping * poke.SPEED, rel=0.05)
    stage.close()


def test_a_line_is_fitted():
    depth = np.linspace(0, 5, 20)
    assert poke.fit(3 * depth + 0.5, depth) == pytest.approx((3, 0.5))
    assert poke.fit(np.ones(3), np.ones(3)) == (0.0, 0.0)


def test_what_is_observed_is_where_the_second_camera_says(jaws):
    for key in range(4):
        table = a_table(jaws, a_thing(), a_thing(number=1), key=key, spread=0.09)
        outcome = observe.attempt(table, observe.choose(table, generator("observe", key)))
        after = table.look(outcome.second)
        rows, columns = np.nonzero(after.ids == outcome.acted)
        if outcome.success:
            assert math.hypot(rows.mean() - outcome.action[2], columns.mean() - outcome.action[3]) < 3
        aim = np.subtract(outcome.second.position, outcome.second.target)
        first = np.subtract(table.camera.position, table.camera.target)
        assert np.linalg.norm(aim) == pytest.approx(np.linalg.norm(first))
    assert (table.states() == table.before).all()


@pytest.mark.parametrize("task", ["grasp", "push", "poke", "observe"])
def test_no_hand_is_in_either_picture(stage, task):
    stage = Stage(replace(stage.spec, tasks=(task,)))
    table, _, after = play(stage, 1)
    assert table.view.ids.min() >= -1
    assert after.ids.min() >= -1
    assert after.ids.max() < len(table.bodies)
    stage.close()


def test_things_are_at_rest_before_the_first_picture(jaws):
    for index in range(6):
        table = jaws.set_table(index)
        jaws.world.step(24)
        assert table.states()[:, :3] == pytest.approx(table.before[:, :3], abs=1e-3)


def test_things_stand_apart_and_on_the_table():
    for index in range(30):
        scene = draw_scene(replace(SPEC, things=(5, 5), pool=Pool()), index)
        assert len(scene.things) >= 3
        for k, one in enumerate(scene.places):
            for j in range(k):
                other = scene.places[j]
                apart = math.hypot(one.x - other.x, one.y - other.y)
                assert apart > footprint(scene.things[k], one.rest) + footprint(scene.things[j], other.rest)


def test_a_scene_does_not_depend_on_how_it_is_played():
    plain, other = draw_scene(SPEC, 5), draw_scene(replace(SPEC, robot="panda", solver="fast", renderer="gl"), 5)
    assert [thing.name for thing in plain.things] == [thing.name for thing in other.things]
    assert [(p.x, p.y, p.yaw) for p in plain.places] == [(p.x, p.y, p.yaw) for p in other.places]
    assert plain.camera == other.camera
    assert plain.light == other.light


def test_widening_one_range_changes_nothing_else():
    plain, noisy = draw_scene(SPEC, 3), draw_scene(replace(SPEC, randomise=Randomise(noise=(1.0, 5.0), mass=(0.5, 2.0))), 3)
    assert plain.camera == noisy.camera
    assert plain.light == noisy.light
    assert plain.table_friction == noisy.table_friction
    assert plain.masses != noisy.masses
    assert plain.noise == 0.0
    assert 1.0 <= noisy.noise <= 5.0


def test_distractors_are_never_chosen(jaws):
    spec = replace(SPEC, things=(1, 1), randomise=Randomise(distractors=(3, 3)))
    stage = Stage(spec)
    for index in range(3):
        table = stage.set_table(index)
        assert table.scene.distractors == len(table.bodies) - 1
        assert table.visible() == [0]
    stage.close()


@pytest.mark.parametrize("sampler", ["random", "centred", "mixed"])
@pytest.mark.parametrize("task", ["grasp", "push", "poke"])
def test_samplers_stay_in_the_picture(sampler, task, jaws):
    stage = Stage(replace(SPEC, sampler=sampler))
    for index in range(4):
        table = stage.set_table(index)
        action = choose(task, table, stage.spec, index)
        pairs = np.array(action[: 4 if task == "push" else 2]).reshape(-1, 2)
        assert (pairs >= 0).all()
        assert (pairs <= 63).all()
    stage.close()


def test_all_that_is_asked_for_is_seen():
    spec = replace(SPEC, tasks=("grasp",), sampler="centred", outputs=Outputs(video=60, wrist=True, tactile=True))
    stage = Stage(spec)
    _, outcome, _ = play(stage, 0)
    felt = outcome.felt
    assert len(felt.film) >= 15
    assert len(felt.wrist) == 2
    assert len(felt.tactile) == 2
    assert (felt.film[0].ids < -1).any()  # the hand is in the film
    assert min(view.depth.min() for view in felt.tactile) < 0.1
    stage.close()


def test_what_has_not_moved_need_not_be_drawn_again(jaws):
    table = a_table(jaws)
    assert table.look_again() is table.view
    jaws.world.set_pose(table.bodies[0], table.before[0][:3] + np.array([0.002, 0, 0]), table.before[0][3:])
    assert table.look_again() is not table.view
    assert (table.look_again().ids != table.view.ids).any()
    assert table.look_again(table.camera) is not table.view


def test_a_trace_is_resampled_between_its_ends():
    assert resample([0.0, 1.0]) == pytest.approx(np.linspace(0, 1, 64))
    assert (resample([]) == 0).all()
    assert resample([2.0]) == pytest.approx(np.full(64, 2.0))


def test_every_task_has_its_action_named():
    for name, module in ACTS.items():
        from embodied_ssl.sim.schema import ACTIONS

        assert len(module.ACTION) == ACTIONS[name]
