"""Exemplar-CNN: seeds where there are gradients, copies that are the seed at strength 0, classes that are met alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.image.exemplar import Exemplar, ExemplarConfig, SeedView, disagreement, middle
from embodied_ssl.methods.image.exemplar_seeds import SeedSize, Square, draw_seed, find_seeds, gradient_energy, patch_means
from embodied_ssl.methods.retrieval import retrieval
from embodied_ssl.views.moves import Moves
from embodied_ssl.views.pixels import normalise, to_float
from embodied_ssl.views.strong_colours import StrongColours

STILL = Moves(0, 0, 0, 0)
PLAIN = StrongColours(0, 0, 0, 0, 0, 0)


def noise(key: int, height: int = 64, width: int = 64) -> ArrayPicture:
    return ArrayPicture(generator("picture", key).integers(0, 256, (height, width, 3), np.uint8))


class Photos(Source):
    """Noise pictures, or whatever is given."""

    provides = frozenset({"picture", "index"})

    def __init__(self, pictures: list[ArrayPicture | BadItem]) -> None:
        self.name = f"{len(pictures)} photos"
        self.pictures = pictures
        self.recordings = [f"photo {i}" for i in range(len(pictures))]
        self.bad = []

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        if isinstance(picture, BadItem):
            raise picture
        return {"picture": picture, "index": index}


def photos(count: int = 6) -> Photos:
    return Photos([noise(i) for i in range(count)])


def fitted(source: Source | None = None, **settings: object) -> Exemplar:
    torch.manual_seed(0)
    method = ExemplarConfig(size=16, **settings).build(BackboneConfig("conv4").build())  # type: ignore[arg-type]
    method.fit(source or photos(), generator(0, "fit"))
    return method


def batch_of(method: Exemplar, source: Source, indices: list[int]) -> dict[str, Tensor]:
    drawn = [{**method.view.draw(source[i], generator("draw", i)), "index": np.int64(i)} for i in indices]
    return method.view.render({key: torch.from_numpy(np.stack([one[key] for one in drawn])) for key in drawn[0]})


# --- the oracle table: "all-zero strengths: identity" -----------------------------------------------------------------------


def test_exemplar_all_zero_strengths_are_the_identity() -> None:
    """Bit-exact: with nothing to move by, a seed as large as its copy comes out as the picture's own pixels."""
    source = photos(3)
    method = fitted(source, moves=STILL, colours=PLAIN, side=(0.25, 0.25))  # 16 of 64 pixels
    seeds = method.seeds
    batch = batch_of(method, source, [0, 1, 2])
    for row in range(3):
        top, left, side = seeds.square[int(batch["seed"][row])]
        assert side == 16
        pixels = torch.from_numpy(source.pictures[row].pixels[top : top + 16, left : left + 16])  # type: ignore[union-attr]
        for copy in range(2):
            assert torch.equal(batch["copies"][row, copy], normalise(to_float(pixels)))


def test_every_strength_alone_changes_the_copies() -> None:
    source = photos(1)
    alone = [{"moves": Moves(*row), "colours": PLAIN} for row in np.eye(4)]
    alone += [{"moves": STILL, "colours": StrongColours(*row)} for row in np.eye(6)]
    for settings in alone:
        method = fitted(photos(2), **settings, side=(0.8, 0.8))
        batch = batch_of(method, source, [0])
        assert not torch.equal(batch["copies"][:, 0], normalise(middle(batch["source"], 16))), settings


# --- "sampling histogram against gradient energy" ---------------------------------------------------------------------------


def half_flat() -> ArrayPicture:
    """Flat on the left; on the right noise that grows stronger towards the edge."""
    strength = np.clip(np.linspace(-1, 1, 80), 0, 1)[None, :, None]
    pixels = 128 + 100 * strength * generator(3).uniform(-1, 1, (60, 80, 1))
    return ArrayPicture(np.repeat(pixels, 3, axis=2).astype(np.uint8))


