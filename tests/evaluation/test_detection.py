import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.datasets.io.pictures import ArrayPicture, encode
from embodied_ssl.datasets.target import Boxes, Division, LabelledPictures, Target
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.detection.detectors import C4, DetectorConfig, Pyramid, pyramid_levels
from embodied_ssl.evaluation.detection.pictures import show
from embodied_ssl.evaluation.detection.training import Recipe, Trainer
from embodied_ssl.evaluation.features import weights_hash
from embodied_ssl.evaluation.pictures import Preprocessing, silent
from embodied_ssl.evaluation.protocol import Job
from embodied_ssl.evaluation.protocols.detection import GOYAL_FROZEN, LAPTOP, MOCO_C4, Detection
from embodied_ssl.evaluation.scores import Score, load_scores, save_scores
from embodied_ssl.keys import generator

SIDE = 96
FEW = {"ranked": (200, 100), "kept": (100, 30), "sampled": 16}
PYRAMID = Pyramid(**FEW, width=32, head_width=64)  # type: ignore[arg-type]
RECIPE = Recipe(
    steps=80, rate=0.02, warmup=10, drops=(56,), short_sides=(SIDE,), test_side=SIDE, long_side=SIDE, precise_batches=5
)
TINY = Detection("tiny", PYRAMID, RECIPE)
SHORT = dataclasses.replace(TINY, recipe=dataclasses.replace(RECIPE, steps=3))


def square(seed: str, number: int, count: int) -> tuple[np.ndarray, Boxes]:
    """Red (0) and blue (1) squares on grey noise, with their corners."""
    rng = generator("squares", seed, number)
    pixels = rng.integers(60, 140, (SIDE, SIDE, 3)).astype(np.uint8)
    corners, labels = np.zeros((count, 4), np.float32), rng.integers(0, 2, count)
    for place, label in enumerate(labels):
        side = int(rng.integers(20, 40))
        left, top = rng.integers(0, SIDE - side, 2)
        pixels[top : top + side, left : left + side] = (40, 40, 230) if label else (230, 40, 40)
        corners[place] = left, top, left + side, top + side
    return pixels, Boxes(corners, labels.astype(np.int64), np.zeros(count, bool))


def squares(train: int = 24, test: int = 24, misled: bool = False) -> Target:
    """A target of squares, every fifth picture empty; ``misled``: train boxes are those of the next picture."""
    made = [square("made", number, 0 if number % 5 == 4 else 1 + number % 2) for number in range(train + test)]
    boxes = [boxes for _, boxes in made]
    if misled:
        boxes = [*boxes[1:train], boxes[0], *boxes[train:]]
    source = LabelledPictures("squares", np.stack([pixels for pixels, _ in made]), boxes=boxes)
    return Target("squares", source, (Division(np.arange(train), np.arange(train, train + test)),), ("red", "blue"), "")


def build(name: str = "conv4", seed: int = 0) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BackboneConfig(name).build()


def job(target: Target, name: str = "conv4") -> Job:
    return Job(name, lambda: build(name), Preprocessing(), target, target.divisions[0], torch.device("cpu"))


