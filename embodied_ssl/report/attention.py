"""Where a network looks: at each stage, the summed powers of its activations, drawn over the picture.

After the attention maps of RotNet (Gidaris et al. 2018): A(h, w) is the sum over channels of |F_c(h, w)|^p for p of 1, 2 and 4,
scaled to 0..1 and enlarged to the picture. Larger p lets the strongest channels alone speak.
Legend: B pictures, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.core import Panel
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.evaluation.features import frozen
from embodied_ssl.evaluation.models import Model
from embodied_ssl.report.figures import INK, _plain
from embodied_ssl.views.pixels import to_float

POWERS = (1, 2, 4)
HEAT = 0.62  # share of the heat in what is drawn; the rest is the picture in grey
CELL = 0.92  # inches


def attention(maps: Tensor, power: float = 2) -> Tensor:
    """Activations [B, C, h, w] to the sum over channels of their absolute value to a power: [B, h, w].

    Channels [[1, 2], [0, 3]] and [[2, 0], [1, 1]] give [[5, 4], [1, 10]] for power 2 and [[17, 16], [1, 82]] for power 4.
    """
    return maps.float().abs().pow(power).sum(1)


def attention_maps(model: Model, pixels: Pixels, power: float = 2) -> dict[str, NDArray[np.float32]]:
    """Attention at every stage, each picture's from 0 at its least to 1 at its greatest, enlarged to the picture.

    Args:
        model: shown the pictures as its preprocessing says; left as it was.
        pixels: uint8 [B, S, S, 3], as `Preprocessing.centre` gives them.
        power: of the activations.

    Returns:
        Stage -> float32 [B, S, S]; all 0 where a stage is the same everywhere. Stages of a single place are left out.
    """
    device = next((parameter.device for parameter in model.backbone.parameters()), torch.device("cpu"))
    with frozen(model.backbone):
        x = model.preprocessing.render(torch.from_numpy(np.ascontiguousarray(pixels)).to(device), model.backbone.channels)
        maps = model.backbone(x).maps
        shown = {
            stage: _enlarged(attention(values, power), pixels.shape[1])
            for stage, values in maps.items()
            if values[0, 0].numel() > 1
        }
    return {stage: np.asarray(values.cpu().numpy(), np.float32) for stage, values in shown.items()}


def _enlarged(values: Tensor, side: int) -> Tensor:
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    scaled = (values - low) / (high - low).clamp_min(1e-12)
    enlarged = F.interpolate(scaled[:, None], (side, side), mode="bicubic", align_corners=False)
    return enlarged[:, 0].clamp(0, 1)


def over_picture(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Heat [S, S] in 0..1 in colours from black to yellow over the picture in grey: uint8 [S, S, 3]."""
    grey = pixels.mean(-1, keepdims=True) / 255
    colours = np.asarray(matplotlib.colormaps["inferno"](heat))[..., :3]
    mixed: Pixels = ((HEAT * colours + (1 - HEAT) * grey) * 255).round().astype(np.uint8)
    return mixed


def attention_rows(model: Model, pixels: Pixels, power: float = 2) -> list[Panel]:
    """Pictures uint8 [B, S, S, 3] as the network sees them, and below them the attention of every stage."""
    rows: list[Panel] = [("pictures as the network sees them", to_float(torch.from_numpy(np.ascontiguousarray(pixels))))]
    for stage, heat in attention_maps(model, pixels, power).items():
        drawn = np.stack([over_picture(one, values) for one, values in zip(pixels, heat, strict=True)])
        rows.append((f"where {_plain(stage)} is active", to_float(torch.from_numpy(drawn))))
    return rows


def attention_sheet(models: Sequence[Model], pictures: Sequence[Pixels], rows: Sequence[tuple[int, float]]) -> Figure:
    """Pictures on the left, then the attention of every stage, network beside network.

    Args:
        models: the networks, left to right.
        pictures: the same pictures as each network sees them, uint8 [B, S, S, 3], one array a network.
        rows: which picture and which power each row shows.
    """
    maps = {power: [attention_maps(m, p, power) for m, p in zip(models, pictures, strict=True)] for power in {p for _, p in rows}}
    first = maps[rows[0][1]]
    columns = 1 + sum(len(stages) for stages in first)
    gaps = 0.18 * len(models)
    widths = [1.0]
    for stages in first:
        widths += [0.18, *([1.0] * len(stages))]
    figure = Figure(figsize=(CELL * (columns + gaps), CELL * len(rows) + 0.5), facecolor="white")
    grid: Any = figure.add_gridspec(
        len(rows), len(widths), width_ratios=widths, wspace=0.05, hspace=0.05, left=0.045, right=0.995, bottom=0.01,
        top=1 - 0.46 / (CELL * len(rows) + 0.5),
    )  # fmt: skip
    for row, (picture, power) in enumerate(rows):
        axes = _cell(figure, grid[row, 0], pictures[0][picture])
        if len(maps) > 1:
            axes.set_ylabel(f"p = {power:g}", fontsize=7.5, color=INK)
        column = 1
        for model, seen, stages in zip(models, pictures, maps[power], strict=True):
            column += 1
            for number, (stage, heat) in enumerate(stages.items()):
                axes = _cell(figure, grid[row, column], over_picture(seen[picture], heat[picture]))
                if row == 0:
                    axes.set_title(_plain(stage), fontsize=7.5, color="#555555", pad=3)
                if row == 0 and number == 0:
                    axes.annotate(
                        _plain(model.name), (0, 1), xytext=(0, 15), xycoords="axes fraction", textcoords="offset points",
                        fontsize=9, fontweight="bold", color=INK, annotation_clip=False,
                    )  # fmt: skip
                column += 1
    return figure


def _cell(figure: Figure, place: Any, pixels: Pixels) -> Any:
    axes = figure.add_subplot(place)
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes
