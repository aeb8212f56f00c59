"""The report of one network or several side by side: how healthy, how alike, where they look, what they take for alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from embodied_ssl.backbones import untrained
from embodied_ssl.datasets.target import Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.examination import Examination, examine
from embodied_ssl.evaluation.exhibits import Drawing, Exhibits
from embodied_ssl.evaluation.models import UNTRAINED, Model
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.report.attention import POWERS, attention_sheet
from embodied_ssl.report.drawings import Drawings, Drawn
from embodied_ssl.report.filters import filters_figure
from embodied_ssl.report.health import Health, cka_figure
from embodied_ssl.report.neighbours import nearest, neighbour_sheet, precision_line, shown_queries
from embodied_ssl.report.report import BadItems, Facts, Section, write_report
from embodied_ssl.report.scatter import How, has_umap, scatter_figure


def model_sections(
    models: Sequence[Model],
    target: Target,
    *,
    drawing: Drawing | None = None,
    device: str | torch.device = "cpu",
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> list[Section]:
    """Examine networks on a target and draw everything. The untrained twin of the first trained one stands beside them.

    Args:
        models: one or several, each with a name of its own. A single one is drawn beside its untrained twin.
        target: with labels or without (`embodied_ssl.evaluation.exhibits.open_pictures`).
        drawing: how many pictures, and which views.
        device: where networks run.
        cache: a folder that keeps features between calls.
        on_progress: told what is done.

    Raises:
        UserError: no model, two of one name, or features that are no numbers.
    """
    exhibits = Exhibits(target, drawing, on_progress)
    return sections(examinations(models, exhibits, device, cache, on_progress), exhibits, on_progress)


def examinations(
    models: Sequence[Model], exhibits: Exhibits, device: str | torch.device, cache: Path | None, on_progress: Progress
) -> list[Examination]:
    """Each network examined, and the untrained twin of the first that was trained behind them."""
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UserError(f"models are named {', '.join(names) or 'nothing'}; give at least one, each with a name of its own")
    twins = [
        Model(f"random {one.config.name}", untrained(one.config, 0), one.config, one.preprocessing, "random", 0)
        for one in models
        if one.config is not None and one.about.get("weights") != UNTRAINED
    ][:1]
    return [examine(model, exhibits, device, on_progress, cache) for model in [*models, *twins]]


def sections(found: Sequence[Examination], exhibits: Exhibits, on_progress: Progress = silent) -> list[Section]:
    """What was found, as sections; the untrained twin is drawn only beside a single network, and stands in all tables."""
    shown = found[:2] if len(found) == 2 else [one for one in found if one.model.role != "random"]
    steps: list[Callable[[], Section]] = [
        lambda: Health("Health of the features", [row for one in found for row in one.layers]),
        lambda: _likeness(found),
        lambda: _attention(shown, exhibits),
        lambda: _neighbours(shown, found, exhibits),
        lambda: _filters(shown),
        lambda: _scatter(shown, exhibits),
    ]
    made: list[Section] = [Facts("What was examined", _facts(found, exhibits))]
    for number, step in enumerate(steps, start=1):
        made.append(step())
        on_progress("drawing", number, len(steps))
    return [*made, BadItems("What could not be read", exhibits.bad)]


def write_model_report(path: Path | str, made: Sequence[Section], names: Sequence[str], on: str) -> Path:
    """Write the sections as one self-contained HTML file."""
    return write_report(path, made, " and ".join(names), f"features examined on {on}")


def _facts(found: Sequence[Examination], exhibits: Exhibits) -> Mapping[str, object]:
    facts: dict[str, object] = {}
    for one in found:
        about = one.model.about
        parts = [one.model.role, str(about.get("method", "")).removesuffix("Config"), str(about.get("weights", ""))]
        if one.model.examples_seen:
            parts.append(f"{one.model.examples_seen:,} pictures seen")
        how = one.model.preprocessing
        parts.append(f"shown {how.size} of {how.resize} pixels")
        facts[one.model.name] = ", ".join(part for part in parts if part)
    drawing, first = exhibits.drawing, found[0]
    classes = f", {len(exhibits.classes)} classes" if exhibits.classes else ""
    facts["pictures"] = f"{exhibits.target.name}{classes}; {exhibits.target.note}"
    facts["examined"] = (
        f"{len(first.queries.labels)} of the test part; neighbours among {len(first.gallery.labels)} of the train part"
    )
    least, most = drawing.area
    facts["views"] = (
        f"{drawing.views} each of {min(drawing.viewed, len(first.queries.labels))} pictures: crops of {least:.0%} to {most:.0%} "
        f"of the picture, mirrored half of the time, colours changed; seed {drawing.seed}"
    )
    facts["intervals"] = "95 %, over pictures; what another training seed would change is not in them"
    return facts


def _likeness(found: Sequence[Examination]) -> Section:
    drawn = cka_figure([one.queries for one in found])
    note = (
        "Unbiased linear CKA on the same pictures: 1 when one layer's space is the other's turned and scaled, 0 when they are "
        "unrelated. Networks that differ in their weights alone share much: compare with the untrained one."
    )
    return Drawings("Likeness of layers", [Drawn(drawn, "", "matrices of CKA between layers")], note)


def _attention(shown: Sequence[Examination], exhibits: Exhibits, count: int = 6) -> Section:
    models = [one.model for one in shown]
    seen = [model.preprocessing.centre(exhibits.queries(model.preprocessing).pixels[:count]) for model in models]
    every = attention_sheet(models, seen, [(i, 2) for i in range(len(seen[0]))])
    powers = attention_sheet(models, seen, [(0, power) for power in POWERS])
    note = (
        "Bright: where activations are strong, summed over channels to the power p and scaled to each map's own range, so that "
        "brightness compares places and not networks. Pictures are drawn at random."
    )
    drawn = [
        Drawn(every, "Every stage at p = 2.", "attention maps of every stage"),
        Drawn(
            powers,
            "One picture at p = 1, 2 and 4: larger p lets the strongest channels alone speak.",
            "attention at three powers",
        ),
    ]
    return Drawings("Where they look", drawn, note)


def _neighbours(shown: Sequence[Examination], found: Sequence[Examination], exhibits: Exhibits) -> Section:
    neighbours = {one.model.name: nearest(one.queries, one.gallery, one.queries.last) for one in found}
    names = [one.model.name for one in shown]
    first, labels = shown[0].model, shown[0].queries.labels
    queries = first.preprocessing.centre(exhibits.queries(first.preprocessing).pixels)
    galleries = [one.model.preprocessing.centre(exhibits.gallery(one.model.preprocessing).pixels) for one in shown]
    found_by = [neighbours[name] for name in names]
    drawn = neighbour_sheet(names, found_by, queries, galleries, shown_queries(labels), labels, exhibits.classes)
    lines = [precision_line(name, one) for name, one in neighbours.items()] if exhibits.classes else []
    note = "The nearest pictures of the train part by cosine of the last layer's features; queries are drawn at random." + (
        " Green frames: the query's class; orange: another." if exhibits.classes else ""
    )
    return Drawings("What they take for alike", [Drawn(drawn, "", "queries with their nearest neighbours")], note, lines)


def _filters(shown: Sequence[Examination]) -> Section:
    note = "Each filter with 0 at mid grey and its largest weight at full contrast, strongest first."
    drawn = filters_figure([one.model for one in shown])
    return Drawings("Filters of the first convolution", [Drawn(drawn, "", "first filters of each network")], note)


def _scatter(shown: Sequence[Examination], exhibits: Exhibits) -> Section:
    tables, layers = [one.queries for one in shown], [one.queries.last for one in shown]
    hows: tuple[How, ...] = ("t-SNE", "UMAP") if has_umap() else ("t-SNE",)
    drawn = [
        Drawn(
            scatter_figure(tables, layers, exhibits.classes, how, exhibits.drawing.seed),
            how,
            f"{how} of the last layer's features",
        )
        for how in hows
    ]
    note = (
        "The last layer's features laid out in the plane. Only who is next to whom means anything: not distances between groups, "
        "not their sizes, not empty space. Colours were not used in making it."
    )
    return Drawings("All pictures on one sheet", drawn, note)
