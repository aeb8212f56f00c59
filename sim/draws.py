"""Ways of drawing that several parts of the simulator share."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from embodied_ssl.sim.camera import Vector


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform; both limits are positive."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def colour(rng: np.random.Generator, saturation: tuple[float, float] = (0.35, 0.9)) -> Vector:
    """Any hue, neither too dark to see nor white: red, green, blue in 0..1."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(0.4, 0.95))
