"""Every built-in backbone: stages, maps, vectors and copies."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, BackboneConfig, described, names, untrained
from embodied_ssl.checkpoint import Card, export_backbone, load_backbone
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing
from embodied_ssl.evaluation.protocols.few_labels import FewLabels
from embodied_ssl.evaluation.training.loop import Labelled, Showing, train

WIDTHS = {
    "alexnet": 256,
    "conv4": 64,
    "convnet_quick": 1024,
    "densenet121": 1024,
    "exemplar_cnn": 1024,
    "googlenet": 1024,
    "nin": 192,
    "nin3": 192,
    "nin5": 192,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "vgg16": 512,
    "vit_small": 384,
}
CPU = torch.device("cpu")
STAGES = {"convnet_quick": 3, "conv4": 4, "exemplar_cnn": 3, "nin": 4, "nin3": 3, "vit_small": 4}


@pytest.fixture(params=names(), scope="module")
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return BackboneConfig(request.param).build().eval()


def look(backbone: Backbone, size: int = 64, n: int = 2) -> torch.Tensor:
    return torch.randn(n, backbone.channels, size, size, generator=torch.Generator().manual_seed(1))


def test_the_width_is_the_vectors(backbone: Backbone) -> None:
    features = backbone(look(backbone))
    assert features.vector.shape == (2, backbone.width) == (2, WIDTHS[backbone.name])


def test_there_is_a_map_for_every_stage_in_order(backbone: Backbone) -> None:
    maps = backbone(look(backbone)).maps
    assert tuple(maps) == backbone.stages
    assert len(maps) == STAGES.get(backbone.name, 5)


def test_maps_only_shrink_on_the_way_down(backbone: Backbone) -> None:
    sizes = [tuple(one.shape[2:]) for one in backbone(look(backbone)).maps.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] or backbone.name == "vit_small"  # whose places stay as many


def test_the_vector_is_the_mean_of_the_last_map(backbone: Backbone) -> None:
    if backbone.name == "vit_small":
        return  # its vector is the class token
    if backbone.name == "exemplar_cnn":
        return  # its vector is the greatest of each quarter
    features = backbone(look(backbone))
    last = features.maps[backbone.stages[-1]]
    if backbone.name == "convnet_quick":  # of its own, 16 places in a row
        assert last.shape[2:] == (8, 8)
        last = last.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5)).reshape(2, 64, 1, 16)
        features = features._replace(vector=features.vector.view(2, 64, 16).mean(2))
    torch.testing.assert_close(features.vector, last.mean((2, 3)))


def test_the_quick_net_is_as_published() -> None:
    """Maps of 16, 8 and 4 places a side; 79,328 weights under the fully connected layers, of 3 channels as in Caffe's."""
    backbone = BackboneConfig("convnet_quick").build().eval()
    features = backbone(look(backbone, size=32))
    assert [tuple(one.shape[1:]) for one in features.maps.values()] == [(32, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert torch.equal(features.vector, features.maps["conv3"].flatten(1))
    filters = [(32, 3), (32, 32), (64, 32)]
    assert sum(p.numel() for p in backbone.parameters()) == sum(o * i * 25 + o for o, i in filters) == 79_328


def test_the_exemplar_net_is_as_published() -> None:
    """64c5-128c5-256c5, pooled after the first two; the greatest of each quarter is kept."""
    backbone = BackboneConfig("exemplar_cnn").build().eval()
    features = backbone(look(backbone, size=32))
    assert [tuple(one.shape[1:]) for one in features.maps.values()] == [(64, 16, 16), (128, 8, 8), (256, 8, 8)]
    last = features.maps["conv3"]
    quarters = [last[:, :, y : y + 4, x : x + 4].amax((2, 3)) for y in (0, 4) for x in (0, 4)]
    assert torch.equal(features.vector.view(2, 256, 4), torch.stack(quarters, dim=2))
    filters = [(64, 3), (128, 64), (256, 128)]
    assert sum(p.numel() for p in backbone.parameters()) == sum(o * i * 25 + o for o, i in filters)


# Networks of other libraries


def theirs(name: str) -> Any:
    """The network as its own library makes it, without the classifier."""
    if name == "vit_small":
        return timm.create_model("vit_small_patch16_224", num_classes=0)
    if name == "vgg16":  # without the fully connected layers, of 120 million weights
        features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
        return torch.nn.Sequential(OrderedDict(features=features))
    more = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    net = torchvision.models.get_model(name, weights=None, **more)
    setattr(net, "classifier" if name == "densenet121" else "fc", torch.nn.Identity())
    return net


@pytest.mark.parametrize("name", ["vgg16", "googlenet", "densenet121", "vit_small"])
def test_an_exported_network_is_the_librarys_own(name: str, tmp_path: Path) -> None:
    """All of its weights under its own names, and the same vector: what comes before the classifier."""
    backbone, net = untrained(BackboneConfig(name), 0).eval(), theirs(name)
    for module in backbone.modules():  # as after training: BatchNorm that does something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    export_backbone(tmp_path, backbone.net.state_dict(), Card(BackboneConfig(name).to_json(), {}, {}))
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))
    run = net.eval().features[:-1] if name == "vgg16" else net.eval()
    pictures = look(backbone, size=224 if name == "vit_small" else 96)  # theirs takes no other size
    with torch.no_grad():
        found, expected = backbone(pictures), run(pictures)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(found.vector, expected.mean((2, 3)) if expected.ndim == 4 else expected, rtol=1e-4, atol=1e-5)
    again, _ = load_backbone(tmp_path)
    assert torch.equal(again.eval()(pictures).vector, found.vector)


