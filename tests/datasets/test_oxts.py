"""Rows of GPS: garbled ones cost their picture, jumps and drift are cut, and a picture gets the row of its own moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moving import RADIUS, arc_rows, motions, spoil_oxts, stamp

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.io.numbered import tour
from embodied_ssl.datasets.kitti_raw import KittiRaw, write_drive
from embodied_ssl.datasets.oxts import excess, jumps
from embodied_ssl.datasets.source import Source


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path, "0009", tour(30, 0), (24, 32))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a row of 30 numbers: it is empty"),
        ("1 2 3", "not a row of 30 numbers: it has 3"),
        ("0 " * 31, "not a row of 30 numbers: it has 31"),
        ("0 " * 29 + "nan", "not a row of 30 numbers: one is nan"),
        ("inf " + "0 " * 29, "not a row of 30 numbers: one is inf"),
        ("1000 " + "0 " * 29, "its latitude is 1000 degrees"),
        ("0 " * 29 + "zero", "not a row of 30 numbers"),
    ],
)
def test_garbled_row_costs_its_picture_and_no_pair_reaches_across(drive: Path, text: str, reason: str) -> None:
    whole = motions(KittiRaw(str(drive)).open())
    path = spoil_oxts(drive, 9, text)
    source = KittiRaw(str(drive)).open()
    assert [(item.name, item.reason) for item in source.bad] == [(str(path), reason)]
    kept = source[0]["frames"].files
    assert f"{9:010d}.png" not in kept
    assert len(kept) == 30
    for index in range(len(source)):
        sample = source[index]
        assert (sample["frame"] < 9) == (sample["later"][-1] < 9)
    holed = motions(source)
    assert set(whole) - set(holed) == {f"{8:010d}.png", f"{9:010d}.png"}
    assert all(motion == pytest.approx(whole[name], abs=1e-9) for name, motion in holed.items())


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


def test_slow_drift_of_the_gps_is_cut_too() -> None:
    """0.2 m a step against the measured speed: no step is a jump, but after three the pair is off by more than half a metre."""
    path = np.arange(31) * 1.2
    rows = poses.oxts_rows(path, np.zeros(31), np.zeros(31), 10.0, 0.0)
    seconds = np.arange(31) / 10
    beyond = excess(rows, poses.oxts_poses(rows), seconds)
    np.testing.assert_allclose(beyond[:, 0], 0.2 / 0.5, atol=1e-6)
    cuts = jumps(beyond, seconds, 1.0)
    total = np.concatenate([[0.0], np.cumsum(beyond[:, 0])])
    for i in range(31):
        for j in range(i + 1, min(i + 11, 31)):
            if not any(i <= cut < j for cut in cuts):
                assert abs(total[j] - total[i]) <= 1


def test_speed_may_change_within_a_step_as_much_as_was_measured() -> None:
    """A car that brakes hard from 20 to 10 m/s within a step may have gone anything between 1 and 2 m."""
    for metres in (1.0, 1.5, 2.0):
        rows = poses.oxts_rows([0.0, metres], [0.0, 0.0], [0.0, 0.0], [20.0, 10.0], 0.0)
        assert np.abs(excess(rows, poses.oxts_poses(rows), np.array([0.0, 0.1]))).max() < 1e-6


def test_true_arc_has_no_jump_though_its_yaw_wraps() -> None:
    rows = arc_rows(40)
    assert jumps(excess(rows, poses.oxts_poses(rows), np.arange(40) / 10), np.arange(40) / 10, 1.0) == []


def test_unsynchronised_pictures_get_the_pose_of_their_own_moment(tmp_path: Path) -> None:
    """Pictures that fall anywhere between rows 10 ms apart, on an arc whose every pose is known."""
    place = write_drive(tmp_path, "0001", tour(30, 0), (8, 8))
    place = place.rename(place.parent / "2011_09_26_drive_0001_extract")
    fine = np.arange(320) / 100
    heading = np.pi + 0.2 * (fine - 0.755)  # wraps around between the rows on either side of picture 7
    east, north = 50 * np.sin(heading), -50 * np.cos(heading)
    for path in (place / "oxts" / "data").iterdir():
        path.unlink()
    for number, row in enumerate(poses.oxts_rows(east, north, heading, 10.0, 0.2)):
        spoil_oxts(place, number, " ".join(map(repr, row.tolist())))
    (place / "oxts" / "timestamps.txt").write_text("\n".join(stamp(25 + time) for time in fine))
    moments = 0.05 + np.arange(31) / 10 + np.random.default_rng(0).uniform(0, 0.01, 31)
    (place / "image_02" / "timestamps.txt").write_text("\n".join(stamp(25 + time) for time in moments))
    source = KittiRaw(str(place)).open()
    assert source.bad == []
    turned = 0.2 * np.diff(moments)
    found = np.array([source[index]["motions"][0] for index in range(30)])
    np.testing.assert_allclose(found, np.stack([50 * np.sin(turned), turned], -1), atol=2e-5)
    spoil_oxts(place, 105, "nan " * 30)  # of the two rows around picture 10, taken at 1.05 s and a little
    holed = KittiRaw(str(place)).open()
    assert f"{10:010d}.png" not in holed[0]["frames"].files
    assert not any(source_spans(holed, index, 10) for index in range(len(holed)))


def source_spans(source: Source, index: int, number: int) -> bool:
    files = source[index]["frames"].files
    first, last = (int(files[k][:10]) for k in (source[index]["frame"], source[index]["later"][-1]))
    return first < number <= last


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
    assert [item.name.rsplit("/", 1)[1] for item in source.bad] == ["0000000030.png"]  # taken after the last row
    sample = source[10]
    assert sample["motions"][0] == pytest.approx([0.5, 0.0], abs=1e-3)
    assert source[0]["motions"][0, 1] == pytest.approx(0.03, abs=1e-6)
