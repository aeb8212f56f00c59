from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from embodied_ssl.evaluation.descriptors import describe
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.evaluation.solvers import logistic as logistic
from embodied_ssl.evaluation.solvers.lbfgs import minimise
from embodied_ssl.evaluation.solvers.logistic import Coordinates, Fits, Labels, Matrix, Part, principal, solve, standardise
from embodied_ssl.evaluation.targets import open_target

TIGHT = 1e-9


def part(n: int, d: int, classes: int, seed: int = 0, m: int = 40) -> Part:
    """Correlated features of very different sizes; classes overlap."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    means = rng.standard_normal((classes, d))
    mixing = rng.standard_normal((d, d)) * np.geomspace(0.01, 10, d)
    every = (rng.standard_normal((n + m, d)) + means[np.concatenate([labels, rng.integers(0, classes, m)])]) @ mixing + 5
    return Part(every[:n], labels, every[n:])


def coordinates_of(given: Part) -> Coordinates:
    return principal(*standardise(torch.from_numpy(given.features), torch.from_numpy(given.others)))


def scores(given: Part, C: float, classes: int) -> Matrix:
    """Our scores [m, K] of the other pictures at the optimum."""
    coordinates = coordinates_of(given)
    weights = solve([coordinates], [torch.from_numpy(given.labels)], [C], classes, TIGHT)[0, :, 0]
    return (coordinates.others @ weights[1:] + weights[0]).numpy()


def scikit_learn(given: Part, C: float) -> tuple[LogisticRegression, Matrix]:
    scaler = StandardScaler().fit(given.features)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    model.fit(scaler.transform(given.features), given.labels)
    return model, scaler.transform(given.others)


@pytest.mark.parametrize("C", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize(("n", "d", "classes"), [(60, 8, 4), (30, 50, 3), (40, 6, 2)])
def test_scores_equal_those_of_scikit_learn(n: int, d: int, classes: int, C: float) -> None:
    given = part(n, d, classes)
    model, others = scikit_learn(given, C)
    mine = scores(given, C, classes)
    if classes == 2:
        np.testing.assert_allclose(mine[:, 1] - mine[:, 0], model.decision_function(others), rtol=1e-5, atol=1e-6)
    else:  # its scores sum to zero over classes, as ours do
        np.testing.assert_allclose(mine, model.decision_function(others), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(Fits([given], TIGHT).predict([C])[0][0], model.predict(others))


def test_the_gradient_of_the_objective_as_written_is_zero_at_the_optimum() -> None:
    given, C = part(50, 5, 3), 2.0
    coordinates = coordinates_of(given)
    labels = torch.from_numpy(given.labels)
    weights = solve([coordinates], [labels], [C], 3, TIGHT)[0, :, 0].requires_grad_()
    loss = torch.nn.functional.cross_entropy(coordinates.features @ weights[1:] + weights[0], labels, reduction="sum")
    (C * loss + weights[1:].square().sum() / 2).backward()
    assert weights.grad is not None
    assert float(weights.grad.abs().max()) <= TIGHT * C * 50 * 1.01
    assert float(weights.detach().abs().max()) > 0.1


def test_separated_classes_with_hardly_a_penalty_are_not_left_half_way() -> None:
    """All gradients are below the tolerance long before the sum of losses and penalty is near its minimum."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (
        rng.standard_normal((60, 100)) * np.geomspace(1, 0.001, 100) + np.eye(3)[labels] @ rng.standard_normal((3, 100)) / 20
    )
    given, C = Part(features @ np.linalg.qr(rng.standard_normal((100, 100)))[0], labels, features[:5]), 100.0
    coordinates = coordinates_of(given)

    def value(tolerance: float) -> float:
        targets = torch.from_numpy(labels)
        weights = solve([coordinates], [targets], [C], 3, tolerance)[0, :, 0]
        loss = torch.nn.functional.cross_entropy(coordinates.features @ weights[1:] + weights[0], targets, reduction="sum")
        return float(C * loss + weights[1:].square().sum() / 2)

    assert value(1e-10) <= value(1e-2) <= value(1e-10) * (1 + logistic.GAP)


def test_many_at_once_are_each_alone() -> None:
    """Parts of other lengths and widths, strengths that end at other times: nothing of one is seen in another."""
    parts = [part(60, 9, 4, seed=1), part(20, 30, 4, seed=2), part(45, 9, 3, seed=3)]
    strengths = [1e-3, 100.0, 0.1]
    coordinates = [coordinates_of(p) for p in parts]
    labels = [torch.from_numpy(p.labels) for p in parts]
    together = solve(coordinates, labels, strengths, 4, TIGHT)
    for i, (own, own_labels) in enumerate(zip(coordinates, labels, strict=True)):
        for j, C in enumerate(strengths):
            alone = solve([own], [own_labels], [C], 4, TIGHT)[0, :, 0]
            torch.testing.assert_close(together[i, : len(alone), j], alone, rtol=1e-4, atol=1e-5)
    assert (together[1, 1 + len(coordinates[1].energy) :] == 0).all()


