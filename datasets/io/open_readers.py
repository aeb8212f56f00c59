"""Readers kept open between calls: few, small together, of this process only, and never one whose file has changed."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from embodied_ssl.datasets.io.video_index import VideoIndex

LIMIT = 32
BUDGET = 128e6  # bytes of frames that all of them together hold
HELD = 8 * 1.5  # bytes a pixel: some eight frames in YUV 4:2:0 for others to refer to; measured: 4 MB at 360p, 26 at 1080p

CLOSED = 256  # readers, after which their memory is given back; it takes some milliseconds


class Reader(Protocol):
    """What a decoder keeps open of one file."""

    @property
    def index(self) -> VideoIndex: ...

    def close(self) -> None: ...


R = TypeVar("R", bound=Reader)


class OpenReaders(Generic[R]):
    """Open readers by file, for one thread. An open decoder survives no fork, so a new process begins with none.

    Args:
        make: opens a file, given its path and index.
    """

    def __init__(self, make: Callable[[str, VideoIndex], R]) -> None:
        self.make = make
        self.readers: OrderedDict[tuple[str, int, int], R] = OrderedDict()
        self.process = os.getpid()
        self.inherited: list[Any] = []
        self.closed = 0

    def of(self, path: str, index: VideoIndex) -> R:
        """An open reader of this file; the one used longest ago is closed when there are too many."""
        if self.process != os.getpid():
            # After a fork: the parent's file offsets are shared with ours, so its readers are neither used nor closed.
            self.inherited.append(self.readers)
            self.readers, self.process = OrderedDict(), os.getpid()
        found = self.readers.pop(index.fingerprint, None) or self.make(path, index)
        self.readers[index.fingerprint] = found
        while len(self.readers) > 1 and (len(self.readers) > LIMIT or self._held() > BUDGET):
            self._close(self.readers.popitem(last=False)[1])
        return found

    def _held(self) -> float:
        return sum(HELD * reader.index.size[0] * reader.index.size[1] for reader in self.readers.values())

    def drop(self, index: VideoIndex) -> None:
        """Close the reader of this file, since its state is unknown now."""
        reader = self.readers.pop(index.fingerprint, None)
        if reader is not None:
            self._close(reader)

    def _close(self, reader: R) -> None:
        reader.close()
        self.closed += 1
        if self.closed % CLOSED == 0:
            _give_memory_back()


def _give_memory_back() -> None:
    """Return freed memory to the system.

    What closed readers leave lies in pieces between what lives on; glibc by itself keeps the pieces and, too small for the
    next reader, they add up: 2 MB a thousand triplets in a long-lived worker.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none, nor the habit
        if trim is not None:
            trim(0)
