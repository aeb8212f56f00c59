"""Compiled for real (inductor), one config of each kind trains as eager does; the fast lane only captures the graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_run

from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["rotation_photos", "simclr_photos", "temporal_order", "ego_motion_equivariance", "interaction"])
def test_inductor_trains_as_eager_does(name: str, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        run = tiny_run(name, tmp_path / "data", compile=compiled, steps=3, held_out_every=0)
        pretrain([run], tmp_path / str(compiled), Options(device="cpu", workers=0))
        losses.append(load_checkpoint(tmp_path / str(compiled) / "checkpoints" / "last.pt")["learner"])
    for key, value in losses[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, losses[1][key], rtol=2e-2, atol=5e-3)
