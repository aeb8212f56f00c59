"""The report on equivariance: what was asked, figures beside untrained networks, bars of right and wrong maps, moved views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from embodied_ssl.core import Panel
from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.equivariance import Equivariance
from embodied_ssl.evaluation.motion.figures import FIGURES, Measured
from embodied_ssl.evaluation.motion.measurement import Looks
from embodied_ssl.evaluation.motion.pairs import Question
from embodied_ssl.evaluation.motion.rows import Group, said
from embodied_ssl.evaluation.motion.table import OF_PROBE, difference_text, named
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.keys import generator
from embodied_ssl.report.drawings import Drawings, Drawn
from embodied_ssl.report.figures import COLOURS, FAINT, INK, _calm, _figure, _plain
from embodied_ssl.report.report import BadItems, Facts, Notes, Patterns, PictureRows, Section, _paragraph, write_report

SHOWN = 96  # pixels a side at which frames are drawn
EDGE, BETWEEN = 2, 12  # white pixels around each frame of a sheet, and beside each block
EXAMPLES = 8  # pairs shown of each pattern


@dataclass(frozen=True)
class FigureTable:
    """Figures of every method, a row each; below the mean its deviation over seeds and its interval over drives."""

    title: str
    groups: Sequence[Group]
    columns: Sequence[tuple[str, int, str]]  # figure, place, heading
    note: str = ""

    def html(self) -> str:
        head = "".join(f"<th>{escape(heading)}</th>" for _, _, heading in self.columns)
        rows = []
        for group in self.groups:
            of = f"{group.role}, {len(group.seeds)} seed{'s' if len(group.seeds) > 1 else ''}, {group.layer}"
            label = f'<th>{escape(group.name)}<span class="role">{escape(of)}</span></th>'
            body = "".join(_cell(group, figure, place) for figure, place, _ in self.columns)
            rows.append(f'<tr class="{escape(group.role)}">{label}{body}</tr>')
        table = f'<div class="wide"><table class="scores"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
        return table + _paragraph(self.note, "note")


@dataclass(frozen=True)
class Differences:
    """What one method has over another."""

    title: str
    rows: Sequence[Score]

    def html(self) -> str:
        if not self.rows:
            return ""
        lines = []
        for row in self.rows:
            kind = {"better": "better", "worse": "worse"}.get(said(row), "unclear")
            cells = (f"{row.model} − {row.settings['against']}", named(row), difference_text(row), said(row))
            lines.append(f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        note = (
            "Both on the same pairs, resampled together. Better and worse are said only where the interval excludes 0 and the "
            "difference is larger than seeds alone would explain."
        )
        head = "<tr><th></th><th>figure</th><th>difference</th><th></th></tr>"
        return f'<div class="wide"><table class="plain">{head}{"".join(lines)}</table></div>' + _paragraph(note, "note")


def _cell(group: Group, figure: str, place: int) -> str:
    value, spread, interval = group.mean(figure, place), group.spread(figure, place), group.interval(figure, place)
    if value != value:
        return "<td>–</td>"
    small = [f"± {spread:.3f}"] if spread is not None else []
    small += [f"[{interval[0]:.3f}, {interval[1]:.3f}]"] if interval else []
    return f"<td><span>{value:.3f}</span>" + "".join(f'<span class="small">{escape(one)}</span>' for one in small) + "</td>"


def motion_sections(found: Equivariance) -> list[Section]:
    """What was found, as sections."""
    question, groups = found.question, found.groups
    columns = [(figure.name, 0, figure.heading) for figure in FIGURES]
    meanings = " · ".join(f"{figure.heading}: {figure.meaning}" for figure in FIGURES)
    probe = [(name, place, f"{axis.name}: {what}") for place, axis in enumerate(question.axes) for name, what in OF_PROBE]
    differences = [row for row in found.scores if row.metric.startswith("minus_")]
    return [
        Facts("What was asked", _facts(found)),
        _patterns(question),
        PictureRows("Pairs of every pattern", _examples(question), "Of judged drives, at random: before above, after below."),
        FigureTable("Maps on drives that they were not fitted on", groups, columns, meanings),
        Drawings("Right map and wrong maps, motion by motion", *_bars(found)),
        *_of_patterns(found),
        FigureTable(
            "Can the motion be read off two frames?",
            groups,
            probe,
            "Ridge regression from both frames' features and their difference. R2 against the training drives' mean motion; of "
            "one frame: from the first alone, which knows where the road goes; beyond it: what only the pair can know. "
            f"Errors in {question.unit or 'the units of the motion'}.",
        ),
        Differences("What one has over another", differences),
        *_looks(found),
        Notes("How to read this", [*found.notes, *(f"{name} was left out: {why}" for name, why in found.left_out.items())]),
        BadItems("What could not be read", question.bad),
    ]


def write_motion_report(path: Path | str, found: Equivariance) -> Path:
    """Write everything as one self-contained HTML file."""
    names = [group.name for group in found.groups if group.role != "random"] or [found.groups[0].name]
    return write_report(path, motion_sections(found), f"How {', '.join(names)} move", found.question.name)


def _facts(found: Equivariance) -> dict[str, object]:
    question = found.question
    pairs = ", ".join(
        f"{name} {sum(int((fold.test.pattern == g).sum()) for fold in question.folds)}" for g, name in enumerate(question.names)
    )
    return {
        "drives": question.name,
        "divided": question.note,
        "motions": f"{', '.join(axis.name for axis in question.axes)} ({question.unit})",
        "pairs judged on": pairs,
        "frames": f"{len(question.frames):,}, the whole of each squeezed to a square",
        "intervals": f"95 %, over {found.units.kind}",
        **{group.name: ", ".join(one.model for one in group.seeds) for group in found.groups},
    }


class _Album:
    """Frames of a question to be drawn, in their own shape: uint8 [SHOWN, W, 3]; grey where one cannot be read."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._drawn: dict[int, Pixels] = {}

    def __getitem__(self, row: int) -> Pixels:
        if row not in self._drawn:
            self._drawn[row] = self._draw(row)
        return self._drawn[row]

    def _draw(self, row: int) -> Pixels:
        frame = self.question.frames[row]
        try:
            pixels = frame.frames.take([frame.number])[0]
        except BadItem:
            return np.full((SHOWN, SHOWN, 3), 235, np.uint8)
        height, width = pixels.shape[:2]
        return crop_and_resize(pixels, (0, 0, height, width), (SHOWN, max(1, round(SHOWN * width / height))))


