"""Frozen features are computed once: every stage of the network, pooled, for every picture, in the network's eval mode.

Pictures (`embodied_ssl.evaluation.pictures`) are shared by all models, so that a bad file is missing from every row alike.
Legend: N pictures, S side in pixels, D features, C classes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.source import Pixels, Source
from embodied_ssl.datasets.target import Rows
from embodied_ssl.distributed import use_bf16
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.pictures import (
    Pictures,
    Preprocessing,
    Progress,
    answers,
    batches,
    decoded,
    nothing_readable,
    read_pictures,
    silent,
)
from embodied_ssl.files import atomic

Pooling = Literal["global", "grid"]
Precision = Literal["auto", "fp32", "bf16"]
GRID_VALUES = 9216  # about what a stage is pooled to when places are kept (Goyal et al. 2019: 64 x 12 x 12, 256 x 6 x 6, ...)


@dataclass(frozen=True)
class FeatureTable:
    """What one model says about one part of a data set.

    Attributes:
        model: as shown in tables.
        features: layer -> float32 [N, D], shallow to deep.
        labels: int64 [N]; -1 where there are none.
        recordings: the recording of each row; folds never divide one.
        bad: pictures that could not be read.
        tags: int8 [N, C] for data of several classes a picture: 1 there, 0 not there, -1 counts for nothing.
        device: where the network ran, and where protocols may compute.
        found: what protocols found out about this very table, so that none searches what another has found.
    """

    model: str
    features: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.int64]
    recordings: tuple[str, ...]
    bad: tuple[BadItem, ...] = field(default=())
    tags: NDArray[np.int8] | None = None
    device: str = field(default="cpu", compare=False)
    found: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def part(self, rows: Rows) -> FeatureTable:
        """Some rows of it, as a table."""
        return replace(
            self,
            features={layer: values[rows] for layer, values in self.features.items()},
            labels=self.labels[rows],
            recordings=tuple(self.recordings[row] for row in rows),
            tags=None if self.tags is None else self.tags[rows],
            found={},
        )

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def last(self) -> str:
        return self.layers[-1]


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
    pooling: Pooling = "global",
    precision: Precision = "fp32",
) -> FeatureTable:
    """The frozen features of every stage, and ``vector`` where it is not the last map's average.

    Args:
        backbone: moved to ``device`` for the time of the call.
        preprocessing: from pictures to network input.
        source: samples with ``picture`` and an answer, or pictures read before.
        device: where the network runs.
        batch_size: pictures at a time; changes nothing but speed and memory.
        on_progress: called after each batch.
        model: what to call it in tables; the backbone's name when empty.
        cache: a folder that keeps the features under a name made of weights, pixels and settings.
        pooling: ``global`` averages each map over space; ``grid`` over g x g cells, D = C g g of at most `GRID_VALUES`.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 where the hardware has it. Features are kept as float32.

    Raises:
        UserError: a layer has values that are no numbers: the run collapsed or diverged.
    """
    name, place = model or backbone.name, torch.device(device)
    how = _How(preprocessing, place, pooling, use_bf16(precision, place), name, on_progress)
    if not isinstance(source, Pictures) and cache is None:
        return _while_decoding(backbone, source, how, batch_size)
    pictures = source if isinstance(source, Pictures) else read_pictures(source, preprocessing, on_progress, cache)
    path = None if cache is None else cache / f"features-{_key(backbone, pictures, how.to_json())}.npz"
    features = _read_cache(path)
    if features is None:
        squares = (pictures.pixels[some] for some in batches(len(pictures), batch_size))
        features = _pooled_stages(backbone, squares, len(pictures), how)
        if path is not None:
            arrays: Any = {f"{i:03d}/{stage}": values for i, (stage, values) in enumerate(features.items())}
            with atomic(path) as file:
                np.savez(file, **arrays)
    _check_numbers(name, features)
    return FeatureTable(name, features, pictures.labels, pictures.recordings, pictures.bad, pictures.tags, str(device))


class _How(NamedTuple):
    """How features are computed, and whom to tell."""

    preprocessing: Preprocessing
    device: torch.device
    pooling: Pooling
    bf16: bool
    name: str
    on_progress: Progress

    def to_json(self) -> dict[str, Any]:
        """What the figures depend on."""
        return {**self.preprocessing.to_json(), "pooling": self.pooling, "bf16": self.bf16}


def _while_decoding(backbone: Backbone, source: Source, how: _How, batch_size: int) -> FeatureTable:
    """The network works on one batch of pictures while the next is decoded; no picture is kept."""
    rows: list[Rows] = []
    bad: list[BadItem] = []

    def squares() -> Iterator[Pixels]:
        for chunk in decoded(source, how.preprocessing, batch_size):
            rows.append(chunk.rows)
            bad.extend(chunk.bad)
            if len(chunk.rows):
                yield chunk.squares
        if not sum(map(len, rows)):
            raise nothing_readable(source, bad)

    features = _pooled_stages(backbone, squares(), len(source), how)
    _check_numbers(how.name, features)
    labels, tags, recordings = answers(source, np.concatenate(rows))
    return FeatureTable(how.name, features, labels, recordings, (*source.bad, *bad), tags, str(how.device))


def _pooled_stages(backbone: Backbone, squares: Iterable[Pixels], count: int, how: _How) -> dict[str, NDArray[np.float32]]:
    home = next((parameter.device for parameter in backbone.parameters()), how.device)
    chunks: dict[str, list[Tensor]] = {}
    done = 0
    try:
        with frozen(backbone), torch.autocast(how.device.type, torch.bfloat16, enabled=how.bf16):
            backbone.to(how.device)
            for some in squares:
                for stage, values in _pooled(backbone, some, how).items():
                    chunks.setdefault(stage, []).append(values)
                done += len(some)
                how.on_progress(f"features of {how.name}", done, count)
    finally:
        backbone.to(home)
    features = {stage: np.asarray(torch.cat(parts).numpy(), np.float32) for stage, parts in chunks.items()}
    return _drop_repeated_vector(features) if how.pooling == "global" else {s: v for s, v in features.items() if s != "vector"}


def _pooled(backbone: Backbone, squares: Pixels, how: _How) -> dict[str, Tensor]:
    """Every stage of one batch, pooled, and ``vector``: float32 [B, D] on the CPU."""
    pixels = np.array(how.preprocessing.centre(squares))  # a copy: what lies on disk cannot be written to
    x = how.preprocessing.render(torch.from_numpy(pixels).to(how.device), backbone.channels)
    maps, vector = backbone(x.contiguous(memory_format=torch.channels_last))
    if how.pooling == "global":
        pooled = {stage: values.mean(dim=(2, 3), dtype=torch.float32) for stage, values in maps.items()}
    else:
        pooled = {stage: pool_to_grid(values.float()) for stage, values in maps.items()}
    return {stage: values.cpu() for stage, values in {**pooled, "vector": vector.float()}.items()}


def pool_to_grid(maps: Tensor) -> Tensor:
    """Float [B, C, H, W] averaged over g x g cells, the finest square grid of at most `GRID_VALUES` values: [B, C g g].

    64 channels give 12 x 12, 256 give 6 x 6, 512 give 4 x 4 and 2048 give 2 x 2, as in Goyal et al. 2019, whose cells are of
    fixed size with strides; ours divide the map evenly (adaptive pooling). Never finer than the map.
    """
    side = min(max(1, math.isqrt(GRID_VALUES // maps.shape[1])), *maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, side).flatten(1)


def _drop_repeated_vector(features: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    vector = features.pop("vector")
    last = next(reversed(features.values()), None)
    if last is None or last.shape != vector.shape or not np.allclose(last, vector, rtol=1e-2, atol=1e-4):
        features["vector"] = vector
    return features


def _check_numbers(name: str, features: Mapping[str, NDArray[np.float32]]) -> None:
    for layer, values in features.items():
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values).all(1)).sum())
            raise UserError(
                f"features of '{name}' at {layer} are no numbers for {bad} of {len(values)} pictures: the weights collapsed or "
                "diverged; train again with a lower rate, or evaluate an earlier checkpoint"
            )


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows [N, D] set to length 1; a row of zeros stays."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), np.float32)


def weights_hash(backbone: nn.Module) -> str:
    """A hash of every parameter and buffer, with its name."""
    hasher = hashlib.blake2b(digest_size=16)
    for name, tensor in backbone.state_dict().items():
        hasher.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _key(backbone: Backbone, pictures: Pictures, settings: Mapping[str, Any]) -> str:
    parts = (backbone.name, weights_hash(backbone), pictures.fingerprint, json.dumps(settings, sort_keys=True))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _read_cache(path: Path | None) -> dict[str, NDArray[np.float32]] | None:
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name.split("/", 1)[1]: stored[name] for name in sorted(stored.files)}
    except (OSError, ValueError, EOFError, IndexError, BadZipFile):  # half a file from elsewhere: compute anew
        return None
