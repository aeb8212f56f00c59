"""Still pictures behind lazy handles: a file on disk, encoded bytes in a row, or pixels at hand.

Decoding is OpenCV's. Whatever a file holds comes out as 8-bit RGB: grey in all three channels, palettes and CMYK converted, of
16 bits the upper byte (TIFFs in colour: rounded), the first picture of several, turned upright by its EXIF note. Alpha is left
out: where a picture is transparent, the colour stored there is seen. TIFFs of 32-bit samples are refused. OpenCV silently fills
the missing part of a truncated file with grey, so completeness is checked here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from embodied_ssl.datasets.source import Box, Pixels
from embodied_ssl.errors import BadItem

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})


_PNG_END = b"IEND\xaeB`\x82"  # the last chunk and its checksum; something foreign may follow


def crop_and_resize(pixels: Pixels, box: Box, size: tuple[int, int]) -> Pixels:
    """The part of uint8 [H, W, 3] inside ``box`` (top, left, height, width) as [h, w, 3]; area-averaged when shrinking."""
    top, left, height, width = box
    part = pixels[top : top + height, left : left + width]
    if part.shape[:2] == size:
        return np.ascontiguousarray(part)
    shrinks = size[0] <= height and size[1] <= width
    resized = cv2.resize(part, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def decode(data: bytes, name: str) -> Pixels:
    """Encoded bytes to uint8 RGB [H, W, 3].

    Raises:
        BadItem: not a picture, or cut short.
    """
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[data.rfind(b"\xff\xda") :]:
        raise BadItem(name, "the JPEG is cut short")
    if data[:8] == b"\x89PNG\r\n\x1a\n" and _PNG_END not in data:
        raise BadItem(name, "the PNG is cut short")
    try:
        with _quiet():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error as error:
        raise BadItem(name, f"cannot be decoded ({error.err})") from None
    if pixels is None:
        raise BadItem(name, "empty file" if not data else "not a picture that can be decoded")
    return np.asarray(pixels, np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV keeps to itself what it thinks of a bad file: that is said once, by name, with the other bad items."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class ArrayPicture:
    """Pixels already in memory, uint8 RGB [H, W, 3]."""

    def __init__(self, pixels: Pixels, name: str = "a picture in memory") -> None:
        self.pixels = pixels
        self.name = name

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


class EncodedPicture:
    """A picture as JPEG or PNG bytes; decoded once, when first asked for."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data

    @cached_property
    def pixels(self) -> Pixels:
        return decode(self.data, self.name)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


class FilePicture:
    """A picture file; read and decoded once, when first asked for."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        return str(self.path)

    @cached_property
    def pixels(self) -> Pixels:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise BadItem(self.name, f"cannot be read ({error.strerror})") from None
        return decode(data, self.name)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


def encode(pixels: Pixels, suffix: str = ".png", quality: int = 95) -> bytes:
    """uint8 RGB [H, W, 3] to PNG, JPEG or WebP bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    ok, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise ValueError(f"cannot encode {pixels.shape} {pixels.dtype} as {suffix}")
    return data.tobytes()


def picture_files(folder: Path) -> Iterator[Path]:
    """Every picture below a folder in sorted order, whatever order the file system lists them in; hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in relative.parts):
            yield path
