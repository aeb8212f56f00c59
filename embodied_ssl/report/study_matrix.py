"""Tasks x backbones: of a study with several backbones, one small table for each main figure, beside the long one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from embodied_ssl.evaluation.scores import Score, column, headline, verdict

NOTE = (
    "Per cent right; in brackets, minus the same backbone untrained, bold where that difference is clear. Intervals and seeds "
    "are in the tables below."
)
RANDOM = "random init"


class Place(NamedTuple):
    """Where a run stands."""

    task: str
    backbone: str


@dataclass(frozen=True)
class Matrix:
    """One figure of every task with every backbone.

    Attributes:
        figure: as tables head it: ``linear, best layer``.
        tasks, backbones: rows and columns, in the study's order.
        scores: by place, the run's figure.
        gains: by place, that figure less the same backbone's untrained.
        random: by backbone, its untrained figure, where all tasks are held against the same.
    """

    figure: str
    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    scores: Mapping[Place, Score]
    gains: Mapping[Place, Score]
    random: Mapping[str, Score]

    def lines(self) -> list[list[str]]:
        """Head, a line for each task, and one for the untrained networks; bold as Markdown writes it."""
        tasks = [[task, *(self._cell(Place(task, backbone)) for backbone in self.backbones)] for task in self.tasks]
        untrained = [_percent(self.random[one]) if one in self.random else "–" for one in self.backbones]
        return [[self.figure, *self.backbones], *tasks, [RANDOM, *untrained]]

    def _cell(self, place: Place) -> str:
        if place not in self.scores:
            return "–"
        gain = self.gains.get(place)
        if gain is None:
            return _percent(self.scores[place])
        points = f"{100 * gain.value:+.1f}"
        return f"{_percent(self.scores[place])} ({f'**{points}**' if verdict(gain) in ('better', 'worse') else points})"


def place_of(name: str, backbone: str) -> Place:
    """A run's place by its name: ``rotation_resnet18`` and ``rotation`` with a resnet18 are both of the task ``rotation``."""
    for join in "_-":
        name = name.removesuffix(join + backbone)
    return Place(name, backbone)


def matrices(places: Mapping[str, Place], scores: Sequence[Score]) -> list[Matrix]:
    """One for each main figure over all labels; none where the runs have one backbone only.

    Args:
        places: the run's name -> where it stands. Of two runs at one place, the first is shown.
        scores: joined rows of one data set.
    """
    backbones = tuple(dict.fromkeys(place.backbone for place in places.values() if place.backbone))
    if len(backbones) < 2:
        return []
    tasks = tuple(dict.fromkeys(place.task for place in places.values()))
    shown = [score for score in headline(scores) if score.shots is None]
    found = []
    for figure in dict.fromkeys(map(column, shown)):
        own = {score.model: score for score in reversed(shown) if column(score) == figure}
        less = [s for s in scores if s.metric == "minus_random" and s.model in places and column(s) == figure and s.shots is None]
        against: dict[str, set[str]] = {}
        for gain in less:
            against.setdefault(places[gain.model].backbone, set()).add(gain.settings["against"])
        random = {backbone: own[min(names)] for backbone, names in against.items() if len(names) == 1 and min(names) in own}
        at = {place: own[name] for name, place in reversed(list(places.items())) if name in own}
        gains = {places[gain.model]: gain for gain in less if at.get(places[gain.model], gain).model == gain.model}
        if at:
            found.append(Matrix(figure, tasks, backbones, at, gains, random))
    return found


@dataclass(frozen=True)
class MatrixTables:
    """Matrices as a section of a report."""

    title: str
    matrices: Sequence[Matrix]

    def html(self) -> str:
        parts = [_html(matrix.lines()) for matrix in self.matrices]
        return "".join(parts) + f'<p class="note">{escape(NOTE)}</p>' if parts else ""


def _html(lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in lines[0])
    rows = [
        f"<tr><th>{escape(task)}</th>" + "".join(f"<td>{_bold(cell)}</td>" for cell in cells) + "</tr>"
        for task, *cells in lines[1:]
    ]
    return f'<div class="wide"><table class="plain"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _bold(cell: str) -> str:
    before, *bold = escape(cell).split("**")
    return f"{before}<b>{bold[0]}</b>{bold[1]}" if bold else before


def _percent(score: Score) -> str:
    return f"{100 * score.value:.1f}"
