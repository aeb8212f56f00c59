"""donkeycar: commands are summed over time, signs are those of the picture, and gaps start another recording."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving import slides

from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError

Write = Callable[..., Path]


def write_tub(folder: Path, records: list[dict[str, object] | str], pictures: set[int] | None = None) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = []
    for record in records:
        lines.append(record if isinstance(record, str) else json.dumps(record))
        if isinstance(record, dict) and (pictures is None or record["_index"] in pictures):
            (folder / "images" / str(record["cam/image_array"])).write_bytes(b"never read")
    (folder / "catalog_0.catalog").write_text("\n".join(lines) + "\n")
    return folder


def record(number: int, angle: float = 0.5, throttle: float = 0.4, milliseconds: int | None = None) -> dict[str, object]:
    time = 50 * number if milliseconds is None else milliseconds
    picture = f"{number}_cam_image_array_.jpg"
    return {"_index": number, "_timestamp_ms": time, "cam/image_array": picture, "user/angle": angle, "user/throttle": throttle}


def test_commands_are_summed_over_time_and_left_is_positive(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(k, angle=0.1 * k, throttle=0.2) for k in range(12)])
    sample = Donkeycar(str(tub)).open()[2]
    angles = 0.1 * np.arange(2, 11)
    assert sample["motions"][:, 0] == pytest.approx(0.2 * 0.05 * np.arange(1, 10))
    assert sample["motions"][:, 1] == pytest.approx(-np.cumsum(angles) * 0.05)
    flipped = Donkeycar(str(tub), flip_steering=("tub",)).open()[2]
    assert flipped["motions"][:, 1] == pytest.approx(np.cumsum(angles) * 0.05)


def test_gaps_and_pauses_start_another_recording(tmp_path: Path) -> None:
    times = {number: 50 * number for number in range(30)}
    times |= {number: times[number] + 600 for number in range(20, 30)}  # a pause before 20
    tub = write_tub(tmp_path / "tub", [record(k, milliseconds=times[k]) for k in range(30) if k not in (9, 10)])
    source = Donkeycar(str(tub)).open()
    assert {name: source.recordings.count(name) for name in source.recordings} == {"tub/0": 8, "tub/11": 8, "tub/20": 9}


def test_corrupt_lines_and_missing_pictures_are_listed(tmp_path: Path) -> None:
    lines: list[dict[str, object] | str] = [record(number) for number in range(20)]
    lines[4] = '{"_index": 4, "_timestamp_ms": 2'
    lines[15] = json.dumps({"_index": 15, "user/angle": None})
    tub = write_tub(tmp_path / "tub", lines, pictures=set(range(20)) - {8})
    source = Donkeycar(str(tub)).open()
    assert [item.name.rsplit("/", 1)[1] for item in source.bad] == [
        "catalog_0.catalog:5",
        "catalog_0.catalog:16",
        "8_cam_image_array_.jpg",
    ]
    assert set(source.recordings) == {"tub/0", "tub/5", "tub/16"}
    # The command given at the missing picture still counts.
    index = next(i for i in range(len(source)) if source[i]["frames"].files[source[i]["frame"]].startswith("7_"))
    assert source[index]["motions"][0] == pytest.approx([0.4 * 0.1, -0.5 * 0.1])


def test_deleted_records_are_left_out(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(number) for number in range(20)])
    (tub / "manifest.json").write_text('["cam/image_array"]\n{"paths": ["catalog_0.catalog"], "deleted_indexes": [10, 11]}\n')
    assert set(Donkeycar(str(tub)).open().recordings) == {"tub/0", "tub/12"}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{",
        '{"_index": 4}',
        json.dumps(record(4) | {"user/angle": "left"}),
        json.dumps(record(4) | {"user/throttle": float("nan")}),
        json.dumps(record(4) | {"_timestamp_ms": None}),
        json.dumps(record(4) | {"_index": "four"}),
    ],
)
def test_line_that_is_no_record_costs_itself(tmp_path: Path, line: str) -> None:
    lines: list[dict[str, object] | str] = [record(number) for number in range(20)]
    lines[4] = line
    tub = write_tub(tmp_path / "tub", lines)
    source = Donkeycar(str(tub)).open()
    reason = "catalog_0.catalog:5: not a record with a picture, a time, steering and throttle"
    assert [str(item).rsplit("/", 1)[1] for item in source.bad] == ([reason] if line else [])
    assert set(source.recordings) == {"tub/0", "tub/5"}  # no pair reaches across
    assert {number: source.recordings.count(f"tub/{number}") for number in (0, 5)} == {0: 3, 5: 14}


def test_clock_that_goes_back_starts_another_recording(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(k, milliseconds=50 * k - (10_000 if k >= 12 else 0)) for k in range(20)])
    source = Donkeycar(str(tub)).open()
    assert source.bad == []
    assert {name: source.recordings.count(name) for name in source.recordings} == {"tub/0": 11, "tub/12": 7}


def test_picture_that_stands_alone_is_said(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(k) for k in (*range(10), 15)])
    source = Donkeycar(str(tub)).open()
    assert [str(item) for item in source.bad] == [f"{tub}, record 15: stands alone, and motion needs two pictures"]


def test_empty_catalog_stops_no_other_tub(tmp_path: Path) -> None:
    write_tub(tmp_path / "good", [record(k) for k in range(10)])
    (tmp_path / "bad" / "images").mkdir(parents=True)
    (tmp_path / "bad" / "catalog_0.catalog").write_text("")
    write_tub(tmp_path / "worse", [record(k) for k in range(10)])
    shutil.rmtree(tmp_path / "worse" / "images")
    source = Donkeycar(str(tmp_path)).open()
    assert set(source.recordings) == {"good/0"}
    assert [item.reason for item in source.bad] == ["its catalogs hold no records", "no images folder"]
    shutil.rmtree(tmp_path / "good")
    with pytest.raises(UserError, match=r"hold no records; .*no images folder; accepted is"):
        Donkeycar(str(tmp_path)).open()


@pytest.mark.data
@pytest.mark.parametrize(("tub", "count"), [("garage_csc3520", 3600), ("parquet_mycar4", 2043)])
def test_real_steering_follows_the_picture(data_root: Path, tub: str, count: int) -> None:
    source = Donkeycar(str(data_root / "donkeycar" / tub)).open()
    assert all("stands alone" in item.reason for item in source.bad)
    assert len(source.bad) <= 2
    frames = {id(source[i]["frames"]): len(source[i]["frames"]) for i in range(len(source))}
    assert count - 20 <= sum(frames.values()) <= count
    # Left steering moves the content to the right; the same test told that positive steering is to the right.
    chosen = range(0, len(source), len(source) // 250)
    moved, steering = [], []
    for index in chosen:
        moved += slides(_One(source, index), 1)
        steering.append(source[index]["motions"][0, 1] / source[index]["seconds"][0])
    usable = np.abs(moved) < 30  # phase correlation that found nothing answers anywhere
    assert np.corrcoef(np.array(moved)[usable], np.array(steering)[usable])[0, 1] > 0.25


@pytest.mark.data
@pytest.mark.parametrize("tub", ["garage_csc3520", "parquet_mycar4"])
def test_real_throttle_forward_makes_the_picture_grow(data_root: Path, tub: str) -> None:
    """parquet_mycar4 drives forward at negative throttle: taken as it stands, it would seem to reverse all day."""
    source = Donkeycar(str(data_root / "donkeycar" / tub)).open()
    growths = []
    for index in range(0, len(source), max(1, len(source) // 300)):
        sample = source[index]
        forward, left = sample["motions"][0] / sample["seconds"][0]
        if abs(left) > 0.25 or forward < 0.3:
            continue
        first, later = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in sample["frames"].take([sample["frame"], sample["later"][0]]))
        flow = cv2.calcOpticalFlowFarneback(first, later, None, 0.5, 3, 15, 3, 5, 1.2, 0)[len(first) // 2 :]
        across = np.arange(first.shape[1]) - first.shape[1] / 2
        growths.append((flow[..., 0] * across).sum() / (across**2).sum() / len(flow))
    assert len(growths) >= 20
    assert np.mean(np.array(growths) > 0) > 0.65


class _One:
    """One sample of a source, as a source."""

    def __init__(self, source: Source, index: int) -> None:
        self.sample = source[index]

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.sample
