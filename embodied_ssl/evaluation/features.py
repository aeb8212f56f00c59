"""Frozen features are computed once: every stage of the network, average-pooled, for every picture, in the network's eval mode.

Pictures are decoded once per preprocessing and shared by all models, so that a bad file is missing from every row alike.
Legend: N pictures, S side in pixels, D features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.source import Picture, Pixels, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.files import atomic

Progress = Callable[[str, int, int], None]  # what is being done, how many of how many
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to what the network sees: shorter side to ``resize``, centre crop of ``size``, colour, mean and deviation.

    Args:
        size: side of the square that the network sees, in pixels.
        resize: length of the shorter side before cropping; at least ``size``.
        mean, std: of the three channels in 0..1; subtracted and divided by.
        colour: ``RGB``, or ``grey``: luminance in every channel the network has.
    """

    size: int = 96
    resize: int = 112
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    colour: str = "RGB"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))  # JSON gives lists
        object.__setattr__(self, "std", tuple(self.std))
        if not 1 <= self.size <= self.resize:
            raise UserError(
                f"pictures are cropped to {self.size} pixels after resizing to {self.resize}; need 1 <= size <= resize"
            )
        if self.colour not in ("RGB", "grey"):
            raise UserError(f"colour '{self.colour}' is not known; there is RGB, grey")

    def crop(self, picture: Picture) -> Pixels:
        """The centre of a picture: uint8 [S, S, 3]. The square is cut first, so that a long strip costs no memory."""
        height, width = picture.size
        side = min(height, width)
        pixels = picture.take(((height - side) // 2, (width - side) // 2, side, side), (self.resize, self.resize))
        start = (self.resize - self.size) // 2
        return pixels[start : start + self.size, start : start + self.size]

    def render(self, pixels: Tensor, channels: int = 3) -> Tensor:
        """Uint8 [B, S, S, 3] to normalised float [B, C, S, S]."""
        x = pixels.permute(0, 3, 1, 2).float() / 255
        if self.colour == "grey":
            x = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True).expand(-1, channels, -1, -1)
        if x.shape[1] != channels or len(self.mean) not in (1, channels) or len(self.std) not in (1, channels):
            raise UserError(
                f"the network takes {channels} channels, but {self.colour} pictures have {x.shape[1]} and mean and std have "
                f"{len(self.mean)} and {len(self.std)}; give the preprocessing that the network was trained with"
            )
        return (x - x.new_tensor(self.mean)[:, None, None]) / x.new_tensor(self.std)[:, None, None]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class Pictures:
    """A data set's readable pictures, cropped and in memory.

    Attributes:
        pixels: uint8 [N, S, S, 3].
        labels: int64 [N].
        recordings: the recording of each picture.
        bad: what could not be read, with the reason.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    recordings: tuple[str, ...]
    bad: tuple[BadItem, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the very pixels and labels."""
        hasher = hashlib.blake2b(digest_size=16)
        for array in (self.pixels, self.labels):
            hasher.update(str(array.shape).encode())
            hasher.update(np.ascontiguousarray(array).data)
        return hasher.hexdigest()


@dataclass(frozen=True)
class FeatureTable:
    """What one model says about one part of a data set.

    Attributes:
        model: as shown in tables.
        features: layer -> float32 [N, D], shallow to deep.
        labels: int64 [N].
        recordings: the recording of each row; folds never divide one.
        bad: pictures that could not be read.
    """

    model: str
    features: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.int64]
    recordings: tuple[str, ...]
    bad: tuple[BadItem, ...] = field(default=())

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def last(self) -> str:
        return self.layers[-1]


def read_pictures(source: Source, preprocessing: Preprocessing, on_progress: Progress = silent) -> Pictures:
    """Decode and crop every picture once; an unreadable one is left out and named in ``bad``.

    Raises:
        UserError: not one picture can be read.
    """
    crops: list[Pixels] = []
    labels: list[int] = []
    recordings: list[str] = []
    bad = list(source.bad)
    for index in range(len(source)):
        try:
            sample = source[index]
            crops.append(preprocessing.crop(sample["picture"]))
        except BadItem as error:
            bad.append(error)
        else:
            labels.append(int(sample["label"]))
            recordings.append(source.recordings[index])
        on_progress(f"reading {source.name}", index + 1, len(source))
    if not crops:
        reason = f"the first: {bad[0]}" if bad else "it is empty"
        raise UserError(f"no picture of {source.name} can be read ({reason}); give another folder")
    return Pictures(np.stack(crops), np.array(labels, np.int64), tuple(recordings), tuple(bad))


