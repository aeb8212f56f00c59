"""Every frame comes back under its own number, from every kind of file, or the file is refused with a reason."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from embodied_ssl.datasets.io import array_cache, open_readers, pictures, pyav_reader, video, video_index
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.io.video_index import MotionMeter, index_of, scan
from embodied_ssl.errors import BadItem, UserError

COUNT = 120
SIZE = (96, 128)
X265 = "log-level=none:pools=1:keyint=24:min-keyint=24:scenecut=0"
OPEN_GOP = "open-gop=1:bframes=3:keyint=24:min-keyint=24:scenecut=0"
B_FRAMES = {"bf": "3", "g": "30"}

KINDS: dict[str, dict[str, object]] = {
    "plain.mp4": {"codec": "libx264", "options": {"bf": "0", "g": "30"}},
    "b_frames.mp4": {"codec": "libx264", "options": B_FRAMES},
    "gop_250.mp4": {"codec": "libx264", "options": {"bf": "3", "g": "250"}},
    "gop_2.mp4": {"codec": "libx264", "options": {"bf": "3", "g": "2", "sc_threshold": "0"}},
    "open_gop.mp4": {"codec": "libx264", "options": {"x264-params": OPEN_GOP}},
    "intra_refresh.mp4": {"codec": "libx264", "options": {"x264-params": "intra-refresh=1:keyint=30"}},
    "late.mp4": {"codec": "libx264", "options": B_FRAMES, "times": range(60, 60 + COUNT)},
    "variable.mp4": {"codec": "libx264", "options": B_FRAMES, "times": np.cumsum(1 + np.arange(COUNT) % 5).tolist()},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": X265}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "30", "deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "h264.avi": {"codec": "libx264", "options": B_FRAMES},
    "h264.mkv": {"codec": "libx264", "options": B_FRAMES},
    "h264.mov": {"codec": "libx264", "options": B_FRAMES},
    "h264.ts": {"codec": "libx264", "options": B_FRAMES},
    "open_gop.ts": {"codec": "libx264", "options": {"x264-params": OPEN_GOP}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
}
# decord returns other frames than those asked for on these kinds (measured), or cannot open them.
REFUSED_BY_DECORD = {
    "open_gop.mp4",
    "intra_refresh.mp4",
    "hevc.mp4",
    "mpeg4_b.avi",
    "h264.avi",
    "h264.ts",
    "open_gop.ts",
    "mpeg2.mpg",
    "mpeg2.ts",
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one numbered film of each kind; kinds whose encoder is missing are left out."""
    folder = tmp_path_factory.mktemp("films")
    frames = [numbered(number, SIZE) for number in range(COUNT)]
    for name, how in KINDS.items():
        if how["codec"] in av.codec.codecs_available:
            write_video(folder / name, frames, **how)  # type: ignore[arg-type]
    return folder


def film(films: Path, name: str) -> Path:
    if not (films / name).exists():
        pytest.skip(f"no encoder {KINDS[name]['codec']}")
    return films / name


def shown(frames: video.VideoFrames | PictureSequence, indices: list[int]) -> list[int]:
    return [number_shown(picture) for picture in frames.take(indices)]


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_exact(films: Path, name: str, decoder: str) -> None:
    frames = VideoFrames(film(films, name), 48, decoder)
    if decoder == "decord":
        pytest.importorskip("decord")
        if name in REFUSED_BY_DECORD:
            with pytest.raises(BadItem, match=r"decord returns neighbouring frames|decord c|decord gives"):
                frames.take([0])
            return
    assert len(frames) == COUNT
    assert shown(frames, list(range(COUNT))) == list(range(COUNT))
    draw = random.Random(name)
    for _ in range(12 if decoder == "pyav" else 3):
        wanted = [draw.randrange(COUNT) for _ in range(5)]
        assert shown(frames, wanted) == wanted
        assert shown(frames, sorted(wanted)) == sorted(wanted)
    assert shown(frames, [COUNT - 1, 0, COUNT - 1]) == [COUNT - 1, 0, COUNT - 1]


