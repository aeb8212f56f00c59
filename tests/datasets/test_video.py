"""The handle on a video: what it takes, what it keeps open, how it lives in other processes, and what it remembers."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import pickle
import random
import sys
import types
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from films import COUNT, SIZE, make, shown

from embodied_ssl.datasets.io import array_cache, open_readers, pictures, pyav_reader, torchcodec_reader, video, video_index
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.io.video_index import index_of, scan
from embodied_ssl.doctor import examine
from embodied_ssl.errors import BadItem, UserError


def test_frame_that_looks_otherwise_is_not_returned(film_folder: Path) -> None:
    frames = VideoFrames(make(film_folder, "b_frames.mp4"))
    sketch = frames.index.sketch.copy()
    sketch[33] += 40
    frames.index = dataclasses.replace(frames.index, sketch=sketch)
    video._backends["pyav"].open.readers.clear()  # type: ignore[attr-defined]
    assert shown(frames, [32, 34]) == [32, 34]
    with pytest.raises(BadItem, match=r"frame 33 cannot be found again at 1\.100 s"):
        frames.take([32, 33])
    video._backends["pyav"].open.readers.clear()  # type: ignore[attr-defined]


def test_take_keeps_order_repeats_and_emptiness(film_folder: Path) -> None:
    frames = VideoFrames(make(film_folder, "b_frames.mp4"), 48)
    assert shown(frames, [90, 5, 90, 6, 0]) == [90, 5, 90, 6, 0]
    assert frames.take([]).shape == (0, 48, 64, 3)
    assert frames.take(np.array([4], np.int32)).dtype == np.uint8
    for wrong in ([-1], [COUNT]):
        with pytest.raises(IndexError):
            frames.take(wrong)


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [((96, 128), 48, (48, 64)), ((128, 96), 48, (64, 48)), ((96, 128), None, (96, 128)), ((100, 101), 200, (200, 202))],
)
def test_fitted(size: tuple[int, int], short: int | None, expected: tuple[int, int]) -> None:
    assert fitted(size, short) == expected


def test_scaling_averages(film_folder: Path) -> None:
    # Anti-aliased: the mean of a picture survives a strong reduction.
    path = make(film_folder, "plain.mp4")
    large, small = VideoFrames(path).take([85])[0], VideoFrames(path, 12).take([85])[0]
    assert np.abs(large.mean((0, 1)) - small.mean((0, 1))).max() < 2


def test_a_run_forward_does_not_seek(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = VideoFrames(make(film_folder, "gop_250.mp4"))
    frames.take([0])
    starts: list[int | None] = []
    run = pyav_reader.Reader._run
    monkeypatch.setattr(pyav_reader.Reader, "_run", lambda self, time: (starts.append(time), run(self, time))[1])
    frames.take(range(10, 60, 3))
    frames.take(range(60, 90))
    assert starts == []
    frames.take([5])
    assert len(starts) == 1


def test_unknown_decoder_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'pyav'"):
        VideoFrames("a.mp4", decoder="pyavv")


def test_missing_decord_is_said(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UserError, match="not installed"):
        VideoFrames(make(film_folder, "plain.mp4"), decoder="decord").take([0])


@pytest.fixture
def not_looked_for() -> Iterator[None]:
    """torchcodec as if no one had asked for it yet."""
    torchcodec_reader._torchcodec.cache_clear()
    yield
    torchcodec_reader._torchcodec.cache_clear()


def test_missing_torchcodec_is_said(not_looked_for: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(
        UserError, match=r"'torchcodec' is not installed; pip install torchcodec, or set --set data\.decoder=pyav"
    ):
        VideoFrames("a.mp4", decoder="torchcodec")
    assert [found.state for found in examine() if found.name == "torchcodec"] == ["optional"]


def test_torchcodec_without_ffmpeg_is_said(not_looked_for: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_libraries(*given: object) -> None:
        raise RuntimeError("Could not load libtorchcodec. Likely causes:\n 1. FFmpeg is not properly installed")

    package, decoders = types.ModuleType("torchcodec"), types.ModuleType("torchcodec.decoders")
    package.decoders, decoders.VideoDecoder = decoders, no_libraries  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    with pytest.raises(UserError, match="cannot load FFmpeg's libraries; apt-get install ffmpeg") as caught:
        VideoFrames("a.mp4", decoder="torchcodec")
    assert "\n" not in str(caught.value)
    (found,) = (found for found in examine() if found.name == "torchcodec")
    assert "apt-get install ffmpeg" in found.line()


def test_open_readers_are_few(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_readers, "LIMIT", 3)
    readers = video._backends["pyav"].open.readers  # type: ignore[attr-defined]
    for name in ("plain.mp4", "b_frames.mp4", "gop_250.mp4", "late.mp4", "h264.mkv"):
        VideoFrames(make(film_folder, name), 48).take([3])
        assert len(readers) <= 3


def test_closed_reader_is_freed_at_once(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not when Python next looks for circles: what they hold is not its memory, so it is in no hurry.
    monkeypatch.setattr(open_readers, "LIMIT", 1)
    path = make(film_folder, "b_frames.mp4")
    VideoFrames(path, 48).take([3, 70, 40])
    reader = weakref.ref(video._backends["pyav"].open.of(str(path), index_of(path)))  # type: ignore[attr-defined]
    gc.disable()
    try:
        VideoFrames(make(film_folder, "plain.mp4"), 48).take([3])
        assert reader() is None
    finally:
        gc.enable()


def test_large_frames_leave_room_for_fewer_readers(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = open_readers.HELD * SIZE[0] * SIZE[1]
    readers = video._backends["pyav"].open.readers  # type: ignore[attr-defined]
    readers.clear()
    monkeypatch.setattr(open_readers, "BUDGET", 2.5 * each)
    for name in ("plain.mp4", "b_frames.mp4", "gop_250.mp4", "late.mp4"):
        VideoFrames(make(film_folder, name), 48).take([3])
    assert [reader.path for reader in readers.values()] == [str(film_folder / name) for name in ("gop_250.mp4", "late.mp4")]
    monkeypatch.setattr(open_readers, "BUDGET", each / 2)
    assert shown(VideoFrames(film_folder / "plain.mp4"), [3, 70]) == [3, 70]  # the one in use stays
    assert len(readers) == 1


# Processes


def _read(frames: VideoFrames) -> list[int]:
    return shown(frames, [70, 3, 71])


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_handles_work_in_other_processes(film_folder: Path, how: str) -> None:
    frames = [VideoFrames(make(film_folder, name), 48) for name in ("b_frames.mp4", "h264.mkv")]
    expected = [_read(handle) for handle in frames]  # readers are open in the parent now
    with multiprocessing.get_context(how).Pool(2) as pool:
        assert pool.map_async(_read, frames * 3).get(timeout=300) == expected * 3
    assert [_read(handle) for handle in frames] == expected


def test_threads_do_not_share_readers(film_folder: Path) -> None:
    frames = VideoFrames(make(film_folder, "b_frames.mp4"), 48)
    draws = [random.Random(k).sample(range(COUNT), 20) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda wanted: shown(frames, wanted), draws)) == draws


def test_handles_pickle_small(film_folder: Path) -> None:
    frames = VideoFrames(make(film_folder, "b_frames.mp4"), 48)
    frames.take([5])
    stored = pickle.dumps(frames)
    assert len(stored) < 1000
    assert shown(pickle.loads(stored), [9]) == [9]


@pytest.mark.parametrize("decoder", ["decord", "torchcodec"])
def test_other_decoders_survive_a_fork(film_folder: Path, decoder: str) -> None:
    pytest.importorskip(decoder)
    frames = VideoFrames(make(film_folder, "b_frames.mp4"), 48, decoder)
    assert _read(frames) == [70, 3, 71]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_read, [frames] * 4).get(timeout=300) == [[70, 3, 71]] * 4
    assert _read(frames) == [70, 3, 71]


# The cache


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "cache"))
    video_index._in_memory.clear()
    return tmp_path / "cache"


def _count_scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    scanned: list[Path] = []
    monkeypatch.setattr(video_index, "scan", lambda path, each: (scanned.append(path), scan(path, each))[1])
    return scanned


def test_index_is_remembered_between_runs(film_folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = _count_scans(monkeypatch)
    path = make(film_folder, "variable.mp4")
    first = index_of(path)
    index_of(path)
    video_index._in_memory.clear()  # as a new process would be
    again = index_of(path)
    assert len(scanned) == 1
    for name in ("pts", "keyframes", "motion"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert (first.time_base, first.size, first.rotation) == (again.time_base, again.size, again.rotation)
    assert (first.open_gop, first.errors, first.by_order) == (again.open_gop, again.errors, again.by_order)
    assert not list(empty_cache.rglob("*.tmp"))


@pytest.mark.parametrize("garbage", [b"", b"PK\x03\x04 not a zip", b"\x00" * 400])
def test_broken_cache_is_made_anew(film_folder: Path, empty_cache: Path, garbage: bytes) -> None:
    path = make(film_folder, "plain.mp4")
    index_of(path)
    (entry,) = empty_cache.rglob("*.npz")
    whole = entry.read_bytes()
    for content in (garbage, whole[: len(whole) // 2], whole[:-30] + bytes(30), whole[:200] + bytes(100) + whole[300:]):
        entry.write_bytes(content)
        video_index._in_memory.clear()
        assert len(index_of(path)) == COUNT


def test_cache_that_cannot_be_written_does_no_harm(film_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "file"))
    video_index._in_memory.clear()
    assert not array_cache.keep({"a": np.zeros(1)}, "key")
    assert shown(VideoFrames(make(film_folder, "plain.mp4")), [7]) == [7]


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.ts", "h264.avi"])  # the last is passed over twice
def test_one_pass_serves_whoever_wants_every_frame(film_folder: Path, empty_cache: Path, name: str) -> None:
    seen: list[int] = []

    def each(number: int, frame: av.VideoFrame) -> None:
        if number == 0:
            seen.clear()
        assert number == len(seen)
        seen.append(number_shown(frame.to_ndarray(format="rgb24")))

    path = make(film_folder, name)
    index = video_index.index_anew(path, each)
    assert seen == list(range(COUNT))
    assert index_of(path) is index
    assert len(list(empty_cache.rglob("*.npz"))) == 1


def test_changed_file_is_indexed_anew(tmp_path: Path, empty_cache: Path) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, [numbered(number) for number in range(20)])
    assert shown(VideoFrames(path), [19]) == [19]
    write_video(path, [numbered(number) for number in range(500, 530)])
    assert shown(VideoFrames(path), [29, 0]) == [529, 500]


def test_file_that_vanishes_is_a_bad_item(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, [numbered(number) for number in range(20)])
    frames = VideoFrames(path)
    assert len(frames) == 20
    path.unlink()
    with pytest.raises(BadItem, match=r"cannot be (opened|read)"):
        frames.take([3])


def test_trouble_that_may_pass_is_not_remembered(film_folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(film_folder, "plain.mp4")

    def no_handles_left(*given: object, **named: object) -> None:
        raise av.error.OSError(24, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(av, "open", no_handles_left)
        with pytest.raises(BadItem, match="cannot be opened"):
            index_of(path)
    assert len(index_of(path)) == COUNT


# Motion


def test_motion_of_a_film_is_zero_where_it_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "stops.mp4"
    still, other = np.full((96, 128, 3), 200, np.uint8), np.full((96, 128, 3), 20, np.uint8)
    write_video(path, [still] * 5 + [other] * 5, codec="libx264", options={"crf": "10"})
    motion = VideoFrames(path).motion
    assert motion.dtype == np.float32
    assert motion[5] == pytest.approx(180, abs=8)
    assert np.delete(motion, 5).max() < 1


# Pictures as frames


def _picture_files(folder: Path, count: int) -> PictureSequence:
    names = [f"{number:03d}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(pictures.encode(numbered(number, SIZE)))
    return PictureSequence(folder, names, np.arange(count) / 10, 48)


def test_picture_sequence_is_frames(tmp_path: Path) -> None:
    frames = _picture_files(tmp_path, 20)
    assert shown(frames, [19, 3, 3, 0]) == [19, 3, 3, 0]
    assert frames.take([1]).shape == (1, 48, 64, 3)
    assert frames.take([]).shape == (0, 48, 64, 3)
    assert shown(pickle.loads(pickle.dumps(frames)), [4]) == [4]
    with pytest.raises(IndexError):
        frames.take([20])


def test_picture_sequence_motion_agrees_with_the_definition(tmp_path: Path) -> None:
    frames = _picture_files(tmp_path, 12)
    expected = [0.0] + [frames_apart(numbered(k, SIZE), numbered(k + 1, SIZE)) for k in range(11)]
    assert frames.motion == pytest.approx(expected, abs=1.5)
    again = PictureSequence(tmp_path, frames.files, frames.seconds, 48)
    assert np.array_equal(again.motion, frames.motion)


def frames_apart(first: np.ndarray, second: np.ndarray) -> float:
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.abs((first.astype(float) - second.astype(float)) @ weights).mean())


def test_broken_picture_is_named_and_has_no_motion(tmp_path: Path) -> None:
    frames = _picture_files(tmp_path, 6)
    (tmp_path / "003.png").write_bytes(b"nothing")
    assert frames.motion[[3, 4]].tolist() == [0, 0]
    assert (frames.motion[[1, 2, 5]] > 0).all()
    with pytest.raises(BadItem, match=r"003\.png"):
        frames.take([2, 3])
    (tmp_path / "004.png").write_bytes(pictures.encode(numbered(4, (48, 64))))
    with pytest.raises(BadItem, match="where the others have"):
        frames.take([4])


def test_unreadable_cache_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBODIED_SSL_CACHE")
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    assert str(array_cache.cache_folder()) == os.path.join("/nowhere/at/all", ".cache", "embodied_ssl", "index")
