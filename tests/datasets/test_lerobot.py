"""LeRobot data sets: the action beside a frame is the one recorded with it, in both layouts, or the episode is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embodied_ssl import discover
from embodied_ssl.datasets.io import robot_rows
from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.io.robot_rows import own_frames
from embodied_ssl.datasets.lerobot import TINY_CAMERAS, LeRobot
from embodied_ssl.datasets.lerobot_motion import LeRobotMotion
from embodied_ssl.datasets.source import Sample
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.inspection import inspect_data

V3_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
V3_ROWS = "data/chunk-000/file-000.parquet"
V2_ROWS = "data/chunk-000/episode_000002.parquet"
V2_VIDEO = f"videos/chunk-000/{TINY_CAMERAS[1]}/episode_000002.mp4"


@pytest.fixture(params=[LeRobot.tiny, LeRobot.tiny_v3], ids=["v2", "v3"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> LeRobot:
    return request.param(tmp_path / "cloth")  # type: ignore[no-any-return]


def shown(sample: Sample) -> list[int]:
    return [number_shown(picture) for picture in sample["frames"].take(range(len(sample["frames"])))]


def change_table(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Write a parquet file anew, each row changed; rows of which nothing is left are dropped."""
    rows = [change(row) for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist([row for row in rows if row]), path)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_every_frame_has_the_row_recorded_with_it(tiny: LeRobot) -> None:
    # The picture shows 100 * episode + frame, and so does the first number of the action.
    source = tiny.open()
    assert source.bad == []
    assert [Path(name).name for name in source.recordings] == [f"episode_{e:06d}" for e in range(4) for _ in TINY_CAMERAS]
    for index, name in enumerate(source.recordings):
        sample, episode = source[index], int(name[-1])
        expected = [100 * episode + frame for frame in range(10 + episode)]
        assert shown(sample) == expected
        assert sample["action"].tolist() == [[number, episode, number % 100] for number in expected]
        assert sample["state"].tolist() == [[number % 100, -(number % 100)] for number in expected]
        assert sample["label"] == episode % 2
        assert sample["action"].dtype == sample["state"].dtype == np.float32


def test_rows_stay_with_their_frames_when_frames_are_thinned(tiny: LeRobot) -> None:
    source = dataclasses.replace(tiny, fps=4).open()
    for index in range(len(source)):
        sample = source[index]
        assert 3 < len(sample["frames"]) < 7
        assert shown(sample) == sample["action"][:, 0].tolist()


def test_both_layouts_of_one_recording_give_the_same(tmp_path: Path) -> None:
    two, three = LeRobot.tiny(tmp_path / "two").open("held_out"), LeRobot.tiny_v3(tmp_path / "three").open("held_out")
    assert two.recordings == three.recordings
    for index in range(len(two)):
        one, other = two[index], three[index]
        assert shown(one) == shown(other)
        assert np.array_equal(one["action"], other["action"])


@pytest.mark.parametrize("name", ["left", "observation.images.left"])
def test_one_camera_may_be_chosen(tiny: LeRobot, name: str) -> None:
    source = dataclasses.replace(tiny, camera=name).open()
    assert len(source) == len(set(source.recordings)) == 4
    assert all("left" in source[index]["frames"].name for index in range(4))


def test_unknown_camera_is_refused_with_those_there_are(tiny: LeRobot) -> None:
    with pytest.raises(UserError, match=r"no camera 'wrist'.*observation\.images\.left, observation\.images\.right"):
        dataclasses.replace(tiny, camera="wrist").open()


def test_rows_out_of_order_find_their_frames(tmp_path: Path) -> None:
    spec = LeRobot.tiny(tmp_path)
    table = pq.read_table(tmp_path / V2_ROWS)
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), tmp_path / V2_ROWS)
    sample = spec.open()[4]
    assert shown(sample) == sample["action"][:, 0].tolist() == list(range(200, 212))


def test_rows_a_little_off_find_their_frames(tiny: LeRobot) -> None:
    for path in Path(tiny.root).glob("data/*/*.parquet"):
        change_table(path, lambda row: row | {"timestamp": row["timestamp"] + 0.04 * (-1) ** row["frame_index"]})
    source = tiny.open()
    assert all(shown(source[index]) == source[index]["action"][:, 0].tolist() for index in range(len(source)))


