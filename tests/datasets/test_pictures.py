"""Picture files that are not what their suffix says, as Indoor-67 and ImageNet have them: RGB, or named as bad."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny_runs import tiny_run

from embodied_ssl.datasets.indoor67 import Indoor67
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.files import read_lines
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain


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


# What people's folders hold besides ordinary photographs


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_turned_pictures_come_out_upright(kind: str, turn: int) -> None:
    """All eight ways of holding a camera, against Pillow."""
    note = Image.Exif()
    note[0x0112] = turn  # Orientation
    smooth = Image.fromarray(cv2.GaussianBlur(numbered(5), (0, 0), 3))
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = _saved(smooth, kind, exif=note, **options)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    pixels = decode(data, "turned")
    assert pixels.shape == expected.shape == ((48, 64, 3) if turn < 5 else (64, 48, 3))
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".tiff", 1), (".tiff", 3), (".ppm", 3)])
def test_16_bit_pictures_keep_their_upper_byte_in_every_channel(suffix: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 1 << 16, (12, 10, channels), dtype=np.uint16)
    stored = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep
    pixels = decode(cv2.imencode(suffix, stored)[1].tobytes(), "deep")
    expected = np.repeat(deep, 3, 2) if channels == 1 else deep[..., :3]
    assert pixels.dtype == np.uint8
    if (suffix, channels) == (".tiff", 3):
        assert np.array_equal(pixels, np.round(expected / 257))
    else:
        assert np.array_equal(pixels, expected >> 8)


def test_cmyk_tiff_is_converted_and_32_bit_tiff_is_named() -> None:
    smooth = Image.fromarray(cv2.GaussianBlur(numbered(5), (0, 0), 3)).convert("CMYK")
    expected = np.asarray(smooth.convert("RGB"))
    assert np.abs(decode(_saved(smooth, "TIFF"), "cmyk.tif").astype(int) - expected).max() <= 2
    for values in (np.full((9, 9), 0.5, np.float32), np.full((9, 9), 70_000, np.int32)):
        with pytest.raises(BadItem, match=r"deep\.tif: not a picture that can be decoded"):
            decode(_saved(Image.fromarray(values), "TIFF"), "deep.tif")


def test_under_alpha_the_stored_colour_is_seen() -> None:
    pixels = numbered(5)
    clear = Image.fromarray(np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)]))
    assert np.array_equal(decode(_saved(clear, "PNG"), "clear.png"), pixels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
    ],
)
def test_a_file_cut_anywhere_is_named_never_half_a_picture(
    kind: str, options: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    data = _saved(Image.fromarray(cv2.GaussianBlur(numbered(5), (0, 0), 3)), kind, **options)
    whole = decode(data, "whole")
    for cut in {*np.linspace(0, len(data) - 1, 40).astype(int).tolist(), len(data) - 2}:
        found = _decoded(data[:cut])
        assert found is None or np.array_equal(found, whole)  # as where the last bytes are a comment
    if kind != "JPEG":  # libjpeg's own complaints do not go through OpenCV
        assert "[ERROR" not in capfd.readouterr().err


def test_a_jpeg_cut_behind_its_thumbnail_is_named() -> None:
    """The thumbnail in the head is a whole JPEG with an end of its own."""
    smooth = Image.fromarray(cv2.GaussianBlur(numbered(5), (0, 0), 3))
    thumbnail = b"Exif\0\0" + _saved(smooth.resize((16, 12)), "JPEG")
    plain = _saved(smooth, "JPEG")
    head = plain[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert np.array_equal(decode(head + plain[2:], "whole.jpg"), decode(plain, "plain.jpg"))
    for cut in range(len(head) - 20, len(head) + len(plain) - 4, 7):
        with pytest.raises(BadItem, match=r"cut\.jpg"):
            decode((head + plain[2:])[:cut], "cut.jpg")


def test_a_damaged_png_with_its_end_is_named() -> None:
    data = bytearray(_saved(Image.fromarray(numbered(5)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadItem, match="not a picture that can be decoded"):
        decode(bytes(data), "damaged.png")


def test_a_folder_of_everything_trains_and_names_what_is_left_out(tmp_path: Path) -> None:
    """Grey, CMYK, alpha and 16-bit pictures are looked at; dots, rules, cut and empty files are named, with the reason."""
    folder = tmp_path / "photos"
    folder.mkdir()
    forms = {name: data for name, data in _files().items() if name != "GIF"}
    for number, data in enumerate([*forms.values()] * 2):
        (folder / f"good_{number}.png").write_bytes(data)
    (folder / "deep.png").write_bytes(_saved(Image.fromarray(np.full((40, 40), 40_000, np.uint16)), "PNG"))
    bad = {
        "dot.png": (_saved(Image.new("RGB", (1, 1)), "PNG"), "is 1 x 1 pixels (height, width), too few to see anything"),
        "rule.png": (_saved(Image.new("RGB", (300, 4)), "PNG"), "is 4 x 300 pixels (height, width), too few to see anything"),
        "cut.jpg": (_files()["CMYK JPEG"][:-100], "the JPEG is cut short"),
        "empty.jpg": (b"", "empty file"),
        "page.jpg": (b"<html>404 Not Found</html>", "not a picture that can be decoded"),
    }
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    run = tiny_run("rotation_photos", tmp_path / "unused", data=PictureFolder(str(folder)), steps=40, held_out_every=0)
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    found = {Path(row["name"]).name: row["reason"] for row in read_lines(tmp_path / "run" / "bad_items.jsonl")}
    assert found == {name: found[name] for name in [*bad, "gone.jpg"] if name in found}  # the held-out ones are not looked at
    assert len(found) >= 4
    assert all(found[name].startswith(reason) for name, (_, reason) in bad.items() if name in found)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    with io.BytesIO() as stream:
        image.save(stream, kind, **options)
        return stream.getvalue()


def _decoded(data: bytes) -> Any:
    try:
        return decode(data, "cut")
    except BadItem:
        return None
