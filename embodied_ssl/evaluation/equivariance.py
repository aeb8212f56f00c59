"""How equivariant features are: the same pairs of frames for every network given, and for the same networks untrained.

For each network, a map of every motion pattern (`motion.maps`) and a regression of the motion (`motion.probe`) are fitted on
training drives and judged on others (`motion.figures` says what each figure is worth). Runs that differ in their seed alone,
``NAME_s0``, ``NAME_s1``, ..., are one method: figures are means over its seeds, with their spread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embodied_ssl.backbones import untrained
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.exhibits import of_views
from embodied_ssl.evaluation.features import FeatureTable, extract
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.motion.figures import Units, units_of
from embodied_ssl.evaluation.motion.measurement import Features, measure_network, readable
from embodied_ssl.evaluation.motion.pairs import LEAST, Drawing, Question, ask
from embodied_ssl.evaluation.motion.projection import PROJECTION, with_projection
from embodied_ssl.evaluation.motion.rows import Group, Network, groups_of, rows_of
from embodied_ssl.evaluation.pictures import Pictures, Progress, silent
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.transfer import random_name

MOST_NAMED = 6  # missing directions in a note
PLENTY = 5  # training pairs a dimension, below which a note says so
SEED = re.compile(r"(?P<method>.+)_s\d+")


@dataclass(frozen=True)
class Equivariance:
    """Everything measured.

    Attributes:
        question: what all networks were asked.
        units: what intervals resample.
        groups: methods in the order given, then untrained networks.
        scores: a row a figure, for every network, every method, and every difference.
        notes: what a reader of the figures should know.
        left_out: networks that could not be measured, with the reason.
    """

    question: Question
    units: Units
    groups: list[Group]
    scores: list[Score]
    notes: list[str]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def differences(self) -> list[Score]:
        """The rows that subtract one method from another."""
        return [row for row in self.scores if row.metric.startswith("minus_")]

    def lines(self) -> list[str]:
        """The notes, who was left out and why, and what could not be read."""
        left_out = [f"{name} was left out: {reason}" for name, reason in self.left_out.items()]
        bad = self.question.bad
        unread = [f"{len(bad)} items could not be read, the first: {bad[0]}; the report names them"] if bad else []
        return [*self.notes, *left_out, *unread]


def measure(
    models: Sequence[Model],
    spec: DataSpec,
    drawing: Drawing | None = None,
    *,
    layers: Sequence[str] = (),
    random_seeds: Sequence[int] = (0, 1, 2),
    device: str | torch.device = "cpu",
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> Equivariance:
    """Measure networks, and the same networks untrained.

    Args:
        models: each with a name of its own; ``NAME_s0``, ``NAME_s1`` are seeds of one method.
        spec: data with motions.
        drawing: how many pairs, how drives are divided, how many dimensions.
        layers: names of stages; none for the last, ``all`` for every one, ``projection`` for what the run's loss looked at.
        random_seeds: of the untrained networks beside.
        device: where networks run.
        cache: a folder that keeps features between calls.
        on_progress: told what is done.

    Raises:
        UserError: data without motions or too few drives, no such layer, or not one network that can be measured.
    """
    drawing = drawing or Drawing()
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UserError(f"models are named {', '.join(names) or 'nothing'}; give at least one, each with a name of its own")
    question = ask(spec, drawing)
    units: Units | None = None
    found: list[Network] = []
    left_out: dict[str, str] = {}
    for model, method in _networks(models, random_seeds):
        pictures = question.pictures(model.preprocessing.size, on_progress)
        units = units or _units(question, pictures)
        try:
            how = of_views(model.preprocessing)
            table = extract(model.backbone, how, pictures, device, on_progress=on_progress, model=model.name, cache=cache)
            table = with_projection(table, model) if PROJECTION in layers else table
        except UserError as refusal:  # a network that diverged does not stop the others
            left_out[model.name] = str(refusal)
            continue
        for layer in _layers(table, layers):
            on_progress(f"maps of {model.name} at {layer}", 1, 1)
            try:
                with threadpool_limits(1):
                    features = _by_frame(table.features[layer], pictures, len(question.frames))
                    one = measure_network(question, units, features, drawing)
                found.append(Network(model.name, method, model.role, model.pretrain_seed, layer, one))
            except UserError as refusal:
                left_out[f"{model.name} at {layer}" if len(table.layers) > 1 else model.name] = str(refusal)
    if not found or units is None:
        raise UserError("; ".join(dict.fromkeys(left_out.values())))
    baselines = {method: random_name(model, models) for model, method in _methods(models) if model.config}
    groups = groups_of(found, baselines)
    settings = {"drawing": asdict(drawing), "frames": "whole, squeezed to a square", "unit": question.unit}
    return Equivariance(
        question, units, groups, rows_of(groups, question, units, settings), _notes(question, units, groups, drawing), left_out
    )


def method_of(name: str) -> str:
    """A run's name without the seed that ends it: ``equiv_s2`` is of ``equiv``."""
    match = SEED.fullmatch(name)
    return match["method"] if match else name


