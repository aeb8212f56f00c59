"""One look at a video finds its motion, its cuts and its borders, and finds none where there are none."""

from __future__ import annotations

import pickle
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.io import flow, pictures, video, video_index
from embodied_ssl.datasets.io.borders import WHOLE, in_pixels, upright
from embodied_ssl.datasets.io.flow import mean_flow
from embodied_ssl.datasets.io.greys import GREY_SIZE, grey, grey_of
from embodied_ssl.datasets.io.numbered import write_video
from embodied_ssl.datasets.io.opencv import one_thread
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.survey import Findings, Survey
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import BadItem, UserError

Greys = NDArray[np.uint8]
HEIGHT, WIDTH = GREY_SIZE


def scene(seed: int, size: tuple[int, int] = (200, 1600)) -> Greys:
    """A wide made-up view in grey levels [*size], with large things and small ones as in nature; the same for the same seed."""
    noise = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), grain) for grain in (1.5, 4, 12)]
    soft = sum(layer / layer.std() for layer in layers)
    return np.asarray(np.clip(128 + 50 * soft / np.std(soft), 0, 255), np.uint8)


def pan(view: Greys, speeds: list[float] | NDArray[np.float64], down: float = 0.0) -> Greys:
    """What a camera sees that moves over a view to the right, so many pixels from frame to frame: [n, 90, 160]."""
    frames = []
    for number, left in enumerate(np.cumsum(speeds)):
        centre = (float(left) + WIDTH / 2 + 20, HEIGHT / 2 + 20 + down * number)
        frames.append(cv2.getRectSubPix(view, (WIDTH, HEIGHT), centre))
    return np.stack(frames)


def look(frames: Greys) -> Findings:
    survey = Survey()
    for frame in frames:
        survey.add(frame)
    return survey.findings()


def cuts(frames: Greys) -> list[int]:
    return (np.flatnonzero(np.diff(look(frames).shots)) + 1).tolist()


# Motion


def test_motion_is_a_mean_difference_without_wrap_around() -> None:
    draw = np.random.default_rng(0)
    first, second = (draw.integers(0, 256, GREY_SIZE, dtype=np.uint8) for _ in range(2))
    survey = Survey()
    for picture in (first, second, second, first):
        survey.add(picture)
    survey.skip()
    survey.add(second)
    survey.add(first)
    slow = sum(abs(int(a) - int(b)) for a, b in zip(first.flat, second.flat, strict=True)) / first.size
    # two random pictures differ by 85 on average; uint8 differences would give about 64 or 128
    assert slow > 80
    changes = survey._changes
    assert changes == pytest.approx([0, slow, 0, slow, 0, 0, slow])


def test_findings_of_nothing_are_empty() -> None:
    found = look(np.empty((0, *GREY_SIZE), np.uint8))
    assert len(found.motion) == len(found.shots) == 0
    assert found.content == WHOLE


# Cuts


def test_cuts_are_found_where_they_are() -> None:
    lengths = [20, 9, 40, 14, 7]
    frames = np.concatenate([pan(scene(seed), [1.0 + seed / 2] * length, down=0.3) for seed, length in enumerate(lengths)])
    found = look(frames)
    assert found.shots.tolist() == np.repeat(np.arange(5), lengths).tolist()
    firsts = np.cumsum([0, *lengths[:-1]])
    assert found.motion[firsts].tolist() == [0] * 5
    assert np.delete(found.motion, firsts).min() > 1


def test_cut_between_still_pictures_is_found() -> None:
    frames = np.concatenate([np.repeat(pan(scene(seed), [0.0]), 15, axis=0) for seed in (1, 2)])
    assert cuts(frames) == [15]


@pytest.mark.parametrize(("top", "left"), [(12, 0), (0, 20), (19, 36)])
def test_cuts_are_found_behind_bars_and_none_is_made_by_them(top: int, left: int) -> None:
    frames = np.concatenate([pan(scene(0), [1.0] * 30), pan(scene(1), [1.0] * 30)])
    frames[:, :top] = frames[:, HEIGHT - top :] = 0
    frames[:, :, :left] = frames[:, :, WIDTH - left :] = 0
    assert cuts(frames) == [30]


