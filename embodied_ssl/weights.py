"""Weights by name, from this program and others: read without running code, unwrapped, renamed, and matched to a network.

Whoever saves a network wraps its names. What is recognised, each shown by where the first convolution of a ResNet lies:

| saved by | name of the first convolution |
|---|---|
| torchvision, timm, our exports | ``conv1.weight``; the classifier (``fc``, ``head``) is left out |
| our checkpoints | ``learner`` / ``backbone.net.conv1.weight`` |
| lightly | ``state_dict`` / ``backbone.0.weight`` (children numbered), ``backbone.conv1.weight``, ``teacher_backbone.`` |
| lightly's own ResNets | as above with fewer children, and ``shortcut`` for ``downsample`` |
| solo-learn | ``state_dict`` / ``backbone.conv1.weight``, of old ``encoder.conv1.weight`` |
| MoCo v1 and v2; v3 | ``state_dict`` / ``module.encoder_q.conv1.weight``; ``module.base_encoder.conv1.weight`` |
| DINO | ``teacher`` / ``backbone.conv1.weight`` or ``module.backbone.conv1.weight`` |
| SwAV | ``module.conv1.weight`` beside ``module.projection_head.`` and ``module.prototypes.`` |
| VISSL | ``classy_state_dict`` / ``base_model`` / ``model`` / ``trunk`` / ``_feature_blocks.conv1.weight`` |

Momentum copies, students, heads, queues and prototypes are left out, and listed.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.errors import UserError

# Dictionaries in a file that hold the weights. The first that is there is opened, and again inside.
NESTS = ("learner", "classy_state_dict", "base_model", "state_dict", "teacher", "model", "trunk")
# What stands before a network's names. The first that is there is taken off, and again; names without it are others' weights.
WRAPPERS = (
    "module.",
    "_orig_mod.",
    "encoder_q.",
    "base_encoder.",
    "teacher_backbone.",
    "backbone.",
    "net.",
    "encoder.",
    "base_model.",
    "_feature_blocks.",
)
TORCHVISION_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
LIGHTLY_CHILDREN = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}
RESNETS: dict[tuple[int, ...], str] = {  # blocks in each of the four layers, and whether blocks are bottlenecks
    (2, 2, 2, 2, False): "resnet18",
    (3, 4, 6, 3, False): "resnet34",
    (3, 4, 6, 3, True): "resnet50",
    (3, 4, 23, 3, True): "torchvision:resnet101",
    (3, 8, 36, 3, True): "torchvision:resnet152",
}
COUNTER = "num_batches_tracked"  # of BatchNorm; changes nothing in eval mode, and old files lack it

Names = dict[str, str]  # what a network would call a weight -> what the file calls it


def load_tensors(path: Path) -> Any:
    """What ``torch.save`` wrote, read without running any code in it; bare ``argparse.Namespace`` objects are let through.

    Raises:
        UserError: absent, cut short, another kind of file, or it holds more than tensors.
    """
    if not path.exists():
        raise UserError(f"'{path}' does not exist; give a run folder or a file of weights")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):  # DINO and others store theirs
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors file, or in the first of `NESTS` in a file of ``torch.save``, under the file's own names.

    Raises:
        UserError: absent, unreadable, or no weights by name.
    """
    if path.suffix == ".safetensors":
        if not path.exists():
            raise UserError(f"'{path}' does not exist; give a run folder or a file of weights")
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"'{path}' cannot be read as safetensors ({_first_line(error)})") from None
    state = load_tensors(path)
    while isinstance(state, dict) and (nest := next((key for key in NESTS if isinstance(state.get(key), dict)), "")):
        state = state[nest]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"'{path}' holds no weights by name; save a state_dict")
    return state


def unwrapped(names: Sequence[str]) -> Iterator[Names]:
    """The names as they are, then with one wrapper after another taken off, each time as a plain network would have them."""
    inner = {name: name for name in names}
    while True:
        yield _as_plain(inner)
        wrapper = next((w for w in WRAPPERS if any(name.startswith(w) for name in inner)), "")
        if not wrapper:
            return
        inner = {name.removeprefix(wrapper): stored for name, stored in inner.items() if name.startswith(wrapper)}