@pytest.mark.parametrize("name", KINDS)
def test_random_access_gives_the_same_bytes_as_reading_through(films: Path, name: str) -> None:
    # Numbers survive damage that eyes would see: a frame decoded without what it refers to must not pass.
    frames = VideoFrames(film(films, name))
    whole = frames.take(range(COUNT))
    for number in random.Random(1).sample(range(COUNT), 25):
        assert np.array_equal(frames.take([number])[0], whole[number]), number


def test_times_are_the_file_s(films: Path) -> None:
    times = np.cumsum(1 + np.arange(COUNT) % 5) / 30
    assert np.allclose(VideoFrames(film(films, "variable.mp4")).seconds, times, atol=1e-3)
    assert np.allclose(VideoFrames(film(films, "late.mp4")).seconds, 2 + np.arange(COUNT) / 30, atol=1e-3)
    assert np.all(np.diff(VideoFrames(film(films, "h264.avi")).seconds) > 0)


def test_edit_list_hides_frames(films: Path, tmp_path: Path) -> None:
    # Packets before time 0 make the muxer write an edit list: players do not show those frames.
    cut = tmp_path / "cut.mp4"
    with av.open(str(film(films, "b_frames.mp4"))) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts -= 15 * 512
                packet.dts -= 15 * 512
                packet.stream = copy
                target.mux(packet)
    frames = VideoFrames(cut)
    assert shown(frames, list(range(len(frames)))) == list(range(15, COUNT))
    assert shown(frames, [100, 0, 50]) == [115, 15, 65]
    with pytest.raises(BadItem, match="decord counts"):
        VideoFrames(cut, decoder="decord").take([0])


def test_rotation_note_is_applied(films: Path, tmp_path: Path) -> None:
    # The display matrix of the track header, rewritten to a clockwise quarter turn: (0 1; -1 0) in 16.16 fixed point.
    data = film(films, "plain.mp4").read_bytes()
    level = b"".join(number.to_bytes(4, "big") for number in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(number.to_bytes(4, "big") for number in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000))
    place = data.index(level, data.index(b"tkhd"))
    path = tmp_path / "turned.mp4"
    path.write_bytes(data[:place] + turned + data[place + len(level) :])
    straight = VideoFrames(film(films, "plain.mp4")).take([7, 3])
    assert np.array_equal(VideoFrames(path).take([7, 3]), np.rot90(straight, -1, axes=(1, 2)))
    assert VideoFrames(path, 48).take([0]).shape == (1, 64, 48, 3)
    pytest.importorskip("decord")
    assert np.abs(VideoFrames(path, decoder="decord").take([3])[0].astype(int) - np.rot90(straight[1], -1)).mean() < 3


