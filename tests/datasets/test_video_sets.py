"""Published sets of videos: their labels and official splits, read off names and lists; what is incomplete is said."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embodied_ssl import discover
from embodied_ssl.datasets.hmdb51 import CLASSES, Hmdb51, film_of
from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.something_something import SomethingSomething
from embodied_ssl.datasets.source import Source
from embodied_ssl.datasets.ucf101 import Ucf101
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.datasets.video_spec import VideoSpec
from embodied_ssl.errors import UserError

SETS: list[type[VideoSpec]] = [Ucf101, Hmdb51, SomethingSomething]
UCF_CLASSES = ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]


def files_of(source: Source) -> list[Path]:
    return [Path(source[index]["frames"].name) for index in range(len(source))]


def labels_of(source: Source) -> list[int]:
    return [source[index]["label"] for index in range(len(source))]


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.fixture(params=SETS, ids=lambda kind: kind.__name__)
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> VideoSpec:
    return request.param.tiny(tmp_path / "set")  # type: ignore[no-any-return]


# What holds for each


def test_it_is_read_before_a_plain_folder_of_videos(tiny: VideoSpec) -> None:
    assert discover.specs_for(Path(tiny.root)) == [type(tiny), VideoFolder]


def test_order_is_that_of_names_whatever_the_file_system_says(tiny: VideoSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = files_of(tiny.open())
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda *given: sorted(listdir(*given), reverse=True))
    assert files_of(tiny.open()) == expected
    assert len(set(expected)) == len(expected)


def test_few_absent_videos_are_named_and_many_are_refused(tiny: VideoSpec) -> None:
    files = files_of(tiny.open())
    few, many = max(1, len(files) // 20), len(files) // 4
    for path in files[:few]:
        path.unlink()
    source = tiny.open()
    assert [item.name for item in source.bad] == [str(path) for path in files[:few]]
    assert files_of(source) == files[few:]
    for path in files[few:many]:
        path.unlink()
    with pytest.raises(
        UserError, match=f"lacks {many} of the {len(files)} videos.*first '.*{files[0].stem}.*incomplete"
    ) as caught:
        tiny.open()
    assert "\n" not in str(caught.value)


def test_unknown_parts_are_refused(tiny: VideoSpec) -> None:
    with pytest.raises(UserError, match=r"official is 'val'; accepted are '', 'train'.*data\.official=test"):
        dataclasses.replace(tiny, official="val").open()  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [Ucf101, Hmdb51])
def test_unknown_folds_are_refused(kind: type[VideoSpec], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fold is '4'; accepted are 1, 2, 3"):
        dataclasses.replace(kind.tiny(tmp_path / "set"), fold=4).open()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        (Ucf101, "UCF-101"),
        (Ucf101, "ucfTrainTestlist"),
        (Ucf101, "ucfTrainTestlist/classInd.txt"),
        (Ucf101, "ucfTrainTestlist/trainlist01.txt"),
        (Hmdb51, "testTrainMulti_7030_splits"),
        (Hmdb51, "testTrainMulti_7030_splits/hug_test_split1.txt"),
        (SomethingSomething, "20bn-something-something-v2"),
        (SomethingSomething, "labels/labels.json"),
        (SomethingSomething, "labels/validation.json"),
        (SomethingSomething, "labels/test-answers.csv"),
    ],
)
def test_what_is_missing_of_the_layout_is_said(kind: type[VideoSpec], gone: str, tmp_path: Path) -> None:
    spec = kind.tiny(tmp_path / "set")
    (tmp_path / "set" / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=Path(gone).name) as caught:
        spec.open()
    assert "\n" not in str(caught.value)


# UCF101


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_ucf101_parts_are_those_of_the_lists(tmp_path: Path, fold: Any) -> None:
    spec = dataclasses.replace(Ucf101.tiny(tmp_path), fold=fold)
    train, test = (dataclasses.replace(spec, official=part).open() for part in ("train", "test"))
    assert (len(train), len(test)) == (12, 6)
    assert {name[-3:] for name in test.recordings} == {f"g{fold:02d}"}
    assert not set(train.recordings) & set(test.recordings)
    assert sorted([*files_of(train), *files_of(test)]) == files_of(spec.open())


def test_ucf101_labels_groups_and_frames_are_those_of_the_file(tmp_path: Path) -> None:
    source = Ucf101.tiny(tmp_path).open()
    assert set(Counter(source.recordings).values()) == {2}
    for index, path in enumerate(files_of(source)):
        assert UCF_CLASSES[source[index]["label"]] == path.parent.name  # the folder: file names are spelt otherwise
        group, clip = path.stem.split("_")[-2:]
        assert source.recordings[index] == path.stem.removesuffix(f"_{clip}")
        first = number_shown(source[index]["frames"].take([0])[0])
        assert first == 20 * (2 * (int(group[1:]) - 1) + int(clip[1:]) - 1)


def test_ucf101_recordings_are_those_of_a_plain_folder(tmp_path: Path) -> None:
    spec = Ucf101.tiny(tmp_path)
    assert spec.open().recordings == VideoFolder(f"{tmp_path}/UCF-101").open().recordings


def test_ucf101_reads_only_what_is_listed(tmp_path: Path) -> None:
    spec = Ucf101.tiny(tmp_path)
    (tmp_path / "UCF-101" / "YoYo" / "v_YoYo_g09_c01.avi").touch()
    assert len(spec.open()) == 18


def test_ucf101_lists_of_another_kind_are_refused(tmp_path: Path) -> None:
    spec = Ucf101.tiny(tmp_path)
    lists = tmp_path / "ucfTrainTestlist"
    edit(lists / "testlist01.txt", lambda text: "Rowing/v_Rowing_g01_c01.avi\n" + text)
    with pytest.raises(UserError, match=r"lists 'Rowing/v_Rowing_g01_c01.avi', which is no"):
        spec.open()
    edit(lists / "classInd.txt", lambda text: text.replace("3 YoYo", "4 YoYo"))
    with pytest.raises(UserError, match=r"does not number its 3 classes from 1"):
        spec.open()


# HMDB51


@pytest.mark.parametrize(
    ("name", "action", "film"),
    [
        ("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", "April"),
        ("Two_Towers_1_run_f_cm_np1_fr_med_3.avi", "run", "Two_Towers"),
        ("Two_Towers_4_draw_sword_u_cm_np1_ri_bad_12.avi", "draw_sword", "Two_Towers"),
        ("50_FIRST_DATES_kick_f_cm_np1_ba_med_19.avi", "kick", "50_FIRST_DATES"),
        ("50_FIRST_DATES_kick_ball_f_cm_np1_ba_med_19.avi", "kick_ball", "50_FIRST_DATES"),
        ("#20_Rhythm_clap_u_nm_np1_le_goo_4.avi", "clap", "#20_Rhythm"),
        (
            "1899_Hamlet__the_Fencing_Scene_with_Laertes_fencing_f_cm_np2_le_med_0.avi",
            "fencing",
            "1899_Hamlet__the_Fencing_Scene_with_Laertes",
        ),
        ("Dive_and_roll_(Parkour)_somersault_f_cm_np1_ba_bad_3.avi", "somersault", "Dive_and_roll_(Parkour)"),
        ("wave_and_say_hi_wave_u_nm_np1_fr_med_0.avi", "wave", "wave_and_say_hi"),
        ("my_own_clip_7.avi", "wave", "my_own_clip_7"),
    ],
)
def test_hmdb51_names_tell_the_film(name: str, action: str, film: str) -> None:
    assert film_of(name, action) == film


def test_hmdb51_clips_of_a_film_are_one_recording_in_all_classes(tmp_path: Path) -> None:
    source = Hmdb51.tiny(tmp_path).open()
    assert len(source) == 153
    films = ["Crash", "Two_Towers", "Two_Towers", "#20_Rhythm", "April"]
    for index in range(0, 153, 10):
        shown = number_shown(source[index]["frames"].take([0])[0])
        assert source.recordings[index] == films[shown // 20]
    assert labels_of(source) == [label for label in range(51) for _ in range(3)]
    assert [path.parent.name for path in files_of(source)][::3] == list(CLASSES)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_hmdb51_parts_are_as_marked(tmp_path: Path, fold: Any) -> None:
    spec = dataclasses.replace(Hmdb51.tiny(tmp_path), fold=fold)
    for mark, part in ((1, "train"), (2, "test")):
        source = dataclasses.replace(spec, official=part).open()
        assert labels_of(source) == list(range(51))
        assert {int(path.stem[-1]) for path in files_of(source)} == {(mark - fold) % 3}


def test_hmdb51_may_stand_in_the_archive_s_folder(tmp_path: Path) -> None:
    spec = Hmdb51.tiny(tmp_path / "set")
    expected = [path.name for path in files_of(spec.open())]
    (tmp_path / "set" / "hmdb51_org").mkdir()
    for action in CLASSES:
        (tmp_path / "set" / action).rename(tmp_path / "set" / "hmdb51_org" / action)
    assert [path.name for path in files_of(spec.open())] == expected


# Something-Something v2


def test_something_something_labels_are_those_of_the_templates(tmp_path: Path) -> None:
    spec = SomethingSomething.tiny(tmp_path)
    source = spec.open()
    assert [path.name for path in files_of(source)] == [f"{5 + 3 * clip}.webm" for clip in range(12)]  # 5, 8, 11: as numbers
    assert labels_of(source) == [0, 1, 2] * 4
    for clip in (0, 7, 11):
        frames = source[clip]["frames"]
        assert [number_shown(picture) for picture in frames.take(range(8))] == list(range(20 * clip, 20 * clip + 8))
    assert len(set(source.recordings)) == 12


def test_something_something_parts_are_those_of_the_lists(tmp_path: Path) -> None:
    spec = SomethingSomething.tiny(tmp_path)
    whole = files_of(spec.open())
    for part, expected in (("train", whole[:6]), ("validation", whole[6:9]), ("test", whole[9:])):
        assert files_of(dataclasses.replace(spec, official=part).open()) == expected


def test_something_something_without_answers_still_trains(tmp_path: Path) -> None:
    spec = SomethingSomething.tiny(tmp_path)
    (tmp_path / "labels" / "test-answers.csv").unlink()
    assert len(dataclasses.replace(spec, official="train").open()) == 6


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("labels.json", "[]", "holds a list where the original has a dict"),
        ("labels.json", "{", "cannot be read"),
        ("labels.json", '{"Holding something": "zero"}', "no whole numbers"),
        (
            "labels.json",
            json.dumps({"Holding something": "0"}),
            "2 labels that labels.json lacks, the first 'Pushing something from",
        ),
        ("train.json", json.dumps([{"id": "5"}]), "a row without id and template"),
        ("train.json", json.dumps(["5"]), "a row without id and template"),
    ],
)
def test_something_something_lists_of_another_kind_are_refused(tmp_path: Path, file: str, text: str, words: str) -> None:
    spec = SomethingSomething.tiny(tmp_path)
    (tmp_path / "labels" / file).write_text(text)
    with pytest.raises(UserError, match=words):
        spec.open()
