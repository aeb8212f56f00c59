"""Picture files that are not what their suffix says, as Indoor-67 and ImageNet have them: RGB, or named as bad."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from embodied_ssl.datasets.indoor67 import Indoor67
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures


def _files() -> dict[str, bytes]:
    """The same picture in many forms, losslessly where the form allows it."""
    smooth = cv2.GaussianBlur(numbered(5), (0, 0), 3)
    picture = Image.fromarray(smooth)
    forms: dict[str, tuple[Image.Image, str]] = {
        "PNG": (picture, "PNG"),
        "palette PNG": (picture.quantize(64), "PNG"),
        "PNG with alpha": (picture.convert("RGBA"), "PNG"),
        "black and white PNG": (picture.convert("1"), "PNG"),
        "grey with alpha": (picture.convert("LA"), "PNG"),
        "grey JPEG": (picture.convert("L"), "JPEG"),
        "CMYK JPEG": (picture.convert("CMYK"), "JPEG"),
        "BMP": (picture, "BMP"),
        "TIFF": (picture, "TIFF"),
        "WebP": (picture, "WEBP"),
        "GIF": (picture.quantize(64), "GIF"),
    }
    files = {}
    for name, (image, kind) in forms.items():
        with io.BytesIO() as stream:
            image.save(stream, kind)
            files[name] = stream.getvalue()
    return {**files, "PNG with something after it": files["PNG"] + bytes(200)}


@pytest.mark.parametrize("form", sorted(_files()))
def test_every_form_of_picture_comes_out_as_rgb(form: str, tmp_path: Path) -> None:
    data = _files()[form]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    if form == "GIF" and not cv2.haveImageReader(str(path)):  # OpenCV before 4.11
        with pytest.raises(BadItem, match=r"picture\.jpg: not a picture that can be decoded"):
            decode(data, str(path))
        return
    pixels = decode(data, str(path))
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert("RGB"))
    assert pixels.shape == expected.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 2  # of 255: inverse transforms round differently


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    with io.BytesIO() as stream:
        Image.fromarray(grey).save(stream, "PNG")
        pixels = decode(stream.getvalue(), "deep.png")
    assert np.array_equal(pixels[..., 0], grey // 257)


@pytest.mark.parametrize("form", ["PNG", "GIF", "grey JPEG"])
def test_half_a_file_is_named_not_filled_with_grey(form: str) -> None:
    data = _files()[form]
    with pytest.raises(BadItem, match=r"half\.jpg"):
        decode(data[: len(data) // 2], "half.jpg")


def test_one_bad_file_among_good_ones_is_left_out_and_named(tmp_path: Path) -> None:
    spec = Indoor67.tiny(tmp_path)
    (tmp_path / "Images" / "bakery" / "int1.jpg").write_bytes(_files()["CMYK JPEG"])
    (tmp_path / "Images" / "bakery" / "int2.jpg").write_text("<html>404 Not Found</html>")
    target = spec.target()
    read = read_pictures(target.source, Preprocessing(8, 8))
    assert [Path(item.name).name for item in read.bad] == ["int2.jpg"]
    assert len(read) == len(target.source) - 1
    assert len(read.find(target.divisions[0].train)) == len(target.divisions[0].train) - 1
