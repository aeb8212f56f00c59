"""KITTI odometry: poses, times and pictures are joined by row number, and bad rows cost only themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pykitti
import pytest
from moving import motions, slides

from embodied_ssl.datasets.io.numbered import tour
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.kitti_overlap import CUTS, LSM_TEST, sequence_of
from embodied_ssl.errors import UserError


@pytest.mark.data
def test_real_odometry_sequence(data_root: Path) -> None:
    source = KittiOdometry(str(data_root / "kitti_odometry")).open()
    assert len(source) == 50
    assert "10 frames a second assumed" in source.name
    steps = np.array([source[i]["motions"][0] for i in range(50)])
    assert steps[:, 0].mean() == pytest.approx(1.0, abs=0.1)  # the data's own note: about 1.0 m a frame
    assert np.degrees(np.abs(steps[:20, 1])).max() == pytest.approx(2.7, abs=0.2)
    # By the picture: in a bend the far scene slides against the turn.
    assert np.corrcoef(steps[:49, 1], slides(source, 49))[0, 1] > 0.7
    assert len(KittiOdometry(str(data_root / "kitti_odometry")).open("held_out")) == 0
    pixels = source[0]["frames"].take([0])[0]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


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


def spoil(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1 2 three", "not a row of 12 numbers"),
        ("1 0 0 0 0 1 0 0 0 0 1", "not a row of 12 numbers: it has 11"),
        ("1 0 0 0 0 1 0 0 0 0 1 nan", "not a row of 12 numbers: one is nan"),
        ("", "not a row of 12 numbers: it is empty"),
        ("1 0 0 0 0 2 0 0 0 0 1 0", "not a rigid motion: R^T R is off the identity by 3"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "not a rigid motion: it mirrors (det R = -1)"),
        ("0 0 0 0 0 0 0 0 0 0 0 0", "not a rigid motion: R^T R is off the identity by 1"),
    ],
)
def test_row_that_is_no_pose_costs_its_frame_and_no_pair_reaches_across(tmp_path: Path, row: str, reason: str) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    whole = motions(spec.open(), "02")
    path = tmp_path / "poses" / "02.txt"
    spoil(path, 10, row)
    source = spec.open()
    assert [(item.name, item.reason) for item in source.bad] == [(f"{path}:10", reason)]
    holed = motions(source, "02")
    assert set(whole) - set(holed) == {"000008.png", "000009.png"}  # the frame, and the one before it: none of its pairs is left
    assert all(motion == pytest.approx(whole[name], abs=1e-9) for name, motion in holed.items())
    for index in np.flatnonzero(np.array(source.recordings) == "02"):
        sample = source[int(index)]
        names = [sample["frames"].files[k] for k in (sample["frame"], sample["later"][-1])]
        assert (names[0] < "000009") == (names[1] < "000009")


def test_pictures_beyond_the_last_pose_are_left_out(tmp_path: Path) -> None:
    """As where a copy was broken off: the last row is cut, too."""
    spec = KittiOdometry.tiny(tmp_path)
    path = tmp_path / "poses" / "01.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:28])[:-40])
    source = spec.open()
    assert [item.name.rsplit("/", 1)[1] for item in source.bad] == ["01.txt:28", "000028.png", "000029.png", "000030.png"]
    assert source.recordings.count("01") == 26


@pytest.mark.parametrize(
    ("line", "text", "item"),
    [
        (5, "9e9", "000004.png: its time is out of order"),
        (5, "0.0", "000004.png: its time is out of order"),
        (5, "soon", "times.txt:5: not a row of 1 numbers"),
        (5, "", "times.txt:5: not a row of 1 numbers: it is empty"),
    ],
)
def test_wrong_time_costs_one_frame(tmp_path: Path, line: int, text: str, item: str) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    spoil(tmp_path / "sequences" / "03" / "times.txt", line, text)
    source = spec.open()
    assert str(source.bad[0]).rsplit("/", 1)[1] == item
    assert "000004.png" not in motions(source, "03")
    assert source.recordings.count("03") == (28 if "order" in item else 29)  # where there is a time, its neighbours are in doubt


@pytest.mark.parametrize("file", ["poses/02.txt", "sequences/02/times.txt"])
def test_empty_file_costs_one_sequence(tmp_path: Path, file: str) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    (tmp_path / file).write_text("")
    source = spec.open()
    assert [(item.name, item.reason) for item in source.bad] == [(str(tmp_path / file), "is empty")]
    assert set(source.recordings) == {"00", "01", "03", "04"}


def test_sequence_of_one_picture_stops_no_other(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    for number in range(1, 31):
        (tmp_path / "sequences" / "00" / "image_2" / f"{number:06d}.png").unlink()
    source = spec.open()
    assert [item.reason for item in source.bad] == ["1 of its 1 pictures can be used, and motion needs two"]
    assert set(source.recordings) == {"01", "02", "03", "04"}


def test_where_everything_is_bad_the_first_reasons_are_named(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    for number, text in enumerate(("", "1 2 3", "0 " * 12, "nan " * 12, "x")):
        (tmp_path / "poses" / f"{number:02d}.txt").write_text(text)
    with pytest.raises(UserError) as caught:
        spec.open()
    message = str(caught.value)
    assert "00.txt: is empty; " in message
    assert "01.txt:1: not a row of 12 numbers: it has 3" in message
    assert "02.txt:1: not a rigid motion" in message
    assert "(and 2 more)" in message
    assert "\n" not in message


# Splits


def test_odometry_sequences_have_the_published_frames() -> None:
    """Agrawal, Carreira and Malik count 23,201 frames, of which they train on 20,509."""
    assert sum(cut.frames for cut in CUTS) == 23201
    assert sum(cut.frames for cut in CUTS if cut.sequence not in LSM_TEST) == 20509
    assert [cut.sequence for cut in CUTS if cut.sequence not in LSM_TEST] == [
        "00",
        "01",
        "02",
        "03",
        "04",
        "05",
        "07",
        "08",
        "10",
    ]
    assert next(cut.frames for cut in CUTS if cut.sequence == "08") == 5170 - 1100 + 1
    assert sequence_of("2011_09_30_drive_0028_sync") == sequence_of("2011_09_30_drive_0028_extract") == "08"
    assert sequence_of("2011_09_26_drive_0028_sync") == ""
    assert len({cut.drive for cut in CUTS}) == 11


def test_sequences_to_hold_out_can_be_named(tmp_path: Path) -> None:
    spec = replace(KittiOdometry.tiny(tmp_path), held_out_sequences=("01", "04"))
    assert set(spec.open("held_out").recordings) == {"01", "04"}
    assert set(spec.open("train").recordings) == {"00", "02", "03"}
    assert len(set(spec.open("all").recordings)) == 5
    with pytest.raises(UserError, match="held_out_sequences names '06', which is not there"):
        replace(spec, held_out_sequences=LSM_TEST).open()


def test_numbers_are_those_of_pykitti(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    calibration = "".join(f"P{c}: 700 0 600 {-300 * c} 0 700 180 0.1 0 0 1 0.002\n" for c in range(4))
    (tmp_path / "sequences" / "00" / "calib.txt").write_text(f"{calibration}Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    theirs = pykitti.odometry(str(tmp_path), "00")
    sample = spec.open()[3]
    aside = theirs.calib.T_cam2_velo @ np.linalg.inv(theirs.calib.T_cam0_velo)
    cameras = np.array(theirs.poses) @ np.linalg.inv(aside)
    moved = np.linalg.inv(cameras[3]) @ cameras[sample["later"]]
    expected = np.stack([moved[:, 2, 3], np.arctan2(moved[:, 2, 0], moved[:, 0, 0])], -1)
    np.testing.assert_allclose(sample["motions"], expected, atol=1e-8)
    elapsed = [(theirs.timestamps[k] - theirs.timestamps[3]).total_seconds() for k in sample["later"]]
    assert sample["seconds"] == pytest.approx(elapsed)


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    spec = KittiOdometry.tiny(tmp_path)
    assert spec.open().name.startswith("KITTI odometry: ")
    (tmp_path / "sequences" / "02" / "calib.txt").unlink()
    (tmp_path / "sequences" / "03" / "times.txt").unlink()
    name = spec.open().name
    assert name.startswith("KITTI odometry, 10 frames a second assumed, motion of camera 0 (no calibration): ")


def test_missing_camera_is_said(tmp_path: Path) -> None:
    KittiOdometry.tiny(tmp_path)
    with pytest.raises(UserError, match="image_0"):
        KittiOdometry(str(tmp_path), camera=0).open()
