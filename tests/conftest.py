"""What all tests share: where the real data are, and a cache of their own."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve whatever runs beside the tests

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real extracts: $EMBODIED_SSL_DATA, or shared/data beside the repository."""
    given = os.environ.get("EMBODIED_SSL_DATA")
    place = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (place / "README.md").exists():
        refuse = pytest.fail if os.environ.get("EMBODIED_SSL_REQUIRE_DATA") else pytest.skip
        refuse(f"no real data at {place}; set EMBODIED_SSL_DATA to the folder that holds them")
    return place


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["EMBODIED_SSL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
