"""Sources, views and learners made up in memory, for tests that need neither files nor real methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.core import Example, View
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import DataSpec, Pixels, Sample, Source, Split
from embodied_ssl.datasets.target import IGNORED, ArrayPlane, Boxes, Division, LabelledPictures, Target
from embodied_ssl.errors import BadItem


class Listed(Source):
    """Samples in a list; ``bad`` positions cannot be read."""

    name = "made up"

    def __init__(self, samples: Sequence[Sample], bad: Sequence[int] = ()) -> None:
        self.samples = list(samples)
        self.unreadable = frozenset(bad)
        self.provides = frozenset(self.samples[0]) if self.samples else frozenset()
        self.recordings = [str(i) for i in range(len(self.samples))]
        self.bad = []

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        if index in self.unreadable:
            raise BadItem(f"item {index}", "broken on purpose")
        return self.samples[index]


def numbers(count: int, bad: Sequence[int] = ()) -> Listed:
    return Listed([{"index": i} for i in range(count)], bad)


def pictures(pixels: Sequence[Pixels]) -> Listed:
    return Listed([{"picture": ArrayPicture(one), "index": i} for i, one in enumerate(pixels)])


@dataclass(frozen=True)
class Number(View):
    """The sample's number and one random number, ``copies`` times."""

    copies: int = 1

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        shape = (self.copies,) if self.copies > 1 else ()
        return {"number": np.full(shape, sample["index"]), "luck": rng.random(shape) if shape else np.asarray(rng.random())}


@dataclass(frozen=True)
class MadeUp(DataSpec):
    """Opens whatever is made; nothing is held out unless ``held`` says so."""

    make: Callable[[], Source]
    root: str = ""
    held: Callable[[], Source] = field(default=lambda: Listed([]))

    def open(self, split: Split = "all") -> Source:
        return self.held() if split == "held_out" else self.make()

    @classmethod
    def tiny(cls, folder: Any) -> MadeUp:
        raise TypeError("made-up data has no layout of its own")


class MemoryFrames:
    """A video that is an array."""

    name = "video in memory"

    def __init__(self, pixels: Pixels, motion: NDArray[np.float32] | None = None) -> None:
        self.pixels = pixels
        self.motion = motion if motion is not None else np.ones(len(pixels), np.float32)
        self.seconds = np.arange(len(pixels)) / 30
        self.shots = np.zeros(len(pixels), np.int64)
        self.content = (0, 0, *pixels.shape[1:3])

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Sequence[int]) -> Pixels:
        return self.pixels[list(indices)]


def labelled(count: int = 24, size: int = 40, classes: int = 2, divisions: int = 1) -> Target:
    """Pictures of one coloured square each on dim noise, of which everything is known: label, tags, boxes, mask and depth.

    The class is the square's colour. Every class is in both parts of every division, four times at least.
    """
    colours = np.array([(220, 40, 40), (40, 200, 60), (60, 80, 230), (220, 200, 40)])[:classes]
    labels = np.arange(count) % classes
    pictures, boxes, masks, depths = [], [], [], []
    for number, label in enumerate(labels):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 60, (size, size, 3))
        side = int(rng.integers(size // 3, size // 2))
        top, left = (int(v) for v in rng.integers(0, size - side, 2))
        inside = np.zeros((size, size), bool)
        inside[top : top + side, left : left + side] = True
        picture[inside] = colours[label] + rng.integers(-20, 20, 3)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
        corners = np.array([[left, top, left + side, top + side]], np.float32)
        boxes.append(Boxes(corners, np.array([label]), np.zeros(1, bool)))
        masks.append(ArrayPlane(np.where(inside, label, IGNORED).astype(np.uint8)))
        depths.append(ArrayPlane(np.where(inside, 1.0, 3.0).astype(np.float32)))
    tags = np.eye(classes, dtype=np.int8)[labels]
    source = LabelledPictures("squares", np.stack(pictures), labels=labels, tags=tags, boxes=boxes, masks=masks, depths=depths)
    return Target("squares", source, tuple(_halves(labels, n) for n in range(divisions)), tuple("rgby"[:classes]), "made up")


def _halves(labels: NDArray[np.int64], number: int) -> Division:
    order = np.random.default_rng(number).permutation(len(labels))
    train = np.concatenate([own[: len(own) // 2] for own in (order[labels[order] == label] for label in np.unique(labels))])
    return Division(np.sort(train).astype(np.intp), np.setdiff1d(np.arange(len(labels)), train).astype(np.intp))
