"""Ego-motion classification: look at two frames and say how the camera moved from one to the other.

One network sees both frames; what it gives is joined, and a small one on top answers for every axis of the motion in which
bin it lies. To answer, a network must find the same things again in both frames.

Agrawal, Carreira and Malik 2015 (Learning to See by Moving), arXiv:1505.01596, on KITTI odometry: axes left, forward and
left_yaw (their X, Z and yaw), 20 bins of equal width and one more at either end, a softmax an axis, gaps of up to 7 frames.
``join="maps"`` joins the last maps, as theirs, under two convolutions (how wide theirs are was not found; BatchNorm is ours);
``"vectors"`` joins the vectors, from which places are averaged out: much less is learned. Different, and why:
- Motions are those of the first camera, `inv(T_i) @ T_j` (their program subtracts positions in the frame of the sequence's
  start, so that the same drive has another answer for every heading).
- Bins are made of training drives' motions only, as drawn (theirs: of all sequences, the test ones too).
- Pairs run forward in time, over 1 to ``gap`` frames, and only those that are there are drawn (theirs run both ways from 0
  frames on, clipped to the sequence).
- Half of the pairs are mirrored, and their motions with them.

Legend: B pairs, m axes, K = ``bins`` + 2 answers an axis, D features, S pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.core import Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Frames, Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.methods.embodied.motion_patterns import mirror_signs
from embodied_ssl.methods.embodied.pairs import COLOURS, GREY_OR_COLOUR, take_together, together_input
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.crops import check_crop
from embodied_ssl.views.marks import RIGHT, WRONG, framed
from embodied_ssl.views.pixels import unnormalise

Motions = NDArray[np.float64]  # [n, m], in the source's motion unit
DARK = (0.2, 0.2, 0.2)
LOOKED_AT = 5000  # motions from which the bins are made


@dataclass(frozen=True)
class EgoMotionClassificationConfig:
    """Pairs, bins and the network on top.

    Args:
        size: side of the pictures in pixels; whole frames are squeezed to it.
        axes: m, of the data's motions.
        bins: of equal width for each axis; beyond them there is one more at either end.
        reach: the bins span so many standard deviations on either side of the mean.
        gap: greatest distance of the two frames, in frames; 0 for all within the data's horizon.
        join: what of the two frames is joined, ``vectors`` or the last ``maps``.
        hidden: width of the layer before the answers.
        dropout: share of it that is left out in training.
        flip: mirror half of the pairs.
        area: least and greatest share of the frame that the common crop covers; ``1,1`` is the whole frame.
        colour: how the colours of an example change, alike in both frames.
    """

    size: int = 96
    axes: int = 2
    bins: int = 20
    reach: float = 3.0
    gap: int = 0
    join: Literal["vectors", "maps"] = "maps"
    hidden: int = 500
    dropout: float = 0.5
    flip: bool = True
    area: tuple[float, float] = (0.8, 1.0)
    colour: ColourChange = COLOURS

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.axes < 1 or self.bins < 1 or self.gap < 0 or self.reach <= 0:
            given = f"axes {self.axes}, bins {self.bins}, gap {self.gap}, reach {self.reach}"
            raise UserError(f"{given}: give at least 1 axis and 1 bin, a gap of at least 0 and a reach above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}; give a share of 0 to below 1")

    def build(self, backbone: Backbone) -> EgoMotionClassification:
        answers = self.axes * (self.bins + 2)
        top: nn.Module
        if self.join == "maps":
            top = OnMaps(backbone, self.size, self.hidden, self.dropout, answers)
        else:
            top = OnVectors(backbone.width, self.hidden, self.dropout, answers)
        return EgoMotionClassification(self, top, backbone.channels)


class OnVectors(nn.Module):
    """Two vectors [B, D] each, joined, to answers."""

    def __init__(self, width: int, hidden: int, dropout: float, answers: int) -> None:
        super().__init__()
        self.layers = _answering(2 * width, hidden, dropout, answers)

    def forward(self, before: Features, after: Features) -> Tensor:
        found: Tensor = self.layers(torch.cat([before.vector, after.vector], dim=1))
        return found


class OnMaps(nn.Module):
    """The last maps of two pictures, joined, through two convolutions to answers: what moved where is still to be seen."""

    def __init__(self, backbone: Backbone, size: int, hidden: int, dropout: float, answers: int) -> None:
        super().__init__()
        if not backbone.has_maps:
            raise UserError(f"{backbone.name} gives no spatial maps; choose another network, or set --set method.join=vectors")
        self.stage = backbone.stages[-1]
        depth, height, width = last_map(backbone, size)
        self.look = nn.Sequential(
            nn.Conv2d(2 * depth, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 128, 3, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        self.layers = _answering(128 * height * width, hidden, dropout, answers)

    def forward(self, before: Features, after: Features) -> Tensor:
        found: Tensor = self.layers(self.look(torch.cat([before.maps[self.stage], after.maps[self.stage]], dim=1)))
        return found


def _answering(width: int, hidden: int, dropout: float, answers: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, answers))


def last_map(backbone: Backbone, size: int) -> tuple[int, int, int]:
    """Channels, height and width of the last map of a ``size``-pixel picture."""
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        shape = backbone(torch.zeros(1, backbone.channels, size, size)).maps[backbone.stages[-1]].shape
    backbone.train(training)
    return int(shape[1]), int(shape[2]), int(shape[3])


@dataclass(frozen=True)
class MotionBins:
    """Bins of equal width on every axis, and one more at either end.

    Args:
        mean, deviation: of training motions [m].
        bins: their number.
        reach: standard deviations that they span on either side of the mean.
    """

    mean: Motions
    deviation: Motions
    bins: int
    reach: float

    def of(self, motions: Motions) -> NDArray[np.int64]:
        """The bin of each number of motions [..., m]: 0 below all bins, 1 to ``bins``, and ``bins`` + 1 above."""
        edges = np.linspace(-self.reach, self.reach, self.bins + 1)
        found: NDArray[np.int64] = np.searchsorted(edges, (motions - self.mean) / self.deviation, side="right")
        return found


@dataclass(frozen=True)
class BinnedPair(View):
    """Two frames through one crop, uint8 [S, S, 3] each, with the pair's motion [m] and its bins [m]."""

    size: int
    bins: MotionBins
    gap: int
    mirror: tuple[int, ...]  # what a mirror makes of each axis; empty where pairs are not mirrored
    area: tuple[float, float]
    channels: int = 3
    colour: ColourChange = COLOURS
    names: tuple[str, ...] = ()  # of the axes, for captions

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        frames: Frames = sample["frames"]
        usable = known(sample["motions"], self.gap)
        if len(usable) == 0:
            why = "no later frame with a known motion" if len(sample["later"]) else "no later frame within the horizon"
            raise BadItem(f"{frames.name} frame {sample['frame']}", why)
        mirrored = bool(self.mirror) and bool(rng.random() < 0.5)
        chosen = int(rng.choice(usable))
        motion = sample["motions"][chosen] * (np.array(self.mirror) if mirrored else 1)
        pair = take_together(frames, [int(sample["frame"]), int(sample["later"][chosen])], self.size, self.area, mirrored, rng)
        moved = {"motion": motion.astype(np.float32), "bin": self.bins.of(motion)}
        return {"before": pair[0], "after": pair[1], "colours": self.colour.draw(rng), **moved}

    def render(self, batch: Batch) -> Batch:
        both = together_input(torch.stack([batch["before"], batch["after"]], dim=1), batch["colours"], self.channels)
        return {**batch, "before": both[:, 0], "after": both[:, 1]}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        moved = "; ".join(" ".join(f"{value:+.2g}" for value in row) for row in batch["motion"].tolist())
        caption = f"after, {' '.join(self.names)}: {moved}"
        return [("before", unnormalise(batch["before"])), (caption, unnormalise(batch["after"]))]


