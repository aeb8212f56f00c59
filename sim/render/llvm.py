"""Two LLVMs in one process: Mesa's, which draws in software, and Triton's, which comes with torch; they must not mix.

Mesa opens its driver so that every library opened later finds LLVM's functions in it. Triton's library holds its own under the
same names, takes Mesa's if it comes second, and the process crashes while it is imported (by the first optimiser, say). Opened
once in the way that prefers its own, it does not.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_LIBRARY = "triton._C.libtriton"


class _Apart:
    """Finds no module; but just before Triton's library is looked for, opens it in the way that it needs."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == _LIBRARY:
            sys.meta_path.remove(self)
            found = importlib.util.find_spec(name)
            if found is not None and found.origin and Path(found.origin).suffix == ".so":
                ctypes.CDLL(found.origin, mode=os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0))
        return None


def keep_apart() -> None:
    """See to it, once Mesa may have been opened, that Triton can still be imported later. Imports nothing."""
    if _LIBRARY not in sys.modules and not any(isinstance(finder, _Apart) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Apart())
