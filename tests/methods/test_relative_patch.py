"""Relative patches: eight sides, gaps and jitter, what small pictures get, and answers that belong to their pairs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from made_up import pictures
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture, FilePicture
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.held_out import render
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.methods.image.patch_grids import SIDES, PatchGrids
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig, eight_cells
from embodied_ssl.views.marks import RIGHT, WRONG


def view_of(**settings: Any) -> PatchGrids:
    view = RelativePatchConfig(**settings).build(BackboneConfig("conv4").build()).view
    assert isinstance(view, PatchGrids)
    return view


def noise_picture(height: int = 120, width: int = 160, seed: int = 0) -> ArrayPicture:
    return ArrayPicture(generator(seed).integers(0, 256, (height, width, 3), np.uint8), f"picture {seed}")


# The eight sides


def test_relative_loc_labels_of_opposite_sides_sum_to_7() -> None:
    for place, (down, across) in enumerate(SIDES):
        assert SIDES[7 - place] == (-down, -across)
    assert SIDES == ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@pytest.mark.parametrize(("grid", "grids"), [((2, 2), 1), ((2, 3), 2), ((3, 3), 1), ((4, 2), 3)])
def test_every_neighbour_is_paired_in_both_orders_once(grid: tuple[int, int], grids: int) -> None:
    """Against places drawn: patches that lie side by side, and no others, are asked; turned round, the answer is the opposite."""
    view = view_of(size=16, grid=grid, grids=grids, jitter=0.0)
    pairs, place = view.pairs()
    asked = {(int(a), int(b)): int(p) for (a, b), p in zip(pairs, place, strict=True)}
    assert len(asked) == len(pairs)
    drawn = view.draw({"picture": noise_picture(200, 200)}, generator(0))
    per_grid, spacing = grid[0] * grid[1], view.size + view.gap
    for a in range(grids * per_grid):
        for b in range(grids * per_grid):
            step = (drawn["corner"][b] - drawn["corner"][a]) / spacing
            neighbours = a // per_grid == b // per_grid and a != b and np.abs(step).max() <= 1
            assert ((a, b) in asked) == neighbours
            if neighbours:
                assert SIDES[asked[a, b]] == tuple(step)
                assert asked[a, b] + asked[b, a] == 7


# Where patches lie


def test_relative_loc_gaps_are_34_to_62_pixels_at_the_papers_scale() -> None:
    """Away from the picture's edges: the difference of two draws from -7..7, a triangle about 48, even in both directions."""
    view = view_of(size=96, grid=(3, 3))
    assert (view.gap, view.jitter) == (48, 7)
    assert view.pixels == pytest.approx((150_000, 450_000))
    rng = generator(0)
    grids = np.stack([view.lay((900, 900), rng) for _ in range(3000)]).reshape(-1, 3, 3, 2)
    for axis in (0, 1):  # down, then across
        neighbours = np.diff(grids[..., axis], axis=1 + axis)
        inside = np.take(grids[..., axis], [0, 1], axis=1 + axis)  # of the first of each two, away from the edges
        gaps = (neighbours - 96)[(inside > 8) & (inside + neighbours < 900 - 96 - 8)]
        assert set(gaps.tolist()) == set(range(34, 63))
        triangle = np.array([15 - abs(gap - 48) for gap in range(34, 63)]) / 225
        share = np.bincount(gaps - 34, minlength=29) / len(gaps)
        np.testing.assert_allclose(share, triangle, atol=0.006)


def test_every_move_of_a_patch_is_as_likely_as_any_other() -> None:
    """In a picture so large that hardly any patch meets its edge."""
    view, rng = view_of(size=96), generator(0)
    starts = np.stack([view.lay((5000, 5000), rng) for _ in range(2500)])
    moves = starts[:, 3] - starts[:, 0] - 144  # two moves' difference along both axes, independent of each other
    assert np.abs(moves).max() == 14
    assert abs(moves.mean()) < 0.15
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.05
    assert moves.var(axis=0) == pytest.approx([2 * (15**2 - 1) / 12] * 2, rel=0.06)  # two even draws of 15 values


def test_patches_at_the_edge_are_kept_inside() -> None:
    view = view_of(size=32)
    need = view.extent(2)
    assert need == 2 * 32 + view.gap + view.jitter
    corners = np.concatenate([view.lay((need, need + 1), generator(seed)) for seed in range(50)])
    assert corners.min() == 0
    assert (corners + 32).max(axis=0).tolist() == [need, need + 1]  # some would have left it
    least = np.diff(corners.reshape(-1, 2, 2, 2)[..., 0], axis=1).min()
    assert least >= 32 + view.gap - 2 * view.jitter  # and none comes nearer to another


