"""One contract for all renderers, held against geometry worked out by hand: planes, spheres, shadows, repeats of textures."""

from __future__ import annotations

import dataclasses
import math
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_scenes import FLAT, above, checks, digest, oblique, placed, renderer_or_skip, table, things, turned, turned_about_z
from scipy.spatial import ConvexHull

from embodied_ssl.errors import UserError
from embodied_ssl.sim import solids
from embodied_ssl.sim.camera import NOTHING, Camera, Floats, Light
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.render.renderer import VOID, Drawn, Renderer


@pytest.fixture(params=["gl", "tiny"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    return renderer_or_skip(request.param)


@pytest.fixture
def gl() -> Renderer:
    return renderer_or_skip("gl")


def rays(camera: Camera) -> Floats:
    """Directions [h, w, 3] through all pixels, of depth 1."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    inverse = np.linalg.inv(camera.matrix)
    return np.stack([columns, rows, np.ones(rows.shape)], axis=-1) @ inverse.T @ camera.pose[:3, :3].T


def inside(points: Floats, camera: Camera) -> Floats:
    """How many pixels [h, w] each one lies inside the outline of a convex body with these corners."""
    hull = ConvexHull(camera.project(points)[:, :2])
    rows, columns = np.mgrid[: camera.height, : camera.width]
    at = np.stack([rows, columns, np.ones(rows.shape)], axis=-1)
    distance: Floats = -(at @ hull.equations.T).max(axis=-1)
    return distance


def corners_of(drawn: Drawn) -> Floats:
    world: Floats = drawn.mesh.points.astype(np.float64) @ drawn.pose[:3, :3].T + drawn.pose[:3, 3]
    return world


def tight(renderer: Renderer) -> float:
    """Metres that depth may be off: OpenGL keeps it as metres, TinyRenderer as a float between near and far."""
    return 1e-4 if renderer.name == "gl" else 1e-3


@pytest.mark.parametrize("size", [(16, 16), (128, 128), (64, 240), (225, 96)])
def test_depth_of_a_plane_is_that_of_the_pinhole(renderer: Renderer, size: tuple[int, int]) -> None:
    camera = oblique(*size, fov=35.0)
    view = renderer.look([table(20.0)], camera, FLAT)
    true = -camera.position[2] / rays(camera)[..., 2]
    true = np.where((true > 0) & (true < camera.far), true, camera.far)
    assert view.rgb.shape == (*size, 3)
    assert (view.rgb.dtype, view.depth.dtype, view.ids.dtype) == (np.uint8, np.float32, np.int32)
    sure = np.abs(true - camera.far) > 0.02
    assert np.abs(view.depth - true)[sure].max() < tight(renderer)


@pytest.mark.parametrize("distance", [0.15, 0.7, 1.9])
def test_depth_of_a_sphere(renderer: Renderer, distance: float) -> None:
    camera = Camera((0.0, 0.0, distance), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 96, 96, fov=20.0)
    radius = 0.04
    view = renderer.look([Drawn(solids.sphere(radius), placed(turn=turned(3)), id=4)], camera, FLAT)
    ray = rays(camera)
    along, square = ray @ np.array(camera.position), (ray**2).sum(axis=-1)
    under = along**2 - square * (distance**2 - radius**2)
    true = (-along - np.sqrt(np.maximum(under, 0))) / square
    well_inside = under > 0.3 * under.max()
    assert (view.ids[well_inside] == 4).all()
    # Faces lie beneath the sphere by up to 1.8 % of its radius.
    off = (view.depth - true)[well_inside]
    assert off.min() > -tight(renderer)
    assert off.max() < 0.035 * radius + tight(renderer)


def test_outlines_are_where_the_pinhole_puts_them(renderer: Renderer) -> None:
    camera, scene = oblique(160, 160), things()
    view = renderer.look([table(), *scene], camera, Light())
    for drawn in scene:
        distance, seen = inside(corners_of(drawn), camera), view.ids == drawn.id
        assert seen[distance > 0.6].all(), drawn.id
        assert not seen[distance < -0.6].any(), drawn.id
        centre = camera.project(drawn.pose[None, :3, 3])[0, :2]
        assert np.abs(np.argwhere(seen).mean(axis=0) - centre).max() < 1.0


def test_each_pixel_is_the_nearest_surface(renderer: Renderer) -> None:
    """A ball before a box before a table, from the side: ids follow depth."""
    scene = [
        table(),
        Drawn(solids.box((0.1, 0.02, 0.1)), placed(0, 0.05, 0.05), id=7),
        Drawn(solids.sphere(0.03), placed(0, -0.05, 0.03), id=9),
    ]
    camera = Camera((0.0, -0.5, 0.1), (0.0, 0.0, 0.04), (0.0, 0.0, 1.0), 96, 96)
    view = renderer.look(scene, camera, FLAT)
    alone = [renderer.look([drawn], camera, FLAT) for drawn in scene]
    nearest = np.argmin([one.depth for one in alone], axis=0)
    ids = np.array([NOTHING, 7, 9])[nearest]
    ids[np.min([one.depth for one in alone], axis=0) == camera.far] = NOTHING
    assert np.array_equal(view.ids, ids)
    assert np.array_equal(view.depth, np.min([one.depth for one in alone], axis=0))


def test_the_void(renderer: Renderer) -> None:
    camera = above(24, 40)
    for scene in ([], [Drawn(solids.sphere(0.01), placed(0, 0, 5), id=3)], [Drawn(solids.sphere(0.01), placed(9, 0, 0), id=3)]):
        view = renderer.look(scene, camera, Light())
        assert (view.ids == NOTHING).all()
        assert (view.depth == np.float32(camera.far)).all()
        assert (view.rgb == VOID).all()


def test_any_id_is_kept(renderer: Renderer) -> None:
    for name in (0, 255, 70_000, 2**24 + 1, 2**31 - 1, -1):
        view = renderer.look([Drawn(solids.box((1, 1, 0.1)), placed(), id=name)], above(16, 16), FLAT)
        assert (view.ids == name).all()


def test_rolling_the_camera_by_half_a_turn_turns_the_picture(renderer: Renderer) -> None:
    scene = [table(), *things()]
    upright = renderer.look(scene, above(), FLAT)
    over = renderer.look(scene, above(up=(0.0, -1.0, 0.0)), FLAT)
    same = upright.ids == over.ids[::-1, ::-1]
    assert same.mean() > 0.998
    assert np.abs(upright.depth - over.depth[::-1, ::-1])[same].max() < 2e-3
    near = np.abs(upright.rgb.astype(int) - over.rgb[::-1, ::-1])[same].max(axis=-1) <= 2
    assert near.mean() > 0.99


def test_the_lamp_lights_by_the_cosine(renderer: Renderer) -> None:
    light = Light((3.0, 0.0, 4.0), (1.0, 0.8, 0.6), ambient=0.3, diffuse=0.5, specular=0.0, shadow=False)
    view = renderer.look([Drawn(solids.box((1, 1, 0.1)), placed(), (0.9, 0.5, 0.4))], above(16, 16), light)
    true = 255 * np.array([0.9, 0.5, 0.4]) * np.array([1.0, 0.8, 0.6]) * (0.3 + 0.5 * 0.8)
    assert np.abs(view.rgb - true).max() < (0.51 if renderer.name == "gl" else 2)


def test_shadows_are_where_the_lamp_puts_them(renderer: Renderer) -> None:
    towards = np.array([0.5, 0.3, 1.0])
    box = Drawn(solids.box((0.06, 0.08, 0.1)), placed(0, 0, 0.05, turn=turned_about_z(0.4)), (0.3, 0.3, 0.9), 0)
    camera = above(160, 160)
    lit = Light(tuple(towards), shadow=False)
    dark = dataclasses.replace(lit, shadow=True)
    with_shadow, without = (renderer.look([table(), box], camera, light) for light in (dark, lit))
    assert np.array_equal(with_shadow.ids, without.ids)
    darker = (without.rgb.astype(int) - with_shadow.rgb).sum(axis=-1) > 12
    corners = corners_of(box)
    fallen = corners - corners[:, 2:] * towards / towards[2]
    distance = inside(np.concatenate([fallen, corners[corners[:, 2] < 0.001]]), camera)
    ground, border = with_shadow.ids == NOTHING, 1.5 if renderer.name == "gl" else 4.0
    apart = inside(corners, camera) < -border  # where the box meets its shadow either may be seen
    assert darker[ground & apart & (distance > border)].mean() > 0.99
    assert darker[ground & apart & (distance < -border)].mean() < 0.003
    casts_none = renderer.look([table(), dataclasses.replace(box, shadow=False)], camera, dark)
    assert np.array_equal(casts_none.rgb, without.rgb)


@pytest.mark.parametrize("size", [0.1, 0.25])
def test_a_texture_repeats_after_its_size(renderer: Renderer, size: float) -> None:
    camera = above(128, 96)
    ground = table(2.0, texture=checks(), size=size)
    view = renderer.look([ground], camera, Light(ambient=1.0, diffuse=0.0, specular=0.0, shadow=False))
    spot = np.array(camera.position) + rays(camera) * camera.position[2]
    along = spot[..., :2] / (size / 2)
    sure = (np.abs(along - np.round(along)) > 0.12).all(axis=-1)
    odd = (np.floor(along).sum(axis=-1) % 2).astype(bool)
    bright = view.rgb[..., 0] > 80
    assert (bright[sure] == odd[sure]).all() or (bright[sure] != odd[sure]).all()


def test_a_wrapped_face_bears_its_picture_once_and_upright(renderer: Renderer) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32], picture[:32, 32:], picture[32:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    sheet = dataclasses.replace(solids.plane((0.3, 0.2), wrapped=True), picture=picture)
    light = Light(ambient=1.0, diffuse=0.0, specular=0.0, shadow=False)
    for drawn in (Drawn(sheet, placed(), (1.0, 1.0, 1.0)), Drawn(sheet, placed(), (1.0, 1.0, 1.0), texture=picture.copy())):
        view = renderer.look([drawn], above(), light)
        for x, y, colour in ((-0.07, 0.05, 0), (0.07, 0.05, 1), (-0.07, -0.05, 2), (0.07, -0.05, None)):
            row, column, _ = above().project(np.array([[x, y, 0.0]]))[0].round().astype(int)
            assert view.rgb[row, column].argmax() == (colour or 0)
            assert (view.rgb[row, column].max() > 200) == (colour is not None)


def test_a_colour_multiplies_a_texture(renderer: Renderer) -> None:
    light = Light(ambient=1.0, diffuse=0.0, specular=0.0, shadow=False)
    grey = np.full((8, 8, 3), 128, np.uint8)
    view = renderer.look([Drawn(solids.box((1, 1, 0.1)), placed(), (1.0, 0.5, 0.25), texture=grey)], above(16, 16), light)
    assert np.abs(view.rgb - np.array([128, 64, 32])).max() <= 2


def test_a_picture_that_was_written_to_is_seen_as_it_is_now(renderer: Renderer) -> None:
    picture = np.full((16, 16, 3), 200, np.uint8)
    scene = [table(2.0, texture=picture)]
    first = renderer.look(scene, above(16, 16), FLAT)
    picture[:] = 20
    assert renderer.look(scene, above(16, 16), FLAT).rgb.mean() < first.rgb.mean() / 4


def known_pictures(renderer: Renderer) -> list[str]:
    """Digests of pictures with everything in them, other scenes and sizes between them."""
    found = []
    for size in (96, 64, 96):
        textured = [dataclasses.replace(one, texture=checks(4, 8)) for one in things()]
        found.append(digest(renderer.look([table(), *things()], oblique(size, size), Light())))
        found.append(digest(renderer.look([table(texture=checks()), *textured], oblique(size, size + 16), Light(shadow=False))))
    return found


def test_the_same_scene_gives_the_same_bytes(renderer: Renderer) -> None:
    scene, camera = [table(), *things()], oblique(96, 96)
    first = digest(renderer.look(scene, camera, Light()))
    assert digest(renderer.look(scene, camera, Light())) == first
    pictures = known_pictures(renderer)
    assert pictures[:2] == pictures[4:]
    for k in range(12):  # other meshes in between, some of which are gone by then
        other = [Drawn(solids.box((0.01 + 0.001 * k, 0.02, 0.03)), placed(0.02 * k, 0, 0.1)) for _ in range(3)]
        renderer.look([*other, *scene[k % 7 :]], oblique(32 + 16 * (k % 3), 64), Light(shadow=k % 2 == 0))
    assert digest(renderer.look(things_anew(), camera, Light())) == digest(renderer.look([table(), *things()], camera, Light()))
    assert digest(renderer.look(scene, camera, Light())) == first


def things_anew() -> list[Drawn]:
    """The known scene of meshes that no renderer has seen before."""
    return [
        dataclasses.replace(one, mesh=Mesh(one.mesh.points.copy(), one.mesh.faces.copy(), one.mesh.normals.copy()))
        for one in [table(), *things()]
    ]


def test_a_fresh_process_gives_the_same_bytes(renderer: Renderer) -> None:
    here = Path(__file__)
    code = f"""
import sys
sys.path[:0] = [{str(here.parent)!r}, {str(here.parents[1])!r}]
import test_render as t
print("\\n".join(t.known_pictures(t.renderer_or_skip({renderer.name!r}))))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here.parents[2])
    assert found.stdout.split() == known_pictures(renderer)


def test_what_cannot_be_drawn(renderer: Renderer) -> None:
    box = solids.box((0.1, 0.1, 0.1))
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32))
    no_faces = dataclasses.replace(box, faces=np.zeros((0, 3), np.int32))
    view = renderer.look([Drawn(empty, placed(), id=5), Drawn(no_faces, placed(), id=6)], above(16, 16), Light())
    assert (view.ids == NOTHING).all()
    lost = placed()
    lost[0, 3] = math.nan
    with pytest.raises(UserError, match=r"entry 1 .*id 3.*NaN"):
        renderer.look([table(), Drawn(box, lost, id=3)], above(16, 16), Light())
    for wrong in (np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([1.0, 1.0, -1.0, 1.0])):
        with pytest.raises(UserError, match=r"entry 0 .*scaled or mirrored"):
            renderer.look([Drawn(box, wrong)], above(16, 16), Light())
    with pytest.raises(UserError, match=r"shape \(3, 3\)"):
        renderer.look([Drawn(box, np.eye(3))], above(16, 16), Light())
    beyond = dataclasses.replace(box, faces=np.array([[0, 1, 99]], np.int32))
    with pytest.raises(UserError, match="24 points has faces that name points 0 to 99"):
        renderer.look([Drawn(beyond, placed())], above(16, 16), Light())
    nowhere = dataclasses.replace(box, points=box.points * np.float32(math.nan))
    with pytest.raises(UserError, match="not numbers"):
        renderer.look([Drawn(nowhere, placed())], above(16, 16), Light())
    with pytest.raises(UserError, match="repeats are 0"):
        renderer.look([Drawn(box, placed(), texture=checks(), size=0.0)], above(16, 16), Light())
    with pytest.raises(UserError, match="three numbers"):
        renderer.look([Drawn(box, placed(), (0.5, math.nan, 0.5))], above(16, 16), Light())
    with pytest.raises(UserError, match=r"uint8 \[h, w, 3\]"):
        renderer.look([Drawn(box, placed(), texture=np.zeros((4, 4), np.uint8))], above(16, 16), Light())
    assert (renderer.look([Drawn(box, placed(), id=1)], above(16, 16), Light()).ids == 1).any()  # it still draws


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 8}, "8 x 128 pixels"),
        ({"width": 4096}, "128 x 4096 pixels"),
        ({"near": 0.0}, "near 0.0"),
        ({"far": 0.05}, "far 0.05"),
        ({"fov": 180.0}, "fov 180.0"),
        ({"target": (0.0, 0.0, 0.7)}, "no direction"),
        ({"up": (0.0, 0.0, 1.0)}, "no direction"),
    ],
)
def test_cameras_that_make_no_picture(renderer: Renderer, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        renderer.look([table()], dataclasses.replace(above(), **wrong), Light())  # type: ignore[arg-type]


def test_a_lamp_without_direction(renderer: Renderer) -> None:
    with pytest.raises(UserError, match="no direction"):
        renderer.look([table()], above(16, 16), Light((0.0, 0.0, 0.0)))


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def look_often(renderer: Renderer, looks: int) -> None:
    """Pictures of ever new things, as in collecting: some meshes stay, some come once."""
    kept = things()
    for k in range(looks):
        once = Drawn(solids._sphere.__wrapped__((0.02 + 1e-6 * k,)), placed(0.1, 0.1, 0.02), id=9)
        renderer.look([table(), *kept[: 1 + k % 5], once], oblique(32, 32), Light(shadow=k % 3 == 0))


def test_memory_stays_flat(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embodied_ssl.sim.render.tiny._KEPT", 0)  # what may stay for good has stayed already
    look_often(renderer, 150)
    before = resident()
    look_often(renderer, 150)
    assert resident() - before < 4e6


@pytest.mark.slow
def test_memory_stays_flat_over_20_000_looks(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embodied_ssl.sim.render.tiny._KEPT", 0)
    look_often(renderer, 1000)
    before = resident()
    look_often(renderer, 20_000)
    assert resident() < 1.05 * before


def test_renderers_agree(gl: Renderer) -> None:
    """Ids on 99 % of pixels, depth within 1 mm and colour within 4 levels wherever all around a pixel has one id in both.

    Depth and colour are compared there because at an outline, or the edge between two faces, either side may be sampled.
    """
    tiny = renderer_or_skip("tiny")
    light = Light(ambient=0.5, diffuse=0.5, specular=0.0, shadow=False)
    for camera in (above(224, 224), oblique(128, 128), oblique(96, 160, fov=45.0)):
        first, second = (one.look([table(4.0), *things()], camera, light) for one in (gl, tiny))
        assert (first.ids == second.ids).mean() >= 0.99
        sure = np.ones(first.ids.shape, bool)
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            for ids in (first.ids, second.ids):
                sure &= np.roll(ids, shift, axis=(0, 1)) == first.ids
        off = np.abs(first.depth - second.depth)[sure & (first.depth < camera.far)]
        assert off.max() < 1e-3, off.max()
        levels = np.abs(first.rgb.astype(int) - second.rgb).max(axis=-1)[sure]
        assert (levels <= 4).mean() > 0.985
