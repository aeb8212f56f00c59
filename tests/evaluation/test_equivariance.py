"""Networks are asked the same of the same drives, never on drives they were fitted on; and what the command writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import MemoryFrames
from torch import Tensor, nn

from embodied_ssl.checkpoint import save_checkpoint
from embodied_ssl.cli import main
from embodied_ssl.datasets.drives import CommandTrack, Drive, Drives
from embodied_ssl.datasets.io.numbered import tour
from embodied_ssl.datasets.io.pictures import FilePicture, crop_and_resize
from embodied_ssl.datasets.kitti_raw import KittiRaw, write_drive
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import DataSpec, Source, Split
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.equivariance import Equivariance, measure, method_of
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.models import Model, OneStage, open_model
from embodied_ssl.evaluation.motion.pairs import LEAST, Drawing, Question, ask
from embodied_ssl.evaluation.motion.projection import with_projection
from embodied_ssl.evaluation.motion.rows import PROBE, PROTOCOL, said
from embodied_ssl.evaluation.motion.table import format_table
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.scores import Score, load_scores
from embodied_ssl.keys import generator
from embodied_ssl.report.motion_report import motion_sections

HOW = Preprocessing(32, 32)
SMALL = Drawing(pairs=60, dimensions=12, probe_dimensions=12)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drives of four seconds that turn left, go straight and turn right."""
    folder = tmp_path_factory.mktemp("drives")
    for number in range(8):
        luck = generator("drives", number).uniform(0.7, 1.3, 2)
        write_drive(folder, f"{number:04d}", tour(40, number % 3, 0.5 * luck[0], 0.06 * luck[1]), (24, 72))
    return folder


@pytest.fixture(scope="module")
def question(drives: Path) -> Question:
    return ask(KittiRaw(str(drives), short_side=24), SMALL)


class Columns(nn.Module):
    """Sixteen grey columns of the picture: they move when the camera turns."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), (1, 16))[:, 0, 0]


class Brightness(nn.Module):
    """Mean colour: the same wherever the camera looks, or nearly."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 4)


def network(name: str, net: nn.Module) -> Model:
    return Model(name, OneStage(name, net, 32), None, HOW)


@pytest.fixture(scope="module")
def found(drives: Path) -> Equivariance:
    nets = [replace(open_model("conv4", seed=seed, preprocessing=HOW), name=f"mine_s{seed}", role="run") for seed in (5, 6)]
    others = [network("columns", Columns()), network("constant", Constant())]
    spec = KittiRaw(str(drives), short_side=24)
    return measure([*nets, *others], spec, replace(SMALL, folds=4), random_seeds=(0, 1))


def test_the_same_key_draws_the_same_pairs_and_another_seed_others(drives: Path, question: Question) -> None:
    again, other = (ask(KittiRaw(str(drives), short_side=24), replace(SMALL, seed=seed)) for seed in (0, 1))
    assert all(np.array_equal(a.train.motion, b.train.motion) for a, b in zip(question.folds, again.folds, strict=True))
    assert not np.array_equal(question.folds[0].train.motion, other.folds[0].train.motion)


@pytest.mark.parametrize("folds", [0, 4])
def test_no_drive_is_both_fitted_and_judged_on_and_folds_judge_every_drive(drives: Path, folds: int) -> None:
    asked = ask(KittiRaw(str(drives), short_side=24), replace(SMALL, folds=folds))
    assert len(asked.folds) == max(1, folds)
    judged: list[str] = []
    for fold in asked.folds:
        assert not set(fold.train.recording) & set(fold.test.recording)
        judged += sorted(set(fold.test.recording))
    assert len(judged) == len(set(judged)) == (8 if folds else 1)


def test_pairs_are_what_their_source_says_and_patterns_are_drawn_evenly(drives: Path, question: Question) -> None:
    source = KittiRaw(str(drives), short_side=24).open("all")
    samples = {(source.recordings[i], sample["frame"]): sample for i, sample in ((i, source[i]) for i in range(len(source)))}
    pairs = question.folds[0].train
    assert set(question.names) == {"left", "right", "forward"}
    counts = np.bincount(pairs.pattern + 1, minlength=4)
    assert (counts <= SMALL.pairs).all()
    assert (counts[1:] > LEAST).all()
    for row in range(0, len(pairs), 7):
        first, second = (question.frames[int(end[row])] for end in (pairs.first, pairs.second))
        sample = samples[first.recording, first.number]
        place = sample["later"].tolist().index(second.number)
        assert first.recording == second.recording == pairs.recording[row]
        assert sample["motions"][place] == pytest.approx(pairs.motion[row])
        assert question.patterns.of(pairs.motion[row : row + 1])[0] == pairs.pattern[row]
        assert pairs.seconds[row] == first.second


