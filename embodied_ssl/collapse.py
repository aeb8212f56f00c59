"""Collapse: do features still tell pictures apart, or does everything look alike to the network? Watched in every run.

A loss can be met by giving every picture the same vector (a point) or vectors along a few directions only (a line). The figures
are of the held-out pictures that pass anyway: of the backbone's vectors for any method, and of what a method makes of two views
where it has them (`embodied_ssl.core.Method.pair`). Which figure is low depends on the network: behind a ReLU all vectors share
a large mean, and those of an untrained network lie close together. So each is held against the same network before training, on
the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from embodied_ssl.backbones import Features
from embodied_ssl.evaluation import diagnostics
from embodied_ssl.keys import generator

ROWS = 512  # vectors that are measured; more cost more and say the same
# An alarm needs both: a figure that is low in itself, and a small part of what it was before training. It does not come in the
# first steps, in which healthy features may fall together and part again (exemplars: a rank of 1.7 at step 12, 9 at step 48).
EARLY = 100
LEAST_SPREAD, SHARE_OF_SPREAD = 0.1, 0.3
LEAST_RANK, SHARE_OF_RANK = 3.0, 0.1
PREFIX = "health/"  # before the names of these figures in a run's log; a task's are under health/TASK/
EMBEDDING = "embedding_"  # before the names of figures of what the method makes of two views
WARNING = "warning"
HELP = (
    "what usually helps: a lower rate, a larger batch, more negatives; where a method has none, its predictor, its stop-gradient "
    "or a slower momentum copy"
)


@contextmanager
def watched(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """The vectors float32 [n, D] that a backbone gives meanwhile, call by call, on the CPU."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: object, features: Features) -> None:
        seen.append(features.vector.detach().float().cpu())

    hook = backbone.register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


def figures(vectors: Tensor, views: tuple[Tensor, Tensor] | None = None) -> dict[str, float]:
    """How well vectors fill their space, of `ROWS` of them at most, always the same ones.

    Args:
        vectors: the backbone's [N, D].
        views: what a method makes of two views of the same examples [M, E] each.

    Returns:
        ``spread``: the deviation of the unit vectors over its value for evenly spread ones, 1 / sqrt(D): 0 for a point, 1 at
        most. ``rank``: how many directions they fill (RankMe, centred): 1 for a line or a point, ``most_rank`` at most.
        ``uniformity``: 0 for a point, towards -4. The same of the first view, as ``embedding_spread`` and so on, with
        ``embedding_alignment``, the squared distance of two views of an example, beside ``embedding_unrelated``, that of two
        examples: only the gap between them means anything. Nothing of fewer than two vectors, or of some that are no numbers.
    """
    found = _filled(vectors[_some(len(vectors))])
    if views is not None:
        rows = _some(len(views[0]))
        first, second = views[0][rows], views[1][rows]
        of_first = _filled(first)
        if of_first and bool(second.isfinite().all()):
            of_first["alignment"] = diagnostics.alignment(first, second)
            of_first["unrelated"] = diagnostics.alignment(first, second.roll(1, 0))
        found |= {EMBEDDING + name: value for name, value in of_first.items()}
    return found


def _some(count: int) -> Tensor:
    return torch.from_numpy(generator("collapse", count).permutation(count)[:ROWS])


def _filled(vectors: Tensor) -> dict[str, float]:
    if len(vectors) < 2 or not bool(vectors.isfinite().all()):
        return {}
    std, healthy, _ = diagnostics.spread(vectors)
    return {
        "spread": std / healthy,
        "rank": diagnostics.rank_me(vectors),
        "most_rank": float(min(len(vectors) - 1, vectors.shape[1])),
        "uniformity": diagnostics.uniformity(vectors),
    }


def alarm_level(figure: str, untrained: float) -> float | None:
    """Below which a figure means collapse, from what it was before training; None for figures that raise no alarm."""
    name = figure.removeprefix(EMBEDDING)
    if name == "spread":
        return min(LEAST_SPREAD, SHARE_OF_SPREAD * untrained)
    if name == "rank":
        return min(LEAST_RANK, SHARE_OF_RANK * untrained)
    return None


def warning(step: int, now: Mapping[str, float], before: Mapping[str, float]) -> str:
    """One line for people if features collapse, "" if they do not or it is too early to say.

    Args:
        step: done so far.
        now: `figures` of the network as it stands.
        before: those of the same network before training; without them nothing can be said.
    """
    if step < EARLY:
        return ""
    for prefix, whose in (("", "the backbone"), (EMBEDDING, "the method's head")):
        for name in ("spread", "rank"):
            value, untrained = now.get(prefix + name), before.get(prefix + name)
            level = None if untrained is None else alarm_level(name, untrained)
            if value is not None and level is not None and value < level:
                return f"{_in_words(name, whose, value)} ({prefix}{name} {value:.3g}, {untrained:.3g} before training); {HELP}"
    return ""


def said(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The warnings in the lines of a run's log, as they were said."""
    return [
        spoken(row["step"], name.removeprefix(PREFIX).removesuffix(WARNING).rstrip("/"), value)
        for row in rows
        for name, value in row.items()
        if name.startswith(PREFIX) and name.endswith(f"/{WARNING}")
    ]


def spoken(step: int, task: str, line: str) -> str:
    """A warning with when and of what; ``task`` is "" in a run of one."""
    return f"step {step}: {task}: {line}" if task else f"step {step}: {line}"


def _in_words(name: str, whose: str, value: float) -> str:
    if name == "spread":
        return f"features collapse: {whose} gives all held-out pictures nearly the same vector"
    return (
        f"features collapse: what {whose} gives for held-out pictures differs along about {max(1, round(value))} directions only"
    )
