"""MoCo: its loss against closed forms and lightly's, its queue, its slow copy, and what is refused before training."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.config import Run
from embodied_ssl.core import Batch, Learner
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward
from embodied_ssl.losses import queue_contrast
from embodied_ssl.methods.contrastive.key_queue import KeyQueue
from embodied_ssl.methods.contrastive.moco import MoCo, MoCoConfig
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import pretrain

ALONE = Ranks(0, 1, torch.device("cpu"))
QUICK = Options(device="cpu", workers=0)
K = 65_536


def learner(backbone: str = "conv4", **settings: Any) -> Learner:
    torch.manual_seed(0)
    built = BackboneConfig(backbone).build()
    small: dict[str, Any] = {"size": 32, "queue": 24, "hidden": 16, "out": 8, **settings}
    return Learner(built, MoCoConfig(**small).build(built))


def batch(count: int = 8, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    return {"crop0": torch.randn(count, 3, 32, 32), "crop1": torch.randn(count, 3, 32, 32), "index": torch.arange(count)}


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_oracle_moco_collapse_is_11_0904() -> None:
    same = unit(1, 128)
    loss = queue_contrast(same.expand(4, -1), same.expand(4, -1), same.expand(K, -1), 0.07)
    assert loss.item() == pytest.approx(math.log(K + 1), abs=1e-4)
    assert loss.item() == pytest.approx(11.0904, abs=1e-4)


@pytest.mark.parametrize(("temperature", "expected"), [(0.07, 0.0401), (0.2, 6.0926)])
def test_oracle_moco_query_is_key_and_the_queue_is_orthogonal(temperature: float, expected: float) -> None:
    query = torch.zeros(2, 128, dtype=torch.float64)
    query[:, 0] = 1
    negatives = torch.zeros(K, 128, dtype=torch.float64)
    negatives[torch.arange(K), 1 + torch.arange(K) % 127] = 1
    loss = queue_contrast(query, query, negatives, temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-4)
    assert loss.item() == pytest.approx(math.log1p(K * math.exp(-1 / temperature)), abs=1e-9)


def test_oracle_moco_equals_lightly_with_a_memory_bank() -> None:
    from lightly.loss import NTXentLoss

    torch.manual_seed(0)
    query, key = unit(16, 128), unit(16, 128)
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(64, 128))
    negatives = theirs.memory_bank.bank.clone()
    assert negatives.shape == (64, 128)
    loss = theirs(query, key)
    assert queue_contrast(query, key, negatives, 0.2).item() == pytest.approx(loss.item(), abs=1e-5)


def test_the_loss_is_the_slow_sum() -> None:
    torch.manual_seed(0)
    query, key, negatives = (unit(n, 6).double() for n in (5, 5, 7))
    total = 0.0
    for q, k in zip(query, key, strict=True):
        own = math.exp(float(q @ k) / 0.07)
        total -= math.log(own / (own + sum(math.exp(float(q @ n) / 0.07) for n in negatives)))
    assert queue_contrast(query, key, negatives, 0.07).item() == pytest.approx(total / 5, abs=1e-10)


def test_collapse_shows_in_every_figure() -> None:
    built = learner()
    method = built.method
    assert isinstance(method, MoCo)
    same = F.normalize(torch.ones(8, 8), dim=1)
    method.queue.replace_oldest(same.repeat(3, 1))
    step = method._compare(same, same, torch.arange(8))
    assert step.loss.item() == pytest.approx(math.log(25), abs=1e-5)
    assert step.metrics["accuracy"].item() == 0
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / 25)
    assert step.metrics["spread"].item() == pytest.approx(0, abs=1e-6)
    assert method.score(step.answers) == pytest.approx({"retrieval": 1 / 8, "chance_retrieval": 1 / 8})


# --- queue and slow copy ----------------------------------------------------------------------------------------------


def test_the_queue_starts_as_random_directions() -> None:
    torch.manual_seed(0)
    rows = KeyQueue(2000, 16).rows
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2000))
    assert float(rows.mean(0).norm()) < 0.1
    assert float((rows.T @ rows / 2000 * 16 - torch.eye(16)).abs().max()) < 0.2


def test_oracle_after_k_over_b_steps_the_queue_holds_exactly_the_last_k_keys_in_order() -> None:
    queue = KeyQueue(12, 3)
    keys = [unit(4, 3) for _ in range(5)]
    for number, step in enumerate(keys[:3]):
        queue.replace_oldest(step)
        assert int(queue.oldest) == (4 * number + 4) % 12
    assert torch.equal(queue.rows, torch.cat(keys[:3]))
    queue.replace_oldest(keys[3])
    queue.replace_oldest(keys[4])
    assert torch.equal(queue.rows, torch.cat([keys[3], keys[4], keys[2]]))


def test_a_step_is_judged_by_the_queue_as_it_was_and_its_keys_go_in_afterwards() -> None:
    """Were they in it already, each positive would be a negative too, and no loss could fall below log 2."""
    built = learner(queue=8).train()
    method = built.method
    assert isinstance(method, MoCo)
    before = method.queue.rows.clone()
    step = built(batch())
    assert torch.equal(method.queue.rows, before)
    query, key = step.answers["first"], step.carry["keys"]
    assert step.loss.item() == pytest.approx(queue_contrast(query, key, before, 0.2).item(), abs=1e-6)
    method.after_step(built.backbone, step.carry, 0.5)
    assert torch.equal(method.queue.rows, key)


def test_oracle_the_key_network_gets_no_gradient_and_moves_by_the_momentum_alone() -> None:
    built = learner(momentum=0.9).train()
    method = built.method
    assert isinstance(method, MoCo)
    slow = {name: value.clone() for name, value in method.slow_backbone.named_parameters()}
    step = backward(built, [batch()], "main", lambda micro: nullcontext(), ALONE)
    for name, parameter in method.named_parameters():
        assert (parameter.grad is None) == name.startswith("slow_"), name
    assert all(parameter.grad is not None for parameter in built.backbone.parameters())
    with torch.no_grad():
        for parameter in (*built.backbone.parameters(), *method.head.parameters()):
            parameter.sub_(0.1 * parameter.grad)
    method.after_step(built.backbone, step.carry, 0.5)
    for name, parameter in method.slow_backbone.named_parameters():
        fast = built.backbone.get_parameter(name.removeprefix("module."))
        torch.testing.assert_close(parameter, 0.9 * slow[name] + 0.1 * fast)


def test_starting_from_loaded_weights_the_copy_has_them_too() -> None:
    built = learner()
    with torch.no_grad():
        for value in built.backbone.state_dict().values():
            value.add_(1)
    built.method.start(built.backbone)
    assert isinstance(built.method, MoCo)
    copied = built.method.slow_backbone.module.state_dict()
    assert all(torch.equal(value, copied[name]) for name, value in built.backbone.state_dict().items())


def test_micro_batches_are_the_whole_batch_on_a_network_without_batch_norm() -> None:
    """Loss, gradients, and what the queue holds: in the order of the data, whatever the micro-batches (or ranks) are."""
    found = []
    for micro in (8, 2):
        built = learner("convnet_quick").double().train()
        whole = {name: value.double() if value.is_floating_point() else value for name, value in batch().items()}
        parts = [{name: value[i : i + micro] for name, value in whole.items()} for i in range(0, 8, micro)]
        step = backward(built, parts, "main", lambda micro: nullcontext(), ALONE)
        built.method.after_step(built.backbone, step.carry, 0.5)
        gradients = [parameter.grad.clone() for parameter in built.parameters() if parameter.grad is not None]
        found.append([step.loss, built.method.get_buffer("queue.rows"), *gradients])
    for one, other in zip(*found, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


# --- BatchNorm --------------------------------------------------------------------------------------------------------


def means_seen(network: nn.Module, run: Any) -> list[Tensor]:
    """The mean that the network's first BatchNorm saw in each pass."""
    norm = next(part for part in network.modules() if isinstance(part, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda module, given: seen.append(given[0].mean((0, 2, 3)).detach()))
    run()
    hook.remove()
    return seen


def test_queries_and_keys_do_not_share_statistics() -> None:
    """Even where both views are the same pixels and both networks the same."""
    built = learner(groups=2).train()
    method = built.method
    assert isinstance(method, MoCo)
    one = batch()
    one["crop1"] = one["crop0"]
    query = means_seen(built.backbone, lambda: built(one))
    key = means_seen(method.slow_backbone, lambda: built(one))
    assert len(query) == len(key) == 2
    for mean in query:
        assert all(float((mean - other).abs().max()) > 1e-3 for other in key)
    torch.testing.assert_close(torch.stack(query).mean(0), torch.stack(key).mean(0))  # the same pictures in all
    leaky = learner(groups=1).train()
    assert isinstance(leaky.method, MoCo)
    slow = leaky.method.slow_backbone
    torch.testing.assert_close(means_seen(leaky.backbone, lambda: leaky(one)), means_seen(slow, lambda: leaky(one)))


def test_held_out_batches_need_not_divide_into_groups() -> None:
    built = learner(groups=4).eval()
    step = built(batch(5))
    assert step.answers["first"].shape == (5, 8)


def test_a_network_without_batch_norm_is_not_asked_for_groups() -> None:
    method = learner("convnet_quick", groups=4, queue=3).method
    method.check_batch(1, 1)


# --- heads, settings, refusals ----------------------------------------------------------------------------------------


def test_version_1_has_a_linear_head_and_version_2_one_of_two_layers_without_a_norm() -> None:
    backbone = BackboneConfig("conv4").build()
    assert [type(layer) for layer in MoCoConfig(hidden=0).build(backbone).head] == [nn.Linear]
    head = MoCoConfig(hidden=20, out=7).build(backbone).head
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [layer.bias is not None for layer in head if isinstance(layer, nn.Linear)] == [True, True]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return tiny_run("moco_photos", tmp_path / "data")


def test_a_queue_that_is_no_multiple_of_the_batch_is_refused_before_training(run: Run, tmp_path: Path) -> None:
    odd = dataclasses.replace(run, batch_size=4, method=dataclasses.replace(run.method, queue=10))  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"a queue of 10 keys does not divide by a batch of 4.*method.queue=8"):
        pretrain([odd], tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_is_longer_than_the_queue_is_refused_before_training(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a queue of 4 keys does not divide by a batch of 6.*method.queue=6"):
        pretrain([dataclasses.replace(run, batch_size=6)], tmp_path / "run", QUICK)


def test_one_image_with_batch_norm_is_refused_before_training(run: Run, tmp_path: Path) -> None:
    for given in (dataclasses.replace(run, batch_size=1), dataclasses.replace(run, batch_size=2, accumulate=2)):
        with pytest.raises(
            UserError,
            match=r"1 picture of the batch for each.*the 2 at least that BatchNorm needs",
        ):
            pretrain([given], tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"queue": 0}, "queue is 0"),
        ({"groups": 0}, "groups 0"),
        ({"momentum": 1.0}, "momentum is 1.0; give at least 0 and below 1"),
        ({"size": 0}, "0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MoCoConfig(**settings)


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_a_resumed_run_has_the_same_queue_and_slow_copy_to_the_bit(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "straight", QUICK)
    with pytest.raises(Stopped):
        pretrain([run], tmp_path / "broken", dataclasses.replace(QUICK, stop_after=1))
    early = load_checkpoint(tmp_path / "broken" / "checkpoints" / "last.pt")["learner"]
    pretrain([run], tmp_path / "broken", dataclasses.replace(QUICK, resume=True))
    one, two = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"] for name in ("straight", "broken"))
    kept = [name for name in one if name.startswith(("method.queue.", "method.slow_"))]
    assert {"method.queue.rows", "method.queue.oldest", "method.slow_backbone.module.net.conv1.0.weight"} <= set(kept)
    assert all(torch.equal(one[name], two[name]) for name in kept)
    assert any(not torch.equal(early[name], one[name]) for name in kept if "slow_backbone" in name)
    assert not torch.equal(early["method.queue.rows"], one["method.queue.rows"])


def test_what_is_exported_is_the_query_network(run: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    pretrain([run], tmp_path / "run", QUICK)
    stored = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["learner"]
    exported = load_file(tmp_path / "run" / "backbone" / "model.safetensors")
    assert all(torch.equal(value, stored[f"backbone.net.{name}"]) for name, value in exported.items())
    assert any(not torch.equal(value, stored[f"method.slow_backbone.module.net.{name}"]) for name, value in exported.items())
