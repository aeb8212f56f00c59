"""A study: methods x data x backbones x seeds, each judged on the same targets, made cell by cell into one table.

A cell is one pretrained network, or its rows on one target. What is finished is kept and skipped the next time, so that a study
may be stopped, continued, lengthened by a seed, or divided among machines that share its folder. Budgets are pictures that pass
through the backbone, so that a method with four views a picture does not train four times as long as one with a single view.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embodied_ssl import config as configs
from embodied_ssl import held_out
from embodied_ssl.backbones import Backbone
from embodied_ssl.config import Run
from embodied_ssl.core import Method
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.distributed import choose_device
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.models import open_model
from embodied_ssl.evaluation.pretext import evaluate_pretext
from embodied_ssl.evaluation.protocol import AnyProtocol
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.transfer import evaluate
from embodied_ssl.files import write_json
from embodied_ssl.finished import new_learner
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.progress import Progress
from embodied_ssl.report.study_table import write_tables
from embodied_ssl.start import Options, open_sources
from embodied_ssl.trainer import pretrain

Stages = Sequence[Run]


@dataclass(frozen=True)
class Study:
    """What is trained, and what it is judged on.

    Args:
        runs: name -> what to pretrain (a run, or its stages), once for each seed.
        targets: labelled data.
        protocols: each is used on every target that has the answers it needs.
        seeds: of pretraining.
        views: pictures that pass through the backbone, or a slow copy of it, in the steps of each pretraining, whatever the
            method; 0 leaves each run its own steps.
        view_size: if above 0, ``views`` are of so many pixels a side, and smaller ones count by their area: nine tiles of a
            puzzle are then not nine pictures, neither in what they show nor in what they cost.
        models: name -> a trained network to judge beside the runs: whatever `embodied-ssl evaluate` accepts. Several of one name
            are one recipe with several seeds.
        settings: baselines and precision.
        size: pixels at which every network is judged; 0 for each at its own (`embodied_ssl.evaluation.models`).
    """

    runs: Mapping[str, Run | Stages]
    targets: Sequence[TargetSpec]
    protocols: Sequence[AnyProtocol] = (Linear(), Knn(), LowShot())
    seeds: tuple[int, ...] = (0,)
    views: int = 0
    view_size: int = 0
    models: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    size: int = 0

    def __post_init__(self) -> None:
        if min(self.size, self.view_size) < 0:
            raise UserError(f"size is {self.size} and view_size {self.view_size}; give pixels, or 0 for every network's own")
        if not self.targets or not (self.runs or self.models):
            raise UserError("a study needs at least one target, and one run or model")
        both = sorted(set(self.runs) & set(self.models))
        if both:
            raise UserError(f"'{both[0]}' is both a run and a model of this study; give them names of their own")
        for name in [*self.runs, *self.models]:
            if not name or any(character in name for character in "/\\ ") or name.startswith("."):
                raise UserError(f"'{name}' cannot name a run: it becomes a folder; use letters, digits, - and _")


@dataclass(frozen=True)
class Row:
    """One network of a study: a run with its seed and what its network is called, or a ``given`` model."""

    name: str
    seed: int | None = None
    backbone: str = ""
    given: str = ""

    @property
    def label(self) -> str:
        """Its folder, and its name in cells."""
        return self.name if self.seed is None else f"{self.name}_s{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a call did.

    Attributes:
        table: the Markdown file.
        made, kept: judged cells computed now, and found finished.
        failed: cells that were refused, with the reason; the others were made all the same.
    """

    table: Path
    made: int
    kept: int
    failed: list[tuple[str, str]]


def load_study(given: str) -> Study:
    """The ``study`` of a Python file.

    Raises:
        UserError: no such file, or it defines no study.
    """
    found = getattr(configs.import_file(Path(given)), "study", None)
    if not isinstance(found, Study):
        raise UserError(f"'{given}' must define `study`, an embodied_ssl.study.Study")
    return found


