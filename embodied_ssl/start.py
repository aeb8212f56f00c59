"""Where a run begins: what the user may choose, fresh or resumed or refused, its data opened, its interruptions heard."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from embodied_ssl import checkpoint as checkpoints
from embodied_ssl.config import differences, with_types_of_today
from embodied_ssl.core import Method, check_fields
from embodied_ssl.datasets.source import DataSpec, Source
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.files import remove_leftovers


@dataclass(frozen=True)
class Options:
    """What a run needs beside its config and may change between a start and a resume.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``.
        workers: processes that read data; -1 for 2, or as many as there are cores if fewer.
        resume: continue the run in the folder.
        stop_after: end after this many steps in all; the schedule stays as configured. 0 for never.
        init: a run folder or file whose backbone weights to start from; "" for none.
        deterministic: only kernels that give the same bits each time.
        extend: allow a resumed run more steps than it was started with; every other change is refused.
    """

    device: str = "auto"
    workers: int = -1
    resume: bool = False
    stop_after: int = 0
    init: str = ""
    deterministic: bool = False
    extend: bool = False


@dataclass
class State:
    """Where a run stands: steps done in a stage. Everything else that changes is in the learner and the optimiser."""

    stage: int = 0
    step: int = 0
    checkpoint: dict[str, Any] = field(default_factory=dict)


class Stopped(Exception):
    """The run ended early because it was asked to, after saving.

    Args:
        by_signal: Ctrl-C or a termination signal, rather than ``stop_after``.
    """

    def __init__(self, stage: int, step: int, by_signal: bool) -> None:
        super().__init__(stage, step)
        self.stage = stage
        self.step = step
        self.by_signal = by_signal


def open_sources(data: DataSpec | Mapping[str, DataSpec], tasks: Mapping[str, Method]) -> dict[str, tuple[Source, Source]]:
    """For each task its training source and its held-out source (empty when there is a single recording).

    Raises:
        UserError: a task without data, data without a task, or fields that are missing.
    """
    specs: Mapping[str, DataSpec] = data if isinstance(data, Mapping) else {"": data}
    if specs.keys() != tasks.keys():
        raise UserError(
            f"tasks are {', '.join(tasks) or 'one'}, data is for {', '.join(specs) or 'one'}; give each task its data"
        )
    opened: dict[str, tuple[Source, Source]] = {}
    for name, spec in specs.items():
        train = spec.open("train")
        check_fields(tasks[name], train, name or type(tasks[name]).__name__)
        opened[name] = (train, spec.open("held_out"))
    return opened


def starting_point(out: Path, config: Any, options: Options, here: Ranks) -> State:
    """The state to begin from: fresh in a new folder, or the checkpoint's when resuming.

    Raises:
        UserError: the folder holds another run, or none to resume, or one of another config.
    """
    state = _found(out, config, options)
    here.gather_objects(None)  # nobody writes before everybody has looked
    if here.is_main and out.exists():
        remove_leftovers(out / "checkpoints")
    return state


def _found(out: Path, config: Any, options: Options) -> State:
    last = out / "checkpoints" / "last.pt"
    if options.extend and not options.resume:
        raise UserError("--extend lengthens a run that is resumed; give --resume with it")
    if not options.resume:
        if last.exists() or (out / "log.jsonl").exists():
            raise UserError(f"'{out}' already holds a run; continue it with --resume, or choose another --out")
        return State()
    if not out.exists():
        raise UserError(f"'{out}' holds no run to resume; leave --resume out to start one")
    if not last.exists():  # killed before the first checkpoint: nothing is lost by starting again
        return State()
    stored = checkpoints.load_checkpoint(last)
    _check_same_config(stored["config"], config, options.extend)
    return State(stored["stage"], stored["step"], stored)


def _check_same_config(stored: str, config: Any, extend: bool) -> None:
    old = with_types_of_today(json.loads(stored))
    if extend:
        for before, now in zip(old, config, strict=False):
            before["steps"] = max(before["steps"], now["steps"])
    changed: list[str] = []
    for number, (before, now) in enumerate(zip(old, config, strict=False)):
        changed += differences(before, now, f"stage {number}" if len(config) > 1 else "")
    if len(old) != len(config):
        changed.append(f"stages: {len(old)} -> {len(config)}")
    if changed:
        shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        raise UserError(f"the run was started with another config ({shown}); resume with the same one, or choose another --out")


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and termination ask for a stop after the current step; a second Ctrl-C interrupts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever is there handles signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
