"""A folder that appears under its name only when all of it is written and synced."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY


def _remove_leftovers(out: Path) -> None:
    """Remove what processes that were killed while writing ``out`` have left beside it."""
    for path in out.parent.glob(f"{TEMPORARY}*-{out.name}"):
        owner = path.name.removeprefix(TEMPORARY).removesuffix(f"-{out.name}")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in [*sorted(folder.rglob("*")), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def refuse_taken(out: Path) -> None:
    """See that nothing is there.

    Raises:
        UserError: a file is, or a folder that is not empty; or it is where a disk is mounted.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise UserError(f"'{out}' {what}; choose another --out")
    if out.is_mount():
        raise UserError(f"'{out}' is a disk's own folder, which cannot be renamed to; choose a folder below it as --out")


@contextmanager
def finishing(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its name when the block ends well, and is removed when it does not.

    Args:
        out: absent or an empty folder.

    Raises:
        UserError: ``out`` is taken, cannot be written, or the disk is full.
    """
    refuse_taken(out)
    place = out.resolve()  # a link is followed, not replaced
    temporary = place.with_name(f"{TEMPORARY}{os.getpid()}-{place.name}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"the disk is full: '{out}' was not written and nothing is left of it; free some space") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
            raise UserError(f"'{out}' cannot be written ({error.strerror}); choose another --out") from error
        raise
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary, ignore_errors=True)