def test_whole_frames_are_squeezed(question: Question) -> None:
    read = question.pictures(16)
    frame = question.frames[5]
    pixels = FilePicture(Path(frame.frames.folder) / frame.frames.files[frame.number]).pixels  # type: ignore[attr-defined]
    assert np.array_equal(read.pixels[5], crop_and_resize(pixels, (0, 0, 24, 72), (16, 16)))


def test_a_frame_that_cannot_be_read_is_named_and_takes_only_its_own_pairs(tmp_path: Path) -> None:
    for number in range(5):
        write_drive(tmp_path, f"{number:04d}", tour(40, number % 3, turn=0.06), (24, 40))
    spec = KittiRaw(str(tmp_path), short_side=24)
    broken = next(frame for frame in ask(spec, SMALL).frames if frame.number > 3)
    path = Path(broken.frames.folder) / broken.frames.files[broken.number]  # type: ignore[attr-defined]
    path.write_bytes(b"no picture")
    given = measure([network("columns", Columns())], spec, SMALL)
    assert str(path) in [item.name for item in given.question.bad]
    fold, sums = given.question.folds[0], given.groups[0].seeds[0].found.motions.pairs
    row = next(
        i
        for i, frame in enumerate(given.question.frames)
        if frame is not broken and frame.number == broken.number and frame.recording == broken.recording
    )
    lost = ((fold.test.first == row) | (fold.test.second == row)).sum()
    assert sums.sum() == len(fold.test) - lost


def looking_around(number: int) -> Drive:
    """A camera that looks left, ahead and right in a place of its own: a window 32 columns wide on a random panorama."""
    rng = generator("panorama", number)
    panorama = np.convolve(rng.normal(size=420), np.ones(5) / 5, mode="same")
    turns = np.repeat(rng.permutation(np.tile([-1, 0, 1], 5)), 8)
    heading = np.concatenate([[0], np.cumsum(turns)]) + 200
    windows = np.stack([panorama[at : at + 32][::-1] for at in heading])  # looking left moves all to the right
    pixels = np.clip(128 + 120 * windows, 0, 255).astype(np.uint8)[:, None, :, None]
    frames = MemoryFrames(np.ascontiguousarray(np.broadcast_to(pixels, (len(heading), 32, 32, 3))))
    forward = rng.uniform(0.5, 1.5, len(turns))
    total = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack([forward * (turns == 0), turns * 1.0], 1), 0)])
    return Drive(f"place {number}", frames, CommandTrack(total))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Panoramas(DataSpec):
    """Places looked around in."""

    root: str = ""

    def open(self, split: Split = "all") -> Source:
        return Drives("panoramas", [looking_around(number) for number in range(12)], 0.17, "steps", [], split)

    @classmethod
    def tiny(cls, folder: Path) -> Panoramas:
        raise TypeError("made-up data has no layout of its own")


def test_features_that_move_with_the_camera_are_told_from_those_that_do_not() -> None:
    """Columns move by a map of the turn, whatever the place; mean colour after a turn is not known from the turn."""
    nets = [network("columns", Columns()), network("brightness", Brightness())]
    given = measure(nets, Panoramas(), Drawing(pairs=300, folds=4))
    columns, brightness = given.groups
    assert columns.mean("beyond_one_map") > 0.2
    assert columns.mean("beyond_shifts") > 0.2  # of the map, not of a mean view
    assert columns.mean("wrong_ratio") < 0.75
    assert columns.mean("beyond_blind") > 0.4
    assert abs(brightness.mean("beyond_one_map")) < 0.1
    assert abs(brightness.mean("beyond_shifts")) < 0.1
    # Driving on changes nothing here, which brightness can tell from turning; left from right it cannot.
    assert brightness.mean("beyond_blind") < 1 / 3
    assert brightness.mean("wrong_ratio") > 0.8
    rows = {row.settings["of"]: row for row in given.differences if row.protocol == PROTOCOL}
    assert all(said(rows[figure]) == "better" for figure in ("displacement_r2", "beyond_one_map", "wrong_ratio", "beyond_blind"))
    # Only the product of a view with its successor knows the turn: no linear probe reads it, neither of one nor of two frames.
    turn = [axis.name for axis in given.question.axes].index("left_yaw")
    assert columns.mean("r2", turn) < 0.1


