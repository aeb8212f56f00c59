"""Crops of one picture: each of its own size and colours, the same through the network whatever they are grouped with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Batch
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, crops_of, vectors_of

STILL = ColourChange(change=0, grey=0)
NOISE = generator(0).integers(0, 256, (48, 64, 3), np.uint8)


def drawn(view: ColouredCrops, count: int = 3) -> Batch:
    examples = [view.draw({"picture": ArrayPicture(NOISE)}, generator(1, i)) for i in range(count)]
    return {name: torch.from_numpy(np.stack([example[name] for example in examples])) for name in examples[0]}


def test_every_crop_has_its_own_size_place_and_colours() -> None:
    view = ColouredCrops((Crop(32), Crop(32), Crop(16, (0.05, 0.2))))
    batch = drawn(view)
    assert [tuple(crop.shape[1:]) for crop in crops_of(view.render(batch))] == [(3, 32, 32), (3, 32, 32), (3, 16, 16)]
    assert not torch.equal(batch["crop0"], batch["crop1"])
    assert not torch.equal(batch["crop0_colours"], batch["crop1_colours"])
    assert view.size == 32


def test_the_whole_picture_is_its_largest_centred_square() -> None:
    view = ColouredCrops((Crop(32),), whole=48)
    batch = drawn(view, 1)
    assert torch.equal(batch["picture"][0], torch.from_numpy(NOISE[:, 8:56]))
    assert view.render(batch)["picture"].shape == (1, 3, 48, 48)


def test_a_crop_of_everything_in_its_own_colours_is_the_picture_or_its_mirror_image() -> None:
    square = np.ascontiguousarray(NOISE[:, :48])
    view = ColouredCrops((Crop(48, (1.0, 1.0), STILL),))
    for number in range(4):
        crop = view.draw({"picture": ArrayPicture(square)}, generator(2, number))["crop0"]
        assert np.array_equal(crop, square) or np.array_equal(crop, square[:, ::-1])


def test_blur_happens_where_it_is_asked_for() -> None:
    noise = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    factors = torch.tensor([[1.0, 1, 1, 0, 0, 2]])
    batch = {"crop0": noise, "crop0_colours": factors, "crop1": noise, "crop1_colours": factors}
    blurred = Crop(32, colour=ColourChange(blur=1.0))
    sharp, soft = crops_of(ColouredCrops((Crop(32), blurred)).render(batch))
    assert float(soft.std()) < 0.8 * float(sharp.std())


def test_vectors_come_in_the_order_of_the_crops_with_one_pass_a_size() -> None:
    backbone = BackboneConfig("conv4").build().eval()
    crops = [torch.randn(2, 3, size, size) for size in (32, 16, 32, 16)]
    passes: list[int] = []
    with backbone.register_forward_pre_hook(lambda module, given: passes.append(len(given[0]))):
        found = vectors_of(backbone, crops)
    assert passes == [4, 4]
    for crop, vector in zip(crops, found, strict=True):
        torch.testing.assert_close(vector, backbone(crop).vector)


def test_crops_of_a_size_share_batch_norm() -> None:
    backbone = BackboneConfig("conv4").build().train()
    norm = next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
    vectors_of(backbone, [torch.randn(2, 3, 32, 32) for _ in range(3)])
    assert int(norm.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_what_cannot_be_cropped_is_refused() -> None:
    with pytest.raises(UserError, match="size is 4; give at least 8"):
        Crop(4)
    with pytest.raises(UserError, match="0 crops"):
        ColouredCrops(())
    with pytest.raises(BadItem, match="too few to see anything"):
        ColouredCrops((Crop(),)).draw({"picture": ArrayPicture(NOISE[:4])}, generator(0))
