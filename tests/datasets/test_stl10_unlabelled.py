"""STL-10 without labels: the same pictures as torchvision's reader gives, and copies that are cut short refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision

from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.stl10 import VALUES
from embodied_ssl.datasets.stl10_unlabelled import FILE, STL10Unlabelled
from embodied_ssl.errors import BadItem, UserError


def test_pictures_are_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = STL10Unlabelled.tiny(tmp_path).open()
    data, _ = torchvision.datasets.STL10._STL10__loadfile(  # type: ignore[attr-defined]
        type("Folder", (), {"root": str(tmp_path), "base_folder": "stl10_binary"}), FILE
    )
    assert len(source) == len(data) == 24
    for index in (0, 7, 23):
        pixels = source[index]["picture"].take((0, 0, 96, 96), (96, 96))
        assert np.array_equal(pixels, data[index].transpose(1, 2, 0))
        assert number_shown(pixels) == index


def test_splits_share_no_picture(tmp_path: Path) -> None:
    spec = STL10Unlabelled.tiny(tmp_path)
    train, out = (set(spec.open(split).recordings) for split in ("train", "held_out"))
    assert not train & out
    assert len(train | out) == 24


def test_the_folder_itself_may_be_given(tmp_path: Path) -> None:
    STL10Unlabelled.tiny(tmp_path)
    assert len(STL10Unlabelled(str(tmp_path / "stl10_binary")).open()) == 24


def test_what_is_missing_or_cut_short_is_refused(tmp_path: Path) -> None:
    spec = STL10Unlabelled.tiny(tmp_path)
    path = tmp_path / "stl10_binary" / FILE
    source = spec.open()
    path.write_bytes(path.read_bytes()[: 5 * VALUES])
    with pytest.raises(BadItem, match="picture 23: the file has become shorter"):
        source[23]["picture"].take((0, 0, 96, 96), (8, 8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="no whole number of pictures of 27648"):
        spec.open()
    path.unlink()
    with pytest.raises(UserError, match=r"lacks unlabeled_X\.bin"):
        spec.open()
