"""Networks of other programs, opened from files in their own naming, give the very features that their own code gives."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from lightly.models import ResNetGenerator
from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
from safetensors.torch import save_file
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import Card, export_backbone, load_weights
from embodied_ssl.checkpoint import preprocessing as card_preprocessing
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import frozen
from embodied_ssl.evaluation.models import Model, open_model
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.views.pixels import network_input

PICTURES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
State = dict[str, Tensor]


def torchvision_resnet(depth: int = 18, small: bool = False) -> nn.Module:
    torch.manual_seed(7)
    net: nn.Module = getattr(torchvision.models, f"resnet{depth}")()
    if small:
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
    return net.eval()


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return torchvision_resnet()


@pytest.fixture(scope="module")
def plain(resnet18: nn.Module) -> State:
    return {name: tensor for name, tensor in resnet18.state_dict().items() if not name.startswith("fc.")}


@pytest.fixture(scope="module")
def vectors(resnet18: nn.Module) -> Tensor:
    """What torchvision's own forward gives before the classifier."""
    seen: list[Tensor] = []
    hook = resnet18.get_submodule("avgpool").register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(1)))
    with torch.no_grad():
        resnet18(PICTURES)
    hook.remove()
    return seen[0]


def look(model: Model) -> Tensor:
    with frozen(model.backbone):
        vector: Tensor = model.backbone(PICTURES).vector
    return vector


def wrapped(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state: State, prefix: str) -> State:
    """A second network of the same names, which must not be mistaken for the first."""
    return {prefix + name: torch.zeros_like(tensor) for name, tensor in state.items()}


HEAD = {"head.weight": torch.ones(3, 512)}
# Files as these programs write them, made from torchvision's weights by renaming (lightly's own modules are further below).
FILES: dict[str, Callable[[State], object]] = {
    "plain": lambda s: s,
    "torchvision with a classifier": lambda s: {**s, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)},
    "DataParallel": lambda s: wrapped(s, "module."),
    "compiled": lambda s: wrapped(s, "_orig_mod."),
    "solo-learn": lambda s: {
        "state_dict": {**wrapped(s, "backbone."), **other(s, "momentum_backbone."), "projector.0.weight": torch.ones(2)},
        "epoch": 3,
    },
    "old solo-learn": lambda s: {"state_dict": {**wrapped(s, "encoder."), "classifier.weight": torch.ones(10, 512)}},
    "MoCo v2": lambda s: {
        "arch": "resnet18",
        "state_dict": {
            **other(s, "module.encoder_k."),
            **wrapped(s, "module.encoder_q."),
            "module.encoder_q.fc.0.weight": torch.ones(512, 512),
            "module.queue": torch.ones(128, 9),
        },
    },
    "MoCo v3": lambda s: {"state_dict": {**other(s, "module.momentum_encoder."), **wrapped(s, "module.base_encoder.")}},
    "DINO": lambda s: {
        "student": other(s, "module.backbone."),
        "teacher": {**wrapped(s, "backbone."), "head.mlp.0.weight": torch.ones(2)},
        "args": argparse.Namespace(arch="resnet18", lr=0.1),
    },
    "DINO in parallel": lambda s: {"student": other(s, "module.backbone."), "teacher": wrapped(s, "module.backbone.")},
    "SwAV": lambda s: {
        **wrapped(s, "module."),
        "module.projection_head.0.weight": torch.ones(2),
        "module.prototypes.weight": torch.ones(2),
    },
    "VISSL": lambda s: {
        "classy_state_dict": {
            "base_model": {"model": {"trunk": wrapped(s, "_feature_blocks."), "heads": {"0.clf.0.weight": torch.ones(2)}}},
            "optimizer": {},
        }
    },
    "Barlow Twins": lambda s: {"model": {**wrapped(s, "module.backbone."), "module.projector.0.weight": torch.ones(2)}},
}


@pytest.mark.parametrize("program", FILES)
def test_the_namings_of_other_programs_are_recognised(tmp_path: Path, plain: State, vectors: Tensor, program: str) -> None:
    path = tmp_path / "weights.pth.tar"
    torch.save(FILES[program](plain), path)
    model = open_model(str(path))
    assert model.config == BackboneConfig("resnet18")
    assert model.role == "external"
    torch.testing.assert_close(look(model), vectors)


