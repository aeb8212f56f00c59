"""Soft blocks against mechanics: what they are cut into, how they yield, that they spring back, that they repeat to the byte."""

import math
import multiprocessing
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from embodied_ssl.sim.elastic import Elastic, Lattice, SoftWorld
from embodied_ssl.sim.interaction import interaction, player, task_of
from embodied_ssl.sim.spec import Outputs, Pool, Randomise, Spec
from embodied_ssl.sim.tasks import poke, soft
from embodied_ssl.sim.tasks.scene import draw_scene
from embodied_ssl.sim.tasks.stage import Stage

SPEC = Spec(tasks=("poke",), soft=True, size=(64, 64), seed=2)


@pytest.fixture(scope="module")
def stage():
    stage = Stage(SPEC)
    yield stage
    stage.close()


@pytest.mark.parametrize("cells", [(1, 1, 1), (2, 2, 2), (3, 2, 4)])
def test_tetrahedra_fill_the_box_and_their_outside_is_what_is_seen(cells):
    lattice = Lattice((0.06, 0.05, 0.04), cells)
    corners = lattice.nodes[lattice.tetrahedra]
    volumes = np.linalg.det(corners[:, 1:] - corners[:, :1]) / 6
    assert volumes.min() > 0
    assert volumes.sum() == pytest.approx(math.prod(lattice.size))
    sides = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    counted = Counter(tuple(sorted(four[side])) for four in lattice.tetrahedra for side in sides)
    assert set(counted.values()) <= {1, 2}  # no tetrahedron's face meets more than one other's
    outside = {face for face, times in counted.items() if times == 1}
    mesh = lattice.mesh()
    nodes = np.linalg.norm(lattice.nodes[:, None] - mesh.points, axis=2).argmin(axis=0)
    assert {tuple(sorted(nodes[face])) for face in mesh.faces} == outside
    seen = mesh.points[mesh.faces].astype(float)
    assert np.einsum("ij,ij->", seen[:, 0], np.cross(seen[:, 1], seen[:, 2])) / 6 == pytest.approx(
        math.prod(lattice.size), rel=1e-5
    )
    assert np.abs(mesh.normals).max(axis=1) == pytest.approx(1)  # sharp edges, flat sides
    assert lattice.nodes[lattice.base][:, 2] == pytest.approx(-0.02)


def test_youngs_modulus_is_that_of_the_textbook():
    poisson, mu = 0.3, 4000.0
    assert Elastic(mu, 2 * mu * poisson / (1 - 2 * poisson), 0.01, 1000.0).young == pytest.approx(2 * mu * (1 + poisson))


def a_press(stage, at=(0.0, 0.0), factor=1.0, size=(0.05, 0.045, 0.04)):
    """Press the first block of a scene, made so large and so stiff, off its middle by so much in x and y."""
    scene = draw_scene(SPEC, 0, soft.block)
    first = scene.things[0]
    lattice = Lattice(size)
    thing = replace(first, form=replace(first.form, mesh=lattice.mesh(), size=size), lattice=lattice)
    place = replace(scene.places[0], rest=replace(scene.places[0].rest, height=size[2] / 2))
    stiffnesses = [factor * thing.stiffness]
    scene = replace(scene, things=[thing], places=[place], stiffnesses=stiffnesses, masses=[thing.mass], textures=[-1])
    table = soft.set_table(stage, 0, scene)
    top = np.array([[place.x + at[0], place.y + at[1], size[2]]])
    return table, soft.attempt(table, table.camera.project(top)[0, :2])


def test_the_slope_is_proportional_to_the_shear_modulus(stage):
    slopes, moduli = [], []
    for factor in (0.5, 1.0, 4.0):
        _, outcome = a_press(stage, factor=factor)
        slopes.append(outcome.action[2])
        moduli.append(outcome.elastic.mu)
    assert moduli[2] / moduli[0] == pytest.approx(8)
    assert np.array(slopes) / moduli == pytest.approx(slopes[1] / moduli[1], rel=0.03)


def test_a_thin_block_resists_more_than_a_thick_one(stage):
    assert a_press(stage, size=(0.05, 0.05, 0.025))[1].action[2] > 1.2 * a_press(stage, size=(0.05, 0.05, 0.05))[1].action[2]


