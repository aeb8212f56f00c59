"""What protocols on every pixel share: whole pictures with answers, a frozen network's maps of them, pixels drawn from both.

A head works on the cells of a map, and its answers are interpolated to pixels; for a linear head that is the same as
interpolating the features, and a hundred times cheaper. Train maps are computed once and held in half precision.
Legend: N pictures, B of them at a time, C channels, K answers at a place, h w cells of a map, H W pixels, P points of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.datasets.source import Pixels, in_split
from embodied_ssl.datasets.target import Rows
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.features import frozen
from embodied_ssl.evaluation.pictures import READERS, batches, named
from embodied_ssl.evaluation.protocol import Job
from embodied_ssl.keys import generator

FOLD_SHARE = 0.2  # of the train pictures: the fold by which everything is chosen
Size = tuple[int, int]  # height and width
Complaint = Callable[[NDArray[Any]], str]  # why a picture's answers cannot serve; empty when they can


class Batch(NamedTuple):
    """Some pictures with their answers.

    Attributes:
        rows: of the source.
        pixels: uint8 [B, H, W, 3].
        truths: B arrays, the answer at every pixel; each of its own size, unless reading gave them one.
    """

    rows: Rows
    pixels: Pixels
    truths: list[NDArray[Any]]


@dataclass(frozen=True)
class TrainMaps:
    """What a frozen network makes of the train part.

    Attributes:
        maps: stage -> half [N, C, h, w], shallow to deep, in memory.
        truth: [N, H, W], the answers at the size that the network sees.
        recordings: of each picture.
        bad: pictures left out.
    """

    maps: dict[str, Tensor]
    truth: NDArray[Any]
    recordings: tuple[str, ...]
    bad: tuple[BadItem, ...]

    @property
    def last(self) -> str:
        return next(reversed(self.maps))


@dataclass(frozen=True)
class DenseReader:
    """How pictures and the answers at their pixels are read.

    Args:
        job: whose pictures.
        answer: ``mask`` or ``depth``.
        size: what the network sees: the whole picture, stretched where its shape is another.
        cells: of a map at most; finer ones are averaged down, so that early stages cost no more than others.
        complaint: says why a picture's answers cannot serve.
    """

    job: Job
    answer: str
    size: Size
    cells: int
    complaint: Complaint

    def batches(self, rows: Rows, bad: list[BadItem], full: bool, count: int = 16) -> Iterator[Batch]:
        """The readable pictures among ``rows`` in their order, ``count`` at a time; the others are added to ``bad``.

        Args:
            rows: of the source.
            bad: grows.
            full: give the answers at every pixel of the original instead of at `size`.
            count: pictures at a time.
        """

        def one(row: int) -> tuple[int, Pixels, NDArray[Any]] | BadItem:
            try:
                return row, *self._read(row, full)
            except BadItem as error:
                return error

        with ThreadPoolExecutor(READERS) as pool:
            for some in batches(len(rows), count):
                found = list(pool.map(one, rows[some].tolist()))
                bad += [item for item in found if isinstance(item, BadItem)]
                good = [item for item in found if not isinstance(item, BadItem)]
                if good:
                    numbers, pixels, truths = zip(*good, strict=True)
                    yield Batch(np.asarray(numbers, np.intp), np.stack(pixels), list(truths))

    def _read(self, row: int, full: bool) -> tuple[Pixels, NDArray[Any]]:
        sample = self.job.target.source[row]
        picture, plane = sample["picture"], sample[self.answer]
        whole = (0, 0, *plane.size)
        if picture.size != plane.size:
            name = self.job.target.source.file_name(row)
            raise BadItem(name, f"is {picture.size} pixels (height, width), but its {self.answer} {plane.size}")
        truth = plane.take(whole, plane.size if full else self.size)
        complaint = self.complaint(truth)
        if complaint:
            raise BadItem(self.job.target.source.file_name(row), f"its {self.answer} {complaint}")
        return picture.take(whole, self.size), truth

    def stages(self, network: Backbone, pixels: Pixels) -> dict[str, Tensor]:
        """Every stage's map of uint8 [B, H, W, 3], in eval mode and without gradients: float [B, C, h, w] on the device."""
        with frozen(network):
            x = self.job.preprocessing.render(torch.from_numpy(pixels).to(self.job.device), network.channels)
            maps = network(x.contiguous(memory_format=torch.channels_last)).maps
            return {stage: coarser(values.float(), self.cells) for stage, values in maps.items()}

    def train_maps(self, network: Backbone) -> TrainMaps:
        """The maps of all stages for the train part.

        Raises:
            UserError: fewer than two pictures can be read, or a map has values that are no numbers.
        """
        chunks: dict[str, list[Tensor]] = {}
        truths: list[NDArray[Any]] = []
        rows: list[int] = []
        bad: list[BadItem] = []
        total = len(self.job.division.train)
        for batch in self.batches(self.job.division.train, bad, full=False):
            for stage, values in self.stages(network, batch.pixels).items():
                chunks.setdefault(stage, []).append(self._half(stage, values))
            truths += batch.truths
            rows += batch.rows.tolist()
            self.job.on_progress(f"maps of {self.job.model}", len(rows) + len(bad), total)
        if len(rows) < 2:
            reason = f" (the first: {bad[0]})" if bad else ""
            raise UserError(
                f"{len(rows)} of {total} train pictures of {self.job.target.name} can be used{reason}; give at least 2"
            )
        recordings = tuple(self.job.target.source.recordings[row] for row in rows)
        maps = {stage: torch.cat(chunks.pop(stage)) for stage in tuple(chunks)}  # stage by stage, never all of them twice
        return TrainMaps(maps, np.stack(truths), recordings, tuple(bad))

    def _half(self, stage: str, values: Tensor) -> Tensor:
        kept = values.half().cpu()
        if not torch.isfinite(kept).all():
            raise UserError(
                f"the maps of '{self.job.model}' at {stage} are no numbers, or above 65504: the weights collapsed or diverged; "
                "train again with a lower rate, or evaluate an earlier checkpoint"
            )
        return kept

    def skipped(self, train: Sequence[BadItem], test: Sequence[BadItem]) -> dict[str, Any]:
        """What could not be read, for a score's settings."""
        return {"train": named(train), "test": named(test)}


