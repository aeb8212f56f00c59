"""A run's report shows the patterns it found and pairs of each, for every task in its own unit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tiny_runs import tiny_run

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.datasets.motion import FORWARD, LEFT, LEFT_YAW, SIX, UP, UP_PITCH, Axis
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.evaluation.pretext import evaluate_pretext
from embodied_ssl.finished import open_run
from embodied_ssl.held_out import reply
from embodied_ssl.inspection import answered_panels, view_panels
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.report import figures
from embodied_ssl.report.run_report import VIEWS, kept_panels, write_run_report
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

NAMES = {"left", "right", "forward"}


@pytest.fixture(scope="module")
def two_units(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A finished run of two tasks, one in metres and radians and one in commands."""
    folder = tmp_path_factory.mktemp("two")
    ego = EgoMotionEquivarianceConfig(size=32)
    method = MultiTaskConfig({"car": Task(ego, batch_size=4), "toy": Task(ego, batch_size=4)})
    data = {"car": KittiRaw.tiny(folder / "car"), "toy": Donkeycar.tiny(folder / "toy")}
    run = replace(tiny_run("ego_motion_kitti", folder / "other"), method=method, data=data, steps=2)
    pretrain([run], folder / "run", Options(device="cpu", workers=0))
    return run, folder / "run"


def test_each_task_has_its_patterns_drawn_and_its_pairs_shown(two_units: tuple[Run, Path]) -> None:
    run, folder = two_units
    panels = view_panels(run)
    captions = [caption for caption, _ in panels]
    for task, unit in (("car", "metres, radians"), ("toy", "throttle seconds, steering seconds")):
        found = json.loads((folder / f"found_{task}.json").read_text())
        assert found["motion_unit"] == unit
        assert {row["name"] for row in found["patterns"]} == NAMES
        shown = {caption.split()[1] for caption in captions if caption.startswith(f"{task}: ") and unit in caption}
        assert shown == NAMES
    text = write_run_report(folder, panels).read_text()
    assert "Motion patterns of car" in text
    assert "Motion patterns of toy" in text
    for caption in captions:
        assert caption in text


def test_a_report_written_again_still_shows_them(two_units: tuple[Run, Path]) -> None:
    """As `evaluate` does, which has no data at hand."""
    run, folder = two_units
    first = write_run_report(folder, view_panels(run)).read_bytes()
    assert write_run_report(folder).read_bytes().count(b"<img") == first.count(b"<img")
    assert [caption for caption, _ in kept_panels(folder / VIEWS)] == [caption for caption, _ in view_panels(run)]


def test_kept_pictures_are_the_very_pixels(tmp_path: Path) -> None:
    from embodied_ssl.report.run_report import keep_panels

    pictures = torch.randint(0, 256, (3, 3, 24, 40)) / 255
    keep_panels(tmp_path, [("three", pictures)])
    ((caption, wide),) = kept_panels(tmp_path)
    assert caption == "three"
    np.testing.assert_array_equal(figures.contact_sheet([("", wide)]), figures.contact_sheet([("", pictures)]))


def test_answers_stand_beside_what_was_asked_and_are_kept(tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", tmp_path / "data", steps=1)
    folder = pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))
    found = answered_panels(open_run(folder))
    assert [caption for caption, _ in found.asked] == [caption for caption, _ in view_panels(run)]
    assert len(found.answers) == 2
    assert found.silent == []
    assert [caption for caption, _ in found.looks[1:]] == [f"where conv{i} is active" for i in range(1, 5)]
    first = write_run_report(folder, found.asked, found.answers, found.looks).read_text()
    headings = ("What the network is asked", "What the network answers", "Where the network looks", "Training")
    assert sorted(headings, key=first.index) == list(headings)
    again = write_run_report(folder).read_text()  # as `evaluate` does
    for caption, _ in [*found.answers, *found.looks]:
        assert caption in first
        assert caption in again
    assert again.count("<img") == first.count("<img")


