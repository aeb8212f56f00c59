from pathlib import Path

import numpy as np
import pytest
import torch

from embodied_ssl.backbones import Backbone, BackboneConfig, Features
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.descriptors import DESCRIPTORS, colour_histogram, describe, gist, raw16
from embodied_ssl.evaluation.features import extract, weights_hash
from embodied_ssl.evaluation.pictures import Pictures, Preprocessing, read_pictures

SMALL = Preprocessing(size=24, resize=28)


@pytest.fixture
def net() -> Backbone:
    torch.manual_seed(0)
    return BackboneConfig("conv4").build()


@pytest.fixture
def folder(tmp_path: Path) -> ClassFolder:
    return ClassFolder.tiny(tmp_path / "tiny")


def test_features_equal_a_slow_loop_over_single_pictures(net: Backbone, folder: ClassFolder) -> None:
    source = folder.open("train")
    table = extract(net, SMALL, source, batch_size=5)
    assert table.layers == ("conv1", "conv2", "conv3", "conv4")  # no "vector": it is the last map's average
    assert table.last == "conv4"
    net.eval()
    for index in range(len(source)):
        pixels = SMALL.crop(source[index]["picture"])
        x = torch.tensor(pixels).double().permute(2, 0, 1) / 255
        x = (x - torch.tensor(SMALL.mean).double()[:, None, None]) / torch.tensor(SMALL.std).double()[:, None, None]
        with torch.no_grad():
            for part in net.net:  # type: ignore[attr-defined]
                x = part(x.float()[None])[0]
                name = f"conv{1 + list(net.net).index(part)}"  # type: ignore[call-overload]
                np.testing.assert_allclose(table.features[name][index], x.mean((1, 2)).numpy(), rtol=1e-4, atol=1e-5)
        assert table.labels[index] == source[index]["label"]


def test_extraction_leaves_no_trace(net: Backbone, folder: ClassFolder) -> None:
    net.train()
    net.net.get_submodule("conv2").eval()  # a mode of its own must survive
    modes = [module.training for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    table = extract(net, SMALL, folder.open("train"))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    np.testing.assert_array_equal(table.features["conv4"], extract(net.eval(), SMALL, folder.open("train")).features["conv4"])


def test_a_failing_network_gets_its_mode_back(net: Backbone, folder: ClassFolder) -> None:
    net.train()
    with pytest.raises(UserError, match="takes 3 channels"):
        extract(net, Preprocessing(size=24, resize=28, mean=(0.5, 0.5), std=(0.5, 0.5)), folder.open("train"))
    assert net.training


def test_a_vector_of_its_own_is_a_layer(net: Backbone, folder: ClassFolder) -> None:
    class MaxPooled(Backbone):
        def forward(self, pictures: torch.Tensor) -> Features:
            maps, _ = super().forward(pictures)
            return Features(maps, maps["conv4"].amax(dim=(2, 3)))

    pooled = MaxPooled("max", net.net, net.parts, 3)
    assert extract(pooled, SMALL, folder.open("train")).layers == ("conv1", "conv2", "conv3", "conv4", "vector")


def test_a_corrupt_picture_is_left_out_counted_and_named(net: Backbone, folder: ClassFolder) -> None:
    broken = Path(folder.root) / "train" / "green" / "green02.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (broken.parent / "empty.png").write_bytes(b"")
    table = extract(net, SMALL, folder.open("train"))
    assert len(table.labels) == 17 == len(table.recordings) == len(table.features["conv1"])
    assert sorted(Path(item.name).name for item in table.bad) == ["empty.png", "green02.png"]
    assert np.bincount(table.labels).tolist() == [6, 5, 6]


def test_nothing_readable_is_the_users_mistake(folder: ClassFolder) -> None:
    for path in Path(folder.root).rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"no picture of .* can be read"):
        read_pictures(folder.open("train"), SMALL)


