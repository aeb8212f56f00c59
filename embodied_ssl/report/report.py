"""The report: one HTML file with everything in it, so that a run can be judged from a phone and sent by mail.

A report is a list of sections, each a small object that knows how to write itself as HTML. No scripts, no outside files;
every piece of text is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from embodied_ssl.core import Panel
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW, Axis
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.scores import Score, column, format_value, grid, headline, place, verdict
from embodied_ssl.files import atomic
from embodied_ssl.report import figures
from embodied_ssl.report.style import STYLE


class Section(Protocol):
    """A part of the report."""

    @property
    def title(self) -> str: ...

    def html(self) -> str:
        """The part below its heading; "" leaves the section out."""


@dataclass(frozen=True)
class Facts:
    """Names and values: what was run, on what, for how long."""

    title: str
    facts: Mapping[str, object]

    def html(self) -> str:
        rows = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in self.facts.items())
        return f'<table class="facts">{rows}</table>' if rows else ""


@dataclass(frozen=True)
class PictureRows:
    """Captioned rows of pictures: what the data are, what the network is shown."""

    title: str
    panels: Sequence[Panel]
    note: str = ""

    def html(self) -> str:
        parts = [_paragraph(self.note)]
        for caption, pictures in self.panels:
            sheet = figures.contact_sheet([(caption, pictures)])
            parts.append(_figure(sheet, caption, f"{caption}: {len(pictures)} pictures"))
        return "".join(parts) if self.panels else ""


@dataclass(frozen=True)
class Curves:
    """Loss and held-out figures over training, each held-out figure beside its chance line."""

    title: str
    log: Path
    note: str = ""

    def html(self) -> str:
        found = figures.read_log(self.log)
        names = [name for name in found if name == "loss"] + figures.held_out_figures(found)
        if not names:
            return _paragraph("Nothing was logged yet.")
        drawn = "".join(_figure(figures.curve(found, name), _last(name, found), f"{name} over training") for name in names)
        return _paragraph(self.note) + f'<div class="tiles">{drawn}</div>'


@dataclass(frozen=True)
class Patterns:
    """The motion patterns found in the training drives; the fields are those of `figures.patterns`, and what was missing."""

    title: str
    centres: ArrayLike
    shares: Sequence[float]
    names: Sequence[str]
    points: ArrayLike
    of: ArrayLike = ()
    axes: Sequence[Axis] = (FORWARD, LEFT_YAW)
    unit: str = ""
    missing: Sequence[str] = ()

    def html(self) -> str:
        drawn = figures.patterns(self.centres, self.shares, self.names, self.points, self.of, self.axes, self.unit)
        lost = f"No pattern goes {', '.join(self.missing)}: the training drives hardly move so, or move more in another way."
        said = (
            "Each dot is the motion between two frames, grey where it is of no pattern; each disc is a pattern, its area growing "
            "with its share of all motions."
        )
        return (_paragraph(lost) if self.missing else "") + _figure(drawn, said, "motion patterns")


@dataclass(frozen=True)
class ScoreTable:
    """The score table: the run beside random init and descriptors, then its differences to random init, then every layer."""

    title: str
    scores: Sequence[Score]

    def html(self) -> str:
        if not self.scores:
            return ""
        parts = [_setting(self.scores), _score_tables(headline(self.scores)), _differences(self.scores)]
        for protocol in dict.fromkeys(score.protocol for score in self.scores if score.metric == "cv_accuracy"):
            drawn = figures.layers(self.scores, protocol)
            parts.append(
                _figure(drawn, f"{protocol}: every layer, judged on the train part only.", f"{protocol} accuracy by layer")
            )
        return "".join(parts)


@dataclass(frozen=True)
class Notes:
    """Sentences, one a line."""

    title: str
    lines: Sequence[str]

    def html(self) -> str:
        return _list(self.lines)


@dataclass(frozen=True)
class Commands:
    """Command lines to do it again."""

    title: str
    lines: Sequence[str]

    def html(self) -> str:
        return f"<pre>{escape(chr(10).join(self.lines))}</pre>" if self.lines else ""


@dataclass(frozen=True)
class BadItems:
    """What was left out and why; also said when it is nothing."""

    title: str
    items: Sequence[BadItem] = field(default=())
    most: int = 50

    def html(self) -> str:
        if not self.items:
            return _paragraph("Everything could be read.")
        more = f" The first {self.most} are shown." if len(self.items) > self.most else ""
        head = _paragraph(f"{len(self.items)} could not be read and {'was' if len(self.items) == 1 else 'were'} left out.{more}")
        return head + _list([str(item) for item in self.items[: self.most]])


def write_report(path: Path | str, sections: Iterable[Section], title: str = "embodied_ssl", subtitle: str = "") -> Path:
    """Write one self-contained HTML file, whole or not at all.

    Args:
        path: the file; its folder is made if absent.
        sections: in the order shown; those with nothing to say are left out.
        title: the heading.
        subtitle: one line below it.
    """
    bodies = [(section.title, section.html()) for section in sections]
    parts = [f"<section><h2>{escape(name)}</h2>{body}</section>" for name, body in bodies if body]
    lead = f'<p class="lead">{escape(subtitle)}</p>' if subtitle else ""
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main><header><h1>{escape(title)}</h1>'
        f"{lead}</header>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )
    with atomic(Path(path)) as file:
        file.write(page.encode("utf-8", errors="replace"))
    return Path(path)


def _last(name: str, log: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    chance = log.get(figures.chance_of(name))
    beside = f", chance {chance[1][-1]:.3g}" if chance and chance[1] else ""
    return f"{log[name][1][-1]:.3g} at step {log[name][0][-1]:,.0f}{beside}"


def _setting(scores: Sequence[Score]) -> str:
    """What the figures are on: data set, test items, how it was split, what was skipped."""
    lines = []
    for dataset in dict.fromkeys(score.dataset for score in scores):
        own = [score for score in scores if score.dataset == dataset]
        tested = next((score for score in own if score.metric == "accuracy"), own[0])
        split = tested.settings.get("split", "")
        lines.append(f"{dataset or 'data'}: {tested.n} test pictures" + (f"; {split}." if split else "."))
        skipped = tested.settings.get("skipped", {})
        if skipped.get("count"):
            shown = "; ".join(skipped["first"][:5])
            lines.append(f"{skipped['count']} pictures could not be read and were left out of every row: {shown}")
    return "".join(_paragraph(line) for line in lines)


def _score_tables(scores: Sequence[Score]) -> str:
    """One table a protocol (low-shot: one a layer), so that each fits a page."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        by_shots = score.shots is not None and score.choice
        groups.setdefault(f"{score.protocol}, {score.choice} layer" if by_shots else score.protocol, []).append(score)
    parts = [f"<h3>{escape(name)}</h3>{_score_table(group)}" for name, group in groups.items()]
    note = (
        "Per cent of test pictures right; ± is the deviation over draws (of random init: over initialisations), brackets are "
        "95 % intervals. Layers, penalties and all else were chosen on the train part. Bold: the best of its column, where its "
        "interval and the others' do not overlap."
    )
    return "".join(parts) + _paragraph(note, "note") if parts else ""


