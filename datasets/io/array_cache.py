"""Arrays worth keeping between runs, in a folder that may vanish, fill up or be garbled at any time without any harm.

The folder is ``$EMBODIED_SSL_CACHE``, else ``~/.cache/embodied_ssl``; each entry is one ``.npz`` under ``index/``.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.claims import claimed
from embodied_ssl.keys import digest

Arrays = dict[str, NDArray[Any]]


def cache_root() -> Path:
    """Where all caches live; asked for anew every time, so that the environment may change."""
    given = os.environ.get("EMBODIED_SSL_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "embodied_ssl"


def cache_folder() -> Path:
    """Where entries live."""
    return cache_root() / "index"


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
    """Keep arrays under this key; whole or not at all. Says whether they were kept: not, when another is writing the same."""
    path = entry_path(*key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with claimed(path) as file:
            if file is None:
                return False
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.replace(file.name, path)
    except (OSError, RuntimeError):
        return False
    return True