@pytest.mark.parametrize("peak", [10, 25, 45])
@pytest.mark.parametrize("onset", [1.0, 3.0])
def test_turning_the_head_is_no_cut(peak: float, onset: float) -> None:
    # 45 pixels of 160 in one frame: 25 degrees of 90 in a thirtieth of a second
    draw = np.random.default_rng(3)
    for seed in range(4):
        speeds = peak * np.exp(-0.5 * ((np.arange(40) - 20) / onset) ** 2) + draw.normal(0, 0.7, 40)
        assert cuts(pan(scene(seed), speeds)) == []


def test_changes_of_light_are_no_cuts() -> None:
    calm = pan(scene(0), [1.5] * 40).astype(float)
    for change in (lambda x: x * 1.6 + 60, lambda x: x * 0.3, lambda x: 255 * (x / 255) ** 0.5):
        for span in (slice(20, 21), slice(20, 23), slice(20, None)):  # a flash, a longer one, and for good
            lit = calm.copy()
            lit[span] = change(lit[span])
            assert cuts(np.clip(lit, 0, 255).astype(np.uint8)) == []


@pytest.mark.parametrize("level", [0, 255])
def test_blank_frames_hide_no_cut_and_make_none(level: int) -> None:
    blank = np.full((2, *GREY_SIZE), level, np.uint8)
    one, other = pan(scene(0), [1.0] * 40), pan(scene(1), [1.0] * 20)
    assert cuts(np.concatenate([one[:20], blank, one[20:]])) == []
    found = cuts(np.concatenate([one[:20], blank, other]))
    assert found
    assert set(found) <= {20, 21, 22}


def test_video_that_stutters_is_not_cut() -> None:
    # Every picture is held for 12 frames, and what is seen after has little in common with it.
    views = np.concatenate([pan(scene(seed), [0.0]) for seed in range(8)])
    calm = pan(scene(9), [30.0] * 30)
    held = np.repeat(views, 12, axis=0)
    assert cuts(np.concatenate([np.repeat(calm, 12, axis=0)])) == []
    assert len(cuts(held)) <= 2  # the first jumps cannot be told from cuts


def test_pictures_that_cannot_be_seen_are_passed_over() -> None:
    frames = np.concatenate([pan(scene(0), [2.0] * 20), pan(scene(1), [2.0] * 20)])
    survey = Survey()
    for number, frame in enumerate(frames):
        if number in (5, 30, 31):
            survey.skip()
        else:
            survey.add(frame)
    found = survey.findings()
    assert (np.flatnonzero(np.diff(found.shots)) + 1).tolist() == [20]
    assert np.flatnonzero(found.motion == 0).tolist() == [0, 5, 6, 20, 30, 31, 32]


# Borders


