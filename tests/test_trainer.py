"""The trainer: interruptions, refusals, stages, and evaluation that leaves no trace."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny_run

from embodied_ssl import config, held_out
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.cli import main
from embodied_ssl.config import Run, to_json
from embodied_ssl.core import Step
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.files import read_lines
from embodied_ssl.keys import generator
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.embodied.interaction import Interaction
from embodied_ssl.methods.image.rotation import Rotation
from embodied_ssl.optim import LARS, SGD, Schedule
from embodied_ssl.progress import Silent
from embodied_ssl.start import Options, State, Stopped
from embodied_ssl.trainer import Trainer, pretrain

QUICK = Options(device="cpu", workers=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def run(data: Path) -> Run:
    return tiny_run("rotation_photos", data, steps=6, held_out_every=0, checkpoint_every=2)


def last(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoints" / "last.pt")


def same(one: Path, two: Path) -> bool:
    a, b = last(one), last(two)
    learner = all(torch.equal(a["learner"][name], b["learner"][name]) for name in a["learner"])
    state = all(
        torch.equal(value, b["optimizer"]["state"][name][key])
        for name, states in a["optimizer"]["state"].items()
        for key, value in states.items()
    )
    return learner and state and a["step"] == b["step"] and log(one) == log(two)


def log(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "examples_per_second"} for row in read_lines(folder / "log.jsonl")]


def trainer(run: Run, out: Path) -> Trainer:
    out.mkdir()
    made = Trainer(run, 0, out, to_json([run]), QUICK, Ranks(0, 1, torch.device("cpu")), Silent())
    made.load(State(), {})
    return made


def test_pictures_too_small_for_the_backbone_are_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    small = replace(run, backbone=BackboneConfig("densenet121"), method=replace(run.method, size=24))  # type: ignore[type-var]
    with pytest.raises(
        UserError, match="densenet121 needs pictures of at least 29 pixels a side, these have 24; make them larger"
    ):
        pretrain([small], tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_a_method_cannot_take_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(method: Rotation, examples: int, together: int) -> None:
        asked.append((examples, together))
        raise UserError("not so many")

    monkeypatch.setattr(Rotation, "check_batch", refuse)
    consistent = replace(run, method=ConsistentConfig(run.method), batch_size=8, accumulate=2)
    for given in (replace(run, batch_size=8, accumulate=4), consistent):
        with pytest.raises(UserError, match="not so many"):
            pretrain([given], tmp_path / "run", QUICK)
    assert asked == [(8, 2), (8, 4)]
    assert not (tmp_path / "run").exists()


# --- held-out evaluation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rotation_photos", "simclr_photos", "temporal_order", "multi_task"])
def test_held_out_evaluation_moves_no_weight_buffer_or_generator(name: str, data: Path, tmp_path: Path) -> None:
    made = trainer(tiny_run(name, data), tmp_path / "run")
    import sklearn.metrics  # noqa: F401  (its first import draws from random)

    before = {key: value.clone() for key, value in made.learner.state_dict().items()}
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    figures = held_out.figures_of(held_out.replies(made.learner, made.questions, 8, torch.device("cpu"), made._autocast))
    made.log.close()
    assert figures
    assert all(torch.equal(value, before[key]) for key, value in made.learner.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])
    assert random.getstate() == generators[2]
    assert made.learner.training
    assert made.learner.backbone.net.conv1.training


def test_a_run_ends_with_the_same_bits_whether_it_is_asked_or_not(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "never", QUICK)
    pretrain([replace(run, held_out_every=1)], tmp_path / "always", QUICK)
    never, always = last(tmp_path / "never")["learner"], last(tmp_path / "always")["learner"]
    assert all(torch.equal(never[name], always[name]) for name in never)


def test_asking_twice_gives_the_same_figures(run: Run, tmp_path: Path) -> None:
    made = trainer(run, tmp_path / "run")
    twice = [
        held_out.figures_of(held_out.replies(made.learner, made.questions, 8, torch.device("cpu"), made._autocast))
        for _ in range(2)
    ]
    made.log.close()
    assert twice[0] == twice[1]


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_a_resumed_run_with_another_config_is_refused_naming_what_differs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        pretrain([run], tmp_path / "run", replace(QUICK, stop_after=2))
    changed = replace(run, seed=3, optimizer=SGD(rate=0.7), schedule=Schedule(warmup=0.5))
    with pytest.raises(UserError, match=r"another config \(.*; \.\.\.\); resume with the same one, or choose another --out"):
        pretrain([changed], tmp_path / "run", replace(QUICK, resume=True))
    with pytest.raises(UserError, match=r"another config \(seed: 0 -> 3\)"):
        pretrain([replace(run, seed=3)], tmp_path / "run", replace(QUICK, resume=True, extend=True))
    with pytest.raises(UserError, match=r"another config \(steps: 6 -> 8\)"):
        pretrain([replace(run, steps=8)], tmp_path / "run", replace(QUICK, resume=True))
    with pytest.raises(UserError, match=r"stages: 1 -> 2"):
        pretrain([run, run], tmp_path / "run", replace(QUICK, resume=True))


def test_extend_takes_more_steps_and_nothing_else(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "run", QUICK)
    with pytest.raises(UserError, match=r"another config \(steps: 6 -> 4\)"):
        pretrain([replace(run, steps=4)], tmp_path / "run", replace(QUICK, resume=True, extend=True))
    pretrain([replace(run, steps=8)], tmp_path / "run", replace(QUICK, resume=True, extend=True))
    assert last(tmp_path / "run")["step"] == 8
    assert [row["step"] for row in log(tmp_path / "run") if "loss" in row] == [*range(1, 9)]


def test_a_folder_that_holds_a_run_is_refused(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "run", QUICK)
    before = (tmp_path / "run" / "log.jsonl").read_bytes()
    with pytest.raises(UserError, match="already holds a run; continue it with --resume, or choose another --out"):
        pretrain([replace(run, seed=5)], tmp_path / "run", QUICK)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == before


def test_a_run_that_is_not_there_is_not_resumed(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume; leave --resume out to start one"):
        pretrain([run], tmp_path / "run", replace(QUICK, resume=True))


def test_resuming_before_the_first_checkpoint_starts_anew(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain([run], tmp_path / "straight", QUICK)
    with monkeypatch.context() as patched:
        dies_at(patched, 1, crash)
        with pytest.raises(RuntimeError, match="died"):
            pretrain([run], tmp_path / "run", QUICK)
    assert not (tmp_path / "run" / "checkpoints").exists()
    pretrain([run], tmp_path / "run", replace(QUICK, resume=True))
    assert same(tmp_path / "straight", tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "straight", QUICK)
    pretrain([run], tmp_path / "run", QUICK)
    pretrain([run], tmp_path / "run", replace(QUICK, resume=True))
    assert same(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize("optimizer", [LARS(), SGD(nesterov=True)])
def test_resuming_is_exact_for_every_optimiser(run: Run, tmp_path: Path, optimizer: Any) -> None:
    run = replace(run, optimizer=optimizer, clip=0.5)
    pretrain([run], tmp_path / "straight", QUICK)
    with pytest.raises(Stopped):
        pretrain([run], tmp_path / "run", replace(QUICK, stop_after=3))
    pretrain([run], tmp_path / "run", replace(QUICK, resume=True))
    assert same(tmp_path / "straight", tmp_path / "run")


def crash() -> None:
    raise RuntimeError("died")


def dies_at(patched: pytest.MonkeyPatch, step: int, how: Callable[[], None]) -> None:
    update = Trainer.update

    def watched(self: Trainer, batches: Any) -> Step:
        if self.step == step:
            how()
        return update(self, batches)

    patched.setattr(Trainer, "update", watched)


def _killed(run: Run, out: Path, moment: int | str, options: Options) -> None:
    """In a forked process: train until the moment, then die without a word."""
    patched = pytest.MonkeyPatch()

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if isinstance(moment, int):
        dies_at(patched, moment, die)
    else:
        rename = Path.replace
        patched.setattr(Path, "replace", lambda self, to: die() if to.name == "last.pt" and to.exists() else rename(self, to))
    pretrain([run], out, options)


def test_a_run_killed_again_and_again_ends_with_the_same_bits(run: Run, tmp_path: Path) -> None:
    """At two drawn moments, and once between writing a checkpoint and renaming it."""
    run = replace(run, steps=9, held_out_every=3)
    pretrain([run], tmp_path / "straight", QUICK)
    moments = [*sorted(int(i) for i in generator("kill").choice(np.arange(1, 9), 2, replace=False)), "while saving"]
    for number, moment in enumerate([moments[0], moments[2], moments[1]]):
        options = replace(QUICK, resume=number > 0)
        process = multiprocessing.get_context("fork").Process(target=_killed, args=(run, tmp_path / "run", moment, options))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    pretrain([run], tmp_path / "run", replace(QUICK, resume=True))
    assert same(tmp_path / "straight", tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob(".unfinished-*"))


SLOW = """
import os, time
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.trainer import Trainer

