"""The bench: one model after another is put through the protocols, its features computed once and rows kept for next time.

Everything heavy happens when a protocol asks for it: pictures are decoded for the first model that needs them, features
extracted for the first protocol on features, and neither where all rows are known from an earlier call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from embodied_ssl.backbones import Backbone
from embodied_ssl.config import to_json
from embodied_ssl.datasets.target import Division, Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.descriptors import DESCRIPTORS, describe
from embodied_ssl.evaluation.divisions import over_divisions
from embodied_ssl.evaluation.features import FeatureTable, Pooling, Precision, extract, weights_hash
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, Progress, named, read_pictures
from embodied_ssl.evaluation.protocol import AnyProtocol, Job, OnFeatures, OnNetworks
from embodied_ssl.evaluation.score_cache import ScoreCache, code
from embodied_ssl.evaluation.scores import Role, Score

RANDOM_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Settings:
    """How to evaluate, beside what is judged on what.

    Args:
        random_seeds: initialisations of the untrained networks; their mean and spread is a row, and so is each.
        descriptors: names of `DESCRIPTORS`.
        supervised: also judge each architecture trained with the train part's labels on as many pictures as the run saw.
        device: where networks and probes run.
        batch_size: pictures at a time.
        precision: of features: ``fp32``, ``bf16``, or ``auto``: bf16 where the hardware has it.
        cache: a folder that keeps pictures, features and rows between calls.
    """

    random_seeds: tuple[int, ...] = RANDOM_SEEDS
    descriptors: tuple[str, ...] = tuple(DESCRIPTORS)
    supervised: bool = False
    device: str = "cpu"
    batch_size: int = 64
    precision: Precision = "auto"
    cache: Path | None = None


@dataclass(frozen=True)
class Entry:
    """A model in turn: one given, one untrained, one supervised, or a descriptor (which has no network)."""

    model: str
    role: Role
    seed: int | None
    preprocessing: Preprocessing
    build: Callable[[], Backbone] | None
    baseline: str = ""  # the model of role random that it is compared with

    @property
    def shown(self) -> str:
        """Its name while it is at work."""
        return f"{self.model} seed {self.seed}" if self.role == "random" else self.model

    @cached_property
    def weights(self) -> str:
        """What stands for its weights in names of cached rows."""
        return weights_hash(self.build()) if self.build else self.model


class Bench:
    """What all models share: the target's pictures, decoded once for every square that some model asks for."""

    def __init__(self, target: Target, settings: Settings, on_progress: Progress) -> None:
        self.target = target
        self.settings = settings
        self.on_progress = on_progress
        self.rows = ScoreCache(settings.cache, target)
        self._pictures: dict[int, Pictures] = {}

    def pictures(self, preprocessing: Preprocessing) -> Pictures:
        if preprocessing.resize not in self._pictures:
            found = read_pictures(self.target.source, preprocessing, self.on_progress, self.settings.cache)
            check_classes(self.target, found)
            self._pictures[preprocessing.resize] = found
        return self._pictures[preprocessing.resize]


