"""Commands on the good path: what is written can be read back and says what the library says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made_up import labelled
from tiny_runs import tiny_run

from embodied_ssl import discover
from embodied_ssl.checkpoint import load_backbone, load_checkpoint
from embodied_ssl.cli import main
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.io.pictures import FilePicture
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.target import LabelledPictures
from embodied_ssl.evaluation.models import preprocessing_of
from embodied_ssl.evaluation.run import protocols_of
from embodied_ssl.files import read_lines
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

QUICK = Options(device="cpu", workers=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return pretrain([tiny_run("rotation_photos", folder / "data", steps=1)], folder / "run", QUICK)


def run_command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_embed_writes_a_row_for_each_readable_picture(trained: Path, tmp_path: Path, suffix: str) -> None:
    PictureFolder.tiny(tmp_path / "pictures")
    (tmp_path / "pictures" / "000.png").write_bytes(b"junk")
    out = tmp_path / f"features{suffix}"
    run_command("embed", str(trained), "--on", str(tmp_path / "pictures"), "--out", str(out), "--json", str(tmp_path / "r.json"))
    if suffix == ".npy":
        features, paths = np.load(out), out.with_suffix(".txt").read_text().splitlines()
    else:
        table = pq.read_table(out).to_pydict()
        features, paths = np.array(table["features"], np.float32), table["path"]
    readable = [path for path in PictureFolder(str(tmp_path / "pictures")).open().recordings if not path.endswith("000.png")]
    assert paths == readable
    backbone, card = load_backbone(trained)
    how = preprocessing_of(card)
    crop = how.crop(FilePicture(tmp_path / "pictures" / paths[3]))
    with torch.no_grad():
        one = backbone.eval()(how.render(torch.from_numpy(crop[None].copy()))).vector[0]
    np.testing.assert_allclose(features[3], one.numpy(), rtol=1e-4, atol=1e-5)
    assert len(json.loads((tmp_path / "r.json").read_text())["left_out"]) == 1


def test_online_knn_is_logged_and_moves_no_weight(tmp_path: Path) -> None:
    scenes = ClassFolder.tiny(tmp_path / "scenes")
    plain, watched = (tiny_run("rotation_photos", tmp_path / "data", steps=2, knn=knn) for knn in ("", scenes.root))
    ends = []
    for name, run in (("plain", plain), ("watched", watched)):
        pretrain([run], tmp_path / name, QUICK)
        ends.append(load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"])
    figures = [row["held_out/knn"] for row in read_lines(tmp_path / "watched" / "log.jsonl") if "held_out/knn" in row]
    assert figures
    assert all(0 <= figure <= 1 for figure in figures)
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_show_writes_a_picture_and_inspect_names_what_cannot_be_read(tmp_path: Path) -> None:
    PictureFolder.tiny(tmp_path / "pictures")
    (tmp_path / "pictures" / "000.png").write_bytes(b"junk")
    run_command("show", "rotation_photos", "--on", str(tmp_path / "pictures"), "--out", str(tmp_path / "sheet.png"))
    assert min(FilePicture(tmp_path / "sheet.png").size) > 100
    run_command("inspect", str(tmp_path / "pictures"), "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["reader"] == "PictureFolder"
    assert [Path(item["name"]).name for item in found["left_out"]] == ["000.png"]


def test_show_draws_a_runs_answers_below_what_it_is_asked(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_command("show", str(trained), "--json", "of_run.json")
    of_run = json.loads((tmp_path / "of_run.json").read_text())
    data = json.loads((trained / "config.json").read_text())
    root = (data[0] if isinstance(data, list) else data)["data"]["root"]
    run_command("show", "rotation_photos", "--on", root, "--set", "method.size=32", "--json", "of_config.json")
    of_config = json.loads((tmp_path / "of_config.json").read_text())
    assert (of_run["file"], of_config["file"]) == ("run.png", "views.png")
    assert of_run["rows"] == of_config["rows"]
    assert len(of_run["answers"]) == 2
    assert of_config["answers"] == []
    assert of_run["answers"][1] in capsys.readouterr().out
    assert FilePicture(tmp_path / "run.png").size[0] > FilePicture(tmp_path / "views.png").size[0] + 200


def test_show_reads_a_runs_data_from_elsewhere(trained: Path, tmp_path: Path) -> None:
    PictureFolder.tiny(tmp_path / "moved")
    for option in (["--on", str(tmp_path / "moved")], ["--set", f"data.root={tmp_path / 'moved'}"]):
        run_command("show", str(trained), *option, "--out", str(tmp_path / "sheet.png"), "--json", str(tmp_path / "found.json"))
        assert len(json.loads((tmp_path / "found.json").read_text())["answers"]) == 2


def test_the_report_of_pretrain_shows_answers(tmp_path: Path) -> None:
    PictureFolder.tiny(tmp_path / "pictures")
    smaller = [f"--set={change}" for change in ("backbone.name=conv4", "method.size=32", "batch_size=2", "precision=fp32")]
    data = ["--set", f"data.root={tmp_path / 'pictures'}", "--steps", "1", "--workers", "0", "--device", "cpu"]
    run_command("pretrain", "rotation_photos", *smaller, *data, "--out", str(tmp_path / "run"))
    text = (tmp_path / "run" / "report.html").read_text()
    assert "What the network answers" in text
    assert "turned back by what the network answers" in text


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ClassFolder.tiny(tmp_path_factory.mktemp("scenes")).root


def test_evaluate_takes_settings_and_says_how_long_before_it_begins(
    trained: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--protocol", "knn,retrieval", "--set", "knn.k=3", "--seeds", "2", "--device", "cpu", "--no-cache"]
    for name in ("one", "two"):
        run_command("evaluate", str(trained), "--on", scenes, *options, "--json", str(tmp_path / f"{name}.json"))
    assert "about 1 s for 7 models" in capsys.readouterr().err
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()  # nothing was kept: all made twice
    rows = json.loads((tmp_path / "one.json").read_text())
    assert {row["settings"]["protocol"]["k"] for row in rows if row["protocol"] == "knn"} == {3}
    assert {row["pretrain_seed"] for row in rows if row["role"] == "random"} == {0, 1, None}


def test_another_network_stands_in_the_same_tables(trained: Path, scenes: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("evaluate", str(trained), "conv4", "--on", scenes, "--protocol", "knn", "--seeds", "1", "--device", "cpu")
    shown = capsys.readouterr().out
    assert any(line.split()[:3] == ["conv4", "untrained", "external"] for line in shown.splitlines())
    assert "random conv4 (2)" in shown  # the other one is judged at 224 pixels, and so is its untrained twin


def test_every_protocol_that_the_data_allow(trained: Path, tmp_path: Path) -> None:
    target = labelled(24)
    assert protocols_of(["all"], target) == list(discover.protocols())
    only_label = dataclasses.replace(target, source=LabelledPictures("x", target.source.pictures, labels=target.source.labels))
    assert set(protocols_of(["all"], only_label)) == {n for n, kind in discover.protocols().items() if kind.needs == "label"}
    assert protocols_of([], only_label) == ["linear", "knn", "low-shot"]


def test_compare_subtracts_paired(trained: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = pretrain([tiny_run("rotation_photos", tmp_path / "data", steps=1, seed=5)], tmp_path / "other", QUICK)
    found = tmp_path / "c.json"
    run_command("compare", str(trained), str(other), "--on", scenes, "--protocol", "knn", "--device", "cpu", "--json", str(found))
    shown = capsys.readouterr().out
    assert "run - other" in shown
    assert "another pretraining seed may change" in shown
    rows = json.loads(found.read_text())
    value = {(row["model"], row["settings"]["choice"]): row["value"] for row in rows if row["main"]}
    for row in rows:
        if row["metric"] == "minus_other":
            choice = row["settings"]["choice"]
            assert row["value"] == pytest.approx(value["run", choice] - value["other", choice])


def test_diagnose_writes_a_page_and_its_rows(trained: Path, scenes: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run_command("diagnose", str(trained), "--on", scenes, "--size", "32", "--out", str(page), "--device", "cpu", "--no-cache")
    assert "Where they look" in page.read_text()
    layers = [row["layer"] for row in json.loads(page.with_suffix(".json").read_text())]
    assert layers.count("conv4") == 2  # the run and its untrained twin
