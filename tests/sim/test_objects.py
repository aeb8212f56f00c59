"""The pool: the same each time, dealt evenly, of sensible size, and with nothing to be read off a colour."""

import dataclasses
import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.sim.objects import forms, library, primitives, rests
from embodied_ssl.sim.objects.pool import check, thing
from embodied_ssl.sim.objects.thing import Form, Primitive, Thing
from embodied_ssl.sim.spec import Pool

SIMPLE = Pool(kinds=("primitives",), objects=5000)
MIXED = Pool(kinds=("primitives", "random", "pybullet"))


def facts(each: Thing) -> tuple:
    """All that a thing is, arrays as bytes."""
    form = each.form
    touched = form.touched if isinstance(form.touched, Primitive) else tuple(part.tobytes() for part in form.touched)
    mesh = (form.mesh.points.tobytes(), form.mesh.faces.tobytes(), form.mesh.normals.tobytes())
    plain = {field.name: getattr(each, field.name) for field in dataclasses.fields(each) if field.name != "form"}
    return (*plain.items(), form.name, mesh, touched, form.size, form.volume, form.filled, form.rests, form.colour)


def lying(form: Form) -> tuple[float, float]:
    """The narrowest horizontal side and the height in the likeliest rest."""
    points = form.mesh.points.astype(float)
    orientation = form.rests[0].orientation
    return rests.narrow(points, orientation)[0], float(np.ptp(rests.turned(orientation, points)[:, 2]))


def prints(numbers):
    """A hash of each thing, in the order asked."""
    return [hashlib.sha256(repr(facts(thing(MIXED, 3, number))).encode()).hexdigest() for number in numbers]


def test_a_thing_is_the_same_in_any_order_and_process_which_need_little():
    """The first process makes the forms; the second finds them on disk, so it needs nothing that takes memory."""
    numbers = [0, 1, 5, 11, 14]
    script = f"""
import sys; sys.path.insert(0, "tests/sim")
from test_objects import prints
before = set(sys.modules)
print(*prints({numbers[::-1]}))
print(*({{"scipy", "trimesh", "torch"}} & (set(sys.modules) - before)))
"""
    here = prints(numbers)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    there, needed = done.stdout.splitlines()[-2:]
    assert there.split()[::-1] == here
    assert needed == ""


def test_all_figures_of_a_thing_are_plain_numbers():
    for number in range(60):
        each = thing(MIXED, 3, number)
        form = each.form
        figures = [*form.size, form.volume, form.filled, *each.colour, each.mass, each.stiffness, each.friction, each.reach]
        figures += [value for rest in form.rests for value in (*rest.orientation, rest.height, rest.share)]
        assert {type(value) for value in figures} == {float}, form.name


def test_a_thing_does_not_depend_on_how_many_there_are():
    few, many = dataclasses.replace(MIXED, objects=10), dataclasses.replace(MIXED, objects=1000)
    assert [facts(thing(few, 1, k)) for k in range(10)] == [facts(thing(many, 1, k)) for k in range(10)]


def test_a_process_keeps_things_and_forms():
    assert thing(MIXED, 0, 7) is thing(Pool(kinds=MIXED.kinds), 0, 7)
    assert library.random_form(5, 0.055, "hull") is library.random_form(5, 0.055, "hull")


def test_seeds_differ():
    mine, others = ([thing(SIMPLE, seed, number) for number in range(50)] for seed in (0, 1))
    assert len({each.name for each in (*mine, *others)}) == 100
    for field in ("mass", "friction", "spinning", "rolling", "restitution", "stiffness", "damping", "colour"):
        assert not {getattr(each, field) for each in mine} & {getattr(each, field) for each in others}


def test_kinds_and_forms_are_dealt_evenly():
    names = [thing(MIXED, 4, number).form.name.partition("/") for number in range(153)]
    for turn in range(0, 153, 3):
        assert {kind or "primitive" for kind in (name[1] and name[0] for name in names[turn : turn + 3])} == {
            "primitive",
            "random",
            "pybullet",
        }
    random = [name[2] for name in names if name[0] == "random"]
    assert len(set(random)) == len(random) == 51
    household = [name[2] for name in names if name[0] == "pybullet"]
    assert sorted(household) == sorted([each.name for each in library.HOUSEHOLD] * 3)
    shapes = [name[0] for name in names if not name[1]]
    assert {shapes.count(kind) for kind in primitives.KINDS} <= {12, 13}


@pytest.mark.parametrize("side", [0.03, 0.055])
def test_the_narrow_side_fits_and_physics_are_in_range(side):
    pool = dataclasses.replace(MIXED, side=side)
    for number in range(99):
        each = thing(pool, 2, number)
        assert lying(each.form)[0] <= side * 1.0001
        assert 0.008 < max(each.form.size) < 0.25
        assert pool.mass[0] <= each.mass <= pool.mass[1]
        for field in ("friction", "spinning", "restitution", "stiffness", "damping"):
            low, high = getattr(pool, field)
            assert low <= getattr(each, field) <= high
        assert all(0 <= value <= 1 for value in each.colour)
        assert each.reach >= max(each.form.size) / 2 * 0.999


