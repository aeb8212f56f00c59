"""Shards made by Ray, on this machine or on a cluster; the files are written here, so that workers need no common disk."""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from embodied_ssl.errors import UserError
from embodied_ssl.piecework import GIVE_UP, TRIES, LeftOut, Watch, alone
from embodied_ssl.sim.collecting.engines import PATIENCE

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def load_ray() -> ModuleType:
    """Import Ray when it is first needed.

    Raises:
        UserError: it is absent.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError("--engine ray needs Ray, which is not installed; run: pip install 'embodied-ssl[ray]'") from None


@dataclass(frozen=True)
class OnRay:
    """Ray's workers: of the cluster in the environment's ``RAY_ADDRESS``, of a Ray that this process has started, or of its own.

    Args:
        workers: pieces in hand at the same time, and processors of a local Ray.
        patience: seconds without a step after which a worker ends itself, to be replaced.
        recycle: pieces after which a worker makes room for a fresh one; 0 for never.
    """

    workers: int = 1
    patience: float = PATIENCE
    recycle: int = 0
    sees_folder = False

    def run(self, work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch) -> Iterator[Result]:
        """As they are finished; see `engines.Engine`."""
        ray = load_ray()
        started = not ray.is_initialized()
        if started:
            self._start(ray)
        try:
            yield from self._run(ray, work, pieces, watch)
        finally:
            if started:
                ray.shutdown()

    def _start(self, ray: ModuleType) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
        address = os.environ.get("RAY_ADDRESS", "")
        same = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}  # what this process can import, its workers can
        here = {"address": "local", "num_cpus": self.workers, "include_dashboard": False, "runtime_env": same}
        try:
            ray.init(**({"address": address} if address else here), **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"at RAY_ADDRESS={address}" if address else "on this machine"
            raise UserError(
                f"Ray cannot be started {where} ({str(error).splitlines()[0]}); mend that, or leave --engine out"
            ) from None

    def _run(self, ray: ModuleType, work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch) -> Iterator[Result]:
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1, max_calls=self.recycle)(_watched)
        shared = ray.put(work)
        queue, hands, lost = deque(pieces), dict[Any, Piece](), list[tuple[str, str]]()
        try:
            while queue or hands:
                while queue and len(hands) < self.workers:
                    piece = queue.popleft()
                    hands[remote.remote(shared, piece, self.patience)] = piece
                ready, _ = ray.wait(list(hands), timeout=1.0)
                for one in ready:
                    name = watch.name(hands.pop(one))
                    try:
                        result, steps = ray.get(one)
                    except ray.exceptions.RayTaskError as error:
                        raise error.cause from None
                    except ray.exceptions.RayError as error:  # its worker or node died, time after time
                        lost.append((name, f"Ray lost it ({type(error).__name__})"))
                        watch.on_trouble(f"{name} is left out: it has cost {TRIES} workers ({type(error).__name__})")
                        if len(lost) >= GIVE_UP:
                            raise LeftOut(lost) from None
                        continue
                    watch.on_steps(steps)
                    yield result
        finally:
            for one in hands:
                ray.cancel(one, force=True)
        if lost:
            raise LeftOut(lost)


def _watched(work: Callable[[Piece], Result], piece: Piece, patience: float) -> tuple[Result, int]:
    """Do a piece in a Ray worker, which is ended by a watchdog of its own if it hangs; returns how many steps it took, too."""
    steps, armed = 0, 0.0

    def step(count: int) -> None:
        nonlocal steps, armed
        steps += count
        if time.monotonic() - armed > min(1.0, patience / 4):  # needs no lock of the interpreter's, so that it sees C hang
            armed = time.monotonic()
            faulthandler.dump_traceback_later(patience, exit=True, file=2)

    try:
        step(0)
        (result,) = alone(work, [piece], Watch(on_steps=step))
    finally:
        faulthandler.cancel_dump_traceback_later()
    return result, steps
