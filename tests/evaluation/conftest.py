from collections.abc import Callable

import numpy as np
import pytest

from embodied_ssl.evaluation.features import FeatureTable


def make_blobs(
    per_class: int = 20, classes: int = 4, width: int = 8, noise: float = 1.0, seed: int = 0, layers: tuple[str, ...] = ("a", "b")
) -> FeatureTable:
    """Features around class means 3 apart; the means are the same for every seed, and the last layer is noisier."""
    means = 3 * np.random.default_rng(99).standard_normal((classes, width))
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    features = {
        layer: (means[labels] + noise * (1 + depth) * rng.standard_normal((len(labels), width))).astype(np.float32)
        for depth, layer in enumerate(layers)
    }
    return FeatureTable("toy", features, labels, tuple(f"r{i}" for i in range(len(labels))))


@pytest.fixture(scope="session")
def blobs() -> Callable[..., FeatureTable]:
    """Makes tables of features around class means."""
    return make_blobs
