"""KITTI raw: pictures and oxts are joined by number or time, calibration is the day's own, and bad rows cost only themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pykitti
import pytest
from moving import motions, spoil_oxts, stamp
from scipy.spatial.transform import Rotation

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.io.numbered import driven, tour
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.kitti_raw import KittiRaw, numbered_files, read_camera_from_imu, read_times, write_drive
from embodied_ssl.datasets.motion import SIX
from embodied_ssl.datasets.oxts import read_oxts
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim.drive.collect import collect
from embodied_ssl.sim.drive.spec import DriveSpec, Stills


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path, "0009", tour(30, 0), (24, 32))


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
    # Looking along the IMU's x axis.
    calibration = np.array([[0, -1, 0, 0.06], [0, 0, -1, 0], [1, 0, 0, -1.0], [0, 0, 0, 1]])
    imu = bare.drives[0].track.poses  # type: ignore[attr-defined]
    expected = poses.six(poses.conjugate(poses.relative(imu[0], imu[7]), calibration), "camera")[[0, 3]]
    assert source[0]["motions"][6] == pytest.approx(expected, abs=1e-12)
    assert source[0]["motions"][6, 1] == pytest.approx(bare[0]["motions"][6, 1], abs=1e-9)


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
    path.write_text("2011-09-26 13:02:25.964389445\n\n2011-09-26 13:02:26.164389446\n2011-13-26 29:02:26.2\n2011-09-26\n")
    times = read_times(path)
    assert list(times) == [0, 2]
    assert times[2] - times[0] == 200_000_001


# Calibration and pykitti


def write_calibration(date: Path, seed: int) -> None:
    """Calibration files of a made-up car: its sensors tilted and apart, its four cameras side by side."""
    draw = np.random.default_rng(seed)

    def line(name: str, values: np.ndarray) -> str:
        return f"{name}: {' '.join(f'{value:.15e}' for value in np.ravel(values))}\n"

    look = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    tilted = [poses.rotation(*draw.normal(0, 0.02, 3)) for _ in range(3)]
    text = "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
    for camera in range(4):
        focal, shift = draw.uniform(700, 730), draw.uniform(-400, 400)
        text += line(f"R_rect_{camera:02d}", tilted[0] if camera == 0 else poses.rotation(*draw.normal(0, 0.02, 3)))
        text += line(f"P_rect_{camera:02d}", np.array([[focal, 0, 609, shift], [0, focal, 172, 0.2], [0, 0, 1, 0.003]]))
    (date / "calib_cam_to_cam.txt").write_text(text)
    for name, turn in (("velo_to_cam", tilted[1] @ look), ("imu_to_velo", tilted[2])):
        head = "calib_time: 15-Mar-2012 11:37:16\n"
        (date / f"calib_{name}.txt").write_text(head + line("R", turn) + line("T", draw.normal(0, 0.5, 3)))


def test_each_day_and_camera_has_the_calibration_that_pykitti_finds(tmp_path: Path) -> None:
    for seed, date in enumerate(("2011_09_26", "2011_10_03")):
        write_drive(tmp_path, "0001", tour(8, 0), (8, 8), date)
        write_calibration(tmp_path / date, seed)
    seen = []
    for date in ("2011_09_26", "2011_10_03"):
        theirs = pykitti.raw(str(tmp_path), date, "0001").calib
        for camera in range(4):
            ours = read_camera_from_imu(tmp_path / date, camera)
            assert ours is not None
            np.testing.assert_allclose(ours, getattr(theirs, f"T_cam{camera}_imu"), atol=1e-12)
            seen.append(ours)
    assert len(np.unique(np.round(seen, 6), axis=0)) == 8


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("calib_velo_to_cam.txt", None, "", "no R of 9 numbers"),
        ("calib_velo_to_cam.txt", "T:", "X:", "no T of 3 numbers"),
        ("calib_imu_to_velo.txt", "R:", "R: 7 ", "no R of 9 numbers"),
        ("calib_cam_to_cam.txt", "P_rect_02", "P_rect_04", "no P_rect_02 of 12 numbers"),
        ("calib_cam_to_cam.txt", "R_rect_00:", "R_rect_00: 2 0 0 0 2 0 0 0 2\nother:", "R_rect_00 is not a rigid motion"),
        ("calib_cam_to_cam.txt", "P_rect_02:", "P_rect_02: 0 0 0 1 0 0 0 0 0 0 1 0\nother:", "P_rect_02 is not a pose"),
        ("calib_imu_to_velo.txt", None, None, "calib_imu_to_velo.txt is missing"),
    ],
)
def test_calibration_that_is_garbled_is_said_and_not_used(
    drive: Path, file: str, old: str | None, new: str | None, reason: str
) -> None:
    date = drive.parent
    write_calibration(date, 0)
    text = (date / file).read_text()
    (date / file).unlink()
    if new is not None:
        (date / file).write_text(text.replace(old, new) if old else new)
    source = KittiRaw(str(drive)).open()
    assert [item.name for item in source.bad] == [str(date)]
    assert reason in source.bad[0].reason
    assert "motion of the IMU" in source.name


def test_simulated_drives_are_read_like_any_other(tmp_path: Path) -> None:
    """Motion from oxts and calibration is that of the exact poses written beside them, whose axes are a camera's."""
    collect(tmp_path / "set", DriveSpec(drives=2, seed=3, size=(24, 32), stills=Stills(0, 0)))
    source = KittiRaw(str(tmp_path / "set"), camera=2, axes=tuple(axis.name for axis in SIX)).open()
    assert source.bad == []
    assert "motion of camera 2" in source.name
    truth = {path.parent.name: np.loadtxt(path) for path in (tmp_path / "set").rglob("poses.txt")}
    assert set(truth) == set(source.recordings)
    for index in range(0, len(source), 7):
        sample = source[index]
        track = poses.pose_rows(truth[source.recordings[index]])
        expected = poses.six(np.linalg.inv(track[sample["frame"]]) @ track[sample["later"]], "camera")
        np.testing.assert_allclose(sample["motions"], expected, atol=1e-6)
    turned = np.concatenate([source[i]["motions"][:, 3] for i in range(len(source))])
    assert turned.min() < -0.1
    assert turned.max() > 0.1


