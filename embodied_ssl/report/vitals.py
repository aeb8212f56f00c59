"""The section of a run's report on collapse: each figure over training beside the untrained network's, and alarm in red."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embodied_ssl import collapse
from embodied_ssl.files import read_lines
from embodied_ssl.report.figures import _RIGHT, COLOURS, FAINT, INK, _calm, _figure, _plain
from embodied_ssl.report.report import _figure as _shown
from embodied_ssl.report.report import _paragraph

ALARM, HEALTHY = "#c0392b", COLOURS[2]
HOW_TO_READ = (
    "Collapsed features cannot tell pictures apart, however low the loss is. Dashed: the same network before training, on the "
    "same held-out pictures. Red: collapse. Spread: 0 when all pictures get one vector, 1 when they point everywhere alike. "
    "Rank: along how many directions they differ; it often falls in the first steps and rises again. Uniformity: 0 for one "
    "vector, towards -4. Alignment: how far apart two views of one picture are, beside views of two pictures (dashed): only the "
    "gap counts."
)
TITLES = {"spread": "spread", "rank": "rank", "uniformity": "uniformity", "alignment": "alignment of two views"}
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Vitals:
    """A section; of a run of several stages, the last one's."""

    title: str
    log: Path

    def html(self) -> str:
        rows = [row for row in read_lines(self.log) if isinstance(row, dict) and "step" in row]
        rows = [row for row in rows if row.get("stage") == rows[-1].get("stage")]
        health = [row for row in rows if any(name.startswith(collapse.PREFIX) for name in row)]
        if not health:
            return ""
        return _paragraph(HOW_TO_READ, "note") + "".join(_of_task(task, health) for task in _tasks(health))


def _tasks(rows: Rows) -> list[str]:
    """The prefixes of figures: ``health/``, or one a task."""
    names = [name for row in rows for name in row if name.startswith(collapse.PREFIX)]
    return list(dict.fromkeys(name[: name.rindex("/") + 1] for name in names))


def _of_task(prefix: str, rows: Rows) -> str:
    task = prefix.removeprefix(collapse.PREFIX).rstrip("/")
    found = [{"step": row["step"]} | {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)} for row in rows]
    figures = [name for name in _names() if any(name in row for row in found)]
    said = [f"Step {row['step']:,}: {row[collapse.WARNING]}." for row in found if collapse.WARNING in row]
    calm = "No collapse was seen." if found[0]["step"] == 0 else "Nothing was seen before training, so collapse cannot be told."
    verdict = "".join(f'<p class="alarm">{escape(line)}</p>' for line in said) or _paragraph(calm)
    drawn = "".join(_shown(_curve(found, name), _caption(found, name), f"{name} over training") for name in figures)
    return f'{f"<h3>{escape(task)}</h3>" if task else ""}{verdict}<div class="tiles">{drawn}</div>'


def _names() -> list[str]:
    own = ["spread", "rank", "uniformity"]
    return own + [collapse.EMBEDDING + name for name in (*own, "alignment")]


def _series(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    there = [(float(row["step"]), float(row[name])) for row in rows if name in row]
    return [step for step, _ in there], [value for _, value in there]


def _untrained(rows: Rows, name: str) -> float | None:
    return next((float(row[name]) for row in rows if row["step"] == 0 and name in row), None)


def _beside(name: str) -> str:
    """Views of two pictures, where the figure is of two views of one; "" for other figures."""
    return f"{collapse.EMBEDDING}unrelated" if name == f"{collapse.EMBEDDING}alignment" else ""


def _curve(rows: Rows, name: str) -> Figure:
    """One figure over training, the untrained network's dashed across, and red where it would mean collapse."""
    figure = _figure(3.7, 2.6)
    axes = figure.add_subplot()
    steps, values = _series(rows, name)
    axes.plot(steps, values, color=COLOURS[0], linewidth=1.6, marker="o" if len(steps) < 25 else "", markersize=3)
    untrained = _untrained(rows, name)
    if _beside(name):
        other = _series(rows, _beside(name))
        axes.plot(*other, color=FAINT, linewidth=1.2, linestyle="--")
        axes.annotate("views of two pictures", (1, other[1][-1]), xycoords=("axes fraction", "data"), **_RIGHT)
    elif untrained is not None:
        axes.axhline(untrained, color=FAINT, linewidth=1.2, linestyle="--")
        axes.annotate("untrained", (1, untrained), xycoords=("axes fraction", "data"), **_RIGHT)
        _alarm(axes, collapse.alarm_level(name, untrained))
    bare = name.removeprefix(collapse.EMBEDDING)
    if bare == "spread":
        axes.axhline(1, color=HEALTHY, linewidth=1.2, linestyle=":")
        axes.annotate("even", (1, 1), xycoords=("axes fraction", "data"), **{**_RIGHT, "color": HEALTHY})
        axes.set_ylim(0, 1.15)
    elif bare == "uniformity":
        axes.set_ylim(top=0)  # one vector for all
    else:
        axes.set_ylim(bottom=0)
    whose = "of the method's head" if bare != name else "of the backbone"
    axes.set_title(_plain(f"{TITLES[bare]}, {whose}"), fontsize=9, color=INK, loc="left")
    axes.set_xlabel("step", fontsize=8, color=INK)
    _calm(axes)
    return figure


def _alarm(axes: Axes, level: float | None) -> None:
    """A red floor up to the level below which a figure means collapse, no thinner than can be seen."""
    if level is not None:
        top = axes.get_ylim()[1]
        axes.axhspan(0, max(level, top / 50), color=ALARM, alpha=0.25, linewidth=0)


def _caption(rows: Rows, name: str) -> str:
    steps, values = _series(rows, name)
    said = f"{values[-1]:.3g} at step {steps[-1]:,.0f}"
    if _beside(name):
        return f"{said}; of two pictures {_series(rows, _beside(name))[1][-1]:.3g}"
    untrained = _untrained(rows, name)
    most = _series(rows, name.replace("rank", "most_rank"))[1] if name.endswith("rank") else []
    return said + ("" if untrained is None else f", untrained {untrained:.3g}") + (f", of {most[-1]:.0f} at most" if most else "")
