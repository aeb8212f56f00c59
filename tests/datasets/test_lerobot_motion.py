"""LeRobot as motion: differences and sums against slow loops, the picture that belongs to the motors, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.lerobot import LeRobot
from embodied_ssl.datasets.lerobot_motion import LeRobotMotion, column_names
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.inspection import inspect_data

V2_ROWS = "data/chunk-000/episode_000002.parquet"


@pytest.fixture(params=[LeRobot.tiny, LeRobot.tiny_v3], ids=["v2", "v3"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> LeRobotMotion:
    return LeRobotMotion(root=request.param(tmp_path / "cloth").root, camera="left", short_side=48)


def change_rows(spec: LeRobotMotion, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Write every file of rows anew, each row changed; rows of which nothing is left are dropped."""
    for path in Path(spec.root).glob("data/*/*.parquet"):
        rows = [change(row) for row in pq.read_table(path).to_pylist()]
        pq.write_table(pa.Table.from_pylist([row for row in rows if row]), path)


def change_info(root: str, column: str, **values: object) -> None:
    path = Path(root) / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"][column] |= values
    path.write_text(json.dumps(info))


# Motion


def test_difference_of_the_state_with_the_pictures_it_belongs_to(tiny: LeRobotMotion) -> None:
    # The picture shows 100 * episode + frame; the state at it is (frame, -frame).
    source = tiny.open()
    assert (len(source), source.bad) == (9 + 10 + 11 + 12, [])
    assert source.motion_unit == "change of state"
    assert [axis.name for axis in source.motion_axes] == ["state_0", "state_1"]
    for index in range(len(source)):
        sample, episode = source[index], int(source.recordings[index][-1])
        gaps = sample["later"] - sample["frame"]
        assert sample["motions"].dtype == np.float64
        assert sample["motions"].tolist() == [[gap, -gap] for gap in gaps]
        assert sample["seconds"] == pytest.approx(gaps / 10)
        shown = [number_shown(picture) for picture in sample["frames"].take([sample["frame"], *sample["later"]])]
        assert shown == [100 * episode + frame for frame in (sample["frame"], *sample["later"])]


@pytest.mark.parametrize("signal", ["action", "summed_action"])
def test_actions_are_differences_or_sums_over_time(tiny: LeRobotMotion, signal: Any) -> None:
    source = dataclasses.replace(tiny, signal=signal, axes=("action_2", "action_1")).open()
    assert [axis.name for axis in source.motion_axes] == ["action_2", "action_1"]
    assert source.motion_unit == ("change of action" if signal == "action" else "action times seconds")
    for index in range(0, len(source), 5):
        sample, episode = source[index], int(source.recordings[index][-1])
        for later, motion in zip(sample["later"].tolist(), sample["motions"], strict=True):
            between = range(sample["frame"], later)  # the action is (.., episode, frame); a tenth of a second each
            slow = [sum(between) / 10, episode * len(between) / 10] if signal == "summed_action" else [len(between), 0]
            assert motion == pytest.approx(slow, abs=1e-4)


def test_horizon_bounds_what_is_later(tiny: LeRobotMotion) -> None:
    source = dataclasses.replace(tiny, horizon_seconds=0.3).open()
    assert max(source[index]["seconds"][-1] for index in range(len(source))) == pytest.approx(0.3, abs=1e-6)
    for wrong in (0.0, -1.0, 0.001):
        with pytest.raises(UserError, match="horizon_seconds"):
            dataclasses.replace(tiny, horizon_seconds=wrong).open()


def test_rows_out_of_order_find_their_frames(tiny: LeRobotMotion) -> None:
    expected = tiny.open()
    for path in Path(tiny.root).glob("data/*/*.parquet"):
        rows = pq.read_table(path)
        pq.write_table(rows.take(np.random.default_rng(0).permutation(len(rows))), path)
    for spec in (tiny, dataclasses.replace(tiny, join="frame_index")):
        source = spec.open()
        for index in range(0, len(source), 4):
            assert source[index]["motions"].tolist() == expected[index]["motions"].tolist()
            frames = [sample["frames"].take([3, 8]) for sample in (source[index], expected[index])]
            np.testing.assert_array_equal(*frames)


