import dataclasses
import json

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.average_precision import average_precision
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.protocols.low_shot_svm import LowShotSvm, draw
from embodied_ssl.evaluation.protocols.svm import STRENGTHS, VocSvm, folds_of, judgeable, unit


def tagged(n: int = 60, classes: int = 3, width: int = 12, seed: int = 0, strength: float = 1.5) -> FeatureTable:
    """Each class adds its own direction to the features; the last layer is noisier. Some tags are -1."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((classes, width))
    shown = rng.random((n, classes)) < 0.35
    tags = np.where(rng.random((n, classes)) < 0.1, -1, shown).astype(np.int8)
    features = {
        name: (strength * shown @ directions + noise * rng.standard_normal((n, width)) + 2).astype(np.float32)
        for name, noise in (("a", 1.0), ("b", 3.0))
    }
    return FeatureTable("toy", features, np.full(n, -1), tuple(f"{seed}/{i}" for i in range(n)), tags=tags)


def liblinear(x: np.ndarray, y: np.ndarray, C: float, z: np.ndarray) -> np.ndarray:
    """The authors' settings, but converged."""
    model = LinearSVC(C=C, class_weight={1: 2, -1: 1}, penalty="l2", loss="squared_hinge", dual=False, tol=1e-8, max_iter=20000)
    return np.asarray(model.fit(x, np.where(y == 1, 1, -1)).decision_function(z))


def test_the_list_of_strengths_is_the_authors() -> None:
    assert len(STRENGTHS) == 18
    assert STRENGTHS[0] == 0.5**19
    assert set(STRENGTHS) == {0.01, 0.1} | {0.5**n for n in range(4, 20)}


@pytest.mark.parametrize("ignored", ["dropped", "negative"])
def test_the_protocol_equals_a_slow_loop_of_liblinear(ignored: str) -> None:
    train, test = tagged(seed=1), tagged(80, seed=2)
    assert train.tags is not None
    assert test.tags is not None
    protocol = VocSvm(strengths=(0.001, 0.01, 0.1), ignored=ignored)  # type: ignore[arg-type]
    rows = protocol.run(train, test)
    x, z = unit(train.features["b"]).astype(np.float64), unit(test.features["b"]).astype(np.float64)
    tags = train.tags if ignored == "dropped" else np.maximum(train.tags, 0)
    expected, on_folds = [], []
    for c in range(3):
        used = tags[:, c] != -1
        found = {}
        for C in protocol.strengths:
            folds = folds_of(tags[:, c], train.recordings)
            assert len(folds) == 3
            assert np.array_equal(np.sort(np.concatenate([held for _, held in folds])), np.flatnonzero(used))
            each = [average_precision(liblinear(x[a], tags[a, c], C, x[b]), tags[b, c]) for a, b in folds]
            found[C] = np.mean(each)
        best = max(found, key=found.__getitem__)
        on_folds.append(found[best])
        truth = test.tags[:, c]
        keep = truth != -1
        expected.append(average_precision(liblinear(x[used], tags[used, c], best, z)[keep], truth[keep]))
        last = rows[-1]
        assert last.settings["C"][str(c)] == best
        assert last.settings["average_precision"][str(c)] == pytest.approx(expected[-1], abs=1e-6)
    assert last.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert rows[1].layer == "b"
    assert rows[1].metric == "cv_mAP"
    assert rows[1].value == pytest.approx(np.mean(on_folds), abs=1e-6)


def test_rows_say_how_they_came_about_and_repeat() -> None:
    train, test = tagged(seed=1), tagged(seed=2)
    rows = VocSvm(strengths=(0.01, 0.1)).run(train, test)
    again = VocSvm(strengths=(0.01, 0.1)).run(dataclasses.replace(train, found={}), test)
    assert again == rows
    best, last = rows[-2:]
    assert (best.layer, best.choice, last.layer, last.choice) == ("a", "best", "b", "last")
    for row in (best, last):
        assert row.replicates is not None
        assert row.interval is not None
        assert row.interval[0] < row.value < row.interval[1]
        assert row.settings["ignored_in_training"] == "dropped"
        assert json.loads(json.dumps(dict(row.settings))) == row.settings
    assert best.value > last.value


def test_test_data_chooses_nothing() -> None:
    train, test = tagged(seed=1), tagged(seed=2)
    assert test.tags is not None
    other = dataclasses.replace(test, features={k: -v for k, v in test.features.items()}, tags=test.tags[::-1].copy())
    for protocol in (VocSvm(strengths=(0.01, 0.1)), LowShotSvm(VocSvm(strengths=(0.01, 0.1)), shots=(1, 4), samples=2)):
        first, second = protocol.run(train, test), protocol.run(dataclasses.replace(train, found={}), other)
        for a, b in zip(first, second, strict=True):
            assert (a.layer, a.shots, a.settings.get("C")) == (b.layer, b.shots, b.settings.get("C"))
        assert first[-1].value != second[-1].value