@pytest.mark.parametrize("kind", primitives.KINDS)
def test_primitives_have_the_volume_and_size_of_their_mesh(kind):
    for key in range(5):
        form = primitives.form(kind, 0.055, generator(key, kind))
        assert isinstance(form.touched, Primitive)
        assert np.ptp(form.mesh.points, axis=0) == pytest.approx(form.size, rel=0.03)
        assert abs(form.mesh.points.min(axis=0) + form.mesh.points.max(axis=0)).max() < 0.002
        corners = form.mesh.points[form.mesh.faces].astype(float)
        inner = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert inner == pytest.approx(form.volume, rel=0.06)
        assert inner <= form.volume * 1.0001
        assert forms.narrow(form.touched) == pytest.approx(lying(form)[0], rel=0.02)
        by_mesh = rests.outline(form.mesh.points.astype(float), form.rests[0].orientation)
        assert forms.broad(form) == pytest.approx(by_mesh, rel=0.04)


def test_mass_is_volume_times_density():
    pool = dataclasses.replace(SIMPLE, mass=(1e-6, 1e3))
    density = np.log([each.mass / each.form.volume for each in (thing(pool, 0, number) for number in range(2000))])
    low, high = np.log(pool.density)
    assert low <= density.min() < density.max() <= high
    assert np.histogram(density, 5, (low, high))[0].min() > 340
    heavy = dataclasses.replace(SIMPLE, mass=(0.4, 0.5))
    assert all(0.4 <= thing(heavy, 0, number).mass <= 0.5 for number in range(50))


def test_stiffness_is_even_over_the_pool_and_broad_flat_things_tend_to_be_stiff():
    pool = [thing(SIMPLE, 0, number) for number in range(1000)]
    stiff = np.log([each.stiffness for each in pool])
    assert np.histogram(stiff, 4, np.log(SIMPLE.stiffness))[0].min() > 190
    broad = np.log([forms.broad(each.form) for each in pool])
    assert 0.6 < np.corrcoef(broad, stiff)[0, 1] < 0.9
    boxes = [number for number, each in enumerate(pool) if each.form.name == "box"]
    assert 0.5 < np.corrcoef(broad[boxes], stiff[boxes])[0, 1] < 0.95


def test_colour_tells_nothing_about_weight_stiffness_or_form():
    pool = [thing(SIMPLE, 0, number) for number in range(2000)]
    colours = np.array([each.colour for each in pool])
    # Hue is on a circle, so the linear correlation of each channel, and of its square, is looked at.
    looks = np.hstack([colours, colours**2])
    for truth in ("mass", "stiffness", "friction", "damping", "restitution"):
        values = np.array([getattr(each, truth) for each in pool])
        assert np.abs([np.corrcoef(values, look)[0, 1] for look in looks.T]).max() < 0.08
    volumes = np.array([each.form.volume for each in pool])
    assert np.abs([np.corrcoef(volumes, look)[0, 1] for look in looks.T]).max() < 0.08


def test_draws_are_independent_of_each_other():
    pool = [thing(SIMPLE, 0, number) for number in range(2000)]
    fields = ("friction", "spinning", "rolling", "restitution", "damping")
    found = np.corrcoef([[getattr(each, field) for each in pool] for field in fields])
    assert np.abs(found - np.eye(len(fields))).max() < 0.08


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ()}, "pool.kinds is empty; give some of primitives"),
        ({"kinds": ("primitive",)}, "'primitive', did you mean 'primitives'"),
        ({"kinds": ("random", "random")}, "twice"),
        ({"touched": "part"}, "did you mean 'parts'"),
        ({"objects": 0}, "give at least 1"),
        ({"side": 0.08}, "less than the jaw's opening"),
        ({"side": math.nan}, "pool.side is nan"),
        ({"density": (0.0, 10.0)}, "more than 0"),
        ({"mass": (0.5, 0.01)}, "lower and an upper"),
        ({"friction": (-0.1, 1.0)}, "at least 0"),
        ({"restitution": (0.0, 1.5)}, "at most 1"),
        ({"damping": (0.0, math.inf)}, "pool.damping is 0.0 to inf"),
        ({"kinds": ("own",)}, "pool.folder is empty"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        thing(dataclasses.replace(SIMPLE, **change), 0, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [-1, 5000])
def test_there_are_no_more_things_than_the_pool_has(number):
    check(SIMPLE)
    with pytest.raises(ValueError, match="of a pool of 5000"):
        thing(SIMPLE, 0, number)
