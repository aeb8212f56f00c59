"""Training on labels: the loop, fine-tuning, semi-supervised, few labels, and the supervised baseline."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.datasets.few_shots import draw_rows
from embodied_ssl.datasets.target import Division, LabelledPictures, Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import extract, weights_hash
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.protocols.few_labels import FewLabels
from embodied_ssl.evaluation.protocols.fine_tune import (
    RATES,
    ULMFIT,
    FineTune,
    one_cycle,
    one_cycle_momentum,
    spread,
)
from embodied_ssl.evaluation.protocols.semi_supervised import SIMCLR_V2, SemiSupervised, per_class
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import wilson
from embodied_ssl.evaluation.training.classifier import depth_groups, linear_classifier
from embodied_ssl.evaluation.training.loop import Labelled, Phase, Showing, parts_of, predict, shuffled, train
from embodied_ssl.evaluation.training.supervised import Supervised, train_supervised
from embodied_ssl.optim import SGD

CPU = torch.device("cpu")
SMALL = Preprocessing(size=24, resize=28)
QUICK = Showing(batch_size=16, precision="fp32")
TUNE = FineTune(epochs=6, rate=2e-2, showing=QUICK)
SEMI = SemiSupervised(shares=(0.1, 0.5), epochs=(1, 10), least_steps=10, draws=2, rates_for=16, showing=QUICK)
FEW = FewLabels(shots=(20,), examples=240, draws=2, showing=QUICK)


def pictures(labels: np.ndarray, seed: int) -> np.ndarray:
    """Noise in which the label is the brighter channel."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (len(labels), 32, 36, 3))
    pixels[np.arange(len(labels)), :, :, labels] += 80
    return pixels.astype(np.uint8)


def toy(per_class: int = 20, tests: int = 30, shuffle: bool = False, test_seed: int = 2, **about: Any) -> Target:
    shown = [np.repeat(np.arange(3), n) for n in (per_class, tests)]
    pixels = np.concatenate([pictures(labels, seed) for labels, seed in zip(shown, (1, test_seed), strict=True)])
    told = [np.random.default_rng(9).permutation(labels) for labels in shown] if shuffle else shown
    rows = np.arange(len(pixels), dtype=np.intp)
    division = Division(rows[: 3 * per_class], rows[3 * per_class :])
    return Target(
        "toy", LabelledPictures("toy", pixels, labels=np.concatenate(told)), (division,), tuple("abc"), "made up", **about
    )


def untrained(seed: int = 0) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BackboneConfig("conv4").build()


def make_job(target: Target | None = None, network: Backbone | None = None, seed: int = 0, **about: Any) -> Job:
    target, network = target or toy(), network or untrained()
    return Job("toy net", lambda: copy.deepcopy(network), SMALL, target, target.divisions[0], CPU, seed, **about)


