"""A finished run, opened to be asked: its config, and its learner with the trained weights; its data are not opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from embodied_ssl import checkpoint as checkpoints
from embodied_ssl.config import Run, from_json, load
from embodied_ssl.core import Learner
from embodied_ssl.keys import torch_seed


@dataclass(frozen=True)
class Finished:
    """What a run folder holds.

    Attributes:
        run: the stage of the config that the weights are from.
        learner: on the CPU, in eval mode.
    """

    run: Run
    learner: Learner


def open_run(folder: Path, config: str = "") -> Finished:
    """Rebuild what a run trained.

    Args:
        folder: made by pretrain.
        config: the config's file, when it lies outside the package; its settings are those stored with the run.

    Raises:
        UserError: no checkpoint there, or a config that cannot be rebuilt.
    """
    stored = checkpoints.load_checkpoint(folder / "checkpoints" / "last.pt")
    if config:
        load(config)  # makes its classes known
    run: Run = from_json(json.loads(stored["config"]), str(Path(config).resolve().parent) if config else "")[stored["stage"]]
    learner = new_learner(run)
    checkpoints.restore(learner, stored["learner"])
    return Finished(run, learner.eval())


def new_learner(run: Run) -> Learner:
    """A run's learner as it was before its first step; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(run.seed, "weights", 0))
        backbone = run.backbone.build()
        return Learner(backbone, run.method.build(backbone))
