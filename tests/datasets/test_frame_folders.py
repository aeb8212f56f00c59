"""Folders of frames: in number order at their own times, whatever the files are called and whichever are absent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl import discover
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.frame_folders import FrameFolders, gaps
from embodied_ssl.datasets.io.frame_folder import in_order
from embodied_ssl.datasets.io.numbered import number_shown, numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import Frames
from embodied_ssl.errors import BadItem, UserError


def write(folder: Path, names: dict[str, int], size: tuple[int, int] = (48, 64)) -> None:
    """Pictures of the given numbers under the given names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in names.items():
        (folder / name).write_bytes(encode(numbered(number, size), Path(name).suffix))


def frames_of(spec: FrameFolders, place: int = 0) -> Frames:
    return spec.open()[place]["frames"]  # type: ignore[no-any-return]


def shown(frames: Frames) -> list[int]:
    return [number_shown(picture) for picture in frames.take(range(len(frames)))]


@pytest.mark.parametrize(
    "pattern", ["{}.png", "frame{}.jpg", "img_{:05d}.png", "shot2_{}_480p.jpg", "frame-{:06d}.color.png", "2024-01-{:02d}_v3.bmp"]
)
@pytest.mark.parametrize("first", [0, 1, 8])
def test_frames_come_in_number_order(tmp_path: Path, pattern: str, first: int) -> None:
    numbers = range(first, first + 12)
    write(tmp_path / "film", {pattern.format(number): number for number in numbers})
    frames = frames_of(FrameFolders(str(tmp_path), rate=10))
    assert shown(frames) == list(numbers)
    assert frames.seconds == pytest.approx(np.arange(12) / 10)


def test_a_gap_keeps_its_time_and_is_reported(tmp_path: Path) -> None:
    there = [1, 2, 3, 6, 7, 9, 30, 31]
    write(tmp_path / "film", {f"{number:04d}.png": number for number in there})
    write(tmp_path / "whole", {f"{number:04d}.png": number for number in range(3)})
    source = FrameFolders(str(tmp_path), rate=10).open()
    frames = source[0]["frames"]
    assert shown(frames) == there
    assert frames.seconds == pytest.approx((np.array(there) - 1) / 10)
    assert [Path(item.name).name for item in source.bad] == ["film"]
    assert "numbers are missing between its frames: 4 to 5, 8, 10 to 29; the rest is read" in source.bad[0].reason


@pytest.mark.parametrize("step", [1, 5])
def test_gaps_are_what_is_absent(step: int) -> None:
    draw = np.random.default_rng(step)
    for _ in range(50):
        there = sorted({*draw.choice(40, draw.integers(1, 30), replace=False).tolist(), 7, 8})
        absent = [number for number in range(there[0], there[-1]) if number not in there]
        found = gaps([step * number for number in there])
        assert [number for first, last in found for number in range(first // step, last // step + 1)] == absent
        assert all(last // step + 1 in there and first // step - 1 in there for first, last in found)
    assert gaps([5]) == []


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["a10", "a1", "a2"], {"a1": 1, "a2": 2, "a10": 10}),
        (["a1x3", "a1x4"], {"a1x3": 3, "a1x4": 4}),
        (["left", "right"], {}),  # no numbers
        (["a1", "b2", "b3"], {"b2": 2, "b3": 3}),  # other words than most
        (["s2_1", "s1_2", "s1_1"], {"s1_1": 0, "s1_2": 1, "s2_1": 2}),  # two numbers that vary
        (["0015", "0005", "0010"], {"0005": 5, "0010": 10, "0015": 15}),  # every fifth
        (["1403636579813555456", "1403636579763555584"], {"1403636579763555584": 0, "1403636579813555456": 1}),  # nanoseconds
        (["01", "001", "2"], {"01": 1, "2": 2}),  # one number twice
        (["7"], {"7": 7}),
    ],
)
def test_what_counts_is_the_number_that_varies(stems: list[str], expected: dict[str, int]) -> None:
    files, numbers = in_order(f"{stem}.png" for stem in stems)
    assert dict(zip([Path(file).stem for file in files], numbers.tolist(), strict=True)) == expected


def test_pictures_that_are_no_frames_are_named(tmp_path: Path) -> None:
    write(tmp_path / "film", {"frame_1.png": 1, "frame_2.png": 2, "cover.png": 9})
    write(tmp_path / "photos", {"dog.png": 1, "cat.png": 2})
    source = FrameFolders(str(tmp_path)).open()
    assert shown(source[0]["frames"]) == [1, 2]
    assert [str(item).replace(f"{tmp_path}/", "") for item in source.bad] == [
        "film: 1 pictures are not named as its frames are: cover.png; left out",
        "photos: none of its 2 pictures has a number in its name",
    ]


