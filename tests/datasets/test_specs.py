"""What every data set promises: the fields of the contract, splits by recording, plain errors, the same samples anywhere."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied_ssl.datasets.charades_ego import CharadesEgo
from embodied_ssl.datasets.comma2k19 import Comma2k19
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.ego4d import Ego4D
from embodied_ssl.datasets.egtea import Egtea
from embodied_ssl.datasets.epic_kitchens import EpicKitchens
from embodied_ssl.datasets.frame_folders import FrameFolders
from embodied_ssl.datasets.hmdb51 import Hmdb51
from embodied_ssl.datasets.io import listing, pictures
from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.datasets.lerobot import LeRobot
from embodied_ssl.datasets.lerobot_motion import LeRobotMotion
from embodied_ssl.datasets.nuscenes import NuScenes
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.pose_folders import PoseFolders
from embodied_ssl.datasets.something_something import SomethingSomething
from embodied_ssl.datasets.source import DataSpec, Sample, Source
from embodied_ssl.datasets.stl10_unlabelled import STL10Unlabelled
from embodied_ssl.datasets.tum_rgbd import TumRgbd
from embodied_ssl.datasets.ucf101 import Ucf101
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import UserError

EGOCENTRIC: list[type[DataSpec]] = [Ego4D, EpicKitchens, Egtea, CharadesEgo]
ACTIONS: list[type[DataSpec]] = [Ucf101, Hmdb51, SomethingSomething]
DRIVING: list[type[DataSpec]] = [KittiRaw, KittiOdometry, Donkeycar, Comma2k19, NuScenes, PoseFolders, TumRgbd]
SPECS: list[type[DataSpec]] = [
    PictureFolder,
    STL10Unlabelled,
    VideoFolder,
    FrameFolders,
    LeRobot,
    LeRobotMotion,
    *DRIVING,
    *EGOCENTRIC,
    *ACTIONS,
]


@pytest.fixture(scope="module", params=SPECS, ids=lambda kind: kind.__name__)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return request.param.tiny(tmp_path_factory.mktemp("tiny") / "new")  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=DRIVING, ids=lambda kind: kind.__name__)
def drives(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return request.param.tiny(tmp_path_factory.mktemp("tiny") / "new")  # type: ignore[no-any-return]


def check_sample(sample: Sample, source: Source) -> None:
    """The table at the top of source.py."""
    assert set(sample) == source.provides
    for name, value in sample.items():
        if name in ("index", "frame", "label", "verb", "noun"):
            assert type(value) is int
        elif name == "tags":
            assert value.dtype == np.int8
            assert set(value.tolist()) <= {0, 1}
        elif name == "picture":
            height, width = value.size
            assert value.take((0, 0, height, width), (10, 12)).shape == (10, 12, 3)
        elif name == "frames":
            assert isinstance(value.name, str)
            assert value.seconds.shape == value.motion.shape == (len(value),)
            assert value.seconds.dtype == np.float64
            assert value.motion.dtype == np.float32
            assert value.motion[0] == 0
            assert np.all(np.diff(value.seconds) > 0)
            assert value.take([0, len(value) - 1]).dtype == np.uint8
        elif name in ("action", "state"):
            assert value.dtype == np.float32
            assert value.ndim == 2
            assert len(value) == len(sample["frames"])
        elif name == "later":
            assert value.dtype == np.int64
            assert sample["frame"] < value[0]
            assert value[-1] < len(sample["frames"])
        elif name == "motions":
            assert value.dtype == np.float64
            assert value.shape == (len(sample["later"]), len(source.motion_axes))
        else:
            assert name == "seconds"
            assert value.dtype == np.float64
            assert value == pytest.approx(sample["frames"].seconds[sample["later"]] - sample["frames"].seconds[sample["frame"]])
            assert 0 < value[0] <= value[-1] < 1.05


def test_tiny_opens_and_keeps_the_contract(tiny: DataSpec) -> None:
    source = tiny.open()
    assert len(source) == len(source.recordings) > 0
    assert len(set(source.recordings)) >= 4
    assert source.bad == []
    assert source.name
    for index in (0, len(source) // 2, len(source) - 1):
        assert source[index]["index"] == index
        check_sample(source[index], source)
    with pytest.raises(IndexError):
        source[len(source)]


def test_tiny_is_small(tiny: DataSpec, tmp_path: Path) -> None:
    type(tiny).tiny(tmp_path / "again")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert 0 < len(files) < 2000
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_specs_are_frozen_and_described(tiny: DataSpec) -> None:
    assert dataclasses.fields(tiny)[0].name == "root"  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.root = "elsewhere"
    assert type(tiny).protocol
    assert "\n" not in type(tiny).protocol


def test_split_shares_no_recording(tiny: DataSpec) -> None:
    whole, train, held = tiny.open(), tiny.open("train"), tiny.open("held_out")
    assert len(train) > 0
    assert len(held) > 0
    assert len(train) + len(held) == len(whole)
    assert not set(train.recordings) & set(held.recordings)
    assert set(train.recordings) | set(held.recordings) == set(whole.recordings)
    assert held[len(held) - 1]["index"] == len(held) - 1


def _pixels(source: Source) -> bytes:
    sample = source[len(source) // 2]
    if "picture" in sample:
        picture = sample["picture"]
        return picture.take((0, 0, *picture.size), picture.size).tobytes()  # type: ignore[no-any-return]
    return sample["frames"].take([7, 2]).tobytes() + sample.get("motions", np.zeros(0)).tobytes()  # type: ignore[no-any-return]


def test_sources_pickle_and_give_the_same_anywhere(tiny: DataSpec) -> None:
    source = tiny.open()
    expected = _pixels(source)
    assert _pixels(pickle.loads(pickle.dumps(source))) == expected
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_pixels, (source,)).get(timeout=300) == expected


def test_layout_is_recognised(tiny: DataSpec, tmp_path: Path) -> None:
    assert type(tiny).recognises(Path(tiny.root))
    assert not type(tiny).recognises(tmp_path)


def test_only_the_right_reader_recognises_drives(drives: DataSpec) -> None:
    assert [kind for kind in DRIVING if kind.recognises(Path(drives.root))] == [type(drives)]


@pytest.mark.parametrize("kind", SPECS)
def test_wrong_roots_are_explained(kind: type[DataSpec], tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for root, words in {
        "": "no data folder was given",
        str(tmp_path / "absent"): "does not exist",
        str(tmp_path / "file.txt"): "is a file, not a folder",
        str(tmp_path / "empty"): "accepted",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            kind(root=root).open()  # type: ignore[call-arg]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", SPECS)
def test_unreadable_root_is_explained(kind: type[DataSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))  # a closed folder; the superuser may enter any

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match="cannot be read"):
        kind(root=str(tmp_path / "closed")).open()  # type: ignore[call-arg]


def test_several_roots_are_joined(tiny: DataSpec, tmp_path: Path) -> None:
    other = type(tiny).tiny(tmp_path / "other")
    one, both = tiny.open(), dataclasses.replace(tiny, root=f"{tiny.root}, {other.root}").open()  # type: ignore[type-var]
    assert len(both) == 2 * len(one)
    names = set(both.recordings)
    assert len(names) == 2 * len(set(one.recordings)) or isinstance(tiny, KittiRaw | KittiOdometry)


# Pictures and videos


def test_pictures_come_in_name_order_whatever_the_file_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2.png", "a/9.jpg", "b/1.PNG", "a/10.jpg", "c.jpeg", ".hidden/3.png", "a/._9.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pictures.encode(numbered(1)))
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "a" / "film.mp4").write_text("not a picture either")
    expected = ["a/10.jpg", "a/9.jpg", "b/1.PNG", "b/2.png", "c.jpeg"]
    assert list(PictureFolder(str(tmp_path)).open().recordings) == expected
    walk = os.walk

    def backwards(*given: Any, **named: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for place, inside, files in walk(*given, **named):
            inside.reverse()
            yield place, inside, files[::-1]

    monkeypatch.setattr(listing.os, "walk", backwards)
    assert list(PictureFolder(str(tmp_path)).open().recordings) == expected


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    PictureFolder.tiny(real)
    root = tmp_path / "root"
    root.mkdir()
    (root / "here").symlink_to(real)
    (root / "loop").symlink_to(root)
    assert len(PictureFolder(str(root)).open()) == 24


def test_picture_is_the_file_s(tmp_path: Path) -> None:
    source = PictureFolder.tiny(tmp_path).open()
    picture = source[list(source.recordings).index("part_2/05.png")]["picture"]
    assert number_shown(picture.take((0, 0, *picture.size), picture.size)) == 5


def test_thousands_of_items_are_opened_unread(tmp_path: Path) -> None:
    """Empty files, of which any that was read would be left out."""
    for number in range(5000):
        (tmp_path / f"{number:05d}.mp4").touch()
        (tmp_path / f"{number:05d}.jpg").touch()
    for kind in (PictureFolder, VideoFolder):
        source = kind(str(tmp_path)).open("train")
        assert len(source) == 4500
        assert len(pickle.dumps(source)) < 600_000


def test_tiny_videos_show_their_frame_numbers(tmp_path: Path) -> None:
    source = VideoFolder.tiny(tmp_path).open()
    for index in range(len(source)):
        frames = source[index]["frames"]
        assert len(frames) >= 60
        assert [number_shown(picture) for picture in frames.take(range(len(frames)))] == list(range(len(frames)))
        assert frames.motion[1:].min() > 0


def test_decoder_is_passed_on(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    spec = dataclasses.replace(VideoFolder.tiny(tmp_path), decoder="decord")
    frames = spec.open()[0]["frames"]
    assert frames.decoder == "decord"
    assert [number_shown(picture) for picture in frames.take([40, 3])] == [40, 3]


def test_cameras_of_one_episode_share_a_recording(tmp_path: Path) -> None:
    for camera in ("observation.images.left", "observation.images.right"):
        for episode in range(3):
            path = tmp_path / "cloth" / "videos" / "chunk-000" / camera / f"episode_{episode:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    data = tmp_path / "cloth"
    cameras = [str(path) for path in sorted((data / "videos" / "chunk-000").iterdir())]
    for root in (str(tmp_path), str(data), str(data / "videos"), ",".join(cameras)):
        recordings = VideoFolder(root).open().recordings
        assert len(recordings) == 6
        assert sorted(recordings.count(name) for name in set(recordings)) == [2, 2, 2], root


def test_clips_of_one_ucf101_group_share_a_recording(tmp_path: Path) -> None:
    for name in ("v_Basketball_g01_c01", "v_Basketball_g01_c02", "v_Basketball_g02_c01", "v_Biking_g01_c01"):
        (tmp_path / name.split("_")[1]).mkdir(exist_ok=True)
        (tmp_path / name.split("_")[1] / f"{name}.avi").touch()
    expected = ["v_Basketball_g01", "v_Basketball_g01", "v_Basketball_g02", "v_Biking_g01"]
    assert list(VideoFolder(str(tmp_path)).open().recordings) == expected


def test_broken_video_among_good_ones_opens(tmp_path: Path) -> None:
    write_video(tmp_path / "good.mp4", [numbered(number) for number in range(10)])
    (tmp_path / "bad.mp4").write_bytes(b"")
    assert len(VideoFolder(str(tmp_path)).open()) == 2  # nothing is decoded on opening; reading raises BadItem


def test_wrong_settings_are_said_on_opening(tmp_path: Path) -> None:
    spec = VideoFolder.tiny(tmp_path)
    with pytest.raises(UserError, match="there is no decoder 'decor', did you mean 'decord'"):
        dataclasses.replace(spec, decoder="decor").open()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="short_side"):
        dataclasses.replace(spec, short_side=0).open()


# Driving


def test_tiny_drives_turn_both_ways_and_show_it(drives: DataSpec) -> None:
    # Turning left moves the picture's content to the right: the shift between frames must follow the yaw.
    source = drives.open("train")
    axes = [axis.name for axis in source.motion_axes]
    shifts, yaws = [], []
    for index in range(0, len(source), 3):
        sample = source[index]
        first, later = sample["frames"].take([sample["frame"], sample["frame"] + 1]).astype(float).mean(-1)
        inner = first[:, 12:-12]
        errors = [np.abs(later[:, 12 + shift : later.shape[1] - 12 + shift] - inner).mean() for shift in range(-8, 9)]
        shifts.append(int(np.argmin(errors)) - 8)
        yaws.append(sample["motions"][0, axes.index("left_yaw")])
        assert "forward" not in axes or sample["motions"][0, axes.index("forward")] > 0
    assert np.corrcoef(shifts, yaws)[0, 1] > 0.8
    assert min(yaws) < 0 < max(yaws)
    assert min(np.abs(yaws)) < 1e-6


def test_motion_unit_is_said(drives: DataSpec) -> None:
    expected = "throttle seconds, steering seconds" if isinstance(drives, Donkeycar) else "metres, radians"
    assert drives.open().motion_unit == expected


def test_horizon_bounds_what_is_later(drives: DataSpec) -> None:
    near = dataclasses.replace(drives, horizon_seconds=0.3).open()  # type: ignore[type-var]
    assert max(near[index]["seconds"][-1] for index in range(len(near))) == pytest.approx(0.3, abs=1e-6)
    for wrong in (0.0, -1.0, 0.001):
        with pytest.raises(UserError, match="horizon_seconds"):
            dataclasses.replace(drives, horizon_seconds=wrong).open()  # type: ignore[type-var]
