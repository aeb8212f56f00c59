"""A folder that is filled piece by piece and can be left at any moment: a manifest, and pieces that are whole or absent.

Each piece is written under a temporary name, synced and renamed; the manifest, written the same way, lists a piece only after
that, with the hash of its content. So a process may be killed at any time, and a later one keeps what is listed and sound.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied_ssl.errors import UserError
from embodied_ssl.files import remove_leftovers, whole

MANIFEST = "manifest.json"


def hash_of(value: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass
class Manifest:
    """What a folder is to hold, and what of it is there.

    Args:
        folder: where it lies.
        spec: everything that decides the content; a resumed run must have the same.
        pieces: for each finished piece its name and facts, of which ``sha256`` is the hash of its content.
    """

    folder: Path
    spec: dict[str, Any]
    pieces: dict[str, dict[str, Any]] = field(default_factory=dict)
    _saved: float = field(default=0.0, init=False, repr=False)

    def save(self) -> None:
        """Write it."""
        self._saved = time.monotonic()
        pieces = dict(sorted(self.pieces.items()))
        body = {"spec": self.spec, "spec_hash": hash_of(self.spec), "pieces": pieces}
        with whole(self.folder / MANIFEST) as file:
            file.write((json.dumps(body, indent=1) + "\n").encode())

    def add(self, name: str, facts: dict[str, Any]) -> None:
        """List a finished piece. It is written at most once a second: a kill in between costs those pieces, no more."""
        self.pieces[name] = facts
        if time.monotonic() - self._saved > 1:
            self.save()

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read it.

        Raises:
            UserError: there is none, or it is not one of ours.
        """
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_text())
            return cls(folder, dict(body["spec"]), {str(name): dict(facts) for name, facts in body["pieces"].items()})
        except OSError as error:
            raise UserError(f"'{path}' cannot be read ({error.strerror}); give a folder that simulate has written") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"'{path}' is not a manifest of simulated data; give a folder that simulate has written") from None

    def content_hash(self) -> str:
        """One hash over the content of all finished pieces, in the order of their names."""
        return hash_of([[name, facts["sha256"]] for name, facts in sorted(self.pieces.items())])


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what two specifications disagree on."""
    words = [f"{key} {old.get(key)!r} there, {new.get(key)!r} now" for key in [*old] if old.get(key) != new.get(key)]
    words += [f"{key} absent there, {new[key]!r} now" for key in new if key not in old]
    return "; ".join(words)


def _prepare(out: Path, spec: dict[str, Any], resume: bool) -> Manifest:
    if any(out.iterdir()) and not resume:
        if (out / MANIFEST).exists():
            raise UserError(f"'{out}' already holds a data set; pass --resume to continue or choose another --out")
        raise UserError(f"'{out}' is not empty; choose another --out")
    remove_leftovers(out)
    if (out / MANIFEST).exists():
        manifest = Manifest.load(out)
        if manifest.spec != spec:
            there = _differences(manifest.spec, spec)
            raise UserError(f"'{out}' holds another data set ({there}); give the same settings or choose another --out")
        return manifest
    if any(out.iterdir()):
        raise UserError(f"'{out}' is not empty and holds no data set to resume; choose another --out")
    manifest = Manifest(out, spec)
    manifest.save()
    return manifest


@contextmanager
def filling(out: Path, spec: dict[str, Any], resume: bool) -> Iterator[Manifest]:
    """Open a folder for filling, alone.

    Args:
        out: made if absent.
        spec: everything that decides the content, as JSON has it.
        resume: go on with what is there; without it the folder must be empty.

    Raises:
        UserError: the folder cannot be made or written, is not empty, holds another data set, is being filled by another
            process, or the disk is full (what was finished is kept).
    """
    spec = json.loads(json.dumps(spec))
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"cannot write to '{out}' ({error.strerror}); choose another --out") from None
    manifest: Manifest | None = None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"'{out}' is being filled by another process; wait for it or choose another --out") from None
        manifest = _prepare(out, spec, resume)
        try:
            yield manifest
        finally:
            manifest.save()
    except OSError as error:
        kept = f"{len(manifest.pieces)} finished pieces are kept" if manifest else "nothing was written"
        raise UserError(
            f"cannot write to '{out}' ({error.strerror or error}); {kept}; free some space, then run again with --resume"
        ) from error
    finally:
        os.close(handle)
