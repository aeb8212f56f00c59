"""How long work shows itself: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told how far the work has come."""

    def update(self, done: int, total: int, note: str = "") -> None: ...

    def say(self, line: str) -> None: ...


class Silent:
    """Shows nothing; for use as a library."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class Lines:
    """One plain line every ``seconds``, and for the last step."""

    def __init__(self, what: str, seconds: float = 10.0) -> None:
        self.what = what
        self.seconds = seconds
        self.last = time.monotonic()

    def update(self, done: int, total: int, note: str = "") -> None:
        if done == total or time.monotonic() - self.last >= self.seconds:
            self.last = time.monotonic()
            self.say(f"{self.what} {done}/{total} {note}".rstrip())

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """A bar on a terminal, lines elsewhere. Both write to standard error, so that standard output stays the result's."""
    if not sys.stderr.isatty():
        yield Lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, note="")

        class Bar:
            def update(self, done: int, total: int, note: str = "") -> None:
                bar.update(task, completed=done, total=total, note=note)

            def say(self, line: str) -> None:
                bar.console.print(line, markup=False, highlight=False)

        yield Bar()
