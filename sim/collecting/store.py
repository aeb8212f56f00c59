"""A folder that is filled piece by piece, by one process or by many at once, and can be left at any moment.

Layout::

    manifest.json        what the folder is to hold; once it is whole also facts of all pieces and one hash over their content
    facts/NAME.json      facts of a finished piece, until the manifest has taken them in
    whatever the pieces are

Each piece is written under a temporary name, synced and renamed, and its facts after it. Nobody writes another's files, so
any number of machines may fill one folder, and folders filled apart are joined by copying them into one. A process may be killed
at any time: a piece without facts does not count.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied_ssl.claims import NO_LOCKS
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY, remove_leftovers, whole

MANIFEST = "manifest.json"
FACTS = "facts"
MENTIONED = 5  # differences that a message names


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
        sha256: over the content of all pieces as it was when the folder was whole; "" before.
        spec_hash: of the specification when it was written.
    """

    folder: Path
    spec: dict[str, Any]
    pieces: dict[str, dict[str, Any]] = field(default_factory=dict)
    sha256: str = ""
    spec_hash: str = ""

    def save(self) -> None:
        """Write it with all pieces, whose own files of facts are then no longer needed and go."""
        pieces = dict(sorted(self.pieces.items()))
        body = {"spec": self.spec, "spec_hash": hash_of(self.spec), "sha256": self.sha256, "pieces": pieces}
        with whole(self.folder / MANIFEST) as file:
            file.write((json.dumps(body, indent=1) + "\n").encode())
        for name in self.pieces:
            (self.folder / FACTS / f"{name}.json").unlink(missing_ok=True)
        for place in sorted((self.folder / FACTS).rglob("*"), reverse=True) if pieces else []:
            with suppress(OSError):  # holds facts of others
                place.rmdir()
        with suppress(OSError):
            (self.folder / FACTS).rmdir()

    def finish(self) -> None:
        """The folder is whole: write it for good."""
        self.sha256 = self.content_hash()
        self.save()

    def add(self, name: str, facts: dict[str, Any]) -> None:
        """List a finished piece."""
        self.pieces[name] = facts
        write_facts(self.folder, hash_of(self.spec), name, facts)

    def drop(self, name: str) -> None:
        """Forget a piece that is not what it was."""
        self.pieces.pop(name, None)
        self.sha256 = ""
        (self.folder / FACTS / f"{name}.json").unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read it, and the facts that it has not taken in yet.

        Raises:
            UserError: there is none, or it is not one of ours.
        """
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_text())
            pieces = {str(name): dict(facts) for name, facts in body["pieces"].items()}
            found = cls(folder, dict(body["spec"]), pieces, str(body.get("sha256", "")), str(body.get("spec_hash", "")))
        except OSError as error:
            raise UserError(f"'{path}' cannot be read ({error.strerror}); give a folder that simulate has written") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"'{path}' is not a manifest of simulated data; give a folder that simulate has written") from None
        found._take_in_facts()
        return found

    def take_in_others(self, own: Collection[str]) -> None:
        """List what other processes have finished since; of our own pieces, ``own``, we know better."""
        found = Manifest.load(self.folder).pieces
        self.pieces |= {name: facts for name, facts in found.items() if name not in own}

    def _take_in_facts(self) -> None:
        """Read the facts of pieces that this or other processes have finished since; those of other data sets do not count."""
        place, own = self.folder / FACTS, hash_of(self.spec)
        for path in sorted(place.rglob("*.json")) if place.is_dir() else []:
            if path.name.startswith(TEMPORARY):
                continue
            with suppress(OSError, ValueError, AttributeError, TypeError):  # gone, or cut short by a kill
                facts = dict(json.loads(path.read_text()))
                if facts.pop("spec_hash") == own:
                    self.pieces[path.relative_to(place).as_posix().removesuffix(".json")] = facts

    def content_hash(self) -> str:
        """One hash over the content of all finished pieces, in the order of their names."""
        return hash_of([[name, facts["sha256"]] for name, facts in sorted(self.pieces.items())])


def write_facts(folder: Path, spec_hash: str, name: str, facts: Mapping[str, Any]) -> None:
    """Say in a file of its own that a piece is finished; whoever made it may do so."""
    path = folder / FACTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        file.write((json.dumps({"spec_hash": spec_hash, **facts}) + "\n").encode())


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{above}{key}.") if isinstance(inner, Mapping) else {f"{above}{key}": inner}
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what two specifications disagree on."""
    there, now = _flat(old), _flat(new)
    words = [f"{key} {there[key]!r} there, {now.get(key)!r} now" for key in there if there[key] != now.get(key)]
    words += [f"{key} absent there, {now[key]!r} now" for key in now if key not in there]
    more = f"; and {len(words) - MENTIONED} more" if len(words) > MENTIONED else ""
    return "; ".join(words[:MENTIONED]) + more


def _prepare(out: Path, spec: dict[str, Any], resume: bool, names: Collection[str] | None) -> Manifest:
    """The manifest of a folder that may be filled with this."""
    there = [path for path in out.iterdir() if not path.name.startswith(TEMPORARY)]
    if (out / MANIFEST).exists():
        if not resume:
            raise UserError(f"'{out}' already holds a data set; pass --resume to continue or choose another --out")
        manifest = Manifest.load(out)
    elif there:
        more = " and holds no data set to resume" if resume else ""
        raise UserError(f"'{out}' is not empty{more}; choose another --out")
    else:
        Manifest(out, spec).save()
        manifest = Manifest.load(out)  # another process may have been quicker
    if manifest.spec != spec:
        found = differences(manifest.spec, spec)
        raise UserError(f"'{out}' holds another data set ({found}); give the same settings or choose another --out")
    _remove_leftovers(out, names)
    return manifest


def _remove_leftovers(out: Path, names: Collection[str] | None) -> None:
    """Clear away what was killed half-written: everything, or of these pieces only where others are at work beside."""
    if names is None:
        remove_leftovers(out)
        return
    ours = tuple(f"-{name}" for name in names) + tuple(f"-{name}.json" for name in names)
    for path in [*out.glob(f"{TEMPORARY}*"), *(out / FACTS).glob(f"{TEMPORARY}*")]:
        if path.name.endswith(ours):
            path.unlink(missing_ok=True)


def _lock(handle: int, shared: bool) -> bool:
    """Whether the folder could be locked, or its file system has no locks."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # NFS wants a file open for writing, which a folder cannot be
        return error.errno in (*NO_LOCKS, errno.EBADF)
    return True


@contextmanager
def filling(out: Path, spec: dict[str, Any], resume: bool, names: Collection[str] | None = None) -> Iterator[Manifest]:
    """Open a folder for filling.

    Args:
        out: made if absent.
        spec: everything that decides the content, as JSON has it.
        resume: go on with what is there; without it the folder must be empty.
        names: the pieces that this process will make while others make others; None for one process alone, at whose end the
            manifest is written.

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
        if not _lock(handle, shared=names is not None):
            raise UserError(f"'{out}' is being filled by another process; wait for it or choose another --out")
        manifest = _prepare(out, spec, resume, names)
        try:
            yield manifest
        finally:
            if names is None:
                manifest.save()
    except OSError as error:
        kept = f"{len(manifest.pieces)} finished pieces are kept" if manifest else "nothing was written"
        raise UserError(
            f"cannot write to '{out}' ({error.strerror or error}); {kept}; free some space, then run again with --resume"
        ) from error
    finally:
        os.close(handle)
