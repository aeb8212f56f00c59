"""Transfer: every model through the same protocols on the same pictures, beside untrained networks and plain descriptors.

A figure without its baselines says little: an untrained stem reads scenes better than many a trained last layer.
The difference to the same network untrained is therefore a row of its own, paired picture by picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.datasets.target import Target
from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.evaluation.descriptors import DESCRIPTORS, describe
from embodied_ssl.evaluation.features import FeatureTable, extract
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, Progress, read_pictures, silent
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.evaluation.scores import Role, Score
from embodied_ssl.evaluation.statistics import paired_difference, seed_reach, t_interval
from embodied_ssl.evaluation.targets import open_target

RANDOM_SEEDS = (0, 1, 2)


class Evaluator(Protocol):
    """A protocol on frozen features: two tables in, score rows out. Only the test table's labels and features judge."""

    name: str

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]: ...


def evaluators() -> dict[str, Callable[[Linear], Evaluator]]:
    """The protocols on frozen features by name; each is given the linear probe, so that the best layer is searched once.

    Protocols on other data (held-out pretext questions, say) add their rows to the list that `evaluate` returns.
    """
    return {"linear": lambda linear: linear, "knn": lambda linear: Knn(), "low-shot": lambda linear: LowShot(linear=linear)}


@dataclass(frozen=True)
class Candidate:
    """A network to be judged.

    Args:
        name: as shown in tables.
        backbone: with its trained weights.
        config: how to build the same network untrained.
        preprocessing: what the network expects.
        role: ``run``; ``supervised`` or ``external`` for networks from elsewhere.
        pretrain_seed: the seed it was trained with, where known.
    """

    name: str
    backbone: Backbone
    config: BackboneConfig = field(default_factory=BackboneConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    role: Role = "run"
    pretrain_seed: int | None = None


@dataclass(frozen=True)
class _Entry:
    """A model ready to be run: its tables for the train and the test part."""

    model: str
    role: Role
    seed: int | None
    preprocessing: Preprocessing
    tables: tuple[FeatureTable, FeatureTable]
    baseline: str = ""  # the model of role random that it is compared with


def evaluate(
    models: Sequence[Candidate],
    data: str | Target,
    protocols: Sequence[str] = ("linear", "knn", "low-shot"),
    *,
    random_seeds: Sequence[int] = RANDOM_SEEDS,
    descriptors: Sequence[str] = tuple(DESCRIPTORS),
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> list[Score]:
    """Run protocols on the given networks, on the same networks untrained, and on plain descriptors.

    Args:
        models: the networks, each with a name of its own.
        data: a folder of classes, or a target opened before.
        protocols: names of `evaluators`.
        random_seeds: initialisations of the untrained networks; their mean and spread is a row, and so is each.
        descriptors: names of `DESCRIPTORS`.
        device: where the networks run; probes run on the CPU.
        batch_size: pictures at a time.
        cache: a folder that keeps features between calls.
        on_progress: called with what is being done, how many, of how many.

    Returns:
        Rows for every model, protocol and layer; then, for every given network, its accuracy minus that of random init.

    Raises:
        UserError: an unknown protocol or descriptor, a name given twice, or data that cannot serve.
    """
    _check(models, protocols, descriptors)
    target = open_target(data) if isinstance(data, str) else data
    pictures = _read(models, target, on_progress)

    def features(model: str, backbone: Backbone, how: Preprocessing) -> tuple[FeatureTable, FeatureTable]:
        train, test = pictures[_crop(how)]
        options: dict[str, Any] = {"model": model, "cache": cache}
        return (
            extract(backbone, how, train, device, batch_size, on_progress, **options),
            extract(backbone, how, test, device, batch_size, on_progress, **options),
        )

    entries = [
        _Entry(
            m.name,
            m.role,
            m.pretrain_seed,
            m.preprocessing,
            features(m.name, m.backbone, m.preprocessing),
            _random_name(m, models),
        )
        for m in models
    ]
    for name, candidate in {_random_name(m, models): m for m in models}.items():
        for seed in random_seeds:
            tables = features(f"{name} seed {seed}", untrained(candidate.config, seed), candidate.preprocessing)
            entries.append(_Entry(name, "random", seed, candidate.preprocessing, tables))
    first = models[0].preprocessing if models else Preprocessing()
    train, test = pictures[_crop(first)]
    for name in descriptors:
        tables = describe(name, train, first, on_progress), describe(name, test, first, on_progress)
        entries.append(_Entry(name, "descriptor", None, first, tables))
    return _score(entries, [evaluators()[name] for name in protocols], target, on_progress)


def _check(models: Sequence[Candidate], protocols: Sequence[str], descriptors: Sequence[str]) -> None:
    for given, accepted, what in ((protocols, evaluators(), "protocol"), (descriptors, DESCRIPTORS, "descriptor")):
        for name in given:
            if name not in accepted:
                raise UserError(f"no {what} '{name}'{suggest(name, accepted)}")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise UserError(f"models are named {', '.join(names)}; give each a name of its own")


def untrained(config: BackboneConfig, seed: int) -> Backbone:
    """A network as it is before any training; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build()


def _score(
    entries: Sequence[_Entry], protocols: Sequence[Callable[[Linear], Evaluator]], target: Target, on_progress: Progress
) -> list[Score]:
    linear = Linear()
    scores: list[Score] = []
    steps = len(entries) * len(protocols)
    for number, entry in enumerate(entries):
        train, test = entry.tables
        about = {"preprocessing": entry.preprocessing.to_json(), "split": target.note, "duplicates": target.duplicates}
        about["skipped"] = {"train": _named(train.bad), "test": _named(test.bad)}
        for i, build in enumerate(protocols):
            evaluator = build(linear)
            on_progress(f"{evaluator.name} of {train.model}", number * len(protocols) + i + 1, steps)
            with threadpool_limits(1):  # these matrices are small: a second thread makes a fit 15 times slower, not faster
                rows = evaluator.run(train, test)
            for row in rows:
                settings = {**row.settings, **about}
                scores.append(
                    replace(
                        row, model=entry.model, role=entry.role, dataset=target.name, pretrain_seed=entry.seed, settings=settings
                    )
                )
    scores = _with_random_means(scores)
    return scores + minus_random(scores, {entry.model: entry.baseline for entry in entries if entry.baseline})


def minus_random(scores: Sequence[Score], baselines: Mapping[str, str]) -> list[Score]:
    """For each accuracy of a model, the same less the mean of its untrained networks, paired picture by picture.

    The interval is over test pictures (and draws); it does not contain what another pretraining seed would change. How far one
    more untrained seed may fall from the mean is beside it, in ``settings["seed_reach"]``.

    Args:
        scores: rows with hits.
        baselines: model -> the name of its untrained networks.
    """
    rows = []
    for score in scores:
        if score.model not in baselines or score.metric != "accuracy" or score.hits is None:
            continue
        others = [
            other.hits
            for other in scores
            if other.model == baselines[score.model]
            and other.pretrain_seed is not None
            and other.hits is not None
            and _slot(other) == _slot(score)
        ]
        if others:
            estimate = paired_difference(score.hits, np.mean(others, axis=0))
            covers = "paired bootstrap over test pictures" + (" and draws" if len(score.hits) > 1 else "")
            settings = {**score.settings, "against": baselines[score.model], "seeds": len(others), "interval": covers}
            settings["seed_reach"] = seed_reach([float(hits.mean()) for hits in others])
            interval = (estimate.low, estimate.high)
            rows.append(
                replace(
                    score, metric="minus_random", value=estimate.value, std=None, interval=interval, settings=settings, hits=None
                )
            )
    return rows


def _with_random_means(scores: list[Score]) -> list[Score]:
    """After the rows of the single seeds, their mean and spread; for one seed, that row again."""
    groups: dict[tuple[Any, ...], list[Score]] = {}
    for score in scores:
        if score.role == "random":
            key = (score.model, *_slot(score), score.layer if score.choice == "every" else "")
            groups.setdefault(key, []).append(score)
    means = []
    for rows in groups.values():
        mean, std, estimate = t_interval([row.value for row in rows])
        layers = ", ".join(dict.fromkeys(row.layer for row in rows))
        interval: tuple[float, float] | None = (estimate.low, estimate.high)
        covers = "Student's t over initialisations"
        if len(rows) < 2:
            interval, covers = rows[0].interval, str(rows[0].settings.get("interval", ""))
        settings = {**rows[0].settings, "seeds": len(rows), "interval": covers}
        settings.pop("C", None)  # each seed has its own, in its own row
        settings.pop("tried", None)
        means.append(
            replace(
                rows[0],
                layer=layers,
                value=mean,
                std=std if len(rows) > 1 else rows[0].std,
                interval=interval,
                pretrain_seed=None,
                settings=settings,
                hits=None,
            )
        )
    return scores + means


def _slot(score: Score) -> tuple[str, str, int | None, str]:
    return score.protocol, score.choice, score.shots, score.metric


def _random_name(model: Candidate, models: Sequence[Candidate]) -> str:
    """The untrained twin's name; numbered where networks of one name differ in build or preprocessing."""
    kinds = list(dict.fromkeys((m.config, m.preprocessing) for m in models if m.config.name == model.config.name))
    number = kinds.index((model.config, model.preprocessing))
    return f"random {model.config.name}" + (f" ({number + 1})" if len(kinds) > 1 else "")


def _crop(preprocessing: Preprocessing) -> tuple[int, int]:
    return preprocessing.size, preprocessing.resize


def _read(models: Sequence[Candidate], target: Target, on_progress: Progress) -> dict[tuple[int, int], tuple[Pictures, Pictures]]:
    """Each part decoded once for every crop that some model asks for."""
    found: dict[tuple[int, int], tuple[Pictures, Pictures]] = {}
    for preprocessing in [model.preprocessing for model in models] or [Preprocessing()]:
        if _crop(preprocessing) in found:
            continue
        parts = tuple(read_pictures(source, preprocessing, on_progress) for source in (target.train, target.test))
        for part, where in zip(parts, ("train", "test"), strict=True):
            empty = [name for label, name in enumerate(target.classes) if not (part.labels == label).any()]
            if empty:
                raise UserError(
                    f"no {where} picture of class '{empty[0]}' can be read ({len(part.bad)} bad files); mend or remove it"
                )
        found[_crop(preprocessing)] = (parts[0], parts[1])
    return found


def _named(bad: Sequence[BadItem], most: int = 20) -> dict[str, Any]:
    return {"count": len(bad), "first": [str(item) for item in bad[:most]]}
