"""The user's own files: good ones are used as they say, bad ones named with what is wrong."""

import os
import shutil
import struct

import numpy as np
import pytest
import trimesh

from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim.client import data_folder
from embodied_ssl.sim.objects import obj, own, urdf
from embodied_ssl.sim.objects.hulls import hull
from embodied_ssl.sim.objects.pool import thing
from embodied_ssl.sim.objects.thing import Primitive
from embodied_ssl.sim.spec import Pool

CUBE = trimesh.creation.box((1, 1, 1))


def cube_obj(size=0.04, faces=None):
    lines = [f"v {x} {y} {z}" for x, y, z in (CUBE.vertices * size).tolist()]
    return "\n".join(lines + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in CUBE.faces[:faces].tolist()]) + "\n"


def robot(inner="", shape='<box size="0.04 0.05 0.06"/>', mass='<inertial><mass value="0.1"/></inertial>', before=""):
    return (
        f'<?xml version="1.0" ?><robot name="r">{before}<link name="base">{mass}{inner}'
        f"<visual><geometry>{shape}</geometry></visual><collision><geometry>{shape}</geometry></collision></link></robot>"
    )


def written(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    return str(folder)


def pool(folder, **changes):
    return Pool(kinds=("own",), folder=str(folder), **changes)


def only(folder, files, **changes):
    """The one form that a folder of these files holds."""
    found = own.survey(written(folder, files))
    assert [str(item) for item in found.bad] == []
    assert len(found.good) == 1
    return thing(pool(folder, **changes), 0, 0)


def refused(folder, content, name="a.urdf", **others):
    """Why a file is not used, beside one that is."""
    found = own.survey(written(folder, {name: content, "good.obj": cube_obj(), **others}))
    assert [good.name for good in found.good] == ["own/good"]
    assert [item.name for item in found.bad] == [name]
    return found.bad[0].reason


def test_a_mesh_alone_is_a_thing_with_drawn_physics(tmp_path):
    each = only(tmp_path, {"brick.obj": cube_obj()})
    assert each.form.name == "own/brick"
    assert each.form.size == pytest.approx((0.04, 0.04, 0.04))
    assert each.form.volume == pytest.approx(0.04**3)
    assert each.form.filled == pytest.approx(1)
    assert [rest.share for rest in each.form.rests] == pytest.approx([1 / 6] * 6)
    assert 0.01 <= each.mass <= 0.04**3 * 1500


def test_what_a_urdf_file_states_is_kept(tmp_path):
    contact = '<contact><lateral_friction value="0.77"/><stiffness value="1234"/><damping value="7"/></contact>'
    box, paint = '<box size="0.04 0.05 0.06"/>', '<material name="m"><color rgba="1 0.5 0 1"/></material>'
    look = f"<visual><geometry>{box}</geometry>{paint}</visual>"
    text = f'<robot name="r"><link name="a"><inertial><mass value="0.321"/></inertial>{contact}{look}</link></robot>'
    found = [only(tmp_path / str(k), {"b.urdf": text}) for k in range(2)]
    for each in found:
        assert (each.mass, each.friction, each.stiffness, each.damping) == (0.321, 0.77, 1234.0, 7.0)
        assert each.colour == (1.0, 0.5, 0.0)
        assert each.form.touched == Primitive("box", (0.04, 0.05, 0.06))
    drawn = thing(pool(tmp_path / "0"), 1, 0)
    assert drawn.restitution != found[0].restitution
    assert drawn.mass == 0.321


@pytest.mark.parametrize(
    ("shape", "touched"),
    [
        ('<sphere radius="0.02"/>', Primitive("sphere", (0.04, 0.04, 0.04))),
        ('<cylinder radius="0.02" length="0.05"/>', Primitive("cylinder", (0.04, 0.04, 0.05))),
        ('<capsule radius="0.02" length="0.05"/>', Primitive("capsule", (0.04, 0.04, 0.09))),
    ],
)
def test_primitives_stay_primitives(tmp_path, shape, touched):
    form = only(tmp_path, {"b.urdf": robot(shape=shape)}).form
    assert form.touched == Primitive(touched.kind, pytest.approx(touched.size))
    assert np.ptp(form.mesh.points, axis=0) == pytest.approx(touched.size, rel=0.01)


def test_turned_and_shifted_shapes_meet_in_one_frame(tmp_path):
    """What is seen lies where what is touched is, wherever the file puts both."""
    geometry = '<geometry><box size="0.03 0.04 0.08"/></geometry>'
    origin = '<origin xyz="0.1 0.2 0.3" rpy="0.3 -0.4 1.2"/>'
    text = (
        f'<robot name="r"><link name="a"><visual>{origin}{geometry}</visual>'
        f"<collision>{origin}{geometry}</collision></link></robot>"
    )
    form = only(tmp_path, {"b.urdf": text}).form
    assert form.mesh.points.min(axis=0) == pytest.approx(np.array([-0.015, -0.02, -0.04]), abs=1e-7)
    assert form.mesh.points.max(axis=0) == pytest.approx(np.array([0.015, 0.02, 0.04]), abs=1e-7)


def test_turns_are_pybullets(tmp_path):
    from embodied_ssl.sim.client import Client

    client = Client()
    for angles in ((0.3, -0.4, 1.2), (1, 2, 3), (-1.5, 0.2, 0)):
        text = robot().replace("<collision>", f'<collision><origin rpy="{angles[0]} {angles[1]} {angles[2]}"/>')
        path = tmp_path / "a.urdf"
        path.write_text(text)
        turn = client.getMatrixFromQuaternion(client.getQuaternionFromEuler(angles))
        assert urdf.read(path).touched[0].pose[:3, :3] == pytest.approx(np.reshape(turn, (3, 3)), abs=1e-6)
    client.close()


def test_firmly_joined_links_are_one_thing(tmp_path):
    inner = '<inertial><mass value="0.05"/></inertial><collision><geometry><box size="0.02 0.02 0.02"/></geometry></collision>'
    links = "".join(f'<link name="{name}">{inner}</link>' for name in "cab")
    origin = '<origin xyz="0.04 0 0" rpy="0 0 1.5707963"/>'
    joints = "".join(
        f'<joint name="j{child}" type="fixed"><parent link="{parent}"/><child link="{child}"/>{origin}</joint>'
        for parent, child in ("ab", "bc")
    )
    text = f'<robot name="r">{links}{joints}</robot>'
    each = only(tmp_path, {"b.urdf": text}, touched="parts")
    assert each.mass == pytest.approx(0.15)
    assert len(each.form.touched) == 3
    assert each.form.volume == pytest.approx(3 * 0.02**3)
    assert each.form.size == pytest.approx((0.06, 0.06, 0.02))  # an L: along x, then along the turned x
    hulled = thing(pool(tmp_path), 0, 0).form
    assert hulled.filled == pytest.approx(3 * 0.02**3 / hulled.volume)
    assert hulled.filled < 0.8


def test_meshes_named_by_a_urdf_file_are_no_things_of_their_own(tmp_path):
    shape = '<mesh filename="meshes/cup.obj" scale="0.001 0.001 0.001"/>'
    files = {"cup.urdf": robot(shape=shape), "meshes/cup.obj": cube_obj(40), "other.obj": cube_obj()}
    files["packed.urdf"] = robot(shape='<mesh filename="package://mine/meshes/cup.obj" scale="0.002 0.001 0.001"/>')
    found = own.survey(written(tmp_path, files))
    assert [good.name for good in found.good] == ["own/cup", "own/other", "own/packed"]
    assert found.bad == ()
    sizes = {each.form.name: each.form.size for each in (thing(pool(tmp_path), 0, k) for k in range(3))}
    assert sizes["own/cup"] == pytest.approx((0.04, 0.04, 0.04))
    assert sizes["own/packed"] == pytest.approx((0.08, 0.04, 0.04))


@pytest.mark.parametrize("ending", ["stl", "ply", "obj", "STL"])
def test_meshes_of_all_kinds(tmp_path, ending):
    shape = trimesh.creation.cone(0.02, 0.05)
    path = tmp_path / f"cone.{ending}"
    path.write_bytes(b"") if ending == "STL" else None
    shape.export(path, file_type=ending.lower())
    form = thing(pool(tmp_path), 0, 0).form
    assert form.volume == pytest.approx(shape.volume, rel=1e-4)
    assert form.mesh.points.min(axis=0)[2] == pytest.approx(-0.05 / 4, rel=1e-3)  # a cone's centre of mass


def test_an_ascii_stl_file_too(tmp_path):
    (tmp_path / "a.stl").write_text(trimesh.exchange.stl.export_stl_ascii(CUBE.copy().apply_scale(0.03)))
    assert thing(pool(tmp_path), 0, 0).form.volume == pytest.approx(0.03**3)


def test_an_open_mesh_has_the_volume_of_its_hull(tmp_path):
    """Two triangles are missing, one side: still a box to the touch."""
    form = only(tmp_path, {"open.obj": cube_obj(faces=10)}).form
    assert form.volume == pytest.approx(0.04**3)
    assert form.filled == 1


def test_a_mesh_inside_out_is_as_full(tmp_path):
    inner = CUBE.copy()
    inner.invert()
    inner.apply_scale(0.04)
    inner.export(tmp_path / "a.obj")
    assert thing(pool(tmp_path), 0, 0).form.filled == pytest.approx(1)


def test_groups_are_parts_when_parts_are_touched(tmp_path):
    shifts = ((0, 0, 0), (0.04, 0, 0), (0.04, 0.04, 0))
    cubes = [CUBE.copy().apply_scale(0.02).apply_translation(shift) for shift in shifts]
    faces = [f"f {a - 8} {b - 8} {c - 8}" for a, b, c in CUBE.faces.tolist()]
    text = "\n".join("\n".join(["o part", *(f"v {x} {y} {z}" for x, y, z in cube.vertices.tolist()), *faces]) for cube in cubes)
    flat = "\no label\nv 0 0 0\nv 0.01 0 0\nv 0.01 0.01 0\nf -3 -2 -1\n"
    each = only(tmp_path, {"a.obj": text + flat}, touched="parts")
    assert len(each.form.touched) == 3
    assert each.form.volume == pytest.approx(3 * 0.02**3)


def test_materials_become_one_picture(tmp_path):
    mtl = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"
    lines = cube_obj().splitlines()
    faces = [line for line in lines if line.startswith("f")]
    text = "\n".join(["mtllib a.mtl", *lines[:8], "usemtl red", *faces[:4], "usemtl blue", *faces[4:]])
    each = only(tmp_path, {"a.obj": text, "a.mtl": mtl})
    mesh = each.form.mesh
    at = (mesh.texture_at * mesh.picture.shape[1::-1]).astype(int)
    seen = mesh.picture[at[:, 1], at[:, 0]]
    assert {tuple(colour) for colour in seen.tolist()} == {(255, 0, 0), (0, 0, 255)}
    assert each.colour == (1.0, 1.0, 1.0)
    plain = only(tmp_path / "plain", {"a.obj": "mtllib a.mtl\nusemtl blue\n" + cube_obj(), "a.mtl": mtl})
    assert plain.colour == (0.0, 0.0, 1.0)
    assert plain.form.mesh.picture is None


def test_the_dialects_of_obj():
    """Quads, fans, texture and normal numbers, negative numbers, weights, comments, groups without faces, broken lines."""
    text = "# x\ng empty\ng a b\nv 0 0 0 1.0\nv 1 0 0 1.0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0 0\nvt 1 1\nvn 0 0 1\n"
    text += "f 1/1/1 2/2/1 \\\n 3/3/1\nf -4/-3 -2/-1 -1/1\nf 1//1 2//1 3//1 4//1\ns off\n"
    found = obj._lines(text)
    assert len(found.points) == 4
    assert obj._numbers(found.points, 3).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    corners, origin = obj._fans(found)
    assert corners[:, :, 0].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3]]
    assert corners[:, :, 1].tolist() == [[0, 1, 2], [0, 2, 0], [-1, -1, -1], [-1, -1, -1]]
    assert origin.tolist() == [0, 1, 2, 2]
    assert found.part == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no faces"),
        ("v 1 2\nf 1 1 1\n", "is broken"),
        ("v 1 2 x\nf 1 1 1\n", "is broken"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n", "is broken"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "is broken"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "does not list"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -9\n", "does not list"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not numbers"),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no faces of any area"),
        ("v 0 0 0\nv 0.04 0 0\nv 0 0.04 0\nf 1 2 3\n", "enclose no volume"),
        (cube_obj(30.0), "is 30 m long: probably drawn in millimetres"),
        (cube_obj(5.0), "is 5 m long: probably drawn in centimetres"),
        (cube_obj(1000.0), "is 1e+03 m long; at most 0.4 m fits"),
        (cube_obj(0.0001), "is 0.1 mm long, too small"),
        (cube_obj(0.1), "is wider than the jaw opens (0.08 m), however it lies: 0.1 m; scale"),
        (cube_obj(1e8), "has corners 5e+07 m away"),
        (b"\x00\xff" * 300, "has no faces"),
    ],
)
def test_bad_meshes(tmp_path, text, reason):
    assert reason in refused(tmp_path, text, "a.obj")


