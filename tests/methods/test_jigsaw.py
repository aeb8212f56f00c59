"""Jigsaw: order kept and restored, no trace of the order in what each tile gives, foreign tiles from elsewhere."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Batch, Example, Step
from embodied_ssl.datasets.io.pictures import ArrayPicture, FilePicture, encode
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.image.jigsaw import Jigsaw, JigsawConfig, Puzzle, with_foreign
from embodied_ssl.methods.image.permutations import spread_out
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.marks import RIGHT, WRONG
from embodied_ssl.views.pixels import to_float

SMALL = JigsawConfig(cell=16, tile=12, permutations=20, per_tile=16, hidden=24)


def picture(seed: int = 0, size: tuple[int, int] = (64, 80)) -> ArrayPicture:
    return ArrayPicture(generator(seed, "picture").integers(0, 256, (*size, 3), np.uint8))


def drawn(config: JigsawConfig, count: int = 4) -> list[Example]:
    return [Puzzle(config).draw({"picture": picture(i)}, generator(i, "draw")) for i in range(count)]


def stacked(examples: list[Example]) -> Batch:
    return {name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]}


def rendered(config: JigsawConfig, count: int = 4, channels: int = 3) -> Batch:
    return Puzzle(config, channels).render(stacked(drawn(config, count)))


def built(config: JigsawConfig = SMALL, channels: int = 3) -> tuple[nn.Module, Jigsaw]:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4", channels=channels).build()
    method = config.build(backbone)
    method.fit(None, generator(0, "fit"))  # type: ignore[arg-type]  # the data are not asked
    return backbone, method


def test_a_head_of_zeros_knows_nothing() -> None:
    """The loss is log N and accuracy 1 / N, when all puzzles look alike."""
    backbone, method = built()
    last = method.answer[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    step = method(backbone, rendered(SMALL))
    assert step.loss.item() == pytest.approx(math.log(20), abs=1e-6)
    scores = method.score(step.answers)
    assert scores["chance_accuracy"] == 1 / 20


@pytest.mark.parametrize("training", [False, True])
def test_shuffling_what_tiles_gave_is_shuffling_the_tiles(training: bool) -> None:
    """Also in training: BatchNorm up to there has its statistics over all tiles, which do not depend on their order."""
    backbone, method = built()
    backbone.train(training)
    method.train(training)
    tiles = rendered(SMALL)["tiles"]
    orders = method.permutations[torch.tensor([3, 7, 11, 19])]
    shuffled_before = tiles[torch.arange(4)[:, None], orders]
    straight = torch.arange(9).repeat(4, 1)
    after = method.solve(method.look(backbone, tiles), orders[:, None])
    before = method.solve(method.look(backbone, shuffled_before), straight[:, None])
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_what_a_tile_gives_depends_on_that_tile_alone() -> None:
    """The context-free network, in eval mode: another tile in slot 4 changes what slot 4 gives and nothing else."""
    backbone, method = built()
    backbone.eval()
    method.eval()
    tiles = rendered(SMALL)["tiles"]
    other = tiles.clone()
    other[:, 4] = tiles[:, 4].flip(-1)
    first, second = method.look(backbone, tiles), method.look(backbone, other)
    changed = (first - second).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [slot == 4 for slot in range(9)]


def test_several_puzzles_of_a_picture_are_as_many_single_ones() -> None:
    """From one pass through the backbone the same answers as from one pass each."""
    config = dataclasses.replace(SMALL, puzzles=3)
    backbone, method = built(config)
    backbone.eval()
    method.eval()
    batch = rendered(config)
    assert all(len(set(row)) == 3 for row in batch["label"].tolist()), "different permutations of one picture"
    together = method(backbone, batch)
    assert together.answers["guess"].shape == (4, 3)
    alone = [method(backbone, {**batch, "label": batch["label"][:, k : k + 1]}) for k in range(3)]
    assert together.loss.item() == pytest.approx(np.mean([step.loss.item() for step in alone]), abs=1e-5)
    assert torch.equal(together.answers["guess"], torch.cat([step.answers["guess"] for step in alone], dim=1))


class Sees(nn.Module):
    """A backbone that gives each tile's mean red."""

    def forward(self, tiles: Tensor) -> Any:
        return type("Features", (), {"vector": tiles[:, 0].mean(dim=(1, 2))[:, None]})


