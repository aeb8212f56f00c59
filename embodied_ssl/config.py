"""Configs: a Python file builds one frozen `Run`; this file loads, overrides, prints, stores and rebuilds it.

Nothing is looked up by string but the file itself: a config imports the classes it names. What runs is what is printed
and what is stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.core import Method
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.optim import SGD, OptimizerConfig, Schedule
from embodied_ssl.settings import fields_of
from embodied_ssl.settings import override as override
from embodied_ssl.settings import parse as parse

OWN_MODULE = re.compile(r"embodied_ssl(\.[a-z]\w*)+")


class MethodConfig(Protocol):
    """A frozen dataclass in the method's own file, with `build`."""

    def build(self, backbone: Backbone) -> Method:
        """The method, its heads fitted to the backbone's width; draws from torch's global generator."""


@dataclass(frozen=True)
class Run:
    """One training run (or one stage of it): everything that decides its result.

    Args:
        method: the pretext task.
        data: what it learns from; for a multi-task method, a source for each task by the task's name.
        backbone: the network.
        optimizer, schedule: see `embodied_ssl.optim`.
        batch_size: examples a step, over all ranks and micro-batches; a multi-task method states its tasks' own.
        steps: length of the schedule, in optimiser steps.
        accumulate: micro-batches a step.
        clip: largest gradient norm; 0 for none.
        seed: of every draw.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 where the hardware has it, else fp32.
        compile: compile the learner with torch.compile.
        sync_batch_norm: BatchNorm over all ranks (GPU only); else each rank has its own statistics, averaged every step.
        shard: shard parameters and optimiser state over ranks (fully_shard) instead of copying them.
        log_every, checkpoint_every, held_out_every: in steps; 0 for never (the last step is always checkpointed).
        held_out_examples: at most this many held-out samples are asked.
        knn: a folder of class folders for an online kNN figure beside the held-out ones; "" for none.
    """

    method: MethodConfig
    data: DataSpec | Mapping[str, DataSpec]
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    optimizer: OptimizerConfig = field(default_factory=SGD)
    schedule: Schedule = field(default_factory=Schedule)
    batch_size: int = 64
    steps: int = 1000
    accumulate: int = 1
    clip: float = 0.0
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    sync_batch_norm: bool = False
    shard: bool = False
    log_every: int = 10
    checkpoint_every: int = 100
    held_out_every: int = 200
    held_out_examples: int = 512
    knn: str = ""

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give a whole number of at least 1")
        for name in ("clip", "seed", "log_every", "checkpoint_every", "held_out_every"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; give a number of at least 0")
        if self.held_out_examples < 1:
            raise UserError(f"held_out_examples is {self.held_out_examples}; give at least 1")


def names() -> list[str]:
    """Configs that can be given by their bare name."""
    folder = Path(__file__).parent / "configs"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load(given: str) -> list[Run]:
    """The stages of a config: a bare name (``rotation_photos``) or the path of any Python file with a ``run``.

    Raises:
        UserError: no such config, or the file fails or has no run.
    """
    if given.endswith(".py") or "/" in given:
        module = import_file(Path(given))
    elif given in names():
        module = importlib.import_module(f"embodied_ssl.configs.{given}")
    else:
        raise UserError(f"no config '{given}'{suggest(given, names())}; or give the path of a .py file")
    run = getattr(module, "run", None)
    given_stages = list(run) if isinstance(run, list | tuple) else [run]
    stages = [stage for stage in given_stages if isinstance(stage, Run)]
    if not stages or len(stages) < len(given_stages):
        raise UserError(f"config '{given}' must define `run`, an embodied_ssl.config.Run or a list of them")
    return stages


def import_file(path: Path) -> types.ModuleType:
    """Run a config file as a module; files beside it can be imported, after everything installed."""
    if not path.is_file():
        raise UserError(f"no config file '{path}'; give a path that exists or one of {', '.join(names())}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"config '{path}' is not a Python file")
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that workers can find the classes it defines
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"config '{path}' cannot be read: {type(error).__name__}: {error}") from error
    return module


def with_absolute_roots(run: Run) -> Run:
    """The run with its data folders as absolute paths, so that it can be resumed and asked from anywhere."""

    def absolute(spec: DataSpec) -> DataSpec:
        parts = [str(Path(part.strip()).expanduser().absolute()) for part in spec.root.split(",") if part.strip()]
        return dataclasses.replace(spec, root=",".join(parts))  # type: ignore[type-var]

    data = {name: absolute(spec) for name, spec in run.data.items()} if isinstance(run.data, Mapping) else absolute(run.data)
    return dataclasses.replace(run, data=data)


def to_json(node: Any) -> Any:
    """A config as plain JSON values; every dataclass carries its ``type`` as ``module:Class``."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        kind = f"{type(node).__module__}:{type(node).__qualname__}"
        return {"type": kind, **{f.name: to_json(getattr(node, f.name)) for f in dataclasses.fields(node)}}
    if isinstance(node, Mapping):
        return {str(key): to_json(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [to_json(value) for value in node]
    return node


def from_json(node: Any, trusted: str = "") -> Any:
    """Rebuild what `to_json` stored. Only dataclasses of ``embodied_ssl`` are made: nothing else found in a file is run.

    Args:
        node: JSON values.
        trusted: a folder; dataclasses of modules that the caller has loaded from it are made too.

    Raises:
        UserError: the class lies elsewhere or is no longer there.
    """
    if isinstance(node, list):
        return tuple(from_json(value, trusted) for value in node)
    if not isinstance(node, Mapping):
        return node
    if "type" not in node:
        return {key: from_json(value, trusted) for key, value in node.items()}
    module, _, name = str(node["type"]).partition(":")
    loaded = getattr(sys.modules.get(module), "__file__", None) or ""
    own = OWN_MODULE.fullmatch(module)
    if not own and not (trusted and loaded and Path(loaded).is_relative_to(trusted)):
        raise UserError(f"this run was made with {node['type']}, which is not part of embodied_ssl; give its file with --config")
    try:
        kind = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise TypeError("not a config")
        return kind(**{key: from_json(value, trusted) for key, value in node.items() if key != "type"})
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"this run was made with {node['type']}, which this version cannot rebuild ({error})") from None


def with_types_of_today(node: Any) -> Any:
    """A stored config in which every ``type`` is named after the place where its class lies now, if it was moved since."""
    if isinstance(node, list):
        return [with_types_of_today(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: with_types_of_today(value) for key, value in node.items()}
    module, _, name = str(kept.get("type", "")).partition(":")
    if OWN_MODULE.fullmatch(module):
        with contextlib.suppress(ImportError, AttributeError):  # no longer there: the name stays as it was stored
            kind = getattr(importlib.import_module(module), name)
            kept["type"] = f"{kind.__module__}:{kind.__qualname__}"
    return kept


def describe(node: Any, indent: str = "") -> list[str]:
    """A config as indented lines for people."""
    lines: list[str] = []
    for name in fields_of(node):
        value = node[name] if isinstance(node, Mapping) else getattr(node, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            lines += [f"{indent}{name}: {type(value).__name__}", *describe(value, indent + "  ")]
        elif isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *describe(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value if value != '' else '-'}")
    return lines


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON configs differ, as ``key: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if old == new else [f"{path}: {json.dumps(old)} -> {json.dumps(new)}"]
