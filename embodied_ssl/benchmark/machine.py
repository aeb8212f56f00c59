"""On what machine, with which packages, and beside how much other work something was measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("pybullet", "moderngl", "av", "decord", "torchcodec", "opencv-python", "torch", "numpy")
BUSY = 0.3  # load a core above which other work is felt


@dataclass(frozen=True)
class Machine:
    """What a figure belongs to.

    Attributes:
        processor: its model.
        cores: how many this process may use.
        load: processes that wanted a core, on average over the last minute; None where the system does not say.
        python: its version.
        packages: versions, or ``not installed``.
    """

    processor: str
    cores: int
    load: float | None
    python: str
    packages: dict[str, str]

    @property
    def busy(self) -> bool:
        """Whether other work is likely to be felt in times on the clock."""
        return self.load is not None and self.load > BUSY * self.cores

    def lines(self) -> list[str]:
        """For people, with a warning where one is due."""
        packages = ", ".join(f"{name} {found}" for name, found in self.packages.items())
        load = "unknown" if self.load is None else f"{self.load:.2f}"
        said = [f"{self.processor}, {self.cores} cores, load {load} at the start", f"Python {self.python}, {packages}"]
        if self.busy:
            said.append(f"warning: this machine is busy (load {load}); rates are too low and ratios uncertain")
        return said


def this_machine() -> Machine:
    """Look at this machine, now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Machine(_processor(), cores, load, platform.python_version(), {name: _version(name) for name in PACKAGES})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
