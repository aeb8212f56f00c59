"""Arrays worth keeping between runs, in a folder that may vanish, fill up or be garbled at any time without any harm.

The folder is ``$EMBODIED_SSL_CACHE``, else ``~/.cache/embodied_ssl``; each entry is one ``.npz`` under ``index/``.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.keys import digest

Arrays = dict[str, NDArray[Any]]


def cache_folder() -> Path:
    """Where entries live; asked for anew every time, so that the environment may change."""
    given = os.environ.get("EMBODIED_SSL_CACHE")
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "embodied_ssl") / "index"


def entry_path(*key: int | str) -> Path:
    """The file that holds the entry of this key."""
    return cache_folder() / f"{digest(*key):032x}.npz"


def recall(*key: int | str) -> Arrays | None:
    """The arrays kept under this key, or None: never kept, unreadable or garbled."""
    try:
        with open(entry_path(*key), "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, LookupError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None


def keep(arrays: Arrays, *key: int | str) -> bool:
    """Keep arrays under this key; whole or not at all, also with many writers at once. Says whether they were kept."""
    path = entry_path(*key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.stem, suffix=".tmp", dir=path.parent)
    except (OSError, RuntimeError):
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        return False
    return True