def test_a_source_is_small_and_opens_nothing(tiny: LeRobotMotion, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in [*Path(tiny.root).glob("data/*/*.parquet"), *Path(tiny.root).rglob("*.mp4")]:
        path.write_bytes(b"")
    source = tiny.open("train")
    assert len(pickle.dumps(source)) < 10_000
    with pytest.raises(BadItem):
        source[0]


# Names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pan", "lift"], ("pan", "lift")),
        ([["pan", "lift"]], ("pan", "lift")),
        ({"motors": ["pan", "lift"]}, ("pan", "lift")),
        (None, ("state_0", "state_1")),
        (["pan"], ("state_0", "state_1")),
        (["pan", "pan"], ("state_0", "state_1")),
        ([1, 2], ("state_0", "state_1")),
    ],
)
def test_columns_are_called_as_meta_has_it(tmp_path: Path, names: object, expected: tuple[str, ...]) -> None:
    root = LeRobot.tiny(tmp_path / "cloth").root
    change_info(root, "observation.state", names=names)
    assert column_names(Path(root), "state") == expected


def test_axes_are_chosen_by_name(tiny: LeRobotMotion) -> None:
    change_info(tiny.root, "observation.state", names=["pan", "lift"])
    source = dataclasses.replace(tiny, axes=("lift",), mirror=(-1,)).open()
    assert source.motion_axes == (("lift", "more lift", "less lift", -1),)
    assert source[0]["motions"][:2].tolist() == [[-1], [-2]]
    with pytest.raises(UserError, match=r"no axis of motion 'lif', did you mean 'lift'.*there are pan, lift"):
        dataclasses.replace(tiny, axes=("lif",)).open()


def test_what_a_mirror_does_is_not_known_unless_said(tiny: LeRobotMotion) -> None:
    assert [axis.mirror for axis in tiny.open().motion_axes] == [0, 0]
    assert [axis.mirror for axis in dataclasses.replace(tiny, mirror=(1, -1)).open().motion_axes] == [1, -1]
    for wrong in ((1,), (1, 2)):
        with pytest.raises(UserError, match=r"mirror is .* for 2 axes; give 1"):
            dataclasses.replace(tiny, mirror=wrong).open()


# What is refused


def test_a_camera_must_be_chosen_where_there_are_several(tiny: LeRobotMotion) -> None:
    with pytest.raises(UserError, match=r"cameras observation\.images\.left, observation\.images\.right.*data\.camera="):
        dataclasses.replace(tiny, camera="").open()
    with pytest.raises(UserError, match="no camera 'top'"):
        dataclasses.replace(tiny, camera="top").open()


def test_a_signal_that_is_not_there_is_refused(tiny: LeRobotMotion) -> None:
    with pytest.raises(UserError, match="signal is 'torque'; accepted are state, action, summed_action"):
        dataclasses.replace(tiny, signal="torque").open()  # type: ignore[arg-type]
    path = Path(tiny.root) / "meta" / "info.json"
    info = json.loads(path.read_text())
    del info["features"]["observation.state"]
    path.write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"has no column observation\.state.*data\.signal=.*\(action, summed_action\)"):
        tiny.open()
    assert len(dataclasses.replace(tiny, signal="action").open()) == 42


