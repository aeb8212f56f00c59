"""Instance discrimination: known values, slow loops, Z that is found once, what held-out pictures are asked."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss
from tiny_runs import tiny_run
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.core import Batch, Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.gradients import backward
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.instance_discrimination import InstanceDiscrimination, InstanceDiscriminationConfig
from embodied_ssl.methods.contrastive.memory_contrast import Memory, MemoryContrast, noise_contrastive
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain


def contrast(rows: int = 30, **settings: Any) -> MemoryContrast:
    memory = MemoryContrast(Memory(**{"out": 6, "negatives": 8, **settings}))
    memory.fit(rows, generator(0))
    return memory.double()


def directions(count: int, width: int = 6, seed: int = 1) -> Tensor:
    made = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(made, dim=1)


def all_alike(memory: MemoryContrast, batch: int = 4) -> Tensor:
    """Every row and every vector the same direction."""
    memory.bank.rows = F.normalize(torch.ones_like(memory.bank.rows), dim=1)
    return memory.bank.rows[:batch]


@pytest.mark.parametrize("rows", [5000, 20_000])
@pytest.mark.parametrize("temperature", [0.07, 0.001])
def test_npid_nce_equal_feats(rows: int, temperature: float) -> None:
    """ln(1 + m) + m ln(1 + 1/m) = 9.31789 at m = 4096, whatever n is; nothing overflows at any temperature."""
    memory = contrast(rows, negatives=4096, temperature=temperature)
    loss = memory.compare([(1.0, all_alike(memory))], torch.arange(4)).loss
    assert loss.item() == pytest.approx(9.31789, abs=5e-6)
    assert loss.item() == pytest.approx(math.log(4097) + 4096 * math.log1p(1 / 4096), abs=1e-8)


def test_npid_softmax_equal_feats_is_ln_n() -> None:
    memory = contrast(500, loss="softmax", negatives=0)
    assert memory.compare([(1.0, all_alike(memory))], torch.arange(4)).loss.item() == pytest.approx(math.log(500))
    some = contrast(500, loss="softmax", negatives=99)
    assert some.compare([(1.0, all_alike(some))], torch.arange(4)).loss.item() == pytest.approx(math.log(100))


def test_collapse_finds_no_row() -> None:
    """Rows that are all alike are not found, and chance is that of the rows that are compared."""
    memory = contrast(500, loss="softmax", negatives=0)
    figures = memory.compare([(1.0, all_alike(memory))], torch.arange(4)).metrics
    assert figures["accuracy"].item() == 0
    assert figures["chance_accuracy"].item() == pytest.approx(1 / 500)
    assert figures["own_cosine"].item() == pytest.approx(1)
    assert figures["other_cosine"].item() == pytest.approx(1)


@pytest.mark.parametrize("form", ["nce", "softmax"])
def test_chance_is_how_often_a_random_vector_finds_its_row(form: str) -> None:
    memory = contrast(12, loss=form, negatives=9)
    torch.manual_seed(0)
    step = memory.compare([(1.0, directions(6000))], torch.arange(12).repeat(500))
    # A row that points away from most others is found more often: on average over banks, all rows are.
    several = []
    for seed in range(30):
        memory.bank.fill(12, generator(seed, "bank"))
        memory.double()
        several.append(memory.compare([(1.0, directions(1200, seed=seed))], torch.arange(12).repeat(100)).metrics["accuracy"])
    found = torch.stack(several)
    assert abs(float(found.mean() - step.metrics["chance_accuracy"])) < 4 * float(found.std()) / 30**0.5


def test_full_softmax_is_a_slow_loop_in_numpy() -> None:
    memory, vectors = contrast(loss="softmax", negatives=0, temperature=0.2), directions(5)
    index = torch.tensor([4, 17, 0, 29, 4])
    rows, slow = memory.bank.rows.numpy(), []
    for vector, own in zip(vectors.numpy(), index.tolist(), strict=True):
        scores = [np.exp(rows[j] @ vector / 0.2) for j in range(30)]
        slow.append(-np.log(scores[own] / sum(scores)))
    assert memory.compare([(1.0, vectors)], index).loss.item() == pytest.approx(np.mean(slow), abs=1e-10)
    usual = F.cross_entropy(vectors @ memory.bank.rows.T / 0.2, index)  # and what torch makes of the whole matrix
    assert memory.compare([(1.0, vectors)], index).loss.item() == pytest.approx(usual.item(), abs=1e-10)


def test_nce_is_a_slow_loop_in_numpy() -> None:
    """Eq. 4 to 8 as they stand, with Z from the same scores."""
    memory, vectors, index = contrast(temperature=0.3), directions(5), torch.tensor([4, 17, 0, 29, 11])
    torch.manual_seed(7)
    loss = memory.compare([(1.0, vectors)], index).loss.item()
    torch.manual_seed(7)
    drawn = memory.bank.drawn(8, index, with_own=True).numpy()
    rows, f = memory.bank.rows.numpy(), vectors.numpy()
    exps = np.array([[np.exp(rows[j] @ f[b] / 0.3) for j in (index[b], *drawn[b])] for b in range(5)])
    p = exps / (exps.mean() * 30)
    h = p / (p + 8 / 30)
    assert loss == pytest.approx((-np.log(h[:, 0]) - np.log(1 - h[:, 1:]).sum(1)).mean(), abs=1e-10)


def test_sampled_softmax_is_lightly_s_memory_bank_info_nce() -> None:
    """`NTXentLoss` with a memory bank of what is compared with here, and the own rows as the other view: equal to 1e-5."""
    memory = contrast(40, loss="softmax", negatives=12, temperature=0.07).float()
    index, vectors = torch.arange(5), directions(5).float()
    torch.manual_seed(1)
    chosen = memory.bank.drawn(12, index[:1], with_own=False).expand(5, -1)
    memory._chosen = lambda index, held_out: chosen  # type: ignore[method-assign]
    theirs = NTXentLoss(temperature=0.07, memory_bank_size=(12, 6))
    theirs.memory_bank.bank = memory.bank.rows[chosen[0]].clone()
    expected = theirs(vectors, memory.bank.rows[index])  # without a gradient it leaves its bank as it is
    assert memory.compare([(1.0, vectors)], index).loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_own_row_may_be_noise_but_never_a_wrong_answer() -> None:
    """As a negative of its own picture it would keep the softmax loss from falling below log 2."""
    one = torch.tensor([1])
    for form, allowed in (("nce", {0, 1}), ("softmax", {0})):
        memory = contrast(2, loss=form, negatives=2)
        assert set(torch.cat([memory._chosen(one, False) for _ in range(50)]).flatten().tolist()) == allowed  # type: ignore[misc]
    memory = contrast(2, loss="softmax", negatives=2, temperature=0.01)
    memory.bank.rows = torch.tensor([[1.0, 0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0, 0]]).double()
    assert memory.compare([(1.0, memory.bank.rows[one])], one).loss.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("form", [{"loss": "nce"}, {"loss": "softmax"}, {"loss": "softmax", "negatives": 0}])
def test_a_proximal_term_adds_its_weight_times_the_squared_distance(form: dict[str, Any]) -> None:
    vectors, index = directions(5), torch.tensor([4, 17, 0, 29, 11])
    losses = []
    for proximal in (0.0, 30.0):
        memory = contrast(proximal=proximal, **form)
        torch.manual_seed(0)
        losses.append(memory.compare([(1.0, vectors)], index).loss.item())
    apart = np.mean([((v - r) ** 2).sum() for v, r in zip(vectors.numpy(), memory.bank.rows[index].numpy(), strict=True)])
    assert losses[1] - losses[0] == pytest.approx(30 * apart)


def test_z_is_found_in_the_first_step_and_kept() -> None:
    memory, index = contrast(temperature=0.3), torch.arange(4)
    torch.manual_seed(0)
    first = memory.compare([(1.0, directions(4))], index)
    assert len(memory.log_partition) == 0  # a forward pass leaves no trace
    torch.manual_seed(0)
    drawn = memory.bank.drawn(8, index, with_own=True)
    rows = torch.cat([index[:, None], drawn], dim=1)
    exps = torch.exp(torch.einsum("bd,bmd->bm", directions(4), memory.bank.rows[rows]) / 0.3)
    memory.update(first.carry)
    assert float(memory.log_partition.exp()) == pytest.approx(float(exps.mean() * 30))
    kept = memory.log_partition.clone()
    second = memory.compare([(1.0, directions(4, seed=2))], index)
    assert "log_mean" not in second.carry
    memory.update(second.carry)
    assert torch.equal(memory.log_partition, kept)
    own, others = torch.tensor([1.0]).double(), torch.tensor([[0.5, 0.2]]).double()
    assert noise_contrastive(own, others, kept[0], 30).item() != noise_contrastive(own, others, kept[0] + 1, 30).item()


def test_a_first_step_in_micro_batches_keeps_the_mean_of_their_estimates() -> None:
    """Gathered in the order of the data: the Z that is kept is that of the whole step."""
    memory, index = contrast(temperature=0.3), torch.arange(6)
    torch.manual_seed(0)
    parts = [memory.compare([(1.0, directions(6)[at])], index[at]).carry for at in (slice(0, 3), slice(3, 6))]
    estimates = [math.exp(part["log_mean"].logsumexp(0).item()) / 3 * 30 for part in parts]
    memory.update({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    assert float(memory.log_partition.exp()) == pytest.approx(np.mean(estimates))


# --- the method -------------------------------------------------------------------------------------------------------


def smooth() -> Backbone:
    """Without BatchNorm, so that examples do not see each other."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("a", nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh()))
    return Backbone("smooth", net, {"a": ("a",)}, 3)


