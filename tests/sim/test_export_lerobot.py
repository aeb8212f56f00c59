"""LeRobot exports, read back with pyarrow, pandas, PyAV and our own reader, and compared with the native rows."""

import io
import json

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_interactions import film_of, make, row, write

from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.datasets.lerobot import LeRobot
from embodied_ssl.errors import UserError
from embodied_ssl.sim.export import lerobot, statistics
from embodied_ssl.sim.export.exporting import choices, export
from embodied_ssl.sim.schema import TASKS

TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = make(folder / "native")
    export(folder / "native", folder / "video", "lerobot")
    export(folder / "native", folder / "image", "lerobot", choices("lerobot", pictures="image"))
    return folder, rows


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    rows = make(folder / "native", films=True)
    export(folder / "native", folder / "video", "lerobot")
    export(folder / "native", folder / "image", "lerobot", choices("lerobot", pictures="image"))
    return folder, rows


def frames_of(root):
    return [row for path in sorted(root.glob("data/*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def episodes_of(root):
    return [row for path in sorted(root.glob("meta/episodes/*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def info_of(root):
    return json.loads((root / "meta" / "info.json").read_text())


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.time, bool(frame.key_frame), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("pictures", ["video", "image"])
def test_every_number_is_in_every_frame(pairs, pictures):
    folder, rows = pairs
    frames, info = frames_of(folder / pictures), info_of(folder / pictures)
    assert len(frames) == 2 * len(rows) == info["total_frames"]
    assert set(frames[0]) == {name for name, feature in info["features"].items() if feature["dtype"] != "video"}
    for k, frame in enumerate(frames):
        native, last = rows[k // 2], bool(k % 2)
        assert [frame[name] for name in ("index", "episode_index", "frame_index", "timestamp")] == [k, k // 2, k % 2, k % 2]
        assert frame["task_index"] == native["task"]
        for name in ("index", "success", "force", "travel", "size", "mass", "light_shadow", "camera_pose", "acted_place", *TASKS):
            assert frame[f"interaction.{name}"] == native[name]
        when, at = "after" if last else "before", 7 * native["acted_place"]
        wanted = np.float32([*native[f"states_{when}"][at : at + 7], *native[f"tool_{when}"]])
        assert np.float32(frame["observation.state"]).tolist() == wanted.tolist()
        assert frame["next.success"] == native["success"]
        assert frame["next.done"] is True


def test_an_action_holds_what_was_commanded_by_name(pairs):
    folder, rows = pairs
    names = info_of(folder / "video")["features"]["action"]["names"]
    assert names[:3] == ["grasp.row", "grasp.column", "grasp.angle_bin"]
    assert {"poke.slope", "poke.intercept", "grasp.success"}.isdisjoint(names)
    components = {
        "grasp": {"row": 0, "column": 1, "angle_bin": 2},
        "push": {"row": 0, "end_row": 2, "height": 4},
        "poke": {"column": 1},
    }
    for frame in frames_of(folder / "video"):
        native = rows[frame["episode_index"]]
        given = dict(zip(names, frame["action"], strict=True))
        for task, known in components.items():
            for component, place in known.items():
                assert given[f"{task}.{component}"] == native[task][place]


def test_pictures_as_images_are_the_native_bytes(pairs):
    folder, rows = pairs
    for frame in frames_of(folder / "image"):
        when, native = "after" if frame["frame_index"] else "before", rows[frame["episode_index"]]
        assert frame[TOP]["bytes"] == native[when]
        assert frame[WRIST]["bytes"] == native[f"wrist_{when}"]
    assert not (folder / "image" / "videos").exists()


def test_videos_show_each_episode_where_the_times_say(pairs):
    folder, rows = pairs
    info, episodes = info_of(folder / "video"), episodes_of(folder / "video")
    for camera, offset in ((TOP, 0), (WRIST, 7)):
        shown = decoded(folder / "video" / info["video_path"].format(video_key=camera, chunk_index=0, file_index=0))
        assert [time for time, _, _ in shown] == [k / info["fps"] for k in range(2 * len(rows))]
        for number, episode in enumerate(episodes):
            start, stop = (round(episode[f"videos/{camera}/{end}_timestamp"] * info["fps"]) for end in ("from", "to"))
            assert (start, stop) == (2 * number, 2 * number + 2)
            assert [number_shown(pixels) for _, _, pixels in shown[start:stop]] == [
                100 * number + offset,
                100 * number + 50 + offset,
            ]
            assert shown[start][1]  # a keyframe
            prefix = "wrist_" if camera == WRIST else ""
            for when, (_, _, pixels) in zip(("before", "after"), shown[start:stop], strict=True):
                error = np.abs(pixels.astype(float) - decode(rows[number][f"{prefix}{when}"], ""))
                assert error.mean() < 4


def test_episodes_and_tasks_say_where_everything_is(pairs):
    folder, rows = pairs
    episodes = episodes_of(folder / "video")
    assert [episode["episode_index"] for episode in episodes] == list(range(len(rows)))
    assert [episode["tasks"] for episode in episodes] == [[TASKS[row["task"]]] for row in rows]
    ends = [(episode["dataset_from_index"], episode["dataset_to_index"]) for episode in episodes]
    assert ends == [(2 * k, 2 * k + 2) for k in range(len(rows))]
    tasks = pd.read_parquet(folder / "video" / "meta" / "tasks.parquet")
    assert tasks.index.tolist() == list(TASKS)
    assert tasks["task_index"].tolist() == list(range(len(TASKS)))
    assert tasks.columns.tolist() == ["task_index"]
    as_pandas = io.BytesIO()
    tasks.to_parquet(as_pandas)
    theirs = json.loads(pq.read_schema(as_pandas).metadata[b"pandas"])
    ours = json.loads(pq.read_schema(folder / "video" / "meta" / "tasks.parquet").metadata[b"pandas"])
    assert ours["index_columns"] == theirs["index_columns"]
    assert [column["field_name"] for column in ours["columns"]] == [column["field_name"] for column in theirs["columns"]]


def test_what_the_format_has_no_place_for_stands_beside(pairs):
    folder, rows = pairs
    beside = pq.read_table(folder / "video" / "interactions" / "chunk-000" / "file-000.parquet")
    shown = {"before", "after", "wrist_before", "wrist_after"}
    assert set(beside.column_names) == (set(rows[0]) - shown) | {"episode_index", "part"}
    for number, (given, native) in enumerate(zip(beside.to_pylist(), rows, strict=True)):
        assert given.pop("episode_index") == number
        assert given.pop("part") in ("train", "valid")
        assert given == {name: value for name, value in native.items() if name not in shown}
    parts = {part: {r["acted"] for r in beside.to_pylist() if r["part"] == part} for part in ("train", "valid")}
    assert parts["valid"]
    assert not parts["train"] & parts["valid"]
    assert beside.schema.field("raw_force").metadata == {b"what": b"N, in every step of 1/240 s"}


def test_statistics_are_those_of_all_frames(pairs):
    folder, rows = pairs
    stats = json.loads((folder / "video" / "meta" / "stats.json").read_text())
    frames = pa.Table.from_pylist(frames_of(folder / "video"))
    assert set(stats) == set(info_of(folder / "video")["features"])
    for name in frames.column_names:
        values = np.array(frames[name].to_pylist(), np.float64).reshape(len(frames), -1)
        assert stats[name]["count"] == [len(frames)]
        for figure, wanted in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0)), ("std", values.std(0))):
            np.testing.assert_allclose(stats[name][figure], wanted, atol=1e-12)
        for share in (1, 10, 50, 90, 99):
            np.testing.assert_allclose(stats[name][f"q{share:02d}"], np.quantile(values, share / 100, axis=0), atol=1e-12)
    pixels = np.stack([decode(row[when], "") for row in rows for when in ("before", "after")]) / 255
    assert np.shape(stats[TOP]["mean"]) == (3, 1, 1)
    for figure, wanted in (("min", pixels.min((0, 1, 2))), ("mean", pixels.mean((0, 1, 2))), ("std", pixels.std((0, 1, 2)))):
        np.testing.assert_allclose(np.ravel(stats[TOP][figure]), wanted, atol=1e-9)
    wanted = np.quantile(pixels.reshape(-1, 3), 0.9, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(np.ravel(stats[TOP]["q90"]), wanted, atol=1e-9)


def test_episodes_have_statistics_of_their_own(pairs, films):
    for folder, _ in (pairs, films):
        frames = pa.Table.from_pylist(frames_of(folder / "image"))
        features = info_of(folder / "image")["features"]
        for episode in episodes_of(folder / "image"):
            mine = frames.slice(episode["dataset_from_index"], episode["length"]).to_pylist()
            for name in (name for name in features if name.startswith(("observation.", "action"))):
                values = [frame[name] for frame in mine]
                if name.startswith("observation.images"):
                    pixels = np.stack([decode(value["bytes"], "") for value in values]) / 255
                    wanted = {"mean": pixels.mean((0, 1, 2)), "max": pixels.max((0, 1, 2)), "std": pixels.std((0, 1, 2))}
                    assert np.shape(episode[f"stats/{name}/mean"]) == (3, 1, 1)
                else:
                    values = np.array(values).reshape(len(mine), -1)
                    wanted = {
                        "mean": values.mean(0),
                        "min": values.min(0),
                        "std": values.std(0),
                        "q10": np.quantile(values, 0.1, 0),
                    }
                for figure, value in wanted.items():
                    np.testing.assert_allclose(np.ravel(episode[f"stats/{name}/{figure}"]), value, atol=1e-6)
                assert episode[f"stats/{name}/count"] == [len(mine)]


@pytest.mark.parametrize("pictures", ["video", "image"])
def test_a_film_gives_all_its_frames(films, pictures):
    folder, rows = films
    info, episodes = info_of(folder / pictures), episodes_of(folder / pictures)
    assert info["fps"] == 10
    assert set(info["features"]) & {TOP, WRIST} == {TOP}  # the wrist has no film, so it stands beside
    lengths = [2 if row["film"] is None else 3 + number % 4 for number, row in enumerate(rows)]
    assert [episode["length"] for episode in episodes] == lengths
    wanted = []
    for number, length in enumerate(lengths):
        wanted += [100 * number, 100 * number + 50] if rows[number]["film"] is None else [100 * number + k for k in range(length)]
    frames = frames_of(folder / pictures)
    if pictures == "image":
        shown = [number_shown(decode(frame[TOP]["bytes"], "")) for frame in frames]
    else:
        video = decoded(folder / "video" / "videos" / TOP / "chunk-000" / "file-000.mp4")
        shown = [number_shown(pixels) for _, _, pixels in video]
        for episode in episodes:
            start = round(episode[f"videos/{TOP}/from_timestamp"] * 10)
            assert video[start][1]
            assert episode[f"videos/{TOP}/to_timestamp"] == (start + episode["length"]) / 10
    assert shown == wanted
    beside = pq.read_table(folder / pictures / "interactions" / "chunk-000" / "file-000.parquet")
    for given, native in zip(beside.to_pylist(), rows, strict=True):
        assert all(given[name] == native[name] for name in ("before", "after", "wrist_before", "wrist_after", "tactile_first"))


def test_in_a_film_success_comes_at_the_end(films):
    folder, rows = films
    lengths = [episode["length"] for episode in episodes_of(folder / "video")]
    for frame in frames_of(folder / "video"):
        length = lengths[frame["episode_index"]]
        late = frame["frame_index"] >= length - 2
        native = rows[frame["episode_index"]]
        assert frame["next.done"] == late
        assert frame["next.success"] == (late and native["success"])
        when, at = "after" if frame["frame_index"] == length - 1 else "before", 7 * native["acted_place"]
        assert frame["observation.state"][:7] == np.float32(native[f"states_{when}"][at : at + 7]).tolist()


def test_our_own_reader_reads_it_back(films):
    folder, rows = films
    source = LeRobot(root=str(folder / "video"), short_side=48).open("all")
    assert source.bad == []
    assert len(source) == len(rows)
    frames = frames_of(folder / "video")
    for number, native in enumerate(rows):
        sample = source[number]
        mine = [frame for frame in frames if frame["episode_index"] == number]
        shown = [number_shown(picture) for picture in sample["frames"].take(range(len(sample["frames"])))]
        assert shown == ([100 * number + k for k in range(len(mine))] if native["film"] else [100 * number, 100 * number + 50])
        assert sample["action"].tolist() == [frame["action"] for frame in mine]
        assert sample["state"].tolist() == [frame["observation.state"] for frame in mine]
        assert sample["label"] == native["task"]


def test_files_are_begun_anew_when_they_are_full(tmp_path, monkeypatch, pairs):
    _, rows = pairs
    monkeypatch.setattr(lerobot, "VIDEO_SECONDS", 6)
    monkeypatch.setattr(lerobot, "DATA_BYTES", 10_000)
    monkeypatch.setattr(lerobot, "GROUP_FRAMES", 4)
    monkeypatch.setattr(lerobot, "CHUNK", 2)
    write(tmp_path / "native", rows)
    export(tmp_path / "native", tmp_path / "out", "lerobot")
    places = [(e[f"videos/{TOP}/chunk_index"], e[f"videos/{TOP}/file_index"]) for e in episodes_of(tmp_path / "out")]
    assert places == [(k // 6, k // 3 % 2) for k in range(12)]
    assert sum(len(decoded(path)) for path in (tmp_path / "out" / "videos" / TOP).rglob("*.mp4")) == 24
    info = info_of(tmp_path / "out")
    assert len(list((tmp_path / "out" / "data").rglob("*.parquet"))) > 2
    for episode in episodes_of(tmp_path / "out"):
        where = {name: episode[f"data/{name}"] for name in ("chunk_index", "file_index")}
        there = pq.read_table(tmp_path / "out" / info["data_path"].format(**where))["episode_index"].to_pylist()
        assert there.count(episode["episode_index"]) == 2


def test_pictures_of_odd_size_need_the_image_format(tmp_path):
    make(tmp_path / "native", 4, size=(47, 64))
    with pytest.raises(UserError, match=r"pictures of 47 x 64 do not fit H\.264.*--pictures image"):
        export(tmp_path / "native", tmp_path / "out", "lerobot")
    assert not (tmp_path / "out").exists()
    export(tmp_path / "native", tmp_path / "out", "lerobot", choices("lerobot", pictures="image"))


def test_films_of_one_frame_or_none_are_left_out(tmp_path):
    rows = [row(index) for index in range(4)]
    rows[0]["film"] = film_of(0, 4, (48, 64), tmp_path)
    rows[1]["film"] = film_of(0, 1, (48, 64), tmp_path)
    rows[2]["film"] = rows[0]["film"][:200]
    write(tmp_path / "native", rows)
    made = export(tmp_path / "native", tmp_path / "out", "lerobot")
    assert made.interactions == 2
    assert [item.name.rpartition("/")[2] for item in made.bad] == [f"shard-00000.parquet row {k} film" for k in (1, 2)]
    assert "has 1 frames; two or more are needed" in made.bad[0].reason


def test_films_of_two_rates_are_refused(tmp_path):
    rows = [row(index) for index in range(2)]
    rows[0] |= {"film": film_of(0, 4, (48, 64), tmp_path), "wrist_before": film_of(0, 4, (48, 64), tmp_path, rate=20)}
    rows[1]["wrist_before"] = None
    write(tmp_path / "native", rows)
    with pytest.raises(UserError, match=r"films of .* have 10 and 20 frames a second; they must agree"):
        export(tmp_path / "native", tmp_path / "out", "lerobot")


def test_long_series_keep_exact_moments_and_near_quantiles(monkeypatch):
    monkeypatch.setattr(statistics, "KEPT", 500)
    values = np.random.default_rng(0).gamma(2, size=(5000, 3))
    seen = statistics.Numbers(3)
    for part in np.array_split(values, 37):
        seen.add(part)
    found = seen.figures()
    for figure, wanted in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0)), ("std", values.std(0))):
        np.testing.assert_allclose(found[figure], wanted, rtol=1e-10)
    np.testing.assert_allclose(found["q50"], np.quantile(values[::16], 0.5, axis=0))
    np.testing.assert_allclose(found["q90"], np.quantile(values, 0.9, axis=0), rtol=0.2)