def test_vgg_is_torchvisions_with_batch_norm() -> None:
    """13 convolutions; of torchvision's 138,365,992 weights all but the 123,642,856 of its fully connected layers."""
    backbone = BackboneConfig("vgg16").build()
    assert sum(p.numel() for p in backbone.parameters()) == 138_365_992 - 123_642_856
    deviations = [
        float(m.weight.detach().std()) / (2 / (9 * m.out_channels)) ** 0.5
        for m in backbone.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    assert deviations == pytest.approx([1] * 13, rel=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", [(64, 48), (128, 24), (256, 12), (512, 6), (512, 6)]),
        ("googlenet", [(64, 24), (192, 24), (480, 12), (832, 6), (1024, 3)]),
        ("densenet121", [(64, 24), (256, 24), (512, 12), (1024, 6), (1024, 3)]),
        ("vit_small", [(384, 6)] * 4),
        ("resnet18", [(64, 24), (64, 24), (128, 12), (256, 6), (512, 3)]),
        ("resnet50", [(64, 24), (256, 24), (512, 12), (1024, 6), (2048, 3)]),
        ("alexnet", [(96, 12), (256, 6), (384, 6), (384, 6), (256, 3)]),
    ],
)
def test_stages_of_96_pixels_are_as_published(name: str, expected: list[tuple[int, int]]) -> None:
    backbone = untrained(BackboneConfig(name), 0).eval()
    with torch.no_grad():
        maps = backbone(look(backbone, size=96, n=1)).maps
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(width, side, side) for width, side in expected]


@pytest.mark.parametrize(("name", "side"), [("vgg16", 16), ("googlenet", 15), ("densenet121", 29)])
def test_the_smallest_picture_is_the_one_below_which_the_librarys_own_fails(name: str, side: int) -> None:
    backbone, net = untrained(BackboneConfig(name), 0).eval(), theirs(name).eval()
    run = net.features[:-1] if name == "vgg16" else net
    with torch.no_grad():
        assert run(torch.zeros(1, 3, side, side)).shape[1] == backbone(torch.zeros(1, 3, side, side)).vector.shape[1]
        with pytest.raises(RuntimeError):
            run(torch.zeros(1, 3, side - 1, side - 1))
        message = f"{name} needs pictures of at least {side} pixels a side, these have {side - 1}; make them larger, or choose"
        with pytest.raises(UserError, match=message):
            backbone(torch.zeros(1, 3, 40, side - 1))


def test_the_listed_smallest_picture_is_the_one_that_is_checked(backbone: Backbone) -> None:
    told = described()[backbone.name]
    assert backbone.smallest == 1 or f"at least {backbone.smallest} pixels" in told
    assert backbone.smallest > 1 or "at least" not in told


