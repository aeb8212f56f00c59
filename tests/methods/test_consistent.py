"""Consistency: nothing asked where nothing is disturbed, the same question twice, a gradient into one copy alone, any task."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor
from torch.nn import functional as F
from toys import ClusterToyConfig, CriticToyConfig

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.config import MethodConfig
from embodied_ssl.core import Batch, Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.consistent import ConsistentConfig, apart, disagreement, disturb
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.multi_task import GreyView, MultiTaskConfig, Task
from embodied_ssl.optim import AdamW, parameter_groups
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain
from embodied_ssl.views.colour import UNCHANGED, ColourChange, change_colours
from embodied_ssl.views.pixels import to_float

NOTHING = ColourChange(change=0.0, grey=0.0)
SIZE = 16
TURNS = RotationConfig(SIZE)


def built(task: MethodConfig = TURNS, **settings: object) -> Learner:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    return Learner(backbone, ConsistentConfig(task, **settings).build(backbone))  # type: ignore[arg-type]


def batch_of(learner: Learner, count: int = 5) -> Batch:
    view = learner.method.view
    pictures = [ArrayPicture(generator("picture", i).integers(0, 256, (24, 24, 3), np.uint8)) for i in range(count)]
    drawn = [view.draw({"picture": picture}, generator("draw", i)) for i, picture in enumerate(pictures)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    return view.render(batch | {"index": torch.arange(count)})


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [RotationConfig(SIZE), SimCLRConfig(SIZE, hidden=16, out=8), ClusterToyConfig()])
def test_uda_where_nothing_is_disturbed_the_term_is_0_at_temperature_1(task: MethodConfig) -> None:
    terms = []
    for learner in (built(task, disturbance=NOTHING).train(), built(task).train()):
        if isinstance(task, ClusterToyConfig):
            learner.method.task.labels = torch.zeros(9, dtype=torch.int64)  # type: ignore[union-attr]
        step = learner(batch_of(learner))
        terms.append(step.metrics["consistency"].item())
        assert step.loss.item() == pytest.approx(step.metrics["task_loss"].item() + terms[-1], abs=1e-6)
    assert terms[0] == pytest.approx(0, abs=1e-6)
    assert terms[1] > 1e-4


def test_uda_the_gradient_flows_into_the_disturbed_copy_alone() -> None:
    learner = built().eval()  # in training mode BatchNorm, which both copies share, would carry some of it over
    batch = batch_of(learner)
    for name in ("turned", "disturbed/turned"):
        batch[name].requires_grad_()
    embedded = learner.method.embed(learner.backbone, batch)
    as_it_is, disturbed = torch.autograd.grad(embedded["consistency/term"].sum(), [batch["turned"], batch["disturbed/turned"]])
    assert not as_it_is.any()
    assert disturbed.flatten(1).any(1).all()


def test_the_term_is_the_divergence_that_a_slow_loop_finds() -> None:
    rng = torch.Generator().manual_seed(1)
    logits, target = (3 * torch.randn(6, 2, 5, generator=rng) for _ in range(2))
    found = disagreement(logits, target, 0.4, 0.7)
    for i in range(6):
        for j in range(2):
            p, sharp, q = target[i, j].softmax(0), (target[i, j] / 0.4).softmax(0), logits[i, j].softmax(0)
            expected = float((sharp * (sharp / q).log()).sum()) if p.max() > 0.7 else 0.0
            assert found[i, j].item() == pytest.approx(expected, abs=1e-5)
    assert 0 < int((found == 0).sum()) < found.numel()


def test_no_doubt_against_no_idea_costs_log_of_the_answers() -> None:
    sure, idea = torch.tensor([[50.0, 0, 0, 0]]), torch.zeros(1, 4)
    assert disagreement(idea, sure, 1.0, 0.0).item() == pytest.approx(math.log(4), abs=1e-5)
    assert disagreement(idea, idea, 0.4, 0.0).item() == pytest.approx(0, abs=1e-6)
    assert disagreement(sure, idea, 1.0, 0.5).item() == 0  # not sure enough to be a target


def test_unsure_examples_count_as_0_in_the_mean() -> None:
    learner, sure = built(threshold=0.999).eval(), built().eval()
    batch = batch_of(learner)
    assert learner(batch).metrics["consistency"].item() == 0
    assert sure(batch).metrics["consistency"].item() > 0


def test_the_tasks_own_loss_and_answers_are_those_that_it_has_alone() -> None:
    learner = built(weight=3.0).eval()
    batch = batch_of(learner)
    alone = learner.method.task(learner.backbone, apart(batch)[0])  # type: ignore[operator]
    step = learner(batch)
    torch.testing.assert_close(step.metrics["task_loss"], alone.loss)
    torch.testing.assert_close(step.loss, alone.loss + 3 * step.metrics["consistency"])
    assert torch.equal(step.answers["right"], alone.answers["right"])


def test_both_copies_are_in_one_pass_so_that_batch_norm_sees_them_together() -> None:
    learner = built().train()
    calls: list[int] = []
    learner.backbone.register_forward_hook(lambda module, given, found: calls.append(len(given[0])))
    learner(batch_of(learner))
    assert calls == [5 * 4 * 2]


# --- the disturbance --------------------------------------------------------------------------------------------------


def test_the_question_is_drawn_as_it_would_be_without_a_disturbance() -> None:
    learner = built()
    picture = {"picture": ArrayPicture(generator(0).integers(0, 256, (24, 24, 3), np.uint8))}
    drawn, alone = (view.draw(picture, generator(1)) for view in (learner.method.view, learner.method.task.view))  # type: ignore[union-attr]
    assert drawn.keys() == alone.keys() | {"consistency/factors"}
    assert all(np.array_equal(drawn[name], value) for name, value in alone.items())


def test_all_that_is_not_pixels_is_the_same_in_both_copies() -> None:
    learner = built()
    own, other = apart(batch_of(learner))
    assert own.keys() == other.keys() == {"picture", "turned", "index"}
    assert torch.equal(own["index"], other["index"])
    assert (own["turned"] != other["turned"]).flatten(1).any(1).all()


def test_unchanged_pixels_are_the_same_bytes() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).repeat(2, 3, 1, 1, 3)
    factors = torch.from_numpy(UNCHANGED).repeat(2, 1)
    for how in (NOTHING, ColourChange(blur=1.0)):
        assert torch.equal(disturb(pixels, factors, how), pixels)


def test_pictures_of_one_example_change_alike_about_their_common_mean() -> None:
    """Nine tiles change as the strip made of them does; and nothing of one tile is blurred into the next."""
    pixels = torch.from_numpy(generator(0).integers(60, 190, (2, 9, 8, 8, 3), np.uint8))
    pixels[1, 4] //= 3
    factors = torch.tensor([[1.1, 0.7, 1.2, 0.4, 0, 0], [0.9, 1.3, 0.8, -0.3, 0, 0]])
    strip = change_colours(to_float(pixels.view(2, 72, 8, 3)), factors).permute(0, 2, 3, 1).reshape(pixels.shape)
    assert (disturb(pixels, factors, ColourChange()).float() - 255 * strip).abs().max() <= 0.501
    bright = torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8)
    bright[:, 0] = 255
    blurred = disturb(bright, torch.tensor([[1, 1, 1, 0, 0, 2.0]]), ColourChange(blur=1.0))
    assert torch.equal(blurred, bright)


def test_copies_of_one_sample_have_a_disturbance_each(tmp_path: Path) -> None:
    run = tiny_run("temporal_order", tmp_path)
    method = ConsistentConfig(run.method).build(run.backbone.build())
    source = run.data.open("train")  # type: ignore[union-attr]
    factors = method.view.draw(source[0], generator(0))["consistency/factors"]
    assert factors.shape == (2, 6)
    assert not np.array_equal(factors[0], factors[1])


# --- figures ----------------------------------------------------------------------------------------------------------


def test_agreement_stands_beside_its_chance() -> None:
    learner = built()
    guess, again = torch.tensor([[0.0, 1, 2, 3], [0, 0, 1, 1]]), torch.tensor([[0.0, 1, 2, 0], [0, 0, 0, 1]])
    scores = learner.method.score({"right": torch.ones(2, 4), "consistency/guess": guess, "consistency/again": again})
    assert scores["agreement"] == pytest.approx(6 / 8)
    assert scores["chance_agreement"] == pytest.approx((3 * 5 + 3 * 2 + 1 * 1) / 64)
    assert scores["accuracy"] == 1
    assert scores["chance_accuracy"] == 0.25


def test_held_out_questions_report_it(tmp_path: Path) -> None:
    run = tiny_run("rotation_consistent_photos", tmp_path / "data")
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert {
        f"held_out/{name}" for name in ("agreement", "chance_agreement", "accuracy", "task_loss", "consistency")
    } <= last.keys()


# --- any task ---------------------------------------------------------------------------------------------------------

ANY = ["rotation_photos", "jigsaw_photos", "relative_patch_photos", "exemplar_photos", "exemplar_triplet_photos", "simclr_photos"]


@pytest.mark.parametrize("name", [*ANY, "cluster toy"])
def test_any_task_learns_and_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    run = tiny_run(name if name in ANY else "rotation_photos", tmp_path / "data", steps=2, checkpoint_every=1)
    task = run.method if name in ANY else ClusterToyConfig()
    run = replace(run, method=ConsistentConfig(task), held_out_every=0)
    ends = []
    for stop in (0, 1):
        out, options = tmp_path / str(stop), Options(device="cpu", workers=0, stop_after=stop)
        if stop:
            with pytest.raises(Stopped):
                pretrain([run], out, options)
            options = Options(device="cpu", workers=0, resume=True)
        pretrain([run], out, options)
        ends.append(load_checkpoint(out / "checkpoints" / "last.pt")["learner"])
    assert ends[0].keys() == ends[1].keys()
    assert [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])] == []
    last = json.loads((tmp_path / "0" / "log.jsonl").read_text().splitlines()[-1])
    assert ("held_out/agreement" in last) == (name in ANY[:4]), "answers where there are some, else vectors"
    assert last["held_out/consistency"] > 0


def test_a_tasks_plan_of_its_epochs_reaches_its_own_parameters() -> None:
    learner = built(ClusterToyConfig())
    assert learner.method.looks_before_epochs
    assert not built().method.looks_before_epochs

    class Asked:
        number = 0

        @staticmethod
        def embed() -> Tensor:
            return torch.arange(9.0)[:, None]

    learner.method.task.labels = torch.zeros(9, dtype=torch.int64)  # type: ignore[union-attr]
    plan = learner.method.before_epoch(learner.backbone, Asked())  # type: ignore[arg-type]
    assert plan is not None
    assert set(plan.restart) <= {name for name, _ in learner.method.named_parameters()}


def test_vectors_are_held_together_where_there_are_no_probabilities() -> None:
    learner = built(SimCLRConfig(SIZE, hidden=16, out=8), weight=2.0).eval()
    batch = batch_of(learner)
    own, other = apart(batch)
    seen, again = (torch.cat([learner.backbone(one[name]).vector for name in ("crop0", "crop1")]) for one in (own, other))
    expected = 1 - F.cosine_similarity(seen, again).mean()
    step = learner(batch)
    torch.testing.assert_close(step.metrics["consistency"], expected.detach())
    torch.testing.assert_close(step.loss, step.metrics["task_loss"] + 2 * expected)


def test_it_is_one_task_of_several_with_groups_of_its_own() -> None:
    tasks = {"turn": Task(ConsistentConfig(RotationConfig(SIZE)), 0.5), "plain": Task(RotationConfig(SIZE))}
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    learner = Learner(backbone, MultiTaskConfig(tasks).build(backbone)).eval()
    consistent = learner.method.children_by_name["turn"]
    one = batch_of(Learner(backbone, consistent))
    batch = {f"turn/{k}": v for k, v in one.items()} | {f"plain/{k}": v for k, v in apart(one)[0].items()}
    step = learner(batch)
    plain = learner.method.children_by_name["plain"](backbone, apart(one)[0])
    torch.testing.assert_close(step.loss, 0.5 * consistent(backbone, one).loss + plain.loss)
    assert {group["name"] for group in parameter_groups(learner, AdamW())} == {"backbone", "turn.head", "plain.head"}
    assert {group["name"] for group in parameter_groups(built(), AdamW())} == {"backbone", "head"}


def test_seen_through_grey_both_copies_are_grey() -> None:
    learner = built()
    learner.method.see_through(GreyView)
    drawn = learner.method.view.draw({"picture": ArrayPicture(np.full((24, 24, 3), (200, 40, 90), np.uint8))}, generator(0))
    assert np.ptp(drawn["picture"], axis=-1).max() == 0
    assert learner.method.view.render({k: torch.from_numpy(v)[None] for k, v in drawn.items()}).keys() >= {"disturbed/turned"}


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"weight": -1.0}, {"temperature": 0.0}, {"threshold": 1.0}, {"threshold": -0.1}], ids=lambda s: next(iter(s))
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"temperature above 0, the threshold from 0 to below 1"):
        ConsistentConfig(RotationConfig(), **settings)  # type: ignore[arg-type]


def test_several_tasks_and_several_phases_are_refused() -> None:
    with pytest.raises(UserError, match="give each task that shall have it its own"):
        built(MultiTaskConfig({"turn": Task(RotationConfig(SIZE))}))
    with pytest.raises(UserError, match="CriticToy trains in several phases"):
        built(CriticToyConfig())