def test_exemplar_sampling_histogram_follows_gradient_energy() -> None:
    picture, size = half_flat(), SeedSize(0.4, 0.4, 2.0)  # sources of 24 pixels, seeds of 12
    drawn = [draw_seed(picture, size, generator("draw", i)) for i in range(4000)]
    columns = np.bincount([square.left for square in drawn], minlength=57)
    energy = patch_means(gradient_energy(picture.pixels), 12)[6:43, 6:63].sum(0)
    assert spearmanr(columns, energy).statistic > 0.9
    assert columns[energy == 0].sum() == 0
    assert int((energy == 0).sum()) > 10
    expected = energy / energy.sum() * 4000  # not only in the same order: in proportion
    many = expected > 20
    assert ((columns - expected)[many] ** 2 / expected[many]).mean() == pytest.approx(1, abs=0.5)


def test_patch_means_are_a_slow_loop() -> None:
    energy = generator(0).random((9, 11))
    means = patch_means(energy, 4)
    for row, column in np.ndindex(6, 8):
        assert means[row, column] == pytest.approx(energy[row : row + 4, column : column + 4].mean())


def test_large_pictures_are_looked_at_small_and_cut_large() -> None:
    square = draw_seed(noise(0, 700, 500), SeedSize(1.0, 1.0, 2.2), generator(0))
    assert square.side == 500
    assert 0 <= square.top <= 200
    assert square.left == 0


# --- seeds ------------------------------------------------------------------------------------------------------------------


def test_seeds_come_from_different_pictures_first() -> None:
    seeds, bad = find_seeds(photos(6), 6, SeedSize(0.3, 0.5, 1.5), generator(0))
    assert sorted(seeds.picture.tolist()) == list(range(6))
    assert bad == []


def test_more_seeds_than_pictures_keep_apart() -> None:
    seeds, _ = find_seeds(photos(3), 12, SeedSize(0.4, 0.4, 2.0), generator(0))
    assert np.bincount(seeds.picture).tolist() == [4, 4, 4]
    for picture in range(3):
        centres = np.array([(t + s / 2, x + s / 2) for t, x, s in seeds.square[seeds.picture == picture]])
        apart = np.abs(centres[:, None] - centres[None]).max(2)[np.triu_indices(4, 1)]
        assert apart.min() >= 26 / 2 / 2 - 1  # half a seed's side


def test_there_are_as_many_classes_as_the_pictures_offer() -> None:
    method = fitted(photos(2), classes=5000, side=(1.0, 1.0))
    found = method.describe()["classes"]
    assert found == len(method.seeds) < 100
    assert method.describe()["pictures"] == 2
    batch = batch_of(method, photos(2), [0, 1])
    assert method.train()(BackboneConfig("conv4").build(), batch).metrics["chance_accuracy"].item() == pytest.approx(1 / found)


def test_flat_small_and_unreadable_pictures_are_left_out_and_named() -> None:
    flat = ArrayPicture(np.full((64, 64, 3), 7, np.uint8))
    small = noise(0, 12, 12)
    method = fitted(Photos([noise(0), flat, small, BadItem("x.jpg", "the JPEG is cut short"), noise(4)]), classes=4)
    assert set(method.seeds.picture.tolist()) == {0, 4}
    found = method.describe()
    assert found["left_out"] == 3
    reasons = " ".join(found["first_left_out"])  # type: ignore[arg-type]
    assert "photo 1: flat: there is nothing to see in it" in reasons
    assert "photo 2: 12 x 12 pixels are too few to cut a seed from; 36 each way would do" in reasons
    assert "x.jpg: the JPEG is cut short" in reasons


def test_pictures_without_any_seed_are_refused() -> None:
    flat = ArrayPicture(np.full((64, 64, 3), 7, np.uint8))
    with pytest.raises(UserError, match=r"0 seeds could be found in 2 photos, at least 2 are needed; the first: photo \d: flat"):
        fitted(Photos([flat, flat]))


