"""Data sets of objects: the pixels and labels of torchvision's readers, published parts, and pickles that are never run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets

from embodied_ssl.datasets import imagenet
from embodied_ssl.datasets.cifar import CIFAR10, CIFAR100
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.datasets.io.plain_pickle import read_plain
from embodied_ssl.datasets.stl10 import STL10
from embodied_ssl.datasets.target import Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.targets import open_target

RowsOf = tuple[Any, Any]


@pytest.fixture(autouse=True)
def _sums_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision knows the check sums of the full files only."""
    for module in (torchvision.datasets.cifar, torchvision.datasets.stl10):
        monkeypatch.setattr(module, "check_integrity", lambda *_: True)


def part(target: Target, rows: np.ndarray) -> RowsOf:
    assert isinstance(target.source.pictures, np.ndarray)
    assert target.source.labels is not None
    return target.source.pictures[rows], target.source.labels[rows].tolist()


# CIFAR


@pytest.mark.parametrize(("kind", "theirs"), [(CIFAR10, torchvision.datasets.CIFAR10), (CIFAR100, torchvision.datasets.CIFAR100)])
def test_cifar_is_torchvision_s(kind: type[CIFAR10 | CIFAR100], theirs: Callable[..., Any], tmp_path: Path) -> None:
    target = kind.tiny(tmp_path).target()
    for rows, train in zip(target.divisions[0], (True, False), strict=True):
        expected = theirs(tmp_path, train=train)
        pictures, labels = part(target, rows)
        assert np.array_equal(pictures, expected.data)
        assert labels == expected.targets
        assert list(target.classes) == expected.classes
    inner = next(tmp_path.iterdir())
    assert np.array_equal(open_target(str(inner)).source.pictures, target.source.pictures)