@pytest.mark.parametrize("name", ["timestamps.txt", "times.txt"])
def test_times_are_the_list_s_where_there_is_one(tmp_path: Path, name: str) -> None:
    write(tmp_path / "film", {f"{number}.png": number for number in range(9, 13)})
    (tmp_path / "film" / name).write_text("12.5\n12.75\n1.3e1\n14\n\n")
    assert frames_of(FrameFolders(str(tmp_path))).seconds.tolist() == [12.5, 12.75, 13, 14]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\n2\n", "2 times for 3 pictures"),
        ("1\n3\n2\n", "do not rise"),
        ("1\nx\n3\n", "not a list"),
        ("1\nnan\n3\n", "do not rise"),
    ],
)
def test_a_folder_whose_times_do_not_fit_is_left_out(tmp_path: Path, text: str, reason: str) -> None:
    for film in ("bad", "good"):
        write(tmp_path / film, {f"{number}.png": number for number in range(3)})
    (tmp_path / "bad" / "timestamps.txt").write_text(text)
    source = FrameFolders(str(tmp_path)).open()
    assert list(source.recordings) == ["good"]
    assert [reason in item.reason for item in source.bad] == [True]
    assert Path(source.bad[0].name).parent.name == "bad"
    with pytest.raises(UserError, match=f"no folder of frames.*{reason}"):
        FrameFolders(str(tmp_path / "bad")).open()


def test_pictures_of_another_size_are_bad(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": number for number in range(4)})
    write(tmp_path, {"2.png": 2}, (64, 64))
    frames = frames_of(FrameFolders(str(tmp_path), short_side=48))
    assert len(frames.take([0, 1, 3])) == 3
    with pytest.raises(BadItem, match=r"2\.png.*\(64, 64\) pixels where the others have \(48, 64\)"):
        frames.take([2])


def test_folders_within_folders_are_videos_of_their_own(tmp_path: Path) -> None:
    for place in ("a/left", "a/right", "b/left", "b/right", "c"):
        write(tmp_path / place, {f"{number}.jpg": number for number in range(2)})
    (tmp_path / "a" / "notes").mkdir()
    apart, together = FrameFolders(str(tmp_path)).open(), FrameFolders(str(tmp_path), levels=1).open()
    assert list(apart.recordings) == ["a/left", "a/right", "b/left", "b/right", "c"]
    assert list(together.recordings) == ["a", "a", "b", "b", "c"]


def test_frames_are_thinned_by_time(tmp_path: Path) -> None:
    spec = dataclasses.replace(FrameFolders.tiny(tmp_path), fps=10)
    assert shown(frames_of(spec)) == [0, 3, 6, 9]  # numbers from 0, 30 a second
    assert shown(frames_of(spec, 4)) == list(range(1, 13))  # numbers from 1, and 10 a second by its list


@pytest.mark.parametrize(
    ("setting", "words"), [({"rate": 0}, "rate is 0"), ({"rate": float("nan")}, "rate is nan"), ({"levels": -1}, "levels")]
)
def test_wrong_settings_are_said(tmp_path: Path, setting: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        dataclasses.replace(FrameFolders.tiny(tmp_path), **setting).open()  # type: ignore[arg-type]


def test_only_frames_are_recognised(tmp_path: Path) -> None:
    FrameFolders.tiny(tmp_path / "frames")
    assert discover.specs_for(tmp_path / "frames")[0] is FrameFolders
    for number, kind in enumerate((ClassFolder, PictureFolder)):
        kind.tiny(tmp_path / str(number))
        assert not FrameFolders.recognises(tmp_path / str(number))
    KittiRaw.tiny(tmp_path / "kitti")  # a folder of frames too, but of more than that
    assert discover.specs_for(tmp_path / "kitti")[0] is KittiRaw
    write(tmp_path / "coco", {f"{number * number:012d}.jpg": number for number in range(9)})
    assert not FrameFolders.recognises(tmp_path / "coco")


@pytest.mark.data
def test_real_episodes_from_three_cameras(data_root: Path) -> None:
    spec = FrameFolders(str(data_root / "bridge_mini"), rate=5, levels=1)
    assert FrameFolders.recognises(data_root / "bridge_mini")
    source = spec.open()
    assert source.bad == []
    assert (len(source), len(set(source.recordings))) == (51, 17)
    frames = source[7]["frames"]
    assert frames.seconds.tolist() == [number / 5 for number in range(10)]
    assert frames.motion[1:].min() > 0
