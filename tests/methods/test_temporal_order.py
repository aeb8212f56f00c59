"""Temporal order: which frames are chosen, that nothing but the picture gives the answer away, and what a head can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_up import MemoryFrames
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Step
from embodied_ssl.datasets.io.numbered import numbered
from embodied_ssl.datasets.windows import draw_window
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.video.temporal_order import (
    TUPLES,
    FiveFrames,
    TemporalOrder,
    TemporalOrderConfig,
    ask_tuples,
    draw_evenly,
    midranks,
    pick_tuples,
    tilt,
    tuple_weights,
)
from embodied_ssl.views.marks import RIGHT, WRONG
from embodied_ssl.views.pixels import network_input, unnormalise


def uncut(motion: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.zeros(len(motion), np.int64)


# --- which frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "tau_min", "tau_max"), [(33, 15, 60), (34, 15, 60), (60, 15, 60), (91, 15, 60), (400, 15, 60), (5, 1, 2), (50, 3, 8)]
)
def test_five_frames_obey_every_distance(n: int, tau_min: int, tau_max: int) -> None:
    rng = generator("five", n, tau_min)
    motion = rng.random(n).astype(np.float32)
    a, b, c, d, e = pick_tuples(motion, uncut(motion), tau_min, tau_max, 2000, rng).T
    assert np.all((a >= 0) & (a < b) & (b < c) & (c < d) & (d < e) & (e < n))
    assert np.all(d - b <= tau_max)
    for outer in (b - a, e - d):
        assert np.all((tau_min <= outer) & (outer <= max(tau_min, tau_max)))


def test_the_shortest_video_gives_its_only_tuple() -> None:
    assert (
        pick_tuples(np.ones(33, np.float32), np.zeros(33, np.int64), 15, 60, 2, generator(0)).tolist()
        == [[0, 15, 16, 17, 32]] * 2
    )


def test_every_place_in_every_shot_is_equally_likely() -> None:
    """With room for one shape only, its places are counted: 3 in a shot of 7, 1 in one of 5, none in one of 4."""
    shots = np.repeat([0, 1, 2], [7, 4, 5])
    drawn = draw_evenly(shots, 1, 2, 8000, generator("places"))
    five = drawn[(drawn == drawn[:, :1] + np.arange(5)).all(1)]
    starts, counts = np.unique(five[:, 0], return_counts=True)
    assert starts.tolist() == [0, 1, 2, 11]
    assert counts / len(five) == pytest.approx(0.25, abs=0.03)


def test_every_part_of_a_long_video_is_drawn() -> None:
    drawn = pick_tuples(np.ones(300, np.float32), np.zeros(300, np.int64), 15, 60, 3000, generator("whole"))
    assert drawn[:, 0].min() < 3
    assert drawn[:, 4].max() > 296


def test_still_stretches_are_avoided() -> None:
    motion = np.zeros(600, np.float32)
    motion[300:330] = 20
    drawn = pick_tuples(motion, uncut(motion), 15, 60, 500, generator("still"))
    near = (np.abs(drawn[:, [0, 2, 4]] - 315) <= 18).any(1)
    assert near.mean() > 0.95


def test_the_tilt_brings_the_mean_to_nothing() -> None:
    rng = np.random.default_rng(0)
    lead, weight = rng.uniform(-0.5, 0.8, 500), rng.random(500)
    factor = tilt(lead, weight)
    assert (lead * weight * factor).sum() / (weight * factor).sum() == pytest.approx(0, abs=1e-5)
    assert np.log(tilt(np.array([0.1, 0.2]), np.ones(2))) == pytest.approx([-1.2, -2.4], abs=1e-4)  # as steep as is allowed


def test_midranks_are_the_share_below_and_half_of_the_equal() -> None:
    values = np.random.default_rng(0).integers(0, 9, 50).astype(np.float64)
    slow = [((values < value).sum() + (values == value).sum() / 2) / 50 for value in values]
    assert midranks(values) == pytest.approx(slow)


def bursts() -> NDArray[np.float32]:
    """Motion of 2,000 frames: still for the most part, with short bursts."""
    rng = generator("bursts")
    motion = np.full(2000, 0.2)
    for start in rng.integers(0, 1980, 25):
        motion[start : start + int(rng.integers(4, 20))] += rng.uniform(5, 30)
    return motion.astype(np.float32)


def auc(middle: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    return float(roc_auc_score(np.r_[np.ones(len(middle)), np.zeros(len(others))], np.r_[middle, others]))


def shots_of(count: int) -> NDArray[np.int64]:
    """Shots of 40 to 200 frames."""
    rng = generator("shots")
    return np.repeat(np.arange(count), rng.integers(40, 200, count))[:count].astype(np.int64)


def from_windows(motion: NDArray[np.float32], shots: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Tuples as the view draws them: one window after another, sixteen tuples from each."""
    frames, rng = MemoryFrames(np.zeros((len(motion), 2, 2, 3), np.uint8), motion), generator("windows")
    frames.shots = shots
    drawn: list[NDArray[np.int64]] = []
    while len(drawn) * 16 < count:
        window = draw_window(frames, 200, 33, rng)
        five = pick_tuples(window.motion, window.shots, 15, 60, 16, rng)
        drawn.append(window.numbers[five])  # type: ignore[attr-defined]
    return np.concatenate(drawn)


