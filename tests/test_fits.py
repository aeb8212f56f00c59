"""Every method can fit a handful of samples, judged by its own score in a way that a collapsed network cannot pass."""

from __future__ import annotations

from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from made_up import Listed, MemoryFrames, pictures

from embodied_ssl import held_out
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import MethodConfig
from embodied_ssl.core import Learner
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW
from embodied_ssl.datasets.source import Pixels, Sample, Source
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.embodied.ego_motion_classification import EgoMotionClassificationConfig
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.interaction import InteractionConfig
from embodied_ssl.methods.embodied.slow_features import SlowFeaturesConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.video.temporal_order import TemporalOrderConfig
from embodied_ssl.views.colour import ColourChange

CPU = torch.device("cpu")


def fit(config: MethodConfig, source: Source, steps: int, batch_size: int, rate: float = 3e-3) -> dict[str, float]:
    """Train on the samples and put held-out questions about the same ones."""
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    learner = Learner(backbone, config.build(backbone)).train()
    learner.method.fit(source, generator(0, "fit"))
    feed = Feed({"": Stream("", source, learner.method.view, batch_size)}, seed=0)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for fed in feed.batches(0, steps):
        optimizer.zero_grad()
        learner(held_out.render(learner.method, fed.batch, CPU)).loss.backward()
        optimizer.step()
        schedule.step()
    return held_out.figures_of(held_out.replies(learner, feed, 64, CPU, nullcontext))


def textures(count: int, height: int = 40, width: int = 40) -> list[Pixels]:
    """Smooth random colours, each picture different."""
    return [
        cv2.resize(generator("texture", i).integers(0, 256, (4, 4, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        for i in range(count)
    ]


def test_rotation_fits_eight_pictures() -> None:
    scores = fit(RotationConfig(size=32, area=(0.8, 1.0)), pictures(textures(8)), steps=120, batch_size=8)
    assert scores["accuracy"] > 0.95


def test_simclr_fits_eight_pictures_without_collapse() -> None:
    colour = ColourChange(0.1, 0.1, 0.1, 0.02, grey=0)
    config = SimCLRConfig(size=32, area=(0.6, 1.0), colour=colour, hidden=64, out=32)
    scores = fit(config, pictures(textures(8)), steps=100, batch_size=8)
    assert scores["accuracy"] > 0.9
    assert scores["spread"] > 0.3


def crossing(number: int) -> MemoryFrames:
    """A bright bar that crosses a dark picture, to the left or to the right, at a height of its own."""
    frames = np.full((48, 32, 40, 3), 30, np.uint8)
    for k in range(48):
        place = round(k * 32 / 47)
        left = place if number % 2 else 32 - place
        frames[k, 4 + 2 * number : 12 + 2 * number, left : left + 8] = 220
    return MemoryFrames(frames)


def test_temporal_order_fits_eight_videos() -> None:
    source = Listed([{"frames": crossing(i), "index": i} for i in range(8)])
    config = TemporalOrderConfig(size=32, tau_min=8, tau_max=20, area=(0.9, 1.0), hidden=128)
    scores = fit(config, source, steps=160, batch_size=32)
    assert scores["balanced_accuracy"] > 0.9
    assert scores["auc"] > 0.95


def drive(number: int) -> Sample:
    """A look at a wide picture, then one to the left, one to the right, and one nearer."""
    wide = textures(8, 40, 120)[number]
    middle, near = wide[:, 40:80], cv2.resize(wide[6:34, 46:74], (40, 40))
    frames = np.stack([middle, wide[:, 26:66], wide[:, 54:94], near])
    jitter = generator("drive", number).normal(size=(3, 2)) * 0.02
    motions = np.array([[0.0, 0.5], [0.0, -0.5], [1.0, 0.0]]) + jitter
    return {"frames": MemoryFrames(frames), "frame": 0, "later": np.arange(1, 4), "motions": motions, "index": number}


def drives() -> Listed:
    source = Listed([drive(i) for i in range(8)])
    source.motion_axes = (FORWARD, LEFT_YAW)
    return source


def test_ego_motion_fits_eight_places() -> None:
    config = EgoMotionEquivarianceConfig(size=32, clusters=3, keep=3, dim=16, flip=False, area=(0.95, 1.0))
    scores = fit(config, drives(), steps=250, batch_size=16)
    assert scores["balanced_accuracy"] > 0.9


def test_ego_motion_classification_fits_eight_places() -> None:
    source = Listed([drive(i) for i in range(8)])
    source.motion_axes = (FORWARD, LEFT_YAW)
    config = EgoMotionClassificationConfig(size=32, bins=5, reach=1.5, hidden=64, flip=False, area=(0.95, 1.0))
    scores = fit(config, source, steps=200, batch_size=16)
    assert scores["left_yaw_balanced_accuracy"] > 0.8


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_slow_features_fit_eight_videos_without_collapse(distance: str) -> None:
    source = Listed([{"frames": crossing(i), "index": i} for i in range(8)])
    config = SlowFeaturesConfig(size=32, distance=distance, dim=16, near_seconds=0.1, far_seconds=0.5, flip=False)  # type: ignore[arg-type]
    scores = fit(config, source, steps=120, batch_size=16)
    assert scores["auc"] > 0.95
    assert scores["far_distance"] > 0.5
    assert scores["spread"] > 0.3


def touch(number: int) -> Sample:
    """Every second one a push, the others pokes; what happens follows from the picture in no way but by heart."""
    rng = generator("touch", number)
    before, after = (ArrayPicture(textures(16)[i]) for i in (number, 8 + number))
    empty = {"grasp": np.zeros(4, np.float32), "push": np.zeros(5, np.float32), "poke": np.zeros(4, np.float32)}
    if number % 2:
        empty["push"] = np.array([*rng.uniform(5, 35, 4), rng.uniform(0, 0.1)], np.float32)
    else:
        empty["poke"] = np.array([20, 20, rng.uniform(0, 3), rng.uniform(0, 1)], np.float32)
    return {"before": before, "after": after, "task": 1 if number % 2 else 2, "index": number, **empty}


def test_interaction_fits_eight_touches() -> None:
    config = InteractionConfig(size=32, jitter=0.0, hidden=64)
    scores = fit(config, Listed([touch(i) for i in range(8)]), steps=150, batch_size=8)
    assert scores["push_r2"] > 0.7
    assert scores["poke_r2"] > 0.7


@pytest.mark.parametrize("score", ["rotation", "order", "simclr", "ego", "interaction"])
def test_an_untrained_network_does_not_pass(score: str) -> None:
    """The control: the same questions, before anything is learned."""
    if score == "rotation":
        assert fit(RotationConfig(size=32), pictures(textures(8)), 2, 8)["accuracy"] < 0.6
    elif score == "order":
        source = Listed([{"frames": crossing(i), "index": i} for i in range(8)])
        assert fit(TemporalOrderConfig(size=32, tau_min=8, tau_max=20), source, 2, 32)["balanced_accuracy"] < 0.7
    elif score == "simclr":
        assert fit(SimCLRConfig(size=32, out=32), pictures(textures(8)), 2, 8)["spread"] < 0.3
    elif score == "ego":
        config = EgoMotionEquivarianceConfig(size=32, clusters=3, keep=3, dim=16, flip=False)
        assert fit(config, drives(), 2, 16)["balanced_accuracy"] < 0.7
    else:
        assert fit(InteractionConfig(size=32), Listed([touch(i) for i in range(8)]), 2, 8)["poke_r2"] < 0.4
