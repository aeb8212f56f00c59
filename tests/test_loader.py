"""The feed: every sample in its turn, whatever the workers, ranks, micro-batches and broken files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest
import torch
from made_up import Listed, Number, numbers

from embodied_ssl.core import Example, Plan
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import UserError
from embodied_ssl.loader import LANES, Fed, Feed, Stream, _Examples


def stream(count: int, batch_size: int, copies: int = 1, bad: Sequence[int] = (), name: str = "") -> Stream:
    return Stream(name, numbers(count, bad), Number(copies), batch_size)


def feed(one: Stream, **settings: int) -> Feed:
    return Feed({one.name: one}, 0, **settings)


def seen(batches: Mapping[str, torch.Tensor]) -> list[tuple[int, float]]:
    return list(zip(batches["number"].tolist(), batches["luck"].tolist(), strict=True))


def numbers_of(fed: Iterable[Fed]) -> list[int]:
    return [number for one in fed for number in one.batch["number"].tolist()]


def test_an_epoch_is_a_permutation() -> None:
    order = stream(20, 4).order(0, seed=0)
    assert sorted(order) == list(range(20))


def test_epochs_seeds_and_tasks_have_orders_of_their_own() -> None:
    orders = [
        stream(20, 4).order(0, 0),
        stream(20, 4).order(1, 0),
        stream(20, 4).order(0, 1),
        stream(20, 4, name="t").order(0, 0),
    ]
    assert len({tuple(order) for order in orders}) == 4


def test_the_tail_that_fills_no_batch_is_left_out_but_not_always_the_same() -> None:
    one = stream(10, 4)
    assert one.steps_per_epoch == 2
    left_out = {i for epoch in range(30) for i in set(range(10)) - set(one.order(epoch, 0).tolist())}
    assert left_out == set(range(10))


@pytest.mark.parametrize(("count", "batch"), [(3, 12), (3, 7), (1, 5), (5, 64)])
def test_a_source_smaller_than_a_batch_is_repeated_evenly(count: int, batch: int) -> None:
    one = stream(count, batch)
    assert one.steps_per_epoch == 1
    times = Counter(one.order(0, 0).tolist())
    assert sum(times.values()) == batch
    assert max(times.values()) - min(times[i] for i in range(count)) <= 1


def test_a_sample_drawn_twice_in_an_epoch_is_drawn_differently() -> None:
    batch = next(feed(stream(2, 8)).batches(0, 1)).batch
    assert Counter(batch["number"].tolist()) == {0: 4, 1: 4}
    assert len(set(batch["luck"].tolist())) == 8


def test_a_sample_is_drawn_differently_in_the_next_epoch() -> None:
    first, second = (dict(seen(fed.batch)) for fed in feed(stream(4, 4)).batches(0, 2))
    assert first.keys() == second.keys()
    assert all(first[number] != second[number] for number in first)


@pytest.mark.parametrize(("world", "accumulate"), [(1, 4), (2, 2), (4, 1), (1, 2)])
def test_ranks_and_micro_batches_only_cut_the_same_batch(world: int, accumulate: int) -> None:
    whole = [seen(fed.batch) for fed in feed(stream(20, 8)).batches(0, 4)]
    parts: list[list[tuple[int, float]]] = [[] for _ in range(4)]
    by_rank = [
        [seen(fed.batch) for fed in feed(stream(20, 8), accumulate=accumulate, rank=rank, world=world).batches(0, 4)]
        for rank in range(world)
    ]
    for step in range(4):
        for micro in range(accumulate):
            for rank in range(world):
                parts[step] += by_rank[rank][step * accumulate + micro]
    assert parts == whole


def test_starting_late_gives_what_would_have_come() -> None:
    straight = [seen(fed.batch) for fed in feed(stream(10, 4)).batches(0, 7)]
    assert [seen(fed.batch) for fed in feed(stream(10, 4)).batches(3, 7)] == straight[3:]


def test_bad_items_are_replaced_by_the_next_of_the_epochs_order() -> None:
    order = numbers_of(feed(stream(12, 4)).batches(0, 3))
    bad = order[5]
    fed = list(feed(stream(12, 4, bad=[bad])).batches(0, 3))
    expected = [order[6] if number == bad else number for number in order]
    assert numbers_of(fed) == expected
    assert [one.bad for one in fed] == [(), ((f"item {bad}", "broken on purpose"),), ()]


def test_a_bad_item_at_the_end_of_the_order_is_replaced_by_the_first() -> None:
    order = stream(6, 3).order(0, 0)
    fed = list(feed(stream(6, 3, bad=[int(order[-1])])).batches(0, 2))
    assert fed[1].batch["number"][-1] == order[0]


def test_many_bad_items_keep_the_batch_size() -> None:
    bad = [i for i in range(40) if i % 4]
    for fed in feed(stream(40, 8, bad=bad)).batches(0, 5):
        assert fed.batch["number"].shape == (8,)
        assert not set(fed.batch["number"].tolist()) & set(bad)


def test_the_index_is_that_of_the_sample_that_stood_in() -> None:
    for fed in feed(stream(12, 4, bad=[3, 5])).batches(0, 3):
        assert torch.equal(fed.batch["index"], fed.batch["number"])


def test_nothing_but_bad_items_is_said() -> None:
    with pytest.raises(UserError, match=r"\d+ items of one batch could not be read, the first: item \d+: broken on purpose"):
        next(feed(stream(40, 1, bad=range(40))).batches(0, 1))
    with pytest.raises(UserError, match="could not be read"):
        next(feed(stream(2, 4, bad=range(2))).batches(0, 1))


def test_draws_of_a_long_run_are_made_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    draws = Feed.draws
    monkeypatch.setattr(Feed, "draws", lambda self, step, *rest: made.append(step) or draws(self, step, *rest))
    fed = feed(stream(20, 4)).batches(0, 10**9)
    for _ in range(3):
        next(fed)
    assert len(made) <= 4


def test_a_plans_order_is_kept_and_repeated() -> None:
    plan = Plan(np.array([5, 1, 1, 0, 7]))
    fed = list(feed(stream(12, 4)).batches(0, 3, {"": plan}))
    assert numbers_of(fed) == [5, 1, 1, 0, 7, 5, 1, 1, 0, 7, 5, 1]


def test_a_plan_without_indices_keeps_the_usual_order() -> None:
    usual = [seen(fed.batch) for fed in feed(stream(12, 4)).batches(0, 3)]
    assert [seen(fed.batch) for fed in feed(stream(12, 4)).batches(0, 3, {"": Plan()})] == usual


def test_several_examples_of_a_sample_stay_together() -> None:
    fed = next(feed(stream(10, 8, copies=4)).batches(0, 1))
    numbers_drawn = fed.batch["number"].tolist()
    assert numbers_drawn[:4] == [numbers_drawn[0]] * 4
    assert fed.batch["index"].shape == (8,)
    assert len(set(fed.batch["luck"].tolist())) == 8


def test_tasks_have_fields_and_epochs_of_their_own() -> None:
    streams = {"a": stream(4, 2, name="a"), "b": stream(6, 3, name="b")}
    fed = list(Feed(streams, 0).batches(0, 4))
    assert set(fed[0].batch) == {"a/number", "a/luck", "a/index", "b/number", "b/luck", "b/index"}
    for first, second in ((0, 1), (2, 3)):
        assert sorted(fed[first].batch["a/number"].tolist() + fed[second].batch["a/number"].tolist()) == [0, 1, 2, 3]
        assert sorted(fed[first].batch["b/number"].tolist() + fed[second].batch["b/number"].tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_task_reads_the_same_beside_others() -> None:
    alone = Feed({"a": stream(10, 2, name="a")}, 0).batches(0, 3)
    together = Feed({"b": stream(7, 3, name="b"), "a": stream(10, 2, name="a")}, 0).batches(0, 3)
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.batch["a/number"], two.batch["a/number"])
        assert torch.equal(one.batch["a/luck"], two.batch["a/luck"])


def test_in_order_gives_every_sample_once_and_ignores_the_runs_seed() -> None:
    ends = []
    for seed in (0, 1):
        fed = Feed({"": stream(10, 4)}, seed).in_order("", range(10), key="held out")
        ends.append([pair for one in fed for pair in seen(one.batch)])
    assert [number for number, _ in ends[0]] == list(range(10))
    assert ends[0] == ends[1]


def test_feeding_moves_no_generator() -> None:
    """A run must not end differently because somebody looked at its data."""
    before = torch.get_rng_state()
    list(feed(stream(10, 4)).batches(0, 3))
    list(feed(stream(10, 4)).in_order("", range(5), key="held out"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [0, -4, 6])
def test_a_batch_that_is_no_whole_number_of_samples_is_refused(size: int) -> None:
    with pytest.raises(UserError, match=f"batch size {size} must be a positive multiple of 4"):
        stream(10, size, copies=4)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"24 examples \(6 samples\) does not divide into 2 micro-batches on 2 ranks.* 16$"):
        feed(stream(10, 24, copies=4), accumulate=2, world=2)


def test_no_samples_are_refused() -> None:
    with pytest.raises(UserError, match="made up holds no samples to train on"):
        Feed({"": Stream("", Listed([]), Number(), 4)}, 0)


# --- examples of one window go to different steps -----------------------------------------------------------------------


class Counted(Number):
    """Spreads its examples, and counts how often it is asked to draw."""

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.spread = True
        self.drawn = 0

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        self.drawn += 1
        return super().draw(sample, rng)


def spread(count: int = 40, batch: int = 8, copies: int = 4, **settings: int) -> tuple[Feed, Counted]:
    view = Counted(copies)
    return Feed({"": Stream("", numbers(count), view, batch)}, 0, **settings), view


def test_a_batch_comes_from_as_many_windows_as_examples() -> None:
    for fed in spread(count=400)[0].batches(0, 12):
        assert len(set(fed.batch["number"].tolist())) == 8
        assert fed.batch["luck"].shape == fed.batch["index"].shape == (8,)


def test_every_example_of_every_window_comes_once() -> None:
    """A window of step s gives its last example LANES * (copies - 1) steps later; those of 20 whole steps are all in 20 + 6."""
    whole, _ = spread()
    together = Feed({"": Stream("", numbers(40), Number(4), 8)}, 0)
    wanted = Counter(luck for fed in together.batches(0, 20) for luck in fed.batch["luck"].tolist())
    found = Counter(luck for fed in whole.batches(0, 20 + 3 * LANES) for luck in fed.batch["luck"].tolist())
    assert max(found.values()) == 1
    assert wanted.keys() <= found.keys()


@pytest.mark.parametrize("lanes_met", [True, False])
def test_a_window_is_drawn_once_by_the_worker_that_meets_it_again(lanes_met: bool) -> None:
    one, view = spread()
    draws = [one._plan_draws(0, 40, {})]
    examples = _Examples(one.streams, 0, one._room())
    for step, some in enumerate(draws[0]):
        if step % LANES == 0 or not lanes_met:
            for draw in some:
                examples[draw]
    filling = 3 * LANES * 2
    assert view.drawn == (40 * 2 + filling) // (LANES if lanes_met else 1)
    assert len(examples.kept) <= one._room()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_about_spread_examples(workers: int) -> None:
    alone = [seen(fed.batch) for fed in spread()[0].batches(0, 15)]
    assert [seen(fed.batch) for fed in spread(workers=workers)[0].batches(0, 15)] == alone


def test_starting_late_gives_the_same_spread_examples() -> None:
    whole = [seen(fed.batch) for fed in spread(accumulate=2)[0].batches(0, 30)]
    assert [seen(fed.batch) for fed in spread(accumulate=2)[0].batches(11, 30)] == whole[22:]


def test_ranks_cut_the_same_spread_batch() -> None:
    whole = [Counter(seen(fed.batch)) for fed in spread()[0].batches(0, 9)]
    ranks = [[seen(fed.batch) for fed in spread(rank=rank, world=2)[0].batches(0, 9)] for rank in range(2)]
    assert [Counter(first + second) for first, second in zip(*ranks, strict=True)] == whole


def test_a_plan_keeps_a_windows_examples_together() -> None:
    plan = Plan(np.array([5, 1, 7, 0]))
    fed = list(spread()[0].batches(0, 2, {"": plan}))
    assert numbers_of(fed) == [5] * 4 + [1] * 4 + [7] * 4 + [0] * 4


def test_evaluation_sees_a_windows_examples_together() -> None:
    fed = next(spread()[0].in_order("", [3, 9], "questions"))
    assert fed.batch["number"].tolist() == [3] * 4 + [9] * 4
