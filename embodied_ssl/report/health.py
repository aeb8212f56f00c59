"""The health of features as a table and as curves over depth, and the likeness of layers as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from embodied_ssl.evaluation.diagnostics import cka_matrix
from embodied_ssl.evaluation.examination import LayerHealth
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.statistics import Estimate
from embodied_ssl.report.drawings import Drawn
from embodied_ssl.report.figures import COLOURS, FAINT, INK, _calm, _figure, _plain

CKA_PICTURES = 1000  # memory grows with their square

HEADS = ("layer", "width", "RankMe", "of noise", "LiDAR", "of noise", "alignment", "unrelated", "uniformity", "spread", "dead")
HOW_TO_READ = (
    "RankMe: how many directions the features fill, beside what noise in all dimensions would read. It falls when features "
    "collapse; noise raises it too.",
    "LiDAR: how many directions tell pictures apart, in units of what random crops and colour changes move. Where views move as "
    "much as pictures differ, every direction counts alike and it reads as high as noise: trust it only where alignment is far "
    "below that of unrelated pictures.",
    "Alignment: squared distance of two views of one picture (0: views change nothing), beside that of views of two pictures. "
    "Only the gap between the two means anything.",
    "Uniformity: 0 when all pictures are at one point, towards -4 when they fill the sphere. Spread: 1 when directions are "
    "filled evenly, 0 at collapse. Features behind a ReLU share a large mean direction, which keeps both from their ends.",
)


@dataclass(frozen=True)
class Health:
    """A section: curves over depth, then a table for each network; half the 95 % interval behind each figure."""

    title: str
    rows: Sequence[LayerHealth]

    def html(self) -> str:
        if not self.rows:
            return ""
        parts = [Drawn(health_curves(self.rows), "Bands: 95 % intervals over pictures.", "health of features over depth").html()]
        for model in dict.fromkeys(row.model for row in self.rows):
            own = [row for row in self.rows if row.model == model]
            head = "".join(f"<th>{escape(head)}</th>" for head in HEADS)
            lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in own)
            title = f"<h3>{escape(model)}</h3>"
            parts.append(f'{title}<div class="wide"><table class="plain"><tr>{head}</tr>{lines}</table></div>')
        notes = "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(note for row in self.rows for note in row.notes))
        reading = "".join(f"<li>{escape(line)}</li>" for line in HOW_TO_READ)
        return f'{"".join(parts)}{f"<ul>{notes}</ul>" if notes else ""}<div class="note"><ul>{reading}</ul></div>'


def _cells(row: LayerHealth) -> list[str]:
    return [
        row.layer,
        str(row.width),
        _pm(row.rank_me, 1),
        f"{row.rank_of_noise:.1f}",
        _pm(row.lidar, 1),
        f"{row.lidar_of_noise:.1f}",
        _pm(row.alignment, 3),
        _pm(row.unrelated, 3),
        _pm(row.uniformity, 2),
        _pm(row.spread, 3),
        str(row.dead),
    ]


def _pm(estimate: Estimate, digits: int) -> str:
    return f"{estimate.value:.{digits}f} ± {(estimate.high - estimate.low) / 2:.{digits}f}"


def health_curves(rows: Sequence[LayerHealth]) -> Figure:
    """Each measure over depth: networks in colours, untrained ones grey and dashed; bands are 95 % intervals, dots references."""
    figure = _figure(10.4, 5.0)
    layers = list(dict.fromkeys(row.layer for row in rows))
    panels: list[tuple[str, str, str]] = [
        ("rank_me", "RankMe", "rank_of_noise"),
        ("lidar", "LiDAR", "lidar_of_noise"),
        ("alignment", "alignment of two views", "unrelated"),
        ("uniformity", "uniformity", ""),
        ("spread", "spread of unit features", ""),
    ]
    for number, (name, title, reference) in enumerate(panels, start=1):
        axes = figure.add_subplot(2, 3, number)
        for model, colour, style in _styles(rows):
            own = [row for row in rows if row.model == model]
            _curve(axes, own, layers, name, reference, colour, style)
        axes.set_title(title, fontsize=9, color=INK, loc="left")
        axes.set_xticks(range(len(layers)), [_plain(layer) for layer in layers], fontsize=7.5)
        if name != "uniformity":
            axes.set_ylim(bottom=0)
        _calm(axes)
    legend = figure.add_subplot(2, 3, 6)
    legend.set_axis_off()
    for model, colour, style in _styles(rows):
        legend.plot([], [], color=colour, linestyle=style, marker="o", markersize=3.5, linewidth=1.6, label=_plain(model))
    legend.plot(
        [], [], color=INK, linestyle=":", linewidth=1.1, label="noise (RankMe, LiDAR);\nviews of two pictures (alignment)"
    )
    legend.legend(loc="center left", fontsize=8.5, frameon=False, labelspacing=0.8)
    return figure


def _curve(
    axes: Axes, rows: Sequence[LayerHealth], layers: Sequence[str], name: str, reference: str, colour: str, style: str
) -> None:
    x = [layers.index(row.layer) for row in rows]
    found = [getattr(row, name) for row in rows]
    axes.plot(x, [one.value for one in found], color=colour, linestyle=style, marker="o", markersize=3.5, linewidth=1.6)
    axes.fill_between(x, [one.low for one in found], [one.high for one in found], color=colour, alpha=0.18, linewidth=0)
    if reference:
        beside = [getattr(row, reference) for row in rows]
        level = [one.value if isinstance(one, Estimate) else one for one in beside]
        axes.plot(x, level, color=colour, linestyle=":", linewidth=1.1)


def _styles(rows: Sequence[LayerHealth]) -> list[tuple[str, str, str]]:
    roles = {row.model: row.role for row in rows}
    colours = iter(COLOURS * len(roles))
    return [(model, FAINT, "--") if role == "random" else (model, next(colours), "-") for model, role in roles.items()]


def likeness(first: FeatureTable, second: FeatureTable) -> NDArray[np.float64]:
    """Unbiased linear CKA of every layer of one network (rows) with every layer of another (columns), on the same pictures."""
    parts = [[table.features[layer][:CKA_PICTURES] for layer in table.layers] for table in (first, second)]
    return cka_matrix(parts[0], parts[1])


def cka_figure(tables: Sequence[FeatureTable]) -> Figure:
    """`likeness` within each network, then between each two: 1 is the same space turned and scaled, 0 unrelated."""
    pairs = [(one, one) for one in tables] + [(a, b) for i, a in enumerate(tables) for b in tables[i + 1 :]]
    columns = min(3, len(pairs))
    lines = -(-len(pairs) // columns)
    figure = _figure(3.5 * columns + 0.3, 3.45 * lines)
    shown: Any = None
    for number, (first, second) in enumerate(pairs, start=1):
        axes = figure.add_subplot(lines, columns, number)
        values = likeness(first, second)
        shown = axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color="white" if value > 0.6 else INK)
        axes.set_xticks(range(len(second.layers)), [_plain(layer) for layer in second.layers], fontsize=7.5, rotation=30)
        axes.set_yticks(range(len(first.layers)), [_plain(layer) for layer in first.layers], fontsize=7.5)
        title = f"within {_plain(first.model)}" if first is second else f"{_plain(first.model)} (rows), {_plain(second.model)}"
        axes.set_title(title, fontsize=8.5, color=INK, loc="left")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, colors="#555555")
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.6, aspect=24, pad=0.02)
    bar.ax.tick_params(labelsize=7.5, length=0, colors="#555555")
    bar.outline.set_visible(False)
    return figure
