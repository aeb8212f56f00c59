"""OpenCV's own threads, held back where they would fight with everyone else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_lock = threading.Lock()
_holders: list[int] = []  # how many threads OpenCV had before each `one_thread` that is still open


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV works on one thread inside; what was before comes back when the last of several, in whatever threads, ends."""
    with _lock:
        _holders.append(_holders[0] if _holders else cv2.getNumThreads())
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _lock:
            before = _holders.pop()
            if not _holders:
                cv2.setNumThreads(before)