class LightlySimCLR(nn.Module):
    """As in lightly's examples: the children of a network in a row, numbered."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(net.children())[:-1])
        self.projection_head = SimCLRProjectionHead(512, 32, 16)


class LightlyMoCo(LightlySimCLR):
    def __init__(self, net: nn.Module, momentum: nn.Module) -> None:
        super().__init__(net)
        self.backbone_momentum = nn.Sequential(*list(momentum.children())[:-1])
        self.projection_head = MoCoProjectionHead(512, 32, 16)


class LightlyDINO(nn.Module):
    def __init__(self, net: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.student_backbone = nn.Sequential(*list(student.children())[:-1])
        self.student_head = SimCLRProjectionHead(512, 32, 16)
        self.teacher_backbone = nn.Sequential(*list(net.children())[:-1])
        self.teacher_head = SimCLRProjectionHead(512, 32, 16)


@pytest.mark.parametrize("kind", ["simclr", "moco", "dino"])
def test_lightlys_own_modules(tmp_path: Path, resnet18: nn.Module, vectors: Tensor, kind: str) -> None:
    net = {
        "simclr": lambda: LightlySimCLR(resnet18),
        "moco": lambda: LightlyMoCo(resnet18, torchvision.models.resnet18()),
        "dino": lambda: LightlyDINO(resnet18, torchvision.models.resnet18()),
    }[kind]()
    torch.save({"state_dict": net.state_dict(), "epoch": 1}, tmp_path / "last.ckpt")
    torch.testing.assert_close(look(open_model(str(tmp_path / "last.ckpt"))), vectors)


@pytest.mark.parametrize("numbered", [True, False])
def test_lightlys_small_resnet(tmp_path: Path, numbered: bool) -> None:
    """Its blocks say ``shortcut`` and its stem is 3 x 3: our small stem gives what its own modules give."""
    torch.manual_seed(3)
    net = ResNetGenerator("resnet-18").eval()
    layers = nn.Sequential(*list(net.children())[:-1]).eval()
    saved = layers if numbered else net
    torch.save({"state_dict": wrapped(saved.state_dict(), "backbone.")}, tmp_path / "small.ckpt")
    model = open_model(str(tmp_path / "small.ckpt"), size=32)
    assert model.config == BackboneConfig("resnet18", 3, "small")
    with torch.no_grad():  # its forward applies ReLU after the first BatchNorm, which holds no weights
        x = torch.relu(net.bn1(net.conv1(PICTURES)))
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
    torch.testing.assert_close(look(model), x.mean((2, 3)))


@pytest.mark.parametrize("depth", [34, 50])
def test_depth_is_told_by_the_blocks(tmp_path: Path, depth: int) -> None:
    save_file(torchvision_resnet(depth).state_dict(), tmp_path / "w.safetensors")
    assert open_model(str(tmp_path / "w.safetensors")).config == BackboneConfig(f"resnet{depth}")


def test_the_small_stem_is_seen_even_when_the_architecture_is_named(tmp_path: Path) -> None:
    torch.save(torchvision_resnet(small=True).state_dict(), tmp_path / "w.pt")
    for given in ("w.pt", "w.pt@resnet18", "w.pt@torchvision:resnet18"):
        config = open_model(str(tmp_path / given)).config
        assert config is not None
        assert config.stem == "small"


def test_a_classifier_of_imagenet_is_supervised_and_momentum_copies_are_listed(tmp_path: Path, plain: State) -> None:
    torch.save({**plain, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "r.pth")
    model = open_model(str(tmp_path / "r.pth"))
    assert (model.name, model.role, model.about["weights"]) == (
        "r",
        "supervised",
        "100 of 100 weights found; 2 left out (fc.bias, fc.weight)",
    )
    assert open_model(str(tmp_path / "r.pth"), role="external").role == "external"
    assert model.preprocessing == Preprocessing(224, 256)
    assert open_model(str(tmp_path / "r.pth"), size=96).preprocessing == Preprocessing(96, 110)


def test_a_partial_match_is_refused_below_the_share_and_said_above(tmp_path: Path, plain: State) -> None:
    """One of a ResNet-18's 100 weights is 1 %; batch counters do not count."""
    torch.save({n: t for n, t in plain.items() if n != "layer4.1.bn2.weight" and "num_batches" not in n}, tmp_path / "99.pt")
    model = open_model(str(tmp_path / "99.pt"))
    assert "99 of 100 weights found; 1 missing (layer4.1.bn2.weight)" in model.about["weights"]
    assert model.about["unmatched"] == ["layer4.1.bn2.weight"]
    with pytest.raises(UserError, match=r"99 of 100 weights found; 1 missing \(layer4.1.bn2.weight\); at least 100% must"):
        open_model(str(tmp_path / "99.pt"), least=1.0)
    with pytest.raises(UserError, match="99 of 100"):  # training begins from all of it or not at all
        load_weights(BackboneConfig("resnet18").build(), tmp_path / "99.pt")

    shapes = {**plain, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "layer1.0.bn1.bias": torch.zeros(3)}
    torch.save(shapes, tmp_path / "98.pt")
    with pytest.raises(UserError, match=r"2 of another shape \(layer1.0.conv1.weight is \(64, 64, 1, 1\) there and \(64, 64, 3"):
        open_model(str(tmp_path / "98.pt"))
    assert len(open_model(str(tmp_path / "98.pt"), least=0.98).about["unmatched"]) == 2


