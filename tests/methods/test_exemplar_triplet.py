"""Exemplars by triplets: the loss is another library's and a slow loop's, the embedding is normalised by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.distributed import Ranks
from embodied_ssl.errors import UserError
from embodied_ssl.gradients import backward
from embodied_ssl.keys import generator
from embodied_ssl.methods.image.exemplar_triplet import ExemplarTriplet, ExemplarTripletConfig, semi_hard_triplets
from embodied_ssl.views.strong_colours import StrongColours


def built(**settings: object) -> ExemplarTriplet:
    torch.manual_seed(0)
    return ExemplarTripletConfig(size=16, **settings).build(BackboneConfig("conv4").build())  # type: ignore[arg-type]


def embeddings(count: int = 6, copies: int = 4, dim: int = 8, apart: float = 0.7, key: int = 0) -> Tensor:
    """Unit vectors whose copies lie around a direction of their own, so that triplets of every hardness occur."""
    generator_ = torch.Generator().manual_seed(key)
    middle = torch.randn(count, 1, dim, generator=generator_)
    return F.normalize(middle + apart * torch.randn(count, copies, dim, generator=generator_), dim=2)


# --- the oracle table: "triplet = PML semihard" -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", range(4))
@pytest.mark.parametrize("apart", [0.3, 0.7, 2.0])
def test_exemplar_triplet_is_pytorch_metric_learnings_semihard(key: int, apart: float) -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    ours = (3 * embeddings(key=key, apart=apart)).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    loss, _ = semi_hard_triplets(F.normalize(ours, dim=2), torch.arange(6), 0.5)
    squared = LpDistance(normalize_embeddings=True, power=2)
    flat, labels = theirs.flatten(0, 1), torch.arange(6).repeat_interleave(4)
    mined = TripletMarginMiner(margin=0.5, type_of_triplets="semihard", distance=squared)(flat, labels)
    expected = TripletMarginLoss(margin=0.5, distance=squared)(flat, labels, mined)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_exemplar_triplet_is_a_slow_loop() -> None:
    copies = embeddings(5, 3)
    flat, owner = copies.flatten(0, 1).numpy(), np.repeat(np.arange(5), 3)
    losses, total = [], 0
    for a in range(15):
        for p in range(15):
            for n in range(15):
                if a == p or owner[a] != owner[p] or owner[a] == owner[n]:
                    continue
                total += 1
                near, far = ((flat[a] - flat[p]) ** 2).sum(), ((flat[a] - flat[n]) ** 2).sum()
                if near < far < near + 0.5:
                    losses.append(near - far + 0.5)
    loss, share = semi_hard_triplets(copies, torch.arange(5), 0.5)
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)
    assert share.item() == pytest.approx(len(losses) / total)
    assert 0 < len(losses) < total


def test_distances_are_not_taken_in_bf16() -> None:
    """Found in a run: under autocast the product was rounded to three digits, and with it who is semi-hard."""
    copies = embeddings(5, 3)
    plain = semi_hard_triplets(copies, torch.arange(5), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(built().precise_objective({"copies": copies, "asked": torch.arange(5)}).loss, plain[0])


def test_known_values_of_the_loss() -> None:
    """0 where all is well and, with no semi-hard triplet left, where all look alike; the margin just before that."""
    well = torch.eye(4).unsqueeze(1).expand(4, 3, 4)
    assert [x.item() for x in semi_hard_triplets(well, torch.arange(4), 0.5)] == [0, 0]
    alike = F.normalize(torch.ones(4, 3, 4), dim=2)
    assert [x.item() for x in semi_hard_triplets(alike, torch.arange(4), 0.5)] == [0, 0]
    nearly = F.normalize(torch.ones(4, 3, 4) + 0.01 * torch.eye(4).unsqueeze(1), dim=2)
    assert semi_hard_triplets(nearly, torch.arange(4), 0.5)[0].item() == pytest.approx(0.5, abs=1e-3)


def test_collapse_shows_in_the_spread() -> None:
    method = built()
    same, apart = torch.ones(16, 8, 32), torch.randn(200, 8, 32)
    asked = torch.arange(200)
    assert method.objective({"copies": same, "asked": asked[:16]}).metrics["spread"].item() == pytest.approx(0, abs=1e-5)
    assert method.objective({"copies": apart, "asked": asked}).metrics["spread"].item() == pytest.approx(1, abs=0.03)


def test_the_same_picture_met_twice_gives_no_negatives() -> None:
    copies = embeddings(4, 3)
    twice = torch.cat([copies, copies[:1]])
    _, share = semi_hard_triplets(twice, torch.tensor([0, 1, 2, 3, 0]), 0.5)
    alone, _ = semi_hard_triplets(copies[:1], torch.arange(1), 0.5)
    assert alone.item() == 0
    flat, owner = twice.flatten(0, 1), np.repeat([0, 1, 2, 3, 0], 3)
    row = np.repeat(np.arange(5), 3)
    count = total = 0
    distance = torch.cdist(flat, flat) ** 2
    for a, p, n in np.ndindex(15, 15, 15):
        if a != p and row[a] == row[p] and owner[a] != owner[n]:
            total += 1
            count += bool(distance[a, p] < distance[a, n] < distance[a, p] + 0.5)
    assert share.item() == pytest.approx(count / total, abs=0.01)


def test_embeddings_are_normalised_over_features_not_over_the_batch() -> None:
    """A copy's length changes nothing, and neither do other pictures: what the authors' program does instead."""
    method = built()
    copies = embeddings(6, 4)
    lengths = torch.rand(6, 4, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    asked = torch.arange(6)
    one, two = (method.objective({"copies": x, "asked": asked}) for x in (copies, copies * lengths))
    torch.testing.assert_close(one.loss, two.loss)
    torch.testing.assert_close(two.answers["first"].norm(dim=1), torch.ones(6))
    fewer = method.objective({"copies": copies[:3] * lengths[:3], "asked": asked[:3]})
    torch.testing.assert_close(fewer.answers["first"], one.answers["first"][:3])


def test_micro_batches_are_joined_before_triplets_are_made() -> None:
    """Two micro-batches of one picture each have no negatives by themselves; joined they are the whole batch."""
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    learner = Learner(backbone, ExemplarTripletConfig(size=16, copies=3).build(backbone)).eval()  # BatchNorm apart
    batch = {"copies": torch.randn(4, 3, 3, 16, 16), "index": torch.arange(4)}
    halves = [{key: value[i : i + 2] for key, value in batch.items()} for i in (0, 2)]
    here = Ranks(0, 1, torch.device("cpu"))
    grads = []
    for batches in ([batch], halves):
        learner.zero_grad()
        step = backward(learner, batches, "main", lambda micro: torch.enable_grad(), here)
        grads.append((step.loss, [p.grad.clone() for p in learner.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-4, atol=1e-6)


def test_copies_are_crops_of_one_picture_with_colours_of_their_own() -> None:
    method = built(copies=4)
    picture = ArrayPicture(generator(0).integers(0, 256, (48, 64, 3), np.uint8))
    drawn = method.view.draw({"picture": picture}, generator(1))
    assert drawn["crops"].shape == (4, 16, 16, 3)
    assert drawn["colours"].shape == (4, 11)
    for i in range(3):
        assert not np.array_equal(drawn["crops"][i], drawn["crops"][i + 1])
        assert not np.array_equal(drawn["colours"][i], drawn["colours"][i + 1])


@pytest.mark.parametrize("standardise", [True, False])
def test_copies_are_standardised_each_or_as_in_transfer(standardise: bool) -> None:
    plain = StrongColours(0, 0, 0, 0, 0, 0)
    method = built(copies=2, standardise=standardise, colours=plain)
    crops = torch.randint(0, 256, (3, 2, 16, 16, 3), dtype=torch.uint8)
    batch = {"crops": crops, "colours": torch.tensor([1.0] * 7 + [0.0] * 4).expand(3, 2, 11), "whole": crops[:, 0]}
    rendered = method.view.render(batch)
    copies = rendered["copies"]
    if standardise:
        torch.testing.assert_close(copies.mean((3, 4)), torch.zeros(3, 2, 3), rtol=0, atol=1e-5)
        torch.testing.assert_close(copies.std((2, 3, 4), correction=0), torch.ones(3, 2), rtol=0, atol=1e-4)
    else:
        shown = method.view.panels(rendered)[1][1]
        torch.testing.assert_close(shown, crops[:, 0].movedim(-1, -3) / 255, rtol=0, atol=1e-5)


def test_the_figure_frames_what_was_found() -> None:
    method = built(copies=3).eval()
    batch = {
        "copies": torch.randn(4, 3, 3, 16, 16),
        "index": torch.arange(4),
        "whole": torch.zeros(4, 16, 16, 3, dtype=torch.uint8),
    }
    step = method(BackboneConfig("conv4").build().eval(), batch)
    step.answers["second"] = step.answers["first"][[1, 0, 2, 3]]
    panels = method.figure(batch, step)
    assert [pictures.shape for _, pictures in panels] == [(4, 3, 16, 16)] * 4
    assert panels[-1][0] == "the second copy nearest to the first: 2 of 4 are its own"


def test_held_out_copies_are_asked_for_each_other() -> None:
    method = built().eval()
    assert isinstance(method.project, nn.Linear)
    answers = {"first": torch.eye(5), "second": torch.eye(5)[[0, 1, 2, 4, 3]], "asked": torch.arange(5).float()}
    assert method.score(answers) == {"retrieval": pytest.approx(0.6), "chance_retrieval": pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"copies": 1}, "copies is 1; give at least 2"),
        ({"margin": 0}, "margin is 0; give a number above 0"),
        ({"size": 2}, "size is 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExemplarTripletConfig(**settings)  # type: ignore[arg-type]
