"""Pictures of which few have a label that is told: for methods that learn from labels and from agreement at once.

The few are those of `FewShots`; all other pictures of the train part come without their labels (-1). The few are repeated until
they make up a stated share of the samples: of 15 classes of 100, 6 of each would be 6 in 100, and most batches without any of a
class. Held out is the whole test part, with its labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from embodied_ssl.datasets.few_shots import FewShots
from embodied_ssl.datasets.source import Sample, Source, Split
from embodied_ssl.datasets.target import Part, Rows
from embodied_ssl.errors import UserError

UNTOLD = -1


class PartlyTold(Part):
    """Some rows of a source, of which the first ``told`` keep their labels."""

    def __init__(self, source: Source, rows: Rows, told: int, name: str) -> None:
        super().__init__(source, rows, name)
        self.told = told

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return sample if index < self.told else {**sample, "label": UNTOLD}


@dataclass(frozen=True)
class PartlyLabelled(FewShots):
    """A folder of classes, whose train part is shown whole and labelled in part.

    Args:
        root, train, test: see `ClassFolder`.
        shots: pictures of each class whose labels are told.
        draw: which draw of them, from 0 on.
        share: of the samples, how many have a label, as near as repeating the few whole numbers of times comes.
    """

    protocol: ClassVar[str] = "a folder of classes, most of its pictures shown without their labels; read so only where asked for"
    shots: int = 4
    share: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise UserError(f"share is {self.share}; give the share of samples that have a label, between 0 and 1")

    def open(self, split: Split = "all") -> Source:
        """``train`` is the few, repeated, then all others without labels; ``held_out`` the test part, ``all`` both.

        Raises:
            UserError: no picture is left over to be shown without its label; and as for `FewShots`.
        """
        if split == "held_out":
            return super().open(split)
        few = super().open("train")
        assert isinstance(few, Part)
        target = self.target()
        others = np.setdiff1d(target.train.rows, few.rows)
        if not len(others):
            raise UserError(f"all pictures of '{self.root}' would be labelled; lower it with --set data.shots={self.shots - 1}")
        times = max(1, round(self.share / (1 - self.share) * len(others) / len(few)))
        told = np.tile(few.rows, times)
        name = f"{few.name}, {times} times over, and {len(others)} pictures without labels"
        if split == "train":
            return PartlyTold(target.source, np.concatenate([told, others]), len(told), name)
        return PartlyTold(target.source, np.concatenate([told, target.test.rows, others]), len(told) + len(target.test), name)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Never, as `FewShots`."""
        return False