def make_trainer(recipe: Recipe, detector: DetectorConfig = PYRAMID, name: str = "conv4") -> tuple[Trainer, Backbone]:
    backbone = build(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = detector.build(backbone, 2)
    return Trainer(model, backbone, squares().source, Preprocessing(), recipe, (0, "test"), silent), backbone


def value(scores: list[Score], metric: str = "AP50") -> float:
    return next(score.value for score in scores if score.metric == metric)


@pytest.fixture(scope="module")
def learnt() -> list[Score]:
    return TINY.run(job(squares()))


def test_it_learns_to_find_squares_and_not_from_wrong_boxes(learnt: list[Score]) -> None:
    assert value(learnt) > 0.55
    assert value(learnt) > value(learnt, "AP") > value(learnt, "AP75") > 0  # tighter boxes are harder
    assert value(TINY.run(job(squares(misled=True)))) < 0.2


def test_a_score_says_everything_and_can_be_stored(learnt: list[Score], tmp_path: Path) -> None:
    assert [score.metric for score in learnt] == ["AP50", "AP75", "AP"]
    for score in learnt:
        assert score.n == 24
        assert score.replicates is not None
        assert score.replicates.shape == (500,)
        assert score.interval is not None
        assert score.interval[0] < score.value < score.interval[1]
        assert score.std is None
    settings = learnt[0].settings
    assert settings["recipe"] == dataclasses.asdict(RECIPE)
    assert settings["detector"] == {"form": "Pyramid", **dataclasses.asdict(PYRAMID)}
    assert (settings["preset"], settings["kind"], settings["trials"]) == ("tiny", "area", 1)
    assert (settings["train_pictures"], settings["test_pictures"]) == (24, 24)
    assert settings["test_objects"] == sum(0 if n % 5 == 4 else 1 + n % 2 for n in range(24, 48))
    assert settings["skipped"]["train"]["count"] == 0
    assert settings["interval"] == "bootstrap, over test pictures; not over trainings"
    rows = [dataclasses.replace(score, dataset="squares") for score in learnt]
    save_scores(tmp_path / "scores.json", rows)
    again = load_scores(tmp_path / "scores.json")
    assert [json.dumps(row.to_json()) for row in again] == [json.dumps(row.to_json()) for row in rows]


def test_the_same_seed_gives_the_same_scores_and_leaves_torch_alone() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        results.append([score.to_json() for score in SHORT.run(job(squares(8, 8)))])
        assert torch.equal(before, torch.random.get_rng_state())
    assert results[0] == results[1]
    other = SHORT.run(dataclasses.replace(job(squares(8, 8)), seed=5))
    assert [score.value for score in other] != [row["value"] for row in results[0]]


def test_trials_are_averaged_and_their_spread_is_given() -> None:
    task = job(squares(10, 10))
    recipe = dataclasses.replace(RECIPE, steps=20)
    twice = dataclasses.replace(TINY, recipe=recipe, trials=2).run(task)
    once = dataclasses.replace(TINY, recipe=recipe).run(task)
    assert twice[0].std is not None
    first, both = once[0].value, twice[0].value
    second = 2 * both - first
    assert twice[0].std == pytest.approx(abs(first - second) / np.sqrt(2))
    assert twice[0].std > 0
    assert twice[0].settings["interval"] == "bootstrap, over test pictures; trials averaged"


def test_unreadable_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    files, boxes = [], []
    for number in range(8):
        pixels, found = square("files", number, 1)
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(encode(pixels))
        boxes.append(found)
    files[1].write_bytes(b"no picture")
    files[6].unlink()
    source = LabelledPictures("files", files, boxes=boxes)
    target = Target("files", source, (Division(np.arange(5), np.arange(5, 8)),), ("red", "blue"), "")
    scores = SHORT.run(job(target))
    skipped = scores[0].settings["skipped"]
    assert skipped["train"]["count"] == skipped["test"]["count"] == 1
    assert "1.png" in skipped["train"]["first"][0]
    assert "6.png" in skipped["test"]["first"][0]
    assert (scores[0].n, scores[0].settings["train_pictures"]) == (2, 4)


def test_a_part_without_boxes_and_a_divergence_are_said() -> None:
    target = squares(4, 6)
    empty = dataclasses.replace(target, divisions=(Division(np.arange(4), np.array([4, 9])),))
    with pytest.raises(UserError, match="none of the 2 readable test pictures of squares has a box"):
        SHORT.run(job(empty))
    wild = dataclasses.replace(SHORT, recipe=dataclasses.replace(RECIPE, rate=1e12, warmup=0, clip=0))
    with pytest.raises(UserError, match="lower the rate"):
        wild.run(job(target))


@pytest.mark.parametrize(("name", "strides"), [("conv4", [4, 8, 16]), ("resnet18", [4, 8, 16, 32]), ("alexnet", [8, 16, 32])])
def test_levels_and_anchors_follow_the_strides(name: str, strides: list[int]) -> None:
    backbone = build(name)
    before = weights_hash(backbone)
    levels = pyramid_levels(backbone)
    assert [level.stride for level in levels] == strides
    assert weights_hash(backbone) == before
    model = PYRAMID.build(backbone, 2).eval()
    assert model.rpn.anchor_generator.sizes == tuple((8.0 * stride,) for stride in (*strides, 2 * strides[-1]))
    picture = torch.zeros(1, 3, 128, 128)
    maps = model.backbone(picture)
    assert [128 // found.shape[-1] for found in maps.values()] == [*strides, 2 * strides[-1]]
    own = backbone(picture).maps
    for level in levels:
        assert own[level.stage].shape[1:] == (level.channels, 128 // level.stride, 128 // level.stride)
    if name == "resnet18":  # the deepest map of each stride: after layer1, not the stem
        assert [level.stage for level in levels] == ["layer1", "layer2", "layer3", "layer4"]


def test_c4_is_the_network_cut_before_its_last_stage() -> None:
    """A proposal of the whole picture, cut as fine as the map itself, gives the plain network's own vector."""
    backbone = build("resnet18").eval()
    model = C4(**FEW, extra_norm=True).build(backbone, 2).eval()  # type: ignore[arg-type]
    picture = torch.rand(1, 3, 224, 224)
    maps = model.backbone(picture)
    features = backbone(picture)
    assert torch.equal(maps, features.maps["layer3"])
    pool = model.roi_heads.box_roi_pool
    whole = pool({"0": maps}, [torch.tensor([[0.0, 0.0, 224.0, 224.0]])], [(224, 224)])
    torch.testing.assert_close(whole, maps)  # 14 x 14 cells on 14 x 14 places: aligned, nothing is mixed
    vector = model.roi_heads.box_head(whole).flatten(1)
    torch.testing.assert_close(vector * np.sqrt(1 + 1e-5), features.vector)  # a new norm divides by sqrt(1 + epsilon)
    assert model.rpn.anchor_generator.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)
    trained = {id(p) for p in model.parameters()}
    assert all(id(p) in trained for p in backbone.parameters())
    with pytest.raises(UserError, match="'conv4' is none"):
        C4().build(build("conv4"), 2)


@pytest.mark.parametrize(
    ("name", "detector"), [("resnet18", PYRAMID), ("resnet18", C4(**FEW, extra_norm=True)), ("alexnet", PYRAMID)]
)  # type: ignore[arg-type]
def test_every_weight_learns_in_every_form(name: str, detector: DetectorConfig) -> None:
    recipe = dataclasses.replace(RECIPE, steps=1, batch=2, batch_norm="batch", precise_batches=0)
    trainer, backbone = make_trainer(recipe, detector, name)
    trainer.fit(np.arange(4))
    still = [name for name, p in trainer.model.named_parameters() if p.grad is None]
    assert not still
    assert all(bool(torch.isfinite(p.grad).all()) for p in backbone.parameters() if p.grad is not None)


def norms_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Everything in BatchNorm layers."""
    found = {name: m for name, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)}
    return {f"{name}.{key}": v.clone() for name, m in found.items() for key, v in m.state_dict().items()}


def test_frozen_batch_norm_never_moves_in_training_and_convolutions_do() -> None:
    recipe = dataclasses.replace(RECIPE, steps=3, precise_batches=0)
    trainer, backbone = make_trainer(recipe)
    norms, weights = norms_of(backbone), backbone.net.conv1[0].weight.detach().clone()  # type: ignore[index, union-attr]
    trainer.fit(np.arange(20))
    for name, value in norms_of(backbone).items():
        assert torch.equal(value, norms[name]), name
    assert not torch.equal(weights, backbone.net.conv1[0].weight)  # type: ignore[index, union-attr]


def test_held_stages_stay_to_the_bit_under_either_policy() -> None:
    for policy in ("frozen", "batch"):
        recipe = dataclasses.replace(RECIPE, steps=2, freeze=2, batch_norm=policy)
        trainer, backbone = make_trainer(recipe)
        before = {name: v.clone() for name, v in backbone.net.state_dict().items()}
        trainer.fit(np.arange(20))
        moved = {name.split(".")[0] for name, v in backbone.net.state_dict().items() if not torch.equal(v, before[name])}
        assert moved == {"conv3", "conv4"}
    with pytest.raises(UserError, match="freeze is 9"):
        make_trainer(dataclasses.replace(RECIPE, freeze=9))


def test_precise_statistics_are_the_mean_over_batches() -> None:
    trainer, backbone = make_trainer(dataclasses.replace(RECIPE, precise_batches=3))
    convolution, norm = backbone.net.conv1[0], backbone.net.conv1[1]  # type: ignore[index, union-attr]
    means, variances = [], []
    with torch.no_grad():
        for batch in trainer._batches(np.arange(20), "statistics", 3):
            padded = trainer.model.transform(trainer._tensors(batch)[0])[0].tensors
            out = convolution(padded)
            means.append(out.mean((0, 2, 3)))
            variances.append(out.var((0, 2, 3)))
    trainer.estimate_statistics(np.arange(20))
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
    assert norm.momentum == 0.1


def test_boxes_move_with_the_pixels_when_resized_and_mirrored() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[8:24, 4:20] = 255
    boxes = Boxes(np.array([[4, 8, 20, 24]], np.float32), np.array([0]), np.array([False]))
    sample = {"picture": ArrayPicture(pixels), "boxes": boxes}
    for short, long, size in ((80, 1000, (80, 160)), (80, 120, (60, 120)), (20, 1000, (20, 40))):
        for mirrored in (False, True):
            shown = show(sample, short, long, mirrored)
            assert shown.pixels.shape == (*size, 3)
            rows, columns = np.nonzero(shown.pixels[..., 0] > 127)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(shown.boxes.corners[0], seen, atol=0.5)
            assert shown.scale == (size[1] / 80, size[0] / 40)
    assert show(sample, 20, 1000, True).boxes.corners[0].tolist() == [30, 4, 38, 12]


def test_found_boxes_are_in_the_stored_pictures_pixels() -> None:
    """Judged at twice the size, boxes come back at the size of the file."""
    trainer, _ = make_trainer(dataclasses.replace(RECIPE, test_side=2 * SIDE, long_side=2 * SIDE))
    trainer.model.roi_heads.score_thresh = 0.0
    corners = np.concatenate([found.corners for found in trainer.find(np.arange(4))])
    assert len(corners) > 20
    assert corners.min() >= 0
    assert SIDE * 0.9 < corners.max() <= SIDE


def test_published_settings() -> None:
    """The table of the reference sheet, C5."""
    moco = MOCO_C4.recipe
    assert isinstance(MOCO_C4.detector, C4)
    assert MOCO_C4.detector.extra_norm
    assert (moco.steps, moco.batch, moco.rate, moco.drops, moco.warmup) == (24_000, 16, 0.02, (18_000, 22_000), 100)
    assert (min(moco.short_sides), max(moco.short_sides), moco.test_side) == (480, 800, 800)
    assert (moco.freeze, moco.batch_norm, MOCO_C4.trials) == (0, "batch", 5)
    assert moco.precise_batches > 0
    rates = [moco.rate_at(step) for step in (0, 50, 100, 17_999, 18_000, 21_999, 22_000)]
    assert rates == pytest.approx([2e-5, 0.01001, 0.02, 0.02, 0.002, 0.002, 0.0002])
    goyal = GOYAL_FROZEN.recipe
    assert isinstance(GOYAL_FROZEN.detector, C4)
    assert not GOYAL_FROZEN.detector.extra_norm
    assert (goyal.steps, goyal.rate, goyal.drops, goyal.freeze, goyal.batch_norm) == (50_000, 0.002, (38_000,), 4, "frozen")
    assert isinstance(LAPTOP.detector, Pyramid)
    assert (LAPTOP.recipe.long_side, LAPTOP.recipe.batch, LAPTOP.recipe.mirrored) == (320, 4, True)
    assert (LAPTOP.name, LAPTOP.needs) == ("detection", "boxes")


def test_goyal_trains_only_from_the_head_on() -> None:
    detector = dataclasses.replace(GOYAL_FROZEN.detector, **FEW)  # type: ignore[arg-type]
    trainer, _ = make_trainer(dataclasses.replace(RECIPE, freeze=4, precise_batches=0), detector, "resnet18")
    parts = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert parts == {"rpn", "roi_heads"}
    held = list(trainer.model.backbone.parameters())
    assert held
    assert not any(p.requires_grad for p in held)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        Recipe(steps=0)
    with pytest.raises(UserError, match="there is frozen, batch"):
        Recipe(batch_norm="sync")  # type: ignore[arg-type]