def test_patches_are_the_pixels_at_their_corners() -> None:
    view = view_of(size=24, grids=3, coarse=0.0, flip=False)
    for seed in range(4):
        picture = noise_picture(100 + 10 * seed, 140)
        drawn = view.draw({"picture": picture}, generator(seed))
        resized = picture.take((0, 0, *picture.size), tuple(drawn["resized"].tolist()))
        for patch, (top, left) in zip(drawn["pixels"], drawn["corner"], strict=True):
            assert np.array_equal(patch, resized[top : top + 24, left : left + 24])


def test_half_of_the_pictures_are_mirrored_and_the_sides_are_those_of_the_mirror_image() -> None:
    """Columns that brighten to the right: of two patches side by side, the right one is brighter, or in all pairs darker."""
    ramp = np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (120, 160, 3)).copy()
    view = view_of(size=24, coarse=0.0, jitter=0.0)
    mirrored = []
    for seed in range(40):
        level = view.draw({"picture": ArrayPicture(ramp)}, generator(seed))["pixels"].mean(axis=(1, 2, 3)).reshape(-1, 2, 2)
        brighter = level[:, :, 1] > level[:, :, 0]
        assert brighter.all() or not brighter.any()
        mirrored.append(not brighter.any())
    assert 10 <= sum(mirrored) <= 30
    still = view_of(size=24, coarse=0.0, jitter=0.0, flip=False).draw({"picture": ArrayPicture(ramp)}, generator(0))
    assert (np.diff(still["pixels"].mean(axis=(1, 2, 3)).reshape(-1, 2, 2), axis=2) > 0).all()


# How large pictures become


def test_pictures_are_resized_to_the_papers_areas_and_keep_their_shape() -> None:
    view = view_of(size=96)
    areas = []
    for seed in range(200):
        height, width = view.resized(noise_picture(375, 500), generator(seed))
        areas.append(height * width)
        assert height / width == pytest.approx(375 / 500, abs=0.01)
    assert 149_000 < min(areas) < 170_000
    assert 430_000 < max(areas) < 452_000
    assert np.mean(areas) == pytest.approx(300_000, rel=0.05)


def test_a_picture_is_enlarged_no_more_than_allowed() -> None:
    view = view_of(size=48, enlarge=1.5)
    sizes = {view.resized(noise_picture(120, 160), generator(seed)) for seed in range(30)}
    assert max(sizes) == (180, 240)


def test_a_long_picture_is_resized_until_a_grid_fits() -> None:
    """A panorama: its area within the range would leave it lower than two rows of patches."""
    view = view_of(size=48)
    drawn = view.draw({"picture": noise_picture(100, 2000)}, generator(0))
    assert drawn["resized"][0] >= view.extent(2) == 2 * 48 + 24 + 4
    assert drawn["resized"][1] > 2000


def test_pictures_too_small_for_a_grid_are_bad_items_that_say_what_is_needed() -> None:
    view = view_of(size=48)
    assert view.extent(2) == 124
    with pytest.raises(BadItem, match=r"picture 3: is 61 x 300 pixels \(height, width\); a grid of patches needs 62 x 62"):
        view.draw({"picture": noise_picture(61, 300, seed=3)}, generator(0))
    assert view.draw({"picture": noise_picture(62, 62)}, generator(0))["pixels"].shape == (16, 48, 48, 3)


def test_small_pictures_are_counted_and_the_rest_is_drawn() -> None:
    source = pictures([noise_picture(30 if i == 2 else 130, 130, i).pixels for i in range(6)])
    fed = next(Feed({"": Stream("", source, view_of(size=48), 6)}, 0).batches(0, 1))
    assert 2 not in fed.batch["index"].tolist()
    assert [reason for _, reason in fed.bad] == ["is 30 x 130 pixels (height, width); a grid of patches needs 62 x 62"]


@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 4)], ids=["grey", "alpha"])
def test_grey_and_alpha_files_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    cv2.imwrite(str(file), generator(0).integers(0, 256, shape, np.uint8))
    for colours in ("project", "drop", "all"):
        view = view_of(size=32, colours=colours, coarse=0.0)
        drawn = {
            key: torch.from_numpy(value)[None] for key, value in view.draw({"picture": FilePicture(file)}, generator(0)).items()
        }
        patches = view.render(drawn)["patches"]
        assert patches.shape == (1, 16, 3, 32, 32)
        if colours != "drop" and len(shape) == 2:
            torch.testing.assert_close(patches[:, :, 0], patches[:, :, 1], atol=1e-5, rtol=1e-5)


# What the network sees


