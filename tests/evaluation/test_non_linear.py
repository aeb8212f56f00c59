"""RotNet's non-linear probe: its shape, its training, and what it can read that a linear probe cannot."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.non_linear import NonLinear, hidden_units, predict
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.training.classifier import keyed_torch
from embodied_ssl.keys import generator

Blobs = Callable[..., FeatureTable]
QUICK = NonLinear(rates=(0.1,), epochs=30, batch_size=32)


def accuracy(scores: list[Score], choice: str = "last") -> float:
    return next(s.value for s in scores if s.metric == "accuracy" and s.choice == choice)


def xor(count: int, seed: int) -> FeatureTable:
    """Two numbers of random sign, and the class is whether their signs agree: no plane parts the classes."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (count, 2))
    features = (signs + 0.2 * rng.standard_normal((count, 2))).astype(np.float32)
    labels = (signs[:, 0] == signs[:, 1]).astype(np.int64)
    return FeatureTable("toy", {"a": features}, labels, tuple(f"r{i}" for i in range(count)))


def test_it_has_200_hidden_units_for_cifars_10_classes() -> None:
    assert [hidden_units(classes) for classes in (2, 10, 15, 102, 103, 1000)] == [40, 200, 300, 2040, 2048, 2048]


def test_it_is_two_hidden_layers_with_norms_and_relus(blobs: Blobs) -> None:
    table = blobs(8, classes=10, width=6)
    net = dataclasses.replace(QUICK, epochs=1).train(table.features["a"], table.labels, 0.1, "cpu")
    assert isinstance(net, nn.Sequential)
    assert [type(layer).__name__ for layer in net] == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear"]
    assert [tuple(layer.weight.shape) for layer in net if isinstance(layer, nn.Linear)] == [(200, 6), (200, 200), (10, 200)]
    assert [layer.bias is None for layer in net if isinstance(layer, nn.Linear)] == [True, True, False]


def test_the_schedule_is_the_papers_for_cifar() -> None:
    """A rate of 0.1, 0.02, 0.004, 0.0008 up to pass 20, 40, 45 and the end."""
    rates = [0.1 * NonLinear().schedule.factor(epoch / 100) for epoch in range(100)]
    assert rates == pytest.approx([0.1] * 20 + [0.02] * 20 + [0.004] * 5 + [0.0008] * 55)


def test_it_reads_what_no_linear_probe_can() -> None:
    train, test = xor(200, 1), xor(400, 2)
    assert accuracy(Linear().run(train, test)) == pytest.approx(0.5, abs=0.12)
    assert accuracy(QUICK.run(train, test)) > 0.97


def test_it_is_trained_as_torch_would_train_it(blobs: Blobs) -> None:
    table = blobs(20, noise=3, seed=1)
    probe = NonLinear(epochs=4, batch_size=32, seed=3)
    found = probe.train(table.features["a"], table.labels, 0.1, "cpu", "a", "test")
    with keyed_torch("non-linear", 3, "a", "test", "weights"):
        layers: list[nn.Module] = []
        for inner in (8, 80):
            layers += [nn.Linear(inner, 80, bias=False), nn.BatchNorm1d(80), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Linear(80, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x, y = torch.from_numpy(table.features["a"]), torch.from_numpy(table.labels)
    order = np.concatenate([generator("non-linear", 3, "a", "test", "order", passes).permutation(80) for passes in range(4)])
    for step in range(8):
        optimizer.param_groups[0]["lr"] = 0.1 * 32 / 128 * (1, 1, 0.2, 0.2, 0.008, 0.008, 0.008, 0.008)[step]
        rows = order[step * 32 : step * 32 + 32]
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    for ours, theirs in zip(found.state_dict().values(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    np.testing.assert_array_equal(predict(found, table.features["a"], "cpu"), net.eval()(x).argmax(1).numpy())


def test_the_rate_is_chosen_on_a_fold_of_the_train_part(blobs: Blobs) -> None:
    train, test = blobs(25, noise=3, seed=1), blobs(25, noise=3, seed=2)
    probe = NonLinear(rates=(1e-4, 0.1), epochs=10, batch_size=32)
    rows = probe.run(train, test)
    for row in (row for row in rows if row.choice == "every"):
        assert list(row.settings["tried"]) == ["0.0001", "0.1"]
        assert row.value == max(row.settings["tried"].values())
        assert row.n == 20
    other = dataclasses.replace(test, labels=test.labels[::-1].copy())
    again = probe.run(dataclasses.replace(train, found={}), other)
    assert [row.settings for row in again] == [row.settings for row in rows]
    assert probe.run(dataclasses.replace(train, found={}), test) == rows
    assert json.loads(json.dumps(dict(rows[-1].settings))) == rows[-1].settings
    assert rows[-1].settings["reported"] == "last epoch"


def test_random_labels_are_chance(blobs: Blobs) -> None:
    near, far = (blobs(count, noise=0.05, seed=count) for count in (25, 100))
    assert accuracy(QUICK.run(near, far)) == 1
    mixed = [dataclasses.replace(t, labels=np.random.default_rng(0).permutation(t.labels), found={}) for t in (near, far)]
    assert accuracy(QUICK.run(*mixed)) == pytest.approx(0.25, abs=0.09)


def test_a_network_that_diverged_predicts_nothing(blobs: Blobs) -> None:
    table = blobs(10, noise=3, seed=1)
    net = dataclasses.replace(QUICK, epochs=40, weight_decay=1.0).train(table.features["a"], table.labels, 1e9, "cpu")
    assert (predict(net, table.features["a"], "cpu") == -1).all()


@pytest.mark.parametrize("wrong", [{"rates": ()}, {"rates": (0.0,)}, {"epochs": 0}, {"batch_size": 1}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="non-linear was given"):
        NonLinear(**wrong)  # type: ignore[arg-type]