@pytest.mark.parametrize("late", [0.06, 5.0, -0.06])
def test_a_row_without_a_frame_names_the_episode(tiny: LeRobot, late: float) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        moved = row["episode_index"] == 2 and row["frame_index"] == 4
        return row | {"timestamp": row["timestamp"] + late * moved}

    for path in Path(tiny.root).glob("data/*/*.parquet"):
        change_table(path, change)
    source = tiny.open()
    for index, name in enumerate(source.recordings):
        if not name.endswith("2"):
            assert shown(source[index]) == source[index]["action"][:, 0].tolist()
            continue
        with pytest.raises(BadItem, match=r"has no frame of its own within 0\.050 s.*frame_index") as caught:
            source[index]
        assert caught.value.name.endswith(("episode_000002.parquet", "episode 2"))


def test_a_frame_without_a_row_is_refused(tiny: LeRobot) -> None:
    for path in Path(tiny.root).glob("data/*/*.parquet"):
        change_table(path, lambda row: None if row["episode_index"] == 2 and row["frame_index"] == 7 else row)
    source = tiny.open()
    with pytest.raises(BadItem, match=r"the frame at .*7.* s has no row"):
        source[4]


def test_rows_may_be_joined_by_number(tiny: LeRobot) -> None:
    for path in Path(tiny.root).glob("data/*/*.parquet"):  # a wall clock that ran apart from the video
        change_table(path, lambda row: row | {"timestamp": 1.08 * row["timestamp"]})
    with pytest.raises(BadItem, match="frame_index"):
        tiny.open()[6]
    source = dataclasses.replace(tiny, join="frame_index", fps=5).open()
    assert all(shown(source[index]) == source[index]["action"][:, 0].tolist() for index in range(len(source)))
    for path in Path(tiny.root).glob("data/*/*.parquet"):
        change_table(path, lambda row: row | {"frame_index": row["frame_index"] // 2})
    with pytest.raises(BadItem, match="do not each have a frame"):
        dataclasses.replace(tiny, join="frame_index").open()[0]


def test_own_frames_are_those_of_a_search_over_all_pairs() -> None:
    draw = np.random.default_rng(0)
    agreed = 0
    for _ in range(200):
        frames = np.cumsum(draw.uniform(0.05, 0.15, draw.integers(1, 8)))
        rows = draw.choice(frames, draw.integers(1, len(frames) + 1), replace=False) + draw.uniform(-0.05, 0.05)
        rows += draw.uniform(-0.01, 0.01, len(rows))
        near = [[frame for frame in range(len(frames)) if abs(frames[frame] - row) <= 0.05] for row in rows]
        best = [min(range(len(frames)), key=lambda frame: abs(frames[frame] - row)) for row in rows]
        fine = all(frame in few for frame, few in zip(best, near, strict=True)) and len(set(best)) == len(best)
        if fine:
            assert own_frames(rows, frames, 0.05).tolist() == best
            agreed += 1
        else:
            with pytest.raises(ValueError, match="no frame of its own"):
                own_frames(rows, frames, 0.05)
    assert 50 < agreed < 190


@pytest.mark.parametrize("rows_a_part", [46, 12, 1])
def test_a_file_of_many_episodes_is_cut_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_part: int) -> None:
    spec = LeRobot.tiny_v3(tmp_path / "cloth")
    path = tmp_path / "cloth" / V3_ROWS
    pq.write_table(pq.read_table(path), path, row_group_size=rows_a_part)
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "cache"))
    opened: list[str] = []
    source = spec.open()
    expected = [source[index]["action"].tolist() for index in range(8)]
    assert [row[0] for actions in expected[::2] for row in actions] == [100 * e + f for e in range(4) for f in range(10 + e)]
    robot_rows._read_rows.cache_clear()
    columns = robot_rows._columns
    monkeypatch.setattr(robot_rows, "_columns", lambda path, *given: opened.append(path) or columns(path, *given))
    assert [spec.open()[index]["action"].tolist() for index in range(8)] == expected
    assert opened == []
    change_table(path, lambda row: row | {"action": [7.0] * 3})
    assert spec.open()[5]["action"].tolist() == [[7.0] * 3] * 12
    assert set(opened) == {str(path)}


@pytest.mark.parametrize("gone", [V2_VIDEO, V2_ROWS])
def test_what_is_listed_and_absent_is_skipped_and_named(tmp_path: Path, gone: str) -> None:
    spec = LeRobot.tiny(tmp_path)
    (tmp_path / gone).unlink()
    source = spec.open()
    assert len(source) == (7 if gone == V2_VIDEO else 6)
    assert {item.name for item in source.bad} == {str(tmp_path / gone)}
    assert len(source) + len(source.bad) == 8


