"""Evaluate a run folder: choose the protocols, load the backbone as its card says, put all rows into one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_backbone
from embodied_ssl.distributed import choose_device
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.scores import Score, save_scores
from embodied_ssl.evaluation.targets import open_target
from embodied_ssl.evaluation.transfer import Candidate, evaluate
from embodied_ssl.views.pixels import MEAN, STD

PROTOCOLS = {
    "linear": "logistic regression on frozen features of every stage; strength and layer chosen on the train part",
    "knn": "cosine nearest neighbours, k 20, T 0.07",
    "low-shot": "logistic regression from 1 to 50 pictures a class, 10 draws",
    "pretext": "the run's own question on its own held-out recordings",
}


@dataclass(frozen=True)
class Evaluation:
    """All rows, and sentences a reader of them should know."""

    scores: list[Score]
    notes: list[str]


def preprocessing_of(card: dict[str, Any]) -> Preprocessing:
    """What pictures an exported backbone is judged on: its own mean and deviation, at its training size but at least 96 pixels.

    Small training crops show objects larger than whole pictures do, so judging at a larger size is usual and better.
    """
    stated = card.get("preprocessing", {})
    size = max(96, int(stated.get("size") or 96))
    mean, std = (tuple(stated.get(name, usual)) for name, usual in (("mean", MEAN), ("std", STD)))
    return Preprocessing(size, round(size * 7 / 6), mean, std)


def evaluate_run(
    run: Path,
    data: str,
    protocols: Sequence[str],
    config: str,
    device: str,
    workers: int,
    on_progress: Callable[[str, int, int], None],
) -> Evaluation:
    """Run protocols on a trained backbone; rows are also kept in the run folder's ``evaluation/``.

    Raises:
        UserError: an unknown protocol, no data for a protocol that needs it, or nothing trained in the folder.
    """
    if not protocols:
        raise UserError(f"no protocol was given; there is {', '.join(PROTOCOLS)}")
    for name in protocols:
        if name not in PROTOCOLS:
            raise UserError(f"no protocol '{name}'{suggest(name, PROTOCOLS)}")
    on_features = [name for name in protocols if name != "pretext"]
    if on_features and not data:
        raise UserError(f"{', '.join(on_features)} need labelled pictures; give a folder of class folders with --on")
    scores: list[Score] = []
    notes: list[str] = []
    chosen = choose_device(device)
    backbone, card = load_backbone(run)
    if "pretext" in protocols:  # first: it is quick, and what is refused is better refused before an hour of probes
        from embodied_ssl.evaluation.pretext import evaluate_pretext, lines

        asked = evaluate_pretext(run, config, chosen, max(0, workers))
        _keep(run, "pretext", asked)
        scores += asked
        notes += lines(asked)
    if on_features:
        target = open_target(data)
        seed = card.get("origin", {}).get("seed")
        architecture = BackboneConfig(**card["architecture"])
        candidate = Candidate(run.name, backbone, architecture, preprocessing_of(card), pretrain_seed=seed)
        found = evaluate([candidate], target, on_features, device=chosen, on_progress=on_progress)
        _keep(run, target.name, found)
        scores += found
        notes.append(f"{target.name}: {target.note}")
    return Evaluation(scores, notes)


def _keep(run: Path, name: str, scores: list[Score]) -> None:
    """In the run folder, for its report; a backbone on its own has none."""
    if (run / "backbone").is_dir():
        save_scores(run / "evaluation" / f"{name}.json", scores)
