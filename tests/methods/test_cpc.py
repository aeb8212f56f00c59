"""CPC: patches where they belong, contexts that see nothing of what they are asked for, and losses as slow loops take them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Batch, Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward
from embodied_ssl.keys import generator
from embodied_ssl.methods.contrastive.cpc import CPC, UNSEEN, CPCConfig, Questions
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.marks import RIGHT, WRONG
from embodied_ssl.views.pixels import normalise

SAME = ColourChange(change=0.0, grey=0.0)
SMALL = CPCConfig(patch=16, stride=8, grid=4, jitter=0, below=(1, 3), hidden=8, blocks=2, out=6, colour=SAME)


def rendered(config: CPCConfig, count: int = 3) -> Batch:
    pictures = [ArrayPicture(generator(i, "picture").integers(0, 256, (70, 60, 3), np.uint8)) for i in range(count)]
    drawn = [config.view.draw({"picture": picture}, generator(i, "draw")) for i, picture in enumerate(pictures)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    return config.view.render({**batch, "index": torch.arange(count)})


def built(config: CPCConfig = SMALL, name: str = "conv4") -> tuple[nn.Module, CPC]:
    torch.manual_seed(0)
    backbone = BackboneConfig(name).build()
    return backbone, config.build(backbone)


def embeddings(config: CPCConfig, pictures: int, scale: float = 1.0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    asked = len(Questions(config.grid, config.below, config.directions).asked)
    said, seen = torch.randn(pictures, asked, 6) * scale, torch.randn(pictures, config.grid**2, 6) * scale
    return {"said": said, "seen": seen, "index": torch.arange(pictures)}


# --- patches ----------------------------------------------------------------------------------------------------------


def test_the_papers_picture_is_7_by_7_patches_of_64_pixels_32_apart() -> None:
    view = CPCConfig(patch=64, stride=32, grid=7).view
    assert view.size == 256
    assert view.cut(torch.zeros(1, 3, 256, 256)).shape == (1, 49, 3, 64, 64)


def test_patches_are_in_reading_order_and_overlap() -> None:
    batch = rendered(SMALL)
    pictures = normalise(SMALL.view.picture(batch))
    for place in range(16):
        rows, columns = SMALL.view.box(place)
        torch.testing.assert_close(batch["patches"][:, place], pictures[:, :, rows, columns])
    assert SMALL.view.box(5) == (slice(8, 24), slice(8, 24))


def test_of_a_patch_a_part_is_kept_amid_the_mean_colour() -> None:
    config = dataclasses.replace(SMALL, jitter=5)
    batch = rendered(config)
    assert set(batch["corner"].unique().tolist()) == {0, 1, 2, 3, 4, 5}
    whole = config.view.cut(normalise(config.view.picture(batch)))
    top, left = batch["corner"][1, 6].tolist()
    patch = batch["patches"][1, 6]
    torch.testing.assert_close(patch[:, 2:13, 2:13], whole[1, 6, :, top : top + 11, left : left + 11])
    assert float(patch[:, :2].abs().sum() + patch[:, 13:].abs().sum() + patch[:, :, :2].abs().sum()) == 0


def test_colours_change_patch_by_patch_and_grey_is_of_the_whole_picture() -> None:
    changed = rendered(dataclasses.replace(SMALL, colour=ColourChange(change=1.0)))
    same = rendered(SMALL)
    assert changed["colours"].shape == (3, 16, 6)
    ratios = changed["patches"].flatten(2).std(2) / same["patches"].flatten(2).std(2)
    assert float(ratios.std(1).min()) > 0.01, "by other factors in every patch"
    grey = dataclasses.replace(SMALL, grey=1.0)
    pictures = grey.view.picture(rendered(grey))
    assert torch.equal(pictures[:, 0], pictures[:, 1])


# --- questions and contexts -------------------------------------------------------------------------------------------


def test_what_is_asked_lies_so_many_rows_below() -> None:
    questions = Questions(grid=7, below=(2, 5), directions=1)
    apart = Counter((questions.asked - questions.known).tolist())
    assert apart == {7 * rows: 7 * (7 - rows) for rows in (2, 3, 4, 5)}


def test_the_other_directions_ask_to_the_left_upwards_and_to_the_right() -> None:
    questions = Questions(grid=4, below=(2, 2), directions=4)
    apart = {turn: set((questions.asked - questions.known)[questions.turn == turn].tolist()) for turn in range(4)}
    assert apart == {0: {8}, 1: {-2}, 2: {-8}, 3: {2}}


@pytest.mark.parametrize("directions", [1, 4])
def test_a_context_sees_exactly_nothing_of_what_it_is_asked_for(directions: int) -> None:
    """The Jacobian of every prediction to every patch: nothing but the context's own row and those before it, as it is turned."""
    config = dataclasses.replace(SMALL, directions=directions, blocks=4)
    _, method = built(config)
    seen = torch.randn(1, 16, 64, requires_grad=True)
    said = method.predict(seen)
    assert said.shape == (1, len(method.questions.asked), 6)
    for question in range(said.shape[1]):
        (gradient,) = torch.autograd.grad(said[0, question].sum(), seen, retain_graph=True)
        depends = set(gradient[0].abs().sum(1).nonzero().flatten().tolist())
        allowed = set(method.questions.seen_from(question).tolist())
        assert depends == allowed, "four blocks see all rows before"
        assert int(method.asked[question]) not in depends


