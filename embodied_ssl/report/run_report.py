"""The report of one run folder, from what lies in it: training, what was found, what the features are worth, what was skipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from embodied_ssl.core import Panel
from embodied_ssl.datasets.motion import Axis
from embodied_ssl.errors import BadItem
from embodied_ssl.evaluation.scores import Score, load_scores
from embodied_ssl.files import atomic, read_lines, write_json
from embodied_ssl.report.figures import contact_sheet, png
from embodied_ssl.report.report import (
    BadItems,
    Commands,
    Curves,
    Facts,
    Notes,
    Patterns,
    PictureRows,
    ScoreTable,
    Section,
    write_report,
)
from embodied_ssl.report.vitals import Vitals

VIEWS, ANSWERS, LOOKS = "views", "answers", "attention"  # the folders of a run in which rows of pictures are kept

READING = (
    "The same network untrained (three seeds) and plain descriptors stand beside every figure; a gain smaller than what "
    "untrained seeds differ by is not called one.",
    "Layer and strength are chosen by cross-validation on the train part; test pictures choose nothing.",
)

READING_ANSWERS = (
    "Asked at the end of training, about recordings and things never trained on. A green rim: right; a red, darker one: wrong. "
    "A few examples; the figures over all of them are below."
)

READING_LOOKS = (
    "Bright: where activations are strong, squared and summed over channels, scaled to each map's own range. Held-out pictures, "
    "where there are some; of each, the middle square."
)


def run_sections(
    folder: Path,
    scores: Sequence[Score],
    panels: Sequence[Panel] = (),
    facts: Mapping[str, object] | None = None,
    answers: Sequence[Panel] = (),
    looks: Sequence[Panel] = (),
) -> list[Section]:
    """The sections of a run's report.

    Args:
        folder: made by pretrain.
        scores: of `embodied_ssl evaluate`; may be empty.
        panels: what the views made of the data.
        facts: further lines for the first section.
        answers: what the methods drew of the trained network's answers.
        looks: where the trained network is active.
    """
    card = json.loads((folder / "backbone" / "card.json").read_text())
    origin = card["origin"]
    first = {
        "backbone": card["architecture"]["name"],
        "method": origin["method"].removesuffix("Config"),
        "steps": origin["steps"],
        "examples seen": origin["examples_seen"],
        "seed": origin["seed"],
        **{f"data for {name}" if name != "data" else name: what for name, what in origin["data"].items()},
        **(facts or {}),
    }
    bad = [BadItem(row["name"], row["reason"]) for row in read_lines(folder / "bad_items.jsonl")]
    splits = dict.fromkeys(f"{s.dataset}: {s.settings['split']}" for s in scores if s.settings.get("split"))
    return [
        Facts("What was run", first),
        ScoreTable("What the features are worth", [s for s in scores if not s.protocol.startswith("pretext")]),
        PictureRows("What the network is asked", panels, "Drawn by the views that trained it."),
        PictureRows("What the network answers", answers, READING_ANSWERS),
        PictureRows("Where the network looks", looks, READING_LOOKS),
        *_found(folder),
        Curves("Training", folder / "log.jsonl", "Held-out: recordings and things never trained on. Dashed: chance."),
        Vitals("Do features collapse?", folder / "log.jsonl"),
        Notes("How to read this", [*splits, *READING] if scores else []),
        Commands("Go on", [f"embodied-ssl evaluate {folder} --on SCENES", f"embodied-ssl embed {folder} --on PICTURES"]),
        BadItems("What could not be read", bad),
    ]


def write_run_report(
    folder: Path, panels: Sequence[Panel] = (), answers: Sequence[Panel] = (), looks: Sequence[Panel] = ()
) -> Path:
    """Write ``report.html`` into a run folder, with all evaluations that lie there.

    Args:
        folder: made by pretrain.
        panels: what the views made of the data; kept in the folder, and read from there when none are given.
        answers: what the methods drew of the trained network's answers; kept and read likewise.
        looks: where the trained network is active; kept and read likewise.
    """
    rows = {}
    for place, given in ((VIEWS, panels), (ANSWERS, answers), (LOOKS, looks)):
        if given:
            keep_panels(folder / place, given)
        rows[place] = given or kept_panels(folder / place)
    scores = [score for path in sorted((folder / "evaluation").glob("*.json")) for score in load_scores(path)]
    sections = run_sections(folder, scores, rows[VIEWS], answers=rows[ANSWERS], looks=rows[LOOKS])
    return write_report(folder / "report.html", sections, folder.name)


def keep_panels(place: Path, panels: Sequence[Panel]) -> None:
    """Keep rows of pictures as they are shown: ``N.png`` with their captions in ``captions.json``."""
    for number, panel in enumerate(panels):
        with atomic(place / f"{number}.png") as file:
            file.write(png(contact_sheet([panel])))
    write_json(place / "captions.json", [caption for caption, _ in panels])


def kept_panels(place: Path) -> list[Panel]:
    """The rows that `keep_panels` kept, each as one wide picture; those that cannot be read are left out."""
    try:
        captions = json.loads((place / "captions.json").read_text())
    except (OSError, ValueError):
        return []
    rows = [(caption, cv2.imread(str(place / f"{number}.png"))) for number, caption in enumerate(captions)]
    return [(caption, torch.from_numpy(row[None, ..., ::-1] / 255).movedim(-1, 1)) for caption, row in rows if row is not None]


def _found(folder: Path) -> list[Section]:
    """Motion patterns, for every task that found some."""
    sections: list[Section] = []
    for path in sorted(folder.glob("found*.json")):
        found: dict[str, Any] = json.loads(path.read_text())
        rows = found.get("patterns", [])
        if not rows:
            continue
        drawn = found["points"]
        axes = [Axis(**axis) for axis in drawn["axes"]]
        task = path.stem.removeprefix("found").removeprefix("_")
        sections.append(
            Patterns(
                f"Motion patterns{f' of {task}' if task else ''}",
                np.array([[row[axis.name] for axis in axes] for row in rows]),
                [row["share"] for row in rows],
                [row["name"] for row in rows],
                np.array(drawn["motions"]),
                np.array(drawn["patterns"]),
                axes,
                found.get("motion_unit", ""),
                found.get("missing", []),
            )
        )
    return sections