def framed(top: int = 0, bottom: int = 0, left: int = 0, right: int = 0, level: int = 0, noise: int = 4) -> Greys:
    """A moving view behind borders of so many pixels of 160x90, with coding noise: [60, 90, 160]."""
    frames = pan(scene(0), [4.0] * 60, down=0.3)
    frames[:, :top] = frames[:, HEIGHT - bottom :] = level
    frames[:, :, :left] = frames[:, :, WIDTH - right :] = level
    noisy = frames + np.random.default_rng(0).integers(-noise, noise + 1, frames.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("border", "expected"),
    [
        ({"top": 11, "bottom": 11}, (13, 0, 64, 160)),
        ({"left": 20, "right": 20}, (0, 22, 90, 116)),
        ({"top": 3}, (5, 0, 85, 160)),
        ({"right": 1}, (0, 0, 90, 157)),
        ({"top": 8, "bottom": 12, "left": 16, "right": 24}, (10, 18, 66, 116)),
        ({}, (0, 0, 90, 160)),
        ({"top": 30, "bottom": 30}, (0, 0, 90, 160)),  # wider than a border may be
    ],
)
@pytest.mark.parametrize("level", [0, 12, 160])  # a bar, one that is not quite black, and a plain strip
def test_borders_are_found(border: dict[str, int], expected: tuple[int, int, int, int], level: int) -> None:
    content = look(framed(**border, level=level)).content
    assert np.array(content) * (HEIGHT, WIDTH, HEIGHT, WIDTH) == pytest.approx(expected)


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_strip_with_a_running_clock_is_found(side: str) -> None:
    frames = framed(bottom=10, level=30)
    draw = np.random.default_rng(1)
    frames[:, 82:88, 6:70:3] = 220  # letters
    for number in range(0, 60, 5):
        frames[number : number + 5, 82:88, 80:110] = draw.integers(0, 256, (6, 30))  # digits
    turned = frames if side == "bottom" else np.ascontiguousarray(frames[:, ::-1])
    top, left, height, width = look(turned).content
    assert (left, width) == (0, 1)
    assert height == pytest.approx(78 / 90)
    assert top == pytest.approx(0 if side == "bottom" else 12 / 90)


def test_nothing_is_cut_away_in_doubt() -> None:
    still = np.repeat(pan(scene(0), [0.0]), 40, axis=0)
    moving = pan(scene(0), [4.0] * 60)
    dark = (moving * 0.06).astype(np.uint8)
    night = moving.copy()
    for column in range(0, WIDTH, 8):  # a black sky over roofs of different heights
        night[:, : 8 + (column * 7) % 24, column : column + 8] = 5
    bonnet = moving.copy()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    bonnet[:, rows > 72 + ((columns - 80) / 25.0) ** 2] = 90  # a car's own, whose edge is round
    room = still.copy()
    room[:, 30:60] = moving[:40, 30:60]  # something moves in the middle of a still room
    for frames in (still, dark, night, bonnet, room, moving[:9], framed(top=11)[:5], framed(top=11, level=99)[:50]):
        assert look(frames).content == WHOLE


def test_black_bars_around_a_still_picture_are_found() -> None:
    still = np.repeat(framed(top=12, bottom=12, noise=0)[:1], 30, axis=0)
    assert look(still).content == pytest.approx((14 / 90, 0, 62 / 90, 1))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_box_turns_with_the_frame(turns: int) -> None:
    mask = np.zeros((90, 160), bool)
    mask[9:70, 16:140] = True
    turned = np.rot90(mask, turns)
    top, left, height, width = in_pixels(upright((9 / 90, 16 / 160, 61 / 90, 124 / 160), turns), turned.shape)
    box = np.zeros_like(turned)
    box[top : top + height, left : left + width] = True
    assert np.array_equal(box, turned)


def test_box_in_pixels_is_inside() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        top, left = draw.integers(0, 20, 2)
        bottom, right = draw.integers(60, 90), draw.integers(100, 160)
        size = tuple(draw.integers(20, 400, 2).tolist())
        content = (top / 90, left / 160, (bottom - top) / 90, (right - left) / 160)
        y, x, tall, wide = in_pixels(content, size)
        assert Fraction(int(top), 90) * size[0] <= y < Fraction(int(top), 90) * size[0] + 1
        assert Fraction(int(right), 160) * size[1] - 1 < x + wide <= Fraction(int(right), 160) * size[1]
        assert tall >= 1
        assert y + tall <= size[0]
    assert in_pixels(WHOLE, (3, 5)) == (0, 0, 3, 5)


# Grey pictures


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "yuv444p", "nv12", "yuv420p10le", "rgb24", "gray"])
@pytest.mark.parametrize("size", [(360, 640), (243, 431), (480, 640), (90, 160)])
def test_grey_levels_do_not_depend_on_the_format(kind: str, size: tuple[int, int]) -> None:
    view = cv2.resize(scene(0)[:180, :320], size[::-1], interpolation=cv2.INTER_AREA)
    pixels = np.repeat(view[:, :, None], 3, axis=2)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=kind, threads=1)
    found = grey(frame, VideoReformatter()).astype(int)
    assert np.abs(found - cv2.resize(view, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)).mean() < 2.5
    assert abs(found.mean() - view.mean()) < 1.5
    assert np.abs(found - grey_of(pixels)).mean() < 2.5


