"""Kept frames are the very frames of the video as it is now, or they are not used."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl import config
from embodied_ssl.datasets.io import frame_cache
from embodied_ssl.datasets.io import prepare_video as preparing
from embodied_ssl.datasets.io.frame_cache import CachedFrames, Kept, Stored, Untrusted, entry_path, stored
from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.io.prepare_video import prepare_video
from embodied_ssl.datasets.io.selected import Selected, at_rate
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.io.video_index import fingerprint
from embodied_ssl.datasets.source import Frames
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import BadItem, UserError

COUNT = 60
SIDE = 48
RGB, JPEG = Kept(SIDE, 0.0, "rgb"), Kept(SIDE, 0.0, "jpeg")
FILMS: dict[str, dict[str, object]] = {
    "b_frames.mp4": {"codec": "libx264", "options": {"bf": "3", "g": "12"}},
    "variable.mp4": {
        "codec": "libx264",
        "options": {"bf": "3", "g": "12"},
        "times": np.cumsum(1 + np.arange(COUNT) % 5).tolist(),
    },
    "no_times.avi": {"codec": "libx264", "options": {"bf": "3", "g": "12"}},  # passed over twice, numbered by order
    "open_gop.ts": {"codec": "libx264", "options": {"x264-params": "open-gop=1:bframes=3:keyint=24:min-keyint=24:scenecut=0"}},
    "odd.mp4": {"codec": "mpeg4", "options": {"g": "12"}},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, how in FILMS.items():
        size = (100, 128) if name == "odd.mp4" else (96, 128)  # 61 pixels across when small: rows of no round length
        write_video(folder / name, [numbered(number, size) for number in range(COUNT)], **how)  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "cache"))
    frame_cache.folder().mkdir(parents=True)
    frame_cache._opened.cache_clear()
    return tmp_path / "cache"


def decoded(video: Path, kept: Kept) -> Frames:
    frames = VideoFrames(video, kept.short_side)
    return Selected(frames, at_rate(frames.seconds, kept.fps)) if kept.fps else frames


def cached(video: Path, kept: Kept) -> CachedFrames:
    return CachedFrames(video, kept, partial(decoded, video, kept))


@pytest.fixture
def film(films: Path, tmp_path: Path) -> Path:
    """A film that a test may change."""
    copy = tmp_path / "film.mp4"
    copy.write_bytes((films / "b_frames.mp4").read_bytes())
    return copy


@pytest.mark.parametrize("fps", [0.0, 10.0, 7.3])
@pytest.mark.parametrize("name", FILMS)
def test_rgb_frames_are_the_bytes_that_decoding_gives(films: Path, name: str, fps: float) -> None:
    kept = Kept(SIDE, fps, "rgb")
    assert prepare_video(str(films / name), kept).state == "made"
    frames, exact = cached(films / name, kept), decoded(films / name, kept)
    assert len(frames) == len(exact)
    assert np.array_equal(frames.take(range(len(frames))), exact.take(range(len(exact))))
    assert np.array_equal(frames.seconds, exact.seconds)
    assert np.array_equal(frames.motion, exact.motion)
    assert np.array_equal(frames.shots, exact.shots)
    assert frames.content == exact.content
    assert frames.name == exact.name


def test_a_film_without_times_is_gone_over_again_for_its_rate(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The times on the way are not those of the index here; that is noticed, and cannot spoil the choice of frames."""
    monkeypatch.setattr(preparing, "_seconds", lambda frame: 0.0)
    kept = Kept(SIDE, 10.0, "rgb")
    prepare_video(str(films / "b_frames.mp4"), kept)
    exact = decoded(films / "b_frames.mp4", kept)
    assert 18 <= len(exact) <= 20
    assert np.array_equal(cached(films / "b_frames.mp4", kept).take(range(len(exact))), exact.take(range(len(exact))))


