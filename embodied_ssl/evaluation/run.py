"""Evaluate what was named on the command line: open models, data and protocols, run them, put all rows into one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embodied_ssl import config as configs
from embodied_ssl import discover
from embodied_ssl.datasets.io.array_cache import cache_folder
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.distributed import choose_device
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.estimate import estimate
from embodied_ssl.evaluation.models import open_model, with_own_names
from embodied_ssl.evaluation.pictures import Progress
from embodied_ssl.evaluation.protocol import AnyProtocol
from embodied_ssl.evaluation.scores import Score, save_scores
from embodied_ssl.evaluation.targets import target_spec
from embodied_ssl.evaluation.transfer import evaluate

PRETEXT = "pretext"
USUAL = {  # what is done where no protocol is named, by the first answer that the data have
    "label": ("linear", "knn", "low-shot"),
    "mask": ("segmentation",),
    "depth": ("depth",),
    "tags": ("voc-svm",),
    "boxes": ("detection",),
}


@dataclass(frozen=True)
class Request:
    """What to do.

    Args:
        on: the folder of labelled data; "" when only the pretext question is asked.
        reader: which reader opens it; "" for the first that recognises it.
        protocols: names; ``all`` is every protocol that the data have answers for; none for the `USUAL` ones.
        changes: ``key=value`` of the data's reader (``data.partitions=3``) or of a protocol (``knn.k=200``).
        config: the run's config, where it lies outside the package (for pretext).
        workers: processes that read for pretext.
        settings: baselines, device and precision; its cache is filled in here.
        cached: keep pictures, features and rows between calls.
        size: pixels that networks are shown; 0 for each one's own.
    """

    on: str = ""
    protocols: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    config: str = ""
    workers: int = 0
    settings: Settings = field(default_factory=Settings)
    cached: bool = True
    reader: str = ""
    size: int = 0


@dataclass(frozen=True)
class Evaluation:
    """All rows, and sentences a reader of them should know."""

    scores: list[Score]
    notes: list[str]


def protocols_of(names: Sequence[str], target: Target) -> list[str]:
    """The names with ``all`` replaced by every protocol that the target has answers for; the usual ones where none is named.

    Raises:
        UserError: an unknown protocol (with a suggestion), or none.
    """
    known = discover.protocols()
    chosen: list[str] = []
    for name in names or next(usual for answer, usual in USUAL.items() if answer in target.answers):
        if name == "all":
            chosen += [other for other, kind in known.items() if kind.needs in target.answers]
        elif name in known:
            chosen.append(name)
        else:
            raise UserError(f"no protocol '{name}'{suggest(name, [*known, PRETEXT, 'all'])}")
    return list(dict.fromkeys(chosen))


def open_data(root: str, changes: Sequence[str] = (), reader: str = "") -> Target:
    """The labelled data in a folder, with the settings of its reader changed by ``data.KEY=value``."""
    spec: Mapping[str, TargetSpec] = {"data": target_spec(root, reader)}
    for change in changes:
        spec = configs.override(spec, change)
    return spec["data"].target()


def open_protocols(names: Sequence[str], changes: Sequence[str] = ()) -> list[AnyProtocol]:
    """Protocols by name, with settings changed by ``NAME.KEY=value``."""
    known = discover.protocols()
    found: Mapping[str, AnyProtocol] = {name: known[name]() for name in names}
    for change in changes:
        found = configs.override(found, change)
    return list(found.values())


def evaluation_cache() -> Path:
    """Where pictures, features and rows are kept: beside the other caches, under ``$EMBODIED_SSL_CACHE``."""
    return cache_folder().parent / "evaluation"


def prepare(request: Request) -> tuple[Target, list[AnyProtocol], Settings]:
    """Open data and protocols, refusing what cannot be done before anything is computed."""
    own = [change for change in request.changes if change.startswith("data.")]
    target = open_data(request.on, own, request.reader)
    names = protocols_of([name for name in request.protocols if name != PRETEXT], target)
    protocols = open_protocols(names, [change for change in request.changes if change not in own])
    cache = evaluation_cache() if request.cached else None
    return target, protocols, replace(request.settings, device=str(choose_device(request.settings.device)), cache=cache)


def evaluate_run(
    given: str, request: Request, on_progress: Progress, say: Any = lambda line: None, beside: Sequence[str] = ()
) -> Evaluation:
    """Run protocols on a trained backbone; rows are also kept in the run folder's ``evaluation/``.

    Args:
        given: a run folder, or whatever `embodied_ssl.evaluation.models.open_model` takes.
        request: data, protocols and settings.
        on_progress: told how far it is.
        say: told, in a line, how long it will take.
        beside: other networks for the same tables: ImageNet weights from a file, say.

    Raises:
        UserError: an unknown protocol, no data for a protocol that needs it, or nothing trained in the folder.
    """
    on_data = [name for name in request.protocols if name != PRETEXT]
    known = [*discover.protocols(), "all"]
    for name in on_data:
        if name not in known:
            raise UserError(f"no protocol '{name}'{suggest(name, [*known, PRETEXT])}")
    if not request.on and (on_data or not request.protocols):
        raise UserError(
            f"{', '.join(on_data) or 'evaluate'} needs labelled data; give its folder with --on (or --protocol pretext)"
        )
    scores: list[Score] = []
    notes: list[str] = []
    if request.changes and request.protocols and not on_data:
        raise UserError(f"--set {request.changes[0]} changes nothing: pretext asks what the run's own config says")
    # What is refused is better refused before the pretext question.
    ready = prepare(request) if on_data or not request.protocols else None
    models = with_own_names([open_model(name, size=request.size) for name in (given, *beside)])
    if PRETEXT in request.protocols:
        from embodied_ssl.evaluation.pretext import evaluate_pretext, lines

        device = choose_device(request.settings.device)
        asked = evaluate_pretext(Path(given), request.config, device, max(0, request.workers))
        _keep(Path(given), PRETEXT, asked)
        scores += asked
        notes += lines(asked)
    if ready:
        target, protocols, settings = ready
        say(estimate(models, target, protocols, settings).line())
        left_out: dict[str, str] = {}
        found = evaluate(models, target, protocols, settings, on_progress, left_out)
        notes += [f"{name} was left out: {reason}" for name, reason in left_out.items()]
        _keep(Path(given), target.name, found)
        scores += found
        notes.append(f"{target.name}: {target.note}")
    return Evaluation(scores, notes)


def _keep(run: Path, name: str, scores: list[Score]) -> None:
    """In the run folder, for its report; a backbone on its own has none."""
    if (run / "backbone").is_dir():
        save_scores(run / "evaluation" / f"{name}.json", scores)
