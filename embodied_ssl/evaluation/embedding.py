"""Features of any folder of pictures, written for use elsewhere: one row a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.features import extract
from embodied_ssl.evaluation.pictures import Preprocessing, Progress, silent
from embodied_ssl.files import atomic


class _Unlabelled(Source):
    """Pictures with a label that says which picture it is, so that rows and files stay together when some are skipped."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name, self.provides, self.recordings, self.bad = source.name, source.provides, source.recordings, source.bad

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return {**self.source[index], "label": index}


def embed_folder(
    backbone: Backbone, preprocessing: Preprocessing, root: str, out: Path, device: torch.device, on_progress: Progress = silent
) -> tuple[int, tuple[BadItem, ...]]:
    """Write the last layer's features of every picture below a folder.

    ``.parquet`` has columns ``path`` and ``features`` (a list of float32); ``.npy`` is float32 [N, D] with the paths
    beside it in ``.txt``, one a line.

    Returns:
        Rows written, and what could not be read.

    Raises:
        UserError: another suffix, or not one picture can be read.
    """
    if out.suffix not in (".npy", ".parquet"):
        raise UserError(f"'{out}' must end in .npy or .parquet")
    source = PictureFolder(root=root).open("all")
    table = extract(backbone, preprocessing, _Unlabelled(source), device, on_progress=on_progress)
    features = table.features[table.last]
    paths = [source.recordings[i] for i in table.labels]
    buffer = io.BytesIO()
    if out.suffix == ".npy":
        np.save(buffer, features)
        with atomic(out.with_suffix(".txt")) as file:
            file.write("".join(f"{path}\n" for path in paths).encode())
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"path": paths, "features": list(features)}), buffer)
    with atomic(out) as file:
        file.write(buffer.getbuffer())
    return len(features), table.bad