def test_tiles_of_24_to_64_pixels_pass_every_net_that_takes_them(backbone: Backbone) -> None:
    """Patches, as relative_patch and jigsaw cut them: one place is left of the smallest."""
    with torch.no_grad():
        for side in (24, 32, 64):
            if side >= backbone.smallest:
                features = backbone(look(backbone, side))
                assert torch.isfinite(features.vector).all()
                assert min(min(one.shape[2:]) for one in features.maps.values()) >= 1
            else:
                assert backbone.name == "densenet121"


def test_the_vit_takes_any_size_from_16() -> None:
    """Positions are resampled, and what is no multiple of 16 is filled up."""
    backbone = untrained(BackboneConfig("vit_small"), 0).eval()
    for side in (16, 24, 64, 96, 227):
        with torch.no_grad():
            features = backbone(look(backbone, side, n=1))
        assert features.maps[backbone.stages[-1]].shape == (1, 384, -(-side // 16), -(-side // 16))
    with pytest.raises(UserError, match="vit_small needs pictures of at least 16 pixels"):
        backbone(torch.zeros(1, 3, 15, 16))


# RotNet's network in network


@pytest.mark.parametrize(("name", "blocks"), [("nin3", 3), ("nin", 4), ("nin5", 5)])
def test_the_nin_is_rotnets(name: str, blocks: int) -> None:
    """Maps and weights of every block as its table says; no convolution has a bias."""
    backbone = BackboneConfig(name).build().eval()
    maps = backbone(look(backbone, size=32)).maps
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(96, 16, 16), *[(192, 8, 8)] * (blocks - 1)]
    assert list(maps) == [f"block{number}" for number in range(1, blocks + 1)]
    first = 3 * 192 * 25 + 192 * 160 + 160 * 96 + 2 * (192 + 160 + 96)  # the last of each sum: BatchNorm's scale and shift
    second = 96 * 192 * 25 + 2 * 192 * 192 + 2 * 3 * 192
    later = 192 * 192 * 9 + 2 * 192 * 192 + 2 * 3 * 192
    assert sum(p.numel() for p in backbone.parameters()) == first + second + (blocks - 2) * later
    assert not any(isinstance(m, torch.nn.Conv2d) and m.bias is not None for m in backbone.modules())


def test_the_nin_is_what_its_layers_say_one_after_another() -> None:
    """A slow reading of the paper's table, with no module of ours in it."""
    backbone = BackboneConfig("nin").build().eval()
    x = look(backbone, size=33)
    expected = {}
    for block, kernel in (("block1", 5), ("block2", 5), ("block3", 3), ("block4", 3)):
        state = backbone.net.get_submodule(block).state_dict()
        for number, side in enumerate((kernel, 1, 1)):
            norm = f"{3 * number + 1}"
            x = F.conv2d(x, state[f"{3 * number}.weight"], padding=side // 2)
            x = (x - state[f"{norm}.running_mean"].view(-1, 1, 1)) / (state[f"{norm}.running_var"].view(-1, 1, 1) + 1e-5).sqrt()
            x = F.relu(x * state[f"{norm}.weight"].view(-1, 1, 1) + state[f"{norm}.bias"].view(-1, 1, 1))
        if block == "block1":
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)
        if block == "block2":
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
        expected[block] = x
    maps = backbone(look(backbone, size=33)).maps
    for block, one in expected.items():
        torch.testing.assert_close(maps[block], one, rtol=1e-4, atol=1e-5)


def test_the_nin_starts_as_he_et_al_draw() -> None:
    """Standard deviation sqrt(2 / (k k out)) in every convolution."""
    torch.manual_seed(0)
    for module in BackboneConfig("nin").build().modules():
        if isinstance(module, torch.nn.Conv2d):
            expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.03)
            assert float(module.weight.detach().mean()) == pytest.approx(0, abs=0.05 * expected)


