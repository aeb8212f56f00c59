"""Files of proposals, and the proposer that a trained run makes: who chooses, by what, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny_run

from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.grasp_judge import open_judge
from embodied_ssl.methods.embodied.interaction import GRASP
from embodied_ssl.progress import Silent
from embodied_ssl.sim import proposals
from embodied_ssl.sim.camera import View
from embodied_ssl.sim.collecting.accepted import check_spec
from embodied_ssl.sim.collecting.identity import identity, spec_in
from embodied_ssl.sim.interaction import interaction
from embodied_ssl.sim.spec import Spec
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

SPEC = Spec(size=(64, 64), seed=5)


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text)
    return str(path)


def a_view(size=64):
    rng = np.random.default_rng(0)
    return View(
        rng.integers(0, 255, (size, size, 3)).astype(np.uint8), np.ones((size, size), np.float32), np.full((size, size), -1)
    )


def draw(rng):
    return (float(rng.uniform(0, 63)), float(rng.uniform(0, 63)), float(rng.integers(18)))


@pytest.mark.parametrize("index", range(3))  # a grasp, a push, a poke
def test_choosing_the_first_is_the_plain_sampler(tmp_path, index):
    path = write(tmp_path, "def propose(task, view, candidates, rng):\n    return 0\n")
    assert interaction(replace(SPEC, sampler=path), index) == interaction(SPEC, index)


def test_the_chosen_candidate_is_done_and_the_scene_is_the_same(tmp_path):
    text = "def propose(task, view, candidates, rng):\n    assert task == 'grasp'\n    return int(candidates[:, 0].argmin())\n"
    chosen = [interaction(replace(SPEC, sampler=write(tmp_path, text)), 3 * k) for k in range(6)]
    plain = [interaction(SPEC, 3 * k) for k in range(6)]
    assert all(one["before"] == two["before"] for one, two in zip(chosen, plain, strict=True))
    assert np.mean([row["grasp"][0] for row in chosen]) < np.mean([row["grasp"][0] for row in plain]) - 8


def test_the_view_is_what_the_camera_saw_and_cannot_be_written_to(tmp_path):
    text = (
        "def propose(task, view, candidates, rng):\n"
        "    assert view.rgb.shape == (64, 64, 3) and view.depth.shape == view.ids.shape == (64, 64)\n"
        "    assert (view.ids >= 0).any() and candidates.shape == (5, 3)\n"
        "    view.rgb[0] = 0\n"
        "CANDIDATES = 5\n"
    )
    with pytest.raises(UserError, match=r"mine\.py', line 4: ValueError.*read-only"):
        interaction(replace(SPEC, sampler=write(tmp_path, text)), 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def propose(task, view, candidates, rng)\n", r"line 1: SyntaxError"),
        ("x = 1\nimport nothing_like_this\n", r"line 2: ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\ndef propose(task, view, candidates, rng):\n    return f()\n", r"line 2: ZeroDivisionError"),
        ("proposes = 3\n", r"holds no function propose"),
        ("def propose(task):\n    return 0\n", r"TypeError"),
        ("def propose(task, view, candidates, rng):\n    return 16\n", r"answers 16 for a grasp.* 0 to 15"),
        ("def propose(task, view, candidates, rng):\n    return -1\n", r"answers -1"),
        ("def propose(task, view, candidates, rng):\n    return candidates[0]\n", r"answers array"),
        ("def propose(task, view, candidates, rng):\n    return None\n", r"answers None"),
        ("CANDIDATES = 0\ndef propose(task, view, candidates, rng):\n    return 0\n", r"CANDIDATES = 0"),
        (
            "k = []\ndef propose(task, view, candidates, rng):\n    k.append(0)\n    return len(k)\n",
            r"answers 1 and, asked the same",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        proposals.choose(path, "grasp", a_view(), draw, (0, 0, 0))
    assert "\n" not in str(caught.value)
    assert "mine.py" in str(caught.value)


def test_the_line_is_said_of_a_path_from_here_too(tmp_path, monkeypatch):
    write(tmp_path, "\ndef propose(task, view, candidates, rng):\n    return rng.intgers(3)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'mine\.py', line 3: AttributeError"):
        proposals.choose("mine.py", "grasp", a_view(), draw, (0, 0, 0))


def test_draws_from_the_given_generator_are_no_fault(tmp_path):
    path = write(tmp_path, "def propose(task, view, candidates, rng):\n    return rng.integers(len(candidates))\n")
    answers = {proposals.choose(path, "grasp", a_view(), draw, (0, 16 * k, 0)) for k in range(8)}
    assert len(answers) == 8


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py"):
        proposals.fingerprint(str(tmp_path / "nowhere.py"))


def test_an_edited_file_is_another_one(tmp_path):
    path = write(tmp_path, "def propose(task, view, candidates, rng):\n    return 0\n")
    first = proposals.fingerprint(path)
    assert first == proposals.fingerprint(write(tmp_path, Path(path).read_text(), "copy.py"))
    write(tmp_path, "def propose(task, view, candidates, rng):\n    return 1\n")
    assert proposals.fingerprint(path) != first
    one = proposals.choose(path, "grasp", a_view(), draw, (0, 0, 0))
    assert one == draw(generator(0, "candidate", 0, 0, 1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    pretrain([tiny_run("interaction", folder / "data")], folder / "run", Options(device="cpu", workers=0), Silent())
    return folder / "run"


def slowly(run, picture, grasps):
    """The network's chances, one grasp at a time, through the method's own forward pass."""
    judge = open_judge(run)
    view = replace(judge.method.view, jitter=0.0)
    found = []
    for row, column, angle in grasps:
        sample = {
            "task": GRASP,
            "before": ArrayPicture(picture),
            "after": ArrayPicture(picture),
            "grasp": np.array([row, column, angle, 1], np.float32),
            "push": np.zeros(5, np.float32),
            "poke": np.zeros(4, np.float32),
        }
        drawn = view.draw(sample, np.random.default_rng(0))
        batch = view.render({name: torch.from_numpy(np.asarray(value)[None]) for name, value in drawn.items()})
        step = judge.method(judge.backbone, batch)
        found.append(float(torch.sigmoid(step.answers["grasp"])))
    return np.array(found)


def test_a_trained_run_proposes_what_its_network_says(trained, tmp_path):
    view = a_view()
    grasps = np.array([draw(np.random.default_rng(k)) for k in range(12)])
    chances = slowly(trained, view.rgb, grasps)
    assert np.ptp(chances) > 0
    for how, wanted in (("hard", chances.argmax()), ("curious", np.abs(chances - 0.5).argmin())):
        assert proposals.from_run(trained, how=how)("grasp", view, grasps, np.random.default_rng(0)) == wanted
        assert proposals.from_run(trained, how=how)("push", view, grasps, np.random.default_rng(0)) == 0
    text = f"from embodied_ssl.sim.proposals import from_run\npropose = from_run({str(trained)!r}, how='hard')\n"
    path = write(tmp_path, text)
    assert proposals.fingerprint(path) != proposals.fingerprint(write(tmp_path, text.replace("hard", "curious"), "other.py"))
    row = interaction(replace(SPEC, sampler=path), 0)
    assert len(row["grasp"]) == 4


def test_what_is_no_trained_run_is_said(tmp_path, trained):
    with pytest.raises(UserError, match="no run"):
        proposals.from_run(tmp_path)
    with pytest.raises(UserError, match="grasps only"):
        proposals.from_run(trained, task="push")
    with pytest.raises(UserError, match="hard"):
        proposals.from_run(trained, how="harder")
    other = tmp_path / "rotation"
    pretrain([tiny_run("rotation_photos", tmp_path / "data", steps=1)], other, Options(device="cpu", workers=0), Silent())
    with pytest.raises(UserError, match="learnt no grasps"):
        proposals.from_run(other)


def test_a_task_among_several_is_found(tmp_path):
    run = tiny_run("multi_task", tmp_path / "data", steps=1)
    pretrain([run], tmp_path / "run", Options(device="cpu", workers=0), Silent())
    judge = open_judge(tmp_path / "run")
    found = judge.chances(a_view().rgb, [(10, 20, 3), (40, 50, 17.6)])
    assert found.shape == (2,)
    assert ((found > 0) & (found < 1)).all()


def test_a_data_set_knows_its_proposals_by_their_content(tmp_path):
    spec = replace(SPEC, sampler=write(tmp_path, "def propose(task, view, candidates, rng):\n    return 0\n"))
    check_spec(spec)
    first = identity(spec)
    assert spec_in(first) == spec
    write(tmp_path, "def propose(task, view, candidates, rng):\n    return 1\n")
    assert identity(spec) != first
    assert "proposals" not in identity(SPEC)
    with pytest.raises(UserError, match=r"nowhere\.py"):
        check_spec(replace(SPEC, sampler="nowhere.py"))
