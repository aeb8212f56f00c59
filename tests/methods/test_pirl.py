"""PIRL: with weight 0 it is instance discrimination; the order of the tiles reaches the head, and never the answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.core import Batch, Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.instance_discrimination import InstanceDiscriminationConfig
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.methods.contrastive.pirl import PIRL, PIRLConfig, PuzzleHead
from embodied_ssl.methods.contrastive.pirl_views import CropAndPuzzle, CropAndTurn, Puzzle
from embodied_ssl.methods.image.rotation import four_turns
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain
from embodied_ssl.views.colour import ColourChange

PLAIN = ColourChange(change=0.0, grey=0.0)
BACKBONE = BackboneConfig("conv4")


def config(**settings: Any) -> PIRLConfig:
    small = {"size": 16, "puzzle": Puzzle(cell=12, tile=10), "memory": Memory(out=6, negatives=8)}
    return PIRLConfig(**{**small, **settings})


def built(**settings: Any) -> PIRL:
    torch.manual_seed(0)
    method = config(**settings).build(BACKBONE.build())
    method.memory.fit(30, generator(0))
    return method


def numbered() -> ArrayPicture:
    """Every pixel another colour."""
    rows, columns = np.mgrid[:60, :60]
    return ArrayPicture(np.stack([4 * rows, 4 * columns, 2 * (rows + columns)], axis=-1).astype(np.uint8))


def batch_of(method: PIRL, count: int = 4) -> Batch:
    made = generator(0).integers(0, 256, (count, 60, 60, 3), np.uint8)
    drawn = [method.view.draw({"picture": ArrayPicture(pixels)}, generator(i)) for i, pixels in enumerate(made)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    return method.view.render(batch | {"index": torch.arange(count)})


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_pirl_lambda_0_equals_npid(tmp_path: Path) -> None:
    """Three steps of training with the same first weights: losses, weights, rows and Z are the same bits."""
    photos = tiny_run("pirl_photos", tmp_path / "data")
    memory = Memory(out=16, negatives=8)
    methods = {
        "pirl": PIRLConfig(size=32, puzzle=Puzzle(cell=12, tile=10), weight=0.0, memory=memory),
        "npid": InstanceDiscriminationConfig(size=32, colour=PIRLConfig().colour, memory=memory),
    }
    ends = {}
    for name, method in methods.items():
        pretrain([dataclasses.replace(photos, method=method)], tmp_path / name, Options(device="cpu", workers=0))
        ends[name] = load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["learner"]
    extra = {name for name in ends["pirl"] if ".transformed." in name}
    assert ends["pirl"].keys() - extra == ends["npid"].keys()
    for name, value in ends["npid"].items():
        assert torch.equal(value, ends["pirl"][name]), name


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("form", [{"loss": "nce"}, {"loss": "softmax"}])
def test_the_loss_is_the_weighted_sum_of_both_branches(weight: float, form: dict[str, Any]) -> None:
    method = built(weight=weight, memory=Memory(out=6, negatives=8, **form)).train()
    method.memory.log_partition = torch.tensor([3.0])  # else each alone would be its own first branch
    made = torch.Generator().manual_seed(0)
    vectors = {n: torch.nn.functional.normalize(torch.randn(4, 6, generator=made), dim=1) for n in ("crop", "transformed")}
    losses = []
    for branches in ([(1.0, vectors["crop"])], [(1.0, vectors["transformed"])]):
        torch.manual_seed(3)  # the same drawn rows
        losses.append(method.memory.compare(branches, torch.arange(4)).loss)
    torch.manual_seed(3)
    both = method.objective(vectors | {"index": torch.arange(4)}).loss
    torch.testing.assert_close(both, (1 - weight) * losses[0] + weight * losses[1])


def test_the_crop_alone_moves_the_rows() -> None:
    backbone, method = BACKBONE.build(), built().train()
    batch = batch_of(method)
    other = batch | {"tiles": torch.randn_like(batch["tiles"])}
    rows = []
    for one in (batch, other):
        again = built().train()
        again.after_step(backbone, again(backbone, one).carry, 0.5)
        rows.append(again.memory.bank.rows)
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], method.memory.bank.rows)


def test_pirl_permuting_the_patches_changes_the_head_s_output_and_not_the_target() -> None:
    backbone, method = BACKBONE.build().eval(), built().train()
    batch = batch_of(method)
    order = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
    shuffled = batch | {"tiles": batch["tiles"][:, order]}
    before, after = (method.look_at_transformed(backbone, one).detach() for one in (batch, shuffled))
    assert float((before - after).abs().amax(1).min()) > 1e-3
    steps = [method(backbone, one) for one in (batch, shuffled)]
    assert torch.equal(steps[0].carry["index"], steps[1].carry["index"])
    assert torch.equal(steps[0].carry["vectors"], steps[1].carry["vectors"])


@pytest.mark.parametrize("hidden", [0, 7])
def test_the_puzzle_s_head_joins_tiles_in_their_order(hidden: int) -> None:
    head = PuzzleHead(5, 9, hidden, 4).eval()
    vectors = torch.randn(2, 9, 5)
    slow = torch.stack([head.joined(torch.cat([head.tile(tile[None])[0] for tile in one])) for one in vectors])
    torch.testing.assert_close(head(vectors), slow)


def test_each_tile_goes_through_the_network_by_itself() -> None:
    backbone, method = BACKBONE.build().eval(), built()
    batch = batch_of(method)
    changed = batch["tiles"].clone()
    changed[:, 4] = 0
    seen = []
    head = method.transformed
    head.register_forward_hook(lambda module, given, found: seen.append(given[0]))
    for tiles in (batch["tiles"], changed):
        method.look_at_transformed(backbone, batch | {"tiles": tiles})
    same = [torch.equal(seen[0][:, t], seen[1][:, t]) for t in range(9)]
    assert same == [t != 4 for t in range(9)]


# --- the views --------------------------------------------------------------------------------------------------------


def test_every_tile_lies_in_its_cell_and_the_order_says_which() -> None:
    """On a picture whose colours tell the place: in slot s lies tile order[s], mirrored or not."""
    view = built(puzzle=Puzzle(cell=20, tile=14, area=(1.0, 1.0), colour=PLAIN)).view
    assert isinstance(view, CropAndPuzzle)
    picture, mirrored, corners = ArrayPicture(numbered().take((0, 0, 60, 60), (60, 60))), set(), set()
    for seed in range(40):
        drawn = view.draw({"picture": picture}, generator(seed))
        assert sorted(drawn["order"]) == list(range(9))
        for tile, place in zip(drawn["tiles"], drawn["order"], strict=True):
            top, lefts = tile[0, 0, 0] / 4, tile[0, :, 1] / 4
            left = lefts.min()
            row, column = divmod(int(place), 3)
            assert 20 * row <= top <= 20 * row + 6
            assert 20 * column <= left <= 20 * column + 6
            corners.add((top - 20 * row, left - 20 * column))
            mirrored.add(bool(lefts[0] > lefts[-1]))
    assert mirrored == {True, False}
    assert len(corners) == 49  # every place in the cell


def test_all_orders_are_drawn() -> None:
    view = built().view
    first = [int(view.draw({"picture": numbered()}, generator(i))["order"][0]) for i in range(120)]
    assert set(first) == set(range(9))


def test_tiles_change_colour_each_by_itself() -> None:
    view = built(puzzle=Puzzle(cell=12, tile=10, colour=ColourChange(change=1.0))).view
    drawn = view.draw({"picture": numbered()}, generator(0))
    assert drawn["colours"].shape == (9, 6)
    assert len(np.unique(drawn["colours"][:, 0])) == 9
    plain = built(puzzle=Puzzle(cell=12, tile=10, colour=PLAIN)).view
    batch = {n: torch.from_numpy(v)[None] for n, v in plain.draw({"picture": numbered()}, generator(0)).items()}
    from embodied_ssl.views.pixels import network_input

    torch.testing.assert_close(plain.render(batch)["tiles"], network_input(batch["tiles"]), atol=1e-5, rtol=0)


def test_blur_reaches_the_tiles() -> None:
    noise = ArrayPicture(generator(0).integers(0, 256, (60, 60, 3), np.uint8))
    spread = []
    for share in (0.0, 1.0):
        colour = dataclasses.replace(PLAIN, blur=share, sigma=(2.0, 2.0))
        view = built(puzzle=Puzzle(cell=24, tile=20, colour=colour)).view
        batch = {n: torch.from_numpy(v)[None] for n, v in view.draw({"picture": noise}, generator(0)).items()}
        spread.append(float(view.render(batch)["tiles"].std()))
    assert spread[1] < 0.8 * spread[0]


def test_the_turned_crop_is_turned_as_its_number_says() -> None:
    method = built(transform="rotation")
    assert isinstance(method.view, CropAndTurn)
    batch = batch_of(method, 12)
    assert set(batch["turn"].tolist()) == {0, 1, 2, 3}
    for number, turn in enumerate(batch["turn"].tolist()):
        assert torch.equal(batch["turned"][number], four_turns(batch["crop1"])[number, turn])
    assert not torch.equal(batch["crop0"], batch["crop1"])


def test_the_rotation_form_looks_at_the_turned_crop() -> None:
    backbone, method = BACKBONE.build().eval(), built(transform="rotation").train()
    batch = batch_of(method)
    found = method.embed(backbone, batch)
    expected = torch.nn.functional.normalize(method.transformed(backbone(batch["turned"]).vector), dim=1)
    torch.testing.assert_close(found["transformed"], expected)


# --- held-out figures and drawings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["jigsaw", "rotation"])
def test_held_out_pictures_are_found_by_crop_and_by_transformed_picture(transform: str) -> None:
    backbone, method = BACKBONE.build().eval(), built(transform=transform).eval()
    batch = batch_of(method) | {"index": torch.tensor([500, 3, 40, 7])}
    step = method(backbone, batch)
    figures = method.score(step.answers)
    assert set(figures) == {"retrieval", "chance_retrieval", "transformed_retrieval", "chance_transformed_retrieval"}
    assert figures["chance_transformed_retrieval"] == 0.25
    same = {name: torch.eye(6)[:4] for name in ("crop", "whole", "transformed")} | {"index": batch["index"]}
    assert method.score(same)["transformed_retrieval"] == 1
    wrong = same | {"transformed": torch.eye(6)[[1, 2, 3, 0]]}
    assert method.score(wrong)["transformed_retrieval"] == 0
    captions = [caption for caption, _ in method.figure(batch, step)]
    name = "puzzle" if transform == "jigsaw" else "turned crop"
    assert [captions[0], captions[2]] == ["a crop", f"a {name}"]
    assert captions[3].startswith(f"the whole picture nearest to the {name}: ")


def test_a_puzzle_is_drawn_as_the_network_gets_it() -> None:
    method = built(puzzle=Puzzle(cell=12, tile=10, colour=PLAIN))
    batch = batch_of(method)
    view = method.view
    assert isinstance(view, CropAndPuzzle)
    shown: Tensor = view.laid_out(batch)
    assert shown.shape == (4, 3, 34, 34)
    from embodied_ssl.views.pixels import unnormalise

    torch.testing.assert_close(shown[:, :, :10, :10], unnormalise(batch["tiles"][:, 0]))
    torch.testing.assert_close(shown[:, :, 24:, 24:], unnormalise(batch["tiles"][:, 8]))


@pytest.mark.parametrize(("transform", "loss"), [("jigsaw", "softmax"), ("rotation", "nce")])
def test_a_dozen_pictures_are_learnt_by_heart(transform: str, loss: str) -> None:
    """Crop and transformed picture draw near to their own picture's row and to each other, and far from other rows."""
    torch.manual_seed(0)
    memory = Memory(out=16, loss=loss, negatives=12, temperature=0.2)  # type: ignore[arg-type]
    puzzle = Puzzle(cell=12, tile=10, colour=PLAIN)
    method = config(transform=transform, area=(0.6, 1.0), colour=PLAIN, puzzle=puzzle, memory=memory).build(BACKBONE.build())
    method.memory.fit(12, generator(0))
    learner = Learner(BACKBONE.build(), method).train()
    optimizer = torch.optim.Adam(learner.parameters(), 3e-3)
    small = generator(1).integers(0, 256, (12, 6, 6, 3), np.uint8).repeat(10, axis=1).repeat(10, axis=2)
    for number in range(40):
        drawn = [method.view.draw({"picture": ArrayPicture(pixels)}, generator(number, i)) for i, pixels in enumerate(small)]
        batch = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
        step = learner(method.view.render(batch | {"index": torch.arange(12)}))
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        method.after_step(learner.backbone, step.carry, number / 40)
    assert step.metrics["accuracy"].item() > 0.8
    assert step.metrics["chance_accuracy"].item() < 0.15
    assert step.metrics["transformed_cosine"] > step.metrics["other_cosine"] + 0.2


