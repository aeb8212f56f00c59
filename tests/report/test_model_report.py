"""The figures of networks show what they say, and the report holds them all."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from embodied_ssl.backbones import BackboneConfig, untrained
from embodied_ssl.checkpoint import Card, export_backbone, preprocessing
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.diagnosis import diagnose
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.diagnostics import cka
from embodied_ssl.evaluation.exhibits import Drawing, open_pictures
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.models import Model, OneStage, open_model
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.keys import generator
from embodied_ssl.report import figures
from embodied_ssl.report.attention import attention, attention_maps, attention_rows, attention_sheet, over_picture
from embodied_ssl.report.drawings import rendered
from embodied_ssl.report.filters import filter_sheet, filters_figure, first_filters
from embodied_ssl.report.health import cka_figure, likeness
from embodied_ssl.report.model_report import model_sections
from embodied_ssl.report.neighbours import Neighbours, nearest, neighbour_sheet, precision_line, shown_queries
from embodied_ssl.report.scatter import How, flattened, has_umap, scatter_figure

SMALL = Drawing(queries=10, gallery=12, viewed=5, views=4)
HOW = Preprocessing(32, 36)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def table(features: np.ndarray, labels: np.ndarray | None = None, model: str = "toy", layer: str = "last") -> FeatureTable:
    given = np.full(len(features), -1) if labels is None else labels
    return FeatureTable(model, {layer: features}, given, tuple(map(str, range(len(features)))))


class Fixed(torch.nn.Module):
    """Two channels of 2 x 2 places, whatever the picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[[[1.0, 2], [0, 3]], [[2, 0], [1, -1]]]]).expand(len(x), -1, -1, -1)


def test_attention_rows_are_the_pictures_and_each_stage_over_them() -> None:
    model = Model("toy", untrained(BackboneConfig("conv4"), 0), preprocessing=Preprocessing(32, 32))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    (_, seen), *rows = attention_rows(model, pixels)
    assert [caption for caption, _ in rows] == [f"where conv{i} is active" for i in range(1, 5)]
    assert torch.equal((seen * 255).round().byte(), torch.from_numpy(pixels).movedim(-1, 1))
    first = over_picture(pixels[0], attention_maps(model, pixels)["conv1"][0])
    assert torch.equal((rows[0][1][0] * 255).round().byte(), torch.from_numpy(first).movedim(-1, 0))


def test_attention_of_the_toy_map() -> None:
    maps = torch.tensor([[[[1.0, 2], [0, 3]], [[2, 0], [1, 1]]]])
    assert attention(maps, 2).tolist() == [[[5, 4], [1, 10]]]
    assert attention(maps, 4).tolist() == [[[17, 16], [1, 82]]]
    assert attention(-maps, 1).tolist() == [[[3, 2], [1, 4]]]


def test_attention_is_scaled_to_its_range_and_enlarged_in_place(tmp_path: Path) -> None:
    model = Model("fixed", OneStage("fixed", Fixed(), 8), None, Preprocessing(8, 8), "external")
    heat = attention_maps(model, np.zeros((3, 8, 8, 3), np.uint8), power=2)["output"]
    assert heat.shape == (3, 8, 8)
    assert (heat.min(), heat.max()) == (0, 1)
    corners = heat[0][[1, 1, 6, 6], [1, 6, 1, 6]]  # (5 - 1) / 9, (4 - 1) / 9, 0, 1 at the middle of each quarter
    assert corners == pytest.approx([4 / 9, 3 / 9, 0, 1], abs=0.12)
    assert corners.argsort().tolist() == [2, 1, 0, 3]


def test_attention_leaves_the_network_alone_and_a_flat_map_is_dark() -> None:
    model = open_model("conv4", preprocessing=HOW)
    model.backbone.train()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    heat = attention_maps(model, np.full((2, 32, 32, 3), 120, np.uint8))
    assert model.backbone.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.backbone.state_dict().items())
    assert list(heat) == ["conv1", "conv2", "conv3", "conv4"]
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.zero_()
    assert not attention_maps(model, np.full((2, 32, 32, 3), 120, np.uint8))["conv1"].any()


def test_heat_is_laid_over_the_picture() -> None:
    pixels = np.full((4, 4, 3), 100, np.uint8)
    cold, hot = over_picture(pixels, np.zeros((4, 4), np.float32)), over_picture(pixels, np.ones((4, 4), np.float32))
    assert cold.max() < 60 < hot.min()
    assert hot[0, 0, 0] > hot[0, 0, 2]  # towards yellow


def test_sheets_of_attention_have_a_row_for_each_ask() -> None:
    models = [open_model("conv4", preprocessing=HOW, seed=seed) for seed in (0, 1)]
    pixels = generator("pictures").integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    figure = attention_sheet(models, [pixels, pixels], [(0, 1), (1, 4)])
    assert len(figure.axes) == 2 * (1 + 4 + 4)
    assert [axes.get_title() for axes in figure.axes[1:5]] == ["conv1", "conv2", "conv3", "conv4"]
    assert figures.png(figure)[:4] == b"\x89PNG"


