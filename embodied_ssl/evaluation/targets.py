"""Which labelled data set a folder holds: the first reader that recognises its layout, plain class folders last."""

from __future__ import annotations

from embodied_ssl import discover
from embodied_ssl.datasets.source import folders
from embodied_ssl.datasets.target import Target, TargetSpec
from embodied_ssl.errors import UserError


def target_spec(root: str) -> TargetSpec:
    """The reader for a folder of labelled data.

    Raises:
        UserError: no such folder, or no reader of labelled data recognises it.
    """
    paths = folders(root)
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
