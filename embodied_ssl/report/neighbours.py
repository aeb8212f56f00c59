"""What a network takes for alike: pictures of the test part beside their nearest neighbours in the train part.

Cosine of the features of one layer. Pictures show, precision counts: the share of the k neighbours that have the query's class,
over all queries, beside the share that any picture of the train part has. Legend: n queries, N gallery pictures, k neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.statistics import Estimate, bootstrap
from embodied_ssl.report.figures import INK, _plain

RIGHT, WRONG = "#009E73", "#D55E00"  # Okabe and Ito: told apart by colour-blind readers too


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of every query.

    Attributes:
        rows: of the gallery, nearest first [n, k].
        right: whether each has the query's class [n, k]; None without labels.
        chance: the share of the gallery that has a query's class, over the queries; NaN without labels.
    """

    rows: NDArray[np.intp]
    right: NDArray[np.bool_] | None
    chance: float

    def precision(self) -> Estimate | None:
        """The share of neighbours of the query's class, with a 95 % bootstrap interval over queries; None without labels."""
        return None if self.right is None else bootstrap(self.right.mean(1))


def nearest(queries: FeatureTable, gallery: FeatureTable, layer: str, k: int = 6) -> Neighbours:
    """The k gallery pictures of highest cosine for every query; all of them where there are fewer."""
    cosines = _unit(queries.features[layer]) @ _unit(gallery.features[layer]).T
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, : min(k, cosines.shape[1])]
    if (queries.labels < 0).any():
        return Neighbours(rows, None, float("nan"))
    same = gallery.labels[None] == queries.labels[:, None]
    return Neighbours(rows, np.take_along_axis(same, rows, axis=1), float(same.mean()))


def shown_queries(labels: NDArray[np.int64], count: int = 8) -> NDArray[np.intp]:
    """Which queries to show: the first of each class in the order they were drawn, then the next; without labels the first."""
    turn = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)])
    return np.argsort(turn, kind="stable")[:count]


def neighbour_sheet(
    names: Sequence[str],
    found: Sequence[Neighbours],
    queries: Pixels,
    galleries: Sequence[Pixels],
    shown: NDArray[np.intp],
    labels: NDArray[np.int64] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """A query a row, its neighbours to the right of it, network beside network; frames are green if of its class, else orange.

    Args:
        names: of the networks, left to right.
        found: the neighbours, one a network.
        queries: uint8 [n, S, S, 3].
        galleries: uint8 [N, S, S, 3], one a network.
        shown: rows of the queries.
        labels: of the queries, written beside each.
        classes: names of the labels.
    """
    k = found[0].rows.shape[1]
    widths = [1.0, *([0.22] + [1.0] * k) * len(names)]
    cell, height = 0.92, 0.92 * len(shown) + 0.36
    left = 0.95 if classes else 0.05
    width = cell * sum(widths) + left
    figure = Figure(figsize=(width, height), facecolor="white")
    grid: Any = figure.add_gridspec(
        len(shown), len(widths), width_ratios=widths, wspace=0.07, hspace=0.07, left=left / width, right=0.997, bottom=0.012,
        top=1 - 0.34 / height,
    )  # fmt: skip
    for row, query in enumerate(shown):
        axes = _framed(figure, grid[row, 0], queries[query], None)
        if row == 0:
            axes.set_title("query", fontsize=8.5, color="#555555", pad=4)
        if classes and labels is not None:
            text = _plain(classes[int(labels[query])]).replace("_", " ")
            axes.annotate(text, (0, 0.5), xytext=(-5, 0), xycoords="axes fraction", textcoords="offset points", ha="right",
                          va="center", fontsize=7.5, color=INK, annotation_clip=False)  # fmt: skip
        for number, (name, one, gallery) in enumerate(zip(names, found, galleries, strict=True)):
            for rank in range(k):
                right = None if one.right is None else bool(one.right[query, rank])
                axes = _framed(figure, grid[row, 2 + number * (k + 1) + rank], gallery[one.rows[query, rank]], right)
                if row == 0 and rank == 0:
                    axes.set_title(_plain(name), fontsize=9, fontweight="bold", color=INK, loc="left", pad=4)
    return figure


def _framed(figure: Figure, place: Any, pixels: Pixels, right: bool | None) -> Any:
    axes = figure.add_subplot(place)
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if right is not None:
        colour = RIGHT if right else WRONG
        axes.add_patch(
            Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=3.2, clip_on=False)
        )
    return axes


def precision_line(name: str, found: Neighbours) -> str:
    """One line for people: ``simclr: 45.2 % [43.1, 47.0] of the 6 nearest have the query's class; by chance 6.7 %``."""
    estimate = found.precision()
    if estimate is None:
        return f"{name}: no labels, so no precision"
    value, low, high = (100 * figure for figure in estimate)
    of = f"of the {found.rows.shape[1]} nearest have the query's class"
    return f"{name}: {value:.1f} % [{low:.1f}, {high:.1f}] {of}; by chance {100 * found.chance:.1f} %"


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.float32)