def test_problems_that_do_not_fit_in_memory_are_solved_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits([part(30 + 5 * seed, 6, 3, seed) for seed in range(4)], TIGHT)
    whole = fits.predict([0.01, 1.0, 10.0])
    for at_once in (1, 2 * 45 * 3, 6 * 45 * 3):
        monkeypatch.setattr(logistic, "AT_ONCE", at_once)
        for mine, expected in zip(fits.predict([0.01, 1.0, 10.0]), whole, strict=True):
            assert mine.shape == (3, 40)
            np.testing.assert_array_equal(mine, expected)


def test_a_label_that_is_not_trained_on_is_not_predicted_and_harms_nobody() -> None:
    full, given = part(40, 5, 4, seed=1), part(60, 5, 4, seed=2)
    lacking = Part(given.features[given.labels != 1], given.labels[given.labels != 1], given.others)
    predicted = Fits([full, lacking], TIGHT).predict([1.0])[1][0]
    model, others = scikit_learn(lacking, 1.0)
    assert set(predicted) == {0, 2, 3}
    np.testing.assert_array_equal(predicted, model.predict(others))


def test_only_the_training_part_standardises() -> None:
    given = part(30, 6, 3)
    x, z = torch.from_numpy(given.features), torch.from_numpy(given.others)
    first, second = principal(*standardise(x, z)), principal(*standardise(x, z + 1000))
    torch.testing.assert_close(first.features, second.features, rtol=0, atol=0)
    assert (second.others - first.others).abs().max() > 10
    torch.testing.assert_close(first.features.mean(0), torch.zeros(6).double(), atol=1e-10, rtol=0)
    squares = first.features.T @ first.features
    torch.testing.assert_close(squares, torch.diag(first.energy), atol=1e-8, rtol=1e-8)
    assert float(first.energy.sum()) == pytest.approx(30 * 6)  # six features of variance 1


def test_constant_columns_count_for_nothing() -> None:
    given = part(30, 4, 3)
    more = Part(*(np.insert(values, 2, 7e5, axis=1) if values.ndim == 2 else values for values in given))
    np.testing.assert_allclose(scores(more, 1.0, 3), scores(given, 1.0, 3), atol=1e-6)
    assert all((values == 0).all() for values in standardise(torch.ones(5, 3).double() * 3, torch.ones(2, 3).double()))


def test_the_same_bytes_every_time() -> None:
    given = part(60, 20, 5)
    coordinates = coordinates_of(given)
    runs = [solve([coordinates], [torch.from_numpy(given.labels)], [0.1, 10.0], 5, 1e-4) for _ in range(2)]
    assert torch.equal(*runs)


class Valley:
    """log cosh of a turned and stretched distance from a known place, whose curvature is claimed far too small or too large."""

    def __init__(self, claimed: float) -> None:
        rng = torch.Generator().manual_seed(0)
        self.place = torch.randn(2, 5, 3, 2, generator=rng, dtype=torch.float64) * 4
        self.turn = torch.linalg.qr(torch.randn(5, 5, generator=rng, dtype=torch.float64))[0] * torch.tensor([1, 2, 5, 10, 0.3])
        self.claimed = claimed

    def start(self) -> torch.Tensor:
        return torch.zeros_like(self.place)

    def value(self, at: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        far = torch.einsum("ij,bjsk->bisk", self.turn, at - self.place[:, :, columns])
        value = torch.logaddexp(far, -far).sum((1, 3))
        return value, torch.einsum("ij,bisk->bjsk", self.turn, far.tanh())

    def inverse_curvature(self, columns: torch.Tensor) -> torch.Tensor:
        return torch.full((2, 5, len(columns), 1), 1 / self.claimed, dtype=torch.float64)

    def ended(self, value: torch.Tensor, gradient: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return gradient.abs().amax((1, 3)) <= 1e-10


@pytest.mark.parametrize("claimed", [1e-2, 1.0, 1e3])
def test_minima_are_found_from_afar_with_wrong_curvatures(claimed: float) -> None:
    valley = Valley(claimed)
    torch.testing.assert_close(minimise(valley), valley.place, atol=1e-6, rtol=1e-6)


@pytest.mark.data
def test_accuracy_on_fifteen_scenes_is_that_of_scikit_learn(data_root: Path) -> None:
    target = open_target(str(data_root / "scene15"))
    how = Preprocessing()
    train, test = (describe("raw16", read_pictures(source, how), how) for source in (target.train, target.test))
    given = Part(train.features["raw16"], train.labels, test.features["raw16"])
    strengths = [1e-3, 1e-1]
    for mine, C in zip(Fits([given]).predict(strengths)[0], strengths, strict=True):
        scaler = StandardScaler().fit(given.features)
        model = LogisticRegression(C=C, tol=1e-5, max_iter=2000).fit(scaler.transform(given.features), given.labels)
        theirs: Labels = model.predict(scaler.transform(given.others))
        assert abs((mine == test.labels).mean() - (theirs == test.labels).mean()) < 0.002
        assert (mine == theirs).mean() > 0.99