if "SLOW" in os.environ:
    update = Trainer.update
    Trainer.update = lambda self, batches: time.sleep(0.1) or update(self, batches)
run = Run(RotationConfig(32), PictureFolder({root!r}), BackboneConfig("conv4"), batch_size=2, precision="fp32",
          log_every=1, checkpoint_every=1000, held_out_every=0)
"""


def test_ctrl_c_saves_says_how_to_go_on_and_the_run_ends_with_the_same_bits(data: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a slow one.py").write_text(SLOW.format(root=run.data.root))  # type: ignore[union-attr]
    given = ["pretrain", str(tmp_path / "a slow one.py"), "--steps", "100", "--seed", "4", "--workers", "1", "--device", "cpu"]
    command = [sys.executable, "-m", "embodied_ssl", *given, "--out", str(tmp_path / "run")]
    environment = {**os.environ, "SLOW": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while len(read_lines(tmp_path / "run" / "log.jsonl")) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    step = last(tmp_path / "run")["step"]
    assert 2 <= step < 100
    assert f"stopped at step {step} of 100, saved; continue with: embodied-ssl pretrain" in errors
    again = shlex.split(errors.split("continue with: embodied-ssl ")[1].splitlines()[0])
    assert again[-1] == "--resume"
    for arguments in ([*again, "--workers", "0", "--device", "cpu"], [*given, "--out", str(tmp_path / "straight")]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert same(tmp_path / "straight", tmp_path / "run")


def test_a_signal_in_this_process_stops_after_the_step(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    dies_at(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        pretrain([run], tmp_path / "run", QUICK)
    assert (stopped.value.step, stopped.value.by_signal) == (3, True)
    assert last(tmp_path / "run")["step"] == 3
    assert (tmp_path / "run" / "backbone" / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) is handler


# --- stages -----------------------------------------------------------------------------------------------------------


def watch_starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    starts: list[dict[str, torch.Tensor]] = []
    stage = Trainer.run_stage

    def watched(self: Trainer) -> None:
        starts.append({name: value.clone() for name, value in self.learner.state_dict().items()})
        stage(self)

    monkeypatch.setattr(Trainer, "run_stage", watched)
    return starts


def test_the_second_stage_starts_from_the_firsts_backbone(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain([run], tmp_path / "first", QUICK)
    first = last(tmp_path / "first")["learner"]
    starts = watch_starts(monkeypatch)
    pretrain([run, tiny_run("simclr_photos", data, steps=2)], tmp_path / "both", QUICK)
    for name, value in starts[1].items():
        if name.startswith("backbone."):
            assert torch.equal(value, first[name])
    assert (last(tmp_path / "both")["stage"], last(tmp_path / "both")["step"]) == (1, 2)


def test_stop_after_counts_the_steps_of_all_stages_and_resuming_goes_on_there(run: Run, tmp_path: Path) -> None:
    stages = [run, replace(run, seed=1, steps=4)]
    pretrain(stages, tmp_path / "straight", QUICK)
    for stop in (3, 8):
        with pytest.raises(Stopped):
            pretrain(stages, tmp_path / "run", replace(QUICK, stop_after=stop, resume=stop > 3))
    assert (last(tmp_path / "run")["stage"], last(tmp_path / "run")["step"]) == (1, 2)
    pretrain(stages, tmp_path / "run", replace(QUICK, resume=True))
    assert same(tmp_path / "straight", tmp_path / "run")


def test_a_second_stage_keeps_what_it_found_in_its_own_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, fits = tiny_run("interaction", data, steps=1, held_out_every=0), []

    def fit(self: Interaction, source: object, rng: object) -> None:
        fits.append(source)
        self.push_mean.fill_(len(fits))

    monkeypatch.setattr(Interaction, "fit", fit)
    pretrain([run, run], tmp_path / "run", QUICK)
    assert last(tmp_path / "run")["learner"]["method.push_mean"].tolist() == [2.0] * 5


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_every", [1, 0])
def test_a_loss_that_is_not_finite_is_said_and_never_saved(run: Run, tmp_path: Path, log_every: int) -> None:
    run = replace(run, optimizer=SGD(rate=1e30), schedule=Schedule(warmup=0), log_every=log_every, checkpoint_every=1, steps=20)
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at step \d+; lower the rate with --set optimizer\.rate="
    ) as caught:
        pretrain([run], tmp_path / "run", QUICK)
    assert "\n" not in str(caught.value)
    at = int(str(caught.value).split("at step ")[1].split(";")[0])
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists() or last(tmp_path / "run")["step"] < at


def test_bad_pictures_among_good_ones_are_listed(run: Run, tmp_path: Path) -> None:
    spec = PictureFolder.tiny(tmp_path / "pictures")
    broken = [tmp_path / "pictures" / "part_0" / "03.png", tmp_path / "pictures" / "part_1" / "07.png"]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:60])
    pretrain([replace(run, data=spec, steps=24)], tmp_path / "run", QUICK)
    rows = read_lines(tmp_path / "run" / "bad_items.jsonl")
    assert [row["name"] for row in rows] == [str(path) for path in broken]
    assert all(row["times"] >= 1 and row["reason"] for row in rows)


def test_nothing_but_bad_pictures_is_said(run: Run, tmp_path: Path) -> None:
    spec = PictureFolder.tiny(tmp_path / "pictures")
    for path in (tmp_path / "pictures").rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"items of one batch could not be read, the first: .*not a picture"):
        pretrain([replace(run, data=spec)], tmp_path / "run", QUICK)


def test_data_and_tasks_must_agree(run: Run, data: Path, tmp_path: Path) -> None:
    several = tiny_run("multi_task", data)
    with pytest.raises(UserError, match=r"tasks are .*, data is for one; give each task its data"):
        pretrain([replace(several, data=run.data)], tmp_path / "run", QUICK)
    with pytest.raises(UserError, match=r"Interaction needs after, before, .* does not provide"):
        pretrain([replace(tiny_run("interaction", data), data=run.data)], tmp_path / "run", QUICK)


def test_another_architecture_to_start_from_is_named(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "first", QUICK)
    other = replace(run, backbone=BackboneConfig("resnet18"))
    with pytest.raises(UserError, match="is not a resnet18"):
        pretrain([other], tmp_path / "run", replace(QUICK, init=str(tmp_path / "first")))


def test_init_gives_the_first_stage_its_backbone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain([run], tmp_path / "first", QUICK)
    first, starts = last(tmp_path / "first")["learner"], watch_starts(monkeypatch)
    pretrain([replace(run, seed=9)], tmp_path / "run", replace(QUICK, init=str(tmp_path / "first")))
    assert all(torch.equal(value, first[name]) for name, value in starts[0].items() if name.startswith("backbone."))
    assert not torch.equal(starts[0]["method.head.weight"], first["method.head.weight"])


def test_rates_follow_schedule_and_method(run: Run, tmp_path: Path) -> None:
    made = trainer(replace(run, steps=9, optimizer=SGD(rate=2.0), schedule=Schedule(warmup=0.2)), tmp_path / "run")
    made.learner.method.rate = lambda group, progress: 3.0 if group == "head" else 1.0  # type: ignore[method-assign]
    made.step = 4  # in the middle of ten
    made._set_rates(4 / 9)
    made.log.close()
    rates = {group["name"]: group["lr"] for group in made.optimizer.param_groups}
    assert rates["backbone"] == pytest.approx(2.0 * Schedule(warmup=0.2).factor(0.5))
    assert rates["head"] == pytest.approx(3 * rates["backbone"])


def test_the_run_folder_holds_config_log_and_card(run: Run, tmp_path: Path) -> None:
    pretrain([run], tmp_path / "run", QUICK)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config.from_json(stored[0]) == run
    card = json.loads((tmp_path / "run" / "backbone" / "card.json").read_text())
    assert card["architecture"]["name"] == "conv4"
    assert card["preprocessing"]["size"] == 32
    assert card["origin"]["steps"] == 6
    assert card["origin"]["examples_seen"] == 6 * run.batch_size
