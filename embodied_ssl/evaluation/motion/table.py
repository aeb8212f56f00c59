"""What was measured, as plain text: a figure a line, a method a column; then what differences say."""

from __future__ import annotations

from collections.abc import Sequence

from embodied_ssl.evaluation.motion.figures import FIGURES
from embodied_ssl.evaluation.motion.pairs import Question
from embodied_ssl.evaluation.motion.rows import Group, said
from embodied_ssl.evaluation.scores import Score

BESIDE = 4  # methods beside each other; more go below
EACH_PATTERN = ("displacement_r2", "wrong_ratio", "nearest_map")  # also shown pattern by pattern
OF_PROBE = (("r2", "R2"), ("r2_one_frame", "of one frame"), ("r2_beyond_one_frame", "beyond it"), ("mae", "mean error"))


def cell(group: Group, figure: str, place: int = 0) -> str:
    """``0.312 ± 0.010 [0.290, 0.333]``: the mean over seeds, their deviation, the 95 % interval over drives; ``-`` for none."""
    value, spread, interval = group.mean(figure, place), group.spread(figure, place), group.interval(figure, place)
    if value != value:
        return "-"
    text = f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")
    return text + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def format_table(groups: Sequence[Group], question: Question, differences: Sequence[Score]) -> str:
    """Blocks of lines: the figures of every layer, then differences."""
    layers = list(dict.fromkeys(group.layer for group in groups))
    several = len({group.name for group in groups}) < len(groups)
    parts = []
    for layer in layers if several else [""]:
        own = [group for group in groups if group.layer == layer] if several else list(groups)
        parts += [_block(own[start : start + BESIDE], question) for start in range(0, len(own), BESIDE)]
    return "\n\n".join([*parts, *([_differences(differences)] if differences else [])])


def _block(groups: Sequence[Group], question: Question) -> str:
    seeds = [f"{len(group.seeds)} seeds, " if len(group.seeds) > 1 else "" for group in groups]
    lines = [["", *(f"{group.name} ({more}{group.layer})" for group, more in zip(groups, seeds, strict=True))]]
    for figure in FIGURES:
        lines.append([figure.heading, *(cell(group, figure.name) for group in groups)])
        if figure.name in EACH_PATTERN:
            lines += [
                [f"  {name}", *(cell(group, figure.name, place) for group in groups)]
                for place, name in enumerate(question.names, start=1)
            ]
    for place, axis in enumerate(question.axes):
        lines += [[f"{axis.name}: {what}", *(cell(group, name, place) for group in groups)] for name, what in OF_PROBE]
    return _aligned(lines)


def _differences(rows: Sequence[Score]) -> str:
    lines = [["difference", "of", "", ""]]
    lines += [[f"{row.model} - {row.settings['against']}", named(row), difference_text(row), said(row)] for row in rows]
    return _aligned(lines)


def named(row: Score) -> str:
    """What a difference is of, as tables call it."""
    heading = {figure.name: figure.heading for figure in FIGURES} | dict(OF_PROBE)
    of = heading[row.settings["of"]]
    layer = f" at {row.layer}"
    return (f"{row.settings['axis']}: {of}" if "axis" in row.settings else of) + layer


def difference_text(row: Score) -> str:
    """``+0.021 [+0.004, +0.040]``."""
    low, high = row.interval or (row.value, row.value)
    return f"{row.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(one) for one in column) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(one.ljust(width) for one, width in zip(line, widths, strict=True)).rstrip() for line in lines)
