"""What a data set must offer: samples of named fields, the heavy ones as lazy handles.

A *source* is an indexable collection of samples; a *sample* is a dict of the fields below. Pixels are not read until
a handle's ``take`` is called, so metadata (sizes, times, motions) can be scanned by the thousand. Nothing here needs torch.

| field | type | meaning |
|---|---|---|
| ``index`` | int | position in the source |
| ``picture`` | Picture | one still |
| ``label`` | int | class, for evaluation only; -1 where it is not told |
| ``tags`` | int8 [C] | 1 for every class that it shows, for evaluation only |
| ``verb``, ``noun`` | int | the classes that make up an action, for evaluation only |
| ``frames`` | Frames | one video, or one drive's camera |
| ``frame`` | int | where in ``frames`` this sample stands |
| ``later`` | int64 [h] | frames after ``frame``, at most the horizon away |
| ``motions`` | float64 [h, m] | motion from ``frame`` to each of ``later`` along ``motion_axes``, in ``motion_unit`` |
| ``seconds`` | float64 [h] | time from ``frame`` to each of ``later`` |
| ``action`` | float32 [n, A] | what a robot was told to do at each of ``frames``, in the data set's own units |
| ``state`` | float32 [n, S] | how its joints stood at each of ``frames``, in the data set's own units |
| ``before``, ``after`` | Picture | the scene around one interaction |
| ``task`` | int | 0 grasp, 1 push, 2 poke, 3 observe |
| ``grasp`` | float32 [4] | row, column (pixels of ``before``), angle bin 0..17, success 0 / 1; else zeros |
| ``push`` | float32 [5] | start row, column, end row, column (pixels of ``before``), height in metres; else zeros |
| ``poke`` | float32 [4] | row, column (pixels of ``before``), slope in N/mm, intercept in N; else zeros |
| ``observe`` | float32 [5] | row, column in ``before``, row, column in ``after``, radians the camera went around; else zeros |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.motion import Axis
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import digest

Sample = dict[str, Any]
Split = Literal["all", "train", "held_out"]
Box = tuple[int, int, int, int]  # top, left, height, width, in pixels
Pixels = NDArray[np.uint8]


class Picture(Protocol):
    """A still that is read when pixels are asked for. Reading raises `BadItem` when it cannot."""

    @property
    def name(self) -> str:
        """As the user knows it: usually the path."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        """The part inside ``box``, resized to ``size`` (height, width): uint8 RGB [h, w, 3], anti-aliased."""


class Frames(Protocol):
    """A video that is decoded when frames are asked for. Decoding raises `BadItem` when it cannot."""

    @property
    def name(self) -> str:
        """As the user knows it: usually the path."""

    def __len__(self) -> int:
        """How many frames can be shown."""

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Presentation time of every frame [n]."""

    @property
    def motion(self) -> NDArray[np.float32]:
        """How much moved since the frame before [n]: their mean difference in grey levels 0..255, or mean optical flow in pixels.

        The first frame of every shot has 0.
        """

    @property
    def shots(self) -> NDArray[np.int64]:
        """Which uncut shot each frame is of [n]: 0, and one more after every cut."""

    @property
    def content(self) -> Box:
        """The part of every frame inside black bars and burnt-in borders, in pixels of what `take` gives."""

    def take(self, indices: Sequence[int]) -> Pixels:
        """Exactly these frames: uint8 RGB [n, H, W, 3]; a neighbour is never returned in a frame's place."""


class Source(ABC):
    """An indexable data set. Splits are made by recording, never by frame.

    Attributes:
        name: one line for people.
        provides: the fields that every sample has.
        recordings: for each sample, the recording it is from (drive, video, object set).
        motion_unit: what ``motions`` are in, or "" where there are none.
        motion_axes: what their m numbers are.
        bad: items left out when opening, with the reason.
    """

    name: str
    provides: frozenset[str]
    recordings: Sequence[str]
    motion_unit: str = ""
    motion_axes: tuple[Axis, ...] = ()
    bad: list[BadItem]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...


class DataSpec(ABC):
    """A frozen description of a data set; it opens nothing until `open` is called.

    Subclasses are frozen dataclasses whose first field is ``root``: one folder, or several joined by commas.
    """

    protocol: ClassVar[str] = ""  # what `embodied-ssl list datasets` shows
    root: str

    @abstractmethod
    def open(self, split: Split = "all") -> Source:
        """Open it.

        Raises:
            UserError: the root is missing, empty, unreadable or in another layout; says which and what is accepted.
        """

    @classmethod
    @abstractmethod
    def tiny(cls, folder: Path) -> Self:
        """Write a tiny data set in this layout into ``folder`` (made if absent): the layout, in code, for tests and examples."""

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether this folder looks like this layout; used by ``embodied-ssl inspect`` and for data given by path alone."""
        return False


def folders(root: str) -> list[Path]:
    """The folders named by a root: comma-separated, each of which must exist and be readable.

    Raises:
        UserError: no root, or one that is not a folder.
    """
    names = [part.strip() for part in root.split(",") if part.strip()]
    if not names:
        raise UserError("no data folder was given; set it with --set data.root=FOLDER (of several tasks: data.TASK.root=FOLDER)")
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if not path.exists():
            raise UserError(f"data folder '{path}' does not exist; give one that does")
        if not path.is_dir():
            raise UserError(f"'{path}' is a file, not a folder; give the folder that holds the data")
        try:
            next(path.iterdir(), None)
        except OSError as error:
            raise UserError(f"data folder '{path}' cannot be read ({error.strerror}); check its permissions") from None
    return paths


def held_out(sizes: Mapping[str, int], fraction: float = 0.1) -> frozenset[str]:
    """Choose the recordings to hold out: the same ones for every seed, machine and file order.

    Recordings are ranked by a hash of their names and taken until they hold at least ``fraction`` of all samples;
    one that would bring the held-out part above half is passed over. A single recording cannot be split: nothing is held out.

    Args:
        sizes: samples in each recording, by name.
        fraction: the least share of samples to hold out.
    """
    total = sum(sizes.values())
    chosen: set[str] = set()
    taken = 0
    for name in sorted(sizes, key=lambda name: (digest("held out", name), name)):
        if taken >= fraction * total:
            break
        if taken + sizes[name] <= total / 2:
            chosen.add(name)
            taken += sizes[name]
    return frozenset(chosen)


def in_split(recordings: Sequence[str], split: Split, fraction: float = 0.1) -> list[int]:
    """Which samples belong to a split, given each sample's recording; ``train`` and ``held_out`` share no recording."""
    if split == "all":
        return list(range(len(recordings)))
    sizes: dict[str, int] = {}
    for name in recordings:
        sizes[name] = sizes.get(name, 0) + 1
    out = held_out(sizes, fraction)
    return [i for i, name in enumerate(recordings) if (name in out) == (split == "held_out")]