@contextmanager
def frozen(backbone: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's own mode and torch's generators are as before afterwards."""
    modes = [(module, module.training) for module in backbone.modules()]
    devices = {parameter.device for parameter in backbone.parameters() if parameter.device.type == "cuda"}
    backbone.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def extract(
    backbone: Backbone,
    preprocessing: Preprocessing,
    source: Source | Pictures,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    on_progress: Progress = silent,
    *,
    model: str = "",
    cache: Path | None = None,
) -> FeatureTable:
    """The frozen features of every stage: the average of each map, and ``vector`` where it is not the last map's average.

    Args:
        backbone: moved to ``device`` for the time of the call.
        preprocessing: from pictures to network input.
        source: samples with ``picture`` and ``label``, or pictures read before.
        device: where the network runs.
        batch_size: pictures at a time; changes nothing but speed and memory.
        on_progress: called after each batch.
        model: what to call it in tables; the backbone's name when empty.
        cache: a folder that keeps the features under a name made of weights, pixels and preprocessing.
    """
    pictures = source if isinstance(source, Pictures) else read_pictures(source, preprocessing, on_progress)
    name = model or backbone.name
    path = None if cache is None else cache / f"features-{_key(backbone, preprocessing, pictures)}.npz"
    features = _read_cache(path)
    if features is None:
        features = _pooled_stages(backbone, preprocessing, pictures.pixels, torch.device(device), batch_size, name, on_progress)
        if path is not None:
            arrays: Any = {f"{i:03d}/{stage}": values for i, (stage, values) in enumerate(features.items())}
            with atomic(path) as file:
                np.savez(file, **arrays)
    return FeatureTable(name, features, pictures.labels, pictures.recordings, pictures.bad)


def _pooled_stages(
    backbone: Backbone,
    preprocessing: Preprocessing,
    pixels: Pixels,
    device: torch.device,
    batch_size: int,
    name: str,
    on_progress: Progress,
) -> dict[str, NDArray[np.float32]]:
    home = next((parameter.device for parameter in backbone.parameters()), device)
    chunks: dict[str, list[Tensor]] = {}
    with frozen(backbone):
        backbone.to(device)
        try:
            for start in range(0, len(pixels), batch_size):
                batch = torch.from_numpy(pixels[start : start + batch_size]).to(device)
                maps, vector = backbone(preprocessing.render(batch, backbone.channels))
                for stage, values in maps.items():
                    chunks.setdefault(stage, []).append(values.float().mean(dim=(2, 3)).cpu())
                chunks.setdefault("vector", []).append(vector.float().cpu())
                on_progress(f"features of {name}", min(start + batch_size, len(pixels)), len(pixels))
        finally:
            backbone.to(home)
    features = {stage: np.asarray(torch.cat(parts).numpy(), np.float32) for stage, parts in chunks.items()}
    return _drop_repeated_vector(features)


def _drop_repeated_vector(features: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    vector = features.pop("vector")
    last = next(reversed(features.values()), None)
    if last is None or last.shape != vector.shape or not np.allclose(last, vector, rtol=1e-4, atol=1e-6):
        features["vector"] = vector
    return features


def weights_hash(backbone: nn.Module) -> str:
    """A hash of every parameter and buffer, with its name."""
    hasher = hashlib.blake2b(digest_size=16)
    for name, tensor in backbone.state_dict().items():
        hasher.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _key(backbone: Backbone, preprocessing: Preprocessing, pictures: Pictures) -> str:
    parts = (backbone.name, weights_hash(backbone), pictures.fingerprint, json.dumps(preprocessing.to_json(), sort_keys=True))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _read_cache(path: Path | None) -> dict[str, NDArray[np.float32]] | None:
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name.split("/", 1)[1]: stored[name] for name in sorted(stored.files)}
    except (OSError, ValueError, EOFError, IndexError, BadZipFile):  # half a file from elsewhere: compute anew
        return None