def test_rotnet_semi_block2_gives_192_x_8_x_8_and_the_trunk_stays_to_the_bit() -> None:
    """Row "RotNet semi" of the oracle table, through the protocol itself: a new block learns on block 2 of four."""
    protocol = FewLabels(shots=(2,), examples=8, showing=Showing(batch_size=4, precision="fp32"))
    backbone = untrained(BackboneConfig("nin"), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 36, 36, 3), np.uint8)
    pictures = Pictures(pixels, np.arange(4, dtype=np.intp), np.array([0, 0, 1, 1]), tuple("abcd"))
    data = Labelled(pictures, pictures.rows, 2, Preprocessing(32, 36))
    model, groups, stage = protocol.model(copy.deepcopy(backbone), 32, 2, "semi")
    assert stage == "block2"  # the middle of four
    assert model.backbone.eval()(torch.zeros(1, 3, 32, 32)).maps[stage].shape == (1, 192, 8, 8)
    head = copy.deepcopy(model.head.state_dict())
    train(model, groups, [protocol.phase(len(groups), len(data))], data, protocol.showing, protocol.optimizer, CPU, "semi")
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in backbone.state_dict().items())
    assert not any(torch.equal(value, head[name]) for name, value in model.head.state_dict().items() if "num" not in name)


@pytest.mark.parametrize("name", ["alexnet", "convnet_quick", "resnet18"])
def test_pictures_of_the_papers_227_pixels_pass(name: str) -> None:
    features = BackboneConfig(name).build().eval()(torch.randn(1, 3, 227, 227))
    assert features.vector.shape == (1, WIDTHS[name])
    if name == "alexnet":
        assert [tuple(one.shape[1:]) for one in features.maps.values()][-1] == (256, 8, 8)


def test_examples_do_not_see_each_other_in_eval_mode(backbone: Backbone) -> None:
    pictures = look(backbone, n=3)
    torch.testing.assert_close(backbone(pictures[1:2]).vector, backbone(pictures).vector[1:2], rtol=1e-3, atol=1e-4)


def test_a_deep_copy_runs_its_own_weights(backbone: Backbone) -> None:
    """A momentum encoder is a deep copy; it must neither follow its original nor move it."""
    pictures = look(backbone)
    with torch.no_grad():
        before = backbone(pictures).vector
        twin = copy.deepcopy(backbone)
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        assert torch.equal(backbone(pictures).vector, before)
        after = twin(pictures).vector
        assert not torch.equal(after, before)
        third = copy.deepcopy(twin)
        for parameter in twin.parameters():
            parameter.mul_(3)
        assert torch.equal(third(pictures).vector, after)


def test_other_sizes_pass(backbone: Backbone) -> None:
    assert backbone(look(backbone, size=96)).vector.shape == (2, backbone.width)


def test_all_parameters_are_used(backbone: Backbone) -> None:
    backbone.zero_grad()
    backbone(look(backbone)).vector.square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("stem", ["large", "small"])
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", ["resnet18", "alexnet", "conv4"])
def test_channels_and_stem_are_as_asked(name: str, channels: int, stem: str) -> None:
    backbone = BackboneConfig(name, channels, stem).build().eval()  # type: ignore[arg-type]
    features = backbone(look(backbone, size=32))
    assert backbone.channels == channels
    assert features.vector.shape == (2, WIDTHS[name])
    if name == "resnet18":
        assert features.maps["stem"].shape[2] == (8 if stem == "large" else 32)


@pytest.mark.parametrize("name", ["nin", "vgg16", "googlenet", "densenet121", "vit_small"])
def test_grey_pictures_have_a_first_layer_of_their_own(name: str) -> None:
    backbone = BackboneConfig(name, channels=1).build().eval()
    with torch.no_grad():
        assert backbone(look(backbone, size=32, n=1)).vector.shape == (1, WIDTHS[name])
        with pytest.raises(RuntimeError):
            backbone(torch.zeros(1, 3, 32, 32))


def test_building_leaves_the_statistics_and_the_mode_alone() -> None:
    backbone = BackboneConfig("conv4").build()
    assert backbone.training
    assert backbone.net.training
    assert int(backbone.net.conv1[1].num_batches_tracked) == 0  # type: ignore[index, arg-type]


def test_the_same_seed_gives_the_same_weights() -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(3)
        ends.append(BackboneConfig("resnet18").build().state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no backbone 'resnet81', did you mean 'resnet18'\?"):
        BackboneConfig("resnet81").build()
    with pytest.raises(
        UserError, match=r"no backbone 'qq'; there is alexnet, conv4, convnet_quick, densenet121, .*, vgg16, vit_small"
    ):
        BackboneConfig("qq").build()


def test_timm_without_timm_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("timm:resnet10t", "vit_small"):
        with pytest.raises(UserError, match=f"backbone '{name}' needs timm; pip install"):
            BackboneConfig(name).build()
