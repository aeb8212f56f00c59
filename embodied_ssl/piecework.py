"""Piecework for several processes: same pieces, same results, in whatever order they are finished.

Processes are spawned, never forked (a forked PyBullet or FFmpeg shares state with its parent), so a script that asks for more
than one needs the usual ``if __name__ == "__main__":``. Workers leave when told to, when the parent is gone, or at the end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import TypeVar

from embodied_ssl.errors import UserError

Piece = TypeVar("Piece")
Result = TypeVar("Result")
_told_to_stop: Event | None = None


class Stopped(Exception):
    """The parent asked this worker to leave its piece unfinished."""


def check_stop() -> None:
    """To be called between steps of a piece; leaves by `Stopped` once the parent has been interrupted."""
    if _told_to_stop is not None and _told_to_stop.is_set():
        raise Stopped


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _start(stop: Event) -> None:
    global _told_to_stop
    _told_to_stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def finished(work: Callable[[Piece], Result], pieces: Sequence[Piece], workers: int) -> Iterator[Result]:
    """Do every piece, and yield results as they come; in order when ``workers`` is at most 1.

    Args:
        work: a function that can be pickled.
        pieces: what to call it with.
        workers: processes; at most 1 means this one.

    Raises:
        UserError: a worker died.
    """
    if workers <= 1 or len(pieces) <= 1:
        for piece in pieces:
            yield work(piece)
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(pieces)), context, _start, (stop,))
    try:
        for future in as_completed([pool.submit(work, piece) for piece in pieces]):
            yield future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, perhaps for want of memory; what was finished is kept: go on with fewer workers"
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
