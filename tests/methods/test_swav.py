"""SwAV: its loss against a peer and closed forms, its queue, its prototypes, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.loss import SwaVLoss
from tiny_runs import tiny_run
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.config import Run
from embodied_ssl.core import Batch
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.prototypes import Prototypes, agreement, grouped, prototype_figures
from embodied_ssl.methods.contrastive.sinkhorn import sinkhorn
from embodied_ssl.methods.contrastive.swav import SwAV, SwAVConfig, swapped_prediction
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain


def built(**settings: object) -> SwAV:
    torch.manual_seed(0)
    small = {"size": 32, "small_size": 16, "small": 2, "prototypes": 6, "hidden": 16, "out": 8}
    return SwAVConfig(**(small | settings)).build(BackboneConfig("conv4").build())  # type: ignore[arg-type]


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def embedded(method: SwAV, pictures: int = 10, seed: int = 0) -> dict[str, Tensor]:
    vectors = unit(pictures, 4, 8, seed=seed)
    return {"scores": method.prototypes(vectors), "vectors": vectors[:, :2]}


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_parity_with_lightlys_loss() -> None:
    """The same two averagings there: over the other crops, then over those that have codes."""
    method = built()
    step = method.objective(embedded(method))
    scores = embedded(method)["scores"].detach()
    peer = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    expected = peer([scores[:, 0], scores[:, 1]], [scores[:, 2], scores[:, 3]])
    torch.testing.assert_close(step.loss.reshape(1), expected, rtol=1e-5, atol=1e-5)


def test_parity_with_lightlys_loss_with_a_queue() -> None:
    method = built(queue=20, queue_from=0.0)
    for seed in (1, 2):
        method.after_step(torch.nn.Identity(), {"vectors": unit(10, 2, 8, seed=seed)}, 0.5)
    step = method.objective(embedded(method))
    scores = embedded(method)["scores"].detach()
    with torch.no_grad():
        queue = [torch.cat([method.prototypes(unit(10, 2, 8, seed=s)[:, crop]) for s in (2, 1)]) for crop in range(2)]
    expected = SwaVLoss()([scores[:, 0], scores[:, 1]], [scores[:, 2], scores[:, 3]], queue)
    torch.testing.assert_close(step.loss.reshape(1), expected, rtol=1e-5, atol=1e-5)
    assert not torch.isclose(step.loss, built().objective(embedded(built())).loss), "the queue counts"


def test_the_loss_is_a_slow_double_loop() -> None:
    scores, codes = unit(5, 4, 6).double(), unit(5, 2, 6, seed=1).double().softmax(2)
    each = []
    for crop in range(2):
        others = [v for v in range(4) if v != crop]
        terms = [-sum(float(codes[b, crop] @ (scores[b, v] / 0.1).log_softmax(0)) for b in range(5)) / 5 for v in others]
        each.append(sum(terms) / len(terms))
    assert float(swapped_prediction(scores, codes, 0.1)) == pytest.approx(sum(each) / 2, abs=1e-12)


def test_the_loss_is_log_k_when_all_scores_are_alike() -> None:
    codes = unit(5, 2, 3000).softmax(2)
    assert float(swapped_prediction(torch.zeros(5, 8, 3000), codes, 0.1)) == pytest.approx(8.006, abs=1e-3)
    assert math.log(3000) == pytest.approx(8.006, abs=1e-3)


def test_a_new_networks_loss_is_about_log_k() -> None:
    """As in the paper 128 numbers and 3000 prototypes: random cosines are about 0.09, which over 0.1 adds about 0.4."""
    torch.manual_seed(0)
    prototypes = Prototypes(128, 3000)
    with torch.no_grad():
        scores = prototypes(unit(64, 4, 128, seed=5))
    loss = swapped_prediction(scores, torch.stack([sinkhorn(scores[:, c], 0.05, 3) for c in range(2)], 1), 0.1)
    assert float(loss) == pytest.approx(math.log(3000), rel=0.06)


def test_codes_get_no_gradient() -> None:
    method = built()
    rows = embedded(method)
    scores = rows["scores"].detach().requires_grad_()
    (found,) = torch.autograd.grad(method.objective({**rows, "scores": scores}).loss, scores)
    codes = method.codes(scores.detach()[:, :2])
    again = scores.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(swapped_prediction(again, codes, 0.1), again)
    torch.testing.assert_close(found, expected)


# --- the prototypes and the queue -------------------------------------------------------------------------------------


def test_prototypes_are_of_unit_length_after_every_step_and_forward_leaves_them() -> None:
    method = built()
    lengths = method.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))
    with torch.no_grad():
        method.prototypes.weight.mul_(torch.arange(1.0, 7).unsqueeze(1))
    before = method.prototypes.weight.clone()
    method.objective(embedded(method))
    assert torch.equal(method.prototypes.weight, before)
    method.after_step(torch.nn.Identity(), {"vectors": unit(10, 2, 8)}, 0.5)
    torch.testing.assert_close(method.prototypes.weight, before / torch.arange(1.0, 7).unsqueeze(1))


def test_scores_keep_their_digits_under_autocast() -> None:
    method, vectors = built(), unit(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        scores = method.prototypes(vectors.bfloat16())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, vectors.bfloat16().float() @ method.prototypes.weight.T)


def test_the_queue_holds_exactly_the_newest_vectors_of_each_crop_and_is_used_once_full() -> None:
    method = built(queue=20, queue_from=0.5)
    plain = built().objective(embedded(method)).loss
    steps = [unit(10, 2, 8, seed=seed) for seed in range(4)]
    for number, vectors in enumerate(steps):
        assert torch.equal(method.objective(embedded(method)).loss, plain), "not full yet"
        method.after_step(torch.nn.Identity(), {"vectors": vectors}, (number + 1) / 4)
    assert int(method.filled) == 20
    held = torch.cat([steps[3], steps[2]]).transpose(0, 1)
    assert torch.equal(method.queue, held)
    assert not torch.equal(method.objective(embedded(method)).loss, plain)


def test_frozen_prototypes_have_a_rate_of_0() -> None:
    method = built(freeze=0.25)
    assert [method.rate("prototypes", progress) for progress in (0.0, 0.2, 0.25, 1.0)] == [0, 0, 1, 1]
    assert method.rate("head", 0.0) == method.rate("backbone", 0.0) == 1


def test_frozen_prototypes_do_not_move_in_a_run(tmp_path: Path) -> None:
    run = tiny_run("swav_photos", tmp_path / "data", checkpoint_every=0, held_out_every=0)
    run = dataclasses.replace(run, method=dataclasses.replace(run.method, freeze=0.5))

    def prototypes(steps: int) -> Tensor:
        out = tmp_path / str(steps)
        with pytest.raises(Stopped) if steps < run.steps else nullcontext():
            pretrain([run], out, Options(device="cpu", workers=0, stop_after=steps))
        found: Tensor = load_checkpoint(out / "checkpoints" / "last.pt")["learner"]["method.prototypes.weight"]
        return found

    frozen = prototypes(1)
    torch.testing.assert_close(prototypes(2), frozen, rtol=0, atol=1e-6)
    assert not torch.allclose(prototypes(4), frozen, rtol=0, atol=1e-5)


def test_crops_of_two_sizes_go_through_the_network_in_two_passes() -> None:
    backbone = BackboneConfig("conv4").build().train()
    method = built()
    crops: Batch = {f"crop{n}": torch.randn(4, 3, side, side) for n, side in enumerate((32, 32, 16, 16))}
    rows = method.embed(backbone, crops)
    assert rows["scores"].shape == (4, 4, 6)
    assert rows["vectors"].shape == (4, 2, 8)
    assert int(backbone.net.conv1[1].num_batches_tracked) == 2  # type: ignore[index, arg-type]
    torch.testing.assert_close(rows["scores"][:, :2], method.prototypes(rows["vectors"]))


# --- figures ----------------------------------------------------------------------------------------------------------


def test_agreement_and_its_chance() -> None:
    given = torch.tensor([[[0, 0]], [[1, 1]], [[2, 2]], [[2, 3]]])
    same, chance = agreement(given, 4)
    assert float(same) == 0.75
    assert float(chance) == pytest.approx((1 + 1 + 2 * 1) / 16)


def test_collapse_shows_in_the_figures() -> None:
    """Everything nearest to one prototype agrees always, which is no more than chance, and uses one of K."""
    figures = prototype_figures(torch.zeros(50, 1, 2), 10)
    assert figures["agreement"] == figures["chance_agreement"] == 1
    assert figures["used"] == pytest.approx(0.1)
    assert figures["chance_used"] == pytest.approx(1 - 0.9**100)


def test_random_answers_are_at_chance() -> None:
    given = torch.randint(0, 20, (3000, 2, 2), generator=torch.Generator().manual_seed(0))
    figures = prototype_figures(given, 20)
    assert figures["agreement"] == pytest.approx(figures["chance_agreement"], abs=0.01)
    assert figures["chance_agreement"] == pytest.approx(1 / 20, abs=0.005)
    assert figures["used"] == 1


def test_crops_are_drawn_under_the_prototype_they_were_given() -> None:
    crops = [torch.full((3, 3, 8, 8), 0.1), torch.full((3, 3, 8, 8), 0.2)]
    rows = grouped(crops, torch.tensor([[5, 5], [5, 2], [2, 1]]))
    assert [caption for caption, _ in rows] == [
        "given to prototype 5: 3 crops of 2 pictures",
        "given to prototype 2: 2 crops of 2 pictures",
        "given to prototype 1: 1 crop of 1 picture",
    ]
    assert [len(pictures) for _, pictures in rows] == [3, 2, 1]
    assert rows[1][1][:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.1])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature is 0 and epsilon 0.05; give numbers above 0"),
        ({"epsilon": 0}, "epsilon 0; give numbers above 0"),
        ({"prototypes": 1}, "prototypes is 1; give at least 2"),
        ({"large": 1}, "large is 1 and small 4; give at least 2 large crops"),
        ({"iterations": 0}, "iterations is 0 and queue 0; give at least 1 iteration"),
        ({"freeze": 2}, "freeze 2; give shares of the run"),
        ({"small_size": 4}, "size is 4; give at least 8 pixels"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SwAVConfig(**settings)  # type: ignore[arg-type]


def folder(place: Path, pictures: int = 20, side: int = 40) -> PictureFolder:
    place.mkdir()
    for number in range(pictures):
        noise = generator(number).integers(0, 256, (side, side, 3), np.uint8)
        (place / f"{number:02d}.png").write_bytes(encode(noise))
    return PictureFolder(root=str(place))


def refused(method: SwAVConfig, tmp_path: Path, batch_size: int = 8) -> str:
    data = folder(tmp_path / "pictures")
    run = Run(method=method, data=data, backbone=BackboneConfig("conv4"), batch_size=batch_size, steps=2, precision="fp32")
    with pytest.raises(UserError) as error:
        pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    assert not (tmp_path / "run" / "config.json").exists()
    return str(error.value)


def test_prototypes_more_than_samples_are_refused(tmp_path: Path) -> None:
    """20 pictures, of which 2 are held out."""
    said = refused(SwAVConfig(size=32, small_size=16, prototypes=19, queue=16), tmp_path)
    assert said.startswith("19 prototypes are more than the 18 pictures to learn from; give at most 18")


def test_prototypes_that_batch_and_queue_cannot_be_shared_among_are_refused(tmp_path: Path) -> None:
    said = refused(SwAVConfig(size=32, small_size=16, prototypes=17, queue=8), tmp_path)
    assert said.startswith("17 prototypes cannot be shared out among a batch of 8 pictures and a queue of 8")
    assert "give at most 16 prototypes" in said


def test_a_queue_that_the_batch_does_not_divide_is_refused(tmp_path: Path) -> None:
    said = refused(SwAVConfig(size=32, small_size=16, prototypes=4, queue=12), tmp_path)
    assert said == "a queue of 12 is not divisible by batches of 8 pictures; give a multiple of 8"


def test_crops_larger_than_every_picture_are_refused(tmp_path: Path) -> None:
    said = refused(SwAVConfig(size=48, small_size=16, prototypes=8), tmp_path)
    assert "crops of 48 pixels are larger than every picture" in said
    assert said.endswith("the largest has 40 on its shorter side); give --set method.size=40 or less")


def test_small_crops_that_the_backbone_cannot_see_are_refused() -> None:
    backbone = BackboneConfig("conv4").build()
    backbone.smallest = 24
    with pytest.raises(UserError, match="needs pictures of at least 24 pixels a side, these have 16"):
        SwAVConfig(size=32, small_size=16).build(backbone)
