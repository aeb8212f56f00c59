"""Studies: every cell made once, continued after a stop, joined over seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_commands import run_command
from tiny_runs import tiny_run

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.scores import Score, load_scores
from embodied_ssl.progress import Silent
from embodied_ssl.report.study_table import join, markdown
from embodied_ssl.study import Row, Study, load_study, rows, run_study, views_a_step, with_budget


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    return Study(
        runs={name: tiny_run(f"{name}_photos", folder / "data", steps=2) for name in ("rotation", "simclr")},
        targets=[ClassFolder.tiny(folder / "scenes")],
        protocols=[Knn(k=3)],
        seeds=(0, 1),
        settings=Settings(random_seeds=(0, 1), descriptors=("raw16",), precision="fp32"),
    )


@pytest.fixture(scope="module")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    outcome = run_study(study, out, Silent(), device="cpu", workers=0)
    assert (outcome.made, outcome.kept, outcome.failed) == (4, 0, [])
    return out


def test_budgets_are_pictures_through_the_backbone(study: Study) -> None:
    rotation, simclr = (study.runs[name] for name in ("rotation", "simclr"))
    assert views_a_step(rotation) == 4 * rotation.batch_size  # four turns a picture
    assert views_a_step(simclr) == 2 * simclr.batch_size  # two crops
    for run, per_example in ((rotation, 4), (simclr, 2)):
        (budgeted,) = with_budget([run], 1000, seed=7)
        assert budgeted.seed == 7
        assert 1000 <= budgeted.steps * per_example * run.batch_size < 1000 + per_example * run.batch_size
    stages = with_budget([replace(rotation, steps=3), replace(rotation, steps=1)], 800, seed=0)
    assert stages[0].steps == pytest.approx(3 * stages[1].steps, abs=2)
    assert with_budget([rotation], 0, seed=1)[0].steps == rotation.steps


def test_views_of_a_multi_task_run_are_those_of_its_tasks(tmp_path: Path) -> None:
    run = tiny_run("multi_task", tmp_path)
    sizes = {name: task.batch_size for name, task in run.method.tasks.items()}  # type: ignore[attr-defined]
    assert views_a_step(run) > sum(sizes.values())


def test_seeds_come_in_turn(study: Study) -> None:
    assert [row.label for row in rows(study)] == ["rotation_s0", "simclr_s0", "rotation_s1", "simclr_s1"]
    assert Row("given").label == "given"


def test_a_finished_study_is_read_not_made(study: Study, made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file() and path.parent.name != "made0"}
    outcome = run_study(study, made, Silent(), device="cpu", workers=0)
    assert (outcome.made, outcome.kept) == (0, 4)
    changed = [path for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert {path.name for path in changed} <= {"table.md", "scores.json", "report.html"}


def test_shards_make_the_same_study_and_a_lost_cell_alone_is_made_again(study: Study, made: Path, tmp_path: Path) -> None:
    first = run_study(study, tmp_path, Silent(), device="cpu", workers=0, shard=(0, 2))
    assert first.made == 2
    second = run_study(study, tmp_path, Silent(), device="cpu", workers=0, shard=(1, 2))
    assert second.made == 2
    assert (tmp_path / "table.md").read_text() == (made / "table.md").read_text()
    assert (tmp_path / "scores.json").read_bytes() == (made / "scores.json").read_bytes()
    cell = next((tmp_path / "cells").iterdir())
    content = cell.read_bytes()
    cell.write_bytes(content[:50])  # half a file
    again = run_study(study, tmp_path, Silent(), device="cpu", workers=0)
    assert (again.made, again.kept) == (1, 3)
    assert cell.read_bytes() == content


def test_another_protocol_makes_cells_anew_but_trains_nothing(study: Study, made: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made, tmp_path / "copy")
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("model.safetensors")}
    outcome = run_study(replace(study, protocols=[Knn(k=1)]), tmp_path / "copy", Silent(), device="cpu", workers=0)
    assert outcome.made == 4
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_a_run_that_cannot_be_trained_is_named_and_the_rest_is_made(study: Study, made: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made, tmp_path / "copy")
    broken = replace(study.runs["rotation"], data=replace(study.runs["rotation"].data, root="/nowhere"))  # type: ignore[type-var,arg-type]
    outcome = run_study(
        replace(study, runs={**study.runs, "broken": broken}), tmp_path / "copy", Silent(), device="cpu", workers=0
    )
    assert (outcome.made, outcome.kept) == (0, 4)
    assert [name for name, _ in outcome.failed] == ["broken_s0", "broken_s1"]
    assert "/nowhere" in outcome.failed[0][1]


def test_seeds_are_joined_and_baselines_stand_once(made: Path) -> None:
    scores = load_scores(made / "scores.json")
    joined = [s for s in scores if s.model == "rotation" and s.main and s.choice == "last"]
    single = [s for s in scores if s.model in ("rotation_s0", "rotation_s1") and s.main and s.choice == "last"]
    assert len(joined) == 1
    assert len(single) == 2
    assert joined[0].value == pytest.approx(np.mean([s.value for s in single]))
    assert joined[0].settings["seeds"] == 2
    text = (made / "table.md").read_text()
    assert text.count("| random conv4 |") == 1
    assert text.count("| raw16 |") == 1
    assert "Welch's t over seeds" in text
    assert "(minus_random)" not in text  # a difference over seeds is still one of accuracies
    assert "random conv4" in (made / "report.html").read_text()


def test_one_seed_keeps_its_own_interval() -> None:
    settings = {"choice": "last", "interval": "Wilson, over test pictures"}
    score = Score("a_s0", "run", "toy", "knn", "l", "accuracy", 0.5, None, (0.4, 0.6), 100, None, 0, settings, main=True)
    (row,) = join([(Row("a", 0), [score])])
    assert (row.model, row.value, row.interval) == ("a", 0.5, (0.4, 0.6))
    assert "50.0 [40.0, 60.0]" in markdown([row])


def test_the_first_method_is_held_against_the_others_over_seeds() -> None:
    def cell(name: str, seed: int, value: float) -> tuple[Row, list[Score]]:
        settings = {"choice": "last"}
        score = Score(
            f"{name}_s{seed}", "run", "toy", "knn", "l", "accuracy", value, None, None, 100, None, seed, settings, main=True
        )
        return Row(name, seed), [score]

    values = {"ours": (0.50, 0.53, 0.52), "theirs": (0.40, 0.44, 0.39), "once": (0.1,)}
    rows = join([cell(name, seed, value) for name, own in values.items() for seed, value in enumerate(own)])
    (found,) = [row for row in rows if row.metric == "minus_other"]
    expected = stats.ttest_ind(values["ours"], values["theirs"], equal_var=False).confidence_interval()
    assert (found.model, found.settings["against"]) == ("ours", "theirs")
    assert found.value == pytest.approx(np.mean(values["ours"]) - np.mean(values["theirs"]))
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert "| ours | theirs: knn, last layer | +10.7 " in markdown(rows)


def test_mistakes_are_one_line(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="both a run and a model"):
        replace(study, models={"rotation": "somewhere"})
    with pytest.raises(UserError, match="cannot name a run"):
        replace(study, runs={"a/b": study.runs["rotation"]})
    with pytest.raises(UserError, match="at least one target"):
        replace(study, targets=[])
    (tmp_path / "empty.py").write_text("x = 1")
    with pytest.raises(UserError, match="must define `study`"):
        load_study(str(tmp_path / "empty.py"))


def test_the_command_makes_a_table(study: Study, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next((made / "runs").iterdir())
    text = (
        "from embodied_ssl.datasets.class_folder import ClassFolder\n"
        "from embodied_ssl.evaluation.bench import Settings\n"
        "from embodied_ssl.evaluation.protocols.knn import Knn\n"
        "from embodied_ssl.study import Study\n"
        f"study = Study({{}}, [ClassFolder({study.targets[0].root!r})], [Knn(k=3)], models={{'given': {str(run)!r}}},\n"
        "              settings=Settings((0,), ()))\n"
    )
    (tmp_path / "mine.py").write_text(text)
    run_command("study", str(tmp_path / "mine.py"), "--out", str(tmp_path / "out"), "--device", "cpu")
    assert "| given | run |" in capsys.readouterr().out


def test_the_studies_that_come_along_can_be_read() -> None:
    folder = Path(__file__).resolve().parents[1] / "configs" / "studies"
    found = sorted(folder.glob("*.py"))
    assert found
    for path in found:
        assert load_study(str(path)).targets