@pytest.mark.parametrize("name", ["b_frames.mp4", "h264.mkv", "h264.ts", "mpeg4.avi"])
def test_cut_off_file_gives_what_is_left(films: Path, tmp_path: Path, name: str) -> None:
    path = film(films, name)
    if name.endswith(".mp4"):
        path = _remux(path, tmp_path / "front.mp4", {"movflags": "faststart"})
    data = path.read_bytes()
    short = tmp_path / f"short_{name}"
    short.write_bytes(data[: len(data) * 7 // 10])
    frames = VideoFrames(short)
    numbers = shown(frames, list(range(len(frames))))
    assert 30 <= len(numbers) < COUNT
    assert numbers == sorted(set(numbers))
    assert numbers[:30] == list(range(30))
    assert [shown(frames, [i])[0] for i in range(len(frames) - 5, len(frames))] == numbers[-5:]


def _remux(source: Path, target: Path, options: dict[str, str]) -> Path:
    with av.open(str(source)) as before, av.open(str(target), "w", options=options) as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream)
        for packet in before.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                after.mux(packet)
    return target


@pytest.mark.parametrize("name", ["b_frames.mp4", "h264.mkv", "h264.ts"])
def test_scratched_middle_loses_frames_but_never_mixes_them(films: Path, tmp_path: Path, name: str) -> None:
    path = film(films, name)
    if name.endswith(".mp4"):
        path = _remux(path, tmp_path / "front.mp4", {"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 800] = np.random.default_rng(0).integers(0, 256, 800, dtype=np.uint8).tobytes()
    broken = tmp_path / f"broken_{name}"
    broken.write_bytes(data)
    frames = VideoFrames(broken)
    numbers = shown(frames, list(range(len(frames))))
    assert 60 <= len(numbers) < COUNT
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == COUNT - 1
    for i in random.Random(2).sample(range(len(frames)), 10):
        assert shown(frames, [i]) == [numbers[i]]


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "h264.mkv", "h264.ts", "mpeg4.avi", "mpeg4_b.avi", "mpeg2.mpg"])
def test_damage_of_any_kind_never_mixes_frames_up(films: Path, tmp_path: Path, name: str) -> None:
    whole = film(films, name).read_bytes()
    draw = random.Random(name)
    readable = 0
    for trial in range(16):
        data = bytearray(whole)
        place, length = draw.randrange(len(data)), draw.randrange(1, 2000)
        if trial % 3 == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif trial % 3 == 1:
            del data[place : place + length]
        else:
            data[place : place + length] = bytes(len(data[place : place + length]))
        path = tmp_path / f"{trial}_{name}"
        path.write_bytes(data)
        frames = VideoFrames(path)
        try:
            count = len(frames)
        except BadItem:
            continue
        readable += 1
        through = shown(frames, list(range(count)))
        wanted = [draw.randrange(count) for _ in range(5)]
        assert [shown(frames, [number])[0] for number in wanted] == [through[number] for number in wanted], trial
    assert readable >= 4


def test_frame_that_looks_otherwise_is_not_returned(films: Path) -> None:
    frames = VideoFrames(film(films, "b_frames.mp4"))
    sketch = frames.index.sketch.copy()
    sketch[33] += 40
    frames.index = dataclasses.replace(frames.index, sketch=sketch)
    video._backends["pyav"].open.readers.clear()  # type: ignore[attr-defined]
    assert shown(frames, [32, 34]) == [32, 34]
    with pytest.raises(BadItem, match=r"frame 33 cannot be found again at 1\.100 s"):
        frames.take([33, 34])
    video._backends["pyav"].open.readers.clear()  # type: ignore[attr-defined]


def _audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def test_files_that_are_no_videos_are_refused_with_a_reason(films: Path, tmp_path: Path) -> None:
    whole = film(films, "b_frames.mp4").read_bytes()
    (tmp_path / "no_moov.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("shopping list: milk, bread\n" * 100)
    (tmp_path / "picture.mp4").write_bytes(pictures.encode(numbered(3)))
    (tmp_path / "photo.mp4").write_bytes(pictures.encode(numbered(3), ".jpg"))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    _audio_only(tmp_path / "audio.mp4")
    reasons = {
        "no_moov.mp4": "moov atom missing",
        "zero.mp4": "empty file",
        "text.mp4": "not a video",
        "picture.mp4": "still picture",
        "photo.mp4": "not a video",
        "noise.mp4": "not a video",
        "audio.mp4": "no video stream",
        "absent.mp4": "cannot be read",
    }
    for name, reason in reasons.items():
        for _ in range(2):  # the second time from the cache
            with pytest.raises(BadItem, match=reason) as caught:
                len(VideoFrames(tmp_path / name))
            assert name in caught.value.name


def test_take_keeps_order_repeats_and_emptiness(films: Path) -> None:
    frames = VideoFrames(film(films, "b_frames.mp4"), 48)
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


def test_scaling_averages(films: Path) -> None:
    # Anti-aliased: the mean of a picture survives a strong reduction.
    path = film(films, "plain.mp4")
    large, small = VideoFrames(path).take([85])[0], VideoFrames(path, 12).take([85])[0]
    assert np.abs(large.mean((0, 1)) - small.mean((0, 1))).max() < 2


def test_a_run_forward_does_not_seek(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = VideoFrames(film(films, "gop_250.mp4"))
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


def test_missing_decord_is_said(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    with pytest.raises(UserError, match="not installed"):
        VideoFrames(film(films, "plain.mp4"), decoder="decord").take([0])


def test_open_readers_are_few(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_readers, "LIMIT", 3)
    readers = video._backends["pyav"].open.readers  # type: ignore[attr-defined]
    for name in ("plain.mp4", "b_frames.mp4", "gop_250.mp4", "late.mp4", "h264.mkv"):
        VideoFrames(film(films, name), 48).take([3])
        assert len(readers) <= 3


# Processes


def _read(frames: VideoFrames) -> list[int]:
    return shown(frames, [70, 3, 71])


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_handles_work_in_other_processes(films: Path, how: str) -> None:
    frames = [VideoFrames(film(films, name), 48) for name in ("b_frames.mp4", "h264.mkv")]
    expected = [_read(handle) for handle in frames]  # readers are open in the parent now
    with multiprocessing.get_context(how).Pool(2) as pool:
        assert pool.map_async(_read, frames * 3).get(timeout=60) == expected * 3
    assert [_read(handle) for handle in frames] == expected


def test_threads_do_not_share_readers(films: Path) -> None:
    frames = VideoFrames(film(films, "b_frames.mp4"), 48)
    draws = [random.Random(k).sample(range(COUNT), 20) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda wanted: shown(frames, wanted), draws)) == draws


def test_handles_pickle_small(films: Path) -> None:
    frames = VideoFrames(film(films, "b_frames.mp4"), 48)
    frames.take([5])
    stored = pickle.dumps(frames)
    assert len(stored) < 1000
    assert shown(pickle.loads(stored), [9]) == [9]


def _read_decord(path: str) -> list[int]:
    return _read(VideoFrames(path, 48, "decord"))


def test_decord_survives_a_fork(films: Path) -> None:
    pytest.importorskip("decord")
    path = str(film(films, "b_frames.mp4"))
    assert _read_decord(path) == [70, 3, 71]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_read_decord, [path] * 4).get(timeout=60) == [[70, 3, 71]] * 4


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


def test_index_is_remembered_between_runs(films: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = _count_scans(monkeypatch)
    path = film(films, "variable.mp4")
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
def test_broken_cache_is_made_anew(films: Path, empty_cache: Path, garbage: bytes) -> None:
    path = film(films, "plain.mp4")
    index_of(path)
    (entry,) = empty_cache.rglob("*.npz")
    whole = entry.read_bytes()
    for content in (garbage, whole[: len(whole) // 2], whole[:-30] + bytes(30), whole[:200] + bytes(100) + whole[300:]):
        entry.write_bytes(content)
        video_index._in_memory.clear()
        assert len(index_of(path)) == COUNT


def test_cache_that_cannot_be_written_does_no_harm(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "file"))
    video_index._in_memory.clear()
    assert not array_cache.keep({"a": np.zeros(1)}, "key")
    assert shown(VideoFrames(film(films, "plain.mp4")), [7]) == [7]


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.ts", "h264.avi"])  # the last is passed over twice
def test_one_pass_serves_whoever_wants_every_frame(films: Path, empty_cache: Path, name: str) -> None:
    seen: list[int] = []

    def each(number: int, frame: av.VideoFrame) -> None:
        if number == 0:
            seen.clear()
        assert number == len(seen)
        seen.append(number_shown(frame.to_ndarray(format="rgb24")))

    path = film(films, name)
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


def test_trouble_that_may_pass_is_not_remembered(films: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(films, "plain.mp4")

    def no_handles_left(*given: object, **named: object) -> None:
        raise av.error.OSError(24, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(av, "open", no_handles_left)
        with pytest.raises(BadItem, match="cannot be opened"):
            index_of(path)
    assert len(index_of(path)) == COUNT


# Motion


def test_motion_is_a_mean_difference_without_wrap_around() -> None:
    draw = np.random.default_rng(0)
    first, second = (draw.integers(0, 256, video_index.MOTION_SIZE, dtype=np.uint8) for _ in range(2))
    meter = MotionMeter()
    for grey in (first, second, second, first):
        meter.add(grey)
    expected = np.abs(first.astype(float) - second.astype(float)).mean()
    assert meter.scores == pytest.approx([0, expected, 0, expected])
    assert expected > 80  # two random pictures differ by 85 on average; uint8 differences would give about 64 or 128
    wrapped = (first - second).mean()
    assert abs(wrapped - expected) > 20


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
    with pytest.raises(BadItem, match="where the first picture has"):
        frames.take([4])


def test_unreadable_cache_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBODIED_SSL_CACHE")
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    assert str(array_cache.cache_folder()) == os.path.join("/nowhere/at/all", ".cache", "embodied_ssl", "index")
