"""Motion is right: arcs with known answers, an independent implementation, holes in the numbering, and real recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.io.numbered import tour
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.kitti_raw import KittiRaw, read_times, write_drive
from embodied_ssl.datasets.motion import SIX
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError

RADIUS = 6378137.0


def arc_rows(frames: int = 11) -> np.ndarray:
    """Oxts of an arc at 10 Hz, 10 m/s and 0.2 rad/s to the left, from heading 3.0 rad so that the yaw wraps around."""
    time = np.arange(frames) / 10
    heading = 3.0 + 0.2 * time
    east, north = 50 * (np.sin(heading) - np.sin(3.0)), -50 * (np.cos(heading) - np.cos(3.0))
    scale = np.cos(np.radians(49.011))
    mercator = RADIUS * scale * np.log(np.tan(np.pi * (90 + 49.011) / 360)) + north
    rows = np.zeros((frames, 30))
    rows[:, 0] = 360 / np.pi * np.arctan(np.exp(mercator / (RADIUS * scale))) - 90
    rows[:, 1] = 8.43 + east / (scale * RADIUS) * 180 / np.pi
    rows[:, 2] = 116.0
    rows[:, 5] = (heading + np.pi) % (2 * np.pi) - np.pi
    rows[:, 8], rows[:, 22] = 10.0, 0.2
    return rows


@pytest.mark.parametrize(
    ("first", "later", "yaw", "forward", "left"),
    [(0, 10, 0.2, 9.9335, 0.9967), (0, 1, 0.02, 0.9999, 0.0100), (5, 10, 0.1, 4.9917, 0.2498)],
)
def test_arc(first: int, later: int, yaw: float, forward: float, left: float) -> None:
    rows = arc_rows()
    assert rows[10, 5] < 0 < rows[0, 5]  # the naive difference of yaws is -6.083
    track = poses.oxts_poses(rows)
    motion = poses.relative(track[first], track[later])
    assert motion.dtype == np.float64
    assert poses.six(motion, "imu") == pytest.approx([forward, left, 0, yaw, 0, 0], abs=1e-4)


def test_float64_keeps_what_float32_loses() -> None:
    rows = arc_rows()
    coarse = poses.oxts_poses(rows.astype(np.float32))
    step = poses.six(poses.relative(coarse[:-1], coarse[1:]), "imu")[:, 0]
    exact = poses.oxts_poses(rows)
    fine = poses.six(poses.relative(exact[:-1], exact[1:]), "imu")[:, 0]
    assert np.abs(fine - 0.9999).max() < 1e-4
    assert np.abs(step - fine).max() > 0.03


def test_oxts_poses_agree_with_pykitti() -> None:
    utils = pytest.importorskip("pykitti.utils")
    draw = np.random.default_rng(0)
    rows = arc_rows(20)
    rows[:, 3:5] = draw.normal(0, 0.05, (20, 2))
    rows[:, 2] += draw.normal(0, 1, 20)
    scale = np.cos(rows[0, 0] * np.pi / 180.0)
    ours = poses.oxts_poses(rows)
    origin = None
    for row, pose in zip(rows, ours, strict=True):
        turn, place = utils.pose_from_oxts_packet(utils.OxtsPacket(*row), scale)
        origin = place if origin is None else origin
        assert np.allclose(pose[:3, :3], turn, atol=1e-12)
        assert np.allclose(pose[:3, 3], place - origin, atol=1e-6)


def test_oxts_rows_are_the_inverse() -> None:
    path = poses.walk(tour(30, 0))
    track = poses.oxts_poses(poses.oxts_rows(path[:, 0], path[:, 1], path[:, 2], 5.0, 0.0))
    assert np.allclose(track[:, :2, 3], path[:, :2], atol=1e-6)
    assert np.allclose(poses.oxts_rows(*arc_parts())[:, [0, 1, 5]], arc_rows()[:, [0, 1, 5]], atol=1e-12)


def arc_parts() -> tuple[np.ndarray, ...]:
    heading = 3.0 + 0.02 * np.arange(11)
    return 50 * np.sin(heading), -50 * np.cos(heading), heading, np.full(11, 10.0), np.full(11, 0.2)


# x right, y down, z forward of a camera that looks along the IMU's x axis and stands 1 m before it.
CAMERA_FROM_IMU = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -1.0], [0, 0, 0, 1]])
AT_THE_IMU = poses.rigid(np.eye(3), [1.0, 0, 0])  # moves that camera back to where the IMU is


def test_camera_motion_is_the_conjugate() -> None:
    track = poses.oxts_poses(arc_rows())
    motion = poses.relative(track[0], track[10])
    seen = poses.conjugate(motion, CAMERA_FROM_IMU)
    # The camera, 1 m ahead of the IMU, sweeps along: forward by cos(yaw) - 1, left by sin(yaw).
    expected = [9.9335 + np.cos(0.2) - 1, 0.9967 + np.sin(0.2), 0, 0.2, 0, 0]
    assert poses.six(seen, "camera") == pytest.approx(expected, abs=1e-4)


def test_six_numbers_say_a_motion_whole_whichever_axes_the_body_has() -> None:
    angles = np.random.default_rng(1).uniform(-1.5, 1.5, (3, 40))
    shift = np.random.default_rng(2).normal(size=(40, 3))
    turn = Rotation.from_euler("ZYX", np.stack([angles[0], -angles[1], angles[2]], -1)).as_matrix()
    motion = poses.rigid(turn, shift)
    expected = np.column_stack([shift, angles.T])
    np.testing.assert_allclose(poses.six(motion, "imu"), expected, atol=1e-12)
    np.testing.assert_allclose(poses.six(poses.conjugate(motion, CAMERA_FROM_IMU @ AT_THE_IMU), "camera"), expected, atol=1e-12)


def test_a_mirror_does_to_each_axis_what_is_said_of_it() -> None:
    """Left and right exchanged in the world: y becomes -y on both sides of the motion."""
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    angles = np.random.default_rng(3).uniform(-0.5, 0.5, (3, 20))
    motion = poses.rigid(poses.rotation(*angles), np.random.default_rng(4).normal(size=(20, 3)))
    mirrored = poses.six(mirror @ motion @ mirror, "imu")
    np.testing.assert_allclose(mirrored, poses.six(motion, "imu") * [axis.mirror for axis in SIX], atol=1e-12)


def test_same_drive_has_the_same_motion_under_every_heading() -> None:
    steps = tour(20, 0)
    path = poses.walk(steps)
    for heading in (0.0, 2.0, -3.0):
        cos, sin = np.cos(heading), np.sin(heading)
        east, north = path[:, 0] * cos - path[:, 1] * sin, path[:, 0] * sin + path[:, 1] * cos
        track = poses.oxts_poses(poses.oxts_rows(east, north, path[:, 2] + heading, 5.0, 0.0))
        moved = poses.six(poses.relative(track[:-1], track[1:]), "imu")
        assert moved[:, 3] == pytest.approx(steps[:, 1], abs=1e-9)
        assert moved[:, 0] == pytest.approx(steps[:, 0] * np.cos(steps[:, 1] / 2), abs=1e-6)


def test_inverse_and_rotation() -> None:
    angles = np.random.default_rng(1).uniform(-3, 3, (3, 50))
    turned = poses.rigid(poses.rotation(*angles), np.random.default_rng(2).normal(size=(50, 3)))
    assert np.allclose(poses.inverse(turned) @ turned, np.eye(4), atol=1e-12)
    assert poses.rotation(0, 0, 0.3) @ [1, 0, 0] == pytest.approx([np.cos(0.3), np.sin(0.3), 0])
    assert (poses.rotation(0, 0.1, 0) @ [1, 0, 0])[2] < 0  # positive pitch: front down
    assert (poses.rotation(0.1, 0, 0) @ [0, 1, 0])[2] > 0  # positive roll: left side up


# KITTI raw


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path, "0009", tour(30, 0), (24, 32))


def motions(source: Source, recording: str = "") -> dict[str, np.ndarray]:
    """The motion to the next frame, by the picture's name; of one recording, or of the only one."""
    chosen = [source[i] for i in range(len(source)) if recording in ("", source.recordings[i])]
    return {sample["frames"].files[sample["frame"]]: sample["motions"][0] for sample in chosen}