def test_a_held_out_picture_is_not_taken_for_the_training_picture_of_its_index() -> None:
    method = fitted(photos(4))
    others = Photos([noise(100 + i) for i in range(4)])
    assert (batch_of(method, photos(4), [0, 1, 2, 3])["seed"] >= 0).all()
    assert (batch_of(method, others, [0, 1, 2, 3])["seed"] == -1).all()


def test_a_picture_decoded_a_little_differently_keeps_its_class() -> None:
    method = fitted(photos(2), side=(0.7, 0.7))
    decoded = [np.clip(noise(i).pixels.astype(int) + generator(i).integers(-3, 4, (64, 64, 3)), 0, 255) for i in range(2)]
    again = Photos([ArrayPicture(pixels.astype(np.uint8)) for pixels in decoded])
    assert (batch_of(method, again, [0, 1])["seed"] >= 0).all()


def test_every_seed_is_met_alike() -> None:
    method = fitted(photos(4), classes=6, side=(0.4, 0.4))
    plan = method.before_epoch(nn.Identity(), type("Epoch", (), {"number": 0}))  # type: ignore[arg-type]
    assert plan.indices is not None
    assert np.array_equal(np.sort(plan.indices), np.sort(method.seeds.picture))
    later = method.before_epoch(nn.Identity(), type("Epoch", (), {"number": 1}))  # type: ignore[arg-type]
    assert not np.array_equal(plan.indices, later.indices)
    double = int(np.bincount(method.seeds.picture).argmax())
    labels = {int(method.view.draw(photos(4)[double], generator(i))["seed"]) for i in range(20)}
    assert labels == set(np.flatnonzero(method.seeds.picture == double).tolist())


# --- the loss and what is answered ------------------------------------------------------------------------------------------


def test_exemplar_chance_is_one_in_n() -> None:
    """With a head of zeros the loss is log N, and a guess at random is right once in N."""
    method = fitted(photos(6), classes=6).train()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    step = method(BackboneConfig("conv4").build(), batch_of(method, photos(6), list(range(6))))
    assert step.loss.item() == pytest.approx(math.log(6), abs=1e-5)
    assert step.metrics["accuracy"].item() == pytest.approx(1 / 6)
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / 6)


def test_examples_of_no_class_count_nothing_in_training() -> None:
    method = fitted(photos(4), classes=4).train()
    backbone = BackboneConfig("conv4").build().eval()
    batch = batch_of(method, photos(4), [0, 1, 2, 3])
    some = {**batch, "seed": torch.where(torch.arange(4) < 2, batch["seed"], -1)}
    first = {key: value[:2] for key, value in batch.items()}
    torch.testing.assert_close(method(backbone, some).loss, method(backbone, first).loss)
    assert method(backbone, {**batch, "seed": torch.full((4,), -1)}).loss.item() == 0


def test_a_held_out_loss_is_log_n_where_nothing_is_known() -> None:
    method = fitted(photos(6), classes=6).eval()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    others = Photos([noise(100 + i) for i in range(6)])
    step = method(BackboneConfig("conv4").build().eval(), batch_of(method, others, list(range(6))))
    assert step.loss.item() == pytest.approx(math.log(6), abs=1e-5)


def test_disagreement_is_a_cross_entropy_both_ways() -> None:
    one, other = torch.randn(4, 5), torch.randn(4, 5)
    each = [
        -(a.softmax(0) * b.log_softmax(0)).sum() / 2 - (b.softmax(0) * a.log_softmax(0)).sum() / 2
        for a, b in zip(one, other, strict=True)
    ]
    torch.testing.assert_close(disagreement(one, other), torch.stack(each))
    sure = 100 * torch.eye(5)
    torch.testing.assert_close(disagreement(sure, sure), torch.zeros(5))