MESH = '<mesh filename="m.obj"/>'
HINGE = '<joint name="hinge" type="revolute"><parent link="base"/><child link="l"/></joint>'
HINGED = f'<robot name="r"><link name="b"/><link name="l"/>{HINGE.replace("base", "b")}</robot>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not XML"),
        ("<robot><link name='a'></robot>", "is not XML"),
        ("<sdf/>", "begins with <sdf>"),
        ("<robot name='r'/>", "has no links"),
        ("<robot name='r'><link name='a'/></robot>", "neither a visual nor a collision"),
        ("<robot name='r'><link name='a'/><link name='a'/></robot>", "two links of the same name"),
        ("<robot name='r'><link name='a'/><link name='b'/></robot>", "has 2 links that hang on no other"),
        (robot(mass='<inertial><mass value="0"/></inertial>'), "mass of 0 kg (to a simulator: fixed"),
        (robot(mass='<inertial><mass value="-1"/></inertial>'), "mass of -1 kg"),
        (robot(mass='<inertial><mass value="1e6"/></inertial>'), "mass of 1e+06 kg"),
        (robot(mass='<inertial><mass value="nan"/></inertial>'), "no number as its value: 'nan'"),
        (robot(mass='<inertial><mass value="heavy"/></inertial>'), "no number as its value: 'heavy'"),
        (robot(mass='<inertial><mass value="15"/></inertial>'), "125 times as much as water"),
        (robot(inner='<contact><lateral_friction value="-1"/></contact>'), "friction of -1; give 0 to 5"),
        (robot(inner='<contact><restitution value="2"/></contact>'), "restitution of 2"),
        (robot(shape='<box size="0.04 0.05"/>'), "2 numbers stand where three belong"),
        (robot(shape='<box size="0.04 0.05 0"/>'), "measure of 0 or less"),
        (robot(shape="<plane/>"), "<plane> is not known"),
        (robot(shape=""), "has no geometry"),
        (robot(shape='<box size="0.1 0.1 0.1"/>'), "however it lies: 0.1 m"),
        (robot(shape='<box size="0.002 0.002 0.002"/>'), "is 2 mm long, too small"),
        (robot(shape='<mesh filename="no.obj"/>'), "its mesh 'no.obj' is not there"),
        (robot(shape='<mesh filename="package://no/no.obj"/>'), "is not there"),
        (robot(shape='<mesh filename=""/>'), "is not there"),
        (robot(shape='<mesh filename="good.obj" scale="0 1 1"/>').replace("good", "../x"), "scale 0"),
        (HINGED, "joint 'hinge' is revolute; only rigid things can be used"),
        (HINGED.replace('parent link="b"', 'parent link="x"'), "does not join two of its links"),
    ],
)
def test_bad_urdf_files(tmp_path, text, reason):
    assert reason in refused(tmp_path, text)