def coarser(maps: Tensor, cells: int) -> Tensor:
    """Float [B, C, h, w] with both sides divided by the least whole number that leaves at most ``cells`` places; averages."""
    height, width = maps.shape[2:]
    factor = 1
    while math.ceil(height / factor) * math.ceil(width / factor) > max(cells, 1):
        factor += 1
    return F.adaptive_avg_pool2d(maps, (math.ceil(height / factor), math.ceil(width / factor))) if factor > 1 else maps


def draw_points(pictures: int, count: int, size: Size, *key: int | str) -> NDArray[np.intp]:
    """Pixels of pictures, drawn with replacement from all of them alike: row and column [B, P, 2]. Depends on the key alone."""
    return generator("points", *key).integers(0, np.asarray(size), (pictures, count, 2)).astype(np.intp)


def at_points(maps: Tensor, points: NDArray[np.intp], size: Size) -> Tensor:
    """Maps at pixels, as if interpolated to ``size`` first: float [B, C, h, w] and [B, P, 2] to [B, P, C].

    Bilinear between the centres of cells, as ``F.interpolate(align_corners=False)``.
    """
    places = (points[..., ::-1] + 0.5) / np.asarray(size[::-1]) * 2 - 1  # x, y: -1..1 from edge to edge
    grid = torch.from_numpy(places.astype(np.float32)).to(maps.device)[:, :, None]
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)


def truth_at(truth: NDArray[Any], points: NDArray[np.intp]) -> NDArray[Any]:
    """Answers at pixels: [B, H, W] and [B, P, 2] to [B, P]."""
    return truth[np.arange(len(truth))[:, None], points[..., 0], points[..., 1]]


def to_pixels(answers: Tensor, size: Size) -> Tensor:
    """A head's answers at every pixel: float [B, K, h, w] to [B, K, H, W], bilinear."""
    return F.interpolate(answers, size, mode="bilinear", align_corners=False)


def inner_fold(recordings: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp], str]:
    """Train rows to fit on and to choose by, and how they were divided: by recording.

    All of one recording: its last fifth, so that frames beside each other stay on one side.
    """
    fit, fold = (np.asarray(in_split(recordings, split, FOLD_SHARE), np.intp) for split in ("train", "held_out"))
    if len(fold):
        whole = len({recordings[row] for row in fold})
        return fit, fold, f"{whole} of {len(set(recordings))} recordings of the train part, {len(fold)} pictures"
    cut = len(recordings) - max(1, round(FOLD_SHARE * len(recordings)))
    rows = np.arange(len(recordings), dtype=np.intp)
    return rows[:cut], rows[cut:], f"the last {len(rows) - cut} pictures of the train part, which is one recording"


def interval_covers(recordings: Sequence[str]) -> str:
    """What an interval over test pictures says, and how many recordings these are of."""
    few = len(set(recordings))
    which = f", which are of {few} recording{'s' if few > 1 else ''} only" if few < len(recordings) else ""
    return f"bootstrap over test pictures{which}"
