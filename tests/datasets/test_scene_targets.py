"""Data sets of scenes: their published divisions, to the picture."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.indoor67 import Indoor67
from embodied_ssl.datasets.places import Places205, Places365
from embodied_ssl.datasets.scene15 import CLASSES, Scene15
from embodied_ssl.datasets.sun397 import SUN397, read_partition
from embodied_ssl.datasets.target import Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.targets import open_target


def labels_of(target: Target) -> np.ndarray:
    assert target.source.labels is not None
    return target.source.labels


def drop_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def add_line(path: Path, line: str) -> None:
    path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")


# 15-Scene

PUBLISHED_NAMES = {
    **{f"MIT{name}": name for name in CLASSES if name in ("coast", "forest", "highway", "insidecity", "mountain", "opencountry")},
    **{"MITstreet": "street", "MITtallbuilding": "tallbuilding", "CALsuburb": "suburb", "PARoffice": "office"},
    **{"bedroom": "bedroom", "industrial": "industrial", "kitchen": "kitchen", "livingroom": "livingroom", "store": "store"},
}


@pytest.fixture(scope="module")
def fifteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """104 empty files a class: what is divided are names."""
    root = tmp_path_factory.mktemp("fifteen")
    for name in PUBLISHED_NAMES:
        (root / name).mkdir()
        for number in range(104):
            (root / name / f"image_{number + 1:04d}.jpg").touch()
    return root


def test_scene15_trains_on_100_of_each_class_in_ten_different_splits(fifteen: Path) -> None:
    target = Scene15(str(fifteen)).target()
    assert target.classes == tuple(sorted(PUBLISHED_NAMES.values()))
    assert len(target.divisions) == 10
    for train, test in target.divisions:
        assert np.bincount(labels_of(target)[train]).tolist() == [100] * 15
        assert np.bincount(labels_of(target)[test]).tolist() == [4] * 15
        assert not set(train) & set(test)
    assert len({tuple(test) for _, test in target.divisions}) == 10
    assert "1560 of the 4485" in target.note


def test_scene15_splits_depend_on_their_number_alone(fifteen: Path) -> None:
    ten, three = Scene15(str(fifteen)).target(), Scene15(str(fifteen), partitions=3).target()
    for one, other in zip(ten.divisions, three.divisions, strict=False):
        assert np.array_equal(one.train, other.train)
    few = Scene15(str(fifteen), partitions=1, per_class=6).target().divisions[0]
    assert set(few.train) < set(three.divisions[0].train)  # fewer a class are among more a class


def test_scene15_joins_train_and_test_and_divides_them_like_a_bare_copy(fifteen: Path, tmp_path: Path) -> None:
    for place, name in PUBLISHED_NAMES.items():
        for number in range(104):
            path = tmp_path / ("train" if number % 3 else "test") / name.capitalize() / f"image_{number + 1:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert (fifteen / place).is_dir()
    bare, given = Scene15(str(fifteen)).target(), Scene15(str(tmp_path)).target()
    assert bare.source.recordings == given.source.recordings
    for one, other in zip(bare.divisions, given.divisions, strict=True):
        assert np.array_equal(one.train, other.train)
    assert not Scene15.recognises(tmp_path)
    assert Scene15.recognises(fifteen)
    assert ClassFolder.recognises(tmp_path)


def test_scene15_refuses_too_few_pictures_and_missing_classes(fifteen: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"class 'bedroom' .* has 104 pictures; per_class=104 .* accepted here is a per_class of 1 to 103"
    ):
        Scene15(str(fifteen), per_class=104).target()
    for wrong in ({"partitions": 0}, {"per_class": 0}, {"partitions": -1}):
        with pytest.raises(UserError, match="must be 1 or more"):
            Scene15(str(fifteen), **wrong).target()
    copy = tmp_path / "copy"
    shutil.copytree(fifteen, copy)
    shutil.rmtree(copy / "store")
    shutil.rmtree(copy / "CALsuburb")
    with pytest.raises(UserError, match="lacks 2 of the 15 classes of 15-Scene: store, suburb"):
        Scene15(str(copy)).target()
    assert not Scene15.recognises(copy)


@pytest.mark.data
def test_scene15_as_shared(data_root: Path) -> None:
    root = str(data_root / "scene15")
    given = open_target(root)
    assert given.name == "scene15"  # the split as given is kept, unless repeated splits are asked for
    assert (len(given.train), len(given.test)) == (1500, 1489)
    target = Scene15(root).target()
    assert (len(target.source), len(target.divisions)) == (2989, 10)
    again = Scene15(root).target()
    for (train, test), other in zip(target.divisions, again.divisions, strict=True):
        assert (len(train), len(test)) == (1500, 1489)
        assert np.bincount(labels_of(target)[train]).tolist() == [100] * 15
        assert not set(train) & set(test)
        assert np.array_equal(train, other.train)
        assert np.array_equal(test, other.test)
    # Two independent draws of 100 from n share 100^2 / n of them on average.
    counts = np.bincount(labels_of(target))
    shared = [len(set(a.train) & set(b.train)) for a, b in itertools.combinations(target.divisions, 2)]
    assert np.mean(shared) == pytest.approx((100**2 / counts).sum(), rel=0.02)
    assert "2989 of the 4485" in target.note


# SUN397


def write_lists(folder: Path, classes: int = 397, a_class: int = 50) -> list[str]:
    """One partition of the published size, of names only; returns the classes."""
    names = [f"{chr(97 + number % 26)}/place{number:03d}" + ("/inside" if number % 5 == 0 else "") for number in range(classes)]
    for part, first in (("Training", 0), ("Testing", a_class)):
        lines = [f"/{name}/sun_{first + (number * 7) % a_class:03d}.jpg\n" for name in names for number in range(a_class)]
        (folder / f"{part}_01.txt").write_text("".join(lines))
    return names


def test_sun397_partitions_have_the_published_size(tmp_path: Path) -> None:
    classes = write_lists(tmp_path)
    train, test = read_partition(tmp_path, 1, classes)
    assert len(train.files) == len(test.files) == 50 * 397 == 19_850
    assert not set(train.files) & set(test.files)
    assert round(100 * max(Counter(test.labels).values()) / len(test.labels), 3) == 0.252  # chance, %
    for per_class, pictures in ((5, 1985), (6, 2382), (20, 7940), (50, 19_850)):
        some = read_partition(tmp_path, 1, classes, per_class)
        assert len(some.train.files) == pictures
        assert len(some.test.files) == 19_850


def test_sun397_takes_the_first_of_each_class_in_the_order_of_the_list(tmp_path: Path) -> None:
    classes = write_lists(tmp_path, 30, 20)
    lines = (tmp_path / "Training_01.txt").read_text().split()
    np.random.default_rng(0).shuffle(lines)
    (tmp_path / "Training_01.txt").write_text("\n".join(lines))
    taken: list[str] = []
    for line in lines:  # the slow way
        if sum(other.rpartition("/")[0] == line.rpartition("/")[0] for other in taken) < 6:
            taken.append(line)
    part = read_partition(tmp_path, 1, classes, 6).train
    assert sorted(f"/{file}" for file in part.files) == sorted(taken)
    assert [file.rpartition("/")[0] for file in part.files] == [classes[label] for label in part.labels]


def test_sun397_divisions_are_the_official_lists(tmp_path: Path) -> None:
    SUN397.tiny(tmp_path)
    for per_class, count in ((0, 9), (2, 6)):
        target = SUN397(str(tmp_path), per_class=per_class).target()
        for number, division in enumerate(target.divisions, 1):
            assert len(division.train) == count
            for rows, part in ((division.train, "Training"), (division.test, "Testing")):
                listed = {line[1:] for line in (tmp_path / "Partitions" / f"{part}_{number:02d}.txt").read_text().split()}
                named = {target.source.recordings[row] for row in rows}
                assert named == listed if part == "Testing" or not per_class else named < listed
    assert len(SUN397(str(tmp_path), partitions=4).target().divisions) == 4


def test_sun397_labels_are_torchvision_s(tmp_path: Path) -> None:
    SUN397.tiny(tmp_path / "SUN397")
    theirs = torchvision.datasets.SUN397(tmp_path)
    target = open_target(str(tmp_path))  # the folder above serves too
    assert list(target.classes) == theirs.classes == ["abbey", "bakery/shop", "zoo"]
    expected = {str(path): label for path, label in zip(theirs._image_files, theirs._labels, strict=True)}
    assert {target.source.file_name(row): int(labels_of(target)[row]) for row in range(18)} == expected


def test_sun397_lists_may_stand_loose(tmp_path: Path) -> None:
    expected = SUN397.tiny(tmp_path).target()
    for path in (tmp_path / "Partitions").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "Partitions").rmdir()
    target = open_target(str(tmp_path))
    assert target.source.recordings == expected.source.recordings
    assert np.array_equal(target.divisions[9].test, expected.divisions[9].test)


def test_sun397_refuses_settings_that_the_lists_cannot_meet(tmp_path: Path) -> None:
    spec = SUN397.tiny(tmp_path)
    with pytest.raises(UserError, match=r"class 'a/abbey' has 3 pictures .* fewer than per_class=5; accepted are 1 to 3"):
        replace(spec, per_class=5).target()
    for wrong in ({"partitions": 0}, {"partitions": 11}, {"per_class": -1}):
        with pytest.raises(UserError, match="accepted are 1 to 10"):
            replace(spec, **wrong).target()  # type: ignore[arg-type]


def test_sun397_refuses_lists_that_are_not_whole(tmp_path: Path) -> None:
    spec = SUN397.tiny(tmp_path)
    third = tmp_path / "Partitions" / "Training_03.txt"
    whole = third.read_text()
    drop_last_line(third)
    with pytest.raises(UserError, match=r"Training_03.txt' is cut short: it names 3 .* but 2 of 'z/zoo' \(1 classes"):
        spec.target()
    assert len(replace(spec, partitions=2).target().divisions) == 2  # what is not asked for is not looked at
    for line, words in (
        ("/q/quay/sun_a.jpg", "names 'q/quay/sun_a.jpg', of no class"),
        (whole.split()[0], "names 1 pictures twice"),
        ((tmp_path / "Partitions" / "Testing_03.txt").read_text().split()[0], "cut short"),
    ):
        third.write_text(whole)
        add_line(third, line)
        with pytest.raises(UserError, match=words):
            spec.target()
    third.write_text(whole)
    shutil.copy(third, tmp_path / "Partitions" / "Testing_03.txt")
    with pytest.raises(UserError, match="share 9 pictures, the first 'a/abbey/"):
        spec.target()
    third.unlink()
    with pytest.raises(UserError, match=r"Training_03.txt' is missing"):
        spec.target()


# Places


def test_places365_is_torchvision_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.Places365, "_check_integrity", lambda *_: True)  # its sums are of the full lists
    target = Places365.tiny(tmp_path).target()
    for part, split in zip(target.divisions[0], ("train-standard", "val"), strict=True):
        theirs = torchvision.datasets.Places365(tmp_path, split=split, small=True)
        assert {target.source.file_name(row): int(labels_of(target)[row]) for row in part} == dict(theirs.imgs)
        assert list(target.classes) == [name[3:] for name, _ in sorted(theirs.class_to_idx.items(), key=lambda item: item[1])]


def test_places365_reads_the_size_that_is_asked_for_or_there(tmp_path: Path) -> None:
    spec = Places365.tiny(tmp_path)
    with pytest.raises(UserError, match="lacks the folders data_large_standard/ and val_large/;"):
        replace(spec, size="large").target()
    shutil.copytree(tmp_path / "data_256_standard", tmp_path / "data_large")  # as the archive itself names it
    shutil.copytree(tmp_path / "val_256", tmp_path / "val_large")
    assert "data_256_standard/ and val_256/" in spec.target().note
    large = replace(spec, size="large").target()
    assert "data_large/ and val_large/" in large.note
    assert all("large" in name for name in large.source.recordings)
    shutil.rmtree(tmp_path / "val_256")
    assert np.array_equal(labels_of(spec.target()), labels_of(large))
    with pytest.raises(UserError, match="size 'small'; there is 256, large, and any"):
        replace(spec, size="small").target()


def test_places_refuses_wrong_lists(tmp_path: Path) -> None:
    spec = Places365.tiny(tmp_path)
    val, categories = tmp_path / "places365_val.txt", tmp_path / "categories_places365.txt"
    whole = val.read_text()
    val.write_text(whole.replace(" 2\n", " 3\n"))
    with pytest.raises(UserError, match=r"test part .* has the label 3; accepted are 0 to 2"):
        spec.target()
    val.write_text(whole.replace(" 2\n", " 1\n"))
    with pytest.raises(UserError, match=r"test part .* no picture of 1 of the 3 classes, the first 'zen_garden'"):
        spec.target()
    val.write_text(whole)
    categories.write_text(categories.read_text().replace(" 2\n", " 7\n"))
    with pytest.raises(UserError, match="does not number its 3 categories 0 to 2"):
        spec.target()


def test_places205_lists_are_read_as_csv_would(tmp_path: Path) -> None:
    target = Places205.tiny(tmp_path).target()
    for rows, part in zip(target.divisions[0], ("train", "val"), strict=True):
        with (tmp_path / "trainvalsplit_places205" / f"{part}_places205.csv").open() as file:
            expected = {name: int(label) for name, label in csv.reader(file, delimiter=" ")}
        assert {target.source.recordings[row]: int(labels_of(target)[row]) for row in rows} == expected
    assert target.classes == ("abbey", "apartment_building/outdoor", "yard")
    assert "test labels were never published" in target.note


def test_places205_refuses_labels_that_do_not_go_with_folders(tmp_path: Path) -> None:
    spec = Places205.tiny(tmp_path)
    path = tmp_path / "trainvalsplit_places205" / "train_places205.csv"
    whole = path.read_text()
    for old, new, words in (
        ("gsun_train0.jpg 2", "gsun_train0.jpg 1", "3 labels for 3 folders"),
        (" 2\n", " 1\n", "2 labels for 3 folders"),
        (" 0\n", " 3\n", "numbered from 0"),
    ):
        path.write_text(whole.replace(old, new))
        with pytest.raises(UserError, match=words):
            spec.target()
    path.write_text(whole)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="has no folder data/vision/torralba/deeplearning/images256 or images256"):
        spec.target()
    shutil.move(tmp_path / "elsewhere" / "vision" / "torralba" / "deeplearning" / "images256", tmp_path / "images256")
    assert len(spec.target().train) == 12


# Indoor-67


def test_indoor67_is_as_listed_and_leaves_the_rest_out(tmp_path: Path) -> None:
    target = Indoor67.tiny(tmp_path).target()
    assert target.classes == ("airport_inside", "bakery", "winecellar")
    for rows, name in zip(target.divisions[0], ("TrainImages.txt", "TestImages.txt"), strict=True):
        assert [target.source.recordings[row] for row in rows] == sorted((tmp_path / name).read_text().split())
    assert len(target.source) == 18 < len(list((tmp_path / "Images").glob("*/*.jpg"))) == 21


def test_indoor67_refuses_lists_that_do_not_divide(tmp_path: Path) -> None:
    spec = Indoor67.tiny(tmp_path)
    path = tmp_path / "TestImages.txt"
    whole = path.read_text()
    add_line(path, "bakery/int0.jpg")
    with pytest.raises(UserError, match=r"1 pictures .* both training and test, the first 'bakery/int0.jpg'"):
        spec.target()
    path.write_text("\n".join(line for line in whole.split() if not line.startswith("bakery")))
    with pytest.raises(UserError, match=r"test part .* no picture of 1 of the 3 classes, the first 'bakery'"):
        spec.target()
    path.write_text("int474.jpg")
    with pytest.raises(UserError, match=r"name 'int474.jpg'; accepted are lines such as"):
        spec.target()
    path.unlink()
    with pytest.raises(UserError, match=r"TestImages.txt' is missing"):
        spec.target()
