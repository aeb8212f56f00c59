"""Rotation for a few minutes beats the same network untrained on 15-Scene, as the reference figures say it must."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from embodied_ssl import config
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.run import Request, evaluate_run
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

pytestmark = [pytest.mark.slow, pytest.mark.data]


def test_rotation_lifts_the_last_layer_on_scenes(data_root: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    run = config.load("rotation_photos")[0]
    photos = f"{data_root / 'imagenet_samples'},{data_root / 'scene15' / 'train'}"
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, root=photos),  # type: ignore[type-var]
        method=dataclasses.replace(run.method, size=64),  # type: ignore[type-var]
        batch_size=48,
        steps=470,
    )
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=1))
    request = Request(on=str(data_root / "scene15"), protocols=("linear", "knn"), settings=Settings(device="cpu"))
    found = evaluate_run(str(tmp_path / "run"), request, lambda *_: None)
    gains = {(row.protocol, row.choice): row.value for row in found.scores if row.metric == "minus_random" and row.role == "run"}
    assert gains["linear", "last"] >= 0.10
    assert gains["knn", "last"] >= 0.07
