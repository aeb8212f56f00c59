"""Transfer: every model through the same protocols on the same pictures, beside untrained networks and plain descriptors.

A figure without its baselines says little: an untrained stem reads scenes better than many a trained last layer.
The difference to the same network untrained is therefore a row of its own, paired picture by picture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embodied_ssl.backbones import Backbone, BackboneConfig, untrained
from embodied_ssl.datasets.target import Target
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.bench import Bench, Desk, Entry, Settings, fitting
from embodied_ssl.evaluation.descriptors import DESCRIPTORS
from embodied_ssl.evaluation.differences import minus_random, with_random_means
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import Preprocessing, Progress, read_pictures, silent
from embodied_ssl.evaluation.protocol import AnyProtocol, OnFeatures
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.loop import Labelled
from embodied_ssl.evaluation.training.supervised import train_supervised


def evaluate(
    models: Sequence[Model],
    target: Target,
    protocols: Sequence[AnyProtocol],
    settings: Settings | None = None,
    on_progress: Progress = silent,
    left_out: dict[str, str] | None = None,
) -> list[Score]:
    """Run protocols on the given networks, on the same networks untrained, and on plain descriptors.

    Args:
        models: the networks, each with a name of its own.
        target: the labelled data.
        protocols: from `embodied_ssl.evaluation.protocols`; each needs an answer that the target has.
        settings: baselines, device and cache.
        on_progress: called with what is being done, how many, of how many.
        left_out: where given, a protocol that refuses these data (too few positives, say) is left out of all rows and named
            here with its reason, as long as another one remains; else it is refused.

    Returns:
        Rows for every model, protocol and layer, over all divisions; then, for every given network, its main figures minus
        those of random init.

    Raises:
        UserError: a protocol that the target has no answers for, an unknown descriptor, a name given twice, or data that
            cannot serve.
    """
    settings = settings or Settings()
    check(models, target, protocols, settings)
    bench = Bench(target, settings, on_progress)
    entries = list(entrants(models, target, protocols, settings, on_progress))
    scores: list[Score] = []
    steps = sum(len(fitting(entry, protocols)) for entry in entries)
    done = 0
    for entry in entries:
        desk = Desk(bench, entry)
        for protocol in fitting(entry, protocols):
            done += 1
            on_progress(f"{protocol.name} of {entry.shown}", done, steps)
            if left_out is not None and protocol.name in left_out:
                continue
            try:
                scores += desk.judge(protocol)
            except UserError as refusal:
                if left_out is None or len(left_out) + 1 == len(protocols):
                    raise
                left_out[protocol.name] = str(refusal)
    scores = with_random_means([score for score in scores if score.protocol not in (left_out or ())])
    return scores + minus_random(scores, {entry.model: entry.baseline for entry in entries if entry.baseline})


def check(models: Sequence[Model], target: Target, protocols: Sequence[AnyProtocol], settings: Settings) -> None:
    """Refuse what cannot be done before anything is read."""
    if not protocols:
        raise UserError(f"no protocol was given that judges by {', '.join(target.answers)}, which is what {target.name} has")
    for protocol in protocols:
        if protocol.needs not in target.answers:
            raise UserError(
                f"protocol '{protocol.name}' judges by '{protocol.needs}', but {target.name} has {', '.join(target.answers)}; "
                "choose another protocol or other data"
            )
    for name in settings.descriptors:
        if name not in DESCRIPTORS:
            raise UserError(f"no descriptor '{name}'{suggest(name, DESCRIPTORS)}")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise UserError(f"models are named {', '.join(names)}; give each a name of its own")
    _check_labels(target)


def _check_labels(target: Target) -> None:
    labels = target.source.labels
    if labels is None:
        return
    if len(target.classes) < 2:
        raise UserError(f"{target.name} has one class only ({', '.join(target.classes)}); give at least two")
    if labels.min() < 0 or labels.max() >= len(target.classes):
        wrong = int(((labels < 0) | (labels >= len(target.classes))).sum())
        raise UserError(
            f"{wrong} labels of {target.name} lie outside 0..{len(target.classes) - 1} (its {len(target.classes)} classes); "
            "mend the list of labels"
        )


def entrants(
    models: Sequence[Model],
    target: Target,
    protocols: Sequence[AnyProtocol],
    settings: Settings,
    on_progress: Progress,
    *,
    plan_only: bool = False,
) -> Iterator[Entry]:
    """The models in the order of tables: those given, trained with labels, untrained, descriptors.

    With ``plan_only`` those to be trained with labels stand in untrained, so that nothing is computed.
    """
    for model in models:
        name = random_name(model, models) if model.config else ""
        yield Entry(model.name, model.role, model.pretrain_seed, model.preprocessing, _copier(model.backbone), name)
    if settings.supervised:
        yield from _supervised(models, target, settings, on_progress, plan_only)
    for name, model in {random_name(m, models): m for m in models if m.config}.items():
        for seed in settings.random_seeds:
            assert model.config is not None
            yield Entry(name, "random", seed, model.preprocessing, _builder(model.config, seed))
    if any(isinstance(protocol, OnFeatures) for protocol in protocols):
        first = models[0].preprocessing if models else Preprocessing()
        for name in settings.descriptors:
            yield Entry(name, "descriptor", None, first, None)


def _supervised(
    models: Sequence[Model], target: Target, settings: Settings, on_progress: Progress, plan_only: bool
) -> Iterator[Entry]:
    """Each architecture trained with the first division's train labels for as many pictures as the longest run saw."""
    if target.source.labels is None:
        return
    for name, model in {random_name(m, models): m for m in models if m.config and m.examples_seen}.items():
        assert model.config is not None
        examples = max(m.examples_seen for m in models if m.config and random_name(m, models) == name)
        backbone = untrained(model.config, 0)
        if not plan_only:
            pictures = read_pictures(target.source, model.preprocessing, on_progress, settings.cache)
            rows = pictures.find(target.divisions[0].train)
            data = Labelled(pictures, rows, len(target.classes), model.preprocessing)
            options: dict[str, Any] = {"device": settings.device, "cache": settings.cache, "on_progress": on_progress}
            backbone = train_supervised(model.config, data, examples, **options)
        yield Entry(name.replace("random", "supervised", 1), "supervised", 0, model.preprocessing, _copier(backbone), name)


def random_name(model: Model, models: Sequence[Model]) -> str:
    """The untrained twin's name; numbered where networks of one name differ in build or preprocessing."""
    assert model.config is not None
    kinds = list(dict.fromkeys((m.config, m.preprocessing) for m in models if m.config and m.config.name == model.config.name))
    number = kinds.index((model.config, model.preprocessing))
    return f"random {model.config.name}" + (f" ({number + 1})" if len(kinds) > 1 else "")


def _builder(config: BackboneConfig, seed: int) -> Callable[[], Backbone]:
    return lambda: untrained(config, seed)


def _copier(backbone: Backbone) -> Callable[[], Backbone]:
    return lambda: copy.deepcopy(backbone)
