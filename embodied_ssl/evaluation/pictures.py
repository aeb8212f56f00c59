"""The pictures that networks are judged on: decoded once, cut square, held as bytes, in memory or in a file on disk.

Legend: N pictures, R side of the stored square, S side that the network sees, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied_ssl.datasets.io.opencv import one_thread
from embodied_ssl.datasets.source import Picture, Pixels, Source
from embodied_ssl.datasets.target import LabelledPictures, Part, Rows
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.files import atomic, write_json
from embodied_ssl.views.colour import LUMA
from embodied_ssl.views.pixels import GREY_MEAN, GREY_STD, MEAN, STD
from embodied_ssl.views.sobel import sobel

Progress = Callable[[str, int, int], None]  # what is being done, how many of how many
READERS = 2  # threads that decode: OpenCV lets go of the interpreter meanwhile
COLOURS = ("RGB", "grey", "slopes")
AT_A_TIME = 8  # pictures a thread takes: handing them over one by one costs as much as decoding


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to what the network sees: shorter side to ``resize``, centre crop of ``size``, colour, mean and deviation.

    Args:
        size: side of the square that the network sees, in pixels.
        resize: length of the shorter side before cropping; at least ``size``.
        mean, std: of the three channels in 0..1; subtracted and divided by.
        colour: ``RGB``; ``grey``: luminance in every channel the network has; ``slopes``: those of the luminance, in two channels
            (`embodied_ssl.views.sobel`), taken after mean and deviation.
    """

    size: int = 96
    resize: int = 112
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    colour: str = "RGB"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))  # JSON gives lists
        object.__setattr__(self, "std", tuple(self.std))
        if not 1 <= self.size <= self.resize:
            raise UserError(
                f"pictures are cropped to {self.size} pixels after resizing to {self.resize}; need 1 <= size <= resize"
            )
        if self.colour not in COLOURS:
            raise UserError(f"colour '{self.colour}' is not known; there is {', '.join(COLOURS)}")

    def square(self, picture: Picture) -> Pixels:
        """The middle of a picture: uint8 [R, R, 3]. The square is cut first, so that a long strip costs no memory."""
        height, width = picture.size
        side = min(height, width)
        return picture.take(((height - side) // 2, (width - side) // 2, side, side), (self.resize, self.resize))

    def centre(self, squares: Pixels) -> Pixels:
        """The centre crops of uint8 [..., R, R, 3]: [..., S, S, 3], a view."""
        start = (self.resize - self.size) // 2
        return squares[..., start : start + self.size, start : start + self.size, :]

    def crop(self, picture: Picture) -> Pixels:
        """What the network sees of a picture: uint8 [S, S, 3]."""
        return self.centre(self.square(picture))

    def render(self, pixels: Tensor, channels: int = 3) -> Tensor:
        """Uint8 [B, S, S, 3] to normalised float [B, channels, S, S]."""
        if self.colour == "slopes":
            if channels != 2:
                raise UserError(f"slopes are two channels, the network takes {channels}; give the colour it was trained with")
            return sobel(replace(self, colour="grey").render(pixels, 1))
        x = pixels.permute(0, 3, 1, 2).float()
        if self.colour == "grey":
            x = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand(-1, channels, -1, -1)
        if x.shape[1] != channels or len(self.mean) not in (1, channels) or len(self.std) not in (1, channels):
            raise UserError(
                f"the network takes {channels} channels, but {self.colour} pictures have {x.shape[1]} and mean and std have "
                f"{len(self.mean)} and {len(self.std)}; give the preprocessing that the network was trained with"
            )
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return torch.addcmul(-mean / std, x, 1 / (255 * std))  # (x / 255 - mean) / std in one pass

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def usual(cls, size: int, resize: int, channels: int) -> Preprocessing:
        """ImageNet's mean and deviation: in colour, in luminance for a network of one channel, in its slopes for two."""
        if channels in (1, 2):
            return cls(size, resize, GREY_MEAN, GREY_STD, "grey" if channels == 1 else "slopes")
        return cls(size, resize)


@dataclass(frozen=True)
class Pictures:
    """The readable pictures of a labelled source, as squares of bytes.

    Attributes:
        pixels: uint8 [N, R, R, 3]; perhaps a file that is read as it is used.
        rows: the row of the source that each picture is.
        labels: int64 [N]; -1 where the source has no labels.
        tags: int8 [N, C], where the source has tags.
        recordings: the recording of each picture.
        bad: what could not be read, with the reason.
    """

    pixels: Pixels
    rows: Rows
    labels: NDArray[np.int64]
    recordings: tuple[str, ...]
    bad: tuple[BadItem, ...] = ()
    tags: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, rows: Rows) -> Rows:
        """Where these rows of the source are among the pictures; unreadable ones are passed over."""
        place = np.full(max(int(self.rows.max()), int(rows.max(initial=-1))) + 1, -1, np.intp)
        place[self.rows] = np.arange(len(self.rows))
        found = place[rows]
        return found[found >= 0]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the very pixels."""
        hasher = hashlib.blake2b(str(self.pixels.shape).encode(), digest_size=16)
        for start in range(0, len(self.pixels), 4096):
            hasher.update(np.ascontiguousarray(self.pixels[start : start + 4096]).data)
        return hasher.hexdigest()


def read_pictures(
    source: Source, preprocessing: Preprocessing, on_progress: Progress = silent, cache: Path | None = None
) -> Pictures:
    """Decode and cut every picture once; an unreadable one is left out and named in ``bad``.

    Args:
        source: samples with ``picture``; labels and tags are taken where there are any.
        preprocessing: how to cut.
        on_progress: told how many were read.
        cache: a folder that keeps the squares, under a name made of the files' paths, sizes and times.

    Raises:
        UserError: not one picture can be read.
    """
    path = _cache_path(cache, source, preprocessing)
    kept = None if path is None else _recall(path)
    if kept is None:
        kept = _decode(source, preprocessing, on_progress, path)
    pixels, rows, bad = kept
    labels, tags, recordings = answers(source, rows)
    return Pictures(pixels, rows, labels, recordings, (*source.bad, *bad), tags)


def answers(source: Source, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int8] | None, tuple[str, ...]]:
    """Labels [N] (-1 where there are none), tags [N, C] where there are any, and recordings of these rows of a source."""
    first = source[int(rows[0])]
    labels = _column(source, "label", rows) if "label" in first else np.full(len(rows), -1)
    tags = np.asarray(_column(source, "tags", rows), np.int8) if "tags" in first else None
    return np.asarray(labels, np.int64), tags, tuple(source.recordings[row] for row in rows)


class Chunk(NamedTuple):
    """Some pictures of a source, decoded: their squares uint8 [n, R, R, 3] and rows [n], and what could not be read."""

    squares: Pixels
    rows: Rows
    bad: tuple[BadItem, ...]


def decoded(source: Source, preprocessing: Preprocessing, size: int) -> Iterator[Chunk]:
    """A source's pictures in order, ``size`` at a time; while one chunk is used, threads decode the next."""

    def cut(row: int) -> Pixels | BadItem:
        try:
            return preprocessing.square(source[row]["picture"])
        except BadItem as error:
            return error

    def cut_all(rows: range) -> list[Pixels | BadItem]:
        return [cut(row) for row in rows]

    with one_thread(), ThreadPoolExecutor(READERS) as pool:

        def start(chunk: range) -> list[Future[list[Pixels | BadItem]]]:
            return [pool.submit(cut_all, chunk[some]) for some in batches(len(chunk), AT_A_TIME)]

        chunks = [range(some.start, some.stop) for some in batches(len(source), size)]
        waiting = [start(chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            found = [one for task in waiting.pop() for one in task.result()]
            if number + 1 < len(chunks):
                waiting.append(start(chunks[number + 1]))
            good = [(row, one) for row, one in zip(chunk, found, strict=True) if not isinstance(one, BadItem)]
            squares = np.stack([one for _, one in good]) if good else np.empty((0, *[preprocessing.resize] * 2, 3), np.uint8)
            rows = np.array([row for row, _ in good], np.intp)
            yield Chunk(squares, rows, tuple(one for one in found if isinstance(one, BadItem)))


def nothing_readable(source: Source, bad: Sequence[BadItem]) -> UserError:
    """What to say when not one picture can be read."""
    reason = f"the first: {[*source.bad, *bad][0]}" if source.bad or bad else "it is empty"
    return UserError(f"no picture of {source.name} can be read ({reason}); give another folder")


def _decode(source: Source, preprocessing: Preprocessing, on_progress: Progress, path: Path | None) -> Any:
    chunks = []
    for chunk in decoded(source, preprocessing, 256):
        chunks.append(chunk)
        on_progress(f"reading {source.name}", min(256 * len(chunks), len(source)), len(source))
    bad = [item for chunk in chunks for item in chunk.bad]
    if not any(len(chunk.rows) for chunk in chunks):
        raise nothing_readable(source, bad)
    pixels, kept = np.concatenate([chunk.squares for chunk in chunks]), np.concatenate([chunk.rows for chunk in chunks])
    if path is not None:
        with atomic(path) as file:
            np.save(file, pixels)
        write_json(path.with_suffix(".json"), {"rows": kept.tolist(), "bad": [[item.name, item.reason] for item in bad]})
    return pixels, kept, tuple(bad)


def _recall(path: Path) -> Any:
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        pixels = np.load(path, mmap_mode="r")
        rows = np.asarray(about["rows"], np.intp)
        if len(pixels) != len(rows):
            return None
        return pixels, rows, tuple(BadItem(name, reason) for name, reason in about["bad"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # not there, or half of it: read anew
        return None


def _cache_path(cache: Path | None, source: Source, preprocessing: Preprocessing) -> Path | None:
    """A name that changes whenever a file does; none for sources that are not files."""
    if cache is None or not isinstance(source, LabelledPictures) or isinstance(source.pictures, np.ndarray):
        return None
    hasher = hashlib.blake2b(str(preprocessing.resize).encode(), digest_size=16)
    for name in source.pictures:
        try:
            about = Path(name).stat()
            hasher.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
        except OSError:
            hasher.update(f"{name}\0missing\n".encode())
    return cache / f"pictures-{hasher.hexdigest()}.npy"


def _column(source: Source, key: str, rows: Rows) -> NDArray[Any]:
    """One answer of many rows; where the source holds it as a column, no sample is made."""
    if isinstance(source, Part):
        return _column(source.source, key, source.rows[rows])
    column = {"label": source.labels, "tags": source.tags}[key] if isinstance(source, LabelledPictures) else None
    return column[rows] if column is not None else np.asarray([source[int(row)][key] for row in rows])


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover ``count`` items in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def named(bad: Sequence[BadItem], most: int = 20) -> dict[str, Any]:
    """How many were left out, and the first of them, for a score's settings."""
    return {"count": len(bad), "first": [str(item) for item in bad[:most]]}