def run_study(
    study: Study,
    out: Path,
    progress: Progress,
    *,
    device: str = "auto",
    workers: int = -1,
    shard: tuple[int, int] = (0, 1),
    again: bool = False,
) -> Outcome:
    """Make every cell that is not finished, and the table after each.

    Args:
        study: what to make.
        out: the study's folder: ``runs/``, ``asked/``, ``cells/``, ``cache/``, ``scores.json``, ``table.md``, ``report.html``.
        progress: told how far it is.
        device, workers: where to train and judge.
        shard: this call's part of the networks, as (i, N) with 0 <= i < N; the table holds whatever is finished by anyone.
        again: judge anew what is judged already; what is trained stays.

    Raises:
        UserError: a target that cannot be opened: nothing can be judged on it.
    """
    targets = [spec.target() for spec in study.targets]
    mine = [row for number, row in enumerate(rows(study)) if number % shard[1] == shard[0]]
    failed: list[tuple[str, str]] = []
    made = kept = 0
    for number, row in enumerate(mine):
        progress.say(f"{row.label}: {number + 1} of {len(mine)} networks")
        try:
            model = _trained(study, row, out, Options(device=device, workers=workers), progress)
        except UserError as error:
            failed.append((row.label, str(error)))
            progress.say(f"{row.label} left out: {error}")
            continue
        if not row.given:
            _ask(row, model, _asked_file(row, out), device, workers, progress, again)
        for target in targets:
            cell = out / "cells" / f"{row.label}--{target.name}.json"
            try:
                new = _judge(study, row, model, target, cell, device, progress, again)
            except UserError as error:
                failed.append((cell.stem, str(error)))
                progress.say(f"{cell.stem} left out: {error}")
                continue
            made, kept = made + new, kept + (not new)
            _tables(study, targets, out)
    return Outcome(_tables(study, targets, out), made, kept, failed)


def _tables(study: Study, targets: Sequence[Target], out: Path) -> Path:
    asked = [(row, _scores_in(_asked_file(row, out))) for row in rows(study)]
    return write_tables(out, _finished(study, targets, out), [(row, scores) for row, scores in asked if scores])


def rows(study: Study) -> list[Row]:
    """Every network: seeds in turn, so that a study cut short has all methods with one seed rather than one with all."""
    trained = [Row(name, seed, _stages(given)[-1].backbone.name) for seed in study.seeds for name, given in study.runs.items()]
    given = []
    for name, models in study.models.items():
        seeds = [(None, models)] if isinstance(models, str) else list(enumerate(models))
        given += [Row(name, seed, given=model) for seed, model in seeds]
    return [*trained, *given]


def _stages(given: Run | Stages) -> Stages:
    return [given] if isinstance(given, Run) else given


def with_budget(stages: Stages, views: int, seed: int, view_size: int = 0) -> list[Run]:
    """The stages with a seed, and as many steps as the budget allows: of several, in the proportion of their own steps."""
    if not views:
        return [replace(stage, seed=seed) for stage in stages]
    whole = sum(stage.steps for stage in stages)
    return [
        replace(stage, seed=seed, steps=max(1, math.ceil(views * stage.steps / whole / views_a_step(stage, view_size))))
        for stage in stages
    ]


def views_a_step(run: Run, view_size: int = 0) -> int:
    """How many pictures pass through the backbone in one optimiser step, counted on a few examples of the run's data.

    With ``view_size``, how many of so many pixels a side have the same area; at least 1.
    """
    learner = new_learner(run)
    backbone, method = learner.backbone, learner.method
    method.start(backbone)
    tasks: Mapping[str, Method] = method.children_by_name or {"": method}
    sizes: Mapping[str, int] = getattr(method, "batch_sizes", {})
    total = 0.0
    for name, (source, _) in open_sources(run.data, tasks).items():
        task = tasks[name]
        task.fit(source, generator(run.seed, "fit", name))
        few = 4 * task.view.copies
        fed = next(Feed({"": Stream("", source, task.view, few)}, run.seed).batches(0, 1))
        seen = _count(backbone, task, held_out.render(task, fed.batch, torch.device("cpu")), view_size)
        total += seen / few * sizes.get(name, run.batch_size)
    return max(1, round(total))


def _count(backbone: nn.Module, task: Method, batch: dict[str, Tensor], view_size: int) -> float:
    def weight(pictures: Tensor) -> float:
        return pictures.shape[-2] * pictures.shape[-1] / view_size**2 if view_size else 1.0

    counts: list[float] = []
    copies = [module for module in task.modules() if isinstance(module, Backbone)]  # what a slow copy is shown was seen as well
    with ExitStack() as hooks:
        for network in (backbone, *copies):
            hook = network.register_forward_pre_hook(lambda module, given: counts.append(len(given[0]) * weight(given[0])))
            hooks.callback(hook.remove)
        with torch.no_grad():
            for phase in task.phases:
                task(backbone, batch, phase)
    return sum(counts)


