"""Two ranks: disjoint samples, one result. One spawned pair loops over all methods, because starting torch is the cost."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_run

from embodied_ssl import config
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.optim import SGD
from embodied_ssl.start import Options, open_sources
from embodied_ssl.trainer import pretrain

PAIR = """
import sys, json
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_ranks import bigger
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain
import embodied_ssl.trainer as trainer
torch.distributed.init_process_group("gloo")
out = Path(sys.argv[3])
sums = {}
original = trainer.Trainer.run_stage
def watched(self):
    original(self)
    sums[name] = {} if "+" in name else {k: float(v.double().sum()) for k, v in self.learner.state_dict().items()}
trainer.Trainer.run_stage = watched
for name in sys.argv[4:]:
    pretrain([bigger(name, Path(sys.argv[2]))], out / name, Options(device="cpu", workers=0))
import os
(out / f"sums{os.environ['RANK']}.json").write_text(json.dumps(sums))
torch.distributed.destroy_process_group()
"""


SHARDED = ["rotation_photos+shard", "simclr_photos+shard"]  # one plain method, one whose loss joins ranks


def bigger(name: str, data: Path) -> config.Run:
    """Two samples a step for each of two ranks; plain descent, because Adam would hide gradients of a wrong scale."""
    name, _, sharded = name.partition("+")
    run = tiny_run(name, data, steps=3, held_out_every=0, shard=bool(sharded), optimizer=SGD(rate=0.05))
    if hasattr(run.method, "tasks"):
        tasks = {n: dataclasses.replace(t, batch_size=2 * t.batch_size) for n, t in run.method.tasks.items()}
        return dataclasses.replace(run, method=dataclasses.replace(run.method, tasks=tasks))
    return dataclasses.replace(run, batch_size=2 * run.batch_size)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("pair")
    for name in config.names():
        bigger(name, data)  # written once, before both ranks look for it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "PYTHONPATH": os.pathsep.join([str(here.parent), str(here.parent.parent)]),
        }
        command = [sys.executable, "-c", PAIR, str(here), str(data), str(out), *config.names(), *SHARDED]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            _, errors = process.communicate(timeout=900)
            assert process.returncode == 0, errors[:3000]
    finally:
        for process in processes:  # one that failed leaves the other waiting
            process.kill()
            process.communicate()
    return data, out


@pytest.mark.parametrize("name", config.names())
def test_ranks_end_with_equal_weights(pair: tuple[Path, Path], name: str) -> None:
    _, out = pair
    sums = [json.loads((out / f"sums{rank}.json").read_text())[name] for rank in range(2)]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("name", SHARDED)
def test_sharded_parameters_end_as_copied_ones_do(pair: tuple[Path, Path], name: str) -> None:
    _, out = pair
    sharded, copied = (
        load_checkpoint(out / folder / "checkpoints" / "last.pt")["learner"] for folder in (name, name.partition("+")[0])
    )
    assert sharded.keys() == copied.keys()
    for key, value in copied.items():
        torch.testing.assert_close(sharded[key], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["interaction"])
def test_two_ranks_are_one_rank_with_two_micro_batches(pair: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    """Same samples, same gradients: weights agree to rounding (BatchNorm sees the same micro-batches either way)."""
    data, out = pair
    pretrain([dataclasses.replace(bigger(name, data), accumulate=2)], tmp_path / "one", Options(device="cpu", workers=0))
    one = load_checkpoint(tmp_path / "one" / "checkpoints" / "last.pt")["learner"]
    two = load_checkpoint(out / name / "checkpoints" / "last.pt")["learner"]
    for key in one:
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-3 if "weight" in key else 1e-2)


@pytest.mark.parametrize("name", config.names())
def test_ranks_see_disjoint_samples_that_make_up_the_whole_batch(pair: tuple[Path, Path], name: str) -> None:
    data, _ = pair
    run = bigger(name, data)
    torch.manual_seed(0)
    backbone = run.backbone.build()
    method = run.method.build(backbone)
    tasks = method.children_by_name or {"": method}
    sizes = getattr(method, "batch_sizes", {})
    sources = open_sources(run.data, tasks)
    streams = {n: Stream(n, s, tasks[n].view, sizes.get(n, run.batch_size)) for n, (s, _) in sources.items()}

    def places(rank: int, world: int, step: int) -> list[tuple[str, int, int, int | None, int]]:
        feed = Feed(streams, 0, rank=rank, world=world)
        drawn = feed.draws(step, 0, lambda name, epoch: streams[name].order(epoch, 0))
        return [(d.stream, d.epoch, d.position, d.copy, d.candidates[0]) for d in drawn]

    for step in range(3):
        first, second, whole = places(0, 2, step), places(1, 2, step), places(0, 1, step)
        assert not set(first) & set(second)
        assert sorted(first + second) == sorted(whole)
