"""A study's tables: runs of one method joined over their seeds, baselines once, every figure with its interval.

Written as Markdown and as a page, for people, and as JSON with every row, for everything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from embodied_ssl.evaluation.compare import welch
from embodied_ssl.evaluation.differences import difference_row, slot
from embodied_ssl.evaluation.scores import Score, column, format_value, grid, headline, place, save_scores, verdict
from embodied_ssl.evaluation.statistics import seed_reach, t_interval
from embodied_ssl.files import atomic
from embodied_ssl.report.asked_table import HEAD, AskedTable
from embodied_ssl.report.report import ScoreTable, Section, write_report
from embodied_ssl.report.study_matrix import NOTE, MatrixTables, Place, matrices, place_of


class Named(Protocol):
    """A network of a study."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def backbone(self) -> str: ...


Cells = Sequence[tuple[Named, Sequence[Score]]]


def write_tables(out: Path, cells: Cells, asked: Cells = ()) -> Path:
    """Write ``scores.json`` (rows of every cell, then the joined ones), ``report.html`` and ``table.md``; returns the last.

    Args:
        out: the study's folder.
        cells: what each network scored on a target.
        asked: what each network answered of its own question.
    """
    cells = told_apart(cells)
    joined = join(cells)
    every = {_identity(score): score for _, scores in cells for score in scores}
    save_scores(out / "scores.json", [*every.values(), *(row for row in joined if _identity(row) not in every)])
    places = {network.name: place_of(network.name, network.backbone) for network, _ in cells if network.backbone}
    questions = AskedTable("What each was asked", [(network.name, scores) for network, scores in asked])
    sections: list[Section] = [questions]
    for dataset in dict.fromkeys(score.dataset for score in joined):
        here = [score for score in joined if score.dataset == dataset]
        sections += [MatrixTables(f"{dataset}: tasks and backbones", matrices(places, here)), ScoreTable(dataset, here)]
    write_report(out / "report.html", sections, out.name, "Every figure beside untrained networks and plain descriptors.")
    with atomic(out / "table.md") as file:
        lines = questions.lines()
        head = f"## {questions.title}\n\n{_lines(HEAD, lines)}\n\n" if lines else ""
        file.write((head + markdown(joined, places)).encode())
    return out / "table.md"


def told_apart(cells: Cells) -> Cells:
    """Baselines of one name that were shown other pictures get names of their own: ``random resnet18 at 96 pixels``.

    Every cell has baselines made for its own network. Networks trained at another size are judged at another size, and so are
    their untrained twins.
    """
    kinds: dict[str, list[str]] = {}
    sides: dict[tuple[str, str], int] = {}
    for _, scores in cells:
        for score in scores:
            shown = json.dumps(score.settings.get("preprocessing"), sort_keys=True)
            if score.role in ("random", "supervised", "descriptor") and shown not in kinds.setdefault(score.model, []):
                kinds[score.model].append(shown)
                sides[score.model, shown] = (score.settings.get("preprocessing") or {}).get("size", 0)
    several = {name for name, found in kinds.items() if len(found) > 1}
    if not several:
        return cells

    def named(model: str, score: Score) -> str:
        shown = json.dumps(score.settings.get("preprocessing"), sort_keys=True)
        if model not in several or shown not in kinds[model]:
            return model
        side = sides[model, shown]
        alike = sum(sides[model, other] == side for other in kinds[model]) > 1
        return f"{model} ({kinds[model].index(shown) + 1})" if alike else f"{model} at {side} pixels"

    def renamed(score: Score) -> Score:
        against = score.settings.get("against")
        settings = {**score.settings, "against": named(against, score)} if against else score.settings
        return replace(score, model=named(score.model, score), settings=settings)

    return [(network, [renamed(score) for score in scores]) for network, scores in cells]


def join(cells: Cells) -> list[Score]:
    """One row a method and figure: mean over seeds with Student's interval; of one seed, its own interval.

    Baselines, which are the same in every cell of a target, stand once. The difference to random init is Welch's over both
    sides' seeds where the method has two or more, and otherwise that one network's, paired by picture. The study's first method
    is held against each other one too, where both have two seeds or more.
    """
    rows: dict[tuple[Any, ...], Score] = {}
    own: dict[tuple[Any, ...], list[Score]] = {}
    for network, scores in cells:
        for score in scores:
            if score.model == network.label:
                own.setdefault((network.name, score.dataset, *slot(score), _every(score)), []).append(score)
            elif score.main:
                rows[_identity(score)] = score
    methods = [_over_seeds(key[0], found) for key, found in own.items() if found[0].main or found[0].metric == "minus_random"]
    baselines = list(rows.values())
    return [*(_against_seeds(row, own, baselines) for row in methods), *_first_against_others(own), *baselines]


