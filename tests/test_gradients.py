"""Micro-batches give the gradient of the whole batch; phases stay out of each other's way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toys import CriticToy

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.core import Batch, Learner, Method, Step
from embodied_ssl.distributed import Ranks
from embodied_ssl.gradients import backward, frozen_statistics, only
from embodied_ssl.losses import nt_xent

ALONE = Ranks(0, 1, torch.device("cpu"))


def still(micro: int) -> AbstractContextManager[None]:
    return nullcontext()


class Coupled(Method):
    needs = frozenset({"picture"})
    coupled = True

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 6))

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {name: self.head(backbone(batch[name]).vector) for name in ("first", "second")} | {"index": batch["index"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        first, second = embeddings["first"].double(), embeddings["second"].double()
        similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / 0.2
        loss = F.cross_entropy(similarity, torch.arange(len(first)))
        return Step(loss, {"rows": loss.detach() * 0 + len(first)}, {"index": embeddings["index"]})


class Plain(Method):
    needs = frozenset({"picture"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, 3)

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        each = self.head(backbone(batch["first"]).vector).square().sum(1)
        return Step(each.mean(), {"largest": each.max().detach()}, {"index": batch["index"]})


def smooth_backbone() -> Backbone:
    """Without BatchNorm, so that examples do not see each other."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("a", nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.Tanh()))
    net.add_module("b", nn.Sequential(nn.Conv2d(5, 7, 3, 2, 1), nn.Tanh()))
    return Backbone("smooth", net, {"a": ("a",), "b": ("b",)}, 3)


def pictures(n: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    first, second = (torch.randn(n, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    return {"first": first, "second": second, "index": torch.arange(n)}


def cut(batch: Batch, parts: int) -> list[Batch]:
    chunks = {name: value.chunk(parts) for name, value in batch.items()}
    return [{name: chunks[name][i] for name in batch} for i in range(parts)]


def gradients(learner: Learner) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in learner.named_parameters()}


def run(make: Callable[[int], Method], parts: int) -> tuple[Step, dict[str, Tensor | None]]:
    backbone = smooth_backbone()
    learner = Learner(backbone, make(backbone.width)).double().train()
    step = backward(learner, cut(pictures(8), parts), "main", still, ALONE)
    return step, gradients(learner)


@pytest.mark.parametrize("make", [Coupled, Plain])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_give_the_whole_batchs_gradient(make: Callable[[int], Method], parts: int) -> None:
    whole, expected = run(make, 1)
    step, found = run(make, parts)
    torch.testing.assert_close(step.loss, whole.loss)
    assert torch.equal(step.carry["index"], torch.arange(8))
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14)


def test_the_gradient_of_a_coupled_loss_is_autograds() -> None:
    backbone = smooth_backbone()
    learner = Learner(backbone, Coupled(backbone.width)).double().train()
    loss = learner.method.objective(learner.method.embed(backbone, pictures(8))).loss
    names = [name for name, _ in learner.named_parameters()]
    expected = dict(zip(names, torch.autograd.grad(loss, list(learner.parameters())), strict=True))
    _, found = run(Coupled, 4)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-14)


def test_a_coupled_loss_sees_all_micro_batches_at_once() -> None:
    step, _ = run(Coupled, 4)
    assert float(step.metrics["rows"]) == 8


def test_both_passes_of_gradient_caching_drop_the_same_units() -> None:
    """With the keyed seed of each micro-batch, the cached gradient is that of one graph that used the same masks."""

    def seeded(micro: int) -> AbstractContextManager[None]:
        torch.manual_seed(micro)
        return nullcontext()

    backbone = smooth_backbone()
    learner = Learner(backbone, Coupled(backbone.width, dropout=0.5)).double().train()
    parts = cut(pictures(8), 4)
    embedded = []
    for micro, part in enumerate(parts):
        torch.manual_seed(micro)
        embedded.append(learner.method.embed(backbone, part))
    joined = {name: torch.cat([one[name] for one in embedded]) for name in embedded[0]}
    learner.method.objective(joined).loss.backward()
    expected = gradients(learner)
    learner.zero_grad()
    backward(learner, parts, "main", seeded, ALONE)
    for name, gradient in gradients(learner).items():
        torch.testing.assert_close(gradient, expected[name])


