"""The command line: every mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embodied_ssl.checkpoint import save_checkpoint
from embodied_ssl.cli import main
from embodied_ssl.datasets.picture_folder import PictureFolder

SMALL = ["--set", "backbone.name=conv4", "--set", "method.size=32", "--set", "precision=fp32", "--set", "batch_size=2"]
QUICK = ["--workers", "0", "--device", "cpu"]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.mark,)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(PictureFolder.tiny(tmp_path_factory.mktemp("photos")).root)


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "trained"
    with pytest.raises(SystemExit) as ended:
        main(pretrain(photos, out))
    assert ended.value.code == 0
    return out


def pretrain(photos: Path | str, out: Path, *more: str) -> list[str]:
    given = ["pretrain", "rotation_photos", "--set", f"data.root={photos}", "--steps", "2", "--out", str(out)]
    return [*given, *SMALL, *QUICK, *more]


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistake earns."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert ended.value.code == 2, lines
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert "Traceback" not in "\n".join(lines)
    return errors[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "rotation_photo"], "no config 'rotation_photo', did you mean 'rotation_photos'?"),
        (["pretrain", "nowhere/at_all.py"], "no config file 'nowhere/at_all.py'"),
        (["pretrain", "rotation_photos", "--set", "step=3"], "no setting 'step' in 'step', did you mean 'steps'?"),
        (["pretrain", "rotation_photos", "--set", "steps"], "--set takes key=value, not 'steps'"),
        (["pretrain", "rotation_photos", "--set", "steps=few"], "steps=few is not accepted; give a whole number"),
        (["pretrain", "rotation_photos", "--steps", "-3"], "steps is -3; give a whole number of at least 1"),
        (["pretrain", "rotation_photos", "--steps", "x"], "Invalid value for '--steps'"),
        (["pretrain", "rotation_photos", "--stepz", "3"], "No such option: --stepz"),
        (["pretrain", "temporal_order", "--as", "Ego5D"], "no reader is called 'Ego5D', did you mean 'Ego4D'?"),
        (["evaluate", "x", "--protocol", "pretext", "--set", "knn.k=3"], "--set knn.k=3 changes nothing: pretext asks"),
        (["pretrain"], "Missing argument 'config'"),
        (["pretrain", "rotation_photos"], "no data folder was given; set it with --set data.root=FOLDER"),
        (["pretrain", "rotation_photos", "--device", "tpu"], "no device 'tpu'; give cpu, cuda or auto"),
        (["pretrian"], "No such command 'pretrian'"),
        (["fly"], "No such command 'fly'; there is bench, compare, demo"),
        (["list", "method"], "nothing is called 'method' here, did you mean 'methods'?"),
        (["show", "rotation_photos", "--on", "/nowhere"], "data folder '/nowhere' does not exist"),
        (["show", "."], "'checkpoints/last.pt' does not exist"),
        (["show", "runs/nowhere"], "no config file 'runs/nowhere'"),
        (["inspect", "/nowhere"], "'/nowhere' does not exist"),
        (["evaluate", "/nowhere", "--on", "/nowhere"], "'/nowhere' does not exist"),
        (["embed", "/nowhere", "--on", "/nowhere"], "there is no model '/nowhere'; accepted are a run folder"),
        (["compare", "a", "a", "--on", "/nowhere"], "'a' is on both sides; compare two different runs"),
        (["study", "nowhere.py"], "no config file 'nowhere.py'"),
        (["study", __file__, "--shard", "2/2"], "must define `study`"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a default --out would land
    assert message in complaint(arguments, capsys)


def test_an_unknown_protocol_is_named(trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "knnn" in complaint(["evaluate", str(trained), "--on", str(photos), "--protocol", "knnn"], capsys)


def test_a_finished_run_is_shown_as_it_was_trained(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'method.size=64' would change what" in complaint(["show", str(trained), "--set", "method.size=64"], capsys)
    assert "must end in .png" in complaint(["show", str(trained), "--out", "views.jpg"], capsys)


def test_data_roots_that_cannot_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")
    for root, message in (
        ("missing", "does not exist; give one that does"),
        ("empty", "no pictures below"),
        ("file", "is a file, not a folder; give the folder that holds the data"),
    ):
        assert message in complaint(pretrain(tmp_path / root, tmp_path / "run"), capsys)
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_mistake_in_the_data_leaves_no_run_behind_that_would_be_refused_next_time(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint(pretrain(tmp_path / "missing", tmp_path / "run"), capsys)
    with pytest.raises(SystemExit) as ended:
        main(pretrain(photos, tmp_path / "run"))
    assert ended.value.code == 0


def test_only_corrupt_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"\xff\xd8 cut short")
    message = complaint(pretrain(tmp_path / "photos", tmp_path / "run"), capsys)
    assert "items of one batch could not be read, the first:" in message
    assert ".jpg" in message


def test_an_out_that_is_a_file(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("a file")
    assert "cannot be written" in complaint(pretrain(photos, tmp_path / "run"), capsys)


def test_a_run_that_is_there_already(trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "already holds a run; continue it with --resume" in complaint(pretrain(photos, trained), capsys)


def test_resuming_with_another_config(trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = complaint(pretrain(photos, trained, "--resume", "--set", "optimizer.rate=0.5"), capsys)
    assert "the run was started with another config (optimizer.rate: 0.0015 -> 0.5)" in message


def test_another_architecture(trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = pretrain(photos, tmp_path / "run", "--init", str(trained), "--set", "backbone.name=resnet18")
    assert "is not a resnet18" in complaint(given, capsys)


def test_a_pickle_with_code(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": Evil(tmp_path / "mark")}, tmp_path / "evil.pt")
    message = complaint(pretrain(photos, tmp_path / "run", "--init", str(tmp_path / "evil.pt")), capsys)
    assert "holds more than tensors and is not loaded, because that could run code" in message
    assert not (tmp_path / "mark").exists()


def test_a_checkpoint_that_is_cut_short(trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (trained / "checkpoints" / "last.pt").read_bytes()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a checkpoint" in complaint(pretrain(photos, tmp_path / "run", "--resume"), capsys)


def test_another_programs_checkpoint(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt", 0, 1, [{"steps": 2}], {}, {})
    message = complaint(pretrain(photos, tmp_path / "run", "--resume", "--extend"), capsys)
    assert "the run was started with another config" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*pretrain(photos, tmp_path / "run"), "--device", "cuda"]
    assert "device cuda was asked for, but torch sees no GPU here; use --device cpu" in complaint(given, capsys)


# --- what goes right --------------------------------------------------------------------------------------------------


def test_results_go_to_standard_output_and_json(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(pretrain(photos, tmp_path / "run", "--json", str(tmp_path / "result.json")))
    assert ended.value.code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["run"] == str(tmp_path / "run")
    assert 0 <= result["held_out"]["accuracy"] <= 1
    assert f"run: {tmp_path / 'run'}" in capsys.readouterr().out


def test_stopping_early_says_how_to_go_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(pretrain(photos, tmp_path / "run", "--stop-after", "1"))
    assert ended.value.code == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("stopped"))
    assert line.startswith("stopped at step 1 of 2, saved; continue with: embodied-ssl pretrain rotation_photos --set data.root=")
    assert "--set steps=2" in line
    assert line.endswith("--resume")


@pytest.mark.parametrize("what", ["methods", "backbones", "datasets", "protocols", "configs"])
def test_what_there_is_is_listed(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["list", what])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    from embodied_ssl import __version__

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_help_comes_without_importing_torch() -> None:
    script = """
import runpy, sys
sys.argv = ["embodied_ssl", "--help"]
try:
    runpy.run_module("embodied_ssl", run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("pretrain", "evaluate", "simulate", "embed", "show", "inspect", "list", "demo", "doctor"):
        assert command in done.stdout