def test_a_mesh_outside_the_folder_is_refused(tmp_path):
    written(tmp_path, {"x.obj": cube_obj()})
    assert "lies outside the folder" in refused(tmp_path / "in", robot(shape='<mesh filename="../x.obj"/>'))


def test_a_bad_mesh_of_a_urdf_file_is_the_files_fault(tmp_path):
    found = own.survey(written(tmp_path, {"a.urdf": robot(shape=MESH), "m.obj": "v 0 0 0\n", "good.obj": cube_obj()}))
    assert [str(item) for item in found.bad] == ["a.urdf: has no faces"]
    assert [good.name for good in found.good] == ["own/good"]


def test_meshes_that_cannot_be_read(tmp_path):
    cut = struct.pack("<80sI", b"", 500) + b"abc"
    files = {
        "a.stl": cut,
        "b.ply": "ply\nnonsense\n",
        "c.dae": "<x/>",
        "d.STEP": "x",
        "e.stl": b"",
        "f.ply": b"\xff\x00",
        "g.ply": trimesh.exchange.ply.export_ply(CUBE, encoding="ascii").replace(b"3 1 3 0", b"3 1 3 90"),
        "good.obj": cube_obj(),
        "notes.txt": "nothing",
    }
    found = own.survey(written(tmp_path, files))
    assert [good.name for good in found.good] == ["own/good"]
    assert [item.name for item in found.bad] == ["a.stl", "b.ply", "c.dae", "d.STEP", "e.stl", "f.ply", "g.ply"]
    assert "save it as URDF, OBJ, STL or PLY" in found.bad[2].reason
    assert "does not list" in found.bad[6].reason
    assert all("\n" not in str(item) for item in found.bad)


