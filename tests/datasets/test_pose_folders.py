"""Hand-held cameras: poses a picture each (7-Scenes, ScanNet) or joined by time (TUM RGB-D), bad ones told and left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.io.numbered import numbered, tour
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.motion import SIX
from embodied_ssl.datasets.pose_folders import PoseFolders
from embodied_ssl.datasets.source import Source
from embodied_ssl.datasets.tum_rgbd import TumRgbd, write_sequence
from embodied_ssl.errors import UserError

ALL = tuple(axis.name for axis in SIX)


def spans(source: Source, index: int) -> tuple[str, str]:
    """The first and the last picture that a sample's pairs reach."""
    sample = source[index]
    files = sample["frames"].files
    return files[sample["frame"]], files[sample["later"][-1]]


def wander(count: int = 12) -> np.ndarray:
    """Poses of a camera that moves every way at once [count, 4, 4]."""
    draw = np.random.default_rng(0)
    turns = Rotation.from_rotvec(np.cumsum(draw.normal(0, 0.05, (count, 3)), 0)).as_matrix()
    return poses.rigid(turns, np.cumsum(draw.normal(0, 0.1, (count, 3)), 0))


def write_poses(folder: Path, track: np.ndarray, rows: int = 4, digits: int = 9) -> None:
    """Frames as 7-Scenes names them, with depth pictures beside them."""
    folder.mkdir(parents=True)
    for number, pose in enumerate(track):
        (folder / f"frame-{number:06d}.color.png").write_bytes(encode(numbered(number, (24, 32))))
        (folder / f"frame-{number:06d}.depth.png").write_bytes(b"never read")
        np.savetxt(folder / f"frame-{number:06d}.pose.txt", pose[:rows], fmt=f"%.{digits}e")


# 7-Scenes and the like


@pytest.mark.parametrize("rows", [3, 4])
def test_poses_are_those_of_the_files(tmp_path: Path, rows: int) -> None:
    track = wander()
    write_poses(tmp_path / "seq-01", track, rows)
    source = PoseFolders(str(tmp_path), axes=ALL).open()
    assert source.bad == []
    assert list(source.recordings) == ["seq-01"] * 11
    sample = source[3]
    moved = np.linalg.inv(track[3]) @ track[4:]
    # Forward, left and up are z, -x and -y of a camera.
    np.testing.assert_allclose(sample["motions"][:, :3], moved[:, [2, 0, 1], 3] * [1, -1, -1], atol=1e-8)
    np.testing.assert_allclose(sample["motions"], poses.six(moved, "camera"), atol=1e-8)
    assert sample["seconds"] == pytest.approx(np.arange(1, 9) / 30)
    assert "30 a second assumed" in source.name


def test_official_lists_hold_out_their_sequences(tmp_path: Path) -> None:
    spec = PoseFolders.tiny(tmp_path)
    whole = spec.open()
    assert "official test sequences held out" in whole.name
    held, train = set(spec.open("held_out").recordings), set(spec.open("train").recordings)
    assert "chess/seq-02" in held
    assert {"chess/seq-01", "chess/seq-03"} <= train
    assert len([name for name in held if name.startswith("office")]) == 1  # no lists: the usual choice
    (tmp_path / "chess" / "TestSplit.txt").write_text("sequence1 \n\nsequence3\n")
    assert {name for name in spec.open("held_out").recordings if "chess" in name} == {"chess/seq-01", "chess/seq-03"}
    alone = replace(spec, root=str(tmp_path / "chess"))
    assert set(alone.open("held_out").recordings) == {"seq-01", "seq-03"}
    (tmp_path / "chess" / "TestSplit.txt").unlink()
    assert set(alone.open("held_out").recordings) == {"seq-02"}  # not in TrainSplit.txt
    for name in ("TestSplit.txt", "TrainSplit.txt"):
        (tmp_path / "chess" / name).write_text("")
    emptied = alone.open()
    assert [item.reason for item in emptied.bad] == ["is empty", "is empty"]
    assert "official" not in emptied.name