def test_every_number_of_rows_has_its_own_matrix() -> None:
    _, method = built(dataclasses.replace(SMALL, directions=4, below=(2, 3)))
    assert [tuple(step.weight.shape) for step in method.steps] == [(6, 64, 1, 1)] * 8
    assert len(method.contexts) == 4


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("negatives", "among"), [("all", 48), ("others", 33)])
def test_collapse_shows_in_every_figure(negatives: str, among: int) -> None:
    config = dataclasses.replace(SMALL, negatives=negatives)
    _, method = built(config)
    same = {name: torch.ones_like(value) if name != "index" else value for name, value in embeddings(config, 3).items()}
    step = method.objective(same)
    assert step.loss.item() == pytest.approx(math.log(among), abs=1e-5)
    figures = {name: float(value) for name, value in step.metrics.items()}
    assert figures["information"] == pytest.approx(0, abs=1e-5)
    assert figures["most_information"] == pytest.approx(math.log(among))
    assert figures["accuracy"] == pytest.approx(1 / among)
    assert figures["chance_accuracy"] == pytest.approx(1 / among)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, negatives="others"),
        dataclasses.replace(SMALL, group=2),
        dataclasses.replace(SMALL, directions=4, below=(2, 3)),
    ],
)
def test_the_loss_is_that_of_a_slow_loop(config: CPCConfig) -> None:
    _, method = built(config)
    given = embeddings(config, 5)
    step = method.eval().objective(given)
    group = config.group or 5
    losses, guesses = [], []
    for b in range(5):
        mates = [c for c in range(5) if c // group == b // group]
        for q, asked in enumerate(method.questions.asked):
            rivals = [(c, n) for c in mates for n in range(16) if config.negatives == "all" or c != b or n == asked]
            scores = {pair: float(given["said"][b, q] @ given["seen"][pair]) / config.temperature for pair in rivals}
            losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[b, asked])
            guesses.append(max(scores, key=lambda pair: scores[pair]))
    assert step.loss.item() == pytest.approx(np.mean(losses), abs=1e-5)
    assert step.answers["guess"].flatten().tolist() == [16 * c + n for c, n in guesses]


def test_information_never_exceeds_the_log_of_how_many_there_are() -> None:
    _, method = built()
    given = embeddings(SMALL, 4)
    given["seen"] = F.normalize(given["seen"], dim=2)
    given["said"] = given["seen"][:, method.asked] * 10_000
    step = method.objective(given)
    assert float(step.metrics["accuracy"]) == 1
    assert float(step.metrics["most_information"]) == pytest.approx(math.log(64))
    assert math.log(64) - 1e-3 < float(step.metrics["information"]) <= math.log(64) + 1e-6


def test_saturation_is_told() -> None:
    _, method = built()
    assert method.warning({"information": 3.0, "most_information": 6.4}) == ""
    assert "6.39 of at most 6.40 nats" in method.warning({"information": 6.39, "most_information": 6.4})
    assert "larger batch_size" in method.warning({"information": 6.39, "most_information": 6.4})