def _patterns(question: Question, most: int = 600) -> Section:
    found, pairs = question.patterns, question.folds[0].train
    some = generator("shown motions").permutation(len(pairs))[:most]
    shares, drawn = found.sizes[found.kept].tolist(), (pairs.motion[some], pairs.pattern[some])
    return Patterns(
        "Motion patterns", found.motions(), shares, question.names, *drawn, question.axes, question.unit, found.missing()
    )


def _examples(question: Question) -> list[Panel]:
    album, test = _Album(question), max(question.folds, key=lambda fold: len(fold.test)).test
    panels: list[Panel] = []
    for g, name in enumerate(question.names):
        rows = generator("shown pairs", g).permutation(np.flatnonzero(test.pattern == g))[:EXAMPLES]
        for end, when in ((test.first, "before"), (test.second, "after")) if len(rows) else ():
            pictures = [album[int(end[row])] for row in rows]
            width = pictures[0].shape[1]
            pictures = [crop_and_resize(one, (0, 0, *one.shape[:2]), (SHOWN, width)) for one in pictures]
            panels.append((f"{name}, {when}", torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255))
    return panels


def _bars(found: Equivariance) -> tuple[list[Drawn], str]:
    names = found.question.names
    groups = found.groups
    figure = _figure(2.6 + 1.35 * len(names) * max(1, len(groups)) / 2, 3.4)
    axes = figure.add_subplot()
    width = 0.8 / len(groups)
    for number, group in enumerate(groups):
        colour = FAINT if group.role == "random" else COLOURS[number % len(COLOURS)]
        for g in range(len(names)):
            right, wrong = _left_over(group, g)
            if right != right:
                continue
            x = g + (number - (len(groups) - 1) / 2) * width
            label = _plain(f"{group.name} at {group.layer}") if g == 0 or number >= len(axes.containers) else None
            axes.bar(x, wrong, width * 0.86, color=colour, alpha=0.28, linewidth=0)
            axes.bar(x, right, width * 0.5, color=colour, linewidth=0, label=label)
    axes.axhline(1, color=INK, linewidth=0.9, linestyle="--", label="as far as not moving")
    axes.set_xticks(range(len(names)), [_plain(name) for name in names], fontsize=9)
    axes.set_ylabel("distance left / distance moved", fontsize=8, color=INK)
    _calm(axes)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    note = (
        "Narrow bars: how far the right pattern's map still is from the later view; wide pale bars: how far the other patterns' "
        "maps are; both over how far the view moved. Where the motion is in the features, the right map is much nearer than the "
        "wrong ones. That both are below 1 alone says nothing: predicting a mean does that."
    )
    return [Drawn(figure, "", "bars of right and wrong maps for every motion pattern")], note