@pytest.mark.parametrize("names", [("color", "pose"), ("rgb", "poses"), ("images", "pose")])
def test_pictures_and_poses_may_stand_apart(tmp_path: Path, names: tuple[str, str]) -> None:
    track = wander()
    scene = tmp_path / "scene0000_00"
    for name in names:
        (scene / name).mkdir(parents=True)
    for number, pose in enumerate(track):
        (scene / names[0] / f"{number}.jpg").write_bytes(encode(numbered(number, (24, 32)), ".jpg"))
        np.savetxt(scene / names[1] / f"{number}.txt", pose)
    np.savetxt(scene / names[1] / "5.txt", np.full((4, 4), -np.inf))  # ScanNet: lost
    source = PoseFolders(str(tmp_path), axes=ALL).open()
    assert PoseFolders.recognises(tmp_path)
    assert set(source.recordings) == {"scene0000_00"}
    assert [item.name for item in source.bad] == [str(scene / names[1] / "5.txt")]
    assert [Path(file).stem for file in source[0]["frames"].files] == ["0", "1", "2", "3", "4", "6", "7", "8", "9", "10", "11"]
    np.testing.assert_allclose(source[0]["motions"], poses.six(poses.relative(track[0], track[1:5]), "camera"), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("1 2 3", "not a row of 16 numbers: it has 3"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 x", "not a row of 16 numbers"),
        ("-inf " * 16, "not a row of 16 numbers: one is -inf"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 0", "not a pose: the last row is not 0 0 0 1"),
        ("2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1", "not a rigid motion: R^T R is off the identity by 3"),
        ("1 0 0 0\n0 1 0 0\n0 0 -1 0\n0 0 0 1", "not a rigid motion: it mirrors (det R = -1)"),
    ],
)
def test_file_that_holds_no_pose_costs_its_picture_and_no_pair_reaches_across(tmp_path: Path, text: str, reason: str) -> None:
    write_poses(tmp_path / "seq-01", wander())
    path = tmp_path / "seq-01" / "frame-000004.pose.txt"
    path.write_text(text)
    source = PoseFolders(str(tmp_path)).open()
    assert [(item.name, item.reason) for item in source.bad] == [(str(path), reason)]
    assert len(source) == 11 - 2
    middle = "seq-01/frame-000004.color.png"
    for index in range(len(source)):
        first, last = spans(source, index)
        assert (first < middle) == (last < middle)


def test_missing_files_leave_their_gap_in_time(tmp_path: Path) -> None:
    """A picture without a pose says nothing against its neighbours: pairs reach across, as in KITTI."""
    write_poses(tmp_path / "seq-01", wander())
    (tmp_path / "seq-01" / "frame-000004.pose.txt").unlink()
    (tmp_path / "seq-01" / "frame-000007.color.png").unlink()
    source = PoseFolders(str(tmp_path)).open()
    assert [str(item).rsplit("/", 1)[1] for item in source.bad] == [
        "frame-000004.color.png: has no file with its pose, or no number"
    ]
    assert source[3]["seconds"] == pytest.approx(np.array([2, 3, 5, 6, 7, 8]) / 30)


def test_pictures_are_ordered_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    track = wander()
    for number, pose in enumerate(track):
        (folder / f"{number}.jpg").write_bytes(encode(numbered(number, (24, 32)), ".jpg"))
        np.savetxt(folder / f"{number}.txt", pose)
    shutil.copy(folder / "3.jpg", folder / "03.jpg")
    shutil.copy(folder / "3.txt", folder / "03.txt")
    source = PoseFolders(str(folder), axes=ALL).open()
    assert [item.reason for item in source.bad] == ["another picture has the same number"]
    assert list(source.recordings) == ["walk"] * len(source)
    steps = np.array([source[index]["motions"][0] for index in range(2)])
    np.testing.assert_allclose(steps, poses.six(poses.relative(track[:2], track[1:3]), "camera"), atol=1e-9)


def test_one_bad_folder_stops_no_other_and_all_bad_are_named(tmp_path: Path) -> None:
    write_poses(tmp_path / "seq-01", wander())
    write_poses(tmp_path / "seq-02", wander(1))
    write_poses(tmp_path / "seq-03", wander(3))
    for path in (tmp_path / "seq-03").glob("*.pose.txt"):
        path.write_text("0 " * 16)
    source = PoseFolders(str(tmp_path)).open()
    assert set(source.recordings) == {"seq-01"}
    assert [item.reason for item in source.bad if "motion needs two" in item.reason] == [
        "1 of its 1 pictures can be used, and motion needs two",
        "0 of its 3 pictures can be used, and motion needs two",
    ]
    shutil.rmtree(tmp_path / "seq-01")
    with pytest.raises(UserError) as caught:
        PoseFolders(str(tmp_path)).open()
    assert "1 of its 1 pictures can be used" in str(caught.value)
    assert "the last row is not 0 0 0 1" in str(caught.value)
    assert "(and 2 more); accepted is" in str(caught.value)


def test_pictures_without_poses_are_no_drive(tmp_path: Path) -> None:
    (tmp_path / "000001.png").write_bytes(encode(numbered(1)))
    with pytest.raises(UserError, match="no usable pictures with poses"):
        PoseFolders(str(tmp_path)).open()
    with pytest.raises(UserError, match="rate is 0; give"):
        PoseFolders(str(tmp_path), rate=0.0).open()


# TUM RGB-D


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    write_sequence(tmp_path / "freiburg1_desk", tour(30, 0, forward=0.02), 0.05 * np.sin(np.arange(31) / 4))
    return tmp_path / "freiburg1_desk"


def test_pictures_get_the_pose_of_their_own_moment(walk: Path) -> None:
    """Poses at 100 Hz of a camera that turns about a tilted axis evenly, whose pose at any moment is known."""
    axis = np.array([0.3, -0.9, 0.2])
    fine = np.arange(150) / 100 + 0.003

    def at(seconds: np.ndarray) -> np.ndarray:
        return poses.rigid(Rotation.from_rotvec(seconds[:, None] * axis).as_matrix(), np.outer(seconds, [0.5, 0.1, -0.3]))

    quaternions = Rotation.from_rotvec(fine[:, None] * axis).as_quat()
    rows = np.column_stack([fine + 100, at(fine)[:, :3, 3], quaternions * np.where(np.arange(150) % 2, 1, -1)[:, None]])
    np.savetxt(walk / "groundtruth.txt", rows, fmt="%.9f")
    names = sorted(path.name for path in (walk / "rgb").iterdir())
    moments = np.sort(np.random.default_rng(0).uniform(0.01, 1.4, len(names)))
    (walk / "rgb.txt").write_text("".join(f"{100 + t:.9f} rgb/{name}\n" for t, name in zip(moments, names, strict=True)))
    source = TumRgbd(str(walk), axes=ALL).open()
    assert source.bad == []
    track = at(moments)
    for index in range(len(source)):
        sample = source[index]
        moved = np.linalg.inv(track[sample["frame"]]) @ track[sample["later"]]
        np.testing.assert_allclose(sample["motions"], poses.six(moved, "camera"), atol=1e-6)


def test_written_walk_is_read_back(walk: Path) -> None:
    source = TumRgbd(str(walk.parent), axes=ALL).open()
    assert source.bad == []
    assert list(source.recordings) == ["freiburg1_desk"] * 30
    pitch = 0.05 * np.sin(np.arange(31) / 4)
    track = poses.camera_walk(tour(30, 0, forward=0.02), pitch)
    found = np.array([source[index]["motions"][0] for index in range(30)])
    np.testing.assert_allclose(found, poses.six(poses.relative(track[:-1], track[1:]), "camera"), atol=1e-4)
    np.testing.assert_allclose(found[:, 4], np.diff(pitch), atol=1e-3)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("TIME 0 0 0 0 0 0", "not a row of 8 numbers: it has 7"),
        ("TIME 0 0 0 0 0 0 one", "not a row of 8 numbers"),
        ("TIME nan 0 0 0 0 0 1", "not a row of 8 numbers: one is nan"),
        ("TIME 0 0 0 0 0 0 0", "not a rotation: its quaternion is 0 long"),
        ("TIME 0 0 0 0.5 0.5 0.5 0.6", "not a rotation: its quaternion is 1.1 long"),
    ],
)
def test_row_that_is_no_pose_is_told_and_no_pair_reaches_across(walk: Path, row: str, reason: str) -> None:
    lines = (walk / "groundtruth.txt").read_text().splitlines()
    place = 1 + 3 * 10 + 1  # a row between pictures 10 and 11
    lines[place] = row.replace("TIME", lines[place].split()[0])
    (walk / "groundtruth.txt").write_text("\n".join(lines))
    source = TumRgbd(str(walk)).open()
    assert [(item.name, item.reason) for item in source.bad] == [(f"{walk / 'groundtruth.txt'}:{place + 1}", reason)]
    frames = source[0]["frames"]
    assert len(frames) == 31  # the poses on either side are near enough in time
    for index in range(len(source)):
        sample = source[index]
        assert (sample["frame"] <= 10) == (sample["later"][-1] <= 10)
    assert len(source) == 29


