"""What a run writes down: ``log.jsonl``, TensorBoard, and the items it could not read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embodied_ssl.files import read_lines, write_lines


class RunLog:
    """The log of one run, continued after a resume as if nothing had happened.

    Args:
        folder: the run's.
        stage, step: where the run (re)starts; later lines of an interrupted run are dropped, they will be written again. A stage
            at step 0 has done nothing yet, not even what is looked at before training.
        silent: write nothing (ranks other than the first).
    """

    def __init__(self, folder: Path, stage: int, step: int, silent: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self.bad_path = folder / "bad_items.jsonl"
        self.tensorboard = folder / "tensorboard"
        self.silent = silent
        self.bad: dict[str, dict[str, Any]] = {row["name"]: row for row in read_lines(self.bad_path)}
        self._writer: Any = None
        self._before_training: Mapping[str, Any] = {}
        if not silent:
            last = (stage, step or -1)
            kept = [row for row in read_lines(self.path) if (row["stage"], row["step"]) <= last]
            write_lines(self.path, kept)

    def add(self, stage: int, step: int, values: Mapping[str, Any]) -> None:
        """One line: ``stage``, ``step`` (done so far) and the values."""
        if self.silent:
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        self._to_tensorboard(step, values)

    def rows(self, stage: int) -> list[dict[str, Any]]:
        """The lines of a stage so far; none where nothing is written."""
        return [] if self.silent else [row for row in read_lines(self.path) if row["stage"] == stage]

    def add_bad(self, items: Iterable[tuple[str, str]]) -> None:
        """Count unreadable items by name, with the last reason."""
        for name, reason in items:
            row = self.bad.setdefault(name, {"name": name, "reason": reason, "times": 0})
            row["reason"] = reason
            row["times"] += 1

    def write_bad(self) -> None:
        """Write ``bad_items.jsonl`` when there is something in it."""
        if self.bad and not self.silent:
            write_lines(self.bad_path, sorted(self.bad.values(), key=lambda row: row["name"]))

    def close(self) -> None:
        self.write_bad()
        if self._writer is not None:
            self._writer.close()

    def _to_tensorboard(self, step: int, values: Mapping[str, Any]) -> None:
        if step == 0:
            self._before_training = values
            return
        if self._writer is None:  # made late: the import is slow, and its thread must not exist when workers are forked
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.tensorboard))
            self._write(0, self._before_training)
        self._write(step, values)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