def _left_over(group: Group, pattern: int) -> tuple[float, float]:
    """Mean distance to the right map's prediction and to the wrong ones', over the mean distance moved; means over seeds."""
    sums = [Measured(*one.found.sums.sum(0)[pattern]) for one in group.seeds]
    if not sums[0].pairs:
        return float("nan"), float("nan")
    return float(np.mean([one.right / one.still for one in sums])), float(np.mean([one.wrong / one.still for one in sums]))


def _of_patterns(found: Equivariance) -> list[Section]:
    told = {figure.name: figure.heading for figure in FIGURES}
    shown = ("rho", "displacement_r2", "beyond_one_map", "wrong_ratio", "nearest_map")
    return [
        FigureTable(f"Of {name} alone", found.groups, [(figure, place, told[figure]) for figure in shown])
        for place, name in enumerate(found.question.names, start=1)
        if np.isfinite(found.groups[0].each["rho"][:, place]).all()
    ]


def _looks(found: Equivariance) -> list[Section]:
    album = _Album(found.question)
    drawn = []
    last = {group.name: group for group in found.groups}  # of several layers the deepest
    for group in last.values():
        looks = group.seeds[0].found.looks
        if looks is not None:
            sheet = look_sheet(album, looks, found.question.names)
            words = f"{group.seeds[0].model} at {group.layer}"
            drawn.append(Drawn(sheet, words, f"what {words} takes for moved views"))
    if not drawn:
        return []
    names = found.question.names
    lead = next(one.seeds[0].found.looks for one in found.groups if one.seeds[0].found.looks).lead
    note = (
        f"Each row: a frame of a judged drive, the view it came to ({names[lead]}), then the judged frames nearest to features "
        "as they are and to what each map makes of them. Frames within a second of the first are left out, so a right answer "
        "shows the same place passed at another time, or one like it."
    )
    return [Drawings("What they take for the view after moving", drawn, note)]


def look_sheet(album: _Album, looks: Looks, names: Sequence[str]) -> Figure:
    """Queries down; across: the frame, the later view, and the nearest frames to z(x) and to each map's prediction."""
    blocks = [("frame", looks.query[:, None]), (f"then ({names[looks.lead]})", looks.later[:, None])]
    headings = ["as it is", *(f"moved {name}" for name in names)]
    blocks += [(heading, looks.nearest[:, place]) for place, heading in enumerate(headings)]
    width = album[int(looks.query[0])].shape[1]
    heads, columns, x = [], [], 0
    for heading, rows in blocks:
        heads.append((x, heading))
        cells = [[_fitted(album, int(row), width) for row in line] for line in rows]
        block = np.concatenate([np.concatenate(line, 1) for line in cells])
        columns.append(np.pad(block, ((0, 0), (0, BETWEEN), (0, 0)), constant_values=255))
        x += columns[-1].shape[1]
    whole = np.concatenate(columns, 1)
    inches = 12.0
    high = inches * whole.shape[0] / whole.shape[1]
    figure = Figure(figsize=(inches, high + 0.25), facecolor="white")
    axes = figure.add_axes((0, 0, 1, high / (high + 0.25)))
    axes.imshow(whole, interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    for left, heading in heads:
        axes.annotate(_plain(heading), (left + 2, 0), xytext=(0, 4), textcoords="offset points", fontsize=7.5, color=INK,
                      annotation_clip=False)  # fmt: skip
    return figure


def _fitted(album: _Album, row: int, width: int) -> Pixels:
    """A frame of the common width with a white edge; white where there is none."""
    if row < 0:
        return np.full((SHOWN, width, 3), 255, np.uint8)
    picture = album[row]
    cut = crop_and_resize(picture, (0, 0, *picture.shape[:2]), (SHOWN - 2 * EDGE, width - 2 * EDGE))
    return np.pad(cut, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), constant_values=255)
