"""Deep InfoMax: critics as slow loops take them, estimators in closed form, and a judge that only its own phase trains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Batch, Learner
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward, only
from embodied_ssl.methods.contrastive.deep_infomax import DIMMED, DeepInfoMax, DeepInfoMaxConfig
from embodied_ssl.methods.contrastive.pair_critics import ConcatAndConvolve, EncodeAndDot

ALONE = Ranks(0, 1, torch.device("cpu"))
SMALL = DeepInfoMaxConfig(size=32, cells=4, code=6, hidden=8, others=2)
LOCAL = dataclasses.replace(SMALL, global_weight=0.0)


def built(config: DeepInfoMaxConfig = SMALL, name: str = "conv4") -> tuple[nn.Module, DeepInfoMax]:
    torch.manual_seed(0)
    backbone = BackboneConfig(name).build()
    return backbone, config.build(backbone)


def pictures(count: int = 5) -> Batch:
    return {"crop0": torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)), "index": torch.arange(count)}


def embeddings(critic: str = "local", count: int = 5, places: int = 16) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return {f"{critic}_places": torch.randn(count, places, 8), f"{critic}_whole": torch.randn(count, 8)}


# --- critics ----------------------------------------------------------------------------------------------------------


def test_encode_and_dot_compares_every_whole_with_the_places_of_all_others() -> None:
    places, whole = torch.randn(4, 3, 8), torch.randn(4, 8)
    own, others = EncodeAndDot(5, 6, 8).compare(places, whole)
    assert others.shape == (4, 3, 3)
    for b in range(4):
        for m in range(3):
            assert own[b, m].item() == pytest.approx(float(whole[b] @ places[b, m]) / 8**0.5, abs=1e-6)
            for k, c in enumerate(c for c in range(4) if c != b):
                assert others[b, k, m].item() == pytest.approx(float(whole[b] @ places[c, m]) / 8**0.5, abs=1e-6)


def test_concat_and_convolve_is_a_network_on_both_side_by_side() -> None:
    """Its first layer, cut in two, is one on the joined numbers; each is held against the next two pictures."""
    torch.manual_seed(0)
    critic = ConcatAndConvolve(5, 6, 8, others=2)
    joined = nn.Linear(11, 8)
    with torch.no_grad():
        joined.weight.copy_(torch.cat([critic.places.weight, critic.whole.weight], dim=1))
        joined.bias.copy_(critic.places.bias)
    seen, code = torch.randn(4, 3, 5), torch.randn(4, 6)
    own, others = critic.compare(critic.places(seen), critic.whole(code))
    assert others.shape == (4, 2, 3)
    for b in range(4):
        for m in range(3):
            expected = [critic.judge(joined(torch.cat([seen[(b + k) % 4, m], code[b]]))).item() for k in range(3)]
            assert [own[b, m].item(), *others[b, :, m].tolist()] == pytest.approx(expected, abs=1e-6)


def test_concat_and_convolve_has_no_more_others_than_there_are() -> None:
    _, others = ConcatAndConvolve(5, 6, 8, others=9).compare(torch.randn(3, 2, 8), torch.randn(3, 8))
    assert others.shape == (3, 2, 2)


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("critic", ["dot", "concat"])
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("jsd", lambda among: 2 * math.log(2)), ("infonce", math.log), ("dv", lambda among: 0.0)],
)
def test_what_a_critic_to_which_all_look_alike_gives(critic: str, estimator: str, expected: Callable[[int], float]) -> None:
    _, method = built(dataclasses.replace(LOCAL, critic=critic, estimator=estimator))
    given = {name: torch.zeros_like(value) for name, value in embeddings().items()}
    if critic == "concat":
        nn.init.zeros_(method.critics["local"].judge[-1].weight)  # type: ignore[index, union-attr, arg-type]
        nn.init.zeros_(method.critics["local"].judge[-1].bias)  # type: ignore[index, union-attr, arg-type]
    others = 4 if critic == "dot" else 2
    step = method.objective(given)
    assert step.loss.item() == pytest.approx(expected(others * 16 + 1), abs=1e-5)
    assert step.metrics["information"].item() == pytest.approx(0, abs=1e-5)
    assert step.metrics["most_information"].item() == pytest.approx(math.log(others * 16 + 1))
    assert step.metrics["accuracy"].item() == pytest.approx(1 / (others + 1))
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / (others + 1))


def test_jsd_is_that_of_a_slow_loop() -> None:
    _, method = built(LOCAL)
    given = embeddings()
    places, whole = given["local_places"], given["local_whole"]

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    scores = {(b, c, m): float(whole[b] @ places[c, m]) / 8**0.5 for b in range(5) for c in range(5) for m in range(16)}
    true = [-softplus(-score) for (b, c, _), score in scores.items() if b == c]
    false = [softplus(score) for (b, c, _), score in scores.items() if b != c]
    assert method.objective(given).loss.item() == pytest.approx(-(sum(true) / len(true) - sum(false) / len(false)), abs=1e-5)


def test_infonce_is_that_of_another_library() -> None:
    """pytorch-metric-learning's, of wholes among places: a place of one's own picture against all those of others."""
    _, method = built(dataclasses.replace(LOCAL, estimator="infonce"))
    given = embeddings()
    other = NTXentLoss(temperature=8**0.5, distance=DotProductSimilarity(normalize_embeddings=False))
    expected = other(
        given["local_whole"],
        torch.arange(5),
        ref_emb=given["local_places"].flatten(0, 1),
        ref_labels=torch.arange(5).repeat_interleave(16),
    )
    assert method.objective(given).loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_weights_add_up_and_the_global_part_sees_the_whole_map_at_once() -> None:
    both = {**embeddings(), **embeddings("global", places=1)}
    local = built(LOCAL)[1].objective(both).loss
    overall = built(dataclasses.replace(SMALL, local_weight=0.0, global_weight=1.0))[1].objective(both).loss
    mixed = built(dataclasses.replace(SMALL, local_weight=0.7, global_weight=0.2))[1].objective(both).loss
    assert mixed.item() == pytest.approx(0.7 * local.item() + 0.2 * overall.item(), abs=1e-6)
    backbone, method = built()
    embedded = method.embed(backbone, pictures())
    assert {name: tuple(value.shape) for name, value in embedded.items()} == {
        "local_places": (5, 16, 8),
        "local_whole": (5, 8),
        "global_places": (5, 1, 8),
        "global_whole": (5, 8),
    }


@pytest.mark.parametrize("critic", ["dot", "concat"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(critic: str) -> None:
    """On a network without BatchNorm, in float64."""
    batch = {n: v.double() if v.is_floating_point() else v for n, v in pictures(4).items()}
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(2), slice(2, 4))]
    gradients = []
    for parts in ([batch], halves):
        learner = Learner(*built(dataclasses.replace(SMALL, critic=critic), "convnet_quick")).double().train()
        step = backward(learner, parts, "main", lambda micro: torch.enable_grad(), ALONE)
        gradients.append((step.loss, [p.grad for p in learner.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


# --- the prior --------------------------------------------------------------------------------------------------------


def moved_by(phase: str) -> tuple[float, dict[str, bool]]:
    learner = Learner(*built(dataclasses.replace(SMALL, prior_weight=0.1))).train()
    with only(learner, phase):
        step = backward(learner, [pictures()], phase, lambda micro: torch.enable_grad(), ALONE)
    return float(step.loss), {name: p.grad is not None for name, p in learner.named_parameters()}


def test_the_judge_is_trained_in_its_own_phase_and_all_else_in_the_other() -> None:
    for name, moved in moved_by("prior")[1].items():
        assert moved == name.startswith("method.judge."), name
    for name, moved in moved_by("main")[1].items():
        assert moved == (not name.startswith("method.judge.")), name


def test_without_a_prior_there_is_neither_a_judge_nor_its_phase() -> None:
    _, method = built()
    assert method.phases == ("main",)
    assert not any("judge" in name for name, _ in method.named_parameters())


def test_a_judge_that_knows_nothing() -> None:
    """2 log 2 in its own phase, where it is right half of the time; log 2 times the weight in the other."""
    backbone, method = built(dataclasses.replace(SMALL, prior_weight=0.3))
    nn.init.zeros_(method.judge[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(method.judge[-1].bias)  # type: ignore[arg-type]
    assert method(backbone, pictures(), "prior").loss.item() == pytest.approx(2 * math.log(2))
    without = built()[1]
    without.load_state_dict({k: v for k, v in method.state_dict().items() if "judge" not in k})
    embedded = method.embed(backbone.eval(), pictures())
    added = method.objective(embedded).loss - without.objective(embedded).loss
    assert added.item() == pytest.approx(0.3 * math.log(2), abs=1e-6)
    assert bool(((embedded["code"] > 0) & (embedded["code"] < 1)).all())


def test_the_judge_learns_to_tell_codes_from_even_numbers() -> None:
    backbone, method = built(dataclasses.replace(SMALL, prior_weight=1.0))
    learner = Learner(backbone, method).train()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.05)
    told = []
    for _ in range(60):
        with only(learner, "prior"):
            step = backward(learner, [pictures(16)], "prior", lambda micro: torch.enable_grad(), ALONE)
        optimizer.step()
        optimizer.zero_grad()
        told.append(float(step.metrics["prior_told"]))
    assert sum(told[-10:]) / 10 > 0.8, "codes of an untrained network lie around a half"


# --- held out, drawings and what is refused ---------------------------------------------------------------------------


def test_a_held_out_picture_alone_has_nothing_to_be_told_from() -> None:
    for critic in ("dot", "concat"):
        backbone, method = built(dataclasses.replace(SMALL, critic=critic))
        step = method.eval()(backbone.eval(), pictures(1))
        assert step.loss.item() == 0
        assert method.score(step.answers) == {"accuracy": 1.0, "chance_accuracy": 1.0}


def test_places_that_are_told_are_drawn_bright() -> None:
    backbone, method = built(LOCAL)
    batch = pictures(2)
    step = method.eval()(backbone.eval(), batch)
    step.answers["told"] = torch.zeros(2, 16)
    step.answers["told"][0, 5] = 1
    (_, whole), (caption, drawn) = method.figure(batch, step)
    bright = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    bright[0, :, 8:16, 8:16] = True
    torch.testing.assert_close(drawn, torch.where(bright, whole, DIMMED * whole))
    assert "of 1 others do, 3% of all; 50% by chance" in caption


def test_the_deepest_map_with_so_many_places_is_taken_unless_one_is_named() -> None:
    assert built(SMALL)[1].stage == "conv3"
    assert built(dataclasses.replace(SMALL, cells=8))[1].stage == "conv2"
    assert built(dataclasses.replace(SMALL, stage="conv1"))[1].stage == "conv1"


def test_maps_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="conv4 has no stage 'conv9'"):
        built(dataclasses.replace(SMALL, stage="conv9"))
    with pytest.raises(UserError, match=r"no map has 32 x 32 places: conv4's of 32-pixel pictures are conv1 16 x 16, .*; give"):
        built(dataclasses.replace(SMALL, cells=32))
    with pytest.raises(UserError, match="no map has 8 x 8 places"):
        built(dataclasses.replace(SMALL, cells=8, stage="conv4"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_weight": 0.0, "global_weight": 0.0}, "local_weight is 0.0, .*the local or the global one more than 0"),
        ({"prior_weight": -1.0}, "give at least 0 each"),
        ({"code": 0}, "code 0, .*give at least 1 each"),
        ({"size": 4}, "size is 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DeepInfoMaxConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("critic", "remedy"), [("dot", "larger batch_size"), ("concat", "method.others=")])
def test_saturation_is_told(critic: str, remedy: str) -> None:
    _, method = built(dataclasses.replace(SMALL, critic=critic))
    assert method.warning({"information": 3.0, "most_information": 6.4}) == ""
    assert remedy in method.warning({"information": 6.39, "most_information": 6.4})


def test_a_batch_of_one_picture_is_refused() -> None:
    with pytest.raises(UserError, match="batch_size is 1; give at least 2"):
        built()[1].check_batch(1, 1)