def test_clocks_that_run_apart_name_the_other_join(tiny: LeRobotMotion) -> None:
    change_rows(tiny, lambda row: row | {"timestamp": 1.08 * row["timestamp"]})
    with pytest.raises(BadItem, match=r"no frame of its own.*data\.join=frame_index"):
        tiny.open()[40]["frames"].take([0])
    sample = dataclasses.replace(tiny, join="frame_index").open()[40]
    shown = [number_shown(picture) for picture in sample["frames"].take([sample["frame"], *sample["later"]])]
    assert shown == [300 + frame for frame in (sample["frame"], *sample["later"])]
    assert sample["seconds"] == pytest.approx(0.108 * (sample["later"] - sample["frame"]))  # the clock's, not the video's


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: None if row["frame_index"] == 7 else row, "11 rows where meta/ says 12"),
        (lambda row: row | {"timestamp": 0.0}, "times do not rise from frame 0"),
        (lambda row: row | {"observation.state": [float("nan"), 0.0]}, "values that are no numbers"),
        (lambda row: row | {"observation.state": [1.0] * (1 + row["frame_index"] % 2)}, "differ in length"),
    ],
)
def test_one_bad_episode_stops_no_other(tiny: LeRobotMotion, change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    change_rows(tiny, lambda row: change(row) if row["episode_index"] == 2 else row)
    source = tiny.open()
    for index, name in enumerate(source.recordings):
        if name.endswith("2"):
            with pytest.raises(BadItem, match=reason) as caught:
                source[index]
            assert caught.value.name.endswith(("episode_000002.parquet", "episode 2"))
        elif "length" not in reason or "v2" in Path(tiny.root, "meta", "info.json").read_text():
            assert source[index]["motions"].shape[1] == 2  # a file of many episodes is read as one


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    spec = LeRobotMotion.tiny(tmp_path / "cloth")
    (Path(spec.root) / V2_ROWS).unlink()
    source = spec.open()
    assert [Path(item.name).name for item in source.bad] == ["episode_000002.parquet"]
    assert len(source) == 42 - 11


def test_sets_with_other_columns_are_not_joined(tmp_path: Path) -> None:
    one, two = (LeRobotMotion.tiny(tmp_path / name) for name in ("one", "two"))
    both = dataclasses.replace(one, root=f"{one.root},{two.root}")
    assert len(set(both.open().recordings)) == 8
    change_info(two.root, "observation.state", names=["pan", "lift"])
    with pytest.raises(UserError, match="other columns of state; give one at a time"):
        both.open()


def test_episodes_of_one_frame_are_named(tmp_path: Path) -> None:
    spec = LeRobotMotion.tiny(tmp_path / "cloth")
    path = Path(spec.root) / "meta" / "episodes.jsonl"
    rows = [json.loads(line) | {"length": 1} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"no usable episodes.*1 frames, where a pair needs two"):
        spec.open()


def test_inspect_says_that_there_is_another_way_to_read_it(tmp_path: Path) -> None:
    found = inspect_data(LeRobotMotion.tiny(tmp_path / "cloth").root)
    assert (found["reader"], found["other_readers"]) == ("LeRobot", ["LeRobotMotion"])


# Real robots


@pytest.mark.data
def test_g1_moves_its_right_arm(data_root: Path) -> None:
    source = LeRobotMotion(root=str(data_root / "g1_robot")).open()
    names = [axis.name for axis in source.motion_axes]
    assert (len(names), names[0], names[10]) == (26, "kLeftShoulderPitch", "kRightElbow")
    chosen = np.random.default_rng(0).permutation(len(source))[:100]
    spread = np.concatenate([source[int(index)]["motions"][-1:] for index in chosen]).std(0)
    assert spread[:7].max() < 0.02 < 0.04 < spread[7:14].min()


@pytest.mark.data
def test_each_wrist_camera_of_so101_sees_its_own_arm_move_when_it_moves(data_root: Path) -> None:
    """Measured, since nothing says so: cam0 sits on the second arm, cam1 on the first; pictures come a frame or two late."""
    arms = (slice(0, 5), slice(6, 11))
    for camera, own in (("cam0", 1), ("cam1", 0)):
        source = LeRobotMotion(root=str(data_root / "so101_cloth"), camera=camera, join="frame_index", short_side=24).open()
        found: list[list[float]] = []  # by episode: correlation with the own arm's motion at each delay, then with the other's
        for name in sorted(set(source.recordings))[1::2]:
            frames = source[source.recordings.index(name)]["frames"]
            seen = np.abs(np.diff(frames.take(range(len(frames))).astype(float), axis=0)).mean((1, 2, 3))
            moved = np.abs(np.diff(frames.values("state"), axis=0))
            mine, other = (moved[:, arms[arm]].sum(1) for arm in (own, 1 - own))
            late = [np.corrcoef(np.roll(mine, delay)[10:-10], seen[10:-10])[0, 1] for delay in range(-10, 11)]
            found.append([*late, np.corrcoef(other, seen)[0, 1]])
        *late, stranger = np.mean(found, axis=0).tolist()
        assert np.argmax(late) - 10 in (0, 1, 2)
        assert max(late) > stranger + 0.05