@pytest.mark.parametrize("name", ["b_frames.mp4", "odd.mp4"])
def test_jpeg_frames_are_near_and_show_their_numbers(films: Path, name: str) -> None:
    prepare_video(str(films / name), JPEG)
    frames, exact = cached(films / name, JPEG), decoded(films / name, JPEG)
    order = [59, 3, 3, 41, 0]
    assert [number_shown(picture) for picture in frames.take(order)] == order
    assert np.abs(frames.take(order).astype(int) - exact.take(order)).mean() < 4
    assert entry_path(films / name, JPEG).stat().st_size < COUNT * SIDE * 64 * 3 / 2


def test_frames_come_in_the_order_asked_for(films: Path) -> None:
    prepare_video(str(films / "odd.mp4"), RGB)
    frames = cached(films / "odd.mp4", RGB)
    order = [7, 2, 2, 59]
    taken = frames.take(order)
    assert [number_shown(picture) for picture in taken] == order
    assert taken.flags["C_CONTIGUOUS"]
    assert taken.flags["WRITEABLE"]
    assert frames.take([]).shape == (0, SIDE, 61, 3)
    for wrong in ([-1], [60]):
        with pytest.raises(IndexError, match=r"has frames 0\.\.59"):
            frames.take(wrong)


def test_handles_travel_and_are_shared(films: Path) -> None:
    prepare_video(str(films / "odd.mp4"), RGB)
    frames = cached(films / "odd.mp4", RGB)
    expected = frames.take(range(COUNT))
    frames.motion  # noqa: B018 - opens what must not be pickled
    assert len(pickle.dumps(frames)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(frames)).take([5]), expected[5:6])
    assert cached(films / "odd.mp4", RGB).stored is frames.stored
    with ThreadPoolExecutor(4) as pool:
        for number, taken in enumerate(pool.map(lambda number: frames.take([number]), range(COUNT))):
            assert np.array_equal(taken[0], expected[number])
    child = os.fork()  # with the file open, as workers are
    if child == 0:
        os._exit(0 if all(np.array_equal(frames.take([n])[0], expected[n]) for n in range(COUNT)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(frames.take([5]), expected[5:6])


def test_open_files_are_few(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_video(str(films / "odd.mp4"), RGB)
    path, mark = entry_path(films / "odd.mp4", RGB), fingerprint(films / "odd.mp4")
    before = len(os.listdir("/proc/self/fd"))
    many = [Stored(path, mark, RGB) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    many.clear()
    assert len(os.listdir("/proc/self/fd")) == before


# --- what must not be trusted -----------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def hollow(path: Path, start: int, stop: int) -> None:
    data = bytearray(path.read_bytes())
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)


def ways_to_fail(path: Path) -> Iterator[tuple[str, bytes]]:
    whole = path.read_bytes()
    yield "empty", b""
    yield "cut by one byte", whole[:-1]
    yield "cut in half", whole[: len(whole) // 2]
    yield "cut short of its tail", whole[:20]
    yield "longer", whole + bytes(64)
    yield "zeros at the end", whole[:-600] + bytes(600)
    yield "all zeros", bytes(len(whole))
    for back in range(1, 44):  # every byte of the tail
        yield f"bit flipped {back} from the end", whole[:-back] + bytes([whole[-back] ^ 16]) + whole[len(whole) - back + 1 :]
    yield "bit flipped in the header", whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    table = whole.index(b'{"bytes"') - 500
    yield "bit flipped in the table", whole[:table] + bytes([whole[table] ^ 1]) + whole[table + 1 :]


@pytest.mark.parametrize("kept", [RGB, JPEG], ids=["rgb", "jpeg"])
def test_a_file_whose_end_is_damaged_is_as_good_as_absent_and_made_anew(film: Path, kept: Kept) -> None:
    prepare_video(str(film), kept)
    path = entry_path(film, kept)
    whole = path.read_bytes()
    tried = 0
    for how, data in ways_to_fail(path):
        path.write_bytes(data)
        with pytest.raises(Untrusted):
            Stored(path, fingerprint(film), kept)
        tried += 1
        assert stored(film, kept) is None, how
    assert tried > 50
    assert prepare_video(str(film), kept).state == "made"
    assert path.read_bytes() == whole
    assert prepare_video(str(film), kept).state == "sound"


@pytest.mark.parametrize("damage", ["bit", "hole", "cut"])
@pytest.mark.parametrize("kept", [RGB, JPEG], ids=["rgb", "jpeg"])
def test_a_damaged_frame_is_never_shown(film: Path, kept: Kept, damage: str) -> None:
    prepare_video(str(film), kept)
    path = entry_path(film, kept)
    whole = path.read_bytes()
    frames = cached(film, kept)
    good = frames.take(range(COUNT))
    start, length = (int(frames.stored.rows[17][name]) for name in ("start", "length"))  # type: ignore[union-attr]
    if damage == "bit":
        flip(path, start + length // 2)
    elif damage == "hole":
        hollow(path, start, start + length)
    else:
        os.truncate(path, start + 10)
    assert np.array_equal(frames.take([16]), good[16:17])
    if kept.form == "rgb":  # decoding gives the same bytes
        assert np.array_equal(frames.take([16, 17]), good[16:18])
    else:
        with pytest.raises(BadItem, match=r"not sound .*prepare"):
            frames.take([16, 17])
    assert prepare_video(str(film), kept).state == "made"
    assert path.read_bytes() == whole


def test_a_hole_in_the_zeros_that_fill_up_a_frame_is_found_by_preparing(films: Path) -> None:
    """Also where no pixel is wrong: a file that is not as it was written is made anew."""
    prepare_video(str(films / "odd.mp4"), RGB)
    path = entry_path(films / "odd.mp4", RGB)
    flip(path, SIDE * 61 * 3 + 1)
    assert prepare_video(str(films / "odd.mp4"), RGB).state == "made"


def test_frames_of_a_video_that_has_changed_are_not_used(film: Path) -> None:
    prepare_video(str(film), RGB)
    path = entry_path(film, RGB)
    assert stored(film, RGB) is not None
    at = film.stat().st_mtime_ns
    os.utime(film, ns=(at, at + 1))
    assert stored(film, RGB) is None
    os.utime(film, ns=(at, at))
    assert stored(film, RGB) is not None
    with film.open("ab") as file:
        file.write(b"\x00\x00\x00\x08free")
    os.utime(film, ns=(at, at))
    assert stored(film, RGB) is None
    assert prepare_video(str(film), RGB).state == "made"
    assert entry_path(film, RGB) == path  # what is outdated has been replaced
    assert stored(film, RGB) is not None


def test_frames_of_another_video_settings_or_version_are_not_used(
    films: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_video(str(film), RGB)
    other = films / "variable.mp4"
    entry_path(film, RGB).rename(entry_path(other, RGB))
    assert stored(other, RGB) is None
    prepare_video(str(film), RGB)
    for kept in (Kept(SIDE + 1, 0.0, "rgb"), Kept(SIDE, 10.0, "rgb"), JPEG):
        assert stored(film, kept) is None
        entry_path(film, kept).write_bytes(entry_path(film, RGB).read_bytes())
        assert stored(film, kept) is None
    monkeypatch.setattr(frame_cache, "VERSION", frame_cache.VERSION + 1)
    frame_cache._opened.cache_clear()
    assert stored(film, RGB) is None


def test_frames_that_vanish_while_in_use(film: Path) -> None:
    prepare_video(str(film), RGB)
    frames = pickle.dumps(cached(film, RGB))
    entry_path(film, RGB).unlink()
    frame_cache._opened.cache_clear()
    assert [number_shown(picture) for picture in pickle.loads(frames).take([4, 9])] == [4, 9]


def test_a_broken_video_leaves_no_frames(film: Path) -> None:
    prepare_video(str(film), RGB)
    film.write_bytes(b"no film")
    done = prepare_video(str(film), RGB)
    assert (done.state, done.reason) == ("bad", "not a video")
    assert not list(frame_cache.folder().iterdir())


# --- how training uses them -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> VideoFolder:
    for number in range(3):
        write_video(tmp_path / "set" / f"{number}.mp4", [numbered(n) for n in range(20)]) if number else (
            tmp_path / "set"
        ).mkdir()
    write_video(tmp_path / "set" / "0.mp4", [numbered(n) for n in range(20)])
    return VideoFolder(str(tmp_path / "set"), short_side=SIDE)


def keep(spec: VideoFolder, kept: Kept) -> None:
    for path in sorted(Path(spec.root).iterdir()):
        prepare_video(str(path), kept)


def with_feed(spec: VideoFolder, feed: str, **more: object) -> VideoFolder:
    return VideoFolder(spec.root, short_side=SIDE, feed=feed, **more)  # type: ignore[arg-type]


def test_auto_reads_kept_rgb_frames_and_exact_never_does(tiny: VideoFolder) -> None:
    before = tiny.open()[1]["frames"].take([3, 5])
    keep(tiny, RGB)
    auto = tiny.open()[1]["frames"]
    assert isinstance(auto, CachedFrames)
    assert np.array_equal(auto.take([3, 5]), before)
    exact = with_feed(tiny, "exact").open()[1]["frames"]
    assert isinstance(exact, VideoFrames)
    assert np.array_equal(exact.take([3, 5]), before)
    assert not isinstance(VideoFolder(tiny.root, short_side=SIDE, fps=10).open()[1]["frames"], CachedFrames)


def test_auto_leaves_jpeg_alone_and_cache_reads_it(tiny: VideoFolder) -> None:
    keep(tiny, JPEG)
    assert isinstance(tiny.open()[0]["frames"], VideoFrames)
    frames = with_feed(tiny, "cache").open()[0]["frames"]
    assert isinstance(frames, CachedFrames)
    assert frames.kept.form == "jpeg"
    keep(tiny, RGB)
    assert with_feed(tiny, "cache").open()[0]["frames"].kept.form == "rgb"
    entry_path(Path(tiny.root) / "1.mp4", RGB).unlink()  # one form for all
    assert with_feed(tiny, "cache").open()[0]["frames"].kept.form == "jpeg"


def test_cache_refuses_what_is_not_kept_with_the_command_that_keeps_it(tiny: VideoFolder) -> None:
    keep(tiny, RGB)
    entry_path(Path(tiny.root) / "2.mp4", RGB).unlink()
    with pytest.raises(UserError) as refused:
        with_feed(tiny, "cache").open()
    assert "1 of 3 videos" in str(refused.value)
    command = f"embodied-ssl prepare {tiny.root} --as VideoFolder --short-side {SIDE} --fps 0"
    assert command in str(refused.value)
    assert "2.mp4" in str(refused.value)


def test_cache_passes_by_videos_that_are_known_to_be_broken(tiny: VideoFolder) -> None:
    (Path(tiny.root) / "3.mp4").write_bytes(b"text")
    keep(tiny, RGB)
    source = with_feed(tiny, "cache").open()
    assert len(source) == 4
    assert source[0]["frames"].take([1]).shape == (1, SIDE, 64, 3)
    with pytest.raises(BadItem, match="not a video"):
        source[3]
    video = Path(tiny.root) / "1.mp4"
    os.utime(video, ns=(1, 1))
    with pytest.raises(BadItem, match="prepare"):
        source[1]


def test_spans_are_cut_from_kept_frames(tiny: VideoFolder) -> None:
    from embodied_ssl.datasets.video_spec import Clip, Look

    keep(tiny, RGB)
    clip = Clip(str(Path(tiny.root) / "0.mp4"), "0", (0.2, 0.4))
    frames = Look(SIDE, "pyav", 0.0).frames(clip)
    assert isinstance(frames, Selected)
    assert isinstance(frames.frames, CachedFrames)
    assert [number_shown(picture) for picture in frames.take(range(len(frames)))] == [6, 7, 8, 9, 10, 11]


def test_feed_is_a_setting_of_runs() -> None:
    run = config.load("temporal_order")[0]
    assert config.override(run, "data.feed=exact").data.feed == "exact"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="auto"):
        config.override(run, "data.feed=fast")