def test_cached_features_are_read_back_and_follow_weights_pixels_and_preprocessing(
    net: Backbone, folder: ClassFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    source = folder.open("train")
    first = extract(net, SMALL, source, cache=cache)
    assert len(list(cache.iterdir())) == 1  # and no temporary file
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "forward", lambda *_: pytest.fail("the cache was not used"))
        again = extract(net, SMALL, source, cache=cache)
    assert again.layers == first.layers
    for layer in first.layers:
        np.testing.assert_array_equal(again.features[layer], first.features[layer])
    extract(net, Preprocessing(size=20, resize=28), source, cache=cache)
    extract(net, SMALL, folder.open("held_out"), cache=cache)
    with torch.no_grad():
        next(net.parameters()).add_(1)
    extract(net, SMALL, source, cache=cache)
    assert len(list(cache.iterdir())) == 4
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    extract(net, SMALL, source, cache=cache)  # half a file is computed anew


def test_the_weights_hash_sees_every_parameter_and_buffer(net: Backbone) -> None:
    before = weights_hash(net)
    net.net.get_submodule("conv4.1").running_mean[3] += 1e-3  # type: ignore[index]
    assert weights_hash(net) != before


def test_the_crop_is_the_centre_whatever_the_shape() -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, 20:80] = 200  # the centre square
    assert (Preprocessing(size=50, resize=60).crop(ArrayPicture(pixels)) == 200).all()
    assert Preprocessing(size=16, resize=16).crop(ArrayPicture(np.zeros((1, 5000, 3), np.uint8))).shape == (16, 16, 3)


def test_grey_fills_the_channels_there_are() -> None:
    grey = Preprocessing(size=4, resize=4, mean=(0.5,), std=(0.5,), colour="grey")
    x = grey.render(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8), channels=1)
    assert x.shape == (2, 1, 4, 4)
    torch.testing.assert_close(x, torch.ones_like(x))


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 64, "resize": 32}, {"colour": "BGR"}])
def test_impossible_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Preprocessing(**wrong)  # type: ignore[arg-type]


def test_preprocessing_comes_back_from_json() -> None:
    assert Preprocessing(**SMALL.to_json()) == SMALL


def test_descriptors_know_what_they_should() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 96, 96, 3)).astype(np.uint8)
    flat = np.full((1, 32, 32, 3), (255, 0, 70), np.uint8)
    assert raw16(pixels).shape == (3, 256)
    np.testing.assert_allclose(raw16(np.full((1, 96, 96, 3), 51, np.uint8)), 0.2, atol=1e-6)
    assert colour_histogram(flat)[0, 3 * 16 + 0 * 4 + 1] == 1
    np.testing.assert_allclose(colour_histogram(pixels).sum(1), 1, rtol=1e-6)
    assert gist(pixels).shape == (3, 512)
    assert gist(np.full((1, 96, 96, 3), 128, np.uint8)).max() < 1e-3  # no edges, no energy
    assert (gist(pixels[:1]) == gist(pixels)[:1]).all() or np.allclose(gist(pixels[:1]), gist(pixels)[:1], rtol=1e-4, atol=1e-5)


def test_gist_tells_direction_and_scale() -> None:
    line = np.arange(96)
    stripes = {f: (127 + 100 * np.sin(2 * np.pi * f * line)).astype(np.uint8) for f in (0.3, 0.3 / 1.85**2)}
    for scale, (f, wave) in zip((0, 2), stripes.items(), strict=True):
        upright = np.repeat(np.tile(wave, (96, 1))[None, :, :, None], 3, axis=3)
        energy = gist(upright)[0].reshape(4, 8, 16).sum(2)
        assert np.unravel_index(energy.argmax(), energy.shape)[0] == scale, f
        across = gist(upright.transpose(0, 2, 1, 3))[0].reshape(4, 8, 16).sum(2)
        assert abs(int(energy[scale].argmax()) - int(across[scale].argmax())) == 4  # a quarter turn


def test_an_unknown_descriptor_is_refused() -> None:
    pictures = Pictures(np.zeros((2, 28, 28, 3), np.uint8), np.arange(2), np.zeros(2, np.int64), ("a", "b"))
    with pytest.raises(UserError, match="did you mean 'gist'"):
        describe("gits", pictures, SMALL)
    for name in DESCRIPTORS:
        assert np.isfinite(describe(name, pictures, SMALL).features[name]).all()
