"""The frames of a video kept small and ready in one file, and a handle that reads them instead of decoding.

A file of the cache holds, from its beginning: one record a frame (pixels, or a JPEG), each filled up with zeros to a
multiple of 64 bytes; a table with a row for each record; a header in JSON; and a tail of fixed length that says how long
header and table are and holds their checksum. It is written to its end before it gets its name.

Nothing in it is trusted unseen. A file counts only for the very video it was made of (path, size, time of change), and
every record is checked whenever it is read. What fails is as good as absent.
"""

from __future__ import annotations

import json
import os
import struct
import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, video_index
from embodied_ssl.datasets.io.frame_numbers import checked
from embodied_ssl.datasets.source import Box, Frames, Pixels
from embodied_ssl.errors import BadItem
from embodied_ssl.keys import digest

VERSION = 2  # of the layout, and of how frames are made small
QUALITY = 90  # of JPEGs
OPEN_FILES = 256  # each costs a file handle and 24 bytes a frame
ALIGNED = 64

Form = Literal["rgb", "jpeg"]
Mark = tuple[str, int, int]  # a video's absolute path, size and time of change, as `video_index.fingerprint` gives them

# One row for each record. The crc is for `Stored.damage`; the sum of the record's 64-bit words is what every reading
# checks, since it costs a twentieth as much as the reading itself and no hole or flipped bit escapes it.
ROW = np.dtype([("start", "<i8"), ("length", "<i4"), ("crc", "<u4"), ("sum", "<u8")])
TAIL = struct.Struct("<8sIQQQ")  # magic, crc of table and header, bytes of the table, of the header, of the whole file
MAGIC = b"eSSLfrms"


class Untrusted(Exception):
    """A file of the cache is damaged, or was made of another video or by another version; says which."""


@dataclass(frozen=True)
class Kept:
    """Which frames are kept, and how.

    Attributes:
        short_side: pixels of the shorter side.
        fps: frames a second; 0 for all there are.
        form: ``rgb`` keeps the very bytes that decoding gives; ``jpeg`` takes about a seventh of the room and is not exact.
    """

    short_side: int
    fps: float
    form: Form


def folder() -> Path:
    """Where the files are: beside the indexes."""
    return array_cache.cache_root() / "frames"


def entry_path(video: Path | str, kept: Kept) -> Path:
    """The file for a video; the same when the video changes, so that what is outdated is replaced and not left lying."""
    return folder() / _entry_name(os.path.abspath(video), kept)


@lru_cache(maxsize=4096)
def _entry_name(video: str, kept: Kept) -> str:
    return f"{digest(video, kept.short_side, repr(float(kept.fps)), kept.form):032x}.frames"


def _header(mark: Mark, kept: Kept) -> dict[str, Any]:
    """What must agree before a file is believed."""
    video, size, changed = mark
    versions = {"version": VERSION, "index_version": video_index.VERSION, "quality": QUALITY}
    return {"video": video, "bytes": size, "changed": changed, **asdict(kept), "fps": float(kept.fps), **versions}