def test_names_are_unique_and_may_be_of_any_script(tmp_path):
    files = {"Tasse-é-杯.obj": cube_obj(), "a/x.obj": cube_obj(), "b/x.obj": cube_obj(), "x.obj": cube_obj(), "x.stl": b""}
    found = own.survey(written(tmp_path, files))
    assert [good.name for good in found.good] == ["own/Tasse-é-杯", "own/a/x", "own/b/x", "own/x"]
    assert [str(item) for item in found.bad] == ["x.stl: has the same name as 'x.obj'; rename one"]
    assert {thing(pool(tmp_path), 0, k).form.name for k in range(4)} == {good.name for good in found.good}


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    written(tmp_path, {"good.obj": cube_obj()})
    try:
        (tmp_path / os.fsdecode(b"\xff.obj")).write_text(cube_obj())
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    found = own.survey(str(tmp_path))
    assert len(found.good) == 1
    assert "not UTF-8" in found.bad[0].reason
    found.bad[0].name.encode()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_no_folder_or_nothing_in_it(tmp_path, make):
    make(tmp_path / "f")
    with pytest.raises(UserError, match=r"is no folder|holds no URDF") as caught:
        thing(pool(tmp_path / "f"), 0, 0)
    assert str(tmp_path / "f") in str(caught.value)