# What is bad


@pytest.mark.parametrize("pictures", [0, 1])
def test_drive_of_one_picture_stops_no_other(drive: Path, pictures: int) -> None:
    short = write_drive(drive.parent.parent, "0010", tour(5, 0), (24, 32))
    for number in range(pictures, 6):
        (short / "image_02" / "data" / f"{number:010d}.png").unlink()
    source = KittiRaw(str(drive.parent)).open()
    assert set(source.recordings) == {drive.name}
    assert [item.name for item in source.bad] == [str(short)]
    reason = "1 of its 1 pictures can be used, and motion needs two" if pictures else "no pictures in image_02/data"
    assert source.bad[0].reason == reason


def test_drive_whose_every_row_is_garbled_stops_no_other(drive: Path) -> None:
    other = write_drive(drive.parent.parent, "0010", tour(5, 0), (24, 32))
    for number in range(6):
        spoil_oxts(other, number, "1 2")
    source = KittiRaw(str(drive.parent)).open()
    assert set(source.recordings) == {drive.name}
    assert len(source.bad) == 7
    assert source.bad[-1].reason == "0 of its 6 pictures can be used, and motion needs two"


def test_where_everything_is_bad_the_first_reasons_are_named(drive: Path) -> None:
    for number in range(31):
        spoil_oxts(drive, number, "nan " * 30 if number else "1 2")
    with pytest.raises(UserError) as caught:
        KittiRaw(str(drive)).open()
    message = str(caught.value)
    assert "it has 2" in message
    assert "one is nan" in message
    assert "(and 29 more)" in message
    assert "accepted is DATE/" in message
    assert "\n" not in message