def _methods(models: Sequence[Model]) -> list[tuple[Model, str]]:
    """Each model with its method; those of one name that are built or shown pictures differently are no seeds of each other."""
    kinds: dict[str, set[Any]] = {}
    for model in models:
        kinds.setdefault(method_of(model.name), set()).add((model.config, model.preprocessing))
    return [(model, method_of(model.name) if len(kinds[method_of(model.name)]) == 1 else model.name) for model in models]


def _networks(models: Sequence[Model], random_seeds: Sequence[int]) -> Iterator[tuple[Model, str]]:
    """Every network with its method's name: those given, then each architecture untrained."""
    yield from _methods(models)
    for name, model in {random_name(one, models): one for one in models if one.config}.items():
        for seed in random_seeds:
            assert model.config is not None
            net = untrained(model.config, seed)
            yield Model(f"{name} seed {seed}", net, model.config, model.preprocessing, "random", seed), name


def _layers(table: FeatureTable, wanted: Sequence[str]) -> Sequence[str]:
    if "all" in wanted:
        return [name for name in table.layers if name != PROJECTION or PROJECTION in wanted]
    for name in wanted:
        if name not in table.layers:
            raise UserError(f"{table.model} has no layer '{name}'{suggest(name, [*table.layers, 'all'])}")
    return wanted or [table.last]


def _by_frame(features: NDArray[np.float32], pictures: Pictures, frames: int) -> Features:
    whole = np.full((frames, features.shape[1]), np.nan, np.float32)
    whole[pictures.rows] = features
    return whole


def _units(question: Question, pictures: Pictures) -> Units:
    read = np.zeros(len(question.frames), bool)
    read[pictures.rows] = True
    tests = [fold.test for fold in readable(question, read)]
    return units_of([name for test in tests for name in test.recording], np.concatenate([test.seconds for test in tests]))


def _notes(question: Question, units: Units, groups: Sequence[Group], drawing: Drawing) -> list[str]:
    """What was asked, and where figures should be read with care."""
    judged = groups[0].seeds[0].found.sums[..., 0].sum(0).astype(int)
    fits: Sequence[Mapping[str, Any]] = groups[0].seeds[0].found.about["folds"]
    fitted = {name: [fit["training_pairs"].get(name, 0) for fit in fits] for name in question.names}
    shown = ", ".join(f"{name} {min(fitted[name])} / {n}" for name, n in zip(question.names, judged.tolist(), strict=True))
    notes = [f"{question.name}; {question.note}", f"pairs fitted on / judged on: {shown}"]
    wide = max(fit["dimensions"] for fit in fits)
    missing = question.patterns.missing()
    if missing:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        notes.append(f"no pattern goes {', '.join(missing[:MOST_NAMED])}{more}: the drives hardly do, or turn while they do")
    few = [name for name in question.names if min(fitted[name]) < PLENTY * wide]
    if few:
        notes.append(
            f"few training pairs for maps of {wide} x {wide}: {', '.join(few)}; there the maps lean on what all patterns share"
        )
    none = [name for name, n in zip(question.names, judged.tolist(), strict=True) if n == 0]
    if none:
        notes.append(f"fewer than {LEAST} pairs to judge by: {', '.join(none)}; --folds 3 judges on every drive")
    notes.append(f"intervals are 95 %, over {units.kind}; what another training seed would change is not in them")
    if len(units.names) < 10:
        notes.append(f"{len(units.names)} units are too few for an interval to mean much; give more drives or --folds")
    explained = {group.name: np.mean([fit["explained"] for fit in group.seeds[0].found.about["folds"]]) for group in groups}
    shares = ", ".join(f"{name} {share:.0%}" for name, share in explained.items())
    notes.append(f"share of the features' variance in the {drawing.dimensions} dimensions: {shares}")
    return notes
