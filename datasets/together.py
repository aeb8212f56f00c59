"""Which recordings must stay on one side of a split because they show the same event or the same home."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise


def together(names: Iterable[str], links: Iterable[Sequence[str]]) -> dict[str, str]:
    """The group of each name, called after its first member in the alphabet; whoever is linked, over any chain, shares one.

    Args:
        names: all there are.
        links: sets of names that belong together; names that are not in ``names`` may join others too.
    """
    parent = {name: name for name in names}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for link in links:
        for one, other in pairwise(link):
            first, second = sorted((root(one), root(other)))
            parent[second] = first
    return {name: root(name) for name in list(parent)}
