"""Some frames of a video: the right ones, at the right times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.io.selected import Selected, at_rate, within
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.video_folder import VideoFolder


@pytest.fixture
def film(tmp_path: Path) -> VideoFrames:
    write_video(tmp_path / "film.mp4", [numbered(i) for i in range(60)], options={"g": "12"})
    return VideoFrames(tmp_path / "film.mp4", 48)


def test_chosen_frames_are_those_of_the_whole(film: VideoFrames) -> None:
    chosen = Selected(film, np.array([3, 10, 11, 40]))
    assert [number_shown(picture) for picture in chosen.take([3, 0, 1, 3])] == [40, 3, 10, 40]
    assert np.array_equal(chosen.seconds, film.seconds[[3, 10, 11, 40]])
    assert chosen.motion == pytest.approx([0, film.motion[4:11].mean(), film.motion[11], film.motion[12:41].mean()])
    assert chosen.content == film.content
    with pytest.raises(IndexError, match=r"frames 0\.\.3"):
        chosen.take([4])
    for wrong in ([], [4, 3], [3, 3], [-1, 3], [59, 60]):
        with pytest.raises(ValueError):
            Selected(film, np.array(wrong, np.int64))


@pytest.mark.parametrize(("fps", "kept"), [(10, 3), (15, 2), (30, 1), (60, 1)])
def test_a_rate_keeps_every_so_many(fps: float, kept: int) -> None:
    assert np.array_equal(at_rate(np.arange(300) / 30 + 2, fps), np.arange(0, 300, kept))
    assert np.array_equal(at_rate(np.round(np.arange(300) / 30, 3), fps), np.arange(0, 300, kept))


def test_a_rate_holds_over_uneven_times() -> None:
    seconds = np.cumsum(np.random.default_rng(0).exponential(0.02, 5000))
    kept = at_rate(seconds, 10)
    ticks = np.floor((seconds - seconds[0]) * 10 + 0.05)
    assert ticks[kept].tolist() == sorted(set(ticks.tolist()))  # one frame of every tick that has any, and its first
    assert np.all(ticks[kept[1:] - 1] < ticks[kept[1:]])


def test_a_span_is_half_open() -> None:
    assert within(np.arange(30) / 10 + 7, 1.0, 1.3).tolist() == [10, 11, 12]
    assert within(np.arange(30) / 10, 5.0, 6.0).tolist() == []


def test_a_folder_of_videos_at_a_rate(tmp_path: Path) -> None:
    whole = VideoFolder.tiny(tmp_path).open()[0]["frames"]
    thin = VideoFolder(str(tmp_path), short_side=48, fps=10).open()[0]["frames"]
    assert len(thin) == len(whole) // 3
    assert np.array_equal(thin.take([0, 5]), whole.take([0, 15]))