def test_pictures_far_from_any_pose_are_left_out(walk: Path) -> None:
    lines = (walk / "groundtruth.txt").read_text().splitlines()
    (walk / "groundtruth.txt").write_text("\n".join([*lines[:1], *lines[4:20], *lines[30:]]))
    source = TumRgbd(str(walk)).open()
    assert {item.reason for item in source.bad} == {"has no pose within 0.02 s on either side"}
    assert len(source[0]["frames"]) == 31 - 1 - len(source.bad) + 1
    wide = TumRgbd(str(walk), join_within_seconds=0.2).open()
    assert len(wide.bad) == 1  # the first picture is before the first pose
    with pytest.raises(UserError, match="join_within_seconds is 0"):
        TumRgbd(str(walk), join_within_seconds=0.0).open()


def test_list_of_pictures_may_be_garbled_here_and_there(walk: Path) -> None:
    path = walk / "rgb.txt"
    lines = path.read_text().splitlines()
    times = [line.split()[0] for line in lines]
    lines[5] = "soon rgb/x.png"
    lines[8] = times[8]
    lines[12] = f"nan {lines[12].split()[1]}"
    lines[15] = f"{times[15]} rgb/gone.png"
    lines[20] = f"{times[3]} {lines[20].split()[1]}"
    lines[25] = ""
    path.write_text("\n".join(lines))
    source = TumRgbd(str(walk)).open()
    assert sorted(str(item).replace(f"{walk}/", "") for item in source.bad) == sorted(
        [
            "rgb/gone.png: missing",
            *(f"rgb.txt:{number}: not a time and the name of a picture" for number in (6, 9, 13)),
            f"rgb/{times[20]}.png: its time is out of order",
        ]
    )
    assert len(source[0]["frames"]) == 31 - 6
    (across,) = [k for k in range(24) if not any(one <= k < last for one, last in reached(source))]
    assert source[0]["frames"].files[across] == f"rgb/{times[19]}.png"


