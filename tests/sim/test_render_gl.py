"""What only the OpenGL renderer does: back faces, instances, memory of the device, refusals, and the way to the other one."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from drawn_scenes import FLAT, above, digest, oblique, placed, renderer_or_skip, table, things, turned

from embodied_ssl import doctor
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import NOTHING, Camera, Light, View
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.choose import open_renderer, process_renderer
from embodied_ssl.sim.render.gl import GlRenderer
from embodied_ssl.sim.render.renderer import Drawn
from embodied_ssl.sim.render.surface import is_closed, surface

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gl() -> GlRenderer:
    found = renderer_or_skip("gl")
    assert isinstance(found, GlRenderer)
    return found


def joined(*meshes: tuple[Mesh, tuple[float, float, float]], flip: bool = False) -> Mesh:
    """Several meshes as one, each shifted; ``flip`` turns the faces of the last inside out."""
    starts = np.cumsum([0, *(len(mesh.points) for mesh, _ in meshes)])
    faces = [mesh.faces + start for (mesh, _), start in zip(meshes, starts, strict=False)]
    if flip:
        faces[-1] = faces[-1][:, ::-1]
    return Mesh(
        np.concatenate([mesh.points + np.float32(shift) for mesh, shift in meshes]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([mesh.normals for mesh, _ in meshes]),
    )


def test_closed_meshes_are_known() -> None:
    box, ball = solids.box((1, 2, 3)), solids.sphere(1)
    for mesh in (box, ball, solids.cylinder(1, 2), solids.capsule(1, 3), joined((box, (0, 0, 0)), (ball, (9, 0, 0)))):
        assert is_closed(mesh.points, mesh.faces)
        assert not is_closed(mesh.points, mesh.faces[:-1])  # a hole
        assert not is_closed(mesh.points, mesh.faces[:, ::-1])  # inside out
    assert is_closed(*(lambda m: (m.points, m.faces))(joined((box, (0, 0, 0)), (box, (0, 0, 0)))))  # twice the same
    inverted = joined((box, (0, 0, 0)), (ball, (9, 0, 0)), flip=True)
    assert not is_closed(inverted.points, inverted.faces)
    one_turned = box.faces.copy()
    one_turned[3] = one_turned[3, ::-1]
    assert not is_closed(box.points, one_turned)
    assert not is_closed(solids.plane((1, 1)).points, solids.plane((1, 1)).faces)
    assert not is_closed(box.points, box.faces[:0])


def test_leaving_out_back_faces_changes_nothing(gl: GlRenderer) -> None:
    """A face beyond the far plane leaves a mesh open, so that both sides of all its faces are drawn."""
    far = np.float32([[0, 0, -900], [1, 0, -900], [0, 1, -900]])
    for light in (FLAT, Light()):
        for drawn in things():
            mesh = drawn.mesh
            count = len(mesh.points)
            faces = np.concatenate([mesh.faces, [[count, count + 1, count + 2]]]).astype(np.int32)
            opened = Mesh(np.concatenate([mesh.points, far]), faces, np.concatenate([mesh.normals, far * 0]))
            assert surface(mesh, False).closed
            assert not surface(opened, False).closed
            light = dataclasses.replace(light, shadow=False)
            first = gl.look([table(), drawn], oblique(), light)
            second = gl.look([table(), dataclasses.replace(drawn, mesh=opened)], oblique(), light)
            assert np.array_equal(first.ids, second.ids)
            assert np.abs(first.depth - second.depth).max() < 1e-6
            assert (first.rgb != second.rgb).any(axis=-1).mean() < 0.001


def test_a_camera_within_a_box_sees_its_walls(gl: GlRenderer) -> None:
    camera = Camera((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 32, 32, fov=60.0, near=0.05)
    view = gl.look([Drawn(solids.box((2.0, 2.0, 2.0)), placed(), id=3)], camera, FLAT)
    assert (view.ids == 3).all()
    assert np.abs(view.depth - 1).max() < 1e-4


def test_both_sides_of_a_sheet_are_lit_alike(gl: GlRenderer) -> None:
    sheet = Drawn(solids.plane((1.0, 1.0)), placed(), (0.6, 0.6, 0.6))
    upper = gl.look([sheet], above(16, 16), Light((0.0, 0.0, 1.0), shadow=False))
    below = Camera((0.0, 0.0, -0.7), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 16, 16)
    lower = gl.look([sheet], below, Light((0.0, 0.0, -1.0), shadow=False))
    assert np.array_equal(upper.rgb, lower.rgb)


def test_many_of_one_mesh(gl: GlRenderer) -> None:
    """Four hundred balls in a grid, more than there was room for, each where it belongs; some are out of the picture."""
    ball, at = solids.sphere(0.008), [(x, y) for x in range(-10, 10) for y in range(-10, 10)]
    scene = [Drawn(ball, placed(0.03 * x, 0.03 * y, 0), id=k) for k, (x, y) in enumerate(at)]
    camera = above(256, 256)
    view = gl.look(scene, camera, Light())
    centres = camera.project(np.array([drawn.pose[:3, 3] for drawn in scene]))[:, :2].round().astype(int)
    within = ((centres >= 0) & (centres < 256)).all(axis=1)
    assert within.sum() > 80
    for k in np.flatnonzero(within):
        assert view.ids[tuple(centres[k])] == k
    assert set(np.unique(view.ids)) - {NOTHING} >= set(np.flatnonzero(within).tolist())


def test_what_is_out_of_the_picture_changes_nothing(gl: GlRenderer) -> None:
    scene = [table(), *things()]
    rng = generator(0, "around")
    around = [Drawn(solids.sphere(0.02), placed(*rng.uniform(-3, 3, 2), rng.uniform(0.2, 3)), id=50 + k) for k in range(60)]
    aside = [drawn for drawn in around if abs(drawn.pose[0, 3]) > 0.6]
    assert len(aside) > 24
    first, second = gl.look(scene, above(), FLAT), gl.look([*scene, *aside], above(), FLAT)
    assert digest(first) == digest(second)


def test_shadows_of_things_out_of_the_picture_are_seen(gl: GlRenderer) -> None:
    ball = Drawn(solids.sphere(0.05), placed(0.4, 0, 0.4), id=1)
    light = Light((1.0, 0.0, 1.0))
    view, without = (gl.look([table(4.0), ball], above(), dataclasses.replace(light, shadow=on)) for on in (True, False))
    assert (view.ids == NOTHING).all()
    dark = np.argwhere((view.rgb != without.rgb).any(axis=-1))
    assert np.abs(dark.mean(axis=0) - above().project(np.zeros((1, 3)))[0, :2]).max() < 1


def test_the_device_forgets_what_is_gone(gl: GlRenderer) -> None:
    def count() -> tuple[int, int]:
        gc.collect()
        gl.look([table()], above(16, 16), FLAT)
        return sum(len(kept) for kept in gl._meshes._placed), len(gl._textures._kept)

    before = count()
    scene = [Drawn(dataclasses.replace(solids.sphere(1)), placed(), texture=np.full((4, 4, 3), k, np.uint8)) for k in range(5)]
    gl.look(scene, above(16, 16), FLAT)
    during = count()
    assert during == (before[0] + 5, before[1] + 5)
    del scene
    assert count() == before


def test_more_meshes_than_there_is_room_for(gl: GlRenderer) -> None:
    """Their buffers overflow twice; pictures are as ever."""
    known = [table(), *things()]
    first = digest(gl.look(known, oblique(), Light()))
    version = gl._meshes.version
    for k in range(400):
        big = solids._sphere.__wrapped__((0.02 + 1e-5 * k,))
        gl.look([Drawn(big, placed()), *known[: k % 3]], above(16, 16), FLAT)
    assert gl._meshes.version > version
    assert digest(gl.look(known, oblique(), Light())) == first


def test_pictures_that_are_held_stay_as_they_are(gl: GlRenderer) -> None:
    """Memory is used again only when neither a picture, nor a part of it, nor a buffer over it is held."""
    scenes = [[table(), one] for one in things()]

    def look(k: int) -> View:
        return gl.look(scenes[k % 6], oblique(40, 40), FLAT)

    known = [digest(look(k)) for k in range(6)]
    whole = [look(k) for k in range(6)]
    rows = [look(k).ids[3:] for k in range(6)]
    buffers = [memoryview(look(k).depth) for k in range(6)]
    turned_over = [look(k).rgb.T for k in range(6)]
    for k in range(30):
        look(k)
    assert [digest(view) for view in whole] == known
    for k, view in enumerate(whole):
        assert np.array_equal(rows[k], view.ids[3:])
        assert np.array_equal(np.asarray(buffers[k]), view.depth)
        assert np.array_equal(turned_over[k], view.rgb.T)
    del whole, rows, buffers, turned_over
    first = look(0)
    address = first.depth.ctypes.data
    del first
    assert address in {look(k).depth.ctypes.data for k in range(6)}


def test_pictures_of_many_sizes(gl: GlRenderer) -> None:
    first = digest(gl.look(things(), oblique(64, 64), Light()))
    for size in range(16, 48, 2):
        assert gl.look(things(), oblique(size, 2 * size), Light()).rgb.shape == (size, 2 * size, 3)
    assert digest(gl.look(things(), oblique(64, 64), Light())) == first
    assert gl.look(things(), oblique(2048, 16), Light()).depth.shape == (2048, 16)


def test_far_from_the_origin_nothing_is_lost(gl: GlRenderer) -> None:
    """A scene shifted by a kilometre: 32 bits would leave steps of 0.06 mm in the world's frame."""
    shift = np.array([800.0, -600.0, 0.0])

    def moved(drawn: Drawn) -> Drawn:
        pose = drawn.pose.copy()
        pose[:3, 3] += shift
        return dataclasses.replace(drawn, pose=pose)

    camera = oblique()
    there = dataclasses.replace(camera, position=tuple(camera.position + shift), target=tuple(camera.target + shift))
    scene = [table(), *things()]
    first, second = gl.look(scene, camera, Light()), gl.look([moved(one) for one in scene], there, Light())
    assert (first.ids == second.ids).mean() > 0.9995
    assert np.abs(first.depth - second.depth)[first.ids == second.ids].max() < 2e-3
    assert np.median(np.abs(first.depth - second.depth)) < 1e-6


