"""Figures for the report, drawn off screen: each function gives a uint8 RGB array or a matplotlib figure that nothing else holds.

Figures are made without pyplot, so there is no window, no global state, and nothing to close. Colours tell models apart for
colour-blind readers too (Okabe and Ito), and line styles tell roles apart.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from embodied_ssl.core import Panel
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW, Axis
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.scores import Score

Image = NDArray[np.uint8]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a7a1d", "#666666")
INK = "#333333"
FAINT = "#9a9a9a"
GAP = 4  # pixels between pictures


def contact_sheet(panels: Sequence[Panel], side: int = 96, most: int = 12) -> Image:
    """Rows of pictures, one row a panel, every picture scaled to the same height: uint8 [H, W, 3], white between.

    Args:
        panels: captions (set as text by the report, not drawn) and float pictures [n, 3, H, W] in 0..1; NaN shows as grey.
        side: height of a row in pixels.
        most: pictures shown of a row.
    """
    rows = [_row(pictures, side, most) for _, pictures in panels]
    rows = [row for row in rows if row.size]
    if not rows:
        return np.full((side, side, 3), 255, np.uint8)
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)[:-GAP]


def _row(pictures: Any, side: int, most: int) -> Image:
    values = np.asarray(pictures[:most].detach().cpu().float() if hasattr(pictures, "detach") else pictures[:most], np.float64)
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise ValueError(f"a panel's pictures are [n, 3, H, W], not {list(values.shape)}")
    if not len(values):
        return np.zeros((0, 0, 3), np.uint8)
    pixels = (np.nan_to_num(values, nan=0.5).clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    pixels = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    width = max(1, round(side * pixels.shape[2] / pixels.shape[1]))
    shrinks = side <= pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    cells = [cv2.resize(np.ascontiguousarray(picture), (width, side), interpolation=how) for picture in pixels]
    gap = np.full((side, GAP, 3), 255, np.uint8)
    parts = [part for cell in cells for part in (cell, gap)][:-1]
    return np.concatenate(parts, axis=1)


def read_log(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """The curves in a ``log.jsonl``: metric -> (steps, values). Lines cut short by a kill and values not finite are passed over.

    Raises:
        UserError: no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"cannot read the log '{path}' ({error.strerror}); give a run folder with log.jsonl") from None
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("step"), int | float):
            continue
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(float(row["step"]))
                values.append(float(value))
    return curves


def held_out_figures(curves: Mapping[str, object]) -> list[str]:
    """The held-out figures among logged names, chance lines left out: ``held_out/accuracy``, ``held_out/NAME/accuracy``."""
    return [name for name in curves if name.startswith("held_out/") and not name.rsplit("/", 1)[-1].startswith("chance_")]


def chance_of(name: str) -> str:
    """Where the chance line of a held-out figure is logged: ``held_out/accuracy`` -> ``held_out/chance_accuracy``."""
    head, _, tail = name.rpartition("/")
    return f"{head}/chance_{tail}"


def curve(log: Mapping[str, tuple[Sequence[float], Sequence[float]]], name: str) -> Figure:
    """One logged figure over training, beside its chance line where there is one."""
    figure = _figure(3.7, 2.6)
    axes = figure.add_subplot()
    steps, values = log[name]
    axes.plot(steps, values, color=COLOURS[0], linewidth=1.6, marker="o" if len(steps) < 25 else "", markersize=3)
    chance = log.get(chance_of(name))
    if chance and chance[1]:
        axes.plot(*_across(chance, steps), color=FAINT, linewidth=1.2, linestyle="--")
        axes.annotate("chance", (1, chance[1][-1]), xycoords=("axes fraction", "data"), **_RIGHT)
    axes.set_title(_plain(name.replace("held_out/", "held out: ").replace("_", " ")), fontsize=9, color=INK, loc="left")
    axes.set_xlabel("step", fontsize=8, color=INK)
    _calm(axes)
    return figure


_RIGHT: dict[str, Any] = {
    "ha": "right",
    "va": "bottom",
    "fontsize": 7.5,
    "color": FAINT,
    "xytext": (-2, 2),
    "textcoords": "offset points",
}


