"""Diagnose networks: open what was named, examine it on pictures, and write one report with everything measured and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embodied_ssl.distributed import choose_device
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.examination import LayerHealth
from embodied_ssl.evaluation.exhibits import Drawing, Exhibits, open_pictures
from embodied_ssl.evaluation.models import open_model, with_own_names
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.files import write_json
from embodied_ssl.report.model_report import examinations, sections, write_model_report


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        report: the HTML file; the rows lie beside it as ``.json``.
        rows: one a layer of each network, the untrained twin of the first trained one among them.
    """

    report: Path
    rows: list[LayerHealth]


def diagnose(
    models: Sequence[str],
    on: str,
    out: Path,
    *,
    size: int = 0,
    drawing: Drawing | None = None,
    device: str = "auto",
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> Diagnosis:
    """Examine networks on a folder of pictures and write the report.

    Args:
        models: what `open_model` accepts; two stand side by side, one beside its untrained twin.
        on: a labelled data set, or any folder of pictures.
        out: the HTML file.
        size: pixels that networks are shown; 0 for each one's own.
        drawing: how many pictures are drawn, and which views are made.
        device: where networks run.
        cache: a folder that keeps features between calls.
        on_progress: told what is done.

    Raises:
        UserError: what is named cannot be opened, ``out`` is no .html file, or features are no numbers.
    """
    if out.suffix != ".html":
        raise UserError(f"'{out}' must end in .html")
    opened = with_own_names([open_model(given, size=size) for given in models])
    exhibits = Exhibits(open_pictures(on), drawing, on_progress)
    found = examinations(opened, exhibits, choose_device(device), cache, on_progress)
    report = write_model_report(
        out, sections(found, exhibits, on_progress), [model.name for model in opened], exhibits.target.name
    )
    rows = [row for one in found for row in one.layers]
    write_json(out.with_suffix(".json"), [row.to_json() for row in rows])
    return Diagnosis(report, rows)