def test_no_usable_file_says_why(tmp_path):
    written(tmp_path, {f"{k}.obj": "" for k in range(5)})
    with pytest.raises(UserError, match=r"none of the 5 files in .* 0.obj: has no faces; 1.obj: .*; \.\.\.") as caught:
        thing(pool(tmp_path), 0, 0)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    files = {"a.urdf": robot(shape=MESH), "m.obj": "mtllib m.mtl\nusemtl a\n" + cube_obj(), "m.mtl": "newmtl a\nKd 1 0 0\n"}
    first = own.fingerprint(pool(written(tmp_path / "1", files)))
    assert first == own.fingerprint(pool(written(tmp_path / "2", {**files, "notes.txt": "no matter"})))
    others = [
        {**files, "m.mtl": "newmtl a\nKd 0 1 0\n"},
        {**files, "m.obj": files["m.obj"] + "#"},
        {**files, "b.obj": cube_obj()},
        {"b.urdf": files["a.urdf"], "m.obj": files["m.obj"], "m.mtl": files["m.mtl"]},
    ]
    prints = [own.fingerprint(pool(written(tmp_path / f"o{k}", other))) for k, other in enumerate(others)]
    assert len({first, *prints}) == 5
    assert own.fingerprint(Pool()) == ""


def test_a_folder_seen_before_is_known_again(tmp_path, monkeypatch):
    files = {"a.obj": cube_obj(0.031), "b.obj": "", "c.obj": cube_obj(7)}
    first = own.survey(written(tmp_path / "1", files))
    monkeypatch.setattr(own, "_looked_through", None)
    second = own.survey(written(tmp_path / "2", files))
    assert [good.name for good in second.good] == [good.name for good in first.good] == ["own/a"]
    assert [str(item) for item in second.bad] == [str(item) for item in first.bad]
    assert second.good[0].path == tmp_path / "2" / "a.obj"