# Flow


@pytest.mark.parametrize("kind", ["dis", "farneback"])
@pytest.mark.parametrize(("right", "down"), [(3.0, 0.0), (1.5, 2.0), (5.0, 0.5)])
def test_flow_of_a_pan_is_its_speed(kind: flow.MotionKind, right: float, down: float) -> None:
    frames = pan(scene(0), [right] * 6, down)
    speeds = mean_flow(frames, np.zeros(6, np.int64), kind)
    assert speeds.dtype == np.float32
    assert speeds[0] == 0
    assert speeds[1:] == pytest.approx(np.hypot(right, down), rel=0.08)


@pytest.mark.parametrize("kind", ["dis", "farneback"])
def test_flow_leaves_out_cuts_and_frames_not_seen(kind: flow.MotionKind) -> None:
    frames = [*pan(scene(0), [2.0] * 6), None, *pan(scene(1), [2.0] * 4)]
    shots = np.array([0] * 4 + [1] * 7)
    speeds = mean_flow(frames, shots, kind)
    assert np.flatnonzero(speeds == 0).tolist() == [0, 4, 6, 7]
    assert np.array_equal(mean_flow(frames, shots, kind), speeds)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        mean_flow(frames[:-1], shots, kind)


def test_opencv_s_threads_come_back() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        inside, done = threading.Event(), threading.Event()

        def other() -> None:
            with one_thread():
                inside.set()
                done.wait(10)

        beside = threading.Thread(target=other)
        with one_thread():
            beside.start()
            inside.wait(10)
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1  # the other is still at it
        done.set()
        beside.join()
        assert cv2.getNumThreads() == 2
        with pytest.raises(BadItem), one_thread():
            raise BadItem("a", "b")
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


# Whole files


def colour(frames: Greys) -> list[NDArray[np.uint8]]:
    return [np.repeat(frame[:, :, None], 3, axis=2) for frame in frames]


@pytest.fixture(scope="module")
def frames_with_all() -> Greys:
    """Two shots of 24 frames behind bars: [48, 90, 160]."""
    frames = np.concatenate([pan(scene(0), [4.0] * 24), pan(scene(1), [2.0] * 24)])
    frames[:, :10] = frames[:, 80:] = 0
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, frames_with_all: Greys) -> Path:
    """The same as a video, as a video lying on its side, and as pictures."""
    folder = tmp_path_factory.mktemp("survey")
    write_video(folder / "cut.mp4", colour(frames_with_all), codec="libx264", options={"g": "12", "crf": "20"})
    for number, pixels in enumerate(colour(frames_with_all)):
        (folder / f"{number:03d}.png").write_bytes(pictures.encode(pixels))
    return folder


def handle(folder: Path, kind: str, motion: flow.MotionKind = "difference") -> VideoFrames | PictureSequence:
    if kind == "video":
        return VideoFrames(folder / "cut.mp4", 45, motion=motion)
    files = sorted(path.name for path in folder.glob("*.png"))
    return PictureSequence(folder, files, np.arange(len(files)) / 30, 45, motion)


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_handles_say_what_was_found(folder: Path, kind: str, frames_with_all: Greys) -> None:
    for _ in range(2):  # the second time from the cache
        video_index._in_memory.clear()
        frames = handle(folder, kind)
        assert frames.shots.dtype == np.int64
        assert frames.shots.tolist() == [0] * 24 + [1] * 24
        assert frames.content == (6, 0, 33, 80)
        assert frames.motion.dtype == np.float32
        expected = np.abs(np.diff(frames_with_all.astype(float), axis=0)).mean((1, 2))
        expected[23] = 0
        assert frames.motion == pytest.approx([0, *expected], abs=1.0)
        shown = frames.take(range(48))
        top, left, height, width = frames.content
        assert shown[:, : top - 1].max() < 60
        assert shown[:, top : top + height, left : left + width].mean() > 90


