"""Drives: poses that readers of KITTI get back, balanced turns, and rooms that are kept apart."""

import datetime
import importlib.util
import shutil

import av
import cv2
import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.keys import generator
from embodied_ssl.sim.drive import collect as module
from embodied_ssl.sim.drive import kitti
from embodied_ssl.sim.drive.collect import (
    collect_drives,
    content_hash,
    draw_motion,
    draw_track,
    drive_folder,
    integrate,
    still_views,
)
from embodied_ssl.sim.drive.rooms import KINDS, furnish
from embodied_ssl.sim.store import Manifest

SMALL = {"drives": 2, "size": (24, 32), "still_size": (24, 32), "train_rooms": 2, "test_rooms": 1, "views": 2, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("drives") / "set"
    return out, collect_drives(out, **SMALL)


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


@pytest.mark.parametrize("index", [0, 1])
def test_packets_give_the_poses_back(made, index):
    folder = made[0] / drive_folder(index)
    imu, truth = poses_of(read_oxts(folder)), read_poses(folder)
    swap = np.eye(4)
    swap[:3, :3] = kitti.IMU_FROM_CAMERA
    camera = np.linalg.inv(swap) @ imu @ swap
    assert np.abs(camera[:, :3, 3] - truth[:, :, 3]).max() < 1e-4  # metres
    assert np.abs(camera[:, :3, :3] - truth[:, :, :3]).max() < 1e-9
    assert truth[0] == pytest.approx(np.eye(4)[:3])


def test_an_arc_has_the_motion_that_it_should():
    # 10 m/s, 0.2 rad/s, across the wrap at pi: ten frames make 0.2 rad, v/w sin and v/w (1 - cos).
    track = integrate(np.zeros(2), 3.0, np.full(11, 10.0), np.full(11, 0.2), 0.0)
    motion = poses_of(kitti.oxts(track))[10]
    assert np.arctan2(motion[1, 0], motion[0, 0]) == pytest.approx(0.2)
    assert motion[:2, 3] == pytest.approx([9.9335, 0.9967], abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("pykitti") is None, reason="pykitti is in the dev extra")
def test_pykitti_reads_a_drive(made):
    import pykitti

    raw = pykitti.raw(str(made[0]), kitti.DATE, "0001")
    truth = read_poses(made[0] / drive_folder(1))
    assert len(raw) == len(raw.cam2_files) == len(truth)
    poses = [packet.T_w_imu @ np.linalg.inv(raw.calib.T_cam2_imu) for packet in raw.oxts]
    camera = np.linalg.inv(poses[0]) @ np.array(poses)
    assert np.abs(camera[:, :3] - truth).max() < 1e-4
    assert (raw.timestamps[10] - raw.timestamps[0]).total_seconds() == pytest.approx(1.0)
    assert raw.calib.K_cam2[0, 2] == 16
    assert raw.get_cam2(0).size == (32, 24)


def test_packets_agree_with_themselves(made):
    rows = read_oxts(made[0] / drive_folder(0))
    assert rows.shape[1] == 30
    assert np.hypot(rows[:, 6], rows[:, 7]) == pytest.approx(np.abs(rows[:, 8]))
    steps = np.linalg.norm(np.diff(poses_of(rows)[:, :3, 3], axis=0), axis=1)
    assert np.abs(steps * 10 - rows[:-1, 8]).max() < 0.01
    turns = np.diff(np.unwrap(rows[:, 5]))
    assert turns * 10 == pytest.approx(rows[:-1, 22], abs=1e-6)


def test_every_drive_goes_straight_and_turns_both_ways_alike():
    totals = np.zeros(3)
    for index in range(40):
        speed, turn = draw_motion(generator("motion", index))
        assert 40 <= len(turn) == len(speed) <= 60
        counts = np.array([(turn > 0.3).sum(), (turn < -0.3).sum(), (np.abs(turn) < 0.1).sum()])
        assert counts.min() >= 3
        totals += counts
    assert totals[0] == pytest.approx(totals[1], rel=0.1)
    assert totals.min() > 0.15 * totals.sum()


def test_a_left_turn_moves_the_scene_to_the_right():
    room = furnish("kitchen", generator("left", 1))
    world = module.shared_world()
    room.build(world)
    here, left = (world.look(module.eye((0, 0, 1.2), yaw, (48, 64)), room.light).rgb.astype(float) for yaw in (0.0, 0.1))
    shift = 6  # 0.1 rad times a focal length of 38 pixels is 3.8; compare moving right with moving left
    right, wrong = np.abs(left[:, shift:] - here[:, :-shift]).mean(), np.abs(left[:, :-shift] - here[:, shift:]).mean()
    assert right < wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_keeps_off_everything(kind):
    for number in range(3):
        rng = generator("track", kind, number)
        room = furnish(kind, rng)
        track = draw_track(room, rng)
        assert room.free(track.position[:, :2]).all()
        inside = np.abs(track.position[:, :2]) < np.array([room.width, room.depth]) / 2
        assert inside.all()
        assert room.sure >= 1


def test_layout(made):
    out, summary = made
    folder = out / drive_folder(0)
    frames = sorted(folder.glob("image_02/data/*.png"))
    n = len(read_poses(folder))
    assert [path.name for path in frames] == [f"{k:010d}.png" for k in range(n)]
    assert cv2.imread(str(frames[0])).shape == (24, 32, 3)
    for clock in ("image_02", "oxts"):
        lines = (folder / clock / "timestamps.txt").read_text().splitlines()
        times = [datetime.datetime.fromisoformat(line[:26]) for line in lines]
        assert len(lines) == n
        assert (times[10] - times[0]).total_seconds() == 1
    stills = sorted(path.relative_to(out / "stills").parts for path in out.glob("stills/*/*/*.jpg"))
    rooms = {part: {(kind, name[:8]) for p, kind, name in stills if p == part} for part in ("train", "test")}
    assert {kind for _, kind, _ in stills} == set(KINDS)
    assert not rooms["train"] & rooms["test"]
    assert len(stills) == 6 * 3 * 2
    assert summary.total == 2 + 18


def test_the_video_has_a_frame_for_every_pose_and_shows_the_same(made):
    folder = made[0] / drive_folder(1)
    with av.open(str(made[0] / "videos" / "drive_0001.mp4")) as container:
        assert container.streams.video[0].average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(read_poses(folder))
    pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder.glob("image_02/data/*.png"))]
    errors = [[np.abs(frame.astype(float) - picture).mean() for picture in pictures] for frame in frames]
    assert np.diag(errors).max() < 15
    assert (np.argmin(errors, axis=1) == np.arange(len(frames))).mean() > 0.9


