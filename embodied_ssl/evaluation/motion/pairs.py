"""Pairs of frames with the motion between them: the same for every network, drawn by key, fitted and judged on different drives.

Motion patterns are found on the training drives; where each part of the drives is left out in turn, on all of them, since found
anew for each part they would not be the same question (on donkeycar one part in three made a pattern of reversing). That looks
at motions alone: spaces, maps and strengths never see a drive they are judged on. Of each pattern, and of motions that are of
none, equally many pairs are drawn, so that figures speak of turning as much as of driving on.

Every frame is read once, the whole of it squeezed to the square that a network looks at: a centre crop would cut away the
sides, where turning shows most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.pictures import crop_and_resize
from embodied_ssl.datasets.motion import Axis
from embodied_ssl.datasets.source import DataSpec, Frames, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.motion.figures import blocks_of
from embodied_ssl.evaluation.motion.maps import Array, Whole, dealt
from embodied_ssl.evaluation.pictures import Pictures, Progress, silent
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns, find_patterns, gather_motions

NONE = -1  # the pattern of a motion that is of none
LEAST = 20  # pairs of a pattern, to fit a map on or to judge one by
AT_A_TIME = 32  # frames decoded together
SPLITS: tuple[Literal["train"], Literal["held_out"]] = ("train", "held_out")


@dataclass(frozen=True)
class Drawing:
    """What is asked.

    Args:
        clusters, keep: of k-means, and how many of the largest motions become patterns.
        pairs: of each pattern and of none, for fitting and for judging; all where there are fewer.
        folds: leave so many parts of the drives out in turn, so that every drive is judged on; 0 for the data's own division.
        samples: frames whose later ones are looked at, drawn evenly where there are more.
        dimensions: of the space maps act in.
        probe_dimensions: of the features that the motion is read from.
        seed: of everything drawn.
    """

    clusters: int = 6
    keep: int = 3
    pairs: int = 1000
    folds: int = 0
    samples: int = 20_000
    dimensions: int = 64
    probe_dimensions: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.keep <= self.clusters:
            raise UserError(f"keep is {self.keep} of {self.clusters} clusters; keep at least 2 and at most all")
        if min(self.pairs, self.samples) < 10 or min(self.dimensions, self.probe_dimensions) < 1:
            raise UserError(
                f"{self.pairs} pairs of {self.samples} samples in {self.dimensions} and {self.probe_dimensions} dimensions: "
                "need at least 10, 10, 1 and 1"
            )
        if self.folds == 1 or self.folds < 0:
            raise UserError(f"folds is {self.folds}; give 0 for the data's own division, or at least 2")


@dataclass(frozen=True)
class Pairs:
    """Some pairs; every field has one entry a pair [n].

    Attributes:
        first, second: the two frames, as rows of `Question.frames`.
        pattern: position in the fold's names, or -1.
        motion: [n, m].
        recording: each is from.
        seconds: into the recording, when it begins.
    """

    first: Whole
    second: Whole
    pattern: Whole
    motion: Array
    recording: tuple[str, ...]
    seconds: Array

    def __len__(self) -> int:
        return len(self.first)

    def part(self, chosen: NDArray[np.bool_]) -> Pairs:
        recording = tuple(name for name, keep in zip(self.recording, chosen, strict=True) if keep)
        first, second, pattern = (column[chosen] for column in (self.first, self.second, self.pattern))
        return Pairs(first, second, pattern, self.motion[chosen], recording, self.seconds[chosen])

    def renumbered(self, rows: Whole) -> Pairs:
        return replace(self, first=rows[self.first], second=rows[self.second])

    @property
    def blocks(self) -> list[str]:
        return blocks_of(self.recording, self.seconds)


class Fold(NamedTuple):
    """One division of the drives: pairs to fit on and pairs to judge on, of different recordings."""

    train: Pairs
    test: Pairs


class Frame:
    """One frame to be read: of which recording, its handle there, its number and its time."""

    __slots__ = ("frames", "number", "recording")

    def __init__(self, recording: str, frames: Frames, number: int) -> None:
        self.recording = recording
        self.frames = frames
        self.number = number

    @property
    def second(self) -> float:
        return float(self.frames.seconds[self.number])


@dataclass
class Question:
    """What all networks are asked.

    Attributes:
        folds: one, or as many as were wanted.
        patterns, names: of motions [G].
        frames: every frame of any pair, in the order of recordings and times.
        axes, unit: of the motions.
        name: of the data.
        note: how they were divided.
        bad: what could not be read so far.
    """

    folds: list[Fold]
    patterns: MotionPatterns
    names: tuple[str, ...]
    frames: list[Frame]
    axes: tuple[Axis, ...]
    unit: str
    name: str
    note: str
    bad: list[BadItem]
    _read: dict[int, Pictures] = field(default_factory=dict, repr=False)

    def pictures(self, size: int, on_progress: Progress = silent) -> Pictures:
        """Every readable frame squeezed to a square: uint8 [N, size, size, 3]; read once for all networks of one size."""
        if size not in self._read:
            self._read[size] = read_frames(self.frames, size, on_progress)
            known = {str(item) for item in self.bad}
            self.bad += [item for item in self._read[size].bad if str(item) not in known]
        return self._read[size]


def read_frames(frames: Sequence[Frame], size: int, on_progress: Progress = silent) -> Pictures:
    """Frames squeezed to squares; those that cannot be read are left out and named.

    Raises:
        UserError: not one can be read.
    """
    pixels = np.empty((len(frames), size, size, 3), np.uint8)
    good = np.ones(len(frames), bool)
    bad: list[BadItem] = []
    done = 0
    for start, stop in _stretches(frames):
        try:
            _squeeze(frames[start:stop], pixels[start:stop])
        except BadItem:
            for row in range(start, stop):
                try:
                    _squeeze(frames[row : row + 1], pixels[row : row + 1])
                except BadItem as item:
                    good[row] = False
                    bad.append(item)
        done += stop - start
        on_progress("reading frames", done, len(frames))
    if not good.any():
        raise UserError(f"not one frame can be read (the first: {bad[0]}); give other drives")
    rows = np.flatnonzero(good)
    recordings = tuple(frames[row].recording for row in rows.tolist())
    kept = pixels if good.all() else pixels[rows]
    return Pictures(kept, rows, np.full(len(rows), -1, np.int64), recordings, tuple(bad))


def _stretches(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Rows that can be decoded together: of one recording, at most `AT_A_TIME`."""
    found: list[tuple[int, int]] = []
    start = 0
    for row in range(1, len(frames) + 1):
        if row == len(frames) or row - start == AT_A_TIME or frames[row].recording != frames[start].recording:
            found.append((start, row))
            start = row
    return found


