"""Windows of a video: where there is motion, never without a shot that is long enough."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import MemoryFrames
from numpy.typing import NDArray

from embodied_ssl.datasets.io.selected import Selected
from embodied_ssl.datasets.windows import FLOOR, draw_clip, draw_window, longest_shot, window_weights
from embodied_ssl.errors import BadItem
from embodied_ssl.keys import generator


def made(motion: NDArray[np.float32], cuts: list[int] = []) -> MemoryFrames:  # noqa: B006
    frames = MemoryFrames(np.zeros((len(motion), 2, 2, 3), np.uint8), motion)
    frames.shots = np.searchsorted(cuts, np.arange(len(motion)), side="right")
    return frames


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_those_of_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion = rng.random(120).astype(np.float32)
    frames = made(motion, sorted(rng.choice(np.arange(1, 120), 5, replace=False).tolist()))
    least, length = 12, int(rng.integers(12, 60))
    if longest_shot(frames.shots) < least:
        pytest.skip("no shot is long enough")
    weights = window_weights(motion, frames.shots, length, least)
    assert len(weights) == 120 - length + 1
    for start, weight in enumerate(weights):
        inside = frames.shots[start : start + length]
        enough = max(np.bincount(inside)) >= least
        assert weight == pytest.approx(motion[start : start + length].mean(dtype=np.float64) + FLOOR if enough else 0.0)


def test_windows_lie_where_things_move() -> None:
    motion = np.zeros(3000, np.float32)
    motion[1000:1050] = 20
    windows = [draw_window(made(motion), 100, 33, generator("move", i)) for i in range(100)]
    holds = [isinstance(w, Selected) and w.numbers[0] < 1050 and w.numbers[-1] >= 1000 for w in windows]
    assert sum(holds) > 95


def test_a_still_video_is_drawn_from_evenly() -> None:
    frames = made(np.zeros(1100, np.float32))
    starts = [int(draw_window(frames, 100, 33, generator(i)).numbers[0]) for i in range(2000)]  # type: ignore[attr-defined]
    assert np.histogram(starts, bins=4, range=(0, 1000))[0] / 2000 == pytest.approx(0.25, abs=0.05)


def test_a_short_video_is_its_own_window() -> None:
    frames = made(np.ones(80, np.float32))
    assert draw_window(frames, 200, 33, generator(0)) is frames
    assert draw_window(frames, 0, 33, generator(0)) is frames
    assert len(draw_window(frames, 10, 33, generator(0))) == 33  # never shorter than an example


def test_a_video_of_short_shots_is_a_bad_item() -> None:
    with pytest.raises(BadItem, match="20 frames between its 4 cuts are too few: 33 are needed without a cut"):
        draw_window(made(np.ones(100, np.float32), [20, 40, 60, 80]), 50, 33, generator(0))


@pytest.mark.parametrize(("length", "stride", "fits"), [(16, 4, 4), (16, 1, 1), (16, 9, 7), (1, 4, 4), (120, 2, 1)])
def test_a_clip_is_uncut_and_evenly_spaced(length: int, stride: int, fits: int) -> None:
    frames = made(np.random.default_rng(0).random(200).astype(np.float32), [30, 150])  # the longest shot has 120 frames
    for i in range(50):
        clip = draw_clip(frames, length, stride, generator("clip", i))
        assert len(clip) == length
        assert set(np.diff(clip).tolist()) <= {fits}
        assert len(set(frames.shots[clip].tolist())) == 1


def test_a_clip_is_drawn_where_things_move_and_everywhere_else_too() -> None:
    motion = np.ones(1000, np.float32)
    motion[500:600] = 9
    starts = np.array([draw_clip(made(motion), 16, 1, generator(i))[0] for i in range(4000)])
    share = ((starts >= 500) & (starts <= 584)).mean()
    assert share == pytest.approx(85 * 9 / (85 * 9 + 15 * 2 * 5 + 870), abs=0.03)


def test_no_shot_for_a_clip() -> None:
    with pytest.raises(BadItem, match="30 frames are too few: 31 are needed without a cut"):
        draw_clip(made(np.ones(60, np.float32), [30]), 31, 2, generator(0))
    with pytest.raises(BadItem, match="60 frames are too few: 99"):
        draw_clip(made(np.ones(60, np.float32)), 99, 2, generator(0))


def test_the_same_key_gives_the_same_window() -> None:
    frames = made(np.random.default_rng(0).random(500).astype(np.float32))
    one, two = (draw_window(frames, 100, 33, generator("same")) for _ in range(2))
    assert np.array_equal(one.motion, two.motion)