def test_gradient_caching_moves_batch_norms_statistics_once() -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    learner = Learner(backbone, Coupled(backbone.width)).double().train()
    twin = Learner(BackboneConfig("conv4").build(), Coupled(backbone.width)).double().train()
    twin.load_state_dict(learner.state_dict())
    parts = cut(pictures(8), 2)
    backward(learner, parts, "main", still, ALONE)
    for part in parts:
        twin.method.embed(twin.backbone, part)
    for (name, buffer), (_, once) in zip(learner.named_buffers(), twin.named_buffers(), strict=True):
        assert torch.equal(buffer, once), name
    assert int(learner.get_buffer("backbone.net.conv1.1.num_batches_tracked")) == 4  # two micro-batches, two views in each


def test_frozen_statistics_normalise_by_the_batch_and_move_nothing() -> None:
    norm = nn.BatchNorm1d(3).train()
    x = torch.randn(16, 3) * 5 + 2
    with frozen_statistics(norm):
        y = norm(x)
    assert int(norm.num_batches_tracked) == 0  # type: ignore[arg-type]
    assert torch.equal(norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    norm(x)
    assert int(norm.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_nt_xent_through_the_cache_is_that_of_one_batch() -> None:
    class Simple(Coupled):
        def objective(self, embeddings: dict[str, Tensor]) -> Step:
            return Step(nt_xent(embeddings["first"], embeddings["second"], 0.5))

    _, expected = run(Simple, 1)
    _, found = run(Simple, 4)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


# --- phases -----------------------------------------------------------------------------------------------------------


def adversaries(weight: float = 1.0) -> tuple[Learner, Batch]:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()

    class Weighted(CriticToy):
        def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
            step = super().forward(backbone, batch, phase)
            return Step(step.loss * weight) if phase == "main" else step

    learner = Learner(backbone, Weighted(backbone.width)).train()
    return learner, {"picture": torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


def moved_by(phase: str, weight: float = 1.0) -> dict[str, Tensor | None]:
    learner, batch = adversaries(weight)
    with only(learner, phase):
        backward(learner, [batch], phase, still, ALONE)
    return gradients(learner)


def test_the_critics_phase_gives_gradients_to_the_critic_alone() -> None:
    for name, gradient in moved_by("critic").items():
        assert (gradient is not None) == name.startswith("method.critic"), name


def test_the_main_phase_gives_gradients_to_all_but_the_critic() -> None:
    for name, gradient in moved_by("main").items():
        assert (gradient is not None) == (not name.startswith("method.critic")), name


def test_a_generator_loss_a_million_times_as_heavy_changes_nothing_for_the_critic() -> None:
    for name, gradient in moved_by("critic", weight=1e6).items():
        other = moved_by("critic")[name]
        assert (gradient is None and other is None) or torch.equal(gradient, other), name  # type: ignore[arg-type]


def test_only_restores_what_asked_for_gradients_before() -> None:
    learner, _ = adversaries()
    learner.backbone.net.conv1.requires_grad_(False)
    before = {name: p.requires_grad for name, p in learner.named_parameters()}
    with pytest.raises(ZeroDivisionError), only(learner, "critic"):
        assert 1 / int(learner.method.generator.weight.requires_grad)
    assert {name: p.requires_grad for name, p in learner.named_parameters()} == before


def test_a_coupled_loss_is_taken_in_float32_whatever_the_network_ran_in() -> None:
    """Found in a review: under autocast the similarities of a batch were rounded to three digits."""
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    class Watching(Coupled):
        def objective(self, embeddings: dict[str, Tensor]) -> Step:
            product = embeddings["first"] @ embeddings["second"].T
            seen.append((embeddings["first"].dtype, product.dtype))
            return super().objective(embeddings)

    learner = Learner(smooth_backbone(), Watching(7))
    batch = {name: value.float() if value.is_floating_point() else value for name, value in pictures(4).items()}

    def half(micro: int) -> AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16)  # type: ignore[return-value]

    for parts in (1, 2):
        backward(learner, cut(batch, parts), "main", half, ALONE)
    with half(0):
        learner(batch)
    assert seen == [(torch.float32, torch.float32)] * 3
    assert all(p.grad is not None for p in learner.parameters())