def test_the_questions_are_the_held_out_ones_and_the_network_is_the_trained_one(tmp_path: Path) -> None:
    """The very examples that `evaluate --protocol pretext` asks about, each once, seen by the restored weights in eval mode."""
    run = tiny_run("rotation_photos", tmp_path / "data", steps=1)
    finished = open_run(pretrain([run], tmp_path / "run", Options(device="cpu", workers=0)))
    out = run.data.open("held_out")
    own = Feed({"": Stream("", out, finished.learner.method.view, 4)}, seed=99)  # whatever the seed
    fed = next(own.in_order("", range(len(out)), key="held out"))
    _, step = reply(finished.learner.eval(), "", fed.batch, torch.device("cpu"))
    ((_, restored),) = finished.learner.method.figure(fed.batch | finished.learner.method.view.render(fed.batch), step)[1:]
    ((_, shown),) = answered_panels(finished).answers[1:]
    assert torch.equal(shown[: len(restored)], restored)
    assert len(shown) == min(8, len(out))


def test_every_task_draws_its_own_answers_or_says_why_not(tmp_path: Path) -> None:
    run = tiny_run("rotation_photos", tmp_path / "data", steps=1)
    PictureFolder.tiny(tmp_path / "several")
    (tmp_path / "one").mkdir()
    shutil.copy(tmp_path / "several" / "part_0" / "00.png", tmp_path / "one")
    one = PictureFolder(str(tmp_path / "one"))
    tasks = {"turn": Task(RotationConfig(32), batch_size=2), "alone": Task(RotationConfig(32), batch_size=2)}
    run = replace(run, method=MultiTaskConfig(tasks), data={"turn": run.data, "alone": one})
    found = answered_panels(open_run(pretrain([run], tmp_path / "run", Options(device="cpu", workers=0))))
    assert [caption.split(":")[0] for caption, _ in found.asked] == ["turn"] * 4 + ["alone"] * 4
    assert [caption.split(":")[0] for caption, _ in found.answers] == ["turn"] * 2
    assert found.silent == ["alone has a single recording, so nothing was held out to ask"]


def test_a_run_without_pictures_has_none(tmp_path: Path) -> None:
    assert kept_panels(tmp_path) == []


def test_the_pretext_is_asked_again_by_name_and_unit(two_units: tuple[Run, Path]) -> None:
    """Names and units are in the checkpoint: nothing is found anew for the trained network."""
    _, folder = two_units
    rows = evaluate_pretext(folder, "", torch.device("cpu"))
    asked = {(row.protocol, row.metric) for row in rows if row.role == "run"}
    for task in ("car", "toy"):
        assert (f"pretext {task}", "balanced_accuracy") in asked
        assert {metric for protocol, metric in asked if protocol == f"pretext {task}" and "recall" in metric} <= {
            f"recall_{name}" for name in NAMES
        }


def ends(figure: Figure) -> tuple[str, str, bool]:
    """The two labels, and whether the axis across runs from right to left."""
    plot = figure.axes[0]
    low, high = plot.get_xlim()
    return plot.get_xlabel(), plot.get_ylabel(), low > high


def drawn(axes: tuple[Axis, ...], *centres: int) -> Figure:
    """Patterns along some of the axes."""
    middle = np.eye(len(axes))[list(centres)]
    points = np.concatenate([middle + 0.1, middle - 0.1])
    return figures.patterns(middle, [0.2] * len(middle), ["x"] * len(middle), points, [0] * len(points), axes, "unit")


def test_the_road_is_seen_from_above() -> None:
    assert ends(drawn((FORWARD, LEFT_YAW), 0, 1)) == ("left ← left yaw → right\nunit", "forward", True)
    assert ends(drawn(SIX, 4, 5)) == ("left ← left yaw → right\nunit", "forward", True)


def test_other_motions_are_drawn_along_the_axes_that_part_them() -> None:
    assert ends(drawn((UP, LEFT, UP_PITCH), 1, 2))[:2] == ("sideways left ← left → sideways right\nunit", "up pitch")
    elbow, grip = Axis("elbow", "stretch", "bend", 0), Axis("grip", "open", "close", 0)
    assert ends(drawn((elbow, UP, grip), 0, 2)) == ("bend ← elbow → stretch\nunit", "grip", False)
    assert ends(drawn((grip,), 0)) == ("close ← grip → open\nunit", "grip", False)


def test_motions_of_no_pattern_are_grey() -> None:
    figure = figures.patterns([[1, 0], [0, 1]], [0.5, 0.3], ["a", "b"], [[1, 0], [0, 1], [0, 0], [0, 0.1]], [0, 1, -1, -1])
    none, first, second = (len(points.get_offsets()) for points in figure.axes[0].collections[:3])  # type: ignore[arg-type]
    assert (none, first, second) == (2, 1, 1)
