"""Text files of numbers, a row a line, in which a garbled row costs that row and no other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import BadItem


@dataclass(frozen=True)
class Rows:
    """What a file of rows holds.

    Attributes:
        values: float64 [n, columns]; a garbled row is all NaN.
        lines: which line each row is, from 1 [n].
        bad: the garbled ones.
    """

    values: NDArray[np.float64]
    lines: NDArray[np.int64]
    bad: list[BadItem]


def row_of(text: str, columns: int) -> NDArray[np.float64]:
    """So many finite numbers with white space between, float64 [columns].

    Raises:
        ValueError: they are not; says why in a few words.
    """
    words = text.split()
    if not words:
        raise ValueError(f"not a row of {columns} numbers: it is empty")
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"not a row of {columns} numbers") from None
    if len(values) != columns:
        raise ValueError(f"not a row of {columns} numbers: it has {len(values)}")
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"not a row of {columns} numbers: one is {value}")
    return np.array(values, np.float64)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        BadItem: missing, unreadable or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadItem(str(path), f"cannot be read ({error.strerror})") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BadItem(str(path), "is empty")
    return lines


def read_rows(path: Path, columns: int, counted: bool = False) -> Rows:
    """The rows of a file.

    Args:
        path: the file.
        columns: numbers in a row.
        counted: whether line k stands for item k, so that an empty line is a garbled row too; else empty lines and comments,
            which begin with ``#``, are passed over.

    Raises:
        BadItem: missing, unreadable or empty.
    """
    values, lines, faults = [], [], {}
    for number, line in enumerate(read_lines(path), 1):
        if not counted and (not line.strip() or line.lstrip().startswith("#")):
            continue
        try:
            row = row_of(line, columns)
        except ValueError as error:
            faults[number] = str(error)
            row = np.full(columns, np.nan)
        values.append(row)
        lines.append(number)
    table = np.array(values, np.float64).reshape(-1, columns)
    return Rows(table, np.array(lines, np.int64), faulty_lines(path, faults))


def faulty_lines(path: Path, faults: Mapping[int, str]) -> list[BadItem]:
    """Faults by line as bad items, named ``path:line``."""
    return [BadItem(f"{path}:{line}", reason) for line, reason in sorted(faults.items())]
