"""Checkpoints run no code, fail in one line, and export plain networks."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from embodied_ssl import checkpoint as checkpoints
from embodied_ssl.backbones import Backbone, BackboneConfig
from embodied_ssl.checkpoint import Card, adopt_buffers, export_backbone, load_backbone, load_checkpoint, load_weights
from embodied_ssl.errors import UserError


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.mark,)


def save(path: Path, step: int = 1) -> None:
    checkpoints.save_checkpoint(path, 0, step, [{"steps": 4}], {"w": torch.arange(3.0)}, {"state": {}})


def conv4(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return BackboneConfig("conv4").build()


def card(name: str = "conv4") -> Card:
    return Card({"name": name, "channels": 3, "stem": "large"}, checkpoints.preprocessing(32), {"method": "test"})


def same(one: Backbone, two: Backbone) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "last.pt", step=3)
    state = load_checkpoint(tmp_path / "last.pt")
    assert (state["stage"], state["step"], state["config"]) == (0, 3, '[{"steps": 4}]')
    assert torch.equal(state["learner"]["w"], torch.arange(3.0))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_holds_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    path, mark = tmp_path / "last.pt", tmp_path / "mark"
    torch.save({"format": 1, "learner": Evil(mark)}, path, _use_new_zipfile_serialization=zipped)
    for load in (load_checkpoint, lambda p: load_weights(conv4(), p)):
        with pytest.raises(UserError, match=r"holds more than tensors and is not loaded, because that could run code"):
            load(path)
    assert not mark.exists()


def test_a_bare_pickle_that_holds_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "last.pt", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(UserError, match=r"last\.pt"):
        load_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, 0.99])
def test_a_truncated_file_is_said_and_not_called_dangerous(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "last.pt"
    save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(UserError, match="cannot be read as a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_said_and_not_called_dangerous(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_text("not weights at all\n" * 10)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("state", [{"w": torch.zeros(2)}, [1, 2], {"format": 99}])
def test_another_programs_file_is_said(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(UserError, match="is not a checkpoint of embodied_ssl"):
        load_checkpoint(tmp_path / "last.pt")


def test_absent_files_and_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(UserError, match="does not exist"):
        load_weights(conv4(), tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"holds no backbone/model\.safetensors"):
        load_weights(conv4(), tmp_path)
    with pytest.raises(UserError, match=r"holds no trained backbone \(no backbone/card\.json\)"):
        load_backbone(tmp_path)


def test_a_kill_between_writing_and_renaming_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "last.pt", step=1)

    def killed(self: Path, target: Path) -> None:
        raise SystemExit(137)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(SystemExit):
        save(tmp_path / "last.pt", step=2)
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 1


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "last.pt", step=1)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        save(tmp_path / "last.pt", step=2)
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 1


# --- exported ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_an_exported_backbone_is_torchvisions_own_network_in_three_lines(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig(name).build().eval()
    export_backbone(tmp_path, backbone.net.state_dict(), card(name))

    import torchvision

    net = getattr(torchvision.models, name)()
    net.fc = nn.Identity()
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))

    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net.eval()(x), backbone(x).vector, rtol=1e-5, atol=1e-6)


def test_an_exported_backbone_comes_back_from_its_run(tmp_path: Path) -> None:
    backbone = conv4()
    export_backbone(tmp_path / "run" / "backbone", backbone.net.state_dict(), card())
    for given in (tmp_path / "run", tmp_path / "run" / "backbone", tmp_path / "run" / "backbone" / "model.safetensors"):
        again, read = load_backbone(given)
        assert same(backbone, again)
        assert read["preprocessing"]["size"] == 32


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"architecture": {"name": "conv4", "depth": 3}}', '{"architecture": 3}'])
def test_a_card_that_is_none_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UserError, match=r"card\.json' is not a backbone's card"):
        load_backbone(tmp_path)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "backbone.",
        "net.",
        "encoder.",
        "backbone.net.",
        "module.backbone.net.",
        "module.backbone.",
        "module.encoder.",
    ],
)
@pytest.mark.parametrize("head", [False, True])
def test_prefixes_are_stripped(tmp_path: Path, prefix: str, head: bool) -> None:
    """Whatever wrapped the network when it was saved, and whether or not a head was saved beside it."""
    source, target = conv4(1), conv4(2)
    state = {prefix + name: tensor for name, tensor in source.net.state_dict().items()}
    if head:
        outer = "module." if prefix.startswith("module.") else ""
        state[f"{outer}head.weight"] = torch.zeros(2)
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    left_out = load_weights(target, tmp_path / "w.pt")
    assert same(source, target)
    assert len(left_out) <= head


def test_a_classifier_is_left_out_and_named(tmp_path: Path) -> None:
    import torchvision

    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), tmp_path / "resnet18.pt")
    backbone = BackboneConfig("resnet18").build()
    assert load_weights(backbone, tmp_path / "resnet18.pt") == ["fc.bias", "fc.weight"]
    assert torch.equal(backbone.net.layer4[1].conv2.weight, net.layer4[1].conv2.weight)  # type: ignore[index]


def test_a_checkpoint_of_ours_is_weights_too(tmp_path: Path) -> None:
    source, target = conv4(1), conv4(2)
    learner = {f"backbone.{name}": tensor for name, tensor in source.state_dict().items()} | {"method.head.weight": torch.ones(1)}
    checkpoints.save_checkpoint(tmp_path / "last.pt", 0, 1, [], learner, {})
    load_weights(target, tmp_path / "last.pt")
    assert same(source, target)


@pytest.mark.parametrize("given", ["missing", "shapes"])
def test_another_architecture_is_named(tmp_path: Path, given: str) -> None:
    state = dict(conv4().net.state_dict())
    if given == "missing":
        del state["conv1.0.weight"]
    else:
        state["conv1.0.weight"] = torch.zeros(16, 1, 3, 3)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"is not a conv4: 19 of 20 weights found; 1 .*conv1\.0\.weight.* Choose the architecture: --set"
    ) as caught:
        load_weights(conv4(), tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("state", [torch.zeros(3), {"a": 3}, [torch.zeros(3)]])
def test_a_file_without_named_weights_is_said(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no weights by name; save a state_dict"):
        load_weights(conv4(), tmp_path / "w.pt")


def test_a_cut_safetensors_file_is_said(tmp_path: Path) -> None:
    save_file(conv4().net.state_dict(), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    for cut in (0, 4, 100, len(data) - 1):
        (tmp_path / "w.safetensors").write_bytes(data[:cut])
        with pytest.raises(UserError, match="cannot be read as safetensors"):
            load_weights(conv4(), tmp_path / "w.safetensors")


def test_buffers_take_the_stored_size_and_parameters_do_not() -> None:
    module = nn.Module()
    module.inner = nn.Linear(2, 2)
    module.inner.register_buffer("labels", torch.empty(0, dtype=torch.int64))
    module.register_buffer("kept", torch.ones(2))
    adopt_buffers(module, {"inner.labels": torch.arange(5), "kept": torch.zeros(2), "inner.weight": torch.zeros(9)})
    assert module.inner.labels.shape == (5,)  # type: ignore[union-attr]
    assert module.inner.labels.dtype == torch.int64  # type: ignore[union-attr]
    assert torch.equal(module.kept, torch.ones(2))  # type: ignore[arg-type]
    assert module.inner.weight.shape == (2, 2)