def _squeeze(frames: Sequence[Frame], into: NDArray[np.uint8]) -> None:
    taken = frames[0].frames.take([frame.number for frame in frames])
    for row, picture in zip(into, taken, strict=True):
        row[:] = crop_and_resize(picture, (0, 0, *picture.shape[:2]), row.shape[:2])


class _Side(NamedTuple):
    """One part of the data: samples of a source, by their places in it."""

    source: Source
    rows: NDArray[np.intp]


class _Motions(NamedTuple):
    """Every motion that samples offer, one a row: the sample's place in the source, which of its later frames, the motion [m]."""

    sample: Whole
    later: Whole
    motion: Array


def ask(spec: DataSpec, drawing: Drawing) -> Question:
    """Divide drives, find patterns, draw pairs. No pixel is read.

    Args:
        spec: data whose samples have motions.
        drawing: what is wanted.

    Raises:
        UserError: the data have no motions, too few drives to divide, or too few or too uniform motions.
    """
    whole = spec.open("all")
    if "motions" not in whole.provides:
        raise UserError(f"{whole.name} has no motions; give drives, whose readers are in `embodied-ssl list datasets`")
    sides, note = _divided(spec, whole, drawing.folds)
    patterns = _patterns(whole if drawing.folds else sides[0][0].source, drawing)
    frames: dict[tuple[str, int], Frame] = {}
    folds = [
        Fold(*(_drawn(side, patterns, drawing, (number, part), frames) for side, part in zip(both, SPLITS, strict=True)))
        for number, both in enumerate(sides)
    ]
    order = sorted(frames)
    place = {key: row for row, key in enumerate(order)}
    rows = np.array([place[key] for key in frames], np.int64)
    folds = [Fold(*(pairs.renumbered(rows) for pairs in fold)) for fold in folds]
    folds = _judgeable(folds, len(patterns.kept))
    found = [frames[key] for key in order]
    return Question(
        folds,
        patterns,
        tuple(patterns.names()),
        found,
        whole.motion_axes,
        whole.motion_unit,
        whole.name,
        note,
        list(whole.bad),
    )