# --- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 1}, "grid is 1; give at least 2"),
        ({"tile": 40, "cell": 32}, "tile is 40 and cell 32; give a tile of at least 8 pixels that fits its cell"),
        ({"tile": 4}, "tile is 4 and cell 32; give a tile of at least 8"),
        ({"area": (0.9, 0.5)}, "area is 0.9,0.5"),
    ],
)
def test_puzzles_that_cannot_be_cut_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Puzzle(**settings)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(UserError, match=r"weight is 1\.5; give the transformed picture's share of the loss, 0 to 1"):
        PIRLConfig(weight=1.5)
    with pytest.raises(UserError, match="transform is 'blur'; give jigsaw or rotation"):
        PIRLConfig("blur")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="temperature is 0"):
        PIRLConfig(memory=Memory(temperature=0))


def test_tiles_larger_than_the_picture_are_skipped_by_name() -> None:
    view = built().view
    with pytest.raises(BadItem, match=r"is 20 x 90 pixels \(height, width\), too few to see anything; 24 are needed"):
        view.draw({"picture": ArrayPicture(np.zeros((20, 90, 3), np.uint8))}, generator(0))


def test_a_tile_too_small_for_the_backbone_is_refused() -> None:
    with pytest.raises(UserError, match=r"densenet121.*29.*28|28.*densenet121.*29"):
        PIRLConfig().build(BackboneConfig("densenet121").build())
