"""How a process that trains or judges networks should use its machine; asked for by the command line, never on import."""

from __future__ import annotations

import ctypes
import os

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # numbers of the parameters in glibc's malloc.h


def be_a_good_host() -> None:
    """Let idle threads sleep, and keep freed memory for the next batch; to be called before torch is there.

    Threads that spin while they wait starve the processes that read. And glibc gives the memory of each batch's maps back
    to the kernel, which clears it anew page by page when the next batch asks: on two cores 5 to 15 % of a CPU training step,
    up to half of a forward pass. Kept, the process stays as large as its largest batch has made it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:  # elsewhere (macOS, musl) memory is handled in another way
        set_option(MMAP_MAX, 0)
        set_option(TRIM_THRESHOLD, -1)