def markdown(scores: Sequence[Score], places: Mapping[str, Place] | None = None) -> str:
    """A heading for each data set, a table for each protocol, then the differences to random init.

    Before them, where the runs have several backbones, tasks x backbones.
    """
    parts = []
    for dataset in dict.fromkeys(score.dataset for score in scores):
        here = [score for score in scores if score.dataset == dataset]
        note = next((score.settings["split"] for score in here if score.settings.get("split")), "")
        parts.append(f"## {dataset}\n\n{here[0].n} test items; {note}." if note else f"## {dataset}")
        small = [_lines(head, lines) for head, *lines in (matrix.lines() for matrix in matrices(places or {}, here))]
        parts += [*small, NOTE] if small else []
        shown = headline(here)
        for group in dict.fromkeys(map(_group, shown)):
            parts.append(_table([score for score in shown if _group(score) == group]))
        parts += [_differences(here, metric) for metric in ("minus_random", "minus_other")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _differences(scores: Sequence[Score], metric: str) -> str:
    """One line a difference; "" where there is none."""
    found = [score for score in scores if score.metric == metric]
    random = metric == "minus_random"
    head = ("model", "minus random init" if random else "minus", "points", "interval", "says")
    of = [column(s) if random else f"{s.settings['against']}: {column(s)}" for s in found]
    over = [str(s.settings.get("interval", "")) for s in found]
    lines = [(s.model, what, format_value(s), how, verdict(s)) for s, what, how in zip(found, of, over, strict=True)]
    return _lines(head, lines) if found else ""


def _group(score: Score) -> tuple[str, str]:
    """The table a figure belongs to: its protocol's; by shots, one for each choice of layer, so that it fits a page."""
    return score.protocol, score.choice if score.shots is not None else ""


def _table(scores: Sequence[Score]) -> str:
    columns, models, cells = grid(scores)
    lines = []
    for model, role in models:
        found = [cells.get((model, name)) for name in columns]
        seeds = max((int(score.settings.get("seeds", 1)) for score in found if score), default=1)
        lines.append((model, role, str(seeds), *(f"{format_value(s)} {place(s)}".strip() if s else "–" for s in found)))
    return _lines(("model", "role", "seeds", *columns), lines)


def _lines(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)


def _over_seeds(name: str, found: Sequence[Score]) -> Score:
    first = replace(found[0], model=name)
    if len(found) < 2:
        return first
    mean, std, estimate = t_interval([score.value for score in found])
    layers = ", ".join(dict.fromkeys(score.layer for score in found))
    settings = {**first.settings, "seeds": len(found), "interval": "Student's t over pretraining seeds"}
    interval = (estimate.low, estimate.high)
    return replace(first, layer=layers, value=mean, std=std, interval=interval, pretrain_seed=None, settings=settings)


def _against_seeds(row: Score, own: dict[tuple[Any, ...], list[Score]], baselines: Sequence[Score]) -> Score:
    """A difference to random init over both sides' seeds, where the method has several; any other row as it is."""
    if row.metric != "minus_random":
        return row
    place = (row.protocol, row.choice, row.shots, row.settings["of"])
    values = [score.value for score in own.get((row.model, row.dataset, *place, ""), [])]
    random = [
        score.value
        for score in baselines
        if (score.dataset, score.model, *slot(score)) == (row.dataset, row.settings["against"], *place)
        and score.pretrain_seed is not None
    ]
    if len(values) < 2 or len(random) < 2:
        return row
    # Both sides' seeds are in this interval, so nothing is left for the reach of one more untrained seed to say.
    settings = {**row.settings, "interval": "Welch's t over seeds", "seed_reach": 0.0, "untrained_reach": seed_reach(random)}
    return difference_row(row, "minus_random", welch(values, random), settings)


def _first_against_others(own: dict[tuple[Any, ...], list[Score]]) -> list[Score]:
    """Main figures of the first method less those of each other, over both sides' seeds."""
    names = list(dict.fromkeys(key[0] for key in own))
    rows = []
    for (name, *which), found in own.items():
        for other in names[1:] if name == names[0] and found[0].main else ():
            others = own.get((other, *which), [])
            if min(len(found), len(others)) >= 2:
                estimate = welch([score.value for score in found], [score.value for score in others])
                settings = {**found[0].settings, "against": other, "seeds": len(found), "interval": "Welch's t over seeds"}
                rows.append(difference_row(_over_seeds(name, found), "minus_other", estimate, settings))
    return rows


def _every(score: Score) -> str:
    return score.layer if score.choice == "every" else ""


def _identity(score: Score) -> tuple[Any, ...]:
    return score.model, score.role, score.dataset, *slot(score), _every(score), score.pretrain_seed
