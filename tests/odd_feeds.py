"""Feeds that go wrong, in a module of their own so that a new process can import them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.benchmark.feeds import exact
from embodied_ssl.benchmark.naive import Read
from embodied_ssl.datasets.source import Pixels

CACHE = 1000  # bytes that `build` leaves


def neighbours(path: str) -> Read:
    """Every frame is the one after that which was asked for."""
    read = exact(path)
    return lambda numbers: read(numbers + 1)


def recoloured(path: str) -> Read:
    """The right frames with the channels turned around."""
    read = exact(path)
    return lambda numbers: np.ascontiguousarray(read(numbers)[..., ::-1])


def missing(path: str) -> Read:
    """Needs a package that nobody has."""
    raise ModuleNotFoundError(f"no reader for {path}")


def dies(path: str) -> Read:
    """Takes its process with it."""

    def read(numbers: NDArray[np.int64]) -> Pixels:
        os._exit(1)

    return read


def build(path: str) -> int:
    """Leave a file of known size, and spend some processor time on it."""
    sum(range(200_000))
    Path(path + ".cache").write_bytes(bytes(CACHE))
    return CACHE
