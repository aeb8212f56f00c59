"""Who makes the shards: this process, or processes that are watched over (and `on_ray`). All make the same bytes.

An engine takes the work, the pieces and a watch, and yields results as they come. A piece that costs worker after worker is left
out and named by `LeftOut` after all else is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from embodied_ssl.piecework import Watch, alone, spawned

Piece = TypeVar("Piece")
Result = TypeVar("Result")
PATIENCE = 120.0  # seconds
RECYCLE = 3000  # interactions; PyBullet keeps about 3 KB of each, and starting afresh costs as much as 50


class Engine(Protocol):
    """Does pieces of work."""

    @property
    def sees_folder(self) -> bool:
        """Whether its workers can write where this process can."""
        ...

    def run(self, work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch) -> Iterator[Result]:
        """Do every piece; yields results as they come.

        Raises:
            LeftOut: after all else is done.
            UserError: it cannot work at all.
        """
        ...


@dataclass(frozen=True)
class Serial:
    """This process, one piece after the other. Nothing watches over it."""

    sees_folder = True

    def run(self, work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch) -> Iterator[Result]:
        """In order."""
        return alone(work, pieces, watch)


@dataclass(frozen=True)
class Processes:
    """Spawned processes, watched over: see `embodied_ssl.piecework.spawned`.

    Args:
        workers: how many.
        patience: seconds without an interaction after which a worker is taken to hang.
        recycle: interactions after which a worker makes room for a fresh one.
    """

    workers: int = 1
    patience: float = PATIENCE
    recycle: int = RECYCLE
    sees_folder = True

    def run(self, work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch) -> Iterator[Result]:
        """As they are finished."""
        return spawned(work, pieces, self.workers, self.patience, self.recycle, watch)
