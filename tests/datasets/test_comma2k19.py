"""comma2k19: an arc on the globe has the motion of an arc, frames of bare HEVC are exact, and one bad minute stays one."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from embodied_ssl.datasets import poses
from embodied_ssl.datasets.comma2k19 import RATE, Comma2k19, earth_axes, earth_poses, write_segment
from embodied_ssl.datasets.io import raw_stream
from embodied_ssl.datasets.io.numbered import number_shown, numbered, tour, write_video
from embodied_ssl.datasets.io.raw_stream import RawStream
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.inspection import inspect_data

ROUTE = "99c94dc769b5d96e|2018-08-01--08-34-47"
X265 = "log-level=none:pools=1:frame-threads=1:keyint=10:min-keyint=10:scenecut=0:"
KINDS = {
    "no B-frames": ("libx265", {"x265-params": X265 + "bframes=0"}),
    "B-frames": ("libx265", {"x265-params": X265 + "bframes=3:open-gop=0"}),
    "open groups": ("libx265", {"x265-params": X265 + "bframes=3:open-gop=1"}),
    "H.264": ("libx264", {"bf": "2", "g": "10"}),
}


def product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton's, of quaternions (w, x, y, z)."""
    w, v = p[0] * q[0] - p[1:] @ q[1:], p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
    return np.array([w, *v])


