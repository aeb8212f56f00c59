"""PyBullet's forms: read as trimesh reads them, hulls and parts as they should be, and kept on disk without harm."""

import numpy as np
import pytest
import trimesh

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.sim.client import data_folder
from embodied_ssl.sim.objects import forms, library, obj, surface
from embodied_ssl.sim.objects.hulls import hull

SOME = library.RANDOM[3::83]
EVERY = pytest.mark.parametrize("thing", library.HOUSEHOLD, ids=lambda thing: thing.name)


def random_file(number):
    return data_folder() / "random_urdfs" / f"{number:03d}" / f"{number:03d}.obj"


@pytest.mark.parametrize("number", SOME)
def test_a_random_form_is_what_trimesh_reads(number):
    theirs = trimesh.load(random_file(number), force="mesh", process=False)
    form, apart = library.random_form(number, 0.055, "hull"), library.random_form(number, 0.055, "parts")
    scale = max(form.size) / theirs.extents.max()
    assert 0 < scale <= 0.015 * (1 + 1e-6)
    assert form.volume == pytest.approx(theirs.convex_hull.volume * scale**3, rel=1e-6)
    assert form.filled == pytest.approx(theirs.volume / theirs.convex_hull.volume, rel=1e-6)
    assert form.size == pytest.approx(theirs.extents * scale, rel=1e-5)
    centre = np.mean(form.mesh.points.min(axis=0) + form.mesh.points.max(axis=0)) / 2
    assert centre == pytest.approx(np.mean(theirs.bounds.mean(axis=0) - theirs.convex_hull.center_mass) * scale, abs=1e-6)
    bodies = random_file(number).read_text().count("\no ") + random_file(number).read_text().startswith("o ")
    assert len(apart.touched) == bodies
    assert apart.filled == pytest.approx(1, abs=1e-6)
    again = max(apart.size) / theirs.extents.max()
    assert apart.volume == pytest.approx(theirs.volume * again**3, rel=1e-5)


@pytest.mark.parametrize("number", SOME[:4])
@pytest.mark.parametrize("touched", ["hull", "parts"])
def test_the_frame_is_at_the_centre_of_mass(number, touched):
    form = library.random_form(number, 0.055, touched)
    shells = [hull(part) for part in form.touched]
    centre = sum(shell.volume * shell.centre for shell in shells) / sum(shell.volume for shell in shells)
    assert centre == pytest.approx(np.zeros(3), abs=1e-8)
    seen = hull(form.mesh.points.astype(float))
    felt = hull(np.concatenate(form.touched))
    assert felt.volume == pytest.approx(seen.volume, rel=1e-4)
    assert felt.centre == pytest.approx(seen.centre, abs=1e-5)


def test_broken_files_of_the_library_are_left_out():
    assert len(library.RANDOM) == 933
    assert "nan" in random_file(168).read_text()
    for number in sorted(library._BROKEN - {168})[::6]:
        assert library.random_form(number, 0.055, "hull").filled < 0.15
    assert min(library.random_form(number, 0.055, "hull").filled for number in library.RANDOM[::20]) > 0.25


@EVERY
@pytest.mark.parametrize("touched", ["hull", "parts"])
def test_household_things_are_of_sensible_size_and_touched_where_seen(thing, touched):
    form = library.household_form(thing, 0.055, touched)
    assert 0.04 < max(form.size) <= thing.length * 1.001
    assert 0.2 < form.filled < 1.01
    assert sum(rest.share for rest in form.rests) == pytest.approx(1)
    seen = form.mesh.points.astype(float)
    if isinstance(form.touched, tuple):
        felt = np.concatenate(form.touched)
        assert felt.min(axis=0) == pytest.approx(seen.min(axis=0), abs=0.0015)
        assert felt.max(axis=0) == pytest.approx(seen.max(axis=0), abs=0.0015)
    else:
        assert seen.max(axis=0) == pytest.approx(np.array(form.size) / 2, rel=0.01)
        assert hull(seen).volume == pytest.approx(form.volume, rel=0.02)
    assert (form.colour == (1.0, 1.0, 1.0)) == (form.mesh.picture is not None)
    assert (form.mesh.texture_at is None) == (form.mesh.picture is None)


