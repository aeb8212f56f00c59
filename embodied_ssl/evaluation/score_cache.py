"""Rows that were computed before: baselines on the same data are the same for every run, and need not be computed again.

A row is kept under everything it depends on: the protocol and its settings, weights, preprocessing, the pictures' files with
their answers and division, the versions of what computes, and the very code that the protocol is made of.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from embodied_ssl.datasets.target import Division, Target
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.scores import NOT_STORED, Score
from embodied_ssl.files import atomic

PACKAGE = Path(__file__).parents[1]


class ScoreCache:
    """Rows of protocols on one target, in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, target: Target) -> None:
        self.folder = folder
        self.target = target

    def get_or(self, key: Sequence[object], compute: Callable[[], list[Score]]) -> list[Score]:
        """The rows kept under a key, or computed now and kept."""
        if self.folder is None:
            return compute()
        path = self.path(key)
        found = _read(path)
        if found is None:
            found = compute()
            _write(path, found)
        return found

    def holds(self, key: Sequence[object]) -> bool:
        """Whether rows are kept under a key."""
        return self.folder is not None and self.path(key).exists()

    def path(self, key: Sequence[object]) -> Path:
        assert self.folder is not None
        hasher = hashlib.blake2b(digest_size=16)
        for part in (self._data, *key):
            hasher.update(f"{type(part).__name__}\0".encode())
            if isinstance(part, Division):
                for rows in part:
                    hasher.update(rows.astype(np.int64).tobytes() + b"\0")
            else:
                hasher.update(f"{part!r}\0".encode())
        return self.folder / f"rows-{hasher.hexdigest()}.npz"

    @cached_property
    def _data(self) -> str:
        return fingerprint(self.target)


def fingerprint(target: Target) -> str:
    """A hash of what a target's files are (path, size, time) and of all answers that stand in memory."""
    source = target.source
    hasher = hashlib.blake2b(repr((target.name, target.classes, target.answers)).encode(), digest_size=16)
    if isinstance(source.pictures, np.ndarray):
        hasher.update(np.ascontiguousarray(source.pictures).data)
    else:
        for name in source.pictures:
            hasher.update(_about(Path(name)))
    for column in (source.labels, source.tags):
        if column is not None:
            hasher.update(np.ascontiguousarray(column).tobytes())
    for index in range(len(source)) if {"boxes", "mask", "depth"} & source.provides else ():
        sample = source[index]
        for part in sample.get("boxes", ()):
            hasher.update(np.ascontiguousarray(part).tobytes())
        for plane in (sample.get("mask"), sample.get("depth")):
            path = getattr(plane, "path", None)
            if path is not None:
                hasher.update(_about(Path(path)))
            elif plane is not None:
                hasher.update(np.ascontiguousarray(plane.values).tobytes())
    return hasher.hexdigest()


@cache
def code(module: str) -> str:
    """A hash of a module's code, of all of this package's that it imports, and of the versions of the libraries below."""
    hasher = hashlib.blake2b(digest_size=16)
    for path in sorted(imported(module)):
        hasher.update(path.read_bytes())
    for library in ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "opencv-python"):
        hasher.update(version(library).encode())
    return hasher.hexdigest()


def imported(module: str) -> set[Path]:
    """The files of a module and of every module of this package that it imports, directly or through others."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = _file_of(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _file_of(module: str) -> Path | None:
    """Where a module of this package lies; None for others, packages, and names that are no modules."""
    own, _, rest = module.partition(".")
    path = PACKAGE / f"{rest.replace('.', '/')}.py"
    return path if own == PACKAGE.name and path.is_file() else None


def _about(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return f"{path}\0missing\n".encode()
    return f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode()


def _write(path: Path, rows: Sequence[Score]) -> None:
    arrays: dict[str, Any] = {
        f"{name}/{i}": getattr(row, name) for i, row in enumerate(rows) for name in NOT_STORED if getattr(row, name) is not None
    }
    text = json.dumps([row.to_json() for row in rows], allow_nan=False)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rows=np.frombuffer(text.encode(), np.uint8), **arrays)
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def _read(path: Path) -> list[Score] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            rows = [Score.from_json(row) for row in json.loads(stored["rows"].tobytes())]
            for name in stored.files:
                if "/" in name:
                    field, _, number = name.partition("/")
                    rows[int(number)] = replace(rows[int(number)], **{field: stored[name]})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, BadItem):  # none, or half a file: compute anew
        return None
    return rows


assert {"hits", "replicates"} == NOT_STORED <= {f.name for f in fields(Score)}