def test_seeds_of_one_method_are_one_group_beside_their_untrained_twin(found: Equivariance) -> None:
    groups = {group.name: group for group in found.groups}
    assert list(groups) == ["mine", "columns", "random conv4"]
    assert [len(group.seeds) for group in groups.values()] == [2, 1, 2]
    rows = [row for row in found.scores if row.metric == "rho" and row.settings["pattern"] == "all"]
    both = [row.value for row in rows if row.model in ("mine_s5", "mine_s6")]
    mean = next(row for row in rows if row.model == "mine")
    assert mean.value == pytest.approx(np.mean(both))
    assert mean.std == pytest.approx(np.std(both, ddof=1))
    assert mean.interval is not None
    assert mean.settings["interval"] == "bootstrap over 8 recordings"


def test_a_network_that_collapsed_is_left_out_and_stops_no_other(found: Equivariance) -> None:
    assert list(found.left_out) == ["constant"]
    assert "collapsed" in found.left_out["constant"]
    assert any(line.startswith("constant was left out") for line in found.lines())


def test_differences_are_of_means_on_the_same_drives(found: Equivariance) -> None:
    mine, columns, random = found.groups
    rows = {(row.model, row.settings["against"], row.settings["of"]): row for row in found.differences}
    assert {key[:2] for key in rows} == {("mine", "random conv4"), ("mine", "columns")}
    row = rows["mine", "random conv4", "displacement_r2"]
    assert row.value == pytest.approx(mine.mean("displacement_r2") - random.mean("displacement_r2"))
    gap = mine.replicates["displacement_r2"][:, 0] - random.replicates["displacement_r2"][:, 0]
    assert row.interval == pytest.approx(tuple(np.quantile(gap, [0.025, 0.975])))
    assert columns.baseline == ""


def test_less_of_rho_is_better() -> None:
    row = Score("a", "run", "d", PROTOCOL, "l", "minus_random", -0.2, interval=(-0.3, -0.1), settings={"of": "rho"})
    assert said(row) == "better"
    assert said(replace(row, settings={"of": "displacement_r2"})) == "worse"
    assert said(replace(row, settings={"of": "rho", "seed_reach": 0.4})) == "within what untrained seeds differ by"


def test_a_pattern_of_too_few_judged_pairs_counts_as_none(tmp_path: Path) -> None:
    """Only one drive turns: whoever is judged on it has no map of turning, and none is left to judge."""
    for number in range(6):
        steps = tour(40, 0, turn=0.06) if number == 0 else np.tile([0.2 * (1 + number % 3), 0.0], (40, 1))
        write_drive(tmp_path, f"{number:04d}", steps, (24, 40))
    asked = ask(KittiRaw(str(tmp_path), short_side=24), replace(SMALL, folds=3))
    judged = np.bincount(np.concatenate([fold.test.pattern for fold in asked.folds]) + 1)[1:]
    assert not any(n for name, n in zip(asked.names, judged, strict=False) if name.startswith(("left", "right")))


def test_seeds_end_names() -> None:
    names = {"equiv_s0": "equiv", "equiv_s12": "equiv", "equiv": "equiv", "a_s1_b": "a_s1_b", "_s1": "_s1"}
    assert {name: method_of(name) for name in names} == names


def test_the_table_and_the_report_hold_every_method_and_every_figure(found: Equivariance) -> None:
    table = format_table(found.groups, found.question, found.differences)
    for words in (
        "mine (2 seeds, conv4)",
        "random conv4 (2 seeds, conv4)",
        "moved R2",
        "beyond blind",
        "left_yaw: beyond it",
        "mine - columns",
    ):
        assert words in table
    html = {section.title: section.html() for section in motion_sections(found)}
    assert html["Right map and wrong maps, motion by motion"].count("<img") == 1
    assert html["What they take for the view after moving"].count("<img") == len(found.groups)
    assert html["Motion patterns"].count("<img") == 1
    assert html["Pairs of every pattern"].count("<img") == 6
    assert "random conv4" in html["Can the motion be read off two frames?"]
    assert "Of left alone" in html


