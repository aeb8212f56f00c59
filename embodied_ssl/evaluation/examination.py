"""The health of a network's features, layer by layer, on pictures without labels: rank, evenness, and what views change.

Every figure has a 95 % interval over pictures (jackknife over ten groups of them) and stands beside what it would be compared
with: the rank that noise of all dimensions reads, the distance of unrelated pictures, the spread of even directions.
Legend: N pictures, D features, A pictures with V views each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from embodied_ssl.evaluation import diagnostics
from embodied_ssl.evaluation.exhibits import Exhibits, of_views
from embodied_ssl.evaluation.features import FeatureTable, extract
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.evaluation.scores import Role
from embodied_ssl.evaluation.statistics import Estimate
from embodied_ssl.keys import generator

GROUPS = 10  # of pictures, each left out once
ENOUGH = 4  # pictures for every feature: RankMe of noise then reads 97 % of its dimensions


@dataclass(frozen=True)
class LayerHealth:
    """What one layer of one network is like.

    Attributes:
        model: as shown in tables.
        role: of the model.
        layer: where the features were taken, averaged over space.
        width: D.
        pictures: N.
        rank_me: effective rank of the centred features; D at most.
        rank_of_noise: what `rank_me` reads of N examples of noise in D dimensions.
        lidar: effective rank of what tells pictures apart beside what views change; D and A - 1 at most.
        lidar_of_noise: what `lidar` reads of A x V examples of noise in D dimensions, where no picture differs from another.
        alignment: mean squared distance of two views of one picture, of unit features.
        unrelated: the same of views of two pictures: what alignment is to be compared with.
        uniformity: 0 when all pictures are at one point, towards -4 when they fill the sphere.
        spread: deviation of a unit feature, as a share of what evenly spread directions have; 1 at most.
        dead: features that are the same for every picture.
        notes: why a figure cannot be trusted; empty when all can.
    """

    model: str
    role: Role
    layer: str
    width: int
    pictures: int
    rank_me: Estimate
    rank_of_noise: float
    lidar: Estimate
    lidar_of_noise: float
    alignment: Estimate
    unrelated: Estimate
    uniformity: Estimate
    spread: Estimate
    dead: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Estimates become ``{"value", "low", "high"}``."""
        given = {name: getattr(self, name) for name in (field.name for field in fields(self))}
        return {
            name: value._asdict() if isinstance(value, Estimate) else list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
        }


@dataclass(frozen=True)
class Examination:
    """All that was found out about one network.

    Attributes:
        model: the network.
        queries: features of the pictures that were examined.
        gallery: features of the pictures among which neighbours are looked for.
        layers: a row for each layer, shallow to deep.
    """

    model: Model
    queries: FeatureTable
    gallery: FeatureTable
    layers: tuple[LayerHealth, ...]


def examine(
    model: Model,
    exhibits: Exhibits,
    device: str | torch.device = "cpu",
    on_progress: Progress = silent,
    cache: Path | None = None,
) -> Examination:
    """Take one network's features of all exhibits and measure every layer.

    Args:
        model: the network.
        exhibits: the pictures; shared by all networks that shall be compared.
        device: where the network runs; measures run on the CPU.
        on_progress: told what is done.
        cache: a folder that keeps features between calls.

    Raises:
        UserError: features that are no numbers: the run collapsed or diverged.
    """
    how = model.preprocessing
    options: dict[str, Any] = {"device": device, "on_progress": on_progress, "model": model.name, "cache": cache}
    queries = extract(model.backbone, how, exhibits.queries(how), **options)
    gallery = extract(model.backbone, how, exhibits.gallery(how), **options)
    views = extract(model.backbone, of_views(how), exhibits.views(how), **options)
    rows = []
    with threadpool_limits(1):  # matrices too small for two threads
        for number, layer in enumerate(queries.layers):
            seen = views.features.get(layer)
            if seen is not None:  # `vector` may be the last map's average to rounding in one table and not in the other
                by_picture = seen.reshape(-1, exhibits.drawing.views, seen.shape[1])
                rows.append(measure(model.name, model.role, layer, queries.features[layer], by_picture))
            on_progress(f"examining {model.name}", number + 1, len(queries.layers))
    return Examination(model, queries, gallery, tuple(rows))


def measure(model: str, role: Role, layer: str, features: NDArray[np.float32], views: NDArray[np.float32]) -> LayerHealth:
    """One row.

    Args:
        model, role, layer: what to call it.
        features: of N pictures as they are [N, D].
        views: of V views of each of A pictures [A, V, D]; V is even.
    """
    n, width = features.shape
    pictures = len(views)
    notes = []
    if n < ENOUGH * width:
        notes.append(f"RankMe of {width} features reads low from {n} pictures; give {ENOUGH * width}")
    if pictures <= width:
        notes.append(f"LiDAR cannot exceed {pictures - 1} with views of {pictures} pictures; give more than {width}")
    healthy = diagnostics.spread(features).healthy
    return LayerHealth(
        model,
        role,
        layer,
        width,
        n,
        rank_me=jackknife(lambda rows: diagnostics.rank_me(features[rows]), n),
        rank_of_noise=_rank_of_noise(n, width),
        lidar=jackknife(lambda rows: diagnostics.lidar(views[rows]), pictures),
        lidar_of_noise=_lidar_of_noise(pictures, views.shape[1], width),
        alignment=jackknife(lambda rows: _distance(views[rows], 0), pictures),
        unrelated=jackknife(lambda rows: _distance(views[rows], 1), pictures),
        uniformity=jackknife(lambda rows: diagnostics.uniformity(features[rows]), n),
        spread=jackknife(lambda rows: diagnostics.spread(features[rows]).std / healthy, n),
        dead=int((features == features[0]).all(0).sum()),
        notes=tuple(notes),
    )


def _distance(views: NDArray[np.float32], apart: int) -> float:
    """Alignment of the views at even with those at odd places: of one picture, or (``apart`` 1) of a picture and the next."""
    first, second = views[:, 0::2], np.roll(views[:, 1::2], apart, axis=0)
    return diagnostics.alignment(first.reshape(-1, views.shape[2]), second.reshape(-1, views.shape[2]))


@cache
def _rank_of_noise(n: int, width: int) -> float:
    return diagnostics.rank_me(generator("rank of noise", n, width).standard_normal((n, width)))


@cache
def _lidar_of_noise(pictures: int, views: int, width: int) -> float:
    return diagnostics.lidar(generator("lidar of noise", pictures, views, width).standard_normal((pictures, views, width)))


def jackknife(measure: Callable[[NDArray[np.intp]], float], n: int, groups: int = GROUPS, confidence: float = 0.95) -> Estimate:
    """A figure of n items with an interval from leaving out one group of them at a time (Student's t, groups - 1).

    For figures that repeated items would spoil, as the bootstrap repeats them: a rank falls when pictures come twice. With
    groups of one item, the interval of a mean is Student's own.

    Args:
        measure: the figure of the items at these rows.
        n: how many items there are; at least two.
        groups: how many groups; one item each where there are fewer items.
        confidence: of the interval.
    """
    values = np.array([measure(rows) for rows in _without_one_group(n, min(groups, n))])
    count = len(values)
    error = np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum())
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1) * error)
    value = float(measure(np.arange(n)))
    return Estimate(value, value - half, value + half)


def _without_one_group(n: int, groups: int) -> Iterator[NDArray[np.intp]]:
    group = generator("jackknife", n, groups).permutation(n) % groups
    return (np.flatnonzero(group != left_out) for left_out in range(groups))