def test_coarse_patches_are_smoother_and_a_third() -> None:
    view, picture = view_of(size=32, grids=50), noise_picture()
    fine = dataclasses.replace(view, coarse=0.0)
    one, other = (v.draw({"picture": picture}, generator(0))["pixels"].astype(float) for v in (view, fine))
    assert one.shape == other.shape

    def roughness(patches: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.abs(np.diff(patches, axis=2)).mean(axis=(1, 2, 3))

    coarse = roughness(one) < 0.8 * roughness(other).min()
    assert 0.2 < coarse.mean() < 0.4
    everything = dataclasses.replace(view, coarse=1.0).draw({"picture": picture}, generator(0))["pixels"].astype(float)
    assert roughness(everything).max() <= 1.02 * roughness(other).max()


@pytest.mark.parametrize("colours", ["project", "drop", "all"])
def test_relative_loc_every_patch_is_rendered_at_one_strength(colours: str) -> None:
    """RMS 1 for each (the authors' 50, on another scale), mean 0 in every channel, and the same when rendered again."""
    view = view_of(size=24, colours=colours)
    batch = {key: torch.from_numpy(v)[None] for key, v in view.draw({"picture": noise_picture()}, generator(0)).items()}
    patches = view.render(batch)["patches"]
    torch.testing.assert_close(patches.square().mean(dim=(2, 3, 4)), torch.ones(1, 16), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(patches.mean(dim=(3, 4)), torch.zeros(1, 16, 3), atol=1e-4, rtol=1e-4)
    assert torch.equal(view.render(batch)["patches"], patches)


def test_noise_for_dropped_channels_is_each_examples_own() -> None:
    """An example looks the same whatever is beside it in the batch."""
    view = view_of(size=24, colours="drop")
    drawn = [view.draw({"picture": noise_picture(seed=i)}, generator(i)) for i in range(3)]
    together = {key: torch.from_numpy(np.stack([one[key] for one in drawn])) for key in drawn[0]}
    alone = {key: value[1:2] for key, value in together.items()}
    assert torch.equal(view.render(together)["patches"][1:2], view.render(alone)["patches"])
    strength = view.render(together)["patches"].square().mean(dim=(3, 4)).sort(dim=-1).values
    assert (strength[..., 2] > 2.9).all()  # one channel of three carries all
    assert (strength[..., :2] < 0.01).all()


def test_flat_pictures_are_drawn_without_nan() -> None:
    for colours in ("project", "drop", "all"):
        view = view_of(size=24, colours=colours)
        flat = ArrayPicture(np.full((90, 90, 3), 255, np.uint8))
        batch = {key: torch.from_numpy(v)[None] for key, v in view.draw({"picture": flat}, generator(0)).items()}
        assert torch.isfinite(view.render(batch)["patches"]).all()


# The method


def built(**settings: Any) -> Learner:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    return Learner(backbone, RelativePatchConfig(**{"size": 16, "hidden": 16, **settings}).build(backbone))


def batch_for(learner: Learner, count: int = 5) -> dict[str, Tensor]:
    stream = Stream("", pictures([noise_picture(80, 90, i).pixels for i in range(count)]), learner.method.view, count)
    return render(learner.method, next(Feed({"": stream}, 0).batches(0, 1)).batch, torch.device("cpu"))


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (2, 4)])
def test_relative_loc_a_head_of_zeros_is_at_ln_8(grid: tuple[int, int]) -> None:
    """Whatever the grid, though a grid has more neighbours side by side than across corners."""
    learner = built(grid=grid, grids=1)
    nn.init.zeros_(learner.method.both[-1].weight)
    nn.init.zeros_(learner.method.both[-1].bias)
    step = learner(batch_for(learner))
    assert step.loss.item() == pytest.approx(math.log(8), abs=1e-6)
    assert math.log(8) == pytest.approx(2.0794, abs=1e-4)
    assert step.metrics["accuracy"].item() == pytest.approx(1 / 8)  # it always answers "above left"
    assert learner.method.score(step.answers) == pytest.approx({"accuracy": 1 / 8, "chance_accuracy": 1 / 8})


def test_always_answering_the_commonest_side_is_at_chance() -> None:
    method = built(grid=(3, 3)).method
    for side in range(8):
        guess = torch.full((4, len(method.place)), float(side))
        assert method.score({"guess": guess})["accuracy"] == pytest.approx(1 / 8)
    assert method.score({"guess": method.place.expand(4, -1).float()})["accuracy"] == pytest.approx(1)