def reached(source: Source) -> list[tuple[int, int]]:
    return [(source[k]["frame"], int(source[k]["later"][-1])) for k in range(len(source))]


def test_rows_of_poses_may_come_in_any_order(walk: Path) -> None:
    whole = TumRgbd(str(walk)).open()
    lines = (walk / "groundtruth.txt").read_text().splitlines()
    lines[10], lines[40] = lines[40], lines[10]
    (walk / "groundtruth.txt").write_text("\n".join([*lines, lines[17]]))
    source = TumRgbd(str(walk)).open()
    assert source.bad == []
    for index in range(len(whole)):
        np.testing.assert_array_equal(source[index]["motions"], whole[index]["motions"])


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("groundtruth.txt", None, "no groundtruth.txt: the camera's motion is unknown"),
        ("groundtruth.txt", "", "is empty"),
        ("groundtruth.txt", "# nothing\n", "holds fewer than two poses"),
        ("groundtruth.txt", "1 2 3\n4 5 6\n", "not a row of 8 numbers: it has 3"),
        ("rgb.txt", "", "is empty"),
        ("rgb.txt", "# nothing\n", "0 of its pictures can be used, and motion needs two"),
    ],
)
def test_one_bad_sequence_stops_no_other(walk: Path, file: str, text: str | None, reason: str) -> None:
    other = walk.parent / "freiburg2_xyz"
    shutil.copytree(walk, other)
    (other / file).unlink()
    if text is not None:
        (other / file).write_text(text)
    source = TumRgbd(str(walk.parent)).open()
    assert set(source.recordings) == {"freiburg1_desk"}
    assert [item.reason for item in source.bad] == [reason]
    shutil.rmtree(walk)
    with pytest.raises(UserError, match="no usable TUM RGB-D sequences") as caught:
        TumRgbd(str(walk.parent)).open()
    assert reason in str(caught.value)
