"""What the command line asks for, as a specification of drives."""

from __future__ import annotations

import dataclasses

from embodied_ssl.settings import override, parse
from embodied_ssl.sim.drive.spec import DriveSpec


def spec_of(episodes: int, seed: int, size: str, renderer: str, changes: tuple[str, ...] = ()) -> DriveSpec:
    """The specification of drives; ``changes`` come last and may set anything.

    Args:
        episodes: how many drives.
        seed: chooses every draw.
        size: "" for the usual; one number for square pictures, or HEIGHT,WIDTH.
        renderer: "gl", "tiny", or "auto" for gl where it works.
        changes: KEY=VALUE, such as ``places=both`` or ``indoors.kinds=kitchen,office``.

    Raises:
        UserError: a change names no setting, or a value is of another type.
    """
    spec = DriveSpec(drives=episodes, seed=seed, renderer=renderer)
    if size:
        spec = dataclasses.replace(spec, size=parse(size if "," in size else f"{size},{size}", tuple[int, int], "--size"))
    for change in changes:
        spec = override(spec, change)
    return spec
