"""A thousand videos are indexed in little memory, good and broken ones alike, and no file stays open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embodied_ssl.datasets.io.numbered import numbered, write_video

pytestmark = pytest.mark.slow

# In a process of its own, since the peak is that of a whole process: prints what the imports took, the peak, the files open.
INDEX_ALL = """
import os, sys
from pathlib import Path
from embodied_ssl.datasets.io.video_index import index_of
from embodied_ssl.errors import BadItem

def peak():  # in kB; what getrusage says counts the parent's memory too
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

first, bad = peak(), 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        index_of(path)
    except BadItem:
        bad += 1
print(first, peak(), len(os.listdir("/proc/self/fd")), bad)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_thousand_videos_are_indexed_in_little_memory(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    kinds = [
        ("libx264", ".mp4", (360, 640)),
        ("libx264", ".avi", (96, 128)),
        ("mpeg4", ".mkv", (96, 128)),
        ("cut off", ".mp4", (0, 0)),
    ]
    contents = []
    for codec, suffix, size in kinds[:3]:
        write_video(tmp_path / f"one{suffix}", [numbered(number, size) for number in range(40)], codec)
        contents.append((tmp_path / f"one{suffix}").read_bytes())
    contents.append(contents[0][: len(contents[0]) // 2])
    for number in range(1000):
        kind = number % 4
        (folder / f"{number:04d}{kinds[kind][1]}").write_bytes(contents[kind])
    environment = {**os.environ, "EMBODIED_SSL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", INDEX_ALL, str(folder)], capture_output=True, text=True, check=True, env=environment
    )
    before, peak, still_open, bad = map(int, done.stdout.split())
    assert bad == 250
    assert peak < 300 * 1024, f"{peak / 1024:.0f} MB at the peak, {before / 1024:.0f} of them by imports"
    assert peak - before < 100 * 1024
    assert still_open < 20
    print(f"{peak / 1024:.0f} MB at the peak, {before / 1024:.0f} of them by imports; {still_open} files open")
