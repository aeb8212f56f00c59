"""What readers of published sets of videos share: what the official lists name must be there, all but a few files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embodied_ssl.datasets.listed import missing
from embodied_ssl.errors import BadItem, UserError

MOST_ABSENT = 0.1  # of the videos listed; a copy that lacks more is another copy


def present(folder: Path, files: Sequence[str], named_by: str) -> tuple[list[str], list[BadItem]]:
    """Which of the videos listed are there, in the order given, and the few that are not.

    Args:
        folder: where they should be.
        files: their paths below it, with forward slashes.
        named_by: the list, for the message.

    Raises:
        UserError: more than a tenth are absent.
    """
    absent = missing(folder, files)
    if len(absent) > MOST_ABSENT * len(files):
        raise UserError(
            f"'{folder}' lacks {len(absent)} of the {len(files)} videos that {named_by} lists, the first '{absent[0]}'; the copy "
            "is incomplete: unpack it again, or read what there is as a VideoFolder"
        )
    gone = set(absent)
    bad = [BadItem(f"{folder}/{file}", f"listed in {named_by}, but not there") for file in absent]
    return [file for file in files if file not in gone], bad


def check_choice(name: str, given: object, accepted: Sequence[object]) -> None:
    """Refuse a setting that is none of those accepted.

    Raises:
        UserError: says which are.
    """
    if given not in accepted:
        words = ", ".join(f"'{word}'" if isinstance(word, str) else str(word) for word in accepted)
        raise UserError(f"{name} is '{given}'; accepted are {words}: set it with --set data.{name}={accepted[-1]}")


def check_folders(root: Path, names: Sequence[str], accepted: str) -> None:
    """Refuse a root that lacks a folder of the published layout.

    Raises:
        UserError: says which, and what is accepted.
    """
    absent = [name for name in names if not (root / name).is_dir()]
    if absent:
        raise UserError(f"'{root}' has no folder {' and no '.join(absent)}; accepted is {accepted}")
