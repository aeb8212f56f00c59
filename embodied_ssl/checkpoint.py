"""Checkpoints and exported backbones: written atomically, read without running code found in them.

A run folder holds ``config.json``, ``log.jsonl``, ``checkpoints/last.pt`` (everything that resuming needs) and
``backbone/model.safetensors`` with ``backbone/card.json`` (what transfers). A checkpoint is a dict of

| key | value |
|---|---|
| ``format`` | 1 |
| ``stage``, ``step`` | the stage of the config, and steps done in it |
| ``config`` | the stages as JSON text |
| ``learner`` | weights and buffers by name: ``backbone.*``, ``method.*`` |
| ``optimizer`` | its ``state_dict``; by parameter name where the run is sharded |
| ``bf16`` | whether forward passes run in bf16, as decided where the run began |
| ``versions`` | of this package and torch |
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from embodied_ssl import __version__
from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.errors import UserError
from embodied_ssl.files import atomic, write_json
from embodied_ssl.views.pixels import GREY_MEAN, GREY_STD, MEAN, STD
from embodied_ssl.weights import fill, load_tensors, read_weights

FORMAT = 1


def save_checkpoint(
    path: Path, stage: int, step: int, config: Any, learner: dict[str, Any], optimizer: dict[str, Any], bf16: bool = False
) -> None:
    """Write a checkpoint atomically; a kill at any instant leaves the old one or the new one."""
    state = {
        "format": FORMAT,
        "stage": stage,
        "step": step,
        "config": json.dumps(config),
        "learner": learner,
        "optimizer": optimizer,
        "bf16": bf16,
        "versions": versions(),
    }
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError without saying so; writing the bytes ourselves does say
    torch.save(state, buffer)
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Raises:
        UserError: absent, unreadable, not a checkpoint of ours, or a pickle that holds code.
    """
    state = load_tensors(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"'{path}' is not a checkpoint of embodied_ssl (format {FORMAT}); give a run folder made by pretrain")
    return state


def adopt_buffers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give buffers whose size `Method.fit` decides (patterns, bins) the stored size, so that strict loading can fill them."""
    for name, buffer in list(module.named_buffers()):
        stored = state.get(name)
        if stored is not None and stored.shape != buffer.shape:
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner).register_buffer(leaf, torch.zeros_like(stored).to(buffer.device))


def restore(learner: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a learner that was built anew with a run's weights and buffers, to ask it questions.

    The order of an epoch that a method planned (``epoch_plan``) is the trainer's own note and stays out.
    """
    own = {name: value for name, value in state.items() if name.rpartition(".")[2] != "epoch_plan"}
    adopt_buffers(learner, own)
    learner.load_state_dict(own)


@dataclass(frozen=True)
class Card:
    """What someone needs to use an exported backbone, and to know where it is from."""

    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    origin: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "preprocessing": self.preprocessing,
            "origin": self.origin,
            "versions": versions(),
        }


def export_backbone(folder: Path, net: Mapping[str, Tensor], card: Card) -> None:
    """Write the plain network's weights and their card; the weights load with ``net.load_state_dict(load_file(...))``."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in net.items()})
    with atomic(folder / "model.safetensors") as file:
        file.write(data)
    write_json(folder / "card.json", card.to_json())


def preprocessing(size: int, channels: int = 3) -> dict[str, Any]:
    """How pictures reach every backbone trained here: in colour, in luminance (ITU-R BT.601) if it has one channel.

    If it has two: luminance, and after mean and deviation its slopes (`embodied_ssl.views.sobel`).
    """
    if channels in (1, 2):
        colour = "grey" if channels == 1 else "slopes"
        return {"colour": colour, "scale": "0..1", "mean": list(GREY_MEAN), "std": list(GREY_STD), "size": size}
    return {"colour": "RGB", "scale": "0..1", "mean": list(MEAN), "std": list(STD), "size": size}


def load_backbone(given: Path) -> tuple[Backbone, dict[str, Any]]:
    """A trained backbone and its card, from a run folder, a backbone folder, or its ``model.safetensors``.

    Raises:
        UserError: nothing there, or the weights are of another architecture.
    """
    if not given.exists():
        raise UserError(f"'{given}' does not exist; give a run folder made by pretrain, or an exported backbone")
    folder = given.parent if given.suffix == ".safetensors" else given
    if (folder / "backbone" / "card.json").exists():
        folder = folder / "backbone"
    if not (folder / "card.json").exists():
        raise UserError(f"'{given}' holds no trained backbone (no backbone/card.json); give a run folder made by pretrain")
    try:
        card = json.loads((folder / "card.json").read_text())
        backbone = BackboneConfig(**card["architecture"]).build()
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"'{folder / 'card.json'}' is not a backbone's card ({_first_line(error)})") from None
    load_weights(backbone, folder / "model.safetensors")
    return backbone, card


def load_weights(backbone: Backbone, given: Path, least: float = 1.0) -> list[str]:
    """Start a backbone from a run folder, a .safetensors file or a state_dict file.

    Names are unwrapped as `embodied_ssl.weights` says; a classifier's weights are left out.

    Args:
        backbone: filled in place.
        given: the folder or file.
        least: the share of the backbone's weights that must be found, in 0..1.

    Returns:
        What is in the file but not in the backbone, under the file's names.

    Raises:
        UserError: weights are missing or have other shapes: another architecture.
    """
    if given.is_dir():
        given = next((p for p in (given / "backbone" / "model.safetensors", given / "model.safetensors") if p.exists()), given)
        if given.is_dir():
            raise UserError(f"'{given}' holds no backbone/model.safetensors; give a run folder or a file of weights")
    return list(fill(backbone.net, read_weights(given), backbone.name, given, least).left_out)


def versions() -> dict[str, str]:
    """Of what made a file: this package, torch, and the commit when run from a checkout."""
    found = {"embodied_ssl": __version__, "torch": str(torch.__version__)}
    here = Path(__file__).resolve().parent.parent
    if (here / ".git").exists():
        with contextlib.suppress(OSError):  # git may not be installed
            commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
            if commit.returncode == 0:
                found["commit"] = commit.stdout.strip()
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
