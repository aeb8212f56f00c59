"""What every reader of labelled pictures promises: right labels, parts that share nothing, the same in any file order."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from embodied_ssl import discover, inspection
from embodied_ssl.datasets.cifar import CIFAR10, CIFAR100
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.datasets.indoor67 import Indoor67
from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.listed import Listed, divided, missing, numbered_lines, read_lines
from embodied_ssl.datasets.places import Places205, Places365
from embodied_ssl.datasets.scene15 import Scene15
from embodied_ssl.datasets.stl10 import STL10
from embodied_ssl.datasets.sun397 import SUN397
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.evaluation.targets import open_target, target_spec


class Case(NamedTuple):
    """A reader, and the class of each of its tiny pictures, told from the pixels alone."""

    kind: type[TargetSpec]
    answer: Callable[[Any], int]


CASES = [
    Case(Scene15, lambda pixels: round((float(pixels.mean()) - 14.5) / 15)),  # noise of 0 to 29 above 15 for each class
    Case(SUN397, lambda pixels: number_shown(pixels) // 6),
    Case(Places205, lambda pixels: number_shown(pixels) % 100 // 10),
    Case(Places365, lambda pixels: n // 10 if (n := number_shown(pixels)) < 100 else (n - 100) % 3),
    Case(Indoor67, lambda pixels: number_shown(pixels) // 10),
    Case(CIFAR10, lambda pixels: number_shown(pixels) % 10 % 3),
    Case(CIFAR100, lambda pixels: number_shown(pixels) % 10 % 3),
    Case(STL10, lambda pixels: number_shown(pixels) % 100 % 3),
    Case(ImageNetFolder, lambda pixels: number_shown(pixels) // 100),
]
KINDS = [case.kind for case in CASES]
LISTS: list[type[TargetSpec]] = [SUN397, Places205, Places365, Indoor67]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.kind.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def tiny(case: Case, tmp_path_factory: pytest.TempPathFactory) -> TargetSpec:
    return case.kind.tiny(tmp_path_factory.mktemp("tiny") / "new")


def same(first: Target, second: Target) -> bool:
    """Whether two targets hold the same pictures in the same order, divided and labelled alike."""
    pairs = zip(first.divisions, second.divisions, strict=True)
    return (
        first.source.recordings == second.source.recordings
        and first.classes == second.classes
        and np.array_equal(first.source.labels, second.source.labels)  # type: ignore[arg-type]
        and all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))
        and {key: rows.tolist() for key, rows in first.subsets.items()}
        == {key: rows.tolist() for key, rows in second.subsets.items()}
    )


def test_only_the_right_reader_recognises_each(tiny: TargetSpec, tmp_path: Path) -> None:
    folder = Path(tiny.root)
    assert [kind for kind in KINDS if kind.recognises(folder)] == [type(tiny)]
    assert discover.specs_for(folder)[0] is type(tiny)
    assert type(target_spec(tiny.root)) is type(tiny)
    assert not type(tiny).recognises(tmp_path)
    assert not type(tiny).recognises(tmp_path / "absent")


def test_every_label_is_what_the_pixels_show(tiny: TargetSpec, case: Case) -> None:
    target = tiny.target()
    rows = range(0, len(target.source), max(1, len(target.source) // 60))
    for sample in (target.source[row] for row in rows):
        picture = sample["picture"]
        assert case.answer(picture.take((0, 0, *picture.size), picture.size)) == sample["label"]
    assert target.source.labels is not None
    assert len({int(target.source.labels[row]) for row in rows}) == len(target.classes)


def test_parts_share_no_picture_and_hold_every_class(tiny: TargetSpec) -> None:
    target = open_target(tiny.root)
    assert target.answers == ("label",)
    assert target.source.labels is not None
    for train, test in target.divisions:
        assert not set(train) & set(test)
        for part in (train, test):
            assert part.dtype == np.intp
            assert np.all(np.diff(part) > 0)
            assert set(target.source.labels[part]) == set(range(len(target.classes)))
    covered = np.unique(np.concatenate([rows for division in target.divisions for rows in division]))
    assert covered.tolist() == list(range(len(target.source)))
    assert len(set(target.source.recordings)) == len(target.source)
    for rows in target.subsets.values():
        assert set(rows) <= set(target.divisions[0].train)


def test_parts_open_as_sources_and_pictures_are_read(tiny: TargetSpec) -> None:
    train, test = tiny.open("train"), tiny.open("held_out")
    division = tiny.target().divisions[0]
    assert (len(train), len(test)) == (len(division.train), len(division.test))
    read = read_pictures(test, Preprocessing(8, 8))
    assert read.pixels.shape == (len(test), 8, 8, 3)
    assert read.bad == ()


def test_inspect_names_the_reader(tiny: TargetSpec) -> None:
    found = inspection.inspect_data(tiny.root)
    assert found["reader"] == type(tiny).__name__
    assert found["layout"] == type(tiny).protocol
    assert "\n" not in found["layout"]
    assert found["left_out"] == []
    assert found["provides"] == ["index", "label", "picture"]


def test_sources_pickle(tiny: TargetSpec) -> None:
    source = tiny.target().source
    again = pickle.loads(pickle.dumps(source))
    box = (0, 0, *source[3]["picture"].size)
    assert np.array_equal(again[3]["picture"].take(box, (8, 8)), source[3]["picture"].take(box, (8, 8)))


class _Backwards:
    """What `os.scandir` gives, in reverse order of names."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return iter(self.entries)

    def __exit__(self, *_: object) -> None: ...