@pytest.mark.parametrize("kind", ["video", "pictures"])
@pytest.mark.parametrize("motion", ["dis", "farneback"])
def test_handles_give_flow_when_asked(
    folder: Path, kind: str, motion: flow.MotionKind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path))
    video_index._in_memory.clear()
    speeds = handle(folder, kind, motion).motion
    assert (speeds.dtype, speeds.shape) == (np.float32, (48,))
    assert np.flatnonzero(speeds == 0).tolist() == [0, 24]
    assert 1.4 < np.median(speeds[1:24]) / np.median(speeds[25:]) < 2.6  # the first shot is twice as fast

    def never(*given: object) -> NDArray[np.float32]:
        raise AssertionError("found a second time")

    monkeypatch.setattr(flow, "mean_flow", never)
    again = handle(folder, kind, motion)
    assert np.array_equal(again.motion, speeds)
    assert len(pickle.dumps(again)) < 2500
    assert handle(folder, kind).motion.max() > 2 * speeds.max()  # the difference is another measure


def test_flow_is_found_anew_when_the_cache_is_garbled(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path))
    video_index._in_memory.clear()
    speeds = handle(folder, "video", "dis").motion
    for entry in tmp_path.rglob("*.npz"):
        entry.write_bytes(entry.read_bytes()[:100])
    assert np.array_equal(handle(folder, "video", "dis").motion, speeds)


def test_file_that_changes_before_its_flow_is_found_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, colour(pan(scene(0), [2.0] * 20)))
    frames = VideoFrames(path, motion="dis")
    assert len(frames) == 20
    write_video(path, colour(pan(scene(0), [2.0] * 12)))
    with pytest.raises(BadItem, match="frame 12 is not as it was"):
        _ = frames.motion


def test_motion_that_there_is_none_of_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'farneback'"):
        VideoFrames(tmp_path / "a.mp4", motion="farnebeck")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no motion 'flow'"):
        VideoFolder(str(tmp_path), motion="flow").open()  # type: ignore[arg-type]


def test_motion_is_passed_on(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colour(pan(scene(0), [2.0] * 8)))
    assert VideoFolder(str(tmp_path), motion="dis").open()[0]["frames"].motion[1:] == pytest.approx(2, rel=0.15)


def test_file_on_its_side_has_its_box_turned(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (folder / "cut.mp4").read_bytes()
    level = b"".join(number.to_bytes(4, "big") for number in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(number.to_bytes(4, "big") for number in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000))
    place = data.index(level, data.index(b"tkhd"))
    path = tmp_path / "turned.mp4"
    path.write_bytes(data[:place] + turned + data[place + len(level) :])
    assert VideoFrames(path, 45).take([0]).shape == (1, 80, 45, 3)
    assert VideoFrames(path, 45).content == (0, 6, 80, 33)


@pytest.mark.data
def test_real_videos_without_cuts_have_none(data_root: Path) -> None:
    for name, step in (("g1_robot", 12), ("so101_cloth", 9), ("clips_intel", 5)):
        source = VideoFolder(str(data_root / name)).open()
        for index in range(1, len(source), step):
            found = video.index_of(source[index]["frames"].name)
            assert found.shots.max() == 0, source[index]["frames"].name
            assert found.content == WHOLE, source[index]["frames"].name


@pytest.mark.data
def test_real_videos_put_together_are_told_apart(data_root: Path) -> None:
    parts = []
    for name, index in (("g1_robot", 5), ("clips_intel", 3), ("so101_cloth", 20), ("clips_action", 0)):
        frames = VideoFolder(str(data_root / name)).open()[index]["frames"]
        chosen = range(20, 44)
        parts.append([grey_of(pixels) for pixels in frames.take(chosen)])
    assert cuts(np.concatenate(parts)) == [24, 48, 72]