def turned(q: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return product(product(q, np.array([0, *vector])), q * [1, -1, -1, -1])[1:]


def arc(rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    """ECEF positions [n, 3] and quaternions [n, 4] of a second at 10 m/s and 0.2 rad/s to the left, over the yaw's seam."""
    local = earth_axes(37.6, -122.4)
    heading = 3.0 + 0.2 * np.arange(rate + 1) / rate
    east, north = 50 * (np.sin(heading) - np.sin(3.0)), -50 * (np.cos(heading) - np.cos(3.0))
    positions = 6_370_000.0 * local[:, 2] + np.stack([east, north], 1) @ local[:, :2].T
    forward = np.stack([np.cos(heading), np.sin(heading), 0 * heading], 1) @ local.T
    down = np.broadcast_to(-local[:, 2], forward.shape)
    axes = np.stack([forward, np.cross(down, forward), down], -1)  # right is down x forward
    return positions, np.roll(Rotation.from_matrix(axes).as_quat(), 1, axis=1)


def save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def change(segment: Path, what: str, by: Callable[[np.ndarray], object]) -> None:
    """Rewrite one array of a segment; ``by`` changes it in place or gives another."""
    path = segment / "global_pose" / f"frame_{what}"
    with path.open("rb") as file:
        values = np.load(file)
    given = by(values)
    save(path, values if given is None else given)  # type: ignore[arg-type]


# Motion


@pytest.mark.parametrize(
    ("first", "later", "yaw", "forward", "left"),
    [(0, 20, 0.2, 9.9335, 0.9967), (0, 2, 0.02, 0.9999, 0.0100), (10, 20, 0.1, 4.9917, 0.2498)],
)
def test_arc_on_the_globe(first: int, later: int, yaw: float, forward: float, left: float) -> None:
    track = earth_poses(*arc())
    moved = poses.relative(track[first], track[later])
    assert moved.dtype == np.float64
    assert poses.six(moved, "imu") == pytest.approx([forward, left, 0, yaw, 0, 0], abs=1e-4)


def test_quaternions_turn_the_camera_s_axes_into_the_earth_s() -> None:
    positions, orientations = arc()
    track = earth_poses(positions, orientations)
    for pose, q in zip(track, orientations, strict=True):
        for vector, sign in zip(np.eye(3), (1, -1, -1), strict=True):  # forward, right, down against forward, left, up
            np.testing.assert_allclose(pose[:3, :3] @ vector, sign * turned(q, vector), atol=1e-12)
    # As the authors' own code has it: where a place is from the camera is the transposed rotation of its offset.
    seen = np.array([turned(orientations[0] * [1, -1, -1, -1], place - positions[0]) for place in positions])
    np.testing.assert_allclose(poses.relative(track[0], track)[:, :3, 3], seen * [1, -1, -1], atol=1e-6)


def test_made_up_steps_come_back(tmp_path: Path) -> None:
    steps = tour(30, first=0)
    write_segment(tmp_path / ROUTE / "3", steps)
    source = Comma2k19(str(tmp_path)).open()
    assert source.bad == []
    moved = np.array([source[index]["motions"][0] for index in range(30)])
    np.testing.assert_allclose(moved[:, 1], steps[:, 1], atol=1e-9)
    np.testing.assert_allclose(moved[:, 0], steps[:, 0] * np.cos(steps[:, 1] / 2), atol=1e-6)
    assert source[0]["seconds"][:2] == pytest.approx([0.05, 0.1])


def test_all_six_axes_may_be_asked_for(tmp_path: Path) -> None:
    write_segment(tmp_path / ROUTE / "3", tour(30, first=0))
    names = ("forward", "left", "up", "left_yaw", "up_pitch", "right_roll")
    moved = Comma2k19(str(tmp_path), axes=names).open()[0]["motions"][-1]
    assert moved[[2, 4, 5]] == pytest.approx(0, abs=1e-6)  # level ground
    assert moved[1] > 0.1
    with pytest.raises(UserError, match="no axis of motion 'yaw'"):
        Comma2k19(str(tmp_path), axes=("yaw",)).open()


# Layout


def test_a_route_s_minutes_are_one_recording_and_no_pair_leaves_its_minute(tmp_path: Path) -> None:
    source = Comma2k19.tiny(tmp_path).open()
    minutes = {}
    for index, name in enumerate(source.recordings):
        minutes.setdefault(name, set()).add(source[index]["frames"].name)
        assert source[index]["later"][-1] <= 30
    assert sorted(len(videos) for videos in minutes.values()) == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("below", ["", "Chunk_1", f"Chunk_1/{ROUTE}"])
def test_any_level_may_be_given(tmp_path: Path, below: str) -> None:
    write_segment(tmp_path / "Chunk_1" / ROUTE / "3", tour(5, first=0))
    assert len(Comma2k19(str(tmp_path / below)).open()) == 5
    assert Comma2k19.recognises(tmp_path / below)


def test_bars_may_be_underscores_and_the_pose_folder_as_in_the_readme(tmp_path: Path) -> None:
    place = write_segment(tmp_path / ROUTE.replace("|", "_") / "12", tour(5, first=0))
    (place / "global_pose").rename(place / "global_pos")
    source = Comma2k19(str(tmp_path)).open()
    assert (len(source), source.bad) == (5, [])


# Bad minutes


def spoil_video(segment: Path) -> None:
    (segment / "video.hevc").unlink()


def spoil_array(segment: Path) -> None:
    path = segment / "global_pose" / "frame_positions"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_times(segment: Path) -> None:
    (segment / "global_pose" / "frame_times").write_bytes(b"")


def spoil_count(segment: Path) -> None:
    change(segment, "orientations", lambda rows: rows[:-1])


def spoil_shape(segment: Path) -> None:
    change(segment, "positions", lambda rows: rows[:, :2])


def spoil_all_poses(segment: Path) -> None:
    change(segment, "positions", lambda rows: rows * np.nan)


def spoil_convention(segment: Path) -> None:
    change(segment, "orientations", lambda rows: np.roll(rows, -1, axis=1))


def spoil_direction(segment: Path) -> None:
    change(segment, "orientations", lambda rows: rows * [1, -1, -1, -1])


SPOILED = {
    spoil_video: "video.hevc: missing",
    spoil_array: "frame_positions: not a whole numpy array",
    spoil_times: "frame_times: not a whole numpy array",
    spoil_count: "31 times, 31 positions and 30 orientations: which belong together is unknown",
    spoil_shape: r"its shape is \(31, 2\) where \[n, 3\] is expected",
    spoil_all_poses: "0 of its 31 frames can be used",
    spoil_convention: r"its camera does not .* quaternions \(w, x, y, z\)",
    spoil_direction: r"its camera does not .* quaternions \(w, x, y, z\)",
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_one_bad_minute_stops_no_other(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    for minute in (3, 4):
        write_segment(tmp_path / ROUTE / str(minute), tour(30, first=0))
    spoil(tmp_path / ROUTE / "4")
    source = Comma2k19(str(tmp_path)).open()
    assert len(source) == 30
    assert [bool(re.search(SPOILED[spoil], str(item))) for item in source.bad] == [True]
    spoil(tmp_path / ROUTE / "3")
    with pytest.raises(UserError, match=f"first: .*{SPOILED[spoil]}.*{SPOILED[spoil]}.*accepted is CHUNK"):
        Comma2k19(str(tmp_path)).open()


def test_frames_without_a_pose_and_times_out_of_order_are_left_out_by_number(tmp_path: Path) -> None:
    segment = write_segment(tmp_path / ROUTE / "3", tour(30, first=0))
    whole = Comma2k19(str(tmp_path)).open()

    def no_pose(rows: np.ndarray) -> None:
        rows[5] = np.nan

    def no_turn(rows: np.ndarray) -> None:
        rows[6] = 0

    def back(rows: np.ndarray) -> None:
        rows[9] = rows[7]

    change(segment, "positions", no_pose)
    change(segment, "orientations", no_turn)
    change(segment, "times", back)
    source = Comma2k19(str(tmp_path)).open()
    assert [item.reason for item in source.bad] == [
        "2 of 31 frames have no time or no pose, the first is 5",
        "1 of 31 frames stand out of order in time, the first is 9",
    ]
    shown = source[0]["frames"]
    rest = [frame for frame in range(31) if frame not in (5, 6, 9)]
    assert shown.seconds == pytest.approx([frame / 20 for frame in rest], abs=1e-6)
    np.testing.assert_array_equal(shown.take([5, 7]), whole[0]["frames"].take([7, 10]))
    for index in range(len(source)):  # no pair reaches over a frame that is left out
        sample = source[index]
        first, last = rest[sample["frame"]], rest[sample["later"][-1]]
        assert last - first == sample["later"][-1] - sample["frame"]
        np.testing.assert_allclose(sample["motions"][0], whole[first]["motions"][0], atol=1e-9)


def test_no_pair_reaches_across_a_jump_of_position(tmp_path: Path) -> None:
    segment = write_segment(tmp_path / ROUTE / "3", tour(30, first=0))

    def jump(rows: np.ndarray) -> None:
        rows[12:] += 3.0

    change(segment, "positions", jump)
    source = Comma2k19(str(tmp_path)).open()
    assert [item.reason for item in source.bad] == ["1 steps disagree with the velocity, the first after frame 11"]
    for index in range(len(source)):
        sample = source[index]
        assert (sample["frame"] <= 11) == (sample["later"][-1] <= 11)
    (segment / "global_pose" / "frame_velocities").write_bytes(b"x")
    assert [Path(item.name).name for item in Comma2k19(str(tmp_path)).open().bad] == ["frame_velocities"]


@pytest.mark.parametrize("lost", [1, -1])
def test_more_or_fewer_frames_than_times_are_never_shifted(tmp_path: Path, lost: int) -> None:
    for minute in (3, 4):
        write_segment(tmp_path / ROUTE / str(minute), tour(30, first=0))
    for what in ("times", "positions", "orientations", "velocities"):
        change(tmp_path / ROUTE / "4", what, lambda rows: rows[:-1] if lost > 0 else np.concatenate([rows, 1.01 * rows[-1:]]))
    source = Comma2k19(str(tmp_path)).open()
    assert source[0]["frames"].take([0]).shape == (1, 96, 128, 3)
    with pytest.raises(BadItem, match=f"31 frames, but {31 - lost} times") as caught:
        source[len(source) - 1]["frames"].take([0])
    assert caught.value.name.endswith("4/video.hevc")
    left_out = inspect_data(str(tmp_path))["left_out"]
    assert [item["name"] for item in left_out if "but" in item["reason"]] == [caught.value.name]


# Bare streams


@pytest.fixture(scope="module", params=KINDS)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, options = KINDS[request.param]
    path = tmp_path_factory.mktemp("raw") / ("film.hevc" if codec == "libx265" else "film.h264")
    write_video(path, (numbered(number) for number in range(45)), codec=codec, rate=20, options=options)
    return path


def test_frames_are_those_asked_for(stream: Path) -> None:
    frames = RawStream(stream, np.arange(45) / 20)
    assert [number_shown(picture) for picture in frames.take(range(45))] == list(range(45))
    draw = np.random.default_rng(0)
    for _ in range(30):
        wanted = draw.integers(0, 45, draw.integers(1, 4)).tolist()
        assert [number_shown(picture) for picture in frames.take(wanted)] == wanted
    assert frames.motion[1:].min() > 0
    assert (frames.motion[0], frames.shots.max(), frames.content) == (0, 0, (0, 0, 48, 64))
    assert len(frames.take([])) == 0
    with pytest.raises(IndexError):
        frames.take([45])


def test_what_was_found_is_remembered(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RawStream(stream, np.arange(45) / 20, short_side=24)
    expected = first.take([17, 3])
    raw_stream._index_of.cache_clear()
    monkeypatch.setattr(raw_stream, "scan", lambda path: pytest.fail("scanned again"))
    again = pickle.loads(pickle.dumps(first))
    assert len(pickle.dumps(first)) < 1000
    np.testing.assert_array_equal(again.take([17, 3]), expected)
    np.testing.assert_array_equal(again.motion, first.motion)


def test_few_frames_are_decoded_for_one(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = RawStream(stream, np.arange(45) / 20)
    assert number_shown(frames.take([44])[0]) == 44
    begun = []
    decode = raw_stream._decoded
    monkeypatch.setattr(raw_stream, "_decoded", lambda *given: begun.append(given[-1]) or decode(*given))
    frames.take([44, 43])
    assert begun == [begun[0]]
    assert begun[0] >= 25


def test_settings_that_only_the_first_picture_carries(tmp_path: Path) -> None:
    codec, options = KINDS["no B-frames"]
    write_video(tmp_path / "all.hevc", (numbered(number) for number in range(30)), codec=codec, rate=20, options=options)
    units = re.split(rb"(?=\x00\x00\x00\x01|(?<!\x00)\x00\x00\x01)", (tmp_path / "all.hevc").read_bytes())[1:]
    kinds = [unit.lstrip(b"\x00")[1] >> 1 & 0x3F for unit in units]
    first = next(place for place, kind in enumerate(kinds) if kind < 32)
    kept = [place for place, kind in enumerate(kinds) if place < first or kind not in (32, 33, 34)]
    assert len(kept) < len(units)
    (tmp_path / "first.hevc").write_bytes(b"".join(units[place] for place in kept))
    frames = RawStream(tmp_path / "first.hevc", np.arange(30) / 20)
    assert [number_shown(picture) for picture in frames.take([25, 4])] == [25, 4]


def test_streams_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    codec, options = KINDS["no B-frames"]
    write_video(tmp_path / "film.hevc", (numbered(number) for number in range(30)), codec=codec, rate=20, options=options)
    whole = (tmp_path / "film.hevc").read_bytes()
    (tmp_path / "cut.hevc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.hevc").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.hevc").touch()
    write_video(tmp_path / "film.mp4", [numbered(number) for number in range(30)])
    reasons = {"cut": "but 30 times|cannot be decoded", "noise": "not a video", "empty": "empty file"}
    for name, reason in reasons.items():
        for _ in range(2):  # the second time from memory
            with pytest.raises(BadItem, match=reason):
                RawStream(tmp_path / f"{name}.hevc", np.arange(30) / 20).take([0])
    with pytest.raises(BadItem, match="not a file of coded pictures alone"):
        RawStream(tmp_path / "film.mp4", np.arange(30) / 20).take([0])
    with pytest.raises(BadItem, match="No such file"):
        RawStream(tmp_path / "absent.hevc", np.arange(30) / 20).take([0])


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    codec, options = KINDS["no B-frames"]
    for begin in (0, 100):
        film = (numbered(begin + number) for number in range(20))
        write_video(tmp_path / "film.hevc", film, codec=codec, rate=20, options=options)
        assert number_shown(RawStream(tmp_path / "film.hevc", np.arange(20) / 20).take([7])[0]) == begin + 7


def test_settings_are_kept(tmp_path: Path) -> None:
    spec = dataclasses.replace(Comma2k19.tiny(tmp_path), short_side=24, horizon_seconds=0.2)
    sample = spec.open()[0]
    assert sample["frames"].take([0]).shape == (1, 24, 32, 3)
    assert len(sample["later"]) == 4