def test_nothing_depends_on_the_order_or_place_of_files(
    tiny: TargetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiny.target()
    assert same(tiny.target(), expected)
    for path in sorted(Path(tiny.root).rglob("*"), reverse=True):  # the last file is made first
        if path.is_file():
            copy = tmp_path / "elsewhere" / path.relative_to(tiny.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    listdir, scandir = os.listdir, os.scandir
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda place=".": sorted(listdir(place), reverse=True))
        patched.setattr(os, "scandir", lambda place=".": _Backwards(list(scandir(place))))
        found = type(tiny)(root=str(tmp_path / "elsewhere")).target()
    assert same(found, expected)


def test_tiny_is_small(tiny: TargetSpec, tmp_path: Path) -> None:
    type(tiny).tiny(tmp_path / "again")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert 0 < len(files) < 2000
    assert sum(path.stat().st_size for path in files) < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_roots_are_refused_in_one_line(kind: type[TargetSpec], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for root, words in {
        "": "no data folder was given",
        str(tmp_path / "absent"): "does not exist",
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "empty"): "empty",  # the folder's name
        f"{tmp_path},{tmp_path}": "2 folders",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            kind(root=root).target()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", LISTS)
def test_pictures_that_a_list_names_and_the_copy_lacks_are_counted_and_the_first_named(
    kind: type[TargetSpec], tmp_path: Path
) -> None:
    spec = kind.tiny(tmp_path)
    train = [str(path) for path in map(spec.target().source.file_name, spec.target().divisions[0].train)]
    for path in train[1:3]:
        Path(path).unlink()
    with pytest.raises(UserError, match=r"lacks 2 of the \d+ pictures that .* names, the first '.*" + Path(train[1]).name):
        spec.target()
    for path in train:
        Path(path).unlink(missing_ok=True)
    with pytest.raises(UserError, match=rf"lacks {len(train)} of the"):
        spec.target()


@pytest.mark.parametrize("kind", [Indoor67, SUN397, CIFAR10, STL10])
def test_test_pictures_that_are_in_the_train_part_are_counted(kind: type[TargetSpec], tmp_path: Path) -> None:
    spec = kind.tiny(tmp_path)
    assert spec.target().duplicates == 0
    target = spec.target()
    first, last = int(target.divisions[0].train[0]), int(target.divisions[0].test[-1])
    if isinstance(target.source.pictures, np.ndarray):
        place = next(tmp_path.iterdir())
        if kind is STL10:
            train = (place / "train_X.bin").read_bytes()
            (place / "test_X.bin").write_bytes((place / "test_X.bin").read_bytes()[: -96 * 96 * 3] + train[: 96 * 96 * 3])
        else:
            shutil.copy(place / "data_batch_2", place / "test_batch")
    else:
        shutil.copy(target.source.file_name(first), target.source.file_name(last))
    again = spec.target()
    assert again.duplicates == (6 if kind is CIFAR10 else 1)
    assert f"{again.duplicates} test pictures are byte-identical" in again.note


# Lists


def test_lists_are_read_stripped_and_wrong_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a/b c.jpg 3\r\n\n  d.jpg\t-1  \n")
    assert read_lines(path) == ["a/b c.jpg 3", "d.jpg\t-1"]
    assert numbered_lines(path) == [("a/b c.jpg", 3), ("d.jpg", -1)]
    for content, words in {
        b"": "is empty",
        b"a.jpg": "the line 'a.jpg'",
        b"a.jpg x1": "the line",
        b"\xff\xfe": "cannot be read",
    }.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            numbered_lines(path)
    with pytest.raises(UserError, match="is missing"):
        read_lines(tmp_path / "absent.txt")


def test_missing_files_are_told_apart_by_folder(tmp_path: Path) -> None:
    for name in ("x/1", "y/2", "3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert missing(tmp_path, ["x/1", "y/1", "3", "z/3", "y/2", "1"]) == ["y/1", "z/3", "1"]


def test_a_picture_has_one_label_and_stands_in_one_part(tmp_path: Path) -> None:
    test = Listed(["t1", "t0"], [1, 0])

    def make(files: list[str], labels: list[int]) -> Target:
        return divided("Made up", tmp_path, Listed(files, labels), test, ["zero", "one"], "as listed")

    target = make(["b", "a", "b"], [0, 1, 0])
    assert list(target.source.recordings) == ["a", "b", "t0", "t1"]
    assert target.source.labels is not None
    assert target.source.labels.tolist() == [1, 0, 0, 1]
    for files, labels, words in (
        (["a", "a"], [0, 1], "'a' .* the labels 0 and 1"),
        (["a", "t1"], [0, 1], "1 pictures .* both training and test, the first 't1'"),
        (["a", "b"], [0, 2], "train part .* the label 2; accepted are 0 to 1"),
        (["a", "b"], [0, -1], "the label -1"),
        (["a", "b"], [0, 0], "no picture of 1 of the 2 classes, the first 'one'"),
    ):
        with pytest.raises(UserError, match=words):
            make(files, labels)