@pytest.mark.parametrize("negatives", ["all", "others"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(negatives: str) -> None:
    """Patches are sought among those of all pictures of a step, however it is cut; on a network without BatchNorm, in float64."""
    config = dataclasses.replace(SMALL, negatives=negatives)
    batch = {n: v.double() if v.is_floating_point() else v for n, v in rendered(config, 4).items()}
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(2), slice(2, 4))]
    gradients = []
    for parts in ([batch], halves):
        learner = Learner(*built(config, "convnet_quick")).double().train()
        step = backward(learner, parts, "main", lambda micro: torch.enable_grad(), Ranks(0, 1, torch.device("cpu")))
        gradients.append((step.loss, [p.grad for p in learner.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


# --- held-out figures and drawings ------------------------------------------------------------------------------------


def test_held_out_figures_do_not_depend_on_the_batch() -> None:
    backbone, method = built()
    backbone.eval()
    method.eval()
    batch = rendered(SMALL, 6)
    parts = [{name: value[i : i + 2] for name, value in batch.items()} for i in (0, 2, 4)]
    whole = method(backbone, batch).answers
    cut = [method(backbone, part).answers for part in parts]
    joined = {name: torch.cat([one[name] for one in cut]) for name in whole}
    assert method.score(joined) == pytest.approx(method.score(whole), abs=1e-5)


def test_held_out_figures_of_knowing_all_and_nothing() -> None:
    _, method = built()
    vectors = 100 * F.normalize(torch.randn(100, 4, 6, generator=torch.Generator().manual_seed(0)), dim=2)
    knows = method.score({"said": vectors, "seen": vectors, "index": torch.arange(100)})
    assert knows["accuracy"] == pytest.approx(1)
    assert knows["chance_accuracy"] == pytest.approx(1 / 64)
    assert knows["place_information"] <= knows["most_place_information"] == pytest.approx(math.log(100), abs=1e-5)
    nothing = method.score({"said": torch.zeros(100, 4, 6), "seen": vectors, "index": torch.arange(100)})
    assert nothing["accuracy"] == pytest.approx(1 / 64)
    assert nothing["place_information"] == pytest.approx(0, abs=1e-5)


def test_a_single_held_out_picture_has_figures_too() -> None:
    config = dataclasses.replace(SMALL, negatives="others")
    backbone, method = built(config)
    step = method.eval()(backbone.eval(), rendered(config, 1))
    assert step.loss.item() == 0
    assert method.score(step.answers)["place_information"] == pytest.approx(0)


@pytest.mark.parametrize(("found", "rim"), [(True, RIGHT), (False, WRONG)])
def test_the_figure_shows_what_was_known_and_what_was_found(found: bool, rim: tuple[float, ...]) -> None:
    backbone, method = built()
    batch = rendered(SMALL, 1)
    step = method.eval()(backbone.eval(), batch)
    asked = method.questions.asked[1]  # the question drawn of the first picture: from the second place of the first row
    step.answers["guess"][0, 1] = asked if found else asked + 1
    (_, pictures), (_, question), (caption, answer) = method.figure(batch, step)
    rows, columns = SMALL.view.box(int(asked))
    assert torch.equal(question[0, :, :8], pictures[0, :, :8]), "the first row of patches is known"
    assert float(question[0, :, rows, columns].sum()) == 0
    assert float(question[0, :, -1, -1].mean()) == pytest.approx(UNSEEN)
    assert answer[0, :, rows, columns][:, 0, 0].tolist() == pytest.approx(rim)
    shown = SMALL.view.box(int(asked) + (not found))
    torch.testing.assert_close(answer[0, :, rows, columns][:, 2:-2, 2:-2], pictures[0][:, shown[0], shown[1]][:, 2:-2, 2:-2])
    assert caption.endswith(f"{int(found)} of 1 right")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 1}, "grid is 1; give at least 2: in a single row nothing lies below"),
        ({"below": (2, 5)}, "below is 2,5; give the nearest and the farthest row, 1 to 4 for a grid of 5"),
        ({"below": (0, 1)}, "below is 0,1"),
        ({"stride": 33}, "patch is 32, stride 33 .*give a stride of 1 to patch"),
        ({"jitter": 25}, "jitter 25; .* leaves at least 8 pixels"),
        ({"share": (0.5, 1.5)}, "share is 0.5,1.5"),
        ({"directions": 2}, r"directions is 2; give 1 \(downwards\) or 4"),
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"out": 0}, "out 0; give at least 1 each"),
        ({"group": 1, "negatives": "others"}, "group is 1; give 0 for all pictures"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CPCConfig(**settings)  # type: ignore[arg-type]


def test_a_patch_too_small_for_the_network_is_refused() -> None:
    backbone = BackboneConfig("conv4").build()
    backbone.smallest = 20
    with pytest.raises(UserError, match="conv4 needs pictures of at least 20 pixels a side, these have 16"):
        SMALL.build(backbone)


def test_a_batch_that_leaves_a_picture_alone_is_refused() -> None:
    built()[1].check_batch(1, 1)  # other places of the same picture are enough
    others = dataclasses.replace(SMALL, negatives="others")
    for config, examples in ((others, 1), (dataclasses.replace(others, group=4), 9)):
        with pytest.raises(UserError, match=f"batch_size is {examples}, which leaves a picture without any other"):
            built(config)[1].check_batch(examples, examples)
    built(dataclasses.replace(others, group=4))[1].check_batch(10, 10)