def test_pybullets_own_files_can_be_a_users(tmp_path):
    duck = ("duck_vhacd.urdf", "duck.obj", "duck.mtl", "duckCM.png", "duck_vhacd.obj")
    for name in (*duck, "block.urdf", "cube_small.urdf", "cube.obj"):
        shutil.copy(data_folder() / name, tmp_path / name)
    for name in ("000", "168"):
        shutil.copytree(data_folder() / "random_urdfs" / name, tmp_path / name)
    as_is = tmp_path / "000" / "000.urdf"
    as_is.write_text(as_is.read_text().replace("0.015", "0.009"))
    found = own.survey(str(tmp_path))
    assert [good.name for good in found.good] == ["own/000/000", "own/block", "own/cube_small", "own/duck_vhacd"]
    assert [str(item) for item in found.bad] == ["168/168.urdf: has corners that are not numbers (nan or inf)"]
    things = {each.form.name: each for each in (thing(pool(tmp_path, touched="parts"), 0, k) for k in range(4))}
    assert [things[f"own/{name}"].mass for name in ("block", "cube_small", "duck_vhacd")] == [0.02, 0.1, 0.1]
    assert things["own/duck_vhacd"].form.mesh.picture is not None
    assert len(things["own/duck_vhacd"].form.touched) == 5
    assert things["own/block"].colour == (0.1, 0.7, 0.1)


def test_ones_own_things_mix_with_others_and_keep_their_size(tmp_path):
    written(tmp_path, {"plate.obj": cube_obj(0.07), "stick.urdf": robot(shape='<box size="0.02 0.02 0.3"/>')})
    mixed = Pool(kinds=("primitives", "own"), folder=str(tmp_path), objects=40)
    names = [thing(mixed, 0, k).form.name for k in range(40)]
    assert names.count("own/plate") == names.count("own/stick") == 10
    plate = next(each.form for each in (thing(mixed, 0, k) for k in range(40)) if each.form.name == "own/plate")
    assert plate.size == pytest.approx((0.07, 0.07, 0.07))


def test_a_file_of_too_many_triangles_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_FACES", 11)
    reason = refused_all(tmp_path, {"a.obj": cube_obj()})
    assert "has 12 triangles; simplify it to at most 11" in reason


def refused_all(folder, files):
    with pytest.raises(UserError) as caught:
        own.survey(written(folder, files))
    return str(caught.value)


def test_a_changed_file_is_named(tmp_path):
    written(tmp_path, {"a.obj": cube_obj(0.033)})
    good = own.survey(str(tmp_path)).good[0]
    (tmp_path / "a.obj").unlink()
    with pytest.raises(BadItem, match=r"a\.obj: cannot be read"):
        own.form(good, "hull")
    with pytest.raises(UserError, match=r"thing 0 cannot be made: a\.obj: cannot be read .* begin anew"):
        thing(pool(tmp_path), 0, 0)


def test_the_hull_of_a_users_mesh_is_trimeshs(tmp_path):
    shape = trimesh.creation.annulus(0.01, 0.02, 0.03)
    shape.export(tmp_path / "ring.obj")
    form = thing(pool(tmp_path), 0, 0).form
    assert form.volume == pytest.approx(shape.convex_hull.volume)
    assert form.filled == pytest.approx(shape.volume / shape.convex_hull.volume)
    assert hull(form.touched[0]).centre == pytest.approx(np.zeros(3), abs=1e-9)
