"""The benchmark's rows as aligned text or Markdown: decoding like for like first, then what a cache gives and costs."""

from __future__ import annotations

from collections.abc import Sequence

from embodied_ssl.benchmark.figures import Figures, Spread
from embodied_ssl.benchmark.video import Measured

Cells = list[str]

MET = {True: "met", False: "MISSED", None: ""}
EXPLAINED = [
    "CPU ms: processor time of all threads for one sample, median over rounds. x: how many times less than the naive loop takes,",
    "within one round: median (least..most). A cache is other work than decoding: its rows stand beside what making it costs.",
    "Approximate seeking is right on these videos, and wrong on those of variable frame rate or with open groups of pictures.",
]


def cells_of(rows: Sequence[Figures], first: str, workers: int) -> list[Cells]:
    """Head and rows; ``first`` stands over the feeds' names."""
    rates = ["/s, 1 process", f"/s, {workers} processes"]
    head = [first, "CPU ms", *rates, "x naive decord", "x naive torchcodec", "target", "", "MB held", "frames"]
    return [head, *(_cells(row) for row in rows)]


def _cells(row: Figures) -> Cells:
    return [
        row.title,
        _figure(row.cpu_ms),
        _figure(row.rate),
        _figure(row.rate_together),
        _ratio(row.over_decord),
        _ratio(row.over_torchcodec),
        f">= {row.target.decord:g}, {row.target.torchcodec:g}" if row.target else "",
        MET[row.met],
        "" if row.resident_mb is None else f"{row.resident_mb:.0f}",
        row.note or f"{row.frames} right",
    ]


def _figure(spread: Spread | None) -> str:
    return "" if spread is None else rounded(spread.median)


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{rounded(spread.median)} ({rounded(spread.least)}..{rounded(spread.most)})"


def rounded(value: float) -> str:
    """Three digits, without an exponent: 0.0482, 1.37, 24.6, 1380."""
    digits = next((places for places in range(4) if abs(value) * 10**places >= 100), 4)
    return f"{value:.{digits}f}"


def cost_cells(rows: Sequence[Figures]) -> list[Cells]:
    """Head and rows of what the caches cost; rows without one are left out."""
    found = [["cache", "build CPU s", "x real time", "target", "", "MB on disk", "GB an hour", "pays after", ""]]
    for row in rows:
        if row.cost:
            cost = row.cost
            target = f">= {cost.target:g}" if cost.target else ""
            size = [rounded(cost.bytes / 1e6), rounded(cost.gb_per_hour)]
            paid = [_paid(cost.paid_decord, "naive decord"), _paid(cost.paid_torchcodec, "naive torchcodec")]
            found.append([row.title, rounded(cost.cpu), rounded(cost.real_time), target, MET[cost.met], *size, *paid])
    return found


def _paid(samples: float | None, instead: str) -> str:
    return "" if samples is None else f"{samples:.0f} a minute of {instead}"


def tables(measured: Measured, workers: int) -> list[list[Cells]]:
    """One video's tables: triplets decoded, clips decoded, then triplets from caches and what those cost."""
    cached = [row for row in measured.rows if row.cost]
    groups = {
        "triplet of frames": [row for row in measured.rows if row.kind == "triplets" and not row.cost],
        "clip of 16 frames": [row for row in measured.rows if row.kind == "clips" and not row.cost],
        "triplet from a cache": cached,
    }
    found = [cells_of(rows, first, workers) for first, rows in groups.items() if rows]
    return [*found, cost_cells(cached)] if cached else found


def heading(measured: Measured) -> str:
    """Which video a table is of."""
    video = measured.video
    about = f"{video.size[1]}x{video.size[0]}, {measured.megabits:.1f} Mbit/s, {video.seconds} s"
    return f"{video.title}: {about}; index made once in {measured.index_cpu:.1f} CPU s"


def as_text(measured: Measured, workers: int) -> str:
    """One video's tables for a terminal."""
    lines = [heading(measured)]
    for cells in tables(measured, workers):
        lines += ["", *text_table(cells)]
    return "\n".join([*lines, ""])


def as_markdown(machine: Sequence[str], found: Sequence[Measured], workers: int) -> str:
    """A whole run as a Markdown file; ``machine`` are lines that describe it."""
    lines = ["# How fast frames are fed", "", *(f"{line}  " for line in machine), "", *EXPLAINED]
    for measured in found:
        lines += ["", f"## {heading(measured)}"]
        for cells in tables(measured, workers):
            lines += ["", *markdown_table(cells)]
    return "\n".join([*lines, ""])


def text_table(cells: Sequence[Cells]) -> list[str]:
    """Lines with aligned columns, the first to the left and the rest to the right; the first row is the head."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [_aligned(row, widths) for row in cells]
    return [lines[0], "-" * max(len(line) for line in lines), *lines[1:]]


def _aligned(row: Cells, widths: Sequence[int]) -> str:
    rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()


def markdown_table(cells: Sequence[Cells]) -> list[str]:
    """The same as Markdown."""
    head, *rows = [f"| {' | '.join(row)} |" for row in cells]
    return [head, f"|---|{'---:|' * (len(cells[0]) - 1)}", *rows]