def test_missing_files_are_joined_by_number(drive: Path) -> None:
    whole = motions(KittiRaw(str(drive.parent.parent)).open())
    (drive / "image_02" / "data" / f"{5:010d}.png").unlink()
    (drive / "oxts" / "data" / f"{12:010d}.txt").unlink()
    source = KittiRaw(str(drive.parent.parent)).open()
    assert [item.name.rsplit("/", 1)[1] for item in source.bad] == [f"{12:010d}.png"]
    assert "no row of oxts" in source.bad[0].reason
    holed = motions(source)
    for name, motion in holed.items():
        if name not in (f"{4:010d}.png", f"{11:010d}.png"):
            assert motion == pytest.approx(whole[name], abs=1e-9)
    assert holed[f"{4:010d}.png"][0] == pytest.approx(2 * whole[f"{4:010d}.png"][0], rel=0.01)
    sample = source[4]
    assert sample["seconds"][0] == pytest.approx(0.2)


def test_garbled_oxts_are_listed(drive: Path) -> None:
    (drive / "oxts" / "data" / f"{3:010d}.txt").write_text("1 2 3")
    (drive / "oxts" / "data" / f"{8:010d}.txt").write_text("nan " * 30)
    source = KittiRaw(str(drive)).open()
    assert sum("not a row of 30 numbers" in item.reason for item in source.bad) == 2
    assert len(source[0]["frames"]) == 29


