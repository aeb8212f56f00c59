"""What tests of videos share: the films, each written once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def film_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `films.make` puts films of this session."""
    return tmp_path_factory.mktemp("films")