def test_neighbours_are_scikit_learns() -> None:
    queries, gallery = normal(15, 6), normal(40, 6, seed=1)
    labels, bank = np.arange(15) % 3, np.arange(40) % 3
    found = nearest(table(queries, labels), table(gallery, bank), "last", k=5)
    expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(gallery).kneighbors(queries, return_distance=False)
    assert np.array_equal(found.rows, expected)
    assert found.right is not None
    assert np.array_equal(found.right, bank[expected] == labels[:, None])
    assert found.chance == pytest.approx(np.mean([(bank == label).mean() for label in labels]))
    estimate = found.precision()
    assert estimate is not None
    assert estimate.value == pytest.approx(found.right.mean())
    assert estimate.low < estimate.value < estimate.high


def test_precision_of_perfect_and_of_unlabelled_neighbours() -> None:
    labels = np.arange(12) % 4
    found = nearest(
        table(np.eye(4, dtype=np.float32)[labels], labels), table(np.eye(4, dtype=np.float32)[labels], labels), "last", k=3
    )
    assert precision_line("it", found) == "it: 100.0 % [100.0, 100.0] of the 3 nearest have the query's class; by chance 25.0 %"
    without = nearest(table(normal(4, 3)), table(normal(5, 3)), "last", k=9)
    assert without.rows.shape == (4, 5)
    assert without.precision() is None
    assert "no labels" in precision_line("it", without)


def test_queries_shown_take_turns_by_class() -> None:
    labels = np.array([2, 2, 2, 0, 1, 0])
    assert shown_queries(labels, 3).tolist() == [0, 3, 4]
    assert shown_queries(labels, 6).tolist() == [0, 3, 4, 1, 5, 2]
    assert shown_queries(np.full(5, -1), 2).tolist() == [0, 1]


def test_frames_say_which_neighbours_are_right() -> None:
    pixels = np.full((3, 8, 8, 3), 200, np.uint8)
    found = Neighbours(np.array([[0, 1]] * 3), np.array([[True, False]] * 3), 0.5)
    figure = neighbour_sheet(["it"], [found], pixels, [pixels], np.array([1]), np.array([0, 1, 0]), ("a_b", "$c"))
    colours = [patch.get_edgecolor() for axes in figure.axes for patch in axes.patches]
    green, orange = colours
    assert green[1] > green[0]  # type: ignore[index]
    assert orange[0] > orange[1]  # type: ignore[index]
    assert figures.png(figure)
    plain = neighbour_sheet(["it"], [Neighbours(found.rows, None, 0.0)], pixels, [pixels], np.array([1]))
    assert not any(axes.patches for axes in plain.axes)


def test_filters_are_shown_each_in_its_own_range_strongest_first() -> None:
    filters = np.zeros((3, 3, 2, 2), np.float32)
    filters[0, 0] = [[0.1, 0], [0, -0.1]]  # weak red
    filters[2, 2] = 5  # strong blue
    sheet = filter_sheet(filters, cell=2, gap=1)
    assert sheet.shape == (5, 5, 3)  # two rows of two places
    assert (sheet[:2, :2] == [128, 128, 255]).all()
    assert sheet[:2, 3:].tolist() == [[[255, 128, 128], [128, 128, 128]], [[128, 128, 128], [0, 128, 128]]]
    assert (sheet[3:, :2] == 128).all()  # all zeros: grey
    assert (sheet[:, 2] == 255).all()
    grey = filter_sheet(normal(4, 6, 3, 3), cell=9)
    assert (grey[..., 0] == grey[..., 1]).all()


def test_the_first_convolution_is_found() -> None:
    model = open_model("conv4")
    assert torch.equal(
        torch.from_numpy(first_filters(model.backbone)), model.backbone.net.get_submodule("conv1.0").weight.detach()
    )
    assert figures.png(filters_figure([model, model]))
    with pytest.raises(UserError, match="has no convolution"):
        first_filters(OneStage("fixed", Fixed(), 8))


def test_likeness_is_cka_of_every_pair_of_layers() -> None:
    first = FeatureTable("a", {"x": normal(30, 3), "y": normal(30, 5, seed=1)}, np.full(30, -1), ("r",) * 30)
    second = FeatureTable("b", {"z": first.features["y"] * 2 + 1}, np.full(30, -1), ("r",) * 30)
    assert likeness(first, second)[:, 0] == pytest.approx([cka(first.features["x"], second.features["z"]), 1])
    figure = cka_figure([first, second])
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["within a", "within b", "a (rows), b"]


