"""The contract, for every config by itself: a new method is covered the moment its config exists."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny, tiny_run
from toys import ClusterToyConfig, CriticToyConfig

from embodied_ssl import config, held_out
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.config import Run, from_json, to_json
from embodied_ssl.core import Batch, Learner, Method, Step
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.start import Options, Stopped, open_sources
from embodied_ssl.trainer import pretrain

TOYS = {"critic_toy": CriticToyConfig(), "cluster_toy": ClusterToyConfig()}
ALL = [*config.names(), *TOYS]
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def make(name: str, data: Path) -> Run:
    if name in TOYS:
        return dataclasses.replace(tiny(config.load("rotation_photos")[0], data), method=TOYS[name])
    return tiny_run(name, data)


@pytest.mark.parametrize("name", config.names())
def test_a_shipped_batch_is_whole_samples(name: str) -> None:
    """As written, not made tiny: a batch divides into the examples that one sample gives."""
    for run in config.load(name):
        sizes = {n: (t.batch_size, t.method) for n, t in getattr(run.method, "tasks", {"": None}).items() if t is not None}
        for size, method in sizes.values() if sizes else [(run.batch_size, run.method)]:
            assert size % int(getattr(method, "tuples", 1)) == 0


class Built:
    """A tiny run's learner, streams and one rendered batch."""

    def __init__(self, run: Run) -> None:
        torch.manual_seed(0)
        backbone = run.backbone.build()
        self.learner = Learner(backbone, run.method.build(backbone))
        method = self.learner.method
        self.tasks: Mapping[str, Method] = method.children_by_name or {"": method}
        self.sources = {name: train for name, (train, _) in open_sources(run.data, self.tasks).items()}
        for name, task in self.tasks.items():
            task.fit(self.sources[name], generator(run.seed, "fit", name))
        sizes = getattr(method, "batch_sizes", {})
        self.streams = {n: Stream(n, s, self.tasks[n].view, sizes.get(n, run.batch_size)) for n, s in self.sources.items()}

    def batch(self, step: int = 0) -> Batch:
        fed = next(Feed(self.streams, 0).batches(step, step + 1))
        rendered: Batch = {}
        for name, task in self.tasks.items():
            one = held_out.render(task, held_out.without_prefix(fed.batch, name), torch.device("cpu"))
            rendered |= {f"{name}/{key}" if name else key: value for key, value in one.items()}
        return rendered


@pytest.fixture(params=ALL)
def run(request: pytest.FixtureRequest, data: Path) -> Run:
    return make(request.param, data)


@pytest.mark.parametrize("name", config.names())
def test_loads_opens_nothing_and_survives_json(name: str) -> None:
    stages = config.load(name)
    for stage in stages:
        again = from_json(json.loads(json.dumps(to_json(stage))))
        assert to_json(again) == to_json(stage)
        assert config.describe(again) == config.describe(stage)


def test_needs_are_honest(run: Run) -> None:
    """What a view reads is what its method says it needs; a source without it is refused before anything is decoded."""

    class Watched(dict):  # type: ignore[type-arg]
        def __getitem__(self, key: str) -> object:
            read.add(key)
            return super().__getitem__(key)

    built = Built(run)
    for name, task in built.tasks.items():
        read: set[str] = set()
        for index in range(len(built.sources[name])):
            task.view.draw(Watched(built.sources[name][index]), generator(0, index))
        assert read <= task.needs, "reads a field that it does not say it needs"
        for field in task.needs:
            poor = dataclasses.replace(built.streams[name]).source
            whole = poor.provides
            try:
                poor.provides = whole - {field}
                from embodied_ssl.core import check_fields

                with pytest.raises(UserError, match=f"needs {field}"):
                    check_fields(task, poor, name)
            finally:
                poor.provides = whole


def test_asks_are_checked_before_data_is_read(run: Run, tmp_path: Path) -> None:
    odd = dataclasses.replace(run, backbone=dataclasses.replace(run.backbone, channels=5))
    with pytest.raises(UserError, match=r"needs a backbone with (1 or )?(2 or )?3 input channels.*backbone\.channels=3"):
        pretrain([odd], tmp_path / "run", Options(device="cpu", workers=0))


def test_views_are_keyed_and_picklable(run: Run) -> None:
    built = Built(run)
    for name, task in built.tasks.items():
        source = built.sources[name]
        twin_view, twin_source = pickle.loads(pickle.dumps((task.view, source)))
        first = task.view.draw(source[0], generator(1, "draw"))
        again = twin_view.draw(twin_source[0], generator(1, "draw"))
        assert first.keys() == again.keys()
        assert all(np.array_equal(first[key], again[key]) for key in first)
        others = [task.view.draw(source[0], generator(k, "draw")) for k in range(2, 6)]
        assert any(not np.array_equal(first[key], other[key]) for other in others for key in first)