def test_a_copy_without_videos_is_refused(tmp_path: Path) -> None:
    spec = LeRobot.tiny_v3(tmp_path)
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"none of the 8 videos.*file-000\.mp4"):
        spec.open()


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("meta/info.json", "{", "cannot be read"),
        ("meta/info.json", '{"codebase_version": "v1.6"}', r"version 1\.6; accepted is .* 2\.0, 2\.1 or 3\.0"),
        ("meta/info.json", '{"codebase_version": "v2.1"}', "cannot be read.*features"),
        ("meta/episodes.jsonl", "", "lists no episodes"),
        ("meta/episodes.jsonl", '{"episode_index": 0}', "cannot be read.*length"),
    ],
)
def test_broken_meta_is_explained(tmp_path: Path, path: str, text: str, words: str) -> None:
    spec = LeRobot.tiny(tmp_path)
    (tmp_path / path).write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        spec.open()
    assert "\n" not in str(caught.value)


def test_broken_meta_of_version_3_is_explained(tmp_path: Path) -> None:
    spec = LeRobot.tiny_v3(tmp_path)
    change_table(tmp_path / V3_EPISODES, lambda row: {name: row[name] for name in row if "from_timestamp" not in name})
    with pytest.raises(UserError, match="does not say where camera"):
        spec.open()
    (tmp_path / V3_EPISODES).write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="cannot be read"):
        spec.open()
    (tmp_path / V3_EPISODES).unlink()
    with pytest.raises(UserError, match="lists no episodes"):
        spec.open()


def test_pictures_in_place_of_videos_are_refused(tmp_path: Path) -> None:
    spec = LeRobot.tiny(tmp_path)
    change_json(tmp_path / "meta" / "info.json", features={TINY_CAMERAS[0]: {"dtype": "image"}})
    with pytest.raises(UserError, match="names no videos"):
        spec.open()


@pytest.mark.parametrize("broken", ["cut", "nan", "ragged", "action", "timestamp"])
def test_a_broken_file_of_rows_is_a_bad_item(tmp_path: Path, broken: str) -> None:
    spec, path = LeRobot.tiny(tmp_path), tmp_path / V2_ROWS
    if broken == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif broken in ("action", "timestamp"):
        pq.write_table(pq.read_table(path).drop_columns([broken]), path)
    else:
        actions = {"nan": [0.0, float("nan"), 0.0], "ragged": [0.0]}[broken]
        change_table(path, lambda row: row | {"action": actions} if row["frame_index"] == 3 else row)
    source = spec.open()
    assert len(source[0]["action"]) == 10
    words = {"cut": "", "nan": "action has values", "ragged": "differ in length"}.get(broken, f"no column {broken}")
    with pytest.raises(BadItem, match=rf"episode_000002\.parquet: .*{words}"):
        source[4]


def test_without_rows_there_are_frames_still(tmp_path: Path) -> None:
    spec = LeRobot.tiny(tmp_path)
    features = json.loads((tmp_path / "meta" / "info.json").read_text())["features"]
    change_json(tmp_path / "meta" / "info.json", features={name: features[name] for name in TINY_CAMERAS})
    (tmp_path / "meta" / "tasks.jsonl").unlink()
    assert spec.open().provides == {"frames", "index"}
    assert set(spec.open()[0]) == {"frames", "index"}


def test_it_is_read_before_a_plain_folder_of_videos(tiny: LeRobot) -> None:
    assert discover.specs_for(Path(tiny.root)) == [LeRobot, LeRobotMotion, VideoFolder]
    with pytest.raises(UserError, match="join is 'row'; accepted are timestamp and frame_index"):
        dataclasses.replace(tiny, join="row").open()  # type: ignore[arg-type]


def test_inspection_offers_what_trains_on_plain_videos_too(tiny: LeRobot) -> None:
    found = inspect_data(tiny.root)
    assert (found["reader"], found["samples"], found["recordings"], found["left_out"]) == ("LeRobot", 8, 4, [])
    assert "temporal_order" in found["configs"]


@pytest.mark.data
def test_real_robots(data_root: Path) -> None:
    source = LeRobot(str(data_root / "g1_robot")).open()
    assert (len(source), len(set(source.recordings)), len(source.bad)) == (61, 61, 39)
    for index in (0, 30, 60):
        sample = source[index]
        assert sample["action"].shape == sample["state"].shape == (len(sample["frames"]), 26)
    pair = LeRobot(str(data_root / "so101_cloth"))
    with pytest.raises(BadItem, match=r"set data\.join=frame_index"):  # its clock ran at 18.6 Hz, its videos say 20
        pair.open()[0]
    joined = dataclasses.replace(pair, join="frame_index").open()
    assert (len(joined), len(set(joined.recordings))) == (33, 17)
    assert joined[3]["action"].shape == (len(joined[3]["frames"]), 12)