@pytest.fixture(scope="module", params=["whole", "cut", "windows", "cut windows"])
def drawn(request: pytest.FixtureRequest) -> NDArray[np.int64]:
    rng, motion = generator("leak"), bursts()
    shots = shots_of(len(motion)) if "cut" in request.param else uncut(motion)
    if "windows" in request.param:
        return from_windows(motion, shots, 20_000)
    return np.concatenate([pick_tuples(motion, shots, 15, 60, 10, rng) for _ in range(2000)])


def test_the_middle_frames_motion_does_not_give_the_answer_away(drawn: NDArray[np.int64]) -> None:
    motion = bursts()
    assert auc(motion[drawn[:, 2]], motion[drawn[:, [0, 4]]].ravel()) == pytest.approx(0.5, abs=0.02)


def test_the_end_frames_do_not_give_the_answer_away(drawn: NDArray[np.int64]) -> None:
    """Their motion, and what lies between them, in the tuples in order and in those that are not."""
    motion = bursts()
    ends = [np.minimum(motion[drawn[:, first]], motion[drawn[:, last]]) for first, _, last in TUPLES]
    gaps = [np.abs(drawn[:, last] - drawn[:, first]) for first, _, last in TUPLES]
    for each in (ends, gaps):
        assert auc(each[0], np.r_[each[1], each[2]]) == pytest.approx(0.5, abs=0.02)


def test_no_tuple_spans_a_cut() -> None:
    motion, shots = bursts(), shots_of(2000)
    for five in from_windows(motion, shots, 2000):
        assert len(set(shots[five].tolist())) == 1


def test_the_naive_rule_would_give_it_away() -> None:
    """The control: c drawn by motion, the others evenly around it."""
    rng, motion = generator("naive"), bursts()
    c = rng.choice(np.arange(120, 1880), 20_000, p=motion[120:1880].astype(np.float64) / motion[120:1880].sum(dtype=np.float64))
    others = np.stack([c - rng.integers(16, 90, len(c)), c + rng.integers(16, 90, len(c))], axis=1)
    assert auc(motion[c], motion[others].ravel()) > 0.55


def test_the_distances_to_the_ends_mirror_each_other(drawn: NDArray[np.int64]) -> None:
    before, after = drawn[:, 1] - drawn[:, 0], drawn[:, 4] - drawn[:, 3]
    assert before.mean() == pytest.approx(after.mean(), rel=0.02)


def test_end_frames_are_the_same_in_all_three_questions(drawn: NDArray[np.int64]) -> None:
    assert [order[0] for order in TUPLES] == [1, 1, 1]
    assert [order[2] for order in TUPLES] == [3, 3, 3]


# --- the view ---------------------------------------------------------------------------------------------------------


def video(frames: int = 72, moving: bool = True) -> MemoryFrames:
    return MemoryFrames(np.stack([numbered(i if moving else 0, period=2 * frames) for i in range(frames)]))


def test_a_video_that_is_too_short_is_a_bad_item_that_says_what_it_takes() -> None:
    view = FiveFrames(16, 15, 60, 1.0, (0.5, 1.0))
    with pytest.raises(BadItem, match="32 frames are too few: 33 are needed without a cut"):
        view.draw({"frames": video(32)}, generator(0))
    view.draw({"frames": video(33)}, generator(0))