def built(backbone: Backbone, **memory: Any) -> InstanceDiscrimination:
    torch.manual_seed(1)
    settings = Memory(**{"out": 6, "negatives": 8, **memory})
    method = InstanceDiscriminationConfig(size=16, memory=settings).build(backbone)
    method.memory.fit(30, generator(0))
    return method


def pictures(count: int, seed: int = 0) -> Batch:
    made = torch.Generator().manual_seed(seed)
    return {
        "crop0": torch.randn(count, 3, 16, 16, generator=made, dtype=torch.float64),
        "picture": torch.randn(count, 3, 16, 16, generator=made, dtype=torch.float64),
        "index": torch.randperm(30, generator=made)[:count],
    }


def test_micro_batches_are_the_whole_batch() -> None:
    """Gradients, and the rows afterwards; in the form that draws nothing, on a net whose examples do not see each other."""
    found = []
    for parts in (1, 3):
        backbone = smooth()
        learner = Learner(backbone, built(backbone, loss="softmax", negatives=0)).double().train()
        batch = pictures(6)
        cut = [{name: value.chunk(parts)[i] for name, value in batch.items()} for i in range(parts)]
        step = backward(learner, cut, "main", lambda micro: torch.enable_grad(), Ranks(0, 1, torch.device("cpu")))
        learner.method.after_step(backbone, step.carry, 0.5)
        found.append((step.loss, *[p.grad for p in learner.parameters()], *learner.buffers()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_loss_is_taken_in_float32_under_autocast() -> None:
    backbone = BackboneConfig("conv4").build()
    method = built(backbone, loss="softmax", negatives=0).train()
    embeddings = {"crop": directions(4).float(), "index": torch.arange(4)}
    method.embed = lambda backbone, batch: dict(embeddings)  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        half = method(backbone, {}).loss
    assert torch.equal(half, method(backbone, {}).loss)
    assert half.dtype == torch.float32


def test_vectors_are_of_length_1_and_the_head_is_linear() -> None:
    backbone = BackboneConfig("conv4").build()
    method = built(backbone)
    assert isinstance(method.head, nn.Linear)
    vectors = method.look(backbone, torch.randn(5, 3, 16, 16))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_held_out_pictures_have_no_row() -> None:
    """Their numbers are of another source, perhaps of one with more samples: no row is read, and nothing is drawn."""
    backbone = smooth().double()
    method = built(backbone).double().eval()
    batch = pictures(4) | {"index": torch.tensor([100, 200, 300, 400])}
    before = torch.get_rng_state()
    step = method(backbone, batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert step.carry == {}
    whole, crop = (method.look(backbone, batch[name]) for name in ("picture", "crop0"))
    rows = method.memory.bank.rows[method.memory.bank.evenly(8)]
    own, others = (crop * whole).sum(1) / 0.07, crop @ rows.T / 0.07
    log_z = torch.cat([own[:, None], others], dim=1).exp().mean().log() + math.log(30)
    assert step.loss.item() == pytest.approx(noise_contrastive(own, others, log_z, 30).item())


def test_held_out_figures_are_beside_chance() -> None:
    backbone = smooth().double()
    method = built(backbone).double().eval()
    same = pictures(4) | {"crop0": pictures(4)["picture"]}
    figures = method.score(method(backbone, same).answers)
    assert figures == {"retrieval": 1.0, "chance_retrieval": 0.25}
    answers = {"crop": torch.ones(4, 6), "whole": torch.ones(4, 6), "index": torch.arange(4)}
    assert method.score(answers) == {"retrieval": pytest.approx(0.25), "chance_retrieval": 0.25}


def test_the_figure_frames_what_each_crop_takes_for_its_own_picture() -> None:
    backbone = smooth().double()
    method = built(backbone).double().eval()
    batch = pictures(4) | {"crop0": pictures(4)["picture"]}
    (_, crops), (caption, found) = method.figure(batch, method(backbone, batch))
    assert caption == "the whole picture nearest to the crop: 4 of 4 are its own"
    torch.testing.assert_close(found[:, :, 4:-4, 4:-4], crops[:, :, 4:-4, 4:-4])


def test_resume_is_bit_exact_with_bank_and_z(tmp_path: Path) -> None:
    """Noise-contrastive, so that Z matters; stopped before and after the first step's Z could be lost."""
    run = tiny_run("instance_discrimination_paper", tmp_path / "data")
    run = dataclasses.replace(run, data=tiny_run("instance_discrimination_photos", tmp_path / "data").data)
    pretrain([run], tmp_path / "straight", Options(device="cpu", workers=0))
    for stop in (1, 3):
        with pytest.raises(Stopped):
            pretrain([run], tmp_path / f"broken{stop}", Options(device="cpu", workers=0, stop_after=stop))
        pretrain([run], tmp_path / f"broken{stop}", Options(device="cpu", workers=0, resume=True))
    kept = [load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("straight", "broken1", "broken3")]
    ends = [one["learner"] for one in kept]
    rows = ends[0]["method.memory.bank.rows"]
    assert ends[0]["method.memory.log_partition"].shape == (1,)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    for other in ends[1:]:
        assert [name for name, value in ends[0].items() if not torch.equal(value, other[name])] == []


def test_a_bank_is_of_the_training_pictures_and_a_later_stage_starts_anew() -> None:
    memory = contrast(30)
    memory.update(memory.compare([(1.0, directions(4))], torch.arange(4)).carry)
    memory.fit(12, generator(0))
    assert memory.bank.rows.shape == (12, 6)
    assert len(memory.log_partition) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"temperature": -0.1}, "temperature is -0.1; give a number above 0"),
        ({"loss": "cosine"}, "loss is 'cosine'; give nce or softmax"),
        ({"negatives": 0}, "negatives is 0, which means all rows and is for loss=softmax"),
        ({"negatives": -1}, "negatives -1"),
        ({"out": 1}, "out is 1"),
        ({"proximal": -1}, "proximal -1; give"),
        ({"keep": 1.0}, "keep is 1.0; give at least 0 and less than 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Memory(**settings)


def test_more_negatives_than_rows_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"negatives is 8, but the memory bank has 5 rows.*method\.memory\.negatives=0"):
        contrast(5)
    with pytest.raises(UserError, match="there is 1 to train on; give at least 2"):
        contrast(1)


def test_a_crop_of_no_pixels_is_refused_and_a_tiny_picture_skipped() -> None:
    with pytest.raises(UserError, match="size is 4; give at least 8"):
        InstanceDiscriminationConfig(size=4)
    with pytest.raises(UserError, match="hidden is -1"):
        InstanceDiscriminationConfig(hidden=-1)
    view = InstanceDiscriminationConfig(size=16).build(BackboneConfig("conv4").build()).view
    with pytest.raises(BadItem, match="too few to see anything"):
        view.draw({"picture": ArrayPicture(np.zeros((4, 30, 3), np.uint8))}, generator(0))


def test_a_batch_of_one_picture_is_refused_before_data_is_read(tmp_path: Path) -> None:
    run = dataclasses.replace(tiny_run("instance_discrimination_photos", tmp_path / "data"), batch_size=1)
    with pytest.raises(UserError, match=r"1 picture of the batch.*BatchNorm needs"):
        pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    method = built(smooth())
    method.check_batch(1, 1)  # without BatchNorm it may be


def test_crops_larger_than_every_picture_are_refused_before_training(tmp_path: Path) -> None:
    run = tiny_run("instance_discrimination_photos", tmp_path / "data")
    large = dataclasses.replace(run, method=dataclasses.replace(run.method, size=500))  # type: ignore[type-var]
    with pytest.raises(UserError, match="crops of 500 pixels are larger than every picture"):
        pretrain([large], tmp_path / "run", Options(device="cpu", workers=0))


def test_describe_says_what_the_bank_holds() -> None:
    assert contrast(30).describe() == {"rows": 30, "compared_with": 8}
    assert contrast(30, loss="softmax", negatives=0).describe() == {"rows": 30, "compared_with": 29}
