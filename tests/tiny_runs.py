"""Any config made tiny: its own data layout written small, a four-layer backbone, 32-pixel pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied_ssl import config
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run

SAMPLES = 2  # a step, for each task


def tiny_run(name: str, folder: Path, **changes: Any) -> Run:
    """The first stage of a config, tiny. Data of one kind is written once per folder."""
    return tiny(config.load(name)[0], folder, **changes)


def tiny(run: Run, folder: Path, **changes: Any) -> Run:
    data = (
        {k: _tiny_data(v, folder) for k, v in run.data.items()} if isinstance(run.data, Mapping) else _tiny_data(run.data, folder)
    )
    method = _tiny_method(run.method)
    small = dataclasses.replace(
        run,
        method=method,
        data=data,
        backbone=BackboneConfig("conv4"),
        batch_size=SAMPLES * copies(method),
        steps=4,
        precision="fp32",
        sync_batch_norm=False,  # which needs GPUs
        log_every=1,
        checkpoint_every=2,
        held_out_every=2,
        held_out_examples=8,
    )
    return dataclasses.replace(small, **changes)


def copies(method: Any) -> int:
    return copies(method.task) if hasattr(method, "task") else int(getattr(method, "tuples", 1))


def _tiny_method(method: Any) -> Any:
    if hasattr(method, "tasks"):
        tasks = {
            name: dataclasses.replace(t, method=_tiny_method(t.method), batch_size=SAMPLES * copies(_tiny_method(t.method)))
            for name, t in method.tasks.items()
        }
        return dataclasses.replace(method, tasks=tasks)
    if hasattr(method, "task"):
        return dataclasses.replace(method, task=_tiny_method(method.task))
    hidden = min(32, getattr(method, "hidden", 32))
    small: dict[str, Any] = {"size": 32, "tuples": 2, "hidden": hidden, "permutations": 12, "per_tile": 32}
    small["groups"] = 1
    if hasattr(method, "stride"):  # patches in pixels; elsewhere a patch is a share of the picture
        small |= {"patch": 16, "stride": 8}
    if hasattr(method, "memory"):
        small["memory"] = dataclasses.replace(method.memory, negatives=min(8, method.memory.negatives))
    if hasattr(method, "puzzle"):
        small["puzzle"] = dataclasses.replace(method.puzzle, cell=12, tile=10)
    small |= {"small_size": 16, "prototypes": SAMPLES + 4, "queue": 4}  # a queue of whole batches, on two ranks as well
    if hasattr(method, "clusters") and hasattr(method, "iterations"):  # so that there are more pictures than clusters
        small |= {"components": 4, "clusters": 6, "groups": min(2, getattr(method, "groups", 2))}
    return dataclasses.replace(method, **{k: v for k, v in small.items() if hasattr(method, k)})


def _tiny_data(spec: Any, folder: Path) -> Any:
    place = folder / type(spec).__name__
    small = type(spec)(root=str(place)) if place.exists() else type(spec).tiny(place)
    return dataclasses.replace(small, axes=spec.axes) if hasattr(spec, "axes") else small  # of which a method has as many answers