def test_answers_belong_to_their_own_pairs() -> None:
    """A backbone that sees where a patch was cut, and a head that compares, answer every pair rightly."""

    class Compare(nn.Module):
        def forward(self, both: Tensor) -> Tensor:  # [n, 4]: top and left of the first, then of the second
            step = (both[:, 2:] - both[:, :2]).sign()
            return -(step[:, None] - torch.tensor(SIDES)).abs().sum(-1)

    class Where(nn.Module):
        def forward(self, patches: Tensor) -> object:
            return type("Features", (), {"vector": patches[:, 0, 0, :2]})

    learner = built(jitter=0.0, flip=False)
    method, batch = learner.method, batch_for(learner)
    method.each, method.both = nn.Identity(), Compare()
    batch["patches"] = batch["corner"][:, :, None, None, :].expand(-1, -1, 3, 16, -1).float()
    step = method(Where(), batch)
    assert torch.equal(step.answers["guess"], method.place.expand(5, -1))
    assert method.score(step.answers) == {"accuracy": pytest.approx(1), "chance_accuracy": 1 / 8}


def test_pairs_share_one_look_at_each_patch() -> None:
    """The quick way against the slow: every pair through the network on its own, both patches anew."""
    learner = built(grid=(2, 3), grids=2).eval()
    method, batch = learner.method, batch_for(learner, 2)
    step = learner(batch)
    slow = []
    for patches in batch["patches"]:
        for first, second in method.pairs.tolist():
            vectors = [method.each(learner.backbone(patches[i : i + 1]).vector) for i in (first, second)]
            slow.append(method.both(torch.cat(vectors, dim=1))[0])
    logits, place = torch.stack(slow).detach(), method.place.repeat(2)
    weight = torch.tensor([1 / int((method.place == p).sum()) for p in place])
    losses = torch.nn.functional.cross_entropy(logits, place, reduction="none")
    assert step.loss.item() == pytest.approx(float((losses * weight).sum() / weight.sum()), rel=1e-5)
    assert torch.equal(step.answers["guess"].flatten(), logits.argmax(1))


def test_cells_keep_the_places_of_the_map() -> None:
    assert built(size=32, cells=2).method.each[0].in_features == 4 * 64
    assert built(size=32).method.each[0].in_features == 64
    learner = built(size=32, cells=2).eval()
    assert torch.isfinite(learner(batch_for(learner)).loss)


# What is drawn for people


def test_the_figure_shows_the_place_and_rims_the_answer() -> None:
    first, second = torch.zeros(3, 24, 24), torch.ones(3, 24, 24)
    gap = 2
    for place in range(8):
        for guess in range(8):
            drawn = eight_cells(first, second, place, guess)
            assert drawn.shape == (3, 3 * 24 + 4 * gap, 3 * 24 + 4 * gap)
            for cell in range(9):
                top, left = gap + (cell // 3) * (24 + gap), gap + (cell % 3) * (24 + gap)
                middle, rim = drawn[:, top + 12, left + 12], drawn[:, top, left]
                side = cell - (cell > 4) if cell != 4 else None
                shown = 0.0 if cell == 4 else 1.0 if side == place else None
                if shown is not None:
                    assert torch.equal(middle, torch.full((3,), shown))
                else:
                    assert 0 < float(middle.mean()) < 1
                marked = torch.allclose(rim, torch.tensor(RIGHT if place == guess else WRONG))
                assert marked == (side == guess)


def test_the_figure_asks_every_side_in_turn() -> None:
    learner = built().eval()
    batch = batch_for(learner, 9)
    step = learner(batch)
    [(caption, drawn)] = learner.method.figure(batch, step)
    assert drawn.shape[:2] == (9, 3)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    place = learner.method.place
    firsts = [int(torch.nonzero(place == side)[0]) for side in range(8)]
    right = sum(int(step.answers["guess"][i, number]) == i for i, number in enumerate(firsts))
    second_above_left = int(torch.nonzero(place == 0)[1])
    right += int(step.answers["guess"][8, second_above_left]) == 0
    assert f"{right} of 9 right" in caption


def test_panels_show_the_grid_as_cut_and_as_seen() -> None:
    learner = built(size=32)
    shown = learner.method.view.panels(batch_for(learner))
    assert [caption for caption, _ in shown] == ["a grid of patches", "as the network sees them"]
    for _, drawn in shown:
        assert drawn.shape[:2] == (5, 3)
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 8}, "size is 8; give patches of at least 16 pixels"),
        ({"grid": (1, 4)}, "grids is 4 and grid 1,4; give at least 1 grid of at least 2,2 patches"),
        ({"grids": 0}, "grids is 0"),
        ({"jitter": 0.4}, "jitter is 0.4 and gap 0.5; give 0 <= 2 jitter <= gap, or patches may overlap"),
        ({"pixels": (40.0, 20.0)}, r"pixels is 40\.0,20\.0"),
        ({"enlarge": 0.5}, "enlarge is 0.5"),
        ({"coarse": 1.5}, "coarse 1.5"),
        ({"hidden": 0}, "hidden is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RelativePatchConfig(**settings)
