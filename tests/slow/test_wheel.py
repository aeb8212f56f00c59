"""A wheel holds everything, the linked folders included, and works from outside the checkout beside Hugging Face's datasets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_a_wheel_works_from_elsewhere(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "here", wheel], check=True)
    code = (
        "import datasets, embodied_ssl.datasets.kitti_raw as ours, embodied_ssl.sim.push, embodied_ssl.config as c; "
        "print(datasets.__file__); print(ours.__file__); print(c.names())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "here")}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    theirs, ours, names = shown.stdout.splitlines()
    assert str(tmp_path) not in theirs
    assert ours.startswith(str(tmp_path))
    assert "temporal_order" in names
