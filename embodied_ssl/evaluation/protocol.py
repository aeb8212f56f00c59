"""What a protocol is: a frozen dataclass of fixed settings that turns a network (or its features) and labelled data into scores.

Two kinds. On features: two tables in, rows out; descriptors are judged too. On networks: trains all or part of a copy.
A protocol never sees test data before its last step, chooses everything on the train part, and states all settings in its rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import torch

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.target import Division, Rows, Target
from embodied_ssl.evaluation.features import FeatureTable, Pooling
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, Progress, read_pictures, silent
from embodied_ssl.evaluation.scores import Score


class OnFeatures(ABC):
    """A protocol on frozen features; subclasses are frozen dataclasses whose fields are its settings.

    Attributes:
        name: as in tables and on the command line.
        needs: the answer it judges by: ``label`` or ``tags``.
        metric: the metric of its main figure; rows of other metrics stand behind it.
        cost: about how many seconds it takes for 1,000 train pictures of a ResNet-18 at 96 pixels on 2 CPU cores.
        pooling: ``global`` (each map averaged over space) or ``grid`` (pooled to about 9,000 values, places kept).
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    metric: ClassVar[str] = "accuracy"
    cost: ClassVar[float] = 5.0
    pooling: ClassVar[Pooling] = "global"

    @classmethod
    def tiny(cls) -> Self:
        """The protocol with the smallest settings that still do everything, for tests."""
        return cls()

    @abstractmethod
    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        """Rows without dataset and role, which the caller fills in. Only the test table's answers and features judge."""


@dataclass(frozen=True)
class Job:
    """What a protocol on networks is given.

    Attributes:
        model: the network's name in tables.
        build: makes the network to be judged, weights in; a new copy at every call, so that training it harms nobody.
        preprocessing: what it expects.
        target: the labelled data.
        division: the train and test rows in force.
        device: where to train.
        seed: of every draw.
        cache: a folder for what is worth keeping between calls.
        on_progress: told what is being done, how many of how many.
    """

    model: str
    build: Callable[[], Backbone]
    preprocessing: Preprocessing
    target: Target
    division: Division
    device: torch.device
    seed: int = 0
    cache: Path | None = None
    on_progress: Progress = silent

    @cached_property
    def pictures(self) -> Pictures:
        """All readable pictures as squares of ``preprocessing.resize`` pixels: for protocols on whole pictures' labels."""
        return read_pictures(self.target.source, self.preprocessing, self.on_progress, self.cache)

    @property
    def train(self) -> Rows:
        """Where the division's train rows are among `pictures`."""
        return self.pictures.find(self.division.train)

    @property
    def test(self) -> Rows:
        """Where the division's test rows are among `pictures`."""
        return self.pictures.find(self.division.test)


class OnNetworks(ABC):
    """A protocol that trains all or part of a copy of the network; subclasses are frozen dataclasses: their fields are settings.

    Attributes:
        name: as in tables and on the command line.
        needs: the answer it learns and judges by: one of `embodied_ssl.datasets.target.ANSWERS`.
        metric: the metric of its main figure.
        cost: as for `OnFeatures`.
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    metric: ClassVar[str] = "accuracy"
    cost: ClassVar[float] = 60.0

    @classmethod
    def tiny(cls) -> Self:
        """The protocol with the smallest settings that still do everything, for tests."""
        return cls()

    @abstractmethod
    def run(self, job: Job) -> list[Score]:
        """Rows without dataset and role, which the caller fills in."""


AnyProtocol = OnFeatures | OnNetworks