@pytest.mark.parametrize(("number", "seconds"), [(7, 50.0), (7, 20.0), (7, 25.6), (0, 50.0), (30, 20.0)])
def test_time_out_of_order_costs_one_picture(drive: Path, number: int, seconds: float) -> None:
    """A clock that runs ahead for one frame does not cost all those after it."""
    times = [25 + k / 10 for k in range(31)]
    times[number] = seconds
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(map(stamp, times)))
    source = KittiRaw(str(drive)).open()
    (item,) = source.bad
    assert item.reason == "its time is out of order"
    assert int(Path(item.name).stem) == number
    for index in range(len(source)):
        sample = source[index]
        files = sample["frames"].files
        spanned = range(int(files[sample["frame"]][:10]), int(files[sample["later"][-1]][:10]))
        assert number not in spanned
        assert (np.diff(sample["seconds"]) > 0).all()


def test_frame_without_a_time_is_left_out(drive: Path) -> None:
    lines = [stamp(25 + k / 10) for k in range(31)]
    lines[4], lines[6] = "", "2011-09-26 13:02"
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(lines))
    source = KittiRaw(str(drive)).open()
    assert [(Path(item.name).stem, item.reason) for item in source.bad] == [
        (f"{number:010d}", "has no time") for number in (4, 6)
    ]


@pytest.mark.parametrize("empty", [True, False])
def test_without_any_times_ten_frames_a_second_are_assumed_and_said(drive: Path, empty: bool) -> None:
    assert "assumed" not in KittiRaw(str(drive)).open().name
    for sensor in ("image_02", "oxts"):
        path = drive / sensor / "timestamps.txt"
        path.write_text("") if empty else path.unlink()
    source = KittiRaw(str(drive)).open()
    assert "10 frames a second assumed" in source.name
    assert source.bad == []
    assert source[0]["seconds"] == pytest.approx(np.arange(1, 11) / 10)


@pytest.mark.parametrize("empty", [4, 15])
def test_picture_of_another_size_or_empty_is_named_when_it_is_read(drive: Path, empty: int) -> None:
    """The first one is odd, and the one in the middle may be empty: neither decides for the others."""
    folder = drive / "image_02" / "data"
    (folder / f"{0:010d}.png").write_bytes(encode(driven(0, 0, (26, 32))))
    (folder / f"{empty:010d}.png").write_bytes(b"")
    frames = KittiRaw(str(drive), short_side=12).open()[0]["frames"]
    assert frames.take([1, 2, 30]).shape == (3, 12, 16, 3)
    with pytest.raises(BadItem, match=r"0000000000.png: \(26, 32\) pixels where the others have \(24, 32\)"):
        frames.take([0, 1])
    with pytest.raises(BadItem, match=f"{empty:010d}.png: empty file"):
        frames.take([empty, 5])


def test_days_may_have_pictures_of_different_sizes(tmp_path: Path) -> None:
    for date, size in {"2011_09_26": (24, 80), "2011_09_28": (23, 79)}.items():
        write_drive(tmp_path, "0001", tour(5, 0), size, date)
    source = KittiRaw(str(tmp_path), short_side=12).open()
    assert {source[i]["frames"].take([0]).shape[1:] for i in range(len(source))} == {(12, 40, 3), (12, 41, 3)}


# KITTI odometry was cut from some of these drives


def test_drives_of_the_odometry_benchmark_are_said_and_can_be_left_out(tmp_path: Path) -> None:
    for number in ("0016", "0020", "0021"):
        write_drive(tmp_path, number, tour(5, 0), (8, 8), "2011_09_30")
    source = KittiRaw(str(tmp_path)).open()
    assert "(with odometry 04, 06)" in source.name
    apart = KittiRaw(str(tmp_path), leave_out_odometry=True).open()
    assert set(apart.recordings) == {"2011_09_30_drive_0021_sync"}
    assert "odometry" not in apart.name
    assert [(Path(item.name).name[16:20], item.reason.split(",")[0]) for item in apart.bad] == [
        ("_001", "is sequence 04 of KITTI odometry"),
        ("_002", "is sequence 06 of KITTI odometry"),
    ]
    with pytest.raises(UserError, match="leave_out_odometry"):
        KittiRaw(str(tmp_path / "2011_09_30" / "2011_09_30_drive_0016_sync"), leave_out_odometry=True).open()


# The real extract