def _as_plain(names: Names) -> Names:
    """Numbered children get their names back, and a block's ``shortcut`` is a ``downsample``."""
    children: dict[str, str] = {}
    if "0.weight" in names and "4.0.conv1.weight" in names:
        children = LIGHTLY_CHILDREN if "2.0.conv1.weight" in names else TORCHVISION_CHILDREN
    plain = {}
    for name, stored in names.items():
        first, dot, rest = name.partition(".")
        name = f"{children.get(first, first)}{dot}{rest}"
        plain[re.sub(r"^(layer\d\.\d+\.)shortcut\.", r"\1downsample.", name)] = stored
    return plain


@dataclass(frozen=True)
class Match:
    """How stored weights fit a network. BatchNorm's batch counters are not counted.

    Attributes:
        names: the network's name -> the file's, for all that fit.
        wanted: how many weights the network has.
        missing: names the network has and the file has not.
        shapes: names of both whose shapes differ, with both shapes.
        left_out: what the file has besides, under its own names.
    """

    names: Names
    wanted: int
    missing: tuple[str, ...]
    shapes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the network's weights, those that were found: 1 when all were."""
        return 1 - (len(self.missing) + len(self.shapes)) / max(1, self.wanted)

    def line(self, most: int = 3) -> str:
        """What matched and what did not, the first few of each by name."""
        parts = [f"{self.wanted - len(self.missing) - len(self.shapes)} of {self.wanted} weights found"]
        for what, names in (("missing", self.missing), ("of another shape", self.shapes), ("left out", self.left_out)):
            if names:
                more = f" and {len(names) - most} more" if len(names) > most else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:most])}{more})")
        return "; ".join(parts)


def match(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> Match:
    """Find a network's weights among stored ones, under whichever wrapping fits most of them."""

    def fits(names: Names) -> list[str]:
        return [name for name in own if name in names and stored[names[name]].shape == own[name].shape]

    # Without any fit in shape, fits in name still say which shapes differ.
    best = max(unwrapped(list(stored)), key=lambda names: (len(fits(names)), len(own.keys() & names.keys())))
    fitting = fits(best)
    wanted = [name for name in own if not name.endswith(COUNTER)]
    shapes = [
        f"{name} is {tuple(stored[best[name]].shape)} there and {tuple(own[name].shape)} here"
        for name in wanted
        if name in best and name not in fitting
    ]
    used = {best[name] for name in own if name in best}
    return Match(
        {name: best[name] for name in fitting},
        len(wanted),
        tuple(name for name in wanted if name not in best),
        tuple(shapes),
        tuple(sorted(stored.keys() - used)),
    )


def fill(net: nn.Module, stored: Mapping[str, Tensor], name: str, given: Path, least: float = 1.0) -> Match:
    """Copy stored weights into a network; what is not found stays as it is.

    Args:
        net: the plain network.
        stored: weights under any names.
        name: of the network, for messages.
        given: the file, for messages.
        least: the share of the network's weights that must be found, in 0..1.

    Raises:
        UserError: fewer are found: lists what did not match.
    """
    found = match(net.state_dict(), stored)
    if found.share < least:
        raise UserError(
            f"'{given}' is not a {name}: {found.line()}; at least {least:.0%} must be found. Choose the architecture: "
            f"--set backbone.name=NAME for pretrain --init, {given.name}@NAME elsewhere"
        )
    net.load_state_dict({own: stored[theirs] for own, theirs in found.names.items()}, strict=False)
    return found


def guess_architecture(stored: Mapping[str, Tensor]) -> BackboneConfig | None:
    """Which ResNet of ours these are the weights of, told by blocks a stage and the first convolution; None for others.

    A 3 x 3 first convolution is read as the ``small`` stem, whose convolution pads by 1; solo-learn's CIFAR networks were
    trained with a padding of 2, which weights do not show and which moves features at the border only.
    """
    for names in unwrapped(list(stored)):
        if "conv1.weight" in names and "layer1.0.conv1.weight" in names:
            first = stored[names["conv1.weight"]]
            blocks = [len({name.split(".")[1] for name in names if name.startswith(f"layer{i}.")}) for i in range(1, 5)]
            known = RESNETS.get((*blocks, "layer1.0.conv3.weight" in names))
            return BackboneConfig(known, first.shape[1], "small" if first.shape[2] == 3 else "large") if known else None
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