def known(motions: Motions, gap: int) -> NDArray[np.intp]:
    """Which of the first ``gap`` motions [h, m] (of all when it is 0) are finite."""
    return np.flatnonzero(np.isfinite(motions[: gap or None]).all(axis=1))


class EgoMotionClassification(Method):
    """The sum over axes of each one's cross-entropy: m log K when the network does not know."""

    needs = frozenset({"frames", "frame", "later", "motions"})
    asks = GREY_OR_COLOUR
    mean: Tensor
    deviation: Tensor
    mirror: Tensor
    named: Tensor

    def __init__(self, config: EgoMotionClassificationConfig, top: nn.Module, channels: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.top = top
        self.register_buffer("mean", torch.zeros(config.axes, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(config.axes, dtype=torch.float64))
        self.register_buffer("mirror", torch.zeros(config.axes, dtype=torch.int64))
        self.register_buffer("named", torch.zeros(0, dtype=torch.uint8))  # the axes' names, so that checkpoints hold them
        self.motion_unit = ""
        self.wrap: Callable[[View], View] = lambda view: view

    @property
    def names(self) -> list[str]:
        """Of the axes; numbers before `fit`."""
        known = bytes(self.named.tolist()).decode()
        return known.split("\n") if known else [str(axis) for axis in range(self.config.axes)]

    @property
    def bins(self) -> MotionBins:
        """What `fit` found, from the buffers."""
        return MotionBins(self.mean.cpu().numpy(), self.deviation.cpu().numpy(), self.config.bins, self.config.reach)

    @property
    def view(self) -> View:  # type: ignore[override]
        config = self.config
        mirror = tuple(self.mirror.tolist()) if config.flip else ()
        size, gap, area, names = config.size, config.gap, config.area, tuple(self.names)
        return self.wrap(BinnedPair(size, self.bins, gap, mirror, area, self.channels, config.colour, names))

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Make the bins from motions of the training drives; mirrored ones too where pairs are mirrored.

        Raises:
            UserError: another number of axes than configured, one whose mirror image is not known, one along which nothing moves.
        """
        axes = source.motion_axes
        names = [axis.name for axis in axes]
        if len(axes) != self.config.axes:
            raise UserError(f"{source.name} has motions along {', '.join(names) or 'no axis'}; set --set method.axes={len(axes)}")
        mirror = mirror_signs(axes) if self.config.flip else np.ones(len(axes))
        motions = gather(source, self.config.gap, rng)
        both = np.concatenate([motions, motions * mirror]) if self.config.flip else motions
        still = [name for name, deviation in zip(names, both.std(0), strict=True) if deviation <= 0]
        if still:
            raise UserError(f"in {source.name} nothing moves along {', '.join(still)}; leave that out with --set data.axes=")
        self.mean, self.deviation = torch.from_numpy(both.mean(0)), torch.from_numpy(both.std(0))
        self.mirror = torch.from_numpy(mirror).long()
        self.named = torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)
        self.motion_unit = source.motion_unit

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        both = backbone(torch.cat([batch["before"], batch["after"]]))  # one pass: BatchNorm sees both together
        before, after = (Features(dict(zip(both.maps, part[1:], strict=True)), part[0]) for part in _halves(both))
        truth = batch["bin"]
        logits = self.top(before, after).float().view(len(truth), self.config.axes, -1)  # [B, m, K]
        loss = F.cross_entropy(logits.flatten(0, 1), truth.flatten()) * self.config.axes
        guess = logits.argmax(2)
        right = (guess == truth).float().mean().detach()
        answers = {"bin": truth, "guess": guess}
        if not self.training:  # BatchNorm would learn from it
            answers["guess_unmoved"] = self.top(after, after).float().view_as(logits).argmax(2)
        return Step(loss, {"accuracy": right}, answers=answers)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """For each axis the recall averaged over the bins met, and the share of answers at most one bin off.

        Chance is one over the number of bins met, and the best that always answering one and the same bin achieves.
        ``balanced_accuracy_unmoved`` is the control: the same with the second frame in the place of both. As far as it is above
        chance, the answer was read from where the camera is, not from how it moved.
        """
        truth, guess, unmoved = (answers[name].long() for name in ("bin", "guess", "guess_unmoved"))
        found: dict[str, float] = {}
        for axis, name in enumerate(self.names):
            true, said = truth[:, axis], guess[:, axis]
            counts = F.pad(torch.bincount(true, minlength=self.config.bins + 2), (1, 1)).double()
            around = (counts[:-2] + counts[1:-1] + counts[2:]) / len(true)
            found |= {
                f"{name}_balanced_accuracy": recall_of(said, true),
                f"chance_{name}_balanced_accuracy": 1 / len(true.unique()),
                f"{name}_balanced_accuracy_unmoved": recall_of(unmoved[:, axis], true),
                f"chance_{name}_balanced_accuracy_unmoved": 1 / len(true.unique()),
                f"{name}_within_one_bin": float(((said - true).abs() <= 1).double().mean()),
                f"chance_{name}_within_one_bin": float(around.max()),
            }
        return found

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Both frames, and below them a strip of bins for each axis, on which what is true and what is answered are marked."""
        truth, guess = batch["bin"], step.answers["guess"]
        right = ((truth - guess).abs() <= 1).all(1)
        strips = strips_of(truth, guess, self.config.bins + 2, batch["before"].shape[-1])
        within = "at most one bin off along every axis" if len(self.names) > 1 else "at most one bin off"
        marks = f"{', '.join(self.names)}, one strip each; dark: the true bin, below it green or red: what is answered"
        return [
            ("before", unnormalise(batch["before"])),
            (
                f"after; {int(right.sum())} of {len(right)} motions are answered {within}",
                framed(unnormalise(batch["after"]), right),
            ),
            (marks, strips),
        ]

    def describe(self) -> dict[str, object]:
        width = 2 * self.config.reach * self.deviation / self.config.bins
        columns = (self.names, self.mean.tolist(), self.deviation.tolist(), width.tolist())
        rows = [{"name": n, "mean": m, "deviation": d, "bin_width": w} for n, m, d, w in zip(*columns, strict=True)]
        return {"motion_unit": self.motion_unit, "axes": rows}


def strips_of(truth: Tensor, guess: Tensor, bins: int, side: int) -> Tensor:
    """For each example a picture [B, 3, side, side] of one strip an axis: its bins from left to right, the lowest first.

    The upper half of a strip is dark at the true bin, the lower half green at the answered one: red if more than one off.

    Args:
        truth, guess: int64 [B, m] of 0 to ``bins`` - 1.
        bins: how many there are.
        side: of the pictures in pixels.
    """
    pictures = torch.full((len(truth), 3, side, side), 0.94, device=truth.device)
    tall = side // truth.shape[1]
    for row, axis in itertools.product(range(len(truth)), range(truth.shape[1])):
        true, said = int(truth[row, axis]), int(guess[row, axis])
        top = axis * tall + 1
        for place, colour, start in ((true, DARK, top), (said, RIGHT if abs(true - said) <= 1 else WRONG, top + tall // 2 - 1)):
            left, right = place * side // bins, max((place + 1) * side // bins, place * side // bins + 2)
            pictures[row, :, start : start + tall // 2 - 1, left:right] = pictures.new_tensor(colour)[:, None, None]
        pictures[row, :, top + tall - 2 : top + tall - 1] = 0.75  # a line between strips
    return pictures


def recall_of(said: Tensor, true: Tensor) -> float:
    """The share of right answers [N] of each bin met, averaged over these bins."""
    return float(torch.stack([(said[true == one] == one).float().mean() for one in true.unique()]).mean())


def _halves(both: Features) -> tuple[list[Tensor], list[Tensor]]:
    """The vector and maps of the first and of the second half of a batch."""
    parts = [value.chunk(2) for value in (both.vector, *both.maps.values())]
    return [part[0] for part in parts], [part[1] for part in parts]


def gather(source: Source, gap: int, rng: np.random.Generator) -> Motions:
    """One motion from each of many samples [n, m], as the view draws them; no pixel is read.

    Raises:
        UserError: the source has no motions.
    """
    found = []
    for index in rng.permutation(len(source))[:LOOKED_AT]:
        try:
            motions = source[int(index)]["motions"]
        except BadItem:
            continue
        usable = known(motions, gap)
        if len(usable):
            found.append(motions[int(rng.choice(usable))])
    if not found:
        raise UserError(f"{source.name} holds no two frames within the horizon; see what was left out with embodied-ssl inspect")
    return np.array(found)
