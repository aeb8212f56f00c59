"""DeeperCluster: its two questions, and what is left of it without turns, groups or clusters: DeepCluster and RotNet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl import held_out
from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.core import Batch, Epoch
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.methods.clustering.deep_cluster import DeepCluster, DeepClusterConfig
from embodied_ssl.methods.clustering.deeper_cluster import DeeperCluster, DeeperClusterConfig, TwoLevels
from embodied_ssl.methods.clustering.looks import turned
from embodied_ssl.methods.image.rotation import RotationConfig, four_turns

CPU = torch.device("cpu")


class Noise(Source):
    name = "noise"
    provides = frozenset({"picture", "index"})

    def __init__(self, count: int = 40) -> None:
        self.pixels = generator(0, "noise").integers(0, 256, (count, 40, 48, 3), np.uint8)
        self.recordings = [str(i) for i in range(count)]
        self.bad = []

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Sample:
        return {"picture": ArrayPicture(self.pixels[index]), "index": index}


SOURCE = Noise()


def built(kind: type, **settings: object) -> tuple[Backbone, DeepCluster]:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build().eval()
    given = {"size": 32, "area": (0.5, 1.0), "components": 4, **settings}
    method = kind(**given).build(backbone)
    method.fit(SOURCE, generator(1))
    return backbone, method


def a_batch(method: DeepCluster) -> Batch:
    feed = Feed({"": Stream("", SOURCE, method.view, 12)}, 0)
    return held_out.render(method, next(feed.batches(0, 1)).batch, CPU)


def vectors(seed: int = 0) -> Tensor:
    return torch.randn(len(SOURCE), 64, generator=torch.Generator().manual_seed(seed))


def test_one_group_without_rotation_is_deep_cluster() -> None:
    """The same clusters, order and loss, once the heads are the same."""
    backbone, deep = built(DeepClusterConfig, clusters=7, iterations=10)
    _, deeper = built(DeeperClusterConfig, clusters=7, groups=1, rotation=False)
    assert isinstance(deeper, DeeperCluster)
    plans = [one.before_epoch(backbone, Epoch(0, SOURCE, lambda through: vectors())) for one in (deep, deeper)]
    assert torch.equal(deep.pseudo.labels, deeper.pseudo.labels)
    assert np.array_equal(plans[0].indices, plans[1].indices)  # type: ignore[arg-type]
    assert deeper.head.supers is None
    assert set(plans[1].restart) == {"head.subs.weight", "head.subs.bias"}
    with torch.no_grad():
        deeper.head.subs["weight"].copy_(deep.head.weight.unsqueeze(0))  # type: ignore[union-attr, operator]
    batch = a_batch(deep)
    assert torch.equal(batch["crop"], a_batch(deeper)["crop"])
    one, two = (method.train()(backbone, batch) for method in (deep, deeper))
    torch.testing.assert_close(one.loss, two.loss)
    assert one.metrics["accuracy"] == two.metrics["accuracy"]
    seen, seen_deeper = (method.eval()(backbone, batch).answers for method in (deep, deeper))
    assert torch.equal(seen["guess"], seen_deeper["guess"])
    assert torch.equal(seen["cluster"], seen_deeper["truth"])


def test_four_super_classes_of_one_cluster_are_rotnet() -> None:
    """Its loss on the four turns of some pictures, with the same head; and nothing is clustered."""
    backbone, method = built(DeeperClusterConfig, clusters=1, groups=1, components=0)
    assert isinstance(method, DeeperCluster)
    assert not method.looks_before_epochs
    assert len(method.head.subs) == 0
    rotation = RotationConfig(size=32).build(backbone)
    rotation.head.load_state_dict(method.head.supers.state_dict())  # type: ignore[union-attr]
    crops = torch.randn(5, 3, 32, 32)
    theirs = rotation(backbone, {"turned": four_turns(crops)})
    turn = torch.arange(4).repeat(5)
    copies = crops.repeat_interleave(4, dim=0)
    ours = method.train()(backbone, {"crop": turned(copies, turn), "turn": turn, "index": torch.zeros(20, dtype=torch.int64)})
    torch.testing.assert_close(ours.loss, theirs.loss)
    torch.testing.assert_close(ours.metrics["turn_accuracy"], theirs.metrics["accuracy"])


def test_a_picture_is_turned_by_its_own_turn_after_it_was_cut() -> None:
    _, method = built(DeeperClusterConfig, clusters=3, groups=2)
    batch = a_batch(method)
    assert len(batch["turn"].unique()) > 2
    again = {**held_out_batch(method), "turn": torch.zeros(12, dtype=torch.int64)}
    upright = held_out.render(method, again, CPU)["crop"]
    for crop, straight, turn in zip(batch["crop"], upright, batch["turn"].tolist(), strict=True):
        assert torch.equal(crop, torch.rot90(straight, turn, (-2, -1)))


def held_out_batch(method: DeepCluster) -> Batch:
    return next(Feed({"": Stream("", SOURCE, method.view, 12)}, 0).batches(0, 1)).batch


def test_all_alike_costs_log_super_classes_and_log_clusters() -> None:
    _, method = built(DeeperClusterConfig, clusters=5, groups=3)
    for parameter in method.head.parameters():
        torch.nn.init.zeros_(parameter)
    embeddings = {"features": torch.randn(6, 64), "turn": torch.arange(6) % 4, "cluster": torch.arange(6)}
    step = method.train().objective(embeddings)
    assert step.loss.item() == pytest.approx(math.log(12) + math.log(5), abs=1e-5)
    assert step.metrics["chance_turn_accuracy"].item() == 0.25
    assert step.metrics["chance_accuracy"].item() == pytest.approx(1 / (4 * int((method.pseudo.sizes > 0).sum())))


def test_a_clusters_head_sees_the_pictures_of_its_own_super_class_alone() -> None:
    """Against a loop over pictures; heads of super-classes that are not in the batch get no gradient."""
    torch.manual_seed(0)
    head = TwoLevels(8, 6, 4)
    features, supers, sub = torch.randn(9, 8), torch.tensor([5, 0, 0, 3, 5, 3, 3, 0, 5]), torch.arange(9) % 4
    logits = head.of_clusters(features, supers)
    for row, one, number in zip(logits, features, supers.tolist(), strict=True):
        torch.testing.assert_close(row, head.subs["weight"][number] @ one + head.subs["bias"][number])
    F.cross_entropy(logits, sub).backward()
    gradient = head.subs["weight"].grad
    assert gradient is not None
    assert [bool(gradient[number].abs().sum() > 0) for number in range(6)] == [True, False, False, True, False, True]


def test_groups_are_clustered_apart() -> None:
    """Two clouds far apart are the groups; a cluster's number tells its group, and new pictures find both."""
    features = vectors()
    features[::2] += 40
    backbone, method = built(DeeperClusterConfig, clusters=4, groups=2, components=0)
    method.before_epoch(backbone, Epoch(0, SOURCE, lambda through: features))
    labels = method.pseudo.labels
    assert len((labels[::2] // 4).unique()) == len((labels[1::2] // 4).unique()) == 1
    assert int(method.pseudo.sizes.min()) > 0
    assert torch.equal(method.pseudo.of(features), labels)
    assert torch.equal(method.pseudo.of(features * 3), labels), "length counts for nothing"


def test_a_group_of_few_pictures_has_as_many_clusters_as_pictures() -> None:
    features = 1 + 0.3 * vectors()
    features[:3] -= 2
    backbone, method = built(DeeperClusterConfig, clusters=10, groups=2, components=0)
    plan = method.before_epoch(backbone, Epoch(0, SOURCE, lambda through: features))
    assert int((method.pseudo.sizes > 0).sum()) == 13
    assert plan.note.startswith("7 of 20 clusters are empty")
    assert torch.equal(method.pseudo.of(features[:3]), method.pseudo.labels[:3])
    assert plan.indices is not None
    shares = np.bincount(method.pseudo.labels.numpy()[plan.indices], minlength=20)
    assert sorted(shares.tolist())[7:] == [3] * 12 + [4]


def test_nothing_to_tell_apart_is_refused() -> None:
    with pytest.raises(UserError, match="one group of one cluster without rotation is nothing to tell apart"):
        DeeperClusterConfig(groups=1, clusters=1, rotation=False)