def test_counter_examples_of_a_still_video_do_not_count() -> None:
    view = FiveFrames(16, 15, 60, 1.0, (0.5, 1.0))
    assert not view.draw({"frames": video(moving=False)}, generator(0))["counts"].any()
    assert view.draw({"frames": video()}, generator(0))["counts"].all()


def test_differences_do_not_wrap_around() -> None:
    five = np.zeros((1, 5, 4, 4, 3), np.uint8)
    five[:, 0], five[:, 2] = 128, 0  # in uint8, 0 - 128 and 128 - 0 are the same; and 255 - 0 reads as 1 the other way
    five[:, 4] = 255
    assert FiveFrames(4, 15, 60, 127.0, (0.5, 1.0))._differ(five).tolist() == [[True, True]]
    assert FiveFrames(4, 15, 60, 200.0, (0.5, 1.0))._differ(five).tolist() == [[False, True]]


def test_all_five_frames_share_one_crop_and_one_mirror() -> None:
    """In a still video five frames are equal exactly if they were cut alike."""
    view = FiveFrames(16, 15, 60, 1.0, (0.3, 0.6))
    for i in range(5):
        for five in view.draw({"frames": video(moving=False)}, generator(i))["five"]:
            assert all(np.array_equal(five[0], other) for other in five)


def test_one_tuple_of_a_video_has_no_axis_of_tuples() -> None:
    drawn = FiveFrames(16, 15, 60, 1.0, (0.5, 1.0), copies=1).draw({"frames": video()}, generator(0))
    assert drawn["five"].shape == (5, 16, 16, 3)
    assert drawn["counts"].shape == (2,)


# --- the question -----------------------------------------------------------------------------------------------------


def head(hidden: int, width: int = 4, share: float = 0.75) -> TemporalOrder:
    torch.manual_seed(0)
    return TemporalOrder(width, hidden, share, FiveFrames(16, 15, 60, 1.0, (0.5, 1.0)))


def test_asking_backwards_reverses_the_vectors_and_keeps_the_answer() -> None:
    vectors = torch.randn(2, 5, 4)
    forwards = ask_tuples(vectors, torch.zeros(2, 3, dtype=torch.bool)).view(2, 3, 3, 4)
    backwards = ask_tuples(vectors, torch.ones(2, 3, dtype=torch.bool)).view(2, 3, 3, 4)
    assert torch.equal(backwards, forwards.flip(2))
    for number, order in enumerate(TUPLES):
        assert torch.equal(forwards[:, number], vectors[:, list(order)])


