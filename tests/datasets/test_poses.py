"""Motion is right: arcs with known answers, an independent implementation, and what a mirror and a heading do to it."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from moving import arc_rows
from pykitti import utils
from scipy.spatial.transform import Rotation

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.drives import Drive, Drives, PoseTrack, line_up, rising
from embodied_ssl.datasets.io.number_rows import faulty_lines, read_rows
from embodied_ssl.datasets.io.numbered import tour
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.motion import SIX
from embodied_ssl.errors import BadItem


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


def test_camera_walks_as_told() -> None:
    """In camera axes: a left turn is a negative one about y (down), looking up a positive one about x (right)."""
    steps = tour(12, 0)
    pitch = np.linspace(0, 0.3, 13)
    track = poses.camera_walk(steps, pitch)
    turn = Rotation.from_euler("YX", np.stack([-poses.walk(steps)[:, 2], pitch], -1)).as_matrix()
    np.testing.assert_allclose(track[:, :3, :3], turn, atol=1e-12)
    np.testing.assert_allclose(track[:, [2, 0, 1], 3], poses.walk(steps)[:, :2] @ [[1, 0, 0], [0, -1, 0]], atol=1e-12)
    level = poses.six(poses.relative(*(poses.camera_walk(steps)[k] for k in (slice(None, -1), slice(1, None)))), "camera")
    np.testing.assert_allclose(level[:, 3], steps[:, 1], atol=1e-12)


# What is no pose


def pose() -> np.ndarray:
    return poses.rigid(poses.rotation(0.3, -0.2, 1.0), [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ((0, 3), np.nan, "a number is not finite"),
        ((1, 1), -np.inf, "a number is not finite"),
        ((3, 3), 0.0, "the last row is not 0 0 0 1"),
        ((3, 0), 0.1, "the last row is not 0 0 0 1"),
        ((0, 0), 5.0, "R^T R is off the identity"),
        ((slice(0, 3), slice(0, 3)), 0.0, "R^T R is off the identity by 1"),
        ((slice(0, 3), slice(0, 3)), np.eye(3) * 1.02, "R^T R is off the identity by 0.04"),
        ((slice(0, 3), slice(0, 3)), np.diag([1, 1, -1]), "it mirrors (det R = -1)"),
        ((slice(0, 3), slice(0, 3)), -np.eye(3), "it mirrors (det R = -1)"),
    ],
)
def test_matrix_that_is_no_pose_is_told(entry: tuple[int | slice, int | slice], value: np.ndarray | float, reason: str) -> None:
    whole = pose()
    assert poses.fault(whole) == ""
    whole[entry] = value
    assert reason in poses.fault(whole)


def test_rounded_poses_are_brought_to_the_nearest_rotation() -> None:
    """As scipy finds it; at three digits they still pass."""
    for digits in (7, 5, 3):
        rounded = np.round(pose(), digits)
        assert poses.fault(rounded) == ""
        mended = poses.unrounded(rounded[None])[0]
        turn = mended[:3, :3]
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-12)
        assert np.abs(turn - pose()[:3, :3]).max() < 1.01 * 10**-digits
        np.testing.assert_allclose(turn, Rotation.from_matrix(rounded[:3, :3]).as_matrix(), atol=10.0 ** (-2 * digits + 1))
        np.testing.assert_array_equal(mended[:3, 3], rounded[:3, 3])


# Times and holes


def test_as_few_times_as_possible_are_left_out() -> None:
    """Against every choice there is."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        times = draw.integers(0, 6, draw.integers(0, 9)).tolist()
        chosen = rising(times)
        assert chosen == sorted(set(chosen))
        assert all(times[one] < times[other] for one, other in pairwise(chosen))
        longest = max(
            (k for k in range(len(times) + 1) for part in combinations(times, k) if list(part) == sorted(set(part))), default=0
        )
        assert len(chosen) == longest


def test_no_pair_reaches_across_what_is_left_out() -> None:
    found = line_up([0, 1, 2, 9, 4, 5, 5, 6], [True, False, True, True, True, True, True, True])
    assert found.kept == [0, 2, 4, 5, 7]
    assert found.late == [3, 6]
    assert found.breaks == (0, 1, 3)
    nothing = line_up([], [])
    assert (nothing.kept, nothing.breaks, nothing.late) == ([], (), [])


def test_drive_too_slow_for_the_horizon_is_said() -> None:
    def drive(name: str, step: float) -> Drive:
        frames = PictureSequence("x", ["a", "b", "c"], np.arange(3) * step)
        return Drive(name, frames, PoseTrack(np.tile(np.eye(4), (3, 1, 1)), "imu"))

    given = [BadItem("other", "is bad")]
    source = Drives("drives", [drive("fast", 0.1), drive("slow", 3.0)], 1.0, "metres, radians", given, "all")
    assert list(source.recordings) == ["fast", "fast"]
    assert [str(item) for item in source.bad] == ["other: is bad", "slow: no two frames within 1 s"]
    assert len(given) == 1


def test_recordings_are_held_out_as_a_data_set_says() -> None:
    frames = PictureSequence("x", ["a", "b"], np.arange(2) / 10)
    drives = [Drive(name, frames, PoseTrack(np.tile(np.eye(4), (2, 1, 1)), "imu")) for name in "abcd"]

    def names(split: str, held_out: set[str] | None) -> list[str]:
        return list(Drives("d", drives, 1.0, "", [], split, held_out=held_out).recordings)  # type: ignore[arg-type]

    assert names("held_out", {"b", "d"}) == ["b", "d"]
    assert names("train", {"b", "d"}) == ["a", "c"]
    assert names("all", {"b", "d"}) == ["a", "b", "c", "d"]
    assert len(names("held_out", None)) == 1


def test_garbled_rows_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("# x y\n1 2\n\n1\n2\n3\nnan 1\n4 5\n1 x\n")
    rows = read_rows(path, 2)
    assert rows.lines.tolist() == [2, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(np.isfinite(rows.values).all(1), [True, False, False, False, False, True, False])
    assert [item.name.rsplit("/", 1)[1] for item in rows.bad] == [f"rows.txt:{line}" for line in (4, 5, 6, 7, 9)]
    assert len(read_rows(path, 2, counted=True).values) == 9
    assert faulty_lines(path, {}) == []
    path.write_text("\n\n")
    with pytest.raises(BadItem, match="is empty"):
        read_rows(path, 2)
