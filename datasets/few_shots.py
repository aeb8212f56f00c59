"""A few labelled pictures of each class to train on: for methods that learn from some labels beside much that has none.

Only pictures of the train part are drawn, and by the same draws as in the transfer protocols with few labels, so that what was
learned from and what a classifier is fitted on can be the very same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.source import Source, Split
from embodied_ssl.datasets.target import Part
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator


def draw_rows(labels: NDArray[np.int64], recordings: Sequence[str], shots: int, number: int) -> NDArray[np.intp]:
    """The rows of one draw: ``shots`` of each class, from different recordings as far as there are.

    Depends on the draw's number and the pictures of each class, not on the model; draws of more shots contain those of fewer.
    """
    rows = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = members[generator("low-shot", number, int(label)).permutation(len(members))]
        seen: dict[str, int] = {}
        turn = []
        for row in order:
            turn.append(seen.get(recordings[row], 0))
            seen[recordings[row]] = turn[-1] + 1
        rows.append(order[np.argsort(turn, kind="stable")][:shots])
    return np.sort(np.concatenate(rows))


@dataclass(frozen=True)
class FewShots(ClassFolder):
    """A folder of classes of which a few pictures each are for training; held out is its whole test part.

    Args:
        root, train, test: see `ClassFolder`.
        shots: pictures of each class.
        draw: which draw of them, from 0 on.
    """

    protocol: ClassVar[str] = "a folder of classes with only a few pictures of each to train on; read so only where asked for"
    root: str = ""
    shots: int = 6
    draw: int = 0

    def __post_init__(self) -> None:
        if self.shots < 1 or self.draw < 0:
            raise UserError(f"shots is {self.shots} and draw {self.draw}; give at least 1 shot, and a draw from 0 on")

    def open(self, split: Split = "all") -> Source:
        """``train`` is the draw, ``held_out`` the test part, ``all`` the one followed by the other.

        Raises:
            UserError: a class has fewer pictures for training than ``shots``; and as for `ClassFolder`.
        """
        target = self.target()
        if split == "held_out":
            return target.test
        part = target.train
        labels = np.array([part[row]["label"] for row in range(len(part))], np.int64)
        counts = np.bincount(labels, minlength=len(target.classes))
        if counts.min() < self.shots:
            scarce = target.classes[int(counts.argmin())]
            few = f"class '{scarce}' has {counts.min()} pictures for training, not {self.shots}"
            raise UserError(f"{few}; lower it with --set data.shots={counts.min()}, or add pictures")
        rows = part.rows[draw_rows(labels, part.recordings, self.shots, self.draw)]
        name = f"{target.name} train, {self.shots} of each of {len(target.classes)} classes (draw {self.draw})"
        if split == "all":
            return Part(target.source, np.concatenate([rows, target.test.rows]), f"{name}, and test")
        return Part(target.source, rows, name)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Never: such a folder is read as `ClassFolder` unless few pictures are asked for."""
        return False
