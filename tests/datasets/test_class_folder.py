from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.class_folder import ClassFolder, recordings_of
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.targets import open_target


def put(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (8, 10, 3)).astype(np.uint8)
    path.write_bytes(encode(pixels))
    return path


def bare(root: Path, rooms: int = 10, views: int = 4) -> Path:
    for number, name in enumerate(("kitchen", "office")):
        for room in range(rooms):
            for view in range(views):
                put(root / name / f"room_{room:03d}_{view}.png", 1000 * number + 10 * room + view)
    return root


def test_the_given_split_is_kept_and_samples_have_picture_label_and_index(tmp_path: Path) -> None:
    spec = ClassFolder.tiny(tmp_path)
    train, test = spec.open("train"), spec.open("held_out")
    assert (len(train), len(test), len(spec.open())) == (18, 9, 27)
    assert spec.target().classes == ("blue", "green", "red")
    assert test[0]["label"] == 0
    sample = train[7]
    assert sample["index"] == 7
    assert sample["label"] == 1
    assert sample["picture"].take((0, 0, 32, 40), (8, 8)).mean((0, 1)).argmax() == 1
    assert ClassFolder.recognises(tmp_path)
    assert train.provides == {"picture", "label", "index"}


def test_val_serves_as_test(tmp_path: Path) -> None:
    spec = ClassFolder.tiny(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    assert len(spec.open("held_out")) == 9
    assert "val/" in open_target(str(tmp_path)).note
    assert ClassFolder.recognises(tmp_path)


def test_a_bare_folder_is_split_by_recording_and_says_so(tmp_path: Path) -> None:
    target = open_target(str(bare(tmp_path)))
    assert set(target.train.recordings).isdisjoint(target.test.recordings)
    train, test = target.divisions[0]
    assert set(train).isdisjoint(test)
    assert len(train) + len(test) == len(target.source)
    for label in (0, 1):  # 30 % of ten rooms in each class, every room with all its views
        assert len({r for r, own in zip(target.test.recordings, target.source.labels[test], strict=True) if own == label}) == 3
    assert len(target.test) == 2 * 3 * 4
    assert "30%" in target.note
    assert "recordings" in target.note
    assert "30%" in ClassFolder(str(tmp_path)).open().name


def test_the_split_does_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    first, second = (open_target(str(bare(tmp_path / name))) for name in ("a", "b"))
    assert first.test.recordings == second.test.recordings


def test_plain_numbering_is_not_taken_for_recordings(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(10):
            put(tmp_path / name / f"image_{number:04d}.png", number)
    target = open_target(str(tmp_path))
    assert len(set(target.train.recordings)) == len(target.train) == 14
    assert len(target.test) == 6
    assert "each its own recording" in target.note


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["room_012_3", "room_012_4", "room_013_1"], ["room_012", "room_012", "room_013"]),
        (["obj1__0", "obj1__90", "obj2__0"], ["obj1", "obj1", "obj2"]),
        (["walk-frame001", "walk-frame002", "run-frame001"], ["walk", "walk", "run"]),
        (["a1", "a2", "b1"], ["a1", "a2", "b1"]),  # no separator: the number may be part of the name
        (["sun_abc123", "sun_abd456"], ["sun_abc123", "sun_abd456"]),
    ],
)
def test_recordings_are_told_by_name(stems: list[str], expected: list[str]) -> None:
    assert recordings_of({"any": stems})[0]["any"] == expected


def test_byte_identical_pictures_are_counted_and_left_in(tmp_path: Path) -> None:
    ClassFolder.tiny(tmp_path)
    copied = tmp_path / "test" / "red" / "copy.png"
    copied.write_bytes((tmp_path / "train" / "red" / "red00.png").read_bytes())
    target = open_target(str(tmp_path))
    assert target.duplicates == 1
    assert "1 test pictures are byte-identical" in target.note
    assert len(target.test) == 10


def test_a_class_missing_from_a_part_is_refused(tmp_path: Path) -> None:
    ClassFolder.tiny(tmp_path)
    for path in (tmp_path / "test" / "red").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"1 of 3 classes have no pictures in '.*test': red"):
        open_target(str(tmp_path))


@pytest.mark.parametrize("make", ["nothing", "one class", "no test", "file", "two roots"])
def test_what_cannot_serve_is_refused_in_one_line(tmp_path: Path, make: str) -> None:
    root = str(tmp_path)
    if make == "one class":
        put(tmp_path / "only" / "a.png")
    elif make == "no test":
        put(tmp_path / "train" / "a" / "a.png")
        put(tmp_path / "train" / "b" / "a.png")
    elif make == "file":
        root = str(put(tmp_path / "a.png"))
    elif make == "two roots":
        root = f"{tmp_path},{tmp_path}"
    with pytest.raises(UserError) as caught:
        open_target(root)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    message = {
        "nothing": "no class folders",
        "one class": "one class only",
        "no test": "no test/",
        "file": "file",
        "two roots": "2 folders",
    }
    assert message[make] in str(caught.value)


def test_a_class_of_a_single_recording_is_refused(tmp_path: Path) -> None:
    bare(tmp_path)
    for view in range(5):
        put(tmp_path / "hall" / f"room_900_{view}.png", view)
    with pytest.raises(UserError, match=r"'hall'.*one recording only.*room_900"):
        open_target(str(tmp_path))


def test_only_folders_of_class_folders_are_recognised(tmp_path: Path) -> None:
    assert not ClassFolder.recognises(tmp_path)
    put(tmp_path / "flat" / "a.png")
    assert not ClassFolder.recognises(tmp_path)
    assert not ClassFolder.recognises(tmp_path / "flat")
    put(tmp_path / "other" / "a.png")
    assert ClassFolder.recognises(tmp_path)