def test_a_highlight_lies_where_lamp_and_eye_mirror_each_other(gl: GlRenderer) -> None:
    """On a ball seen from above, lit from the side: half way between both, that is where the normal is."""
    lamp = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
    light = Light(tuple(lamp), ambient=0.0, diffuse=0.0, specular=1.0, shadow=False)
    view = gl.look([Drawn(solids.sphere(0.1), placed(turn=turned(8)), id=1)], above(200, 200), light)
    halfway = lamp + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    row, column = above(200, 200).project(0.1 * halfway[None])[0, :2]
    bright = np.argwhere((view.rgb[..., 0] > 128) & (view.ids == 1))
    assert np.abs(bright.mean(axis=0) - (row, column)).max() < 3
    true = np.degrees(np.arccos(0.5 ** (1 / 16)))  # where the sixteenth power of a cosine is a half
    assert 0.7 * true < np.degrees(np.sqrt(len(bright) / np.pi) / above(200, 200).matrix[0, 0] * 0.62 / 0.1) < 1.1 * true


def test_another_thread_is_refused(gl: GlRenderer) -> None:
    said = []

    def look() -> None:
        with pytest.raises(UserError, match="thread") as error:
            gl.look([], above(), FLAT)
        said.append(str(error.value))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert said


def _look_after_fork(pipe: object) -> None:
    said = []
    for attempt in (lambda: process_renderer("gl").look([], above(), FLAT), GlRenderer):
        try:
            attempt()
            said.append("")
        except UserError as error:
            said.append(str(error))
    pipe.send(said)  # type: ignore[attr-defined]
    os._exit(0)


