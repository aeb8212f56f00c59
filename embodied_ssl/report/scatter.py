"""All pictures on one sheet, alike ones near each other: t-SNE, and UMAP where umap-learn is installed.

Both keep neighbourhoods only: distances between groups, their sizes and empty space mean nothing (Wattenberg et al. 2016).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.keys import torch_seed
from embodied_ssl.report.figures import COLOURS, INK, _figure, _plain

How = Literal["t-SNE", "UMAP"]
PICTURES = 1500  # more are slow and overlap
MARKERS = "os^D"  # a second sign beside colour, for many classes


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    try:
        return bool(metadata.version("umap-learn"))  # some folder called umap would be found by find_spec
    except metadata.PackageNotFoundError:
        return False


def flattened(features: NDArray[np.float32], how: How = "t-SNE", seed: int = 0) -> NDArray[np.float32]:
    """Unit features [N, D], reduced to 50 principal components, laid out in the plane [N, 2]; the same for the same seed.

    Unit features make neighbours those of cosine, as elsewhere here. t-SNE (van der Maaten and Hinton 2008) has perplexity 30 and
    starts from the principal components; UMAP (McInnes et al. 2018) has 15 neighbours.

    Raises:
        UserError: UMAP without umap-learn.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    kept = min(50, *unit.shape)
    points = PCA(kept, random_state=0).fit_transform(unit)
    state = torch_seed("flattened", how, seed)
    if how == "t-SNE":
        perplexity = min(30.0, (len(points) - 1) / 3)
        return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=state).fit_transform(points), np.float32)
    if not has_umap():
        raise UserError("UMAP needs umap-learn; pip install umap-learn, or use t-SNE")
    umap = importlib.import_module("umap").UMAP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed means one thread
        return np.asarray(umap(n_neighbors=min(15, len(points) - 1), random_state=state).fit_transform(points), np.float32)


def scatter_figure(
    tables: Sequence[FeatureTable], layers: Sequence[str], classes: Sequence[str], how: How = "t-SNE", seed: int = 0
) -> Figure:
    """Every picture as a dot, network beside network; classes have colours and signs, and names where there is room for them.

    Args:
        tables: features of the same pictures.
        layers: which layer of each.
        classes: names of the labels; none where there are none.
        how: which layout.
        seed: of the layout.
    """
    figure = _figure(5.4 * len(tables), 5.2 + (0.45 if classes else 0))
    for number, (table, layer) in enumerate(zip(tables, layers, strict=True), start=1):
        axes = figure.add_subplot(1, len(tables), number)
        points = flattened(table.features[layer][:PICTURES], how, seed)
        labels = table.labels[:PICTURES]
        if not classes:
            axes.scatter(points[:, 0], points[:, 1], s=8, color=COLOURS[0], alpha=0.6, linewidths=0)
        for label, name in enumerate(classes):
            own = points[labels == label]
            colour, marker = _sign(label, len(classes))
            axes.scatter(own[:, 0], own[:, 1], s=12, color=[colour], marker=marker, alpha=0.8, linewidths=0, label=_words(name))
        for label, (x, y) in _named(points, labels, len(classes)).items():
            halo = [withStroke(linewidth=2.5, foreground="white")]
            axes.text(x, y, _words(classes[label]), fontsize=8, ha="center", va="center", color=INK, path_effects=halo)
        axes.set_title(f"{_plain(table.model)}, {_plain(layer)}", fontsize=9, color=INK, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#dddddd")
    if 0 < len(classes) <= 40:
        signs, names = figure.axes[0].get_legend_handles_labels()
        options = {"fontsize": 7.5, "frameon": False, "markerscale": 1.6, "handletextpad": 0.1}
        figure.legend(signs, names, loc="outside lower center", ncols=4 * len(tables), **options)
    return figure


def _named(points: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> dict[int, tuple[float, float]]:
    """Where to write names: at the middle of classes, the most compact first, those left out that would cover another."""
    extent = np.ptp(points, axis=0)
    middles = {label: np.median(points[labels == label], axis=0) for label in range(classes) if (labels == label).any()}
    width = {label: np.abs(points[labels == label] - middle).mean() for label, middle in middles.items()}
    placed: dict[int, tuple[float, float]] = {}
    for label in sorted(middles, key=width.__getitem__):
        x, y = middles[label]
        if all(abs(x - a) > 0.17 * extent[0] or abs(y - b) > 0.04 * extent[1] for a, b in placed.values()):
            placed[label] = (float(x), float(y))
    return placed


def _words(name: str) -> str:
    return _plain(name).replace("_", " ")


def _sign(label: int, classes: int) -> tuple[str | tuple[float, ...], str]:
    """Colour and marker of a class: eight colours for colour-blind readers too; of more classes each ten have another marker."""
    if classes <= len(COLOURS):
        return COLOURS[label], MARKERS[0]
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    return colours[(2 * label + label // 10) % 20], MARKERS[label // 10 % len(MARKERS)]
