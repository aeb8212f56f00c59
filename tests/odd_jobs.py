"""Work that goes wrong, in a module of its own so that a new process can import it.

A job is (number, what it does, a folder); ``marks`` in the folder say how often each number was begun.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.piecework import check_stop

Job = tuple[int, str, str]


def times_begun(number: int, folder: str) -> int:
    """How often a number was begun so far, this time included."""
    with open(Path(folder) / f"begun-{number}", "a") as file:
        file.write(f"{os.getpid()}\n")
    return len((Path(folder) / f"begun-{number}").read_text().splitlines())


def square(job: Job) -> tuple[int, int, int]:
    """The number, its square, and the process; on the way, whatever was asked for."""
    number, trouble, folder = job
    tries = times_begun(number, folder)
    for step in range(3):
        check_stop(f"step {step} of {number}")
        if step == 1 and (trouble.endswith("always") or tries == 1):
            trouble_of(trouble)
    return number, number**2, os.getpid()


def trouble_of(kind: str) -> None:
    """What the name says."""
    if kind.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind.startswith("hang"):
        time.sleep(1000)
    if kind.startswith("exit"):
        os._exit(3)
    if kind.startswith("stop"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind.startswith("refuse"):
        raise UserError("not like this")
    if kind.startswith("bad"):
        raise BadItem("a row", "is bad")
    if kind.startswith("odd"):

        class LocalError(Exception):  # cannot be pickled
            pass

        raise LocalError("odd")


def slow_square(job: Job) -> int:
    """A step every tenth of a second, for six seconds."""
    for _ in range(60):
        check_stop()
        time.sleep(0.1)
    return job[0] ** 2


def unsendable(job: Job) -> object:
    """Something that cannot be pickled."""
    return lambda: job


def modules(job: Job) -> list[str]:
    """What this process has imported."""
    return sorted(sys.modules)
