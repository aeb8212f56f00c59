"""The real interactions, with the memory of their process written where other figures belong; workers can import it."""

from __future__ import annotations

from pathlib import Path

from embodied_ssl.sim.collecting.collect import interaction
from embodied_ssl.sim.rows import Row
from embodied_ssl.sim.spec import Spec

SAMPLED = 50  # every so many


def interaction_and_memory(spec: Spec, index: int) -> Row:
    """An interaction; its mass is the bytes that this process has in memory, its friction those that no other can share."""
    row = interaction(spec, index)
    return {**row, "mass": memory("VmRSS"), "friction": memory("RssAnon")} if index % SAMPLED == 0 else row


def memory(kind: str) -> float:
    """Bytes of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(kind)) * 1024