class Desk:
    """One model on the bench: its tables are computed when a protocol asks for them, and shared by all protocols."""

    def __init__(self, bench: Bench, entry: Entry) -> None:
        self.bench = bench
        self.entry = entry
        self._tables: dict[Pooling, FeatureTable] = {}
        self._parts: dict[tuple[Pooling, int], tuple[FeatureTable, FeatureTable]] = {}

    def judge(self, protocol: AnyProtocol) -> list[Score]:
        """The protocol's rows over all divisions, with the model, the data and all settings filled in."""
        by_division = [
            self.bench.rows.get_or(self.key(protocol, division), partial(self._run, protocol, number))
            for number, division in enumerate(self.bench.target.divisions)
        ]
        return [self._complete(score, protocol) for score in over_divisions(by_division, self.bench.target.divisions)]

    def _run(self, protocol: AnyProtocol, number: int) -> list[Score]:
        if isinstance(protocol, OnNetworks):
            return protocol.run(self._job(number))
        # These matrices are small: a second thread makes a fit many times slower, not faster.
        with threadpool_limits(1):
            return protocol.run(*self._table_parts(protocol.pooling, number))

    def _job(self, number: int) -> Job:
        entry, settings = self.entry, self.bench.settings
        assert entry.build is not None
        target = self.bench.target
        division = target.divisions[number]
        options = {"cache": settings.cache, "on_progress": self.bench.on_progress}
        return Job(entry.shown, entry.build, entry.preprocessing, target, division, torch.device(settings.device), **options)  # type: ignore[arg-type]

    def _table_parts(self, pooling: Pooling, number: int) -> tuple[FeatureTable, FeatureTable]:
        if (pooling, number) not in self._parts:
            pictures = self.bench.pictures(self.entry.preprocessing)
            train, test = (self._table(pooling).part(pictures.find(rows)) for rows in self.bench.target.divisions[number])
            self._parts = {key: kept for key, kept in self._parts.items() if key[1] == number}  # one division at a time
            self._parts[pooling, number] = train, test
        return self._parts[pooling, number]

    def _table(self, pooling: Pooling) -> FeatureTable:
        if pooling not in self._tables:
            entry, settings = self.entry, self.bench.settings
            pictures = self.bench.pictures(entry.preprocessing)
            if entry.build is None:
                self._tables[pooling] = describe(entry.model, pictures, entry.preprocessing, self.bench.on_progress)
            else:
                self._tables[pooling] = extract(
                    entry.build(),
                    entry.preprocessing,
                    pictures,
                    settings.device,
                    settings.batch_size,
                    self.bench.on_progress,
                    model=entry.shown,
                    cache=settings.cache if pooling == "global" else None,  # a grid's are as large as the pictures
                    pooling=pooling,
                    precision=settings.precision,
                )
        return self._tables[pooling]

    def key(self, protocol: AnyProtocol, division: Division) -> tuple[object, ...]:
        entry, settings = self.entry, self.bench.settings
        precision = settings.precision if entry.build and isinstance(protocol, OnFeatures) else ""
        made_of = code(type(protocol).__module__), code(__name__) if isinstance(protocol, OnFeatures) else ""
        return (protocol, made_of, entry.weights, entry.preprocessing, precision, torch.device(settings.device).type, division)

    def _complete(self, score: Score, protocol: AnyProtocol) -> Score:
        entry, target = self.entry, self.bench.target
        about = {"preprocessing": entry.preprocessing.to_json(), "split": target.note, "duplicates": target.duplicates}
        about["protocol"] = to_json(protocol)
        if isinstance(protocol, OnFeatures):
            about["skipped"] = named(self.bench.pictures(entry.preprocessing).bad)
        main = score.metric == protocol.metric and score.choice != "every"
        return replace(
            score,
            model=entry.model,
            role=entry.role,
            dataset=target.name,
            pretrain_seed=entry.seed,
            settings={**score.settings, **about},
            main=main,
        )


def check_classes(target: Target, pictures: Pictures) -> None:
    """Every class needs a readable picture on both sides of every division.

    Raises:
        UserError: names the class and the part that has none.
    """
    if target.source.labels is None:
        return
    for number, division in enumerate(target.divisions):
        for rows, where in zip(division, ("train", "test"), strict=True):
            counts = np.bincount(pictures.labels[pictures.find(rows)], minlength=len(target.classes))
            for name, count in zip(target.classes, counts, strict=True):
                if count == 0:
                    which = f" of division {number + 1}" if len(target.divisions) > 1 else ""
                    raise UserError(
                        f"no {where} picture of class '{name}'{which} can be read ({len(pictures.bad)} bad files); "
                        "mend or remove the class"
                    )


def fitting(entry: Entry, protocols: Sequence[AnyProtocol]) -> list[AnyProtocol]:
    """The protocols that a model can be put through: a descriptor has no network and no maps."""
    if entry.build:
        return list(protocols)
    return [protocol for protocol in protocols if isinstance(protocol, OnFeatures) and protocol.pooling == "global"]
