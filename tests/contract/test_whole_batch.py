"""A coupled loss is that of the whole batch: however it is cut into micro-batches, on however many ranks.

Each method trains a few steps in float64, without norms (whose statistics are each part's own), from crops that are all given:
in one process with the whole batch, with cached gradients, and on two gloo ranks with half of it each. Add a coupled method to
`MADE`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Learner, Method
from embodied_ssl.distributed import Ranks, average_gradients
from embodied_ssl.gradients import backward
from embodied_ssl.heads import mlp
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.contrastive.swav import SwAVConfig

PICTURES = 8  # a step
STEPS = 4
ALONE = Ranks(0, 1, torch.device("cpu"))
PAIR = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import torch.distributed as dist
torch.set_num_threads(1)
from test_whole_batch import MADE, trained
from embodied_ssl.distributed import Ranks
dist.init_process_group("gloo")
here = Ranks(dist.get_rank(), 2, torch.device("cpu"))
for name in MADE:
    for micro in (1, 2):
        torch.save(trained(name, micro, here), f"{sys.argv[2]}/{name}{micro}{here.rank}.pt")
dist.destroy_process_group()
"""


def _simclr(backbone: Backbone) -> Method:
    method = SimCLRConfig(size=16, hidden=12, out=6).build(backbone)
    method.head = mlp(backbone.width, 12, 6, norm=False)
    return method


def _swav(backbone: Backbone) -> Method:
    sizes = {"size": 16, "small_size": 8, "small": 2, "prototypes": 10, "queue": 2 * PICTURES, "queue_from": 0.0}
    method = SwAVConfig(**sizes, hidden=12, out=6).build(backbone)  # type: ignore[arg-type]
    method.head = mlp(backbone.width, 12, 6, norm=False)
    return method


MADE: dict[str, Callable[[Backbone], Method]] = {"simclr": _simclr, "swav": _swav}


def learner_of(name: str) -> Learner:
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("a", nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.Tanh()))
    net.add_module("b", nn.Sequential(nn.Conv2d(5, 7, 3, 2, 1), nn.Tanh()))
    backbone = Backbone("smooth", net, {"a": ("a",), "b": ("b",)}, 3)
    return Learner(backbone, MADE[name](backbone)).double().train()


def crops(step: int) -> Batch:
    """What the views of all these methods render, four crops a picture; those that a method has none of are left out by it."""
    generator = torch.Generator().manual_seed(step)
    sides = (16, 16, 8, 8)
    drawn = {f"crop{n}": torch.randn(PICTURES, 3, s, s, generator=generator, dtype=torch.float64) for n, s in enumerate(sides)}
    return drawn | {"index": torch.arange(PICTURES) + PICTURES * step}


def part(batch: Batch, number: int, parts: int) -> Batch:
    return {name: value.chunk(parts)[number] for name, value in batch.items()}


def trained(name: str, micro: int, here: Ranks) -> dict[str, Tensor]:
    """The learner's state after some steps of plain descent, and the last loss."""
    learner = learner_of(name)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.5)
    wanted = {f"crop{number}" for number in range(len(learner.method.view.crops))} | {"index"}  # type: ignore[attr-defined]
    for number in range(STEPS):
        whole = {key: value for key, value in crops(number).items() if key in wanted}
        batches = [part(whole, m * here.world + here.rank, micro * here.world) for m in range(micro)]
        step = backward(learner, batches, "main", _still, here)
        average_gradients(learner, here, sharded=False)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            learner.method.after_step(learner.backbone, step.carry, (number + 1) / STEPS)
    return {**learner.state_dict(), "loss": step.loss}


def _still(micro: int) -> AbstractContextManager[None]:
    return nullcontext()


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=0, atol=1e-9, msg=lambda said, key=key: f"{key}: {said}")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, here = tmp_path_factory.mktemp("pair"), Path(__file__).parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = os.pathsep.join([str(here.parent), str(here.parent.parent)])
    command = [sys.executable, "-c", PAIR, str(here), str(out)]
    processes = [
        subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:  # one that failed leaves the other waiting
            process.kill()
            process.communicate()
    return out


@pytest.mark.parametrize("name", MADE)
def test_training_moves_every_weight(name: str) -> None:
    """Else the rest would say nothing."""
    before, after = dict(learner_of(name).named_parameters()), trained(name, 1, ALONE)
    assert [key for key, value in before.items() if float((after[key] - value.detach()).abs().max()) < 1e-4] == []


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("micro", [2, 4])
def test_cached_gradients_are_those_of_the_big_batch(name: str, micro: int) -> None:
    assert_same(trained(name, 1, ALONE), trained(name, micro, ALONE))


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("micro", [1, 2])
def test_two_ranks_are_one_process_with_twice_the_batch(pair: Path, name: str, micro: int) -> None:
    whole = trained(name, 1, ALONE)
    for rank in range(2):
        assert_same(whole, torch.load(pair / f"{name}{micro}{rank}.pt"))
