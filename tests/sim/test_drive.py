"""Drives on disk: poses that readers of KITTI get back, pictures and depth that belong to them, and the same bytes always."""

import datetime
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.sim.collecting.store import Manifest
from embodied_ssl.sim.collecting.verify import verify
from embodied_ssl.sim.drive import kitti
from embodied_ssl.sim.drive.collect import collect, content_hash, drive_folder
from embodied_ssl.sim.drive.command import spec_of
from embodied_ssl.sim.drive.drive import drive, fov_of, place_of, still_views
from embodied_ssl.sim.drive.spec import DriveSpec, Indoors, Look, Outdoors, Stills
from embodied_ssl.sim.render.choose import process_renderer

SMALL = DriveSpec(
    places="both",
    drives=3,
    seed=3,
    size=(48, 64),
    depth=True,
    indoors=Indoors(kinds=("kitchen", "office")),
    stills=Stills(2, 1, 2, (24, 32)),
)
TINY = replace(SMALL, places="rooms", drives=2, size=(24, 32), depth=False, stills=Stills(1, 1, 2, (24, 32)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("drives") / "set"
    return out, collect(out, SMALL)


@pytest.fixture(scope="module")
def driven():
    """The drive through a street, in memory."""
    return drive(replace(SMALL, depth=False), 1, process_renderer(), truth=True)


@pytest.fixture(scope="module")
def made_tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny") / "set"
    return out, collect(out, TINY)


def folder_of(made, index):
    return made[0] / drive_folder(SMALL, index)


def read_oxts(folder):
    return np.array([[float(word) for word in path.read_text().split()] for path in sorted(folder.glob("oxts/data/*.txt"))])


def poses_of(rows):
    """KITTI's own formula, from its raw development kit, written out."""
    scale = np.cos(rows[0, 0] * np.pi / 180)
    poses = []
    for lat, lon, alt, roll, pitch, yaw in rows[:, :6]:
        place = scale * 6378137 * lon * np.pi / 180, scale * 6378137 * np.log(np.tan(np.pi * (90 + lat) / 360)), alt
        x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
        y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
        z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        poses.append(np.vstack([np.column_stack([z @ y @ x, place]), [0, 0, 0, 1]]))
    return np.linalg.inv(poses[0]) @ np.array(poses)


def read_poses(folder):
    return np.loadtxt(folder / "poses.txt").reshape(-1, 3, 4)


@pytest.mark.parametrize("index", range(3))
def test_packets_give_the_poses_back(made, index):
    folder = folder_of(made, index)
    imu, truth = poses_of(read_oxts(folder)), read_poses(folder)
    swap = np.eye(4)
    swap[:3, :3] = kitti.IMU_FROM_CAMERA
    camera = np.linalg.inv(swap) @ imu @ swap
    assert np.abs(camera[:, :3, 3] - truth[:, :, 3]).max() < 1e-6  # metres
    assert np.abs(camera[:, :3, :3] - truth[:, :, :3]).max() < 1e-9
    assert truth[0] == pytest.approx(np.eye(4)[:3])


@pytest.mark.skipif(importlib.util.find_spec("pykitti") is None, reason="pykitti is in the dev extra")
@pytest.mark.parametrize("index", [0, 1])
def test_pykitti_reads_a_drive(made, index):
    import pykitti

    raw = pykitti.raw(str(made[0]), drive_folder(SMALL, index).split("/")[0], f"{index:04d}")
    truth = read_poses(folder_of(made, index))
    assert len(raw) == len(raw.cam2_files) == len(truth)
    poses = [packet.T_w_imu @ np.linalg.inv(raw.calib.T_cam2_imu) for packet in raw.oxts]
    camera = np.linalg.inv(poses[0]) @ np.array(poses)
    assert np.abs(camera[:, :3] - truth).max() < 1e-6
    assert (raw.timestamps[10] - raw.timestamps[0]).total_seconds() == pytest.approx(1.0)
    assert raw.calib.K_cam2[0, 2] == 31.5
    assert raw.calib.K_cam2[1, 1] == pytest.approx(24 / np.tan(np.radians(fov_of(SMALL, place_of(SMALL, index)[0], 0) / 2)))
    assert raw.get_cam2(0).size == (64, 48)


def test_our_own_reader_finds_motion_and_no_fault(made):
    source = KittiRaw(root=str(made[0])).open("all")
    assert not source.bad
    assert {name.rpartition("/")[2] for name in source.recordings} == {drive_folder(SMALL, k).split("/")[1] for k in range(3)}
    assert "motions" in source.provides


def test_packets_agree_with_themselves(made):
    for index in range(2):
        rows = read_oxts(folder_of(made, index))
        assert rows.shape[1] == 30
        assert np.hypot(rows[:, 6], rows[:, 7]) == pytest.approx(np.abs(rows[:, 8]))
        steps = np.linalg.norm(np.diff(poses_of(rows)[:, :3, 3], axis=0), axis=1)
        assert np.abs(steps * 10 - (rows[1:, 8] + rows[:-1, 8]) / 2).max() < 0.08
        turns = np.diff(np.unwrap(rows[:, 5]))
        held = rows[:-1, 22] if index == 0 else (rows[1:, 22] + rows[:-1, 22]) / 2  # in rooms until the next frame
        assert turns * 10 == pytest.approx(held, abs=0.08)


def read_depth(folder, frame):
    return cv2.imread(str(folder / f"proj_depth/groundtruth/image_02/{frame:010d}.png"), cv2.IMREAD_UNCHANGED) / 256


def land(depth, matrix, motion):
    """Where the pixels of a depth map [h, w] are seen after a motion (new camera from old): row, column, depth [n], valid [n]."""
    rows, columns = np.indices(depth.shape).reshape(2, -1)
    flat = depth.reshape(-1)
    points = np.linalg.solve(matrix, np.stack([columns, rows, np.ones_like(rows)])) * flat
    moved = motion[:3, :3] @ points + motion[:3, 3:]
    pixels = matrix @ moved
    with np.errstate(divide="ignore", invalid="ignore"):
        row, column = pixels[1] / pixels[2], pixels[0] / pixels[2]
    h, w = depth.shape
    valid = (flat > 0) & (moved[2] > 0.1) & (row > 1) & (row < h - 2) & (column > 1) & (column < w - 2)
    return row, column, moved[2], valid


@pytest.mark.parametrize("index", [0, 1])
def test_pixels_land_where_poses_depth_and_calibration_say(made, index):
    """The oracle of everything together: what is on disk, warped by its poses, is within a pixel of what another frame shows."""
    folder = folder_of(made, index)
    poses = np.concatenate([read_poses(folder), np.tile([[[0, 0, 0, 1.0]]], (len(read_poses(folder)), 1, 1))], axis=1)
    line = next(row for row in (folder.parent / "calib_cam_to_cam.txt").read_text().splitlines() if row.startswith("P_rect_02"))
    matrix = np.array(line.split()[1:], float).reshape(3, 4)[:, :3]
    right, wrong = [], []
    for frame in range(0, len(poses) - 3, 4):
        here, there = read_depth(folder, frame), read_depth(folder, frame + 2)
        motion = np.linalg.inv(poses[frame + 2]) @ poses[frame]
        for found, change in ((right, motion), (wrong, np.linalg.inv(motion))):
            row, column, depth, valid = land(here, matrix, change)
            r, c = row[valid].round().astype(int), column[valid].round().astype(int)
            around = np.stack([there[r + i, c + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
            around[around == 0] = 1000  # the sky
            hidden = around.max(axis=0) < depth[valid] * 0.99 - 0.01  # something nearer has come before it
            found.append((around.min(axis=0) <= depth[valid] * 1.01 + 0.01)[~hidden])
    assert np.concatenate(right).mean() > 0.98
    assert np.concatenate(wrong).mean() < np.concatenate(right).mean() - 0.1


def test_a_left_turn_moves_the_scene_to_the_right(driven):
    frame = int(np.argmax(driven.track.turn))
    assert driven.track.turn[frame] > 0.3
    here, left = (driven.frames[k][:24].astype(float) for k in (frame, frame + 1))  # the upper half, which is far away
    shift = round(driven.matrix[0, 0] * (driven.track.yaw[frame + 1] - driven.track.yaw[frame]))
    right, wrong = np.abs(left[:, shift:] - here[:, :-shift]).mean(), np.abs(left[:, :-shift] - here[:, shift:]).mean()
    assert shift > 0
    assert right < wrong


def test_what_is_seen_is_what_stands_there(made, driven):
    ids, depth = np.stack([view.ids for view in driven.views]), np.stack([view.depth for view in driven.views])
    assert ids.max() > 0
    assert (ids >= 0).mean() > 0.05
    assert depth[ids >= 0].max() < 400
    pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder_of(made, 1).glob("image_02/data/*.png"))]
    assert (driven.frames == np.stack(pictures)).all()


def test_layout(made):
    out, summary = made
    for index in range(3):
        folder = folder_of(made, index)
        frames = sorted(folder.glob("image_02/data/*.png"))
        n = len(read_poses(folder))
        assert [path.name for path in frames] == [f"{k:010d}.png" for k in range(n)]
        assert len(list(folder.glob("proj_depth/groundtruth/image_02/*.png"))) == n
        assert cv2.imread(str(frames[0])).shape == (48, 64, 3)
        for clock in ("image_02", "oxts"):
            lines = (folder / clock / "timestamps.txt").read_text().splitlines()
            times = [datetime.datetime.fromisoformat(line[:26]) for line in lines]
            assert len(lines) == n
            assert (times[10] - times[0]).total_seconds() == 1
    stills = sorted(path.relative_to(out / "stills").parts for path in out.glob("stills/*/*/*.jpg"))
    rooms = {part: {(kind, name[:8]) for p, kind, name in stills if p == part} for part in ("train", "test")}
    assert {kind for _, kind, _ in stills} == {"kitchen", "office", "street"}
    assert not rooms["train"] & rooms["test"]
    assert len(stills) == 3 * 3 * 2
    assert summary.total == 3 + 9
    facts = json.loads((out / "manifest.json").read_text())["pieces"]
    assert [facts[f"drive_{k:04d}"]["place"] for k in range(3)] == ["kitchen", "street", "office"]
    assert sorted(facts["drive_0001"]["moves"]) == ["left", "right", "straight"]
    assert facts["drive_0001"]["light"]["diffuse"] > 0
    assert "stove" in facts["drive_0000"]["pieces"]
    assert facts["test/street/room_002"]["textured"] in (True, False)


def test_sky_has_no_depth_and_the_road_has_what_geometry_says(made):
    folder = folder_of(made, 1)
    depth = read_depth(folder, 0)
    assert (depth[0] == 0).any()
    height = json.loads((made[0] / "manifest.json").read_text())["pieces"]["drive_0001"]["height"]
    focal = 24 / np.tan(np.radians(fov_of(SMALL, "street", 0) / 2))
    assert depth[-1, 20:44] == pytest.approx(height * focal / 23.5, rel=0.01)


def test_the_video_has_a_frame_for_every_pose_and_shows_the_same(made):
    folder = folder_of(made, 1)
    with av.open(str(made[0] / "videos" / "drive_0001.mp4")) as container:
        assert container.streams.video[0].average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(read_poses(folder))
    pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder.glob("image_02/data/*.png"))]
    errors = [[np.abs(frame.astype(float) - picture).mean() for picture in pictures] for frame in frames[::8]]
    assert np.min(errors, axis=1).max() < 15
    assert (np.argmin(errors, axis=1) == np.arange(len(frames))[::8]).mean() > 0.9


def test_calibration_is_a_camera_and_a_swap_of_axes(made):
    text = (made[0] / "2026_01_01" / "calib_velo_to_cam.txt").read_text()
    swap = np.array(next(line for line in text.splitlines() if line.startswith("R:")).split()[1:], float).reshape(3, 3)
    assert swap @ [1, 0, 0] == pytest.approx([0, 0, 1])  # ahead is the camera's z
    assert swap @ [0, 1, 0] == pytest.approx([-1, 0, 0])  # left is against its x
    assert swap @ [0, 0, 1] == pytest.approx([0, -1, 0])  # up is against its y


def test_cameras_have_dates_of_their_own(tmp_path):
    spec = replace(TINY, drives=3, cameras=2, indoors=replace(TINY.indoors, fov=(50.0, 80.0)), stills=Stills(0, 0), rate=5)
    collect(tmp_path / "set", spec)
    focals = {}
    for index in range(3):
        date = (tmp_path / "set" / drive_folder(spec, index)).parent
        text = (date / "calib_cam_to_cam.txt").read_text()
        focals[date.name] = float(next(line for line in text.splitlines() if line.startswith("P_rect_02")).split()[1])
    assert list(focals) == ["2026_01_01", "2026_01_02"]
    assert len({round(value, 6) for value in focals.values()}) == 2
    lines = (tmp_path / "set" / drive_folder(spec, 2) / "image_02" / "timestamps.txt").read_text().splitlines()
    assert lines[1].endswith("00:00:00.200000000")


def test_workers_and_resumption_change_nothing(made_tiny, tmp_path):
    out = tmp_path / "set"
    first = collect(out, TINY, workers=2)
    assert first.sha256 == made_tiny[1].sha256 == content_hash(out)
    shutil.rmtree(out / drive_folder(TINY, 0))
    (out / "videos" / "drive_0001.mp4").write_bytes(b"spoilt")
    next(out.glob("stills/test/office/*.jpg")).unlink()
    (out / "2026_01_01" / f"{TEMPORARY}1-x").mkdir()
    states = verify(out).states
    assert {name: state for name, state in states.items() if state != "sound"} == {
        "drive_0000": "altered",
        "drive_0001": "altered",
        "test/office/room_001": "missing",
        f"2026_01_01/{TEMPORARY}1-x": "half-written",
    }
    again = collect(out, TINY, resume=True)
    assert again.made == 3
    assert verify(out).whole
    assert again.sha256 == first.sha256 == content_hash(out)
    assert not list(out.rglob(f"{TEMPORARY}*"))


def test_a_drive_depends_on_nothing_but_its_number(made):
    """In a fresh process, alone, after another was made: the frames on disk."""
    script = f"""
import hashlib
from embodied_ssl.sim.drive.drive import drive, still_views
from embodied_ssl.sim.drive.spec import *
from embodied_ssl.sim.render.choose import process_renderer
spec = {SMALL!r}
renderer = process_renderer()
still_views(spec, "kitchen", 7, renderer)
for index in (2, 1):
    print(hashlib.sha256(drive(spec, index, renderer).frames.tobytes()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    expected = []
    for index in (2, 1):
        pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder_of(made, index).glob("image_02/data/*.png"))]
        expected.append(hashlib.sha256(np.ascontiguousarray(np.stack(pictures)).tobytes()).hexdigest())
    assert done.stdout.split() == expected


def test_an_interrupted_drive_leaves_no_half(tmp_path, made_tiny):
    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "set", TINY, on_progress=stop)
    assert list(Manifest.load(tmp_path / "set").pieces) == ["drive_0000"]
    assert collect(tmp_path / "set", TINY, resume=True).sha256 == made_tiny[1].sha256


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(TINY, drives=0), "--episodes is 0; give 1 or more"),
        (replace(TINY, size=(25, 32)), "video needs even numbers"),
        (replace(TINY, size=(8, 32)), "--size is 8 x 32; give 16 to 2048"),
        (replace(TINY, stills=Stills(views=0)), "1 to 100 views"),
        (replace(TINY, places="streets"), "no place 'streets', did you mean 'street'"),
        (replace(TINY, renderer="cycles"), "no renderer 'cycles'"),
        (replace(TINY, indoors=Indoors(kinds=("kitchn",))), "no kind of room 'kitchn', did you mean 'kitchen'"),
        (replace(TINY, indoors=Indoors(kinds=("gym", "gym"))), "named twice in gym,gym"),
        (replace(TINY, indoors=Indoors(height=(1.5, 1.0))), "indoors.height is 1.5 to 1; give two numbers of 0.1 to 2.2"),
        (replace(TINY, outdoors=Outdoors(junctions=2)), "junctions is 2; give 3 to 8"),
        (replace(TINY, look=Look(textures=2.0)), "look.textures is 2; give a share of 0 to 1"),
        (replace(TINY, rate=0), "rate is 0"),
        (replace(TINY, cameras=29), "cameras is 29"),
    ],
)
def test_requests_that_are_refused(tmp_path, spec, message):
    with pytest.raises(UserError, match=message):
        collect(tmp_path / "set", spec)
    assert not (tmp_path / "set").exists()


def test_folders_that_are_refused(made_tiny):
    with pytest.raises(UserError, match="pass --resume to continue or choose another --out"):
        collect(made_tiny[0], TINY)
    with pytest.raises(UserError, match="drives 2 there, 3 now"):
        collect(made_tiny[0], replace(TINY, drives=3), resume=True)


@pytest.mark.parametrize(
    "setting", ["places=both", "indoors.kinds=gym,shop", "outdoors.speed=6,12", "stills.train=0", "depth=true"]
)
def test_any_setting_can_be_given_by_its_name(setting):
    spec = spec_of(7, 1, "48", "tiny", (setting,))
    name, _, value = setting.partition("=")
    found = spec
    for word in name.split("."):
        found = getattr(found, word)
    words = ",".join(map(str, found)) if isinstance(found, tuple) else str(found)
    assert words.lower().replace(".0", "") == value
    assert (spec.drives, spec.seed, spec.size, spec.renderer) == (7, 1, (48, 48), "tiny")
    assert spec_of(7, 1, "", "auto").size == (96, 128)
    with pytest.raises(UserError, match=r"no setting 'indoor' in .*did you mean 'indoors'"):
        spec_of(7, 1, "", "auto", ("indoor.kinds=gym",))


def test_a_room_keeps_its_looks_from_view_to_view_and_another_has_others():
    renderer = process_renderer()
    (first, facts), (again, _) = (still_views(TINY, "office", 0, renderer) for _ in range(2))
    other, elsewhere = still_views(TINY, "office", 1, renderer)
    assert all((one.rgb == two.rgb).all() for one, two in zip(first, again, strict=True))
    assert (first[0].rgb != other[0].rgb).mean() > 0.5
    assert facts["light"] != elsewhere["light"]


def test_noise_is_as_strong_as_drawn():
    renderer = process_renderer()
    still = replace(TINY, look=Look(noise=(0.0, 0.0)))
    noisy = replace(TINY, look=Look(noise=(6.0, 6.0)))
    (one, _), (two, facts) = (still_views(spec, "office", 0, renderer) for spec in (still, noisy))
    middle = (one[0].rgb > 30) & (one[0].rgb < 225)
    difference = two[0].rgb.astype(float) - one[0].rgb
    assert difference[middle].std() == pytest.approx(6, rel=0.1)
    assert facts["noise"] == 6


@pytest.mark.parametrize("place", ["kitchen", "street"])
def test_both_renderers_see_the_same(place):
    spec = replace(TINY, look=Look(textures=0.0, shadows=0.0), stills=Stills(1, 1, 2, (48, 64)))
    gl, tiny = process_renderer(), process_renderer("tiny")
    if gl.name == "tiny":
        pytest.skip("there is no OpenGL here")
    for one, other in zip(*(still_views(spec, place, 0, renderer)[0] for renderer in (gl, tiny)), strict=True):
        assert (one.ids == other.ids).mean() > 0.97
        assert np.median(np.abs(one.depth - other.depth)) < 0.01
        assert np.median(np.abs(one.rgb.astype(int) - other.rgb)) <= 3
