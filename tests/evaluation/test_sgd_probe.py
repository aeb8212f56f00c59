import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.protocols.sgd_probe import GOYAL, SPREAD, SgdProbe
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.keys import generator
from embodied_ssl.optim import Schedule

Blobs = Callable[..., FeatureTable]


def accuracy(scores: list[Score], choice: str = "last") -> float:
    return next(s.value for s in scores if s.metric == "accuracy" and s.choice == choice)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_rate_is_trained_as_torch_would_train_it_alone(blobs: Blobs, norm: str) -> None:
    table = blobs(20, noise=3, seed=1)
    probe = SgdProbe(norm=norm, epochs=6, batch_size=32, nesterov=True, weight_decay=1e-3, seed=4)  # type: ignore[arg-type]
    x, y = torch.from_numpy(table.features["a"]), torch.from_numpy(table.labels)
    found = probe.train(table.features["a"], table.labels, [0.1, 1.0, 3.0], "cpu", "a", "test")
    first = generator("sgd", 4, "a", "test", "weights").standard_normal((8, 4))
    for i, rate in enumerate((0.1, 1.0, 3.0)):
        layer = torch.nn.Linear(8, 4)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(SPREAD * first.T))
            layer.bias.zero_()
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-3)
        for step in range(12):
            order = generator("sgd", 4, "a", "test", step // 2).permutation(80)
            rows = order[step % 2 * 32 : step % 2 * 32 + 32]
            batch = x[rows]
            if norm == "batch":
                batch = (batch - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt()
            optimizer.param_groups[0]["lr"] = rate * 32 / 256 * probe.schedule.factor(step / 12)
            optimizer.zero_grad()
            F.cross_entropy(layer(batch), y[rows]).backward()
            optimizer.step()
        torch.testing.assert_close(found.weights[i], layer.weight.detach().T, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.biases[i, 0], layer.bias.detach(), rtol=1e-4, atol=1e-5)
        whole = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() if norm == "batch" else x
        np.testing.assert_array_equal(found.predict(table.features["a"])[i], layer(whole).argmax(1).numpy())


def test_a_layer_that_diverged_predicts_nothing(blobs: Blobs) -> None:
    table = blobs(20, noise=3, seed=1)
    probe = SgdProbe(norm="none", weight_decay=1.0, epochs=20)
    layers = probe.train(table.features["a"], table.labels, [0.1, 1e6], "cpu", "a")
    predicted = layers.predict(table.features["a"])
    assert (predicted[0] >= 0).all()
    assert (predicted[1] == -1).all()


def test_the_rate_is_chosen_on_a_fold_of_the_train_part(blobs: Blobs) -> None:
    train, test = blobs(25, noise=3, seed=1), blobs(25, noise=3, seed=2)
    probe = SgdProbe(epochs=20)
    rows = probe.run(train, test)
    every = [row for row in rows if row.choice == "every"]
    assert [row.layer for row in every] == ["a", "b"]
    for row in every:
        tried = row.settings["tried"]
        assert list(tried) == ["0.01", "0.03", "0.1", "0.3", "1", "3", "10", "30"]
        assert row.value == tried[f"{row.settings['rate']:g}"] == max(tried.values())
        assert row.settings["rate"] == min(float(rate) for rate, share in tried.items() if share == row.value)
        assert row.n == 20
    other = dataclasses.replace(test, labels=test.labels[::-1].copy(), features={k: -v for k, v in test.features.items()})
    again = probe.run(dataclasses.replace(train, found={}), other)
    assert [row.settings for row in again] == [row.settings for row in rows]
    assert accuracy(again) != accuracy(rows)
    assert probe.run(dataclasses.replace(train, found={}), test) == rows
    assert json.loads(json.dumps(dict(rows[0].settings))) == rows[0].settings


def test_separated_classes_are_all_right_and_random_labels_are_chance(blobs: Blobs) -> None:
    near, far = blobs(25, noise=0.05, seed=1), blobs(100, noise=0.05, seed=2)
    for probe in (SgdProbe(epochs=20), SgdProbe(epochs=20, norm="none")):
        assert accuracy(probe.run(near, far)) == 1
        mixed = [dataclasses.replace(t, labels=np.random.default_rng(0).permutation(t.labels)) for t in (near, far)]
        assert accuracy(probe.run(*mixed)) == pytest.approx(0.25, abs=0.09)


def test_goyals_schedule() -> None:
    """28 passes, a tenth of the rate at 8, 16 and 24."""
    factors = [GOYAL.schedule.factor(epoch / GOYAL.epochs) for epoch in range(28)]
    assert factors == pytest.approx([1] * 8 + [0.1] * 8 + [0.01] * 8 + [0.001] * 4)
    assert (GOYAL.nesterov, GOYAL.weight_decay, GOYAL.momentum, GOYAL.norm) == (True, 5e-4, 0.9, "batch")
    assert SgdProbe().schedule == Schedule("step", warmup=0.0, drops=(0.6, 0.8), gamma=0.1)


@pytest.mark.parametrize("wrong", [{"rates": ()}, {"rates": (0.0,)}, {"epochs": 0}, {"batch_size": 1}, {"norm": "layer"}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="sgd"):
        SgdProbe(**wrong)  # type: ignore[arg-type]