def _across(chance: tuple[Sequence[float], Sequence[float]], steps: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """A chance level that never changes is drawn across the whole plot, even if logged once."""
    return ([steps[0], steps[-1]], [chance[1][0]] * 2) if len(set(chance[1])) == 1 else chance


def patterns(
    centres: ArrayLike,
    shares: Sequence[float],
    names: Sequence[str],
    points: ArrayLike,
    of: ArrayLike = (),
    axes: Sequence[Axis] = (FORWARD, LEFT_YAW),
    unit: str = "",
) -> Figure:
    """Motions and the patterns found among them, along two axes; on the road seen from above: forward is up, left is left.

    Args:
        centres: motion of each pattern [k, m].
        shares: of all motions, in each pattern [k], 0..1.
        names: what each pattern is called [k].
        points: some of the motions [n, m].
        of: the pattern of each point [n], -1 (drawn grey) for none.
        axes: what the m numbers are.
        unit: of the motions, for the axes.
    """
    middle = np.asarray(centres, np.float64).reshape(-1, len(axes))
    cloud = np.asarray(points, np.float64).reshape(-1, len(axes))
    own = np.asarray(of, np.int64) if len(np.asarray(of)) == len(cloud) else np.full(len(cloud), -1)
    across, up = _two_axes(middle, cloud, axes)
    figure = _figure(5.2, 4.0)
    plot = figure.add_subplot()
    for k in range(-1, len(middle)):
        colour = FAINT if k < 0 else COLOURS[k % len(COLOURS)]
        here = cloud[own == k]
        plot.scatter(here[:, across], here[:, up], s=7, alpha=0.35, color=colour, linewidths=0, rasterized=True)
    for k, motion in enumerate(middle):
        x, y, share = motion[across], motion[up], shares[k]
        colour = COLOURS[k % len(COLOURS)]
        plot.scatter([x], [y], s=60 + 500 * share, color=colour, edgecolor="white", linewidth=1.5, zorder=3)
        plot.annotate(f"{_plain(names[k])} ({share:.0%})", (x, y), **_ABOVE)
    left_is_more = "left" in axes[across].more
    if left_is_more:
        plot.invert_xaxis()
    plot.margins(0.18)
    ends = (axes[across].more, axes[across].less) if left_is_more else (axes[across].less, axes[across].more)
    label = f"{ends[0]} ← {_words(axes[across].name)} → {ends[1]}"
    plot.set_xlabel("\n".join([_plain(label), *([_plain(unit)] if unit else [])]), fontsize=8, color=INK)
    plot.set_ylabel(_plain(_words(axes[up].name)), fontsize=8, color=INK)
    _calm(plot)
    return figure


_ABOVE: dict[str, Any] = {
    "xytext": (0, 13),
    "textcoords": "offset points",
    "ha": "center",
    "fontsize": 8,
    "color": INK,
    "zorder": 4,
    "bbox": {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "edgecolor": "none"},
}


def _two_axes(centres: NDArray[np.float64], points: NDArray[np.float64], axes: Sequence[Axis]) -> tuple[int, int]:
    """Which axis goes across and which up: yaw and forward where there are both, else the two that part the patterns most.

    One that a mirror reverses goes across. A motion of one axis is drawn along the diagonal.
    """
    names = [axis.name for axis in axes]
    if FORWARD.name in names and LEFT_YAW.name in names:
        return names.index(LEFT_YAW.name), names.index(FORWARD.name)
    spread = points.std(0) if len(points) else np.ones(len(axes))
    apart = centres.std(0) / np.where(spread > 0, spread, np.inf) if len(centres) else np.ones(len(axes))
    first, second = [*np.argsort(-apart, kind="stable"), 0][:2]
    if axes[second].mirror == -1 and axes[first].mirror != -1:
        return int(second), int(first)
    return int(first), int(second)


def _words(name: str) -> str:
    return name.replace("_", " ")


def layers(scores: Sequence[Score], protocol: str = "linear") -> Figure:
    """Cross-validated accuracy of every layer: runs solid, untrained dashed with their spread, descriptors as level lines."""
    rows = [score for score in scores if score.metric == "cv_accuracy" and score.protocol == protocol]
    networks: dict[str, list[Score]] = {}
    for score in rows:
        if score.role != "descriptor" and not (score.role == "random" and score.pretrain_seed is not None):
            networks.setdefault(score.model, []).append(score)
    names = list(dict.fromkeys(score.layer for given in networks.values() for score in given))
    figure = _figure(5.6, 3.5)
    axes = figure.add_subplot()
    colours = iter(COLOURS * 8)
    for model, given in networks.items():
        random = given[0].role == "random"
        x = [names.index(score.layer) for score in given]
        y = np.array([100 * score.value for score in given])
        colour = FAINT if random else next(colours)
        axes.plot(
            x, y, color=colour, linestyle="--" if random else "-", marker="o", markersize=4, linewidth=1.7, label=_plain(model)
        )
        spread = np.array([100 * (score.std or 0) for score in given])
        if spread.any():
            axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.2, linewidth=0)
    styles = iter((":", "-.", (0, (1, 3)), (0, (5, 3))) * 4)
    for score in rows:
        if score.role == "descriptor":
            axes.axhline(100 * score.value, color=INK, linestyle=next(styles), linewidth=1, label=_plain(score.model))
    axes.set_xticks(range(len(names)), [_plain(name) for name in names], fontsize=8)
    axes.set_ylabel("accuracy on the train part, %\n(cross-validated)", fontsize=8, color=INK)
    axes.set_ylim(bottom=0)
    _calm(axes)
    if rows:
        axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def png(figure: Figure | Image) -> bytes:
    """A figure or uint8 RGB picture as PNG bytes, the same for the same input."""
    if isinstance(figure, Figure):
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
        return buffer.getvalue()
    ok, data = cv2.imencode(".png", cv2.cvtColor(figure, cv2.COLOR_RGB2BGR))
    if not ok:
        raise ValueError(f"cannot encode a picture of shape {figure.shape}")
    return bytes(data.tobytes())


def _plain(text: str) -> str:
    """A name as it is: matplotlib would read dollars as formulas, and hide what begins with an underscore."""
    return text.replace("$", r"\$").lstrip("_") or "-"


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), facecolor="white", layout="constrained")


def _calm(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cccccc")
    axes.tick_params(labelsize=8, colors="#555555", length=3)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
