"""Interactions as a WebDataset: tar files of up to 1000 samples, in which the files of a sample share the start of their names.

``train-000000.tar``, ... and ``valid-000000.tar``, ... share no thing that was acted on. Of an interaction there is

- ``000017.before.png``, ``.after.png``, ``.depth_before.png``, ...: every picture and film under the name of its column, the very
  bytes of the native row. ``decode("rgb8")`` is for colour; of 16-bit depth it would keep 8 bits, so hand those to OpenCV
  (``IMREAD_UNCHANGED``), as in ``decode(wds.handle_extension("depth_before.png", read_depth))``;
- ``.force.npy``, ...: lists of any length and vectors of more than 16 numbers, in the type of their column;
- ``.json``: everything else, by the names of the columns, with ``task_name`` and ``part``.

What a row does not have (the film of an interaction without one) is absent. ``train.json`` and ``valid.json`` are indexes with
the number of samples in each tar file, as WebDataset's own indexed reader has them.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from embodied_ssl.sim.export.columns import FEW, Layout
from embodied_ssl.sim.export.native import Native, NativeRow

SAMPLES = 1000  # a tar file


def _suffix(data: bytes) -> str:
    """Of encoded bytes, by what they begin with."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:2] == b"\xff\xd8":
        return "jpg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "mp4" if data[4:8] == b"ftyp" else "bin"


class Tars:
    """Tar files of one part of the data, one after another; they say nothing of who made them and when.

    Args:
        folder: where they are made.
        part: train or valid.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part
        self.counts: list[int] = []  # samples in each
        self._tar: tarfile.TarFile | None = None

    def add(self, files: dict[str, bytes]) -> None:
        """Append a sample, by names of files."""
        if self._tar is None or self.counts[-1] >= SAMPLES:
            self.close()
            path = self.folder / f"{self.part}-{len(self.counts):06d}.tar"
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.counts.append(0)
        for name, data in files.items():
            header = tarfile.TarInfo(name)  # its time and owner are zero
            header.size = len(data)
            self._tar.addfile(header, io.BytesIO(data))
        self.counts[-1] += 1

    def close(self) -> None:
        """Finish the file at hand."""
        if self._tar is not None:
            self._tar.close()
        self._tar = None

    def index(self) -> dict[str, Any]:
        """What there is."""
        shards = [{"url": f"{self.part}-{number:06d}.tar", "nsamples": count} for number, count in enumerate(self.counts)]
        return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": self.part, "shardlist": shards}


class Writer:
    """A WebDataset being written.

    Args:
        native: what is exported.
        layout: of its columns.
        out: an empty folder.
    """

    def __init__(self, native: Native, layout: Layout, out: Path) -> None:
        self.native, self.layout, self.out = native, layout, out
        self._tars = {part: Tars(out, part) for part in ("train", "valid")}
        self._number = 0

    def add(self, row: NativeRow) -> None:
        """Append an interaction."""
        self.layout.check(row)
        part = "valid" if row.valid else "train"
        texts: dict[str, Any] = {"task_name": row.task, "part": part}
        files: dict[str, bytes] = {}
        for column in self.layout.columns.values():
            value = row.values[column.name]
            if column.kind in ("list", "vector") and (column.kind == "list" or column.length > FEW):
                with io.BytesIO() as buffer:
                    np.save(buffer, column.array(value))
                    files[f"{column.name}.npy"] = buffer.getvalue()
            elif isinstance(value, bytes):
                files[f"{column.name}.{_suffix(value)}"] = value
            elif column.kind in ("number", "vector", "text", "texts", "other"):
                texts[column.name] = value
        files["json"] = (json.dumps(texts) + "\n").encode()
        self._tars[part].add({f"{self._number:06d}.{name}": data for name, data in files.items()})
        self._number += 1

    def finish(self) -> None:
        """Finish all files, and write the indexes."""
        self.close()
        for part, tars in self._tars.items():
            if tars.counts:
                (self.out / f"{part}.json").write_text(json.dumps(tars.index(), indent=1) + "\n")

    def close(self) -> None:
        """Finish the files at hand."""
        for tars in self._tars.values():
            tars.close()
