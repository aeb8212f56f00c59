"""Least, greatest, mean, spread and quantiles of numbers that come in parts and are never all in memory.

Everything is exact but the quantiles of long series: of more than 16,384 rows every second is kept, then every fourth, and so on.
Nothing is drawn at random, so that the same series always gives the same figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
KEPT = 16384
FIGURES = ("min", "max", "mean", "std", "count", *(f"q{round(100 * share):02d}" for share in QUANTILES))


def _named(quantiles: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {f"q{round(100 * share):02d}": values for share, values in zip(QUANTILES, quantiles, strict=True)}


class Numbers:
    """Statistics of vectors [width], added row by row.

    Args:
        width: numbers a row.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self._least, self._greatest = np.full(width, np.inf), np.full(width, -np.inf)
        self._mean, self._squares = np.zeros(width), np.zeros(width)  # squares: summed, about the mean
        self._step, self._kept, self._rows = 1, [np.zeros((0, width))], 0

    def add(self, rows: NDArray[Any]) -> None:
        """Count rows [n, width]."""
        values = np.asarray(rows, np.float64)
        if not len(values):
            return
        self._least = np.minimum(self._least, values.min(axis=0))
        self._greatest = np.maximum(self._greatest, values.max(axis=0))
        mean, total = values.mean(axis=0), self.count + len(values)
        off = mean - self._mean
        self._squares += ((values - mean) ** 2).sum(axis=0) + off**2 * (self.count * len(values) / total)
        self._mean = self._mean + off * (len(values) / total)
        self._keep(values)
        self.count = total

    def _keep(self, values: NDArray[np.float64]) -> None:
        first = -self.count % self._step  # rows are numbered from the very first; those kept are multiples of the step
        self._kept.append(values[first :: self._step].copy())
        self._rows += len(self._kept[-1])
        while self._rows > KEPT:
            self._kept, self._step = [np.concatenate(self._kept)[::2]], 2 * self._step
            self._rows = len(self._kept[0])

    def figures(self) -> dict[str, Any]:
        """All of them, by the names that LeRobot gives them; each a list of ``width`` numbers, the count a list of one."""
        found = {"min": self._least, "max": self._greatest, "mean": self._mean, "std": np.sqrt(self._squares / self.count)}
        found |= _named(np.quantile(np.concatenate(self._kept), QUANTILES, axis=0))
        return {name: values.tolist() for name, values in found.items()} | {"count": [self.count]}


class Colours:
    """Statistics of all pixels of pictures, for each of three channels; levels 0..255 are given as 0..1."""

    def __init__(self) -> None:
        self.count = 0  # pictures
        self._levels = np.zeros((3, 256), np.int64)

    def add(self, pixels: Pixels) -> None:
        """Count a picture [h, w, 3]."""
        self.count += 1
        for channel in range(3):
            self._levels[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)

    def join(self, other: Colours) -> None:
        """Count all pictures that another has counted."""
        self.count += other.count
        self._levels += other._levels

    def figures(self) -> dict[str, Any]:
        """As of `Numbers`, each figure [3, 1, 1]; the count is of pictures."""
        levels = np.arange(256) / 255
        share = self._levels / self._levels.sum(axis=1, keepdims=True)
        mean = share @ levels
        present = self._levels > 0
        found = {
            "min": levels[present.argmax(axis=1)],
            "max": levels[255 - present[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum((share * (levels - mean[:, None]) ** 2).sum(axis=1), 0)),
        }
        below = self._levels.cumsum(axis=1)
        wanted = [[np.searchsorted(line, q * line[-1]) for line in below] for q in QUANTILES]
        found |= _named(levels[np.array(wanted)])
        return {name: values.reshape(3, 1, 1).tolist() for name, values in found.items()} | {"count": [self.count]}
