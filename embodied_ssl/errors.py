"""The two ways in which things go wrong for a user: a mistake to mend, and a bad item among good ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend; the command line prints it as one line and leaves with exit code 2.

    The message says what was given, what is accepted, and what to do.
    """


class BadItem(Exception):
    """One file, row or frame that cannot be read; the loader replaces it, counts it and names it.

    Args:
        name: what is bad, as the user knows it (a path, a row).
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def suggest(given: str, accepted: Iterable[str]) -> str:
    """Say which accepted word was probably meant: ``", did you mean 'steps'?"``, or list them all when none is near."""
    words = sorted(accepted)
    near = difflib.get_close_matches(given, words, n=1, cutoff=0.6)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; there is {', '.join(words)}" if words else ""
