"""The slow copy: how fast it follows, what of the network it takes over, and that nothing trains it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.momentum import MomentumCopy, check_momentum, rising


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize(("momentum", "steps"), [(0.99, 69), (0.996, 173), (0.999, 693), (0.9995, 1386)])
def test_half_of_what_the_network_was_is_left_after_so_many_steps(momentum: float, steps: int) -> None:
    network = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(network.weight)
    slow = MomentumCopy(network)
    nn.init.zeros_(network.weight)
    left = []
    for _ in range(steps):
        slow.update(network, momentum)
        left.append(float(slow.module.weight))  # type: ignore[arg-type]
    assert left[-1] == pytest.approx(momentum**steps, rel=1e-9)
    assert left[-1] == pytest.approx(0.5, abs=1e-3 if momentum > 0.99 else 2e-3)


def test_one_step_is_the_weighted_mean_and_leaves_buffers_alone() -> None:
    network = net()
    slow = MomentumCopy(network)
    before = {name: value.clone() for name, value in slow.module.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    network(torch.randn(8, 3))  # moves running statistics
    slow.update(network, 0.9)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(slow.module.get_parameter(name), 0.9 * before[name] + 0.1 * parameter)
    for name, buffer in slow.module.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_a_momentum_of_1_changes_no_bit_and_of_0_copies_every_bit() -> None:
    network = net()
    slow = MomentumCopy(network)
    before = [parameter.clone() for parameter in slow.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    slow.update(network, 1.0)
    assert all(torch.equal(now, then) for now, then in zip(slow.parameters(), before, strict=True))
    slow.update(network, 0.0)
    assert all(torch.equal(now, then) for now, then in zip(slow.parameters(), network.parameters(), strict=True))


def test_starting_copies_parameters_and_buffers() -> None:
    network = net()
    slow = MomentumCopy(network)
    network(torch.randn(8, 3))
    with torch.no_grad():
        network[0].weight.add_(1)  # type: ignore[operator]
    slow.start(network)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in slow.module.state_dict().items())
    with torch.no_grad():
        network[0].weight.add_(1)  # type: ignore[operator]
    assert not torch.equal(slow.module.state_dict()["0.weight"], network[0].weight)  # type: ignore[arg-type]


def test_running_statistics_are_those_of_its_own_passes() -> None:
    """They belong to the copy's weights: taken over from the network, they would normalise by another network's figures."""
    network = net()
    slow = MomentumCopy(network).train()
    with torch.no_grad():
        network[0].weight.mul_(10)  # type: ignore[operator]
    pictures = torch.randn(200, 3)
    for _ in range(200):
        network(pictures)
        slow(pictures)
    out = slow.eval()(pictures)
    torch.testing.assert_close(out.std(0), torch.ones(4), atol=0.02, rtol=0)


def test_no_gradient_reaches_it_or_passes_through_it() -> None:
    slow = MomentumCopy(net())
    given = torch.randn(5, 3, requires_grad=True)
    assert not slow(given).requires_grad
    assert all(not parameter.requires_grad for parameter in slow.parameters())


def test_byol_momentum_rises_from_996_over_998_to_1() -> None:
    assert [rising(0.996, progress) for progress in (0, 0.5, 1)] == pytest.approx([0.996, 0.998, 1])


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 1.5])
def test_a_momentum_that_is_no_share_is_refused(momentum: float) -> None:
    with pytest.raises(UserError, match="give at least 0 and below 1"):
        check_momentum(momentum)
