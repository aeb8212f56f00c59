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
import pickle
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from embodied_ssl import __version__
from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.errors import UserError
from embodied_ssl.files import atomic, write_json
from embodied_ssl.views.pixels import MEAN, STD

FORMAT = 1
PREFIXES = ("module.", "backbone.", "net.", "encoder.")  # what wraps a network's names when it is saved


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
    state = _load_tensors(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"'{path}' is not a checkpoint of embodied_ssl (format {FORMAT}); give a run folder made by pretrain")
    return state


def _load_tensors(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"'{path}' does not exist; give a run folder or a file of weights")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other programs, which are refused in one line below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise UserError(f"'{path}' cannot be read as a checkpoint (it is cut short, or another kind of file)") from None
        raise UserError(
            f"'{path}' holds more than tensors and is not loaded, because that could run code; save a state_dict"
        ) from None
    except Exception as error:  # a spoilt pickle can fail in any way
        raise UserError(f"'{path}' cannot be read as a checkpoint ({_first_line(error)})") from None


def adopt_buffers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give buffers whose size `Method.fit` decides (patterns, bins) the stored size, so that strict loading can fill them."""
    for name, buffer in list(module.named_buffers()):
        stored = state.get(name)
        if stored is not None and stored.shape != buffer.shape:
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner).register_buffer(leaf, torch.zeros_like(stored).to(buffer.device))


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


def preprocessing(size: int) -> dict[str, Any]:
    """How pictures reach every backbone trained here."""
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


def load_weights(backbone: Backbone, given: Path) -> list[str]:
    """Start a backbone from a run folder, a .safetensors file or a state_dict file.

    Prefixes such as ``module.``, ``backbone.`` and ``net.`` are stripped; a classifier's weights are left out.

    Returns:
        The names that were in the file but not in the backbone.

    Raises:
        UserError: weights are missing or have other shapes: another architecture.
    """
    if given.is_dir():
        given = next((p for p in (given / "backbone" / "model.safetensors", given / "model.safetensors") if p.exists()), given)
        if given.is_dir():
            raise UserError(f"'{given}' holds no backbone/model.safetensors; give a run folder or a file of weights")
    state = _strip_prefixes(_read_weights(given))
    own = backbone.net.state_dict()
    missing = sorted(own.keys() - state.keys())
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or shapes:
        example = f"{missing[0]} is missing" if missing else f"{shapes[0]} is {tuple(state[shapes[0]].shape)} there"
        raise UserError(
            f"'{given}' is not a {backbone.name}: {len(missing)} weights missing, {len(shapes)} of other shapes ({example}); "
            "choose the architecture with --set backbone.name="
        )
    backbone.net.load_state_dict({name: state[name] for name in own})
    return sorted(state.keys() - own.keys())


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        if not path.exists():
            raise UserError(f"'{path}' does not exist; give a run folder or a file of weights")
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"'{path}' cannot be read as safetensors ({_first_line(error)})") from None
    state = _load_tensors(path)
    for key in ("learner", "state_dict", "model", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"'{path}' holds no weights by name; save a state_dict")
    return state


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What lies under the wrappers, layer by layer; weights beside a wrapped network (a head's) are left out."""
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return state


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
