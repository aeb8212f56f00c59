"""Pickles of plain values and arrays of bytes, read without running anything that the file names.

A pickle is a program: loading one from elsewhere with ``pickle.load`` may run any code. Here the few names that an array needs
stand for stubs of our own, which keep what they are given, and every other name is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError

_BROKEN = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError)


class _Kind:
    """What stands for ``numpy.dtype``: its code, such as ``u1``."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: nothing to a single byte."""


class _Array:
    """What stands for ``numpy.ndarray``: shape, kind, whether columns come first, and bytes."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def bytes(self) -> NDArray[np.uint8]:
        _, shape, kind, columns_first, data = self.state
        if not isinstance(kind, _Kind) or kind.code not in ("u1", "|u1"):
            raise ValueError("an array of other than bytes")
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if columns_first else "C")


class _Bytes(bytes):
    """What stands for ``_codecs.encode``, by which Python 3 writes bytes for Python 2 to read."""

    def __new__(cls, text: str, encoding: str = "") -> _Bytes:
        if encoding != "latin1":
            raise ValueError(f"bytes in the encoding {encoding!r}")
        return super().__new__(cls, text.encode(encoding))

    def __setstate__(self, state: object) -> None:
        raise ValueError("bytes have no state")  # a class without this method could be altered by the file


_STUBS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): "ndarray",  # only ever the first argument of the above
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _Bytes,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STUBS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data never need")
        return _STUBS[module, name]


def read_plain(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle, of Python 2 or 3; arrays are uint8 and read-only.

    Raises:
        UserError: the file is missing, is no whole pickle of a dictionary, or names anything but arrays of bytes.
    """
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="latin1").load()
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, not a dictionary")
        return {str(key): value.bytes() if isinstance(value, _Array) else value for key, value in found.items()}
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; the original layout has it: the copy is incomplete, unpack it again") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None
    except _BROKEN as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"'{path}' is not a pickle of plain values and bytes ({reason}); nothing in it was run: unpack the original again"
        ) from None
