"""Videos kept as numbered pictures, in a folder or a tar: the right frame for each number, and plain words for broken ones."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.datasets.io.frame_folder import folder_frames, in_order
from embodied_ssl.datasets.io.numbered import number_shown, numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.io.tar_frames import TarFrames, is_cut_short
from embodied_ssl.datasets.source import Frames
from embodied_ssl.datasets.video_spec import Clip, Look
from embodied_ssl.errors import BadItem


def write_tar(path: Path, numbers: list[int], mode: str = "w", name: str = "./frame_{:010d}.jpg") -> Path:
    """A tar of pictures that show their numbers, and a text file that is none of them."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for file, data in [("./notes_7.txt", b"seven"), *((name.format(n), encode(numbered(n), ".jpg")) for n in numbers)]:
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def shown(frames: Frames, indices: list[int]) -> list[int]:
    return [number_shown(picture) for picture in frames.take(indices)]


def test_names_are_ordered_by_their_last_number() -> None:
    names = ["P01_frame_10.jpg", "P01_frame_9.jpg", "cover.jpg", "11.txt", "P01_frame_0100.PNG", ".hidden_3.jpg"]
    files, numbers = in_order(names)
    assert files == ["P01_frame_9.jpg", "P01_frame_10.jpg", "P01_frame_0100.PNG"]
    assert numbers.tolist() == [9, 10, 100]


def test_folder_is_timed_by_its_numbers(tmp_path: Path) -> None:
    for number in (12, 9, 10, 8):  # 11 is missing
        (tmp_path / f"frame_{number}.jpg").write_bytes(encode(numbered(number), ".jpg"))
    frames = folder_frames(str(tmp_path), 4.0, 48)
    assert frames.seconds.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert shown(frames, [3, 0, 2]) == [12, 8, 10]
    os.utime(tmp_path, ns=(0, 0))
    (tmp_path / "frame_13.jpg").write_bytes(encode(numbered(13), ".jpg"))
    assert len(folder_frames(str(tmp_path), 4.0, 48)) == 5


def test_folder_without_numbered_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadItem, match="no pictures with numbers"):
        folder_frames(str(tmp_path), 30.0, 48)
    with pytest.raises(BadItem, match="cannot be read"):
        folder_frames(str(tmp_path / "absent"), 30.0, 48)


def test_tar_is_read_in_place(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "P01_101.tar", [30, 2, 1, 4, 3, *range(5, 30)])
    frames = TarFrames(str(path), 50.0)
    assert shown(frames, [29, 0, 7, 7, 1]) == [30, 1, 8, 8, 2]
    assert frames.seconds == pytest.approx(np.arange(30) / 50)
    assert frames.motion[0] == 0
    assert frames.motion[1:].min() > 0
    assert frames.content == (0, 0, 48, 64)
    assert not is_cut_short(str(path))
    with pytest.raises(IndexError):
        frames.take([30])


def test_tar_and_folder_give_the_same_frames(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "film.tar", list(range(1, 25)))
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "film", filter="data")
    look = Look(short_side=24, decoder="pyav", fps=0)
    inside, outside = (look.frames(Clip(str(place), "", (0.2, 0.3), rate=60.0)) for place in (path, tmp_path / "film"))
    assert len(inside) == len(outside) == 6
    assert np.array_equal(inside.take(range(6)), outside.take(range(6)))
    assert np.array_equal(inside.motion, outside.motion)
    assert np.array_equal(inside.seconds, outside.seconds)
    assert number_shown(inside.take([0])[0]) == 13  # the first picture is shown at 0 s


def test_tar_handle_travels(tmp_path: Path) -> None:
    frames = TarFrames(str(write_tar(tmp_path / "a.tar", list(range(1, 9)))), 50.0)
    expected = frames.take([5, 2])
    assert np.array_equal(pickle.loads(pickle.dumps(frames)).take([5, 2]), expected)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert np.array_equal(pool.apply_async(frames.take, ([5, 2],)).get(timeout=300), expected)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8])
def test_tar_cut_short_gives_what_is_whole(tmp_path: Path, kept: float) -> None:
    path = write_tar(tmp_path / "whole.tar", list(range(1, 21)))
    with tarfile.open(path) as tar:
        ends = [member.offset_data + member.size for member in tar if member.name.endswith(".jpg")]
    data = path.read_bytes()[: ends[-1] - 1]
    cut = tmp_path / "cut.tar"
    for length in (int(len(data) * kept), int(len(data) * kept) // 512 * 512):
        cut.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        assert is_cut_short(str(cut))
        frames = TarFrames(str(cut), 50.0)
        assert shown(frames, list(range(len(frames)))) == list(range(1, whole + 1))


def test_tars_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "plain.tar", [1, 2])
    (tmp_path / "zipped.tar").write_bytes(gzip.compress(path.read_bytes()))
    write_tar(tmp_path / "xz.tar", [1, 2], "w:xz")
    (tmp_path / "text.tar").write_text("this is no tar" * 100)
    (tmp_path / "empty.tar").touch()
    write_tar(tmp_path / "bare.tar", [])
    for name, words in {
        "zipped.tar": r"compressed \(gzip\).*unpack it",
        "xz.tar": r"compressed \(xz\)",
        "text.tar": "not a tar",
        "empty.tar": "not a tar",
        "bare.tar": "no whole picture",
        "absent.tar": "cannot be read",
    }.items():
        with pytest.raises(BadItem, match=words):
            TarFrames(str(tmp_path / name), 50.0)
    assert not is_cut_short(str(tmp_path / "zipped.tar"))
    assert not is_cut_short(str(tmp_path / "absent.tar"))


def test_bad_picture_in_a_tar_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [1, 2, 3])
    frames = TarFrames(str(path), 50.0)
    with path.open("r+b") as file:
        file.seek(int(frames.index.starts[1]))
        file.write(bytes(200))
    with pytest.raises(BadItem, match=r"a\.tar:frame_0000000002\.jpg"):
        frames.take([0, 1])


def test_tar_index_is_found_anew_when_the_tar_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(tmp_path / "cache"))
    path = write_tar(tmp_path / "a.tar", [1, 2, 3])
    assert len(TarFrames(str(path), 50.0)) == 3
    assert any(array_cache.cache_folder().iterdir())
    write_tar(path, [1, 2, 3, 4, 5, 6])
    assert len(TarFrames(str(path), 50.0)) == 6