def test_another_architecture_is_refused(tmp_path: Path, plain: State) -> None:
    torch.save(plain, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"is not a conv4: 0 of 20 weights found; 20 missing"):
        open_model(f"{tmp_path / 'w.pt'}@conv4")
    with pytest.raises(UserError, match="no backbone 'resnet81', did you mean 'resnet18'"):
        open_model(f"{tmp_path / 'w.pt'}@resnet81")
    torch.save({"layer.weight": torch.ones(2)}, tmp_path / "unknown.pt")
    with pytest.raises(UserError, match=r"does not show its architecture \(its weights are layer.weight, ...\); name it"):
        open_model(str(tmp_path / "unknown.pt"))


def test_a_run_is_opened_with_its_card(tmp_path: Path) -> None:
    torch.manual_seed(5)
    backbone = BackboneConfig("conv4").build()
    origin = {"method": "RotationConfig", "seed": 3, "examples_seen": 640, "steps": 10, "data": {"data": "24 pictures"}}
    card = Card(BackboneConfig("conv4").to_json(), card_preprocessing(32), origin)
    export_backbone(tmp_path / "turned" / "backbone", backbone.net.state_dict(), card)
    for given in ("turned", "turned/backbone", "turned/backbone/model.safetensors"):
        model = open_model(str(tmp_path / given))
        assert (model.name, model.role, model.pretrain_seed, model.examples_seen) == ("turned", "run", 3, 640)
        assert model.config == BackboneConfig("conv4")
        assert model.preprocessing == Preprocessing(96, 112)
        assert all(
            torch.equal(a, b) for a, b in zip(model.backbone.state_dict().values(), backbone.state_dict().values(), strict=True)
        )
    assert open_model(str(tmp_path / "turned"), size=48).preprocessing == Preprocessing(48, 56)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_is_judged_on_what_it_was_fed(tmp_path: Path, channels: int) -> None:
    """Colour, mean and deviation of the card, and of a bare file of the same weights, are those of training's pictures."""
    config = BackboneConfig("resnet18", channels)
    card = Card(config.to_json(), card_preprocessing(32, channels), {})
    export_backbone(tmp_path / "run" / "backbone", config.build().net.state_dict(), card)
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_file(config.build().net.state_dict(), tmp_path / "bare.safetensors")
    for given in ("run", "bare.safetensors"):
        how = open_model(str(tmp_path / given)).preprocessing
        torch.testing.assert_close(how.render(pixels, channels), network_input(pixels, channels), rtol=1e-5, atol=1e-5)


