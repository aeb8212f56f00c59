"""Interactions to look at: before, after, depth, things and what was felt, side by side, many to a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from embodied_ssl.datasets.io.pictures import decode, encode
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.files import atomic
from embodied_ssl.sim.rows import NOTHING, grey_pixels
from embodied_ssl.sim.schema import TASKS

SIDE = 112  # pixels of a picture on the page
CAPTION = 14
COLUMNS = 4  # interactions side by side
_INK, _PAPER, _FELT, _WENT, _MARK = (30, 30, 30), 255, (200, 60, 40), (40, 90, 190), (255, 0, 255)


def sheet(rows: Sequence[Mapping[str, Any]]) -> Pixels:
    """A page uint8 [h, w, 3]; each interaction is a strip of five pictures under its caption.

    The trace shows force in red and travel in blue, each from 0 to its own largest value, which the caption tells.
    """
    strips = [_strip(row) for row in rows]
    strips += [np.full_like(strips[0], _PAPER)] * (-len(strips) % COLUMNS)
    lines = [np.hstack(strips[k : k + COLUMNS]) for k in range(0, len(strips), COLUMNS)]
    return np.vstack(lines)


def write_sheet(path: Path, folder: Path, count: int = 64) -> int:
    """Draw interactions of a folder that `simulate` has written, evenly from its beginning to its end.

    Returns:
        How many were drawn.

    Raises:
        UserError: the file cannot be written.
    """
    rows = list(_rows(folder, count))
    with atomic(path) as file:
        file.write(encode(sheet(rows)))
    return len(rows)


def _rows(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    shards = sorted(folder.glob("shard-*.parquet"))
    lengths = [pq.read_metadata(shard).num_rows for shard in shards]
    starts = np.cumsum([0, *lengths])
    for wanted in np.unique(np.linspace(0, starts[-1] - 1, count).round().astype(int)):
        number = int(np.searchsorted(starts, wanted, side="right")) - 1
        yield pq.read_table(shards[number]).slice(int(wanted - starts[number]), 1).to_pylist()[0]


def _strip(row: Mapping[str, Any]) -> Pixels:
    before, after = decode(row["before"], "before"), decode(row["after"], "after")
    pictures = [_marked(before, row), after, _depth(row), _things(row)]
    cells = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    strip = np.hstack([*cells, _trace(row), np.full((SIDE, 6, 3), _PAPER, np.uint8)])
    head = np.full((CAPTION, strip.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(head, _caption(row), (2, CAPTION - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)
    return np.vstack([head, strip])


def _caption(row: Mapping[str, Any]) -> str:
    task = TASKS[row["task"]]
    said = f"{row['index']} {task} {'+' if row['success'] else '-'} {row['shape']} {1000 * row['mass']:.0f} g"
    if task == "poke":
        said += f", {row['poke'][2]:.2f} of {row['stiffness'] / 1000:.2f} N/mm"
    if task == "push":
        place = row["acted_place"]
        moved = np.subtract(row["states_after"][7 * place : 7 * place + 2], row["states_before"][7 * place : 7 * place + 2])
        said += f", {1000 * np.hypot(*moved):.0f} mm"
    return f"{said}, {max(row['force'], default=0):.1f} N"


def _marked(picture: Pixels, row: Mapping[str, Any]) -> Pixels:
    """The picture before with the action drawn into it."""
    picture, task = picture.copy(), TASKS[row["task"]]
    action = row[task]
    y, x = round(action[0]), round(action[1])
    reach = max(2, len(picture) // 16)
    if task == "push":
        cv2.arrowedLine(picture, (x, y), (round(action[3]), round(action[2])), _MARK, 1, cv2.LINE_AA, tipLength=0.3)
    elif task == "grasp":
        angle = action[2] * np.pi / 18
        ahead = np.array([np.cos(angle), -np.sin(angle)]) * reach
        for side in (-1, 1):
            middle = np.array([x, y]) + side * ahead
            across = np.array([-ahead[1], ahead[0]]) / 2
            ends = [tuple(int(v) for v in np.rint(middle + part * across)) for part in (-1, 1)]
            cv2.line(picture, ends[0], ends[1], _MARK, 1, cv2.LINE_AA)
    else:
        cv2.circle(picture, (x, y), max(1, reach // 3), _MARK, 1, cv2.LINE_AA)
    return picture


def _depth(row: Mapping[str, Any]) -> Pixels:
    """Depth before; the nearest is white, the table dark."""
    depth = grey_pixels(row["depth_before"]).astype(np.float32)
    far, near = np.quantile(depth, 0.9), depth.min()
    grey = np.clip(255 * (far - depth) / max(far - near, 1), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _things(row: Mapping[str, Any]) -> Pixels:
    """Things before, each in a colour of its own; the one that was acted on is white."""
    places = grey_pixels(row["things_before"])
    hues = np.linspace(0, 150, 8).astype(np.uint8)
    colours = cv2.cvtColor(
        np.stack([hues, np.full(8, 200, np.uint8), np.full(8, 220, np.uint8)], axis=1)[None], cv2.COLOR_HSV2RGB
    )
    painted = np.where((places == NOTHING)[..., None], np.uint8(40), colours[0][places % 8])
    painted[places == row["acted_place"]] = 255
    return painted.astype(np.uint8)


def _trace(row: Mapping[str, Any]) -> Pixels:
    """Force and travel over the action."""
    plot = np.full((SIDE, SIDE, 3), _PAPER, np.uint8)
    for values, ink in ((row["travel"], _WENT), (row["force"], _FELT)):
        top = max(max(values, default=0), 1e-9)
        points = [(round(3 + k * (SIDE - 7) / 63), round(SIDE - 4 - (SIDE - 8) * value / top)) for k, value in enumerate(values)]
        cv2.polylines(plot, [np.array(points, np.int32)], False, ink, 1, cv2.LINE_AA)
    return plot