def _trained(study: Study, row: Row, out: Path, options: Options, progress: Progress) -> str:
    """The row's network: given, finished before, or trained now (continued where it was interrupted)."""
    if row.given or row.seed is None:
        return row.given
    stages = with_budget(_stages(study.runs[row.name]), study.views, row.seed, study.view_size)
    stages = [configs.with_absolute_roots(stage) for stage in stages]
    folder = out / "runs" / row.label
    done = folder / "finished.json"
    config = configs.to_json(stages)
    if done.exists() and json.loads(done.read_text()) == json.loads(json.dumps(config)):
        return str(folder)
    pretrain(stages, folder, replace(options, resume=folder.exists()), progress)
    write_json(done, config)
    return str(folder)


def _asked_file(row: Row, out: Path) -> Path:
    return out / "asked" / f"{row.label}.json"


def _ask(row: Row, folder: str, file: Path, device: str, workers: int, progress: Progress, again: bool) -> None:
    """Keep how a run answers its own question on held-out data; with the reason where it cannot be asked."""
    key = _content_of(folder)
    if not again and _read(file, key) is not None:
        return
    progress.say(f"{row.label}: its own question")
    kept: dict[str, Any] = {"key": key, "row": dataclasses.asdict(row), "scores": [], "left_out": ""}
    try:
        answered = evaluate_pretext(Path(folder), "", choose_device(device), max(0, workers))
        kept["scores"] = [score.to_json() for score in answered]
    except UserError as error:  # nothing was held out, say: the network can be judged all the same
        progress.say(f"{row.label} is not asked its own question: {error}")
        kept["left_out"] = str(error)
    write_json(file, kept)


def _judge(study: Study, row: Row, model: str, target: Target, cell: Path, device: str, progress: Progress, again: bool) -> bool:
    """Make one judged cell; False if it was finished before with the same protocols and settings."""
    protocols = [protocol for protocol in study.protocols if protocol.needs in target.answers]
    if not protocols:
        needed = ", ".join(sorted({protocol.needs for protocol in study.protocols}))
        raise UserError(f"no protocol of the study judges by what {target.name} has (they need {needed})")
    key = _key(study, protocols, target, model)
    if not again and _read(cell, key) is not None:
        return False
    candidate = replace(open_model(model, size=study.size), name=row.label)
    settings = replace(study.settings, device=str(choose_device(device)), cache=cell.parent.parent / "cache")
    left_out: dict[str, str] = {}
    found = evaluate(
        [candidate], target, protocols, settings, lambda what, done, total: progress.update(done, total, what), left_out
    )
    for name, reason in left_out.items():
        progress.say(f"{name} left out of {cell.stem}: {reason}")
    rows_made = [score.to_json() for score in found]
    write_json(cell, {"key": key, "row": dataclasses.asdict(row), "left_out": left_out, "scores": rows_made})
    return True


def _key(study: Study, protocols: Sequence[AnyProtocol], target: Target, model: str) -> str:
    """What a judged cell depends on; a cell of another key is made anew."""
    content = _content_of(model)
    settings = replace(study.settings, device="", cache=None)
    parts: tuple[object, ...] = (content, target.name, target.note, [repr(protocol) for protocol in protocols], repr(settings))
    parts += (study.size,) if study.size else ()
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _content_of(model: str) -> str:
    """A digest of a run's exported weights or of a file's; the name itself of anything else."""
    exported, file = Path(model) / "backbone" / "model.safetensors", Path(model.partition("@")[0])
    found = next((path for path in (exported, file) if path.is_file()), None)
    return model if found is None else hashlib.blake2b(found.read_bytes(), digest_size=16).hexdigest() + model.partition("@")[2]


def _read(cell: Path, key: str = "") -> Any:
    try:
        found = json.loads(cell.read_text())
    except (OSError, ValueError):
        return None
    return found if not key or found.get("key") == key else None


def _finished(study: Study, targets: Sequence[Target], out: Path) -> list[tuple[Row, list[Score]]]:
    """The judged cells that exist, in the study's order."""
    found = []
    for row in rows(study):
        for target in targets:
            scores = _scores_in(out / "cells" / f"{row.label}--{target.name}.json")
            if scores is not None:
                found.append((row, scores))
    return found


def _scores_in(file: Path) -> list[Score] | None:
    stored = _read(file)
    return None if stored is None else [Score.from_json(score) for score in stored["scores"]]