def test_a_network_of_paper_shape_has_a_hidden_layer() -> None:
    method = fitted(hidden=24, dropout=0.5)
    assert [type(layer) for layer in method.head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_one_channel_is_luminance() -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4", channels=1).build()
    method = ExemplarConfig(size=16).build(backbone)
    method.fit(photos(), generator(0))
    batch = batch_of(method, photos(), [0, 1])
    assert batch["copies"].shape == (2, 2, 1, 16, 16)
    assert torch.isfinite(method(backbone, batch).loss)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes is 1; give at least 2"),
        ({"copies": 1}, "copies is 1; give at least 2"),
        ({"side": (0.5, 1.5)}, "side is 0.5,1.5"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"size": 4}, "size is 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExemplarConfig(**settings)  # type: ignore[arg-type]


# --- retrieval --------------------------------------------------------------------------------------------------------------


def test_retrieval_is_chance_for_noise_and_for_collapse_and_1_for_exact_copies() -> None:
    torch.manual_seed(0)
    seeds, x = torch.arange(300), torch.randn(300, 16)
    assert retrieval(x, x, seeds) == (1.0, pytest.approx(1 / 64))
    assert retrieval(torch.ones(300, 16), torch.ones(300, 16), seeds)[0] == pytest.approx(1 / 64)
    assert retrieval(x, torch.randn(300, 16), seeds)[0] == pytest.approx(1 / 64, abs=0.01)
    assert retrieval(x[:10], x[:10], seeds[:10]) == (1.0, pytest.approx(0.1))
    assert retrieval(x[:1], x[:1], seeds[:1]) == (1.0, 1.0)


def test_retrieval_is_the_mean_over_draws_of_rivals() -> None:
    """Against drawing g - 1 rivals many times and looking."""
    torch.manual_seed(0)
    first = torch.randn(40, 8)
    second = first + 1.2 * torch.randn(40, 8)
    near = torch.nn.functional.normalize(first, dim=1) @ torch.nn.functional.normalize(second, dim=1).T
    rng, right, rounds = generator(0), 0, 300
    for _ in range(rounds):
        for row in range(40):
            rivals = rng.choice(np.delete(np.arange(40), row), 7, replace=False)
            right += int((near[row, rivals] < near[row, row]).all())
    found, chance = retrieval(first, second, torch.arange(40), among=8)
    assert chance == pytest.approx(1 / 8)
    assert found == pytest.approx(right / rounds / 40, abs=0.015)
    assert 0.2 < found < 0.9


def test_seeds_drawn_twice_by_a_bootstrap_are_no_rivals_of_their_own() -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 8)
    rows = torch.arange(20).repeat(2)
    assert retrieval(x[rows], x[rows], rows, among=8) == (1.0, pytest.approx(1 / 8))


def test_the_figure_frames_what_was_found() -> None:
    method = fitted(photos(5)).eval()
    backbone = BackboneConfig("conv4").build().eval()
    batch = batch_of(method, photos(5), [0, 1, 2, 3, 4])
    step = method(backbone, batch)
    step.answers["second"] = step.answers["first"][[0, 1, 2, 4, 3]]
    panels = method.figure(batch, step)
    assert [pictures.shape for _, pictures in panels] == [(5, 3, 16, 16)] * 4
    assert panels[-1][0] == "the second copy nearest to the first: 3 of 5 are its own"
    rims = panels[-1][1][:, :, 0, 0]
    assert (rims[:3, 1] > rims[:3, 0]).all()  # green
    assert (rims[3:, 0] > rims[3:, 1]).all()  # red


def test_what_was_found_is_kept_with_the_weights() -> None:
    from embodied_ssl.checkpoint import restore

    def built() -> Learner:
        backbone = BackboneConfig("conv4").build()
        return Learner(backbone, ExemplarConfig(size=16, classes=6).build(backbone))

    learner, again = built(), built()
    learner.method.fit(photos(), generator(0))
    restore(again, learner.state_dict())
    view: SeedView = again.method.view  # type: ignore[assignment]
    assert np.array_equal(view.seeds.square, learner.method.seeds.square)
    one, two = (each.draw(photos()[0], generator(1)) for each in (view, learner.method.view))
    assert all(np.array_equal(one[key], two[key]) for key in one)


def test_a_source_is_cut_around_its_seed() -> None:
    assert Square(3, 4, 10).box == (3, 4, 10, 10)
