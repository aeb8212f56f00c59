"""Files are written whole or not at all: under a temporary name in the same folder, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from embodied_ssl.errors import UserError

TEMPORARY = ".unfinished-"  # begins the name of everything that is not yet whole


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under ``path`` only when complete; on any failure the old file stays and nothing is left.

    Raises:
        OSError: it cannot be written; see `atomic` for a message that helps a user.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{path.name}")  # pids recur on other machines
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """As `whole`, making the folder if absent, and saying what a user can do when it fails.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            yield file
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"the disk is full: '{path}' was not written and its old version is kept; free some space") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise UserError(f"'{path}' cannot be written ({error.strerror}); choose another folder") from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while writing left anywhere below a folder."""
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, two spaces deep, atomically."""
    with atomic(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def write_lines(path: Path, values: list[Any]) -> None:
    """Write one JSON value a line, atomically."""
    with atomic(path) as file:
        file.write("".join(json.dumps(value) + "\n" for value in values).encode())


def read_lines(path: Path) -> list[Any]:
    """Read one JSON value a line; a last line cut short by a crash is left out. An absent file has none."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
