"""Interaction: branches do not touch each other, only the tried bin is judged, and the mean predictor scores 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_up import Listed
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import Sample
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.interaction import (
    BINS,
    GRASP,
    POKE,
    PUSH,
    TRUE,
    Interaction,
    InteractionConfig,
    TouchView,
    lines_on,
)
from embodied_ssl.views.marks import RIGHT, WRONG


def learner() -> Learner:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    return Learner(backbone, InteractionConfig(size=32, hidden=16).build(backbone))


def batch(tasks: list[int]) -> dict[str, Tensor]:
    rng, n = torch.Generator().manual_seed(0), len(tasks)
    return {
        "first": torch.randn(n, 3, 32, 32, generator=rng),
        "second": torch.randn(n, 3, 32, 32, generator=rng),
        "task": torch.tensor(tasks),
        "bin": torch.randint(0, BINS, (n,), generator=rng),
        "success": torch.randint(0, 2, (n,), generator=rng).float(),
        "push": torch.randn(n, 5, generator=rng),
        "poke": torch.randn(n, 2, generator=rng),
    }


def largest(module: nn.Module) -> float:
    return max(float(p.grad.abs().max()) if p.grad is not None else 0.0 for p in module.parameters())


@pytest.mark.parametrize("kind", [GRASP, PUSH, POKE])
def test_a_batch_of_one_kind_moves_only_its_branch(kind: int) -> None:
    one = learner()
    one(batch([kind] * 6)).loss.backward()
    for number, name in enumerate(("grasp", "push", "poke")):
        assert (largest(getattr(one.method, name)) > 0) == (number == kind)


def test_every_branch_runs_for_every_batch() -> None:
    """So that ranks with other mixtures of rows have gradients for the same parameters."""
    one = learner()
    one(batch([GRASP] * 4)).loss.backward()
    assert all(p.grad is not None for p in one.parameters())


def test_bins_that_were_not_tried_get_no_gradient_through_the_whole_method() -> None:
    one, given = learner(), batch([GRASP] * 6)
    one(given).loss.backward()
    last = one.method.grasp[2]
    tried = torch.zeros(BINS, dtype=torch.bool)
    tried[given["bin"]] = True
    assert (last.bias.grad[~tried] == 0).all()
    assert (last.weight.grad[~tried] == 0).all()
    assert (last.bias.grad[tried] != 0).all()


def test_rows_of_other_kinds_change_no_branchs_loss() -> None:
    one, given = learner().eval(), batch([GRASP, PUSH, POKE, GRASP, PUSH, POKE])
    changed = {name: value.clone() for name, value in given.items()}
    changed["push"][given["task"] != PUSH] = 99
    changed["poke"][given["task"] != POKE] = 99
    changed["success"][given["task"] != GRASP] = 1
    torch.testing.assert_close(one(changed).loss, one(given).loss)


def test_the_loss_is_the_sum_of_the_branches_own_means() -> None:
    one, given = learner().eval(), batch([GRASP, PUSH, POKE, GRASP, PUSH, POKE])
    step = one(given)
    total = sum(value.item() for value in step.metrics.values())
    assert step.loss.item() == pytest.approx(total, rel=1e-5)
    push_only = {name: value[given["task"] == PUSH] for name, value in given.items()}
    assert one(push_only).loss.item() == pytest.approx(step.metrics["push_loss"].item(), rel=1e-5)


def test_knowing_only_the_means_costs_log_2_and_a_variance_each() -> None:
    one, given = learner().eval(), batch([GRASP] * 400 + [PUSH] * 400 + [POKE] * 400)
    for name in ("grasp", "push", "poke"):
        branch = getattr(one.method, name)
        nn.init.zeros_(branch[2].weight)
        nn.init.zeros_(branch[2].bias)
    step = one(given)
    assert step.metrics["grasp_loss"].item() == pytest.approx(np.log(2), abs=1e-6)
    assert step.metrics["push_loss"].item() == pytest.approx(1, abs=0.1)
    assert step.metrics["poke_loss"].item() == pytest.approx(1, abs=0.15)


# --- scores -----------------------------------------------------------------------------------------------------------


def answers(push_error: float, poke_error: float) -> dict[str, Tensor]:
    task = torch.tensor([GRASP, GRASP, PUSH, PUSH, POKE]).float()
    return {
        "task": task,
        "grasp": torch.tensor([2.0, -1.0, 9, 9, 9]),
        "success": torch.tensor([1.0, 0, 0, 0, 0]),
        "push_error": torch.full((5,), push_error),
        "poke_error": torch.full((5,), poke_error),
    }


def test_the_mean_predictor_scores_0_and_an_exact_one_1() -> None:
    method = learner().method
    assert method.score(answers(1.0, 1.0))["push_r2"] == 0
    assert method.score(answers(1.0, 1.0))["poke_r2"] == 0
    assert method.score(answers(0.0, 0.0))["push_r2"] == 1
    assert method.score(answers(2.0, 2.0))["poke_r2"] == -1


def test_grasps_are_ranked() -> None:
    scores = learner().method.score(answers(1.0, 1.0))
    assert scores["grasp_auc"] == 1
    assert scores["chance_grasp_auc"] == 0.5


def test_kinds_that_were_not_met_have_no_score() -> None:
    method = learner().method
    only_pokes = {name: value[4:] for name, value in answers(1.0, 1.0).items()}
    assert set(method.score(only_pokes)) == {"poke_r2", "chance_poke_r2"}
    all_held = {**answers(1.0, 1.0), "success": torch.ones(5)}
    assert "grasp_auc" not in method.score(all_held)


# --- the view and what is fitted --------------------------------------------------------------------------------------


def sample(task: int, height: int = 40, width: int = 60, **given: list[float]) -> Sample:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(height)[:, None] * 4
    pixels[..., 1] = np.arange(width)[None] * 4
    empty = {"grasp": [0.0] * 4, "push": [0.0] * 5, "poke": [0.0] * 4}
    actions = {name: np.array(value, np.float32) for name, value in (empty | given).items()}
    return {"before": ArrayPicture(pixels), "after": ArrayPicture(255 - pixels), "task": task, **actions}


VIEW = TouchView(20, 0.5, 0.0)


def test_a_patch_lies_around_the_touched_point() -> None:
    drawn = VIEW.draw(sample(POKE, poke=[18, 30, 1.5, 0.2]), generator(0))
    assert drawn["first"].shape == (20, 20, 3)
    assert drawn["first"][10, 10, 0] / 4 == pytest.approx(18, abs=1)
    assert drawn["first"][10, 10, 1] / 4 == pytest.approx(30, abs=1)
    np.testing.assert_allclose(drawn["poke"], [1.5, 0.2])
    assert not drawn["second"].any()


@pytest.mark.parametrize("point", [(0, 0), (39, 59), (0, 59), (39.9, 0.2)])
def test_a_patch_at_the_rim_stays_inside(point: tuple[float, float]) -> None:
    drawn = TouchView(20, 0.5, 0.4).draw(sample(GRASP, grasp=[*point, 3, 1]), generator(0))
    assert drawn["first"].shape == (20, 20, 3)
    assert drawn["bin"] == 3
    assert drawn["success"] == 1


def test_a_push_shows_both_scenes_whole_and_its_ends_as_shares() -> None:
    drawn = VIEW.draw(sample(PUSH, push=[10, 15, 20, 45, 0.05]), generator(0))
    np.testing.assert_allclose(drawn["push"], [0.25, 0.25, 0.5, 0.75, 0.05], rtol=1e-6)
    assert drawn["second"].mean() > drawn["first"].mean()


def test_targets_are_scaled_by_the_training_rows_own_statistics() -> None:
    rng = generator("rows")
    pushes = [sample(PUSH, push=[*rng.uniform(0, 40, 4), 0.1 * rng.random()]) for _ in range(60)]
    pokes = [sample(POKE, poke=[5, 5, rng.normal(3, 2), rng.normal()]) for _ in range(60)]
    method = learner().method
    assert isinstance(method, Interaction)
    method.fit(Listed([*pushes, *pokes], bad=[0, 70]), generator(0))
    good = np.array([p["poke"][2:] for i, p in enumerate(pokes) if i != 10])
    np.testing.assert_allclose(method.poke_mean, good.mean(0), rtol=1e-4)
    np.testing.assert_allclose(method.poke_std, good.std(0, ddof=1), rtol=1e-4)
    assert float(method.push_mean[0]) == pytest.approx(0.5, abs=0.1)  # a share of the height


def test_without_rows_of_a_kind_its_targets_stay_unscaled() -> None:
    method = learner().method
    method.fit(Listed([sample(GRASP, grasp=[5, 5, 1, 1])] * 3), generator(0))
    assert torch.equal(method.get_buffer("push_std"), torch.ones(5))


def test_the_figure_draws_each_kind_of_question_beside_its_answer() -> None:
    made = learner().eval()
    asked = batch([GRASP, PUSH, POKE, GRASP])
    asked["success"] = torch.tensor([1.0, 0, 0, 0])
    step = made.method.forward(made.backbone, asked)
    step.answers["grasp"] = torch.tensor([2.0, 0, 0, 2.0])
    step.answers["push"], step.answers["push_error"] = asked["push"], torch.zeros(4)
    rows = dict(made.method.figure(asked, step))
    assert [len(pictures) for pictures in rows.values()] == [2, 1, 1, 1]
    (grasps, grasped), (_, pushed), _, _ = rows.items()
    assert "88%, it held; 88%, it slipped" in grasps
    assert torch.allclose(grasped[:, :, 0, 0], torch.tensor([RIGHT, WRONG]))
    assert torch.allclose(pushed[0, :, 0, 0], torch.tensor(RIGHT))


def test_a_push_is_drawn_from_its_dot_to_its_end() -> None:
    (drawn,) = lines_on(torch.zeros(1, 3, 64, 64), torch.tensor([[0.25, 0.5, 0.75, 0.5, 0.0]]), TRUE)
    lit = drawn[0].nonzero()
    assert lit.min(0).values.tolist() == [14, 30]
    assert lit.max(0).values.tolist() == [48, 33]
    assert drawn[0, 40].sum() == 2  # the line is thinner than its dot
