"""Workers that simulate stay small, however long a data set takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured_rows import SAMPLED, interaction_and_memory

from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.collecting.command import resolved
from embodied_ssl.sim.collecting.engines import Processes
from embodied_ssl.sim.rows import read_shard
from embodied_ssl.sim.spec import Outputs, Spec

COUNT = 20_000
BEGINNING = 500  # interactions in which forms, textures and shaders are met for the first time


@pytest.mark.slow
def test_a_worker_is_as_large_after_20000_interactions_as_after_500(tmp_path: Path) -> None:
    """Pages of libraries count for flatness, but not for size: they are the same for all workers of a machine."""
    spec = Spec(episodes=COUNT, size=(64, 64), renderer=resolved("auto"), outputs=Outputs(quality=95), per_shard=250)
    collect(tmp_path / "set", spec, Processes(1), make=interaction_and_memory)
    found = []
    for path in sorted((tmp_path / "set").glob("shard-*.parquet")):
        table = read_shard(path, ["index", "mass", "friction"]).to_pydict()
        found += [both for index, *both in zip(*table.values(), strict=True) if index % SAMPLED == 0]
    whole, own = np.array(found).T / 2**20
    first = whole[BEGINNING // SAMPLED]
    print(f"{first:.0f} MB after {BEGINNING}, at most {whole.max():.0f} MB; of these at most {own.max():.0f} MB its own")
    assert len(own) == COUNT // SAMPLED
    assert own.max() < 200
    assert whole.max() < 1.05 * first