def test_every_sample_gives_the_same_shapes(run: Run) -> None:
    built = Built(run)
    for name, task in built.tasks.items():
        shapes = [
            {key: (value.shape, value.dtype) for key, value in task.view.draw(built.sources[name][i], generator(i)).items()}
            for i in range(len(built.sources[name]))
        ]
        assert all(shape == shapes[0] for shape in shapes)


def test_workers_change_nothing(run: Run) -> None:
    built = Built(run)
    batches = {w: [fed.batch for fed in Feed(built.streams, 3, workers=w).batches(0, 3)] for w in (0, 1, 2)}
    for other in (1, 2):
        for one, two in zip(batches[0], batches[other], strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[key], two[key]) for key in one)


def test_forward_leaves_no_trace(run: Run) -> None:
    """Nothing but BatchNorm's running statistics changes, neither in the learner nor in the batch."""
    built = Built(run)
    if run.method in TOYS.values():
        built.learner.method.labels = torch.zeros(100, dtype=torch.int64)
    batch = built.batch()
    copies = {key: value.clone() for key, value in batch.items()}
    before = {name: value.clone() for name, value in built.learner.state_dict().items()}
    for phase in built.learner.method.phases:
        built.learner.train()(batch, phase)
    for name, value in built.learner.state_dict().items():
        if "running_" not in name and "num_batches" not in name and ".norms." not in name:
            assert torch.equal(value, before[name]), name
    assert all(torch.equal(batch[key], copies[key]) for key in batch)


def test_every_parameter_learns(run: Run) -> None:
    """In some phase, every trainable parameter gets a finite gradient, and over a few batches one that is not zero."""
    built = Built(run)
    if run.method in TOYS.values():
        built.learner.method.labels = torch.arange(100) % 3
    learner = built.learner.train()
    largest = {
        name: 0.0
        for name, parameter in learner.named_parameters()
        if parameter.requires_grad and any(learner.method.trains(phase, name) for phase in learner.method.phases)
    }
    for step in range(3):
        for phase in learner.method.phases:
            learner.zero_grad()
            step_result = backward(learner, [built.batch(step)], phase, lambda micro: torch.enable_grad(), ALONE)
            assert isinstance(step_result, Step)
            assert torch.isfinite(step_result.loss)
            for name, parameter in learner.named_parameters():
                if name in largest and parameter.grad is not None and learner.method.trains(phase, name):
                    assert torch.isfinite(parameter.grad).all(), name
                    largest[name] = max(largest[name], float(parameter.grad.abs().max()))
    assert [name for name, value in largest.items() if value == 0] == []


def test_resume_is_bit_exact_inside_an_epoch(run: Run, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    pretrain([run], straight, Options(device="cpu", workers=0))
    with pytest.raises(Stopped):
        pretrain([run], broken, Options(device="cpu", workers=0, stop_after=2))
    pretrain([run], broken, Options(device="cpu", workers=0, resume=True))
    one, two = (load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (straight, broken))
    assert one["step"] == two["step"] == 4
    assert one["learner"].keys() == two["learner"].keys()
    assert [name for name, value in one["learner"].items() if not torch.equal(value, two["learner"][name])] == []
    assert _same(one["optimizer"], two["optimizer"])
    timeless = [
        [{k: v for k, v in json.loads(line).items() if k != "examples_per_second"} for line in text.splitlines()]
        for text in ((folder / "log.jsonl").read_text() for folder in (straight, broken))
    ]
    assert timeless[0] == timeless[1]


def test_answers_are_drawn_as_pictures(run: Run) -> None:
    """What `figure` draws: rows of finite pictures in 0..1, each with its caption, as many as the batch has examples at most."""
    built = Built(run)
    if run.method in TOYS.values():
        built.learner.method.labels = torch.zeros(100, dtype=torch.int64)
    batch = built.batch()
    for name, task in built.tasks.items():
        own = held_out.without_prefix(batch, name)
        with torch.no_grad():
            step = task.eval()(built.learner.method.seen_by(name, built.learner.backbone.eval()), own, task.phases[-1])
        copies = {key: value.clone() for key, value in own.items()}
        for caption, pictures in task.figure(own, step):
            assert caption
            assert pictures.ndim == 4
            assert pictures.shape[1] == 3
            assert 1 <= len(pictures) <= len(next(iter(own.values())))
            assert torch.isfinite(pictures).all()
            assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
        assert all(torch.equal(own[key], copies[key]) for key in own)


def _same(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(two, list | tuple) and len(one) == len(two) and all(map(_same, one, two))
    return bool(one == two)