def test_a_linear_head_can_only_look_at_the_middle_frame() -> None:
    """With shared ends its answers differ by a term of the middle frames alone: hence the hidden layer."""
    method, vectors, forwards = head(hidden=0), torch.randn(6, 5, 4), torch.zeros(6, 3, dtype=torch.bool)

    def differences(vectors: Tensor) -> Tensor:
        logits = method.head(ask_tuples(vectors, forwards)).squeeze(-1)
        return logits[:, 1:] - logits[:, :1]

    moved_ends = vectors.clone()
    moved_ends[:, [1, 3]] += torch.randn(6, 2, 4)
    torch.testing.assert_close(differences(moved_ends), differences(vectors))
    method = head(hidden=16)
    assert not torch.allclose(differences(moved_ends), differences(vectors), atol=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_weights_of_each_kind_add_up_to_its_share(share: float) -> None:
    counts = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    weight = tuple_weights(counts, share)
    assert weight[:, 0].sum().item() == pytest.approx(1 - share)
    assert weight[:, 1:].sum().item() == pytest.approx(share)
    assert (weight[:, 1:][~counts] == 0).all()
    assert weight.max().item() < 1


def test_without_counting_counter_examples_only_the_others_weigh() -> None:
    weight = tuple_weights(torch.zeros(3, 2, dtype=torch.bool), 0.75)
    assert (weight[:, 1:] == 0).all()
    assert weight[:, 0].sum().item() == pytest.approx(0.25)


class Given(nn.Module):
    """A backbone whose pictures are their own features."""

    def forward(self, x: Tensor) -> object:
        return type("Features", (), {"vector": x})


def positions(moving: bool, n: int) -> dict[str, Tensor]:
    """Exact places of a bar in a b c d e, going either way."""
    rng = torch.Generator().manual_seed(n)
    gaps = 0.1 + torch.rand(n, 5, generator=rng)
    place = gaps.cumsum(1) - gaps.sum(1, keepdim=True) / 2
    place = place * (torch.randint(0, 2, (n, 1), generator=rng) * 2 - 1)
    place = place if moving else place[:, :1].expand(n, 5)
    counts = torch.ones(n, 2, dtype=torch.bool)
    return {"five": place.unsqueeze(-1), "counts": counts, "backwards": torch.rand(n, 3, generator=rng) < 0.5}


@pytest.mark.parametrize("moving", [True, False])
def test_from_exact_positions_the_head_tells_a_moving_bar_and_no_still_one(moving: bool) -> None:
    method = head(hidden=32, width=1, share=0.5)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for step in range(600):
        batch = positions(moving, n=256 + step)
        optimizer.zero_grad()
        method(Given(), batch).loss.backward()
        optimizer.step()
    step_result = method(Given(), positions(moving, n=4000))
    scores = method.score(step_result.answers)
    if moving:
        assert scores["balanced_accuracy"] > 0.99
        assert scores["auc"] > 0.99
    else:
        assert scores["auc"] == pytest.approx(0.5, abs=0.02)
        assert step_result.loss.item() == pytest.approx(np.log(2), abs=0.01)


def test_a_content_blind_answer_has_the_priors_loss_and_even_odds() -> None:
    method = head(hidden=0)
    nn.init.zeros_(method.head[0].weight)
    nn.init.constant_(method.head[0].bias, method._even_odds())
    step = method(Given(), {**positions(True, 8), "five": torch.randn(8, 5, 4)})
    assert step.loss.item() == pytest.approx(0.5623, abs=1e-4)
    assert method.score(step.answers)["balanced_accuracy"] == pytest.approx(0.5)
    assert method.score(step.answers)["auc"] == pytest.approx(0.5)


def test_the_loss_of_even_odds_is_log_2() -> None:
    method = head(hidden=0, share=0.5)
    nn.init.zeros_(method.head[0].weight)
    nn.init.zeros_(method.head[0].bias)
    step = method(Given(), {**positions(True, 8), "five": torch.randn(8, 5, 4)})
    assert step.loss.item() == pytest.approx(float(F.softplus(torch.zeros(()))))


def test_a_share_or_distance_that_makes_no_sense_is_refused() -> None:
    for settings in ({"negative_share": 0.0}, {"negative_share": 1.0}, {"tau_min": 0}, {"tau_max": 1}):
        with pytest.raises(UserError, match=next(iter(settings))):
            TemporalOrderConfig(**settings)  # type: ignore[arg-type]


def test_it_runs_behind_a_real_backbone() -> None:
    backbone = BackboneConfig("conv4").build()
    method = TemporalOrderConfig(size=16, tuples=2).build(backbone)
    drawn = method.view.draw({"frames": video()}, generator(0))
    batch = method.view.render({name: torch.from_numpy(value) for name, value in drawn.items()})
    assert torch.isfinite(method(backbone, batch).loss)


def test_the_figure_shows_what_was_asked_as_it_was_asked() -> None:
    """Two videos; the second one's question with a is asked backwards and answered wrong, that with e counts nothing."""
    method = head(0)
    five = network_input(torch.randint(0, 256, (2, 5, 16, 16, 3), dtype=torch.uint8))
    backwards = torch.zeros(2, 3, dtype=torch.bool)
    backwards[1, 1] = True
    logits = torch.tensor([[9.0, -9.0, -9.0], [-9.0, 9.0, -9.0]])
    answers = {"logits": logits, "counted": torch.tensor([[1.0, 1, 1], [1, 1, 0]])}
    panels = method.figure({"five": five, "backwards": backwards}, Step(torch.zeros(()), answers=answers))
    assert [caption.rpartition(": ")[2] for caption, _ in panels] == ["1 of 2 answered right"] * 2 + ["1 of 1 answered right"]
    assert [len(pictures) for _, pictures in panels] == [2, 2, 1]
    asked, seen = panels[1][1], unnormalise(five)
    for row, order in enumerate(([1, 0, 3], [3, 0, 1])):
        for place, frame in enumerate(order):
            columns = slice(16 * place + 2, 16 * place + 14)
            torch.testing.assert_close(asked[row, :, 2:-2, columns], seen[row, frame, :, 2:-2, 2:14])
    assert [tuple(one[:, 0, 0].tolist()) for one in asked] == [pytest.approx(rim) for rim in (RIGHT, WRONG)]