def test_calibration_is_a_camera_and_a_swap_of_axes(made):
    text = (made[0] / kitti.DATE / "calib_velo_to_cam.txt").read_text()
    swap = np.array(next(line for line in text.splitlines() if line.startswith("R:")).split()[1:], float).reshape(3, 3)
    assert swap @ [1, 0, 0] == pytest.approx([0, 0, 1])  # ahead is the camera's z
    assert swap @ [0, 1, 0] == pytest.approx([-1, 0, 0])  # left is against its x
    assert swap @ [0, 0, 1] == pytest.approx([0, -1, 0])  # up is against its y


def test_workers_and_resumption_change_nothing(made, tmp_path):
    out = tmp_path / "set"
    first = collect_drives(out, **SMALL, workers=2)
    assert first.sha256 == made[1].sha256 == content_hash(out)
    shutil.rmtree(out / drive_folder(0))
    (out / "videos" / "drive_0001.mp4").write_bytes(b"spoilt")
    next(out.glob("stills/test/office/*.jpg")).unlink()
    (out / kitti.DATE / f"{TEMPORARY}1-x").mkdir()
    again = collect_drives(out, **SMALL, resume=True)
    assert again.made == 3
    assert again.sha256 == first.sha256 == content_hash(out)
    assert not list(out.rglob(f"{TEMPORARY}*"))


def test_an_interrupted_drive_leaves_no_half(tmp_path, made):
    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_drives(tmp_path / "set", **SMALL, on_progress=stop)
    assert list(Manifest.load(tmp_path / "set").pieces) == ["drive_0000"]
    assert collect_drives(tmp_path / "set", **SMALL, resume=True).sha256 == made[1].sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drives": 0}, "--episodes is 0"),
        ({"size": (25, 32)}, "video needs even numbers"),
        ({"views": 0}, "1 to 100 views"),
    ],
)
def test_requests_that_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        collect_drives(tmp_path / "set", **{**SMALL, **change})
    assert not (tmp_path / "set").exists()


def test_folders_that_are_refused(made):
    with pytest.raises(UserError, match="pass --resume to continue or choose another --out"):
        collect_drives(made[0], **SMALL)
    with pytest.raises(UserError, match="drives 2 there, 3 now"):
        collect_drives(made[0], **{**SMALL, "drives": 3}, resume=True)


def test_rooms_of_a_kind_differ_and_repeat():
    first, again = still_views(0, "office", 0, 1, (24, 32)), still_views(0, "office", 0, 1, (24, 32))
    other = still_views(0, "office", 1, 1, (24, 32))
    assert (first[0].rgb == again[0].rgb).all()
    assert (first[0].rgb != other[0].rgb).mean() > 0.5
