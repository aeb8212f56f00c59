"""nuScenes: tables joined by token give the camera's own motion; missing, broken and disordered rows are counted and named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied_ssl.datasets import nuscenes, poses
from embodied_ssl.datasets.nuscenes import TABLES, NuScenes, read_rows, write_scene
from embodied_ssl.datasets.quaternions import of_matrices
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.inspection import spec_at

Rows = list[dict[str, Any]]


@pytest.fixture
def tiny(tmp_path: Path) -> NuScenes:
    return NuScenes.tiny(tmp_path / "nuscenes")


def table(spec: NuScenes, name: str) -> Path:
    return Path(spec.root) / "v1.0-mini" / f"{name}.json"


def change(spec: NuScenes, name: str, by: Callable[[Rows], Rows | None]) -> None:
    """Rewrite a table; ``by`` changes its rows in place or gives others."""
    rows = json.loads(table(spec, name).read_text())
    given = by(rows)
    table(spec, name).write_text(json.dumps(rows if given is None else given, indent=0))


def files(source: Source) -> list[str]:
    return [sample["frames"].files[sample["frame"]] for sample in (source[index] for index in range(len(source)))]


def front(row: dict[str, Any]) -> bool:
    return "/CAM_FRONT/" in row["filename"]


# Motion


def test_motion_is_the_camera_s(tmp_path: Path) -> None:
    """An arc of the car at v and w, seen by a camera 1.7 m before its axle: the lever sweeps sideways, the turn is the same."""
    tables: dict[str, Rows] = {name: [] for name in (*TABLES, "log")}
    tables["sensor"] = [{"token": "s-CAM_FRONT", "channel": "CAM_FRONT", "modality": "camera"}]
    steps = np.tile([0.5, 0.03], (12, 1))
    write_scene(tmp_path, tables, 0, steps, "drive")
    (tmp_path / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (tmp_path / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    names = ("forward", "left", "up", "left_yaw", "up_pitch", "right_roll")
    sample = NuScenes(str(tmp_path), axes=names).open()[0]
    yaw = 0.03 * np.arange(1, 11)
    chord = 0.5 * np.sin(yaw / 2) / np.sin(0.015)  # of a polygon of steps that each turn by 0.03
    expected = np.zeros((10, 6))
    expected[:, 0] = chord * np.cos(yaw / 2) + 1.7 * (np.cos(yaw) - 1)
    expected[:, 1] = chord * np.sin(yaw / 2) + 1.7 * np.sin(yaw)
    expected[:, 3] = yaw
    np.testing.assert_allclose(sample["motions"], expected, atol=1e-9)
    assert sample["seconds"] == pytest.approx(np.arange(1, 11) / 10, abs=1e-9)


def test_quaternions_have_w_first() -> None:
    half = np.sqrt(0.5)
    turn = nuscenes.rigid([(1.0, 2.0, 3.0, half, 0.0, 0.0, half)])[0]
    np.testing.assert_allclose(turn[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)  # a quarter turn to the left about z
    assert turn[:3, 3].tolist() == [1, 2, 3]


def test_another_camera_has_another_motion(tiny: NuScenes) -> None:
    """A camera that looks back drives backward, and turns the same way."""
    back = poses.IMU_FROM_CAMERA[:3, :3] @ np.diag([-1.0, 1.0, -1.0])
    half_turn = of_matrices(back).tolist()

    def add(rows: Rows) -> None:
        rows += [{"token": "b", "sensor_token": "s-CAM_BACK", "translation": [0, 0, 1.5], "rotation": half_turn}]

    def rename(rows: Rows) -> None:
        for row in filter(front, rows):
            row["calibrated_sensor_token"] = "b"

    ahead = tiny.open()
    change(tiny, "calibrated_sensor", add)
    change(tiny, "sample_data", rename)
    behind = dataclasses.replace(tiny, camera="CAM_BACK").open()
    assert behind[3]["motions"][0, 0] == pytest.approx(-0.5, abs=1e-3)
    np.testing.assert_allclose(behind[3]["motions"][:, 1], ahead[3]["motions"][:, 1], atol=1e-9)
    with pytest.raises(UserError, match=r"no usable nuScenes scenes.*0 pictures of this camera.*accepted is v1\.0"):
        tiny.open()


# Tables


def test_scenes_of_one_drive_are_one_recording_and_no_pair_leaves_its_scene(tiny: NuScenes) -> None:
    source = tiny.open()
    assert len(set(source.recordings)) == 5
    assert len(source) == 6 * 30
    assert max(source[index]["seconds"][-1] for index in range(len(source))) < 1.01
    assert sorted(source.recordings.count(name) for name in set(source.recordings)) == [30, 30, 30, 30, 60]


def test_key_frames_and_sweeps_are_one_run_whatever_the_order_of_rows(tiny: NuScenes) -> None:
    expected = tiny.open()
    assert [name.split("/")[0] for name in files(expected)[:7]] == ["samples", *["sweeps"] * 4, "samples", "sweeps"]
    draw = np.random.default_rng(0)
    for name in TABLES:
        change(tiny, name, lambda rows: [rows[place] for place in draw.permutation(len(rows))])
    mixed = tiny.open()
    assert sorted(files(mixed)) == sorted(files(expected))
    assert all(np.all(np.diff(mixed[index]["frames"].seconds) > 0) for index in (0, 100))


@pytest.mark.parametrize("size", [100, 333, 1 << 20])
def test_rows_are_those_of_the_whole_file_however_little_is_read_at_once(
    tiny: NuScenes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nuscenes, "CHUNK", size)  # a row must fit into four
    for name in ("sensor", "scene", "calibrated_sensor"):
        path = table(tiny, name)
        rows = json.loads(path.read_text())
        for indent in (None, 0, 4):
            path.write_text(json.dumps(rows, indent=indent))
            bad: list[BadItem] = []
            assert list(read_rows(path, bad)) == rows
            assert bad == []


def test_root_may_be_the_folder_of_tables(tiny: NuScenes) -> None:
    assert len(NuScenes(f"{tiny.root}/v1.0-mini").open()) == len(tiny.open())
    assert isinstance(spec_at(tiny.root), NuScenes)


def test_several_versions_must_be_told_apart(tiny: NuScenes) -> None:
    (Path(tiny.root) / "v1.0-trainval").mkdir()
    for name in TABLES:
        (Path(tiny.root) / "v1.0-trainval" / f"{name}.json").write_text(table(tiny, name).read_text())
    with pytest.raises(UserError, match=r"holds the versions v1\.0-mini, v1\.0-trainval; give one.*v1\.0-trainval'"):
        tiny.open()
    assert len(NuScenes(f"{tiny.root}/v1.0-trainval").open()) == 180


def test_tables_are_read_once(tiny: NuScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.open("train")
    monkeypatch.setattr(nuscenes, "read_rows", lambda *given: pytest.fail("read again"))
    tiny.open("held_out")


# Bad input


def test_unknown_camera_is_refused_with_those_there_are(tiny: NuScenes) -> None:
    for wrong in ("CAM_FRNT", "LIDAR_TOP", ""):
        with pytest.raises(UserError, match=f"no camera '{wrong}'.*set data.camera to one of CAM_BACK, CAM_FRONT$"):
            dataclasses.replace(tiny, camera=wrong).open()


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_named(tiny: NuScenes, name: str) -> None:
    table(tiny, name).unlink()
    with pytest.raises(UserError, match=rf"first: .*{name}\.json: missing.*accepted is v1\.0-"):
        tiny.open()


@pytest.mark.parametrize(("name", "text"), [("ego_pose", None), ("sample_data", None), ("scene", "{}"), ("sample", "\x00[")])
def test_broken_tables_are_named_and_what_came_before_counts(tiny: NuScenes, name: str, text: str | None) -> None:
    whole = table(tiny, name).read_text()
    table(tiny, name).write_text(whole[: len(whole) // 2] if text is None else text)
    if text is not None:
        with pytest.raises(UserError, match=rf"{name}\.json: not a json list of rows"):
            tiny.open()
        return
    source = tiny.open()
    assert 60 < len(source) < 120
    assert "broken or cut off after" in str(source.bad[0])
    assert any("scene-0005" in str(item) for item in source.bad[1:])


def test_missing_pictures_are_counted_scene_by_scene(tiny: NuScenes) -> None:
    whole = tiny.open()
    gone = files(whole)[3:5]
    for file in gone:
        (Path(tiny.root) / file).unlink()
    source = tiny.open()
    assert [str(item).split(": ", 1)[1] for item in source.bad] == [
        f"scene-0000: 2 of 31 pictures left out: not there in sweeps/CAM_FRONT/, the first is {gone[0]}"
    ]
    np.testing.assert_allclose(source[2]["motions"][0], whole[2]["motions"][2], atol=1e-9)
    assert source[2]["seconds"][0] == pytest.approx(0.3)


def test_without_sweeps_key_frames_remain(tiny: NuScenes) -> None:
    for file in (Path(tiny.root) / "sweeps" / "CAM_FRONT").iterdir():
        file.unlink()
    (Path(tiny.root) / "sweeps" / "CAM_FRONT").rmdir()
    source = tiny.open()
    assert len(source) == 6 * 6
    assert len(source.bad) == 6
    assert "there is no sweeps/CAM_FRONT/" in source.bad[0].reason
    assert source[0]["seconds"][0] == pytest.approx(0.5, abs=1e-3)


def test_bad_rows_stop_neither_their_scene_nor_others(tiny: NuScenes) -> None:
    def spoil(rows: Rows) -> None:
        mine = [row for row in rows if front(row) and row["sample_token"].startswith("scene-0001-")]
        del mine[3]["timestamp"]
        mine[5]["timestamp"] = mine[4]["timestamp"]
        mine[7]["sample_token"] = "nowhere"
        mine[9]["timestamp"] = "noon"

    def spoil_poses(rows: Rows) -> None:
        mine = [row for row in rows if row["token"].startswith("scene-0001-CAM_FRONT")]
        mine[11]["rotation"] = [0, 0, 0, 0]
        mine[12]["translation"] = [float("nan"), 0, 0]
        mine[13]["rotation"] = "none"
        del mine[14]["rotation"]

    change(tiny, "sample_data", spoil)
    change(tiny, "ego_pose", spoil_poses)
    source = tiny.open()
    reasons = " | ".join(item.reason for item in source.bad)
    assert "1 rows lack one of timestamp, filename" in reasons
    assert "1 rows lack one of token, translation, rotation" in reasons
    assert "2 pictures have no scene or no time" in reasons
    assert "1 of 28 pictures left out: not later than the one before" in reasons
    assert "4 of 28 pictures left out: without a pose" in reasons
    assert len(source.bad) == 5
    assert len(source) == 5 * 30 + 22


def test_a_scene_of_one_picture_is_named(tiny: NuScenes) -> None:
    def spoil(rows: Rows) -> Rows:
        return [row for row in rows if "scene-0002-" not in row["sample_token"] or row["token"].endswith("-0")]

    change(tiny, "sample_data", spoil)
    source = tiny.open()
    assert [str(item).split(": ", 1)[1] for item in source.bad] == ["scene-0002: 1 pictures of this camera can be used"]
    assert len(source) == 5 * 30