def test_permutation_p_shows_tile_p_s_in_slot_s() -> None:
    _, method = built()
    tiles = torch.arange(9.0).view(1, 9, 1, 1, 1).expand(1, 9, 3, 12, 12)
    method.tile = nn.Sequential(nn.Identity())
    shown = []
    method.answer = nn.Sequential(nn.Identity())
    method.answer.register_forward_hook(lambda module, given, out: shown.append(given[0]))
    method.solve(method.look(Sees(), tiles), method.permutations[torch.tensor([[5, 6]])])
    assert shown[0].long().tolist() == method.permutations[[5, 6]].tolist()


def test_unpermuting_by_the_right_answer_restores_the_picture() -> None:
    _, method = built()
    batch = rendered(SMALL)
    shuffled, restored = method.figure(batch, Step(torch.zeros(()), answers={"guess": batch["label"]}))
    whole = method.view.panels(batch)[0][1]
    for cell in range(9):
        inside = (..., slice(cell // 3 * 16 + 2, cell // 3 * 16 + 10), slice(cell % 3 * 16 + 2, cell % 3 * 16 + 10))
        assert torch.equal(restored[1][inside], whole[inside])
    assert not torch.equal(shuffled[1], whole)


def test_tiles_are_framed_right_or_wrong_one_by_one() -> None:
    """After a wrong guess, those of the nine tiles are green that lie where they belong."""
    _, method = built()
    batch = rendered(SMALL)
    guess = (batch["label"] + 1) % 20
    restored = method.figure(batch, Step(torch.zeros(()), answers={"guess": guess}))[1][1]
    truth, guessed = method.permutations[batch["label"][:, 0]], method.permutations[guess[:, 0]]
    for example in range(4):
        for slot in range(9):
            row, column = divmod(int(guessed[example, slot]), 3)
            rim = restored[example, :, 16 * row, 16 * column]
            right = bool(truth[example, slot] == guessed[example, slot])
            assert rim.tolist() == pytest.approx(RIGHT if right else WRONG)


def test_scores_beside_their_chance() -> None:
    """Guessing evenly among the permutations: closed form against drawing every pair."""
    _, method = built()
    pairs = torch.cartesian_prod(torch.arange(20), torch.arange(20))
    scores = method.score({"label": pairs[:, :1].float(), "guess": pairs[:, 1:].float()})
    assert scores["accuracy"] == pytest.approx(scores["chance_accuracy"]) == pytest.approx(1 / 20)
    assert scores["tiles_in_place"] == pytest.approx(scores["chance_tiles_in_place"])
    known = method.score({"label": pairs[:, :1], "guess": pairs[:, :1]})
    assert known["accuracy"] == known["tiles_in_place"] == 1


def test_the_permutations_found_are_in_the_checkpoint() -> None:
    _, method = built()
    assert torch.equal(method.state_dict()["permutations"], torch.from_numpy(spread_out(20, 9, generator(0, "fit"))))
    found = method.describe()
    assert found["mean_distance"] == found["best_mean_distance"] == 8.3842, "9 (1 - 26 / 380): two values thrice, seven twice"
    _, fresh = built(dataclasses.replace(SMALL, distance="least"))
    assert fresh.describe()["least_distance"] == 7
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.permutations, method.permutations)


def test_a_permutation_file_is_used_and_one_of_another_shape_refused(tmp_path: Path) -> None:
    rows = spread_out(20, 9, generator(4))
    np.save(tmp_path / "mine.npy", rows)
    _, method = built(dataclasses.replace(SMALL, file=str(tmp_path / "mine.npy")))
    assert method.permutations.tolist() == rows.tolist()
    with pytest.raises(UserError, match=r"is 20 x 9; expected is 21 x 9.*--set method.permutations=20"):
        built(dataclasses.replace(SMALL, file=str(tmp_path / "mine.npy"), permutations=21))
    with pytest.raises(UserError, match=r"is 20 x 9; expected is 20 x 4"):
        built(dataclasses.replace(SMALL, file=str(tmp_path / "mine.npy"), grid=2))


def test_every_tile_is_standardised_by_itself() -> None:
    tiles = rendered(SMALL)["tiles"]
    torch.testing.assert_close(tiles.mean(dim=(-2, -1)), torch.zeros(4, 9, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(tiles.square().mean(dim=(-3, -2, -1)), torch.ones(4, 9), rtol=1e-4, atol=1e-4)


def test_grey_puzzles_are_grey_in_their_share() -> None:
    config = dataclasses.replace(SMALL, grey=0.3, shift=2)
    examples = drawn(config, 300)
    assert np.mean([one["grey"] for one in examples]) == pytest.approx(0.3, abs=0.08)
    batch = Puzzle(config).render(stacked(examples))
    spread = (batch["tiles"] - batch["tiles"].mean(dim=2, keepdim=True)).abs().amax(dim=(1, 2, 3, 4))
    assert torch.equal(spread < 1e-5, batch["grey"])


def test_one_channel_is_luminance() -> None:
    backbone, method = built(channels=1)
    batch = rendered(SMALL, channels=1)
    assert batch["tiles"].shape == (4, 9, 1, 12, 12)
    assert torch.isfinite(method(backbone, batch).loss)
    assert method.figure(batch, method(backbone, batch))[1][1].shape[1] == 3


def test_constant_pictures_do_no_harm() -> None:
    grey = ArrayPicture(np.full((64, 64, 3), 128, np.uint8))
    batch = Puzzle(SMALL).render(stacked([Puzzle(SMALL).draw({"picture": grey}, generator(0))] * 2))
    assert (batch["tiles"] == 0).all()
    backbone, method = built()
    assert torch.isfinite(method(backbone, batch).loss)


def test_small_pictures_are_magnified_and_too_small_ones_named(tmp_path: Path) -> None:
    """A cell must hold 8 pixels of the original: 3 * 8 / 0.6 = 40 on the shorter side."""
    assert Puzzle(SMALL).draw({"picture": picture(size=(40, 300))}, generator(0))["cut"].shape == (9, 12, 12, 3)
    path = tmp_path / "thumb.png"
    path.write_bytes(encode(picture(size=(39, 300)).pixels))
    with pytest.raises(BadItem, match=r"thumb.png: is 300 x 39 pixels; 9 tiles need at least 40 on the shorter side"):
        Puzzle(SMALL).draw({"picture": FilePicture(path)}, generator(0))


FOREIGN = dataclasses.replace(SMALL, foreign=(1, 2), distance="least", grey=0.0)


def test_one_or_two_tiles_are_foreign_in_any_place() -> None:
    foreign = np.stack([one["foreign"] for one in drawn(FOREIGN, 400)])
    counts = (foreign >= 0).sum(axis=1)
    assert set(counts.tolist()) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.5, abs=0.1)
    assert (foreign >= 0).mean(axis=0) == pytest.approx(1.5 / 9, abs=0.06)
    assert set(foreign[foreign >= 0].tolist()) == set(range(9))
    assert (np.stack([one["foreign"] for one in drawn(SMALL, 20)]) == -1).all()


def test_foreign_tiles_are_those_of_the_next_picture() -> None:
    examples = stacked(drawn(FOREIGN))
    tiles = to_float(examples["cut"])
    mixed = with_foreign(tiles, examples["foreign"])
    for one in range(4):
        for slot in range(9):
            cell = int(examples["foreign"][one, slot])
            expected = tiles[one, slot] if cell < 0 else tiles[(one + 1) % 4, cell]
            assert torch.equal(mixed[one, slot], expected)
    assert torch.equal(with_foreign(tiles[:1], examples["foreign"][:1]), tiles[:1]), "alone there is no other"


def test_a_foreign_tile_is_as_grey_as_the_puzzle_it_lies_in() -> None:
    examples = stacked(drawn(FOREIGN))
    examples["grey"] = torch.tensor([True, False, True, False])
    tiles = Puzzle(FOREIGN).render(examples)["tiles"]
    spread = (tiles - tiles.mean(dim=2, keepdim=True)).abs().amax(dim=(1, 2, 3, 4))
    assert torch.equal(spread < 1e-5, examples["grey"])


def test_sets_too_near_for_foreign_tiles_are_refused(tmp_path: Path) -> None:
    """Permutations that differ in two tiles only cannot be told apart when those two are foreign."""
    rows = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0]])
    np.save(tmp_path / "near.npy", rows)
    near = JigsawConfig(grid=2, permutations=3, file=str(tmp_path / "near.npy"), foreign=(0, 2))
    with pytest.raises(UserError, match=r"two permutations differ in 2 tiles only, so with 2 foreign tiles"):
        built(near)
    built(dataclasses.replace(near, foreign=(0, 1)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": 1}, "grid is 1"),
        ({"tile": 40}, "tile is 40 and cell 16"),
        ({"tile": 4}, "tile is 4 and cell 16"),
        ({"share": (0.9, 0.5)}, "share is 0.9,0.5"),
        ({"shift": -1}, "shift is -1"),
        ({"grey": 1.5}, "grey 1.5"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"permutations": 1}, "permutations is 1; of 9 tiles give 2 to 362880"),
        ({"grid": 2, "permutations": 25}, "permutations is 25; of 4 tiles give 2 to 24"),
        ({"puzzles": 21}, "puzzles is 21; give 1 to 20"),
        ({"foreign": (2, 1)}, "foreign is 2,1"),
        ({"foreign": (0, 8)}, "foreign is 0,8.*of 9 at most 7"),
    ],
)
def test_settings_that_make_no_puzzle_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        dataclasses.replace(SMALL, **changes)


