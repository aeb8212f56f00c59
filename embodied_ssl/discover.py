"""What there is: methods, data readers and configs are found by looking into their folders, so nothing is registered."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from embodied_ssl import config
from embodied_ssl.core import Method
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.evaluation.protocol import AnyProtocol, OnFeatures, OnNetworks

HERE = Path(__file__).parent
PLAIN = ("FrameFolders", "ClassFolder", "PictureFolder", "VideoFolder")  # readers of any folder, not of one data set


def modules(folder: str) -> Iterator[ModuleType]:
    """Import every module in a folder of the package, in the order of their names."""
    for found in pkgutil.walk_packages([str(HERE / folder)], f"embodied_ssl.{folder.replace('/', '.')}."):
        if not found.ispkg:
            yield importlib.import_module(found.name)


def methods() -> dict[str, type[Method]]:
    """Every method by the name of its file."""
    return {module.__name__.rsplit(".", 1)[1]: kind for module in modules("methods") for kind in _own(module, Method)}


def protocols() -> dict[str, type[AnyProtocol]]:
    """Every protocol of transfer by its name: those on features first, then those that train networks."""
    on_features = [kind for module in modules("evaluation/protocols") for kind in _own(module, OnFeatures)]
    on_networks = [kind for module in modules("evaluation/protocols") for kind in _own(module, OnNetworks)]
    ordered: list[type[AnyProtocol]] = [
        *sorted(on_features, key=lambda kind: kind.cost),
        *sorted(on_networks, key=lambda kind: kind.cost),
    ]
    return {kind.name: kind for kind in ordered}


def specs() -> list[type[DataSpec]]:
    """Every reader of data."""
    return [kind for module in modules("datasets") for kind in _own(module, DataSpec)]


def specs_for(folder: Path) -> list[type[DataSpec]]:
    """The readers that recognise a folder: the most specific first, a plain folder of pictures or videos last."""
    ordered = sorted(specs(), key=lambda kind: (PLAIN.index(kind.__name__) if kind.__name__ in PLAIN else -1, kind.__name__))
    return [kind for kind in ordered if kind.recognises(folder)]


def first_sentence(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0]


def configs() -> dict[str, str]:
    """Installed configs and the first line of each."""
    found = {}
    for name in config.names():
        text = (HERE / "configs" / f"{name}.py").read_text()
        found[name] = text.split('"""')[1].strip().split("\n")[0] if '"""' in text else ""
    return found


def _own(module: ModuleType, base: type) -> list[Any]:
    """Concrete subclasses that a module itself defines."""
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__ and not inspect.isabstract(kind)
    ]
