"""Tables of comma-separated values that came with a data set: read whole, and refused in plain words when they are not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from embodied_ssl.errors import UserError


def read_table(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table with a heading, by column; a column that is cut off in a row is empty there.

    Args:
        path: the file, in UTF-8.
        needed: columns that it must have.

    Raises:
        UserError: it is not there, cannot be read, lacks a column or has no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows, columns = list(reader), reader.fieldnames or ()
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; the original layout has it: add it") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read ({error}); it should be a table of comma-separated values") from None
    lacks = [column for column in needed if column not in columns]
    if lacks:
        raise UserError(f"'{path}' has no column '{lacks[0]}'; it should have {', '.join(needed)}: copy it again")
    if not rows:
        raise UserError(f"'{path}' has a heading but no rows; copy it again")
    return rows