def _score_table(scores: Sequence[Score]) -> str:
    columns, models, cells = grid(scores)
    by_column = [[cells[model, name] for model, _ in models if (model, name) in cells] for name in columns]
    bold = {id(best) for best in map(clear_best, by_column) if best}
    head = "".join(f"<th>{escape(_heading(found[0]))}</th>" for found in by_column)
    rows = []
    for model, role in models:
        found = [cells.get((model, name)) for name in columns]
        body = "".join(_cell(score, score is not None and id(score) in bold) for score in found)
        label = f'<th>{escape(model)}<span class="role">{escape(role)}</span></th>'
        rows.append(f'<tr class="{escape(role)}">{label}{body}</tr>')
    return f'<div class="wide"><table class="scores"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _heading(score: Score) -> str:
    """What tells a column from its neighbours: the number of labelled pictures, or how the layer was chosen."""
    return f"{score.shots} a class" if score.shots is not None else f"{score.choice} layer" if score.choice else score.metric


def clear_best(scores: Sequence[Score]) -> Score | None:
    """The best score, if its interval lies above those of all others; a score without an interval is never clearly anything."""
    if len(scores) < 2:
        return None
    best, *others = sorted(scores, key=lambda score: -score.value)
    highest = [score.interval[1] if score.interval else 1.0 for score in others]
    return best if best.interval is not None and best.interval[0] > max(highest) else None


def _cell(score: Score | None, bold: bool) -> str:
    if score is None:
        return "<td>–</td>"
    value, _, rest = format_value(score).partition(" ")
    value = f"<b>{escape(value)}</b>" if bold else f"<span>{escape(value)}</span>"
    small = "".join(f'<span class="small">{escape(part)}</span>' for part in (rest, place(score)) if part)
    return f"<td>{value}{small}</td>"


def _differences(scores: Sequence[Score]) -> str:
    found = [score for score in scores if score.metric == "minus_random"]
    if not found:
        return ""
    rows = []
    for score in found:
        cells = (score.model, column(score), format_value(score), verdict(score))
        kind = {"better": "better", "worse": "worse"}.get(verdict(score), "unclear")
        rows.append(f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>model</th><th>protocol</th><th>points</th><th></th></tr>"
    note = (
        "Intervals are paired over test pictures; what another pretraining seed would change is not in them. Better and worse "
        "are said only where the difference is also larger than one more untrained network may differ from the mean of these."
    )
    table = f'<div class="wide"><table class="plain">{head}{"".join(rows)}</table></div>'
    return f"<h3>Minus the same network untrained</h3>{table}{_paragraph(note, 'note')}"


def _figure(drawn: Figure | figures.Image, caption: str, alternative: str) -> str:
    data = base64.b64encode(figures.png(drawn)).decode()
    size = "" if isinstance(drawn, Figure) else ' class="sheet"'
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alternative)}"{size} src="data:image/png;base64,{data}">{words}</figure>'


def _paragraph(text: str, kind: str = "") -> str:
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>" if text else ""


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
