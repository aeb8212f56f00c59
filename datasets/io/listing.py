"""Files below folders, in an order and under names that depend on neither the file system nor where the data stands."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from embodied_ssl.errors import BadItem, UserError


def files_below(folder: Path, suffixes: Collection[str]) -> tuple[list[str], list[BadItem]]:
    """Paths relative to ``folder`` of all files with these suffixes, sorted; hidden ones left out, links followed.

    Returns:
        The paths with forward slashes, and the sub-folders that could not be read.
    """
    found: list[str] = []
    bad: list[BadItem] = []

    def unreadable(error: OSError) -> None:
        bad.append(BadItem(str(error.filename), f"folder cannot be read ({error.strerror})"))

    seen: set[str] = set()
    for place, inside, names in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up the tree
            inside.clear()
            continue
        seen.add(real)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        relative = os.path.relpath(place, folder).replace(os.sep, "/")
        before = "" if relative == "." else relative + "/"
        found += [before + name for name in names if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes]
    return sorted(found), bad


def subfolders(folder: Path) -> list[Path]:
    """The folders right inside a folder, sorted; hidden ones left out. Files are not looked at, however many there are."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def prefixes(roots: Sequence[Path]) -> list[str]:
    """What to put before relative names so that they stay apart: nothing for one root, else the folder's name or full path."""
    if len(roots) == 1:
        return [""]
    names = [root.name or str(root) for root in roots]
    return [f"{name if names.count(name) == 1 else root}/" for name, root in zip(names, roots, strict=True)]


def has_file(folder: Path, suffixes: Collection[str], depth: int = 6, looked_at: int = 2000) -> bool:
    """Whether such a file stands within ``depth`` levels, looking at no more than so many names: cheap, so it may miss."""
    waiting = [(folder, depth)]
    while waiting and looked_at > 0:
        place, left = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    looked_at -= 1
                    if looked_at <= 0 or entry.name.startswith("."):
                        continue
                    if os.path.splitext(entry.name)[1].lower() in suffixes:
                        return True
                    if left > 1 and entry.is_dir():
                        waiting.append((Path(entry.path), left - 1))
        except OSError:
            continue
    return False


def few_absent(absent: Sequence[str], total: int, folder: Path, named_by: str) -> list[BadItem]:
    """Files that a list names and a folder lacks, as bad items.

    Args:
        absent: which.
        total: how many the list names.
        folder: where they should be.
        named_by: the list.

    Raises:
        UserError: more than one in ten: such a copy is not the data set.
    """
    if len(absent) > total / 10:
        raise UserError(
            f"'{folder}' lacks {len(absent)} of the {total} files that {named_by} names, the first '{min(absent)}'; "
            "the copy is incomplete: complete it"
        )
    return [BadItem(f"{folder}/{file}", f"{named_by} names it, but it is not there") for file in sorted(absent)]
