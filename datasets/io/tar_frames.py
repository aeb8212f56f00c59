"""A tar of numbered pictures as a video, read in place: where each picture stands is looked up once, then remembered.

Nothing is unpacked and no file is kept open, so a handle may be pickled, forked and used by several workers at once. A
compressed tar can only be read from its beginning, so it is refused. A tar that was cut short gives the pictures that are whole.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, pictures
from embodied_ssl.datasets.io.flow import MotionKind
from embodied_ssl.datasets.io.frame_folder import in_order, seconds_of
from embodied_ssl.datasets.io.picture_sequence import PictureSequence
from embodied_ssl.datasets.io.video_index import fingerprint
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem

VERSION = 1  # of what is remembered
BLOCK = 512
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}

Mark = tuple[str, int, int]  # path, size, time of change


class TarIndex(NamedTuple):
    """What is in a tar.

    Attributes:
        files: names of the pictures without their folders, in the order of their numbers.
        numbers: those numbers, int64 [n].
        starts: at which byte each begins, int64 [n].
        sizes: how many bytes it has, int64 [n].
    """

    files: list[str]
    numbers: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def tar_index(path: str) -> TarIndex:
    """Where the pictures of a tar stand: from memory, from the cache of earlier runs, or from a pass over its headers.

    Raises:
        BadItem: it cannot be read, is compressed, or holds no whole picture with a number.
    """
    return _remembered(fingerprint(path))


@lru_cache(maxsize=16)  # each may hold a hundred thousand names; the file cache gives one back in some milliseconds
def _remembered(mark: Mark) -> TarIndex:
    kept = array_cache.recall("tar index", VERSION, *mark)
    if kept is not None and {"files", "numbers", "starts", "sizes"} <= kept.keys():
        return TarIndex(kept["files"].tolist(), kept["numbers"], kept["starts"], kept["sizes"])
    index = scan(mark[0])
    array_cache.keep({**index._asdict(), "files": np.array(index.files)}, "tar index", VERSION, *mark)
    return index


def scan(path: str) -> TarIndex:
    """Read the header of every member; see `tar_index`."""
    try:
        if kind := compression(path):
            why = f"is compressed ({kind}), so no frame can be read without all before it; unpack it, or tar it uncompressed"
            raise BadItem(path, why)
        places = dict(_whole_members(path))
    except OSError as error:
        raise BadItem(path, f"cannot be read ({error.strerror})") from None
    except tarfile.TarError as error:
        raise BadItem(path, f"is not a tar ({error})") from None
    files, numbers = in_order(places)
    if not files:
        raise BadItem(path, "has no whole picture with a number in its name")
    starts, sizes = np.array([places[name] for name in files], np.int64).T
    return TarIndex(files, numbers, starts, sizes)


def compression(path: str) -> str:
    """How a tar is compressed, from its first bytes; nothing where it is not.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(BLOCK)
    return next((kind for magic, kind in COMPRESSED.items() if head.startswith(magic)), "")


def _whole_members(path: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, first byte and size of every file in a tar, up to where it was cut short."""
    end = os.path.getsize(path)
    with tarfile.open(path, "r:") as tar, suppress(tarfile.ReadError):  # which says that it was cut short
        for member in tar:
            if member.isreg() and member.offset_data + member.size <= end:
                yield os.path.basename(member.name), (member.offset_data, member.size)


def is_cut_short(path: str) -> bool:
    """Whether a tar lacks the two empty blocks that end one; looks at its last bytes only.

    False for what is no such tar at all: reading it will say so.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2 * BLOCK))
            ended = size % BLOCK == 0 and file.read() == bytes(2 * BLOCK)
        return not ended and not compression(path)
    except OSError:
        return False


class TarFrames(PictureSequence):
    """The pictures of a tar, all of one size, in the order of the numbers in their names.

    Args:
        path: the tar.
        rate: pictures a second.
        short_side: frames are scaled so that their shorter side has so many pixels; None leaves them as they are.
        motion: how a frame's motion is measured, see `embodied_ssl.datasets.io.flow`.

    Raises:
        BadItem: see `tar_index`.
    """

    def __init__(self, path: str, rate: float, short_side: int | None = None, motion: MotionKind = "difference") -> None:
        self.index = tar_index(path)
        super().__init__(path, self.index.files, seconds_of(self.index.numbers, rate), short_side, motion)

    def _read(self, number: int) -> Pixels:
        name = f"{self.folder}:{self.files[number]}"
        try:
            with open(self.folder, "rb") as file:
                file.seek(int(self.index.starts[number]))
                data = file.read(int(self.index.sizes[number]))
        except OSError as error:
            raise BadItem(name, f"cannot be read ({error.strerror})") from None
        return pictures.decode(data, name)

    def _marks(self) -> Iterator[str]:
        _, size, changed = fingerprint(self.folder)
        yield f"{size} {changed}"
