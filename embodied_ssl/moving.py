"""Ask networks how their features move with the camera: open what was named, measure it on drives, and write one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embodied_ssl import discover
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.distributed import choose_device
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.equivariance import Equivariance, measure
from embodied_ssl.evaluation.models import open_model, with_own_names
from embodied_ssl.evaluation.motion.pairs import Drawing
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.evaluation.run import evaluation_cache
from embodied_ssl.evaluation.scores import save_scores
from embodied_ssl.inspection import spec_at
from embodied_ssl.report.motion_report import write_motion_report
from embodied_ssl.settings import override


@dataclass(frozen=True)
class Asked:
    """What to do, as the command line says it.

    Args:
        on: a folder of drives.
        reader: which reader opens it; "" for the first that recognises it.
        changes: ``data.KEY=value`` of the reader, ``drawing.KEY=value`` of `Drawing`.
        folds: as in `Drawing`.
        layers: names of stages, ``all``, or none for the last; ``projection`` is what the run's loss looked at.
        seeds: how many untrained networks stand beside each architecture.
        size: pixels that networks are shown; 0 for each one's own.
        device: where networks run: cpu, cuda or auto.
        cached: keep features between calls.
    """

    on: str
    reader: str = ""
    changes: tuple[str, ...] = ()
    folds: int = 0
    layers: tuple[str, ...] = ()
    seeds: int = 3
    size: int = 0
    device: str = "auto"
    cached: bool = True


def open_drives(root: str, reader: str = "", changes: Sequence[str] = ()) -> tuple[DataSpec, Drawing]:
    """The reader of a folder and what to draw from it, with ``data.KEY=value`` and ``drawing.KEY=value`` applied.

    Raises:
        UserError: no such folder, reader or setting, or nothing here reads the folder.
    """
    if reader:
        known = {kind.__name__: kind for kind in discover.specs()}
        if reader not in known:
            raise UserError(f"no reader is called '{reader}'{suggest(reader, known)}; see `embodied-ssl list datasets`")
        spec = known[reader](root=root)  # type: ignore[call-arg]
    else:
        spec = spec_at(root)
    both: Mapping[str, Any] = {"data": spec, "drawing": Drawing()}
    for change in changes:
        both = override(both, change)
    return both["data"], both["drawing"]


def examine(models: Sequence[str], asked: Asked, out: Path, on_progress: Progress = silent) -> Equivariance:
    """Open what was named, measure it, and write the report and beside it the rows as ``.json``.

    Raises:
        UserError: what is named cannot be opened or measured, or ``out`` is no .html file.
    """
    if out.suffix != ".html":
        raise UserError(f"'{out}' must end in .html")
    spec, drawing = open_drives(asked.on, asked.reader, asked.changes)
    opened = with_own_names([open_model(given, size=asked.size) for given in models])
    found = measure(
        opened,
        spec,
        replace(drawing, folds=asked.folds or drawing.folds),
        layers=asked.layers,
        random_seeds=range(asked.seeds),
        device=choose_device(asked.device),
        cache=evaluation_cache() if asked.cached else None,
        on_progress=on_progress,
    )
    write_motion_report(out, found)
    save_scores(out.with_suffix(".json"), found.scores)
    return found
