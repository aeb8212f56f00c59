"""DeepCluster-v2: what is stored, how it is clustered, and the loss, each against a slow form or scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.core import Batch, Epoch, Learner, vector
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.clustering.deep_cluster_v2 import DeepClusterV2, DeepClusterV2Config, clusters_found, named_cluster


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return PictureFolder.tiny(tmp_path_factory.mktemp("data")).open()


def built(source: Source, **settings: object) -> tuple[Backbone, DeepClusterV2]:
    torch.manual_seed(0)
    small = {"size": 32, "small_size": 16, "small": 2, "prototypes": 4, "hidden": 16, "out": 8}
    backbone = BackboneConfig("conv4").build()
    method = DeepClusterV2Config(**(small | settings)).build(backbone)  # type: ignore[arg-type]
    method.fit(source, generator(0))
    return backbone, method


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def epoch(source: Source, number: int) -> Epoch:
    return Epoch(number, source, lambda through=vector: unit(len(source), 2, 8, seed=9).flatten(1))


def batch(source: Source, pictures: int = 4, first: int = 0) -> Batch:
    crops = {f"crop{n}": torch.randn(pictures, 3, side, side) for n, side in enumerate((32, 32, 16, 16))}
    return {**crops, "index": (torch.arange(pictures) + first) % len(source)}


def test_before_the_first_epoch_every_picture_is_embedded_and_clustered(source: Source) -> None:
    backbone, method = built(source)
    method.before_epoch(backbone, epoch(source, 0))
    assert torch.equal(method.stored, unit(24, 2, 8, seed=9).transpose(0, 1))
    torch.testing.assert_close(method.centres.norm(dim=2), torch.ones(3, 4))
    cosine = torch.einsum("hnd,hkd->hnk", method.stored[[0, 1, 0]], method.centres)
    assert torch.equal(cosine.argmax(2), method.labels), "everything is in the cluster it is nearest to"


def test_what_is_embedded_first_are_the_large_crops_as_training_sees_them(source: Source) -> None:
    backbone, method = built(source)
    backbone.eval()
    method.eval()
    crops = batch(source, 24)

    def embed(through: Callable[[nn.Module, Batch], Tensor] = vector) -> Tensor:
        with torch.no_grad():
            return through(backbone, crops)

    learner = Learner(backbone, method)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method.before_epoch(backbone, Epoch(0, source, embed))
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert int(method.head[1].num_batches_tracked) == 0  # type: ignore[index]
    assert not any(module.training for module in learner.modules() if module is not learner)
    both = backbone.train()(torch.cat([crops["crop0"], crops["crop1"]])).vector
    expected = F.normalize(method.head.train()(both), dim=1).detach().unflatten(0, (2, 24))
    torch.testing.assert_close(method.stored, expected)


def test_the_centres_are_the_unit_means_of_what_is_in_them(source: Source) -> None:
    backbone, method = built(source, iterations=50)
    method.before_epoch(backbone, epoch(source, 0))
    for number in range(3):
        for k in range(4):
            mean = method.stored[number % 2][method.labels[number] == k].mean(0)
            torch.testing.assert_close(method.centres[number, k], F.normalize(mean, dim=0))


def test_sets_are_found_from_the_large_crops_in_turn(source: Source) -> None:
    """Two crops that know nothing of each other: sets 0 and 2 tell groups of the first, set 1 groups of the second."""
    backbone, method = built(source, prototypes=2)
    groups = torch.stack([torch.arange(24) % 2, torch.arange(24) // 12])
    method.stored.copy_(F.normalize(torch.eye(8)[groups] + 0.01 * unit(2, 24, 8), dim=2))
    method.before_epoch(backbone, epoch(source, 1))
    for number, crop in enumerate((0, 1, 0)):
        assert normalized_mutual_info_score(groups[crop], method.labels[number]) == pytest.approx(1)


def test_later_epochs_cluster_what_was_stored_while_training(source: Source) -> None:
    backbone, method = built(source)

    def nothing(through: Callable[[nn.Module, Batch], Tensor] = vector) -> Tensor:
        raise AssertionError("nothing is embedded again")

    method.stored.copy_(unit(2, 24, 8))
    method.before_epoch(backbone, Epoch(1, source, nothing))
    assert torch.equal(torch.einsum("nd,kd->nk", method.stored[1], method.centres[1]).argmax(1), method.labels[1])


def test_what_was_given_for_the_large_crops_is_stored_in_its_picture_s_place(source: Source) -> None:
    backbone, method = built(source)
    method.stored.copy_(unit(2, 24, 8))
    before = method.stored.clone()
    step = method.train()(backbone, batch(source, first=5))
    assert torch.equal(method.stored, before), "not by forward"
    method.after_step(backbone, step.carry, 0.5)
    assert torch.equal(method.stored[:, 5:9], step.carry["vectors"].transpose(0, 1))
    untouched = [i for i in range(24) if not 5 <= i < 9]
    assert torch.equal(method.stored[:, untouched], before[:, untouched])


def test_the_loss_is_a_slow_loop_over_sets_crops_and_pictures() -> None:
    scores, label = unit(5, 4, 3, 6).double(), torch.randint(0, 6, (5, 3), generator=torch.Generator().manual_seed(0))
    sets = []
    for h in range(3):
        each = [-float((scores[b, v, h] / 0.1).log_softmax(0)[label[b, h]]) for b in range(5) for v in range(4)]
        sets.append(sum(each) / len(each))
    assert float(named_cluster(scores, label, 0.1)) == pytest.approx(sum(sets) / 3, abs=1e-12)


def test_the_loss_is_log_k_when_all_scores_are_alike() -> None:
    loss = named_cluster(torch.zeros(5, 8, 3, 3000), torch.zeros(5, 3, dtype=torch.int64), 0.1)
    assert float(loss) == pytest.approx(math.log(3000))


def test_training_asks_for_the_stored_labels_and_held_out_pictures_for_the_nearest(source: Source) -> None:
    backbone, method = built(source)
    method.before_epoch(backbone, epoch(source, 0))
    asked = batch(source, first=3)
    method.eval()
    backbone.eval()
    held_out = method(backbone, asked)
    nearest = held_out.answers["nearest"]
    assert nearest.shape == (4, 3, 2)
    method.labels[:, 3:7] = torch.stack([nearest[:, 0, 0], nearest[:, 1, 1], nearest[:, 2, 0]])
    method.training = True  # the head stays in eval mode
    torch.testing.assert_close(method(backbone, asked).loss, held_out.loss)
    method.labels[:, 3:7] = (method.labels[:, 3:7] + 1) % 4
    assert float(method(backbone, asked).loss.detach()) > float(held_out.loss.detach())


def test_prototypes_get_no_gradient_and_no_optimiser(source: Source) -> None:
    _, method = built(source)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"head"}


def test_what_is_said_of_the_clusters() -> None:
    before, labels = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 3]]), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]])
    filled, largest, kept = clusters_found(before, labels, 4).tolist()
    assert filled == pytest.approx(0.5)
    assert largest == pytest.approx((2 / 4 + 3 / 4) / 2)
    expected = np.mean([normalized_mutual_info_score(b, n) for b, n in zip(before, labels, strict=True)])
    assert kept == pytest.approx(expected, abs=1e-6)


def test_the_same_key_gives_the_same_clusters(source: Source) -> None:
    found = []
    for _ in range(2):
        backbone, method = built(source)
        method.before_epoch(backbone, epoch(source, 0))
        found.append(method.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"prototypes": 1}, "prototypes is 1, sets 3 and iterations 10; give at least 2 prototypes"),
        ({"sets": 0}, "sets 0"),
        ({"large": 1}, "give at least 2 large crops"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DeepClusterV2Config(**settings)  # type: ignore[arg-type]


def test_prototypes_more_than_samples_are_refused(source: Source) -> None:
    with pytest.raises(UserError, match="25 prototypes are more than the 24 pictures to learn from; give at most 24"):
        built(source, prototypes=25)


def test_crops_larger_than_every_picture_are_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"crops of 96 pixels are larger.*the largest has 48 on its shorter side"):
        built(source, size=96)