def python_2(pictures: np.ndarray, labels: list[int]) -> bytes:
    """A batch byte by byte as Python 2 and the numpy of its time wrote it: short strings, and an array's bytes as a string."""
    data = np.ascontiguousarray(pictures, np.uint8).tobytes()
    shape = b"".join(b"M" + number.to_bytes(2, "little") for number in pictures.shape)
    return b"".join(
        (
            b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(",
            b"".join(b"K" + bytes([label]) for label in labels),
            b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01",
            shape,
            b"\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T",
            len(data).to_bytes(4, "little"),
            data,
            b"tbu.",
        )
    )


def test_a_batch_of_python_2_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    data = python_2(pixels, [2, 0, 1])
    expected = pickle.loads(data, encoding="latin1")
    (tmp_path / "batch").write_bytes(data)
    found = read_plain(tmp_path / "batch")
    assert np.array_equal(found["data"], expected["data"])
    assert np.array_equal(found["data"], pixels)
    assert found["data"].dtype == np.uint8
    assert {key: value for key, value in found.items() if key != "data"} == {
        key: value for key, value in expected.items() if key != "data"
    }
    spec = CIFAR10.tiny(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(data)
    assert part(spec.target(), np.arange(3))[1] == [2, 0, 1]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_protocol_and_order(protocol: int, order: Any, tmp_path: Path) -> None:
    array = np.asarray(np.arange(30, dtype=np.uint8).reshape(5, 6), order=order)
    (tmp_path / "p").write_bytes(pickle.dumps({"data": array, "names": ["a"], "n": 3}, protocol=protocol))
    found = read_plain(tmp_path / "p")
    assert np.array_equal(found["data"], array)
    assert (found["names"], found["n"]) == (["a"], 3)


class _Runs:
    """What an attacker would pickle: opening it with `pickle.load` makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    attack = pickle.dumps({"data": _Runs(trace)}, protocol=2)
    (tmp_path / "p").write_bytes(attack)
    with pytest.raises(UserError, match=r"asks for \w+\.mkdir, which plain data never need\); nothing in it was run"):
        read_plain(tmp_path / "p")
    assert not trace.exists()
    pickle.loads(attack)
    assert trace.exists()  # it would have


@pytest.mark.parametrize(
    "attack",
    [
        b"\x80\x02cos\nsystem\nU\x04trueR.",
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x02cnumpy\nfromfile\nU\x01x\x85R.",
        b"\x80\x02cnumpy\nndarray\nM\xff\xff\x85R.",  # an array of any size
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x04rot1\x86R.",  # a codec is a module to import
        b"\x80\x02c_codecs\nencode\n}X\x07\x00\x00\x00__doc__X\x01\x00\x00\x00xs\x86b.",  # sets what would outlast the file
        b"\x80\x02cnumpy\ndtype\nN}X\x07\x00\x00\x00__doc__X\x01\x00\x00\x00xs\x86b.",
        b"\x80\x02P1\n.",  # something kept elsewhere
        b"\x80\x02]q\x00.",  # no dictionary
        b"\x80\x02}U\x04dataX\x02\x00\x00\x00ok",  # cut short
        b"",
        b"\x89PNG",
    ],
)
def test_pickles_of_anything_but_plain_data_are_refused(attack: bytes, tmp_path: Path) -> None:
    from embodied_ssl.datasets.io import plain_pickle

    before = [(name, vars(stub).copy()) for name, stub in vars(plain_pickle).items() if isinstance(stub, type)]
    (tmp_path / "p").write_bytes(attack)
    with pytest.raises(UserError, match="is not a pickle of plain values") as caught:
        read_plain(tmp_path / "p")
    assert "\n" not in str(caught.value)
    assert [(name, vars(stub).copy()) for name, stub in vars(plain_pickle).items() if isinstance(stub, type)] == before


def test_arrays_of_other_numbers_are_refused(tmp_path: Path) -> None:
    for array in (np.arange(3.0), np.array([None, "x"], object), np.arange(3, dtype=np.int8)):
        (tmp_path / "p").write_bytes(pickle.dumps({"data": array}, protocol=2))
        with pytest.raises(UserError, match="other than bytes"):
            read_plain(tmp_path / "p")


def rewrite(path: Path, **changes: Any) -> None:
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **changes}, protocol=2))


def test_cifar_refuses_what_is_missing_damaged_or_out_of_range(tmp_path: Path) -> None:
    spec = CIFAR10.tiny(tmp_path)
    place = tmp_path / "cifar-10-batches-py"
    batch = place / "data_batch_4"
    whole = batch.read_bytes()
    for changes, words in (
        ({"labels": [0, 1, 2, 0, 1, 3]}, "train part .* has the label 3; accepted are 0 to 2"),
        ({"labels": [0, 1, 2]}, "data_batch_4' has no whole number 'labels' for each of its 6 pictures"),
        ({"labels": [0.5] * 6}, "no whole number 'labels'"),
        ({"data": np.zeros((6, 3071), np.uint8)}, "no 'data' of 3072 bytes a picture"),
        ({"data": "none"}, "no 'data' of 3072 bytes"),
    ):
        rewrite(batch, **changes)
        with pytest.raises(UserError, match=words):
            spec.target()
        batch.write_bytes(whole)
    batch.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"data_batch_4' is not a pickle of plain values"):
        spec.target()
    batch.unlink()
    (place / "batches.meta").unlink()
    with pytest.raises(UserError, match=r"lacks 2 of the 7 files of CIFAR-10's Python version: batches.meta, data_batch_4"):
        spec.target()


def test_cifar_test_part_must_hold_every_class(tmp_path: Path) -> None:
    spec = CIFAR100.tiny(tmp_path)
    rewrite(tmp_path / "cifar-100-python" / "test", fine_labels=[0, 1, 0, 1, 0, 1])
    with pytest.raises(UserError, match=r"test part .* no picture of 1 of the 3 classes, the first 'baby'"):
        spec.target()
    rewrite(tmp_path / "cifar-100-python" / "meta", fine_label_names=None)
    with pytest.raises(UserError, match="no list of names 'fine_label_names'"):
        spec.target()


# STL-10


def test_stl10_is_torchvision_s(tmp_path: Path) -> None:
    spec = STL10.tiny(tmp_path)
    target = spec.target()
    for rows, split in zip(target.divisions[0], ("train", "test"), strict=True):
        expected = torchvision.datasets.STL10(tmp_path, split=split)
        pictures, labels = part(target, rows)
        assert np.array_equal(pictures, expected.data.transpose(0, 2, 3, 1))
        assert labels == expected.labels.tolist()
        assert list(target.classes) == expected.classes
    folded = replace(spec, folds=10).target()
    assert len(folded.divisions) == 10
    for number, (train, test) in enumerate(folded.divisions):
        expected = torchvision.datasets.STL10(tmp_path, split="train", folds=number)
        pictures, labels = part(folded, train)
        listed = {
            picture.transpose(1, 2, 0).tobytes(): label for picture, label in zip(expected.data, expected.labels, strict=True)
        }
        assert {picture.tobytes(): label for picture, label in zip(pictures, labels, strict=True)} == listed
        assert len(train) == len(listed) == 6
        assert np.array_equal(test, target.divisions[0].test)
    assert len(replace(spec, folds=3).target().divisions) == 3
    assert "folds 1 to 3 of the published 10" in replace(spec, folds=3).target().note


def test_stl10_refuses_what_is_missing_damaged_or_out_of_range(tmp_path: Path) -> None:
    spec = STL10.tiny(tmp_path)
    place = tmp_path / "stl10_binary"
    for name, damage, words in (
        ("train_X.bin", lambda data: data[:-1], "is no whole number of pictures of 27648"),
        ("train_X.bin", lambda data: data[:-27648], "train_y.bin' has 12 labels for 11 pictures"),
        ("test_y.bin", lambda data: b"\0" + data[1:], "labels from 0 to 3; accepted are 1 to 3"),
        ("test_y.bin", lambda data: b"\4" + data[1:], "labels from 1 to 4; accepted are 1 to 3"),
        ("test_X.bin", lambda data: b"", "has 0 bytes"),
        ("fold_indices.txt", lambda data: data.replace(b"11", b"12"), "fold 7 in .* not among 0 to 11"),
        ("fold_indices.txt", lambda data: data.replace(b"0 1 2", b"0 1 1"), "fold 1 in .* names a picture twice"),
        ("fold_indices.txt", lambda data: data[:40], r"has \d of the 10 folds, but folds=10"),
    ):
        whole = (place / name).read_bytes()
        (place / name).write_bytes(damage(whole))
        with pytest.raises(UserError, match=words):
            replace(spec, folds=10).target()
        (place / name).write_bytes(whole)
    for folds in (-1, 11):
        with pytest.raises(UserError, match=rf"folds={folds}; accepted are 1 to 10, or 0"):
            replace(spec, folds=folds).target()
    (place / "fold_indices.txt").unlink()
    assert len(spec.target().train) == 12  # needed only when asked for
    (place / "test_y.bin").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 5 files of STL-10's binary version: test_y.bin"):
        spec.target()


# ImageNet


def flatten(root: Path, table: Path) -> None:
    """Validation pictures in one folder, and Kaggle's table of their classes."""
    lines = ["ImageId,PredictionString\n"]
    for path in sorted((root / "val").glob("*/*.JPEG")):
        lines.append(f"{path.stem},{path.parent.name} 85 1 499 272 {path.parent.name} 3 4 5 6 \n")
        path.rename(root / "val" / path.name)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    table.write_text("".join(lines))


def test_imagenet_is_torchvision_s(tmp_path: Path) -> None:
    target = ImageNetFolder.tiny(tmp_path).target()
    assert target.name == "ImageNet-3"
    for rows, name in zip(target.divisions[0], ("train", "val"), strict=True):
        theirs = torchvision.datasets.ImageFolder(tmp_path / name)
        assert list(target.classes) == theirs.classes
        assert target.source.labels is not None
        assert [(target.source.file_name(row), int(target.source.labels[row])) for row in rows] == theirs.imgs


def test_imagenet_flat_validation_pictures_are_labelled_by_the_table(tmp_path: Path) -> None:
    spec = ImageNetFolder.tiny(tmp_path)
    nested = spec.target()
    flatten(tmp_path, tmp_path / "LOC_val_solution.csv")
    flat = spec.target()
    answers = [
        {Path(t.source.file_name(row)).name: t.classes[t.source.labels[row]] for row in t.divisions[0].test}  # type: ignore[index]
        for t in (nested, flat)
    ]
    assert answers[0] == answers[1]
    gone = sorted((tmp_path / "val").glob("*.JPEG"))[2]
    gone.unlink()
    with pytest.raises(UserError, match=rf"lacks 1 of the 6 pictures that LOC_val_solution.csv names, the first '{gone.stem}'"):
        spec.target()
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000000;n01440764\n")
    with pytest.raises(UserError, match="has the line 'ILSVRC2012_val_00000000;n01440764'"):
        spec.target()
    (tmp_path / "LOC_val_solution.csv").unlink()
    with pytest.raises(UserError, match=r"no class folders, and there is no LOC_val_solution.csv"):
        spec.target()


def test_imagenet_as_kaggle_packs_it(tmp_path: Path) -> None:
    inner = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    expected = ImageNetFolder.tiny(inner).target()
    (inner / "imagenet_subsets").rename(tmp_path / "imagenet_subsets")
    flatten(inner, tmp_path / "LOC_val_solution.csv")
    target = open_target(str(tmp_path))
    assert target.name == "ImageNet-3"
    assert np.array_equal(target.source.labels, expected.source.labels)  # type: ignore[arg-type]
    assert target.subsets["10 %"].tolist() == expected.subsets["10 %"].tolist()


def test_imagenet_subsets_are_the_listed_training_pictures(tmp_path: Path) -> None:
    spec = ImageNetFolder.tiny(tmp_path)
    target = spec.target()
    assert list(target.subsets) == ["10 %"]
    listed = (tmp_path / "imagenet_subsets" / "10percent.txt").read_text().split()
    assert {Path(target.source.recordings[row]).name for row in target.subsets["10 %"]} == set(listed)
    one = tmp_path / "1percent.txt"  # beside train/ serves too; other classes' lines are passed over
    one.write_text("n01440764_3.JPEG\nn00000001_5.JPEG\n")
    target = spec.target()
    assert list(target.subsets) == ["1 %", "10 %"]
    assert [target.source.recordings[row] for row in target.subsets["1 %"]] == ["train/n01440764/n01440764_3.JPEG"]
    one.write_text("n01440764_3.JPEG\nn01440764_10026.JPEG\n")
    with pytest.raises(
        UserError, match=r"lacks 1 of the 2 pictures that '.*1percent.txt' names, the first 'n01440764_10026.JPEG'"
    ):
        spec.target()
    one.write_text("n00000001_5.JPEG\n")
    with pytest.raises(UserError, match=r"1percent.txt' names no picture of the classes in train/"):
        spec.target()
    shutil.rmtree(tmp_path / "imagenet_subsets")
    one.unlink()
    assert spec.target().subsets == {}


def test_imagenet_parts_must_hold_the_same_classes(tmp_path: Path) -> None:
    spec = ImageNetFolder.tiny(tmp_path)
    shutil.move(tmp_path / "train" / "n15075141", tmp_path / "aside")
    with pytest.raises(UserError, match="1 classes in val/ that train/ lacks, the first 'n15075141'"):
        spec.target()
    shutil.move(tmp_path / "aside", tmp_path / "train" / "n15075141")
    shutil.rmtree(tmp_path / "val" / "n02119789")
    with pytest.raises(UserError, match=r"test part .* no picture of 1 of the 3 classes, the first 'n02119789'"):
        spec.target()


def test_imagenet_of_all_classes_must_hold_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ImageNetFolder.tiny(tmp_path)
    next((tmp_path / "train" / "n02119789").iterdir()).unlink()
    assert len(spec.target().train) == 29  # of fewer classes nobody can say how many there should be
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    with pytest.raises(UserError, match=r"lacks 1281138 of the 1281167 .* of train/; the class with fewest is 'n02119789' \(9\)"):
        spec.target()
    monkeypatch.setattr(imagenet, "TRAIN", 29)
    with pytest.raises(UserError, match=r"lacks 49994 of the 50000 pictures of val/"):
        spec.target()
    monkeypatch.setattr(imagenet, "VAL", 6)
    assert spec.target().name == "ImageNet"


def test_a_folder_of_other_names_is_not_imagenet(tmp_path: Path) -> None:
    for name in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.JPEG").touch()
    assert not ImageNetFolder.recognises(tmp_path)
    with pytest.raises(UserError, match="no class folders train/n00000000"):
        ImageNetFolder(str(tmp_path)).target()