def test_a_forked_child_is_refused(gl: GlRenderer) -> None:
    process_renderer("gl")
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_look_after_fork, args=(there,))
    child.start()
    said = here.recv()
    child.join()
    assert len(said) == 2
    assert all("spawn" in one for one in said)


def run_without(hidden: str, code: str) -> str:
    """What a fresh process says when a module or library cannot be loaded."""
    start = f"""
import ctypes, sys
if {hidden!r}.startswith("lib"):
    load = ctypes.CDLL
    def refuse(name, *rest, **more):
        if name == {hidden!r}:
            raise OSError(name + ": cannot open shared object file: No such file or directory")
        return load(name, *rest, **more)
    ctypes.CDLL = refuse
else:
    sys.modules[{hidden!r}] = None
from embodied_ssl.errors import UserError
from embodied_ssl.sim.render.choose import open_renderer
"""
    found = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True, cwd=ROOT)
    return found.stdout + found.stderr


@pytest.mark.parametrize(
    ("hidden", "mend"), [("libEGL.so.1", "apt-get install -y libegl1"), ("moderngl", "pip install moderngl")]
)
def test_without_opengl_the_other_one_draws_and_one_line_says_why(hidden: str, mend: str) -> None:
    renderer_or_skip("tiny")
    said = run_without(hidden, "print(open_renderer('auto').name)")
    lines = said.strip().splitlines()
    assert len(lines) == 2
    assert lines[0] == "tiny"
    assert mend in lines[1]
    said = run_without(hidden, "try: open_renderer('gl')\nexcept UserError as error: print(error)")
    assert mend in said
    assert len(said.strip().splitlines()) == 1


