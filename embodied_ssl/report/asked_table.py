"""What each method of a study was asked, and how it answered on held-out data, beside the same network untrained and chance.

A network that does not answer its own question cannot be blamed on the question; one that answers too well has found a way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import t_interval

HEAD = ("method", "asked", "seeds", "answered", "untrained", "chance", "held-out examples")


@dataclass(frozen=True)
class AskedTable:
    """A section of a report, and lines of a table.

    Attributes:
        title: of the section.
        asked: the method's name and the pretext rows of one of its seeds, as `evaluation.pretext.evaluate_pretext` gives them.
    """

    title: str
    asked: Sequence[tuple[str, Sequence[Score]]]

    def lines(self) -> list[tuple[str, ...]]:
        """One a method and figure: the mean over seeds, with their deviation and Student's interval where there are several."""
        found: dict[tuple[str, str], list[tuple[Score, Score]]] = {}
        for name, scores in self.asked:
            untrained = {(score.protocol, score.metric): score for score in scores if score.role == "random"}
            for score in scores:
                if score.role == "run":
                    what = f"{score.protocol.removeprefix('pretext').strip()} {score.metric}".strip().replace("_", " ")
                    found.setdefault((name, what), []).append((score, untrained[score.protocol, score.metric]))
        return [(name, what, *_cells(pairs)) for (name, what), pairs in found.items()]

    def html(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in HEAD)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in self.lines())
        return f'<div class="wide"><table class="plain"><tr>{head}</tr>{rows}</table></div>' if rows else ""


def _cells(pairs: Sequence[tuple[Score, Score]]) -> tuple[str, ...]:
    """Seeds, answered, untrained, chance, examples: of each seed's run and its untrained twin."""
    run = pairs[0][0]
    mean, std, estimate = t_interval([trained.value for trained, _ in pairs])
    if len(pairs) > 1:
        answered = f"{mean:.3f} ± {std:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
    else:
        answered = f"{mean:.3f}" + (f" [{run.interval[0]:.3f}, {run.interval[1]:.3f}]" if run.interval else "")
    untrained = sum(score.value for _, score in pairs) / len(pairs)
    chance = run.settings.get("chance")
    return str(len(pairs)), answered, f"{untrained:.3f}", "–" if chance is None else f"{chance:.3f}", str(run.n)
