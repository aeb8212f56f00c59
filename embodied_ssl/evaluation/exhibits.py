"""The pictures that networks are examined on and shown with: the same for all, drawn by key, read once for every crop.

Queries come from the test part and are examined; the gallery comes from the train part, and queries look for their neighbours
in it. Views of some queries are crops with changed colours, as contrastive methods make them. Legend: A pictures with V views.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from embodied_ssl import discover
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import Pixels, Source, folders
from embodied_ssl.datasets.target import Division, LabelledPictures, Part, Rows, Target, TargetSpec
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, Progress, batches, read_pictures, silent
from embodied_ssl.keys import generator
from embodied_ssl.views.colour import ColourChange, change_colours
from embodied_ssl.views.crops import random_crop


@dataclass(frozen=True)
class Drawing:
    """How many pictures are drawn, and what their views are.

    Args:
        queries: pictures of the test part that are examined; all where there are fewer.
        gallery: pictures of the train part in which neighbours are looked for.
        viewed: A, queries of which views are made; LiDAR wants more than the features have dimensions.
        views: V of each; even, because alignment pairs them.
        area: least and greatest share of the picture that a view shows.
        colour: how colours change.
        seed: of everything drawn.
    """

    queries: int = 2000
    gallery: int = 2000
    viewed: int = 600
    views: int = 6
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.queries, self.gallery) < 10 or self.viewed < 2 or self.views < 2 or self.views % 2:
            raise UserError(
                f"{self.queries} queries, {self.gallery} pictures of the gallery, {self.viewed} pictures of {self.views} views: "
                "need at least 10, 10 and 2, and an even number of views"
            )


class Exhibits:
    """The drawn pictures of a target, in the crops that networks ask for.

    Args:
        target: with labels or without.
        drawing: how many, and which views.
        on_progress: told what is read.
    """

    def __init__(self, target: Target, drawing: Drawing | None = None, on_progress: Progress = silent) -> None:
        self.target = target
        self.drawing = drawing or Drawing()
        self._on_progress = on_progress
        self._parts = {
            "queries": _drawn(target.test, self.drawing.queries, self.drawing.seed),
            "gallery": _drawn(target.train, self.drawing.gallery, self.drawing.seed),
        }
        self._read: dict[tuple[str, int, int], Pictures] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels; none where pictures have no labels."""
        return self.target.classes if self.target.source.labels is not None else ()

    @property
    def bad(self) -> tuple[BadItem, ...]:
        """Everything that could not be read so far."""
        return tuple({str(item): item for pictures in self._read.values() for item in pictures.bad}.values())

    def queries(self, how: Preprocessing) -> Pictures:
        return self._pictures("queries", how)

    def gallery(self, how: Preprocessing) -> Pictures:
        return self._pictures("gallery", how)

    def views(self, how: Preprocessing) -> Pictures:
        """Of the first A queries that can be read, V views each, one after another; they are as large as the network sees them.

        A view of a picture is the same crop with the same colours for every network, whatever size it asks for.
        """
        key = ("views", how.size, how.size)
        if key not in self._read:
            rows = self.queries(how).rows[: self.drawing.viewed]
            pixels = _views(self._parts["queries"], rows, how.size, self.drawing, self._on_progress)
            numbers = np.repeat(np.arange(len(rows)), self.drawing.views)
            self._read[key] = Pictures(
                pixels, np.arange(len(pixels)), np.full(len(pixels), -1, np.int64), tuple(map(str, numbers.tolist()))
            )
        return self._read[key]

    def _pictures(self, part: str, how: Preprocessing) -> Pictures:
        key = (part, how.size, how.resize)
        if key not in self._read:
            self._read[key] = read_pictures(self._parts[part], how, self._on_progress)
        return self._read[key]


def of_views(how: Preprocessing) -> Preprocessing:
    """The same without the centre crop, for views, which are cut already."""
    return replace(how, resize=how.size)


def _drawn(part: Part, count: int, seed: int) -> Part:
    """Some pictures in random order, the same for every network; the first of them are a fair sample too."""
    order = generator("exhibits", seed, len(part)).permutation(len(part))[:count]
    return Part(part.source, part.rows[order], part.name)


def _views(source: Source, rows: Rows, size: int, drawing: Drawing, on_progress: Progress) -> Pixels:
    """Uint8 [A * V, S, S, 3]."""
    made = np.empty((len(rows) * drawing.views, size, size, 3), np.uint8)
    for some in batches(len(rows), 32):
        crops, factors = [], []
        for row in rows[some].tolist():
            picture = source[row]["picture"]
            for number in range(drawing.views):
                rng = generator("exhibits view", drawing.seed, row, number)
                crops.append(random_crop(picture, size, rng, drawing.area))
                factors.append(drawing.colour.draw(rng))
        pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        changed = change_colours(pictures, torch.from_numpy(np.stack(factors)))
        done = slice(some.start * drawing.views, some.stop * drawing.views)
        made[done] = (changed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        on_progress("making views", some.stop, len(rows))
    return made


def open_pictures(root: str) -> Target:
    """Labelled data where a reader recognises it; any other folder of pictures without labels, divided in two by key.

    Raises:
        UserError: no such folder, or it holds fewer than 20 pictures.
    """
    for kind in discover.specs_for(folders(root)[0]):
        if issubclass(kind, TargetSpec):
            return kind(root=root).target()
    found = PictureFolder(root=root).open("all")
    if len(found) < 20:
        raise UserError(f"'{root}' holds {len(found)} pictures; give a folder of at least 20, because features are compared")
    files = [str(found[i]["picture"].path) for i in range(len(found))]
    source = LabelledPictures(found.name, files, found.recordings, bad=found.bad)
    order = generator("halves", len(files)).permutation(len(files))
    halves = Division(np.sort(order[: len(files) // 2]), np.sort(order[len(files) // 2 :]))
    return Target(folders(root)[0].resolve().name, source, (halves,), (), "no labels; divided in two halves at random")
