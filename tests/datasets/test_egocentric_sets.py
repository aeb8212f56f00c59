"""Readers of egocentric sets: the right frames, answers and recordings from the original layouts, and plain words."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.charades_ego import CharadesEgo, people, tags_of
from embodied_ssl.datasets.ego4d import MARGIN, Ego4D, shown
from embodied_ssl.datasets.egtea import Egtea
from embodied_ssl.datasets.epic_kitchens import EpicKitchens, rate_of, seconds_of
from embodied_ssl.datasets.io.numbered import number_shown, numbered
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.source import DataSpec, Source
from embodied_ssl.datasets.together import together
from embodied_ssl.discover import specs_for
from embodied_ssl.errors import UserError
from embodied_ssl.inspection import spec_at

SETS: list[type[DataSpec]] = [Ego4D, EpicKitchens, Egtea, CharadesEgo]


def numbers(source: Source, index: int) -> list[int]:
    """What the frames of a sample show."""
    frames = source[index]["frames"]
    return [number_shown(picture) for picture in frames.take(range(len(frames)))]


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("kind", SETS)
def test_the_set_s_own_reader_is_chosen(kind: type[DataSpec], tmp_path: Path) -> None:
    kind.tiny(tmp_path)
    assert specs_for(tmp_path)[0] is kind
    assert [other for other in SETS if other.recognises(tmp_path)] == [kind]
    assert isinstance(spec_at(str(tmp_path)), kind)


@pytest.mark.parametrize("kind", SETS)
def test_order_does_not_depend_on_the_file_system(kind: type[DataSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = kind.tiny(tmp_path)
    expected = [clip.path for clip in spec.open().clips]  # type: ignore[attr-defined]
    listdir, iterdir = os.listdir, Path.iterdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), reverse=True))
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(iterdir(path), reverse=True)))
    assert [clip.path for clip in spec.open().clips] == expected  # type: ignore[attr-defined]


def test_whoever_is_linked_is_together() -> None:
    draws = np.random.default_rng(0)
    names = [f"{number:02d}" for number in range(30)]
    links = [[names[i] for i in draws.integers(0, 30, 2)] for _ in range(20)]
    near = np.eye(30, dtype=int)
    for one, other in links:
        near[int(one), int(other)] = near[int(other), int(one)] = 1
    reached = np.linalg.matrix_power(near, 30) > 0
    assert together(names, links) == {name: names[int(np.argmax(reached[int(name)]))] for name in names}


# Ego4D


def test_hidden_spans_are_never_shown_and_all_else_is() -> None:
    draws = np.random.default_rng(1)
    for segment in (0.0, 7.0, 100.0):
        for _ in range(50):
            starts = draws.uniform(0, 60, 4)
            hidden = [(start, start + length) for start, length in zip(starts, draws.uniform(0, 8, 4), strict=True)]
            cut = shown(60.0, hidden, segment)
            for moment in draws.uniform(0, 60, 200):
                apart = min(max(start - moment, moment - end, 0.0) for start, end in hidden)
                times = sum(start <= moment < end for start, end in cut)
                assert times == 0 if apart < MARGIN else times <= 1
                # What is not shown lies in or near a hidden span, or between two that leave less than a second.
                assert times or apart < MARGIN + 1.0 or moment < 1 or moment > 59
            assert not segment or max(end - start for start, end in cut) <= segment + 1e-6
            assert cut == sorted(cut)


def test_long_videos_are_cut_into_equal_parts() -> None:
    assert shown(600.0, [], 300.0) == [(0.0, 300.0), (300.0, 600.0)]
    assert shown(601.0, [], 300.0)[0][1] == pytest.approx(601 / 3)
    assert shown(299.0, [], 300.0) == [(0.0, 299.0)]


def test_ego4d_shows_no_de_identified_frame(tmp_path: Path) -> None:
    spec = Ego4D.tiny(tmp_path)
    source = spec.open()
    assert len(source) == 7  # the video with a hidden span became two samples
    hidden = [index for index in range(7) if source[index]["frames"].name.count("00000002-")]
    seen = [numbers(source, index) for index in hidden]
    assert seen == [list(range(33)), list(range(48, 90))]  # 1.2 to 1.5 s at 30 a second, and a tenth of a second around it
    assert len({source.recordings[index] for index in hidden}) == 1
    short = dataclasses.replace(spec, segment=1.0).open()
    assert numbers(short, 1) == list(range(30, 60))
    assert len(set(short.recordings)) == len(set(source.recordings))


def test_ego4d_keeps_events_and_people_together(tmp_path: Path) -> None:
    spec = Ego4D.tiny(tmp_path)
    assert len(set(spec.open().recordings)) == 5  # two cameras filmed one event
    meta = tmp_path / "v2" / "ego4d.json"
    stored = json.loads(meta.read_text())
    for row in stored["videos"][3:5]:
        row["fb_participant_id"] = 17
    meta.write_text(json.dumps(stored))
    recordings = spec.open().recordings
    assert recordings[-3] == recordings[-2] != recordings[-1]
    assert len(set(recordings)) == 4


def test_ego4d_names_what_it_leaves_out(tmp_path: Path) -> None:
    spec = Ego4D.tiny(tmp_path)
    folder = tmp_path / "v2" / "video_540ss"
    uids = sorted(path.stem for path in folder.glob("*.mp4"))
    (folder / f"{uids[0]}.mp4").unlink()
    meta = tmp_path / "v2" / "ego4d.json"
    stored = json.loads(meta.read_text())
    stored["videos"][1]["is_stereo"] = True
    stored["videos"][2]["redacted_intervals"] = []
    del stored["videos"][3]
    meta.write_text(json.dumps(stored))
    source = spec.open()
    assert len(source) == 2
    reasons = {Path(item.name).stem: item.reason for item in source.bad}
    for uid, words in zip(uids, ("not there", "stereo", "does not say where", "does not describe it"), strict=False):
        assert words in reasons[uid]


def test_ego4d_clips_are_of_their_video(tmp_path: Path) -> None:
    spec = Ego4D.tiny(tmp_path)
    whole, clips = tmp_path / "v2" / "video_540ss", tmp_path / "v2" / "clips"
    clips.mkdir()
    rows = ["exported_clip_uid,parent_video_uid,parent_start_sec,parent_end_sec,s3_path"]
    uid = "0000000{}-0000-4000-8000-000000000000"
    for name, parent, start in (("b", 2, 0.2), ("a", 2, 0.0), ("c", 1, 0.0), ("d", 0, 0.0)):
        shutil.copy(whole / f"{uid.format(parent)}.mp4", clips / f"{name}.mp4")
        rows.append(f"{name},{uid.format(parent)},{start},{start + 3.0},s3://")
    (clips / "manifest.csv").write_text("\n".join(rows))
    source = dataclasses.replace(spec, videos="clips").open()
    assert [Path(clip.path).stem for clip in source.clips] == ["a", "a", "b", "c", "d"]  # type: ignore[attr-defined]
    assert [source.recordings.index(name) for name in source.recordings] == [0, 0, 0, 3, 3]
    # Clip b begins at 0.2 s of its video, so what is hidden until 1.5 s there is hidden until 1.3 s here; too little is before.
    assert numbers(source, 2) == list(range(42, 90))
    shutil.rmtree(whole)
    assert len(spec.open()) == 5  # "auto" takes what is there


@pytest.mark.parametrize("below", ["", "v2"])
def test_ego4d_is_found_from_the_download_or_the_version(below: str, tmp_path: Path) -> None:
    Ego4D.tiny(tmp_path)
    (tmp_path / "v1").mkdir()
    assert len(Ego4D(str(tmp_path / below)).open()) == 7
    (tmp_path / "v2" / "ego4d.json").rename(tmp_path / "ego4d.json")
    assert len(Ego4D(str(tmp_path / below)).open()) == 7


def test_broken_ego4d_is_explained(tmp_path: Path) -> None:
    spec = Ego4D.tiny(tmp_path)
    meta, manifest = tmp_path / "v2" / "ego4d.json", tmp_path / "v2" / "video_540ss" / "manifest.csv"
    good = meta.read_text(), manifest.read_text()
    for path, text, words in (
        (meta, "{}", r"ego4d\.json' is not the metadata of Ego4D"),
        (meta, '{"videos": [{"video_uid": "a"}]}', "duration_sec"),
        (meta, good[0][:100], "is not the metadata"),
        (meta, None, r"has no ego4d\.json, which says which spans"),
        (manifest, "", "no column 'video_uid'"),
        (manifest, "video_uid,s3_path\n", "no rows"),
        (manifest, "video_uid,s3_path\nabc,s3://\n", "none of the 1 videos"),
        (manifest, None, "accepted is Ego4D"),
    ):
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(UserError, match=words) as caught:
            spec.open()
        assert "\n" not in str(caught.value)
        meta.write_text(good[0])
        manifest.write_text(good[1])
    for change in ({"segment": -1.0}, {"videos": "small"}):
        with pytest.raises(UserError, match="|".join(change)):
            dataclasses.replace(spec, **change).open()  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no full_scale/manifest\.csv"):
        dataclasses.replace(spec, videos="full_scale").open()


def test_ego4d_without_its_metadata_is_no_folder_of_videos(tmp_path: Path) -> None:
    Ego4D.tiny(tmp_path)
    (tmp_path / "v2" / "ego4d.json").unlink()
    with pytest.raises(UserError, match=r"has no ego4d\.json"):
        spec_at(str(tmp_path))


# EPIC-KITCHENS


@pytest.mark.parametrize(
    ("video", "timestamp", "frame"),
    [
        ("P01_01", "00:00:00.14", 8),
        ("P01_01", "00:00:03.37", 202),
        ("P01_101", "00:00:02.86", 143),
        ("P01_101", "00:00:03.87", 193),
    ],
)
def test_epic_numbers_frames_as_published(video: str, timestamp: str, frame: int) -> None:
    assert int(seconds_of(timestamp) * rate_of(video) + 1e-9) == frame  # rows of the published tables


def test_epic_reads_all_three_forms(tmp_path: Path) -> None:
    source = EpicKitchens.tiny(tmp_path).open()
    assert [Path(clip.path).name for clip in source.clips] == [  # type: ignore[attr-defined]
        *("P01_01.MP4", "P01_101.MP4", "P02_01.MP4", "P03_102.tar", "P04_02", "P05_103.tar")
    ]
    for index, rate in enumerate((60, 50, 60, 50, 60, 50)):
        assert numbers(source, index) == list(range(1, 41))
        assert source[index]["frames"].seconds == pytest.approx(np.arange(40) / rate, abs=1e-3)
    assert source.recordings == ["P01", "P01", "P02", "P03", "P04", "P05"]


def test_epic_actions_are_the_annotated_frames(tmp_path: Path) -> None:
    spec = dataclasses.replace(EpicKitchens.tiny(tmp_path), actions=True)
    source = spec.open()
    assert len(source) == 6
    # In a video, frame n is shown at n / rate: those from 0.1 s up to 0.5 s. In pictures, those numbered as annotated.
    assert numbers(source, 0) == list(range(7, 31))  # frames 6..29 show 7..30
    assert numbers(source, 1) == list(range(6, 26))
    assert numbers(source, 3) == list(range(5, 26))
    assert numbers(source, 4) == list(range(6, 31))
    assert {name: source[0][name] for name in ("label", "verb", "noun")} == {"label": 3, "verb": 3, "noun": 8}
    assert len(dataclasses.replace(spec, part="train").open()) == 4
    assert len(dataclasses.replace(spec, part="validation").open()) == 2
    assert len(dataclasses.replace(spec, form="frames").open()) == 3


def test_epic_layouts_that_people_have(tmp_path: Path) -> None:
    EpicKitchens.tiny(tmp_path / "top" / "EPIC-KITCHENS")
    inside = tmp_path / "top" / "EPIC-KITCHENS"
    video = inside / "P02" / "videos" / "P02_01.MP4"
    video.rename(video.with_suffix(".mp4"))
    (tmp_path / "top" / "annotations").mkdir()
    for table in inside.glob("*.csv"):
        table.rename(tmp_path / "top" / "annotations" / table.name)
    for root, videos in ((tmp_path / "top", 6), (inside, 6), (inside / "P01", 2)):
        assert len(EpicKitchens(str(root)).open()) == videos
    for root in (tmp_path / "top", inside):
        assert len(EpicKitchens(str(root), actions=True).open()) == 6


def test_epic_names_what_it_leaves_out(tmp_path: Path) -> None:
    spec = EpicKitchens.tiny(tmp_path)
    tar = tmp_path / "P03" / "rgb_frames" / "P03_102.tar"
    tar.write_bytes(tar.read_bytes()[:40_000])
    (tmp_path / "P05" / "rgb_frames" / "P05_103.tar").rename(tmp_path / "P05" / "rgb_frames" / "P05_103.tar.gz")
    (tmp_path / "P01" / "videos" / "holiday.MP4").touch()
    (tmp_path / "P02" / "videos").rename(tmp_path / "P02" / "Videos")
    edit(tmp_path / "EPIC_100_train.csv", lambda text: text.replace("P01_101,00:00:00.200,00:00:00.10", "P01_101,0,00:00:09.00"))
    source = dataclasses.replace(spec, actions=True).open()
    reasons = {Path(item.name).name: item.reason for item in source.bad}
    missing = {"P02", "P05", "P02_01", "P05_103"}
    assert set(reasons) == {"P03_102.tar", "P05_103.tar.gz", "holiday.MP4", "EPIC_100_train.csv: P01_101_0"} | missing
    assert reasons["P02"] == "does not hold videos/*.MP4 or rgb_frames"
    assert "cut short" in reasons["P03_102.tar"]
    assert "1 actions are annotated" in reasons["P05_103"]
    assert "ends at 0.5 s and begins at 9 s" in reasons["EPIC_100_train.csv: P01_101_0"]
    assert len(source) == 3
    whole = spec.open()
    assert numbers(whole, 2) == list(range(1, len(whole[2]["frames"]) + 1))
    assert 5 < len(whole[2]["frames"]) < 40


def test_epic_prefers_the_tar_to_what_may_be_half_unpacked(tmp_path: Path) -> None:
    spec = dataclasses.replace(EpicKitchens.tiny(tmp_path), form="frames")
    (tmp_path / "P03" / "rgb_frames" / "P03_102").mkdir()
    assert len(spec.open()[0]["frames"]) == 40


def test_broken_epic_is_explained(tmp_path: Path) -> None:
    spec = EpicKitchens.tiny(tmp_path)
    for change, words in (
        ({"form": "tars"}, "form is 'tars'"),
        ({"part": "val"}, "part is 'val'; accepted are all, train, validation"),
    ):
        with pytest.raises(UserError, match=words):
            dataclasses.replace(spec, **change).open()  # type: ignore[arg-type]
    acting = dataclasses.replace(spec, actions=True)
    table = tmp_path / "EPIC_100_train.csv"
    edit(table, lambda text: text.replace("verb_class", "verb_clas"))
    with pytest.raises(UserError, match="no column 'verb_class'"):
        acting.open()
    table.unlink()
    with pytest.raises(UserError, match=r"has no EPIC_100_train\.csv"):
        acting.open()
    assert len(spec.open()) == 6  # whole videos need no annotations


# EGTEA Gaze+


def test_egtea_reads_labels_and_folds(tmp_path: Path) -> None:
    spec = Egtea.tiny(tmp_path)
    source = spec.open()
    assert len(source) == 12
    assert [source[index]["label"] for index in range(12)] == [number % 5 for number in range(12)]
    assert [source[index]["noun"] for index in range(12)] == [number % 3 for number in range(12)]
    assert sorted(set(source.recordings)) == [f"OP0{n}-R01-{dish}" for n, dish in enumerate(("PastaSalad", "Pizza") * 2, 1)]
    assert numbers(source, 0) == list(range(16))
    tests = []
    for fold in (1, 2, 3):
        parts = [dataclasses.replace(spec, fold=fold, part=part).open() for part in ("train", "test")]
        assert [len(part) for part in parts] == [8, 4]
        tests += [clip.path for clip in parts[1].clips]  # type: ignore[attr-defined]
    assert sorted(tests) == [clip.path for clip in source.clips]  # type: ignore[attr-defined]


def test_broken_egtea_is_explained(tmp_path: Path) -> None:
    spec = Egtea.tiny(tmp_path)
    clips = sorted((tmp_path / "cropped_clips").glob("*/*.mp4"))
    clips[0].unlink()
    (item,) = spec.open().bad
    assert item.name == str(clips[0])
    clips[1].unlink()
    with pytest.raises(UserError, match="lacks 2 of the 12 files that fold 1 names"):
        spec.open()
    train = tmp_path / "action_annotation" / "train_split1.txt"
    for text, words in (
        ("OP01-R01-PastaSalad-1-2-F000001-F000002 7\n", "accepted are a clip's name, then the numbers"),
        ("OP01-R01-PastaSalad-1-2-F000001-F000002 0 1 1\n", "from 1"),
        ("", "is empty"),
        ((tmp_path / "action_annotation" / "test_split1.txt").read_text(), "both parts of fold 1"),
    ):
        train.write_text(text)
        with pytest.raises(UserError, match=words):
            spec.open()
    train.unlink()
    with pytest.raises(UserError, match=r"train_split1\.txt' is missing"):
        spec.open()
    with pytest.raises(UserError, match="fold is 4"):
        dataclasses.replace(spec, fold=4).open()


# Charades-Ego


def test_charades_tags() -> None:
    tags = tags_of("c092 11.90 21.20;c000 0.00 12;c092 1 2")
    assert tags.dtype == np.int8
    assert np.flatnonzero(tags).tolist() == [0, 92]
    assert not tags_of("").any()
    for wrong in ("c157 0 1", "c01 0 1", "c010 0", "walk"):
        with pytest.raises(ValueError, match="not an action"):
            tags_of(wrong)


def test_charades_keeps_both_views_of_a_script_together() -> None:
    rows = [
        {"id": "A", "subject": "s1", "charades_video": ""},
        {"id": "AEGO", "subject": "s1", "charades_video": "A"},
        {"id": "B", "subject": "s2", "charades_video": ""},
        {"id": "BEGO", "subject": "s3", "charades_video": "B"},  # somebody else acted
        {"id": "CEGO", "subject": "s3", "charades_video": "absent"},
        {"id": "D", "subject": "", "charades_video": ""},
        {"id": "DEGO", "subject": "", "charades_video": "D"},
    ]
    found = people(rows)
    assert found["A"] == found["AEGO"] == "s1"
    assert found["B"] == found["BEGO"] == found["CEGO"] == "s2"
    assert found["D"] == found["DEGO"] not in ("s1", "s2", "")


def test_charades_views_and_parts(tmp_path: Path) -> None:
    spec = CharadesEgo.tiny(tmp_path)
    first, third, both = (dataclasses.replace(spec, view=view).open() for view in ("first", "third", "both"))
    assert [len(first), len(third), len(both)] == [5, 5, 10]
    assert numbers(first, 0) == list(range(100, 120))
    assert numbers(third, 0) == list(range(20))
    assert first.recordings == third.recordings == [f"S{person}" for person in range(5)]
    assert np.flatnonzero(first[2]["tags"]).tolist() == [20, 156]
    assert [len(dataclasses.replace(spec, part=part).open()) for part in ("train", "test")] == [3, 2]


def test_charades_pictures(tmp_path: Path) -> None:
    spec = dataclasses.replace(CharadesEgo.tiny(tmp_path), view="both")
    from_video = spec.open()
    for index, clip in enumerate(from_video.clips):  # type: ignore[attr-defined]
        name = Path(clip.path).stem
        (tmp_path / "CharadesEgo_v1_rgb" / name).mkdir(parents=True)
        for number in range(1, 13):
            (tmp_path / "CharadesEgo_v1_rgb" / name / f"{name}-{number:06d}.jpg").write_bytes(
                encode(numbered(50 * index + number), ".jpg")
            )
    source = dataclasses.replace(spec, form="frames").open()
    assert source.recordings == from_video.recordings
    assert numbers(source, 3) == list(range(151, 163))
    assert source[3]["frames"].seconds[-1] == pytest.approx(11 / 24)
    shutil.rmtree(tmp_path / "CharadesEgo_v1_480")
    assert len(spec.open()[3]["frames"]) == 12


def test_broken_charades_is_explained(tmp_path: Path) -> None:
    spec = dataclasses.replace(CharadesEgo.tiny(tmp_path), view="both")
    (tmp_path / "CharadesEgo_v1_480" / "AAAA0.mp4").unlink()
    edit(tmp_path / "CharadesEgo_v1_train.csv", lambda text: text.replace("c010 0.00", "c999 0.00", 1))
    source = spec.open()
    assert len(source) == 8
    assert [Path(item.name).name for item in source.bad] == ["AAAA0.mp4", "AAAA1.mp4"]
    assert "'c999 0.00 0.50' is not an action" in source.bad[1].reason
    (tmp_path / "CharadesEgo_v1_480").rename(tmp_path / "films")
    with pytest.raises(UserError, match=r"no folder CharadesEgo_v1_480 or CharadesEgo_v1 or"):
        spec.open()
    edit(tmp_path / "CharadesEgo_v1_train.csv", lambda text: text.replace("egocentric", "ego"))
    with pytest.raises(UserError, match="no column 'egocentric'"):
        spec.open()
