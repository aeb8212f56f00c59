"""What open videos and long reading cost in memory, measured in processes of their own."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.video_folder import VideoFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc"),
]

MEGABYTE = 2**20
READERS = 32  # as many as are kept open
TRIPLETS = 20_000


def _resident() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def _alone(measure: Callable[..., Any], *given: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, given)


def _films(folder: Path, size: tuple[int, int], copies: int) -> Path:
    """One film many times: a reader is kept for each file, whatever it shows."""
    frames = (numbered(number, size) for number in range(240))
    write_video(folder / "0.mp4", frames, "libx264", options={"preset": "veryfast", "g": "30"})
    for copy in range(1, copies):
        shutil.copy(folder / "0.mp4", folder / f"{copy}.mp4")
    return folder


def _growth_of_readers(folder: Path) -> float:
    """MB for each reader opened beyond the first two."""
    frames = [VideoFrames(folder / f"{copy}.mp4", 128) for copy in range(READERS)]
    for handle in frames:
        len(handle)
    for handle in frames[:2]:
        handle.take([3, 100])
    before = _resident()
    for handle in frames[2:]:
        handle.take([3, 100])
    return (_resident() - before) / (READERS - 2)


def test_open_reader_takes_four_megabytes_at_most(tmp_path: Path) -> None:
    each = _alone(_growth_of_readers, _films(tmp_path, (360, 640), READERS))
    print(f"{each:.2f} MB for each open reader at 640x360")
    assert 0.5 < each <= 4


def _reading(root: Path, triplets: int) -> list[float]:
    """MB after each twentieth of so many triplets from random videos, as a training worker draws them: torch is loaded."""
    importlib.import_module("torch")
    source = VideoFolder(str(root), short_side=48).open()
    draw = random.Random(0)
    sizes = []
    for count in range(1, triplets + 1):
        wanted = sorted(draw.sample(range(240), 3))
        frames = source[draw.randrange(len(source))]["frames"].take(wanted)
        assert number_shown(frames[1]) == wanted[1]
        if count % (triplets // 20) == 0:
            sizes.append(_resident())
    return sizes


def test_training_worker_stays_flat(tmp_path: Path) -> None:
    # Half as many videos again as readers are kept: they are closed and opened all the time.
    sizes = _alone(_reading, _films(tmp_path, (96, 128), READERS + READERS // 2), TRIPLETS)
    print("MB after each thousand triplets:", " ".join(f"{size:.0f}" for size in sizes))
    assert max(sizes[1:]) <= 1.05 * sizes[1]
    assert sizes[-1] - sizes[9] < 5  # the second half: what still grows there would grow for ever
