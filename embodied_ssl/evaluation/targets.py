"""Which labelled data set a folder holds: the first reader that recognises its layout, plain class folders last."""

from __future__ import annotations

from embodied_ssl import discover
from embodied_ssl.datasets.source import folders
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError, suggest


def target_spec(root: str, reader: str = "") -> TargetSpec:
    """The reader for a folder of labelled data.

    Args:
        root: the folder.
        reader: the name of a `TargetSpec` to read it with; "" for the first that recognises it.

    Raises:
        UserError: no such folder or reader, or no reader of labelled data recognises it.
    """
    paths = folders(root)
    if reader:
        known = {kind.__name__: kind for kind in discover.specs() if issubclass(kind, TargetSpec)}
        if reader not in known:
            raise UserError(f"no reader of labelled data is called '{reader}'{suggest(reader, known)}")
        return known[reader](root=root)
    if len(paths) > 1:
        raise UserError(f"'{root}' names {len(paths)} folders; labelled data is one folder: give one, or join them")
    for kind in discover.specs_for(paths[0]):
        if issubclass(kind, TargetSpec):
            return kind(root=root)
    from embodied_ssl.datasets.class_folder import ClassFolder

    return ClassFolder(root)  # refuses it with what a folder of classes needs


def open_target(root: str) -> Target:
    """The labelled data set in a folder.

    Raises:
        UserError: no such folder, an incomplete copy, fewer than two classes, or a class missing from a part.
    """
    return target_spec(root).target()
