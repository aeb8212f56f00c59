"""Hash a folder of simulated data anew, and say what of it is sound, altered, missing or half-written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.sim.collecting.identity import KIND, spec_in
from embodied_ssl.sim.collecting.shards import count_of, trouble
from embodied_ssl.sim.collecting.store import Manifest, hash_of
from embodied_ssl.sim.drive import collect as drives
from embodied_ssl.sim.rows import shard_name

Judge = Callable[[str, Mapping[str, Any] | None], str]  # name and facts of a piece: what is wrong with it, "" for nothing
STATES = ("sound", "altered", "missing", "half-written")


@dataclass(frozen=True)
class Verdict:
    """What `verify` has found.

    Attributes:
        folder: that was looked at.
        kind: of data.
        states: of every piece that the folder should hold, in order, and of files that a kill has left half-written.
        sha256: over the content as it lies there, if all of it is sound.
        manifest_sound: whether the manifest's own hashes are right.
    """

    folder: Path
    kind: str
    states: dict[str, str]
    sha256: str
    manifest_sound: bool

    @property
    def whole(self) -> bool:
        """Whether everything is there as it was made."""
        return self.manifest_sound and all(state == "sound" for state in self.states.values())

    def named(self, state: str) -> list[str]:
        """Pieces in this state."""
        return [name for name, one in self.states.items() if one == state]

    def to_json(self) -> dict[str, Any]:
        """For programs: pieces by their state, the sound ones only counted."""
        counted = {"sound": len(self.named("sound")), **{state: self.named(state) for state in STATES[1:]}}
        return {"folder": str(self.folder), "kind": self.kind, "whole": self.whole, "sha256": self.sha256, **counted} | {
            "manifest": "sound" if self.manifest_sound else "altered"
        }


def verify(folder: Path, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Verdict:
    """Look at every piece.

    Args:
        folder: that simulate has written.
        on_progress: called with (done, total) pieces.

    Raises:
        UserError: it has no manifest, or one of another version.
    """
    manifest = Manifest.load(folder)
    names, judge = _expected(manifest)
    states = {}
    for name in names:
        states[name] = judge(name, manifest.pieces.get(name)) or "sound"
        on_progress(len(states), len(names))
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        states[path.relative_to(folder).as_posix()] = "half-written"
    sound = all(state == "sound" for state in states.values())
    sha256 = manifest.content_hash() if sound else ""
    return Verdict(folder, str(manifest.spec.get("kind")), states, sha256, _sound_manifest(manifest, sha256))


def _expected(manifest: Manifest) -> tuple[list[str], Judge]:
    """The names of all pieces, and who can judge them."""
    kind = manifest.spec.get("kind")
    if kind not in (KIND, drives.KIND):
        raise UserError(f"'{manifest.folder}' holds simulated {kind}, which cannot be verified; give one of {KIND} or drives")
    try:
        if kind == drives.KIND:
            return drives.expected(manifest)
        count = count_of(spec_in(manifest.spec))
    except TypeError as error:
        raise UserError(f"'{manifest.folder}' was written by another version ({error}); verify it with that one") from None
    return [shard_name(number) for number in range(count)], lambda name, facts: trouble(manifest.folder, name, facts)


def _sound_manifest(manifest: Manifest, sha256: str) -> bool:
    """Whether what the manifest says of itself is so; an unfinished one says less."""
    claimed = manifest.spec_hash in ("", hash_of(manifest.spec))
    return claimed and (not manifest.sha256 or not sha256 or manifest.sha256 == sha256)
