"""What the command line asks of its process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

TAKE_AND_GIVE_BACK = """
import os, resource
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"
import numpy as np
from embodied_ssl.process import be_a_good_host

{settle}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(5_000_000)
before = faults()
for _ in range(10):
    np.ones(5_000_000)
print(faults() - before)
"""


def faults(settle: str) -> int:
    """Pages the kernel had to hand out while ten arrays of 40 MB were made and dropped."""
    code = TAKE_AND_GIVE_BACK.format(settle=settle)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is the one that gives memory back")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    assert faults("be_a_good_host()") < 100
    assert faults("") > 10_000  # 40 MB are 9,766 pages of 4 KiB, each time