def test_random_tags_are_chance() -> None:
    """A random ranking has about the share of positives as its precision."""
    train, test = tagged(150, seed=1, strength=0), tagged(300, seed=2, strength=0)
    assert test.tags is not None
    share = np.mean([(test.tags[:, c] == 1).sum() / (test.tags[:, c] != -1).sum() for c in range(3)])
    assert VocSvm(strengths=(0.01, 0.1)).run(train, test)[-1].value == pytest.approx(share, abs=0.06)


def test_classes_that_cannot_be_trained_or_judged_are_left_out_and_named() -> None:
    train, test = tagged(classes=5, seed=1), tagged(classes=5, seed=2)
    assert train.tags is not None
    assert test.tags is not None
    train.tags[:, 1] = np.arange(60) == 7  # one positive
    test.tags[:, 3] = np.where(test.tags[:, 3] == 1, -1, 0)  # none that counts
    row = VocSvm(strengths=(0.1,)).run(train, test)[-1]
    assert set(row.settings["classes_left_out"]) == {"1", "3"}
    assert "train" in row.settings["classes_left_out"]["1"]
    assert "test" in row.settings["classes_left_out"]["3"]
    assert set(row.settings["C"]) == {"0", "2", "4"}
    with pytest.raises(UserError, match="none of 5 classes"):
        judgeable(np.ones_like(train.tags), train.recordings, test.tags)


def test_folds_keep_recordings_whole_and_hold_both_kinds() -> None:
    tags = np.array([1, 1, 1, 1, 0, 0, 0, 0, -1, 0], np.int8)
    recordings = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"]
    folds = folds_of(tags, recordings)
    assert folds
    for a, b in folds:
        assert 8 not in [*a, *b]
        assert {recordings[i] for i in a}.isdisjoint(recordings[i] for i in b)
        assert set(tags[a]) == set(tags[b]) == {0, 1}
    assert folds_of(np.array([1, 0, 0, 0], np.int8), list("abcd")) == []


def test_samples_are_keyed_nested_and_as_many_as_stated() -> None:
    tags = tagged(200, classes=4, seed=3).tags
    assert tags is not None
    few, many = draw(tags, 2, 3, 0), draw(tags, 2, 8, 0)
    assert np.bincount(tags[few.rows, 2]).tolist() == [9, 3]
    assert np.bincount(tags[many.rows, 2]).tolist() == [24, 8]
    assert set(few.rows) < set(many.rows)
    assert not np.array_equal(few.rows, draw(tags, 2, 3, 1).rows)
    assert not np.array_equal(few.rows, draw(tags, 1, 3, 0).rows)
    np.testing.assert_array_equal(few.rows, draw(tags.copy(), 2, 3, 0).rows)


def test_low_shot_equals_a_slow_loop_of_liblinear() -> None:
    train, test = tagged(seed=1), tagged(80, seed=2)
    assert train.tags is not None
    assert test.tags is not None
    protocol = LowShotSvm(VocSvm(strengths=(0.01, 0.1)), shots=(3, 1), samples=2)
    rows = {row.shots: row for row in protocol.run(train, test) if row.choice == "last"}
    assert list(rows) == [1, 3]
    assert rows[1].settings["C"] == rows[3].settings["C"]
    x, z = unit(train.features["b"]).astype(np.float64), unit(test.features["b"]).astype(np.float64)
    for k, row in rows.items():
        value = np.zeros((2, 3))
        for number in range(2):
            for c in range(3):
                own = draw(train.tags, c, k, number).rows
                scores = liblinear(x[own], train.tags[own, c], row.settings["C"], z)
                value[number, c] = average_precision(scores, test.tags[:, c])
        assert row.value == pytest.approx(value.mean(), abs=1e-4)
        assert row.std == pytest.approx(value.mean(1).std(ddof=1), abs=1e-4)
    assert rows[3].value > rows[1].value


def test_low_shot_leaves_out_what_is_too_rare() -> None:
    train, test = tagged(seed=1), tagged(seed=2)
    assert train.tags is not None
    train.tags[:, 0] = np.arange(60) < 3
    rows = LowShotSvm(VocSvm(strengths=(0.1,)), shots=(1, 4, 500), samples=1).run(train, test)
    found = {row.shots: row.settings for row in rows if row.choice == "last"}
    assert {k: settings["classes"] for k, settings in found.items()} == {1: 3, 4: 2}
    assert found[1]["shots_left_out"] == [500]
    assert list(found[4]["classes_left_out"]) == ["0"]
    with pytest.raises(UserError, match="no class has 500"):
        LowShotSvm(VocSvm(strengths=(0.1,)), shots=(500,)).run(train, test)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(VocSvm, {"strengths": ()}), (VocSvm, {"ignored": "kept"}), (LowShotSvm, {"shots": (0,)})]
)
def test_impossible_settings_are_refused(kind: type[VocSvm | LowShotSvm], wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="svm"):
        kind(**wrong)  # type: ignore[arg-type]
