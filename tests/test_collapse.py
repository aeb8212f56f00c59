"""Collapse: figures with closed forms, an independent library, alarms that come and do not come, and what the log keeps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightly.utils.debug import std_of_l2_normalized
from tiny_runs import tiny_run
from torch import Tensor, nn
from toys import Crop

from embodied_ssl import collapse
from embodied_ssl.backbones import Backbone
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.config import Run
from embodied_ssl.core import Batch, Method, Step
from embodied_ssl.files import read_lines
from embodied_ssl.methods.contrastive.cpc import CPC
from embodied_ssl.optim import AdamW
from embodied_ssl.report.run_report import write_run_report
from embodied_ssl.start import Options, Stopped
from embodied_ssl.trainer import Trainer, pretrain

QUICK = Options(device="cpu", workers=0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_point_has_no_spread_and_rank_1() -> None:
    found = collapse.figures(torch.ones(40, 16).mul(3))
    assert found["spread"] == pytest.approx(0, abs=1e-6)
    assert found["rank"] == pytest.approx(1)
    assert found["uniformity"] == pytest.approx(0, abs=1e-6)


def test_a_line_has_rank_1_and_still_a_spread() -> None:
    found = collapse.figures(noise(200, 1) * noise(1, 16, seed=1) + 0.1)
    assert found["rank"] == pytest.approx(1, abs=0.01)
    assert found["spread"] > 0.3


def test_simsiam_std_of_orthonormal_vectors() -> None:
    """A healthy deviation is 1 / sqrt(D), .0221 at 2048; both signs of every axis have exactly it."""
    axes = torch.eye(128)
    found = collapse.figures(torch.cat([axes, -axes]))
    assert found["spread"] == pytest.approx(1)
    assert found["rank"] == pytest.approx(128, rel=1e-3)
    assert found["most_rank"] == 128
    wide = noise(400, 2048)
    assert float(std_of_l2_normalized(wide)) == pytest.approx(0.0221, abs=1e-4)
    assert collapse.figures(wide)["spread"] == pytest.approx(1, abs=0.01)


def test_spread_is_that_of_lightly() -> None:
    vectors = noise(300, 24).relu() + 0.5
    ours = collapse.figures(vectors)["spread"] / 24**0.5
    assert ours == pytest.approx(float(std_of_l2_normalized(vectors)) * (299 / 300) ** 0.5, rel=1e-5)  # theirs divides by n - 1


def test_alignment_stands_beside_that_of_unrelated_examples() -> None:
    axes = torch.eye(32)
    found = collapse.figures(axes, (axes, 2 * axes))
    assert found["embedding_alignment"] == pytest.approx(0, abs=1e-6)
    assert found["embedding_unrelated"] == pytest.approx(2)
    apart = collapse.figures(axes, (axes, -axes))
    assert apart["embedding_alignment"] == pytest.approx(4)


def test_of_many_vectors_the_same_few_are_measured() -> None:
    many = noise(3000, 8)
    assert collapse.figures(many) == collapse.figures(many.clone())
    assert collapse.figures(many)["spread"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("vectors", [torch.empty(0, 1), torch.ones(1, 8), torch.full((20, 8), float("nan"))])
def test_of_too_few_vectors_or_no_numbers_nothing_is_said(vectors: Tensor) -> None:
    assert collapse.figures(vectors) == {}
    assert collapse.warning(100, collapse.figures(vectors), collapse.figures(noise(20, 8))) == ""


# --- alarms -----------------------------------------------------------------------------------------------------------


def test_small_features_behind_a_relu_are_no_collapse() -> None:
    """They share a large mean, so that their spread is low by nature; it was so before training."""
    before = collapse.figures(noise(300, 64).relu() + 6)
    now = collapse.figures(noise(300, 64, seed=1).relu() + 7)
    assert now["spread"] < before["spread"] < collapse.LEAST_SPREAD
    assert collapse.warning(100, now, before) == ""


def test_both_kinds_of_collapse_are_said_in_plain_words() -> None:
    before = collapse.figures(noise(300, 64), (noise(300, 64), noise(300, 64, seed=1)))
    point = collapse.warning(100, {**before, "spread": 0.02}, before)
    assert point.startswith(
        "features collapse: the backbone gives all held-out pictures nearly the same vector (spread 0.02, 0.997"
    )
    line = collapse.warning(100, {**before, "embedding_rank": 1.4}, before)
    assert "what the method's head gives for held-out pictures differs along about 1 directions only (embedding_rank 1.4" in line
    for said in (point, line):
        assert "a lower rate, a larger batch, more negatives" in said
        assert "\n" not in said


def test_the_first_steps_raise_no_alarm() -> None:
    before = collapse.figures(noise(300, 64))
    low = {**before, "rank": 1.5}
    assert collapse.warning(99, low, before) == ""
    assert collapse.warning(100, low, before) != ""


def test_without_a_look_before_training_nothing_is_said() -> None:
    assert collapse.warning(100, collapse.figures(torch.ones(20, 8)), {}) == ""


# --- in a run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FallingConfig:
    def build(self, backbone: Backbone) -> Falling:
        return Falling()


class Falling(Method):
    """A loss that is met by one vector for all pictures."""

    needs = frozenset({"picture"})

    def __init__(self) -> None:
        super().__init__()
        self.view = Crop()

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        return Step((backbone(batch["picture"]).vector - 10).square().mean())


class Heard:
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, done: int, total: int, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


def falling(folder: Path) -> Run:
    run = tiny_run("rotation_photos", folder, steps=150, held_out_every=50, checkpoint_every=50, log_every=50, batch_size=8)
    return dataclasses.replace(run, method=FallingConfig(), optimizer=AdamW(rate=0.1))


def test_a_run_that_collapses_says_so_once(tmp_path: Path) -> None:
    heard = Heard()
    pretrain([falling(tmp_path / "data")], tmp_path / "run", QUICK, heard)
    said = [line for line in heard.lines if "features collapse" in line]
    assert len(said) == 1
    assert said[0].startswith("step 100: features collapse: the backbone gives all")
    logged = [row for row in read_lines(tmp_path / "run" / "log.jsonl") if "health/warning" in row]
    assert [f"step {row['step']}: {row['health/warning']}" for row in logged] == said == collapse.said(logged)
    report = write_run_report(tmp_path / "run").read_text()
    assert "Do features collapse?" in report
    assert logged[0]["health/warning"].replace("'", "&#x27;") in report


def test_a_resumed_run_neither_repeats_nor_forgets_a_warning(tmp_path: Path) -> None:
    run, out = falling(tmp_path / "data"), tmp_path / "run"
    heard = Heard()
    for stop in (50, 100, 0):
        with contextlib.suppress(Stopped):
            pretrain([run], out, Options(device="cpu", workers=0, stop_after=stop, resume=stop != 50), heard)
    assert len([line for line in heard.lines if "features collapse" in line]) == 1
    rows = read_lines(out / "log.jsonl")
    assert [row["step"] for row in rows if "health/spread" in row] == [0, 50, 100, 150]
    assert len([row for row in rows if "health/warning" in row]) == 1


def test_what_a_method_has_to_say_of_its_figures_is_said_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, float]] = []
    monkeypatch.setattr(CPC, "warning", lambda self, averages: asked.append(averages) or "the bound is full")
    heard = Heard()
    pretrain([tiny_run("cpc_photos", tmp_path / "data")], tmp_path / "run", QUICK, heard)
    assert {"loss", "information", "most_information"} <= set(asked[0])
    assert [line for line in heard.lines if "full" in line] == ["step 0: the bound is full"]


@pytest.mark.parametrize("name", ["rotation_photos", "simclr_photos", "multi_task"])
def test_watching_moves_no_bit_of_the_training(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(name, tmp_path / "data", steps=3, held_out_every=1)
    pretrain([run], tmp_path / "watched", QUICK)
    monkeypatch.setattr(Trainer, "_health", lambda self, replies: {})
    monkeypatch.setattr(Trainer, "_look_before_training", lambda self: None)
    pretrain([run], tmp_path / "not", QUICK)
    one, two = (load_checkpoint(tmp_path / folder / "checkpoints" / "last.pt")["learner"] for folder in ("watched", "not"))
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def test_every_task_is_watched_by_itself(tmp_path: Path) -> None:
    pretrain([tiny_run("multi_task", tmp_path / "data", steps=1)], tmp_path / "run", QUICK)
    first, *_, last = read_lines(tmp_path / "run" / "log.jsonl")
    names = {name.split("/")[1] for name in first if name.startswith("health/")}
    assert len(names) > 1
    assert {name for name in first if "health/" in name} == {name for name in last if "health/" in name}
    assert not [name for name in first if "held_out/" in name]
    report = write_run_report(tmp_path / "run").read_text()
    assert report.count("No collapse was seen") == len(names)
    assert collapse.said([{"step": 200, "health/rotation/warning": "w"}]) == ["step 200: rotation: w"]


def test_two_views_are_watched_where_a_method_has_them(tmp_path: Path) -> None:
    pretrain([tiny_run("simclr_photos", tmp_path / "data", steps=1)], tmp_path / "run", QUICK)
    last = read_lines(tmp_path / "run" / "log.jsonl")[-1]
    assert 0 < last["health/embedding_spread"] < 1.2
    assert {"health/embedding_alignment", "health/embedding_unrelated"} <= last.keys()


def test_a_run_that_is_never_asked_is_not_looked_at_before_training(tmp_path: Path) -> None:
    pretrain([tiny_run("rotation_photos", tmp_path / "data", steps=1, held_out_every=0)], tmp_path / "run", QUICK)
    assert [row["step"] for row in read_lines(tmp_path / "run" / "log.jsonl")] == [1, 1]
    assert "collapse cannot be told" in write_run_report(tmp_path / "run").read_text()