def test_force_begins_at_the_touch_grows_and_does_work_that_stays_below_the_modulus_times_volume(stage):
    _, outcome = a_press(stage)
    felt = outcome.felt
    before = felt.travel < poke.ABOVE - 0.001
    assert np.abs(felt.force[before]).max() < 1e-6
    assert felt.force[-1] > 0.5
    later = felt.force[felt.travel > poke.ABOVE + 0.002]
    assert (np.diff(later) > -0.05 * later.max()).all()
    work = np.trapezoid(felt.force, felt.travel)
    assert 0 < work < 0.1 * outcome.elastic.mu * math.prod((0.05, 0.045, 0.04))
    assert felt.travel[-1] == pytest.approx(poke.ABOVE + poke.DEPTH, abs=2e-4)


def test_a_block_dents_while_it_is_pressed_and_springs_back(stage):
    table, outcome = a_press(stage)
    lattice = table.scene.things[0].lattice
    assert np.abs(table.nodes - lattice.nodes).max() < 1e-3
    assert table.states() == pytest.approx(table.before)
    deep = outcome.deepest.depth - table.view.depth
    seen = (table.view.ids == 0) & (outcome.deepest.ids == 0)
    assert deep[seen].max() > 0.002  # the block's own top is further away around the tip
    assert (outcome.deepest.ids == -2).any()
    assert np.abs(table.look().depth - table.view.depth)[table.view.ids == 0].max() < 1e-3


def test_nothing_is_felt_beside_a_block(stage):
    _, outcome = a_press(stage, at=(0.06, 0.0))
    assert not outcome.success
    assert outcome.action[2:] == (0.0, 0.0)
    assert np.abs(outcome.felt.force).max() < 1e-6


def test_it_rests_as_it_was_made(stage):
    world, lattice = SoftWorld(), Lattice((0.05, 0.04, 0.03))
    nodes = lattice.nodes + np.array([0.1, 0.0, 0.015])
    world.place(lattice, Elastic(5e3, 1e4, 0.02, 1100.0), nodes)
    world.step(24)
    assert np.abs(world.nodes() - nodes).max() < 1e-9
    world.close()


def _rows(indices):
    return [interaction(SPEC, index) for index in indices]


def test_rows_are_the_same_alone_reversed_and_in_a_fresh_process():
    forwards = _rows(range(3))
    assert _rows([2, 1, 0])[::-1] == forwards
    assert _rows([1])[0] == forwards[1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_rows, ([2],))[0] == forwards[2]


def test_a_row_tells_what_was_drawn():
    row = interaction(replace(SPEC, outputs=Outputs(wrist=True, tactile=True)), 1)
    mu, lame = row["soft_mu"], row["soft_lambda"]
    x, y, z = row["size"]
    assert row["stiffness"] == pytest.approx(mu * (3 * lame + 2 * mu) / (lame + mu) * x * y / z)
    assert 2e3 <= mu <= 2e4
    assert 0.25 <= lame / 2 / (lame + mu) <= 0.4
    assert 0.005 <= row["soft_damping"] <= 0.03
    assert row["damping"] == pytest.approx(row["stiffness"] * row["soft_damping"])
    assert row["shape"] == "rubber"
    assert row["states_before"] == row["states_after"]
    assert all(row[name] for name in ("deepest", "wrist_before", "wrist_after", "tactile_first"))
    assert row["raw_force"][-1] == pytest.approx(row["contacts"][-1])


def test_the_factor_of_a_scene_is_in_the_moduli():
    plain = interaction(SPEC, 0)
    softer = interaction(replace(SPEC, randomise=Randomise(stiffness=(0.5, 0.5))), 0)
    for name in ("soft_mu", "soft_lambda", "stiffness"):
        assert softer[name] == pytest.approx(plain[name] / 2)
    assert softer["poke"][2] == pytest.approx(plain["poke"][2] / 2, rel=0.03)


def test_blocks_are_the_same_each_time_and_their_colour_tells_nothing():
    pool = Pool()
    blocks = [soft.block(pool, 0, number) for number in range(400)]
    soft.block.cache_clear()
    assert soft.block(pool, 0, 7).elastic == blocks[7].elastic
    moduli = np.log([each.elastic.mu for each in blocks])
    assert np.histogram(moduli, 4, np.log(pool.shear))[0].min() > 70
    colours = np.array([each.colour for each in blocks])
    assert np.abs([np.corrcoef(moduli, channel)[0, 1] for channel in colours.T]).max() < 0.15


def test_only_pokes_are_soft():
    spec = replace(SPEC, tasks=("grasp", "push", "poke"))
    assert [player(task_of(spec, index), spec) is soft for index in range(3)] == [False, False, True]
    assert interaction(spec, 0)["soft_mu"] == 0
    assert interaction(spec, 0)["deepest"] is None
    assert interaction(spec, 0) == interaction(replace(spec, soft=False), 0)
