"""What is not, or no longer, a whole video: read as far as it is sound, or refused with a reason, never mixed up."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from films import COUNT, READERS, make, remux, shown

from embodied_ssl.datasets.io import pictures
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import BadItem


@pytest.mark.parametrize("name", ["b_frames.mp4", "h264.mkv", "h264.ts", "mpeg4.avi"])
def test_cut_off_file_gives_what_is_left(film_folder: Path, tmp_path: Path, name: str) -> None:
    path = make(film_folder, name)
    if name.endswith(".mp4"):
        path = remux(path, tmp_path / "front.mp4", {"movflags": "faststart"})
    data = path.read_bytes()
    short = tmp_path / f"short_{name}"
    short.write_bytes(data[: len(data) * 7 // 10])
    frames = VideoFrames(short)
    numbers = shown(frames, list(range(len(frames))))
    assert 30 <= len(numbers) < COUNT
    assert numbers == sorted(set(numbers))
    assert numbers[:30] == list(range(30))
    assert [shown(frames, [i])[0] for i in range(len(frames) - 5, len(frames))] == numbers[-5:]


@pytest.mark.parametrize("name", ["b_frames.mp4", "h264.mkv", "h264.ts"])
def test_scratched_middle_loses_frames_but_never_mixes_them(film_folder: Path, tmp_path: Path, name: str) -> None:
    path = make(film_folder, name)
    if name.endswith(".mp4"):
        path = remux(path, tmp_path / "front.mp4", {"movflags": "faststart"})
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
def test_damage_of_any_kind_never_mixes_frames_up(film_folder: Path, tmp_path: Path, name: str) -> None:
    whole = make(film_folder, name).read_bytes()
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


def _audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def test_files_that_are_no_videos_are_refused_with_a_reason(film_folder: Path, tmp_path: Path) -> None:
    whole = make(film_folder, "b_frames.mp4").read_bytes()
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


# Names, links and rights

NAMES = [
    "K\u00fcche, Aufnahme 1.mp4",
    "\u53f0\u6240.mp4",
    "two\nlines.mp4",
    "100% 'quoted' \"twice\" #1?.mp4",
    "file:with:colons.mp4",
    "-minus %03d.mp4",
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(film_folder: Path, tmp_path: Path, name: str, reader: str) -> None:
    pytest.importorskip({"pyav": "av"}.get(reader, reader))
    folder = tmp_path / name.removesuffix(".mp4")
    folder.mkdir()
    (folder / name).write_bytes(make(film_folder, "b_frames.mp4").read_bytes())
    source = VideoFolder(str(tmp_path), 48, reader).open()  # type: ignore[arg-type]
    assert len(source) == 1
    assert shown(source[0]["frames"], [77, 3]) == [77, 3]


def test_relative_name_with_a_colon_is_no_protocol(film_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "one.mp4").write_bytes(make(film_folder, "one.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    for reader in READERS:
        pytest.importorskip({"pyav": "av"}.get(reader, reader))
        assert shown(VideoFrames("http:/one.mp4", 48, reader), [0]) == [0]


def test_name_that_is_no_text_is_read_by_pyav_alone(film_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"no\xff text.mp4")
    path.write_bytes(make(film_folder, "b_frames.mp4").read_bytes())
    assert shown(VideoFrames(path, 48), [77, 3]) == [77, 3]
    for reader in READERS[1:]:
        pytest.importorskip(reader)
        with pytest.raises(BadItem, match=r"can't encode .*; decode it with pyav"):
            VideoFrames(path, 48, reader).take([3])


def test_names_that_occur_twice_stay_apart(tmp_path: Path) -> None:
    for number, folder in enumerate(["a", "b", "c/a"]):
        (tmp_path / folder).mkdir(parents=True)
        write_video(tmp_path / folder / "clip.mp4", [numbered(1000 * number + frame) for frame in range(5)])
    source = VideoFolder(str(tmp_path)).open()
    assert list(source.recordings) == ["a/clip.mp4", "b/clip.mp4", "c/a/clip.mp4"]
    assert [shown(source[place]["frames"], [4])[0] for place in range(3)] == [4, 1004, 2004]


def test_folder_with_a_video_s_name_is_looked_into(film_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "day.mp4").mkdir()
    (tmp_path / "day.mp4" / "one.mp4").write_bytes(make(film_folder, "one.mp4").read_bytes())
    source = VideoFolder(str(tmp_path)).open()
    assert list(source.recordings) == ["day.mp4/one.mp4"]
    assert shown(source[0]["frames"], [0]) == [0]
    with pytest.raises(BadItem, match=r"is a folder"):
        len(VideoFrames(tmp_path / "day.mp4"))


def test_links_that_lead_in_circles_are_named(film_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "linked.mp4").symlink_to(make(film_folder, "two.mp4"))
    source = VideoFolder(str(tmp_path)).open()
    assert list(source.recordings) == ["a.mp4", "b.mp4", "gone.mp4", "linked.mp4"]
    for place, reason in enumerate(["symbolic links", "symbolic links", "No such file"]):
        with pytest.raises(BadItem, match=f"cannot be read .*{reason}"):
            len(source[place]["frames"])
    assert shown(source[3]["frames"], [1]) == [1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_rights_is_named_and_forgiven_later(film_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(make(film_folder, "two.mp4").read_bytes())
    path.chmod(0)
    with pytest.raises(BadItem, match=r"cannot be opened .*ermission"):
        len(VideoFrames(path))
    path.chmod(0o600)
    assert shown(VideoFrames(path), [1]) == [1]


def test_pipe_with_a_video_s_name_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BadItem, match="empty file"):
        len(VideoFrames(tmp_path / "pipe.mp4"))


# Files that change


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


def _write_over(path: Path) -> None:
    # In place and of the same length, as a copying program does: a reader that is open already would see the new bytes.
    data = path.read_bytes()
    times = os.stat(path)
    with path.open("r+b") as file:
        file.write(data[:2000] + bytes(len(data) - 2000))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", [_grow, _write_over])
def test_file_that_changes_while_it_is_read_is_refused(
    film_folder: Path, tmp_path: Path, change: Callable[[Path], None], reader: str
) -> None:
    pytest.importorskip({"pyav": "av"}.get(reader, reader))
    path = tmp_path / "film.mkv"
    path.write_bytes(make(film_folder, "h264.mkv").read_bytes())
    frames = VideoFrames(path, 48, reader)
    assert shown(frames, [3, 90]) == [3, 90]
    change(path)
    with pytest.raises(BadItem, match="changed since it was indexed"):
        frames.take([5])


@pytest.mark.parametrize("reader", READERS)
def test_file_that_vanishes_is_refused(film_folder: Path, tmp_path: Path, reader: str) -> None:
    pytest.importorskip({"pyav": "av"}.get(reader, reader))
    path = tmp_path / "film.mp4"
    path.write_bytes(make(film_folder, "b_frames.mp4").read_bytes())
    frames = VideoFrames(path, 48, reader)
    assert shown(frames, [3]) == [3]
    path.unlink()
    with pytest.raises(BadItem, match=r"cannot be read \(No such file"):
        frames.take([3])


# Long ones


def test_two_hours_are_as_exact_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "day.mp4"
    how = {"g": "300", "preset": "ultrafast"}
    write_video(path, (numbered(number, (24, 64)) for number in range(7200)), "libx264", rate=1, options=how)
    frames = VideoFrames(path)
    assert len(frames) == 7200
    assert frames.seconds[-1] == 7199
    draw = random.Random(0)
    for _ in range(6):
        wanted = [draw.randrange(7200) for _ in range(3)]
        assert shown(frames, wanted) == wanted