def accuracy(scores: list[Score], shots: int | None = None) -> float:
    return next(score.value for score in scores if score.metric == "accuracy" and score.shots == shots)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: Mapping[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


@dataclass(frozen=True)
class Spy:
    """Plain SGD that writes down, at every step and for every group, rate, momentum and whether there was a gradient."""

    log: list[list[tuple[int, float, float, bool]]] = field(default_factory=list)
    rate: float = 1.0
    decay_norms: bool = True

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        engine = torch.optim.SGD(groups, lr=self.rate, momentum=0.5)

        def note(*_: object) -> None:
            found = [(g["number"], g["lr"], g["momentum"], g["params"][0].grad is not None) for g in engine.param_groups]
            self.log.append(found)

        engine.register_step_pre_hook(note)
        return engine


# The loop


def test_full_batches_through_a_frozen_trunk_are_gradient_descent_on_its_features() -> None:
    """The oracle is softmax regression by hand, on the features that `extract` gives."""
    whole = Preprocessing(size=24, resize=24)
    target = toy(per_class=6)
    squares = read_pictures(target.source, whole)
    data = Labelled(squares, squares.find(target.divisions[0].train), 3, whole)
    features = extract(untrained(), whole, squares).features["conv4"][data.rows].astype(np.float64)
    model = linear_classifier(untrained(), 3, "oracle")
    weight, bias = (p.detach().double().numpy().copy() for p in model.head.parameters())
    one_hot = np.eye(3)[data.labels]
    losses = []
    for _ in range(5):
        logits = features @ weight.T + bias
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        losses.append(-np.log((shares * one_hot).sum(1)).mean())
        slope = (shares - one_hot) / len(features)
        weight, bias = weight - 0.7 * slope.T @ features, bias - 0.7 * slope.sum(0)
    all_at_once = Showing(batch_size=18, area=(1.0, 1.0), mirror=False, precision="fp32")
    phase = Phase(5, lambda progress: (0.0, 0.7), first=1)
    plain = SGD(momentum=0.0, weight_decay=0.0)
    found = train(model, depth_groups(model, 2), [phase], data, all_at_once, plain, CPU, "oracle")
    np.testing.assert_allclose(found, losses, atol=1e-4)
    assert found[0] == pytest.approx(math.log(3), abs=0.02)
    np.testing.assert_allclose(next(iter(model.head.parameters())).detach(), weight, atol=1e-4)
    assert changed(state(untrained()), model.backbone) == set()


@pytest.mark.parametrize(("first", "batch_norm"), [(0, "train"), (0, "frozen"), (1, "train"), (1, "frozen"), (2, "train")])
def test_frozen_groups_stay_to_the_bit_and_batch_norm_can_be_frozen_alone(first: int, batch_norm: Any) -> None:
    data, _ = parts_of(make_job())
    model = linear_classifier(untrained(), 3, "freeze")
    before = state(model)
    phase = Phase(3, lambda progress: (0.1, 0.1, 0.1), first=first)
    how = dataclasses.replace(QUICK, batch_norm=batch_norm)
    train(model, depth_groups(model, 3), [phase], data, how, SGD(), CPU, "freeze")
    frozen_stages = tuple(f"backbone.net.conv{number}." for number in range(1, 2 * first + 1))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = {name for name in before if not name.startswith(frozen_stages)}
    if batch_norm == "frozen":
        expected = {name for name in expected if not name.endswith(statistics)}
    assert changed(before, model) == expected
    assert any(name.endswith(statistics) for name in before)


def test_every_pass_shows_every_picture_once_in_a_keyed_order() -> None:
    stream = shuffled(10, 4, "order", 1)
    seen = np.concatenate([next(stream) for _ in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    again = shuffled(10, 4, "order", 1)
    assert np.concatenate([next(again) for _ in range(5)]).tolist() == seen.tolist()


def test_steps_count_pictures_and_small_sets_are_their_own_batch() -> None:
    showing = Showing(batch_size=32)
    assert showing.steps(28800, 1500) == 900
    assert showing.steps(10 * 15, 15) == 10
    assert showing.steps(1, 1500) == 1


def test_groups_are_runs_of_stages_and_leave_nothing_out() -> None:
    model = linear_classifier(BackboneConfig("resnet18").build(), 3, "groups")
    groups = depth_groups(model, 3)
    assert [group.name for group in groups] == ["stem..layer2", "layer3..layer4", "head"]
    assert sum(len(group.parameters) for group in groups) == len(list(model.parameters()))
    assert [group.name for group in depth_groups(model, 6)] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    for count in (1, 7):
        with pytest.raises(UserError, match="give 2 to 6"):
            depth_groups(model, count)


# The schedule of fastai


def test_one_cycle_is_torchs_with_its_own_divisions() -> None:
    steps, rise = 401, 100
    engine = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    share = (rise + 1) / steps  # torch reaches the peak at step share * steps - 1
    torchs = OneCycleLR(
        engine,
        1e-3,
        total_steps=steps,
        pct_start=share,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25,
        final_div_factor=4000,
    )
    for step in range(steps):
        group = engine.param_groups[0]
        progress = step / (steps - 1)
        assert one_cycle(progress, 1e-3) == pytest.approx(group["lr"], rel=1e-9)
        assert one_cycle_momentum(progress) == pytest.approx(group["momentum"], rel=1e-9)
        engine.step()
        if step < steps - 1:
            torchs.step()


def test_one_cycle_at_its_ends_and_its_peak() -> None:
    assert [one_cycle(p, 1.0) for p in (0, 0.25, 1)] == pytest.approx([1 / 25, 1, 1e-5])
    assert [one_cycle_momentum(p) for p in (0, 0.25, 1)] == pytest.approx([0.95, 0.85, 0.95])
    assert one_cycle(0.125, 1.0) == pytest.approx((1 / 25 + 1) / 2)


def test_rates_are_spread_geometrically_over_groups() -> None:
    assert spread(1e-3, 100, 3) == pytest.approx((1e-5, 1e-4, 1e-3))
    assert spread(1e-2, 2.6**3, 4)[::-1] == pytest.approx((1e-2, 3.8e-3, 1.5e-3, 5.7e-4), rel=0.02)
    assert spread(1e-3, 100, 1) == (1e-3,)


def test_the_recipe_trains_the_head_first_and_then_all_at_half_the_rate() -> None:
    head, all_of_it = FineTune(showing=QUICK).phases(2e-3, 3, 96)
    assert (head.steps, head.first, all_of_it.steps, all_of_it.first) == (6, 2, 24, 0)
    assert head.rates(0)[2] == pytest.approx(2e-3 / 25)
    assert head.rates(0.99)[2] == pytest.approx(2e-3)
    assert all_of_it.rates(0) == pytest.approx([2e-6, 2e-5, 2e-4])  # one fifth of the peaks
    assert all_of_it.rates(0.3) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert all_of_it.rates(1) == pytest.approx([1e-10, 1e-9, 1e-8])


def test_the_optimiser_runs_at_the_rates_of_each_group_and_phase() -> None:
    spy = Spy()
    data, _ = parts_of(make_job(toy(per_class=16)))  # 48 pictures: 3 steps a pass
    model = linear_classifier(untrained(), 3, "spy")
    protocol = FineTune(epochs=2, showing=QUICK)
    train(model, depth_groups(model, 3), protocol.phases(2e-3, 3, 48), data, QUICK, spy, CPU, "spy")
    assert len(spy.log) == 3 + 6
    for step in range(3):
        number, rate, momentum, trained = spy.log[step][2]
        assert (number, trained, [group[3] for group in spy.log[step][:2]]) == (2, True, [False, False])
        assert rate == pytest.approx(8e-5 + (2e-3 - 8e-5) * (1 - math.cos(math.pi * step / 3 / 0.99)) / 2)
        assert momentum == pytest.approx(0.95 - 0.1 * (1 - math.cos(math.pi * step / 3 / 0.99)) / 2)
    for step in range(6):
        progress = step / 6
        rise = (1 - math.cos(math.pi * progress / 0.3)) / 2
        fall = (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2
        for (_, rate, _, trained), peak in zip(spy.log[3 + step], (1e-5, 1e-4, 1e-3), strict=True):
            expected = peak * (0.2 + 0.8 * rise) if progress < 0.3 else peak * (1e-5 + (1 - 1e-5) * fall)
            assert rate == pytest.approx(expected)
            assert trained


def test_gradual_unfreezing_goes_from_the_last_group_to_the_first() -> None:
    spy = Spy()
    data, _ = parts_of(make_job(toy(per_class=5)))  # 15 pictures: one step a pass
    model = linear_classifier(untrained(), 3, "gradual")
    protocol = dataclasses.replace(ULMFIT, epochs=2, showing=QUICK)
    train(model, depth_groups(model, 4), protocol.phases(protocol.rate, 4, 15), data, QUICK, spy, CPU, "gradual")
    assert [[group[3] for group in step].count(True) for step in spy.log] == [1, 2, 3, 4, 4]
    assert all(step[-1][3] for step in spy.log)
    last = protocol.phases(protocol.rate, 4, 15)[-1]
    assert list(last.rates(0.3))[::-1] == pytest.approx((1e-2, 3.8e-3, 1.5e-3, 5.7e-4), rel=0.02)


def test_the_rate_is_chosen_on_the_train_part_and_the_grid_widens() -> None:
    protocol = dataclasses.replace(TUNE, epochs=2, tried=(1e-4, 1e-3))
    settings = [protocol.run(make_job(toy(per_class=10, test_seed=seed)))[0].settings for seed in (2, 3)]
    assert settings[0] == settings[1]  # other test pictures change no choice
    tried = {float(rate): value for rate, value in settings[0]["fold_accuracy"].items()}
    assert set(tried) > {1e-4, 1e-3}
    assert min(tried) < settings[0]["rate"] < max(tried)
    assert tried[settings[0]["rate"]] == max(tried.values()) > min(tried.values())
    assert RATES == (1e-4, 1e-3, 1e-2, 1e-1)


# Semi-supervised


def test_one_per_cent_of_1500_pictures_of_15_classes_is_one_of_each() -> None:
    labels = np.repeat(np.arange(15), 100)
    assert (per_class(labels, 0.01), per_class(labels, 0.1), per_class(labels, 0.0001)) == (1, 10, 1)
    rows = draw_rows(labels, [str(i) for i in range(1500)], per_class(labels, 0.01), 0)
    assert len(rows) == 15
    assert np.bincount(labels[rows]).tolist() == [1] * 15


def test_trunk_and_head_follow_swavs_schedule_at_its_batch() -> None:
    swav = SemiSupervised(showing=Showing(batch_size=256))
    phase = swav.phase(20, 12811)
    assert phase.steps == round(20 * 12811 / 256)
    for progress, factor in ((0, 1), (0.59, 1), (0.6, 0.2), (0.8, 0.04), (0.99, 0.04)):  # epochs 0, 12 and 16 of 20
        assert list(phase.rates(progress)) == pytest.approx([0.01 * factor, 0.2 * factor])
    few = SemiSupervised().phase(20, 16)
    assert few.steps == 100
    assert list(few.rates(0)) == pytest.approx([0.01 / 16, 0.2 / 16])  # 16 pictures a step
    for batch in (256, 1024):
        large = dataclasses.replace(SIMCLR_V2, showing=Showing(batch_size=batch)).phase(60, 12811)
        assert list(large.rates(0)) == pytest.approx([0.005 * math.sqrt(batch)] * 2)


def test_published_subsets_are_used_and_otherwise_drawn() -> None:
    published = np.array([0, 1, 25, 26, 45, 46], np.intp)
    job = make_job(toy(subsets={"10 %": published}))
    rows = SEMI.run(job)
    by_share = {row.settings["share"]: row for row in rows if row.metric == "accuracy"}
    assert by_share[0.1].settings["subset"] == "published"
    assert by_share[0.1].settings["pictures"] == 6
    assert by_share[0.1].settings["interval"].endswith("trainings")
    assert by_share[0.5].settings["subset"].startswith("drawn")
    assert (by_share[0.1].shots, by_share[0.5].shots) == (2, 10)
    other_division = Division(job.division.train[::-1], job.division.test)  # subsets belong to the first
    elsewhere = dataclasses.replace(SEMI, shares=(0.1,), epochs=(1,)).run(dataclasses.replace(job, division=other_division))
    assert elsewhere[0].settings["subset"].startswith("drawn")
    with pytest.raises(UserError, match="as many epochs as shares"):
        SemiSupervised(shares=(0.1,))


# Few labels


@pytest.mark.parametrize(("rest", "stage"), [("new", "middle"), ("new", "conv4"), ("weights", "conv2"), ("scratch", "conv2")])
def test_the_early_stages_and_their_batch_norm_stay_to_the_bit(rest: Any, stage: str) -> None:
    protocol = dataclasses.replace(FEW, rest=rest, stage=stage)
    network = untrained()
    before = state(network)
    model, groups, last = protocol.model(copy.deepcopy(network), 24, 3, "few")
    if rest == "scratch":
        later = {name for name in before if name.startswith(("net.conv3", "net.conv4")) and "0.weight" in name}
        assert changed(before, model.backbone) >= later
    start = state(model)
    data, _ = parts_of(make_job())
    train(model, groups, [protocol.phase(len(groups), len(data))], data, QUICK, protocol.optimizer, CPU, "few")
    early = tuple(f"net.{name}" for name in network.stages[: network.stages.index(last) + 1])
    moved = changed(before, model.backbone)
    assert last == ("conv2" if stage == "middle" else stage)
    assert not any(name.startswith(early) for name in moved)
    assert moved == (set() if rest == "new" else {name for name in before if not name.startswith(early)})
    assert {name for name in start if name.startswith("head")} <= changed(start, model)


def test_rotnet_semi_block_2_of_nin_is_192x8x8_and_its_trunk_stays_to_the_bit() -> None:
    torch.manual_seed(0)
    network = BackboneConfig("nin").build()
    before = state(network)
    model, groups, last = FEW.model(network, 32, 3, "few")
    assert last == "block2"
    with torch.no_grad():
        assert model.backbone.eval()(torch.zeros(1, 3, 32, 32)).maps["block2"].shape == (1, 192, 8, 8)
    kernels = [tuple(part.weight.shape) for part in model.head.modules() if isinstance(part, nn.Conv2d)]
    assert kernels == [(192, 192, 3, 3), (192, 192, 1, 1), (192, 192, 1, 1)]
    data, _ = parts_of(dataclasses.replace(make_job(), preprocessing=Preprocessing(size=32, resize=32)))
    head = state(model.head)
    showing = Showing(batch_size=4, precision="fp32")
    short = dataclasses.replace(FEW, examples=12, showing=showing).phase(len(groups), len(data))
    assert len(train(model, groups, [short], data, showing, FEW.optimizer, CPU, "few")) == 3  # the last step is what is judged
    assert changed(before, network) == set()
    assert changed(head, model.head) == set(head)


def test_later_stages_are_not_run_where_a_new_block_replaces_them() -> None:
    model, _, _ = FEW.model(untrained(), 24, 3, "few")
    with torch.no_grad():
        assert list(model.backbone(torch.zeros(2, 3, 24, 24)).maps) == ["conv1", "conv2"]
    assert model.head.block[0].weight.shape == (192, 32, 3, 3)  # type: ignore[index, union-attr]


def test_few_labels_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="did you mean 'conv2'"):
        dataclasses.replace(FEW, stage="conv_2").run(make_job())
    with pytest.raises(UserError, match="more than the 20"):
        dataclasses.replace(FEW, shots=(100,)).run(make_job())
    with pytest.raises(UserError, match="no stages of its own"):
        dataclasses.replace(FEW, stage="conv4", rest="weights").run(make_job())
    with pytest.raises(UserError, match="no rest"):
        FewLabels(rest="own")  # type: ignore[arg-type]


# All three


@pytest.mark.parametrize(("protocol", "shots"), [(TUNE, None), (SEMI, 10), (FEW, 20)], ids=["fine-tune", "semi", "few"])
def test_colours_are_learned_and_shuffled_labels_are_chance(protocol: OnNetworks, shots: int | None) -> None:
    scores = protocol.run(make_job())
    assert accuracy(scores, shots) > 0.9
    assert accuracy(protocol.run(make_job(toy(tests=100, shuffle=True))), shots) == pytest.approx(1 / 3, abs=0.09)


@pytest.mark.parametrize(
    "protocol",
    [
        dataclasses.replace(TUNE, epochs=1),
        dataclasses.replace(SEMI, shares=(0.5,), epochs=(1,), least_steps=4),
        dataclasses.replace(FEW, shots=(5,), examples=64),
    ],
    ids=["fine-tune", "semi", "few"],
)
def test_a_seed_decides_everything_and_the_callers_network_is_let_alone(protocol: OnNetworks) -> None:
    network = untrained()
    before, luck = weights_hash(network), torch.random.get_rng_state()
    hard = toy(per_class=10, shuffle=True)
    first, again, other = (protocol.run(make_job(hard, network, seed)) for seed in (0, 0, 1))
    assert [row.to_json() for row in first] == [row.to_json() for row in again]
    for a, b in zip(first, again, strict=True):
        assert a.hits is None or np.array_equal(a.hits, b.hits)  # type: ignore[arg-type]
    assert any(not np.array_equal(a.hits, b.hits) for a, b in zip(first, other, strict=True) if a.hits is not None)  # type: ignore[arg-type]
    assert weights_hash(network) == before
    assert torch.equal(luck, torch.random.get_rng_state())


def trained_weights(seed: int) -> str:
    data, _ = parts_of(make_job())
    model = linear_classifier(untrained(), 3, seed)
    train(model, depth_groups(model, 2), [Phase(4, lambda progress: (0.1, 0.1))], data, QUICK, SGD(), CPU, seed)
    return weights_hash(model)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    assert trained_weights(0) == trained_weights(0) != trained_weights(1)


def test_rows_hold_intervals_hits_and_all_settings() -> None:
    one, several = TUNE.run(make_job()), SEMI.run(make_job())
    hits = one[0].hits
    assert hits is not None
    assert one[0].interval == wilson(int(hits.sum()), 90)[1:]
    assert one[0].settings["rates"] == pytest.approx({"conv1..conv2": 1e-4, "conv3..conv4": 1e-3, "head": 1e-2})
    for protocol, rows in ((TUNE, one), (SEMI, several)):
        names = {f.name for f in dataclasses.fields(protocol)}
        for row in rows:
            assert names | {"seed", "bf16"} <= set(row.settings)
            assert row.interval is not None
            assert row.settings["interval"]
            assert row.n == 90
    drawn = several[0]
    assert drawn.hits is not None
    assert drawn.hits.shape == (2, 90)
    assert (drawn.value, drawn.std) == pytest.approx((drawn.hits.mean(), drawn.hits.mean(1).std(ddof=1)))


def test_training_that_diverges_is_refused() -> None:
    wild = dataclasses.replace(TUNE, rate=1e30, optimizer=SGD())
    with pytest.raises(UserError, match=r"fine-tuning toy net at 1e\+30 diverged at step .* lower rate"):
        wild.run(make_job())


def test_labels_out_of_range_and_classes_never_seen_are_refused() -> None:
    target = toy()
    with pytest.raises(UserError, match=r"labels are 0\.\.2"):
        TUNE.run(make_job(dataclasses.replace(target, classes=("a", "b"))))
    division = target.divisions[0]
    lacking = Division(division.train[:40], division.test)
    with pytest.raises(UserError, match="class 'c' has test pictures but no readable train picture"):
        TUNE.run(make_job(dataclasses.replace(target, divisions=(lacking,))))
    with pytest.raises(UserError, match="batch_size is 1"):
        Showing(batch_size=1)


# The supervised baseline

HOW = Supervised(size=20, showing=QUICK)


def supervised(cache: Path | None = None, seed: int = 0, told: Callable[[str, int, int], None] = lambda *_: None) -> Backbone:
    data, _ = parts_of(make_job())
    return train_supervised(BackboneConfig("conv4"), data, 480, seed, HOW, cache=cache, on_progress=told)


def test_supervised_learns_within_its_budget_and_is_kept(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    first = supervised(tmp_path, told=lambda *step: steps.append(step))
    assert steps[-1] == ("supervised conv4", 30, 30)  # 480 pictures, 16 a step
    kept = supervised(tmp_path, told=lambda *step: pytest.fail("trained again"))
    assert weights_hash(first) == weights_hash(kept) == weights_hash(supervised())
    assert weights_hash(first) != weights_hash(supervised(tmp_path, seed=1))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(file.read_bytes()[:100])  # half a file is no file
    assert weights_hash(supervised(tmp_path)) == weights_hash(first)


def test_supervised_features_are_better_than_untrained_ones() -> None:
    data, test = parts_of(make_job())
    plain = SGD(momentum=0.0, weight_decay=0.0)
    found = []
    for network in (untrained(), supervised()):
        model = linear_classifier(network, 3, "probe")
        train(model, depth_groups(model, 2), [Phase(8, lambda progress: (0.0, 0.5), first=1)], data, QUICK, plain, CPU, "probe")
        found.append(float((predict(model, test, CPU) == test.labels).mean()))
    assert found[1] > 0.9
    assert found[1] >= found[0]
    with pytest.raises(UserError, match="budget of 0"):
        train_supervised(BackboneConfig("conv4"), data, 0)
