"""The pretext protocol: how well a run answers its own question on recordings it never saw, beside the same net untrained."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch

from embodied_ssl import held_out
from embodied_ssl.config import Run
from embodied_ssl.core import Learner, Method
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.scores import Role, Score
from embodied_ssl.finished import new_learner, open_run
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.start import open_sources

EXAMPLES = 2048


def evaluate_pretext(run_folder: Path, config: str, device: torch.device, workers: int = 0) -> list[Score]:
    """Ask the held-out questions of a run's own data.

    Args:
        run_folder: made by pretrain.
        config: the config's file, when it lies outside the package; its settings are those stored with the run.
        device: where to run.
        workers: processes that read.

    Returns:
        One row a figure for the run, and for the same network untrained (role ``random``); chance in ``settings["chance"]``.

    Raises:
        UserError: no checkpoint, a config that cannot be rebuilt, or data without a held-out recording.
    """
    finished = open_run(run_folder, config)
    run, trained, fresh = finished.run, finished.learner, new_learner(finished.run)
    tasks: Mapping[str, Method] = trained.method.children_by_name or {"": trained.method}
    sizes: Mapping[str, int] = getattr(trained.method, "batch_sizes", {})
    sources = open_sources(run.data, tasks)
    for child, method in (fresh.method.children_by_name or {"": fresh.method}).items():
        method.fit(sources[child][0], generator(run.seed, "fit", child))  # finds what the run found: the same questions
    questions = {
        name: Stream(name, out, tasks[name].view, sizes.get(name, run.batch_size))
        for name, (_, out) in sources.items()
        if len(out)
    }
    if not questions:
        raise UserError("the run's data is a single recording, so nothing was held out to ask; leave pretext out of --protocol")
    feed = Feed(questions, run.seed, workers)
    rows: list[Score] = []
    models: list[tuple[Learner, str, Role]] = [(trained, "run", "run"), (fresh, "random init", "random")]
    for learner, name, role in models:
        replies = held_out.replies(learner.to(device), feed, EXAMPLES, device, nullcontext)
        for task, given in replies.items():
            rows += _rows(given, task, name, role, run, questions[task])
    return rows


def _rows(replies: held_out.Replies, task: str, model: str, role: Role, run: Run, stream: Stream) -> list[Score]:
    """One row a figure of one task; the intervals are over recordings."""
    figures, intervals = replies.figures, replies.intervals()
    examples = min(EXAMPLES, len(stream.source) * stream.view.copies)
    rows = []
    for metric, value in figures.items():
        if metric.startswith("chance_"):
            continue
        settings = {"examples": examples, "chance": figures.get(f"chance_{metric}"), "choice": "last"}
        if metric in intervals:
            settings["interval"] = f"draws of whole recordings ({len(set(replies.recordings))})"
        rows.append(
            Score(
                model,
                role,
                stream.source.name,
                f"pretext {task}".strip(),
                "method",
                metric,
                value,
                interval=intervals.get(metric),
                n=examples,
                pretrain_seed=run.seed if role == "run" else None,
                settings=settings,
            )
        )
    return rows


def lines(scores: list[Score]) -> list[str]:
    """One line a figure for people: the run, the same network untrained, and chance."""
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for score in scores:
        if score.protocol.startswith("pretext"):
            found.setdefault((score.protocol, score.metric), {})[score.role] = score
    shown = []
    for (protocol, metric), rows in found.items():
        run, untrained = rows["run"], rows["random"]
        chance = run.settings.get("chance")
        beside = "" if chance is None else f"   chance {chance:.3f}"
        sure = "" if run.interval is None else f" [{run.interval[0]:.3f}, {run.interval[1]:.3f}]"
        figures = f"run {run.value:.3f}{sure}   random init {untrained.value:.3f}{beside}   n {run.n}"
        shown.append(f"{protocol:24} {metric:24} {figures}")
    return shown