def test_root_may_be_any_of_three(drive: Path) -> None:
    names = {KittiRaw(str(place)).open().recordings[0] for place in (drive, drive.parent, drive.parent.parent)}
    assert names == {"2011_09_26_drive_0009_sync"}


def test_gps_jump_cuts_pairs(drive: Path) -> None:
    for number in range(15, 31):
        path = drive / "oxts" / "data" / f"{number:010d}.txt"
        row = [float(value) for value in path.read_text().split()]
        row[1] += 3 / (RADIUS * np.cos(np.radians(49.011))) * 180 / np.pi  # 3 m to the east, all at once
        path.write_text(" ".join(repr(float(value)) for value in row))
    source = KittiRaw(str(drive)).open()
    (jump,) = source.bad
    assert "0000000014.png and 0000000015.png" in jump.reason
    for index in range(len(source)):
        sample = source[index]
        assert sample["frame"] > 14 or sample["later"][-1] <= 14
    assert len(source) == 29  # all but the last before the jump, and the last


def test_drive_without_oxts_is_listed_and_all_such_refused(drive: Path, tmp_path: Path) -> None:
    other = write_drive(tmp_path, "0010", tour(10, 0), (24, 32))
    for path in (other / "oxts" / "data").iterdir():
        path.unlink()
    source = KittiRaw(str(tmp_path)).open()
    assert [item.reason for item in source.bad] == ["no oxts/data: the car's motion is unknown"]
    with pytest.raises(UserError, match="motion is unknown"):
        KittiRaw(str(other)).open()
    with pytest.raises(UserError, match="no pictures in image_03"):
        KittiRaw(str(tmp_path), camera=3).open()


def test_calibration_gives_the_camera_s_motion(drive: Path) -> None:
    bare = KittiRaw(str(drive)).open()
    assert "IMU" in bare.name
    identity = "R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n"
    turn = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 -1\n"
    (drive.parent / "calib_imu_to_velo.txt").write_text("calib_time: 25-May-2012 16:47:16\n" + identity)
    (drive.parent / "calib_velo_to_cam.txt").write_text("calib_time: 15-Mar-2012 11:37:16\n" + turn)
    cameras = "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 700 0 600 42 0 700 180 0 0 0 1 0\n"
    (drive.parent / "calib_cam_to_cam.txt").write_text("calib_time: 09-Jan-2012 13:57:47\n" + cameras)
    source = KittiRaw(str(drive)).open()
    assert "motion of camera 2" in source.name
    # 1 m ahead of the IMU and 42 / 700 m to its left: what both add to a motion by turning.
    calibration = poses.rigid(np.eye(3), [0.06, 0, 0]) @ CAMERA_FROM_IMU
    imu = bare.drives[0].track.poses  # type: ignore[attr-defined]
    expected = poses.six(poses.conjugate(poses.relative(imu[0], imu[7]), calibration), "camera")[[0, 3]]
    assert source[0]["motions"][6] == pytest.approx(expected, abs=1e-12)
    assert source[0]["motions"][6, 1] == pytest.approx(bare[0]["motions"][6, 1], abs=1e-9)


