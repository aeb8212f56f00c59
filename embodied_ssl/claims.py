"""One writer at a time: a file is written under a temporary name that its writer holds locked, so the dead hold nothing.

Where the file system has no locks (some cluster disks), every writer has a temporary of its own instead: the last to be
renamed stays, and what a killed writer leaves is not cleared away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from embodied_ssl.files import TEMPORARY

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def claimed(path: Path) -> Iterator[IO[bytes] | None]:
    """The temporary of ``path``, empty and locked, or None while another process or thread holds it.

    Rename it over ``path`` when it is whole; it is removed otherwise. The next to come takes over what a killed process
    left. Whoever gets it must look first whether ``path`` has been finished meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    file = None
    while file is None:
        file = open(temporary, "r+b", opener=_made_if_absent)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            yield None
            return
        except OSError as error:
            _forget(file, temporary)
            if error.errno not in NO_LOCKS:
                raise
            temporary = temporary.with_name(f"{temporary.name}-{os.getpid()}-{threading.get_ident()}")
            file = open(temporary, "w+b")  # noqa: SIM115
        if not _names(temporary, file):  # whoever held it renamed or removed it just before the lock was ours
            file.close()
            file = None
    with file:
        file.truncate(0)
        try:
            yield file
        finally:
            if _names(temporary, file):
                temporary.unlink(missing_ok=True)


def _made_if_absent(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _forget(file: IO[bytes], path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)


def _names(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is the one that a path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def remove_unclaimed(folder: Path) -> int:
    """Remove the temporaries in a folder that no living process has claimed; returns how many."""
    removed = 0
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        with suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, file):
                path.unlink()
                removed += 1
    return removed