@pytest.mark.parametrize("how", ["t-SNE", "UMAP"])
def test_the_layout_keeps_groups_together_and_repeats_itself(how: How) -> None:
    if how == "UMAP":
        pytest.importorskip("umap")
    labels = np.repeat([0, 1, 2], 25)
    features = 6 * np.eye(8, dtype=np.float32)[labels] + normal(75, 8)
    points = flattened(features, how)
    assert points.shape == (75, 2)
    nearest_rows = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    assert (labels[nearest_rows] == labels[:, None]).mean() > 0.95
    assert np.array_equal(points, flattened(features, how))
    figure = scatter_figure([table(features, labels)], ["last"], ("a", "b_c", "$d"), how)
    assert len(figure.axes[0].collections) == 3
    assert figures.png(figure)
    assert len(scatter_figure([table(features)], ["last"], ()).axes[0].collections) == 1


def test_many_classes_have_different_signs() -> None:
    labels = np.arange(60) % 15
    signs = {
        (tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.shape)
        for dots in scatter_figure([table(normal(60, 4), labels)], ["last"], tuple("abcdefghijklmno")).axes[0].collections
    }
    assert len(signs) == 15


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert not has_umap()
    with pytest.raises(UserError, match="UMAP needs umap-learn"):
        flattened(normal(20, 4), "UMAP")


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two run folders of one name in different places."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        card = Card(BackboneConfig("conv4").to_json(), preprocessing(32), {"method": "RotationConfig", "examples_seen": 64})
        export_backbone(tmp_path / str(seed) / "run" / "backbone", BackboneConfig("conv4").build().net.state_dict(), card)
    return [str(tmp_path / str(seed) / "run") for seed in (0, 1)]


TITLES = (
    "What was examined",
    "Health of the features",
    "Likeness of layers",
    "Where they look",
    "What they take for alike",
    "Filters of the first convolution",
    "All pictures on one sheet",
    "What could not be read",
)


def test_two_runs_side_by_side_with_the_untrained_one(tmp_path: Path, runs: list[str]) -> None:
    scenes = ClassFolder.tiny(tmp_path / "scenes").root
    made = diagnose(runs, scenes, tmp_path / "out" / "report.html", size=32, drawing=SMALL, device="cpu")
    text = made.report.read_text()
    for title in TITLES:
        assert f"<h2>{title}</h2>" in text
    assert "Rotation, 64 pictures seen" in text
    assert "RankMe of 64 features reads low from 9 pictures" in text
    assert "of the 6 nearest have the query&#x27;s class; by chance 33.3 %" in text
    models = list(dict.fromkeys(row.model for row in made.rows))
    assert models == ["run (1)", "run (2)", "random conv4"]
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["layer"] for row in stored] == ["conv1", "conv2", "conv3", "conv4"] * 3
    assert stored[0]["rank_me"].keys() == {"value", "low", "high"}


@pytest.mark.slow
def test_the_same_diagnosis_is_the_same_file(tmp_path: Path, runs: list[str]) -> None:
    scenes = ClassFolder.tiny(tmp_path / "scenes").root
    first, second = (diagnose(runs, scenes, tmp_path / f"{i}.html", size=32, drawing=SMALL, device="cpu") for i in (1, 2))
    assert first.report.read_bytes() == second.report.read_bytes()


def test_one_network_stands_beside_itself_untrained_and_pictures_need_no_labels(tmp_path: Path, runs: list[str]) -> None:
    (tmp_path / "loose").mkdir()
    for number in range(24):
        pixels = generator("loose", number).integers(0, 255, (40, 44, 3)).astype(np.uint8)
        (tmp_path / "loose" / f"{number}.png").write_bytes(encode(pixels))
    made = diagnose(runs[:1], str(tmp_path / "loose"), tmp_path / "report.html", size=32, drawing=SMALL, device="cpu")
    text = made.report.read_text()
    assert "no labels; divided in two halves" in text
    assert "by chance" not in text
    assert list(dict.fromkeys(row.model for row in made.rows)) == ["run", "random conv4"]


def test_mistakes_are_said_before_anything_is_read(tmp_path: Path, runs: list[str]) -> None:
    with pytest.raises(UserError, match=r"must end in \.html"):
        diagnose(runs, str(tmp_path), tmp_path / "report.pdf")
    with pytest.raises(UserError, match="there is no model 'nowhere'"):
        diagnose(["nowhere"], str(tmp_path), tmp_path / "report.html")
    scenes = open_pictures(ClassFolder.tiny(tmp_path / "scenes").root)
    with pytest.raises(UserError, match="each with a name of its own"):
        model_sections([open_model(run) for run in runs], scenes)


def test_pixels_of_a_figure_are_as_large_as_asked() -> None:
    assert rendered(scatter_figure([table(normal(20, 3))], ["last"], ()), dpi=50).shape == (260, 270, 3)