def test_an_architecture_by_name_is_untrained_and_says_so() -> None:
    before = torch.random.get_rng_state()
    first, second, third = (open_model("torchvision:resnet18", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(look(first), look(second))
    assert not torch.equal(look(first), look(third))
    assert (first.name, first.role, first.pretrain_seed) == ("torchvision:resnet18 untrained", "external", 0)
    assert open_model("conv4").config == BackboneConfig("conv4")


def test_torchvision_networks_without_layers_are_cut_where_their_maps_shrink() -> None:
    model = open_model("torchvision:mobilenet_v3_small")
    with frozen(model.backbone):
        maps, vector = model.backbone(torch.zeros(1, 3, 224, 224))
    assert [m.shape[-1] for m in maps.values()] == [112, 56, 28, 14, 7]
    torch.testing.assert_close(vector, maps["features.12"].mean((2, 3)))
    with pytest.raises(UserError, match="torchvision has no network 'resnet81', did you mean 'resnet18'"):
        open_model("torchvision:resnet81")
    with pytest.raises(UserError, match=r"cannot be cut into stages .* give timm:NAME"):
        open_model("torchvision:vit_b_16")


def test_a_timm_transformer_gives_its_tokens_on_their_grid_and_its_class_token(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    torch.save(net.state_dict(), tmp_path / "vit.pth")
    model = open_model(f"{tmp_path / 'vit.pth'}@timm:vit_tiny_patch16_224")
    x = torch.randn(1, 3, 224, 224)
    with frozen(model.backbone):
        maps, vector = model.backbone(x)
    with torch.no_grad():
        tokens = net.forward_features(x)  # class token first, then 14 x 14 patches row by row, normalised
    torch.testing.assert_close(vector, tokens[:, 0])
    assert list(maps) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    last = net.norm(maps["blocks.11"].flatten(2).transpose(1, 2))
    torch.testing.assert_close(last, tokens[:, 1:])
    assert model.about["weights"].endswith("2 left out (head.bias, head.weight)")
    assert look(model).shape == (2, 192)  # other sizes pass


def test_a_timm_network_of_maps(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = open_model("timm:resnet10t")
    assert list(model.backbone.stages) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    net = timm.create_model("resnet10t", num_classes=0).eval()
    net.load_state_dict(model.backbone.net.state_dict())  # what is exported is timm's own network
    with torch.no_grad():
        torch.testing.assert_close(look(model), net(PICTURES))
    with pytest.raises(UserError, match="timm has no network 'resnet10x', did you mean"):
        open_model("timm:resnet10x")


FUNCTIONS = """
import torch
from torch import nn
from embodied_ssl.backbones import BackboneConfig

class Maps(nn.Module):
    def forward(self, x):
        return x[:, :, ::16, ::16] * 2

def maps(): return Maps()
def vectors(): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
def ours(): return BackboneConfig("conv4").build()
def number(): return 3
def pair(): return nn.Identity() if False else Pair()
def broken(): return nn.Linear(7, 7)

class Pair(nn.Module):
    def forward(self, x):
        return x, x
"""


def test_a_function_of_a_python_file(tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").write_text(FUNCTIONS)

    def opened(name: str) -> Model:
        return open_model(f"{tmp_path / 'my_networks.py'}:{name}", size=64)

    torch.testing.assert_close(look(opened("vectors")), PICTURES.mean((2, 3)))
    torch.testing.assert_close(look(opened("maps")), (PICTURES[:, :, ::16, ::16] * 2).mean((2, 3)))
    model = opened("vectors")
    assert (model.name, model.config, model.role) == ("my_networks:vectors", None, "external")
    assert model.backbone.width == 3
    assert opened("ours").backbone.stages == ("conv1", "conv2", "conv3", "conv4")
    for name, said in (
        ("number", "returns a int; it must return a torch.nn.Module"),
        ("pair", "gives tuple for pictures; it must give vectors"),
        ("broken", "my_networks:broken fails: RuntimeError"),
        ("absent", "has no function 'absent'"),
    ):
        with pytest.raises(UserError, match=said):
            opened(name)
    with pytest.raises(UserError, match="there is no file"):
        open_model(f"{tmp_path / 'none.py'}:maps")


@pytest.mark.parametrize("given", ["no/such/run", "resnet81", "no.pt@resnet18"])
def test_what_is_not_there_is_answered_with_what_is_accepted(given: str) -> None:
    with pytest.raises(UserError, match=r"there is no model .* accepted are a run folder.*FILE\.py:FUNCTION"):
        open_model(given)


def test_a_folder_without_a_card_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained backbone"):
        open_model(str(tmp_path))
