from pathlib import Path

import numpy as np
import pytest
import torch

from embodied_ssl.backbones import BackboneConfig, untrained
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.target import Division, Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import Preprocessing, Progress, silent
from embodied_ssl.evaluation.run import open_protocols, protocols_of
from embodied_ssl.evaluation.scores import Score, format_table, load_scores, save_scores
from embodied_ssl.evaluation.targets import open_target
from embodied_ssl.evaluation.transfer import evaluate

CONV4 = BackboneConfig("conv4")
SMALL = Preprocessing(size=24, resize=28)


def candidate(name: str = "mine", seed: int = 9, **more: object) -> Model:
    return Model(name, untrained(CONV4, seed), CONV4, SMALL, **more)  # type: ignore[arg-type]


def judge(
    models: list[Model],
    data: str | Target,
    names: tuple[str, ...] = ("linear", "knn", "low-shot"),
    on_progress: Progress = silent,
    **settings: object,
) -> list[Score]:
    target = open_target(data) if isinstance(data, str) else data
    return evaluate(
        models, target, open_protocols(protocols_of(names, target)), Settings(precision="fp32", **settings), on_progress
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(ClassFolder.tiny(tmp_path_factory.mktemp("tiny")).root)


@pytest.fixture(scope="module")
def scores(tiny: Path) -> list[Score]:
    return judge([candidate(pretrain_seed=3)], str(tiny))


def test_the_run_random_init_and_descriptors_share_one_table(scores: list[Score]) -> None:
    assert {(s.model, s.role) for s in scores} == {
        ("mine", "run"),
        ("random conv4", "random"),
        ("raw16", "descriptor"),
        ("colour_histogram", "descriptor"),
        ("hog", "descriptor"),
        ("gist", "descriptor"),
    }
    for protocol in ("linear", "knn", "low-shot"):
        for choice in ("best", "last"):
            rows = [
                s for s in scores if (s.protocol, s.choice, s.metric) == (protocol, choice, "accuracy") and s.shots in (None, 5)
            ]
            assert len(rows) == 1 + 4 + 4  # the run; three seeds and their mean; four descriptors
            assert all(s.n == 9 for s in rows)
            assert {s.pretrain_seed for s in rows if s.role == "random"} == {0, 1, 2, None}
    assert {s.pretrain_seed for s in scores if s.model == "mine"} == {3}


def test_random_init_is_a_mean_with_its_spread(scores: list[Score]) -> None:
    rows = [s for s in scores if s.role == "random" and (s.protocol, s.choice, s.metric) == ("linear", "last", "accuracy")]
    single = [s.value for s in rows if s.pretrain_seed is not None]
    mean = next(s for s in rows if s.pretrain_seed is None)
    assert mean.value == pytest.approx(np.mean(single))
    assert mean.std == pytest.approx(np.std(single, ddof=1))
    assert mean.settings["seeds"] == 3


def test_differences_to_random_are_paired_and_stated(scores: list[Score]) -> None:
    found = [s for s in scores if s.metric == "minus_random"]
    assert {(s.protocol, s.choice, s.shots) for s in found} == {
        (protocol, choice, shots)
        for protocol, all_shots in (("linear", (None,)), ("knn", (None,)), ("low-shot", (1, 5, 6)))
        for choice in ("best", "last")
        for shots in all_shots
    }
    for difference in found:
        slot = (difference.protocol, difference.choice, difference.shots, "accuracy")
        same = [s for s in scores if (s.protocol, s.choice, s.shots, s.metric) == slot]
        own = next(s.value for s in same if s.model == "mine")
        random = next(s.value for s in same if s.role == "random" and s.pretrain_seed is None)
        assert difference.value == pytest.approx(own - random, abs=1e-6)
        assert difference.interval is not None
        assert difference.interval[0] <= difference.value <= difference.interval[1]
        assert "paired" in difference.settings["interval"]
        seeds = [s.value for s in same if s.pretrain_seed is not None and s.role == "random"]
        assert difference.settings["seed_reach"] == pytest.approx(4.968 * np.std(seeds, ddof=1), rel=1e-3)


def test_settings_say_what_was_done(scores: list[Score]) -> None:
    row = next(s for s in scores if s.protocol == "knn" and s.metric == "accuracy")
    assert row.settings["k"] == 20
    assert row.settings["T"] == 0.07
    assert row.settings["preprocessing"]["size"] == 24
    assert row.settings["skipped"] == {"count": 0, "first": []}
    assert "train/ and test/" in row.settings["split"]


def test_a_network_compared_with_itself_differs_by_nothing(tiny: Path) -> None:
    rows = judge([candidate(seed=5)], str(tiny), ("knn", "low-shot"), random_seeds=(5,), descriptors=())
    differences = [s for s in rows if s.metric == "minus_random"]
    assert len(differences) == 8  # knn, and low-shot at 1, 5 and 6, of the best and the last layer
    assert all(s.value == 0 and s.interval == (0, 0) for s in differences)


def test_rows_round_trip_and_repeat_exactly(tiny: Path, tmp_path: Path) -> None:
    first, second = (judge([candidate()], str(tiny), ("linear",), descriptors=("raw16",), cache=tmp_path / "c") for _ in range(2))
    assert first == second  # the second from cached features
    save_scores(tmp_path / "s.json", first)
    assert load_scores(tmp_path / "s.json") == first
    assert "random conv4" in format_table(first)


def test_networks_of_other_preprocessing_get_untrained_twins_of_their_own(tiny: Path) -> None:
    other = Model("other", untrained(CONV4, 1), CONV4, Preprocessing(size=16, resize=16), role="supervised")
    rows = judge([candidate(), other], str(tiny), ("knn",), random_seeds=(0,), descriptors=())
    assert {s.model for s in rows if s.role == "random"} == {"random conv4 (1)", "random conv4 (2)"}
    against = {s.model: s.settings["against"] for s in rows if s.metric == "minus_random"}
    assert against == {"mine": "random conv4 (1)", "other": "random conv4 (2)"}


def test_untrained_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = untrained(CONV4, 0), untrained(CONV4, 0), untrained(CONV4, 1)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [next(net.parameters()) for net in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_skipped_pictures_are_named_in_every_row(tmp_path: Path) -> None:
    ClassFolder.tiny(tmp_path)
    (tmp_path / "test" / "red" / "red00.png").write_bytes(b"broken")
    for row in judge([candidate()], str(tmp_path), ("knn",), random_seeds=(0,), descriptors=("gist",)):
        assert row.settings["skipped"]["count"] == 1
        assert "red00.png" in row.settings["skipped"]["first"][0]
        assert row.n == 8 or row.metric == "cv_accuracy"


def test_a_class_whose_pictures_are_all_bad_is_refused(tmp_path: Path) -> None:
    ClassFolder.tiny(tmp_path)
    for path in (tmp_path / "test" / "red").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="no test picture of class 'red' can be read"):
        judge([candidate()], str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["liner"]}, "no protocol 'liner', did you mean 'linear'"),
        ({"descriptors": ["sift"]}, "no descriptor 'sift'"),
        ({"models": 2}, "a name of its own"),
        ({"data": "/nowhere"}, "does not exist"),
    ],
)
def test_mistakes_are_told_before_any_work(tiny: Path, options: dict[str, object], message: str) -> None:
    given = {"data": str(tiny), **options, "models": [candidate()] * int(options.get("models", 1))}  # type: ignore[call-overload]
    with pytest.raises(UserError, match=message):
        judge(**given)


def test_progress_is_told(tiny: Path) -> None:
    said: list[str] = []
    judge(
        [candidate()],
        str(tiny),
        ("knn",),
        random_seeds=(0,),
        descriptors=("gist",),
        on_progress=lambda what, *_: said.append(what),
    )
    for start in ("reading", "features of mine", "features of random conv4 seed 0", "descriptor gist", "knn of mine"):
        assert any(line.startswith(start) for line in said)


@pytest.mark.data
def test_a_small_part_of_fifteen_scenes(data_root: Path) -> None:
    whole = open_target(str(data_root / "scene15"))
    labels = whole.source.labels
    some = [np.concatenate([part[labels[part] == label][:15] for label in range(15)]) for part in whole.divisions[0]]
    target = Target("scene15 small", whole.source, (Division(*some),), whole.classes, whole.note)
    model = Model("conv4", untrained(CONV4, 7), CONV4, Preprocessing())
    rows = judge([model], target, ("linear", "knn"), random_seeds=(0, 1))
    last = {s.model: s.value for s in rows if s.metric == "accuracy" and s.choice == "best" and s.protocol == "linear"}
    assert last["gist"] > 0.35 > last["raw16"] > 1 / 15
    assert 0.25 < last["random conv4"] < 0.5
