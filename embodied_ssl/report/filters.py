"""The first convolution's filters as pictures: edges and colours when it has learnt, noise when it has not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.models import Model
from embodied_ssl.report.figures import INK, Image, _plain


def first_filters(backbone: Backbone) -> NDArray[np.float32]:
    """The weights of the first convolution (of a transformer: the patch embedding): float32 [n, channels, k, k].

    Raises:
        UserError: there is no convolution.
    """
    for module in backbone.net.modules():
        if isinstance(module, nn.Conv2d):
            return np.asarray(module.weight.detach().float().cpu().numpy(), np.float32)
    raise UserError(f"{backbone.name} has no convolution whose filters could be shown")


def filter_sheet(filters: NDArray[np.float32], most: int = 64, cell: int = 44, gap: int = 4) -> Image:
    """Filters in rows, strongest first, each with 0 at mid grey and its largest weight at black or white: uint8 [H, W, 3].

    Three input channels are shown as colour, others by their mean as grey.

    Args:
        filters: [n, channels, k, k].
        most: how many are shown.
        cell: side of one in pixels.
        gap: white pixels between.
    """
    strength = np.abs(filters).sum(axis=(1, 2, 3))
    chosen = filters[np.argsort(-strength, kind="stable")[:most]]
    if chosen.shape[1] != 3:
        chosen = np.repeat(chosen.mean(1, keepdims=True), 3, axis=1)
    largest = np.abs(chosen).max(axis=(1, 2, 3), keepdims=True)
    pixels = ((0.5 + 0.5 * chosen / np.maximum(largest, 1e-12)) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    columns = math.ceil(math.sqrt(len(pixels)))
    lines = math.ceil(len(pixels) / columns)
    sheet = np.full((lines * (cell + gap) - gap, columns * (cell + gap) - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pixels):
        top, left = (cell + gap) * (number // columns), (cell + gap) * (number % columns)
        large = cv2.resize(np.ascontiguousarray(picture), (cell, cell), interpolation=cv2.INTER_NEAREST)
        sheet[top : top + cell, left : left + cell] = large
    return sheet


def filters_figure(models: Sequence[Model]) -> Figure:
    """The filters of each network, side by side."""
    figure = Figure(figsize=(4.1 * len(models), 4.4), facecolor="white", layout="constrained")
    for number, model in enumerate(models, start=1):
        filters = first_filters(model.backbone)
        axes = figure.add_subplot(1, len(models), number)
        axes.imshow(filter_sheet(filters), interpolation="nearest")
        axes.set_axis_off()
        shape = f"{min(64, len(filters))} of {len(filters)}, {filters.shape[2]} x {filters.shape[3]}"
        axes.set_title(f"{_plain(model.name)}  ({shape})", fontsize=9, color=INK, loc="left")
    return figure
