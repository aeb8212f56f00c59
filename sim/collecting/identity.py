"""What decides the content of a data set, as its manifest keeps it: the specification, and the engines that carry it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from embodied_ssl.errors import BadItem
from embodied_ssl.sim import proposals
from embodied_ssl.sim.client import engine
from embodied_ssl.sim.objects.own import fingerprint, survey
from embodied_ssl.sim.render.choose import process_renderer
from embodied_ssl.sim.spec import Outputs, Pool, Randomise, Spec

KIND = "interactions"
FORMAT = 2  # to be raised when the same specification no longer gives the same rows
_PARTS = {"pool": Pool, "randomise": Randomise, "outputs": Outputs}


def identity(spec: Spec) -> dict[str, Any]:
    """Everything that two runs must share for their shards to belong together, as JSON has it.

    Raises:
        UserError: the user's own things, or a file of proposals, cannot be read, or there is no such renderer here.
    """
    made_with = {"engine": engine(), "drawn_by": drawn_by(spec.renderer), "own_things": fingerprint(spec.pool)}
    if proposals.is_file(spec.sampler):
        made_with["proposals"] = proposals.fingerprint(spec.sampler)
    return {"kind": KIND, "format": FORMAT, **dataclasses.asdict(spec), **made_with}


def drawn_by(renderer: str) -> str:
    """What makes pictures in this process, in the driver's words: another GPU or Mesa gives other pixels.

    Raises:
        UserError: OpenGL is not to be had; says what to install.
    """
    return process_renderer(renderer).device


def unusable(pool: Pool) -> tuple[BadItem, ...]:
    """Which of the user's own things cannot be used, and why."""
    return survey(pool.folder).bad if "own" in pool.kinds else ()


def spec_in(kept: Mapping[str, Any]) -> Spec:
    """The inverse of `identity`, as read from a manifest.

    Raises:
        TypeError: it was written by another version.
    """
    values = {field.name: kept[field.name] for field in dataclasses.fields(Spec) if field.name in kept}
    parts = {name: kind(**_with_tuples(values[name])) for name, kind in _PARTS.items() if name in values}
    return Spec(**{**_with_tuples(values), **parts})


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