class Writer:
    """Writes records into an open file; the caller names it once `finish` has returned.

    Args:
        file: empty.
        form: of the records.
    """

    def __init__(self, file: IO[bytes], form: Form) -> None:
        self.file = file
        self.form = form
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was added."""
        self.file.seek(0)
        self.file.truncate()
        self.rows: list[tuple[int, int, int, int]] = []
        self.end = 0
        self.size: tuple[int, int] | None = None

    def add(self, pixels: Pixels) -> None:
        """Add the next frame, uint8 RGB [H, W, 3], of the same size as all others.

        Raises:
            OSError: the disk is full.
        """
        self.size = self.size or (pixels.shape[0], pixels.shape[1])
        if pixels.shape != (*self.size, 3):
            raise ValueError(f"a frame of {pixels.shape} among others of {self.size}")
        record = np.ascontiguousarray(pixels).tobytes() if self.form == "rgb" else _encode(pixels)
        padded = record + bytes(-len(record) % ALIGNED)
        self.file.write(padded)
        self.rows.append((self.end, len(record), zlib.crc32(padded), int(np.frombuffer(padded, np.uint64).sum())))
        self.end += len(padded)

    def finish(self, mark: Mark, kept: Kept) -> None:
        """Write what makes the records readable, and bring all of it to the disk."""
        table = np.array(self.rows, ROW).tobytes()
        facts = {**_header(mark, kept), "frames": len(self.rows), "size": self.size}
        header = json.dumps(facts, sort_keys=True).encode()
        whole = self.end + len(table) + len(header) + TAIL.size
        self.file.write(table + header + TAIL.pack(MAGIC, zlib.crc32(table + header), len(table), len(header), whole))
        self.file.flush()
        os.fsync(self.file.fileno())


def _encode(pixels: Pixels) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError(f"a frame of {pixels.shape} could not be written as JPEG")
    return data.tobytes()


class Stored:
    """One open file of the cache.

    Reading names its place in the file instead of moving to it, so threads and forked processes may share one; and unlike
    a mapped file it does not end the process when the file is cut short, nor count as its memory.

    Attributes:
        path: the file.
        size: height and width of frames.

    Args:
        path: the file.
        mark: the video it must be of.
        kept: the settings it must have.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: it is not whole, or not of this video, these settings or this version.
    """

    def __init__(self, path: Path, mark: Mark, kept: Kept) -> None:
        self.path = path
        self.form = kept.form
        self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.handle)
        self.rows, found = self._ending()
        for name, value in _header(mark, kept).items():
            if found.get(name) != value:
                raise Untrusted(f"made for {name} {found.get(name)}, not {value}")
        self.size: tuple[int, int] = (found["size"][0], found["size"][1])

    def _ending(self) -> tuple[NDArray[Any], dict[str, Any]]:
        """Table and header."""
        size = os.fstat(self.handle).st_size
        tail = os.pread(self.handle, TAIL.size, max(0, size - TAIL.size))
        if len(tail) < TAIL.size or not tail.startswith(MAGIC):
            raise Untrusted("cut short, or no file of frames")
        _, crc, table, header, whole = TAIL.unpack(tail)
        if whole != size or table + header + TAIL.size > size:
            raise Untrusted(f"{size} bytes where {whole} were written")
        both = os.pread(self.handle, table + header, size - TAIL.size - table - header)
        if zlib.crc32(both) != crc:
            raise Untrusted("its header is damaged")
        return np.frombuffer(both[:table], ROW), json.loads(both[table:])

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, numbers: Sequence[int]) -> Pixels:
        """These frames, in this order: uint8 RGB [n, H, W, 3].

        Raises:
            Untrusted: one of them is damaged.
        """
        return self._read_rgb(numbers) if self.form == "rgb" else self._read_jpeg(numbers)

    def _read_rgb(self, numbers: Sequence[int]) -> Pixels:
        rows = self.rows[numbers]
        length = self.size[0] * self.size[1] * 3
        records = np.empty((len(rows), length + -length % ALIGNED), np.uint8)
        for record, start in zip(records, rows["start"].tolist(), strict=True):
            if os.preadv(self.handle, [record.data], start) != len(record):
                raise Untrusted("cut short")
        self._check(records.view(np.uint64).sum(axis=1), rows["sum"], numbers)
        return np.ascontiguousarray(records[:, :length]).reshape(-1, *self.size, 3)

    def _read_jpeg(self, numbers: Sequence[int]) -> Pixels:
        rows = self.rows[numbers]
        frames = np.empty((len(rows), *self.size, 3), np.uint8)
        for frame, number, row in zip(frames, numbers, rows, strict=True):
            record = self._record(row)
            self._check(np.frombuffer(record, np.uint64).sum(), row["sum"], [number])
            decoded = cv2.imdecode(np.frombuffer(record, np.uint8), cv2.IMREAD_COLOR_RGB)
            if decoded is None or decoded.shape != frame.shape:
                raise Untrusted(f"frame {number} cannot be decoded")
            frame[:] = decoded
        return frames

    def _record(self, row: Any) -> bytes:
        """A record with the zeros that fill it up."""
        length = int(row["length"])
        record = os.pread(self.handle, length + -length % ALIGNED, int(row["start"]))
        if len(record) % ALIGNED:
            raise Untrusted("cut short")
        return record

    @staticmethod
    def _check(found: Any, written: Any, numbers: Sequence[int]) -> None:
        wrong = np.flatnonzero(found != written)
        if len(wrong):
            raise Untrusted(f"frame {numbers[wrong[0]]} is damaged")

    def damage(self) -> str:
        """Read all of it and say what is wrong; "" when nothing is."""
        end = 0
        try:
            for number, row in enumerate(self.rows):
                record = self._record(row)
                if row["start"] != end or zlib.crc32(record) != row["crc"]:
                    return f"frame {number} is damaged"
                end += len(record)
        except Untrusted as why:
            return str(why)
        return ""


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, mark: Mark, kept: Kept) -> Stored:
    return Stored(path, mark, kept)


def stored(video: Path | str, kept: Kept) -> Stored | None:
    """The open file of a video's frames; None when there is none that can be trusted.

    Raises:
        BadItem: there is no such video.
    """
    try:
        return _opened(entry_path(video, kept), video_index.fingerprint(video), kept)
    except (OSError, Untrusted):
        return None


class CachedFrames:
    """Frames from the cache, as in `embodied_ssl.datasets.source.Frames`.

    A frame found damaged is decoded instead where that gives the same bytes (``rgb``); else it is refused.

    Args:
        video: the file that they are of.
        kept: the settings; where `stored` is None for them, nothing is kept.
        decode: makes the handle on the same frames that decodes them, which also knows their times and motion.
    """

    def __init__(self, video: Path | str, kept: Kept, decode: Callable[[], Frames]) -> None:
        self.video = str(video)
        self.kept = kept
        self.decode = decode

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("stored", "decoded")}

    @cached_property
    def stored(self) -> Stored | None:
        """The open file, one for all handles of a process; None when there is none that can be trusted."""
        return stored(self.video, self.kept)

    @cached_property
    def decoded(self) -> Frames:
        """The same frames, by decoding."""
        return self.decode()

    @property
    def name(self) -> str:
        return self.video

    def __len__(self) -> int:
        return len(self.stored or self.decoded)

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.decoded.seconds

    @property
    def motion(self) -> NDArray[np.float32]:
        return self.decoded.motion

    @property
    def shots(self) -> NDArray[np.int64]:
        return self.decoded.shots

    @property
    def content(self) -> Box:
        return self.decoded.content

    def take(self, indices: Sequence[int]) -> Pixels:
        numbers = checked(indices, len(self), self.name)
        try:
            if self.stored is None:
                raise Untrusted("gone")
            return self.stored.read(numbers.tolist())
        except (OSError, Untrusted) as why:
            if self.kept.form == "rgb":
                return self.decoded.take(numbers.tolist())
            raise BadItem(self.video, f"its cached frames are not sound ({why}); run embodied-ssl prepare again") from None
