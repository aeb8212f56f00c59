"""Readers of boxes, masks and depth: the layouts as published, held to torchvision's readers and to the files themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from embodied_ssl.datasets.coco import Coco
from embodied_ssl.datasets.mask_folders import CAMVID, MaskFolders
from embodied_ssl.datasets.nyu_depth import MAT, SPLITS, NyuDepth, tiny_view
from embodied_ssl.datasets.target import IGNORED, Target, TargetSpec
from embodied_ssl.datasets.voc import CLASSES, Voc
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.targets import open_target

READERS: list[type[TargetSpec]] = [Voc, Coco, MaskFolders, NyuDepth]


def whole(target: Target, answer: str, row: int) -> np.ndarray:
    plane = target.source[row][answer]
    return plane.take((0, 0, *plane.size), plane.size)  # type: ignore[no-any-return]


# What all of them promise


@pytest.mark.parametrize("kind", READERS)
def test_tiny_is_recognised_opened_by_path_and_sorted(kind: type[TargetSpec], tmp_path: Path) -> None:
    spec = kind.tiny(tmp_path / "new")
    target = open_target(str(tmp_path / "new"))
    assert [other for other in READERS if other.recognises(tmp_path / "new")] == [kind]
    assert not kind.recognises(tmp_path)
    assert kind.protocol
    for part in target.divisions[0]:
        names = [target.source.file_name(int(row)) for row in part]
        assert names == sorted(names)
    assert not set(target.divisions[0].train) & set(target.divisions[0].test)
    assert len(target.train) + len(target.test) == len(target.source)
    assert target.duplicates == 0
    assert spec.target().source.recordings == target.source.recordings


@pytest.mark.parametrize("kind", READERS)
def test_an_empty_folder_is_refused_with_what_is_accepted(kind: type[TargetSpec], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="accepted") as caught:
        kind(str(tmp_path)).target()
    assert "\n" not in str(caught.value)


def remove(name: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        (root / name).unlink()

    return act


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        (Voc, remove("VOCdevkit/VOC2007/JPEGImages/000007.jpg"), r"1 of 8 pictures are missing from '.*JPEGImages': 000007"),
        (Voc, remove("VOCdevkit/VOC2007/Annotations/000002.xml"), r"1 of 8 annotations are missing from '.*Annotations': 000002"),
        (Voc, lambda root: (root / "VOCdevkit/VOC2012/Annotations").mkdir(parents=True), r"VOC2007, VOC2012; give the folder of"),
        (Coco, remove("val2017/000000000003.jpg"), r"1 of 4 pictures of instances_val2017.json are missing from '.*val2017'"),
        (Coco, lambda root: (root / "annotations/instances_val2017.json").write_text('{"images": 3'), "is not a COCO annotation"),
        (Coco, lambda root: (root / "annotations/instances_val2014.json").write_text("{}"), "keep one for train and one for val"),
        (MaskFolders, remove("testannot/Seq05VD_000001.png"), r"1 of 4 files are missing from '.*testannot': Seq05VD_000001"),
        (MaskFolders, remove("train/0001TP_000001.png"), r"1 of 8 files are missing from '.*train': 0001TP_000001"),
        (NyuDepth, remove("test/kitchen/sync_depth_00002.png"), r"1 of 6 depth pictures are missing .*kitchen/sync_depth_00002"),
        (NyuDepth, lambda root: (root / "test").rename(root / "elsewhere"), r"holds no rgb_\*.jpg"),
        (NyuDepth, lambda root: (root / MAT).touch(), r"1 of 2 files are missing from '.*': splits.mat"),
    ],
)
def test_an_incomplete_copy_is_refused_with_what_is_missing(
    kind: type[TargetSpec], spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    spec = kind.tiny(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        spec.target()
    assert "\n" not in str(caught.value)


# Pascal VOC


def test_voc_boxes_are_torchvisions_with_corners_counted_from_zero(tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection

    Voc.tiny(tmp_path)
    target = open_target(str(tmp_path))
    assert target.classes == CLASSES
    for part, rows in (("trainval", target.divisions[0].train), ("test", target.divisions[0].test)):
        theirs = VOCDetection(str(tmp_path), "2007", part)
        assert len(theirs) == len(rows) == 4
        for row, (picture, answer) in zip(rows, theirs, strict=True):
            sample = target.source[int(row)]
            thing = answer["annotation"]["object"][0]
            box = {side: int(value) for side, value in thing["bndbox"].items()}
            expected = [box["xmin"] - 1, box["ymin"] - 1, box["xmax"], box["ymax"]]
            assert sample["boxes"].corners.tolist() == [expected]
            assert [CLASSES[label] for label in sample["boxes"].labels] == [thing["name"]]
            assert sample["boxes"].difficult.tolist() == [thing["difficult"] == "1"]
            assert sample["picture"].size == picture.size[::-1]
            inside = tuple(slice(int(low), int(high)) for low, high in ((expected[1], expected[3]), (expected[0], expected[2])))
            colour = np.asarray(picture)[..., 2 * (row % 2)].astype(float)  # the thing was drawn brighter, exactly inside its box
            assert colour[inside].mean() > 100 + np.delete(colour, np.arange(expected[1], expected[3]), axis=0).mean()


def test_voc_tags_are_what_its_class_lists_say(tmp_path: Path) -> None:
    target = Voc.tiny(tmp_path).target()
    means = {1: 1, 0: -1, -1: 0}  # VOC writes 0 for difficult ones only, and -1 for none
    seen = set()
    for kind in ("cat", "dog"):
        for part, rows in (("trainval", target.divisions[0].train), ("test", target.divisions[0].test)):
            lines = (tmp_path / f"VOCdevkit/VOC2007/ImageSets/Main/{kind}_{part}.txt").read_text().split("\n")[:-1]
            listed = dict(line.split() for line in lines)
            for row in rows:
                expected = means[int(listed[target.source.recordings[row]])]
                assert target.source[int(row)]["tags"][CLASSES.index(kind)] == expected
                seen.add(expected)
    assert seen == {1, 0, -1}


def test_voc_masks_are_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import VOCSegmentation

    Voc.tiny(tmp_path)
    target = Voc(str(tmp_path), segmentation=True).target()
    assert target.answers == ("mask",)
    assert target.classes == ("background", *CLASSES)
    for part, rows in (("trainval", target.divisions[0].train), ("test", target.divisions[0].test)):
        theirs = VOCSegmentation(str(tmp_path), "2007", part)
        assert len(theirs) == len(rows) == 2
        for row, (_, mask) in zip(rows, theirs, strict=True):
            values = whole(target, "mask", int(row))
            assert np.array_equal(values, np.asarray(mask))
            assert set(np.unique(values)) == {0, 1 + CLASSES.index(("cat", "dog")[row % 2]), IGNORED}  # 1, 4, 5, 8


def test_without_a_test_list_voc_takes_val_and_without_lists_a_fixed_share(tmp_path: Path) -> None:
    spec = Voc.tiny(tmp_path)
    lists = tmp_path / "VOCdevkit/VOC2007/ImageSets"
    (lists / "Main/test.txt").unlink()
    target = spec.target()
    assert target.note == "Main lists train and val"
    assert [target.source.recordings[row] for row in target.divisions[0].test] == ["000003", "000004"]
    (lists / "Main").rename(lists / "Other")
    target = spec.target()
    assert (len(target.train), len(target.test)) == (5, 3)
    assert "30% of the pictures" in target.note
    assert target.classes == ("cat", "dog")  # not known to be VOC's own twenty
    (lists / "Segmentation/test.txt").unlink()
    (lists / "Segmentation/val.txt").unlink()
    with pytest.raises(UserError, match=r"lacks trainval.txt with test.txt"):
        Voc(str(tmp_path), segmentation=True).target()


def test_an_unreadable_annotation_is_left_out_and_named(tmp_path: Path) -> None:
    spec = Voc.tiny(tmp_path)
    folder = tmp_path / "VOCdevkit/VOC2007/Annotations"
    (folder / "000002.xml").write_text("<annotation>")
    text = (folder / "000006.xml").read_text()
    (folder / "000006.xml").write_text(text.replace("<xmax>30</xmax>", "<xmax>9</xmax>"))
    target = spec.target()
    assert [Path(item.name).stem for item in target.source.bad] == ["000002", "000006"]
    assert "without area" in target.source.bad[1].reason
    assert (len(target.train), len(target.test)) == (3, 3)
    assert target.source.recordings == ("000001", "000003", "000004", "000005", "000007", "000008")


@pytest.mark.data
def test_raccoons_are_read_as_they_lie(data_root: Path) -> None:
    target = open_target(str(data_root / "raccoon_voc"))
    assert target.classes == ("raccoon",)
    assert (len(target.train), len(target.test)) == (79, 34)
    for sample in (target.source[row] for row in range(0, len(target.source), 10)):
        height, width = sample["picture"].size
        corners = sample["boxes"].corners
        assert (corners[:, :2] >= 0).all()
        assert (corners[:, 2:] <= [width, height]).all()


# COCO


def test_coco_boxes_are_torchvisions_or_the_files_own(tmp_path: Path) -> None:
    target = Coco.tiny(tmp_path).target()
    assert target.classes == ("car", "dog")  # ids 3 and 18
    row = 0
    for part in ("train2017", "val2017"):
        content = json.loads((tmp_path / f"annotations/instances_{part}.json").read_text())
        for entry in sorted(content["images"], key=lambda entry: entry["file_name"]):
            own = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
            boxes = target.source[row]["boxes"]
            expected = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in own)]
            assert boxes.corners.tolist() == expected
            assert boxes.labels.tolist() == [{3: 0, 18: 1}[a["category_id"]] for a in own]
            assert boxes.difficult.tolist() == [a["iscrowd"] == 1 for a in own]
            assert Path(target.source.file_name(row)) == tmp_path / part / entry["file_name"]
            row += 1
    assert row == len(target.source) == 10


def test_coco_tags_follow_from_boxes_and_empty_pictures_stay(tmp_path: Path) -> None:
    target = Coco.tiny(tmp_path).target()
    tags = np.asarray([target.source[row]["tags"] for row in range(3)])
    assert tags.tolist() == [[0, 0], [1, 0], [-1, 1]]  # nothing; a car; a dog beside a crowd of cars
    assert target.source[0]["boxes"].corners.shape == (0, 4)


def test_a_single_coco_file_is_divided_and_a_flat_box_named(tmp_path: Path) -> None:
    spec = Coco.tiny(tmp_path)
    (tmp_path / "annotations/instances_val2017.json").unlink()
    path = tmp_path / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    (tmp_path / "train2017").rename(tmp_path / "images" / "train2017")
    target = spec.target()
    assert (len(target.train), len(target.test)) == (4, 2)
    assert "30%" in target.note
    assert [str(item) for item in target.source.bad] == [f"{path}, annotation 0: has a box without area"]


@pytest.mark.data
def test_coco128_has_string_ids_and_agrees_with_voc_xml_to_a_pixel(data_root: Path) -> None:
    root = data_root / "coco128"
    target = open_target(str(root))
    assert (len(target.source), len(target.train), len(target.test), len(target.classes)) == (86, 60, 26, 80)
    assert target.classes[0] == "person"
    labels = {line.split()[0] for line in (root / "labels/train2017/000000000009.txt").read_text().splitlines()}
    assert {str(label) for label in target.source[0]["boxes"].labels} == labels
    twin = Voc(str(root), pictures="images/train2017", annotations="Annotations_voc").target()
    theirs = {name: twin.source[row]["boxes"] for row, name in enumerate(twin.source.recordings)}
    count = 0
    for row in range(len(target.source)):
        ours = target.source[row]["boxes"]
        other = theirs[Path(target.source.file_name(row)).stem]
        assert [target.classes[label] for label in ours.labels] == [twin.classes[label] for label in other.labels]
        assert np.abs(ours.corners - other.corners).max(initial=0) <= 1
        count += len(ours.labels)
    assert count == 678


# Masks in folders


def test_camvid_is_known_by_its_drives_and_unlabelled_counts_for_nothing(tmp_path: Path) -> None:
    target = MaskFolders.tiny(tmp_path).target()
    assert target.classes == CAMVID
    assert [target.source.recordings[row] for row in target.divisions[0].test] == ["Seq05VD"] * 4
    stored = np.asarray(Image.open(tmp_path / "trainannot/0001TP_000000.png"))
    assert np.array_equal(whole(target, "mask", 0), np.where(stored == 11, IGNORED, stored))
    assert (stored == 11).sum() == 64


def test_without_a_test_folder_val_serves_and_the_note_says_so(tmp_path: Path) -> None:
    spec = MaskFolders.tiny(tmp_path)
    for name in ("test", "testannot"):
        (tmp_path / name).rename(tmp_path / f"not {name}")
    target = spec.target()
    assert "val/, there being no test/" in target.note
    assert {target.source.recordings[row] for row in target.divisions[0].test} == {"0016E5"}


def test_images_with_masks_are_divided_by_recording(tmp_path: Path) -> None:
    for drive in range(4):
        for frame in range(3):
            for place, value in (("images", 90), ("masks", drive % 3)):
                (tmp_path / place).mkdir(exist_ok=True)
                cv2.imwrite(str(tmp_path / place / f"walk{drive}a_{frame:03d}.png"), np.full((6, 8), value, np.uint8))
    target = open_target(str(tmp_path))
    assert target.classes == ("class 0", "class 1", "class 2")
    assert not set(target.train.recordings) & set(target.test.recordings)
    assert len(target.test) == 6
    assert "recordings, told by file name" in target.note
    assert MaskFolders(str(tmp_path), ("a", "b"), ignored=2).target().source[6]["mask"].values.tolist() == [[IGNORED] * 8] * 6


@pytest.mark.data
def test_camvid_as_it_lies(data_root: Path) -> None:
    target = open_target(str(data_root / "camvid"))
    assert (len(target.train), len(target.test)) == (367, 101)
    assert target.note == "split as given in train/ and val/, there being no test/; both parts have frames of 0016E5"
    mask = whole(target, "mask", 0)
    assert mask.shape == target.source[0]["picture"].size == (240, 320)
    road = mask[-40:, 120:200]  # a car's camera looks along the road; the rest is a car ahead
    assert (road[road != IGNORED] == CAMVID.index("road")).mean() > 0.8
    assert np.bincount(mask[:20].ravel()).argmax() in (CAMVID.index("sky"), CAMVID.index("building"), CAMVID.index("tree"))


# NYU Depth


def test_unpacked_nyu_gives_metres_and_recordings_that_train_and_test_do_not_share(tmp_path: Path) -> None:
    spec = NyuDepth.tiny(tmp_path / "official_splits")
    target = NyuDepth(str(tmp_path)).target()  # from the folder around it, too
    assert len(spec.target().source) == len(target.source) == 18
    assert target.source.recordings[0] == "train/bathroom"
    assert not set(target.train.recordings) & set(target.test.recordings)
    assert "12 and 6 pictures (the official split has 795 and 654)" in target.note
    assert np.abs(whole(target, "depth", 0) - tiny_view("train bathroom", 0)[1]).max() <= 0.5e-3 + 1e-6


def test_depth_of_eight_bits_is_no_depth(tmp_path: Path) -> None:
    target = NyuDepth.tiny(tmp_path).target()
    cv2.imwrite(str(tmp_path / "train/bathroom/sync_depth_00000.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(BadItem, match="16 bits of millimetres"):
        whole(target, "depth", 0)


def write_mat(folder: Path, train: list[int], test: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Files with MATLAB's order of axes, as the published ones have it."""
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    views = [tiny_view("mat", number) for number in range(5)]
    with h5py.File(folder / MAT, "w") as file:
        file["images"] = np.stack([pixels.transpose(2, 1, 0) for pixels, _ in views])
        file["depths"] = np.stack([metres.T for _, metres in views])
        file["rawDepths"] = np.stack([2 * metres.T for _, metres in views])
        references = []
        for number in range(5):
            file[f"scene{number}"] = np.asarray([[ord(letter)] for letter in f"kitchen_{number // 2:04d}"], np.uint16)
            references.append(file[f"scene{number}"].ref)
        file.create_dataset("scenes", data=np.asarray([references], object), dtype=h5py.ref_dtype)
    columns = {"trainNdxs": np.asarray(train)[:, None], "testNdxs": np.asarray(test)[:, None]}
    savemat(folder / SPLITS, columns)
    return views


