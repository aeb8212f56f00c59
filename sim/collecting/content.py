"""A hash over the values of a table: the same for the same rows, whichever file format or version has kept them.

Column by column it takes names, kinds, lengths and values in little-endian order. How Arrow calls a type, how it cuts columns
into chunks, and what it keeps where a value is absent do not enter.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embodied_ssl.sim.collecting.arrays import bytes_in, numbers_in


def content_hash_of(table: pa.Table) -> str:
    """SHA-256 over the values of all columns, in the order of their names.

    Raises:
        TypeError: a column holds neither numbers, truth values, strings, bytes nor lists of these.
    """
    total = hashlib.sha256()
    for name in sorted(table.column_names):
        total.update(f"{name}:{len(table)};".encode())
        _add(total, table[name].combine_chunks())
    return total.hexdigest()


def _add(total: Any, array: pa.Array) -> None:
    """Add one array: first where values are absent, then those that are there."""
    if array.null_count:
        total.update(b"absent;")
        _numbers(total, numbers_in(array.is_null()))
        array = array.drop_null()
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        total.update(b"list;")
        _numbers(total, numbers_in(pc.list_value_length(array)))
        _add(total, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        total.update(b"bytes;")
        lengths, data = bytes_in(array)
        _numbers(total, lengths)
        total.update(data)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        _numbers(total, numbers_in(array))
    else:
        raise TypeError(f"a column of {kind} has no hash")


def _numbers(total: Any, values: NDArray[Any]) -> None:
    kind = values.dtype.newbyteorder("<")
    total.update(f"{kind.str}:{len(values)};".encode())
    total.update(np.ascontiguousarray(values.astype(kind, copy=False)).view(np.uint8))