def test_unsynchronised_drive_is_joined_by_time(tmp_path: Path) -> None:
    # Ten rows of oxts for each picture, numbered on their own.
    fine = write_drive(tmp_path, "0001", tour(300, 0, forward=0.05, turn=0.003), (8, 8))
    place = fine.rename(fine.parent / "2011_09_26_drive_0001_extract")
    stamp = "2011-09-26 13:02:{:012.9f}".format
    (place / "oxts" / "timestamps.txt").write_text("\n".join(stamp(25 + k / 100) for k in range(301)))
    for number in range(31, 301):
        (place / "image_02" / "data" / f"{number:010d}.png").unlink()
    (place / "image_02" / "timestamps.txt").write_text("\n".join(stamp(25.004 + k / 10) for k in range(31)))
    (place / "oxts" / "data" / f"{50:010d}.txt").unlink()
    for path in (place / "oxts" / "data").iterdir():  # as driven at 100 Hz
        row = path.read_text().split()
        row[8], row[22] = repr(float(row[8]) * 10), repr(float(row[22]) * 10)
        path.write_text(" ".join(row))
    source = KittiRaw(str(place)).open()
    assert source.bad == []
    sample = source[10]
    assert sample["motions"][0] == pytest.approx([0.5, 0.0], abs=1e-3)
    assert source[0]["motions"][0, 1] == pytest.approx(0.03, abs=1e-6)


def test_drive_across_midnight(drive: Path) -> None:
    times = [f"2011-09-26 23:59:59.{k}00000000" for k in range(10)] + [
        f"2011-09-27 00:00:0{k // 10}.{k % 10}00000000" for k in range(21)
    ]
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(times))
    source = KittiRaw(str(drive)).open()
    assert source.bad == []
    assert source[5]["seconds"] == pytest.approx(np.arange(1, 11) / 10)


def test_timestamps_keep_nanoseconds_and_holes(tmp_path: Path) -> None:
    path = tmp_path / "timestamps.txt"
    path.write_text("2011-09-26 13:02:25.964389445\n\n2011-09-26 13:02:26.164389446")
    times = read_times(path)
    assert list(times) == [0, 2]
    assert times[2] - times[0] == 200_000_001


@pytest.mark.data
def test_real_raw_drive_with_made_up_oxts(data_root: Path, tmp_path: Path) -> None:
    drive = data_root / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_SFND_sync"
    with pytest.raises(UserError, match="no oxts"):
        KittiRaw(str(data_root / "kitti_raw")).open()
    velodyne = poses.pose_rows(np.loadtxt(drive / "poses_velodyne_kiss_icp_DERIVED.txt"))
    place = tmp_path / "2011_09_26" / drive.name
    (place / "oxts" / "data").mkdir(parents=True)
    (place / "image_02").symlink_to(drive / "image_02")
    yaw = np.arctan2(velodyne[:, 1, 0], velodyne[:, 0, 0])
    moved = np.linalg.norm(np.diff(velodyne[:, :3, 3], axis=0), axis=1)
    speed = np.concatenate([moved, moved[-1:]]) * 10
    for number, row in enumerate(poses.oxts_rows(velodyne[:, 0, 3], velodyne[:, 1, 3], yaw, speed, 0.0)):
        (place / "oxts" / "data" / f"{number:010d}.txt").write_text(" ".join(map(repr, row.tolist())))
    source = KittiRaw(str(tmp_path)).open()
    assert len(source) == 77
    assert source[0]["frames"].take([0, 40]).shape == (2, 96, 317, 3)
    assert sum(source[i]["motions"][0, 0] for i in range(77)) == pytest.approx(7.6, abs=0.3)


# KITTI odometry