def test_one_renderer_is_kept_whatever_it_is_called(gl: GlRenderer) -> None:
    assert process_renderer("gl") is process_renderer("gl")
    assert process_renderer("auto") is process_renderer("gl")


def test_no_such_renderer() -> None:
    with pytest.raises(UserError, match="no renderer 'opengl'"):
        open_renderer("opengl")


def test_the_doctor_says_what_draws(gl: GlRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._renderer() == doctor.Finding("renderer", "ok", f"OpenGL on {gl.device}")

    def refuse(self: GlRenderer) -> None:
        raise UserError("install this")

    monkeypatch.setattr(GlRenderer, "__init__", refuse)
    found = doctor._renderer()
    assert found.state == "optional"
    assert "TinyRenderer" in found.detail
    assert "install this" in found.detail


def test_a_closed_renderer_leaves_others_alone(gl: GlRenderer) -> None:
    first = digest(gl.look(things(), oblique(), Light()))
    other = open_renderer("gl")
    assert digest(other.look(things(), oblique(), Light())) == first
    other.close()
    assert digest(gl.look(things(), oblique(), Light())) == first


def test_the_number_of_threads_is_the_users(gl: GlRenderer) -> None:
    """Opening leaves the environment as it was, and Mesa starts no thread unless asked to."""
    code = """
import os, time
from pathlib import Path
from embodied_ssl.sim.render.choose import open_renderer

def threads():
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append(task.joinpath("comm").read_text())
        except OSError:  # it has ended since
            pass
    return sum(name.startswith("llvmpipe") for name in names)

open_renderer("gl")
given = os.environ.get("LP_NUM_THREADS")
for _ in range(100):  # a thread bears its name only some time after it was started
    if threads() == int(given or 0):
        break
    time.sleep(0.05)
print(given, threads())
"""
    for given in (None, "2"):
        environment = {key: value for key, value in os.environ.items() if key != "LP_NUM_THREADS"}
        environment |= {} if given is None else {"LP_NUM_THREADS": given}
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        assert found.stdout.split() == [str(given), (given or "0") if "llvmpipe" in gl.device else "0"]
