"""A score is one figure with everything needed to judge it: whose, on what, how, how sure, and beside which baseline.

Values are shares in 0..1 (differences in -1..1); tables show per cent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.errors import UserError
from embodied_ssl.files import atomic

Role = Literal["run", "supervised", "external", "random", "descriptor"]  # in the order of tables
Hits = NDArray[np.float32]
NOT_STORED = {"hits", "replicates"}


@dataclass(frozen=True)
class Score:
    """One row.

    Attributes:
        model: as the user knows it.
        role: ``run``, or what it is a baseline as.
        dataset: the target.
        protocol: ``linear``, ``knn``, ``low-shot``, ...
        layer: where the features were taken.
        metric: ``accuracy``, ``mean_per_class_accuracy``, ``cv_accuracy`` (on the train part),
            ``minus_random`` (accuracy less that of the same network untrained), ...
        value: the figure.
        std: spread over repeats (draws, initialisation seeds); None for a single figure.
        interval: 95 %; what it covers is in ``settings["interval"]``.
        n: test items.
        shots: labelled pictures a class; None for all.
        pretrain_seed: of the network's training or initialisation; None where it does not apply or several are joined.
        settings: everything else: choice of layer (``best``, ``last``, ``every``), C, k, T, draws, preprocessing, skipped files.
        hits: share of right answers for each repeat and test item [R, n], to pair models item by item; not stored.
        replicates: for figures that are no mean over items (mean AP, mean IoU): the figure on each of the resamples of
            `statistics.resamples` [B], which are the same for every model, so that differences pair; not stored.
        main: the main figure of its protocol: what tables show.
    """

    model: str
    role: Role
    dataset: str
    protocol: str
    layer: str
    metric: str
    value: float
    std: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    shots: int | None = None
    pretrain_seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    hits: Hits | None = field(default=None, compare=False, repr=False)
    replicates: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    main: bool = False

    @property
    def choice(self) -> str:
        """How the layer was chosen: ``best`` on the train part, ``last``, or ``every``."""
        return str(self.settings.get("choice", ""))

    def to_json(self) -> dict[str, Any]:
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_STORED}
        return {**row, "interval": list(self.interval) if self.interval else None, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Score:
        """The inverse of `to_json`.

        Raises:
            UserError: a field is missing or unknown, or the role is none of ours.
        """
        names = {f.name for f in fields(cls)} - NOT_STORED
        missing, unknown = (
            sorted({"model", "role", "dataset", "protocol", "layer", "metric", "value"} - set(row)),
            sorted(set(row) - names),
        )
        if missing or unknown or row["role"] not in get_args(Role):
            wrong = (
                f"lacks {', '.join(missing)}"
                if missing
                else f"has unknown {', '.join(unknown)}"
                if unknown
                else "has no known role"
            )
            raise UserError(f"a score row {wrong}; it needs {', '.join(sorted(names))} and a role of {', '.join(get_args(Role))}")
        interval = row.get("interval")
        return cls(**{**row, "interval": tuple(interval) if interval else None})


def save_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write rows as JSON, whole or not at all."""
    text = json.dumps([score.to_json() for score in scores], indent=1, allow_nan=False)
    with atomic(path) as file:
        file.write(text.encode())


def load_scores(path: Path) -> list[Score]:
    """Read rows written by `save_scores`.

    Raises:
        UserError: no such file, or not score rows.
    """
    try:
        rows = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read scores '{path}' ({error.strerror}); give a file written by evaluate") from None
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is not a list of score rows; give a file written by evaluate")
    return [Score.from_json(row) for row in rows]


def headline(scores: Iterable[Score]) -> list[Score]:
    """The rows to show first: main figures of the chosen layers, random seeds only as their mean."""
    return [
        score
        for score in scores
        if score.main
        and score.choice in ("best", "last", "")
        and not (score.role == "random" and score.pretrain_seed is not None)
    ]


def format_value(score: Score) -> str:
    """``57.9 [55.4, 60.4]`` or, over repeats, ``43.9 ± 2.3``; differences with their sign."""
    sign = "+" if score.metric.startswith("minus_") else ""
    text = f"{100 * score.value:{sign}.1f}"
    if score.std is not None:
        text += f" ± {100 * score.std:.1f}"
    if score.interval is not None:
        text += f" [{100 * score.interval[0]:{sign}.1f}, {100 * score.interval[1]:{sign}.1f}]"
    return text


def column(score: Score) -> str:
    """The column a score belongs to: ``linear, best layer``, ``low-shot 5, last layer``, ``detection (AP50)``."""
    shots = "" if score.shots is None else f" {score.shots}"
    metric = score.settings.get("of", "accuracy" if score.metric.startswith("minus_") else score.metric)
    measured = "" if metric == "accuracy" else f" ({metric})"
    return f"{score.protocol}{shots}{measured}" + (f", {score.choice} layer" if score.choice else "")


def grid(scores: Sequence[Score]) -> tuple[list[str], list[tuple[str, Role]], dict[tuple[str, str], Score]]:
    """Rows as a table: its columns, its models with their roles, and the score in each (model, column) that has one."""
    columns = list(dict.fromkeys(column(score) for score in scores))
    models = sorted(
        dict.fromkeys((score.model, score.role) for score in scores), key=lambda model: get_args(Role).index(model[1])
    )
    return columns, models, {(score.model, column(score)): score for score in scores}


def format_table(scores: Sequence[Score]) -> str:
    """Plain text: a block a protocol, one line a model with its role; per cent, ± over repeats, [95 % interval], layer.

    Differences to the untrained network follow below, each with its interval and what it says.
    """
    shown = headline(scores)
    parts = []
    for protocol in dict.fromkeys(score.protocol for score in shown):
        columns, models, cells = grid([score for score in shown if score.protocol == protocol])
        lines = [["model", "role", *columns]]
        for model, role in models:
            found = [cells.get((model, name)) for name in columns]
            lines.append([model, role, *(f"{format_value(score)} {place(score)}".strip() if score else "-" for score in found)])
        parts.append(_align(lines))
    differences = [score for score in scores if score.metric == "minus_random"]
    if differences:
        parts.append(format_differences(differences, "minus random init"))
    return "\n\n".join(parts)


def format_differences(differences: Sequence[Score], heading: str) -> str:
    """Plain text: one line a difference, with its interval and what it says."""
    rows = [[score.model, column(score), format_value(score), verdict(score)] for score in differences]
    return _align([["model", heading, "points", ""], *rows])


def place(score: Score) -> str:
    """The layer, where it says more than the model's name."""
    return "" if score.layer == score.model else score.layer


def verdict(score: Score) -> str:
    """What a difference says: ``better`` or ``worse`` only if its interval excludes 0 and seeds alone could not explain it."""
    low, high = score.interval or (0.0, 0.0)
    if low <= 0 <= high:
        return "no clear difference"
    if abs(score.value) <= score.settings.get("seed_reach", 0.0):
        return "within what untrained seeds differ by"
    return "better" if low > 0 else "worse"


def _align(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in cells) for cells in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
