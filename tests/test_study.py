"""Studies: every cell made once, continued after a stop, joined over seeds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from test_commands import run_command
from tiny_runs import tiny_run

from embodied_ssl import study as study_module
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.pretext import evaluate_pretext
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.scores import Score, load_scores
from embodied_ssl.progress import Silent
from embodied_ssl.report.asked_table import AskedTable
from embodied_ssl.report.study_matrix import MatrixTables, Place, matrices, place_of
from embodied_ssl.report.study_table import join, markdown, told_apart
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


def test_small_views_count_by_their_area(study: Study) -> None:
    rotation = study.runs["rotation"]
    assert isinstance(rotation, Run)
    assert rotation.method.size == 32  # type: ignore[attr-defined]
    assert views_a_step(rotation, view_size=16) == 4 * 4 * rotation.batch_size
    assert views_a_step(rotation, view_size=64) == rotation.batch_size
    assert with_budget([rotation], 1000, 0, view_size=64)[0].steps == 1000 / rotation.batch_size


def test_views_of_a_multi_task_run_are_those_of_its_tasks(tmp_path: Path) -> None:
    run = tiny_run("multi_task", tmp_path)
    sizes = {name: task.batch_size for name, task in run.method.tasks.items()}  # type: ignore[attr-defined]
    assert views_a_step(run) > sum(sizes.values())


def test_what_a_slow_copy_is_shown_counts_too(tmp_path: Path) -> None:
    run = tiny_run("moco_photos", tmp_path)
    assert views_a_step(run) == 2 * run.batch_size


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


def test_several_backbones_stand_in_a_table_of_tasks_and_backbones(study: Study, tmp_path: Path) -> None:
    """Each row beside random init of its own architecture, trained and judged as any other."""
    rotation = study.runs["rotation"]
    assert isinstance(rotation, Run)
    runs = {f"rotation_{name}": replace(rotation, backbone=BackboneConfig(name)) for name in ("conv4", "convnet_quick")}
    several = replace(study, runs={**runs, "simclr": study.runs["simclr"]}, seeds=(0,), size=24)
    outcome = run_study(several, tmp_path, Silent(), device="cpu", workers=0)
    assert outcome.failed == []
    scores = load_scores(tmp_path / "scores.json")
    against = {s.model: s.settings["against"] for s in scores if s.metric == "minus_random"}
    assert against["rotation_conv4"] == against["simclr"] == "random conv4"
    assert against["rotation_convnet_quick"] == "random convnet_quick"
    assert {s.settings["preprocessing"]["size"] for s in scores} == {24}
    text = (tmp_path / "table.md").read_text().split("## ", 2)[2]  # behind what each was asked
    assert "| knn, last layer | conv4 | convnet_quick |\n| --- | --- | --- |\n| rotation | " in text
    line = next(line for line in text.splitlines() if line.startswith("| simclr | ") and " run " not in line)
    last = next(s for s in scores if s.model == "simclr" and s.metric == "accuracy" and s.choice == "best" and s.main)
    assert line.startswith(f"| simclr | {100 * last.value:.1f} (")
    assert line.endswith(" | – |")
    assert "tasks and backbones" in (tmp_path / "report.html").read_text()
    assert load_scores(tmp_path / "scores.json") == scores


def score(model: str, value: float, role: str = "run", metric: str = "accuracy", **about: object) -> Score:
    settings = {"choice": "last", "preprocessing": {"size": 96}, **about}
    interval = (value - 0.02, value + 0.02)
    return Score(
        model, role, "toy", "knn", "l", metric, value, None, interval, 100, None, None, settings, main=metric != "minus_random"
    )  # type: ignore[arg-type]


def test_the_matrix_shows_what_is_there_and_what_is_clear() -> None:
    places = {f"{task}_{net}": place_of(f"{task}_{net}", net) for task in ("turn", "puzzle") for net in ("vgg16", "timm:x")}
    assert places["turn_timm:x"] == ("turn", "timm:x")
    assert place_of("vgg16", "vgg16") == ("vgg16", "vgg16")
    rows = [score("turn_vgg16", 0.5), score("turn_timm:x", 0.4), score("puzzle_vgg16", 0.3)]
    rows += [score(f"random {net}", value, "random") for net, value in (("vgg16", 0.31), ("timm:x", 0.2))]
    gains = (("turn_vgg16", 0.19, "vgg16"), ("turn_timm:x", 0.01, "timm:x"), ("puzzle_vgg16", -0.03, "vgg16"))
    rows += [score(name, by, metric="minus_random", against=f"random {net}", of="accuracy") for name, by, net in gains]
    (matrix,) = matrices(places, rows)
    assert matrix.lines() == [
        ["knn, last layer", "vgg16", "timm:x"],
        ["turn", "50.0 (**+19.0**)", "40.0 (+1.0)"],
        ["puzzle", "30.0 (**-3.0**)", "–"],
        ["random init", "31.0", "20.0"],
    ]
    assert "<b>+19.0</b>" in MatrixTables("", [matrix]).html()
    assert matrices({"a": Place("a", "vgg16"), "b": Place("b", "vgg16")}, rows) == []


def test_baselines_that_were_shown_other_pictures_are_told_apart() -> None:
    """Networks trained at 96 and at 192 pixels are judged so, each with untrained twins of its own."""

    def cell(name: str, size: int, value: float) -> tuple[Row, list[Score]]:
        at = {"preprocessing": {"size": size}}
        against = {"against": "random vgg16", "of": "accuracy", **at}
        found = [score(name, value, **at), score("random vgg16", value / 2, "random", **at)]
        return Row(name, None, "vgg16"), [*found, score(name, value / 2, metric="minus_random", **against)]

    cells = told_apart([cell("near", 96, 0.4), cell("far", 192, 0.6)])
    joined = {(s.model, s.metric): s for s in join(cells)}
    assert joined["random vgg16 at 96 pixels", "accuracy"].value == 0.2
    assert joined["random vgg16 at 192 pixels", "accuracy"].value == 0.3
    assert joined["far", "minus_random"].settings["against"] == "random vgg16 at 192 pixels"
    same = [cell("near", 96, 0.4), cell("far", 96, 0.6)]
    assert told_apart(same) == same


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


def asked(name: str, seed: int, value: float, untrained: float) -> tuple[str, list[Score]]:
    settings = {"choice": "last", "chance": 0.25}
    row = Score(name, "run", "toy", "pretext", "method", "accuracy", value, None, (0.4, 0.6), 64, None, seed, settings)
    return name, [row, replace(row, model="random init", role="random", value=untrained, interval=None)]


def test_questions_are_joined_over_seeds_beside_untrained_and_chance() -> None:
    table = AskedTable("asked", [asked("ours", 0, 0.5, 0.26), asked("ours", 1, 0.6, 0.24), asked("once", 0, 0.3, 0.25)])
    half = float(stats.t.ppf(0.975, 1)) * np.std([0.5, 0.6], ddof=1) / np.sqrt(2)
    assert table.lines() == [
        ("ours", "accuracy", "2", f"0.550 ± 0.071 [{0.55 - half:.3f}, {0.55 + half:.3f}]", "0.250", "0.250", "64"),
        ("once", "accuracy", "1", "0.300 [0.400, 0.600]", "0.250", "0.250", "64"),
    ]
    assert "<td>0.300 [0.400, 0.600]</td>" in table.html()
    assert AskedTable("asked", []).html() == ""


def test_every_run_is_asked_its_own_question_once(study: Study, made: Path) -> None:
    scores = evaluate_pretext(made / "runs" / "rotation_s0", "", torch.device("cpu"))
    stored = json.loads((made / "asked" / "rotation_s0.json").read_text())
    assert stored["scores"] == json.loads(json.dumps([score.to_json() for score in scores]))
    first = (made / "table.md").read_text().split("## ")[1]
    assert first.startswith("What each was asked\n")
    assert first.count("| rotation | accuracy | 2 |") == 1
    assert "| 0.250 |" in first


def test_a_run_that_cannot_be_asked_is_judged_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "no_run"
    folder.mkdir()
    study_module._ask(Row("lost", 0), str(folder), tmp_path / "lost.json", "cpu", 0, Silent(), False)
    kept = json.loads((tmp_path / "lost.json").read_text())
    assert kept["scores"] == []
    assert str(folder) in kept["left_out"]


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


def test_models_of_one_name_are_seeds_of_one_recipe(study: Study, made: Path, tmp_path: Path) -> None:
    given = [str(made / "runs" / f"simclr_s{seed}") for seed in (0, 1)]
    others = replace(study, runs={}, models={"theirs": given})
    assert [(row.label, row.given) for row in rows(others)] == [("theirs_s0", given[0]), ("theirs_s1", given[1])]
    outcome = run_study(others, tmp_path, Silent(), device="cpu", workers=0)
    assert (outcome.made, outcome.failed) == (2, [])
    theirs, ours = (load_scores(out / "scores.json") for out in (tmp_path, made))
    values = [[s.value for s in scores if s.model.startswith(n)] for scores, n in ((theirs, "theirs"), (ours, "simclr"))]
    assert values[0] == values[1]
    assert "| theirs | run | 2 |" in outcome.table.read_text()
    assert not (tmp_path / "asked").exists()


def test_a_file_of_weights_that_changed_is_judged_anew(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    others = replace(study, runs={}, models={"theirs": f"{file}@resnet18"}, settings=Settings((), ()))
    for seed, made in ((0, 1), (0, 0), (1, 1)):
        torch.manual_seed(seed)
        if made:
            torch.save(BackboneConfig("resnet18").build().net.state_dict(), file)
        assert run_study(others, tmp_path / "out", Silent(), device="cpu", workers=0).made == made


def test_the_studies_that_come_along_can_be_read() -> None:
    folder = Path(__file__).resolve().parents[1] / "configs" / "studies"
    found = sorted(folder.glob("*.py"))
    assert found
    for path in found:
        assert load_study(str(path)).targets