def _divided(spec: DataSpec, whole: Source, folds: int) -> tuple[list[tuple[_Side, _Side]], str]:
    count = len(set(whole.recordings))
    if folds:
        if count < folds:
            raise UserError(f"{whole.name}: too few recordings for {folds} folds, none of which is divided; {_fewer(count)}")
        part = dealt(whole.recordings, folds)
        sides = [tuple(_Side(whole, np.flatnonzero(rows)) for rows in (part != fold, part == fold)) for fold in range(folds)]
        return [(train, test) for train, test in sides], f"{count} recordings in {folds} folds, each judged by maps of the others"
    train, test = (spec.open(split) for split in SPLITS)
    if not len(train) or not len(test):
        raise UserError(f"{whole.name}: nothing is left to fit on or to judge on, since no recording is divided; {_fewer(count)}")
    note = f"fitted on {len(set(train.recordings))} recordings, judged on the {len(set(test.recordings))} held out"
    return [(_Side(train, np.arange(len(train))), _Side(test, np.arange(len(test))))], note


def _fewer(count: int) -> str:
    return f"give --folds {count} or fewer" if count > 1 else "give more drives"


def _motions(side: _Side, drawing: Drawing, *key: int | str) -> _Motions:
    """What a fair sample of a part offers; samples that cannot be read are passed over here, since readers have named them."""
    chosen = generator("motion samples", drawing.seed, *key).permutation(side.rows)[: drawing.samples]
    samples, later, motions = [], [], []
    for index in np.sort(chosen).tolist():
        try:
            moved = side.source[index]["motions"]
        except BadItem:
            continue
        finite = np.flatnonzero(np.isfinite(moved).all(1))
        samples.append(np.full(len(finite), index))
        later.append(finite)
        motions.append(moved[finite])
    if not sum(map(len, motions)):
        raise UserError(
            f"{side.source.name}: no two frames lie within the horizon; see what was left out with embodied-ssl inspect"
        )
    return _Motions(np.concatenate(samples), np.concatenate(later), np.concatenate(motions))


def _patterns(source: Source, drawing: Drawing) -> MotionPatterns:
    """k-means on motions of all samples, mirrored where it is known what a mirror does."""
    rng = generator("motion patterns", drawing.seed)
    mirrored = all(axis.mirror for axis in source.motion_axes)
    motions = gather_motions(source, rng)
    try:
        return find_patterns(motions, drawing.clusters, drawing.keep, mirrored, rng, source.motion_axes, source.motion_unit)
    except UserError as refusal:
        raise UserError(str(refusal).replace("method.clusters", "drawing.clusters")) from None


def _drawn(
    side: _Side,
    patterns: MotionPatterns,
    drawing: Drawing,
    key: tuple[int, str],
    frames: dict[tuple[str, int], Frame],
) -> Pairs:
    """Pairs of every pattern and of none, each beginning at another frame; frames that are new are added to ``frames``."""
    offered = _motions(side, drawing, *key)
    of = patterns.of(offered.motion)
    chosen = []
    for pattern in range(NONE, len(patterns.kept)):
        rng = generator("motion pairs", drawing.seed, *key, pattern)
        rows = rng.permutation(np.flatnonzero(of == pattern))  # the first of each sample is any of its motions
        _, first = np.unique(offered.sample[rows], return_index=True)
        chosen.append(rows[np.sort(first)[: drawing.pairs]])
    rows = np.concatenate(chosen)
    ends, recordings, seconds = [], [], []
    for row in rows.tolist():
        sample, index = side.source[int(offered.sample[row])], int(offered.sample[row])
        name, handle = side.source.recordings[index], sample["frames"]
        pair = (int(sample["frame"]), int(sample["later"][offered.later[row]]))
        for frame in pair:
            frames.setdefault((name, frame), Frame(name, handle, frame))
        ends.append([(name, frame) for frame in pair])
        recordings.append(name)
        seconds.append(float(handle.seconds[pair[0]]))
    place = {where: row for row, where in enumerate(frames)}
    first, second = (np.array([place[both[end]] for both in ends], np.int64) for end in (0, 1))
    return Pairs(first, second, of[rows], offered.motion[rows], tuple(recordings), np.array(seconds))


def _judgeable(folds: list[Fold], patterns: int) -> list[Fold]:
    """Pairs that cannot be judged count as of no pattern: those of a fold without a map, and of a pattern with too few in all.

    A pattern of five pairs would otherwise weigh as much as one of a thousand.
    """
    judged = []
    for fold in folds:
        fitted = np.append(np.bincount(fold.train.pattern + 1, minlength=patterns + 1)[1:] >= LEAST, False)  # the last is none's
        judged.append(np.where(fitted[fold.test.pattern], fold.test.pattern, NONE))
    enough = np.append(np.bincount(np.concatenate(judged) + 1, minlength=patterns + 1)[1:] >= LEAST, False)
    kept = [np.where(enough[pattern], pattern, NONE) for pattern in judged]
    return [fold._replace(test=replace(fold.test, pattern=pattern)) for fold, pattern in zip(folds, kept, strict=True)]
