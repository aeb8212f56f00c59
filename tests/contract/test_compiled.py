"""Compiled equals eager, for one config of each kind: the graph is captured and differentiated, without code generation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_run

from embodied_ssl.config import to_json
from embodied_ssl.distributed import Ranks
from embodied_ssl.progress import Silent
from embodied_ssl.start import Options, State
from embodied_ssl.trainer import Trainer

ONE_OF_EACH = ["rotation_photos", "simclr_photos", "temporal_order", "ego_motion_equivariance", "interaction"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.filterwarnings("ignore")
def test_aot_eager_gives_the_same_update(name: str, tmp_path: Path) -> None:
    run = tiny_run(name, tmp_path / "data")
    ends = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        out.mkdir()
        trainer = Trainer(
            run, 0, out, to_json([run]), Options(device="cpu", workers=0), Ranks(0, 1, torch.device("cpu")), Silent()
        )
        trainer.load(State(), {})
        if compiled:
            trainer.learner.compile(backend="aot_eager", fullgraph=True)
        batches = next(trainer._steps(0, 1, {}))
        step = trainer.update(batches)
        trainer.log.close()
        ends.append((step.loss, {name: p.detach().clone() for name, p in trainer.learner.named_parameters()}))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-4, atol=1e-5)
    for key, value in ends[0][1].items():
        torch.testing.assert_close(value, ends[1][1][key], rtol=1e-2, atol=2e-3)
