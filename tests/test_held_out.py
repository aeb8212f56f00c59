"""How sure a held-out figure is: whole recordings are drawn again, not questions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from embodied_ssl.core import Method
from embodied_ssl.held_out import Replies


class Share(Method):
    """Scores the share of right answers."""

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        return {"share": float(answers["right"].mean())}


def replies(right: list[float], recordings: list[str]) -> Replies:
    return Replies(Share(), {"loss": 1.0}, {"right": torch.tensor(right).float()}, recordings)


def test_figures_are_averages_and_scores() -> None:
    assert replies([1, 0, 1, 1], ["a"] * 4).figures == {"loss": 1.0, "share": 0.75}


def test_alike_questions_about_one_recording_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, 30).astype(float).tolist()
    names = [f"{i}" for i in range(30)]
    once, often = replies(right, names), replies(np.repeat(right, 20).tolist(), np.repeat(names, 20).tolist())
    assert often.intervals()["share"] == pytest.approx(once.intervals()["share"])


def test_the_interval_is_as_wide_as_the_binomial_one() -> None:
    right = np.tile([1.0, 0.0], 50).tolist()
    low, high = replies(right, [str(i) for i in range(100)]).intervals()["share"]
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=0.25)
    assert low < 0.5 < high


def test_no_interval_without_several_recordings_or_answers_for_each_question() -> None:
    assert replies([1, 0], ["a", "a"]).intervals() == {}
    assert replies([1, 0, 1], ["a", "b"]).intervals() == {}
