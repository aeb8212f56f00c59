"""Several divisions, paired differences, cached rows and comparisons, on figures whose truth is known."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from embodied_ssl.backbones import BackboneConfig, untrained
from embodied_ssl.datasets.target import Division, LabelledPictures, Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.compare import METRIC, subtract, welch
from embodied_ssl.evaluation.differences import difference
from embodied_ssl.evaluation.divisions import VALUES, corrected_t, over_divisions
from embodied_ssl.evaluation.estimate import duration, estimate
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.score_cache import ScoreCache, fingerprint, imported
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import percentiles, resamples
from embodied_ssl.evaluation.transfer import evaluate

CONV4 = BackboneConfig("conv4")
SMALL = Preprocessing(size=24, resize=28)


def made_up(divisions: int = 3, count: int = 24) -> Target:
    """Noise in two brightnesses, divided anew each time, six of each class for training."""
    rng = np.random.default_rng(5)
    labels = np.arange(count) % 2
    pixels = (rng.integers(0, 80, (count, 30, 30, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8)
    parts = []
    for number in range(divisions):
        order = np.random.default_rng(number).permutation(count)
        train = np.sort(np.concatenate([order[labels[order] == label][:6] for label in (0, 1)]))
        parts.append(Division(train.astype(np.intp), np.setdiff1d(np.arange(count), train).astype(np.intp)))
    return Target("made up", LabelledPictures("made up", pixels, labels=labels), tuple(parts), ("dark", "light"), "by hand")


def row(model: str, value: float, **more: object) -> Score:
    given = {"n": 100, "settings": {"choice": "last"}, "main": True, **more}
    return Score(model, "run", "toy", "linear", "layer4", "accuracy", value, **given)  # type: ignore[arg-type]


def test_corrected_t_is_students_interval_widened_for_overlap() -> None:
    values = np.random.default_rng(0).normal(0.6, 0.02, 10)
    plain = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    found = corrected_t(values, 50, 50)
    assert found.value == pytest.approx(values.mean())
    widened = (found.high - found.low) / (plain[1] - plain[0])
    assert widened == pytest.approx(np.sqrt((1 / 10 + 1) / (1 / 10)))  # 3.317: J = 10, as many test as train pictures
    assert corrected_t(values, 10**9, 1).low == pytest.approx(plain[0], rel=1e-6)  # nothing to correct
    assert corrected_t([0.4], 5, 5) == (0.4, 0.4, 0.4)


def test_rows_of_several_divisions_become_one_with_every_value_kept() -> None:
    division = Division(np.arange(6), np.arange(6, 10))
    parts = [[row("a", value, hits=np.ones((1, 4), np.float32))] for value in (0.5, 0.7, 0.9)]
    (joined,) = over_divisions(parts, [division] * 3)
    assert joined.value == pytest.approx(0.7)
    assert joined.std == pytest.approx(0.2)
    assert joined.settings[VALUES] == [0.5, 0.7, 0.9]
    assert joined.settings["divisions"] == 3
    assert joined.hits is None
    assert over_divisions(parts[:1], [division]) == parts[0]  # of one division nothing changes


def test_divisions_pair_so_that_a_constant_gain_has_no_spread() -> None:
    division = Division(np.arange(6), np.arange(6, 10))
    values = (0.5, 0.7, 0.9)
    (one,) = over_divisions([[row("a", value + 0.05)] for value in values], [division] * 3)
    (other,) = over_divisions([[row("b", value)] for value in values], [division] * 3)
    found = difference(one, [other])
    assert found is not None
    assert found[0] == pytest.approx((0.05, 0.05, 0.05))


def test_figures_that_are_no_mean_pair_by_the_same_resamples() -> None:
    rng = np.random.default_rng(1)
    errors, counts = rng.normal(size=200), resamples(200, 300)
    assert (counts.sum(1) == 200).all()
    np.testing.assert_array_equal(counts, resamples(200, 300))
    a, b = ((counts @ (errors**2 + shift) / 200) ** 0.5 for shift in (1.0, 0.9))  # a root of a mean, say
    found = difference(row("a", float(a.mean()), replicates=a), [row("b", float(b.mean()), replicates=b)])
    assert found is not None
    low, high = percentiles(a - b)
    assert (found[0].low, found[0].high) == (low, high)
    assert high - low < 0.2 * (np.quantile(a, 0.975) - np.quantile(a, 0.025))  # far narrower than either alone
    assert difference(row("a", 0.5), [row("b", 0.4)]) is None  # nothing pairs: nothing is claimed


def test_welch_equals_scipy() -> None:
    first, second = [0.61, 0.64, 0.6], [0.5, 0.55, 0.58, 0.52]
    known = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    found = welch(first, second)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert welch([0.5, 0.5], [0.4, 0.4]) == pytest.approx((0.1, 0.1, 0.1))


def test_subtracting_pairs_single_runs_by_picture_and_several_by_seed() -> None:
    hits = (np.random.default_rng(0).random((4, 1, 100)) < np.array([0.7, 0.72, 0.5, 0.45])[:, None, None]).astype(np.float32)
    names = ("a0", "a1", "b0", "b1")
    scores = [row(name, float(h.mean()), hits=h) for name, h in zip(names, hits, strict=True)]
    (single,) = subtract(scores, ["a0"], ["b0"])
    assert single.metric == METRIC
    assert single.value == pytest.approx(scores[0].value - scores[2].value)
    assert "test pictures" in single.settings["interval"]
    (several,) = subtract(scores, ["a0", "a1"], ["b0", "b1"])
    assert several.settings["runs"] == [2, 2]
    assert "runs" in several.settings["interval"]
    assert several.value == pytest.approx(np.mean([s.value for s in scores[:2]]) - np.mean([s.value for s in scores[2:]]))
    (mixed,) = subtract(scores, ["a0", "a1"], ["b0"])
    assert mixed.value == pytest.approx(np.mean([s.value for s in scores[:2]]) - scores[2].value)
    assert mixed.interval is not None
    assert mixed.interval[0] < mixed.value < mixed.interval[1]


def test_several_divisions_go_through_evaluate_and_every_picture_is_seen_once() -> None:
    target = made_up()
    model = Model("mine", untrained(CONV4, 4), CONV4, SMALL)
    said: list[str] = []
    rows = evaluate(
        [model], target, [Knn(k=3)], Settings(random_seeds=(0, 1), descriptors=("raw16",)), lambda what, *_: said.append(what)
    )
    assert sum(what.startswith("features of mine") for what in said) == 1
    main = [s for s in rows if s.main and s.model == "mine"]
    assert {s.choice for s in main} == {"best", "last"}
    for score in main:
        assert score.settings["divisions"] == 3
        assert score.n == 12
        alone = [evaluate([model], replace(target, divisions=(d,)), [Knn(k=3)], Settings((), ())) for d in target.divisions]
        values = [s.value for found in alone for s in found if s.main and s.choice == score.choice]
        assert score.settings[VALUES] == values
    assert {s.choice for s in rows if s.metric == "minus_random"} == {"best", "last"}
    assert all("corrected" in s.settings["interval"] for s in rows if s.metric == "minus_random")


@dataclass(frozen=True)
class Counting(OnFeatures):
    """Says how often it was asked."""

    name: ClassVar[str] = "counting"
    needs: ClassVar[str] = "label"
    asked: ClassVar[list[str]] = []
    depth: int = 1

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        self.asked.append(train.model)
        return [replace(row("", 0.5, hits=np.full((1, len(test.labels)), 0.5, np.float32)), protocol=self.name)]


def test_known_rows_are_not_computed_again_and_any_change_is(tmp_path: Path) -> None:
    target, model = made_up(1), Model("mine", untrained(CONV4, 4), CONV4, SMALL)
    settings = Settings(random_seeds=(0,), descriptors=("raw16",), cache=tmp_path)
    first = evaluate([model], target, [Counting()], settings)
    assert len(Counting.asked) == 3
    assert evaluate([model], target, [Counting()], settings) == first
    other = replace(model, name="another name", backbone=untrained(CONV4, 4))
    renamed = evaluate([other], target, [Counting()], settings)
    assert len(Counting.asked) == 3  # the same weights by another name
    assert {s.model for s in renamed} == {"another name", "random conv4", "raw16"}
    assert [s.metric for s in renamed if s.metric == "minus_random"] == ["minus_random"]  # hits were kept too
    evaluate([replace(model, backbone=untrained(CONV4, 5))], target, [Counting()], settings)
    assert len(Counting.asked) == 4  # other weights: that model only
    evaluate([model], target, [Counting(depth=2)], settings)
    assert len(Counting.asked) == 7  # another setting: everything
    labels = target.source.labels
    assert labels is not None
    swapped = LabelledPictures("made up", target.source.pictures, labels=1 - labels)
    evaluate([model], replace(target, source=swapped), [Counting()], settings)
    assert len(Counting.asked) == 10  # other answers: everything


def test_a_garbled_row_file_is_computed_anew(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path, made_up(1))
    assert cache.get_or(("key",), lambda: [row("a", 0.25)]) == [row("a", 0.25)]
    assert cache.get_or(("key",), lambda: [row("a", 0.75)]) == [row("a", 0.25)]
    path = cache.path(("key",))
    path.write_bytes(path.read_bytes()[:40])
    assert cache.get_or(("key",), lambda: [row("a", 0.75)]) == [row("a", 0.75)]


def test_a_target_is_known_by_its_files_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    source = LabelledPictures("x", [path], tags=np.array([[1, 0]], np.int8))
    target = Target("x", source, (), ("a", "b"), "")
    before = fingerprint(target)
    assert fingerprint(target) == before
    path.write_bytes(b"other")
    assert fingerprint(target) != before
    now = fingerprint(target)
    assert fingerprint(replace(target, source=LabelledPictures("x", [path], tags=np.array([[0, 1]], np.int8)))) != now


def test_the_estimate_knows_what_is_known(tmp_path: Path) -> None:
    target, model = made_up(2), Model("mine", untrained(CONV4, 4), CONV4, SMALL)
    settings = Settings(random_seeds=(0, 1), descriptors=("raw16",), cache=tmp_path)
    before = estimate([model], target, [Knn(k=3)], settings)
    assert (before.models, before.known, before.pairs) == (4, 0, 4)
    assert before.parts["knn"] == pytest.approx(4 * 2 * Knn.cost * 12 / 1000)
    assert before.parts["features"] > 0
    evaluate([model], target, [Knn(k=3)], settings)
    after = estimate([model], target, [Knn(k=3)], settings)
    assert (after.known, after.parts["knn"], after.parts["features"]) == (4, 0, 0)
    assert "4 of 4 parts are known" in after.line()
    assert [duration(s) for s in (0.2, 40, 360, 7200)] == ["1 s", "40 s", "6 min", "2.0 h"]


def test_what_cannot_be_judged_is_refused_before_any_work() -> None:
    target, model = made_up(1), Model("mine", untrained(CONV4, 4), CONV4, SMALL)

    @dataclass(frozen=True)
    class Tagged(Counting):
        name: ClassVar[str] = "tagged"
        needs: ClassVar[str] = "tags"

    with pytest.raises(UserError, match="'tagged' judges by 'tags', but made up has label"):
        evaluate([model], target, [Tagged()])
    with pytest.raises(UserError, match="no protocol was given"):
        evaluate([model], target, [])
    labels = np.arange(24) % 3
    wrong = LabelledPictures("made up", target.source.pictures, labels=labels)
    with pytest.raises(UserError, match=r"8 labels of made up lie outside 0\.\.1"):
        evaluate([model], replace(target, source=wrong), [Knn()])
    with pytest.raises(UserError, match="one class only"):
        evaluate([model], replace(target, classes=("dark",)), [Knn()])
    one_sided = Division(np.flatnonzero(np.arange(24) % 2 == 0), np.arange(24))
    with pytest.raises(UserError, match="no train picture of class 'light'"):
        evaluate([model], replace(target, divisions=(one_sided,)), [Knn()])


@dataclass(frozen=True)
class Refusing(Counting):
    """Works on the model given, and on no untrained one."""

    name: ClassVar[str] = "refusing"

    def run(self, train: FeatureTable, test: FeatureTable) -> list[Score]:
        if train.model != "mine":
            raise UserError("refusing was given too little")
        return [replace(row, protocol=self.name) for row in super().run(train, test)]


def test_a_protocol_that_refuses_the_data_is_left_out_and_named() -> None:
    target, model = made_up(1), Model("mine", untrained(CONV4, 4), CONV4, SMALL)
    settings = Settings(random_seeds=(0,), descriptors=("raw16",))
    left_out: dict[str, str] = {}
    rows = evaluate([model], target, [Knn(k=3), Refusing()], settings, left_out=left_out)
    assert left_out == {"refusing": "refusing was given too little"}
    assert {s.protocol for s in rows} == {"knn"}  # not for the one model either, of which nothing could be said
    for protocols, named in (([Knn(k=3), Refusing()], None), ([Refusing()], {})):
        with pytest.raises(UserError, match="too little"):
            evaluate([model], target, protocols, settings, left_out=named)


def test_rows_depend_on_the_code_they_are_made_of_and_on_no_other() -> None:
    made_of = {path.stem for path in imported("embodied_ssl.evaluation.protocols.knn")}
    assert {"knn", "features", "scores", "statistics"} <= made_of
    assert not {"detection", "fine_tune", "cli", "report"} & made_of
    assert {"detection", "detectors", "average_precision"} <= {
        path.stem for path in imported("embodied_ssl.evaluation.protocols.detection")
    }
    assert imported("numpy") == set()