@pytest.mark.data
def test_real_odometry_sequence(data_root: Path) -> None:
    source = KittiOdometry(str(data_root / "kitti_odometry")).open()
    assert len(source) == 50
    assert "10 frames a second assumed" in source.name
    steps = np.array([source[i]["motions"][0] for i in range(50)])
    assert steps[:, 0].mean() == pytest.approx(1.0, abs=0.1)  # the data's own note: about 1.0 m a frame
    assert np.degrees(np.abs(steps[:20, 1])).max() == pytest.approx(2.7, abs=0.2)
    # By the picture: in a bend the far scene slides against the turn.
    assert np.corrcoef(steps[:49, 1], _slides(source, 49))[0, 1] > 0.7
    assert len(KittiOdometry(str(data_root / "kitti_odometry")).open("held_out")) == 0
    pixels = source[0]["frames"].take([0])[0]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def _slides(source: Source, count: int) -> list[float]:
    """How far the picture's content moves to the right from each frame to the next, in pixels, by phase correlation."""
    cv2 = pytest.importorskip("cv2")
    slides = []
    for index in range(count):
        sample = source[index]
        pair = sample["frames"].take([sample["frame"], sample["later"][0]]).astype(np.float32).mean(-1)
        upper = pair[:, : pair.shape[1] * 2 // 3]
        window = cv2.createHanningWindow(upper.shape[:0:-1], cv2.CV_32F)
        slides.append(cv2.phaseCorrelate(upper[0], upper[1], window)[0][0])
    return slides


def test_official_layout_joins_by_number(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    whole = motions(spec.open(), "00")
    assert [yaw for _, yaw in whole.values()] == pytest.approx(tour(30, 0)[:, 1], abs=1e-6)
    (tmp_path / "sequences" / "00" / "image_2" / "000007.png").unlink()
    (tmp_path / "poses" / "04.txt").unlink()
    source = spec.open()
    assert ["no ground-truth poses" in item.reason for item in source.bad] == [True]
    assert set(source.recordings) == {"00", "01", "02", "03"}
    holed = motions(source, "00")
    assert "000007.png" not in holed
    assert holed["000006.png"][0] == pytest.approx(1.0, abs=0.01)
    for name in ("000005.png", "000008.png", "000029.png"):
        assert holed[name] == pytest.approx(whole[name], abs=1e-9)


def test_second_camera_is_conjugated_sideways(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    plain = spec.open()[0]["motions"][5]
    (tmp_path / "sequences" / "00" / "calib.txt").write_text("P2: 700 0 600 -350 0 700 180 0 0 0 1 0\n")
    moved = spec.open()[0]["motions"][5]
    assert moved[1] == pytest.approx(plain[1], abs=1e-9)
    # Half a metre right of the reference camera: in a left turn it goes further forward.
    assert moved[0] - plain[0] == pytest.approx(0.5 * np.sin(plain[1]), abs=1e-6)


def test_garbled_poses_are_a_bad_sequence(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    path = tmp_path / "poses" / "02.txt"
    lines = path.read_text().splitlines()
    lines[3] = "1 2 three"
    path.write_text("\n".join(lines))
    source = spec.open()
    assert [item.name for item in source.bad] == [f"{path}:4"]
    assert "02" not in source.recordings


def test_missing_camera_is_said(tmp_path: Path) -> None:
    KittiOdometry.tiny(tmp_path)
    with pytest.raises(UserError, match="image_0"):
        KittiOdometry(str(tmp_path), camera=0).open()


# donkeycar

Write = Callable[..., Path]


def write_tub(folder: Path, records: list[dict[str, object] | str], pictures: set[int] | None = None) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = []
    for record in records:
        lines.append(record if isinstance(record, str) else json.dumps(record))
        if isinstance(record, dict) and (pictures is None or record["_index"] in pictures):
            (folder / "images" / str(record["cam/image_array"])).write_bytes(b"never read")
    (folder / "catalog_0.catalog").write_text("\n".join(lines) + "\n")
    return folder


def record(number: int, angle: float = 0.5, throttle: float = 0.4, milliseconds: int | None = None) -> dict[str, object]:
    time = 50 * number if milliseconds is None else milliseconds
    picture = f"{number}_cam_image_array_.jpg"
    return {"_index": number, "_timestamp_ms": time, "cam/image_array": picture, "user/angle": angle, "user/throttle": throttle}


def test_commands_are_summed_over_time_and_left_is_positive(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(k, angle=0.1 * k, throttle=0.2) for k in range(12)])
    sample = Donkeycar(str(tub)).open()[2]
    angles = 0.1 * np.arange(2, 11)
    assert sample["motions"][:, 0] == pytest.approx(0.2 * 0.05 * np.arange(1, 10))
    assert sample["motions"][:, 1] == pytest.approx(-np.cumsum(angles) * 0.05)
    flipped = Donkeycar(str(tub), flip_steering=("tub",)).open()[2]
    assert flipped["motions"][:, 1] == pytest.approx(np.cumsum(angles) * 0.05)


def test_gaps_and_pauses_start_another_recording(tmp_path: Path) -> None:
    times = {number: 50 * number for number in range(30)}
    times |= {number: times[number] + 600 for number in range(20, 30)}  # a pause before 20
    tub = write_tub(tmp_path / "tub", [record(k, milliseconds=times[k]) for k in range(30) if k not in (9, 10)])
    source = Donkeycar(str(tub)).open()
    assert {name: source.recordings.count(name) for name in source.recordings} == {"tub/0": 8, "tub/11": 8, "tub/20": 9}


def test_corrupt_lines_and_missing_pictures_are_listed(tmp_path: Path) -> None:
    lines: list[dict[str, object] | str] = [record(number) for number in range(20)]
    lines[4] = '{"_index": 4, "_timestamp_ms": 2'
    lines[15] = json.dumps({"_index": 15, "user/angle": None})
    tub = write_tub(tmp_path / "tub", lines, pictures=set(range(20)) - {8})
    source = Donkeycar(str(tub)).open()
    assert [item.name.rsplit("/", 1)[1] for item in source.bad] == [
        "catalog_0.catalog:5",
        "catalog_0.catalog:16",
        "8_cam_image_array_.jpg",
    ]
    assert set(source.recordings) == {"tub/0", "tub/5", "tub/16"}
    # The command given at the missing picture still counts.
    index = next(i for i in range(len(source)) if source[i]["frames"].files[source[i]["frame"]].startswith("7_"))
    assert source[index]["motions"][0] == pytest.approx([0.4 * 0.1, -0.5 * 0.1])


def test_deleted_records_are_left_out(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(number) for number in range(20)])
    (tub / "manifest.json").write_text('["cam/image_array"]\n{"paths": ["catalog_0.catalog"], "deleted_indexes": [10, 11]}\n')
    assert set(Donkeycar(str(tub)).open().recordings) == {"tub/0", "tub/12"}


@pytest.mark.data
@pytest.mark.parametrize(("tub", "count"), [("garage_csc3520", 3600), ("parquet_mycar4", 2043)])
def test_real_steering_follows_the_picture(data_root: Path, tub: str, count: int) -> None:
    source = Donkeycar(str(data_root / "donkeycar" / tub)).open()
    assert source.bad == []
    frames = {id(source[i]["frames"]): len(source[i]["frames"]) for i in range(len(source))}
    assert count - 20 <= sum(frames.values()) <= count
    # Left steering moves the content to the right; the same test told that positive steering is to the right.
    chosen = range(0, len(source), len(source) // 250)
    slides, steering = [], []
    for index in chosen:
        slides += _slides(_One(source, index), 1)
        steering.append(source[index]["motions"][0, 1] / source[index]["seconds"][0])
    usable = np.abs(slides) < 30  # phase correlation that found nothing answers anywhere
    assert np.corrcoef(np.array(slides)[usable], np.array(steering)[usable])[0, 1] > 0.25


@pytest.mark.data
@pytest.mark.parametrize("tub", ["garage_csc3520", "parquet_mycar4"])
def test_real_throttle_forward_makes_the_picture_grow(data_root: Path, tub: str) -> None:
    """parquet_mycar4 drives forward at negative throttle: taken as it stands, it would seem to reverse all day."""
    source = Donkeycar(str(data_root / "donkeycar" / tub)).open()
    growths = []
    for index in range(0, len(source), max(1, len(source) // 300)):
        sample = source[index]
        forward, left = sample["motions"][0] / sample["seconds"][0]
        if abs(left) > 0.25 or forward < 0.3:
            continue
        first, later = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in sample["frames"].take([sample["frame"], sample["later"][0]]))
        flow = cv2.calcOpticalFlowFarneback(first, later, None, 0.5, 3, 15, 3, 5, 1.2, 0)[len(first) // 2 :]
        across = np.arange(first.shape[1]) - first.shape[1] / 2
        growths.append((flow[..., 0] * across).sum() / (across**2).sum() / len(flow))
    assert len(growths) >= 20
    assert np.mean(np.array(growths) > 0) > 0.65


class _One:
    """One sample of a source, as a source."""

    def __init__(self, source: Source, index: int) -> None:
        self.sample = source[index]

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.sample
