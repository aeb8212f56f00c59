"""Any network that looks at pictures, opened from what a user can name: a run, an architecture, a file of weights, a function.

| given | what is opened |
|---|---|
| a run folder, an exported backbone, its ``model.safetensors`` | with its card: architecture, preprocessing, seed |
| ``resnet18``, ``torchvision:NAME``, ``timm:NAME`` | the architecture, untrained; nothing is downloaded |
| ``FILE`` or ``FILE@ARCHITECTURE`` | weights as any program saves them (`embodied_ssl.weights`); the architecture as above |
| ``FILE.py:FUNCTION`` | what the function returns: a module from pictures to vectors or maps, or a `Backbone` |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from embodied_ssl.backbones import Backbone, BackboneConfig, Features, names, untrained
from embodied_ssl.checkpoint import load_backbone
from embodied_ssl.config import import_file
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.scores import Role
from embodied_ssl.weights import Match, fill, guess_architecture, read_weights

ACCEPTED = (
    "a run folder, an exported backbone, torchvision:NAME, timm:NAME, a file of weights (FILE or FILE@ARCHITECTURE), "
    "or FILE.py:FUNCTION"
)
CLASSIFIERS = ("fc.weight", "head.weight", "head.fc.weight", "classifier.weight")
IMAGENET_CLASSES = 1000
UNTRAINED = "at their random start"


@dataclass(frozen=True)
class Model:
    """A network ready to be judged.

    Attributes:
        name: as shown in tables.
        backbone: with its weights; never changed.
        config: how to build the same network untrained; None where that is not known (a function's network).
        preprocessing: what the network expects.
        role: ``run`` of ours; ``external`` of others; ``supervised`` where the file says so (a classifier of 1,000 classes).
        pretrain_seed: the seed it was trained with, where known; of an untrained network, the seed of its weights.
        examples_seen: pictures seen in training; 0 where not known.
        about: where it is from and how its weights matched, for people and for reports.
    """

    name: str
    backbone: Backbone
    config: BackboneConfig | None = field(default_factory=BackboneConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    role: Role = "run"
    pretrain_seed: int | None = None
    examples_seen: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


def open_model(
    given: str,
    *,
    size: int = 0,
    preprocessing: Preprocessing | None = None,
    least: float = 0.99,
    role: Role | None = None,
    seed: int = 0,
) -> Model:
    """Open a network.

    Args:
        given: one of the table above.
        size: pixels it is shown; 0 for its own: the card's of a run, 224 of others.
        preprocessing: all of it, where the usual does not fit (timm's newer transformers have mean and deviation 0.5).
        least: the share of a network's weights that a file must hold, in 0..1. What is missing stays at its random start, and
            ``about["weights"]`` says so.
        role: of the model in tables, where it is known better.
        seed: of weights that come from no file.

    Raises:
        UserError: nothing of that name, weights of another architecture, or a function that gives no network.
    """
    path = Path(given).expanduser()
    python, colon, function = given.rpartition(":")
    if colon and python.endswith(".py"):
        model = _from_function(Path(python).expanduser(), function, size)
    elif not path.exists() and (given in names() or given.startswith(("torchvision:", "timm:"))):
        config = BackboneConfig(given)
        name, about = f"{given} untrained", {"weights": UNTRAINED}
        model = Model(name, untrained(config, seed), config, _usual(size), "external", seed, about=about)
    elif path.is_dir() or (path.parent / "card.json").exists():
        model = _from_run(path, size)
    else:
        model = _from_weights(given, least, seed, size)
    return replace(
        model,
        preprocessing=preprocessing or model.preprocessing,
        role=role or model.role,
        about={"given": given, **model.about},
    )


def with_own_names(models: Sequence[Model]) -> list[Model]:
    """Models of one name are numbered in the order given."""
    count = Counter(model.name for model in models)
    seen: Counter[str] = Counter()
    named = []
    for model in models:
        seen[model.name] += 1
        named.append(replace(model, name=f"{model.name} ({seen[model.name]})") if count[model.name] > 1 else model)
    return named


def preprocessing_of(card: Mapping[str, Any], size: int = 0) -> Preprocessing:
    """What pictures an exported backbone is judged on: its own colour, mean and deviation, at its training size but at least 96.

    Small training crops show objects larger than whole pictures do, so judging at a larger size is usual and better.
    """
    stated = card.get("preprocessing", {})
    side = size or max(96, int(stated.get("size") or 96))
    usual = Preprocessing.usual(side, round(side * 7 / 6), int(card.get("architecture", {}).get("channels", 3)))
    return replace(usual, **{name: stated[name] for name in ("colour", "mean", "std") if name in stated})


def _usual(size: int, channels: int = 3) -> Preprocessing:
    """ImageNet's: the middle 224 of 256 pixels, its mean and deviation."""
    side = size or 224
    return Preprocessing.usual(side, round(side * 8 / 7), channels)


def _from_run(path: Path, size: int) -> Model:
    backbone, card = load_backbone(path)
    origin = card.get("origin", {})
    folder = path.parent if path.is_file() else path
    name = folder.resolve().parent.name if folder.name == "backbone" else folder.resolve().name
    about = {
        "method": str(origin.get("method", "")).removesuffix("Config"),
        "data": origin.get("data"),
        "steps": origin.get("steps"),
    }
    return Model(
        name,
        backbone,
        BackboneConfig(**card["architecture"]),
        preprocessing_of(card, size),
        "run",
        origin.get("seed"),
        int(origin.get("examples_seen") or 0),
        about,
    )


def _from_weights(given: str, least: float, seed: int, size: int) -> Model:
    path, architecture = _file_and_architecture(given)
    stored = read_weights(path)
    config = BackboneConfig(architecture) if architecture else guess_architecture(stored)
    if config is None:
        first = ", ".join(list(stored)[:3])
        raise UserError(
            f"'{path}' does not show its architecture (its weights are {first}, ...); name it: {path}@torchvision:NAME, "
            f"{path}@timm:NAME or one of {', '.join(names())}"
        )
    if architecture and (shown := guess_architecture(stored)) and shown.name.endswith(architecture.rpartition(":")[2]):
        config = replace(config, channels=shown.channels, stem=shown.stem)  # a name says nothing about the stem; weights do
    backbone = untrained(config, seed)
    found = fill(backbone.net, stored, config.name, path, least)
    role: Role = "supervised" if _is_classifier(found, stored) else "external"
    about = {"architecture": config.name, "weights": found.line(), "unmatched": [*found.missing, *found.shapes]}
    return Model(path.stem, backbone, config, _usual(size, config.channels), role, about=about)


def _file_and_architecture(given: str) -> tuple[Path, str]:
    path = Path(given).expanduser()
    name, at, architecture = given.rpartition("@")
    if not path.exists() and at:
        path = Path(name).expanduser()
    else:
        architecture = ""
    if not path.exists():
        raise UserError(f"there is no model '{given}'; accepted are {ACCEPTED}")
    return path, architecture


def _is_classifier(found: Match, stored: Mapping[str, Tensor]) -> bool:
    """A bare network saved with a head of ImageNet's 1,000 classes was trained with labels."""
    heads = [name for name in found.left_out if name in CLASSIFIERS]
    return any(stored[name].shape[0] == IMAGENET_CLASSES for name in heads)


class OneStage(Backbone):
    """Any module from normalised pictures [B, 3, S, S] to vectors [B, D] or maps [B, C, H, W], as a backbone of one stage."""

    def __init__(self, name: str, net: nn.Module, size: int) -> None:
        super().__init__(name, net, {"output": ()}, channels=3, probe_size=size)

    def forward(self, pictures: Tensor) -> Features:
        given = self.net(pictures)
        if not isinstance(given, Tensor) or given.ndim not in (2, 4):
            what = f"shape {list(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise UserError(f"{self.name} gives {what} for pictures; it must give vectors [B, D] or maps [B, C, H, W]")
        maps = given if given.ndim == 4 else given[:, :, None, None]
        return Features({"output": maps}, maps.mean(dim=(2, 3)))


def _from_function(path: Path, function: str, size: int) -> Model:
    if not path.is_file():
        raise UserError(f"there is no file '{path}'; give FILE.py:FUNCTION, a function without arguments that returns a network")
    make = getattr(import_file(path), function, None)
    if not callable(make):
        raise UserError(f"'{path}' has no function '{function}'; give one without arguments that returns a network")
    name, how = f"{path.stem}:{function}", _usual(size)
    try:
        made = make()
        if not isinstance(made, nn.Module):
            raise UserError(f"{name} returns a {type(made).__name__}; it must return a torch.nn.Module or a Backbone")
        backbone = made if isinstance(made, Backbone) else OneStage(name, made, how.size)
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code does wrong
        raise UserError(f"{name} fails: {type(error).__name__}: {error}") from error
    return Model(name, backbone, None, how, "external")
