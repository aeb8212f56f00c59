"""What is in a folder, and what could be trained on it; what a config's view makes of it, and what a trained network answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from embodied_ssl import config, discover, held_out
from embodied_ssl.config import Run
from embodied_ssl.core import Learner, Method, Panel
from embodied_ssl.datasets.source import DataSpec, Source, folders
from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.finished import Finished, new_learner
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.start import open_sources

LOOKS = 200  # samples that `inspect` opens


def inspect_data(given: str) -> dict[str, Any]:
    """Describe a data folder.

    Returns:
        ``reader``, ``other_readers`` (that ``--as`` may name), ``layout``, ``name``, ``samples``, ``recordings``,
        ``held_out_recordings``, ``provides``, ``motion_unit``, ``motion_axes``, ``looked_into`` (how many samples were opened),
        ``left_out`` (name and reason), ``configs`` that read it as it is, and ``methods`` that a config of your own could train
        on it.

    Raises:
        UserError: nothing here reads the folder.
    """
    spec = spec_at(given)
    source, out = spec.open("all"), spec.open("held_out")
    fitting, methods = _trainable(spec, source)
    known = [kind.__name__ for kind in discover.specs_for(folders(given)[0])]
    others = [name for name in known if name not in (type(spec).__name__, *discover.PLAIN)]
    return {
        "reader": type(spec).__name__,
        "other_readers": others,
        "layout": type(spec).protocol,
        "name": source.name,
        "samples": len(source),
        "recordings": len(set(source.recordings)),
        "held_out_recordings": len(set(out.recordings)),
        "provides": sorted(source.provides),
        "motion_unit": source.motion_unit,
        "motion_axes": [axis.name for axis in source.motion_axes],
        "looked_into": min(len(source), LOOKS),
        "left_out": [{"name": item.name, "reason": item.reason} for item in [*source.bad, *unreadable(source)]],
        "configs": fitting,
        "methods": methods,
    }


def unreadable(source: Source) -> list[BadItem]:
    """Open evenly spread samples and see which cannot be read."""
    found: dict[str, BadItem] = {}
    for index in np.linspace(0, len(source) - 1, min(len(source), LOOKS)).round().astype(int):
        try:
            sample = source[int(index)]
            for field in ("picture", "before", "after"):
                if field in sample:
                    _ = sample[field].size
            if "motions" in sample:
                sample["frames"].take([sample["frame"]])
            elif "frames" in sample:
                len(sample["frames"])
        except BadItem as item:
            found[item.name] = item
    return list(found.values())


def spec_at(given: str) -> DataSpec:
    """The reader for a folder, by what is in it: the most specific that can open it.

    A copy of a known data set that its reader refuses is not read as any folder of files: Ego4D without the list of its
    de-identified spans would then show them.

    Raises:
        UserError: no such folder, no reader recognises it, or those that do cannot read it (the first one's reason).
    """
    first = folders(given)[0]
    refused: UserError | None = None
    found = discover.specs_for(first)
    for kind in [kind for kind in found if kind.__name__ not in discover.PLAIN] or found:
        spec: DataSpec = kind(root=given)  # type: ignore[call-arg]
        try:
            spec.open("all")
        except UserError as error:
            refused = refused or error
        else:
            return spec
    layouts = "; ".join(kind.protocol for kind in discover.specs())
    raise refused or UserError(f"nothing here reads '{first}'; accepted are: {layouts}")


def _trainable(spec: DataSpec, source: Source) -> tuple[list[str], list[str]]:
    """Configs whose reader is this one or knows the folder too, and methods that need no more than this source provides."""
    readers = {name: config.load(name)[0].data for name in config.names()}
    folder = folders(spec.root)[0]
    fitting = [
        name
        for name, data in readers.items()
        if isinstance(data, type(spec)) or (isinstance(data, DataSpec) and data.recognises(folder))
    ]
    methods = [name for name, method in discover.methods().items() if method.needs and method.needs <= source.provides]
    return fitting, methods


def with_data(run: Run, given: str) -> Run:
    """The run with its data folder set: for a single task, whatever reader the config names or the folder is recognised by.

    Raises:
        UserError: a multi-task run, whose tasks each want their own folder.
    """
    if isinstance(run.data, Mapping):
        raise UserError("a multi-task run reads several folders; set each with --set data.TASK.root=FOLDER")
    return dataclasses.replace(run, data=dataclasses.replace(run.data, root=given))  # type: ignore[type-var]


def read_as(run: Run, reader: str) -> Run:
    """The run with its data read by another reader; what both can be told, such as ``short_side``, stays as the config says.

    Raises:
        UserError: no such reader, or a multi-task run, whose tasks each have their own.
    """
    if isinstance(run.data, Mapping):
        raise UserError("a multi-task run has a reader for each task; name them in a config of your own instead of --as")
    known = {kind.__name__: kind for kind in discover.specs()}
    if reader not in known:
        raise UserError(f"no reader is called '{reader}'{suggest(reader, known)}; see `embodied-ssl list datasets`")
    wanted = {field.name for field in dataclasses.fields(known[reader]) if field.init}  # type: ignore[arg-type]
    told = {field.name: getattr(run.data, field.name) for field in dataclasses.fields(run.data)}  # type: ignore[arg-type]
    return dataclasses.replace(run, data=known[reader](**{name: value for name, value in told.items() if name in wanted}))


def better_reader(run: Run) -> str:
    """What to say where a plain reader is about to read a data set that a reader of its own knows; "" where all is well."""
    if isinstance(run.data, Mapping) or type(run.data).__name__ not in discover.PLAIN or not run.data.root:
        return ""
    for root in folders(run.data.root):
        found = [kind for kind in discover.specs_for(root) if kind.__name__ not in discover.PLAIN]
        if found:
            return f"note: '{root}' looks like {found[0].protocol}; --as {found[0].__name__} reads it as such"
    return ""


def view_panels(run: Run, count: int = 8) -> list[Panel]:
    """What a run's views make of its data, before any training: rows of ``count`` pictures, or of as many as a view chooses.

    Raises:
        UserError: the data does not offer what a task needs.
    """
    tasks = _tasks(new_learner(run).method)
    sources = open_sources(run.data, tasks)
    for name, (source, _) in sources.items():
        tasks[name].fit(source, generator(run.seed, "fit", name))
    return _asked(run, tasks, sources, count)


@dataclass(frozen=True)
class Answered:
    """What a finished run was asked and what it answers.

    Attributes:
        asked: what the views make of the training data, as in `view_panels`.
        answers: rows that the methods draw of answers to held-out questions.
        silent: for each task without such rows, why.
        looks: where the backbone is active on held-out pictures; none where no task has single pictures.
    """

    asked: list[Panel]
    answers: list[Panel]
    silent: list[str]
    looks: list[Panel] = field(default_factory=list)


def answered_panels(finished: Finished, count: int = 8) -> Answered:
    """Put ``count`` held-out questions to every task of a finished run, of as many samples, and let it draw the answers.

    Raises:
        UserError: the data cannot be opened, or not at all be read.
    """
    run, learner = finished.run, finished.learner
    tasks = _tasks(learner.method)
    sources = open_sources(run.data, tasks)
    answers: list[Panel] = []
    silent: list[str] = []
    for name, task in tasks.items():
        rows = _answers(learner, name, task, sources[name][1], run.seed, count)
        answers += _of_task(name, rows)
        if not rows:
            held = "draws no answers" if len(sources[name][1]) else "has a single recording, so nothing was held out to ask"
            silent.append(f"{name or type(task).__name__} {held}")
    return Answered(_asked(run, tasks, sources, count), answers, silent, _looks(finished, sources, count))


def _looks(finished: Finished, sources: Mapping[str, tuple[Source, Source]], count: int) -> list[Panel]:
    """Attention on pictures of the first task that has single ones: held-out pictures, if there are some."""
    from embodied_ssl.evaluation.models import Model, preprocessing_of
    from embodied_ssl.report.attention import attention_rows  # draws; not needed where nothing is finished

    backbone = finished.learner.backbone
    size = max(int(getattr(task.view, "size", 0)) for task in _tasks(finished.learner.method).values())
    card = {"architecture": {"channels": backbone.channels}, "preprocessing": {"size": size}}
    model = Model(backbone.name, backbone, preprocessing=preprocessing_of(card))
    for train, out in sources.values():
        source = out if len(out) else train
        pixels = []
        for row in held_out.evenly_spread(source, count) if "picture" in source.provides else ():
            with suppress(BadItem):
                pixels.append(model.preprocessing.crop(source[row]["picture"]))
        if pixels:
            return attention_rows(model, np.stack(pixels))
    return []


def _tasks(method: Method) -> Mapping[str, Method]:
    return method.children_by_name or {"": method}


def _of_task(name: str, panels: Sequence[Panel]) -> list[Panel]:
    return [(f"{name}: {caption}" if name else caption, pictures) for caption, pictures in panels]


def _asked(run: Run, tasks: Mapping[str, Method], sources: Mapping[str, tuple[Source, Source]], count: int) -> list[Panel]:
    panels: list[Panel] = []
    for name, task in tasks.items():
        enough = max(count, task.view.shown)
        size = -(-enough // task.view.copies) * task.view.copies
        feed = Feed({"": Stream("", sources[name][0], task.view, size)}, run.seed)
        fed = next(feed.batches(0, 1))
        batch = held_out.render(task, {key: value[:enough] for key, value in fed.batch.items()}, torch.device("cpu"))
        panels += _of_task(name, task.view.panels(batch))
    return panels


def _answers(learner: Learner, name: str, task: Method, source: Source, seed: int, count: int) -> Sequence[Panel]:
    """One example of each sample, so that no row is of one window of a video."""
    if not len(source):
        return ()
    copies = task.view.copies
    feed = Feed({name: Stream(name, source, task.view, count * copies)}, seed)
    for fed in feed.in_order(name, held_out.evenly_spread(source, count), key="held out", skip_unreadable=True):
        if fed.batch:
            batch = {key: value[::copies] for key, value in held_out.without_prefix(fed.batch, name).items()}
            return task.figure(*held_out.reply(learner, name, batch, torch.device("cpu")))
    return ()
