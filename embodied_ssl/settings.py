"""Settings by their dotted names: ``key=value`` from the command line into frozen dataclasses, checked against their types."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from embodied_ssl.errors import UserError, suggest

Node = TypeVar("Node")


def override(node: Node, assignment: str) -> Node:
    """Apply one ``key=value``, where key is a dotted path such as ``optimizer.rate`` or ``data.drives.root``.

    Args:
        node: a frozen dataclass (a `Run`), or a mapping of them by name.
        assignment: as given on the command line.

    Raises:
        UserError: no such key (with a suggestion), or a value of another type.
    """
    key, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--set takes key=value, not '{assignment}'")
    result = _replace(node, key.strip().split("."), text.strip(), key.strip())
    assert isinstance(result, type(node))
    return result


def _replace(node: Any, path: list[str], text: str, key: str) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(node, Mapping):
        if head not in node:
            raise UserError(f"no '{head}' in '{key}'{suggest(head, node)}")
        if not rest:
            raise UserError(f"'{key}' is a group; set one of its fields, such as {key}.{fields_of(node[head])[0]}=...")
        return {**node, head: _replace(node[head], rest, text, key)}
    if head not in fields_of(node):
        raise UserError(f"no setting '{head}' in '{key}'{suggest(head, fields_of(node))}")
    value = getattr(node, head)
    if rest:
        if not dataclasses.is_dataclass(value) and not isinstance(value, Mapping):
            raise UserError(f"'{head}' in '{key}' is a single value; it has no '{rest[0]}'")
        return dataclasses.replace(node, **{head: _replace(value, rest, text, key)})
    if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
        raise UserError(f"'{key}' is a group; set one of its fields, such as {key}.{fields_of(value)[0]}=...")
    kind = typing.get_type_hints(type(node))[head]
    return dataclasses.replace(node, **{head: parse(text, kind, key)})


def fields_of(node: Any) -> list[str]:
    """What can be set in a dataclass or mapping."""
    return list(node) if isinstance(node, Mapping) else [f.name for f in dataclasses.fields(node)]


def parse(text: str, kind: Any, key: str) -> Any:
    """A word from the command line as a value of a field's type: int, float, bool, str, Literal, or a tuple of them.

    Raises:
        UserError: says what was given and what is accepted.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if text not in arguments:
            raise UserError(f"{key}={text} is not accepted{suggest(text, [str(a) for a in arguments])}")
        return text
    if origin is tuple:
        words = [word.strip() for word in text.strip("()").split(",") if word.strip()]
        kinds = [arguments[0]] * len(words) if len(arguments) == 2 and arguments[1] is ... else list(arguments)
        if len(words) != len(kinds):
            raise UserError(f"{key}={text} needs {len(kinds)} values with commas between them")
        return tuple(parse(word, one, key) for word, one in zip(words, kinds, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{key}={text} is not accepted; give true or false")
        return text.lower() == "true"
    if kind is str:
        return text
    try:
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    except (TypeError, ValueError):
        wanted = {int: "a whole number", float: "a number"}.get(kind, str(kind))
        raise UserError(f"{key}={text} is not accepted; give {wanted}") from None