def test_answers_can_be_asked_to_agree() -> None:
    """With a disturbance that changes nothing, disturbed tiles (foreign ones too) are answered alike: the term is 0."""
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build().eval()
    nothing = ColourChange(change=0.0, grey=0.0)
    consistent = ConsistentConfig(FOREIGN, disturbance=nothing).build(backbone).eval()
    consistent.fit(None, generator(0, "fit"))  # type: ignore[arg-type]
    examples = [consistent.view.draw({"picture": picture(i)}, generator(i, "draw")) for i in range(4)]
    step = consistent(backbone, consistent.view.render(stacked(examples)))
    assert step.metrics["consistency"].item() == pytest.approx(0, abs=1e-6)
    assert step.loss.item() == pytest.approx(step.metrics["task_loss"].item())


def test_places_read_the_map_of_a_tile() -> None:
    backbone, method = built(dataclasses.replace(SMALL, tile=16, places=2, hidden=0))
    assert method.look(backbone, torch.randn(2, 9, 3, 16, 16)).shape == (2, 9, 16)
    first = method.tile[0]
    assert isinstance(first, nn.Linear)
    assert first.in_features == 64 * 4


def test_a_backbone_for_which_tiles_are_too_small_is_refused_at_once() -> None:
    """What the network is shown is a tile, not the crop that the tiles are cut from."""
    backbone = BackboneConfig("conv4").build()
    backbone.smallest = 32
    with pytest.raises(UserError, match=r"needs pictures of at least 32 pixels a side, these have 12"):
        SMALL.build(backbone)
