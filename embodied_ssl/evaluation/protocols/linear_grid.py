"""The linear probe on features that keep their places: each map pooled to about 9,000 values instead of to one per channel.

What a mean over the picture hides (where things are) this probe can read. Published layer-by-layer tables are made so, by Goyal
et al. 2019 with SGD on augmented pictures (`embodied_ssl.evaluation.protocols.sgd_probe` has their schedule). With fewer pictures
than values the fit is made in the space that the train pictures span, which changes nothing but the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embodied_ssl.evaluation.features import Pooling
from embodied_ssl.evaluation.protocols.linear import Linear


@dataclass(frozen=True)
class LinearGrid(Linear):
    """The linear protocol with grid pooling; more values ask for a stronger penalty, so the search begins lower."""

    name: ClassVar[str] = "linear-grid"
    cost: ClassVar[float] = 60.0
    pooling: ClassVar[Pooling] = "grid"
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