def test_the_published_mat_files_are_read_picture_by_picture(tmp_path: Path) -> None:
    views = write_mat(tmp_path, [1, 2, 5], [3, 4])
    target = open_target(str(tmp_path))
    assert target.divisions[0].train.tolist() == [0, 1, 4]
    assert target.divisions[0].test.tolist() == [2, 3]
    assert target.source.recordings == ("kitchen_0000", "kitchen_0000", "kitchen_0001", "kitchen_0001", "kitchen_0002")
    for row, (pixels, metres) in enumerate(views):
        sample = target.source[row]
        assert np.array_equal(sample["picture"].take((0, 0, 48, 64), (48, 64)), pixels)
        assert np.array_equal(sample["depth"].take((0, 0, 48, 64), (48, 64)), metres)
    raw = NyuDepth(str(tmp_path), raw=True).target()
    assert np.array_equal(whole(raw, "depth", 3), 2 * views[3][1])


def test_a_split_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path, [1, 2], [3, 4])
    with pytest.raises(UserError, match="puts 2 pictures in train and 2 in test, of 5"):
        NyuDepth(str(tmp_path)).target()


def test_a_mat_file_cut_short_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path, [1, 2, 5], [3, 4])
    data = (tmp_path / MAT).read_bytes()
    (tmp_path / MAT).write_bytes(data[: len(data) // 3])
    with pytest.raises(UserError, match="copy it anew"):
        NyuDepth(str(tmp_path)).target()


def test_without_h5py_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def absent(name: str) -> None:
        raise ImportError(name)

    (tmp_path / MAT).touch()
    (tmp_path / SPLITS).touch()
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match="pip install h5py"):
        NyuDepth(str(tmp_path)).target()


def test_voc_xml_is_read_as_an_independent_parse_has_it(tmp_path: Path) -> None:
    """A person's parts have names and boxes too; they are not things of their own."""
    spec = Voc.tiny(tmp_path)
    path = tmp_path / "VOCdevkit/VOC2007/Annotations/000001.xml"
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    path.write_text(path.read_text().replace("</object>", f"{part}</object>"))
    assert len(list(ElementTree.parse(path).iter("bndbox"))) == 2
    assert spec.target().source[0]["boxes"].corners.tolist() == [[0, 0, 20, 16]]
