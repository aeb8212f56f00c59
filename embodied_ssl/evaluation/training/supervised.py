"""Supervised from scratch at the same budget: what labels would have taught the same network in the time pretraining took.

The budget is the number of pictures seen in the run's pretraining. The network is judged by the same probes as the run. These
fit the labels that it was trained on, so its cross-validated figures on the train part are too good (and so may its chosen
layer and penalty be off, to its disadvantage); its figures on the test part are not affected.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.config import to_json
from embodied_ssl.distributed import use_bf16
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pictures import Progress, silent
from embodied_ssl.evaluation.training.classifier import depth_groups, keyed_torch, linear_classifier
from embodied_ssl.evaluation.training.loop import Labelled, Phase, Showing, refuse_divergence, train
from embodied_ssl.files import atomic
from embodied_ssl.keys import Word
from embodied_ssl.optim import AdamW, OptimizerConfig, Schedule


@dataclass(frozen=True)
class Supervised:
    """How the supervised baseline trains: fixed, the same for every budget and every data set.

    Args:
        size: side of the crops it learns from, in pixels; 0 for the size at which it is judged.
        optimizer, schedule: one rate for all parts.
        showing: batches, crops, and what BatchNorm does.
    """

    size: int = 0
    optimizer: OptimizerConfig = field(default_factory=lambda: AdamW(rate=1.5e-3))
    schedule: Schedule = field(default_factory=Schedule)
    showing: Showing = field(default_factory=lambda: Showing(batch_size=96))


def train_supervised(
    config: BackboneConfig,
    data: Labelled,
    examples: int,
    seed: int = 0,
    how: Supervised = Supervised(),
    *,
    device: str | torch.device = "cpu",
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> Backbone:
    """A network trained from scratch on the train part's labels.

    Cost: ``examples`` pictures forward and back.

    Args:
        config: the same network as the run's.
        data: the train part.
        examples: pictures to see, counted as often as they are seen; rounded to whole batches.
        seed: of initialisation, order and crops.
        how: everything else.
        device: where to train; the network comes back on the CPU.
        cache: a folder that keeps the weights under a name made of all of the above.
        on_progress: told how many steps are done, of how many.

    Raises:
        UserError: no budget, or training diverged.
    """
    if examples < 1:
        raise UserError(f"the supervised baseline was given a budget of {examples} pictures; give those seen in pretraining")
    with keyed_torch("supervised", seed, "weights"):
        backbone = config.build()
    name = _name(config, data, examples, seed, how, torch.device(device))
    path = None if cache is None else cache / f"supervised-{name}.safetensors"
    if path is None or not _recall(backbone, path):
        _learn(backbone, data, examples, seed, how, torch.device(device), on_progress)
        backbone.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if path is not None:
            with atomic(path) as file:
                file.write(save(dict(backbone.net.state_dict())))
    return backbone.eval()


def _learn(
    backbone: Backbone,
    data: Labelled,
    examples: int,
    seed: int,
    how: Supervised,
    device: torch.device,
    on_progress: Progress,
) -> None:
    key: tuple[Word, ...] = ("supervised", seed)
    if how.size:
        data = replace(data, preprocessing=replace(data.preprocessing, size=how.size))
    model = linear_classifier(backbone, data.classes, *key)
    groups = depth_groups(model, 2)

    def rates(progress: float) -> list[float]:
        return [how.optimizer.rate * how.schedule.factor(progress)] * len(groups)

    what = f"supervised {backbone.name}"
    phase = Phase(how.showing.steps(examples, len(data)), rates)
    on_step = partial(on_progress, what)
    losses = train(model, groups, [phase], data, how.showing, how.optimizer, device, *key, on_step=on_step)
    refuse_divergence(losses, what)


def _name(config: BackboneConfig, data: Labelled, examples: int, seed: int, how: Supervised, device: torch.device) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    settings = {"how": to_json(how), "backbone": config.to_json(), "preprocessing": data.preprocessing.to_json()}
    settings |= {"examples": examples, "seed": seed, "bf16": use_bf16(how.showing.precision, device)}
    hasher.update(json.dumps(settings, sort_keys=True).encode())
    hasher.update(data.pictures.fingerprint.encode())
    for part in (data.rows, data.labels):
        hasher.update(part.astype("int64").tobytes())
    return hasher.hexdigest()


def _recall(backbone: Backbone, path: Path) -> bool:
    try:
        backbone.net.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError):  # not there, or half of it: train anew
        return False
    return True
