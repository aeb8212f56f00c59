"""Real robot videos: as many frames as rows of robot state, and one recording for what was filmed at the same time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import BadItem

pytestmark = pytest.mark.data


def test_frames_are_as_many_as_rows(data_root: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    root = data_root / "g1_robot"
    source = VideoFolder(str(root)).open()
    assert len(source) == len(set(source.recordings)) == 61
    for index in range(0, 61, 6):
        frames = source[index]["frames"]
        table = root / "data" / "chunk-000" / (Path(frames.name).stem + ".parquet")
        times = parquet.read_table(table, columns=["timestamp"])["timestamp"].to_numpy()
        assert len(frames) == len(times)
        assert frames.seconds == pytest.approx(times, abs=2e-3)
        assert frames.motion[1:].mean() > 0.1


def test_random_frames_are_those_of_reading_through(data_root: Path) -> None:
    frames = VideoFolder(str(data_root / "g1_robot")).open()[7]["frames"]
    whole = frames.take(range(len(frames)))
    draw = np.random.default_rng(0)
    for _ in range(6):
        wanted = draw.integers(0, len(frames), 5)
        assert np.array_equal(frames.take(wanted), whole[wanted])


def test_two_cameras_share_a_recording(data_root: Path) -> None:
    source = VideoFolder(str(data_root / "so101_cloth")).open()
    assert (len(source), len(set(source.recordings))) == (33, 17)
    counts = {name: source.recordings.count(name) for name in source.recordings}
    assert sorted(counts.values()) == [1] + [2] * 16  # one camera of episode 0 is left out in the source
    held = VideoFolder(str(data_root / "so101_cloth")).open("held_out").recordings
    assert len(held) >= 3
    assert all(held.count(name) == counts[name] for name in held)


@pytest.mark.parametrize("folder", ["clips_intel", "clips_action"])
def test_clips_in_several_codecs(data_root: Path, folder: str) -> None:
    source = VideoFolder(str(data_root / folder), short_side=64).open()
    for index in range(min(len(source), 4)):
        frames = source[index]["frames"]
        count = len(frames)
        wanted = [count - 1, 0, count // 2]
        whole = frames.take(sorted(wanted))
        assert np.array_equal(frames.take(wanted), whole[[2, 0, 1]])
        assert min(whole.shape[1:3]) == 64


def test_decord_agrees_or_refuses(data_root: Path) -> None:
    pytest.importorskip("decord")
    agreed = 0
    for folder in ("g1_robot", "so101_cloth", "clips_intel"):
        for index in (0, 5, 9):
            exact = VideoFolder(str(data_root / folder)).open()[index]["frames"]
            other = VideoFolder(str(data_root / folder), decoder="decord").open()[index]["frames"]
            wanted = [len(exact) // 3, 2, len(exact) - 1]
            with contextlib.suppress(BadItem):
                difference = np.abs(exact.take(wanted).astype(int) - other.take(wanted)).mean((1, 2, 3))
                assert difference.max() < 4
                agreed += 1
    assert agreed >= 4


def test_scene_pictures(data_root: Path) -> None:
    source = PictureFolder(str(data_root / "scene15" / "train")).open()
    assert len(source) == 1500
    assert min(source[700]["picture"].size) >= 100