@pytest.fixture
def with_oxts(data_root: Path, tmp_path: Path) -> Path:
    """The real drive with oxts written from its own poses: those of the lidar, whose axes are the IMU's."""
    drive = data_root / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_SFND_sync"
    track = poses.unrounded(poses.pose_rows(np.loadtxt(drive / "poses_velodyne_kiss_icp_DERIVED.txt")))
    place = tmp_path / "2011_09_26" / drive.name
    (place / "oxts" / "data").mkdir(parents=True)
    (place / "image_02").symlink_to(drive / "image_02")
    turn = Rotation.from_matrix(track[:, :3, :3]).as_euler("ZYX")
    moved = np.linalg.norm(np.diff(track[:, :3, 3], axis=0), axis=1)
    speed = np.concatenate([moved, moved[-1:]]) * 10
    east, north, up = track[:, :3, 3].T
    rows = poses.oxts_rows(east, north, turn[:, 0], speed, 0.0, up, turn[:, 1], turn[:, 2])
    for number, row in enumerate(rows):
        spoil_oxts(place, number, " ".join(map(repr, row.tolist())))
    (place / "oxts" / "timestamps.txt").write_text("".join(stamp(20 + k / 10) + "\n" for k in range(len(rows))))
    write_calibration(place.parent, 5)
    return place


@pytest.mark.data
@pytest.mark.parametrize("camera", [0, 1, 2, 3])
def test_real_drive_moves_as_pykitti_says(with_oxts: Path, camera: int) -> None:
    theirs = pykitti.raw(str(with_oxts.parent.parent), "2011_09_26", "SFND", imtype="jpg")
    assert len(theirs.cam2_files) == len(theirs.oxts) == 78
    if camera != 2:
        (with_oxts / f"image_{camera:02d}").symlink_to(with_oxts / "image_02")
    source = KittiRaw(str(with_oxts), camera=camera, axes=tuple(axis.name for axis in SIX)).open()
    assert source.bad == []
    assert len(source) == 77
    assert (theirs.timestamps[10] - theirs.timestamps[0]).total_seconds() == source[0]["seconds"][9]
    from_imu = getattr(theirs.calib, f"T_cam{camera}_imu")
    cameras = [packet.T_w_imu @ np.linalg.inv(from_imu) for packet in theirs.oxts]
    for index in range(0, 77, 5):
        sample = source[index]
        moved = np.linalg.inv(cameras[sample["frame"]]) @ np.array(cameras)[sample["later"]]
        np.testing.assert_allclose(sample["motions"], said_plainly(moved), atol=1e-7)
    frames = source[0]["frames"]
    assert [Path(file).name for file in theirs.cam2_files] == frames.files
    assert frames.take([0, 40]).shape == (2, 96, 317, 3)


def said_plainly(motion: np.ndarray) -> np.ndarray:
    """Six numbers of a camera's motions [h, 4, 4]: where its axes point afterwards, in those it had (x right, y down)."""
    right, ahead, place = motion[:, :3, 0], motion[:, :3, 2], motion[:, :3, 3]
    yaw, pitch = np.arctan2(-ahead[:, 0], ahead[:, 2]), np.arcsin(-ahead[:, 1])
    level = np.stack([np.cos(yaw), np.zeros_like(yaw), np.sin(yaw)], -1)  # to the right of where it looks
    below = np.cross(ahead, level)
    roll = np.arctan2((right * below).sum(-1), (right * level).sum(-1))
    return np.stack([place[:, 2], -place[:, 0], -place[:, 1], yaw, pitch, roll], -1)


@pytest.mark.data
def test_real_drive_as_it_comes_has_no_motion(data_root: Path) -> None:
    with pytest.raises(UserError, match="no oxts"):
        KittiRaw(str(data_root / "kitti_raw")).open()


@pytest.mark.data
def test_real_drive_rolls_up_to_the_queue(with_oxts: Path) -> None:
    source = KittiRaw(str(with_oxts)).open()
    assert sum(source[i]["motions"][0, 0] for i in range(77)) == pytest.approx(7.6, abs=0.3)
    assert numbered_files(with_oxts / "oxts" / "data", frozenset({".txt"})).keys() == set(range(78))
    rows, bad = read_oxts(with_oxts / "oxts" / "data", {0: f"{0:010d}.txt", 1: "absent.txt"})
    assert np.isfinite(rows[0]).all()
    assert "cannot be read" in bad[0].reason