def test_neighbours_are_not_within_a_second_of_the_query(found: Equivariance) -> None:
    frames = found.question.frames
    for group in found.groups:
        looks = group.seeds[0].found.looks
        assert looks is not None
        assert found.question.names[looks.lead] == "left"
        for query, nearest in zip(looks.query, looks.nearest, strict=True):
            for row in nearest.ravel():
                assert frames[row].recording != frames[query].recording or abs(frames[row].second - frames[query].second) > 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_rows_and_a_report(drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [
        word for change in ("drawing.pairs=40", "drawing.dimensions=16", "data.short_side=24") for word in ("--set", change)
    ]
    given = ["equivariance", "conv4", "--on", str(drives), "--out", str(tmp_path / "motion.html"), "--seeds", "1", "--size", "32"]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *given,
                *changes,
                "--layers",
                "conv1,conv4",
                "--folds",
                "2",
                "--device",
                "cpu",
                "--json",
                str(tmp_path / "rows.json"),
            ]
        )
    assert ended.value.code == 0
    rows = load_scores(tmp_path / "motion.json")
    assert {row.protocol for row in rows} == {PROTOCOL, PROBE}
    assert {row.layer for row in rows} == {"conv1", "conv4"}
    assert {row.role for row in rows} == {"external", "random"}
    assert rows[0].settings["drawing"]["pairs"] == 40
    assert json.loads((tmp_path / "rows.json").read_text()) == json.loads((tmp_path / "motion.json").read_text())
    assert (tmp_path / "motion.html").read_text().startswith("<!DOCTYPE html>")
    out = capsys.readouterr().out
    assert "conv4 untrained (conv1)" in out
    assert "few training pairs for maps" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "motion.txt"], "'motion.txt' must end in .html"),
        (["--layers", "conv9"], "conv4 untrained has no layer 'conv9'"),
        (["--folds", "9"], "too few recordings for 9 folds, none of which is divided; give --folds 8 or fewer"),
        (["--folds", "1"], "folds is 1; give 0"),
        (["--set", "drawing.pear=3"], "no setting 'pear' in 'drawing.pear', did you mean 'pairs'?"),
        (["--as", "Kitti"], "no reader is called 'Kitti'"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str],
    message: str,
    drives: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["equivariance", "conv4", "--on", str(drives), "--size", "32", "--seeds", "0", "--device", "cpu", *more])
    assert ended.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_pictures_have_no_motions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no motions; give drives"):
        ask(PictureFolder.tiny(tmp_path / "pictures"), Drawing())


# --- the space that the loss saw --------------------------------------------------------------------------------------


def trained(folder: Path, learner: dict[str, Tensor]) -> Model:
    save_checkpoint(folder / "checkpoints" / "last.pt", 0, 1, {}, learner, {})
    return replace(network("run", Columns()), about={"given": str(folder)})


def columns_table() -> FeatureTable:
    features = generator("projection").normal(size=(20, 16)).astype(np.float32)
    return FeatureTable("run", {"output": features}, np.full(20, -1), ("a",) * 20)


def test_the_projection_is_the_one_that_was_trained(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    linear = nn.Linear(16, 5)
    learner = {f"method.tasks.a.project.{name}": value.detach() for name, value in linear.named_parameters()}
    table = with_projection(columns_table(), trained(tmp_path, learner))
    expected = linear(torch.from_numpy(table.features["output"])).detach().numpy()
    np.testing.assert_allclose(table.features["projection"], expected, atol=1e-6)
    assert table.last == "projection"
    without_bias = {"method.project.weight": linear.weight.detach()}
    table = with_projection(columns_table(), trained(tmp_path, without_bias))
    np.testing.assert_allclose(table.features["projection"], expected - linear.bias.detach().numpy(), atol=1e-6)


def test_an_untrained_networks_projection_is_drawn_by_its_seed() -> None:
    nets = [replace(network("random", Columns()), role="random", pretrain_seed=seed) for seed in (0, 0, 1)]
    state = torch.random.get_rng_state()
    a, b, c = (with_projection(columns_table(), net).features["projection"] for net in nets)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(a, b)
    assert a.shape == (20, 64)
    assert np.abs(a - c).max() > 0.1


def test_a_network_without_a_projection_is_left_out_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only such have a projection"):
        with_projection(columns_table(), network("columns", Columns()))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="projects no vector of 16 numbers"):
        with_projection(columns_table(), trained(tmp_path, {"method.head.weight": torch.zeros(3, 16)}))
    with pytest.raises(UserError, match="projects no vector of 16 numbers"):
        with_projection(columns_table(), trained(tmp_path, {"method.project.weight": torch.zeros(3, 64)}))