def test_the_duck_is_yellow_with_its_beak_in_front():
    mesh = library.household_form(next(each for each in library.HOUSEHOLD if each.name == "duck"), 0.055, "hull").mesh
    height, width, _ = mesh.picture.shape
    at = (mesh.texture_at % 1 * (width, height)).astype(int)
    colours = mesh.picture[at[:, 1], at[:, 0]].astype(int)
    yellow = (colours[:, 0] > 180) & (colours[:, 1] > 140) & (colours[:, 2] < 90)
    assert yellow.mean() > 0.6
    orange = (colours[:, 0] > 150) & (np.abs(colours[:, 1] - 0.5 * colours[:, 0]) < 40) & (colours[:, 2] < 60)
    beak = mesh.points[orange]
    assert np.ptp(beak, axis=0).max() < np.ptp(mesh.points, axis=0).max() / 2


@pytest.mark.parametrize("name", ["duck.obj", "bunny.obj", "racecar/meshes/cone.obj", "random_urdfs/010/010.obj"])
def test_normals_are_of_unit_length_and_point_outwards(name):
    seen, _ = obj.read(data_folder() / name)
    mesh = surface.mesh(seen)
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-5)
    first, second, third = (mesh.points[mesh.faces[:, k]].astype(float) for k in range(3))
    flat = np.cross(second - first, third - first)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    agree = (flat[:, None] * mesh.normals[mesh.faces]).sum(-1)
    assert agree.min() > 0.4
    assert len(mesh.faces) == len(seen.faces)
    assert mesh.points[mesh.faces] == pytest.approx(seen.points[seen.faces], abs=1e-5)


def test_edges_of_a_cube_are_sharp_and_a_ball_is_smooth():
    cube = surface.mesh(obj.read(data_folder() / "toys" / "prism.obj")[0])
    assert len(np.unique(cube.normals.round(4), axis=0)) == 6
    ball = surface.mesh(obj.read(data_folder() / "textured_sphere_smooth.obj")[0])
    out = ball.points / np.linalg.norm(ball.points, axis=1, keepdims=True)
    assert (ball.normals * out).sum(axis=1).min() > 0.95


def test_what_is_kept_on_disk_is_what_was_made():
    library.random_form.cache_clear()
    fresh = library.random_form(77, 0.055, "parts")
    library.random_form.cache_clear()
    kept = library.random_form(77, 0.055, "parts")
    assert kept is not fresh
    assert kept.rests == fresh.rests
    assert (kept.volume, kept.filled, kept.size) == (fresh.volume, fresh.filled, fresh.size)
    assert all(np.array_equal(one, other) for one, other in zip(kept.touched, fresh.touched, strict=True))
    for field in ("points", "faces", "normals"):
        assert getattr(kept.mesh, field).tobytes() == getattr(fresh.mesh, field).tobytes()


@pytest.mark.parametrize("harm", ["cut", "garbled", "other", "short", "nan"])
def test_a_broken_cache_is_made_anew(harm):
    key = ("body", forms.VERSION, "random", "hull", library.content(random_file(88)))
    library.random_form.cache_clear()
    fresh = library.random_form(88, 0.055, "hull")
    path = array_cache.entry_path(*key)
    data = path.read_bytes()
    stored = array_cache.recall(*key)
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "garbled":
        path.write_bytes(data[:500] + bytes(100) + data[600:])
    else:
        changes = {
            "other": {"points": np.zeros(3)},
            "short": {"corners": stored["corners"][:5]},
            "nan": {"rests": stored["rests"] * np.nan},
        }
        path.unlink()
        array_cache.keep(stored | changes[harm], *key)
    library.random_form.cache_clear()
    again = library.random_form(88, 0.055, "hull")
    assert again.rests == fresh.rests
    assert again.mesh.points.tobytes() == fresh.mesh.points.tobytes()
    assert np.array_equal(again.touched[0], fresh.touched[0])
