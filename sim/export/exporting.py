"""Export simulated interactions to the formats of other toolkits: the same input gives the same bytes.

Nothing appears under the name of the output before all of it is written. Rows and shards that cannot be read are left out and
named. ``export.json`` says what an export was made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.sim.export.columns import Layout, layout_of
from embodied_ssl.sim.export.finishing import finishing, refuse_taken
from embodied_ssl.sim.export.native import Native, NativeRow, open_native

FORMATS = ("lerobot", "hdf5", "webdataset")
FORMAT = 1  # to be raised when the same data no longer give the same export
ON_ITS_OWN = "meta/export.json"
Progress = Callable[[int, int], None]


class Writer(Protocol):
    """An export being written."""

    def add(self, row: NativeRow) -> None:
        """Append an interaction, or raise `BadItem` having written nothing of it."""

    def finish(self) -> None:
        """Finish all files and say what they are."""

    def close(self) -> None:
        """Let go of all files; after `finish` it does nothing."""


@dataclass(frozen=True)
class Choices:
    """What a user may choose, each of one format; see `choices`.

    Args:
        pictures: lerobot's.
        compression: hdf5's.
    """

    pictures: Literal["video", "image"] = "video"
    compression: Literal["gzip", "lzf", "none"] = "gzip"


_ACCEPTED = {"pictures": ("lerobot", ("video", "image")), "compression": ("hdf5", ("gzip", "lzf", "none"))}


def choices(form: str, **given: str) -> Choices:
    """What was chosen, where an empty word leaves the default.

    Raises:
        UserError: there is no such format, or a word is not accepted, or is another format's.
    """
    if form not in FORMATS:
        raise UserError(f"there is no format '{form}'{suggest(form, FORMATS)}")
    chosen = {name: word for name, word in given.items() if word}
    for name, word in chosen.items():
        owner, accepted = _ACCEPTED[name]
        if form != owner:
            raise UserError(f"--{name} is of --format {owner}, not of {form}; leave it out")
        if word not in accepted:
            raise UserError(f"--{name} {word} is not accepted{suggest(word, accepted)}")
    return Choices(**chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Exported:
    """What `export` leaves behind.

    Attributes:
        out: the folder.
        format: its format.
        interactions: how many are in it.
        bytes: how large it is.
        files: how many files it has.
        bad: shards and rows that were left out.
    """

    out: Path
    format: str
    interactions: int
    bytes: int
    files: int
    bad: list[BadItem] = field(default_factory=list)


def _writer(native: Native, layout: Layout, out: Path, form: str, chosen: Choices) -> Writer:
    if form == "lerobot":
        from embodied_ssl.sim.export import lerobot

        return lerobot.Writer(native, layout, out, chosen.pictures)
    if form == "hdf5":
        from embodied_ssl.sim.export import hdf5

        return hdf5.Writer(native, layout, out, chosen.compression)
    from embodied_ssl.sim.export import webdataset

    return webdataset.Writer(native, layout, out)


def export(
    folder: Path,
    out: Path,
    form: str,
    chosen: Choices | None = None,
    unfinished: bool = False,
    on_progress: Progress | None = None,
) -> Exported:
    """Export a folder of interactions.

    Args:
        folder: written by ``embodied-ssl simulate``.
        out: a folder that is absent or empty.
        form: one of `FORMATS`.
        chosen: of that format, from `choices`.
        unfinished: accept a folder that still lacks some of its shards.
        on_progress: called with (done, total) after every interaction.

    Raises:
        UserError: the request or a folder is refused, nothing can be read, or the disk is full; nothing is left behind.
    """
    chosen = chosen or choices(form)
    tell = on_progress or (lambda done, total: None)
    refuse_taken(out)
    native = open_native(folder, unfinished)
    layout = layout_of(native)
    with finishing(out) as temporary:
        writer = _writer(native, layout, temporary, form, chosen)
        try:
            written = _write(native, writer, tell)
            if not written:
                raise UserError(f"none of the {native.total} interactions of '{folder}' can be read; the first: {native.bad[0]}")
            writer.finish()
        finally:
            writer.close()
        _describe(temporary, native, form, chosen, written)
        files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    return Exported(out, form, written, size, len(files), native.bad)


def _write(native: Native, writer: Writer, tell: Progress) -> int:
    """Append every row that can be read; returns how many."""
    written = 0
    for done, row in enumerate(native.rows()):
        try:
            writer.add(row)
            written += 1
        except BadItem as item:
            native.bad.append(item)
        tell(done + 1, native.total)
    return written


def _describe(out: Path, native: Native, form: str, chosen: Choices, written: int) -> None:
    own = {name: getattr(chosen, name) for name, (owner, _) in _ACCEPTED.items() if owner == form}
    left_out: list[Any] = [{"name": item.name.removeprefix(f"{native.folder}/"), "reason": item.reason} for item in native.bad]
    about = {"export": FORMAT, "format": form, **own, "written": written, **native.origin(), "left_out": left_out}
    path = out / (ON_ITS_OWN if form == "lerobot" else "export.json")
    path.write_text(json.dumps(about, indent=1) + "\n")
