"""Between Python values, Arrow arrays and numpy, by way of buffers.

Arrow's own conversions do the same, but import pandas where that is installed: 45 MB and a quarter of a second a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values as one column.

    Args:
        values: None for what is absent; lists may be numpy arrays.
        kind: numbers, truth values, strings, bytes, or lists of these.

    Raises:
        ValueError: a list has not the length that its kind says, or a word is no number.
        TypeError: a value is of another kind.
    """
    if _is_number(kind):
        return _number_array(values, kind)
    count, there = len(values), _there(values)
    if pa.types.is_fixed_size_list(kind):
        blank = (None,) * kind.list_size
        rows = [blank if value is None else value for value in values]
        if any(len(row) != kind.list_size for row in rows):
            raise ValueError(f"lists of {sorted({len(row) for row in rows})} values where {kind.list_size} are wanted")
        return pa.Array.from_buffers(kind, count, [there], children=[array_of(_joined(rows), kind.value_type)])
    if pa.types.is_list(kind):
        rows = [() if value is None else value for value in values]
        return pa.Array.from_buffers(kind, count, [there, _ends(rows)], children=[array_of(_joined(rows), kind.value_type)])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        encoded = [_as_bytes(value, pa.types.is_string(kind)) for value in values]
        return pa.Array.from_buffers(kind, count, [there, _ends(encoded), pa.py_buffer(b"".join(encoded))])
    return pa.Array.from_buffers(kind, count, [there, _bits([bool(value) for value in values])])


def numbers_in(array: pa.Array) -> NDArray[Any]:
    """A column of numbers, or of truth values as 0 and 1, without its gaps: what is absent has any value."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    kind = np.dtype(array.type.to_pandas_dtype())
    data = array.buffers()[1]
    return np.zeros(0, kind) if data is None else np.frombuffer(data, kind)[array.offset : array.offset + len(array)]


def bytes_in(array: pa.Array) -> tuple[NDArray[np.int32], memoryview]:
    """A column of strings or bytes: length of each, and all of them in one piece, where they lie."""
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return np.zeros(len(array), np.int32), memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return np.diff(ends), memoryview(data)[ends[0] : ends[-1]]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _number_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Whole numbers stay exact, or are refused."""
    wanted = np.dtype(kind.to_pandas_dtype())
    found = np.asarray(values) if len(values) else np.zeros(0, wanted)
    there = None
    if found.dtype == object:  # some are absent
        there = _there(values)
        found = np.asarray([0 if value is None else value for value in values])
    if wanted.kind in "iu" and (found.dtype.kind not in "iub" or (found != found.astype(wanted)).any()):
        raise TypeError(f"{found.dtype} values where {kind} are wanted")
    return pa.Array.from_buffers(kind, len(found), [there, pa.py_buffer(np.ascontiguousarray(found, wanted))])


def _there(values: Sequence[Any]) -> pa.Buffer | None:
    """Which values are not absent; None if all are there."""
    there = [value is not None for value in values]
    return None if all(there) else _bits(there)


def _joined(rows: Sequence[Any]) -> Sequence[Any]:
    return list(chain.from_iterable(rows))


def _ends(rows: Sequence[Any]) -> pa.Buffer:
    return pa.py_buffer(np.cumsum([0, *(len(row) for row in rows)], dtype=np.int32))


def _bits(truths: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.asarray(truths, bool), bitorder="little"))


def _as_bytes(value: Any, text: bool) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str) and text:
        return value.encode()
    if isinstance(value, bytes) and not text:
        return value
    raise TypeError(f"{type(value).__name__} where {'text is' if text else 'bytes are'} wanted")
